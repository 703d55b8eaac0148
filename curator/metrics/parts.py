"""The metrics by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from curator.metrics.kernels import kernel_metrics
from curator.metrics.manifolds import clipped, manifold
from curator.metrics.moments import frechet_distance, frechet_infinity, sliced_wasserstein, vendi
from curator.records import Vectors
from curator.registry import Registry

Metric = Callable[[Vectors, Vectors, np.random.Generator], dict[str, float]]
metrics: Registry[Metric] = Registry("metric")

HIGHER = frozenset(
    {"precision", "recall", "density", "coverage", "clipped_density", "clipped_coverage", "vendi", "vendi_share"}
)
"""Numbers of which more is better; of all others less is."""
SHARES = frozenset({"precision", "recall", "coverage", "clipped_density", "clipped_coverage"})
"""Numbers that end at 1."""
UNBIASED = frozenset({"kid", "kid_unit", "mmd", "frechet_infinity"})
"""Estimates that may fall below 0."""


@metrics.register("frechet")
def _frechet(x: Vectors, y: Vectors, rng: np.random.Generator) -> dict[str, float]:
    """Fréchet distance, and without the bias of few images."""
    return {"frechet_distance": frechet_distance(x, y), "frechet_infinity": frechet_infinity(x, y, rng)}


@metrics.register("manifold")
def _manifold(x: Vectors, y: Vectors, _rng: np.random.Generator) -> dict[str, float]:
    """Precision and recall (k = 3), density and coverage (k = 5)."""
    return {k: float(v) for k, v in vars(manifold(x, y)).items()}


@metrics.register("clipped")
def _clipped(x: Vectors, y: Vectors, _rng: np.random.Generator) -> dict[str, float]:
    """Clipped density and coverage (k = 5)."""
    density, coverage = clipped(x, y)
    return {"clipped_density": density, "clipped_coverage": coverage}


@metrics.register("kernel")
def _kernel(x: Vectors, y: Vectors, _rng: np.random.Generator) -> dict[str, float]:
    """KID's kernel, named for unit rows where they are, MMD at the median bandwidth, CMMD."""
    kid, mmd, cmmd = kernel_metrics(x, y)
    unit = bool(np.allclose(np.linalg.norm(x, axis=1), 1, atol=1e-3))
    return {"kid_unit" if unit else "kid": kid, "mmd": mmd, "cmmd": cmmd}


@metrics.register("vendi")
def _vendi(x: Vectors, y: Vectors, _rng: np.random.Generator) -> dict[str, float]:
    """Effective number of different images, relative to the reference's."""
    own = vendi(x)
    return {"vendi": own, "vendi_share": own / vendi(y)}


@metrics.register("sliced-wasserstein")
def _sliced(x: Vectors, y: Vectors, rng: np.random.Generator) -> dict[str, float]:
    """Sliced Wasserstein-2 distance."""
    return {"sliced_wasserstein": sliced_wasserstein(x, y, rng)}
