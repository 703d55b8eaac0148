"""Where a VAE's new latents come from.

N(0, I), a mixture fitted to those of training images, a second VAE, or between neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from curator.errors import UsageError
from curator.metrics import distances
from curator.training.batches import generator_of

SAMPLERS = ("normal", "gmm", "two-stage", "near")
NEAR_DATA = (
    "near",
)  # samplers whose pictures lie between two of the training set, and are no proof that it can invent any
# Doubled for as long as held-out latents get likelier.
_COMPONENTS = (1, 2, 4, 8, 16, 32, 64, 128)
# Latents that a mixture is fitted on: more change it little.
_FITTED_ON = 20_000
# Training images that `near` draws towards.
_NEIGHBOURS = 5
_STEPS, _BATCH, _HIDDEN = 2_000, 256, 256

Fitted = Mapping[str, NDArray[Any]]


class Drawn:
    """Random numbers of a picture; normal ones are times ψ."""

    def __init__(self, seed: int, psi: float = 1.0) -> None:
        # 0xC sets these draws apart from others of the same seed.
        self.rng, self.psi = np.random.default_rng([seed, 0xC]), np.float32(psi)

    def normal(self, n: int) -> NDArray[np.float32]:
        """(n,) from N(0, ψ²)."""
        return np.asarray(self.psi * self.rng.standard_normal(n, np.float32))


def fit_mixture(z: NDArray[np.float32], labels: NDArray[np.int64], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """A Gaussian mixture for each label (−1: for all).

    Weights (K,), means (K, d), Cholesky roots (K, d, d), owners (K,). As many components as a fifth of the latents,
    held out, are likeliest under (Ghosh et al. 2020, §4).
    """
    parts = [(*_best_mixture(z[labels == label], rng), int(label)) for label in np.unique(labels)]
    return {
        "mixture_weights": np.concatenate([w for w, *_ in parts]),
        "mixture_means": np.concatenate([m for _, m, *_ in parts]).astype(np.float32),
        "mixture_roots": np.concatenate([r for _, _, r, _ in parts]).astype(np.float32),
        "mixture_owners": np.concatenate([np.full(len(w), label, np.int64) for w, _, _, label in parts]),
    }


def _best_mixture(
    z: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    from sklearn.mixture import GaussianMixture

    n, d = z.shape
    if n < 4:  # too few to fit anything: their mean, and unit spread
        return np.ones(1), z.mean(0, keepdims=True).astype(np.float64), np.eye(d)[None]
    # A fifth judges, the rest is fitted on.
    x = z[rng.permutation(n)[:_FITTED_ON]].astype(np.float64)
    test = max(1, len(x) // 5)
    seed = int(rng.integers(2**31))

    def fitted(k: int, rows: NDArray[np.float64]) -> Any:
        # A full covariance needs a few rows for each of its d columns.
        kind = "full" if len(rows) >= 4 * d * k else "diag"
        return GaussianMixture(
            k, covariance_type=kind, reg_covar=1e-3, max_iter=50, tol=1e-2, init_params="k-means++", random_state=seed
        ).fit(rows)

    best, likelihood = 1, -np.inf
    # Twenty latents for each component, or it fits noise.
    for k in (c for c in _COMPONENTS if c == 1 or len(x) - test >= 20 * c):
        score = fitted(k, x[test:]).score(x[:test])
        if score <= likelihood:
            break
        best, likelihood = k, score
    # With the number settled, on all of them.
    mixture = fitted(best, x)
    # (K, d, d)
    covariances = (
        mixture.covariances_
        if mixture.covariance_type == "full"
        else np.stack([np.diag(v) for v in mixture.covariances_])
    )
    # Σ = L Lᵀ: a draw is mean + L ε.
    return mixture.weights_, mixture.means_, np.linalg.cholesky(covariances)


def draw(sampler: str, fitted: Fitted, latent: int, rng: Drawn, label: int = -1) -> NDArray[np.float32]:
    """One latent (d,). `label` narrows `gmm` and `near` to latents of that label, where there are any.

    Raises `UsageError` where nothing was fitted.
    """
    if sampler == "normal":
        return rng.normal(latent)
    if "means" not in fitted:
        raise UsageError(
            f"the sampler '{sampler}' needs what is fitted when training ends, for its best checkpoint; use it, or "
            "--sampler normal"
        )
    if sampler == "near":
        return _between(fitted, rng, label)
    if sampler == "two-stage":  # fitted to all labels together
        return _decoded(fitted, rng)
    weights, owners = fitted["mixture_weights"], fitted["mixture_owners"]
    if label in owners:
        weights = np.where(owners == label, weights, 0)
    # 1. A component by its weight …
    component = int(rng.rng.choice(len(weights), p=weights / weights.sum()))
    # … 2. and a draw from it: mean + L ε, ε shrunk by ψ.
    return np.asarray(fitted["mixture_means"][component] + fitted["mixture_roots"][component] @ rng.normal(latent))


def _between(fitted: Fitted, rng: Drawn, label: int) -> NDArray[np.float32]:
    """A point between a training image's latent and one of its five nearest."""
    means = fitted["means"][fitted["labels"] == label] if label in fitted["labels"] and label >= 0 else fitted["means"]
    # A training image …
    first = means[int(rng.rng.integers(len(means)))]
    # … its five nearest, itself left out …
    near = np.argsort(distances(first[None], means)[0], kind="stable")[1 : _NEIGHBOURS + 1]
    other = means[int(rng.rng.choice(near))] if len(near) else first
    # … and a point on the way to one of them.
    return np.asarray(first + rng.rng.random(dtype=np.float32) * (other - first))


