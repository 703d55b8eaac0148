"""Laws of the pure maths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curator.embeddings import (
    Background,
    best_first,
    blocks,
    check_unit,
    compare,
    exact_scores,
    lengths,
    normalise,
    top_k,
)

rows = arrays(np.float32, st.tuples(st.integers(1, 30), st.just(6)), elements=st.floats(-9, 9, width=32)).filter(
    lambda v: bool((np.abs(v).max(1) > 1e-3).all())
)


@given(rows)
def test_normalised_rows_have_length_one_and_keep_their_direction(v: np.ndarray) -> None:
    x = normalise(v)
    np.testing.assert_allclose(lengths(x), 1, atol=1e-5)
    np.testing.assert_allclose(x * lengths(v)[:, None], v, atol=1e-4)
    np.testing.assert_allclose(normalise(x), x, atol=1e-6)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_row_without_direction_is_refused(bad: float) -> None:
    v = np.ones((3, 4), np.float32)
    v[1] = bad
    with pytest.raises(ValueError, match="row 1"):
        normalise(v)


@given(rows, st.integers(1, 40))
def test_top_k_is_a_sort(v: np.ndarray, k: int) -> None:
    x = normalise(v)
    positions, scores = top_k(x, x[0], k)
    expected = sorted(range(len(x)), key=lambda i: (-exact_scores(x, x[0])[i], i))[:k]
    assert positions.tolist() == expected
    assert (np.diff(scores) <= 0).all()


@given(rows, st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_company(v: np.ndarray, random: object) -> None:
    """The same row scores the same to the last bit, whatever order or block it comes in."""
    x = normalise(v)
    order = np.random.default_rng(0).permutation(len(x))
    whole = exact_scores(x, x[0])
    assert np.array_equal(exact_scores(x[order], x[0]), whole[order])
    assert np.array_equal(np.concatenate([exact_scores(x[i : i + 1], x[0]) for i in range(len(x))]), whole)


@given(st.integers(0, 50), st.integers(1, 9))
def test_blocks_cover_every_row_once(n: int, size: int) -> None:
    assert [i for part in blocks(n, size) for i in range(n)[part]] == list(range(n))


def test_ties_go_to_the_smaller_id() -> None:
    assert best_first(np.float32([1, 2, 2, 1]), np.array([4, 9, 3, 1])).tolist() == [2, 1, 3, 0]


def test_wrong_shapes_types_and_lengths_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(n, 3\) float32"):
        check_unit(np.ones((2, 4), np.float32), 3)
    with pytest.raises(ValueError, match="float64"):
        check_unit(np.ones((2, 3)), 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unit length"):
        check_unit(np.ones((2, 3), np.float32), 3)


@pytest.mark.parametrize("degrees", [0.0, 0.001, 45, 90, 135, 179.99, 180])
def test_an_angle_is_measured_as_it_was_made(degrees: float) -> None:
    """Also very near 0° and 180°, where the arc cosine of a float32 product has no digits left."""
    angle = math.radians(degrees)
    one, two = np.float32([3, 0]), np.float32([5 * math.cos(angle), 5 * math.sin(angle)])
    result = compare(one, two)
    assert result.angle_degrees == pytest.approx(degrees, abs=1e-4)
    assert result.inner_product == pytest.approx(math.cos(angle), abs=1e-6)
    assert result.lengths == pytest.approx((3, 5), rel=1e-6)


def test_confidence_grows_with_the_score_and_falls_with_the_number_searched() -> None:
    sample = np.random.default_rng(0).normal(0.2, 0.03, 1000).astype(np.float32)
    background = Background.of(sample)
    scores = np.float32([0.2, 0.3, 0.4])
    assert (np.diff(background.z(scores)) > 0).all()
    assert (np.diff(background.confidence(scores, 1000)) >= 0).all()
    assert background.confidence(scores, 1_000_000)[1] <= background.confidence(scores, 100)[1]
    assert background.confidence(scores, 1000)[2] > 0.99
    assert background.confidence(scores, 1000)[0] < 0.01


def test_true_answers_in_the_sample_do_not_hide_themselves() -> None:
    """A third of the index matching must not make the match look ordinary: the spread is that of the lower half."""
    rng = np.random.default_rng(0)
    plain = rng.normal(0.2, 0.03, 700)
    mixed = np.concatenate([plain, rng.normal(0.45, 0.03, 300)]).astype(np.float32)
    assert Background.of(mixed).confidence(np.float32([0.45]), 1000)[0] > 0.9


def test_the_best_of_noise_is_rarely_called_sure() -> None:
    """For scores that are normal, confidence is what it says: the best of n exceeds 0.95 about once in twenty."""
    sure = 0
    for seed in range(200):
        scores = np.random.default_rng(seed).normal(0, 0.05, 1000).astype(np.float32)
        sure += Background.of(scores).confidence(scores.max(keepdims=True), len(scores))[0] > 0.95
    assert sure <= 30
