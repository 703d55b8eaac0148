"""How near pictures come to training images, by pixels, and what is proved of the nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.cleaning.comparing import Hashes
from curator.cleaning.looks import read_sketch
from curator.database import Curation
from curator.duplicates import BITS, Thresholds, examine, proved
from curator.duplicates.likeness import Greys, nearest_by_pixels
from curator.embeddings import blocks
from curator.index import Index
from curator.metrics import Nearest
from curator.records import Ids, Vectors

_HINTS = 4
_PAIRS = 1 << 24  # inner products in memory at once


@dataclass(frozen=True)
class Side:
    """Images of one kind: ids, grey pictures, their statistics, unit rows."""

    ids: Ids
    pixels: Greys
    statistics: NDArray[np.float64]
    x: Vectors


@dataclass(frozen=True)
class Near:
    """Of n pictures the nearest of y: its position, the difference, its ratio to what is usual there, the transform."""

    position: NDArray[np.int64]
    difference: NDArray[np.float64]
    ratio: NDArray[np.float64]
    transform: tuple[str, ...]


def likeness(x: Side, y: Side) -> Near:
    """The training image nearest to each of x, by pixels, among those nearest by vector and by coarse pixels."""
    nearest = nearest_by_pixels(x.pixels, y.pixels, _hints(x.x, y.x))
    hit = np.unique(nearest.position)
    alone = nearest_by_pixels(y.pixels[hit], y.pixels, _hints(y.x[hit], y.x), own=hit).fifth
    usual = alone[np.searchsorted(hit, nearest.position)]
    return Near(nearest.position, nearest.difference, nearest.difference / np.maximum(usual, 1.0), nearest.transform)


def _hints(x: Vectors, y: Vectors) -> NDArray[np.int64]:
    """(n, h) positions of the nearest embeddings."""
    k = min(_HINTS, len(y))
    parts = [
        np.argpartition(-(x[part] @ y.T), k - 1, axis=1)[:, :k] for part in blocks(len(x), max(1, _PAIRS // len(y)))
    ]
    return np.concatenate(parts)


class Proof:
    """What `curator dedupe` would call pairs of images with training images `y`.

    Looked at are pairs that are nearer than usual, by pixels (`ratio`) or vectors (`distance`), and those that are near
    by hash.
    """

    def __init__(self, index: Index, y: Ids, ratio: float, distance: float) -> None:
        self.index, self.y, self.ratio, self.distance = index, y, ratio, distance
        nodes = Curation(index.reader).nodes(index.space)
        self.hashes = Hashes.of(Curation(index.reader), nodes)
        self.node_of = dict(zip(nodes.image_ids.tolist(), nodes.node_of.tolist(), strict=True))

    def of(self, x: Ids, by_pixels: Near, by_vector: Nearest) -> list[tuple[int, str]]:
        """(n,) which of the two nearest of y each of x is proved a duplicate of, and of what kind.

        The kind is "" where nothing is proved.
        """
        said = self._kinds(x, self.y[by_pixels.position], by_pixels.ratio <= self.ratio)
        again = self._kinds(x, self.y[by_vector.position], by_vector.distance <= self.distance)
        return [
            (int(q), other) if other and not kind else (int(p), kind)
            for p, q, kind, other in zip(by_pixels.position, by_vector.position, said, again, strict=True)
        ]

    def _kinds(self, first: Ids, second: Ids, flagged: NDArray[np.bool_]) -> list[str]:
        """(n,) kinds of pairs that are flagged or near by hash; "" for all others, and where nothing is proved."""
        nodes = np.array([[self.node_of[int(i)] for i in ids] for ids in (first, second)]).T
        distance, way = self.hashes.distances(nodes)
        said = [""] * len(first)
        for i in np.flatnonzero(flagged | (distance <= BITS)).tolist():
            said[i] = self._kind((int(first[i]), int(second[i])), nodes[i], int(distance[i]), int(way[i]))
        return said

    def _kind(self, ids: tuple[int, int], nodes: NDArray[np.int64], distance: int, way: int) -> str:
        one, other = self.index.images(list(ids))
        if nodes[0] == nodes[1]:
            return "identical-file" if one.sha256 == other.sha256 else "identical-pixels"
        thresholds = Thresholds()
        # A small part of a picture is no copy of it: of drawn things most are parts of each other.
        seen = examine(distance, way, read_sketch(one), read_sketch(other), thresholds, extent="whole")
        return proved(seen, thresholds) or ""