def fit_second_stage(fitted: Fitted, seed: int, *, steps: int = _STEPS) -> dict[str, NDArray[Any]]:
    """A second, small VAE on the latents themselves: its decoder and σ.

    Its own latents do fill N(0, I) (Dai and Wipf 2019, §5).
    """
    mean, spread = torch.from_numpy(fitted["means"].copy()), torch.from_numpy(np.exp(0.5 * fitted["log_variances"]))
    # Batches are drawn by a generator of their own, weights by torch's global one, which is put back.
    d, generator = mean.shape[1], generator_of(seed, "two-stage")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder, decoder = _mlp(d, 2 * d), _mlp(d, d)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)
    # The mean square of the last step is σ² in the end.
    error = torch.ones(())
    for _ in range(steps):
        chosen = torch.randint(len(mean), (_BATCH,), generator=generator)
        # z ~ q(z | x): what the first stage's decoder was trained on.
        z = mean[chosen] + spread[chosen] * torch.randn((_BATCH, d), generator=generator)
        middle, log_variance = encoder(z).chunk(2, 1)
        log_variance = log_variance.clamp(-10, 4)
        # u ~ q(u | z)
        u = middle + torch.exp(0.5 * log_variance) * torch.randn((_BATCH, d), generator=generator)
        error = (decoder(u) - z).square().mean()
        # KL(q(u | z) ‖ N(0, I)), a mean over the batch.
        kl = 0.5 * (middle.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        optimiser.zero_grad()
        # The same optimal-variance loss as the first stage.
        (0.5 * d * error.log() + kl).backward()
        optimiser.step()
    weights = {f"second_{k}": v.detach().numpy() for k, v in decoder.state_dict().items()}
    return weights | {"second_sigma": np.sqrt(error.detach().numpy())[None]}


def _mlp(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(before, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, after)
    )


def _decoded(fitted: Fitted, rng: Drawn) -> NDArray[np.float32]:
    h: NDArray[Any] = rng.normal(fitted["second_0.weight"].shape[1])
    for layer in (0, 2, 4):
        h = fitted[f"second_{layer}.weight"] @ h + fitted[f"second_{layer}.bias"]
        # SiLU, in numpy: one latent needs no torch.
        h = h / (1 + np.exp(-h)) if layer < 4 else h
    return np.asarray(h + fitted["second_sigma"] * rng.normal(len(h)), np.float32)
