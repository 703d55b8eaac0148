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
        products = x[part].astype(np.float32) @ centres.T
        nearest[part] = products.argmax(1)
        scores[part] = np.take_along_axis(products, nearest[part, None], 1)[:, 0]
    return nearest, scores


def spherical_kmeans(x: Half | Vectors, c: int, rng: np.random.Generator) -> Vectors:
    """(n, d) unit rows → (c, d) unit centres by Lloyd's iterations on a sample (Dhillon and Modha 2001).

    A centre that empties moves to the row that fits its own centre least.
    """
    c = min(c, len(x))
    sample = np.sort(rng.choice(len(x), min(len(x), _TRAINING * c), replace=False))
    y = x[sample].astype(np.float32)
    centres = y[np.sort(rng.choice(len(y), c, replace=False))]
    for _ in range(_ITERATIONS):
        nearest, scores = assign(y, centres)
        order = np.argsort(nearest, kind="stable")
        counts = np.bincount(nearest, minlength=c)
        filled = np.flatnonzero(counts)
        sums = np.add.reduceat(y[order], np.concatenate([[0], np.cumsum(counts[filled])[:-1]]), axis=0)
        centres = centres.copy()
        centres[filled] = sums
        empty = np.flatnonzero(counts == 0)
        centres[empty] = y[np.argsort(scores, kind="stable")[: len(empty)]]
        centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    return centres


def hierarchy(x: Half, sizes: list[int], rng: np.random.Generator) -> list[Codes]:
    """Clusters of clusters: for each of the decreasing `sizes`, (n,) the cluster of every row at that level.

    Hierarchical k-means with resampling (Vo et al. 2024, "Automatic data curation for self-supervised learning", §3.3):
    on each level the rows nearest to every centre are clustered again, which spreads the centres evenly over the
    support instead of over the density."""
    levels: list[Codes] = []
    rows: Half | Vectors = x
    for size in sizes:
        centres = spherical_kmeans(rows, size, rng)
        for _ in range(_RESAMPLED):
            nearest, scores = assign(rows, centres)
            order = np.lexsort((-scores, nearest))
            first = np.searchsorted(nearest[order], np.arange(len(centres)))
            rank = np.arange(len(order)) - first[nearest[order]]
            kept = np.sort(order[rank < _NEAREST])
            if len(kept) <= len(centres):
                break
            centres = spherical_kmeans(rows[kept], size, rng)
        nearest = assign(rows, centres)[0]
        levels.append(nearest if not levels else nearest[levels[-1]])
        rows = centres
    return levels
