"""`curator report`: one page about a run, from the query its images were chosen by to what it made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curator.database import Selections
from curator.drawing.pages import Page, save_page
from curator.drawing.sheets import Section, Tile
from curator.errors import UsageError
from curator.evaluation.audit import Audit, audit
from curator.evaluation.evaluate import EvaluateOptions, Evaluation, each_image, evaluate, find_classifier
from curator.evaluation.sides import Sides, sides_of
from curator.index import Index
from curator.index.images import find_images
from curator.job import QUIET, Job
from curator.metrics import PerImage
from curator.runs.lookup import generated_ids, refuse_foreign, status_of
from curator.texts import to_json
from curator.training.folder import Run

_SHOWN = 24


def write_report(index: Index, run: Run, target: Path, *, reference: str | None = None, job: Job = QUIET) -> None:
    """Write the page. What cannot be said, because nothing was generated or held out, is said to be missing.

    Raises `UsageError` for held-out images that are named and not there, or a file that cannot be written.
    """
    refuse_foreign(index, run)
    if reference is not None:
        find_images(index, reference)
    if not target.absolute().parent.is_dir():
        raise UsageError(f"cannot write {target}: its folder is not there")
    score, calibrate = _held_out(index, run)
    lines, sections = _lineage(index, run), [_trained_on(index, run)]
    rows: tuple[tuple[str, ...], ...] = ()
    large = [run.folder / "curves.png", *sorted((run.folder / "samples").glob("*.png"))[-1:]]
    sections.append(
        Section("How it went, and its last samples", [Tile(p, p.name, large=True) for p in large if p.is_file()])
    )
    try:
        sides = sides_of(index, run.name, reference or score)
        measured = evaluate(index, sides, EvaluateOptions(classifier=find_classifier(index, None)), job=job)
        rows = _rows(measured)
        distinct = f"{measured.distinct:.0%} of it distinct"
        lines += [f"Measured: n = {measured.n} made, {distinct}, {measured.m} of '{measured.reference}'."]
        lines += [f"Note: {n}." for n in measured.notes]
        sections += extremes(index, sides, each_image(index, sides, keep=False))
    except UsageError as error:
        lines.append(f"Not measured: {error}.")
    try:
        looked = audit(index, run, reference=reference or calibrate, keep=False, job=job)
        lines += describe_audit(looked)
        sections.append(closest_pairs(index, looked))
    except UsageError as error:
        lines.append(f"Not audited: {error}.")
    sections.append(_made(index, run))
    save_page(
        Page(f"{run.name}: from the query to what was made", rows, tuple(lines), [s for s in sections if s.tiles]),
        target,
    )


def describe_audit(done: Audit) -> list[str]:
    """An audit in a few sentences."""
    lines = [
        f"{done.copies:.1%} of {len(done.findings)} are copies or near-copies, by a ratio up to {done.threshold:.3f}; "
        f"of {done.judged} "
        f"real images that it never saw {done.false_alarms:.1%} would be (with 95 % confidence at most "
        f"{done.alarms_high:.1%}).",
        f"{done.counts['off-distribution'] / max(1, len(done.findings)):.1%} are off-distribution; of those images "
        f"{done.held_off:.1%}.",
        "The ratio: how much a picture differs from the training image nearest to it, over how much that one differs "
        "from its own fifth "
        "nearest; a copy's is near 0.",
        f"Raw authenticity {done.authentic:.1%}; of those real images {done.held_authentic:.1%}, so it says little by "
        "itself.",
    ]
    if done.held_copies:
        lines.append(
            f"{done.held_copies:.1%} of the held-out images are duplicates of training images, and were no judges of "
            "it."
        )
    if done.missing:
        lines.append(f"{done.missing} training images are gone, changed or unreadable: copies of those are not found.")
    return lines


def closest_pairs(index: Index, done: Audit) -> Section:
    """What was made beside the training image nearest to it, nearest first."""
    tiles = []
    for f in done.findings[:_SHOWN]:
        generated, real = index.images([f.image_id])[0], index.images([f.nearest_id])[0]
        tiles.append(
            Tile(
                generated.path,
                f"{f.label} {f.ratio:.2f}",
                f"made, id:{f.image_id}",
                framed=f.label in ("copy", "near-copy"),
            )
        )
        tiles.append(
            Tile(real.path, f.evidence or f"apart {f.difference:.0f} of 255", f"trained on, id:{f.nearest_id}")
        )
    return Section(f"The {len(tiles) // 2} closest pairs: made, and trained on", tiles)


def extremes(index: Index, sides: Sides, found: PerImage) -> list[Section]:
    """The least realistic of what was judged, and the most realistic."""
    order = np.argsort(found.realism, kind="stable")
    half = min(_SHOWN, len(order) // 2)
    sections = []
    for what, chosen in (("least", order[:half]), ("most", order[::-1][:half])):
        images = index.images([int(sides.x[i]) for i in chosen])
        rare = [f"rarity {found.rarity[i]:.2f}" if np.isfinite(found.rarity[i]) else "far from all" for i in chosen]
        tiles = [
            Tile(m.path, f"realism {found.realism[i]:.2f}", f"{r}, id:{m.id}")
            for i, m, r in zip(chosen, images, rare, strict=True)
        ]
        sections.append(Section(f"The {half} {what} realistic of {sides.what}", tiles))
    return sections


def _lineage(index: Index, run: Run) -> list[str]:
    """Query → selection → run → checkpoint, a line each, newest last."""
    facts, state = run.facts, run.state
    trained = facts["trained_on"]
    lines = _chosen(index, trained.get("what", ""), trained.get("digest", ""))
    lines.append(f"Trained by: {facts.get('command') or 'a program'}")
    lines.append(
        f"Trained on: {facts['images']['trained']} images of {trained.get('what', 'an array')}, "
        f"{facts['images']['held_out']} held out"
    )
    lines.append(
        f"Run {run.name}: {status_of(run)}, {state['images_seen']} images seen, best checkpoint {state.get('best', 0)}"
    )
    last = [m for m in run.rows("metrics.jsonl") if m["images_seen"] == state.get("best")]
    if run.options.learns_labels and last:
        shown = {k: v for k, v in last[-1].items() if isinstance(v, float) and k != "seconds"}
        lines.append("On held-out images: " + ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in shown.items()))
    lines.append(f"Options: {to_json(facts['options'])}")
    return lines


def _chosen(index: Index, named: str, digest: str, above: tuple[str, ...] = ()) -> list[str]:
    """How a selection came about, and before it how those that it was made of did; nothing of what is no selection."""
    if named in above or named not in Selections(index.reader).names():
        return []
    selection = Selections(index.reader).get(named)
    if selection.digest != digest:
        return [f"Selection {named} has been replaced since: what chose its images is not known any more"]
    manifest = selection.recipe
    lines = [
        line for parent, of in manifest.get("of", {}).items() for line in _chosen(index, parent, of, (*above, named))
    ]
    recipe = {k: v for k, v in manifest.get("recipe", {}).items() if v not in (None, [], (), "")}
    lines.append(f"Selected by: {manifest.get('command') or manifest.get('made_by', '')}")
    lines += [f"  recipe: {to_json(recipe)}"] if recipe else []
    lines += [f"  {s['step']}: {s['after']} of {s['before']}" for s in manifest.get("steps", ())]
    return [*lines, f"Selection {named}: {len(selection)} images, {selection.digest}"]


def _held_out(index: Index, run: Run) -> tuple[str | None, str | None]:
    """Of a run of a loop, the selections that score and that calibrate.

    Of any other run None and None: what it held out itself.
    """
    selection_name = run.facts["trained_on"].get("what", "")
    if selection_name not in Selections(index.reader).names():
        return None, None
    parts = Selections(index.reader).get(selection_name).recipe.get("held_out", {})
    return parts.get("loop-score"), parts.get("loop-admit")


def _trained_on(index: Index, run: Run) -> Section:
    rows = run.rows("manifest.jsonl")[:_SHOWN]
    present = set(index.reader.ids_where("1").tolist())
    images = index.images([r["id"] for r in rows if r["id"] in present])
    return Section("Trained on", [Tile(i.path, i.label or "", f"id:{i.id}") for i in images])


def _made(index: Index, run: Run) -> Section:
    try:
        images = index.images(generated_ids(index, run)[:_SHOWN])
    except UsageError:
        return Section("Made", [])
    return Section(
        "Made",
        [
            Tile(i.path, i.label or "", f"seed {i.extra.get('seed')}, checkpoint {i.extra.get('checkpoint')}")
            for i in images
        ],
    )


def _rows(found: Evaluation) -> tuple[tuple[str, ...], ...]:
    rows = [
        (n.metric, n.space, f"{n.value:.4f}", n.interval, "more" if n.higher_is_better else "less")
        for n in found.numbers
    ]
    return (("metric", "space", "value", "95 %", "better is"), *rows)
