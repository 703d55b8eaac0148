"""A map of pictures: places in the plane that keep near what is near among vectors.

Negative-sample t-SNE (Damrich, Böhm, Hamprecht, Kobak 2023, "From t-SNE to UMAP with contrastive learning"), on the
neighbour graph and in full batches: each round, every edge pulls its ends together, and every node is pushed away from
a few others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from curator.job import QUIET, Job

Plane = NDArray[np.float32]

NEAREST = 5  # nodes with a place, whose median is that of a new one
_PULLING = 15  # nearest neighbours of each node that pull it
_ROUNDS, _SHIFTS = 500, 16  # and nodes drawn each round, from which a node is pushed away, in both directions
# How often a node is pushed for each time that it is pulled. UMAP's 5 leaves one loose cloud; 60 keeps twice as many
# neighbours (scripts/bench_layout.py).
_REPULSION = 60.0
_START = 5.0  # spread of the first places
_RATE, _MEAN, _SQUARE = 1.0, 0.9, 0.999  # of Adam: its step, and how slowly its two means follow


def lay_out(neighbours: NDArray[np.int32], x: NDArray[np.floating], *, job: Job = QUIET) -> Plane:
    """Places (n, 2) of n nodes, centred, with a root mean square of 1 along both axes together.

    `neighbours` (n, k) are the positions of each node's nearest ones, best first, −1 where there is none; `x` (n, d)
    the vectors, unit rows, of which the two directions of most variance are where it starts. The same input gives the
    same places. Raises `Stopped`.
    """
    n = len(x)
    if not n:
        return np.empty((0, 2), np.float32)
    y = _START * _principal(x)
    pulls = _pulls(neighbours[:, :_PULLING])
    if n < 3 or not pulls.nnz:
        return _framed(y)
    ends = np.repeat(np.arange(n, dtype=np.int32), np.diff(pulls.indptr)), pulls.indices
    weight = np.float32(_REPULSION * pulls.sum() / n / (2 * _SHIFTS))
    rng = np.random.default_rng(0)
    mean, square = np.zeros_like(y), np.zeros_like(y)
    for number in range(1, _ROUNDS + 1):
        job.check()
        gradient = _pull(y, ends, pulls.data)
        for shift in rng.integers(1, n, _SHIFTS):
            gradient += _push(y, int(shift), weight)
        # Adam (Kingma and Ba 2015, Algorithm 1), with a rate that falls to nothing.
        mean = _MEAN * mean + (1 - _MEAN) * gradient
        square = _SQUARE * square + (1 - _SQUARE) * gradient**2
        step = mean / (1 - _MEAN**number) / (np.sqrt(square / (1 - _SQUARE**number)) + 1e-8)
        y = y - np.float32(_RATE * (1 - number / _ROUNDS)) * step
        job.progress(number, _ROUNDS, "laying out the map", unit="rounds")
    return _framed(y)


def place_near(places: Plane, neighbours: NDArray[np.integer]) -> Plane:
    """Places (m, 2) of m new nodes: the median of those of their nearest nodes, `neighbours` (m, k) into `places`."""
    return np.asarray(np.median(places[neighbours], axis=1), np.float32)


def _principal(x: NDArray[np.floating]) -> Plane:
    """(n, 2) along the two directions of most variance, each with a spread of 1."""
    apart = np.asarray(x, np.float32) - np.asarray(x, np.float32).mean(0)
    if apart.shape[1] < 2 or len(x) < 3:
        return np.stack([np.arange(len(x)), np.zeros(len(x))], 1).astype(np.float32)
    _, directions = np.linalg.eigh(apart.T @ apart)
    two = directions[:, -2:]
    # A direction has no sign of its own: its largest part points up.
    two = two * np.sign(two[np.abs(two).argmax(0), [0, 1]])
    y = apart @ two  # (n, d) → (n, 2)
    return np.asarray(y / np.maximum(y.std(0), 1e-6), np.float32)


def _pulls(neighbours: NDArray[np.int32]) -> csr_array:
    """(n, n) what pulls what: 1 where two are neighbours of each other, 0.5 where only one is the other's."""
    n, k = neighbours.shape
    heads, tails = np.repeat(np.arange(n), k), neighbours.ravel()
    known = tails >= 0
    ones = np.ones(int(known.sum()), np.float32)
    directed = csr_array((ones, (heads[known], tails[known])), shape=(n, n))
    return csr_array((directed + directed.T) / 2)


def _pull(y: Plane, ends: tuple[NDArray[np.int32], NDArray[np.int32]], strength: NDArray[np.float32]) -> Plane:
    """(n, 2) the gradient of log(2 + d²) over the edges, whose factor on y_i − y_j is 2 / (2 + d²)."""
    heads, tails = ends
    apart = y[heads] - y[tails]  # (edges, 2)
    factor = strength * (2 / (2 + (apart * apart).sum(1)))
    sums = [np.bincount(heads, factor * apart[:, axis], len(y)) for axis in (0, 1)]
    return np.stack(sums, 1).astype(np.float32)


def _push(y: Plane, shift: int, weight: np.float32) -> Plane:
    """(n, 2) the gradient of log(1 + 1 / (1 + d²)) over pairs of a node and the one `shift` places before it.

    Its factor on y_i − y_j is −2 / ((1 + d²)(2 + d²)), and each node is in two such pairs.
    """
    apart = y - np.roll(y, shift, 0)
    distance = (apart * apart).sum(1, keepdims=True)
    push = apart * (-2 * weight / ((1 + distance) * (2 + distance)))
    return np.asarray(push - np.roll(push, -shift, 0))


def _framed(y: Plane) -> Plane:
    y = y - y.mean(0)
    return np.asarray(y / max(float(np.sqrt((y * y).sum(1).mean())), 1e-6), np.float32)
