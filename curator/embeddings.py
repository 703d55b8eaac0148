"""Pure maths on embeddings `x: (n, d) float32, unit rows`: check, normalise, exact top-k, relevance, comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curator.records import Positions, Scores, Vectors

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

LEAST_SAMPLE = 30  # scores from which a spread can be told
_TINY = 1e-12  # a row shorter than this has no direction


def lengths(v: Vectors) -> NDArray[np.float32]:
    """(n, d) → (n,) Euclidean lengths, summed in float64."""
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", v, v, dtype=np.float64)), np.float32)


def normalise(v: Vectors) -> Vectors:
    """(n, d) → (n, d) unit rows. Raises `ValueError` for a row that is zero or not finite: it has no direction."""
    v = np.ascontiguousarray(v, np.float32)
    norms = lengths(v)
    bad = ~np.isfinite(norms) | (norms < _TINY)
    if bad.any():
        raise ValueError(f"row {int(np.flatnonzero(bad)[0])} is zero or not finite, so it has no direction")
    return np.asarray(v / norms[:, None], np.float32)


def check_unit(x: Vectors, dim: int) -> Vectors:
    """Return `x` unchanged if it is (n, dim) float32 with unit rows; raise `ValueError` naming what is wrong."""
    if x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != dim:
        raise ValueError(f"embeddings must be (n, {dim}) float32, not {x.shape} {x.dtype}")
    if len(x) and not np.allclose(lengths(x), 1, atol=2e-3):
        raise ValueError("embeddings must have unit length; call normalise first")
    return x


def exact_scores(x: Vectors, q: Vectors) -> Scores:
    """(n, d), (d,) → (n,) inner products of unit rows in float64, rounded once: the same in any order or block.

    Stored rows are rounded to float16 and may be a little long; no score is above 1 all the same.
    """
    return np.asarray(np.einsum("nd,d->n", x, q, dtype=np.float64).clip(-1, 1), np.float32)


def fit_logistic(
    x: NDArray[np.floating], y: NDArray[np.int64], *, c: float = 10.0, weights: Any = None, balanced: bool = False
) -> LogisticRegression:
    """Logistic regression of classes y (n,) on x (n, d), for its `predict`, `predict_proba` and `coef_`.

    `c` is the inverse strength of the L2 penalty: 10 suits unit rows. `weights` (n,) weigh rows; `balanced` lets every
    class weigh the same.
    """
    from sklearn.linear_model import LogisticRegression  # a second, which no search should pay for

    fitted = LogisticRegression(C=c, max_iter=1000, class_weight="balanced" if balanced else None)
    return fitted.fit(x, y, sample_weight=weights)


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover range(n)."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def top_k(x: Vectors, q: Vectors, k: int) -> tuple[Positions, Scores]:
    """Exact best `k` of (n, d) for one query (d,), best first, ties by position."""
    scores = (
        np.concatenate([exact_scores(x[part], q) for part in blocks(len(x), 65_536)])
        if len(x)
        else np.empty(0, np.float32)
    )
    order = best_first(scores, np.arange(len(x)))[:k]
    return order.astype(np.int64), scores[order]


def find_sorted(ordered: NDArray[np.int64], values: NDArray[np.int64]) -> tuple[Positions, NDArray[np.bool_]]:
    """Positions of `values` in an ascending array, and which of them are in it at all.

    Positions of the others mean nothing.
    """
    positions = np.searchsorted(ordered, values)
    is_there = positions < len(ordered)
    is_there[is_there] = ordered[positions[is_there]] == values[is_there]
    return np.asarray(positions, np.int64), is_there


def is_among(ordered: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) bool: which of an ascending array are among `values`, which ascend too; neither has any below 0."""
    among = np.zeros(len(ordered), bool)
    if not len(ordered) or not len(values):
        return among
    # Many values of a dense array: a table of marks takes a fifth of the time of as many searches.
    if len(values) > len(ordered) // 16 and max(ordered[-1], values[-1]) < 8 * len(ordered):
        marked = np.zeros(int(max(ordered[-1], values[-1])) + 1, bool)
        marked[values] = True
        return marked[ordered]
    positions, is_there = find_sorted(ordered, values)
    among[positions[is_there]] = True
    return among


def best_first(scores: Scores, ties: NDArray[np.integer]) -> Positions:
    """The order that puts larger scores first and equal ones by `ties`, ascending."""
    return np.asarray(np.lexsort((ties, -scores)), np.int64)


@dataclass(frozen=True)
class Background:
    """How one query scores on images that have nothing to do with it: `median` and `spread`, in Fisher's scale.

    Scores are first spread out by artanh (Fisher 1915: it makes the variance of a correlation about constant), or an
    image's own score of 1 would look no rarer than a 0.9. The spread is taken below the median only (16th percentile,
    where one standard deviation of a normal lies), because the upper half of a sample may hold true answers.
    """

    median: float
    spread: float

    @classmethod
    def of(cls, sample_scores: Scores) -> Background:
        """Fit to the query's scores on a sample.

        A sample of fewer than 30 says nothing, and then all that follows is NaN.
        """
        if len(sample_scores) < LEAST_SAMPLE:
            return cls(math.nan, math.nan)
        ordered = np.sort(_fisher(sample_scores))  # np.percentile imports numpy.ma, which takes longer than a search
        low, middle = ordered[int(0.1587 * len(ordered))], ordered[len(ordered) // 2]
        return cls(float(middle), max(float(middle - low), 1e-6))

    def z(self, scores: Scores) -> NDArray[np.float32]:
        """How many spreads each score lies above the median."""
        return np.asarray((_fisher(scores) - self.median) / self.spread, np.float32)

    def confidence(self, scores: Scores, searched: int) -> NDArray[np.float32]:
        """P(the best of `searched` unrelated images scores below), were their scores normal: Φ(z)^searched."""
        upper = np.array([0.5 * math.erfc(float(z) / math.sqrt(2)) for z in self.z(scores)])
        return np.asarray(np.exp(searched * np.log1p(-np.minimum(upper, 1 - 1e-12))), np.float32)


def _fisher(scores: Scores) -> NDArray[np.float64]:
    return np.arctanh(np.clip(scores.astype(np.float64), -1 + 1e-6, 1 - 1e-6))


@dataclass(frozen=True)
class Comparison:
    """Two vectors: inner product of their directions, the angle between them in degrees, and both lengths."""

    inner_product: float
    angle_degrees: float
    lengths: tuple[float, float]


def compare(a: Vectors, b: Vectors) -> Comparison:
    """Compare two vectors (d,) that need not have unit length; `inner_product` is of the normalised ones."""
    pair = np.stack([a, b]).astype(np.float32)
    one, two = normalise(pair).astype(np.float64)
    product = float(np.clip(one @ two, -1, 1))
    # From the chord, because arccos loses all digits near 1 (Kahan 2006, "How futile are mindless assessments", §12).
    angle = 2 * math.degrees(math.atan2(float(np.linalg.norm(one - two)), float(np.linalg.norm(one + two))))
    norms = lengths(pair)
    return Comparison(product, angle, (float(norms[0]), float(norms[1])))
