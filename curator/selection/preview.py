"""`curator preview`: what selections would be worth, before training.

Distance from a reference, variety, balance, duplicates left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from curator.database import Curation, Selections
from curator.errors import UsageError
from curator.index import Index
from curator.index.images import codes_of, find_images, refuse_changed, vectors_of
from curator.job import QUIET, Job
from curator.metrics import bootstrap, frechet_distance, manifold, told_apart
from curator.records import Ids, Selection, Vectors

CONTROLS = 3  # random choices of the same size beside every selection
_MOST = 10_000  # images of a set that are compared; more are sampled
_TOLD = 2_000  # of each set that a classifier is taught on and tried on
_LEAST = 10


@dataclass(frozen=True)
class Row:
    """One selection, or the mean of its controls, against the reference.

    `apart` is the chance that a classifier tells an image of the reference from one of the selection, 0.5 at best;
    `frechet` distance with its 95 % interval (`low`, `high`); `precision`, `recall`, `density`, `coverage` as in
    `metrics.Manifold`; `duplicates` is the share of images that stand in it more than once; `balance`, in [0, 1], how
    evenly labels are spread. `rank` 1 is nearest; those within each other's intervals could be anywhere from `rank_low`
    to `rank_high`.
    """

    name: str
    images: int
    frechet: float
    low: float
    high: float
    precision: float
    recall: float
    density: float
    coverage: float
    apart: float
    duplicates: float
    balance: float
    rank: int = 0
    rank_low: int = 0
    rank_high: int = 0


def preview(
    index: Index,
    names: Sequence[str],
    against: str,
    *,
    column: str = "label",
    seed: int = 0,
    job: Job = QUIET,
) -> list[Row]:
    """Compare selections with a reference they share no image with; the best first, by Fréchet distance.

    The reference is a selection, a folder, or a condition. Beside them stand `CONTROLS` random choices of each size
    from all real images that are not the reference, if there are as many. All sets are cut to one size, because
    distances of smaller sets are larger. Raises `UsageError` for shared images, or sets too small; `UnknownName`.
    """
    if not names:
        raise UsageError("name the selections to compare; `curator selections` lists them")
    chosen = {name: _usable(index, Selections(index.reader).get(name)) for name in names}
    return preview_sets(index, chosen, find_images(index, against), column=column, seed=seed, job=job)


def preview_sets(
    index: Index,
    chosen: Mapping[str, Ids],
    reference: Ids,
    *,
    column: str = "label",
    seed: int = 0,
    job: Job = QUIET,
) -> list[Row]:
    """The same of images by name, whether or not they are kept as selections."""
    for name, ids in chosen.items():
        shared = len(np.intersect1d(ids, reference))
        if shared:
            raise UsageError(
                f"{shared} images of '{name}' are in the reference too, which would flatter it; hold images out, as "
                "with "
                "`curator selections split`"
            )
    if min(len(reference), *(len(i) for i in chosen.values())) < _LEAST:
        raise UsageError(
            f"a selection or the reference has fewer than {_LEAST} images with vectors, which tells nothing"
        )
    rng = np.random.default_rng(seed)
    size = min(_MOST, *(len(i) for i in chosen.values()))
    present = Curation(index.reader).nodes(index.space).image_ids
    pool = np.setdiff1d(np.intersect1d(present, index.reader.ids_where("origin = 'real'")), reference)
    y = vectors_of(index, _some(reference, _MOST, rng)).astype(np.float32)
    judge = _Judge(index, y, size, column, rng)
    rows = []
    for done, (name, ids) in enumerate(chosen.items(), 1):
        rows.append(judge.row(name, ids))
        job.progress(done, len(chosen), "previewing", unit="selections")
        job.check()
    for count in sorted({len(ids) for ids in chosen.values()}):
        if len(pool) < max(count, _LEAST):  # too few images to choose as many from
            continue
        rows.append(_mean(f"random, {count} images", [judge.row("", _some(pool, count, rng)) for _ in range(CONTROLS)]))
    return _ranked(rows)


@dataclass(frozen=True)
class _Judge:
    """What all rows are made with: the reference `y` (m, d), the size that sets are cut to, the column to balance."""

    index: Index
    y: Vectors
    size: int
    column: str
    rng: np.random.Generator

    def row(self, name: str, ids: Ids) -> Row:
        """One set's row, unranked."""
        x = vectors_of(self.index, _some(ids, self.size, self.rng)).astype(np.float32)
        distance = frechet_distance(x, self.y)
        low, high = bootstrap(lambda some: frechet_distance(some, self.y), x, self.rng)
        m = manifold(x, self.y)
        return Row(
            name, len(ids), distance, min(low, distance), max(high, distance), m.precision, m.recall, m.density,
            m.coverage, told_apart(_rows(x, _TOLD, self.rng), _rows(self.y, _TOLD, self.rng), self.rng),
            _duplicates(self.index, ids), _balance(codes_of(self.index, ids, self.column)),
        )  # fmt: skip


def _usable(index: Index, s: Selection) -> Ids:
    """The images of a selection. Raises `UsageError` where one is gone or is another picture now."""
    refuse_changed(index, s)
    return s.ids


def _some(ids: Ids, size: int, rng: np.random.Generator) -> Ids:
    return np.sort(rng.choice(ids, min(size, len(ids)), replace=False))


def _rows(x: Vectors, most: int, rng: np.random.Generator) -> Vectors:
    """At most so many rows, drawn from all: ids ascend, and folders are sorted by label."""
    return x if len(x) <= most else x[rng.choice(len(x), most, replace=False)]


def _duplicates(index: Index, ids: Ids) -> float:
    """Share of images whose picture is in the set more than once.

    By identical pixels, or by the groups of the last `curator dedupe`.
    """
    curation = Curation(index.reader)
    nodes = curation.nodes(index.space)
    node = dict(zip(nodes.image_ids.tolist(), nodes.node_of.tolist(), strict=True))
    keeper = {g.image_id: g.keeper_id for g in curation.groups()}
    pictures = {node[keeper.get(i, i)] if keeper.get(i, i) in node else node[i] for i in ids.tolist()}
    return 1 - len(pictures) / len(ids)


def _balance(codes: NDArray[np.int64]) -> float:
    """Entropy of the labels over that of equal shares: 1 for as many of each, 0 for one label only, NaN for none."""
    _, counts = np.unique(codes[codes >= 0], return_counts=True)
    if len(counts) < 2:
        return 0.0 if len(counts) else float("nan")
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(len(counts)))


def _mean(name: str, rows: Sequence[Row]) -> Row:
    def mean(field: str) -> float:
        return float(np.mean([getattr(r, field) for r in rows]))

    spread = 1.96 * float(np.std([r.frechet for r in rows], ddof=1))
    middle = mean("frechet")
    others = {f: mean(f) for f in ("precision", "recall", "density", "coverage", "apart", "duplicates", "balance")}
    return replace(rows[0], name=name, frechet=middle, low=middle - spread, high=middle + spread, **others)  # type: ignore[arg-type]


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Nearest first; a rank's interval counts those that are surely nearer, and those that may be."""
    ordered = sorted(rows, key=lambda r: (r.frechet, r.name))
    return [
        replace(
            r,
            rank=rank,
            rank_low=1 + sum(o.high < r.low for o in ordered),
            rank_high=len(ordered) - sum(o.low > r.high for o in ordered),
        )
        for rank, r in enumerate(ordered, 1)
    ]
