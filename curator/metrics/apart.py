"""Whether a classifier can tell two sets apart."""

from __future__ import annotations

import numpy as np

from curator.embeddings import fit_logistic
from curator.records import Vectors


def told_apart(x: Vectors, y: Vectors, rng: np.random.Generator) -> float:
    """(n, d), (m, d) → the chance that a classifier ranks a row of y above one of x, which it has not learnt from.

    0.5 for sets that are alike, 1 for sets that have nothing in common: the classifier two-sample test (Lopez-Paz and
    Oquab 2017, §3) by logistic regression, cross-fitted on two halves, told by the area under its ROC curve, which
    unequal sizes do not move. NaN for fewer than four rows on a side.
    """
    if min(len(x), len(y)) < 4:
        return float("nan")
    rows = np.concatenate([x, y]).astype(np.float32)
    is_y = np.repeat([0, 1], [len(x), len(y)])
    # Both sides are halved, so that each half has rows of both.
    half = np.concatenate([rng.permutation(len(x)) % 2, rng.permutation(len(y)) % 2])
    areas = []
    for side in (0, 1):
        fitted = fit_logistic(rows[half != side], is_y[half != side], balanced=True)
        odds, of_y = fitted.decision_function(rows[half == side]), is_y[half == side] == 1
        # Mann and Whitney 1947: the ranks of y's rows among all tell how often they lie above x's.
        rank = np.argsort(np.argsort(odds, kind="stable"), kind="stable") + 1.0
        above = rank[of_y].sum() - of_y.sum() * (of_y.sum() + 1) / 2
        areas.append(above / (of_y.sum() * (~of_y).sum()))
    return float(np.mean(areas))
