"""How near small pictures are to their nearest ones, pixel by pixel.

They may be turned any way, and shifted by two pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from curator.duplicates.laying import turn
from curator.embeddings import blocks
from curator.records import DIHEDRAL

SIDE = 64  # pixels at which larger pictures are compared; smaller ones at their own, so that a pixel's shift is one
_SHIFT = 2
_COARSE = 8
_AMONG = 8  # candidates by coarse pixels
_FIFTH = 5
_PAIRS = 1 << 21  # of pictures, in eight orientations, in memory at once

Greys = NDArray[np.uint8]
"""(n, side, side) grey levels."""


@dataclass(frozen=True)
class NearestByPixels:
    """Of n pictures the nearest ones: positions (n,), root mean squared `difference` (n,) in grey levels.

    `transform` (n,) is the turn that fits. `fifth` (n,) the difference to the fifth nearest, or the last of fewer: how
    near is usual here, whatever stands twice.
    """

    position: NDArray[np.int64]
    difference: NDArray[np.float64]
    fifth: NDArray[np.float64]
    transform: tuple[str, ...]


def greys(pictures: Sequence[Image.Image]) -> Greys:
    """Square pictures of one size, at comparison size."""
    side = min(SIDE, pictures[0].width)
    return np.stack([np.asarray(p.convert("L").resize((side, side), Image.Resampling.BOX)) for p in pictures])


def nearest_by_pixels(
    x: Greys, y: Greys, hints: NDArray[np.int64] | None = None, *, own: NDArray[np.int64] | None = None
) -> NearestByPixels:
    """For each of x (n) the nearest of y (m) by pixels.

    Candidates come from 8 × 8 means in all eight orientations and from `hints` (n, h); then every pixel counts. `own`
    (n,) are positions of y that are no answer, as a picture itself.
    """
    candidates = _coarse(x, y, own)
    if hints is not None:
        turned = np.stack([hints, np.zeros_like(hints)], 2)
        candidates = np.concatenate([candidates, turned], 1)
    position, difference, transform = np.zeros(len(x), np.int64), np.full(len(x), np.inf), ["same"] * len(x)
    fifth = np.zeros(len(x))
    side = x.shape[1]
    inner = slice(_SHIFT, side - _SHIFT)
    for i, rows in enumerate(candidates):
        apart_of: dict[int, float] = {}
        windows = sliding_window_view(x[i].astype(np.float32), (side - 2 * _SHIFT, side - 2 * _SHIFT))
        for place, way in dict.fromkeys(map(tuple, rows.tolist())):
            if own is not None and place == own[i]:
                continue
            other = turn(y[place].astype(np.float32), DIHEDRAL[way])[inner, inner]
            apart = float(np.sqrt(((windows - other) ** 2).mean((2, 3)).min()))
            apart_of[place] = min(apart, apart_of.get(place, np.inf))
            if apart < difference[i]:
                position[i], difference[i], transform[i] = place, apart, DIHEDRAL[way]
        fifth[i] = sorted(apart_of.values())[:_FIFTH][-1] if apart_of else np.inf
    return NearestByPixels(position, difference, fifth, tuple(transform))


def _coarse(x: Greys, y: Greys, own: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """(n, c, 2) positions in y, and the turn of it, of the best by 8 × 8 means."""
    step = -(-x.shape[1] // _COARSE)
    more = step * _COARSE - x.shape[1]
    edges = ((0, 0), *(((more + 1) // 2, more // 2),) * 2)

    def means(z: Greys) -> NDArray[np.float32]:
        wide = np.pad(z, edges, mode="edge")
        return np.asarray(wide.reshape(len(z), _COARSE, step, _COARSE, step).mean((2, 4), dtype=np.float32))

    small, other = means(x).reshape(len(x), -1), means(y)
    lengths = (other**2).sum((1, 2))
    turns = [np.stack([turn(o, name) for o in other]).reshape(len(y), -1) for name in DIHEDRAL]
    k = min(_AMONG, len(y))
    nearest = np.zeros((len(x), k, 2), np.int64)
    for part in blocks(len(x), max(1, _PAIRS // len(y))):
        apart = np.stack([lengths - 2 * (small[part] @ t.T) for t in turns])
        if own is not None:
            apart[:, np.arange(apart.shape[1]), own[part]] = np.inf
        best, way = apart.min(0), apart.argmin(0)
        best_places = np.argpartition(best, k - 1, axis=1)[:, :k]
        nearest[part] = np.stack([best_places, np.take_along_axis(way, best_places, 1)], 2)
    return nearest
