"""What pictures are like pixel by pixel, whatever they show: light, contrast, edges, grain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
_RIDGE = 0.05  # of the mean variance, so that statistics that hardly vary do not decide alone


def pixel_statistics(greys: NDArray[np.uint8]) -> Reals:
    """(n, side, side) grey levels → (n, 6): mean, spread, edges along and across, grain, share of black or white."""
    x = greys.astype(np.float32) / 255
    along, across = np.abs(np.diff(x, axis=2)).mean((1, 2)), np.abs(np.diff(x, axis=1)).mean((1, 2))
    # Second differences: large beside the first in noise and chequerboards, small in blur (a Laplacian in each axis).
    grain = np.abs(np.diff(x, n=2, axis=2)).mean((1, 2)) + np.abs(np.diff(x, n=2, axis=1)).mean((1, 2))
    ends = ((x < 0.02) | (x > 0.98)).mean((1, 2))
    # Amounts of light are compared by their ratios, hence logarithms.
    amounts = np.log(np.stack([along + 1e-3, across + 1e-3, grain + 1e-3], axis=1))
    return np.column_stack([x.mean((1, 2)), x.std((1, 2)), amounts, ends]).astype(np.float64)


def strangeness(x: Reals, usual: Reals) -> Reals:
    """(n, s), (m, s) → (n,) Mahalanobis distance of each row from the rows that are usual (Mahalanobis 1936)."""
    # Each statistic in units of its spread first, so that the ridge is fair to all.
    scale = usual.std(0) + 1e-6
    middle = np.median(usual, axis=0)
    z, standard = (x - middle) / scale, (usual - middle) / scale
    covariance = standard.T @ standard / len(usual)
    covariance += _RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return np.asarray(np.sqrt((z @ np.linalg.inv(covariance) * z).sum(1)))
