"""`curator leaks`: pictures that stand on both sides of a split, and ways to mend it."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.cleaning.result import DedupeResult
from curator.database import Curation, Selections
from curator.errors import UsageError
from curator.files import whole_for_user
from curator.index import Index
from curator.index.images import relative
from curator.job import QUIET, Job
from curator.registry import suggest

_AND = " and "  # between the selections that one image is in


@dataclass(frozen=True)
class Leak:
    """A group with images on more than one side: image id → side."""

    sides: Mapping[int, str]


@dataclass(frozen=True)
class Leaks:
    """Every leak, the side of every image that has one, and how the sides were told apart."""

    leaks: tuple[Leak, ...]
    side_of: Mapping[int, str]
    by: str
    found: DedupeResult
    outside: int  # images that are on no side

    @property
    def sizes(self) -> Mapping[str, int]:
        """Images on each side."""
        return Counter(self.side_of.values())

    @property
    def leaked(self) -> Mapping[str, int]:
        """Images on each side that have the same picture on another."""
        sides = {i: side for leak in self.leaks for i, side in leak.sides.items()}
        return {side: sum(s == side for s in sides.values()) for side in self.sizes}


def find_leaks(
    index: Index,
    between: Sequence[str],
    *,
    by: str | None = None,
    options: DedupeOptions = DedupeOptions(),  # noqa: B008 - frozen
    job: Job = QUIET,
) -> Leaks:
    """Find groups that cross the sides named.

    Sides are values of the column `by`, folders, or selections. Without `by`, selections, else a column that has all
    these values (`split` first), else folders. The groups that are remembered for the whole index are left as they
    were. Raises `UsageError` for sides that are not there.
    """
    if len(set(between)) < 2:
        raise UsageError("--between takes two sides or more, as in --between train test")
    by = by or _guess(index, between)
    values = _values(index, by)
    side_of = _sides(values, between, every=by == "selection")
    empty = [side for side in between if not any(side in names for names in values.values())]
    if empty:
        raise UsageError(
            f"no image has {by} '{empty[0]}'; {suggest(empty[0], {v for names in values.values() for v in names})}"
        )
    options = replace(options, links=True)
    result = dedupe(index, options, keep_proposals=False, only=side_of.keys(), job=job)
    leaks = []
    for group in result.groups:
        sides = {m.image_id: side_of[m.image_id] for m in group.members}
        if len(set(sides.values())) > 1:
            leaks.append(Leak(sides))
    # What was altered in one place, or is another part of one sheet, leaks as much.
    leaks += [
        Leak({i: side_of[i] for i in (p.first, p.second)})
        for p in result.listed
        if side_of[p.first] != side_of[p.second]
    ]
    grouped = {i for leak in leaks for i in leak.sides}
    leaks += [Leak({i: side}) for i, side in side_of.items() if side not in between and i not in grouped]
    return Leaks(tuple(leaks), side_of, by, result, len(index) - len(side_of))


def _guess(index: Index, between: Sequence[str]) -> str:
    if set(between) <= set(Selections(index.reader).names()):
        return "selection"
    columns = sorted(index.reader.extra_columns(), key=lambda c: (c.lower() not in ("split", "subset", "set"), c))
    for column in [*columns, "label"]:
        if set(between) <= {v for sides in _values(index, column).values() for v in sides}:
            return column
    return "folder"


def _values(index: Index, by: str) -> dict[int, tuple[str, ...]]:
    """image id → what may name its side: the value of a column, the folders it lies in, or the selections it is in."""
    if by == "selection":
        names = index.reader.values_of("selections")
        return {i: tuple(v.split(" ")) for i, v in names.items() if v is not None}
    if by == "folder":
        ids = index.reader.ids_where("1")
        names = {r.id: r.path.name for r in index.reader.roots()}
        places = Curation(index.reader).places(ids)
        return {int(i): (names[root], *folder.split("/")) for i, (root, folder) in zip(ids, places, strict=True)}
    return {i: (str(v),) for i, v in index.reader.values_of(by).items() if v is not None}


def _sides(values: Mapping[int, tuple[str, ...]], between: Sequence[str], *, every: bool) -> dict[int, str]:
    """image id → its side, for images that have one.

    Of several folders it is the innermost; of several selections it is all, joined by "and".
    """
    sides_of = {i: [v for v in candidates if v in between] for i, candidates in values.items()}
    return {i: _AND.join(sorted(sides)) if every else sides[-1] for i, sides in sides_of.items() if sides}


def write_fixed(
    index: Index, leaks: Leaks, target: Path, *, drop_from: str | None = None, move_to: str | None = None
) -> int:
    """A CSV with the side of every image after mending → the number of images that change.

    `drop_from` leaves the leaked images of that side out (their side becomes empty); `move_to` moves each whole group
    to that side. `curator index --csv` reads the file. Raises `UsageError` for an unknown side, or where it cannot be
    written.
    """
    chosen = drop_from or move_to
    sides = {s for side in leaks.sizes for s in side.split(_AND)}
    if chosen not in sides:
        raise UsageError(f"no side '{chosen}'; {suggest(str(chosen), sides)}")
    fixed: dict[int, str] = {}
    for leak in leaks.leaks:
        for image_id, side in leak.sides.items():
            if drop_from is not None and drop_from in side.split(_AND):
                fixed[image_id] = _AND.join(s for s in side.split(_AND) if s != drop_from)
            elif move_to is not None and side != move_to:
                fixed[image_id] = move_to
    side_of = leaks.side_of
    roots = [r.path for r in index.reader.roots()]
    names = [relative(i, roots) for i in index.images(sorted(side_of))]
    if len(set(names)) < len(names):
        raise UsageError(
            "pictures of two roots have the same path below them, so one CSV cannot name them; index a folder around "
            "both"
        )
    column = "split" if leaks.by in ("folder", "selection") else leaks.by
    kind: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    with whole_for_user(target) as beside, beside.open("w", **kind) as out:
        lines = csv.writer(out)
        lines.writerow(["file", column])
        for name, image_id in zip(names, sorted(side_of), strict=True):
            lines.writerow([name, fixed.get(image_id, side_of[image_id])])
    return len(fixed)
