"""What a picture-to-picture network is given: inputs made out of pictures, beside the pictures themselves.

No torch here. A pair is one array of six channels, the input's three and then the target's, so that whatever moves or
mirrors one does so with the other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from curator.registry import Registry
from curator.training.pictures import Bytes, to_picture

GIVEN = ("pairs", "halves")  # sources in which inputs are pictures of their own
_INK = 2.0  # how dark the steepest edges are drawn
_COARSE, _SOFT = 4, 0.03  # of `lowres` how many times smaller; of `blur` the radius, as a share of the side

makers: Registry[Callable[[Image.Image], Image.Image]] = Registry("source of pairs")


def _edges(picture: Image.Image) -> Image.Image:
    """Dark lines on white where brightness changes: the length of Sobel's gradient of the smoothed picture."""
    # (H, W) in [0, 1]
    x = np.asarray(picture.convert("L").filter(ImageFilter.GaussianBlur(0.8)), np.float32) / 255
    p = np.pad(x, 1, mode="edge")
    # Differences to the right and downwards, each smoothed across.
    right = (p[:-2, 2:] + 2 * p[1:-1, 2:] + p[2:, 2:]) - (p[:-2, :-2] + 2 * p[1:-1, :-2] + p[2:, :-2])
    down = (p[2:, :-2] + 2 * p[2:, 1:-1] + p[2:, 2:]) - (p[:-2, :-2] + 2 * p[:-2, 1:-1] + p[:-2, 2:])
    length = np.hypot(right, down)
    # By the picture's own steepest places, so that faint pictures have lines too.
    steep = max(float(np.quantile(length, 0.98)), 0.05)
    ink = np.clip(_INK * (length / steep - 0.25), 0, 1)
    return Image.fromarray(np.rint(255 * (1 - ink)).astype(np.uint8))


def _grey(picture: Image.Image) -> Image.Image:
    """Without colour."""
    return picture.convert("L")


def _blur(picture: Image.Image) -> Image.Image:
    """Out of focus."""
    return picture.filter(ImageFilter.GaussianBlur(_SOFT * picture.width))


def _lowres(picture: Image.Image) -> Image.Image:
    """A quarter of the side, enlarged again."""
    small = (max(1, picture.width // _COARSE), max(1, picture.height // _COARSE))
    return picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BICUBIC)


def _mask(picture: Image.Image) -> Image.Image:
    """Grey in the middle: a square of half the side is hidden."""
    masked, side = picture.copy(), picture.width
    masked.paste((128, 128, 128), (side // 4, side // 4, side - side // 4, side - side // 4))
    return masked


makers.register("edges")(_edges)
makers.register("grey")(_grey)
makers.register("blur")(_blur)
makers.register("lowres")(_lowres)
makers.register("mask")(_mask)

SOURCES = (*makers, *GIVEN)


def coloured(pixels: Bytes) -> Bytes:
    """(n, 1 or 3, H, W) → (n, 3, H, W)."""
    return np.repeat(pixels, 3, 1) if pixels.shape[1] == 1 else pixels


def input_of(pixels: Bytes, source: str) -> Bytes:
    """(3, H, W) → what the network sees of a picture, (3, H, W)."""
    picture = makers[source](to_picture(pixels)).convert("RGB")
    return np.asarray(picture, np.uint8).transpose(2, 0, 1)


def joined(inputs: Bytes, targets: Bytes) -> Bytes:
    """(n, C, H, W), (n, C, H, W) → pairs (n, 6, H, W)."""
    return np.concatenate([coloured(inputs), coloured(targets)], 1)


def made_pairs(targets: Bytes, source: str) -> Bytes:
    """(n, C, H, W) → pairs (n, 6, H, W) whose inputs are made out of the targets."""
    whole = coloured(targets)
    return joined(np.stack([input_of(p, source) for p in whole]) if len(whole) else whole, whole)
