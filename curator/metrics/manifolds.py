"""Metrics by balls around images.

A ball reaches to the k-th nearest other image of the same set. `x` is judged, `y` the reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import blocks
from curator.records import Vectors

_PAIRS = 1 << 24  # distances in memory at once: 64 MiB
PRECISION_K = 3  # neighbours that make a radius (Kynkäänniemi et al. 2019, §3)
DENSITY_K = 5  # (Naeem et al. 2020, §3.2)

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Manifold:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    All but density are shares; it is 1 for equal sets.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(x: Vectors, y: Vectors, *, k: int | None = None) -> Manifold:
    """Precision, recall, density and coverage of x (n, d) against y (m, d).

    Precision: x within a radius of some y. Recall: y within a radius of some x. Density: how many radii of y hold an x,
    over k. coverage: radii of y that hold an x. A radius reaches to the k-th nearest other of the same set: 3 for the
    first two, 5 for the others.
    """
    x, y = _centred(x, y)
    close, dense = k or PRECISION_K, k or DENSITY_K
    (close_x,), (close_y, dense_y) = _reach(x, close), _reach(y, close, dense)
    # (n,) whether an x lies in some ball of y, and (m,) whether a y lies in some ball of x.
    inside_x, inside_y = np.zeros(len(x), bool), np.zeros(len(y), bool)
    # (m,) whether a ball of y holds an x, and how many pairs (x, ball of y) there are.
    covered, total = np.zeros(len(y), bool), 0
    for part in _parts(x, y):
        # (b, m): one block of x against all of y. All four numbers come from it.
        apart = _squares(x[part], y)
        inside_x[part] = (apart <= close_y).any(1)
        inside_y |= (apart <= close_x[part, None]).any(0)
        # Balls of density and coverage are larger: they reach to the fifth neighbour.
        within = apart <= dense_y
        covered |= within.any(0)
        total += int(within.sum())
    # In a reference of fewer than six the ball reaches as far as it can.
    reach = min(dense, max(1, len(y) - 1))
    return Manifold(float(inside_x.mean()), float(inside_y.mean()), total / (reach * len(x)), float(covered.mean()))


def distances(x: Vectors, y: Vectors) -> Reals:
    """(n, m) Euclidean distances of rows, unit or not."""
    return np.sqrt(_squares(*_centred(x, y)).astype(np.float64))


def _reach(x: Vectors, *ks: int) -> list[NDArray[np.float32]]:
    """Squared distances to the k-th nearest other row, for each k."""
    # Position 0 of the sorted row is the image itself, so the k-th nearest other stands at k.
    ks = tuple(min(k, len(x) - 1) for k in ks)
    # An image alone has no other, and a ball without extent.
    if len(x) < 2:
        return [np.zeros(len(x), np.float32) for _ in ks]
    # np.partition puts only the k-th in its place: O(n) for a row where a sort takes O(n log n).
    reaches = [np.partition(_squares(x[part], x), ks, axis=1)[:, ks] for part in _parts(x, x)]
    return list(np.concatenate(reaches).T)


def _centred(x: Vectors, y: Vectors) -> tuple[Vectors, Vectors]:
    """Both less the mean of y, which changes no distance and keeps float32's rounding small."""
    # |x|² + |y|² − 2⟨x, y⟩ cancels: near the origin it loses the fewest digits.
    middle = y.mean(0, dtype=np.float64)
    return (x - middle).astype(np.float32), (y - middle).astype(np.float32)


