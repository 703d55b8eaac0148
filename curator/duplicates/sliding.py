"""Whether one picture may be a part of another: shrunk to every size it could have there, and slid over it.

The normalised correlation of grey levels is highest where it lies (Lewis 1995). Tiny pictures say whether and about
where, larger ones then how well: a look that takes a fraction of a millisecond, and no corners.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from curator.duplicates.corners import Grey

_TINY, _SMALL, _CLOSE = 32, 96, 192  # pixels of the long side: of the first look, and of those that check it
_SCALES = tuple(0.25 * 1.16**k for k in range(9))  # of the part, beside the whole
_FINER = (0.93, 1.0, 1.07)  # … around the one found
_REACH = 6  # pixels at the checking size around the place found
_LEAST = 4  # pixels of a part's short side
_FLAT = 3.0  # grey levels of spread below which a part looks like everything
MAYBE, LIKELY = 0.78, 0.86  # correlations from which the next look is worth it
# Of places that a first look brought, 95 in 100 false ones correlate less, and 1 in 200 true ones.
NEARLY = 0.91
_FINEST, _LEEWAY = (0.96, 0.98, 1.0, 1.02, 1.04), 5


@dataclass(frozen=True)
class Tiny:
    """A grey picture with a long side of 96 pixels, of which all sizes of the first look are made."""

    grey: Grey

    @classmethod
    def of(cls, grey: Grey) -> Tiny:
        """Of a grey picture of any size."""
        return cls(_resized(grey, _SMALL / max(grey.shape)))

    @cached_property
    def order(self) -> tuple[tuple[int, ...], int]:
        """A place among pictures that has nothing to do with who asks, so that both ways of asking have one answer."""
        return self.grey.shape, zlib.crc32(self.grey.tobytes())

    @cached_property
    def whole(self) -> Grey:
        """At the size of the first look."""
        return _resized(self.grey, _TINY / _SMALL)

    @cached_property
    def parts(self) -> list[tuple[float, Grey]]:
        """(scale, picture) as it would be seen in a whole that it is a part of."""
        parts = [(s, _resized(self.grey, s * _TINY / _SMALL)) for s in _SCALES]
        return [(s, p) for s, p in parts if min(p.shape) >= _LEAST and p.std() > _FLAT]


def _resized(grey: Grey, by: float) -> Grey:
    import cv2

    size = tuple(max(1, round(side * by)) for side in grey.shape[::-1])
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def find_part(a: Tiny, b: Tiny) -> Any:
    """Where `b` may lie in `a`: the similarity (2, 3) from one to the other in shares of the long side, or None."""
    scale, (x, y), value = _slide(a.whole, b.parts)
    if value < MAYBE:
        return None
    left, top = (v * _SMALL / _TINY for v in (x, y))
    finer = [(scale * f, _resized(b.grey, scale * f)) for f in _FINER]
    h, w = (max(p.shape[k] for _, p in finer) for k in (0, 1))
    x0, y0 = (max(0, round(v) - _REACH) for v in (left, top))
    window = a.grey[y0 : round(top) + h + _REACH, x0 : round(left) + w + _REACH]
    scale, (x, y), value = _slide(window, finer)
    if value < LIKELY:
        return None
    return np.array([[scale, 0, (x0 + x) / _SMALL], [0, scale, (y0 + y) / _SMALL]])


def lies_there(a: Grey, b: Grey, fit: Any) -> bool:
    """Whether one of two grey pictures (H, W) lies in the other about where a fit (2, 3) from `b` to `a` says."""
    import cv2

    scale = float(np.hypot(fit[0, 0], fit[1, 0]))
    if scale > 1:
        return lies_there(b, a, cv2.invertAffineTransform(fit))
    by = _CLOSE / max(a.shape)
    parts = [(k, _resized(b, scale * k * by)) for k in _FINEST]
    h, w = (max(p.shape[axis] for _, p in parts) for axis in (0, 1))
    left, top = (round(float(v) * by) for v in fit[:, 2])
    window = _resized(a, by)[max(0, top - _LEEWAY) : top + h + _LEEWAY, max(0, left - _LEEWAY) : left + w + _LEEWAY]
    return _slide(window, parts)[2] >= NEARLY


def _slide(whole: Grey, parts: list[tuple[float, Grey]]) -> tuple[float, tuple[int, int], float]:
    """The scale and place (x, y) of the part that correlates most, and how much."""
    import cv2

    best: tuple[float, tuple[int, int], float] = (1.0, (0, 0), 0.0)
    h, w = whole.shape
    for scale, part in parts:
        if part.shape[0] <= h and part.shape[1] <= w:
            _, value, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(whole, part, cv2.TM_CCOEFF_NORMED))
            if value > best[2]:
                best = (scale, (x, y), value)
    return best
