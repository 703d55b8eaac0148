"""Which rows of a set are alike: an inverted file with several visits, as map and reduce.

Cells are those of k-means on a sample, on rows centred by the sample's mean: what all vectors of CLIP have in common
makes cells of very unlike size. Each row goes to its nearest cells, home and visits (Jégou et al. 2011, §IV, with
nprobe at the other end); within a cell every pair is compared that has an end at home. Visits are what finds duplicates
across the border of two cells.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import blocks
from curator.records import Vectors
from curator.registry import extra
from curator.scale.shards import VECTOR, Half, Part, put_rows, read_arrays, vector_column, vectors_in
from curator.scale.stages import OnceStage, duplicates_in, read_shard, without
from curator.scale.storage import Storage
from curator.selectors import spherical_kmeans

A_CELL = 1_000  # rows of one cell, about
MOST_CELLS = 65_536
TRAINING = 64  # rows for each cell that k-means sees
VISITS = 6  # cells of each row: its home and five more
_BLOCK = 4_096
_CROWDED = 16  # times the mean, above which a cell is divided again
MOST_VISITS = 32  # that are tried to say how many are enough
MOST_EDGES = 1_024  # of one row that are kept

Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]  # (m,) ids, (m,) ids, (m,) scores


def centred(x: Half | Vectors, mean: NDArray[np.float32]) -> Vectors:
    """(n, d) → (n, d) unit rows about the sample's mean; a row that is the mean itself stays as it is."""
    y = x.astype(np.float32) - mean
    norms = np.linalg.norm(y, axis=1, keepdims=True)
    return np.where(norms > 1e-6, y / np.maximum(norms, 1e-12), x).astype(np.float32)


