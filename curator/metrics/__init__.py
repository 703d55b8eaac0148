"""Metrics of two sets of embeddings: how near, how varied. Pure: `x` is what is judged, `y` the reference, (n, d) rows.

`metrics` holds them by name: a part takes x, y and a generator, and returns its numbers by name.
"""

from curator.intervals import bootstrap, half_of, half_width
from curator.metrics.apart import told_apart
from curator.metrics.kernels import cmmd, kid, mmd
from curator.metrics.manifolds import Manifold, Nearest, PerImage, clipped, distances, manifold, nearest_to, per_image
from curator.metrics.moments import frechet_distance, frechet_infinity, sliced_wasserstein, vendi
from curator.metrics.parts import Kind, Metric, metrics
from curator.metrics.statistics import pixel_statistics, strangeness

__all__ = [
    "Kind",
    "Manifold",
    "Metric",
    "Nearest",
    "PerImage",
    "bootstrap",
    "clipped",
    "cmmd",
    "distances",
    "frechet_distance",
    "frechet_infinity",
    "half_of",
    "half_width",
    "kid",
    "manifold",
    "metrics",
    "mmd",
    "nearest_to",
    "per_image",
    "pixel_statistics",
    "sliced_wasserstein",
    "strangeness",
    "told_apart",
    "vendi",
]
