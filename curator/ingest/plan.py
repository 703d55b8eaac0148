"""What a folder's pictures mean for an index: walk, and compare with what is known by path, size and time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curator.database import Writer
from curator.database.listed import each_known, skipped_files
from curator.errors import RootMissing, UsageError
from curator.files import stored_order
from curator.images import SUFFIXES, ImageFiles, NoteSources, NotesRead, Walk, absolute, read_notes, walk, walk_files
from curator.ingest.options import IngestOptions
from curator.job import QUIET, Job
from curator.records import FORGOTTEN, ImageFile, KnownImage, Notes, Root, Skipped
from curator.texts import to_json


@dataclass
class Plan:
    """What a walk means for one root.

    `known` is what the index has of `fresh` files; `unchanged` files are counted alone, and `renoted` has, by id, the
    origin and notes of those of which something else is said now.
    """

    root: Root
    options: IngestOptions
    walked: Walk
    notes: Mapping[str, Notes]
    remarks: tuple[str, ...]
    known: dict[str, KnownImage] = field(default_factory=dict)
    stale_skipped: list[str] = field(default_factory=list)
    fresh: ImageFiles = field(default_factory=ImageFiles)
    unchanged: int = 0
    renoted: dict[int, tuple[str, Notes]] = field(default_factory=dict)
    gone: dict[str, KnownImage] = field(default_factory=dict)
    hidden_gone: dict[str, KnownImage] = field(default_factory=dict)
    still_skipped: int = 0  # files that are not read again
    listed: frozenset[str] = frozenset()  # paths that were skipped before


@dataclass(frozen=True)
class Target:
    """What one pass brings up to date: a folder, or only the `files` of that name in it."""

    folder: Path
    files: tuple[str, ...] = ()


def find_targets(db: Writer, paths: Sequence[Path]) -> list[Target]:
    """Folders as they are and files by their folder; without paths, all that the index knows."""
    if not paths:
        known = [root for root in db.roots() if FORGOTTEN not in root.options]
        paths = [root.path / part for root in known for part in root.options.get("only", [""])]
    files: dict[Path, list[str]] = {}
    targets = []
    for path in map(absolute, paths):
        if path.is_file():
            files.setdefault(path.parent, []).append(path.name)
        elif path.suffix.lower() not in SUFFIXES or path.exists():
            targets.append(Target(path))
        else:
            files.setdefault(path.parent, []).append(path.name)  # a file that has gone
    return [*targets, *(Target(folder, tuple(names)) for folder, names in files.items())]


def make_plan(db: Writer, target: Target, options: IngestOptions, job: Job = QUIET) -> Plan:
    """Walk and compare. Nothing is written but the root itself, and its options once they have proved good.

    While files are read, which may take minutes, others may write to the index.
    """
    if not target.folder.is_dir():
        was_known = any(
            target.folder.is_relative_to(r.path) or r.path.is_relative_to(target.folder) for r in db.roots()
        )
        moved = "; nothing was removed. If it has moved: `curator roots move OLD NEW`"
        raise RootMissing(f"{target.folder} is not there{moved if was_known else ', and was never indexed'}")
    around = next((r for r in db.roots() if target.folder.is_relative_to(r.path)), Root(0, target.folder, {}))
    look = _Look.at(around, target, options)
    with db.aside(job):
        walked = look.walk(job)
    _refuse_empty(db, around, look, walked)
    with db.aside(job):
        read = look.notes(walked)
    with db.atomic():  # a plan that fails leaves no trace
        before = {r.id: r for r in db.roots()}
        root = db.add_root(target.folder)
        _refuse_empty(db, root, look, walked)
        plan = Plan(root, look.options, walked, read.notes, read.remarks + walked.remarks())
        skipped = {s.path: s for _, s in skipped_files(db, root.id) if s.path in look.scope}
        plan.listed = frozenset(skipped)
        _sort_out(plan, db, look.scope, skipped)
        is_new = root.id not in before or FORGOTTEN in root.options
        if is_new:
            _refuse_moved(db, plan)
        parts = look.parts()
        if parts:  # a root known in parts keeps the parts that the roots it took in were
            now = {r.id for r in db.roots()}
            taken_in = (r for r in before.values() if r.id not in now and FORGOTTEN not in r.options)
            parts += [part for r in taken_in for part in _parts(r, root)]
        _store_options(db, plan, parts, is_new=is_new)
    return plan


@dataclass(frozen=True)
class _Look:
    """What of a folder is looked at, and how: known before a file is read."""

    folder: Path
    options: IngestOptions
    under: str
    only: tuple[str, ...]
    is_new_pattern: bool  # whether the regular expression is of this time, and not a root's stored one

    @classmethod
    def at(cls, root: Root, target: Target, options: IngestOptions) -> _Look:
        """A target within its root, with the root's options where none were given."""
        under = target.folder.relative_to(root.path).as_posix() if target.folder != root.path else ""
        only = tuple(f"{under}/{name}" if under else name for name in target.files)
        return cls(root.path, options.over(root.options), under, only, bool(options.label_from_name))

    @property
    def scope(self) -> _Scope:
        """The paths below the root that are spoken of."""
        return _Scope(self.under, frozenset(self.only))

    def parts(self) -> list[str]:
        """The parts of the root that are spoken of; none for the whole."""
        return list(self.only) or ([self.under] if self.under else [])

    def walk(self, job: Job) -> Walk:
        """The files that are there."""
        if self.only:
            return walk_files(self.folder, list(self.only))
        return walk(self.folder, exclude=self.options.exclude or (), under=self.under, job=job)

    def notes(self, walked: Walk) -> NotesRead:
        """What side-cars and tables say of them."""
        options = self.options
        table = Path(options.table).expanduser() if options.table else None
        sources = NoteSources(
            options.label_from, options.label_from_name, table, options.key, options.encoding,
            must_join=not self.under and not self.only, is_new_pattern=self.is_new_pattern,
        )  # fmt: skip
        return read_notes(self.folder, walked.images, walked.sidecars, sources)


