"""The driver: which shards are missing, who makes them, and what stands in the set. It holds numbers, never uris."""

from __future__ import annotations

import io
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from curator.encoders import checksums, load_encoder, probe_vectors, tower_files
from curator.errors import ScaleProblem, SpaceMismatch, UsageError
from curator.job import QUIET, Job
from curator.scale.embed import EmbedShard
from curator.scale.executor import Executor, Stage
from curator.scale.plan import read_facts, superseded_rows
from curator.scale.records import Receipt, SetFacts, SetManifest
from curator.scale.shards import ShardedSet, checked_file, read_receipts, receipt_name
from curator.scale.storage import Storage
from curator.texts import plural, to_json

DRIVER = "driver.json"
_BEAT, _SILENT = 30.0, 120.0  # seconds between two signs of life, and after which a driver is taken for gone
_EARLY, _TOO_MANY = 8, 0.2  # of the first shards, which share may fail


@dataclass
class EmbedReport:
    """What one `curator scale embed` did, and what the set holds now."""

    shards: int = 0
    already: int = 0
    done: int = 0
    rows: int = 0
    skipped: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def complete(self) -> bool:
        """Whether every shard has its receipt."""
        return self.already + self.done == self.shards


def embed_set(
    place: str, encoder: str | None, executor: Executor, *, retry_skipped: bool = False, gpu: bool = False,
    job: Job = QUIET,
) -> EmbedReport:  # fmt: skip
    """Embed every planned shard that has no receipt; again, the rest. When none is missing, the manifest is written.

    Raises `NoSet`, `SpaceMismatch`, `SetFull`, `ExecutorLost`, and `ScaleProblem` where the first shards fail.
    """
    started = time.monotonic()
    storage = Storage(place)
    facts = _settle_space(storage, read_facts(storage), encoder, job)
    receipts = sound_receipts(storage, facts, job)
    if retry_skipped:
        receipts = {n: r for n, r in receipts.items() if all(s.permanent for s in r.skipped)}
    report = EmbedReport(facts.shards, len(receipts))
    missing = [n for n in range(facts.shards) if n not in receipts]
    stage = EmbedShard(storage.place, executor.threads(), gpu, anew=retry_skipped)
    with _Driving(storage, job) as driving:
        for outcome in executor.run(stage, missing, job) if missing else ():
            driving.beat()
            _count(report, outcome)
            job.progress(report.already + report.done, facts.shards, "embedding", already=report.already, unit="shards")
    report.interrupted = job.stop
    if report.complete:
        write_manifest_of(storage, facts)
    report.seconds = time.monotonic() - started
    return report


def _count(report: EmbedReport, outcome: dict[str, Any]) -> None:
    if "failed" in outcome:
        report.failed[outcome["shard"]] = outcome["failed"]
    else:
        report.done += 1
        report.rows += outcome["rows"]
        report.skipped += outcome["skipped"]
    finished = report.done + len(report.failed)
    if finished <= _EARLY and len(report.failed) > max(1, _TOO_MANY * _EARLY):
        reason = Counter(report.failed.values()).most_common(1)[0][0]
        raise ScaleProblem(
            f"{len(report.failed)} of the first {finished} shards failed, so the rest was not tried: {reason}"
        )


def _settle_space(storage: Storage, facts: SetFacts, encoder: str | None, job: Job) -> SetFacts:
    """The set's space: that of its first shard, for good. Raises `SpaceMismatch` for another encoder."""
    if facts.fingerprint:
        if encoder is not None and encoder != facts.encoder:
            raise SpaceMismatch(
                f"{storage.place} is a set of '{facts.encoder}'; plan another set for '{encoder}', a set has one space"
            )
        return facts
    if encoder is None:
        raise UsageError("which encoder? `-e small` is bundled, `-e base` is better for photos; a set has one for good")
    loaded = load_encoder(encoder)
    files = tower_files(loaded)
    job.say(f"Encoder: {encoder}, written into the set ({sum(f.stat().st_size for f in files.values()) / 1e6:.0f} MB).")
    for name, file in files.items():
        storage.put(f"encoder/{name}", file.read_bytes())
    probe = io.BytesIO()
    np.save(probe, probe_vectors(loaded), allow_pickle=False)
    storage.put("encoder/probe.npy", probe.getvalue())
    facts = replace(facts, encoder=encoder, fingerprint=loaded.fingerprint, dim=loaded.dim, towers=checksums(files))
    storage.put("set.json", facts.to_json())
    return facts