def count_cells(n: int, cells: int | None) -> int:
    """How many cells n rows go to: as asked, or one for about a thousand."""
    return cells or min(MOST_CELLS, max(1, n // A_CELL))


def train_cells(sample: Half, n: int, *, cells: int | None, seed: int = 0) -> tuple[NDArray[np.float32], Vectors]:
    """A sample (m, d) of n rows → its mean (d,) and the cells' centres (c, d)."""
    mean = sample.astype(np.float32).mean(0)
    return mean, spherical_kmeans(centred(sample, mean), count_cells(n, cells), np.random.default_rng(seed))


def nearest_cells(y: Vectors, centres: Vectors, visits: int) -> NDArray[np.int32]:
    """(n, d), (c, d) → (n, m) the cells each row scores highest with, its home first."""
    m = min(visits, len(centres))
    cells = np.empty((len(y), m), np.int32)
    for part in blocks(len(y), _BLOCK):
        # (b, d) @ (d, c) → (b, c); the m largest of each row, in order.
        products = y[part] @ centres.T
        top = (
            np.argpartition(-products, m - 1, axis=1)[:, :m]
            if m < len(centres)
            else np.tile(np.arange(m), (len(products), 1))
        )
        order = np.argsort(-np.take_along_axis(products, top, 1), axis=1, kind="stable")
        cells[part] = np.take_along_axis(top, order, 1)
    return cells


def join_cell(x: Half, ids: NDArray[np.int64], is_home: NDArray[np.bool_], threshold: float) -> Edges:
    """Pairs of a cell with a score of at least the threshold, each with one end at home: (first < second by id)."""
    home, everyone = np.flatnonzero(is_home), np.arange(len(x))
    y = x.astype(np.float32)
    firsts, seconds, scores = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for rows in blocks(len(home), _BLOCK):
        for columns in blocks(len(everyone), _BLOCK):
            a, b = home[rows], everyone[columns]
            products = y[a] @ y[b].T
            i, j = np.nonzero(products >= threshold)
            first, second = ids[a[i]], ids[b[j]]
            # Of two that are both at home one direction is enough; a visitor's id may be on either side.
            once = (first < second) | (~is_home[b[j]] & (first != second))
            firsts.append(np.minimum(first, second)[once])
            seconds.append(np.maximum(first, second)[once])
            scores.append(products[i, j][once])
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(scores).astype(np.float32)


def divided(
    y: Vectors, is_home: NDArray[np.bool_], mean_size: float, visits: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """A cell as it is, or, where it is crowded, as cells of its own: positions, and which of them are at home there."""
    if len(y) <= _CROWDED * mean_size or len(y) <= 2 * _BLOCK:
        yield np.arange(len(y)), is_home
        return
    count = math.ceil(len(y) / max(mean_size, A_CELL))
    centres = spherical_kmeans(y, count, np.random.default_rng(0))
    cells = nearest_cells(y, centres, visits)
    for cell in range(len(centres)):
        members = np.flatnonzero((cells == cell).any(1))
        yield members, is_home[members] & (cells[members, 0] == cell)


def at_most(edges: Edges, most: int = MOST_EDGES) -> tuple[Edges, int]:
    """Each pair once, as long as one of its ends has it among its `most` best → edges, and how many were let go."""
    first, second, scores = edges
    order = np.lexsort((-scores, second, first))
    first, second, scores = first[order], second[order], scores[order]
    fresh = np.ones(len(first), bool)
    fresh[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    first, second, scores = first[fresh], second[fresh], scores[fresh]
    # Every edge from both of its ends; the place of each among those of its row, the best first.
    ends, edge = np.concatenate([first, second]), np.tile(np.arange(len(first)), 2)
    order = np.lexsort((-scores[edge], ends))
    place = np.arange(len(order)) - np.searchsorted(ends[order], ends[order])
    keep = np.zeros(len(first), bool)
    keep[edge[order][place < most]] = True
    return (first[keep], second[keep], scores[keep]), int((~keep).sum())


@dataclass(frozen=True)
class AssignShard(OnceStage):
    """The stage that sends the rows of a shard to their cells: one file, a row group for each group of cells."""

    visits: int
    groups: int
    folder = "cells/"

    def make(self, storage: Storage, number: int) -> None:
        """Assign."""
        part = _once(storage, self.home, number)
        mean, centres = read_cells(storage, self.home)
        cells = nearest_cells(centred(part.x, mean), centres, self.visits)
        storage.put(self.file(number), self._visits(part, cells, len(centres)))

    def _visits(self, part: Part, cells: NDArray[np.int32], count: int) -> bytes:
        """The rows of a shard once for each cell that they are in, as a file."""
        pa, pq = extra("pyarrow", "scale"), extra("pyarrow.parquet", "scale")
        dim = part.x.shape[1]
        rows = np.repeat(np.arange(len(part)), cells.shape[1])
        flat = cells.ravel().astype(np.int64)
        is_home = np.tile(np.arange(cells.shape[1]) == 0, len(part))
        group = flat * self.groups // max(count, 1)
        columns = [("cell", pa.int32()), ("home", pa.bool_()), ("id", pa.int64())]
        schema = pa.schema([*columns, (VECTOR, pa.list_(pa.float16(), dim))])
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for number in range(self.groups):
                members = np.flatnonzero(group == number)
                vectors = vector_column(part.x[rows[members]])
                values = {
                    "cell": flat[members].astype(np.int32),
                    "home": is_home[members],
                    "id": part.ids[rows[members]],
                }
                # A group without rows is a row group all the same, so that they are counted alike in every file.
                writer.write_table(pa.table(values | {VECTOR: vectors}, schema), row_group_size=max(1, len(members)))
        return sink.getvalue()


@dataclass(frozen=True)
class JoinGroup(OnceStage):
    """The stage that compares within the cells of one group; memory holds one group."""

    visits: int
    cells_of: tuple[str, ...]  # the files that hold who is in which cell, one for each shard
    threshold: float
    folder = "edges/"

    def make(self, storage: Storage, number: int) -> None:
        """Join."""
        pa = extra("pyarrow", "scale")
        (first, second, scores), dropped = self._edges(storage, number)
        table = pa.table({"first": first, "second": second, "score": scores})
        put_rows(storage, self.file(number), table.replace_schema_metadata({"dropped": str(dropped)}))

    def _edges(self, storage: Storage, group: int) -> tuple[Edges, int]:
        cell, is_home, ids, x = self._rows(storage, group)
        mean, _ = read_cells(storage, self.home)
        mean_size = max(1.0, len(ids) / max(1, len(np.unique(cell))))
        order = np.argsort(cell, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(cell[order]) != 0]) if len(order) else np.empty(0, np.int64)
        parts: list[Edges] = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            rows = order[start:stop]
            for members, at_home in divided(centred(x[rows], mean), is_home[rows], mean_size, self.visits):
                parts.append(join_cell(x[rows][members], ids[rows][members], at_home, self.threshold))
        first, second, scores = (np.concatenate([p[i] for p in parts]) for i in range(3))
        return at_most((first, second, scores))

    def _rows(
        self, storage: Storage, group: int
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64], Half]:
        """Everybody at home or on a visit in the cells of the group, whatever shard they come from."""
        pq = extra("pyarrow.parquet", "scale")
        columns: list[tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64], Half]] = []
        for file in self.cells_of:
            with storage.open(file) as opened:
                table = pq.ParquetFile(opened).read_row_group(group)
            values = (table[n].to_numpy() for n in ("cell", "home", "id"))
            columns.append((*values, vectors_in(table)))
        cell, is_home, ids, x = (np.concatenate([c[i] for c in columns]) for i in range(4))
        return cell, is_home, ids, x


