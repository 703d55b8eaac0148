"""Greedy selectors that look at what is chosen already: k-center, facility location, herding."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import blocks
from curator.errors import UsageError
from curator.records import Positions, Vectors
from curator.selectors.pool import Chosen, Pool, Reals, distance, selectors

# Rows of the pool that are multiplied at a time: 16,384 × 1,024 float32 products are 64 MiB.
_BLOCK = 16_384
_BATCH = 128  # candidates of k-center that are compared with each other at a time
_LARGE = 2e7  # numbers in a pool from which herding works on principal components
_COMPONENTS = 64


@selectors.register("k-center")
def k_center(pool: Pool, k: int) -> Chosen:
    """Farthest first: each image is the one farthest from all chosen before (Gonzalez 1985).

    The covering radius is at most twice the best. Values are those distances: the covering radius before each choice.
    With weights, the distance times the weight is largest.
    """
    # (n,) kept as a score, −1 for "as far as can be": products are cheaper than distances.
    best = np.full(len(pool), -1.0)  # score with the nearest chosen image
    # 1. Images to begin with count as chosen.
    if len(pool.start):
        _raise_scores(best, pool, pool.start)
    chosen: list[int] = []
    values: list[float] = []
    free = pool.free.copy()
    # 2. Without any, the first is arbitrary: the one whose content hashes highest.
    if not len(pool.start) and len(pool):
        chosen, values = [int(np.argmax(pool.weighted * (1 + pool.uniform)))], [2.0]
        free[chosen] = False
        _raise_scores(best, pool, np.array(chosen))
    # 3. The farthest, again and again, many at a time where that changes nothing.
    while len(chosen) < min(k, len(pool) - len(pool.start)):
        picked, radii = _farthest(pool, best, free, k - len(chosen))
        chosen += picked
        values += radii
        free[picked] = False
        _raise_scores(best, pool, np.array(picked))
    return Chosen(np.array(chosen[:k], np.int64), np.array(values[:k]), "distance to those before")


def _raise_scores(best: Reals, pool: Pool, new: Positions) -> None:
    """Update, in place, every image's score with its nearest chosen one."""
    for rows in blocks(len(new), 1_024):
        # (d, c)
        centres = pool.x[new[rows]].astype(np.float32).T
        for part in blocks(len(pool), _BLOCK):
            # (b, d) @ (d, c) → (b, c) → (b,): only the nearest of the new ones can raise a score.
            np.maximum(best[part], (pool.x[part].astype(np.float32) @ centres).max(1), out=best[part])


def _farthest(pool: Pool, best: Reals, free: NDArray[np.bool_], wanted: int) -> tuple[list[int], list[float]]:
    """The next choices, as many as can be made without looking at every image again.

    Distances only shrink, so those of before are upper bounds: among the farthest images, one may be chosen as long as
    its own distance, brought up to date, is above the bound of all that were not looked at. The result is that of one
    choice at a time.
    """
    # (n,) distances as they were when last brought up to date: upper bounds of those of now.
    value = np.where(free, distance(best) * pool.weighted, -1.0)
    # Only the few farthest are looked at closely.
    size = min(_BATCH, int(free.sum()))
    batch = np.argpartition(-value, size - 1)[:size]
    batch = np.unique(np.append(batch, value.argmax()))  # ascending, so that ties go to the first
    outside = np.ones(len(value), bool)
    outside[batch] = False
    # No image outside the batch can be farther than this.
    bound = float(value[outside].max()) if outside.any() else -1.0
    if value.max() <= 0:  # only copies of chosen images are left
        order = np.flatnonzero(free)[np.argsort(pool.uniform[free], kind="stable")][:wanted]
        return order.tolist(), [0.0] * len(order)
    # (b, d)
    y = pool.x[batch].astype(np.float32)
    # (b, b): what choosing one of the batch does to the others of it.
    products = (y @ y.T).astype(np.float64)
    closest, weights = best[batch].copy(), pool.weighted[batch]
    open_ = free[batch].copy()
    picked: list[int] = []
    radii: list[float] = []
    while len(picked) < wanted and open_.any():
        # Distances of the batch, brought up to date.
        current = np.where(open_, distance(closest) * weights, -1.0)
        chosen_now = int(current.argmax())
        # Some image outside might be farther now, so all must be looked at first.
        if picked and current[chosen_now] <= bound:
            break
        picked.append(int(batch[chosen_now]))
        radii.append(float(distance(closest[chosen_now : chosen_now + 1])[0]))
        open_[chosen_now] = False
        # The batch moves nearer to what has just been chosen.
        np.maximum(closest, products[chosen_now], out=closest)
    return picked, radii


