"""What finds nearest vectors, as a protocol: FAISS files and SQLite here, a service elsewhere.

Whoever searches sees an `Engine` and nothing behind it, and one contract test holds for all of them. An engine that is
loaded from a sharded set has to do more (take a shard twice without harm, say which it holds); that is its own affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from curator.records import Finding, Ids, Scores, Space, Vectors


@dataclass(frozen=True)
class Answer:
    """The nearest images: `ids` (k',) and `scores` (k',), best first, ties by id; k' < k where fewer match.

    `searched` images were candidates, of `total` that can be found at all. `exact` says that each was compared.
    """

    ids: Ids
    scores: Scores
    searched: int
    total: int
    exact: bool = True
    notes: tuple[str, ...] = ()


class Engine(Protocol):
    """The vectors of one space, and what finds the nearest of them. Usable from any number of threads."""

    @property
    def space(self) -> Space:
        """Whose vectors these are. Raises `NoIndex` where there are none yet."""
        ...

    def moment(self) -> AbstractContextManager[None]:
        """Within it this thread's answers are of one moment."""
        ...

    def count(self, where: str | None = None) -> int:
        """How many images can be found, or of those for which the condition holds. Raises `WhereError`."""
        ...

    def nearest(self, q: Vectors, k: int, *, where: str | None = None, exact: bool = False) -> Answer:
        """The `k` images nearest to a unit vector (d,), never fewer than min(k, matches); `exact` compares each.

        Raises `WhereError`.
        """
        ...

    def vectors(self, ids: Sequence[int]) -> Vectors:
        """(n, d) float32 stored vectors in the order of `ids`. Raises `UnknownName` for an image without one."""
        ...

    def sample(self) -> Vectors:
        """(m, d) float32: up to 1,000 random vectors, the same until the index changes, to compare a score with."""
        ...

    def verify(self) -> Iterator[Finding]:
        """What is wrong with the engine's own files, told by reading every byte."""
        ...
