"""What a folder's pictures mean for an index: walk, and compare with what is known by path, size and time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from curator.database import KnownImage, Writer
from curator.errors import RootMissing
from curator.images import NoteSources, Walk, read_notes, walk
from curator.records import ImageFile, Notes, Root, Skipped


@dataclass(frozen=True)
class IngestOptions:
    """How to read a root. None means: as last time, else the default.

    `exclude` globs; `label_from` "folder" or a column's name; `table` a CSV joined by file name; `origin` "real" or
    "generated". `allow_empty` believes a root that has lost every picture; `retry` reads skipped files again.
    """

    exclude: tuple[str, ...] | None = None
    label_from: str | None = None
    table: str | None = None
    origin: str | None = None
    allow_empty: bool = False
    retry: bool = False

    def over(self, stored: Mapping[str, object]) -> IngestOptions:
        """These options, with what they leave open taken from a root's stored ones."""
        filled: dict[str, Any] = {k: v if v is not None else stored.get(k) for k, v in asdict(self).items()}
        filled["exclude"] = tuple(filled["exclude"] or ())
        return IngestOptions(**filled)

    def to_store(self) -> dict[str, object]:
        kept = {"exclude": list(self.exclude or ()), "label_from": self.label_from, "table": self.table, "origin": self.origin}
        return {k: v for k, v in kept.items() if v}


@dataclass(frozen=True)
class Progress:
    """Told while it runs: images whose vectors are stored, of how many, how many were at the start, and what is being done."""

    done: int
    total: int
    already: int
    doing: str


@dataclass
class Plan:
    """What a walk means for one root."""

    root: Root
    options: IngestOptions
    walked: Walk
    notes: Mapping[str, Notes]
    known: Mapping[str, KnownImage]
    stale_skipped: list[str] = field(default_factory=list)
    fresh: list[ImageFile] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    gone: dict[str, KnownImage] = field(default_factory=dict)
    still_skipped: int = 0


def make_plan(db: Writer, path: Path, options: IngestOptions) -> Plan:
    """Walk and compare. Nothing is written but the root itself."""
    if not path.exists():
        raise RootMissing(f"{path} is not there; nothing was removed. If it has moved: `curator roots move OLD NEW`")
    folder = path if path.is_dir() else path.parent
    with db.atomic():
        root = db.add_root(Path(os.path.normpath(folder)))
        chosen = options.over(root.options)
        db.set_root_options(root.id, chosen.to_store())
    under = path.relative_to(root.path).as_posix() if path != root.path else ""
    walked = walk(root.path, exclude=chosen.exclude or (), under=under)
    known = db.known(root.id)
    in_scope = {p: k for p, k in known.items() if not under or p == under or p.startswith(under + "/")}
    _refuse_empty(root, walked, in_scope, chosen)
    table = Path(chosen.table).expanduser() if chosen.table else None
    notes = read_notes(root.path, walked.images, walked.sidecars, NoteSources(chosen.label_from, table))
    plan = Plan(root, chosen, walked, notes, in_scope)
    skipped = {s.path: s for _, s in db.skipped(root.id) if not under or s.path == under or s.path.startswith(under + "/")}
    _sort_out(plan, skipped)
    return plan


def _refuse_empty(root: Root, walked: Walk, known: Mapping[str, KnownImage], options: IngestOptions) -> None:
    present = sum(1 for k in known.values() if k.removed is None)
    if present and not walked.images and not walked.excluded and not options.allow_empty:
        raise RootMissing(
            f"{root.path} holds no picture now, and the index knows {present} of it: an unmounted disk looks like this. "
            "Nothing was removed; if they are really gone, run again with --allow-empty"
        )


def _sort_out(plan: Plan, skipped: Mapping[str, Skipped]) -> None:
    """Fill `fresh`, `unchanged` and `gone` by path, size and time alone."""
    seen = set()
    for file in plan.walked.images:
        seen.add(file.path)
        known, bad = plan.known.get(file.path), skipped.get(file.path)
        same = known is not None and (known.size, known.mtime_ns) == (file.size, file.mtime_ns)
        if bad is not None and (bad.size, bad.mtime_ns) == (file.size, file.mtime_ns) and not plan.options.retry:
            plan.still_skipped += 1
        elif same and known is not None and known.removed in (None, "by hand"):
            plan.unchanged.append(file.path)
        else:
            plan.fresh.append(file)
    plan.gone = {p: k for p, k in plan.known.items() if p not in seen and k.removed is None and _was_seen(plan.walked, p)}
    listed = seen | {s.path for s in (*plan.walked.broken, *plan.walked.unreadable)}
    plan.stale_skipped = [p for p in skipped if p not in listed and _was_seen(plan.walked, p)]


def _was_seen(walked: Walk, path: str) -> bool:
    """Whether the walk could look where this path was: what it could not see is not gone."""
    return not any(not s.path or path.startswith(s.path + "/") for s in walked.unreadable)
