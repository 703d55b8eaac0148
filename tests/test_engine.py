"""What every engine promises, held against a brute-force oracle that keeps the same promise in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import draw

from curator.database import Reader
from curator.embeddings import best_first, exact_scores
from curator.encoders import PixelEncoder
from curator.errors import NoIndex, UnknownName, WhereError
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.records import Finding, Space, Vectors
from curator.vectors import Answer, Engine


@dataclass(frozen=True)
class Oracle:
    """All vectors in memory, every one compared."""

    reader: Reader
    space: Space

    @contextlib.contextmanager
    def moment(self) -> Iterator[None]:
        yield

    def _all(self, where: str | None) -> tuple[np.ndarray, Vectors]:
        ids = self.reader.ids_where(where or "1")
        return ids, self.reader.vectors(self.space, ids.tolist())

    def count(self, where: str | None = None) -> int:
        return len(self._all(where)[0])

    def nearest(self, q: Vectors, k: int, *, where: str | None = None, exact: bool = False) -> Answer:
        ids, x = self._all(where)
        scores = exact_scores(x, q)
        order = best_first(scores, ids)[:k]
        return Answer(ids[order], scores[order], len(ids), self.count())

    def vectors(self, ids: Sequence[int]) -> Vectors:
        return self.reader.vectors(self.space, ids)

    def sample(self) -> Vectors:
        return self._all(None)[1]

    def verify(self) -> Iterator[Finding]:
        return iter(())


Make = Callable[[Index], Engine]
ENGINES: dict[str, Make] = {
    "local": lambda index: index.engine,
    "oracle": lambda index: Oracle(index.reader, index.space),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred pictures in labelled folders, ten of them twice."""
    home = tmp_path_factory.mktemp("engine")
    for number in range(200):
        file = home / f"label-{number % 20}" / f"{number:03d}.png"
        file.parent.mkdir(exist_ok=True)
        draw(number % 190).save(file)
    return home


@pytest.fixture(params=["in files", "half after the files", "some removed"])
def filled(request: pytest.FixtureRequest, index: Index, pictures: Path) -> Index:
    """The same images, with the local engine's files in three states."""
    options = IngestOptions(label_from="folder")
    if request.param == "half after the files":
        ingest(index, [pictures / f"label-{n}" for n in range(10)], PixelEncoder(), options)
    ingest(index, [pictures], PixelEncoder(), options)
    if request.param == "some removed":
        with index.write() as db, db.atomic():
            db.remove(list(range(1, 60, 3)), by_hand=True)
    return index


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("where", [None, "1", "label = 'label-7'", "id % 2 = 0", "id = 100", "label = 'nothing'"])
def test_nearest_is_what_comparing_everything_gives(filled: Index, make: Make, where: str | None) -> None:
    """Best first, ties by id, and never fewer than min(k, matches)."""
    engine, oracle = make(filled), Oracle(filled.reader, filled.space)
    for image_id in (2, 50, 101, 195):
        q = filled.vector_of_id(image_id)
        for k in (1, 7, 500):
            answer, expected = engine.nearest(q, k, where=where), oracle.nearest(q, k, where=where)
            assert answer.ids.tolist() == expected.ids.tolist()
            assert np.allclose(answer.scores, expected.scores, atol=1e-6)
            assert (answer.searched, answer.total) == (expected.searched, expected.total)
            assert len(answer.ids) == min(k, engine.count(where))
            assert answer.exact


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)
def test_what_else_an_engine_answers(filled: Index, make: Make) -> None:
    engine = make(filled)
    with engine.moment():
        assert engine.count() == len(filled)
        assert engine.count("label = 'label-3'") == len(filled.reader.ids_where("label = 'label-3'"))
    assert engine.space == filled.space
    x = engine.vectors([101, 2, 101])
    assert x.shape == (3, filled.space.dim)
    assert x.dtype == np.float32
    assert np.array_equal(x[0], x[2])
    assert engine.sample().shape == (len(filled), filled.space.dim)
    assert np.array_equal(engine.sample(), engine.sample())
    assert list(engine.verify()) == []
    with pytest.raises(UnknownName):
        engine.vectors([10_000])
    with pytest.raises(WhereError):
        engine.nearest(x[0] / np.linalg.norm(x[0]), 3, where="nonsense =")


def test_an_engine_of_an_empty_index_says_so(index: Index) -> None:
    with pytest.raises(NoIndex, match="is empty"):
        _ = index.engine.space
