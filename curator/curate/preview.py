"""`curator preview`: what selections would be worth, before training: distance from a reference, variety, balance, duplicates left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from curator.curate.candidates import codes_of, find_images, vectors_of
from curator.database import Curation, Selections
from curator.errors import UsageError
from curator.index import Index
from curator.metrics import bootstrap, frechet_distance, manifold
from curator.records import Ids, Progress, Vectors

CONTROLS = 3  # random choices of the same size beside every selection
_MOST = 10_000  # images of a set that are compared; more are sampled
_LEAST = 10


@dataclass(frozen=True)
class Row:
    """One selection, or the mean of its controls, against the reference.

    `frechet` distance with its 95 % interval (`low`, `high`); `precision`, `recall`, `density`, `coverage` as in `metrics.Manifold`;
    `duplicates` is the share of images that stand in it more than once; `balance`, in [0, 1], how evenly labels are spread. `rank` 1 is
    nearest; those within each other's intervals could be anywhere from `rank_low` to `rank_high`.
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
    progress: Callable[[Progress], None] = lambda p: None,
) -> list[Row]:
    """Compare selections with a reference they share no image with: a selection, a folder, or a condition; best first by Fréchet distance.

    Beside each stand `CONTROLS` random choices of the same size from all images that are not the reference. All sets are cut to one size,
    because distances of smaller sets are larger. Raises `UsageError` for shared images, or sets too small; `UnknownName`.
    """
    reference = find_images(index, against)
    chosen = {name: _usable(index, Selections(index.reader).get(name).ids) for name in names}
    for name, ids in chosen.items():
        shared = len(np.intersect1d(ids, reference))
        if shared:
            raise UsageError(
                f"{shared} images of '{name}' are in the reference too, which would flatter it; hold images out, as with "
                "`curator selections split`"
            )
    if min(len(reference), *(len(i) for i in chosen.values())) < _LEAST:
        raise UsageError(f"a selection or the reference has fewer than {_LEAST} images with vectors, which tells nothing")
    rng = np.random.default_rng(seed)
    size = min(_MOST, *(len(i) for i in chosen.values()))
    pool = np.setdiff1d(index.reader.ids_where("origin = 'real'"), reference)
    pool = _usable(index, pool)
    y = vectors_of(index, _some(reference, _MOST, rng)).astype(np.float32)
    rows = []
    for done, (name, ids) in enumerate(chosen.items(), 1):
        rows.append(_row(index, name, ids, size, y, column, rng))
        controls = [_row(index, "", _some(pool, len(ids), rng), size, y, column, rng) for _ in range(CONTROLS)]
        rows.append(_mean(f"random, like {name}", controls))
        progress(Progress(done, len(chosen), 0, "previewing", "selections"))
    return _ranked(rows)


def _usable(index: Index, ids: Ids) -> Ids:
    return ids[np.isin(ids, Curation(index.reader).nodes(index.space).image_ids)]


def _some(ids: Ids, size: int, rng: np.random.Generator) -> Ids:
    return np.sort(rng.choice(ids, min(size, len(ids)), replace=False))


def _row(index: Index, name: str, ids: Ids, size: int, y: Vectors, column: str, rng: np.random.Generator) -> Row:
    x = vectors_of(index, _some(ids, size, rng)).astype(np.float32)
    distance = frechet_distance(x, y)
    low, high = bootstrap(lambda some: frechet_distance(some, y), x, rng)
    m = manifold(x, y)
    return Row(
        name, len(ids), distance, min(low, distance), max(high, distance), m.precision, m.recall, m.density, m.coverage,
        _duplicates(index, ids), _balance(codes_of(index, ids, column)),
    )  # fmt: skip


def _duplicates(index: Index, ids: Ids) -> float:
    """Share of images whose picture, by identical pixels or the groups of the last `curator dedupe`, is in the set more than once."""
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
    others = (mean(f) for f in ("precision", "recall", "density", "coverage", "duplicates", "balance"))
    return Row(name, rows[0].images, middle, middle - spread, middle + spread, *others)


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Nearest first; a rank's interval counts those that are surely nearer, and those that may be."""
    ordered = sorted(rows, key=lambda r: (r.frechet, r.name))
    return [
        replace(
            r,
            rank=at,
            rank_low=1 + sum(o.high < r.low for o in ordered),
            rank_high=len(ordered) - sum(o.low > r.high for o in ordered),
        )
        for at, r in enumerate(ordered, 1)
    ]