@dataclass(frozen=True)
class CertifyShard(OnceStage):
    """The stage that compares sampled rows with every row of one shard: what the join should have found."""

    threshold: float
    folder = "certificate/"

    def make(self, storage: Storage, number: int) -> None:
        """Compare."""
        pa = extra("pyarrow", "scale")
        part = _once(storage, self.home, number)
        sample = read_arrays(storage, f"{self.home}/sample.npz")
        sample_ids, q = sample["ids"], sample["x"].astype(np.float32)
        rows, columns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for block in blocks(len(part), _BLOCK):
            i, j = np.nonzero(q @ part.x[block].astype(np.float32).T >= self.threshold)
            other = sample_ids[i] != part.ids[block][j]
            rows.append(i[other])
            columns.append(j[other] + block.start)
        i, j = np.concatenate(rows), np.concatenate(columns)
        values = {"sampled": sample_ids[i], "id": part.ids[j], VECTOR: vector_column(part.x[j])}
        put_rows(storage, self.file(number), pa.table(values))


def visits_needed(
    x: Half, y: Half, mean: NDArray[np.float32], centres: Vectors, *, most: int = MOST_VISITS
) -> NDArray[np.int64]:
    """(m, d), (m, d) the ends of edges → (m,) how many visits make the two meet; `most` + 1 where no so many do."""
    a, b = (nearest_cells(centred(ends, mean), centres, most) for ends in (x, y))
    needed = np.full(len(a), most + 1)
    for place in range(a.shape[1] - 1, -1, -1):
        # One end's home is among the first `place + 1` cells of the other.
        meets = (a[:, 0] == b[:, place]) | (b[:, 0] == a[:, place])
        needed[meets] = place + 1
    return needed


def read_cells(storage: Storage, home: str) -> tuple[NDArray[np.float32], Vectors]:
    """The mean (d,) and the centres (c, d) that were trained for a join."""
    cells = read_arrays(storage, f"{home}/cells.npz")
    return cells["mean"], cells["centres"]


def _once(storage: Storage, home: str, shard: int) -> Part:
    """The rows of a shard, without those whose picture stands elsewhere too, and is compared there."""
    return without(read_shard(storage, shard, ()), duplicates_in(storage, f"{home}/exact.parquet"))
