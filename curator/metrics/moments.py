"""Metrics by means and covariances, and what several of them share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.records import Vectors

Reals = NDArray[np.float64]
_SIZES = 15  # of the fit to infinity (Chong and Forsyth 2020, §4)


def frechet_distance(x: Vectors, y: Vectors) -> float:
    """Fréchet distance of two Gaussians fitted to the rows (Dowson and Landau 1982, eq. 4; Heusel et al. 2017), ≥ 0.

    The trace of the root of Σx Σy is the sum of the roots of the eigenvalues of √Σx Σy √Σx, which is symmetric. Biased
    upwards for few rows, so compare sets of equal size only."""
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


def frechet_infinity(x: Vectors, y: Vectors, rng: np.random.Generator) -> float:
    """FD∞: the Fréchet distance that a line through 15 sizes, by 1/n, reaches at n = ∞: without the bias of few images.

    (Chong and Forsyth 2020, §4, with random subsets in place of their quasi-random draws, and with x and y thinned by
    the same share, so that the bias of both goes: theirs is of x alone, beside a reference large enough to have none.)
    Sizes begin at a fifth, and where there are images enough at twice as many as dimensions, below which covariances
    are singular and the bias bends."""
    least = min(max(0.2, 2 * x.shape[1] / min(len(x), len(y))), 0.5)
    shares = np.linspace(least, 1, _SIZES)
    found = []
    for share in shares:
        a, b = (z[rng.permutation(len(z))[: max(2, round(share * len(z)))]] for z in (x, y))
        found.append(frechet_distance(a, b))
    return float(np.polyfit(1 / shares, found, 1)[1])


def vendi(x: Vectors) -> float:
    """The effective number of different images, 1 to min(n, d): exp of the entropy of the eigenvalues of K/n (Friedman,
    Dieng 2023, eq. 3).

    K holds the cosines of rows, which need not be unit.
    """
    z = x.astype(np.float64)
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    values = np.linalg.eigvalsh(z.T @ z / len(z)) if z.shape[1] < len(z) else np.linalg.eigvalsh(z @ z.T / len(z))
    p = values[values > 1e-12]
    p = p / p.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def sliced_wasserstein(x: Vectors, y: Vectors, rng: np.random.Generator, *, slices: int = 256) -> float:
    """The root of the mean squared Wasserstein-2 distance of projections on random directions (Bonneel et al. 2015, eq.
    8)."""
    axes = rng.standard_normal((x.shape[1], slices))
    axes /= np.linalg.norm(axes, axis=0)
    a, b = (_quantiles(z.astype(np.float64) @ axes, 512) for z in (x, y))
    return float(np.sqrt(((a - b) ** 2).mean()))


def _quantiles(z: Reals, count: int) -> Reals:
    """(n, s) → (count, s) evenly spaced quantiles of each column, between neighbours by a line."""
    ordered = np.sort(z, axis=0)
    at = (np.arange(count) + 0.5) / count * (len(z) - 1)
    low = np.minimum(at.astype(int), max(0, len(z) - 2))
    high = np.minimum(low + 1, len(z) - 1)
    return np.asarray(ordered[low] + (at - low)[:, None] * (ordered[high] - ordered[low]))
