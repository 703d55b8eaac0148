"""Scorers: one number for every image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from curator.embeddings import blocks
from curator.errors import UsageError
from curator.selectors.pool import Half, Pool, Reals, distance, scorers

_BLOCK = 16_384
_K = 5  # neighbours that kNN scores look at
_RIDGE = 1e-3  # of the mean variance, added to every direction so that a covariance can be inverted
_COMPONENTS = 32  # of probabilistic PCA


@scorers.register("typicality")
def _typicality(pool: Pool) -> Reals:
    """Inverse mean distance to the nearest neighbours (Hacohen et al. 2022, eq. 4)."""
    _, near = pool.graph("typicality")
    held = near >= -1
    mean = np.where(held, distance(near), 0).sum(1) / np.maximum(held.sum(1), 1)
    return np.asarray(1.0 / (mean + 1e-3))


@scorers.register("uniqueness")
def _uniqueness(pool: Pool) -> Reals:
    """Distance to the nearest neighbour, as FiftyOne's uniqueness at k = 1."""
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
    at = np.minimum((near >= -1).sum(1), _K) - 1
    return -distance(np.take_along_axis(near, np.maximum(at, 0)[:, None], 1)[:, 0])


@scorers.register("match")
def _match(pool: Pool) -> Reals:
    """Mean score with the five nearest images of the reference."""
    reference = _reference(pool, "match").astype(np.float32)
    k = min(_K, len(reference))
    best = np.empty(len(pool))
    for part in blocks(len(pool), _BLOCK):
        x, top = pool.x[part].astype(np.float32), np.empty((0, 0), np.float32)
        for some in blocks(len(reference), _BLOCK // 4):
            products = x @ reference[some].T
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
    """(n,) log of how many times likelier each image is in the reference than in the pool, by logistic regression on
    the vectors."""
    from sklearn.linear_model import LogisticRegression

    reference = _reference(pool, "importance")
    rng = np.random.default_rng(pool.seed)
    others = pool.x[np.sort(rng.choice(len(pool), min(len(pool), 20_000), replace=False))]
    x = np.concatenate([reference, others]).astype(np.float32)
    y = np.repeat([1, 0], [len(reference), len(others)])
    fitted = LogisticRegression(C=10.0, max_iter=300, class_weight="balanced").fit(x, y)
    found = [fitted.decision_function(pool.x[part].astype(np.float32)) for part in blocks(len(pool), _BLOCK)]
    return np.concatenate(found).astype(np.float64)


def _reference(pool: Pool, who: str) -> Half:
    if pool.reference is None or not len(pool.reference):
        raise UsageError(f"{who} needs --reference: a selection, a folder of the index, or a condition on its images")
    return pool.reference


def _per_class(pool: Pool, likelihood: Callable[[Half], Reals]) -> Reals:
    if pool.labels is None:
        return likelihood(pool.x)
    values = np.empty(len(pool))
    for code in np.unique(pool.labels):
        at = np.flatnonzero(pool.labels == code)
        values[at] = likelihood(pool.x[at])
    return values


def _moments(x: Half) -> tuple[Reals, Reals]:
    mean, second = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
    for part in blocks(len(x), _BLOCK):
        y = x[part].astype(np.float64)
        mean += y.sum(0)
        second += y.T @ y
    mean /= len(x)
    return mean, second / len(x) - np.outer(mean, mean)


def _gaussian(x: Half) -> Reals:
    """(n,) log-likelihood of every row under a Gaussian fitted to all."""
    mean, covariance = _moments(x)
    covariance += np.eye(len(mean)) * _RIDGE * max(float(np.trace(covariance)), 1e-6) / len(mean)
    values, axes = np.linalg.eigh(covariance)
    return _log_normal(x, mean, axes / np.sqrt(values), float(np.log(values).sum()))


def _ppca(x: Half) -> Reals:
    """The same with all directions but the first 32 taken for noise of one strength."""
    mean, covariance = _moments(x)
    values, axes = np.linalg.eigh(covariance)
    noise = max(float(values[:-_COMPONENTS].mean()) if len(values) > _COMPONENTS else 0.0, 1e-8)
    values = np.maximum(values, noise)
    values[: max(0, len(values) - _COMPONENTS)] = noise
    return _log_normal(x, mean, axes / np.sqrt(values), float(np.log(values).sum()))


def _log_normal(x: Half, mean: Reals, whiten: Reals, log_volume: float) -> Reals:
    squares = np.concatenate(
        [(((x[part].astype(np.float64) - mean) @ whiten) ** 2).sum(1) for part in blocks(len(x), _BLOCK)]
    )
    return np.asarray(-0.5 * (squares + log_volume + len(mean) * np.log(2 * np.pi)))
