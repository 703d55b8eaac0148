"""In which order pairs are compared, so that few of them join many pictures, and which are joined already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from curator.database import Reader
from curator.duplicates import BITS, LISTED, TURNED, Thresholds, judge
from curator.records import Decision, Evidence, Nodes

_ENOUGH = 2
_SAYS = {"cropped/edited": 2, "altered": 1}  # how much one pair says, of what is enough
# Partners of each picture in a round: of those near by hash, which join many, and of others.
_AT_ONCE = np.array([1, 2])


def in_rounds_of(todo: Sequence[int], pairs: NDArray[np.int64], distances: NDArray[np.int64]) -> list[int]:
    """The same positions in an order in which few pairs join many pictures.

    Those near by hash come first, and of each picture one at a time, then of the others two.
    """
    at_hand = np.array(todo, np.int64)
    if not len(at_hand):
        return []
    first, far = pairs[at_hand, 0], distances[at_hand] > BITS
    order = np.lexsort((at_hand, first, far))
    begins = np.flatnonzero(np.r_[True, (np.diff(first[order]) != 0) | (np.diff(far[order].astype(int)) != 0)])
    places = np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
    rounds = np.empty(len(order), np.int64)
    rounds[order] = places // _AT_ONCE[far[order].astype(int)]
    return [int(i) for i in at_hand[np.lexsort((at_hand, rounds, far))]]


class Joined:
    """Between which contents nothing is left to see, because other pairs say it already.

    Contents that are whole each other, by any chain of pairs, are one picture; and of two pictures one pair that says
    that the one is a crop or an edit of the other is enough, or two pairs that say that something was changed in one
    place, whichever files show them. Two crops of a third join nothing: what they have in common with it says nothing
    of the rest of them. Nor do those that are turned upon each other and have `labels` of which none is the other's:
    these are only listed.
    """

    def __init__(self, thresholds: Thresholds, labels: Mapping[int, Set[str]]) -> None:
        self.thresholds, self.labels = thresholds, labels
        self._parent: dict[int, int] = {}
        self._beside: dict[
            int, dict[int, int]
        ] = {}  # root → others of which pairs say what they are to it, and how much

    def add(self, seen: Mapping[tuple[int, int], Evidence]) -> None:
        """Join the contents of pairs, where the evidence does."""
        for (a, b), evidence in seen.items():
            kind = judge(evidence, self.thresholds)
            one, other = self.labels.get(a), self.labels.get(b)
            if kind in TURNED and one and other and one.isdisjoint(other):
                continue
            if kind in _SAYS:
                self._relate(self._root(a), self._root(b), _SAYS[kind])
            elif kind is not None and kind not in LISTED:
                self._unite(self._root(a), self._root(b))

    def has(self, key: tuple[int, int]) -> bool:
        """Whether nothing is left to see between two contents."""
        first, second = self._root(key[0]), self._root(key[1])
        return first == second or self._beside.get(first, {}).get(second, 0) >= _ENOUGH

    def _relate(self, first: int, second: int, says: int) -> None:
        for one, other in ((first, second), (second, first)) if first != second else ():
            beside = self._beside.setdefault(one, {})
            beside[other] = beside.get(other, 0) + says

    def _unite(self, first: int, second: int) -> None:
        if first == second:
            return
        self._parent[first] = second
        for other, says in self._beside.pop(first, {}).items():
            del self._beside[other][first]
            self._relate(second, other, says)

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
