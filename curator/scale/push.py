"""A set, or a local index, into a service that searches it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curator.database import Curation
from curator.embeddings import blocks
from curator.errors import UsageError
from curator.images import absolute
from curator.index import Index
from curator.job import QUIET, Job
from curator.records import Ids, Space
from curator.scale.conditions import rows_where
from curator.scale.drive import whole_set
from curator.scale.probes import words_of
from curator.scale.shards import Part
from curator.scale.storage import Storage
from curator.texts import to_json
from curator.vectors import COLUMNS, LoadPart, open_service

_PART = 4_096  # images of an index that are loaded together
_LARGE = 20_000_000  # rows from which one Postgres is a matter for somebody who knows it


@dataclass
class PushReport:
    """Parts that were loaded, those that were there already, those taken away, and how many images there are now."""

    loaded: int = 0
    already: int = 0
    removed: int = 0
    images: int = 0


def push_set(place: str, url: str, *, where: str | None = None, replace: bool = False, job: Job = QUIET) -> PushReport:
    """Load every shard of a whole set that the service has not; again, what is missing or has changed.

    `where` is DuckDB's SQL on the shards; `replace` lets go what the service has from another set or index. Raises what
    the service raises.
    """
    whole = whole_set(Storage(place))
    facts = whole.facts
    if whole.rows > _LARGE:
        job.say(f"Warning: {whole.rows:,} rows need about {whole.rows * 2.4e-6:.0f} GB in one Postgres; see the guide.")

    receipt_of = {r.shard: r for r in whole.receipts}

    def part_of(shard: int) -> _Part:
        # What a later plan took back, and the condition, are part of what a part is.
        gone = ",".join(sorted(whole.stale.get(shard, ())))
        mark = hashlib.sha256(f"{receipt_of[shard].sha256}\0{gone}\0{where}".encode()).hexdigest()
        return mark, lambda: _of_shard(whole.part(receipt_of[shard]), where)

    space = Space(0, facts.encoder, facts.fingerprint, facts.dim, 0, 0, "")
    return _push(_Target(url, space, whole.storage.place, replace), sorted(receipt_of), part_of, job)


def push_index(
    index: Index, url: str, *, where: str | None = None, replace: bool = False, job: Job = QUIET
) -> PushReport:
    """Load the images of a local index, 4,096 at a time by their ids; again, those of which something has changed."""
    if index.is_served:
        raise UsageError(
            "what a service answers for is not pushed on; push the set or the index that it was loaded from"
        )
    ids = np.intersect1d(index.reader.ids_where(where or "1"), Curation(index.reader).nodes(index.space).image_ids)
    numbers = ids // _PART
    measures = {n: index.reader.values_of(n) for n in ("sharpness", "brightness", "contrast", "entropy")}

    def part_of(number: int) -> _Part:
        rows = _of_index(index, ids[numbers == number], measures)
        digest = hashlib.sha256(rows[0].tobytes() + rows[1].tobytes() + to_json(rows[2], sort_keys=True).encode())
        return digest.hexdigest(), lambda: rows

    target = _Target(url, index.space, str(absolute(index.folder)), replace)
    return _push(target, np.unique(numbers).tolist(), part_of, job)


_Rows = tuple[Ids, Any, dict[str, list[Any]]]
_Part = tuple[str, Callable[[], _Rows]]  # its SHA-256, and its rows


@dataclass(frozen=True)
class _Target:
    """Where vectors of a space go, where they come from, and whether those from elsewhere may go."""

    url: str
    space: Space
    source: str
    replace: bool


def _push(target: _Target, numbers: Sequence[int], part_of: Callable[[int], _Part], job: Job) -> PushReport:
    service, report = open_service(target.url), PushReport()
    try:
        service.create(target.space, target.source, replace=target.replace)
        loaded = service.loaded()
        for number in loaded.keys() - set(numbers):
            service.remove(number)
            report.removed += 1
        for done, number in enumerate(numbers):
            sha256, rows = part_of(number)
            if loaded.get(number) == sha256:
                report.already += 1
            else:
                service.load(LoadPart(number, sha256, *rows()))
                report.loaded += 1
            job.progress(done + 1, len(numbers), "loading", unit="parts")
            job.check()
        if not service.is_finished:
            service.finish(job.say, words_of(target.space))
        report.images = service.count()
    finally:
        service.close()
    return report


def _of_shard(part: Part, where: str | None) -> _Rows:
    if where and len(part):
        part = part.take(np.flatnonzero(rows_where(part, where)).astype(np.int64))
    columns = {name: part.column(name) for name in COLUMNS}
    columns["sha256"] = [h.hex() for h in columns["sha256"]]
    return part.ids, part.x, columns


def _of_index(index: Index, ids: Ids, measures: Mapping[str, Mapping[int, Any]]) -> _Rows:
    images = index.images(ids)
    x = np.concatenate([index.reader.vectors(index.space, ids[b].tolist()) for b in blocks(len(ids), _PART)])
    columns: dict[str, list[Any]] = {
        name: [getattr(i, name) for i in images] for name in COLUMNS if hasattr(images[0], name)
    }
    columns["uri"] = [str(i.path) for i in images]
    columns["extra"] = [to_json(dict(i.extra), sort_keys=True) if i.extra else None for i in images]
    columns |= {n: [values.get(int(i)) for i in ids] for n, values in measures.items()}
    columns["norm"] = [float(n) for n in index.reader.norms(index.space, ids.tolist())]
    return ids, x.astype(np.float16), columns


def drop_service(url: str) -> None:
    """Remove everything of a set from a service; the set or the index that it was loaded from stays."""
    service = open_service(url)
    try:
        service.drop()
    finally:
        service.close()
