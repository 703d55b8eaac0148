"""The first half of indexing, which needs no index: files → pictures → vectors, a batch at a time.

No exception crosses a batch. A file that cannot be read, or of which the encoder makes no vector, is skipped with its
reason, and the others go on.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from curator.duplicates import shrink
from curator.encoders import Encoder
from curator.errors import PictureError
from curator.images import decode, measure, read_bytes
from curator.job import Job, cores
from curator.records import Content, ImageFile, Measures, Pixels, Skipped, Vectors

BATCH = 64  # images per transaction, where no encoder says how many it takes together
AHEAD = 4  # batches of images that may wait, decoded, for the encoder
_TINY = 1e-12  # a vector shorter than this has no direction
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class ReadFile:
    """One file that could be read; all but its hash is None where its content is known already."""

    file: ImageFile
    sha256: bytes
    content: Content | None = None
    prepared: Pixels | None = None
    measures: Measures | None = None
    sketch: bytes | None = None


@dataclass(frozen=True)
class EncodedBatch:
    """Files that were read, the ones skipped, and `vectors`: content (sha256) → (d,) float32, not normalised.

    Of contents that `failed` the encoder made no vector.
    """

    files: Sequence[ReadFile] = ()
    skipped: Sequence[Skipped] = ()
    vectors: dict[bytes, Vectors] = field(default_factory=dict)
    failed: frozenset[bytes] = frozenset()

    def without(self, failed: Container[bytes], encoder: Encoder) -> EncodedBatch:
        """The same with files of contents that failed, here or in an earlier batch, among the skipped."""
        late = [_skipped(r.file, f"'{encoder.name}' makes no vector of it") for r in self.files if r.sha256 in failed]
        files = [r for r in self.files if r.sha256 not in failed]
        return replace(self, files=files, skipped=[*self.skipped, *late]) if late else self

    def __len__(self) -> int:
        return len(self.files) + len(self.skipped)


def read_batch(
    root: Path, files: Iterable[ImageFile], encoder: Encoder, *, known: Container[bytes] = frozenset()
) -> EncodedBatch:
    """Read, decode and encode files below `root`; contents that are `known` by sha256 are only hashed."""
    return encode_batch([read_file(root, file, encoder, known=known) for file in files], encoder, known=known)


def read_file(root: Path, file: ImageFile, encoder: Encoder, *, known: Container[bytes]) -> ReadFile | Skipped:
    """One file, decoded and prepared for the encoder unless its content is known."""
    try:
        data = read_bytes(root / file.path)
    except PictureError as error:
        return _skipped(file, str(error))
    return read_data(file, data, encoder, known=known)


def read_data(file: ImageFile, data: bytes, encoder: Encoder, *, known: Container[bytes]) -> ReadFile | Skipped:
    """The same of a file whose bytes are here, wherever they came from."""
    try:
        sha256 = hashlib.sha256(data).digest()
        if sha256 in known:
            return ReadFile(file, sha256)
        decoded = decode(data, side=encoder.side)
        picture = decoded.picture
        prepared = encoder.prepare(picture)
        return ReadFile(file, sha256, decoded.content, prepared, measure(picture), shrink(picture))
    except PictureError as error:
        return _skipped(file, str(error))
    except (ValueError, MemoryError) as error:  # a shape that the encoder cannot take
        return _skipped(file, f"cannot be prepared for the encoder: {error}")


def encode_batch(
    read: Sequence[ReadFile | Skipped],
    encoder: Encoder,
    *,
    known: Container[bytes] = frozenset(),
    in_lane: bool = False,
) -> EncodedBatch:
    """Vectors of what was read, each content once, and none of contents that have become `known` meanwhile.

    `in_lane`: called by one of the encoder's `lanes` threads.
    """
    files = [r for r in read if isinstance(r, ReadFile)]
    prepared = {r.sha256: r.prepared for r in files if r.prepared is not None and r.sha256 not in known}
    vectors = project(prepared, encoder.project_in_lane if in_lane else encoder.project_images)
    failed = frozenset(prepared.keys() - vectors.keys())
    skipped = [r for r in read if isinstance(r, Skipped)]
    return EncodedBatch(files, skipped, vectors, failed).without(failed, encoder)


def project(
    prepared: Mapping[bytes, Pixels], project_images: Callable[[NDArray[np.uint8]], Vectors]
) -> dict[bytes, Vectors]:
    """content → (d,) before normalising, of those that have a direction: a row of NaN or zeros says nothing."""
    if not prepared:
        return {}
    rows = project_images(np.stack(list(prepared.values())))
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    has_direction = np.isfinite(lengths) & (lengths > _TINY)
    return {h: row for h, row, good in zip(prepared, rows, has_direction, strict=True) if good}


def read_ahead(
    root: Path, files: Iterable[ImageFile], encoder: Encoder, *, known: Container[bytes]
) -> Iterator[ReadFile | Skipped]:
    """Files in order, read and decoded by threads a few batches ahead of their use."""
    return ahead(files, lambda file: read_file(root, file, encoder, known=known), most=AHEAD * encoder.batch)


def encoded_ahead(batches: Iterable[S], encode: Callable[[S], T], encoder: Encoder) -> Generator[T, None, None]:
    """What `encode` makes of each batch, in order, in the encoder's lanes: while one is stored, others are encoded.

    Close it where it is not used up: its threads end then.
    """
    return ahead(batches, encode, threads_of=encoder.lanes, most=encoder.lanes + 1)


def ahead(
    items: Iterable[S], do: Callable[[S], T], *, threads_of: int | None = None, most: int = AHEAD * BATCH
) -> Generator[T, None, None]:
    """What `do` makes of each item, in order, by threads; `most` items may wait for their use.

    Reading, hashing, decoding and encoding release the interpreter's lock.
    """
    threads = ThreadPoolExecutor(threads_of or cores(), "ahead")
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            waiting.append(threads.submit(do, item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


def until_stopped(items: Iterable[T], job: Job) -> Iterator[T]:
    """Items until the job is asked to stop: what was begun can still be finished, and nothing more is begun."""
    for item in items:
        if job.stop:
            return
        yield item


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` items, in order."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _skipped(file: ImageFile, reason: str) -> Skipped:
    return Skipped(file.path, reason, file.size, file.mtime_ns)
