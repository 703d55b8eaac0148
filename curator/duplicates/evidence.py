"""What two pictures are to each other: evidence, step by step as far as needed, and the kind of edge it makes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from curator.duplicates.alignment import INLIERS, align
from curator.duplicates.laying import lay
from curator.duplicates.sketch import Sketch
from curator.records import DIHEDRAL, Evidence

BITS = 8  # bits of 64 in which the pHashes of one picture may differ
CONTAINED = 0.95  # least overlap of a crop with what it was cut from
_STRICTER = (
    0.6  # of the way from the threshold to 1 where neither picture contains the other, as with two shots of one scene
)
# Levels of 0–255 by which colours may lie apart once a change of the whole picture is allowed for: measured, it keeps
# 99 % of true edges and turns 94 % of emoji in another skin tone away.
DIFFERENCE = 18.0
KINDS = (
    "identical-file",
    "identical-pixels",
    "re-encoded",
    "mirrored",
    "rotated",
    "cropped/edited",
    "semantic",
)  # strongest first
TURNED = ("mirrored", "rotated")
# One picture with something changed in one place, or two parts of one picture that share little: listed, and never
# proposed for removal.
LISTED = ("altered", "overlapping")
ALTERED = 0.5  # agreement of the weakest patch below which something was changed there: no codec or noise measured does
OVERLAPPING = 0.75  # overlap of two parts of one picture below which they show different things
LEVELS = {"exact": KINDS[:2], "verified": KINDS[:-1], "semantic": KINDS}
BUILT_IN = {
    "re-encoded": 0.9,
    "mirrored": 0.9,
    "rotated": 0.9,
    "cropped/edited": 0.95,
}  # in the order in which they are tried
_SAME_SIZE = 0.03  # by which scales of pictures of one size may differ
_ROTATIONS = ("rotate-90", "rotate-180", "rotate-270")
_LEAST_ENTROPY = 0.5  # bits; flatter pictures have no hash worth the name
_LEAST_ONES = 16  # of 64; a hash splits at the median, so fewer ones means that most frequencies are equal


@dataclass(frozen=True)
class Thresholds:
    """Least agreement of pixels, by kind, and least score of a `semantic` edge; `sources` says where each comes from.

    Without calibration the agreements are those measured by scripts/bench_dedupe.py.
    """

    least: Mapping[str, float] = field(default_factory=lambda: dict(BUILT_IN))
    semantic: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def values(self) -> dict[str, float]:
        """All of them by kind."""
        return dict(self.least) | ({} if self.semantic is None else {"semantic": self.semantic})


def textured(hashes: NDArray[np.uint64], entropy: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) whether a picture's pHash says anything.

    It does not for flat pictures, whose hash is noise, nor where there is none (NaN).
    """
    return np.asarray((entropy >= _LEAST_ENTROPY) & (np.bitwise_count(hashes[:, 0]) >= _LEAST_ONES))