def _parts(inner: Root, outer: Root) -> list[str]:
    prefix = inner.path.relative_to(outer.path).as_posix()
    return [f"{prefix}/{part}" for part in inner.options.get("only", [])] or [prefix]


def _refuse_moved(db: Writer, plan: Plan) -> None:
    """Raise `UsageError` for a new folder that holds what a vanished root held.

    It is that root, moved; indexed as new it would lose ids and tags.
    """
    for root in db.roots():
        if root.id == plan.root.id or root.path.exists() or FORGOTTEN in root.options:
            continue
        lost = both = 0
        for _, file, known in _beside(plan.walked.images, each_known(db, root.id)):
            lost += known is not None and known.removed is None
            both += known is not None and known.removed is None and file is not None
        if both > lost / 2:
            raise UsageError(
                f"{plan.root.path} holds the pictures of {root.path}, which is not there any more. If it has moved: "
                f"`curator roots move {root.path} {plan.root.path}` keeps ids and tags; if not: `curator roots forget "
                f"{root.path}`"
            )


@dataclass(frozen=True)
class _Scope:
    """The paths below a root that one pass speaks of."""

    under: str
    only: frozenset[str]

    def __contains__(self, path: str) -> bool:
        if self.only:
            return path in self.only
        return not self.under or path == self.under or path.startswith(self.under + "/")


def _store_options(db: Writer, plan: Plan, parts: list[str], *, is_new: bool) -> None:
    """A whole folder's options are remembered; of one known only in parts, the parts are.

    Parts of a whole change nothing.
    """
    if not parts:
        options = plan.options.to_store()
    elif is_new or "only" in plan.root.options:
        options_left = {k: v for k, v in plan.root.options.items() if k != FORGOTTEN}
        options = {**options_left, "only": sorted({*options_left.get("only", []), *parts})}
    else:
        return
    with db.atomic():
        db.set_root_options(plan.root.id, options)


