"""Keepers of a graph of duplicates that is too large for one pass over it: the same keepers, in rounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.records import Positions

Ranks = NDArray[np.int64]


def leaders(first: Positions, second: Positions, n: int) -> tuple[NDArray[np.bool_], int]:
    """Edges between ranks `first` (m,) and `second` (m,) of n rows, rank 0 the best → (n,) kept, and how many rounds.

    Kept is what one greedy pass in the order of the ranks keeps, each row that has no kept neighbour: the
    lexicographically first maximal independent set. Each round takes every row that no undecided neighbour of a better
    rank holds up, and drops its neighbours; the rounds are few, because chains of ever better neighbours are short
    (Blelloch, Fineman and Shun 2012, "Greedy sequential maximal independent set and matching are parallel on average").
    """
    # Every edge from its better end to its worse one; loops say nothing.
    better, worse = np.minimum(first, second), np.maximum(first, second)
    apart = better != worse
    better, worse = better[apart], worse[apart]
    undecided, stays = np.ones(n, bool), np.zeros(n, bool)
    rounds = 0
    while undecided.any():
        rounds += 1
        # 1. Held up is who has an undecided neighbour of a better rank.
        held_up = np.zeros(n, bool)
        held_up[worse] = True
        fresh = undecided & ~held_up
        stays |= fresh
        undecided &= ~fresh
        # 2. Neighbours of who was kept are dropped. They are worse: a better one would have held it up.
        undecided[worse[fresh[better]]] = False
        # 3. Edges of who is decided hold up nobody any more.
        open_ = undecided[better] & undecided[worse]
        better, worse = better[open_], worse[open_]
    return stays, rounds


def keepers_of(
    kept: NDArray[np.bool_], first: Positions, second: Positions, scores: NDArray[np.float32]
) -> tuple[Positions, NDArray[np.float32]]:
    """(n,) for each rank the kept one that it is a duplicate of, and (n,) their score.

    Of several it is the nearest, then the best. A kept one is its own, with a score of 1.
    """
    keeper, nearness = np.arange(len(kept)), np.ones(len(kept), np.float32)
    # Both directions of every edge that leads from a kept row to a dropped one.
    a, b = np.concatenate([first, second]), np.concatenate([second, first])
    s = np.concatenate([scores, scores])
    leads = kept[a] & ~kept[b]
    a, b, s = a[leads], b[leads], s[leads]
    # Of each dropped row the highest score comes first; assigning backwards leaves it standing.
    order = np.lexsort((a, -s, b))[::-1]
    keeper[b[order]], nearness[b[order]] = a[order], s[order]
    return keeper, nearness
