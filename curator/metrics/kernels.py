"""Metrics by kernels: squared maximum mean discrepancies (Gretton et al. 2012)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import blocks
from curator.records import Vectors

Reals = NDArray[np.float64]
_BLOCK = 4_096
_MEDIAN_OF = 2_000
Kernel = Callable[[Vectors, Vectors], Reals]


def kid(x: Vectors, y: Vectors) -> float:
    """Unbiased MMD² under the cubic kernel (⟨x, y⟩/d + 1)³ (Bińkowski et al. 2018, §4).

    On unit rows that kernel is nearly linear, so the number is small and cannot be compared with a KID of Inception features: `evaluate`
    calls it `kid_unit`.
    """
    d = x.shape[1]
    return _discrepancy(x, y, lambda a, b: np.asarray((_products(a, b) / d + 1) ** 3))


def mmd(x: Vectors, y: Vectors) -> float:
    """Unbiased MMD² under a Gaussian kernel whose σ is the median distance of images of both sets (Gretton et al. 2012, §8)."""
    both = np.concatenate([z[:: max(1, len(z) // (_MEDIAN_OF // 2))] for z in (x, y)])
    squares = _squares(both, both)
    middle = float(np.median(squares[~np.eye(len(both), dtype=bool)])) if len(both) > 1 else 1.0
    return _discrepancy(x, y, lambda a, b: np.exp(-_squares(a, b) / (2 * max(middle, 1e-12))))


def cmmd(x: Vectors, y: Vectors, *, sigma: float = 10.0) -> float:
    """1,000 times the biased MMD² under a Gaussian kernel of σ = 10, as CMMD's reference computes it (Jayasumana et al. 2024, §4).

    On unit rows no distance is above 2, where that kernel is a parabola: the number is 10·‖mean x − mean y‖² within a percent, which
    diversity does not enter.
    """
    return 1_000 * _discrepancy(x, y, lambda a, b: np.exp(-_squares(a, b) / (2 * sigma**2)), biased=True)


def _discrepancy(x: Vectors, y: Vectors, kernel: Kernel, *, biased: bool = False) -> float:
    within = [_within(z, kernel, biased=biased) for z in (x, y)]
    between = sum(float(kernel(x[part], y).sum()) for part in blocks(len(x), _BLOCK)) / (len(x) * len(y))
    return within[0] + within[1] - 2 * between


def _within(z: Vectors, kernel: Kernel, *, biased: bool) -> float:
    """The mean of the kernel over pairs; unbiased, without each image and itself."""
    total = sum(float(kernel(z[part], z).sum()) for part in blocks(len(z), _BLOCK))
    if biased:
        return total / len(z) ** 2
    if len(z) < 2:
        return 0.0
    own = sum(float(np.trace(kernel(z[part], z[part]))) for part in blocks(len(z), 256))
    return (total - own) / (len(z) * (len(z) - 1))


def _products(a: Vectors, b: Vectors) -> Reals:
    return np.asarray(a.astype(np.float64) @ b.astype(np.float64).T)


def _squares(a: Vectors, b: Vectors) -> Reals:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.asarray(np.maximum(0.0, (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T)))
