"""Exact nearest neighbours in blocks, for parts of a pool whose cached graph leads outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import blocks
from curator.selectors.pool import Half

# 2,048 × n float32 products at a time.
_BLOCK = 2_048


def nearest(x: Half, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(n, d) unit rows → positions and scores (n, k') of each row's nearest others, best first, ties by position.

    k' is k or n − 1.
    """
    # A row alone has no other.
    k = min(k, max(0, len(x) - 1))
    neighbours, scores = np.empty((len(x), k), np.int32), np.empty((len(x), k), np.float32)
    if not k:
        return neighbours, scores
    y = x.astype(np.float32)
    for part in blocks(len(x), _BLOCK):
        # (b, n)
        products = y[part] @ y.T
        rows = np.arange(len(products))
        # Nobody is a neighbour of its own.
        products[rows, rows + part.start] = -np.inf
        # (b, k) the k largest in any order …
        best = np.argpartition(-products, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(products, best, 1)
        # … then sorted, equal scores by position.
        order = np.lexsort((best, -values), axis=1)
        neighbours[part], scores[part] = np.take_along_axis(best, order, 1), np.take_along_axis(values, order, 1)
    return neighbours, scores
