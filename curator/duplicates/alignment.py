"""Whether one picture is another, turned, or a part or an edit of it.

One is laid over the other, and then the pixels agree or do not. Corners are found with ORB (Rublee et al. 2011) and
matched, a similarity transform is fitted with RANSAC (Fischler and Bolles 1981) and refined with ECC (Evangelidis and
Psarakis 2008). Two shots of one scene pass all that as well; what they do not pass is the comparison of the pixels once
laid, because things moved and light changed between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 320  # pixels of the long side at which pictures are compared
INLIERS = 12  # corners that must agree on one similarity
_CORNERS = 500
_RATIO = 0.8  # a match must be this much nearer than the next best (Lowe 2004, §7.1)
_REACH = 3.0  # pixels an inlier may lie off
_SCALES = (0.25, 4.0)
_SMOOTH = 1.0  # sigma in pixels, against codecs and noise
_PATCH = 32  # pixels a side over which grey levels are correlated
_TEXTURE = 4.0  # grey levels of spread that a patch needs to say anything
_LEAST = 50  # patches that must say something
_REFINE = 30  # steps of ECC, which takes longer than all before it
_HOPE, _SURE = (
    0.85,
    0.99,
)  # agreements of a first fit between which refining may matter: of 900 true edits none began below 0.92
_LOST = 0.03  # of the overlap, to the border that is left out of the comparison
_WORTH = 0.5  # agreement of grey levels below which colours need no look
_COARSE = 10  # pixels a side over which colours are averaged before they are compared
_NEAR = 8  # levels within which a colour counts as the background's
_GAIN = (0.5, 2.0)  # what an edit of brightness or contrast may do
_GREY = np.array([0.299, 0.587, 0.114], np.float32)

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Sketch:
    """A picture at comparison size, with a long side of 320 pixels.

    `rgb` (H, W, 3), `grey` (H, W), and corners, found when they are asked for.
    """

    rgb: NDArray[np.uint8]
    grey: Grey

    @classmethod
    def of(cls, picture: Image.Image) -> Sketch:
        """Shrink or enlarge a picture to comparison size."""
        scale = SIDE / max(picture.size)
        size = (max(8, round(picture.width * scale)), max(8, round(picture.height * scale)))
        small = picture.resize(size, Image.Resampling.BILINEAR)
        return cls(np.asarray(small), np.asarray(small.convert("L")))

    @cached_property
    def corners(self) -> tuple[NDArray[np.float32], Grey]:
        """(m, 2) places in pixels and (m, 32) ORB descriptors of up to 500 corners."""
        import cv2

        # Smaller borders than OpenCV's 31, or small pictures lose most of their corners.
        finder: Any = cv2.ORB_create(nfeatures=_CORNERS, edgeThreshold=15, patchSize=31, fastThreshold=7)  # type: ignore[attr-defined]
        points, descriptors = finder.detectAndCompute(self.grey, None)
        if not points:
            return np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8)
        return np.array([k.pt for k in points], np.float32), descriptors


@dataclass(frozen=True)
class Laid:
    """One picture laid on another.

    `agreement` is of the grey levels, in [−1, 1]; `difference` of the colours, in levels of 0–255. `overlap` is the
    share of the smaller one that lies on the other: nearly all of it for a crop, less for shots from two places.
    """

    agreement: float
    difference: float
    overlap: float = 1.0


@dataclass(frozen=True)
class Alignment:
    """How one picture lies on another.

    Corners agree on a similarity with a scale and a turn, and the pixels are compared so laid.
    """

    inliers: int
    scale: float
    degrees: float
    laid: Laid


_NOTHING = Laid(0.0, 255.0, 0.0)


def lay(a: Sketch, b: Sketch, transform: str) -> Laid:
    """`a` with the whole of `b` on it, turned by one of `DIHEDRAL` and brought to the same size."""
    import cv2

    h, w = a.grey.shape
    grey, rgb = (cv2.resize(turn(v, transform), (w, h), interpolation=cv2.INTER_AREA) for v in (b.grey, b.rgb))
    inside = np.ones((h, w), np.float32)
    return Laid(_agreement(a.grey, grey, inside), _difference(a.rgb, rgb, inside))


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


def align(a: Sketch, b: Sketch) -> Alignment:
    """Fit `b` onto `a`; agreement is looked at only where enough corners agree on a similarity of a sane scale."""
    import cv2

    (places_a, words_a), (places_b, words_b) = a.corners, b.corners
    pairs = _match(words_a, words_b)
    if len(pairs) < INLIERS:
        return Alignment(0, 1.0, 0.0, _NOTHING)
    onto, under = places_b[pairs[:, 1]], places_a[pairs[:, 0]]
    cv2.setRNGSeed(0)
    fit: Any  # None where there is no fit, which OpenCV's types deny
    fit, good = cv2.estimateAffinePartial2D(onto, under, method=cv2.RANSAC, ransacReprojThreshold=_REACH, maxIters=500)
    if fit is None:
        return Alignment(0, 1.0, 0.0, _NOTHING)
    inliers = int(good.sum())
    scale, degrees = float(np.hypot(fit[0, 0], fit[1, 0])), float(np.degrees(np.arctan2(fit[1, 0], fit[0, 0])))
    if inliers < INLIERS or not _SCALES[0] <= scale <= _SCALES[1]:
        return Alignment(inliers, scale, degrees, _NOTHING)
    laid = _laid(a, b, fit)
    if _HOPE <= laid.agreement < _SURE:
        laid = max(laid, _laid(a, b, _refine(a.grey, b.grey, fit)), key=lambda found: found.agreement)
    return Alignment(inliers, scale, degrees, laid)


def _match(a: Grey, b: Grey) -> NDArray[np.int64]:
    """(m, 2) positions of corners of `a` and their nearest in `b`, where that is clearly nearer than the next."""
    import cv2

    if len(a) < INLIERS or len(b) < INLIERS:
        return np.empty((0, 2), np.int64)
    two = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(a, b, k=2)
    return np.array([(m.queryIdx, m.trainIdx) for m, n in two if m.distance < _RATIO * n.distance], np.int64).reshape(
        -1, 2
    )


def _refine(a: Grey, b: Grey, fit: Any) -> Any:
    """The fit with its last pixel: the affine transform under which the grey levels correlate most."""
    import cv2

    start = cv2.invertAffineTransform(fit).astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _REFINE, 1e-4)
    try:
        _, warp = cv2.findTransformECC(a, b, start, cv2.MOTION_AFFINE, criteria, None, 5)  # type: ignore[call-overload]
    except cv2.error:  # it did not converge, and then the first fit is the best there is
        return fit
    return cv2.invertAffineTransform(warp)


def _laid(a: Sketch, b: Sketch, fit: Any) -> Laid:
    import cv2

    h, w = a.grey.shape
    inside = cv2.warpAffine(np.full(b.grey.shape, 255, np.uint8), fit, (w, h)) > 250
    inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    agreement = _agreement(a.grey, cv2.warpAffine(b.grey, fit, (w, h)), inside)
    if agreement < _WORTH:
        return Laid(agreement, 255.0, 0.0)
    size = float(abs(fit[0, 0] * fit[1, 1] - fit[0, 1] * fit[1, 0])) * b.grey.size
    overlap = min(1.0, float(inside.sum()) / min(size, a.grey.size) + _LOST)
    return Laid(agreement, _difference(a.rgb, cv2.warpAffine(b.rgb, fit, (w, h)), inside), overlap)


def _agreement(a: Grey, b: Any, inside: Any) -> float:
    """Median correlation of the grey levels over all textured patches inside, in [−1, 1].

    It is 0 where hardly any patch has texture. The median, so that a caption, a mark or a retouch may cover up to half;
    by patches, because two shots of one scene agree at large and differ in the small.
    """
    import cv2

    def mean(v: Any) -> Any:
        return cv2.boxFilter(v, -1, (_PATCH, _PATCH))

    share = mean(inside) + 1e-6
    x, y = (cv2.GaussianBlur(v, (0, 0), _SMOOTH).astype(np.float32) for v in (a, b))
    mean_x, mean_y = mean(x * inside) / share, mean(y * inside) / share
    spread_x, spread_y = mean(x * x * inside) / share - mean_x**2, mean(y * y * inside) / share - mean_y**2
    both = mean(x * y * inside) / share - mean_x * mean_y
    telling = (share > 0.9) & (np.maximum(spread_x, spread_y) > _TEXTURE**2)
    if telling.sum() < _LEAST:
        return 0.0
    # A patch with texture on one side only has no correlation, and that is disagreement.
    scale = np.sqrt(np.maximum(spread_x, 1e-2) * np.maximum(spread_y, 1e-2))
    return float(np.median(np.clip((both / scale)[telling], -1, 1)))


def _difference(a: NDArray[np.uint8], b: Any, inside: Any) -> float:
    """How far the colours lie apart, in levels of 0–255, where they differ most (95th percentile of the places).

    After the best change of brightness, contrast and saturation, which edits of a whole picture are: what is left are
    things that have another colour in one picture than in the other, as skin tones of one emoji have. Places of the
    commonest colour, an empty background, do not count: they would hide a small thing.
    """
    import cv2

    size = (max(1, a.shape[1] // _COARSE), max(1, a.shape[0] // _COARSE))
    share = cv2.resize(inside, size, interpolation=cv2.INTER_AREA) > 0.9
    if not share.any():
        return 255.0
    x, y = (cv2.resize(v, size, interpolation=cv2.INTER_AREA)[share].astype(np.float32) for v in (a, b))
    grey_x, grey_y = x @ _GREY, y @ _GREY
    apart = grey_x - grey_x.mean()
    gain = float(np.clip(apart @ grey_y / max(float(apart @ apart), 1e-3), *_GAIN))
    hue_x, hue_y = x - grey_x[:, None], y - grey_y[:, None]
    saturation = float(np.clip((hue_x * hue_y).sum() / max(float((hue_x * hue_x).sum()), 1e-3), 0, _GAIN[1]))
    expected = np.clip((grey_y.mean() + gain * apart)[:, None] + saturation * hue_x, 0, 255)
    apart_by = np.sqrt(((expected - y) ** 2).mean(1))
    filled = ~_background(x)
    return float(np.percentile(apart_by[filled] if filled.any() else apart_by, 95))


def _background(colours: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(m,) which of m colours are about the commonest one."""
    coarse = (colours // 16).astype(np.int64) @ np.array([256, 16, 1])
    values, counts = np.unique(coarse, return_counts=True)
    commonest = colours[coarse == values[counts.argmax()]].mean(0)
    return np.asarray(np.abs(colours - commonest).max(1) < _NEAR)
