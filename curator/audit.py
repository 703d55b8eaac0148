"""`curator audit`: whether a generator copied what it was trained on, by a threshold that real images which it never saw set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.apply import held_out_ids, pictures_of_run, trained_digests
from curator.curate.candidates import find_images, vectors_of
from curator.curate.evidence import Hashes, read_sketch
from curator.curate.label import refuse_taken
from curator.database import Curation, Selections
from curator.duplicates import Thresholds, compare_hashes, examine, judge
from curator.duplicates.likeness import Greys, greys, nearest_by_pixels
from curator.embeddings import normalise
from curator.errors import UsageError
from curator.evaluate import generated_ids
from curator.index import Index
from curator.metrics import PerImage, per_image
from curator.records import Ids, Progress, Vectors
from curator.training.folder import Run
from curator.training.pictures import to_picture

LABELS = ("copy", "near-copy", "novel", "off-distribution")
COLUMN = "audit"
_FALSE_ALARMS = 0.005  # share of held-out images that a threshold may call copies
_SAME = 2.0  # grey levels of root mean squared difference under which two pictures are one
_HINTS = 4
_SUSPECT = 0.05  # share of held-out images, the nearest ones, that are looked at for being duplicates
_FEWEST = 40  # below a few hundred the false alarms are known only roughly, and are said
_BLOCK = 512

Told = Callable[[Progress], None]


@dataclass(frozen=True)
class Finding:
    """One generated image and the training image nearest to it: `ratio` of their difference to the one that image has to its own fifth

    nearest, of which several may be copies; `evidence` the kind of duplicate that `curator dedupe` would call them, or ""; `transform` how
    one lies on the other.
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
    """Findings, nearest first. `threshold` on the ratio; `false_alarms` on `judged` held-out images that did not set it; `authentic` and

    `held_authentic` the shares that are nearer to a training image than that is to its nearest, as raw authenticity has it.
    """

    run: str
    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    threshold: float
    false_alarms: float
    judged: int
    authentic: float
    held_authentic: float

    @property
    def beyond(self) -> float:
        """The share of copies beyond what as many unseen real images would give."""
        return max(0.0, self.copies - self.false_alarms)

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


def audit(index: Index, run: Run, *, held_out: str | None = None, keep: bool = True, progress: Told = lambda p: None) -> Audit:
    """Label each generated image of a run `copy`, `near-copy`, `novel` or `off-distribution`, in the column `audit`.

    A half of the held-out images sets the thresholds, the other half measures their false alarms. `held_out` names real images that the run
    never saw, None those that it held out itself. Raises `UsageError` where there are fewer than 40 of them.
    """
    known = trained_digests(run)
    real = index.reader.ids_where("origin = 'real'")
    held_ids = find_images(index, held_out) if held_out else held_out_ids(run)
    held_ids = _without(index, held_ids[np.isin(held_ids, real)], known)
    rows = [r["id"] for r in run.rows("manifest.jsonl") if bytes.fromhex(r["sha256"]) in known]
    trained = np.array(rows, np.int64)
    trained = trained[np.isin(trained, real)]
    trained = trained[[h in known for h in Selections(index.reader).sha256_of(trained)]] if len(trained) else trained
    if len(held_ids) < _FEWEST or not len(trained):
        raise UsageError(
            f"{len(held_ids)} real images that {run.name} never saw are too few to calibrate on; name {_FEWEST} or more with --held-out, "
            "or train with --holdout 0.1"
            if len(trained)
            else f"none of the images that {run.name} was trained on is in the index as it was"
        )
    if keep:
        for column in (COLUMN, f"{COLUMN}_nearest", f"{COLUMN}_ratio"):
            refuse_taken(index, column)
    y, x, held = (_side(index, run, ids, progress) for ids in (trained, generated_ids(index, run), held_ids))
    beside, of_held = per_image(x.x, y.x), per_image(held.x, y.x)
    ratio, nearest, difference, transform = _likeness(x, y)
    held_ratio, held_nearest, *_ = _likeness(held, y)
    # Shots of one thing on both sides of the split are copies themselves, and would set a threshold that lets all others pass.
    low = held_ratio <= np.quantile(held_ratio, _SUSPECT)
    evidence_on = _Evidence(index)
    fair = np.array([not e for e in evidence_on(held.ids, y.ids[held_nearest], low)])
    set_by = np.random.default_rng(0).permutation(len(fair)) < (len(fair) + 1) // 2
    threshold = _lower(held_ratio[set_by & fair])
    far = float(np.quantile(of_held.distance[set_by], 1 - 2 * _FALSE_ALARMS))
    evidence = evidence_on(x.ids, y.ids[nearest], ratio <= threshold)
    findings = []
    for i in np.argsort(ratio, kind="stable").tolist():
        flagged = ratio[i] <= threshold
        copy = flagged and (bool(evidence[i]) or difference[i] <= _SAME)
        label = "copy" if copy else "near-copy" if flagged else "off-distribution" if beside.distance[i] > far else "novel"
        findings.append(
            Finding(int(x.ids[i]), int(y.ids[nearest[i]]), label, float(difference[i]), float(ratio[i]), evidence[i], transform[i])
        )
    if keep:
        _keep(index, findings)
    counts = Counter(f.label for f in findings)
    alarms = float((held_ratio[~set_by & fair] <= threshold).mean())
    judged = int((~set_by & fair).sum())
    return Audit(
        run.name, tuple(findings), {label: counts[label] for label in LABELS}, threshold, alarms, judged, _authentic(beside),
        _authentic(of_held),
    )  # fmt: skip


