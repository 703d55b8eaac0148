"""Whether generated pictures are anything like real ones: by vector, by pixel statistics, by what noise and blur are.

Each sign alone misses something: an encoder that never saw chequerboards puts them anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import blocks
from curator.metrics import strangeness
from curator.records import Vectors

# Shares of held-out real images that lie within the limit of each sign.
_BY_VECTOR, _BY_PIXELS, _BY_ANCHOR = 0.99, 0.995, 0.995
_NORMAL = 4.3  # the distance within which that share of a normal distribution in six dimensions lies: √χ²₆(0.995)
_PAIRS = 1 << 24  # inner products in memory at once

Reals = NDArray[np.float64]
Truths = NDArray[np.bool_]


@dataclass(frozen=True)
class Signs:
    """Of n pictures: `distance` (n,) of their vectors to the nearest training ones; `statistics` (n, s) of pixels.

    `margin` (n,) is how much higher they score with the nearest anchor than with the nearest training image.
    """

    distance: Reals
    statistics: Reals
    margin: Reals


def margin_of(x: Vectors, y: Vectors, anchors: Mapping[str, Vectors]) -> Reals:
    """(n, d), (m, d) training images and anchors by name → (n,) the margin; −∞ where there are no anchors."""
    if not anchors:
        return np.full(len(x), -np.inf)
    rows = np.concatenate(list(anchors.values()))
    margins = [(x[part] @ rows.T).max(1) - (x[part] @ y.T).max(1) for part in blocks(len(x), max(1, _PAIRS // len(y)))]
    return np.concatenate(margins).astype(np.float64)


def off_distribution(x: Signs, held: Signs, set_by: Truths) -> tuple[Truths, Truths]:
    """Which of n pictures are nothing like real ones, and which of m held-out real images would be called so.

    The limits are set by the held-out images `set_by` (m,), so that the others tell how often they are wrong.
    """
    usual = held.statistics[set_by]
    odd = [strangeness(signs.statistics, usual) for signs in (x, held)]
    far = np.quantile(held.distance[set_by], _BY_VECTOR)
    # Of few images the quantile is their largest, which unseen ones often pass.
    odd_from = max(float(np.quantile(odd[1][set_by], _BY_PIXELS)), _NORMAL)
    # Never below 0: a picture that is nearer to a real one than to an anchor is none.
    anchored_from = max(0.0, float(np.quantile(held.margin[set_by], _BY_ANCHOR)))
    either = [
        (signs.distance > far) | (oddness > odd_from) | (signs.margin > anchored_from)
        for signs, oddness in zip((x, held), odd, strict=True)
    ]
    return either[0], either[1]
