"""What a search sees: a generation of files, what of it is void, and what came after."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from curator.database import Reader
from curator.embeddings import best_first, exact_scores, find_sorted, is_among
from curator.records import Ids, Positions, Scores, Space, Vectors
from curator.vectors import Generation, GenerationDamaged, nearest_many, rows_in_blocks

logger = logging.getLogger("curator")

_SAMPLE = 1_000  # images that a query's scores are compared with


@dataclass(frozen=True)
class View:
    """Everything a search needs, as of change number `seq`: a generation, what of it is void, and what came after."""

    seq: int
    space: Space
    generation: Generation | None
    void: Positions
    tail_ids: Ids
    tail: Vectors
    notes: tuple[str, ...]

    @classmethod
    def load(cls, reader: Reader, space: Space, seq: int) -> View:
        """Map the space's files, or read the database where they are missing or damaged. Call inside a snapshot."""
        notes: tuple[str, ...] = ()
        if space.generation:
            try:
                generation = Generation.open(reader.folder / "vectors" / str(space.generation), space.files_sha256)
                return cls._of_files(reader, space, seq, generation)
            except GenerationDamaged as error:
                logger.warning("%s; the database is read instead", error)
                notes = (
                    "the FAISS files were missing or damaged, so the database was read instead; `curator repair` "
                    "writes new ones",
                )
        ids, x = reader.vectors_since(replace(space, built_seq=-1))
        return cls(
            seq, space, None, np.empty(0, np.int64), ids, x, notes + _note_missing(reader, space, suspected=True)
        )

    @classmethod
    def _of_files(cls, reader: Reader, space: Space, seq: int, generation: Generation) -> View:
        positions, is_there = generation.positions(reader.changed_since(space))
        ids, x = reader.vectors_since(space)
        suspected = bool(generation.missing or reader.missing_since(space))
        return cls(
            seq, space, generation, positions[is_there], ids, x, _note_missing(reader, space, suspected=suspected)
        )

    @property
    def count(self) -> int:
        """How many images can be found at all."""
        return (len(self.generation.ids) if self.generation else 0) - len(self.void) + len(self.tail_ids)

    def count_of(self, chosen: Ids) -> int:
        """How many of the `chosen` ids, which ascend, can be found."""
        in_tail = int(find_sorted(chosen, self.tail_ids)[1].sum())
        allowed = self._allowed(self.generation, chosen) if self.generation else None
        return in_tail + (0 if allowed is None else int(allowed.sum()))

    def sample(self) -> Vectors:
        """(m, d) up to 1,000 random vectors, the same for as long as the view is."""
        n = len(self.generation.ids) if self.generation else 0
        total = n + len(self.tail_ids)
        # The standard library's generator: importing numpy's takes longer than the whole search.
        chosen = np.array(sorted(random.Random(0).sample(range(total), min(_SAMPLE, total))), np.int64)
        old, new = chosen[chosen < n], chosen[chosen >= n] - n
        old = old[~find_sorted(self.void, old)[1]]  # np.setdiff1d and np.isin import numpy.ma
        x = self.generation.vectors(old) if self.generation else np.empty((0, self.space.dim), np.float32)
        return np.concatenate([x, self.tail[new]])

    def nearest(
        self, q: Vectors, k: int, chosen: Ids | None, *, exact: bool = True
    ) -> tuple[Ids, Scores, int, float | None]:
        """Best `k` over files and tail together, among the `chosen` ids if given → ids, scores, number of candidates.

        Unless `exact`, the lists of large files may answer; then the recall that was measured comes last, else None.
        """
        in_tail = np.ones(len(self.tail_ids), bool) if chosen is None else find_sorted(chosen, self.tail_ids)[1]
        ids, scores = self.tail_ids[in_tail], exact_scores(self.tail[in_tail], q)
        searched, recall = len(ids), None
        if self.generation is not None and len(self.generation.ids):
            allowed = self._allowed(self.generation, chosen)
            compared = len(self.generation.ids) if allowed is None else int(allowed.sum())
            searched += compared
            if compared:
                walked = None if exact else self.generation.approximate(q, k, allowed)
                old_ids, old_scores, recall = walked or (*self.generation.search(q, k, allowed), None)
                ids, scores = np.concatenate([old_ids, ids]), np.concatenate([old_scores, scores])
        order = best_first(scores, ids)[:k]
        return ids[order], scores[order], searched, recall

    def nearest_many(self, q: Vectors, k: int, chosen: Ids | None) -> list[tuple[Ids, Scores]]:
        """The same for each of (m, d) queries at once, on every core → ids and scores of each."""
        in_tail = (
            np.arange(len(self.tail_ids)) if chosen is None else np.flatnonzero(find_sorted(chosen, self.tail_ids)[1])
        )
        old = np.empty(0, np.int64)
        if self.generation is not None:
            allowed = self._allowed(self.generation, chosen)
            old = np.arange(len(self.generation.ids)) if allowed is None else np.flatnonzero(allowed)

        def read() -> Iterator[tuple[Ids, Vectors]]:
            if self.generation is not None:
                yield from rows_in_blocks(self.generation.ids, self.generation.vectors, old)
            yield from rows_in_blocks(self.tail_ids, lambda at: self.tail[at], in_tail)

        return nearest_many(q, k, read, lambda one: self.nearest(one, k, chosen)[:2])

    def _allowed(self, generation: Generation, chosen: Ids | None) -> NDArray[np.bool_] | None:
        """(n,) bool over the files' positions; None where all of them count."""
        if chosen is None and not len(self.void):
            return None
        allowed = np.ones(len(generation.ids), bool) if chosen is None else is_among(generation.ids, chosen)
        allowed[self.void] = False
        return allowed


def _note_missing(reader: Reader, space: Space, *, suspected: bool) -> tuple[str, ...]:
    """What a person must know if the answer cannot hold every image; counting is slow, so only on suspicion."""
    missing = len(reader.missing(space)) if suspected else 0
    return (f"{missing} images have no vector in space '{space.encoder}' yet; run `curator index`",) if missing else ()
