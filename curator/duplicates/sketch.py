"""A picture at comparison size, and what is kept of it so that it need not be decoded again."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.duplicates.corners import Corners, Grey

SIDE = 320  # pixels of the long side at which pictures are compared
_QUALITY = 90  # of the JPEG that is kept
_LOSSLESS = 160  # pixels of the long side up to which it is a PNG


@dataclass(frozen=True)
class Sketch:
    """A picture at comparison size, with a long side of 320 pixels.

    `rgb` (H, W, 3), `grey` (H, W), and corners: `known`, or found when they are asked for.
    """

    rgb: NDArray[np.uint8]
    grey: Grey
    known: Corners | None = None

    @classmethod
    def of(cls, picture: Image.Image, known: Corners | None = None) -> Sketch:
        """Shrink or enlarge a picture to comparison size."""
        small = _sized(picture)
        return cls(np.asarray(small), np.asarray(small.convert("L")), known)

    @staticmethod
    def grey_of(picture: Image.Image) -> Grey:
        """A grey picture at comparison size."""
        return np.asarray(_sized(picture))

    @cached_property
    def corners(self) -> Corners:
        """Of the grey picture."""
        return self.known if self.known is not None else Corners.of(self.grey)


def shrink(picture: Image.Image) -> bytes:
    """What is kept of a picture for comparisons: a JPEG of comparison size, or of its own where that is smaller.

    A small picture is kept as a PNG: enlarged, what JPEG does to it would have corners of its own.
    """
    small = picture if picture.mode == "RGB" else picture.convert("RGB")
    if max(small.size) > SIDE:
        small = _sized(small)
    out = io.BytesIO()
    if max(small.size) <= _LOSSLESS:
        small.save(out, "PNG", compress_level=1)
    else:
        small.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _sized(picture: Image.Image) -> Image.Image:
    scale = SIDE / max(picture.size)
    size = (max(8, round(picture.width * scale)), max(8, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BILINEAR)
