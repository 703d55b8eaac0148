"""Whether the larger of two copies shows more than the smaller one, or was only enlarged."""

from __future__ import annotations

import numpy as np
from PIL import Image

LEAST_FACTOR = 1.3  # of the sides; below, nothing can be told
_ORIGINAL = (
    0.65  # what an original keeps, over the root of the factor; measured on 122 photos, enlarged ones lie at half of it
)
_LARGEST = 1024  # pixels of the long side that are looked at


def is_enlarged(larger: Image.Image, smaller: Image.Image) -> bool:
    """Whether the larger copy holds no more detail than the smaller one could.

    Natural pictures lose about as large a share of themselves whenever they are halved (their power falls as 1/f²,
    Field 1987). So what the larger one loses at the smaller one's size is compared with what the smaller one loses when
    it is reduced once more by the same factor: an original loses as much, an enlarged copy hardly anything.
    """
    factor = float(np.sqrt((larger.width * larger.height) / (smaller.width * smaller.height)))
    if factor < LEAST_FACTOR:
        return False
    lost_here = _lost(smaller, factor)
    return lost_here > 0 and _lost(larger, factor) / lost_here < _ORIGINAL / np.sqrt(factor)


def _lost(picture: Image.Image, factor: float) -> float:
    """Share of its contrast that the middle of a picture loses when reduced by a factor and enlarged again."""
    grey = picture.convert("L")
    left, top = max(0, grey.width - _LARGEST) // 2, max(0, grey.height - _LARGEST) // 2
    grey = grey.crop((left, top, left + min(grey.width, _LARGEST), top + min(grey.height, _LARGEST)))
    small = grey.resize(
        (max(1, round(grey.width / factor)), max(1, round(grey.height / factor))), Image.Resampling.LANCZOS
    )
    v, back = (np.asarray(p, np.float32) for p in (grey, small.resize(grey.size, Image.Resampling.BICUBIC)))
    return float((v - back).std() / (v.std() + 1e-6))
