"""What two pictures are to each other: evidence, step by step as far as needed, and the kind of edge it makes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from curator.duplicates.alignment import INLIERS, Sketch, align, lay
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
LEVELS = {"exact": KINDS[:2], "verified": KINDS[:-1], "semantic": KINDS}
BUILT_IN = {
    "re-encoded": 0.9,
    "mirrored": 0.9,
    "rotated": 0.9,
    "cropped/edited": 0.95,
}  # in the order in which they are tried
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


def examine(distance: int, transform: int, a: Sketch | None, b: Sketch | None, thresholds: Thresholds) -> Evidence:
    """Look at two pictures as closely as it takes: hashes, then whole upon whole, then corners.

    None: cannot be read.
    """
    evidence = Evidence(distance, DIHEDRAL[transform])
    if a is None or b is None:
        return evidence
    if distance <= BITS:
        laid = lay(a, b, evidence.transform)
        evidence = replace(evidence, laid=laid.agreement, difference=laid.difference)
    return look_closer(evidence, a, b) if needs_corners(evidence, thresholds) else evidence


def needs_corners(evidence: Evidence, thresholds: Thresholds) -> bool:
    """Whether what was seen decides nothing yet."""
    return evidence.inliers is None and judge(evidence, thresholds) is None


def look_closer(evidence: Evidence, a: Sketch, b: Sketch) -> Evidence:
    """The evidence with that of the corners."""
    alignment = align(a, b)
    aligned = replace(
        evidence,
        inliers=alignment.inliers,
        scale=alignment.scale,
        degrees=alignment.degrees,
        agreement=alignment.laid.agreement,
    )
    difference = min(alignment.laid.difference, 255.0 if evidence.difference is None else evidence.difference)
    return replace(aligned, difference=difference, overlap=alignment.laid.overlap)


def judge(evidence: Evidence, thresholds: Thresholds) -> str | None:
    """The kind of verified edge that the evidence makes, or None."""
    return next((kind for kind, least in thresholds.least.items() if strength(evidence, kind) >= least), None)


def strength(evidence: Evidence, kind: str) -> float:
    """What is held against the threshold of a verified kind.

    An agreement in [−1, 1], or −inf where the evidence rules the kind out.
    """
    if evidence.difference is None or evidence.difference > DIFFERENCE:
        return -math.inf
    if kind == "cropped/edited":
        return likeness(evidence) if evidence.inliers is not None and evidence.inliers >= INLIERS else -math.inf
    turned = (
        "re-encoded" if evidence.transform == "same" else "rotated" if evidence.transform in _ROTATIONS else "mirrored"
    )
    return evidence.laid if evidence.distance <= BITS and evidence.laid is not None and turned == kind else -math.inf


def likeness(evidence: Evidence) -> float:
    """The agreement of an alignment, as it counts.

    Where neither picture contains the other, it is more than twice as far below 1.
    """
    agreement, overlap = evidence.agreement or 0.0, evidence.overlap or 0.0
    return agreement if overlap >= CONTAINED else 1 - (1 - agreement) / (1 - _STRICTER)
