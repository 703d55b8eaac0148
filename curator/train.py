"""`curator train`: images of an index, by selection, folder or condition → a run in the index's folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.curate.candidates import find_images, refuse_changed, vectors_of
from curator.curate.decisions import rejected_ids
from curator.database import Curation, Selections
from curator.embeddings import blocks, normalise
from curator.errors import UsageError
from curator.index import Index
from curator.records import Ids, Progress
from curator.training.folder import LATEST, Run, find_run, runs_in, start_run
from curator.training.options import GanOptions, Options, options_for
from curator.training.pictures import Bytes, Pictures, inner_side, padded, read_pictures, to_picture

_RUNS = "runs"
RUN_FORMS = ("onnx", "safetensors")  # that a network is exported in
_LARGEST_NATIVE = 64  # pixels: square pictures of one size up to this are classified as they are
_BLOCK = 1024

Told = Callable[[Progress], None]


@dataclass(frozen=True)
class Plan:
    """What a training would do: its options, the images, what they are called, and their classes."""

    options: Options
    ids: Ids
    named: str
    digest: str
    classes: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]


def home_of(index: Index) -> Path:
    """The folder of an index's runs."""
    return index.folder / _RUNS


def find_named(index: Index, name: str) -> Run | None:
    """The run of exactly that name, if there is one."""
    return next((r for r in runs_in(home_of(index)) if r.name == name), None)


def export_network(index: Index, named: str, form: str, target: Path) -> float:
    """Write a run's network to a file → the largest difference to torch. Raises `UnknownName`, and what `export_run` raises."""
    from curator.training.exporting import export_run

    return export_run(find_run(home_of(index), named), form, target)


def plan_training(index: Index, trainer: str, named: str | None, given: Mapping[str, Any], *, column: str = "label") -> Plan:
    """Settle images and options, without reading a picture.

    `named` is a selection, folder or condition; None all real images that are neither rejected nor duplicates. Raises `UsageError`,
    `UnknownName`, `WhereError`.
    """
    if named is None:
        ids = find_images(index, "origin = 'real' AND duplicate_of IS NULL")
        ids = np.setdiff1d(ids, np.array(sorted(rejected_ids(Curation(index.reader))), np.int64))
    else:
        ids = find_images(index, named)
    digest = ""
    if named in Selections(index.reader).names():
        selection = Selections(index.reader).get(str(named))
        refuse_changed(index, selection)
        digest = selection.digest
    chosen = dict(given)
    labels = index.reader.values_of(column) if trainer == "classifier" or chosen.get("condition") == "label" else {}
    unlabelled = sum(labels.get(int(i)) is None for i in ids) if labels else 0
    if unlabelled:
        way_out = f'leave them out by a selection, made with --where "{column} IS NOT NULL"'
        raise UsageError(f"{unlabelled} of {len(ids)} images have no '{column}' to learn; {way_out}")
    images = index.images(ids)
    sizes = tuple((i.width, i.height) for i in images)
    if trainer == "classifier" and "side" not in chosen:
        width, height = sizes[0]
        native = width == height and 8 <= width <= _LARGEST_NATIVE and len(set(sizes)) == 1
        chosen["side"] = width if native else 32
    if trainer == "classifier" and "net" not in chosen and chosen.get("side", 32) < 20:
        chosen["net"] = "resnet"
    options = options_for(trainer, chosen)
    _refuse_few(options, len(ids))
    return Plan(
        options, ids, named or "all real images", digest, tuple(sorted({str(labels[int(i)]) for i in ids})) if labels else (), sizes
    )


def _refuse_few(options: Options, n: int) -> None:
    if n < 2 * options.batch and options.optimiser != "gd":
        raise UsageError(f"{n} images are too few for batches of {options.batch}: select more, or train with --batch {max(2, n // 4)}")


def train_on(
    index: Index, plan: Plan, *, column: str = "label", name: str = "", command: str = "", progress: Told = lambda p: None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Run, Any]:  # fmt: skip
    """Train as planned → the run and its `Outcome`. Raises what `plan_training` and the trainers raise."""
    from curator.training.parallel import Team

    with Team.join() as team:
        pictures = pictures_for(index, plan.options, plan.ids, plan.classes, column, progress=progress)
        folder = ""
        if team.rank == 0:
            facts = {
                "trained_on": {"what": plan.named, "digest": plan.digest, "column": column, "space": index.space.encoder},
                "command": command,
            }
            made = start_run(home_of(index), plan.options, pictures, facts, name=name)
            folder = str(made.folder)
            say(f"Run {made.name}: {len(pictures)} images, {plan.options.trainer}, in {made.folder}")
        run = Run(Path(team.share(folder)))
        return run, _go(index, run, pictures, team, resume=False, progress=progress, say=say)


