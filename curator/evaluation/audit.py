"""`curator audit`: whether a generator copied what it was trained on.

Real images that it never saw set the threshold.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.cleaning.comparing import Hashes, read_sketch
from curator.database import Curation
from curator.duplicates import BITS, Thresholds, examine, judge
from curator.duplicates.likeness import Greys, greys, nearest_by_pixels
from curator.embeddings import blocks
from curator.errors import UsageError
from curator.index import Index
from curator.index.columns import put_columns, refuse_columns
from curator.index.images import find_images, have_content, unit_vectors_of
from curator.intervals import at_most
from curator.job import QUIET, Job
from curator.metrics import Nearest, nearest_to
from curator.records import Ids, Vectors
from curator.runs.inputs import pictures_of_run
from curator.runs.lookup import generated_ids, held_out_ids, trained_digests
from curator.training.folder import Run
from curator.training.pictures import to_picture

LABELS = ("copy", "near-copy", "novel", "off-distribution")
_FALSE_ALARMS = 0.0025  # share of held-out images that a threshold may call copies
_FAR = 0.99  # of held-out images are nearer to a training image than what is off-distribution
_SAME = 2.0  # grey levels of root mean squared difference under which two pictures are one
_HINTS = 4
# share of held-out images, the nearest ones, that are looked at for being duplicates; generated ones as near too
_SUSPECT = 0.25
_MOST_HELD_OUT = 0.5  # of a training's images, that an advice may ask for
FEWEST = 40  # below a few hundred the false alarms are known only roughly, and their interval says how
_PAIRS = 1 << 24  # inner products in memory at once


@dataclass(frozen=True)
class Judgement:
    """One generated image and the training image nearest to it.

    `ratio` is their difference over that of the training image to its own fifth nearest, of which several may be
    copies; `evidence` the kind of duplicate that `curator dedupe` would call them, or ""; `transform` how one lies on
    the other.
    """

    image_id: int
    nearest_id: int
    label: str
    difference: float
    ratio: float
    evidence: str
    transform: str


@dataclass(frozen=True)
class Audit:
    """Judgements, nearest first.

    `trained` is how many training images were looked at; `missing` are gone, changed or unreadable. `threshold` on the
    ratio; `false_alarms` on `judged` held-out images that did not set it, at most `alarms_high` with 95 % confidence
    (Clopper and Pearson 1934); `held_copies`, the share of held-out images that are duplicates of training images by
    evidence, and were no judge of it; `held_off` the share that would be off-distribution; `authentic` and
    `held_authentic` the shares that are nearer to a training image than that is to its nearest, as raw authenticity has
    it.
    """

    run: str
    findings: tuple[Judgement, ...]
    counts: Mapping[str, int]
    trained: int
    missing: int
    threshold: float
    false_alarms: float
    alarms_high: float
    judged: int
    held_copies: float
    held_off: float
    authentic: float
    held_authentic: float

    @property
    def beyond(self) -> float:
        """The share of copies beyond what as many unseen real images would give.

        It is never less than the share of the label `copy`.
        """
        usual = self.held_copies + (1 - self.held_copies) * self.false_alarms
        return max(self.counts["copy"] / max(1, len(self.findings)), self.copies - usual, 0.0)

    @property
    def copies(self) -> float:
        """The share of copies and near-copies."""
        return (self.counts["copy"] + self.counts["near-copy"]) / max(1, len(self.findings))


@dataclass(frozen=True)
class _Side:
    """Images of one kind: ids, grey pictures, unit rows."""

    ids: Ids
    pixels: Greys
    x: Vectors


def audit(
    index: Index,
    run: Run,
    generated: Ids | None = None,
    *,
    reference: str | None = None,
    keep: bool = True,
    job: Job = QUIET,
) -> Audit:
    """Label a run's generated images (None: all of them) in the column `audit`.

    Labels are `copy`, `near-copy`, `novel` and `off-distribution`. A half of the held-out images sets the thresholds,
    the other half measures their false alarms. `reference` names real images that the run never saw, None those that it
    held out itself. Raises `UsageError` where there are fewer than 40 of them.
    """
    if keep:
        refuse_columns(index, "audit")
    generated = generated_ids(index, run) if generated is None else generated
    trained, held_ids, planned = _reals(index, run, reference)
    y, x, held = (_side(index, run, ids, job) for ids in (trained, generated, held_ids))
    beside, of_held = nearest_to(x.x, y.x), nearest_to(held.x, y.x)
    near, of_near = _likeness(x, y), _likeness(held, y)
    evidence = _Evidence(
        index, y.ids, float(np.quantile(of_near.ratio, _SUSPECT)), float(np.quantile(of_held.distance, _SUSPECT))
    )
    # Shots of one thing on both sides of the split are copies themselves, and would set a threshold that lets all
    # others pass.
    fair = np.array([not kind for _, kind in evidence.of(held.ids, of_near, of_held)])
    set_by = np.random.default_rng(0).permutation(len(fair)) < (len(fair) + 1) // 2
    if min((set_by & fair).sum(), (~set_by & fair).sum()) < FEWEST // 2:
        raise UsageError(
            f"of {len(fair)} real images that {run.name} never saw, all but {fair.sum()} are duplicates of what it "
            "was trained on, which "
            f"leaves too few to calibrate on; name {FEWEST} others or more with --reference"
        )
    threshold = _lower(of_near.ratio[set_by & fair])
    far = float(np.quantile(of_held.distance[set_by], _FAR))
    pairs = evidence.of(x.ids, near, beside)
    findings = []
    for i in np.argsort(near.ratio, kind="stable").tolist():  # the nearest first
        position, kind = pairs[i]
        label = _label(near, i, kind, threshold=threshold, is_far=bool(beside.distance[i] > far))
        nearest, difference, ratio = int(y.ids[position]), float(near.difference[i]), float(near.ratio[i])
        findings.append(Judgement(int(x.ids[i]), nearest, label, difference, ratio, kind, near.transform[i]))
    if keep:
        rows = [(f.image_id, (f.label, f.nearest_id, round(f.ratio, 6))) for f in findings]
        authentic = dict(zip(x.ids.tolist(), beside.authentic.astype(int).tolist(), strict=True))
        put_columns(index, "audit", [*({i: row[column] for i, row in rows} for column in range(3)), authentic])
    counts = Counter(f.label for f in findings)
    alarms = of_near.ratio[~set_by & fair] <= threshold
    return Audit(
        run.name, tuple(findings), {label: counts[label] for label in LABELS}, len(y.ids), planned - len(y.ids),
        threshold,
        float(alarms.mean()), at_most(int(alarms.sum()), len(alarms)), len(alarms), float((~fair).mean()),
        float((of_held.distance[~set_by] > far).mean()), float(beside.authentic.mean()),
        float(of_held.authentic.mean()),
    )  # fmt: skip


def _label(near: _Near, i: int, evidence: str, *, threshold: float, is_far: bool) -> str:
    """What image `i` is called: proof comes before nearness, nearness before strangeness."""
    is_close = near.ratio[i] <= threshold
    if evidence or (is_close and near.difference[i] <= _SAME):
        return "copy"
    if is_close:
        return "near-copy"
    return "off-distribution" if is_far else "novel"


def _reals(index: Index, run: Run, reference: str | None) -> tuple[Ids, Ids, int]:
    """Training images that are there as they were, real ones that the run never saw, and how many it was trained on."""
    known = trained_digests(run)
    rows = [r["id"] for r in run.rows("manifest.jsonl") if bytes.fromhex(r["sha256"]) in known]
    trained = np.array(rows, np.int64)
    trained = trained[np.isin(trained, Curation(index.reader).nodes(index.space).image_ids)]
    trained = trained[have_content(index, trained, known)]
    real = index.reader.ids_where("origin = 'real'")
    held = find_images(index, reference) if reference else held_out_ids(run)
    held = held[np.isin(held, real)]
    held = held[~have_content(index, held, known)]
    if not len(trained):
        raise UsageError(f"none of the images that {run.name} was trained on is in the index as it was")
    if len(held) < FEWEST:
        share = math.ceil(125 * FEWEST / (len(trained) + len(held))) / 100  # a quarter more, for a hash divides
        way = f", or train with --holdout {share:g}" if share <= _MOST_HELD_OUT else ""
        raise UsageError(
            f"{len(held)} real images that {run.name} never saw are too few to calibrate on; name {FEWEST} or more "
            f"with --reference, such as the test part of a split{way}"
        )
    return trained, held, len(rows)


def _side(index: Index, run: Run, ids: Ids, job: Job) -> _Side:
    """Pictures as the run saw its own, at comparison size; one that cannot be read is left out."""
    blocks_read = [(p.ids, greys([to_picture(one) for one in p.inner])) for p in pictures_of_run(index, run, ids, job)]
    read, pixels = (np.concatenate(column) for column in zip(*blocks_read, strict=True))
    return _Side(read, pixels, unit_vectors_of(index, read))


@dataclass(frozen=True)
class _Near:
    """Of n pictures the nearest of y: its position, the difference, its ratio to what is usual there, the transform."""

    position: NDArray[np.int64]
    difference: NDArray[np.float64]
    ratio: NDArray[np.float64]
    transform: tuple[str, ...]


def _likeness(x: _Side, y: _Side) -> _Near:
    nearest = nearest_by_pixels(x.pixels, y.pixels, _hints(x.x, y.x))
    hit = np.unique(nearest.position)
    alone = nearest_by_pixels(y.pixels[hit], y.pixels, _hints(y.x[hit], y.x), own=hit).fifth
    usual = alone[np.searchsorted(hit, nearest.position)]
    return _Near(nearest.position, nearest.difference, nearest.difference / np.maximum(usual, 1.0), nearest.transform)


def _hints(x: Vectors, y: Vectors) -> NDArray[np.int64]:
    """(n, h) positions of the nearest embeddings."""
    k = min(_HINTS, len(y))
    parts = [
        np.argpartition(-(x[part] @ y.T), k - 1, axis=1)[:, :k] for part in blocks(len(x), max(1, _PAIRS // len(y)))
    ]
    return np.concatenate(parts)


def _lower(ratios: NDArray[np.float64]) -> float:
    """Under which a quarter percent of held-out images lie.

    Under 400 of them that is below the least; then also below where a quarter percent of a normal distribution of their
    logarithms lies.
    """
    ordered = np.sort(ratios)
    position = int(len(ordered) * _FALSE_ALARMS)
    if position:
        return float(ordered[position - 1])
    from scipy.stats import norm

    logs = np.log(np.maximum(ordered, 1e-3))
    tail = np.exp(logs.mean() + norm.ppf(_FALSE_ALARMS) * logs.std(ddof=1))
    return float(min(0.98 * ordered[0], tail))


class _Evidence:
    """What `curator dedupe` would call pairs of images with training images `y`.

    Looked at are pairs that are nearer than usual, by pixels (`ratio`) or vectors (`distance`), and those that are near
    by hash.
    """

    def __init__(self, index: Index, y: Ids, ratio: float, distance: float) -> None:
        self.index, self.y, self.ratio, self.distance = index, y, ratio, distance
        nodes = Curation(index.reader).nodes(index.space)
        self.hashes = Hashes.of(Curation(index.reader), nodes)
        self.node_of = dict(zip(nodes.image_ids.tolist(), nodes.node_of.tolist(), strict=True))

    def of(self, x: Ids, by_pixels: _Near, by_vector: Nearest) -> list[tuple[int, str]]:
        """(n,) which of the two nearest of y each of x is proved a duplicate of, and of what kind.

        The kind is "" where nothing is proved.
        """
        said = self._kinds(x, self.y[by_pixels.position], by_pixels.ratio <= self.ratio)
        again = self._kinds(x, self.y[by_vector.position], by_vector.distance <= self.distance)
        return [
            (int(q), other) if other and not kind else (int(p), kind)
            for p, q, kind, other in zip(by_pixels.position, by_vector.position, said, again, strict=True)
        ]

    def _kinds(self, first: Ids, second: Ids, flagged: NDArray[np.bool_]) -> list[str]:
        """(n,) kinds of pairs that are flagged or near by hash; "" for all others, and where nothing is proved."""
        nodes = np.array([[self.node_of[int(i)] for i in ids] for ids in (first, second)]).T
        distance, way = self.hashes.distances(nodes)
        said = [""] * len(first)
        for i in np.flatnonzero(flagged | (distance <= BITS)).tolist():
            said[i] = self._kind((int(first[i]), int(second[i])), nodes[i], int(distance[i]), int(way[i]))
        return said

    def _kind(self, ids: tuple[int, int], nodes: NDArray[np.int64], distance: int, way: int) -> str:
        one, other = self.index.images(list(ids))
        if nodes[0] == nodes[1]:
            return "identical-file" if one.sha256 == other.sha256 else "identical-pixels"
        thresholds = Thresholds()
        return judge(examine(distance, way, read_sketch(one), read_sketch(other), thresholds), thresholds) or ""