def sound_receipts(storage: Storage, facts: SetFacts, job: Job = QUIET) -> dict[int, Receipt]:
    """Receipts whose file is there as it should be: by size, and on this machine's disks by every byte.

    The others are taken back.
    """
    names = [n for n in storage.sizes("shards") if n.endswith(".json")]  # before reading: others may put more meanwhile
    receipts = read_receipts(storage, facts)
    sound = {n: r for n, r in receipts.items() if not storage.is_local or _is_whole(storage, r)}
    held = {receipt_name(n) for n in sound}
    lost = [n for n in names if f"shards/{n}" not in held]
    if lost:
        job.say(f"{plural(len(lost), 'receipt')} named no file of this plan that is there whole; taken back.")
    for name in lost:
        storage.remove(f"shards/{name}")
    return sound


def _is_whole(storage: Storage, receipt: Receipt) -> bool:
    try:
        checked_file(storage, receipt)
    except ScaleProblem:
        return False
    return True


def write_manifest_of(storage: Storage, facts: SetFacts) -> SetManifest:
    """`manifest.json`: the receipts of all shards. Call it when none is missing."""
    receipts = read_receipts(storage, facts)
    missing = [n for n in range(facts.shards) if n not in receipts]
    if missing:
        raise ScaleProblem(f"shard {missing[0]} has lost its receipt meanwhile; run it again")
    manifest = SetManifest.of([receipts[n] for n in range(facts.shards)])
    storage.put("manifest.json", manifest.to_json())
    return manifest


class _Driving:
    """A sign of life in the set, and a word where somebody else drives too."""

    def __init__(self, storage: Storage, job: Job) -> None:
        self.storage, self.last = storage, 0.0
        other = storage.read_many([DRIVER]).get(DRIVER)
        try:
            seen = json.loads(other or b"{}")
            if time.time() - float(seen.get("at", 0)) < _SILENT:
                job.say(
                    f"Another driver works on this set (process {seen['pid']} on {seen['host']}): no harm, some waste."
                )
        except (ValueError, KeyError, TypeError, AttributeError):
            pass

    def __enter__(self) -> _Driving:
        self.beat()
        return self

    def __exit__(self, *_: object) -> None:
        self.storage.remove(DRIVER)

    def beat(self) -> None:
        """Say that this driver lives, now and then."""
        if time.monotonic() - self.last > _BEAT:
            self.last = time.monotonic()
            self.storage.put(DRIVER, to_json({"host": socket.gethostname(), "pid": os.getpid(), "at": time.time()}))


def run_all(stage: Stage, items: Sequence[int], executor: Executor, doing: str, job: Job) -> None:
    """Run a stage of `dedupe` or `select` on every item. Raises `ScaleProblem` for one that failed, `Stopped`."""
    failed: dict[int, str] = {}
    for number, outcome in enumerate(executor.run(stage, items, job) if items else ()):
        if "failed" in outcome:
            failed[outcome["shard"]] = outcome["failed"]
        job.progress(number + 1, len(items), doing, unit="parts")
    job.check()
    if failed:
        raise ScaleProblem(
            f"{plural(len(failed), 'part')} of {doing} failed: {next(iter(failed.values()))}; run it again"
        )


def whole_set(storage: Storage) -> ShardedSet:
    """A set that is done. Raises `NoSet`, `SetDamaged`, and `ScaleProblem` for an unfinished one."""
    facts = read_facts(storage)
    receipts = read_receipts(storage, facts)
    missing = facts.shards - len(receipts)
    if missing:
        raise ScaleProblem(
            f"{plural(missing, 'shard')} of {facts.shards} have no receipt yet; `curator scale embed {storage.place}` "
            "makes them"
        )
    return ShardedSet(storage, facts, tuple(receipts.values()), superseded_rows(storage, facts))