def _without(index: Index, ids: Ids, known: set[bytes]) -> Ids:
    """Those whose content is not known."""
    hashes = Selections(index.reader).sha256_of(ids)
    return ids[[h not in known for h in hashes]] if len(ids) else ids


def _side(index: Index, run: Run, ids: Ids, progress: Told) -> _Side:
    """Pictures as the run saw its own, at comparison size; one that cannot be read is left out."""
    found = [(p.ids, greys([to_picture(one) for one in p.inner])) for p in pictures_of_run(index, run, ids, progress)]
    read, pixels = (np.concatenate(column) for column in zip(*found, strict=True))
    return _Side(read, pixels, normalise(vectors_of(index, read).astype(np.float32)))


def _likeness(x: _Side, y: _Side) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], tuple[str, ...]]:
    """Ratio (n,), position of the nearest of y, difference in grey levels, transform."""
    found = nearest_by_pixels(x.pixels, y.pixels, _hints(x.x, y.x))
    hit = np.unique(found.position)
    alone = nearest_by_pixels(y.pixels[hit], y.pixels, _hints(y.x[hit], y.x), own=hit).fifth
    of = dict(zip(hit.tolist(), alone.tolist(), strict=True))
    usual = np.array([of[p] for p in found.position.tolist()])
    return found.difference / np.maximum(usual, 1.0), found.position, found.difference, found.transform


def _hints(x: Vectors, y: Vectors) -> NDArray[np.int64]:
    """(n, h) positions of the nearest embeddings."""
    k = min(_HINTS, len(y))
    parts = [np.argsort(-(x[i : i + _BLOCK] @ y.T), axis=1, kind="stable")[:, :k] for i in range(0, len(x), _BLOCK)]
    return np.concatenate(parts)


def _lower(ratios: NDArray[np.float64]) -> float:
    """Under which a half percent of held-out images lie; with few of them, just under the least."""
    ordered = np.sort(ratios)
    at = int(len(ordered) * _FALSE_ALARMS)
    return float(ordered[at - 1] if at else 0.98 * ordered[0])


def _authentic(found: PerImage) -> float:
    return float(found.authentic.mean())


class _Evidence:
    """What `curator dedupe` would call pairs of an index's images."""

    def __init__(self, index: Index) -> None:
        self.index = index
        nodes = Curation(index.reader).nodes(index.space)
        self.hashes = Hashes.of(Curation(index.reader), nodes)
        self.node_of = dict(zip(nodes.image_ids.tolist(), nodes.node_of.tolist(), strict=True))

    def __call__(self, first: Ids, second: Ids, flagged: NDArray[np.bool_]) -> list[str]:
        """(n,) kinds of the flagged pairs, "" for all others and where nothing is proved."""
        said = [""] * len(first)
        for i in np.flatnonzero(flagged).tolist():
            said[i] = self._kind(int(first[i]), int(second[i]))
        return said

    def _kind(self, first: int, second: int) -> str:
        one, other = self.index.images([first, second])
        a, b = self.node_of[first], self.node_of[second]
        if a == b:
            return "identical-file" if one.sha256 == other.sha256 else "identical-pixels"
        distance, way = compare_hashes(self.hashes.values[[a]], self.hashes.values[[b]])
        thresholds = Thresholds()
        return judge(examine(int(distance[0]), int(way[0]), read_sketch(one), read_sketch(other), thresholds), thresholds) or ""


def _keep(index: Index, findings: list[Finding]) -> None:
    with index.write() as db, db.atomic():
        kept = Selections(db)
        kept.put_computed(COLUMN, {f.image_id: f.label for f in findings})
        kept.put_computed(f"{COLUMN}_nearest", {f.image_id: f.nearest_id for f in findings})
        kept.put_computed(f"{COLUMN}_ratio", {f.image_id: round(f.ratio, 6) for f in findings})
