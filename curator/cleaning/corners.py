"""Candidates that need no encoder: pictures that have corners alike, found through one file of all corners.

An inverted file with a vote on size and turn (weak geometry, Jégou et al. 2008), kept in `sketches/` for as long as the
pictures are the same.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.cleaning.looks import Looks
from curator.database import Reader
from curator.database.listed import sha256_of
from curator.database.sketches import FOLDER, VERSION
from curator.duplicates import Corners, count_votes
from curator.duplicates.corners import gather_asked
from curator.embeddings import blocks
from curator.files import UNREADABLE, whole
from curator.job import Job
from curator.records import Nodes
from curator.vectors import WordFile

logger = logging.getLogger("curator")

PARTNERS = 4  # of each picture that are looked at, those with most votes
_LEAST = 4  # votes
_WORDS = 24_000_000  # corners in memory, at 80 bytes each; of more pictures fewer of each
_FEWEST = 32  # of each
_NEAR = 16  # corners that one is like at most
_BITS = 56  # of 256 in which corners alike may differ
_READ, _ASKED = 2_048, 512  # pictures at a time
_KEPT = 4  # files


@dataclass(frozen=True)
class CornerPairs:
    """`pairs` (m, 2) of nodes that have corners alike, and how they were found; `unread` pictures have none."""

    pairs: NDArray[np.int64]
    method: str
    unread: int = 0


def find_by_corners(reader: Reader, nodes: Nodes, looks: Looks, *, job: Job) -> CornerPairs:
    """Of every node the four others with most votes, from the cache if they are of the same pictures."""
    state = f"{VERSION} {PARTNERS} {_LEAST} {_WORDS} {_FEWEST} {_NEAR} {_BITS} ".encode()
    state += sha256_of(reader, nodes.contents)
    file = reader.folder / FOLDER / f"corners-{hashlib.sha256(state).hexdigest()[:20]}.npz"
    try:
        with file.open("rb") as data, np.load(data, allow_pickle=False) as stored:
            return CornerPairs(stored["pairs"], str(stored["method"]))
    except FileNotFoundError:
        pass
    except UNREADABLE as error:
        logger.warning("%s cannot be read (%s); corners are looked for again", file, error)
    by_votes = vote(nodes.contents, looks, job=job)
    if by_votes.unread:  # which may be there next time
        return by_votes
    try:
        with whole(file) as beside:
            np.savez(beside, pairs=by_votes.pairs, method=np.array(by_votes.method))
        for old in sorted(file.parent.glob("corners-*.npz"), key=lambda f: f.stat().st_mtime_ns)[:-_KEPT]:
            old.unlink()
    except OSError as error:
        logger.warning("candidates by corners could not be cached (%s)", error)
    return by_votes


def vote(contents: NDArray[np.int64], looks: Looks, *, job: Job) -> CornerPairs:
    """The same without a cache."""
    n = len(contents)
    if n < 2:
        return CornerPairs(np.empty((0, 2), np.int64), "exact")
    words = corner_file(contents, looks, job=job)
    pairs = []
    for part in blocks(n, _ASKED):
        positions = np.arange(part.start, part.stop)
        corners = looks.corners(contents[part].tolist())
        first, second = words.partners([corners[c] for c in contents[part].tolist()], positions)
        pairs.append(np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1))
        job.progress(part.stop, n, "pictures with corners alike")
        job.check()
    return CornerPairs(np.unique(np.concatenate(pairs), axis=0), words.method, words.unread)


def corner_file(contents: NDArray[np.int64], looks: Looks, *, job: Job) -> CornerFile:
    """The corners of all these pictures, in order."""
    n = len(contents)
    words = CornerFile(max(_FEWEST, min(512, _WORDS // max(1, n))))
    for part in blocks(n, _READ):
        corners = looks.corners(contents[part].tolist())
        words.add([corners[c] for c in contents[part].tolist()])
        job.progress(part.stop, n, "corners")
        job.check()
    words.close()
    return words


class CornerFile:
    """All corners of many pictures, and which pictures have corners like those of one."""

    def __init__(self, most: int) -> None:
        """`most` corners of each picture, its strongest."""
        self.most, self.count, self.unread, self.method = most, 0, 0, "exact"
        self._parts: list[tuple[NDArray[np.uint8], NDArray[np.float16], NDArray[np.float16], NDArray[np.int32]]] = []

    def add(self, pictures: list[Corners | None]) -> None:
        """The next pictures, in order; None has no corners."""
        for corners in pictures:
            if corners is not None:
                m = min(self.most, corners.whole)
                self._parts.append(
                    (
                        corners.words[:m],
                        corners.levels[:m].astype(np.float16),
                        corners.turns[:m].astype(np.float16),
                        np.full(m, self.count, np.int32),
                    )
                )
            self.count += 1
            self.unread += corners is None

    def close(self) -> None:
        """All are there: make the file."""
        none = (np.empty((0, 32), np.uint8), *(np.empty(0, np.float16),) * 2, np.empty(0, np.int32))
        words, self._levels, self._turns, self._owners = (
            np.concatenate(column) for column in zip(none, *self._parts, strict=True)
        )
        self._parts = []
        self._file = WordFile(words)
        self.method = self._file.method

    def partners(
        self, pictures: list[Corners | None], positions: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs (k,), (k,): which picture asked, and a partner, at most four of each, but itself.

        `positions` (p,) are those of the pictures in the file; without them they count from 0, and are not in it.
        """
        numbers = np.arange(len(pictures)) if positions is None else positions
        there = [(n, c) for n, c in zip(numbers.tolist(), pictures, strict=True) if c is not None and len(c.words)]
        if not there:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        of, words, levels, turns = gather_asked(there)
        distances, near = self._file.nearest(words, _NEAR)
        rows, columns = np.nonzero((near >= 0) & (distances <= _BITS))
        onto = near[rows, columns]
        asker, owner = of[rows], self._owners[onto].astype(np.int64)
        other = np.ones(len(rows), bool) if positions is None else asker != owner
        rows, onto, asker, owner = rows[other], onto[other], asker[other], owner[other]
        low = int(numbers.min())
        pairs, votes = count_votes(
            (asker - low) * self.count + owner, rows, levels[rows] - self._levels[onto], turns[rows] - self._turns[onto]
        )
        pairs, votes = pairs[votes >= _LEAST], votes[votes >= _LEAST]
        asker, owner = pairs // self.count + low, pairs % self.count
        order = np.lexsort((owner, -votes, asker))
        asker, owner = asker[order], owner[order]
        first = np.searchsorted(asker, asker)
        best = np.arange(len(asker)) - first < PARTNERS
        return asker[best], owner[best]
