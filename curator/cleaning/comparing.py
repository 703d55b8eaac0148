"""Candidate pairs of an index and the evidence on them.

A pair is looked at once, and the evidence kept in the database, so that a stop at any time loses little.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from curator.cleaning.first_look import VOTES, Key, count_corners, find_hints
from curator.cleaning.looks import Looks
from curator.cleaning.rounds import Joined, in_rounds_of
from curator.database import Curation
from curator.duplicates import (
    BITS,
    Sketch,
    Thresholds,
    compare_hashes,
    dismissed,
    examine,
    is_dismissed,
    judge,
    needs_look,
    textured,
)
from curator.embeddings import blocks
from curator.errors import IndexLocked
from curator.index import WAIT, Index
from curator.job import Job
from curator.records import DIHEDRAL, Evidence, Graph, Nodes
from curator.vectors import near_hashes

logger = logging.getLogger("curator")

RANK = 8  # nearest neighbours of each node that are looked at, whatever their score
_PAIRS = 1_024  # pairs per transaction
_CLOSELY = 256  # pairs whose pictures are in memory at once
_SAMPLED = 100  # pairs turned away by the first look that are compared in full, to know what it loses
_NO_HASH = 64  # bits: as far as can be, for pictures without a hash worth the name


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


def find_candidates(
    hashes: Hashes, graph: Graph, semantic: float, by_corners: NDArray[np.int64], *, rank: int = RANK
) -> NDArray[np.int64]:
    """Pairs (m, 2) of nodes that are worth a look.

    They are near by hash in any orientation, among the first neighbours, score above the threshold, or have corners
    alike.
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
    return np.unique(np.concatenate([by_hash.reshape(-1, 2), by_score, by_rank, by_corners]), axis=0)


@dataclass(frozen=True)
class Shortcut:
    """What the first look may lose.

    Of `dismissed` pairs `sampled` were compared in full, and `missed` were the same.
    """

    dismissed: int
    sampled: int
    missed: int


@dataclass(frozen=True)
class Collected:
    """Evidence (m,) on pairs, None where others joined the two already.

    `compared` were looked at now, `known` before, and `joined` not at all; of `unread` a file could not be read.
    """

    evidence: Sequence[Evidence | None]
    compared: int
    known: int
    joined: int
    unread: int
    shortcut: Shortcut


def collect_evidence(
    index: Index,
    nodes: Nodes,
    pairs: NDArray[np.int64],
    hashes: Hashes,
    comparer: Comparer,
    *,
    labels: Mapping[int, Set[str]] | None,
    job: Job,
) -> Collected:
    """Evidence on every pair of nodes, kept every 1,024 pairs, or as soon as nobody else is writing.

    With `labels` of contents a pair is not compared whose pictures others join already: of eighteen copies of one
    picture seventeen pairs are enough, and not 153.
    """
    known, thresholds = Curation(index.reader).edges(), comparer.thresholds
    distances, transforms = hashes.distances(pairs)
    keys = list(zip(nodes.contents[pairs[:, 0]].tolist(), nodes.contents[pairs[:, 1]].tolist(), strict=True))
    # Measures may have come since a pair was looked at, and then its hashes say more than they did.
    bits = distances.tolist()
    todo = [
        i
        for i, key in enumerate(keys)
        if key not in known or known[key].distance != bits[i] or needs_look(known[key], thresholds)
    ]
    unreadable: dict[tuple[int, int], Evidence] = {}
    turned_away: list[int] = []
    done = len(keys) - len(todo)
    compared = 0
    joined = Joined(thresholds, labels or {})
    joined.add({key: known[key] for key in set(keys).difference(keys[i] for i in todo)})
    in_rounds = in_rounds_of(todo, pairs, distances)
    with _Store(index) as store:
        for part in blocks(len(todo), _PAIRS):
            chosen = [i for i in in_rounds[part] if not (labels is not None and joined.has(keys[i]))]
            asked = [Pair(keys[i], bits[i], int(transforms[i])) for i in chosen]
            seen, unread = comparer.compare(asked)
            compared += len(asked)
            store.put(seen)
            known |= seen
            joined.add(seen)
            unreadable |= {key: e for key, e in unread.items() if key not in known}
            turned_away += [i for i in chosen if keys[i] in seen and is_dismissed(seen[keys[i]])]
            job.progress(done + part.stop, len(keys), "comparing pictures", already=done, unit="pairs")
            job.check()
        sample = np.random.default_rng(0).permutation(turned_away)[: min(_SAMPLED, len(turned_away) // 20)].tolist()
        full = comparer.compare_in_full([Pair(keys[i], bits[i], int(transforms[i])) for i in sample])
        missed = {key: e for key, e in full.items() if judge(e, thresholds) is not None}
        store.put(missed)
        known |= missed
    shortcut = Shortcut(len(turned_away), len(sample), len(missed))
    evidence = [known.get(key) or unreadable.get(key) for key in keys]
    return Collected(evidence, compared, done, len(todo) - compared, len(unreadable), shortcut)


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


@dataclass(frozen=True)
class Pair:
    """Two contents, and what their hashes say: least distance in bits, and the turn that makes it least."""

    key: tuple[int, int]
    distance: int
    transform: int


class Comparer:
    """Compares pairs as closely as it takes: a first look at all, and a full one at those that deserve it."""

    def __init__(self, looks: Looks, thresholds: Thresholds) -> None:
        self.looks, self.thresholds = looks, thresholds

    def compare(self, asked: Sequence[Pair]) -> tuple[dict[Key, Evidence], dict[Key, Evidence]]:
        """Evidence on pairs, and what hashes alone say where a picture cannot be read."""
        far = [p for p in asked if p.distance > BITS]
        hints: dict[Key, tuple[NDArray[np.float64] | None, str]] = {}
        seen: dict[Key, Evidence] = {}
        if far:
            looks = self.looks.looks(c for p in far for c in p.key)
            votes = count_corners([p.key for p in far], looks, self.looks.threads).tolist()
            places = find_hints([p.key for p in far], looks, self.looks.threads)
            for p, count, hint in zip(far, votes, places, strict=True):
                if hint is None and count < VOTES and all(looks[c] is not None for c in p.key):
                    seen[p.key] = dismissed(p.distance, DIHEDRAL[p.transform], count)
                hints[p.key] = (hint, "all" if count >= VOTES else "hint")
        left = [p for p in asked if p.key not in seen]
        return self._closely(left, hints, seen)

    def compare_in_full(self, asked: Sequence[Pair]) -> dict[Key, Evidence]:
        """Evidence on pairs without any first look."""
        return self._closely(asked, {}, {})[0]

    def _closely(
        self, asked: Sequence[Pair], hints: Mapping[Key, Any], seen: dict[Key, Evidence]
    ) -> tuple[dict[Key, Evidence], dict[Key, Evidence]]:
        unread: dict[Key, Evidence] = {}
        for few in (asked[part] for part in blocks(len(asked), _CLOSELY)):
            sketches = self.looks.sketches(c for p in few for c in p.key)

            def look(p: Pair, sketches: Mapping[int, Sketch | None] = sketches) -> Evidence:
                a, b = (sketches[c] for c in p.key)
                hint, extent = hints.get(p.key, (None, "all"))
                return examine(p.distance, p.transform, a, b, self.thresholds, hint=hint, extent=extent)

            for p, evidence in zip(few, self.looks.threads.map(look, few), strict=True):
                (seen if all(sketches[c] is not None for c in p.key) else unread)[p.key] = evidence
        return seen, unread
