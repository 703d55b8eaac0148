"""Queries of a file, a line each, answered together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from curator.errors import CuratorError, UsageError
from curator.index import Index
from curator.index.many import search_many
from curator.records import Hits, Vectors
from curator.search.query import Question, Term, parse_query, query_vector
from curator.texts import valid_text

_TOGETHER = 512  # queries that are answered together
_TEXTS = 256  # that are encoded together

Batched = tuple[str, Hits | CuratorError]


def search_lines(index: Index, lines: Sequence[str], question: Question) -> Iterator[Batched]:
    """Each line that is not empty, with its hits, or with what is wrong with it; in their order.

    Lines are queries as `curator search` takes them. Words are encoded together, and not remembered. Raises
    `UsageError` for limits that only single searches have, `WhereError`.
    """
    if question.unique or question.min_confidence is not None:
        raise UsageError("--batch goes without --unique and --min-confidence, which are of single searches")
    queries = [line.strip() for line in lines if line.strip()]
    for start in range(0, len(queries), _TOGETHER):
        yield from _together(index, queries[start : start + _TOGETHER], question)


def _together(index: Index, queries: Sequence[str], question: Question) -> Iterator[Batched]:
    parsed = [_parsed(query) for query in queries]
    known = _encoded(index, [t.value for p in parsed if isinstance(p, list) for t in p if t.kind == "text"])
    vectors = [p if isinstance(p, CuratorError) else _vector(index, p, known) for p in parsed]
    sound = [v for v in vectors if not isinstance(v, CuratorError)]
    q = np.stack(sound) if sound else np.empty((0, index.space.dim), np.float32)
    answers = iter(search_many(index, q, question.k, where=question.condition(), min_score=question.min_score))
    for query, vector in zip(queries, vectors, strict=True):
        yield query, vector if isinstance(vector, CuratorError) else next(answers)


def _parsed(query: str) -> list[Term] | CuratorError:
    try:
        terms = parse_query([query])
    except CuratorError as error:
        return error
    if any(t.kind == "stdin" for t in terms):
        return UsageError("a line of --batch cannot read standard input")
    return terms


def _encoded(index: Index, texts: Sequence[str]) -> dict[str, Vectors]:
    """Words → (d,) unit vectors: those that were asked before from the index, the others encoded together."""
    known: dict[str, Vectors] = {}
    fresh: list[str] = []
    for text in dict.fromkeys(texts):
        q = index.reader.cached_query(index.space, text)
        if q is not None:
            known[text] = q
        else:
            fresh.append(text)
    if not index.encoder.has_text:
        return known  # each line with words is told by itself that they cannot be asked for
    for start in range(0, len(fresh), _TEXTS):
        part = fresh[start : start + _TEXTS]
        known |= dict(zip(part, index.encoder.encode_texts([valid_text(text) for text in part]), strict=True))
    return known


def _vector(index: Index, terms: Sequence[Term], known: dict[str, Vectors]) -> Vectors | CuratorError:
    try:
        return query_vector(index, terms, known=known, remember=False)
    except CuratorError as error:
        return error
