"""The instant baseline: the picture itself, 8 × 8."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.encoders.base import Encoder
from curator.records import Pixels, Vectors


class PixelEncoder(Encoder):
    """8 × 8 RGB means around mid-grey, so that an inner product is a correlation of layouts. No weights, no words."""

    name = "pixels"
    dim = 192
    side = 8
    fingerprint = "pixels:8x8-rgb-centred:1"

    def prepare(self, picture: Image.Image) -> Pixels:
        """Area-average to 8 × 8, aspect ignored."""
        return np.asarray(picture.resize((8, 8), Image.Resampling.BOX), np.uint8)

    def project_images(self, batch: NDArray[np.uint8]) -> Vectors:
        """(b, 8, 8, 3) → (b, 192): value − 127.5, which no integer makes zero."""
        return np.asarray(batch.reshape(len(batch), -1) - np.float32(127.5), np.float32)
