"""Aspect buckets: what trainers that batch by shape make of a selection's sizes.

The shapes are those of kohya's `sd-scripts` (`make_bucket_resolutions`, as of 2024), which NovelAI's aspect ratio
bucketing of 2022 began: of about the area of a square, sides of a multiple of 64, and of 1024 px at most, or of the
square's own side where that is more, as `--max_bucket_reso` has it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curator.errors import UsageError
from curator.index import Index
from curator.index.images import find_images

STEP, LEAST, LONGEST = 64, 256, 1_024  # pixels: what sides are multiples of, the shortest and the longest side


@dataclass(frozen=True)
class Bucket:
    """One shape: how many images go into it, how many of them are enlarged for it, what share of them is cut off."""

    width: int
    height: int
    images: int
    enlarged: int
    cut: float


@dataclass(frozen=True)
class BucketReport:
    """The buckets of one resolution that any image goes into, the fullest first."""

    resolution: int
    images: int
    enlarged: int
    cut: float  # mean share of a picture that is cut off
    buckets: tuple[Bucket, ...]


def shapes_for(resolution: int) -> list[tuple[int, int]]:
    """(width, height) of every bucket of a resolution. Raises `UsageError` for one below 64 or above 4096."""
    if not STEP <= resolution <= 4_096:
        raise UsageError(f"a resolution of buckets lies between {STEP} and 4096 pixels, not {resolution}")
    area, least = resolution * resolution, min(LEAST, resolution // STEP * STEP)
    square = resolution // STEP * STEP
    most = max(LONGEST, square)
    shapes = {(square, square)}
    for width in range(least, most + 1, STEP):
        height = min(most, area // width // STEP * STEP)
        if height >= least:
            shapes |= {(width, height), (height, width)}
    return sorted(shapes)


def bucket_report(sizes: Sequence[tuple[int, int]], resolution: int) -> BucketReport:
    """Into which bucket each image of (width, height) goes: the one of the nearest aspect ratio.

    There it covers the shape: enlarged where it is smaller, cut where it is longer.
    """
    shapes = np.array(shapes_for(resolution), float)
    w, h = np.array(sizes, float).reshape(-1, 2).T
    nearest = np.abs((w / h)[:, None] - shapes[:, 0] / shapes[:, 1]).argmin(1)
    wide, high = shapes[nearest].T
    scale = np.maximum(wide / w, high / h)
    cut = 1 - wide * high / (w * scale * h * scale)
    counts = Counter(nearest.tolist())
    buckets = tuple(
        Bucket(int(shapes[b][0]), int(shapes[b][1]), n, int((scale[nearest == b] > 1).sum()), _mean(cut[nearest == b]))
        for b, n in counts.most_common()
    )
    return BucketReport(resolution, len(sizes), int((scale > 1).sum()), _mean(cut), buckets)


def _mean(values: np.ndarray) -> float:
    mean = float(values.mean()) if len(values) else 0.0
    return 0.0 if math.isclose(mean, 0, abs_tol=1e-12) else mean


def bucket_reports(index: Index, names: Sequence[str], resolutions: Sequence[int]) -> dict[str, list[BucketReport]]:
    """selection → a report for each resolution; without names "", all real images. Raises `UnknownName`."""
    reports = {}
    for name in names or ("",):
        ids = find_images(index, name) if name else index.reader.ids_where("origin = 'real'")
        sizes = [(i.width, i.height) for i in index.images(ids)]
        if not sizes:
            raise UsageError(f"{name or 'the index'} has no images to put into buckets")
        reports[name] = [bucket_report(sizes, r) for r in resolutions]
    return reports
