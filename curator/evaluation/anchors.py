"""What a measurement makes of what no generator should make: blurred, shuffled and noise pictures, as anchors.

A metric that praises noise says nothing in that space, and a generated picture that is nearer to noise than to any real
picture is none, however far from copies it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageFilter

from curator.encoders import Encoder
from curator.records import Vectors

_BLUR = 1 / 12  # of the shorter side: the radius at which things cannot be named any more

Picture = Image.Image


def _blurred(picture: Picture, _rng: np.random.Generator) -> Picture:
    return picture.filter(ImageFilter.GaussianBlur(max(1.0, min(picture.size) * _BLUR)))


def _shuffled(picture: Picture, rng: np.random.Generator) -> Picture:
    pixels = np.asarray(picture).reshape(-1, 3)
    return Image.fromarray(pixels[rng.permutation(len(pixels))].reshape(picture.height, picture.width, 3))


def _noise(picture: Picture, rng: np.random.Generator) -> Picture:
    return Image.fromarray(rng.integers(0, 256, (picture.height, picture.width, 3), np.uint8))


ANCHORS: Mapping[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "blurred": _blurred, "shuffled": _shuffled, "noise": _noise,
}  # fmt: skip
"""Name → what it makes of a real picture: it blurred, its pixels in another order, uniform noise of its size."""


def anchor_vectors(encoder: Encoder, pictures: Sequence[Picture], *, seed: int = 0) -> dict[str, Vectors]:
    """Name of an anchor → (n, d) unit rows of what it makes of `pictures`, which are RGB."""
    rng = np.random.default_rng(seed)
    return {name: encoder.encode_images([make(p, rng) for p in pictures]) for name, make in ANCHORS.items()}
