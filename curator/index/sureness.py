"""How sure it is that a hit shows what the words say, learnt in each space from the labels of the index itself.

A score alone cannot tell: how high the right images stand above the others depends on the encoder and on the pictures.
So each label is asked for as words, and the share of right images is counted at each `z`. Half of the questions are
asked without the images that would be right, because people also ask for what is not there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.database import Curation, Reader
from curator.embeddings import Background, normalise
from curator.records import Ids, Space, Vectors

WORDS = "words"  # the kind of calibration
TEMPLATES = (
    "{}",
    "a photo of {}",
    "a picture of {}",
    "a close-up of {}",
)  # a short form of CLIP's ensemble (Radford et al. 2021, §3.1.4)
LEAST_LABELS = 6  # fewer cannot be divided into those that are learnt from and those that are judged by
_IMAGES, _LABELS = 4_000, 100  # at most
_OF_EACH = 5  # images that a label needs
_LEAST_IMAGES = 100
_WORST = 0.15  # mean gap of what is said and what is so, on labels not learnt from, over which nothing is said
_TOP = 10  # hits of a question that the gap is measured on
_STEP = 0.25  # of z, in which right and wrong are counted
_SCALES = np.geomspace(1, 400, 60)  # of a softmax over labels

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Sureness:
    """P(right) at a few `z`, ascending, and the `scale` of a softmax over labels that is right as often as it says.

    The scale is NaN where none was.
    """

    z: Reals
    p: Reals
    scale: float

    def of(self, z: NDArray[np.floating]) -> NDArray[np.float32]:
        """(k,) z of hits → (k,) probabilities."""
        return np.asarray(np.interp(z, self.z, self.p), np.float32)


def read_sureness(reader: Reader, space: Space) -> Sureness | None:
    """What was learnt for a space; None where nothing was, or it did not hold."""
    facts = Curation(reader).calibrations(space).get(WORDS, (0.0, {}))[1]
    if not facts.get("holds"):
        return None
    scale = float(facts["scale"]) if facts.get("scale_holds") else math.nan
    return Sureness(np.array(facts["z"]), np.array(facts["p"]), scale)


def why_unsure(reader: Reader, space: Space) -> str:
    """Why nothing is called sure in a space; empty where something is."""
    facts = Curation(reader).calibrations(space).get(WORDS, (0.0, {}))[1]
    if facts.get("holds"):
        return ""
    if "gap" in facts:
        return f"what half of the labels teach is off by {facts['gap']:.0%} on the others, over {_WORST:.0%}"
    takes = f"it takes {_LEAST_IMAGES} real images of {LEAST_LABELS} labels, each with {_OF_EACH}"
    return f"{takes}, and there are {facts.get('images', 0)} of {facts.get('labels', 0)}"


def is_current(reader: Reader, space: Space) -> bool:
    """Whether what is kept was learnt from the labels that are there now."""
    learnt = Curation(reader).calibrations(space).get(WORDS)
    return not reader.breakdown("label") if learnt is None else learnt[1].get("labels_digest") == _digest(reader)


def learn_sureness(
    reader: Reader, space: Space, encode: Callable[[Sequence[str]], Vectors]
) -> tuple[float, dict[str, Any]]:
    """Learn from the labelled real images of a space → (the z that is right half the time, facts), to be kept.

    `encode` turns texts into unit rows (n, d). Where labels are too few, or what was learnt from one half of them does
    not hold for the other, the facts say so and nothing is called sure.
    """
    none: dict[str, Any] = {"holds": False, "labels_digest": _digest(reader)}
    ids, codes, names = labelled(reader, space)
    if len(names) < LEAST_LABELS or len(ids) < _LEAST_IMAGES:
        return 0.0, none | {"labels": len(names), "images": len(ids)}
    # (n, d) and (c, d)
    x, t = reader.vectors(space, ids.tolist()).astype(np.float32), encode([asked_as(n) for n in names])
    scores = (x @ t.T).astype(np.float64)
    z = np.stack([Background.of(column).z(column) for column in scores.T], axis=1).astype(np.float64)
    right = codes[:, None] == np.arange(len(names))
    # Two halves of the labels: what one teaches is judged on the other.
    half = np.array([sha256(n.encode()).digest()[0] & 1 for n in names], bool)
    half = half if 2 <= half.sum() <= len(names) - 2 else np.arange(len(names)) % 2 == 1
    gap = float(np.mean([calibration_gap(*curve(z[:, h], right[:, h]), z[:, ~h], right[:, ~h]) for h in (half, ~half)]))
    knots, p = curve(z, right)
    facts = {
        "labels": len(names), "images": len(ids), "gap": round(gap, 4), "holds": gap <= _WORST,
        "z": [round(float(v), 3) for v in knots], "p": [round(float(v), 4) for v in p],
        **_softmax_facts(x, codes, _in_templates(names, encode)), "labels_digest": none["labels_digest"],
    }  # fmt: skip
    above = np.flatnonzero(p >= 0.5)
    return float(knots[above[0]]) if len(above) else math.inf, facts


def labelled(reader: Reader, space: Space) -> tuple[Ids, NDArray[np.int64], list[str]]:
    """A fixed sample of real images that have a label and a vector, the codes of their labels, and the names."""
    label_of = reader.values_of("label")
    real = set(reader.ids_where("origin = 'real'").tolist())
    there = [i for i in Curation(reader).nodes(space).image_ids.tolist() if i in real and label_of.get(i)]
    names, codes, counts = np.unique([str(label_of[i]) for i in there], return_inverse=True, return_counts=True)
    # The commonest labels: rare ones teach little.
    common = np.sort(np.argsort(-counts, kind="stable")[:_LABELS])
    common = common[counts[common] >= _OF_EACH]
    place = np.full(len(names), -1)
    place[common] = np.arange(len(common))
    chosen = np.flatnonzero(place[codes] >= 0) if there else np.empty(0, np.int64)
    chosen = np.sort(np.random.default_rng(0).permutation(chosen)[:_IMAGES])
    return np.array(there, np.int64)[chosen], place[codes][chosen], [str(names[c]) for c in common]


def asked_as(label: str) -> str:
    """A label as a person would ask for it."""
    return " ".join(label.replace("_", " ").replace("-", " ").split()).lower() or label


def curve(z: Reals, right: NDArray[np.bool_]) -> tuple[Reals, Reals]:
    """(n, c) z and whether each image is right for each label → z and P(right), both ascending (isotonic regression).

    A wrong image counts twice: once beside the right ones, and once where those are not there.
    """
    from sklearn.isotonic import IsotonicRegression

    place = np.floor(z / _STEP).astype(np.int64)
    first = int(place.min())
    yes = np.bincount(place[right] - first, minlength=int(place.max()) - first + 1).astype(np.float64)
    no = 2.0 * np.bincount(place[~right] - first, minlength=len(yes))
    filled = np.flatnonzero(yes + no)
    # One more of each kind wherever few were counted (Laplace): four right ones of four are not all.
    share = (yes[filled] + 0.5) / (yes[filled] + no[filled] + 1)
    middle = ((filled + first + 0.5) * _STEP).astype(np.float64)
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(middle, share, yes[filled] + no[filled])
    return middle, np.asarray(fitted.predict(middle), np.float64)


def calibration_gap(knots: Reals, p: Reals, z: Reals, right: NDArray[np.bool_]) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3) of the best ten hits of each label, in ten bins."""
    s, y = said_and_so(knots, p, z, right)
    place = np.minimum((s * 10).astype(np.int64), 9)
    return float(np.abs(np.bincount(place, s - y, 10)).sum() / len(s))


