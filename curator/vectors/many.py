"""Many queries at once: blocks of stored rows against all queries, as products of matrices on every core."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import best_first, blocks, exact_scores
from curator.records import Ids, Scores, Vectors

_ROWS, _QUERIES = 16_384, 512  # of one product: its scores are 32 MiB
_MARGIN = 32  # candidates beyond those wanted, whose true scores settle the order
_CLOSE = 1e-5  # by which float32 products may be off

Block = tuple[Ids, Vectors]  # (n,) ids and their rows (n, d) float32


def nearest_many(
    queries: Vectors, k: int, read: Callable[[], Iterator[Block]], alone: Callable[[Vectors], tuple[Ids, Scores]]
) -> list[tuple[Ids, Scores]]:
    """The exact best `k` for each of (m, d) unit queries, best first, ties by id: ids and scores.

    `read` gives all rows, block by block; `alone` answers one query, and is asked where so many rows score alike that
    the candidates of the product could hide a smaller id.
    """
    answers: list[tuple[Ids, Scores]] = []
    for part in blocks(len(queries), _QUERIES):
        q = np.ascontiguousarray(queries[part], np.float32)
        answers += _nearest(q, k, read, alone)
    return answers


def _nearest(
    q: Vectors, k: int, read: Callable[[], Iterator[Block]], alone: Callable[[Vectors], tuple[Ids, Scores]]
) -> list[tuple[Ids, Scores]]:
    m, wanted = len(q), k + _MARGIN
    # Of each query the best so far: rough scores, ids, rows.
    best: list[_Best] = [_Best(wanted) for _ in range(m)]
    least = np.full(m, -np.inf, np.float32)
    for ids, x in read():
        # (m, d) · (d, n) → (m, n)
        scores = q @ x.T
        # What is no better than a query's worst candidate is passed over; after a few blocks that is nearly all.
        rows, columns = np.nonzero(scores >= least[:, None])
        first = np.searchsorted(rows, np.arange(m + 1))
        for query in np.flatnonzero(first[1:] > first[:-1]).tolist():
            better = columns[first[query] : first[query + 1]]
            best[query].add(scores[query, better], better, ids, x)
            least[query] = best[query].least
    return [b.settled(v, k) or alone(v) for b, v in zip(best, q, strict=True)]


class _Best:
    """Candidates of one query."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.least = wanted, np.float32(-np.inf)
        self.scores, self.ids = np.empty(0, np.float32), np.empty(0, np.int64)
        self.x: NDArray[np.float32] | None = None

    def add(self, scores: Scores, columns: NDArray[np.int64], ids: Ids, x: Vectors) -> None:
        """Take the rows of a block at `columns`, and let go of the worst beyond the number wanted."""
        before, both = len(self.scores), np.concatenate([self.scores, scores])
        chosen = np.arange(len(both))
        if len(both) > self.wanted:
            chosen = np.argpartition(-both, self.wanted - 1)[: self.wanted]
        old, new = chosen[chosen < before], columns[chosen[chosen >= before] - before]
        # Rows are copied only once it is known which of them stay.
        self.x = x[new] if self.x is None else np.concatenate([self.x[old], x[new]])
        self.scores, self.ids = (
            np.concatenate([both[old], scores[chosen[chosen >= before] - before]]),
            np.concatenate([self.ids[old], ids[new]]),
        )
        if len(self.scores) == self.wanted:
            self.least = self.scores.min()

    def settled(self, q: Vectors, k: int) -> tuple[Ids, Scores] | None:
        """The best `k` by their true scores; None where a tie may reach beyond the candidates."""
        if self.x is None:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        rough = np.sort(self.scores)[::-1]
        if len(rough) == self.wanted and rough[k - 1] <= rough[-1] + _CLOSE:
            return None
        scores = exact_scores(self.x, q)
        order = best_first(scores, self.ids)[:k]
        return self.ids[order], scores[order]


def rows_in_blocks(
    ids: Ids, vectors: Callable[[NDArray[np.int64]], Vectors], positions: NDArray[np.int64]
) -> Iterator[Block]:
    """Rows at some positions, as blocks; `vectors` reads rows by position, and `ids` has one for each position."""
    for part in blocks(len(positions), _ROWS):
        yield ids[positions[part]], vectors(positions[part])
