"""`curator label`: labels for images by words or by a linear probe, with confidence, in columns of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.database import Curation
from curator.embeddings import blocks, fit_logistic
from curator.errors import UsageError
from curator.index import Index
from curator.index.columns import put_columns
from curator.index.images import vectors_of
from curator.index.sureness import read_sureness
from curator.index.words import SCALE, prompt
from curator.job import QUIET, Job
from curator.records import Ids, Vectors

COLUMN = "predicted"
_BLOCK = 16_384
_HELD_OUT = 0.2
_LEAST = 2  # images of a class that a probe needs


def label_columns(column: str) -> tuple[str, str]:
    """Where a label and its confidence are written."""
    return column, f"{column}_confidence"


@dataclass(frozen=True)
class Tested:
    """Where predictions go, and what they are tested by: labels that a person gave to images `ids`, in `source`.

    `accuracy` is what was measured before everything was learnt from; None measures it by the predictions themselves.
    `is_sure` says that shares are probabilities.
    """

    column: str
    ids: Ids
    source: str = "label"
    accuracy: float | None = None
    is_sure: bool = True


@dataclass(frozen=True)
class Labelled:
    """What was predicted: image id → (label, confidence), NaN where it is not known.

    `accuracy` is that on `tested` images with a person's label that were not learnt from, NaN where there are none;
    `disagreements` are those whose own label is another, most confident first.
    """

    predictions: Mapping[int, tuple[str, float]]
    classes: tuple[str, ...]
    accuracy: float
    tested: int
    disagreements: tuple[int, ...]


def label_by_words(
    index: Index, classes: Sequence[str], *, where: str | None = None, column: str = COLUMN, job: Job = QUIET
) -> Labelled:
    """Zero-shot: each image gets the class whose prompts it fits best (Radford et al. 2021, §3.1).

    How sure that is was learnt from the index's own labels; where it was not, there is no confidence. Raises
    `NoTextTower`, `UsageError`.
    """
    names = tuple(dict.fromkeys(c.strip() for c in classes if c.strip()))
    if len(names) < 2:
        raise UsageError("labelling takes two classes or more, as in --classes shoe,dress,hat")
    ids = _chosen(index, where)
    axes = np.stack([prompt(index, name) for name in names]).T
    learnt = read_sureness(index.reader, index.space)
    is_sure = learnt is not None and math.isfinite(learnt.scale)
    shares = _softmax(index, ids, axes * (learnt.scale if learnt and is_sure else SCALE), job)
    return keep_labels(index, ids, shares, names, Tested(column, ids, is_sure=is_sure))


def label_by_probe(
    index: Index, source: str, *, where: str | None = None, column: str = COLUMN, seed: int = 0, job: Job = QUIET
) -> Labelled:
    """Logistic regression on stored vectors, learnt from the values of a column on real images.

    Its accuracy is that on a fifth held out, of those that `where` names, before it learns from all. Raises
    `UsageError` for fewer than two values with two images each, `WhereError`.
    """
    present = _chosen(index, None)
    values = index.reader.values_of(source)
    real = set(index.reader.ids_where("origin = 'real'").tolist())
    known = np.array([i for i in present.tolist() if values[i] is not None and i in real], np.int64)
    names, codes, counts = np.unique([str(values[int(i)]) for i in known], return_inverse=True, return_counts=True)
    enough = counts[codes] >= _LEAST if len(known) else np.zeros(0, bool)
    known, codes = known[enough], codes[enough]
    if len(np.unique(codes)) < 2:
        raise UsageError(f"a probe learns from two values or more of '{source}', each on {_LEAST} real images or more")
    x = vectors_of(index, known).astype(np.float32)
    test = _stratified(codes, np.random.default_rng(seed))
    ids = _chosen(index, where)
    judged = test & np.isin(known, ids)
    first = fit_logistic(x[~test], codes[~test])
    accuracy = float((first.predict(x[judged]) == codes[judged]).mean()) if judged.any() else math.nan
    fitted = fit_logistic(x, codes)
    shares = _by_block(index, ids, fitted.predict_proba, job)
    learnt = tuple(names[fitted.classes_].tolist())
    return keep_labels(index, ids, shares, learnt, Tested(column, known[judged], source, accuracy))


def _chosen(index: Index, where: str | None) -> Ids:
    present = Curation(index.reader).nodes(index.space).image_ids
    ids = present if where is None else np.intersect1d(present, index.reader.ids_where(where))
    if not len(ids):
        raise UsageError("no image with a vector is left to label")
    return ids


def _softmax(index: Index, ids: Ids, axes: NDArray[np.floating], job: Job) -> NDArray[np.float64]:
    """(n, classes) rows that sum to 1, of the logits x @ axes."""
    logits = _by_block(index, ids, lambda x: x @ axes, job).astype(np.float64)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True))


def _by_block(index: Index, ids: Ids, of: Callable[[Vectors], NDArray[Any]], job: Job) -> NDArray[Any]:
    """(n, …): a function of the images' vectors (b, d), block by block."""
    results = []
    for part in blocks(len(ids), _BLOCK):
        job.check()
        results.append(of(vectors_of(index, ids[part]).astype(np.float32)))
        job.progress(part.stop, len(ids), "labelling")
    return np.concatenate(results)


def _stratified(codes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A fifth of each class, one at least and never all."""
    test = np.zeros(len(codes), bool)
    for code in np.unique(codes):
        members = rng.permutation(np.flatnonzero(codes == code))
        test[members[: min(len(members) - 1, max(1, round(_HELD_OUT * len(members))))]] = True
    return test


def keep_labels(
    index: Index,
    ids: Ids,
    shares: NDArray[np.float64],
    names: Sequence[str],
    tested: Tested,
) -> Labelled:
    """Write the likeliest of `names` by `shares` (n, classes) to a column, with its confidence.

    Raises `UsageError` for a column that means something else.
    """
    best = shares.argmax(1)
    predictions = {
        int(i): (names[b], float(s[b]) if tested.is_sure else math.nan)
        for i, b, s in zip(ids, best.tolist(), shares, strict=True)
    }
    rank = dict(zip(ids.tolist(), shares.max(1).tolist(), strict=True))
    values = index.reader.values_of(tested.source)
    # Only images whose own label is one of the classes can be right or wrong, whatever the case of its letters.
    known = {name.casefold() for name in names}
    labels = {
        i: str(values[i]).casefold()
        for i in predictions
        if values[i] is not None and str(values[i]).casefold() in known
    }
    apart = sorted((i for i in labels if labels[i] != predictions[i][0].casefold()), key=lambda i: (-rank[i], i))
    judged = [i for i in tested.ids.tolist() if i in labels]
    accuracy = tested.accuracy
    if accuracy is None:
        accuracy = sum(labels[i] == predictions[i][0].casefold() for i in judged) / len(judged) if judged else math.nan
    written = [
        {i: name for i, (name, _) in predictions.items()},
        {i: round(share, 6) if tested.is_sure else None for i, (_, share) in predictions.items()},
    ]
    put_columns(index, "label", written, label_columns(tested.column))
    return Labelled(predictions, tuple(names), accuracy, len(judged), tuple(apart))
