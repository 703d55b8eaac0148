"""Lists of a large generation: most of the true hits, all that was promised, and nothing that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_store import put

from curator.admin.maintenance import verify
from curator.embeddings import best_first, exact_scores, normalise
from curator.index import Index
from curator.job import Job
from curator.records import Progress
from curator.search.query import Question, Term, search
from curator.vectors import Generation, ListPlan, check_generation, write_generation
from curator.vectors.lists import ENOUGH

N, DIM = 12_000, 32


def clustered(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(60, DIM))
    return normalise((centres[rng.integers(0, 60, n)] + 0.7 * rng.normal(size=(n, DIM))).astype(np.float32))


def write(home: Path, number: int, ids: np.ndarray, x: np.ndarray, listing: ListPlan) -> Generation:
    blocks = [(ids[i : i + 5_000], x[i : i + 5_000].astype(np.float16)) for i in range(0, len(ids), 5_000)]
    checksum = write_generation(home, number, DIM, blocks, facts={}, listing=listing)
    return Generation.open(home / str(number), checksum)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generation]:
    return write(tmp_path_factory.mktemp("lists"), 1, 3 * np.arange(N) + 5, clustered(N), ListPlan(least=1_000))


def recall_of(generation: Generation, queries: np.ndarray, k: int) -> list[float]:
    """Of the queries that lists answer."""
    shares = []
    for q in queries:
        answer = generation.approximate(q, k, None)
        if answer is not None:
            shares.append(len(set(answer[0].tolist()) & set(generation.search(q, k, None)[0].tolist())) / k)
    return shares


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0, 2.0])
def test_lists_hold_what_was_measured_for_queries_that_no_probe_was(large: Generation, distance: float) -> None:
    rng = np.random.default_rng(11)
    images = clustered(60, seed=3)
    queries = normalise(images + distance * rng.normal(size=images.shape).astype(np.float32) / np.sqrt(DIM))
    shares = recall_of(large, queries, 20)
    assert len(shares) > 30
    assert np.mean(shares) > ENOUGH - 0.03


def test_a_query_that_is_far_from_all_is_not_guessed_at(large: Generation) -> None:
    assert large.listed is not None
    directions = normalise(np.random.default_rng(2).normal(size=(20, DIM)).astype(np.float32))
    furthest = min(w.score for w in large.listed.lists.walks if w.k == 20)
    for q in directions:
        answer = large.approximate(q, 20, None)
        assert answer is None or answer[1][0] >= furthest - 1e-3


def test_alike_pictures_that_are_spread_over_many_lists_are_found(tmp_path: Path) -> None:
    """Frames of a film, or what a generator made: a twentieth of all, and every hit of theirs is another of them."""
    rng = np.random.default_rng(5)
    frame = np.full((1, 64), 1 / 8, np.float32)
    frames = normalise(frame + 0.035 * rng.normal(size=(1_000, 64)).astype(np.float32))
    others = normalise(rng.normal(size=(19_000, 64)).astype(np.float32) + 0.5)
    x = np.concatenate([frames, others])[rng.permutation(20_000)]
    home = tmp_path / "g"
    checksum = write_generation(
        home, 1, 64, [(np.arange(20_000), x.astype(np.float16))], facts={}, listing=ListPlan(least=1_000)
    )
    generation = Generation.open(home / "1", checksum)
    queries = normalise(frame + 0.035 * rng.normal(size=(40, 64)).astype(np.float32))
    shares = recall_of(generation, queries, 20)
    assert not shares or np.mean(shares) > ENOUGH - 0.03


def test_hits_that_differ_by_less_than_eight_bits_are_told_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    alike = normalise(np.full((800, DIM), 0.2, np.float32) + 0.002 * rng.normal(size=(800, DIM)).astype(np.float32))
    x = np.concatenate([alike, np.repeat(alike[:1], 100, 0), clustered(11_100)])
    generation = write(tmp_path, 1, np.arange(len(x)), x, ListPlan(least=1_000))
    for q in alike[:20]:
        answer = generation.approximate(q, 20, None)
        if answer is not None:
            assert answer[0].tolist() == generation.search(q, 20, None)[0].tolist()


def test_a_condition_that_excludes_what_is_nearest_is_not_answered_from_near_lists(large: Generation) -> None:
    x = large.vectors(np.arange(N))
    rng = np.random.default_rng(8)
    shares = []
    for q in clustered(40, seed=17):
        allowed = (x @ q < 0.55) & (rng.random(N) < 0.9)  # not of the query's own cluster, and most of the rest
        answer = large.approximate(q, 20, allowed)
        if answer is not None:
            shares.append(len(set(answer[0].tolist()) & set(large.search(q, 20, allowed)[0].tolist())) / 20)
    assert not shares or (np.mean(shares) > ENOUGH - 0.03 and min(shares) > 0.5)


def test_damaged_lists_cost_speed_alone(tmp_path: Path) -> None:
    x = clustered(N)
    home = tmp_path / "g"
    checksum = write_generation(
        home, 1, DIM, [(np.arange(N), x.astype(np.float16))], facts={}, listing=ListPlan(least=9)
    )
    assert Generation.open(home / "1", checksum).listed is not None
    opened = Generation.open(home / "1", checksum)
    file = home / "1" / "lists.faiss"
    file.unlink()
    assert opened.approximate(x[0], 5, None) is None
    assert "lists.faiss" in str(check_generation(home / "1", checksum))
    file.write_bytes(b"nothing")
    again = Generation.open(home / "1", checksum)
    assert again.listed is None
    assert again.search(x[0], 5, None)[0][0] == 0


def test_more_hits_than_were_measured_are_compared_all(large: Generation) -> None:
    assert large.approximate(clustered(1, seed=4)[0], 600, None) is None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.floats(0.05, 1), st.booleans())
def test_conditions_get_no_fewer_than_there_are_and_nothing_else(
    large: Generation, seed: int, k: int, share: float, is_local: bool
) -> None:
    rng = np.random.default_rng(seed)
    q = clustered(1, seed=seed)[0]
    x = large.vectors(np.arange(N))
    # A condition that any image may fulfil, or one that holds far away from the query.
    allowed = x @ q <= np.quantile(x @ q, share) if is_local else rng.random(N) < share
    answer = large.approximate(q, k, allowed)
    if answer is None:
        return
    ids, scores, recall = answer
    positions = large.positions(ids)[0]
    assert allowed[positions].all()
    assert recall >= ENOUGH
    assert len(ids) == min(k, int(allowed.sum()))
    np.testing.assert_array_equal(scores, exact_scores(x[positions], q))
    np.testing.assert_array_equal(best_first(scores, ids), np.arange(len(ids)))
    if k >= 10:  # of fewer one that is missed is a large share
        truth = large.search(q, k, allowed)[0]
        assert len(set(ids.tolist()) & set(truth.tolist())) >= 0.5 * len(truth)


def test_lists_are_taken_over_where_little_changed(large: Generation, tmp_path: Path) -> None:
    x, ids = large.vectors(np.arange(N)), np.asarray(large.ids)
    removed, changed = ids[100:200], ids[300:320]
    new_ids = np.concatenate([ids[~np.isin(ids, removed)], ids[-1] + 1 + np.arange(50)])
    new_x = np.concatenate([x[~np.isin(ids, removed)], clustered(50, seed=21)])
    new_x[np.isin(new_ids, changed)] = clustered(20, seed=22)
    assert large.listed is not None
    touched = np.concatenate([removed, changed, new_ids[-50:]])
    listing = ListPlan((ids, large.listed), touched, 1_000)
    second = write(tmp_path, 2, new_ids, new_x, listing)
    assert second.listed is not None
    assert second.listed.places is not None
    # 1. What came or changed is found where it is now, what went never.
    for image in new_ids[np.isin(new_ids, touched)]:
        answer = second.approximate(second.vectors(second.positions(np.array([image]))[0])[0], 10, None)
        assert answer is not None
        assert answer[0][0] == image
        assert answer[1][0] > 0.999
        assert not np.isin(answer[0], removed).any()
    # 2. The rest is found as before, also under a condition.
    assert np.mean(recall_of(second, clustered(40, seed=3), 20)) > ENOUGH - 0.03
    allowed = new_ids % 2 == 0
    answer = second.approximate(new_x[0], 20, allowed)
    assert answer is None or (answer[0] % 2 == 0).all()
    # 3. And once more, from what was taken over.
    third = write(tmp_path, 3, new_ids[40:], new_x[40:], ListPlan((new_ids, second.listed), new_ids[:40], 1_000))
    assert third.listed is not None
    assert third.listed.places is not None
    assert np.mean(recall_of(third, clustered(40, seed=3), 20)) > ENOUGH - 0.03
    assert not np.isin(third.approximate(new_x[0], 10, None)[0], new_ids[:40]).any()  # type: ignore[index]


def test_lists_are_learnt_anew_where_much_changed(large: Generation, tmp_path: Path) -> None:
    ids = np.asarray(large.ids)
    assert large.listed is not None
    listing = ListPlan((ids, large.listed), ids[:1_000], 1_000)
    fewer = write(tmp_path, 2, ids[1_000:], large.vectors(np.arange(1_000, N)), listing)
    assert fewer.listed is not None
    assert fewer.listed.places is None


def test_a_stop_among_the_lists_leaves_a_generation_without_them(tmp_path: Path) -> None:
    lines: list[str] = []

    def show(p: Progress) -> None:
        job.cancel()

    job = Job(show=show, say=lines.append)
    generation = write(tmp_path, 1, np.arange(N), clustered(N), ListPlan(least=1_000, job=job))
    assert generation.listed is None
    assert any("compare every image" in line for line in lines)
    assert not list(generation.folder.glob("list*"))
    q = clustered(1, seed=9)[0]
    assert generation.approximate(q, 5, None) is None
    assert len(generation.search(q, 5, None)[0]) == 5


def test_an_index_says_what_it_did_not_compare(index: Index) -> None:
    x = clustered(N)
    space = put(index, x[: N - 50])
    with index.write() as db:
        index.rebuild(db, space, listed_from=1_000)
    put(index, x[N - 50 :], start=N - 50)  # after the files, and none of their lists knows it
    with index.write() as db, db.atomic():
        db.remove([1, 2, 3], by_hand=True)
    hits, newest = index.nearest(x[0], 20), index.nearest(x[-1], 5)
    assert not hits.exact
    assert any("approximate: recall" in note for note in hits.notes)
    assert not np.isin(hits.ids, [1, 2, 3]).any()
    assert newest.ids[0] == N
    few = index.nearest(x[0], 20, where="id % 20 = 0")
    assert few.exact
    assert (few.ids % 20 == 0).all()
    asked = search(index, [Term("id", "4")], Question(exact=True))
    assert asked.exact
    assert not index.nearest(x[0], 20).exact, "it was said of one question"
    true = index.nearest(x[0], 20, exact=True)
    assert true.exact
    assert not true.notes
    assert len(set(true.ids) & set(hits.ids)) >= 18
    # Written again it takes the lists over, and whoever asks for no lists has none.
    with index.write() as db:
        index.rebuild(db, index.space, listed_from=1_000)
    assert not index.nearest(x[0], 20).exact
    assert list((index.folder / "vectors").glob("*/list_places.npy"))
    with index.write() as db:
        index.rebuild(db, index.space, listed_from=1_000, learn=False)  # as amid indexing: taken over all the same
    assert not index.nearest(x[0], 20).exact
    with index.write() as db:
        index.rebuild(db, index.space)
    assert index.nearest(x[0], 20).exact
    assert not list(verify(index.folder))
