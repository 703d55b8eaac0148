"""One shard, from files to a Parquet file and its receipt: a function of the plan and the encoder alone."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import socket
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from curator.embeddings import lengths, normalise
from curator.encoders import Encoder, check_probe
from curator.errors import ScaleProblem
from curator.images import notes_of_rows
from curator.images.tables import Remarks
from curator.ingest.batches import AHEAD, EncodedBatch, ReadFile, ahead, batched, encode_batch, encoded_ahead, read_data
from curator.ingest.importing.packed import notes_of_sample, samples_in
from curator.job import Job
from curator.records import ImageFile, Notes, Pixels, Skipped, Vectors
from curator.scale.plan import entries_of, read_facts, superseded_rows
from curator.scale.records import MOST_ROWS, Receipt, SetFacts, SkippedRow
from curator.scale.shards import ShardRow, read_receipt, receipt_name, shard_bytes
from curator.scale.sources import PlannedFile
from curator.scale.storage import Storage, StorageError, member_uri, open_uri, read_uri
from curator.scale.towers import open_encoder

_DEATHS = 3  # of workers at one shard, after which its pictures are looked at apart
_TRIES = 3  # of a shard whose storage fails
KILLS = "kills the decoder"


@dataclass(frozen=True)
class EmbedShard:
    """The stage that embeds one shard: shard number → what its receipt says, as a dict; runs in any process.

    `threads` decode beside the encoder, 0 for one a core; `gpu` for workers that have one.
    """

    place: str
    threads: int = 0
    gpu: bool = False
    anew: bool = False  # make shards that have a receipt, too
    patience: float = 1.0  # seconds before a shard whose storage failed is tried again; the next time four times that

    def __call__(self, shard: int) -> dict[str, Any]:
        """Embed it, whatever was done of it before. A storage that fails comes back as `failed`, with the reason."""
        storage = Storage(self.place)
        facts = read_facts(storage)
        encoder = _worker(self.place, facts.fingerprint, self.threads, self.gpu)
        done = None if self.anew else read_receipt(storage, facts, shard)
        if done is not None:  # of a worker that died with more to do
            return {"shard": shard, "rows": done.rows, "skipped": len(done.skipped)}
        started, wait = time.monotonic(), self.patience
        attempt = self._begin(storage, shard)
        for number in range(1, _TRIES + 1):
            try:
                without = find_killers(self, storage, facts, shard) if attempt > _DEATHS else frozenset()
                receipt = embed_shard(storage, facts, encoder, shard, threads=self.threads, without=without)
                receipt = replace(receipt, attempt=attempt, seconds=round(time.monotonic() - started, 3), worker=_who())
                storage.put(receipt_name(shard), receipt.to_json())
                self._end(storage, shard, attempt)
                return {"shard": shard, "rows": receipt.rows, "skipped": len(receipt.skipped)}
            except StorageError as error:
                if number == _TRIES:
                    self._end(storage, shard, attempt)
                    return {"shard": shard, "failed": str(error)}
            time.sleep(wait)
            wait *= 4
        raise AssertionError  # the loop returns or raises

    def _begin(self, storage: Storage, shard: int) -> int:
        """Note that somebody tries → how many have, with this one. Who dies leaves the note."""
        attempt = 1
        while attempt <= _DEATHS and storage.read_many([_attempt(shard, attempt)]):
            attempt += 1
        storage.put(_attempt(shard, min(attempt, _DEATHS)), _who())
        return attempt

    def _end(self, storage: Storage, shard: int, attempt: int) -> None:
        for number in range(1, min(attempt, _DEATHS) + 1):
            storage.remove(_attempt(shard, number))


def _attempt(shard: int, number: int) -> str:
    return f"attempts/{shard:06d}-{number}"


def _who() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


@lru_cache(maxsize=1)
def _worker(place: str, _fingerprint: str, threads: int, gpu: bool) -> Encoder:
    """The encoder of one process, made once for a space; the probe is its entrance examination."""
    storage = Storage(place)
    encoder = open_encoder(storage, read_facts(storage), threads=threads, gpu=gpu)
    probe = np.load(io.BytesIO(storage.read("encoder/probe.npy")), allow_pickle=False)
    check_probe(encoder, probe, _who())
    return encoder


def embed_shard(
    storage: Storage, facts: SetFacts, encoder: Encoder, shard: int, *, threads: int = 0,
    without: frozenset[str] = frozenset(),
) -> Receipt:  # fmt: skip
    """Read, decode, measure and encode a shard, and write its file; the receipt is for the caller to put.

    `without` are uris that are passed over, because they kill whoever decodes them. Raises `StorageError`.
    """
    rows: list[ShardRow] = []
    skipped = [SkippedRow(uri, KILLS) for uri in sorted(without)]
    entries = entries_of(storage, facts, shard)
    # What a later plan took back is not read: a tar that has gone would fail its shard for ever.
    gone = frozenset(superseded_rows(storage, facts).get(shard, ()))
    for entry, vector, norm, row in _encoded(facts, encoder, entries, threads, without | gone):
        if isinstance(row, SkippedRow):
            skipped.append(row)
            continue
        assert row.content is not None
        assert row.measures is not None
        rows.append(
            ShardRow(int(row.file.path), entry.uri, row.file.size, row.content, row.measures, entry.notes, vector, norm)
        )
    passing = sum(not s.permanent for s in skipped)
    if passing > max(1, len(entries) // 2):
        raise StorageError(
            f"{passing} of {len(entries)} pictures are not there or cannot be opened; is the folder mounted?"
        )
    data = shard_bytes(rows, shard, facts)
    digest = hashlib.sha256(data).hexdigest()
    file = f"{shard:06d}-{digest[:8]}.parquet"
    storage.put(f"shards/{file}", data)
    return Receipt(shard, file, len(data), digest, len(rows), tuple(skipped), of=facts.mark_of(shard))


_ReadRows = Sequence[tuple[PlannedFile, ReadFile | SkippedRow]]
_Encoded = tuple[PlannedFile, Any, float, ReadFile | SkippedRow]


def _encoded(
    facts: SetFacts, encoder: Encoder, entries: Sequence[PlannedFile], threads: int, without: frozenset[str]
) -> Iterator[_Encoded]:
    """Every picture of a shard with its vector; each content is decoded and encoded once."""
    contents: dict[bytes, ReadFile] = {}
    vectors: dict[bytes, Vectors] = {}

    def read(numbered: _Source) -> tuple[PlannedFile, ReadFile | SkippedRow]:
        return numbered.entry, _read(numbered, encoder, vectors)

    sources = _in_tar(entries, without) if facts.kind == "tars" else _files(entries, without)

    sent: set[bytes] = set()  # by order alone, so that whoever makes a shard encodes the same together
    failing: set[bytes] = set()

    def claimed() -> Iterator[tuple[_ReadRows, list[ReadFile], set[bytes]]]:
        rows = ahead(sources, read, threads_of=threads or None, most=AHEAD * encoder.batch)
        for batch in batched(rows, encoder.batch):
            whole = [r for _, r in batch if isinstance(r, ReadFile)]
            yield batch, whole, {r.sha256 for r in whole} & sent
            sent.update(r.sha256 for r in whole)

    def encode(item: tuple[_ReadRows, list[ReadFile], set[bytes]]) -> tuple[_ReadRows, list[ReadFile], EncodedBatch]:
        return item[0], item[1], encode_batch(item[1], encoder, known=item[2], in_lane=True)

    for batch, whole, encoded in encoded_ahead(claimed(), encode, encoder):
        failing |= encoded.failed
        vectors.update(encoded.vectors)
        contents.update({r.sha256: _without_pixels(r) for r in whole if r.content is not None})
        failed = {s.path: s.reason for s in encoded.without(failing, encoder).skipped}
        for entry, r in batch:
            if isinstance(r, SkippedRow):
                yield entry, None, 0.0, r
            elif r.file.path in failed:
                yield entry, None, 0.0, SkippedRow(entry.uri, failed[r.file.path])
            else:
                v = vectors[r.sha256][None]
                whole_row = replace(contents[r.sha256], file=r.file)
                yield entry, normalise(v).astype(np.float16)[0], float(lengths(v)[0]), whole_row


def _without_pixels(read: ReadFile) -> ReadFile:
    return replace(read, prepared=None, sketch=None)


@dataclass(frozen=True)
class _Source:
    """One picture to read: its row, and its bytes if they are here already, or why they are not."""

    row: int
    entry: PlannedFile
    fetch: Callable[[], bytes]


def _files(entries: Sequence[PlannedFile], without: frozenset[str]) -> Iterator[_Source]:
    for row, entry in enumerate(entries):
        if entry.uri not in without:
            yield _Source(row, entry, lambda uri=entry.uri: read_uri(uri))  # type: ignore[misc]


def _in_tar(entries: Sequence[PlannedFile], without: frozenset[str]) -> Iterator[_Source]:
    """Pictures of a tar in their order, with what lies beside them. Raises `StorageError` where the tar breaks off."""
    (entry,) = entries
    if entry.uri in without:
        return
    try:
        with open_uri(entry.uri) as opened, tarfile.open(fileobj=opened, mode="r|*") as tar:
            row = 0
            for sample in samples_in(tar, Job()):
                if sample.picture is None or row >= MOST_ROWS:
                    continue
                uri = member_uri(entry.uri, sample.members[sample.picture])
                if uri not in without:
                    notes = _notes_of(sample.parts, uri)
                    data = sample.parts[sample.picture]
                    yield _Source(row, PlannedFile(uri, len(data), "", notes), lambda data=data: data)  # type: ignore[misc]
                row += 1
    except (tarfile.TarError, EOFError, FileNotFoundError, PermissionError) as error:
        raise StorageError(f"{entry.uri} cannot be read to its end: {error}") from error


def _notes_of(parts: dict[str, bytes], uri: str) -> Notes:
    rows: list[dict[str, Any]] = [dict(notes_of_sample(parts, [], uri, Job()))]
    if ".txt" in parts:
        rows.append({"caption": parts[".txt"].decode("utf-8", "replace").strip()})
    return notes_of_rows(rows, Remarks())


def _read(source: _Source, encoder: Encoder, known: dict[bytes, Vectors]) -> ReadFile | SkippedRow:
    """A picture that cannot be read is skipped. A storage that fails is no picture's fault: it raises."""
    uri = source.entry.uri
    try:
        data = source.fetch()
    except FileNotFoundError:
        return SkippedRow(uri, "is not there any more", permanent=False)
    except StorageError:
        raise
    except OSError as error:
        if "://" in uri:
            raise StorageError(f"{uri} cannot be read: {error}") from error
        return SkippedRow(uri, f"cannot be read: {error.strerror or error}", permanent=False)
    if not data:
        return SkippedRow(uri, "empty file")
    read = read_data(ImageFile(str(source.row), len(data), 0), data, encoder, known=known)
    return SkippedRow(uri, read.reason) if isinstance(read, Skipped) else read