def said_and_so(knots: Reals, p: Reals, z: Reals, right: NDArray[np.bool_], top: int = _TOP) -> tuple[Reals, Reals]:
    """What a curve says of the `top` best hits of each label, and 1 or 0 by what is so.

    Each label is asked twice, with and without the images that are right.
    """
    said, true = [], []
    for column, hit in zip(z.T, right.T, strict=True):
        for asked in (np.ones(len(hit), bool), ~hit):
            best = np.flatnonzero(asked)[np.argsort(-column[asked], kind="stable")[:top]]
            said.append(np.interp(column[best], knots, p))
            true.append(hit[best])
    return np.concatenate(said), np.concatenate(true).astype(np.float64)


def _in_templates(names: Sequence[str], encode: Callable[[Sequence[str]], Vectors]) -> Vectors:
    """(c, d) unit means of each label in every template, as labelling by words asks for it."""
    rows = encode([t.format(asked_as(n)) for n in names for t in TEMPLATES]).reshape(len(names), len(TEMPLATES), -1)
    return normalise(rows.mean(1, dtype=np.float32))


def _softmax_facts(x: Vectors, codes: NDArray[np.int64], t: Vectors) -> dict[str, Any]:
    """The scale of a softmax over labels, and whether one that half of the images teach holds for the other half."""
    scores, side = (x @ t.T).astype(np.float64), np.arange(len(x)) % 2 == 1
    gaps = []
    for taught in (side, ~side):
        logits = _scale(scores[taught], codes[taught]) * scores[~taught]
        shares = np.exp(logits - logits.max(1, keepdims=True))
        surest = shares.max(1) / shares.sum(1)
        gaps.append(abs(float(surest.mean() - (logits.argmax(1) == codes[~taught]).mean())))
    return {"scale": round(_scale(scores, codes), 3), "scale_holds": max(gaps) <= _WORST}


def _scale(scores: Reals, codes: NDArray[np.int64]) -> float:
    """What scores are multiplied by before a softmax over labels: the likeliest (Guo et al. 2017, §4.2)."""
    rows = np.arange(len(codes))

    def loss(scale: float) -> float:
        logits = scale * scores
        top = logits.max(1)
        return float((np.log(np.exp(logits - top[:, None]).sum(1)) + top - logits[rows, codes]).mean())

    return float(min(_SCALES, key=loss))


def _digest(reader: Reader) -> str:
    """Of every image's label, so that two labels that were exchanged are another state."""
    return sha256(json.dumps(sorted(reader.values_of("label").items())).encode()).hexdigest()[:16]
