"""The engine of a local index: FAISS files that are mapped, and SQLite for all that came after them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np

from curator.database import Reader
from curator.embeddings import check_unit
from curator.errors import NoIndex
from curator.index.masks import Masks
from curator.index.view import View
from curator.records import Finding, Space, Vectors
from curator.vectors import Answer, Generation, check_generation
from curator.vectors.calibration import note_of_walk


class LocalEngine:
    """Nearest neighbours in a reader's active space. The mapped files are shared by all threads."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._view: View | None = None
        self._masks = Masks(reader)
        self._loading = threading.Lock()

    @property
    def space(self) -> Space:
        """The space that searches use. Raises `NoIndex` for an index without images."""
        space = self.reader.active_space()
        if space is None:
            raise NoIndex(f"the index at {self.reader.folder} is empty; fill it with `curator index FOLDER`")
        return space

    def moment(self) -> AbstractContextManager[None]:
        """Within it this thread's answers are of one moment."""
        return self.reader.snapshot()

    def count(self, where: str | None = None) -> int:
        """How many images can be found, or of those for which the condition holds. Raises `WhereError`."""
        with self.moment():
            view = self._current()
            return view.count if where is None else view.count_of(self._masks.ids_where(where, view.count))

    def nearest(self, q: Vectors, k: int, *, where: str | None = None, exact: bool = False) -> Answer:
        """The `k` images nearest to a unit vector (d,), never fewer than min(k, matches); `exact` compares each.

        Raises `WhereError`.
        """
        with self.moment():
            view = self._current()
            check_unit(q[None], view.space.dim)
            chosen = None if where is None else self._masks.ids_where(where, view.count)
            ids, scores, searched, recall = view.nearest(q, k, chosen, exact=exact)
            notes = view.notes if recall is None else (*view.notes, note_of_walk(recall))
            return Answer(ids, scores, searched, view.count, recall is None, notes)

    def nearest_many(self, q: Vectors, k: int, *, where: str | None = None) -> list[Answer]:
        """The same for each of (m, d) unit vectors, computed together on every core."""
        with self.moment():
            view = self._current()
            check_unit(q, view.space.dim)
            chosen = None if where is None else self._masks.ids_where(where, view.count)
            searched = view.count if chosen is None else view.count_of(chosen)
            answers = view.nearest_many(q, k, chosen)
            return [Answer(ids, scores, searched, view.count, True, view.notes) for ids, scores in answers]

    def vectors(self, ids: Sequence[int]) -> Vectors:
        """(n, d) float32 stored vectors in the order of `ids`. Raises `UnknownName` for an image without one."""
        return self.reader.vectors(self.space, ids)

    def sample(self) -> Vectors:
        """(m, d) float32: up to 1,000 random vectors, the same until the index changes, to compare a score with."""
        with self.moment():
            return self._current().sample()

    def verify(self) -> Iterator[Finding]:
        """Where the files of the active space are not, to the bit, what the database says."""
        return verify_files(self.reader, self.space)

    def _current(self) -> View:
        """What is loaded, if it is still true; otherwise load. Call it inside a moment."""
        space, seq = self.space, self.reader.meta("seq")
        view = self._view
        if view is not None and (view.seq, view.space) == (seq, space):
            return view
        with self._loading:  # of several threads that find it stale one loads, and the others take what it loaded
            view = self._view
            if view is None or (view.seq, view.space) != (seq, space):
                view = self._view = View.load(self.reader, space, seq)
            return view


def verify_files(reader: Reader, space: Space) -> Iterator[Finding]:
    """Where the FAISS files of a space do not hold, for every image unchanged since, exactly the database's vector."""
    place = f"vectors/{space.generation}"
    if not space.generation:
        return
    folder = reader.folder / "vectors" / str(space.generation)
    problem = check_generation(folder, space.files_sha256)
    if problem:
        yield Finding(place, problem, True)
        return
    generation = Generation.open(folder, space.files_sha256)
    changed = reader.changed_since(space)
    for ids, x in reader.vector_blocks(space):
        old = ~np.isin(ids, changed)
        positions, is_there = generation.positions(ids[old])
        if not is_there.all():
            yield Finding(place, f"image {ids[old][~is_there][0]} is missing from the files", True)
            return
        if not np.array_equal(generation.vectors(positions), x[old].astype(np.float32)):
            yield Finding(place, "a vector differs from the database's", True)
            return