def find_killers(stage: EmbedShard, storage: Storage, facts: SetFacts, shard: int) -> frozenset[str]:
    """Uris of pictures at which a process of its own dies: by halves, one among 2,048 takes some twenty processes."""
    entries = entries_of(storage, facts, shard)
    sources = list(_in_tar(entries, frozenset())) if facts.kind == "tars" else list(_files(entries, frozenset()))
    killers: set[str] = set()
    with tempfile.TemporaryDirectory() as home:
        parts = [sources]
        while parts:
            part = parts.pop()
            if not part or _survives(home, stage, part):
                continue
            if len(part) == 1:
                killers.add(part[0].entry.uri)
            else:
                parts += [part[: len(part) // 2], part[len(part) // 2 :]]
    return frozenset(killers)


def _survives(home: str, stage: EmbedShard, sources: Sequence[_Source]) -> bool:
    """Whether a process of its own reads these pictures and lives."""
    for file in Path(home).iterdir():
        file.unlink()
    names = []
    for number, source in enumerate(sources):
        with suppress(OSError, ScaleProblem):
            (Path(home) / f"{number}").write_bytes(source.fetch())
            names.append(f"{home}/{number}")
    process = multiprocessing.get_context("spawn").Process(target=_decode_all, args=(stage, names), daemon=False)
    process.start()
    process.join()
    if process.exitcode and process.exitcode > 0:  # an error that has words is no death
        raise StorageError("the pictures could not be looked at apart; run it again")
    return process.exitcode == 0


def _decode_all(stage: EmbedShard, names: Sequence[str]) -> None:
    fingerprint = read_facts(Storage(stage.place)).fingerprint
    encoder = _worker(stage.place, fingerprint, stage.threads, stage.gpu)
    prepared: dict[bytes, Pixels] = {}
    for name in names:
        read = read_data(ImageFile(name, 0, 0), Path(name).read_bytes(), encoder, known=prepared)
        if isinstance(read, ReadFile) and read.prepared is not None:
            encoder.project_images(read.prepared[None])
