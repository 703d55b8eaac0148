"""Metrics against other implementations, against what can be computed by hand, and the laws they all keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc
from torch_fidelity import metric_fid, metric_kid, metric_prc

from curator.embeddings import normalise
from curator.evaluation.evaluate import with_intervals
from curator.metrics import (
    bootstrap,
    clipped,
    cmmd,
    distances,
    frechet_distance,
    frechet_infinity,
    kid,
    manifold,
    metrics,
    mmd,
    per_image,
    sliced_wasserstein,
    told_apart,
    vendi,
)


def rows(seed: int, n: int, d: int = 12, *, shift: float = 0.0) -> np.ndarray:
    """Unit rows around a direction that a shift turns."""
    rng = np.random.default_rng(seed)
    return normalise((rng.standard_normal((n, d)) + 1.5 + shift * np.arange(d) / d).astype(np.float32))


X, Y = rows(0, 150, shift=0.5), rows(1, 150)


def test_precision_recall_density_and_coverage_are_those_of_prdc() -> None:
    for k in (3, 5):
        theirs = compute_prdc(real_features=Y.astype(np.float64), fake_features=X.astype(np.float64), nearest_k=k)
        ours = manifold(X, Y, k=k)
        for name in ("precision", "recall", "density", "coverage"):
            assert getattr(ours, name) == pytest.approx(theirs[name], abs=2e-3), name


def test_precision_and_recall_are_those_of_torch_fidelity() -> None:
    found = metric_prc.prc_features_to_metric(
        torch.from_numpy(X).double(), torch.from_numpy(Y).double(), prc_neighborhood=3, prc_batch_size=50, verbose=False
    )
    assert manifold(X, Y).precision == pytest.approx(found[metric_prc.KEY_METRIC_PRECISION], abs=1e-6)
    assert manifold(X, Y).recall == pytest.approx(found[metric_prc.KEY_METRIC_RECALL], abs=1e-6)


def test_the_frechet_distance_is_that_of_torch_fidelity() -> None:
    stats = [{"mu": z.astype(np.float64).mean(0), "sigma": np.cov(z.astype(np.float64), rowvar=False)} for z in (X, Y)]
    theirs = metric_fid.fid_statistics_to_metric(*stats, verbose=False)[metric_fid.KEY_METRIC_FID]
    assert frechet_distance(X, Y) == pytest.approx(theirs, rel=1e-6)


def test_the_kernel_distance_is_that_of_torch_fidelity() -> None:
    theirs = metric_kid.kid_features_to_metric(
        torch.from_numpy(X).double(), torch.from_numpy(Y).double(), kid_subsets=1, kid_subset_size=len(X),
        kid_kernel="poly",
        kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1, rng_seed=0, verbose=False,
    )  # fmt: skip
    assert kid(X, Y) == pytest.approx(theirs[metric_kid.KEY_METRIC_KID_MEAN], rel=1e-6)


def test_cmmd_of_unit_rows_is_ten_times_the_squared_distance_of_means() -> None:
    apart = float(((X.astype(np.float64).mean(0) - Y.astype(np.float64).mean(0)) ** 2).sum())
    assert cmmd(X, Y) == pytest.approx(10 * apart, rel=0.02)


def test_cmmd_does_not_see_a_collapse_to_two_images_with_the_same_mean_and_vendi_does() -> None:
    rng = np.random.default_rng(0)
    middle = np.zeros(8)
    middle[0] = 3
    y = normalise((middle + rng.standard_normal((400, 8))).astype(np.float32))
    mean = y.mean(0)
    rest = np.zeros(8, np.float32)
    rest[1] = 1
    rest -= mean * (rest @ mean) / (mean @ mean)
    rest *= np.sqrt((1 - mean @ mean) / (rest @ rest))
    x = np.repeat(np.stack([mean + rest, mean - rest]), 200, axis=0).astype(np.float32)
    assert cmmd(x, y) < 0.01 * cmmd(rows(3, 400, 8), y)
    assert vendi(x) < 0.6 * vendi(y)


def test_the_mean_discrepancy_of_one_distribution_is_about_nothing_and_of_two_is_not() -> None:
    assert abs(mmd(rows(2, 300), rows(3, 300))) < 0.003
    assert mmd(rows(2, 300, shift=3.0), rows(3, 300)) > 0.02


def test_a_fit_to_infinity_takes_most_of_the_bias_away() -> None:
    x, y = rows(4, 200), rows(5, 5_000)
    assert abs(frechet_infinity(x, y, np.random.default_rng(0))) < 0.5 * frechet_distance(x, y)


def test_a_fit_to_infinity_takes_the_bias_of_both_sides_away() -> None:
    truth = frechet_distance(rows(50, 20_000, shift=0.5), rows(51, 20_000))
    pairs = [(rows(2 * s + 100, 600, shift=0.5), rows(2 * s + 101, 600)) for s in range(8)]
    found = np.mean([frechet_infinity(x, y, np.random.default_rng(0)) for x, y in pairs])
    plain = np.mean([frechet_distance(x, y) for x, y in pairs])
    assert abs(found - truth) < 0.35 * (plain - truth)


def test_far_from_the_origin_balls_are_still_those_of_prdc() -> None:
    x, y = 3 * X + np.float32(100), 3 * Y + np.float32(100)
    theirs = compute_prdc(real_features=y.astype(np.float64), fake_features=x.astype(np.float64), nearest_k=5)
    for name, value in theirs.items():
        assert getattr(manifold(x, y, k=5), name) == pytest.approx(value, abs=5e-3), name


def test_kernels_in_one_pass_and_in_blocks_are_what_they_are_alone_and_at_once() -> None:
    x, y = rows(20, 2_300, 5, shift=0.5), rows(21, 2_100, 5)
    together = metrics["kernel"](x, y, np.random.default_rng(0))
    assert together == {
        "kid_unit": pytest.approx(kid(x, y)),
        "mmd": pytest.approx(mmd(x, y)),
        "cmmd": pytest.approx(cmmd(x, y)),
    }
    a, b = x.astype(np.float64), y.astype(np.float64)

    def cubic(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return np.asarray((p @ q.T / 5 + 1) ** 3)

    n, m = len(a), len(b)
    own_a, own_b = (cubic(z, z) for z in (a, b))
    whole = (
        (own_a.sum() - np.trace(own_a)) / (n * (n - 1))
        + (own_b.sum() - np.trace(own_b)) / (m * (m - 1))
        - 2 * cubic(a, b).mean()
    )
    assert kid(x, y) == pytest.approx(whole, abs=1e-10)
    small, other = rows(22, 40, 5, shift=2.0).astype(np.float64), rows(23, 30, 5).astype(np.float64)
    both = np.concatenate([small, other])
    apart = ((both[:, None] - both) ** 2).sum(2)
    k = np.exp(-apart / (2 * np.median(apart[~np.eye(70, dtype=bool)])))
    a, b, ab = k[:40, :40], k[40:, 40:], k[:40, 40:]
    found = (a.sum() - 40) / (40 * 39) + (b.sum() - 30) / (30 * 29) - 2 * ab.mean()
    assert mmd(small.astype(np.float32), other.astype(np.float32)) == pytest.approx(found, abs=1e-6)


def test_rows_that_are_not_unit_have_names_and_diversity_of_their_own() -> None:
    longer = X * np.linspace(1, 9, len(X), dtype=np.float32)[:, None]
    assert set(metrics["kernel"](longer, Y, np.random.default_rng(0))) == {"kid", "mmd", "cmmd"}
    assert vendi(longer) == pytest.approx(vendi(X), rel=1e-5)


def test_clipped_metrics_fall_by_the_share_of_bad_images() -> None:
    y, good = rows(6, 1_000), rows(7, 1_000)
    far = -rows(8, 1_000)
    for share in (0.0, 0.3, 0.6):
        x = np.concatenate([good[: round(1_000 * (1 - share))], far[: round(1_000 * share)]])
        density, coverage = clipped(x, y)
        assert density == pytest.approx(1 - share, abs=0.08)
        assert coverage == pytest.approx(1 - share, abs=0.08)


def test_slices_of_shifted_rows_lie_as_far_apart_as_the_shift_on_average() -> None:
    x = np.random.default_rng(0).standard_normal((2_000, 6)).astype(np.float32)
    moved = x + np.float32(2.0) * np.eye(6, dtype=np.float32)[0]
    assert sliced_wasserstein(moved, x, np.random.default_rng(1), slices=300) == pytest.approx(2 / np.sqrt(6), rel=0.1)


def test_vendi_counts_different_images() -> None:
    axes = np.eye(8, dtype=np.float32)
    assert vendi(np.repeat(axes[:3], 10, axis=0)) == pytest.approx(3)
    assert vendi(axes) == pytest.approx(8)


def test_distances_of_rows_that_are_not_unit() -> None:
    a, b = np.array([[3.0, 0.0]], np.float32), np.array([[0.0, 4.0], [3.0, 0.0]], np.float32)
    assert np.allclose(distances(a, b), [[5.0, 0.0]], atol=1e-3)


def test_what_is_said_of_each_image() -> None:
    y = normalise(np.array([[1, 0], [1, 0.1], [1, 0.2], [0, 1]], np.float32))
    found = per_image(np.concatenate([y[:1], -y[:1]]), y, k=1)
    assert found.nearest.position.tolist()[0] == 0
    assert found.nearest.distance[0] == pytest.approx(0, abs=1e-3)
    assert found.nearest.authentic.tolist() == [False, True]
    assert found.nearest.ratio[1] == pytest.approx(
        float(np.linalg.norm(y[0] + y[3]) / np.linalg.norm(y[3] - y[2])), rel=1e-3
    )
    assert found.realism[0] > 0.9 > found.realism[1]
    assert np.isinf(found.rarity[1])
    assert found.rarity[0] == pytest.approx(float(distances(y[:1], y[1:2])[0, 0]), abs=1e-3)


@pytest.mark.parametrize("name", list(metrics))
def test_a_copy_of_the_reference_is_as_good_as_it_gets(name: str) -> None:
    best = {
        "precision": 1,
        "recall": 1,
        "coverage": 1,
        "clipped_density": 1,
        "clipped_coverage": 1,
        "vendi_share": 1,
        "sliced_wasserstein": 0,
    }
    found = metrics[name](Y, Y.copy(), np.random.default_rng(0))
    for key, value in found.items():
        assert np.isfinite(value)
        if key in best:
            assert value == pytest.approx(best[key], abs=1e-6), key
        if key in ("frechet_distance", "cmmd"):
            assert abs(value) < 1e-6


@pytest.mark.parametrize("name", list(metrics))
@settings(max_examples=5)
@given(seed=st.integers(0, 1_000))
def test_the_order_of_images_does_not_matter_and_input_is_untouched(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = X.copy(), Y.copy()
    plain = metrics[name](x, y, np.random.default_rng(0))
    mixed = metrics[name](x[rng.permutation(len(x))], y[rng.permutation(len(y))], np.random.default_rng(0))
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)
    for key, value in plain.items():
        if key == "frechet_infinity":  # what fits random subsets depends on which they are
            assert abs(mixed[key] - value) < 0.6 * plain["frechet_distance"]
        else:
            assert mixed[key] == pytest.approx(value, rel=1e-4, abs=1e-4), key


@pytest.mark.parametrize("name", list(metrics))
def test_fewer_images_than_neighbours_still_give_numbers(name: str) -> None:
    for n, m in ((3, 4), (2, 2), (1, 3)):
        assert all(np.isfinite(v) for v in metrics[name](X[:n], Y[:m], np.random.default_rng(0)).values())


@pytest.mark.parametrize("n", [40, 200])
def test_an_interval_holds_what_other_samples_of_this_size_have_on_average(n: int) -> None:
    """Of each number 95 % say, 80 % at least of 40 draws; those of shares are never of no width."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(40):
        x, y = rows(2 * seed, n, 4, shift=0.3), rows(2 * seed + 1, n, 4)
        for name in ("manifold", "frechet", "vendi"):
            for key, value, low, high, _ in with_intervals(name, x, y, 10, 0):
                found.setdefault(key, []).append((value, low, high))
    for key, draws in found.items():
        usual = np.mean([value for value, _, _ in draws])
        assert np.mean([low <= usual <= high for _, low, high in draws]) >= 0.8, key
        if next(m.numbers[key] for m in metrics.values() if key in m.numbers).is_share:
            assert min(high - low for _, low, high in draws) >= 2.99 / n, key
    assert np.isnan(with_intervals("vendi", X[:12], Y[:12], 10, 0)[0][2]), "halves of a dozen say nothing"


