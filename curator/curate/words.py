"""How well images fit words: prompt ensembles, softmax over what is wanted and what is not, and fitted concepts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curator.database import Selections
from curator.embeddings import blocks, normalise
from curator.index import Index
from curator.records import Vectors

TEMPLATES = ("{}", "a photo of {}", "a picture of {}", "a close-up of {}")  # a short form of CLIP's ensemble (Radford et al. 2021, §3.1.4)
NEUTRAL = ("a photo", "a picture of something", "an image")  # what stands against the wanted words where nothing is to be avoided
_SCALE = 100.0  # of the scores before the softmax, as CLIP's trained temperature is clipped (Radford et al. 2021, §2.5)
_BLOCK = 16_384
CONCEPT = "concept:"


def prompt(index: Index, words: str) -> Vectors:
    """Words → (d,) unit mean of their vectors in every template."""
    return normalise(np.stack([index.vector_of_text(t.format(words)) for t in TEMPLATES]).mean(0, dtype=np.float32)[None]).ravel()


def fit_words(index: Index, x: NDArray[np.float16], match: Sequence[str], avoid: Sequence[str]) -> NDArray[np.float64]:
    """(n,) in [0, 1]: the share of the softmax that falls to `match`, against `avoid` or neutral words, times each concept's probability.

    A word `concept:NAME` is a concept fitted by `curator concept`; to avoid one is to want its opposite. Raises `NoTextTower`,
    `UnknownName`.
    """
    space = index.space
    fit = np.ones(len(x))
    for name, wanted in [(m, True) for m in match if m.startswith(CONCEPT)] + [(a, False) for a in avoid if a.startswith(CONCEPT)]:
        c = Selections(index.reader).concept(space, name.removeprefix(CONCEPT))
        p = np.concatenate([_logistic(x[part].astype(np.float32) @ c.vector + c.bias) for part in blocks(len(x), _BLOCK)])
        fit *= p if wanted else 1 - p
    positive, negative = ([w for w in words if not w.startswith(CONCEPT)] for words in (match, avoid))
    if not positive and not negative:
        return fit
    sides = [[prompt(index, w) for w in positive] or _neutral(index), [prompt(index, w) for w in negative] or _neutral(index)]
    axes = np.stack([v for side in sides for v in side]).T
    for part in blocks(len(x), _BLOCK):
        logits = _SCALE * (x[part].astype(np.float32) @ axes).astype(np.float64)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        fit[part] *= shares[:, : len(sides[0])].sum(1) / shares.sum(1)
    return fit


def _neutral(index: Index) -> list[Vectors]:
    return [index.vector_of_text(t) for t in NEUTRAL]


def _logistic(v: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-v.astype(np.float64))))
