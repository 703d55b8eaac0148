"""Scorers: one number for every image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import blocks, fit_logistic
from curator.errors import UsageError
from curator.selectors.pool import Half, Pool, Reals, distance, scorers

# Rows that are turned from float16 at a time.
_BLOCK = 16_384
_K = 5  # neighbours that kNN scores look at
_RIDGE = 1e-3  # of the mean variance, added to every direction so that a covariance can be inverted
_COMPONENTS = 32  # of probabilistic PCA
_LEAST_TAUGHT = 10  # images of a reference that a classifier learns from
TAUGHT = 20_000  # of the others, which are enough for d weights


@scorers.register("typicality")
def _typicality(pool: Pool) -> Reals:
    """Inverse mean distance to the nearest neighbours (Hacohen et al. 2022, eq. 4)."""
    _, near = pool.graph("typicality")
    # −∞ stands where an image has fewer neighbours than asked for.
    held = near >= -1
    mean = np.where(held, distance(near), 0).sum(1) / np.maximum(held.sum(1), 1)
    # Copies lie at no distance, and would be infinitely typical.
    return np.asarray(1.0 / (mean + 1e-3))


@scorers.register("uniqueness")
def _uniqueness(pool: Pool) -> Reals:
    """Distance to the nearest neighbour, as FiftyOne's uniqueness at k = 1."""
    # (n,) of the nearest alone.
    return distance(pool.graph("uniqueness")[1][:, 0])


@scorers.register("density")
def _density(pool: Pool) -> Reals:
    """Log-likelihood under a Gaussian fitted to the pool, or to each label's images (DeVries et al. 2020, §3.1)."""
    return _per_class(pool, _gaussian)


@scorers.register("density-ppca")
def _density_ppca(pool: Pool) -> Reals:
    """The same under probabilistic PCA with 32 components (Tipping and Bishop 1999, eq. 4 and 8)."""
    return _per_class(pool, _ppca)


@scorers.register("density-knn")
def _density_knn(pool: Pool) -> Reals:
    """Minus the distance to the fifth neighbour (DeVries et al. 2020, §3.1)."""
    _, near = pool.graph("density-knn")
    # The fifth neighbour, or the last that there is.
    fifth = np.minimum((near >= -1).sum(1), _K) - 1
    return -distance(np.take_along_axis(near, np.maximum(fifth, 0)[:, None], 1)[:, 0])


@scorers.register("match")
def _match(pool: Pool) -> Reals:
    """Log-odds that an image is of the reference and not one of the rest, by logistic regression on the vectors.

    The rest holds some of the same kind, unlabelled, which leaves the order as it is (Elkan and Noto 2008, lemma 1). Of
    a reference of fewer than ten it is the likeness to the nearest.
    """
    reference = _reference(pool, "match").astype(np.float32)
    if len(reference) < _LEAST_TAUGHT or len(pool) < 2 * _LEAST_TAUGHT:
        return _match_nearest(pool)
    odds = np.empty(len(pool))
    # Cross-fitted: no image is judged by what was taught that it is one of the rest. Halves go by content and seed.
    half = (pool.uniform >= 0.5).astype(np.int64)
    if min(half.sum(), len(half) - half.sum()) < _LEAST_TAUGHT:
        return _match_nearest(pool)
    for side in (0, 1):
        others = np.flatnonzero(half != side)
        others = others[np.argsort(pool.uniform[others], kind="stable")[:TAUGHT]]
        x = np.concatenate([reference, pool.x[np.sort(others)].astype(np.float32)])
        fitted = fit_logistic(x, np.repeat([1, 0], [len(reference), len(others)]), balanced=True)
        judged = np.flatnonzero(half == side)
        for part in blocks(len(judged), _BLOCK):
            odds[judged[part]] = fitted.decision_function(pool.x[judged[part]].astype(np.float32))
    return odds