def test_quantiles_between_neighbours_are_numpys() -> None:
    """The 512 of few rows and of many."""
    for n in (2, 7, 600, 3_000):
        x, y = rows(30, n, 3), rows(31, n + 1, 3)
        axes = np.random.default_rng(0).standard_normal((3, 256))
        axes /= np.linalg.norm(axes, axis=0)
        at = (np.arange(512) + 0.5) / 512
        a, b = (np.quantile(z.astype(np.float64) @ axes, at, axis=0) for z in (x, y))
        assert sliced_wasserstein(x, y, np.random.default_rng(0)) == pytest.approx(
            float(np.sqrt(((a - b) ** 2).mean()))
        )


def test_an_interval_holds_the_value_of_fresh_samples_about_as_often_as_it_says() -> None:
    """Of the mean of a coordinate, whose true value is known: between 85 and 100 % of 60 intervals hold it."""

    def mean(x: np.ndarray) -> float:
        return float(x[:, 0].mean())

    truth = mean(rows(99, 60_000))
    held, widths = 0, []
    for seed in range(60):
        low, high = bootstrap(mean, rows(seed, 200), np.random.default_rng(seed), rounds=12)
        held += low <= truth <= high
        widths.append(high - low)
    assert held >= 51
    usual = 2 * 1.96 * np.std([mean(rows(seed, 200)) for seed in range(60)])
    assert np.median(widths) < 1.5 * usual, "no wider than it must be"


def test_sets_of_one_kind_are_not_told_apart_and_others_are() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 400, 8)).astype(np.float32)
    assert told_apart(x, y, rng) == pytest.approx(0.5, abs=0.08)
    assert told_apart(x, y + np.float32(3) * np.eye(8, dtype=np.float32)[0], rng) > 0.95
    assert told_apart(x, y[:40] + np.float32(3) * np.eye(8, dtype=np.float32)[0], rng) > 0.9, "sizes do not move it"
    assert np.isnan(told_apart(x[:3], y, rng))
