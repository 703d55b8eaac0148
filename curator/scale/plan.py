"""A source of pictures → the plan: which file is in which shard, settled before the first one is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from curator.errors import NoSet, RootMissing, UsageError
from curator.job import QUIET, Job
from curator.records import Notes
from curator.registry import extra
from curator.scale.records import MOST_ROWS, PlanFile, SetFacts
from curator.scale.shards import put_rows, read_rows
from curator.scale.sources import PlannedFile, PlanReport, list_source, named_source
from curator.scale.storage import Storage
from curator.texts import to_json

SHARD_SIZE = 2_048  # pictures; about a minute of work on a CPU. On GPUs 16,384
SUPERSEDED = "plan/superseded.parquet"
_FILE_ROWS = 1_000_000  # rows of one file of the plan at most


def make_plan(
    source: str,
    place: str,
    *,
    shard_size: int = SHARD_SIZE,
    options: Mapping[str, str] | None = None,
    dry_run: bool = False,
    job: Job = QUIET,
) -> PlanReport:
    """Plan a folder, a bucket, tar shards, or a table with a column `uri`; again, plan what is new or has changed.

    `options`: label_from, label_from_name, table, key, encoding, as for `curator index`; a later plan takes those of
    the first. Raises `UsageError`, `RootMissing`, `SetFull`.
    """
    storage = Storage(place)
    before = _facts_there(storage)
    if before is not None and source != before.source and named_source(source) != before.source:
        raise UsageError(f"{place} is a set of {before.source}; name another place for {source}")
    if not 1 <= shard_size <= MOST_ROWS:
        raise UsageError(f"a shard has 1 to {MOST_ROWS:,} pictures, not {shard_size}")
    how = dict(options or {}) if options or before is None else dict(before.options)
    report = PlanReport(named_source(source), "files")
    entries = list_source(named_source(source), how, report, job)
    if not entries:
        raise RootMissing(f"{source} holds no picture, tar or table that can be read; nothing was planned")
    facts = before or SetFacts(report.source, report.kind, shard_size, options=how, version=version("image-curator"))
    stale = _compare(storage, facts, entries, report)
    report.shards = -(-report.new // (1 if facts.kind == "tars" else facts.shard_size))
    if not dry_run and (report.new or stale or before is None):
        facts = _write(storage, facts, entries, job)
        if stale:
            facts = replace(facts, superseded=_put_superseded(storage, stale))
        storage.put("set.json", facts.to_json())
    return report


def read_facts(storage: Storage) -> SetFacts:
    """`set.json` of a set. Raises `NoSet`, `SetDamaged`."""
    return SetFacts.from_json(storage.require("set.json"), storage.place)


def entries_of(storage: Storage, facts: SetFacts, shard: int) -> list[PlannedFile]:
    """The planned files of one shard, in order: their places are the rows of the shard."""
    pq = extra("pyarrow.parquet", "scale")
    part = facts.plan_of(shard)
    with storage.open(part.file) as opened:
        rows = pq.ParquetFile(opened).read_row_group(shard - part.first).to_pylist()
    return [_entry_of(row) for row in rows]


def superseded_rows(storage: Storage, facts: SetFacts) -> dict[int, set[str]]:
    """shard → uris of rows that a later plan took back, because the file has changed or gone."""
    if not facts.superseded:
        return {}
    table = read_rows(storage, SUPERSEDED)
    stale: dict[int, set[str]] = {}
    for shard, uri in zip(table["shard"].to_pylist(), table["uri"].to_pylist(), strict=True):
        stale.setdefault(shard, set()).add(uri)
    return stale


def _facts_there(storage: Storage) -> SetFacts | None:
    try:
        return read_facts(storage)
    except NoSet:
        return None


def _compare(storage: Storage, facts: SetFacts, entries: list[PlannedFile], report: PlanReport) -> dict[int, set[str]]:
    """Leave in `entries` what is not planned yet → shard → uris of rows that do not count any more."""
    report.kind = facts.kind
    known: dict[str, tuple[int, str]] = {}
    stale = superseded_rows(storage, facts)
    for shard in range(facts.shards):
        for entry in entries_of(storage, facts, shard):
            if entry.uri not in stale.get(shard, ()):
                known[entry.uri] = (shard, entry.etag)
    there = {e.uri: e.etag for e in entries}
    lost = [u for u in known if u not in there and not u.startswith(tuple(report.unseen))]
    changed = [u for u, (_, etag) in known.items() if u in there and there[u] != etag]
    report.gone, report.changed = len(lost), len(changed)
    for uri in (*lost, *changed):
        stale.setdefault(known[uri][0], set()).add(uri)
    entries[:] = [e for e in entries if known.get(e.uri, (0, None))[1] != e.etag]
    report.new, report.known = len(entries), len(known) - len(lost) - len(changed)
    report.bytes = sum(e.size for e in entries)
    return stale if lost or changed else {}


def _write(storage: Storage, facts: SetFacts, entries: Sequence[PlannedFile], job: Job) -> SetFacts:
    """Further files of the plan, whose shards follow those there are."""
    pa = extra("pyarrow", "scale")
    size = 1 if facts.kind == "tars" else facts.shard_size
    per_file = max(1, _FILE_ROWS // size) * size
    plan = list(facts.plan)
    for start in range(0, len(entries), per_file):
        part = entries[start : start + per_file]
        first = plan[-1].first + plan[-1].shards if plan else 0
        rows = [_row_of(e) | {"shard": first + n // size} for n, e in enumerate(part)]
        file = f"plan/{len(plan):05d}.parquet"
        # A row group is a shard, so that a worker reads its own and no other.
        digest = put_rows(storage, file, pa.Table.from_pylist(rows, _schema(pa)), row_group=size)
        plan.append(PlanFile(file, digest, first, -(-len(part) // size), len(part)))
        job.progress(start + len(part), len(entries), "planning", unit="files")
    return replace(facts, plan=tuple(plan))


def _put_superseded(storage: Storage, stale: Mapping[int, set[str]]) -> str:
    pa = extra("pyarrow", "scale")
    rows = [{"shard": shard, "uri": uri} for shard in sorted(stale) for uri in sorted(stale[shard])]
    schema = pa.schema([("shard", pa.int32()), ("uri", pa.string())])
    return put_rows(storage, SUPERSEDED, pa.Table.from_pylist(rows, schema))


def _schema(pa: Any) -> Any:
    names = ("uri", "etag", "label", "caption", "extra")
    return pa.schema([("shard", pa.int32()), ("size", pa.int64()), *((name, pa.string()) for name in names)])


def _row_of(entry: PlannedFile) -> dict[str, Any]:
    notes = entry.notes
    written = {"label": notes.label, "caption": notes.caption}
    return written | {
        "uri": entry.uri,
        "size": entry.size,
        "etag": entry.etag,
        "extra": to_json(notes.extra, sort_keys=True, ensure_ascii=False) if notes.extra else None,
    }


def _entry_of(row: Mapping[str, Any]) -> PlannedFile:
    notes = Notes(row["label"], row["caption"], json.loads(row["extra"]) if row["extra"] else {})
    return PlannedFile(row["uri"], row["size"], row["etag"], notes)
