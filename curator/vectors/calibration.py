"""How widely a service has to walk its graph, found by probes whose true hits are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from curator.embeddings import normalise
from curator.records import Vectors

EFS = (100, 200, 400, 800)  # how widely a search walks: the least that finds `ENOUGH` of the probes' hits
PROBES, ENOUGH = 100, 0.95
K = 20  # hits of a probe
_SCANNED = 2_000_000  # images up to which a search compares every one, if the graph finds too little


def least_width(x: Vectors, nearest: Callable[[Vectors, int | None], set[int]]) -> tuple[int, float]:
    """The least of `EFS` by which 0.95 of the hits of text-like probes come, and what share of them do.

    `x` (m, d) are vectors of images; `nearest` gives the ids of the 20 best for a probe (d,), by a walk of that width
    or, for None, of all.
    """
    if len(x) < K:
        return EFS[0], 1.0
    # Half of the probes are images; half lie as far from them as words do, whose scores with images are low.
    rng = np.random.default_rng(0)
    images = x[rng.integers(0, len(x), PROBES // 2)]
    words = normalise(images + rng.normal(size=images.shape).astype(np.float32) / np.sqrt(x.shape[1]) * 2)
    probes = normalise(np.concatenate([images, words]))
    true = [nearest(q, None) for q in probes]
    for ef in EFS:
        shares = [len(t & nearest(q, ef)) / len(t) for q, t in zip(probes, true, strict=True)]
        if np.mean(shares[PROBES // 2 :]) >= ENOUGH:
            break
    return ef, float(np.mean(shares[PROBES // 2 :]))


UNFINISHED = "loading was cut off or goes on, so images may be missing; `curator push` does the rest"


def settled_width(ef: int, recall: float, total: int, say: Callable[[str], None]) -> int:
    """The width to search with; 0, to compare every image, where the widest walk finds too little among few enough."""
    if recall >= ENOUGH:
        return ef
    if total <= _SCANNED:
        say(f"The widest walk of the graph finds {recall:.3f} of the hits, so searches compare every image.")
        return 0
    say(f"Warning: the widest walk of the graph finds {recall:.3f} of the hits; --exact finds all.")
    return ef


def note_of(recall: float) -> str:
    """What an approximate answer says of itself."""
    return f"approximate: recall {recall:.3f} on {PROBES} probes when it was loaded"
