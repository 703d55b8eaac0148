"""Candidate pairs of an index and the evidence on them.

A pair is looked at once, and the evidence kept in the database, so that a stop at any time loses little.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from curator.database import Curation, Reader
from curator.duplicates import (
    BITS,
    Sketch,
    Thresholds,
    compare_hashes,
    examine,
    needs_corners,
    textured,
)
from curator.embeddings import blocks
from curator.errors import IndexLocked, PictureError
from curator.images import decode, read_bytes
from curator.index import WAIT, Index
from curator.job import Job
from curator.records import DIHEDRAL, Evidence, Graph, Image, Nodes
from curator.vectors import near_hashes

logger = logging.getLogger("curator")

RANK = 8  # nearest neighbours of each node that are looked at, whatever their score
_PAIRS = 256  # pairs per transaction
_SKETCHES = 1_024  # kept in memory, about 0.3 MB each
_NO_HASH = 64  # bits: as far as can be, for pictures without a hash worth the name
_PATHS = 4  # of one content that are tried
_SIDE = 320  # pixels that a decoded JPEG must have left


@dataclass(frozen=True)
class Hashes:
    """Of every node: pHashes (n, 8), and whether they say anything (n,)."""

    values: NDArray[np.uint64]
    telling: NDArray[np.bool_]

    @classmethod
    def of(cls, curation: Curation, nodes: Nodes) -> Hashes:
        """Those of the contents that stand for the nodes."""
        values, entropy = curation.hashes(nodes.contents)
        return cls(values, textured(values, entropy))

    def distances(self, pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(m,) least distances in bits, and the turn of the second that makes them least."""
        parts = [
            compare_hashes(self.values[pairs[part, 0]], self.values[pairs[part, 1]])
            for part in blocks(len(pairs), 1 << 18)
        ]
        if not parts:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        distance, transform = (np.concatenate(column) for column in zip(*parts, strict=True))
        return np.where(self.telling[pairs].all(1), distance, _NO_HASH), transform


def find_candidates(hashes: Hashes, graph: Graph, semantic: float, *, rank: int = RANK) -> NDArray[np.int64]:
    """Pairs (m, 2) of nodes that are worth a look.

    They are near by hash in any orientation, among the first neighbours, or score above the threshold.
    """
    telling = np.flatnonzero(hashes.telling)
    # A quarter turn left of one is a quarter turn right of the other, and pairs are found from both ends.
    turns = [k for k, name in enumerate(DIHEDRAL) if name != "rotate-270"]
    by_hash = (
        telling[near_hashes(hashes.values[telling, 0], hashes.values[telling][:, turns], BITS)]
        if len(telling)
        else np.empty((0, 2), np.int64)
    )
    by_score, by_rank = graph.above(semantic)[0], graph.above(-1.0, rank=rank)[0]
    return np.unique(np.concatenate([by_hash.reshape(-1, 2), by_score, by_rank]), axis=0)


@dataclass(frozen=True)
class Collected:
    """Evidence (m,) on pairs.

    `compared` were looked at now; of `unread` a file could not be read.
    """

    evidence: Sequence[Evidence]
    compared: int
    unread: int


def collect_evidence(
    index: Index, nodes: Nodes, pairs: NDArray[np.int64], hashes: Hashes, thresholds: Thresholds, *, job: Job
) -> Collected:
    """Evidence on every pair of nodes, kept every 256 pairs, or as soon as nobody else is writing."""
    known = Curation(index.reader).edges()
    distances, transforms = hashes.distances(pairs)
    keys = list(zip(nodes.contents[pairs[:, 0]].tolist(), nodes.contents[pairs[:, 1]].tolist(), strict=True))
    # Measures may have come since a pair was looked at, and then its hashes say more than they did.
    bits = distances.tolist()
    todo = [
        i
        for i, key in enumerate(keys)
        if key not in known or known[key].distance != bits[i] or needs_corners(known[key], thresholds)
    ]
    unreadable: dict[tuple[int, int], Evidence] = {}
    done = len(keys) - len(todo)
    store = _Store(index)
    with store, _Looker(index.reader, nodes, thresholds) as looker:
        for part in blocks(len(todo), _PAIRS):
            chosen = todo[part]
            seen, unread = looker.look(
                [keys[i] for i in chosen], distances[chosen].tolist(), transforms[chosen].tolist()
            )
            store.put(seen)
            known |= seen
            unreadable |= {key: e for key, e in unread.items() if key not in known}
            job.progress(done + part.stop, len(keys), "comparing pictures", already=done, unit="pairs")
            job.check()
    return Collected([known.get(key) or unreadable[key] for key in keys], len(todo), len(unreadable))


