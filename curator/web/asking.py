"""A query of the command line, answered by a page that has everything loaded already."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from curator.errors import UsageError
from curator.images import SUFFIXES
from curator.index import Index
from curator.search.query import Question, answer, is_plain, parse_query, query_vector
from curator.search.rows import answer_facts
from curator.web.body import Body

_LIMITS: dict[str, tuple[type, ...]] = {
    "k": (int,), "where": (str,), "label": (str,), "origin": (str,), "tag": (str,), "min_score": (int, float),
    "min_confidence": (int, float), "unique": (bool,),
}  # fmt: skip


def answer_query(index: Index, body: Body, *, remember: bool) -> dict[str, Any]:
    """Rows and facts for `words` and the limits of `Question`; no file is opened, whatever the words say.

    Raises `UsageError`, and what a search raises.
    """
    words, limits = body.get("words"), body.get("question")
    if not isinstance(words, list) or not all(isinstance(w, str) for w in words) or not isinstance(limits, dict):
        raise UsageError('a query has the form {"words": [...], "question": {...}}')
    said = {name: value for name, value in limits.items() if value is not None}
    for name, value in said.items():
        if name not in _LIMITS or not isinstance(value, _LIMITS[name]):
            raise UsageError(f"a query has no limit '{name}' of this kind")
    terms = parse_query(words, files=False)
    # The command line takes such words for a file, or says that there is none.
    if any(t.kind == "text" and PurePath(t.value).suffix.lower() in SUFFIXES for t in terms):
        raise UsageError("a query for a page has no names of files")
    q = query_vector(index, terms, remember=remember)
    hits = answer(index, q, Question(**said), is_words=is_plain(terms))
    return answer_facts(hits, index.images(hits.ids))
