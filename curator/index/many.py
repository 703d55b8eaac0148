"""Many searches at once, with the answers of as many single ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from curator.embeddings import LEAST_SAMPLE, Background, normalise
from curator.errors import UsageError
from curator.index.engine import LocalEngine
from curator.index.index import CLEAR, Index, refuse_limits
from curator.records import Hits
from curator.vectors import Answer


def search_many(
    index: Index, vectors: Any, k: int = 20, *, where: str | None = None, min_score: float | None = None
) -> list[Hits]:
    """The `k` nearest images for each of (m, d) vectors of any length, as `Index.search` gives them one by one.

    All products are computed together, on every core. How sure hits are is not told. Raises `UsageError` for another
    shape or a vector without a direction, `WhereError`.
    """
    try:
        q = np.asarray(vectors, np.float32)
        if q.ndim != 2 or q.shape[1] != index.space.dim:
            raise UsageError(f"vectors of this index have the shape (m, {index.space.dim}), not {q.shape}")
        q = normalise(q) if len(q) else q
    except (TypeError, ValueError) as error:
        raise UsageError(f"the vectors cannot be searched with: {error}") from error
    refuse_limits(k, min_score)
    with index.engine.moment():
        sample = index.engine.sample().astype(np.float64)
        answers = _answers(index, q, int(k), where)
    # (m, d) · (d, s): what each query scores on images that have nothing to do with it.
    sampled = np.asarray((q.astype(np.float64) @ sample.T).clip(-1, 1), np.float32)
    return [_hits(answer, scores, min_score) for answer, scores in zip(answers, sampled, strict=True)]


def _answers(index: Index, q: Any, k: int, where: str | None) -> list[Answer]:
    if isinstance(index.engine, LocalEngine):
        return index.engine.nearest_many(q, k, where=where)
    return [index.engine.nearest(one, k, where=where) for one in q]


def _hits(answer: Answer, sampled: Any, min_score: float | None) -> Hits:
    background = Background.of(sampled)
    z, notes = background.z(answer.scores), answer.notes
    if len(z) and np.isnan(z[0]):
        notes += (f"with fewer than {LEAST_SAMPLE} images, how sure a hit is cannot be told",)
    stands_out = background.confidence(answer.scores[:1], answer.total)
    clear = len(z) > 0 and not stands_out[0] < CLEAR
    reached = np.ones(len(z), bool) if min_score is None else answer.scores >= min_score
    unknown = np.full(int(reached.sum()), np.nan, np.float32)
    return Hits(
        answer.ids[reached], answer.scores[reached], z[reached], unknown, answer.searched, answer.exact, clear, notes
    )
