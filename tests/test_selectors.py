"""One contract for every selector and scorer, and the bounds and definitions of each."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.embeddings import normalise
from curator.errors import UnknownName, UsageError
from curator.selectors import (
    Chosen,
    Pool,
    assign,
    choose,
    choose_per_label,
    hierarchy,
    parse_objective,
    scorers,
    selectors,
    spherical_kmeans,
)
from curator.vectors import Neighbours

PARTS = [*selectors, *scorers]


def make(n: int, seed: int, *, dim: int = 12, labels: int = 0, copies: int = 0) -> Pool:
    """Clustered unit rows in the order of their digests, with their exact graph."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(5, dim))
    x = normalise((centres[rng.integers(0, 5, n)] + rng.normal(size=(n, dim))).astype(np.float32)).astype(np.float16)
    if copies:
        x[-copies:] = x[0]
    digests = sorted(hashlib.sha256(f"{seed} {i}".encode()).digest() for i in range(n))
    neighbours, near = (
        Neighbours(x).nearest(min(16, n - 1)) if n > 1 else (np.empty((n, 0), np.int32), np.empty((n, 0), np.float32))
    )
    codes = rng.integers(-1, labels, n) if labels else None
    reference = x[rng.integers(0, n, max(2, n // 4))]
    return Pool(x, tuple(digests), seed, codes, neighbours, near, reference, rng.uniform(size=n))


def run(name: str, pool: Pool, k: int) -> Chosen:
    return choose(pool, parse_objective(name), k)


@pytest.mark.parametrize("name", PARTS)
@settings(max_examples=12)
@given(st.integers(2, 60), st.integers(0, 1000), st.integers(0, 3), st.integers(0, 3))
def test_every_part_keeps_the_contract(name: str, n: int, seed: int, copies: int, started: int) -> None:
    pool = make(n, seed, copies=min(copies, n - 1))
    if name not in ("herding",):
        pool = replace(pool, weights=np.random.default_rng(seed).uniform(0.1, 1, n) if seed % 2 else None)
    pool = replace(pool, start=np.arange(min(started, n - 1)))
    before = pool.x.copy()
    whole = run(name, pool, n)
    assert len(set(whole.positions.tolist())) == len(whole.positions) == n - len(pool.start), (
        "distinct, and all there are"
    )
    assert not set(whole.positions.tolist()) & set(pool.start.tolist()), "what is chosen already is not chosen again"
    assert len(whole.values) == len(whole.positions)
    assert whole.what
    again = run(name, pool, n)
    assert again.positions.tolist() == whole.positions.tolist(), "repeatable"
    for k in {1, n // 2, n - 1}:
        assert run(name, pool, k).positions.tolist() == whole.positions.tolist()[:k], "a prefix is the smaller budget"
    assert np.array_equal(pool.x, before), "the input is untouched"


@pytest.mark.parametrize("name", PARTS)
def test_an_empty_pool_gives_an_empty_choice(name: str) -> None:
    pool = Pool(np.empty((0, 4), np.float16), (), 0, None, np.empty((0, 3), np.int32), np.empty((0, 3), np.float32))
    pool = replace(pool, reference=np.eye(4, dtype=np.float16), words=np.empty(0))
    if name in ("importance", "density", "density-ppca"):
        return  # nothing to fit to; the use case asks for at least one image
    assert run(name, pool, 5).positions.tolist() == []


def test_another_seed_is_another_draw_and_a_larger_pool_keeps_the_old_one() -> None:
    pool = make(200, 3)
    first = run("random", pool, 20).positions
    assert run("random", replace(pool, seed=4), 20).positions.tolist() != first.tolist()
    half = np.arange(0, 200, 2)
    smaller = replace(
        pool, x=pool.x[half], sha256=tuple(pool.sha256[i] for i in half), neighbours=None, near=None, words=None
    )
    kept = [int(half[i]) for i in run("random", smaller, 100).positions]
    assert [i for i in run("random", pool, 200).positions.tolist() if i % 2 == 0] == kept, (
        "the order among the old ones stays"
    )


def slow_k_center(pool: Pool, k: int) -> list[int]:
    """One at a time, by the definition."""
    x = pool.x.astype(np.float32).astype(np.float64)
    chosen = [int(np.argmax(pool.weighted * (1 + pool.uniform)))]
    while len(chosen) < k:
        apart = np.sqrt(np.maximum(0, 2 - 2 * (x @ x[chosen].T).max(1))) * pool.weighted
        apart[chosen] = -1
        chosen.append(int(apart.argmax()))
    return chosen


@settings(max_examples=25)
@given(st.integers(3, 300), st.integers(0, 1000), st.booleans())
def test_k_center_in_batches_is_k_center_one_at_a_time(n: int, seed: int, weighted: bool) -> None:
    pool = make(n, seed)
    if weighted:
        pool = replace(pool, weights=np.random.default_rng(seed).uniform(0.2, 1, n))
    k = min(n - 1, 40)
    assert run("k-center", pool, k).positions.tolist() == slow_k_center(pool, k)


@settings(max_examples=20)
@given(st.integers(5, 11), st.integers(0, 1000), st.integers(1, 3))
def test_k_center_is_at_most_twice_the_best_radius(n: int, seed: int, k: int) -> None:
    pool = make(n, seed)
    x = pool.x.astype(np.float64)
    apart = np.sqrt(np.maximum(0, 2 - 2 * x @ x.T))

    def radius(chosen: list[int]) -> float:
        return float(apart[:, chosen].min(1).max())

    best = min(radius(list(c)) for c in itertools.combinations(range(n), k))
    assert radius(run("k-center", pool, k).positions.tolist()) <= 2 * best + 1e-2, "float16 rows are not quite unit"
    values = run("k-center", pool, n).values
    assert (np.diff(values) <= 1e-6).all(), "the covering radius only shrinks"


@settings(max_examples=25)
@given(st.integers(4, 11), st.integers(0, 1000), st.integers(1, 3))
def test_facility_location_is_greedy_and_near_the_best(n: int, seed: int, k: int) -> None:
    pool = make(n, seed)
    s = np.zeros((n, n))
    for i in range(n):
        for j, score in zip(pool.neighbours[i], pool.near[i], strict=True):  # type: ignore[index]
            s[i, j] = s[j, i] = max(0.0, float(score), s[i, j])
    np.fill_diagonal(s, 1)

    def value(chosen: tuple[int, ...]) -> float:
        return float(s[:, list(chosen)].max(1).sum()) if chosen else 0.0

    found = run("facility-location", pool, k)
    chosen: tuple[int, ...] = ()
    for at, gain in zip(found.positions.tolist(), found.values, strict=True):
        gains = [value((*chosen, j)) - value(chosen) if j not in chosen else -1.0 for j in range(n)]
        assert gains[at] == pytest.approx(max(gains), abs=1e-6)
        assert gain == pytest.approx(gains[at], abs=1e-6)
        chosen = (*chosen, at)
    best = max(value(c) for c in itertools.combinations(range(n), k))
    assert value(chosen) >= (1 - 1 / np.e) * best - 1e-9


def test_herding_follows_the_mean_better_than_chance() -> None:
    pool = replace(make(400, 1), reference=None)
    mean = pool.x.astype(np.float64).mean(0)

    def off(positions: np.ndarray) -> float:
        return float(np.linalg.norm(pool.x[positions].astype(np.float64).mean(0) - mean))

    found = run("herding", pool, 20)
    assert found.values[-1] == pytest.approx(off(found.positions), abs=1e-3)
    assert off(found.positions) < 0.3 * np.median(
        [off(run("random", replace(pool, seed=s), 20).positions) for s in range(20)]
    )
    with pytest.raises(UsageError, match="no room for weights"):
        run("herding * typicality", pool, 5)


def test_balanced_fills_every_label_alike() -> None:
    pool = make(300, 2, labels=4)
    sizes = np.bincount(pool.labels + 1)  # type: ignore[operator]
    for k in (5, 50, 200, 300):
        counts = np.bincount(pool.labels[run("balanced", pool, k).positions] + 1, minlength=len(sizes))  # type: ignore[index]
        full = counts == sizes
        assert counts.sum() == k
        assert np.ptp(counts[~full]) <= 1 if (~full).any() else True
        assert (counts[full] <= counts[~full].max()).all() if (~full).any() else True


@pytest.mark.parametrize("name", ["k-center", "random", "typicality", "facility-location * words^2"])
def test_per_label_every_prefix_is_balanced(name: str) -> None:
    pool = make(120, 5, labels=3)
    for k in (4, 33, 120):
        found = choose_per_label(pool, parse_objective(name), k)
        assert len(set(found.positions.tolist())) == k
        counts = np.bincount(pool.labels[found.positions] + 1, minlength=4)  # type: ignore[index]
        left = np.bincount(pool.labels + 1) - counts  # type: ignore[operator]
        assert all(abs(int(counts[a]) - int(counts[b])) <= 1 for a in range(4) for b in range(4) if left[a] and left[b])


def test_a_hierarchy_nests_and_its_choice_is_spread_more_evenly_than_chance() -> None:
    rng = np.random.default_rng(0)
    sizes = [600, 60, 30, 10]
    centres = 4 * rng.normal(size=(4, 16))
    truth = np.repeat(np.arange(4), sizes)
    x = normalise((centres[truth] + 0.5 * rng.normal(size=(700, 16))).astype(np.float32)).astype(np.float16)
    levels = hierarchy(x, [60, 8], rng)
    assert all(len(np.unique(levels[1][levels[0] == c])) == 1 for c in np.unique(levels[0]))
    pool = Pool(x, tuple(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(700)))
    rare = [
        [int((truth[run(name, replace(pool, seed=s), 40).positions] > 0).sum()) for s in range(6)]
        for name in ("hierarchical", "random")
    ]
    assert sum(rare[0]) > 1.2 * sum(rare[1])


def test_clusters_are_those_of_the_nearest_centre() -> None:
    pool = make(500, 7)
    centres = spherical_kmeans(pool.x, 12, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
    nearest, scores = assign(pool.x, centres)
    products = pool.x.astype(np.float32) @ centres.T
    np.testing.assert_array_equal(nearest, products.argmax(1))
    np.testing.assert_allclose(scores, products.max(1), rtol=1e-6)
    assert len(spherical_kmeans(pool.x[:3], 10, np.random.default_rng(0))) == 3


def outliers(seed: int = 0) -> tuple[Pool, np.ndarray]:
    """A tight crowd and thirty strangers → the pool and the strangers' positions."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([0.3 * rng.normal(size=(270, 16)) + rng.normal(size=16), 2 * rng.normal(size=(30, 16))])
    order = rng.permutation(300)
    x = normalise(x[order].astype(np.float32)).astype(np.float16)
    neighbours, near = Neighbours(x).nearest(16)
    reference = x[order < 270][:50]
    digests = tuple(sorted(hashlib.sha256(bytes([i % 256, i // 256, seed])).digest() for i in range(300)))
    return Pool(x, digests, seed, None, neighbours, near, reference), np.flatnonzero(order >= 270)


@pytest.mark.parametrize("name", ["typicality", "density", "density-ppca", "density-knn", "match", "match-nearest"])
def test_strangers_come_last(name: str) -> None:
    pool, strangers = outliers()
    last = run(name, pool, 300).positions[-30:]
    # A classifier tells crowds apart; loners in all directions are harder for it.
    assert len(set(last.tolist()) & set(strangers.tolist())) >= (24 if name == "match" else 27)


def test_strangers_that_are_many_and_alike_are_told_by_a_sample_of_what_is_wanted() -> None:
    """They are more typical than what is wanted, and each lies near to some of the reference; a classifier tells."""
    rng = np.random.default_rng(3)
    wanted = rng.normal(size=(450, 24))
    strangers = 0.4 * rng.normal(size=(150, 24)) + 0.6 * rng.normal(size=24)
    rows = normalise(np.concatenate([wanted, strangers]).astype(np.float32)).astype(np.float16)
    reference, x = rows[:60], rows[60:]
    neighbours, near = Neighbours(x).nearest(16)
    digests = tuple(sorted(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(len(x))))
    pool = Pool(x, digests, 0, None, neighbours, near, reference)

    def share(name: str) -> float:
        return float((run(name, pool, 200).positions >= 390).mean())

    assert share("typicality") > 0.5 > share("random") > 0.15
    assert share("match") < 0.05
    assert share("match-nearest") > 2 * share("match")


def test_importance_draws_what_the_reference_has() -> None:
    pool, strangers = outliers()
    kept = run("importance", pool, 60).positions
    assert len(set(kept.tolist()) & set(strangers.tolist())) <= 3
    with pytest.raises(UsageError, match="needs --reference"):
        run("importance", replace(pool, reference=None), 5)


@pytest.mark.parametrize("name", ["typicality", "density-knn"])
def test_an_image_among_strangers_of_its_label_is_not_typical_of_it(name: str) -> None:
    """Sixty of one crowd labelled B, and one of another crowd mislabelled so: its own neighbours have another label."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(2, 16))
    labels = np.repeat([0, 1], [60, 61])
    x = normalise(
        (centres[np.repeat([0, 1, 0], [60, 60, 1])] + 0.4 * rng.normal(size=(121, 16))).astype(np.float32)
    ).astype(np.float16)
    neighbours, near = Neighbours(x).nearest(16)
    pool = Pool(x, make(121, 0).sha256, 0, labels, neighbours, near)
    order = [i for i in choose_per_label(pool, parse_objective(name), 121).positions.tolist() if labels[i] == 1]
    assert order.index(120) > 50


def test_strangers_come_first_by_uniqueness_and_a_negative_power_turns_a_score_around() -> None:
    pool, strangers = outliers()
    first = run("uniqueness", pool, 30).positions
    assert len(set(first.tolist()) & set(strangers.tolist())) >= 25
    assert set(run("typicality^-1", pool, 30).positions.tolist()) == set(
        run("typicality", pool, 300).positions[-30:].tolist()
    )


def test_a_product_is_one_of_places() -> None:
    pool, strangers = outliers()
    plain = len(set(run("k-center", pool, 40).positions.tolist()) & set(strangers.tolist()))
    mixed = len(set(run("typicality^2 * k-center", pool, 40).positions.tolist()) & set(strangers.tolist()))
    assert mixed < plain / 2, "typicality keeps k-center from strangers"
    assert str(parse_objective("typicality^0.5*k-center^2")) == "typicality^0.5 * k-center^2"
    assert run("k-center^2", pool, 9).positions.tolist() == run("k-center", pool, 9).positions.tolist()


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("k-centre", UnknownName, "no selector 'k-centre'; did you mean 'k-center'"),
        ("k-center * random", UsageError, "not both 'k-center' and 'random'"),
        ("k-center^-1", UsageError, "must be above 0"),
        ("k-center + random", UsageError, "names joined by"),
        ("", UsageError, "names joined by"),
    ],
)
def test_a_wrong_objective_is_refused(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        parse_objective(text)