def resume_training(
    index: Index, trainer: str, named: str = LATEST, changes: Mapping[str, Any] | None = None, *, progress: Told = lambda p: None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Run, Any]:  # fmt: skip
    """Go on with a run from its latest checkpoint, on the images of its manifest; `changes` may extend `images` and `max_minutes`.

    Raises `UsageError` where one of those images has changed or is gone, or another option is changed.
    """
    from curator.training.parallel import Team

    run = find_run(home_of(index), named, trainer=trainer)
    changes = dict(changes or {})
    others = set(changes) - {"images", "max_minutes"}
    if others:
        raise UsageError(
            f"a resumed run keeps its options; only --images and --max-minutes may change, not --{min(others).replace('_', '-')}"
        )
    if changes:
        facts = run.facts
        run.write_json("options.json", facts | {"options": facts["options"] | changes})
    with Team.join() as team:
        pictures = trained_on(index, run, progress=progress)
        say(f"Run {run.name} goes on from {run.checkpoint(LATEST)} images.")
        return run, _go(index, run, pictures, team, resume=True, progress=progress, say=say)


def _go(index: Index, run: Run, pictures: Pictures, team: Any, *, resume: bool, progress: Told, say: Callable[[str], None]) -> Any:
    from curator.training.engine import train
    from curator.training.trainers import TRAINERS

    quiet = team.rank > 0
    return train(
        run, TRAINERS[run.options.trainer], pictures, features_of(index), team=team, resume=resume,
        progress=(lambda p: None) if quiet else progress, say=(lambda line: None) if quiet else say,
    )  # fmt: skip


def trained_on(index: Index, run: Run, *, progress: Told = lambda p: None) -> Pictures:
    """The pictures of a run's manifest. Raises `UsageError` where one has changed or is gone."""
    rows = run.rows("manifest.jsonl")
    ids = np.array([r["id"] for r in rows], np.int64)
    gone = np.setdiff1d(ids, index.reader.ids_where("1"))
    now = Selections(index.reader).sha256_of(ids) if not len(gone) else []
    changed = sum(h.hex() != r["sha256"] for h, r in zip(now, rows, strict=False))
    if len(gone) or changed:
        raise UsageError(
            f"{len(gone)} images of {run.name} are gone from the index and {changed} have changed; bring the files back, or train anew"
        )
    return pictures_for(index, run.options, ids, run.shape.classes, run.facts["trained_on"]["column"], progress=progress)


def pictures_for(
    index: Index, options: Options, ids: Ids, classes: tuple[str, ...], column: str, *, progress: Told = lambda p: None
) -> Pictures:
    """Decode images at a run's resolution, with labels where there are classes, and embeddings where a generator is conditioned on them."""
    images = index.images(ids)
    inner = inner_side([(i.width, i.height) for i in images], options.side)
    home_of(index).mkdir(exist_ok=True)
    pixels = read_pictures([i.path for i in images], inner, fit=options.fit, beside=home_of(index) / "pixels.npy", progress=progress)
    values = index.reader.values_of(column) if classes else {}
    code = {name: c for c, name in enumerate(classes)}
    labels = np.array([code.get(str(values.get(int(i))), -1) for i in ids] if classes else np.full(len(ids), -1), np.int64)
    hashes = tuple(Selections(index.reader).sha256_of(ids))
    embeddings = near = None
    if options.condition == "embedding":
        embeddings = normalise(vectors_of(index, ids).astype(np.float32))
        if isinstance(options, GanOptions):
            near = _neighbours(embeddings, options.neighbours)
    found = Pictures(pixels, labels, classes, ids, hashes, 0, embeddings, near)
    return padded(found, options.side)


def _neighbours(x: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(n, k) positions of the nearest rows, the row itself first."""
    k = min(k, len(x))
    found = np.empty((len(x), k), np.int64)
    for part in blocks(len(x), _BLOCK):
        scores = x[part] @ x.T
        scores[np.arange(len(scores)), np.arange(part.start, part.start + len(scores))] = math.inf
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < len(x) else np.tile(np.arange(k), (len(scores), 1))
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        found[part] = np.take_along_axis(best, order, 1)
    return found


def features_of(index: Index) -> Callable[[Bytes], NDArray[np.float32]]:
    """The index's own encoder, as what samples are measured with."""
    encoder = index.encoder

    def features(pixels: Bytes) -> NDArray[np.float32]:
        pictures: list[Image.Image] = [to_picture(p).convert("RGB") for p in pixels]
        return np.concatenate([encoder.encode_images(pictures[i : i + 64]) for i in range(0, len(pictures), 64)])

    return features
