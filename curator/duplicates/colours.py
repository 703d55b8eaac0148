"""Whether two pictures, one laid upon the other, have the same colours, but for an edit of the whole picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PLACE = 10  # pixels a side over which colours are averaged before they are compared
_NEAR = 8  # levels within which a colour counts as the background's
_GAIN = (0.5, 2.0)  # what an edit of brightness or contrast may do
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_FLAT = 40.0  # levels by which the places around one in the middle of a thing differ at most
_FEW = 3  # places, fewer of which say nothing
# An edit of a whole picture moves nearly all of its colours. Where a fifth of the flat places stayed and others became
# brighter or darker by `_MOVED` levels, an edit is believed only if it explains their colours to within `_EXPLAINED`:
# so a shirt with its folds in other light is told from a hand in another skin tone, which a change of contrast explains
# nearly as well. A drawing has so few colours that an edit explains most: there any move counts, and less is believed.
_STAYED, _UNMOVED, _MOVED, _EXPLAINED = 1.5, 0.2, 12.0, 9.0
_DRAWN, _EXPLAINED_DRAWN = 4, 7.0  # colours, fewer of which make a drawing
_COLOUR, _SHARE = 32, 0.03  # levels a side of one colour, and the least share of the flat places that one has
# Where most places kept their colours to the level, one that did not was changed: it moved by more than resampling
# moves it, which is a share of how much the places around it differ. As one place may err, the third largest counts.
_KEPT, _RESAMPLING, _CHANGED = 1.0, 0.15, 4.0


@dataclass(frozen=True)
class ColourMatch:
    """How far the colours of two pictures agree.

    `difference` in levels of 0–255 where they differ most (95th percentile of the places), after the best change of
    brightness, contrast and saturation, where such an edit is to be believed. `steadiness` in [−1, 1] is 1 but where
    most places kept their colour exactly and a few did not: 0.5 where those moved by 2 levels beyond what resampling
    does, falling to −1.
    """

    difference: float
    steadiness: float = 1.0


def compare_colours(a: NDArray[np.uint8], b: Any, inside: Any) -> ColourMatch:
    """Pixels `a` and `b` (H, W, 3), b brought onto a; `inside` (H, W) is 1 where b lies on a, else 0.

    Places of the commonest colour, an empty background, do not count: they would hide a small thing.
    """
    import cv2

    size = (max(1, a.shape[1] // _PLACE), max(1, a.shape[0] // _PLACE))
    share = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    covered = share > 0.9
    if not covered.any():
        return ColourMatch(255.0)
    small = [cv2.resize(v, size, interpolation=cv2.INTER_AREA).astype(np.float32) for v in (a, b)]
    x, y = (v[covered] for v in small)
    roughness = np.maximum(*(_roughness(v) for v in small))[covered]
    moved = _apart(x, y)
    empty = _background(x)
    filled = ~empty if not empty.all() else empty
    difference = float(np.percentile(_apart(_edited(x, y), y)[filled], 95))
    flat = roughness < _FLAT
    middle = moved[filled & flat]
    stayed = float(np.median(moved[empty])) if empty.any() else 255.0
    unmoved = float((moved[flat] < _STAYED).mean()) if flat.any() else 0.0
    if unmoved >= _UNMOVED and len(middle) >= _FEW:
        is_drawn = _colours(x[filled & flat]) < _DRAWN
        # Of a photo the brightness: a change of saturation leaves grey things as they are, and is of the whole picture.
        by = moved[flat] if is_drawn else np.abs(x @ _GREY - y @ _GREY)[flat]
        if np.percentile(by, 90) >= _MOVED and difference > (_EXPLAINED_DRAWN if is_drawn else _EXPLAINED):
            return ColourMatch(max(difference, float(np.percentile(moved[filled], 95))))
    core = filled & _core(share)[covered]
    if not core.any() or stayed >= _KEPT or float(np.median(moved[filled])) >= _KEPT:
        return ColourMatch(difference)
    beyond = np.sort((moved - _RESAMPLING * roughness)[core])[-_FEW:][0]
    return ColourMatch(difference, float(np.clip(1 - max(0.0, beyond) / _CHANGED, -1, 1)))


def _edited(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """(m, 3) the colours x under the edit of a whole picture that brings them nearest to y."""
    grey_x, grey_y = x @ _GREY, y @ _GREY
    apart = grey_x - grey_x.mean()
    gain = float(np.clip(apart @ grey_y / max(float(apart @ apart), 1e-3), *_GAIN))
    hue_x, hue_y = x - grey_x[:, None], y - grey_y[:, None]
    saturation = float(np.clip((hue_x * hue_y).sum() / max(float((hue_x * hue_x).sum()), 1e-3), 0, _GAIN[1]))
    edited = (grey_y.mean() + gain * apart)[:, None] + saturation * hue_x
    return np.asarray(np.clip(edited, 0, 255), np.float32)


def _apart(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """(m,) root mean square over the channels of the difference of m colours."""
    return np.asarray(np.sqrt(((x - y) ** 2).mean(1)), np.float32)


def _roughness(places: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w) by how many levels the nine places around each differ, in the channel that differs most."""
    import cv2

    around = np.ones((3, 3), np.uint8)
    return np.asarray((cv2.dilate(places, around) - cv2.erode(places, around)).max(2), np.float32)


def _core(share: Any) -> NDArray[np.bool_]:
    """(h, w) which places lie inside with all that are around them."""
    import cv2

    whole = np.pad((share > 0.995).astype(np.uint8), 1)
    return np.asarray(cv2.erode(whole, np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0)


def _colours(places: NDArray[np.float32]) -> int:
    """How many colours (m, 3) have a share worth the name."""
    _, counts = np.unique((places // _COLOUR).astype(np.int64) @ np.array([64, 8, 1]), return_counts=True)
    return int((counts >= max(2, _SHARE * len(places))).sum())


def _background(colours: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(m,) which of m colours are about the commonest one."""
    coarse = (colours // 16).astype(np.int64) @ np.array([256, 16, 1])
    values, counts = np.unique(coarse, return_counts=True)
    commonest = colours[coarse == values[counts.argmax()]].mean(0)
    return np.asarray(np.abs(colours - commonest).max(1) < _NEAR)