def compare_hashes(
    first: NDArray[np.uint64], second: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(m, 8), (m, 8) → least distances (m,) in bits, and the turn of the second that makes them least.

    A turn is a position in `DIHEDRAL`.
    """
    distances = np.bitwise_count(first[:, :1] ^ second)
    best = distances.argmin(1)
    return distances[np.arange(len(best)), best].astype(np.int64), best


def examine(
    distance: int,
    transform: int,
    a: Sketch | None,
    b: Sketch | None,
    thresholds: Thresholds,
    *,
    hint: NDArray[np.float64] | None = None,
    extent: str = "all",
) -> Evidence:
    """Look at two pictures as closely as it takes: hashes, then whole upon whole, then corners.

    None: cannot be read. `hint` (2, 3) says where one may lie in the other; `extent` is as of `align`.
    """
    evidence = Evidence(distance, DIHEDRAL[transform])
    if a is None or b is None:
        return evidence
    if distance <= BITS:
        laid = lay(a, b, evidence.transform)
        evidence = replace(evidence, laid=laid.agreement, difference=laid.difference, weakest=laid.weakest)
    return look_closer(evidence, a, b, hint, extent=extent) if needs_corners(evidence, thresholds) else evidence


def needs_corners(evidence: Evidence, thresholds: Thresholds) -> bool:
    """Whether what was seen decides nothing yet."""
    return evidence.inliers is None and judge(evidence, thresholds) in (None, *LISTED)


def needs_look(evidence: Evidence, thresholds: Thresholds) -> bool:
    """Whether the pictures have to be looked at: for what decides nothing yet, or was seen before changes were told."""
    return needs_corners(evidence, thresholds) or (evidence.weakest is None and judge(evidence, thresholds) is not None)


def dismissed(distance: int, transform: str, votes: int) -> Evidence:
    """The evidence on two pictures of which neither a part of one nor enough corners are in the other."""
    return Evidence(distance, transform, None, votes, 1.0, 0.0, 0.0, 0.0, 255.0)


def is_dismissed(evidence: Evidence) -> bool:
    """Whether no more than a first look was taken."""
    return evidence == dismissed(evidence.distance, evidence.transform, evidence.inliers or 0)


def look_closer(
    evidence: Evidence,
    a: Sketch,
    b: Sketch,
    hint: NDArray[np.float64] | None = None,
    *,
    extent: str = "all",
) -> Evidence:
    """The evidence with that of the corners; `hint` and `extent` as of `examine`."""
    alignment = align(a, b, hint, extent=extent)
    # Laid by corners, a crop shows no change where the whole laid on the whole did.
    weakest = max(alignment.laid.weakest, -1.0 if evidence.weakest is None else evidence.weakest)
    aligned = replace(
        evidence,
        inliers=alignment.inliers,
        scale=alignment.scale,
        degrees=alignment.degrees,
        agreement=alignment.laid.agreement,
    )
    difference = min(alignment.laid.difference, 255.0 if evidence.difference is None else evidence.difference)
    return replace(aligned, difference=difference, overlap=alignment.laid.overlap, weakest=weakest)


def judge(evidence: Evidence, thresholds: Thresholds) -> str | None:
    """The kind of verified edge that the evidence makes, or one of `LISTED`, or None."""
    kind = next((kind for kind, least in thresholds.least.items() if agreement_of(evidence, kind) >= least), None)
    if kind == "cropped/edited" and (evidence.overlap or 0.0) < OVERLAPPING:
        kind = "overlapping"
    if kind is not None and evidence.weakest is not None and evidence.weakest < ALTERED:
        return "altered"
    return kind if _same_colours(evidence) else None


def proved(evidence: Evidence, thresholds: Thresholds) -> str | None:
    """The verified kind that the evidence makes, whatever was changed in one place: a copy with a retouch is a copy."""
    return next((kind for kind, least in thresholds.least.items() if strength(evidence, kind) >= least), None)


def strength(evidence: Evidence, kind: str) -> float:
    """What is held against the threshold of a verified kind.

    An agreement in [−1, 1], or −inf where the evidence rules the kind out.
    """
    return agreement_of(evidence, kind) if _same_colours(evidence) else -math.inf


def _same_colours(evidence: Evidence) -> bool:
    return evidence.difference is not None and evidence.difference <= DIFFERENCE


def agreement_of(evidence: Evidence, kind: str) -> float:
    """The same, whatever the colours."""
    if kind == "cropped/edited":
        return likeness(evidence) if evidence.inliers is not None and evidence.inliers >= INLIERS else -math.inf
    turned = (
        "re-encoded" if evidence.transform == "same" else "rotated" if evidence.transform in _ROTATIONS else "mirrored"
    )
    return evidence.laid if evidence.distance <= BITS and evidence.laid is not None and turned == kind else -math.inf


def inner(evidence: Evidence, kind: str) -> int | None:
    """Which of the two is cut out of the other, 0 or 1; None where neither is."""
    if kind != "cropped/edited" or (evidence.overlap or 0.0) < CONTAINED or not evidence.scale:
        return None
    return 1 if evidence.scale < 1 - _SAME_SIZE else 0 if evidence.scale > 1 + _SAME_SIZE else None


def likeness(evidence: Evidence) -> float:
    """The agreement of an alignment, as it counts.

    Where neither picture contains the other, it is more than twice as far below 1.
    """
    agreement, overlap = evidence.agreement or 0.0, evidence.overlap or 0.0
    return agreement if overlap >= CONTAINED else 1 - (1 - agreement) / (1 - _STRICTER)
