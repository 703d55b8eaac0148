"""Many queries at once give what as many single ones give."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from conftest import draw
from hypothesis import given
from hypothesis import strategies as st

from curator.embeddings import best_first, exact_scores, normalise
from curator.encoders import PixelEncoder
from curator.errors import UsageError, WhereError
from curator.face import open_index
from curator.index import Index
from curator.index.many import search_many
from curator.ingest import IngestOptions, ingest
from curator.vectors.many import nearest_many, rows_in_blocks


@given(st.integers(0, 300), st.integers(1, 12), st.integers(1, 60), st.integers(0, 2**31), st.sampled_from([1, 40]))
def test_it_is_what_comparing_everything_gives(n: int, m: int, k: int, seed: int, kinds: int) -> None:
    """Also where rows stand often, so that many scores tie: the least ids win."""
    rng = np.random.default_rng(seed)
    pool = normalise(rng.normal(size=(kinds, 8)).astype(np.float32)).astype(np.float16).astype(np.float32)
    x, ids = pool[rng.integers(0, kinds, n)], np.sort(rng.choice(10_000, n, replace=False)).astype(np.int64)
    q = normalise(rng.normal(size=(m, 8)).astype(np.float32))

    def alone(one: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = exact_scores(x, one)
        order = best_first(scores, ids)[:k]
        return ids[order], scores[order]

    answers = nearest_many(q, k, lambda: rows_in_blocks(ids, lambda at: x[at], np.arange(n)), alone)
    for one, (found, scores) in zip(q, answers, strict=True):
        expected = alone(one)
        assert found.tolist() == expected[0].tolist()
        assert scores.tolist() == expected[1].tolist()


@pytest.fixture
def filled(index: Index, tmp_path: Path) -> Index:
    """Sixty drawings in files, and ten more that came later; two are gone."""
    for part, numbers in (("first", range(60)), ("later", range(60, 70))):
        (tmp_path / part).mkdir()
        for number in numbers:
            draw(number).save(tmp_path / part / f"{number}.png")
        ingest(index, [tmp_path / part], PixelEncoder(), IngestOptions(label_from="folder"))
        if part == "first":
            with index.write() as db:
                index.rebuild(db, index.space)
    with index.write() as db, db.atomic():
        db.remove([3, 65], by_hand=True)
    return index


@pytest.mark.parametrize("where", [None, "id % 2 = 0", "label = 'later'", "id < 0"])
def test_an_index_answers_many_as_one_by_one(filled: Index, where: str | None) -> None:
    """Over files, what came later, and what is gone."""
    q = np.random.default_rng(0).normal(size=(30, filled.space.dim)).astype(np.float32)
    for k in (1, 7, 100):
        together = search_many(filled, q, k, where=where, min_score=-0.5)
        for one, hits in zip(q, together, strict=True):
            expected = filled.search(vector=one, k=k, where=where, min_score=-0.5)
            assert hits.ids.tolist() == expected.ids.tolist()
            assert hits.scores.tolist() == expected.scores.tolist()
            assert np.allclose(hits.z, expected.z, equal_nan=True)
            assert (hits.searched, hits.exact, hits.clear, hits.notes) == (
                expected.searched, expected.exact, expected.clear, expected.notes,
            )  # fmt: skip


def test_what_cannot_be_searched_is_refused(filled: Index) -> None:
    for vectors in (np.zeros((2, 3)), np.zeros((2, filled.space.dim)), "words", np.ones(filled.space.dim)):
        with pytest.raises(UsageError):
            search_many(filled, vectors)
    with pytest.raises(UsageError):
        search_many(filled, np.ones((1, filled.space.dim)), 0)
    with pytest.raises(UsageError, match="min_score"):
        search_many(filled, np.ones((1, filled.space.dim)), min_score=math.nan)
    with pytest.raises(UsageError, match="min_score"):
        filled.search(like=1, min_score=math.nan)
    with pytest.raises(WhereError):
        search_many(filled, np.ones((1, filled.space.dim)), where="nonsense =")
    assert search_many(filled, np.empty((0, filled.space.dim))) == []


def test_from_python_with_images(filled: Index) -> None:
    with open_index(filled.folder) as index:
        (hits,) = index.search_many(index.vectors([5]), k=2)
        assert hits[0].image.id == 5


def test_by_command(filled: Index, curator: Callable[..., Result], tmp_path: Path) -> None:
    """A line each, in their order; what is wrong with a line stands in its place."""
    picture = tmp_path / "first" / "7.png"
    (tmp_path / "queries.txt").write_text(f"id:5\n\nid:99999\n{picture} - 0.5:id:6\n- \n")
    done = curator("search", "--batch", tmp_path / "queries.txt", "-n", 3, "-i", filled.folder)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.exit_code, len(lines)) == (1, 4)
    assert lines[0]["hits"][0]["id"] == 5
    assert "no image with id 99999" in lines[1]["error"]
    single = curator("search", str(picture), "-", "0.5:id:6", "-n", 3, "--json", "-i", filled.folder)
    assert [h["id"] for h in lines[2]["hits"]] == [h["id"] for h in json.loads(single.stdout)]
    assert "error" in lines[3]
    odd = ["id:2", "a" * 300 + ".jpg", "./a\0b.jpg", "id:" + "1" * 5_000, "red\u2028circle\x0c", "\udcff", "id:2"]
    (tmp_path / "odd.txt").write_bytes(b"\xef\xbb\xbf" + "\n".join(odd).encode("utf-8", "replace"))
    lines = curator("search", "--batch", tmp_path / "odd.txt", "-n", 1, "-i", filled.folder).stdout.split("\n")
    answered = [json.loads(line) for line in lines if line]
    assert len(answered) == len(odd), "a line each, whatever stands in it"
    assert all("error" in a for a in answered[1:4])
    assert answered[0]["hits"][0]["id"] == answered[-1]["hits"][0]["id"] == 2
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe\n")
    refused = curator("search", "--batch", tmp_path / "odd.txt", "-i", filled.folder)
    assert refused.exit_code == 2
    assert "not UTF-8" in refused.stderr
    assert curator("search", "x", "--batch", tmp_path / "queries.txt", "-i", filled.folder).exit_code == 2
    assert curator("search", "--batch", tmp_path / "queries.txt", "--unique", "-i", filled.folder).exit_code == 2
    assert "no query" in curator("search", "-i", filled.folder).stderr
