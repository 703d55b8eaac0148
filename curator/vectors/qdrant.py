"""Qdrant as engine; experimental, for it was tested on Qdrant's own engine and client, and not on a server.

It has no transactions, so a part is there whole once its receipt is, which is put last, into a collection beside.
Searches are routed as for Postgres: few matches are compared one by one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from curator.embeddings import best_first, check_unit, exact_scores
from curator.records import Finding, Ids, Image, Vectors
from curator.texts import to_json
from curator.vectors.calibration import UNFINISHED, note_of
from curator.vectors.engine import Answer
from curator.vectors.qdrant_loading import QdrantLoading
from curator.vectors.qdrant_payload import image_of
from curator.vectors.services import all_there, check_column, findings_in, services


@services.register("qdrant")
class QdrantEngine(QdrantLoading):
    """One set, answering. Conditions are those of `curator.vectors.conditions`."""

    few = 20_000  # matches up to which every one is compared

    def moment(self) -> contextlib.AbstractContextManager[None]:
        """Nothing: a search asks once."""
        return contextlib.nullcontext()

    def nearest(self, q: Vectors, k: int, *, where: str | None = None, exact: bool = False) -> Answer:
        """The `k` images nearest to a unit vector (d,), never fewer than min(k, matches); `exact` compares each."""
        facts = self._facts()
        check_unit(q[None], facts["dim"])
        total, matches = facts["total"], self._count(self._filter(where))
        compare_all = exact or matches <= self.few or not facts["ef"]
        margin = k + 32  # the service and we order ties differently
        while True:
            points = self._points(q, margin, where, None if compare_all else facts["ef"])
            ids = np.array([p.id for p in points], np.int64)
            scores = exact_scores(np.array([p.vector for p in points], np.float32).reshape(-1, len(q)), q)
            order = best_first(scores, ids)
            if not compare_all and len(ids) < min(k, matches):
                compare_all = True
            elif len(ids) < margin or not compare_all or scores[order[-1]] < scores[order[k - 1]]:
                break
            else:  # as many alike as there is margin: those of the least ids may be beyond
                margin *= 4
        notes: tuple[str, ...] = () if compare_all else (note_of(facts["recall"]),)
        notes += (UNFINISHED,) if facts["ef"] is None else ()
        return Answer(ids[order[:k]], scores[order[:k]], matches, max(total, matches), compare_all, notes)

    def images(self, ids: Sequence[int]) -> list[Image]:
        """Records in the order of `ids`. Raises `UnknownName`."""
        records = self._retrieved(ids, payload=True)
        return [image_of(i, records[i].payload) for i in all_there(ids, records, self.name)]

    def ids_where(self, where: str, *, limit: int | None = None) -> Ids:
        """Ascending ids for which a condition holds. Raises `WhereError`."""
        records = self._scrolled(self._images, self._filter(where), with_payload=False)
        return np.sort(np.array([r.id for r in islice(records, limit)], np.int64))

    def values_of(self, column: str, ids: Sequence[int]) -> dict[int, Any]:
        """id → value of a column that conditions may name. Raises `UnknownName` for another column."""
        name = "uri" if check_column(column) == "path" else column
        values = {i: record.payload.get(name) for i, record in self._retrieved(ids, payload=[name]).items()}
        return {i: to_json(v, ensure_ascii=False) if isinstance(v, dict | list) else v for i, v in values.items()}

    def verify(self) -> Iterator[Finding]:
        """Parts whose rows are not as many as their receipt says."""
        return findings_in(self._images, self._damaged(), is_finished=self.is_finished)
