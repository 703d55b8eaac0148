"""A first look at many pairs of pictures, of a fraction of a millisecond each, that says which deserve a second.

Two pictures do if a few of the strongest corners of one are in the other, all of one size and turn (votes), or if one,
made small, is found in the other (hints).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.cleaning.looks import Look
from curator.duplicates import Corners, count_votes, find_part
from curator.duplicates.corners import RATIO, gather_asked
from curator.duplicates.sketch import SIDE
from curator.vectors import nearest_words

VOTES = 10  # corners that agree from which a full look is worth it: of pairs that are none, 1 in 100 have as many
_AT_ONCE = 64  # pairs that one thread looks at

Key = tuple[int, int]


def count_corners(pairs: Sequence[Key], looks: Mapping[int, Look | None], threads: Executor) -> NDArray[np.int64]:
    """(m,) votes of the corners of each pair of contents, the more of the two ways of asking."""
    asking: dict[int, list[tuple[int, Corners]]] = {}  # owner → (twice the pair, and the way; who asks)
    for number, key in enumerate(pairs):
        for way, (owner, asker) in enumerate((key, key[::-1])):
            look, other = looks[owner], looks[asker]
            if look is not None and other is not None and look.corners.whole > 1 and len(other.corners.words):
                asking.setdefault(owner, []).append((2 * number + way, other.corners))
    votes = np.zeros(2 * len(pairs), np.int64)
    if asking:
        owners = ((look.corners, askers) for owner, askers in asking.items() if (look := looks[owner]))
        matches = list(threads.map(_matches, *zip(*owners, strict=True)))
        ways, levels, turns = (np.concatenate(column) for column in zip(*matches, strict=True))
        voted, counts = count_votes(ways, np.arange(len(ways)), levels, turns)
        votes[voted] = counts
    return np.asarray(votes.reshape(-1, 2).max(1))


def _matches(owner: Corners, askers: Sequence[tuple[int, Corners]]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(k,) which way of asking, and by how much sizes and turns differ, of corners that are clearly like one here."""
    of, words, levels, turns = gather_asked(askers)
    distances, near = nearest_words(words, owner.words[: owner.whole])
    rows = np.flatnonzero(distances[:, 0] < RATIO * distances[:, 1])
    onto = near[rows, 0]
    return of[rows], levels[rows] - owner.levels[onto], turns[rows] - owner.turns[onto]


def find_hints(
    pairs: Sequence[Key], looks: Mapping[int, Look | None], threads: Executor
) -> list[NDArray[np.float64] | None]:
    """Of each pair where the second may lie in the first, or the first in the second: (2, 3) in pixels of sketches."""
    parts = [pairs[i : i + _AT_ONCE] for i in range(0, len(pairs), _AT_ONCE)]
    return [
        hint
        for hints in threads.map(lambda part: [_hint(looks[a], looks[b]) for a, b in part], parts)
        for hint in hints
    ]


def _hint(a: Look | None, b: Look | None) -> NDArray[np.float64] | None:
    import cv2

    if a is None or b is None:
        return None
    if a.tiny.order > b.tiny.order:
        hint = _hint(b, a)
        return None if hint is None else np.asarray(cv2.invertAffineTransform(hint))
    into = find_part(a.tiny, b.tiny)
    back = find_part(b.tiny, a.tiny) if into is None else None
    place: NDArray[np.float64] | None = into if into is not None else back
    if place is None:
        return None
    place = place.copy()
    place[:, 2] *= SIDE
    return place if back is None else np.asarray(cv2.invertAffineTransform(place))
