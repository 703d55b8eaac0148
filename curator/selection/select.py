"""`curator select`: from an index to a named, ordered, immutable selection with its recipe.

And the same again from a manifest.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from curator.database import Selections
from curator.database.actions import recorded
from curator.errors import UsageError
from curator.files import digest_of
from curator.index import Index
from curator.job import QUIET, Job
from curator.records import Selection
from curator.records.selections import NAME
from curator.selection.candidates import Candidates
from curator.selection.recipe import SCHEMA, Recipe, Step, describe_recipe, recipe_in
from curator.selectors import choose, choose_per_label, parse_objective


def select(
    index: Index,
    name: str,
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    *,
    overwrite: bool = False,
    command: str = "",
    job: Job = QUIET,
) -> Selection:
    """Choose images and keep the choice under a name.

    Raises `UsageError` for a name that is taken or no name, an empty choice, or a part that lacks what it needs;
    `UnknownName`, `WhereError`.
    """
    check_name(index, name, overwrite=overwrite)
    selection = make(index, name, recipe, command=command, job=job)
    keep(index, selection, overwrite=overwrite)
    return selection


def make(
    index: Index, name: str, recipe: Recipe, *, command: str = "", remember: bool = True, job: Job = QUIET
) -> Selection:
    """The same without keeping it; words are remembered or not."""
    candidates = Candidates(index, recipe, job, remember=remember)
    pool, ids = candidates.pool()
    objective = parse_objective(_with_words(recipe))
    wanted = len(pool) if recipe.n is None else recipe.n
    fresh = max(0, wanted - len(pool.start))
    per_label = recipe.per is not None and objective.selector != "balanced"
    chosen = (choose_per_label if per_label else choose)(pool, objective, fresh)
    positions = np.concatenate([pool.start[:wanted], chosen.positions])
    values = np.concatenate([np.full(min(wanted, len(pool.start)), np.nan), chosen.values])
    facts: dict[str, Any] = {"by": str(objective), "per": recipe.per, "seed": recipe.seed, "value": chosen.what}
    steps = [*candidates.steps, Step("chosen", len(pool), len(positions), facts)]
    hashes = tuple(pool.sha256[p] for p in positions.tolist())
    description = describe_recipe(index, recipe, steps, command) | {"value": chosen.what}
    for role in ("extend", "reference"):
        other = getattr(recipe, role)
        if other and other in Selections(index.reader).names():
            description[f"{role}_digest"] = Selections(index.reader).get(other).digest
    return Selection(name, ids[positions], hashes, values, (None,) * len(positions), digest_of(hashes), description)


def _with_words(recipe: Recipe) -> str:
    """The objective, with words that were given and not named in --by.

    They stand alone where nothing else is asked for, else as one more factor of scores. What selectors choose among was
    narrowed to images that fit already.
    """
    objective = parse_objective(recipe.by)
    if not (recipe.match or recipe.avoid) or "words" in {name for name, _ in objective.powers}:
        return recipe.by
    if recipe.by == Recipe().by:
        return "words"
    return recipe.by if objective.selector and recipe.n is not None else f"words * {recipe.by}"


def check_name(index: Index, name: str, *, overwrite: bool) -> None:
    """Raise `UsageError` for what is no name, or is taken."""
    if not NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no name for a selection: letters, digits, and . _ + - within")
    if not overwrite:
        _refuse_taken(name, Selections(index.reader).names())


def _refuse_taken(name: str, names: Container[str]) -> None:
    if name in names:
        raise UsageError(
            f"there is a selection '{name}' already, and selections do not change; take another name, or --overwrite"
        )


def keep(index: Index, *selections: Selection, overwrite: bool) -> None:
    """Write selections, all or none. Raises `UsageError` for a name that another process has taken meanwhile."""
    names = [s.name for s in selections]
    text = f"select {', '.join(f'{s.name} ({len(s.ids):,})' for s in selections)}"
    with index.write() as db, db.atomic(), recorded(db, index.who, text, selections=names):
        for s in selections:
            if not overwrite:
                _refuse_taken(s.name, Selections(db).names())
            Selections(db).put(s)
        index.step("selections written")


@dataclass(frozen=True)
class Replay:
    """What came of a manifest: the selection made again.

    `differences` says what differs from the listed one; it is empty if they are identical.
    """

    selection: Selection
    differences: tuple[str, ...]


def replay(
    index: Index,
    manifest: Mapping[str, Any],
    *,
    name: str | None = None,
    as_listed: bool = False,
    overwrite: bool = False,
    job: Job = QUIET,
) -> Replay:
    """Make a manifest's selection again, and keep it if it is identical.

    `as_listed` takes its images by content instead of its recipe. Raises `UsageError` for a manifest without a recipe,
    or a name that is taken by another selection.
    """
    name = name or str(manifest["name"])
    stored = Selections(index.reader)
    same = name in stored.names() and stored.get(name).digest == manifest.get("digest")
    if not same:
        check_name(index, name, overwrite=overwrite)
    listed = [bytes.fromhex(i["sha256"]) for i in manifest["images"]]
    selection = _as_listed(index, name, manifest) if as_listed else make(index, name, recipe_in(manifest), job=job)
    differences = () if list(selection.sha256) == listed else tuple(_differences(index, manifest, listed, selection))
    if (not differences or as_listed) and not same:
        keep(index, selection, overwrite=overwrite)
    return Replay(selection, differences)


def _as_listed(index: Index, name: str, manifest: Mapping[str, Any]) -> Selection:
    there: dict[bytes, list[int]] = {}
    present = index.reader.ids_where("1")
    for image_id, sha256 in zip(present.tolist(), Selections(index.reader).sha256_of(present), strict=True):
        there.setdefault(sha256, []).append(image_id)
    rows = [(bytes.fromhex(i["sha256"]), i) for i in manifest["images"]]
    listed = [(there[h].pop(0), h, i) for h, i in rows if there.get(h)]
    hashes = tuple(h for _, h, _ in listed)
    values = np.array([np.nan if i.get("value") is None else i["value"] for _, _, i in listed], np.float64)
    facts = {"made_by": f"the list of '{manifest['name']}'", "of": {manifest["name"]: manifest.get("digest")}}
    steps = [vars(Step("listed", len(rows), len(listed), {}))]
    splits = tuple(i.get("split") for _, _, i in listed)
    ids = np.array([image_id for image_id, _, _ in listed], np.int64)
    return Selection(name, ids, hashes, values, splits, digest_of(hashes), {"schema": SCHEMA, **facts, "steps": steps})


def _differences(index: Index, manifest: Mapping[str, Any], listed: list[bytes], made: Selection) -> list[str]:
    """Everything that may explain why the list is another one."""
    present = index.reader.ids_where("1")
    there = set(Selections(index.reader).sha256_of(present))
    missing = [i["path"] for i in manifest["images"] if bytes.fromhex(i["sha256"]) not in there]
    new, old = set(made.sha256) - set(listed), set(listed) - set(made.sha256)
    now = made.recipe
    lines = [
        f"{len(listed)} images are listed, {len(made)} were chosen, {len(set(listed) & set(made.sha256))} are the same"
    ]
    if missing:
        lines.append(
            f"{len(missing)} listed images are not in the index: "
            f"{', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}"
        )
    if new:
        lines.append(
            f"{len(new)} images were chosen that are not listed, {len(old) - len(missing)} that are listed and here "
            "were not"
        )
    if not new and not old:
        lines.append("the images are the same, in another order")
    for key in ("space", "versions", "extend_digest", "reference_digest"):
        if manifest.get(key) != now.get(key):
            lines.append(f"{key.replace('_', ' ')} was {manifest.get(key)}, is {now.get(key)}")
    for before, after in zip(manifest["steps"], now["steps"], strict=False):
        if (before["step"], before["before"], before["after"]) != (after["step"], after["before"], after["after"]):
            lines.append(
                f"{before['step']}: {before['after']} of {before['before']} then, {after['after']} of "
                f"{after['before']} now"
            )
    return lines
