"""What a source of pictures holds: a folder, a bucket, tar shards, or a table that names them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curator.errors import RootMissing, UsageError
from curator.images import SUFFIXES, NoteSources, absolute, notes_of_rows, read_notes, walk
from curator.images.tables import KEYS, Remarks, read_table
from curator.job import Job
from curator.records import ImageFile, Notes
from curator.scale.storage import checked, file_system, insistently, mark_of, read_uri

_TABLES = (".csv", ".jsonl", ".parquet")
_TAR = re.compile(r"\.tar(\.(gz|bz2|xz))?$", re.I)
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_URIS = ("uri", "url", *KEYS)


@dataclass(frozen=True)
class PlannedFile:
    """One file of the source as it was when it was planned; `etag` changes with its content."""

    uri: str
    size: int
    etag: str
    notes: Notes = Notes()  # noqa: RUF009 - frozen


@dataclass
class PlanReport:
    """What a plan added: files and shards, those that were known, and how many rows of before do not count any more."""

    source: str
    kind: str
    new: int = 0
    shards: int = 0
    bytes: int = 0
    known: int = 0
    changed: int = 0
    gone: int = 0
    remarks: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)  # folders that could not be listed: what is in them is not gone


def named_source(source: str) -> str:
    """A source as it is written down: a local one as an absolute path."""
    checked(source)
    return source if "://" in source else str(absolute(Path(source)))


def list_source(source: str, how: Mapping[str, str], report: PlanReport, job: Job) -> list[PlannedFile]:
    """What the source holds, sorted by uri."""
    if source.endswith(_TABLES):
        entries = _of_table(source, report)
    elif _TAR.search(source) and not ("://" not in source and Path(source).is_dir()):
        report.kind = "tars"
        entries = [e for pattern in _expanded(source) for e in _matching(pattern)]
    elif "://" in source:
        entries = _of_bucket(source, how, report)
    else:
        entries = _of_folder(Path(source), how, report, job)
        if not entries and (tars := list(_matching(f"{source}/*.tar"))):
            report.kind, entries = "tars", tars
    return sorted(_readable(entries, report), key=lambda e: e.uri)


def _readable(entries: Iterable[PlannedFile], report: PlanReport) -> Iterator[PlannedFile]:
    """Each uri once, and none that is not text: Parquet holds UTF-8."""
    seen = set()
    for entry in entries:
        if not entry.uri.isprintable() and any("\ud800" <= c <= "\udfff" for c in entry.uri):
            report.remarks.append(f"{entry.uri!r} is left out: its name is not UTF-8")
        elif entry.uri not in seen:
            seen.add(entry.uri)
            yield entry


def _of_folder(folder: Path, how: Mapping[str, str], report: PlanReport, job: Job) -> list[PlannedFile]:
    """A folder of this machine, with its side-cars, as `curator index` reads it."""
    walked = walk(folder, job=job)
    table = Path(how["table"]) if "table" in how else None
    more = {k: v for k, v in how.items() if k != "table"}
    read = read_notes(folder, walked.images, walked.sidecars, NoteSources(table=table, **more))  # type: ignore[arg-type]
    report.remarks += [*read.remarks, *walked.remarks()]
    report.remarks += [f"{s.path}: {s.reason}" for s in (*walked.unreadable, *walked.broken)]
    report.unseen += [f"{folder}/{s.path}/" for s in walked.unreadable]
    return [_of_file(folder, f, read.notes.get(f.path, Notes())) for f in walked.images]


def _of_file(folder: Path, file: ImageFile, notes: Notes) -> PlannedFile:
    return PlannedFile(f"{folder}/{file.path}", file.size, f"{file.size}-{file.mtime_ns}", notes)


def _of_bucket(source: str, how: Mapping[str, str], report: PlanReport) -> list[PlannedFile]:
    """Object storage: names and what the storage says of them. Side-cars are not read there; a table says labels."""
    fs, root = file_system(source)
    listed = insistently(lambda: fs.find(root, detail=True), source)
    files = {name: info for name, info in sorted(listed.items()) if _is_picture(name.removeprefix(root))}
    paths = {name: name.removeprefix(root).lstrip("/") for name in files}
    images = [ImageFile(paths[name], int(info.get("size") or 0), 0) for name, info in files.items()]
    if not files and (tars := [n for n in listed if n.endswith(".tar")]):
        report.kind = "tars"
        return [_of_info(fs.unstrip_protocol(n), listed[n]) for n in tars]
    unknown = [k for k in how if k not in ("label_from", "label_from_name")]
    if unknown or how.get("label_from", "folder") != "folder":
        raise UsageError(
            f"--{(unknown or ['label_from'])[0].replace('_', '-')} reads side-cars, which are read on this machine's "
            "disks alone; plan a table with the columns uri and label"
        )
    notes = read_notes(Path(root), images, [], NoteSources(**how)).notes  # type: ignore[arg-type]
    return [_of_info(fs.unstrip_protocol(n), i, notes.get(paths[n], Notes())) for n, i in files.items()]


def _is_picture(path: str) -> bool:
    hidden = any(part.startswith(".") for part in path.split("/"))
    return not hidden and Path(path).suffix.lower() in SUFFIXES


def _of_info(uri: str, info: Mapping[str, Any], notes: Notes = Notes()) -> PlannedFile:  # noqa: B008 - frozen
    return PlannedFile(uri, int(info.get("size") or 0), mark_of(info), notes)


def _expanded(pattern: str) -> list[str]:
    """`{00000..00999}` as webdataset writes it → every name."""
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    first, last = braces[1], braces[2]
    names = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    return [p for name in names for p in _expanded(pattern[: braces.start()] + name + pattern[braces.end() :])]


def _matching(pattern: str) -> Iterator[PlannedFile]:
    """Files that a pattern with `*` names, or the one file."""
    fs, path = file_system(pattern)
    names = insistently(lambda: fs.glob(path) if "*" in path else [path], pattern)
    for name in names:
        try:
            info = insistently(lambda name=name: fs.info(name), name)  # type: ignore[misc]
        except FileNotFoundError as error:
            raise RootMissing(f"{name} is not there; nothing was planned") from error
        yield _of_info(fs.unstrip_protocol(name) if "://" in pattern else name, info)


def _of_table(source: str, report: PlanReport) -> list[PlannedFile]:
    """Rows of a table that name pictures by uri; its other columns are labels, captions and further columns."""
    remarks = Remarks()
    try:
        with tempfile.NamedTemporaryFile(suffix=Path(source).suffix) as copy:
            copy.write(read_uri(source))
            copy.flush()
            rows = list(read_table(Path(copy.name), None, remarks))
    except FileNotFoundError as error:
        raise RootMissing(f"{source} is not there; nothing was planned") from error
    names = {str(k).strip().casefold(): str(k) for k in (rows[0] if rows else ())}
    column = next((names[n] for n in _URIS if n in names), None)
    if column is None:
        raise UsageError(f"{source} has no column `uri` that names pictures; it has: {', '.join(names) or 'none'}")
    home = source.rpartition("/")[0]
    entries = []
    for row in rows:
        uri = str(row.get(column) or "").strip()
        if not uri:
            continue
        if "://" not in uri and not uri.startswith("/"):
            uri = f"{home}/{uri}"  # as images.csv of an export has them
        mark = str(row.get("etag") or row.get("sha256") or "")
        entries.append(PlannedFile(checked(uri), 0, mark, notes_of_rows([row], remarks, without=column)))
    report.remarks += remarks.lines()
    return entries
