"""In which order pairs are compared, so that few of them join many pictures, and which are joined already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from curator.database import Reader
from curator.duplicates import BITS, LISTED, TURNED, Thresholds, judge
from curator.records import Decision, Evidence, Nodes


def in_rounds_of(todo: Sequence[int], pairs: NDArray[np.int64], distances: NDArray[np.int64]) -> list[int]:
    """The same positions in an order in which few pairs join many pictures.

    Those near by hash come first, and of each picture two at a time.
    """
    at_hand = np.array(todo, np.int64)
    if not len(at_hand):
        return []
    first, far = pairs[at_hand, 0], distances[at_hand] > BITS
    order = np.lexsort((at_hand, first, far))
    begins = np.flatnonzero(np.r_[True, (np.diff(first[order]) != 0) | (np.diff(far[order].astype(int)) != 0)])
    places = np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
    rounds = np.empty(len(order), np.int64)
    rounds[order] = places // 2
    return [int(i) for i in at_hand[np.lexsort((at_hand, rounds, far))]]


class Joined:
    """Which contents are joined by pairs of which the one is the whole other, as groups will be.

    Crops join nothing here: what two pictures have in common with a third says nothing of the rest of them. Nor do
    those that are turned upon each other and have `labels` of which none is the other's: these are only listed.
    """

    def __init__(self, thresholds: Thresholds, labels: Mapping[int, Set[str]]) -> None:
        self.thresholds, self.labels = thresholds, labels
        self._parent: dict[int, int] = {}

    def add(self, seen: Mapping[tuple[int, int], Evidence]) -> None:
        """Join the contents of pairs, where the evidence does."""
        for (a, b), evidence in seen.items():
            kind = judge(evidence, self.thresholds)
            one, other = self.labels.get(a), self.labels.get(b)
            if kind in TURNED and one and other and one.isdisjoint(other):
                continue
            if kind not in (None, "cropped/edited", *LISTED):
                self._parent[self._root(a)] = self._root(b)

    def has(self, key: tuple[int, int]) -> bool:
        """Whether two contents are joined already."""
        return self._root(key[0]) == self._root(key[1])

    def _root(self, content: int) -> int:
        while (above := self._parent.get(content, content)) != content:
            self._parent[content] = self._parent.get(above, above)
            content = above
        return content


def labels_of(reader: Reader, nodes: Nodes) -> dict[int, set[str]]:
    """Content of each node → labels of its images, where there are some."""
    label_of = reader.values_of("label")
    labels: dict[int, set[str]] = {}
    for image_id, content in zip(nodes.image_ids.tolist(), nodes.standing().tolist(), strict=True):
        if label_of.get(image_id) is not None:
            labels.setdefault(content, set()).add(str(label_of[image_id]))
    return labels


def are_told_apart(decisions: Sequence[Decision]) -> bool:
    """Whether a person told any two images apart."""
    return any(d.verdict == "not-duplicate" for d in decisions)
