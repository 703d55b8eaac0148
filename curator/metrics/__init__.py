"""Metrics of two sets of embeddings: how near, how varied. Pure; x is what is judged, y the reference, both (n, d) rows.

`metrics` holds them by name: a part takes x, y and a generator, and returns its numbers by name.
"""

from curator.metrics.kernels import cmmd, kid, mmd
from curator.metrics.manifolds import Manifold, PerImage, clipped, distances, manifold, per_image, radii
from curator.metrics.moments import bootstrap, frechet_distance, frechet_infinity, sliced_wasserstein, vendi
from curator.metrics.parts import HIGHER, metrics

__all__ = [
    "HIGHER",
    "Manifold",
    "PerImage",
    "bootstrap",
    "clipped",
    "cmmd",
    "distances",
    "frechet_distance",
    "frechet_infinity",
    "kid",
    "manifold",
    "metrics",
    "mmd",
    "per_image",
    "radii",
    "sliced_wasserstein",
    "vendi",
]
