"""Metrics by kernels: squared maximum mean discrepancies (Gretton et al. 2012)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import blocks
from curator.records import Vectors

Reals = NDArray[np.float64]
# Pairs are computed in squares of this side: 2,048² float64 products and squares are 64 MiB.
_BLOCK = 2_048
# The median of 4 million distances is as good a bandwidth as that of all of them.
_MEDIAN_OF = 1_000  # rows of each set that the bandwidth is taken from
Kernel = Callable[[Reals, Reals], Reals]
"""Inner products and squared distances → the kernel, elementwise."""


def kid(x: Vectors, y: Vectors) -> float:
    """Unbiased MMD² under the cubic kernel (⟨x, y⟩/d + 1)³ (Bińkowski et al. 2018, §4).

    On unit rows that kernel is nearly linear, so the number is small and cannot be compared with a KID of Inception
    features: `evaluate` calls it `kid_unit`.
    """
    # [1]: without the bias of each row's likeness to itself.
    return _discrepancies(x, y, [_cubic(x.shape[1])])[0][1]


def mmd(x: Vectors, y: Vectors) -> float:
    """Unbiased MMD² under a Gaussian kernel (Gretton et al. 2012, §8).

    σ is the median distance of images of both sets. Of larger sets 1,000 each, drawn by a fixed seed, give the median.
    """
    return _discrepancies(x, y, [_gaussian(_middle(x, y))])[0][1]


def cmmd(x: Vectors, y: Vectors, *, sigma: float = 10.0) -> float:
    """1,000 times the biased MMD² under a Gaussian kernel of σ = 10, as CMMD's reference computes it (Jayasumana et al.
    2024, §4).

    On unit rows no distance is above 2, where that kernel is a parabola: the number is 10·‖mean x − mean y‖² within a
    percent, which diversity does not enter.
    """
    # [0]: CMMD's reference keeps the diagonal, and so must a number that compares with it.
    return 1_000 * _discrepancies(x, y, [_gaussian(sigma**2)])[0][0]


def kernel_metrics(x: Vectors, y: Vectors) -> tuple[float, float, float]:
    """`kid`, `mmd` and `cmmd` by one pass over the pairs."""
    # One matrix of products serves all three kernels.
    pairs = _discrepancies(x, y, [_cubic(x.shape[1]), _gaussian(_middle(x, y)), _gaussian(10.0**2)])
    return pairs[0][1], pairs[1][1], 1_000 * pairs[2][0]


def _cubic(d: int) -> Kernel:
    return lambda products, _squares: (products / d + 1) ** 3


def _gaussian(squared_sigma: float) -> Kernel:
    return lambda _products, squares: np.exp(squares / (-2 * squared_sigma))


def _middle(x: Vectors, y: Vectors) -> float:
    """The squared median distance of images of both sets."""
    # A seed of its own: the bandwidth is part of the metric's definition, not of its noise.
    rng = np.random.default_rng(0)
    both = np.concatenate([z[rng.permutation(len(z))[:_MEDIAN_OF]] for z in (x, y)]).astype(np.float64)
    _, squares = _pairs(both, both)
    # The diagonal is 0 by definition, and would pull the median down.
    return max(1e-12, float(np.median(squares[~np.eye(len(both), dtype=bool)])))


def _discrepancies(x: Vectors, y: Vectors, kernels: Sequence[Kernel]) -> list[tuple[float, float]]:
    """MMD² under each kernel, biased and unbiased."""
    # float64, because the three sums below nearly cancel.
    a, b = x.astype(np.float64), y.astype(np.float64)
    n, m = len(a), len(b)
    # 1. Σ k(x, y) over all n·m pairs of the two sets.
    between = np.zeros(len(kernels))
    for rows in blocks(n, _BLOCK):
        for columns in blocks(m, _BLOCK):
            between += [k(*_pairs(a[rows], b[columns])).sum() for k in kernels]
    # 2. Σ k over the pairs within each set, and the part of it on the diagonal.
    (all_a, own_a), (all_b, own_b) = (_within(z, kernels) for z in (a, b))
    # 3. MMD² = E k(x, x') + E k(y, y') − 2 E k(x, y): with the diagonal (Gretton et al. 2012, eq. 5) …
    biased = all_a / n**2 + all_b / m**2 - 2 * between / (n * m)
    # … and without it (their eq. 3), which may fall below 0.
    unbiased = (all_a - own_a) / max(1, n * (n - 1)) + (all_b - own_b) / max(1, m * (m - 1)) - 2 * between / (n * m)
    return list(zip(biased.tolist(), unbiased.tolist(), strict=True))


def _within(z: Reals, kernels: Sequence[Kernel]) -> tuple[Reals, Reals]:
    """Sums of each kernel over all ordered pairs of rows, and over each row with itself."""
    total = np.zeros(len(kernels))
    parts = list(blocks(len(z), _BLOCK))
    for i, rows in enumerate(parts):
        for j, columns in enumerate(parts[i:]):
            pairs = _pairs(z[rows], z[columns])
            total += [(2 if j else 1) * k(*pairs).sum() for k in kernels]  # the other triangle is the same
    # A row's product with itself is its squared length; it lies at no distance from itself.
    lengths = (z**2).sum(1)
    return total, np.array([k(lengths, np.zeros(len(z))).sum() for k in kernels])


def _pairs(a: Reals, b: Reals) -> tuple[Reals, Reals]:
    """Inner products and squared distances, (n, m) each."""
    products = a @ b.T
    # Rounding can make a distance a little negative, of which no root could be taken.
    return products, np.maximum(0.0, (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * products)