def _refuse_empty(db: Writer, root: Root, look: _Look, walked: Walk) -> None:
    """Raise `RootMissing` where every picture is gone: what is not mounted looks so."""
    if look.only or walked.images or walked.excluded or look.options.allow_empty:
        return
    present = sum(k.removed is None and path in look.scope for path, k in each_known(db, root.id))
    if present:
        raise RootMissing(
            f"{look.folder} holds no picture now, and the index knows {present} of it: an unmounted disk looks like "
            "this. Nothing was removed; if they are really gone, run again with --allow-empty"
        )


def _sort_out(plan: Plan, db: Writer, scope: _Scope, skipped: Mapping[str, Skipped]) -> None:
    """Divide the files by path, size and time alone; files and rows go by in one order, and only what differs stays."""
    walked, is_fresh = plan.walked, bytearray()
    listed = {s.path for s in (*walked.broken, *walked.unreadable)}
    for path, file, known in _beside(walked.images, each_known(db, plan.root.id)):
        if file is None:
            absent = {None: plan.gone, "by hand": plan.hidden_gone}.get(known.removed if known else "")
            if known and absent is not None and path in scope and walked.was_seen(path):
                absent[path] = known
            continue
        bad = skipped.get(path)
        listed |= {path} if bad else set()
        is_fresh.append(0)
        if bad and _is_same(bad, file) and not plan.options.retry:
            plan.still_skipped += 1
        elif known and _is_same(known, file) and known.removed in (None, "by hand"):
            plan.unchanged += 1
            plan.stale_skipped += [path] if bad else []
            _renote(plan, path, known)
        else:
            is_fresh[-1] = 1
            if known:
                plan.known[path] = known
    plan.stale_skipped += [p for p in skipped if p not in listed and walked.was_seen(p)]
    plan.fresh = walked.images.only(is_fresh)


def _beside(
    files: ImageFiles, rows: Iterator[tuple[str, KnownImage]]
) -> Iterator[tuple[str, ImageFile | None, KnownImage | None]]:
    """Each path with its file and what is known of it, one of which may be missing, in the order of paths."""
    ahead, known = iter(files), next(rows, None)
    file = next(ahead, None)
    while file or known:
        file_order = stored_order(file.path) if file else None
        row_order = stored_order(known[0]) if known else None
        if file and known and file_order == row_order:
            yield file.path, file, known[1]
            file, known = next(ahead, None), next(rows, None)
        elif file and (row_order is None or (file_order is not None and file_order < row_order)):
            yield file.path, file, None
            file = next(ahead, None)
        elif known:
            yield known[0], None, known[1]
            known = next(rows, None)


def _is_same(before: KnownImage | Skipped, file: ImageFile) -> bool:
    return (before.size, before.mtime_ns) == (file.size, file.mtime_ns)


def _renote(plan: Plan, path: str, known: KnownImage) -> None:
    """Metadata follows its sources whether or not the picture changed."""
    notes, origin = notes_of(plan, path, known), origin_of(plan, known)
    extra = to_json(notes.extra, sort_keys=True, ensure_ascii=False)
    if (known.origin, known.label, known.caption, known.extra) != (origin, notes.label, notes.caption, extra):
        plan.renoted[known.id] = (origin, notes)


def notes_of(plan: Plan, path: str, known: KnownImage | None) -> Notes:
    """What is said of a file now, or, where nothing is, what was known of it."""
    notes = plan.notes.get(path)
    if notes is None and known is not None:
        return Notes(known.label, known.caption, json.loads(known.extra))
    return notes or Notes()


def origin_of(plan: Plan, known: KnownImage | None) -> str:
    """What the person says, else what was known, else "real"."""
    return plan.options.origin or (known.origin if known else "real")
