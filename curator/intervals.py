"""95 % intervals: of shares, and of measures by random halves of what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from curator.records import Vectors

_Z = 1.959964  # 95 %, two-sided
FEWEST = 40  # of which halves say something


def wilson(found: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): (low, high), (0, 1) for nothing seen."""
    if not of:
        return 0.0, 1.0
    share, z2 = found / of, _Z * _Z
    middle = share + z2 / (2 * of)
    half = _Z * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, (middle - half) / (1 + z2 / of)), min(1.0, (middle + half) / (1 + z2 / of))


def bootstrap(
    measure: Callable[[Vectors], float], x: Vectors, rng: np.random.Generator, *, rounds: int = 20
) -> tuple[float, float]:
    """95 % interval of a measure of x, by halves of its rows (see `half_width`)."""
    values = [measure(half_of(x, rng)) for _ in range(rounds)]
    whole, half = measure(x), half_width(values)
    return whole - half, whole + half


def half_of(x: Vectors, rng: np.random.Generator) -> Vectors:
    """A random half of the rows, two at least."""
    return x[rng.permutation(len(x))[: max(2, len(x) // 2)]]


def half_width(values: Sequence[float]) -> float:
    """Half a 95 % interval from a measure of random halves.

    Halves are drawn without replacement, so that no row stands twice and shrinks radii to 0. A mean over half of n rows
    so drawn varies as one over n fresh ones does: σ²/(n/2) · (1 − ½) = σ²/n (Politis and Romano 1994, with the
    correction for a finite population). Few rounds widen it by Student's t.
    """
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def at_most(found: int, n: int) -> float:
    """What a share is at most with 95 % confidence (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    return 1.0 if found == n else float(beta.ppf(0.95, found + 1, n - found))