class _Store:
    """Keeps evidence in the database between the transactions of others: it is a cache, and no work waits for it.

    Only the end of the block, also after a stop, waits for the lock.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.pending: dict[tuple[int, int], Evidence] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush(wait=WAIT)
        if self.pending:
            logger.warning("%d comparisons were not kept, because another process was writing", len(self.pending))

    def put(self, seen: Mapping[tuple[int, int], Evidence]) -> None:
        """Write what there is, or keep it for the next time."""
        self.pending |= seen
        self.flush(wait=0)

    def flush(self, *, wait: float) -> None:
        """Write what there is, if the lock is to be had within `wait` seconds."""
        if not self.pending:
            return
        with contextlib.suppress(IndexLocked), self.index.write(wait=wait) as db:
            with db.atomic():
                Curation(db).put_edges(self.pending)
            self.index.step("edges committed")
            self.pending = {}


class _Looker:
    """Reads pictures once, keeps some, and compares pairs on every core."""

    def __init__(self, reader: Reader, nodes: Nodes, thresholds: Thresholds) -> None:
        self.reader, self.thresholds = reader, thresholds
        self.images_of: dict[int, list[int]] = {}
        for image_id, content in zip(nodes.image_ids.tolist(), nodes.content_ids.tolist(), strict=True):
            self.images_of.setdefault(content, []).append(image_id)
        self.sketches: OrderedDict[int, Sketch | None] = OrderedDict()
        self.threads = ThreadPoolExecutor(os.cpu_count() or 1, "compare")

    def __enter__(self) -> _Looker:
        import cv2

        cv2.setNumThreads(1)  # the pairs are spread over the cores already
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.shutdown(wait=True, cancel_futures=True)

    def look(
        self, keys: Sequence[tuple[int, int]], distances: Iterable[int], transforms: Iterable[int]
    ) -> tuple[dict[tuple[int, int], Evidence], dict[tuple[int, int], Evidence]]:
        """Look at pairs of contents → evidence on them, and what hashes alone say where a picture cannot be read."""
        self._load(dict.fromkeys(c for key in keys for c in key))
        a, b = ([self.sketches[key[side]] for key in keys] for side in (0, 1))
        examined = self.threads.map(examine, distances, transforms, a, b, [self.thresholds] * len(keys))
        seen: dict[tuple[int, int], Evidence] = {}
        unread: dict[tuple[int, int], Evidence] = {}
        for key, evidence in zip(keys, examined, strict=True):
            readable = all(self.sketches[c] is not None for c in key)
            (seen if readable else unread)[key] = evidence
        return seen, unread

    def _load(self, contents: Iterable[int]) -> None:
        wanted = list(contents)
        for content in wanted:
            if content in self.sketches:
                self.sketches.move_to_end(content)
        missing = [c for c in wanted if c not in self.sketches]
        images = [self.reader.images(self.images_of[c][:_PATHS]) for c in missing]
        self.sketches.update(zip(missing, self.threads.map(_first_readable, images), strict=True))
        while len(self.sketches) > max(_SKETCHES, len(wanted)):
            self.sketches.popitem(last=False)


def _first_readable(images: Sequence[Image]) -> Sketch | None:
    return next((s for s in map(read_sketch, images) if s is not None), None)


def read_sketch(image: Image) -> Sketch | None:
    """An indexed picture at comparison size, or None if its file is not there or no longer what was indexed."""
    try:
        decoded = decode(read_bytes(image.path), side=_SIDE)
    except PictureError:
        return None
    return Sketch.of(decoded.picture) if decoded.content.sha256.hex() == image.sha256 else None
