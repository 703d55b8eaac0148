"""One picture laid upon another: how far grey levels and colours agree, and where they agree least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.duplicates.colours import compare_colours
from curator.duplicates.corners import Grey
from curator.duplicates.sketch import Sketch

_SMOOTH = 1.0  # sigma in pixels, against codecs and noise
_PATCH = 32  # pixels a side over which grey levels are correlated
_TEXTURE = 4.0  # grey levels of spread that a patch needs to say anything
# The same at half the size, to say that something was changed in one place.
_SMALL_PATCH, _SMOOTHER, _STRONG = 8, 0.7, 20.0
_LEAST = 50  # patches that must say something
_STEP = 2  # pixels from one patch to the next, of which the median is taken
_LOST = 0.03  # of the overlap, to the border that is left out of the comparison
_WORTH = 0.5  # agreement of grey levels below which colours need no look


@dataclass(frozen=True)
class Laid:
    """One picture laid on another.

    `agreement` is of the grey levels, in [−1, 1], and `weakest` that of the patch that agrees least, of those with
    strong texture, or of a place that has another colour where all others kept theirs; `difference` of the colours, in
    levels of 0–255. `overlap` is the share of the smaller one that lies on the other: nearly all of it for a crop, less
    for shots from two places.
    """

    agreement: float
    difference: float
    overlap: float = 1.0
    weakest: float = 1.0


NOTHING = Laid(0.0, 255.0, 0.0, -1.0)


def lay(a: Sketch, b: Sketch, transform: str) -> Laid:
    """`a` with the whole of `b` on it, turned by one of `DIHEDRAL` and brought to the same size."""
    import cv2

    h, w = a.grey.shape
    grey, rgb = (cv2.resize(turn(v, transform), (w, h), interpolation=cv2.INTER_AREA) for v in (b.grey, b.rgb))
    inside = np.ones((h, w), np.float32)
    agreement = _agreement(a.grey, grey, inside)
    colours = compare_colours(a.rgb, rgb, inside)
    return Laid(agreement, colours.difference, weakest=min(colours.steadiness, _weakest(a.grey, grey, inside)))


def turn(v: Any, transform: str) -> Any:
    """Pixels (H, W) or (H, W, 3) under one of the symmetries of the square, named as in `DIHEDRAL`."""
    turned = {
        "same": lambda v: v,
        "mirror": lambda v: v[:, ::-1],
        "flip": lambda v: v[::-1],
        "rotate-180": lambda v: v[::-1, ::-1],
        "transpose": lambda v: v.swapaxes(0, 1),
        "rotate-90": lambda v: v.swapaxes(0, 1)[::-1],
        "rotate-270": lambda v: v.swapaxes(0, 1)[:, ::-1],
        "transverse": lambda v: v.swapaxes(0, 1)[::-1, ::-1],
    }
    return np.ascontiguousarray(turned[transform](v))


def turned_onto(transform: str, a: tuple[int, int], b: tuple[int, int]) -> NDArray[np.float64]:
    """The affine map (2, 3) from the whole of `b`, turned, to the whole of `a`, in shares of the long sides.

    Sizes are (width, height) in pixels; `transform` is one of `DIHEDRAL`, as `turn` takes it.
    """
    w, h = (side / max(b) for side in b)
    turned = {
        "same": [[1, 0, 0], [0, 1, 0]],
        "mirror": [[-1, 0, w], [0, 1, 0]],
        "flip": [[1, 0, 0], [0, -1, h]],
        "rotate-180": [[-1, 0, w], [0, -1, h]],
        "transpose": [[0, 1, 0], [1, 0, 0]],
        "rotate-90": [[0, 1, 0], [-1, 0, w]],
        "rotate-270": [[0, -1, h], [1, 0, 0]],
        "transverse": [[0, -1, h], [-1, 0, w]],
    }
    swaps = transform in ("transpose", "rotate-90", "rotate-270", "transverse")
    now = np.array([h, w] if swaps else [w, h])
    return np.asarray(np.array(turned[transform], np.float64) * (np.array(a) / max(a) / now)[:, None])


def laid_by(a: Sketch, b: Sketch, fit: Any, size: float | None = None) -> Laid:
    """`a` with `b` on it as a fit (2, 3) from `b` to `a` says.

    `size` is that of the smaller picture, in pixels of `a`; else it is taken from the fit.
    """
    import cv2

    h, w = a.grey.shape
    inside = cv2.warpAffine(np.full(b.grey.shape, 255, np.uint8), fit, (w, h)) > 250
    inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    grey = cv2.warpAffine(b.grey, fit, (w, h))
    box = _box(inside)
    laid = a.grey[box], grey[box], inside[box]
    agreement = _agreement(*laid)
    if agreement < _WORTH:
        return Laid(agreement, 255.0, 0.0, -1.0)
    if size is None:
        size = float(abs(fit[0, 0] * fit[1, 1] - fit[0, 1] * fit[1, 0])) * b.grey.size
        size = min(size, float(a.grey.size))
    overlap = min(1.0, float(inside.sum()) / size + _LOST)
    colours = compare_colours(a.rgb, cv2.warpAffine(b.rgb, fit, (w, h)), inside)
    return Laid(agreement, colours.difference, overlap, min(colours.steadiness, _weakest(*laid)))


def _box(inside: Any) -> tuple[slice, slice]:
    """The part of a picture that lies inside, with a patch around it."""
    ends = []
    for axis in (1, 0):
        lines = np.flatnonzero(inside.any(axis))
        low, high = (int(lines[0]), int(lines[-1])) if len(lines) else (0, 0)
        ends.append(slice(max(0, low - _PATCH) // 2 * 2, (high + _PATCH) // 2 * 2))  # even, as it will be halved
    return ends[0], ends[1]


def _agreement(a: Grey, b: Any, inside: Any) -> float:
    """Median correlation of the grey levels over all textured patches inside, in [−1, 1].

    It is 0 where hardly any patch has texture. The median, so that a caption, a mark or a retouch may cover up to half;
    by patches, because two shots of one scene agree at large and differ in the small.
    """
    correlation, telling = _correlation(a, b, inside, patch=_PATCH, smooth=_SMOOTH, texture=_TEXTURE, step=_STEP)
    return float(np.median(correlation[telling])) if telling.sum() * _STEP**2 >= _LEAST else 0.0


def _weakest(a: Grey, b: Any, inside: Any) -> float:
    """Correlation of the small patch that agrees least, in [−1, 1]; 1 where none has strong texture.

    What codecs, noise and a pixel's shift do to faint or fine texture is no change, so only strong texture counts, and
    only what is left of it when it is blurred.
    """
    import cv2

    size = (a.shape[1] // 2, a.shape[0] // 2)
    half: list[Any] = [cv2.resize(v, size, interpolation=cv2.INTER_AREA) for v in (a, b, inside)]
    correlation, strong = _correlation(*half, patch=_SMALL_PATCH, smooth=_SMOOTHER, texture=_STRONG)
    return float(correlation[strong].min()) if strong.any() else 1.0


def _correlation(
    a: Grey, b: Any, inside: Any, *, patch: int, smooth: float, texture: float, step: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Correlation of the grey levels in the patch around each `step`th pixel, and where it says anything."""
    import cv2

    def mean(v: Any) -> Any:
        return cv2.boxFilter(v, -1, (patch, patch))[::step, ::step]

    share = mean(inside) + 1e-6
    x, y = (cv2.GaussianBlur(v, (0, 0), smooth).astype(np.float32) for v in (a, b))
    mean_x, mean_y = mean(x * inside) / share, mean(y * inside) / share
    spread_x, spread_y = mean(x * x * inside) / share - mean_x**2, mean(y * y * inside) / share - mean_y**2
    both = mean(x * y * inside) / share - mean_x * mean_y
    # A patch with texture on one side only has no correlation, and that is disagreement.
    scale = np.sqrt(np.maximum(spread_x, 1e-2) * np.maximum(spread_y, 1e-2))
    return np.clip(both / scale, -1, 1), (share > 0.9) & (np.maximum(spread_x, spread_y) > texture**2)