@selectors.register("facility-location")
def facility_location(pool: Pool, k: int) -> Chosen:
    """Greedy maximum of Σ_i max_{j chosen} s_ij over the edges of the neighbour graph, evaluated lazily (Minoux 1978).

    At least 1 − 1/e of the best (Nemhauser et al. 1978). Values are the gains. With weights, the gain times the weight
    is largest.
    """
    # The graph by columns: column j lists the images i that j would represent.
    columns, rows, scores = _edges(pool)
    # (n,) how well each image is represented: max over chosen j of s_ij.
    covered = np.zeros(len(pool))
    # Column j is the slice bounds[j]:bounds[j + 1].
    bounds = np.searchsorted(columns, np.arange(len(pool) + 1))

    def add(image: int) -> None:
        part = slice(bounds[image], bounds[image + 1])
        covered[rows[part]] = np.maximum(covered[rows[part]], scores[part])

    for image in pool.start.tolist():
        add(image)
    # (n,) 1. What each image would add now: Σ_i max(0, s_ij − covered_i).
    gains = np.add.reduceat(np.maximum(scores - covered[rows], 0), bounds[:-1]) if len(pool) else np.empty(0)
    weights = pool.weighted
    # 2. A heap by gain; equal gains come by position. The last number says how old the gain is.
    heap = [(-float(gains[image]) * float(weights[image]), image, 0) for image in np.flatnonzero(pool.free).tolist()]
    heapq.heapify(heap)
    chosen: list[int] = []
    values: list[float] = []
    while heap and len(chosen) < k:
        # 3. Gains only shrink (submodularity), so an old one is an upper bound:
        value, image, seen = heapq.heappop(heap)
        # it is computed anew only when it reaches the top, and chosen if it is still the largest.
        if seen < len(chosen):
            part = slice(bounds[image], bounds[image + 1])
            gain = float(np.maximum(scores[part] - covered[rows[part]], 0).sum())
            heapq.heappush(heap, (-gain * float(weights[image]), image, len(chosen)))
            continue
        chosen.append(image)
        values.append(-value / float(weights[image]))
        add(image)
    return Chosen(np.array(chosen, np.int64), np.array(values), "gain")


def _edges(pool: Pool) -> tuple[NDArray[np.int64], NDArray[np.int64], Reals]:
    """The graph's edges both ways and every image's with itself: (column, row, score), by column."""
    neighbours, near = pool.graph("facility-location")
    n = len(pool)
    # Edges of neighbours that have a positive score; others represent nothing.
    a, neighbour_columns = np.nonzero((neighbours >= 0) & (near > 0))
    b, s = neighbours[a, neighbour_columns].astype(np.int64), near[a, neighbour_columns].astype(np.float64)
    self_position = np.arange(n)
    # If a is near b, each represents the other; and each represents itself wholly.
    columns, rows, scores = (
        np.concatenate([a, b, self_position]),
        np.concatenate([b, a, self_position]),
        np.concatenate([s, s, np.ones(n)]),
    )
    order = np.lexsort((rows, columns))
    columns, rows, scores = columns[order], rows[order], scores[order]
    # Mutual neighbours give an edge twice; it is kept once.
    fresh = np.ones(len(columns), bool)
    fresh[1:] = (columns[1:] != columns[:-1]) | (rows[1:] != rows[:-1])
    return columns[fresh].astype(np.int64), rows[fresh], scores[fresh]


@selectors.register("herding")
def herding(pool: Pool, k: int) -> Chosen:
    """Images whose mean stays nearest to that of the pool, or of the reference (Welling 2009).

    Equations 18 and 19, with linear features. Where it would take long, on the first 64 principal components. Values
    are the distances of the means after each choice.
    """
    if pool.weights is not None:
        raise UsageError(
            "herding follows a mean, which leaves no room for weights; combine k-center, facility-location, random or "
            "balanced"
        )
    # What the mean should stay near to.
    target = pool.x if pool.reference is None else pool.reference
    z, aim = _reduced(pool, target)
    # w_t = w_{t−1} + μ − x_t (eq. 19), as if the images to begin with had been chosen first.
    w = aim * (1 + len(pool.start)) - z[pool.start].sum(0)
    # The sum of what is chosen, for the distances that are returned.
    total = z[pool.start].sum(0)
    # −∞ never wins the argmax.
    free = np.where(pool.free, 0.0, -np.inf).astype(np.float32)
    chosen: list[int] = []
    values: list[float] = []
    for _ in range(min(k, int(pool.free.sum()))):
        # x_t = argmax ⟨w, x⟩ (eq. 18).
        best = int((z @ w + free).argmax())
        free[best] = -np.inf
        w += aim - z[best]
        total += z[best]
        chosen.append(best)
        values.append(float(np.linalg.norm(aim - total / (len(pool.start) + len(chosen)))))
    return Chosen(np.array(chosen, np.int64), np.array(values), "distance of the means")


def _reduced(pool: Pool, target: NDArray[np.float16]) -> tuple[Vectors, Vectors]:
    """The pool's vectors and the mean to follow, on fewer dimensions where the work asks for it."""
    # (d,) in float64 and block by block: the pool may lie in a file.
    mean = sum(
        (target[part].astype(np.float64).sum(0) for part in blocks(len(target), _BLOCK)), np.zeros(target.shape[1])
    ) / max(1, len(target))
    if pool.x.size <= _LARGE or pool.x.shape[1] <= _COMPONENTS:
        return pool.x.astype(np.float32), mean.astype(np.float32)
    # (d, d) second moments; herding follows a mean, so they are not centred.
    second = np.zeros((len(mean), len(mean)))
    for part in blocks(len(pool), _BLOCK):
        y = pool.x[part].astype(np.float64)
        second += y.T @ y
    # eigh sorts ascending: the last are the largest.
    axes = np.linalg.eigh(second)[1][:, -_COMPONENTS:]
    z = np.concatenate(
        [pool.x[part].astype(np.float32) @ axes.astype(np.float32) for part in blocks(len(pool), _BLOCK)]
    )
    return z, (mean @ axes).astype(np.float32)
