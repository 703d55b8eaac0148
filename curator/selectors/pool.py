"""What a selector sees and what it returns, and the two registries.

Scorers give every image a number, selectors an order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from curator.errors import UsageError
from curator.records import Positions
from curator.registry import Registry

Half = NDArray[np.float16]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """The n images to choose from, in ascending order of their content's SHA-256: ties by position are ties by content.

    `x` (n, d) float16 unit rows; `sha256` n digests; `labels` (n,) a code for each value of a column, −1 for none;
    `neighbours` (n, k) positions, −1 where there are fewer, and `near` (n, k) scores of the cached graph; `reference`
    (m, d) unit rows to match; `words` (n,) how well each fits the words asked for, in [0, 1]; `start` positions that
    are chosen already; `weights` (n,) > 0 multiply what a selector makes large.
    """

    x: Half
    sha256: tuple[bytes, ...]
    seed: int = 0
    labels: NDArray[np.int64] | None = None
    neighbours: NDArray[np.int32] | None = None
    near: NDArray[np.float32] | None = None
    reference: Half | None = None
    words: Reals | None = None
    start: Positions = field(default_factory=lambda: np.empty(0, np.int64))
    weights: Reals | None = None

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def uniform(self) -> Reals:
        """(n,) one number in (0, 1) for each content and the seed, whatever else is in the pool."""
        # A keyed hash: another seed gives numbers that have nothing to do with these.
        key = self.seed.to_bytes(16, "little", signed=True)
        digests = b"".join(hashlib.blake2b(h, key=key, digest_size=8).digest() for h in self.sha256)
        # 64 bits over 2⁶⁴, kept off 0 and 1, of which logarithms are taken.
        return (np.frombuffer(digests, "<u8") / 2.0**64).clip(1e-18, 1 - 1e-16)

    @cached_property
    def weighted(self) -> Reals:
        """(n,) the weights, 1 where there are none."""
        return np.ones(len(self)) if self.weights is None else self.weights

    @cached_property
    def free(self) -> NDArray[np.bool_]:
        """(n,) whether each image may still be chosen."""
        mask = np.ones(len(self), bool)
        mask[self.start] = False
        return mask

    def graph(self, who: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The neighbour graph. Raises `UsageError` for a pool that has none."""
        if (
            len(self) == 1 and self.neighbours is not None
        ):  # alone in its label: its own neighbour, as every score of one is the same
            return np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32)
        if self.neighbours is None or self.near is None or not self.neighbours.shape[1]:
            raise UsageError(f"{who} needs neighbours, and {len(self)} images have none; choose among more images")
        return self.neighbours, self.near


@dataclass(frozen=True)
class Chosen:
    """At most k positions, in an order of which every prefix is the choice for a smaller k.

    `values` has the value of each, and `what` names it.
    """

    positions: Positions
    values: Reals
    what: str


Scorer = Callable[[Pool], Reals]  # larger is chosen earlier
Selector = Callable[[Pool, int], Chosen]
scorers: Registry[Scorer] = Registry("scorer")
selectors: Registry[Selector] = Registry("selector")


def distance(scores: NDArray[np.floating]) -> Reals:
    """Inner products of unit vectors → their Euclidean distances, in [0, 2]."""
    # ‖a − b‖² = 2 − 2⟨a, b⟩ for unit vectors; rounding may leave it a little below 0.
    return np.sqrt(np.maximum(0.0, 2.0 - 2.0 * scores.astype(np.float64)))


def best_of(values: Reals, free: NDArray[np.bool_], k: int) -> Positions:
    """Positions of the k largest values among the free ones, best first, ties by position."""
    # The last key of lexsort counts first.
    order = np.lexsort((np.arange(len(values)), -values))
    return order[free[order]][:k].astype(np.int64)
