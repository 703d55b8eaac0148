"""Choices from shards: each gives what could be in the answer, and one pass over those gives the answer.

Mirzasoleiman et al. 2013, "Distributed submodular maximization", for k-center and facility location: each shard
chooses as many as are wanted in all (GreeDi), then the same greedy runs over the union. For selectors that rank by a
key of each row nothing is lost: the k best of all are among the k best of each shard.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.records import Positions
from curator.selectors.pool import Reals

ONE_PASS = ("random", "balanced", "importance")
TWO_ROUNDS = ("k-center", "facility-location")
_MANY = 100_000  # chosen images from which a shard gives twice its share, and not as many as are wanted in all


def share_of_shard(k: int, shards: int) -> int:
    """How many each shard chooses in the first of two rounds; more, where few shards have any to choose."""
    return k if k <= _MANY else min(k, -(-2 * k // shards))


def best_keys(keys: Reals, k: int) -> Positions:
    """Positions of the k largest keys, ascending."""
    if len(keys) <= k:
        return np.arange(len(keys))
    return np.sort(np.argpartition(-keys, k - 1)[:k]).astype(np.int64)


def best_keys_of_each(keys: Reals, codes: NDArray[np.int64], k: int) -> Positions:
    """Positions of the k largest keys of every code, ascending: whatever turns the codes take, no more are wanted."""
    parts = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    chosen = [members[best_keys(keys[members], k)] for members in parts]
    return np.sort(np.concatenate(chosen)).astype(np.int64) if chosen else np.empty(0, np.int64)
