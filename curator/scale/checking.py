"""How far a set is, and whether it is still what was written."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curator.embeddings import normalise
from curator.errors import PictureError, ScaleProblem, SpaceMismatch
from curator.images import decode
from curator.job import QUIET, Job
from curator.records import Finding
from curator.scale.plan import read_facts
from curator.scale.records import Receipt, SetFacts
from curator.scale.shards import read_part, read_receipts, receipt_name
from curator.scale.storage import Storage, StorageError, read_uri, written_at
from curator.scale.towers import open_encoder

_OLD = 86_400.0  # seconds after which a file that no receipt names is nobody's
SAME = 0.999  # least cosine of a row that is encoded anew


@dataclass(frozen=True)
class SetStatus:
    """What the receipts say: nothing else is read."""

    facts: SetFacts
    shards_done: int
    rows: int
    bytes: int
    skipped: dict[str, int]  # reason → pictures
    images_per_second: float | None  # of one worker
    hours_left: float | None  # of one worker
    datasets: tuple[str, ...]  # what `dedupe` and `select` wrote


def set_status(place: str) -> SetStatus:
    """How far a set is. Raises `NoSet`, `SetDamaged`."""
    storage = Storage(place)
    facts = read_facts(storage)
    receipts = list(read_receipts(storage, facts).values())
    reasons = Counter(s.reason for r in receipts for s in r.skipped)
    seconds, pictures = sum(r.seconds for r in receipts), sum(r.rows + len(r.skipped) for r in receipts)
    rate = pictures / seconds if seconds > 0 and pictures else None
    left = None if rate is None else (facts.shards - len(receipts)) * pictures / len(receipts) / rate / 3600
    results = tuple(f"{kind}/{name}" for kind in ("dedupe", "select") for name in storage.folders(kind))
    return SetStatus(
        facts, len(receipts), sum(r.rows for r in receipts), sum(r.size for r in receipts),
        dict(reasons.most_common()), rate, left, results,
    )  # fmt: skip


def skipped_of(place: str) -> Iterator[tuple[int, str, str]]:
    """(shard, uri, reason) of every picture without a row."""
    storage = Storage(place)
    for receipt in read_receipts(storage, read_facts(storage)).values():
        yield from ((receipt.shard, s.uri, s.reason) for s in receipt.skipped)


def verify_set(
    place: str, *, deep: float = 0.0, clean: bool = False, age: float = _OLD, job: Job = QUIET
) -> Iterator[Finding]:
    """Every byte of every shard against its receipt; `deep` is the share of rows that are read and encoded anew.

    A receipt without its file is taken back, so that `curator scale embed` makes the shard again. `clean` removes files
    that no receipt names and whose age is at least so many seconds.
    """
    storage = Storage(place)
    facts = read_facts(storage)
    receipts = read_receipts(storage, facts)
    infos = storage.infos("shards")
    for name in sorted(n for n in infos if n.endswith(".json")):
        if f"shards/{name}" not in {receipt_name(n) for n in receipts}:
            storage.remove(f"shards/{name}")
            yield Finding(f"shards/{name}", "is no receipt of a file that is there; taken back", True)
    for number, receipt in enumerate(receipts.values()):
        job.check()
        try:
            yield from _check_shard(storage, facts, receipt, deep)
        except (ScaleProblem, SpaceMismatch) as error:
            if isinstance(error, StorageError):
                raise
            storage.remove(receipt_name(receipt.shard))
            yield Finding(f"shards/{receipt.file}", str(error), True)
        job.progress(number + 1, len(receipts), "verifying", unit="shards")
    receipted = {r.file for r in receipts.values()}
    for name, info in infos.items():
        if name.endswith(".parquet") and name not in receipted:
            is_old = time.time() - written_at(info) > age
            if clean and is_old:
                storage.remove(f"shards/{name}")
            yield Finding(f"shards/{name}", f"no receipt names it{'; removed' if clean and is_old else ''}", True)


def _check_shard(storage: Storage, facts: SetFacts, receipt: Receipt, deep: float) -> Iterator[Finding]:
    part = read_part(storage, facts, receipt, {}, None if deep else ())
    place = f"shards/{receipt.file}"
    if len(part) != receipt.rows or len(set(part.ids.tolist())) != receipt.rows:
        yield Finding(place, f"holds {len(part)} rows, and the receipt says {receipt.rows}", True)
    if not deep or not len(part):
        return
    encoder = open_encoder(storage, facts)
    count = min(len(part), max(1, round(deep * len(part))))
    chosen = np.random.default_rng(receipt.shard).choice(len(part), count, replace=False)
    uris, digests = part.column("uri"), part.column("sha256")
    for position in sorted(chosen.tolist()):
        uri = uris[position]
        try:
            data = read_uri(uri)
            if hashlib.sha256(data).digest() != digests[position]:
                yield Finding(uri, "has changed since it was embedded; plan the set again", False)
                continue
            x = encoder.encode_images([decode(data, side=encoder.side).picture])
        except (OSError, PictureError, ScaleProblem) as error:
            yield Finding(uri, f"cannot be read any more: {error}", False)
            continue
        cosine = float((x * normalise(part.x[position : position + 1].astype(np.float32))).sum())
        if cosine < SAME:
            yield Finding(place, f"the vector of {uri} is another one now (cosine {cosine:.4f})", True)
