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
    upwards for few rows, so compare sets of equal size only.
    """
    # ‖μx − μy‖² + tr(Σx + Σy − 2 (Σx Σy)^½), the three terms below.
    (mean_x, cov_x), (mean_y, cov_y) = _moments(x), _moments(y)
    # √Σx by its eigenvalues, of which rounding may have made some a little negative.
    values, axes = np.linalg.eigh(cov_x)
    # (d, d), symmetric.
    root = axes * np.sqrt(np.maximum(values, 0)) @ axes.T
    # √Σx Σy √Σx has the eigenvalues of Σx Σy and is symmetric, so they are real and found stably.
    cross = np.linalg.eigvalsh(root @ cov_y @ root)
    apart = float(((mean_x - mean_y) ** 2).sum())
    # Rounding can leave equal sets a hair below 0.
    return max(0.0, apart + float(np.trace(cov_x) + np.trace(cov_y) - 2 * np.sqrt(np.maximum(cross, 0)).sum()))


def _moments(x: Vectors) -> tuple[Reals, Reals]:
    # Covariances of float32 rows lose half of their digits.
    z = x.astype(np.float64)
    mean = z.mean(0)
    z -= mean
    # (d,), (d, d), unbiased.
    return mean, z.T @ z / max(1, len(z) - 1)


def frechet_infinity(x: Vectors, y: Vectors, rng: np.random.Generator) -> float:
    """FD∞: the Fréchet distance that a line through 15 sizes, by 1/n, reaches at n = ∞: without the bias of few images.

    (Chong and Forsyth 2020, §4, with random subsets in place of their quasi-random draws, and with x and y thinned by
    the same share, so that the bias of both goes: theirs is of x alone, beside a reference large enough to have none.)
    Sizes begin at a fifth, and where there are images enough at twice as many as dimensions, below which covariances
    are singular and the bias bends.
    """
    # The smallest share: enough rows for covariances of full rank where there are that many.
    least = min(max(0.2, 2 * x.shape[1] / min(len(x), len(y))), 0.5)
    # 1/n falls on a line for n large enough (Chong and Forsyth 2020, fig. 2).
    shares = np.linspace(least, 1, _SIZES)
    distances = []
    for share in shares:
        # Both sides thinned alike: the bias of either side is of order 1/n.
        a, b = (z[rng.permutation(len(z))[: max(2, round(share * len(z)))]] for z in (x, y))
        distances.append(frechet_distance(a, b))
    # The constant term: where the line stands at 1/n = 0.
    return float(np.polyfit(1 / shares, distances, 1)[1])


def vendi(x: Vectors) -> float:
    """The effective number of different images, 1 to min(n, d) (Friedman and Dieng 2023, eq. 3).

    exp of the entropy of the eigenvalues of K/n. K holds the cosines of rows, which need not be unit.
    """
    z = x.astype(np.float64)
    # K has ones on its diagonal, whatever the rows' lengths.
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    # XᵀX and XXᵀ have the same eigenvalues but zeros: take the smaller one.
    values = np.linalg.eigvalsh(z.T @ z / len(z)) if z.shape[1] < len(z) else np.linalg.eigvalsh(z @ z.T / len(z))
    # 0 log 0 = 0, and rounding makes zeros of either sign.
    p = values[values > 1e-12]
    # tr(K/n) = 1, up to rounding.
    p = p / p.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def sliced_wasserstein(x: Vectors, y: Vectors, rng: np.random.Generator, *, slices: int = 256) -> float:
    """The root of the mean squared Wasserstein-2 distance of projections on random directions (Bonneel et al. 2015, eq.
    8).
    """
    # (d, s) directions, uniform on the sphere: normal draws divided by their length.
    axes = rng.standard_normal((x.shape[1], slices))
    axes /= np.linalg.norm(axes, axis=0)
    # In one dimension Wasserstein's optimal plan joins equal quantiles.
    a, b = (_quantiles(z.astype(np.float64) @ axes, 512) for z in (x, y))
    return float(np.sqrt(((a - b) ** 2).mean()))


def _quantiles(z: Reals, count: int) -> Reals:
    """(n, s) → (count, s) evenly spaced quantiles of each column, between neighbours by a line."""
    # (n, s), each projection by itself.
    ordered = np.sort(z, axis=0)
    # Positions of the middles of `count` equal shares.
    quantiles = (np.arange(count) + 0.5) / count * (len(z) - 1)
    # The sets may differ in size, so quantiles lie between two rows.
    low = np.minimum(quantiles.astype(int), max(0, len(z) - 2))
    high = np.minimum(low + 1, len(z) - 1)
    return np.asarray(ordered[low] + (quantiles - low)[:, None] * (ordered[high] - ordered[low]))
