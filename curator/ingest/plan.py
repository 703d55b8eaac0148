"""What a folder's pictures mean for an index: walk, and compare with what is known by path, size and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from curator.database import Writer
from curator.database.listed import skipped_files
from curator.errors import RootMissing, UsageError
from curator.images import SUFFIXES, NoteSources, NotesRead, Walk, absolute, read_notes, walk, walk_files
from curator.job import QUIET, Job
from curator.records import FORGOTTEN, ImageFile, KnownImage, Notes, Root, Skipped


@dataclass(frozen=True)
class IngestOptions:
    """How to read a root. None means: as last time, else the default.

    `exclude` globs; `label_from` "folder" or a column's name; `label_from_name` a regular expression; `table` a CSV,
    JSON-lines or parquet file joined by `key` or the usual columns; `encoding` of texts that are not UTF-8; `origin`
    "real" or "generated". `allow_empty` believes a root that has lost every picture; `retry` reads skipped files again.
    """

    exclude: tuple[str, ...] | None = None
    label_from: str | None = None
    label_from_name: str | None = None
    table: str | None = None
    key: str | None = None
    encoding: str | None = None
    origin: str | None = None
    allow_empty: bool = False
    retry: bool = False

    def __post_init__(self) -> None:
        globs: Any = self.exclude
        if globs is not None:  # one glob alone is not a list of its letters
            object.__setattr__(self, "exclude", (globs,) if isinstance(globs, str) else tuple(globs))
        if self.label_from and self.label_from_name:
            raise UsageError("--label-from and --label-from-name both say where labels come from; name one")
        if self.encoding:
            try:
                b"a".decode(self.encoding)
            except (LookupError, UnicodeError) as error:
                raise UsageError(f"no encoding '{self.encoding}'; cp1252, gbk and shift_jis are some") from error

    def over(self, stored: Mapping[str, object]) -> IngestOptions:
        """These options, with what they leave open taken from a root's stored ones."""
        filled: dict[str, Any] = {k: v if v is not None else stored.get(k) for k, v in asdict(self).items()}
        filled["exclude"] = tuple(filled["exclude"] or ())
        # Where labels come from is one choice: a new one takes the place of the other.
        if self.label_from:
            filled["label_from_name"] = None
        elif self.label_from_name:
            filled["label_from"] = None
        return IngestOptions(**filled)

    def to_store(self) -> dict[str, object]:
        names = ("label_from", "label_from_name", "table", "key", "encoding", "origin")
        stored = {"exclude": list(self.exclude or ())} | {name: getattr(self, name) for name in names}
        return {k: v for k, v in stored.items() if v}


@dataclass
class Plan:
    """What a walk means for one root."""

    root: Root
    options: IngestOptions
    walked: Walk
    notes: Mapping[str, Notes]
    remarks: tuple[str, ...]
    known: Mapping[str, KnownImage]
    stale_skipped: list[str] = field(default_factory=list)
    fresh: list[ImageFile] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
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
    _refuse_empty(look, walked, db.known(around.id))
    with db.aside(job):
        read = look.notes(walked)
    with db.atomic():  # a plan that fails leaves no trace
        before = {r.id: r for r in db.roots()}
        root = db.add_root(target.folder)
        known = {p: k for p, k in db.known(root.id).items() if p in look.scope}
        _refuse_empty(look, walked, known)
        plan = Plan(root, look.options, walked, read.notes, read.remarks + walked.remarks(), known)
        skipped = {s.path: s for _, s in skipped_files(db, root.id) if s.path in look.scope}
        plan.listed = frozenset(skipped)
        _sort_out(plan, skipped)
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

    @classmethod
    def at(cls, root: Root, target: Target, options: IngestOptions) -> _Look:
        """A target within its root, with the root's options where none were given."""
        under = target.folder.relative_to(root.path).as_posix() if target.folder != root.path else ""
        only = tuple(f"{under}/{name}" if under else name for name in target.files)
        return cls(root.path, options.over(root.options), under, only)

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
            must_join=not self.under and not self.only,
        )  # fmt: skip
        return read_notes(self.folder, walked.images, walked.sidecars, sources)


def _parts(inner: Root, outer: Root) -> list[str]:
    prefix = inner.path.relative_to(outer.path).as_posix()
    return [f"{prefix}/{part}" for part in inner.options.get("only", [])] or [prefix]


def _refuse_moved(db: Writer, plan: Plan) -> None:
    """Raise `UsageError` for a new folder that holds what a vanished root held.

    It is that root, moved; indexed as new it would lose ids and tags.
    """
    seen = {f.path for f in plan.walked.images}
    for root in db.roots():
        if root.id == plan.root.id or root.path.exists() or FORGOTTEN in root.options:
            continue
        lost = [p for p, k in db.known(root.id).items() if k.removed is None]
        if lost and len(seen.intersection(lost)) > len(lost) / 2:
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


def _refuse_empty(look: _Look, walked: Walk, known: Mapping[str, KnownImage]) -> None:
    """Raise `RootMissing` where every picture is gone: what is not mounted looks so."""
    present = sum(1 for path, k in known.items() if k.removed is None and path in look.scope)
    spared = look.only or walked.images or walked.excluded or look.options.allow_empty
    if present and not spared:
        raise RootMissing(
            f"{look.folder} holds no picture now, and the index knows {present} of it: an unmounted disk looks like "
            "this. Nothing was removed; if they are really gone, run again with --allow-empty"
        )


def _sort_out(plan: Plan, skipped: Mapping[str, Skipped]) -> None:
    """Fill `fresh`, `unchanged`, `gone` and `hidden_gone` by path, size and time alone."""
    walked, cleared = plan.walked, []
    for file in walked.images:
        known, bad = plan.known.get(file.path), skipped.get(file.path)
        same = known is not None and (known.size, known.mtime_ns) == (file.size, file.mtime_ns)
        if bad is not None and (bad.size, bad.mtime_ns) == (file.size, file.mtime_ns) and not plan.options.retry:
            plan.still_skipped += 1
        elif same and known is not None and known.removed in (None, "by hand"):
            plan.unchanged.append(file.path)
            cleared += [file.path] if bad is not None else []
        else:
            plan.fresh.append(file)
    seen = {f.path for f in walked.images}
    absent = {p: k for p, k in plan.known.items() if p not in seen and walked.was_seen(p)}
    plan.gone = {p: k for p, k in absent.items() if k.removed is None}
    plan.hidden_gone = {p: k for p, k in absent.items() if k.removed == "by hand"}
    listed = seen | {s.path for s in (*walked.broken, *walked.unreadable)}
    plan.stale_skipped = cleared + [p for p in skipped if p not in listed and walked.was_seen(p)]
