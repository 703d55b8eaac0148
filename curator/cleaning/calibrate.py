"""`curator calibrate`: thresholds chosen on the user's own images.

Known duplicates are made of a sample; what is none are the sample's nearest other images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from curator.cleaning.calibrated import PLANTED_CROPS, find_thresholds
from curator.cleaning.comparing import Hashes
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.cleaning.planted import find_planted
from curator.database import Curation, Reader
from curator.duplicates import (
    TRANSFORMS,
    Cut,
    Sketch,
    Thresholds,
    choose_cut,
    compare_hashes,
    examine,
    judge,
    look_closer,
    strength,
    textured,
)
from curator.errors import PictureError, UsageError
from curator.images import decode, measure, read_bytes
from curator.index import Index, load_graph
from curator.job import QUIET, Job
from curator.records import Evidence, Nodes

# least agreement that a verified kind may be calibrated to: pictures that agree less are not the same to the eye
FLOOR = 0.8
_LEAST = 30  # pictures, below which nothing can be said
_PLANTED = 200  # pictures out of which crops are cut


@dataclass(frozen=True)
class Calibration:
    """What was found for one kind of edge.

    `cut` is the cut that was chosen, `threshold` the one now in force, `source` where that comes from.
    """

    kind: str
    cut: Cut
    threshold: float
    source: str
    held_out_recall: float


@dataclass
class _Pairs:
    """Values of labelled pairs by kind.

    `held_out` are duplicates made with transforms that nothing is chosen on.
    """

    positive: dict[str, list[float]] = field(default_factory=dict)
    held_out: dict[str, list[float]] = field(default_factory=dict)
    negative: dict[str, list[float]] = field(default_factory=dict)


def calibrate(index: Index, *, sample: int = 300, seed: int = 0, job: Job = QUIET) -> list[Calibration]:
    """Choose and keep the thresholds of `dedupe` on the images of an index.

    For each kind it is the smallest whose precision is at least 0.99 at the lower end of its 95 % interval. Duplicates
    are seeded transforms of `sample` images; what is none are all pairs of neighbours in the index that are not
    verified by the built-in thresholds, and those a person called not-duplicate. A kind for which no threshold reaches
    0.99 keeps the built-in one. Raises `UsageError` for an index too small to tell, `IndexLocked`.
    """
    dedupe(index, DedupeOptions(every_pair=True), keep_proposals=False, job=job)  # looks at all pairs once
    pairs = _Pairs()
    curation = Curation(index.reader)
    nodes = curation.nodes(index.space)
    if len(nodes) < _LEAST:
        raise UsageError(
            f"{len(nodes)} different pictures are too few to calibrate on; it takes {_LEAST}, better 1,000"
        )
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(nodes), min(sample, len(nodes)), replace=False))
    _add_duplicates(index, nodes, chosen, pairs, rng=rng, job=job)
    _add_others(index.reader, nodes, pairs)
    _add_neighbours(index, nodes, chosen, pairs)
    calibrations = [
        _choose(kind, pairs, built_in) for kind, built_in in [*Thresholds().least.items(), ("semantic", None)]
    ]
    facts = {
        c.kind: (
            c.threshold,
            asdict(c.cut) | {"held_out_recall": _known(c.held_out_recall), "sample": len(chosen), "seed": seed},
        )
        for c in calibrations
        if c.source == "calibrated"
    }
    semantic = load_graph(index.reader, index.space, nodes, threshold=find_thresholds(curation, index.space).semantic)
    planted = find_planted(
        index,
        nodes,
        np.sort(rng.permutation(chosen)[:_PLANTED]),
        semantic=semantic.certificate.threshold,
        rng=rng,
        job=job,
    )
    cut, seen = (sum(count[what] for count in planted["by_size"].values()) for what in ("made", "found"))
    facts[PLANTED_CROPS] = (seen / max(1, cut), planted)
    with index.write() as db, db.atomic():
        Curation(db).put_calibrations(index.space, facts, kinds=[*(c.kind for c in calibrations), PLANTED_CROPS])
    return calibrations


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _choose(kind: str, pairs: _Pairs, built_in: float | None) -> Calibration:
    positive, negative, held_out = (
        np.array(p.get(kind, ()), np.float64) for p in (pairs.positive, pairs.negative, pairs.held_out)
    )
    cut = choose_cut(positive, negative, floor=-math.inf if built_in is None else FLOOR)
    threshold = max(cut.threshold, FLOOR) if built_in is not None else cut.threshold
    source = "calibrated"
    if not cut.reached:
        threshold, source = (math.nan, "tail of the scores") if built_in is None else (built_in, "built in")
    recall = float((held_out >= threshold).mean()) if len(held_out) else math.nan
    return Calibration(kind, cut, threshold, source, recall)


def _add_duplicates(
    index: Index,
    nodes: Nodes,
    chosen: NDArray[np.int64],
    pairs: _Pairs,
    *,
    rng: np.random.Generator,
    job: Job,
) -> None:
    """Every transform of every chosen picture that can be read, compared with the picture itself."""
    first = np.unique(nodes.content_ids, return_index=True)
    image_of = dict(zip(first[0].tolist(), nodes.image_ids[first[1]].tolist(), strict=True))
    contents = nodes.contents[chosen].tolist()
    for done, image in enumerate(index.images([image_of[c] for c in contents]), 1):
        job.progress(done, len(contents), "transforming")
        job.check()
        try:
            picture = decode(read_bytes(image.path), side=1 << 12).picture
        except PictureError:
            continue
        measures, sketch = measure(picture), Sketch.of(picture)
        if not textured(measures.hashes[None], np.array([measures.entropy]))[0]:
            continue  # flat: nothing that is done to it shows
        changed = {name: t.change(picture, rng) for name, t in TRANSFORMS.items()}
        scores = index.encoder.encode_images([picture, *changed.values()])
        for number, (name, other) in enumerate(changed.items(), 1):
            t = TRANSFORMS[name]
            into = pairs.held_out if t.held_out else pairs.positive
            into.setdefault(t.kind, []).append(strength(_compare(measures.hashes, sketch, other), t.kind))
            into.setdefault("semantic", []).append(float(scores[0] @ scores[number]))


def _compare(hashes: NDArray[np.uint64], sketch: Sketch, other: Pillow.Image) -> Evidence:
    changed = Sketch.of(other)
    distance, transform = compare_hashes(hashes[None], measure(other).hashes[None])
    evidence = examine(int(distance[0]), int(transform[0]), sketch, changed, Thresholds())
    return evidence if evidence.inliers is not None else look_closer(evidence, sketch, changed)


def _add_others(reader: Reader, nodes: Nodes, pairs: _Pairs) -> None:
    """Compared pairs of the index that are not verified, and those that a person told apart."""
    curation = Curation(reader)
    standing = set(nodes.contents.tolist())
    apart = {frozenset((d.subject, d.other)) for d in curation.decisions() if d.verdict == "not-duplicate"}
    told_apart = {frozenset(c) for c in _content_pairs(reader, apart)}
    for (a, b), evidence in curation.edges().items():
        if (
            a in standing
            and b in standing
            and (judge(evidence, Thresholds()) is None or frozenset((a, b)) in told_apart)
        ):
            for kind in Thresholds().least:
                pairs.negative.setdefault(kind, []).append(strength(evidence, kind))


def _content_pairs(reader: Reader, apart: set[frozenset[bytes]]) -> list[list[int]]:
    ids: Mapping[bytes, int] = reader.content_ids(sorted({h for pair in apart for h in pair}))
    return [[ids[h] for h in pair if h in ids] for pair in apart]


def _add_neighbours(index: Index, nodes: Nodes, chosen: NDArray[np.int64], pairs: _Pairs) -> None:
    """Scores of the chosen pictures with their nearest neighbours that are not verified to be the same."""
    curation = Curation(index.reader)
    graph = load_graph(index.reader, index.space, nodes, threshold=find_thresholds(curation, index.space).semantic)
    known = curation.edges()
    contents = nodes.contents
    hashes = Hashes.of(curation, nodes)
    scores = pairs.negative.setdefault("semantic", [])
    for node in chosen[hashes.telling[chosen]].tolist():
        for other, score in zip(graph.neighbours[node].tolist(), graph.scores[node].tolist(), strict=True):
            if other < 0:
                continue
            evidence = known.get(
                (min(int(contents[node]), int(contents[other])), max(int(contents[node]), int(contents[other])))
            )
            if evidence is None or judge(evidence, Thresholds()) is None:
                scores.append(score)
