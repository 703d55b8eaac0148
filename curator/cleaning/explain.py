"""`curator compare`: every stage by which two images are, or are not, found to be the same picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curator.cleaning.calibrated import find_thresholds
from curator.cleaning.comparing import RANK, Comparer, Hashes, Pair
from curator.cleaning.corners import PARTNERS, find_by_corners
from curator.cleaning.first_look import VOTES, count_corners, find_hints
from curator.cleaning.looks import Looks
from curator.database import Curation
from curator.duplicates import ALTERED, BITS, LISTED, Thresholds, examine, judge
from curator.duplicates.alignment import INLIERS
from curator.duplicates.evidence import DIFFERENCE
from curator.errors import PictureError, UsageError
from curator.index import Index, load_graph
from curator.job import QUIET, Job
from curator.records import DIHEDRAL, Evidence, Nodes


@dataclass(frozen=True)
class Stage:
    """One stage: its name, what was seen, and whether it speaks for the two being one picture."""

    name: str
    seen: str
    speaks_for: bool


@dataclass(frozen=True)
class Explained:
    """All stages, the kind of pair, or None, and why, in a sentence."""

    stages: tuple[Stage, ...]
    kind: str | None
    because: str


def explain(index: Index, first: int, second: int, *, neighbours: int = RANK, job: Job = QUIET) -> Explained:
    """Look at two images as `dedupe` does, stage by stage, and at every stage, whatever those before it said.

    Raises `UsageError` for one image with itself, or one without a vector; `PictureError` where a file cannot be read.
    """
    if first == second:
        raise UsageError(f"id:{first} is one image; name two")
    curation = Curation(index.reader)
    nodes = curation.nodes(index.space)
    positions = [_node_of(nodes, i) for i in (first, second)]
    if positions[0] == positions[1]:
        one, other = index.images([first, second])
        kind = "identical-file" if one.sha256 == other.sha256 else "identical-pixels"
        return Explained((Stage("content", "the same " + kind.removeprefix("identical-"), True),), kind, f"{kind}")
    a, b = sorted(positions)
    thresholds = find_thresholds(curation, index.space)
    distance, transform, is_telling = _hash(Hashes.of(curation, nodes), a, b)
    graph = load_graph(index.reader, index.space, nodes, threshold=thresholds.semantic, job=job)
    ranks, score = _ranks(index, nodes, a, b)
    is_near = min(ranks) <= neighbours or score >= graph.certificate.threshold
    with Looks(index.reader, nodes) as looks:
        by_corners = find_by_corners(index.reader, nodes, looks, job=job)
        is_partner = bool((by_corners.pairs == [a, b]).all(1).any())
        key = (int(nodes.contents[a]), int(nodes.contents[b]))
        sketches, seen = looks.sketches(key), looks.looks(key)
        if None in (sketches[key[0]], sketches[key[1]]):
            raise PictureError(f"id:{first} or id:{second} cannot be read, and no sketch of it was kept")
        votes, hint = int(count_corners([key], seen, looks.threads)[0]), find_hints([key], seen, looks.threads)[0]
        full = examine(distance, transform, sketches[key[0]], sketches[key[1]], Thresholds({}), hint=hint)
        alone, _ = Comparer(looks, thresholds).compare([Pair(key, distance, transform)])
    deserves = distance <= BITS or votes >= VOTES or hint is not None
    bits = f"{distance} bits of 64 apart" if is_telling else "no hash worth the name"
    turned = "" if DIHEDRAL[transform] == "same" or not is_telling else f", when one is turned ({DIHEDRAL[transform]})"
    stages = (
        Stage("hash", f"{bits}{turned}; near are {BITS}", distance <= BITS),
        Stage("vector", f"score {score:.3f}; rank {ranks[0]} and {ranks[1]}; near are {neighbours}", is_near),
        Stage("corners", f"{'' if is_partner else 'not '}among the {PARTNERS} with most corners alike", is_partner),
        Stage("first look", _first_look(votes, hint is not None), deserves),
        *_full_look(full, thresholds),
    )
    is_candidate = any(stage.speaks_for for stage in stages[:3])
    shown, reached = judge(full, thresholds), judge(alone[key], thresholds)
    because = _because(shown, is_candidate, deserves and shown == reached, stages)
    return Explained(stages, reached if is_candidate else None, because)


def _node_of(nodes: Nodes, image_id: int) -> int:
    position = int(np.searchsorted(nodes.image_ids, image_id))
    if position == len(nodes.image_ids) or nodes.image_ids[position] != image_id:
        raise UsageError(f"id:{image_id} has no vector in this space; `curator index` makes one")
    return int(nodes.node_of[position])


def _hash(hashes: Hashes, a: int, b: int) -> tuple[int, int, bool]:
    distance, transform = hashes.distances(np.array([[a, b]]))
    return int(distance[0]), int(transform[0]), bool(hashes.telling[[a, b]].all())


def _ranks(index: Index, nodes: Nodes, a: int, b: int) -> tuple[tuple[int, int], float]:
    """How many pictures are as near to the one as the other is, from both, and their score."""
    x = Curation(index.reader).vectors(index.space, nodes.contents).astype(np.float32)
    of_a, of_b = x @ x[a], x @ x[b]
    # The picture itself is one of those that are nearer.
    ranks = [int((scores > scores[other]).sum()) for scores, other in ((of_a, b), (of_b, a))]
    return (max(1, ranks[0]), max(1, ranks[1])), float(of_a[b])


def _first_look(votes: int, has_hint: bool) -> str:
    part = "one, made small, is found in the other" if has_hint else "neither is found in the other, made small"
    return f"{votes} of the strongest corners agree on a size and turn (enough are {VOTES}); {part}"


def _full_look(e: Evidence, thresholds: Thresholds) -> tuple[Stage, ...]:
    """What was seen on the pixels."""
    stages = []
    if e.laid is not None:
        least = min(v for k, v in thresholds.least.items() if k != "cropped/edited")
        stages.append(Stage("whole on whole", f"agreement {e.laid:.3f} of {least:.3f}", e.laid >= least))
    if e.inliers is not None:
        least = thresholds.least["cropped/edited"]
        said = f"{e.inliers} of {INLIERS} corners agree; scale {e.scale:.2f}, {e.degrees:+.0f}°"
        stages.append(Stage("alignment", said, e.inliers >= INLIERS))
        said = f"{e.agreement:.3f} of {least:.3f}; {e.overlap:.0%} of the smaller lies on the other"
        stages.append(Stage("agreement", said, (e.agreement or 0.0) >= least))
    if e.difference is not None:
        said = f"colours {e.difference:.0f} levels apart; allowed are {DIFFERENCE:.0f}"
        stages.append(Stage("colours", said, e.difference <= DIFFERENCE))
    if e.weakest is not None:
        said = f"the patch that agrees least: {e.weakest:.3f} of {ALTERED:.3f}"
        stages.append(Stage("changes", said, e.weakest >= ALTERED))
    return tuple(stages)


def _because(kind: str | None, is_candidate: bool, deserves: bool, stages: tuple[Stage, ...]) -> str:
    against = next((s.name for s in stages[4:] if not s.speaks_for), "agreement")
    if kind is None:
        return f"not the same picture: {against} says no"
    if not is_candidate:
        return f"{kind} on the pixels, but nobody looked: hash, vector and corners do not bring them together"
    if not deserves:
        return f"{kind} on the pixels, but the first look turned them away"
    return f"{kind}{', which is listed and not proposed' if kind in LISTED else ''}"


def facts_of(explained: Explained) -> Mapping[str, object]:
    """Everything, for programs."""
    stages = [{"name": s.name, "seen": s.seen, "speaks_for": s.speaks_for} for s in explained.stages]
    return {"kind": explained.kind, "because": explained.because, "stages": stages}
