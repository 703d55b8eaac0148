"""Selectors that draw: random, balanced over a column or over clusters, importance weights."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from curator.records import Vectors
from curator.selectors.clusters import assign, hierarchy, spherical_kmeans
from curator.selectors.pool import Chosen, Half, Pool, Reals, best_of, selectors
from curator.selectors.scores import log_ratio

_CLUSTERED = 4_000  # clusters at most


@selectors.register("random")
def random(pool: Pool, k: int) -> Chosen:
    """By a hash of seed and content: adding images never reshuffles those chosen before.

    With weights w, by hash^(1/w), which draws in proportion to them (Efraimidis and Spirakis 2006).
    """
    # log(u^(1/w)): the logarithm keeps tiny weights from becoming 0.
    keys = np.log(pool.uniform) / pool.weighted
    chosen = best_of(keys, pool.free, k)
    return Chosen(chosen, np.exp(keys[chosen]), "key")


@selectors.register("balanced")
def balanced(pool: Pool, k: int) -> Chosen:
    """As many of each label as there are (water-filling), images without one being one more label.

    Without labels, as many of each cluster.
    """
    codes = _clusters(pool) if pool.labels is None else pool.labels
    return _in_turn(pool, codes, k)


@selectors.register("hierarchical")
def hierarchical(pool: Pool, k: int) -> Chosen:
    """As many of each cluster of clusters, of each cluster in it, and so on (Vo et al. 2024, §3.4)."""
    if not len(pool):
        return Chosen(np.empty(0, np.int64), np.empty(0), "turn")
    # 4√n clusters on the lowest level, with four images each at least …
    lowest = max(1, min(_CLUSTERED, int(4 * math.sqrt(len(pool))), len(pool) // 4))
    sizes = [lowest]
    # … and on each level above the square root of those below.
    while sizes[-1] > 16:
        sizes.append(max(4, int(math.sqrt(sizes[-1]))))
    # One array (n,) of clusters for each level, the lowest first.
    levels = hierarchy(pool.x, sizes, np.random.default_rng(pool.seed))
    keys = np.log(pool.uniform) / pool.weighted
    # The place of each image within its lowest cluster …
    rank = _turns(levels[0], keys, pool)
    # … then within the cluster above, the clusters below taking turns.
    for upper, lower in zip(levels[1:], levels[:-1], strict=True):
        rank = _turns(upper, -(rank * (lower.max() + 1.0) + lower), pool)
    chosen = best_of(-(rank * len(pool) + np.argsort(np.argsort(-keys, kind="stable"))), pool.free, k)
    return Chosen(chosen, rank[chosen], "turn")


@selectors.register("importance")
def importance(pool: Pool, k: int) -> Chosen:
    """Drawn in proportion to how much likelier an image is in the reference than in the pool.

    Gumbel top-k on the log ratio, as DSIR does (Xie et al. 2023, §3.2), with a guard against one cluster taking over.
    """
    keys = log_ratio(pool) + np.log(pool.weighted) + gumbel(pool.uniform)
    chosen = spread(pool, keys, k)
    return Chosen(chosen, keys[chosen], "log ratio and noise")


def gumbel(uniform: Reals) -> Reals:
    """Noise by which taking the k largest draws without replacement, in proportion to the exponentials of the keys."""
    # The inverse of Gumbel's distribution function, exp(−exp(−x)).
    return np.asarray(-np.log(-np.log(uniform)))


def spread(pool: Pool, keys: Reals, k: int) -> NDArray[np.int64]:
    """The k largest keys, without crowding any of √n clusters (8 to 64)."""
    assert pool.reference is not None
    centres = spherical_kmeans(pool.x, min(64, max(8, int(math.sqrt(len(pool))))), np.random.default_rng(pool.seed))
    share = share_of(pool.reference, centres)
    return in_fair_turn(best_of(keys, pool.free, len(pool)), keys, assign(pool.x, centres)[0], share, k)


def share_of(reference: Half, centres: Vectors) -> Reals:
    """(c,) how much of the reference lies in each cluster."""
    return np.asarray(np.bincount(assign(reference, centres)[0], minlength=len(centres)) / len(reference))


def in_fair_turn(
    order: NDArray[np.int64], keys: Reals, codes: NDArray[np.int64], share: Reals, k: int
) -> NDArray[np.int64]:
    """The first k of an order by key in which no cluster is crowded.

    In any prefix none has more than one above twice its `share` of the reference.
    """
    # The largest keys first, cluster by cluster in a queue.
    queues = [order[codes[order] == c] for c in range(len(share))]
    head, held = np.zeros(len(queues), np.int64), np.zeros(len(queues), np.int64)
    value = np.array([keys[q[0]] if len(q) else -np.inf for q in queues])
    chosen: list[int] = []
    while len(chosen) < k and np.isfinite(value).any():
        # A cluster may hold one image more than twice its fair share …
        fits = held < 1 + 2 * share * (len(chosen) + 1)
        # … unless nothing else is left.
        fits = fits if np.isfinite(value[fits]).any() else np.ones(len(queues), bool)
        c = int(np.where(fits, value, -np.inf).argmax())
        chosen.append(int(queues[c][head[c]]))
        head[c] += 1
        held[c] += 1
        value[c] = keys[queues[c][head[c]]] if head[c] < len(queues[c]) else -np.inf
    return np.array(chosen, np.int64)


def _clusters(pool: Pool) -> NDArray[np.int64]:
    if not len(pool):
        return np.empty(0, np.int64)
    count = max(1, min(_CLUSTERED, int(2 * math.sqrt(len(pool)))))
    return assign(pool.x, spherical_kmeans(pool.x, count, np.random.default_rng(pool.seed)))[0]


def _in_turn(pool: Pool, codes: NDArray[np.int64], k: int) -> Chosen:
    """One of each group, then a second of each that has one, and so on; groups in the order of their best keys."""
    keys = np.log(pool.uniform) / pool.weighted
    rank = _turns(codes, keys, pool)
    # All firsts by key, then all seconds by key.
    order = np.lexsort((-keys, rank))
    chosen = order[pool.free[order]][:k].astype(np.int64)
    return Chosen(chosen, rank[chosen], "turn")


def _turns(codes: NDArray[np.int64], keys: Reals, pool: Pool) -> Reals:
    """(n,) how many of its group come before each image: those that are chosen already, then by key, largest first."""
    if not len(codes):
        return np.empty(0)
    # By cluster; within it what is chosen already, then the largest keys, then the position.
    order = np.lexsort((np.arange(len(codes)), -keys, pool.free, codes))
    ordered = codes[order]
    # Where the cluster of each begins.
    first = np.searchsorted(ordered, ordered)
    rank = np.empty(len(codes))
    rank[order] = np.arange(len(codes)) - first
    return rank
