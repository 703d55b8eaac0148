"""Metrics of two sets of embeddings: how near, how varied. Pure; x is what is judged, y the reference, both (n, d) unit rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import blocks
from curator.records import Vectors

_BLOCK = 4_096
PRECISION_K = 3  # neighbours that make a radius (Kynkäänniemi et al. 2019, §3)
DENSITY_K = 5  # (Naeem et al. 2020, §3.2)

Reals = NDArray[np.float64]


def frechet_distance(x: Vectors, y: Vectors) -> float:
    """Fréchet distance of two Gaussians fitted to the rows (Dowson and Landau 1982, eq. 4; Heusel et al. 2017), ≥ 0.

    The trace of the root of Σx Σy is the sum of the roots of the eigenvalues of √Σx Σy √Σx, which is symmetric. Biased upwards for few
    rows, so compare sets of equal size only.
    """
    (mean_x, cov_x), (mean_y, cov_y) = _moments(x), _moments(y)
    values, axes = np.linalg.eigh(cov_x)
    root = axes * np.sqrt(np.maximum(values, 0)) @ axes.T
    cross = np.linalg.eigvalsh(root @ cov_y @ root)
    apart = float(((mean_x - mean_y) ** 2).sum())
    return max(0.0, apart + float(np.trace(cov_x) + np.trace(cov_y) - 2 * np.sqrt(np.maximum(cross, 0)).sum()))


def _moments(x: Vectors) -> tuple[Reals, Reals]:
    z = x.astype(np.float64)
    mean = z.mean(0)
    z -= mean
    return mean, z.T @ z / max(1, len(z) - 1)


@dataclass(frozen=True)
class Manifold:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020): shares, but density, 1 for equal sets."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(x: Vectors, y: Vectors, *, k: int | None = None) -> Manifold:
    """Precision: x within a radius of some y; recall: y within a radius of some x; density: how many radii of y hold an x, over k;

    coverage: radii of y that hold an x. A radius reaches to the k-th nearest other of the same set: 3 for the first two, 5 for the others.
    """
    close, dense = k or PRECISION_K, k or DENSITY_K
    close_x, close_y, dense_y = radii(x, close), radii(y, close), radii(y, dense)
    inside_x, inside_y = np.zeros(len(x), bool), np.zeros(len(y), bool)
    covered, total = np.zeros(len(y), bool), 0
    for part in blocks(len(x), _BLOCK):
        apart = distances(x[part], y)
        inside_x[part] = (apart <= close_y).any(1)
        inside_y |= (apart <= close_x[part, None]).any(0)
        within = apart <= dense_y
        covered |= within.any(0)
        total += int(within.sum())
    reach = min(dense, max(1, len(y) - 1))
    return Manifold(float(inside_x.mean()), float(inside_y.mean()), total / (reach * len(x)), float(covered.mean()))


def radii(x: Vectors, k: int) -> Reals:
    """(n, d) → (n,) distance to the k-th nearest other row, or the farthest where there are fewer."""
    k = min(k, len(x) - 1)
    if k < 1:
        return np.zeros(len(x))
    return np.concatenate([np.partition(distances(x[part], x), k, axis=1)[:, k] for part in blocks(len(x), _BLOCK)])


def distances(x: Vectors, y: Vectors) -> Reals:
    """(n, m) Euclidean distances of rows, unit or not: √(|x|² + |y|² − 2⟨x, y⟩)."""
    x, y = x.astype(np.float32), y.astype(np.float32)
    lengths_x, lengths_y = np.einsum("nd,nd->n", x, x, dtype=np.float64), np.einsum("nd,nd->n", y, y, dtype=np.float64)
    return np.asarray(np.sqrt(np.maximum(0.0, lengths_x[:, None] + lengths_y - 2.0 * (x @ y.T).astype(np.float64))))


def bootstrap(measure: Callable[[Vectors], float], x: Vectors, rng: np.random.Generator, *, rounds: int = 20) -> tuple[float, float]:
    """95 % interval of a measure of x by resampling half of the rows without replacement (Politis and Romano 1994): no row stands twice,

    which would shrink radii to 0; the spread is scaled by the root of 1/2 to that of the whole.
    """
    whole = measure(x)
    values = np.array([measure(x[rng.permutation(len(x))[: max(2, len(x) // 2)]]) for _ in range(rounds)])
    half = 1.96 * float(values.std(ddof=1)) * np.sqrt(0.5)
    return whole - half, whole + half