@scorers.register("match-nearest")
def _match_nearest(pool: Pool) -> Reals:
    """Mean score with the five nearest images of the reference."""
    # (m, d)
    reference = _reference(pool, "match-nearest").astype(np.float32)
    k = min(_K, len(reference))
    best = np.empty(len(pool))
    for part in blocks(len(pool), _BLOCK):
        # (b, d), and the best scores of the block so far.
        x, top = pool.x[part].astype(np.float32), np.empty((0, 0), np.float32)
        for columns in blocks(len(reference), _BLOCK // 4):
            products = x @ reference[columns].T
            # The k best of what was seen and what is new: memory does not grow with m.
            products = products if not top.size else np.concatenate([top, products], axis=1)
            top = np.partition(products, -k, axis=1)[:, -k:] if products.shape[1] > k else products
        best[part] = top.mean(1)
    return best


@scorers.register("words")
def _words(pool: Pool) -> Reals:
    """How well the words of --match fit and those of --avoid do not, in [0, 1]."""
    if pool.words is None:
        raise UsageError("the scorer 'words' needs --match WORDS")
    return pool.words


def log_ratio(pool: Pool) -> Reals:
    """(n,) log of how many times likelier each image is in the reference than in the pool.

    By logistic regression on the vectors.
    """
    reference = _reference(pool, "importance")
    rng = np.random.default_rng(pool.seed)
    others = pool.x[np.sort(rng.choice(len(pool), min(len(pool), TAUGHT), replace=False))]
    w, bias = ratio_weights(reference, others)
    odds = [pool.x[part].astype(np.float32) @ w + bias for part in blocks(len(pool), _BLOCK)]
    return np.concatenate(odds).astype(np.float64)


def ratio_weights(reference: Half, others: Half) -> tuple[NDArray[np.float64], float]:
    """(m, d), (n, d) → w (d,) and a bias: ⟨x, w⟩ + bias is the log of how many times likelier x is in the reference."""
    x = np.concatenate([reference, others]).astype(np.float32)
    # 1 for the reference, 0 for the others.
    y = np.repeat([1, 0], [len(reference), len(others)])
    # Balanced, the classifier's log-odds are the log of the ratio of densities (Bickel et al. 2009, §3).
    fitted = fit_logistic(x, y, balanced=True)
    return np.asarray(fitted.coef_[0], np.float64), float(fitted.intercept_[0])


def _reference(pool: Pool, who: str) -> Half:
    if pool.reference is None or not len(pool.reference):
        raise UsageError(f"{who} needs --reference: a selection, a folder of the index, or a condition on its images")
    return pool.reference


def _per_class(pool: Pool, likelihood: Callable[[Half], Reals]) -> Reals:
    if pool.labels is None:
        return likelihood(pool.x)
    # A class is judged by its own Gaussian: a rare label is not unlikely as such.
    values = np.empty(len(pool))
    for code in np.unique(pool.labels):
        members = np.flatnonzero(pool.labels == code)
        values[members] = likelihood(pool.x[members])
    return values


def _moments(x: Half) -> tuple[Reals, Reals]:
    # Σ x and Σ x xᵀ, block by block.
    mean, second = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
    for part in blocks(len(x), _BLOCK):
        y = x[part].astype(np.float64)
        mean += y.sum(0)
        second += y.T @ y
    mean /= len(x)
    # E[x xᵀ] − μ μᵀ.
    return mean, second / len(x) - np.outer(mean, mean)


def _gaussian(x: Half) -> Reals:
    """(n,) log-likelihood of every row under a Gaussian fitted to all."""
    mean, covariance = _moments(x)
    # A ridge: a label of fewer images than dimensions has a singular covariance.
    covariance += np.eye(len(mean)) * _RIDGE * max(float(np.trace(covariance)), 1e-6) / len(mean)
    values, axes = np.linalg.eigh(covariance)
    # axes / √λ turns x − μ into independent numbers of variance 1.
    return _log_normal(x, mean, axes / np.sqrt(values), float(np.log(values).sum()))


def _ppca(x: Half) -> Reals:
    """The same with all directions but the first 32 taken for noise of one strength."""
    mean, covariance = _moments(x)
    values, axes = np.linalg.eigh(covariance)
    # σ² is the mean of the eigenvalues that are left out (eq. 8).
    noise = max(float(values[:-_COMPONENTS].mean()) if len(values) > _COMPONENTS else 0.0, 1e-8)
    values = np.maximum(values, noise)
    # eigh sorts ascending, so the noise comes first.
    values[: max(0, len(values) - _COMPONENTS)] = noise
    return _log_normal(x, mean, axes / np.sqrt(values), float(np.log(values).sum()))


def _log_normal(x: Half, mean: Reals, whiten: Reals, log_volume: float) -> Reals:
    # (n,) Mahalanobis distances, squared.
    squares = np.concatenate(
        [(((x[part].astype(np.float64) - mean) @ whiten) ** 2).sum(1) for part in blocks(len(x), _BLOCK)]
    )
    # log N(x; μ, Σ) = −½ (Mahalanobis² + log det Σ + d log 2π).
    return np.asarray(-0.5 * (squares + log_volume + len(mean) * np.log(2 * np.pi)))
