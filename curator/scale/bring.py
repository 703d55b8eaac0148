"""From a set to this machine: pictures and vectors of a selection into a local index, where all the rest works."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from curator.errors import ScaleProblem, UnknownName, UsageError
from curator.files import sha256_of, write_whole
from curator.images import SUFFIXES
from curator.index import Index
from curator.index.size import MANY
from curator.ingest import IngestOptions, ingest
from curator.ingest.importing.embedded import Part, keep_vectors
from curator.job import QUIET, Job
from curator.records import IngestReport
from curator.registry import suggest
from curator.scale.drive import whole_set
from curator.scale.records import MOST_ROWS, ROW_BITS
from curator.scale.select import ROWS
from curator.scale.shards import read_rows
from curator.scale.storage import Storage, StorageError, members_of, read_uri, tar_of
from curator.scale.towers import open_encoder
from curator.selection.select import replay
from curator.texts import to_json

_UNSAFE = re.compile(r"[^\w.+-]+")
_BATCH = 64  # pictures of one tar that are fetched at a time
NOTES = "metadata.jsonl"


@dataclass
class BringReport:
    """What was fetched, what was here already, what could not be had and why, and what indexing it did."""

    selection: str
    folder: str
    fetched: int = 0
    already: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    report: IngestReport = field(default_factory=IngestReport)


def bring(
    place: str, name: str, index: Index, folder: Path, *, overwrite: bool = False, job: Job = QUIET
) -> BringReport:
    """Fetch the pictures of a set's selection, check them, and take them over with their vectors; again, the rest.

    The selection is kept in the index under its name. Raises `UnknownName`, `UsageError` for a name that the index has
    already, `SpaceMismatch`, `ScaleProblem`.
    """
    storage = Storage(place)
    rows = _selected(storage, name)
    folder = folder.expanduser().absolute()
    if len(rows) > MANY:
        job.say(f"Warning: {len(rows):,} images are many for one machine: searches will read all of them.")
    report = BringReport(name, str(folder))
    files = {int(row["id"]): folder / _file_name(row) for row in rows}
    for part in _by_home(rows):
        _fetch(part, files, report)
        job.progress(report.fetched + report.already + len(report.missing), len(rows), "fetching")
        job.check()
    fetched = [row for row in rows if row["uri"] not in report.missing]
    if not fetched:
        raise ScaleProblem(f"none of the pictures of '{name}' could be fetched: {next(iter(report.missing.values()))}")
    _write_notes(folder, fetched, files)
    whole = whole_set(storage)
    encoder = open_encoder(storage, whole.facts)
    wanted = np.array(sorted(int(row["id"]) for row in fetched), np.int64)

    def parts() -> Iterator[Part]:
        for receipt in whole.receipts:
            of_shard = wanted[wanted >> ROW_BITS == receipt.shard]
            if len(of_shard):
                part = whole.part(receipt, ("norm",))
                chosen = part.take(np.flatnonzero(np.isin(part.ids, of_shard)).astype(np.int64))
                norms = np.asarray(chosen.table["norm"].to_numpy(), np.float32)
                yield [files[i] for i in chosen.ids.tolist()], chosen.x, norms

    keep_vectors(index, storage.place, parts(), encoder, job)
    report.report = ingest(index, [folder], encoder, IngestOptions(), job=job)
    manifest = json.loads(storage.read(f"select/{name}/manifest.json"))
    if "images" in manifest:
        replay(index, manifest, as_listed=True, overwrite=overwrite, job=job)
    return report


def _selected(storage: Storage, name: str) -> list[dict[str, Any]]:
    storage.require("set.json")
    try:
        return list(read_rows(storage, f"select/{name}/{ROWS}").to_pylist())
    except FileNotFoundError as error:
        raise UnknownName(
            f"no selection '{name}' in {storage.place}; {suggest(name, storage.folders('select'))}"
        ) from error


def _file_name(row: Mapping[str, Any]) -> str:
    """Where a picture goes: by shard and row, with as much of its own name as is safe."""
    shard, number = divmod(int(row["id"]), MOST_ROWS)
    chained = tar_of(row["uri"])
    plain = (chained[1] if chained else row["uri"]).rpartition("/")[2]
    name = _UNSAFE.sub("_", plain).lstrip(".")[-60:]
    if Path(name).suffix.lower() not in SUFFIXES:  # a name by which `curator index` would not know it for a picture
        name += f".{(row.get('format') or 'img').lower()}"
    return f"{shard:06d}/{number:07d}-{name}"


def _by_home(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Pictures of one tar together, as a tar is read from its beginning; files one by one."""
    tars: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        chained = tar_of(row["uri"])
        if chained:
            tars.setdefault(chained[0], []).append(row)
        else:
            yield [row]
    yield from tars.values()


def _fetch(rows: Sequence[dict[str, Any]], files: Mapping[int, Path], report: BringReport) -> None:
    """Fetch what is not here with the right bytes. What cannot be had, or has changed, is noted."""
    absent = []
    for row in rows:
        file = files[int(row["id"])]
        if file.is_file() and sha256_of(file) == row["sha256"].hex():
            report.already += 1
        else:
            absent.append(row)
    for start in range(0, len(absent), _BATCH):
        batch = absent[start : start + _BATCH]
        contents, problem = _contents(batch)
        for row in batch:
            data = contents.get(row["uri"])
            if data is None:
                report.missing[row["uri"]] = problem
            elif hashlib.sha256(data).digest() != row["sha256"]:
                report.missing[row["uri"]] = "has changed since it was embedded; plan and embed the set again"
            else:
                file = files[int(row["id"])]
                file.parent.mkdir(parents=True, exist_ok=True)
                write_whole(file, data)
                report.fetched += 1


def _contents(rows: Sequence[dict[str, Any]]) -> tuple[dict[str, bytes], str]:
    """uri → bytes, and what was wrong with the rest."""
    chained = tar_of(rows[0]["uri"])
    try:
        if chained is None:
            return {row["uri"]: read_uri(row["uri"]) for row in rows}, ""
        members = {member[1]: row["uri"] for row in rows if (member := tar_of(row["uri"]))}
        data = members_of(chained[0], set(members))
        return {members[name]: content for name, content in data.items()}, ""
    except FileNotFoundError:
        return {}, "is not there any more"
    except (OSError, StorageError) as error:
        return {}, f"cannot be read: {error}"


def _write_notes(folder: Path, rows: Sequence[Mapping[str, Any]], files: Mapping[int, Path]) -> None:
    """Labels, captions and further columns where `curator index` reads them, beside those of earlier selections.

    Raises `UsageError` where the folder holds such a table that is somebody else's.
    """
    lines: dict[str, str] = {}
    target = folder / NOTES
    for row in rows:
        name = files[int(row["id"])].relative_to(folder).as_posix()
        said = {"label": row["label"], "caption": row["caption"]} | json.loads(row["extra"] or "{}")
        known = {k: v for k, v in said.items() if v is not None}
        lines[name] = to_json(known | {"file_name": name, "uri": row["uri"]}, ensure_ascii=False)
    if target.exists():
        for line in target.read_text("utf-8").split("\n"):
            if not line:
                continue
            stored = json.loads(line)
            if "uri" not in stored:
                raise UsageError(f"{target} is there already and not of a set; bring the pictures to another folder")
            lines.setdefault(stored["file_name"], line)
    write_whole(target, "".join(f"{line}\n" for _, line in sorted(lines.items())))
