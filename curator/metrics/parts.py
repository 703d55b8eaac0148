"""The metrics by name, each with what is known of its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from curator.metrics.kernels import kernel_metrics
from curator.metrics.manifolds import clipped, manifold
from curator.metrics.moments import frechet_distance, frechet_infinity, sliced_wasserstein, vendi
from curator.records import Vectors
from curator.registry import Registry

Measure = Callable[[Vectors, Vectors, np.random.Generator], dict[str, float]]


@dataclass(frozen=True)
class Kind:
    """What is known of a number: whether more is better, whether it ends at 1, whether it may fall below 0."""

    higher_is_better: bool = False
    is_share: bool = False
    may_be_negative: bool = False


@dataclass(frozen=True)
class Metric:
    """A function of x (n, d), y (m, d) and a generator to numbers by name, and the kind of each number."""

    measure: Measure
    numbers: Mapping[str, Kind]

    def __call__(self, x: Vectors, y: Vectors, rng: np.random.Generator) -> dict[str, float]:
        """Its numbers of `x`, what is judged, against `y`, the reference."""
        return self.measure(x, y, rng)


metrics: Registry[Metric] = Registry("metric")
# The kinds that occur. A distance ends at 0, a share at 0 and 1, an estimate nowhere.
_DISTANCE, _ESTIMATE, _AMOUNT = Kind(), Kind(may_be_negative=True), Kind(higher_is_better=True)
_SHARE = Kind(higher_is_better=True, is_share=True)


def _frechet(x: Vectors, y: Vectors, rng: np.random.Generator) -> dict[str, float]:
    """Fréchet distance, and without the bias of few images."""
    return {"frechet_distance": frechet_distance(x, y), "frechet_infinity": frechet_infinity(x, y, rng)}


def _manifold(x: Vectors, y: Vectors, _rng: np.random.Generator) -> dict[str, float]:
    """Precision and recall (k = 3), density and coverage (k = 5)."""
    return {k: float(v) for k, v in vars(manifold(x, y)).items()}


def _clipped(x: Vectors, y: Vectors, _rng: np.random.Generator) -> dict[str, float]:
    """Clipped density and coverage (k = 5)."""
    density, coverage = clipped(x, y)
    return {"clipped_density": density, "clipped_coverage": coverage}


def _kernel(x: Vectors, y: Vectors, _rng: np.random.Generator) -> dict[str, float]:
    """KID's kernel, named for unit rows where they are, MMD at the median bandwidth, CMMD."""
    kid, mmd, cmmd = kernel_metrics(x, y)
    # The cubic kernel is nearly linear on unit rows: that number deserves a name of its own.
    unit = bool(np.allclose(np.linalg.norm(x, axis=1), 1, atol=1e-3))
    return {"kid_unit" if unit else "kid": kid, "mmd": mmd, "cmmd": cmmd}


def _vendi(x: Vectors, y: Vectors, _rng: np.random.Generator) -> dict[str, float]:
    """Effective number of different images, relative to the reference's."""
    # Alone it grows with n; beside the reference's it says how much of its variety there is.
    score = vendi(x)
    return {"vendi": score, "vendi_share": score / vendi(y)}


def _sliced(x: Vectors, y: Vectors, rng: np.random.Generator) -> dict[str, float]:
    """Sliced Wasserstein-2 distance."""
    return {"sliced_wasserstein": sliced_wasserstein(x, y, rng)}


metrics.register("frechet")(Metric(_frechet, {"frechet_distance": _DISTANCE, "frechet_infinity": _ESTIMATE}))
metrics.register("manifold")(
    Metric(_manifold, {"precision": _SHARE, "recall": _SHARE, "density": _AMOUNT, "coverage": _SHARE})
)
metrics.register("clipped")(Metric(_clipped, {"clipped_density": _SHARE, "clipped_coverage": _SHARE}))
metrics.register("kernel")(
    Metric(_kernel, {"kid": _ESTIMATE, "kid_unit": _ESTIMATE, "mmd": _ESTIMATE, "cmmd": _DISTANCE})
)
metrics.register("vendi")(Metric(_vendi, {"vendi": _AMOUNT, "vendi_share": _AMOUNT}))
metrics.register("sliced-wasserstein")(Metric(_sliced, {"sliced_wasserstein": _DISTANCE}))
