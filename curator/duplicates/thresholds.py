"""Cut-offs: chosen on labelled pairs with a confidence interval, or, without any, from the tail of the scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.intervals import wilson
from curator.records import Scores

PRECISION = 0.99  # least lower bound of the precision at a calibrated threshold
_LEAST = 30  # scores from which a tail can be told
_SAME = 0.9999  # what vectors of one picture score after rounding
_RARE = 2.326348  # 99 %, one-sided: how far up the tail an uncalibrated cut-off lies


@dataclass(frozen=True)
class Cut:
    """A threshold on a value that is larger for duplicates, and what it does on the labelled pairs it was chosen on."""

    threshold: float
    precision: float
    low: float
    recall: float
    positives: int
    negatives: int
    reached: bool


def choose_cut(
    positive: NDArray[np.float64], negative: NDArray[np.float64], *, least: float = PRECISION, floor: float = -math.inf
) -> Cut:
    """The smallest threshold whose precision has a 95 % lower bound of `least`.

    Where none has, it is the one with the best bound. `positive` and `negative` hold one value per labelled pair; a
    pair passes where its value is at or above the threshold. It lies in the middle of the gap below the lowest
    duplicate that passes, or of its part above `floor`: nothing labelled lies there, and the margin is largest. Where
    there is neither, it is that duplicate's value.
    """
    values = np.unique(positive[np.isfinite(positive)])
    if not len(values):
        return Cut(math.inf, math.nan, 0.0, 0.0, len(positive), len(negative), False)
    best: tuple[float, Cut] | None = None
    for threshold in values:
        right, wrong = int((positive >= threshold).sum()), int((negative >= threshold).sum())
        low = wilson(right, right + wrong)[0]
        below = max(float(negative[negative < threshold].max(initial=-math.inf)), floor)
        middle = (below + float(threshold)) / 2 if math.isfinite(below) and below < threshold else float(threshold)
        cut = Cut(
            middle, right / (right + wrong), low, right / len(positive), len(positive), len(negative), low >= least
        )
        if cut.reached:
            return cut
        if best is None or low > best[0]:
            best = low, cut
    assert best is not None
    return best[1]


def tail_cut(nearest: Scores) -> float:
    """A cut-off from scores of nearest neighbours alone.

    It would be reached once in a hundred, were all of them unrelated. On Fisher's scale (artanh), the median plus 2.33
    spreads; the spread is taken below the median, as the upper half may hold duplicates. Where most images have a
    duplicate the median is one itself, and the cut-off errs on the side of too few; of fewer than thirty scores nothing
    can be told, and it is as good as 1.
    """
    if len(nearest) < _LEAST:
        return _SAME
    ordered = np.sort(np.arctanh(np.clip(nearest.astype(np.float64), -1 + 1e-6, 1 - 1e-6)))
    low, middle = ordered[int(0.1587 * len(ordered))], ordered[len(ordered) // 2]
    return float(min(math.tanh(middle + _RARE * (middle - low)), _SAME))
