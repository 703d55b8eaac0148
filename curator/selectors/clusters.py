"""Spherical k-means, and its hierarchy with resampling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import blocks
from curator.records import Vectors
from curator.selectors.pool import Half

_BLOCK = 16_384
_TRAINING = 64  # images per cluster that Lloyd's iterations see
_ITERATIONS = 10
_RESAMPLED = 3  # rounds of resampling (Vo et al. 2024 use 10 on a thousand times as many images)
_NEAREST = 8  # images around each centre that a round keeps

Codes = NDArray[np.int64]


def assign(x: Half | Vectors, centres: Vectors) -> tuple[Codes, NDArray[np.float32]]:
    """(n, d), (c, d) → (n,) the centre each row scores highest with, and that score; ties by the centre's position."""
    nearest, scores = np.empty(len(x), np.int64), np.empty(len(x), np.float32)
    for part in blocks(len(x), _BLOCK):
        # (b, d) @ (d, c) → (b, c)
        products = x[part].astype(np.float32) @ centres.T
        # argmax takes the first of equal ones.
        nearest[part] = products.argmax(1)
        scores[part] = np.take_along_axis(products, nearest[part, None], 1)[:, 0]
    return nearest, scores


def spherical_kmeans(x: Half | Vectors, c: int, rng: np.random.Generator) -> Vectors:
    """(n, d) unit rows → (c, d) unit centres by Lloyd's iterations on a sample (Dhillon and Modha 2001).

    A centre that empties moves to the row that fits its own centre least.
    """
    # No more centres than rows.
    c = min(c, len(x))
    # 64 rows for a centre place it as well as all of them would.
    sample = np.sort(rng.choice(len(x), min(len(x), _TRAINING * c), replace=False))
    y = x[sample].astype(np.float32)
    # 1. Begin at rows drawn by the seed.
    centres = y[np.sort(rng.choice(len(y), c, replace=False))]
    for _ in range(_ITERATIONS):
        # 2. Each row goes to the centre it scores highest with …
        nearest, scores = assign(y, centres)
        # … rows of a centre are brought together …
        order = np.argsort(nearest, kind="stable")
        counts = np.bincount(nearest, minlength=c)
        filled = np.flatnonzero(counts)
        # … and summed by one pass. On the sphere the best centre is the sum, made unit.
        sums = np.add.reduceat(y[order], np.concatenate([[0], np.cumsum(counts[filled])[:-1]]), axis=0)
        centres = centres.copy()
        centres[filled] = sums
        # 3. Centres without rows move to those that fit theirs least.
        empty = np.flatnonzero(counts == 0)
        centres[empty] = y[np.argsort(scores, kind="stable")[: len(empty)]]
        # 4. Back onto the sphere.
        centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    return centres


def hierarchy(x: Half, sizes: list[int], rng: np.random.Generator) -> list[Codes]:
    """Clusters of clusters: for each of the decreasing `sizes`, (n,) the cluster of every row at that level.

    Hierarchical k-means with resampling (Vo et al. 2024, "Automatic data curation for self-supervised learning", §3.3):
    on each level the rows nearest to every centre are clustered again, which spreads the centres evenly over the
    support instead of over the density.
    """
    levels: list[Codes] = []
    # Level 0 clusters the images; each further level clusters the centres of the one below.
    rows: Half | Vectors = x
    for size in sizes:
        centres = spherical_kmeans(rows, size, rng)
        for _ in range(_RESAMPLED):
            # Resampling: keep the same number of rows around every centre …
            nearest, scores = assign(rows, centres)
            order = np.lexsort((-scores, nearest))
            # … told by their place within their cluster, the best first …
            first = np.searchsorted(nearest[order], np.arange(len(centres)))
            rank = np.arange(len(order)) - first[nearest[order]]
            resampled = np.sort(order[rank < _NEAREST])
            # Nothing would be left to cluster.
            if len(resampled) <= len(centres):
                break
            # … and cluster those: dense regions weigh no more than thin ones.
            centres = spherical_kmeans(rows[resampled], size, rng)
        nearest = assign(rows, centres)[0]
        # A row's cluster at a level is the cluster of its cluster.
        levels.append(nearest if not levels else nearest[levels[-1]])
        rows = centres
    return levels