def _parts(x: Sized, y: Sized) -> Iterator[slice]:
    return blocks(len(x), max(1, _PAIRS // max(1, len(y))))


def _squares(x: Vectors, y: Vectors) -> NDArray[np.float32]:
    """(n, m) squared Euclidean distances: |x|² + |y|² − 2⟨x, y⟩, in float32."""
    # In place, step by step: this matrix is most of the memory that a metric takes.
    squares = x @ y.T
    squares *= -2
    squares += np.einsum("nd,nd->n", x, x)[:, None]
    squares += np.einsum("nd,nd->n", y, y)
    np.maximum(squares, 0, out=squares)
    return squares


def clipped(x: Vectors, y: Vectors, *, k: int = DENSITY_K) -> tuple[float, float]:
    """Clipped density and coverage, in [0, 1] (Salvy et al. 2025).

    About the share of x that is good, and the share that it covers y as. Density: balls of y are no larger than their
    median, each x counts at most once, relative to y's own. Coverage: a ball of y counts in parts of k x it holds; what
    is found is read as the share m of x, drawn as y, of which as much would be expected: balls hold a Beta(k, n − k) of
    the mass (their §4).
    """
    # A ball of an image alone, or of none, says nothing.
    k = min(k, len(y) - 1)
    if k < 1:
        return 0.0, 0.0
    x, y = _centred(x, y)
    # (m,) squared radii.
    (reach,) = _reach(y, k)
    # Clipping the radii: an outlier of y has a ball that holds everything, and must not vouch for it.
    small = np.minimum(reach, np.median(reach))
    # (n,) how densely each x lies among y, and (m,) how densely y lies in itself.
    judged, recalled = np.zeros(len(x)), np.zeros(len(y))
    # (m,) how many x each ball of y holds.
    held = np.zeros(len(y))
    for part in _parts(x, y):
        apart = _squares(x[part], y)
        # Clipping the counts: a crowd of x in one place vouches for each at most once.
        judged[part] = np.minimum(1.0, (apart <= small).sum(1) / k)
        held += (apart <= reach).sum(0)
    for part in _parts(y, y):
        # − 1: every y lies in its own ball.
        recalled[part] = np.minimum(1.0, ((_squares(y[part], y) <= small).sum(1) - 1) / k)
    # A perfect x would be as dense as y is, not denser.
    density = float(min(1.0, judged.mean() / recalled.mean())) if recalled.any() else 0.0
    return density, _as_good(float(np.minimum(1.0, held / k).mean()), len(x), len(y), k)


def _as_good(found: float, m: int, n: int, k: int) -> float:
    """The share of m images that, drawn as the n, would be expected to give what was found."""
    from scipy.optimize import brentq
    from scipy.stats import betabinom

    # Ball counts below k count in parts, all from k on count as whole.
    counts = np.arange(k)

    def expected(share: float) -> float:
        # Of m fresh draws a ball that reaches to the k-th of n holds Beta-binomially many.
        held = betabinom(max(0, round(share * m)), k, max(1, n - k))
        below = held.pmf(counts)
        # E[min(count, k)] / k.
        return float((below * counts).sum() / k + 1 - below.sum())

    # More than y itself would give is as good as good can be.
    if found >= expected(1.0):
        return 1.0
    # `expected` grows with the share, so one root lies between none and all.
    return float(brentq(lambda s: expected(s) - found, 0.0, 1.0, xtol=1e-4)) if found > 0 else 0.0


@dataclass(frozen=True)
class Nearest:
    """Of each x its nearest y: `position` (n,), Euclidean `distance` (n,) and `ratio` (n,).

    The ratio is that distance over the distance from the nearest y to its own nearest other.
    """

    position: NDArray[np.int64]
    distance: Reals
    ratio: Reals

    @property
    def authentic(self) -> NDArray[np.bool_]:
        """(n,) ratio above 1: where y is what a generator was trained on, x is not nearer to it than it is to its like.

        (Alaa et al. 2022, eq. 7).
        """
        return self.ratio > 1


def nearest_to(x: Vectors, y: Vectors) -> Nearest:
    """The nearest y of each x."""
    # Centred in float32 to find the nearest …
    a, b = _centred(x, y)
    position = np.concatenate([_squares(a[part], b).argmin(1) for part in _parts(a, b)])
    # … and the distance itself once more in float64, from the rows as they were given.
    distance = np.linalg.norm(x.astype(np.float64) - y[position], axis=1)
    # Many x share one nearest y: each such y is compared with its own like only once.
    hit, place = np.unique(position, return_inverse=True)
    second = min(1, len(y) - 1)  # the first is itself
    # (h,) squared distance of each of them to its nearest other.
    alone = np.concatenate(
        [np.partition(_squares(b[hit[part]], b), second, axis=1)[:, second] for part in _parts(hit, b)]
    )
    # Two copies in y lie at no distance from each other, and nothing is divided by 0.
    return Nearest(position, distance, distance / np.maximum(np.sqrt(alone[place].astype(np.float64)), 1e-12))


@dataclass(frozen=True)
class PerImage:
    """Numbers about each x, (n,) each.

    `realism` the largest of a radius over a distance, balls of the smaller half of y only, 1 and more inside
    (Kynkäänniemi et al. 2019, eq. 3); `rarity` the smallest ball of y that holds x, infinite where none does (Han et
    al. 2023, eq. 4); `nearest`, the nearest y.
    """

    realism: Reals
    rarity: Reals
    nearest: Nearest


def per_image(x: Vectors, y: Vectors, *, k: int = PRECISION_K) -> PerImage:
    """Numbers about each x beside y."""
    a, b = _centred(x, y)
    # (m,) squared radii of the reference.
    (reach,) = _reach(b, k)
    # Only the smaller half judges: a large ball would call everything real.
    small = reach <= np.median(reach)
    # Both of squares; the roots are taken at the end.
    realism, rarity = np.zeros(len(x)), np.full(len(x), np.inf)
    for part in _parts(a, b):
        apart = _squares(a[part], b)
        # max over balls of radius / distance: above 1 for an x inside some ball.
        realism[part] = (reach[small] / np.maximum(apart[:, small], 1e-12)).max(1)
        # The smallest ball that holds x: it is small where y is dense, that is, where x is common.
        rarity[part] = np.where(apart <= reach, reach, np.inf).min(1)
    return PerImage(np.sqrt(realism), np.sqrt(rarity), nearest_to(x, y))
