"""`curator audit`: whether a generator copied what it was trained on.

Real images that it never saw set the threshold.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from curator.database import Curation
from curator.duplicates.likeness import greys
from curator.errors import EncoderError, UsageError
from curator.evaluation.anchors import anchor_vectors
from curator.evaluation.nearness import Near, Proof, Side, likeness
from curator.evaluation.strange import Signs, margin_of, off_distribution
from curator.index import Index
from curator.index.columns import put_columns, refuse_columns
from curator.index.images import find_images, have_content, unit_vectors_of
from curator.intervals import at_most
from curator.job import QUIET, Job
from curator.metrics import nearest_to, pixel_statistics
from curator.records import Ids, Vectors
from curator.runs.inputs import pictures_of_run
from curator.runs.lookup import generated_ids, held_out_ids, trained_digests
from curator.training.folder import Run
from curator.training.pictures import to_picture

LABELS = ("copy", "near-copy", "novel", "off-distribution")
_FALSE_ALARMS = 0.0025  # share of held-out images that a threshold may call copies
_ANCHORED = 64  # training images that anchors are made of
_SAME = 2.0  # grey levels of root mean squared difference under which two pictures are one
# share of held-out images, the nearest ones, that are looked at for being duplicates; generated ones as near too
_SUSPECT = 0.25
_MOST_HELD_OUT = 0.5  # of a training's images, that an advice may ask for
FEWEST = 40  # below a few hundred the false alarms are known only roughly, and their interval says how


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
    near, of_near = likeness(x, y), likeness(held, y)
    evidence = Proof(
        index, y.ids, float(np.quantile(of_near.ratio, _SUSPECT)), float(np.quantile(of_held.distance, _SUSPECT))
    )
    fair, set_by = _divided(evidence.of(held.ids, of_near, of_held), run)
    threshold = _lower(of_near.ratio[set_by & fair])
    anchors = _anchors(index, run, y.ids, job)
    judged = Signs(beside.distance, x.statistics, margin_of(x.x, y.x, anchors))
    unseen = Signs(of_held.distance, held.statistics, margin_of(held.x, y.x, anchors))
    off, held_off = off_distribution(judged, unseen, set_by)
    pairs = evidence.of(x.ids, near, beside)
    findings = []
    for i in np.argsort(near.ratio, kind="stable").tolist():  # the nearest first
        position, kind = pairs[i]
        label = _label(near, i, kind, threshold=threshold, is_off=bool(off[i]))
        nearest, difference, ratio = int(y.ids[position]), float(near.difference[i]), float(near.ratio[i])
        findings.append(Judgement(int(x.ids[i]), nearest, label, difference, ratio, kind, near.transform[i]))
    if keep:
        rows = [(f.image_id, (f.label, f.nearest_id, round(f.ratio, 6))) for f in findings]
        authentic = dict(zip(x.ids.tolist(), beside.authentic.astype(int).tolist(), strict=True))
        put_columns(index, "audit", [*({i: row[column] for i, row in rows} for column in range(3)), authentic])
    counts = Counter(f.label for f in findings)
    alarms = of_near.ratio[~set_by & fair] <= threshold
    result = Audit(
        run.name, tuple(findings), {label: counts[label] for label in LABELS}, len(y.ids), planned - len(y.ids),
        threshold,
        float(alarms.mean()), at_most(int(alarms.sum()), len(alarms)), len(alarms), float((~fair).mean()),
        float(held_off[~set_by].mean()), float(beside.authentic.mean()),
        float(of_held.authentic.mean()),
    )  # fmt: skip
    if keep:
        said = {f.name: getattr(result, f.name) for f in fields(result) if f.name != "findings"}
        run.write_json("audit.json", said | {"images": len(findings), "copies": result.copies, "beyond": result.beyond})
    return result


def _divided(proved: Sequence[tuple[int, str]], run: Run) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which held-out images may judge, and which of all set the thresholds. Raises `UsageError` for too few."""
    # Shots of one thing on both sides of the split are copies themselves, and would set a threshold that lets all
    # others pass.
    fair = np.array([not kind for _, kind in proved])
    set_by = np.random.default_rng(0).permutation(len(fair)) < (len(fair) + 1) // 2
    if min((set_by & fair).sum(), (~set_by & fair).sum()) < FEWEST // 2:
        raise UsageError(
            f"of {len(fair)} real images that {run.name} never saw, all but {fair.sum()} are duplicates of what it "
            f"was trained on, which leaves too few to calibrate on; name {FEWEST} others or more with --reference"
        )
    return fair, set_by


def _label(near: Near, i: int, evidence: str, *, threshold: float, is_off: bool) -> str:
    """What image `i` is called: proof comes before strangeness, for blur is near to much; that before nearness."""
    is_close = near.ratio[i] <= threshold
    if evidence or (is_close and near.difference[i] <= _SAME):
        return "copy"
    if is_off:
        return "off-distribution"
    return "near-copy" if is_close else "novel"


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


def _side(index: Index, run: Run, ids: Ids, job: Job) -> Side:
    """Pictures as the run saw its own, at comparison size; one that cannot be read is left out."""
    blocks_read = [(p.ids, greys([to_picture(one) for one in p.inner])) for p in pictures_of_run(index, run, ids, job)]
    read, pixels = (np.concatenate(column) for column in zip(*blocks_read, strict=True))
    return Side(read, pixels, pixel_statistics(pixels), unit_vectors_of(index, read))


def _anchors(index: Index, run: Run, trained: Ids, job: Job) -> dict[str, Vectors]:
    """Anchors of training images as the run saw them; none where the encoder is not on this machine."""
    shown = pictures_of_run(index, run, trained[:: max(1, len(trained) // _ANCHORED)][:_ANCHORED], job)
    pictures = [to_picture(one).convert("RGB") for p in shown for one in p.inner]
    try:
        return anchor_vectors(index.encoder, pictures)
    except EncoderError as error:
        job.say(f"Noise and blur are not told by their vectors: {error}.")
        return {}


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
