"""How well images fit words: prompt ensembles, softmax over what is wanted and what is not, and fitted concepts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curator.database import Selections
from curator.embeddings import blocks, normalise
from curator.index import Index
from curator.index.sureness import TEMPLATES
from curator.records import Vectors

SCALE = 100.0  # of the scores before the softmax, as CLIP's trained temperature is clipped (Radford et al. 2021, §2.5)
_BLOCK = 16_384
CONCEPT = "concept:"


def prompt(index: Index, words: str, *, remember: bool = True) -> Vectors:
    """Words → (d,) unit mean of their vectors in every template, which are remembered or not."""
    return normalise(
        np.stack([index.vector_of_text(t.format(words), remember=remember) for t in TEMPLATES]).mean(
            0, dtype=np.float32
        )[None]
    ).ravel()


def fit_words(
    index: Index, x: NDArray[np.float16], match: Sequence[str], avoid: Sequence[str], *, remember: bool = True
) -> NDArray[np.float64]:
    """(n,) in [0, 1]: how well each image fits `match`, and does not fit `avoid`.

    With words on both sides the share of the softmax that falls to `match`; with words on one, the best score, brought
    to [0, 1]. Times the probability of each `concept:NAME` that `curator concept` fitted, or of its opposite. Raises
    `NoTextTower`, `UnknownName`.
    """
    space = index.space
    fit = np.ones(len(x))
    for name, wanted in [(m, True) for m in match if m.startswith(CONCEPT)] + [
        (a, False) for a in avoid if a.startswith(CONCEPT)
    ]:
        c = Selections(index.reader).concept(space, name.removeprefix(CONCEPT))
        p = np.concatenate(
            [_logistic(x[part].astype(np.float32) @ c.vector + c.bias) for part in blocks(len(x), _BLOCK)]
        )
        fit *= p if wanted else 1 - p
    positive, negative = ([w for w in words if not w.startswith(CONCEPT)] for words in (match, avoid))
    axes = (
        np.stack([prompt(index, w, remember=remember) for w in (*positive, *negative)]).T
        if positive or negative
        else np.empty((x.shape[1], 0))
    )
    for part in blocks(len(x), _BLOCK) if axes.size else ():
        scores = (x[part].astype(np.float32) @ axes).astype(np.float64)
        if positive and negative:
            shares = np.exp(SCALE * (scores - scores.max(1, keepdims=True)))
            fit[part] *= shares[:, : len(positive)].sum(1) / shares.sum(1)
        else:
            best = scores.max(1)
            fit[part] *= (1 + best) / 2 if positive else (1 - best) / 2
    return fit


def _logistic(v: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-v.astype(np.float64))))
