"""Whether one picture is another, turned, or a part or an edit of it.

One is laid over the other, and then the pixels agree or do not. Corners are matched, a similarity transform is fitted
with RANSAC (Fischler and Bolles 1981) and refined with ECC (Evangelidis and Psarakis 2008). Two shots of one scene pass
all that as well; what they do not pass is the comparison of the pixels once laid, because things moved and light
changed between them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.duplicates.corners import RATIO, Corners, Grey, Words, agreeing, nearest_two
from curator.duplicates.laying import NOTHING, Laid, laid_by
from curator.duplicates.sketch import SIDE, Sketch
from curator.duplicates.sliding import Tiny, find_part, lies_there

INLIERS = 12  # corners that must agree on one similarity
_HINT, _HINTS = 3, 4  # corners that agree from which it is worth to look at a part again, and how often
_FEW = 200  # corners that are matched first, which is enough where one picture is the whole other
_LOOSE = 0.87  # the ratio of matches that are only hints
_REACH = 3.0  # pixels an inlier may lie off
_ROUGH_REACH = 8.0  # … where a corner of a shrunk picture is one of them
_PART_INLIERS = 20  # … and on a part that was looked for: a drawn disc and a larger one agree on a dozen
_PART = 0.8  # scale below which one picture may be a part of the other that deserves a closer look
_MARGIN, _SMALLEST = 6, 24  # pixels around such a part, and the least side it must have
_SCALES = (0.25, 4.0)
_REFINE = 30  # steps of ECC, which takes longer than all before it
# Agreements of a first fit between which refining may matter: of 900 true edges none began below 0.92.
_HOPE, _SURE = 0.85, 0.98


@dataclass(frozen=True)
class Alignment:
    """How one picture lies on another.

    Corners agree on a similarity with a scale and a turn, and the pixels are compared so laid.
    """

    inliers: int
    scale: float
    degrees: float
    laid: Laid


def align(a: Sketch, b: Sketch, hint: Any = None, *, extent: str = "all") -> Alignment:
    """Fit `b` onto `a`; agreement is looked at only where enough corners agree on a similarity of a sane scale.

    Where one may be a small part of the other, by a `hint` (2, 3) in pixels or a few corners, that part is cut out, and
    looked at by itself. The `extent` is "all", or no more than the "hint", or than the "whole" pictures.
    """
    if _comes_later(a, b):
        turned = None if hint is None else _inverted(hint)
        return _inverse(align(b, a, turned, extent=extent))
    if hint is not None and not lies_there(a.grey, b.grey, hint):
        hint = None
    if extent == "hint":
        return Alignment(0, 1.0, 0.0, NOTHING) if hint is None else _look_where(a, b, hint)
    one, two = a.corners, b.corners
    fit, inliers = _fit(one, two, _FEW)
    if inliers < 2 * INLIERS and one.whole > _FEW:
        fit, inliers = _fit(one, two, one.whole)
    best = Alignment(inliers, 1.0, 0.0, NOTHING)
    if fit is not None:
        best = Alignment(inliers, _scale(fit), _degrees(fit), NOTHING)
        if inliers >= INLIERS and _SCALES[0] <= best.scale <= _SCALES[1]:
            return Alignment(inliers, best.scale, best.degrees, _best(a, b, fit))
    if extent == "whole":
        return best
    for rough in [*([] if hint is None else [hint]), *_hints(one, two)]:
        part = _look_where(a, b, rough)
        best = max(best, part, key=lambda found: (found.laid.agreement, found.inliers))
        if part.inliers >= INLIERS:
            break
    return best


def _fit(a: Corners, b: Corners, most: int) -> tuple[Any, int]:
    """The similarity from `b` to `a` on which `most` of the strongest corners of `a` agree, and how many do."""
    pairs = _match(a.words[: min(most, a.whole)], b.words[: b.whole])
    return _similarity(a.places[pairs[:, 0]], b.places[pairs[:, 1]], _REACH)


def place_on(a: Sketch, b: Sketch) -> NDArray[np.float64] | None:
    """Where `b` lies on `a`, or `a` on `b`: the similarity (2, 3) from `b` to `a` in shares of the long sides, or None.

    By corners, else by sliding one over the other, which is right to a hundredth of the side.
    """
    fit, inliers = _fit(a.corners, b.corners, a.corners.whole)
    if fit is not None and inliers >= INLIERS:
        return np.hstack([fit[:, :2], fit[:, 2:] / SIDE])
    tiny_a, tiny_b = Tiny.of(a.grey), Tiny.of(b.grey)
    into = find_part(tiny_a, tiny_b)
    if into is not None:
        return np.asarray(into)
    back = find_part(tiny_b, tiny_a)
    return None if back is None else np.asarray(_inverted(back))


def _comes_later(a: Sketch, b: Sketch) -> bool:
    """An order of pictures that has nothing to do with who asks, so that both ways of asking have one answer."""
    return (a.grey.shape, zlib.crc32(a.grey.tobytes())) > (b.grey.shape, zlib.crc32(b.grey.tobytes()))


def _hints(a: Corners, b: Corners) -> list[Any]:
    """Similarities (2, 3) from `b` to `a` under which one is a small part of the other, likeliest first.

    From all corners, those of the shrunk pictures too: rough places, which say where to look again, and no more.
    """
    one = _match(a.words[: a.whole], b.words, _LOOSE)
    two = _match(b.words[: b.whole], a.words[a.whole :], _LOOSE)
    two[:, 1] += a.whole
    pairs = np.concatenate([one, two[:, ::-1]])
    hints = []
    for _ in range(_HINTS):
        if len(pairs) < _HINT:
            break
        same = agreeing(a.levels[pairs[:, 0]] - b.levels[pairs[:, 1]], a.turns[pairs[:, 0]] - b.turns[pairs[:, 1]])
        chosen, pairs = pairs[same], pairs[~same]
        fit, inliers = _similarity(a.places[chosen[:, 0]], b.places[chosen[:, 1]], _ROUGH_REACH)
        if fit is not None and inliers >= _HINT:
            scale = _scale(fit)
            if _SCALES[0] <= scale <= _SCALES[1] and not _PART < scale < 1 / _PART:
                hints.append((inliers, fit))
    return [fit for _, fit in sorted(hints, key=lambda hint: -hint[0])]


def _similarity(onto: NDArray[np.float32], places: NDArray[np.float32], reach: float) -> tuple[Any, int]:
    import cv2

    if len(places) < _HINT:
        return None, 0
    cv2.setRNGSeed(0)
    fit, good = cv2.estimateAffinePartial2D(places, onto, method=cv2.RANSAC, ransacReprojThreshold=reach, maxIters=500)
    return (None, 0) if fit is None else (fit, int(good.sum()))


def _scale(fit: Any) -> float:
    return float(np.hypot(fit[0, 0], fit[1, 0]))


def _degrees(fit: Any) -> float:
    return float(np.degrees(np.arctan2(fit[1, 0], fit[0, 0])))


def _inverted(fit: Any) -> Any:
    import cv2

    return cv2.invertAffineTransform(fit)


def _inverse(found: Alignment) -> Alignment:
    """The same, seen from the other picture."""
    return Alignment(found.inliers, 1 / found.scale, -found.degrees, found.laid)


def _best(a: Sketch, b: Sketch, fit: Any, size: float | None = None) -> Laid:
    """The pictures laid by a fit, or by a refined one where that may matter."""
    laid = laid_by(a, b, fit, size)
    if _HOPE <= laid.agreement < _SURE:
        laid = max(laid, laid_by(a, b, _refine(a.grey, b.grey, fit), size), key=lambda found: found.agreement)
    return laid


def _look_where(a: Sketch, b: Sketch, fit: Any) -> Alignment:
    """Look at the part of the one where a fit says that the other lies."""
    return _look_at_part(a, b, fit) if _scale(fit) < 1 else _inverse(_look_at_part(b, a, _inverted(fit)))


def _look_at_part(a: Sketch, b: Sketch, fit: Any) -> Alignment:
    """Cut out of `a` where `b` seems to lie, and align the two; scale and turn are those to the whole of `a`."""
    h, w = b.grey.shape
    nothing = Alignment(0, _scale(fit), _degrees(fit), NOTHING)
    ends = np.array([[0, 0], [w, 0], [w, h], [0, h]]) @ fit[:, :2].T + fit[:, 2]
    low = np.maximum(np.floor(ends.min(0)).astype(int) - _MARGIN, 0)
    high = np.minimum(np.ceil(ends.max(0)).astype(int) + _MARGIN, a.grey.shape[::-1])
    if (high - low).min() < _SMALLEST:
        return nothing
    part = Sketch.of(Image.fromarray(a.rgb[low[1] : high[1], low[0] : high[0]]))
    matches = _match(part.corners.words[: part.corners.whole], b.corners.words[: b.corners.whole])
    closer, inliers = _similarity(part.corners.places[matches[:, 0]], b.corners.places[matches[:, 1]], _REACH)
    if closer is None or inliers < _PART_INLIERS:
        return replace(nothing, inliers=min(inliers, INLIERS - 1))
    smaller = float((high - low).max()) / SIDE
    size = float(abs(closer[0, 0] * closer[1, 1] - closer[0, 1] * closer[1, 0])) * b.grey.size
    return Alignment(inliers, _scale(closer) * smaller, _degrees(closer), _best(part, b, closer, size))


def _match(a: Words, b: Words, ratio: float = RATIO) -> NDArray[np.int64]:
    """(m, 2) positions of corners of `a` and their nearest in `b`, where that is clearly nearer than the next."""
    if len(a) < 2 or len(b) < 2:
        return np.empty((0, 2), np.int64)
    nearest, first, second = nearest_two(a, b)
    rows = np.flatnonzero(first < ratio * second)
    return np.stack([rows, nearest[rows]], axis=1)


def _refine(a: Grey, b: Grey, fit: Any) -> Any:
    """The fit with its last pixel: the affine transform under which grey levels correlate most, at half the size."""
    import cv2

    x, y = (cv2.resize(v, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for v in (a, b))
    start = cv2.invertAffineTransform(fit).astype(np.float32)
    start[:, 2] /= 2
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _REFINE, 1e-4)
    try:
        _, warp = cv2.findTransformECC(x, y, start, cv2.MOTION_AFFINE, criteria, None, 5)  # type: ignore[call-overload]
    except cv2.error:  # it did not converge, and then the first fit is the best there is
        return fit
    warp[:, 2] *= 2
    return cv2.invertAffineTransform(warp)
