"""Corners of a picture: where they are, of what size and turn, and what they look like.

They are found with ORB (Rublee et al. 2011). A few of the strongest, and those of the picture shrunk, as if it were a
part of a larger one, are what is asked of other pictures. Two pictures of which one lies in the other have corners that
look alike and whose sizes and turns all differ by the same (weak geometry, Jégou et al. 2008): such ones are votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = 1.2  # from one size of corner to the next
_MOST = 500  # corners of a picture at comparison size
_SHRUNK = (160, 107)  # pixels of the long side at which a picture is looked at as if it were a part of another
_LONG = 320  # pixels of the long side at comparison size
ASKED = 32  # of the strongest corners, and of each shrunk picture
RATIO = 0.8  # a match must be this much nearer than the next best (Lowe 2004, §7.1)
_LEVELS, _DEGREES = 2, 45  # width of a bin of votes; bins overlap by half
_CONTRASTS = (15, 7)  # grey levels of a corner; fainter ones only where there are few
_PLACE = 64  # parts of a pixel that are kept

Grey = NDArray[np.uint8]
Words = NDArray[np.uint8]  # (m, 32)


@dataclass(frozen=True)
class Corners:
    """m corners, the strongest first, then those of the shrunk pictures, from position `whole` on.

    `places` (m, 2) in pixels at comparison size; `levels` (m,), how many steps of 1.2 larger than the smallest; `turns`
    (m,) in degrees; `words` (m, 32), 256 bits each.
    """

    places: NDArray[np.float32]
    levels: NDArray[np.float32]
    turns: NDArray[np.float32]
    words: NDArray[np.uint8]
    whole: int

    @classmethod
    def of(cls, grey: Grey) -> Corners:
        """Those of a grey picture (H, W) at comparison size."""
        import cv2

        parts = [_find(grey, _MOST, 1.0, 8)]
        for side in _SHRUNK:
            size = tuple(max(8, round(s * side / _LONG)) for s in grey.shape[::-1])
            small: Any = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
            parts.append(_find(small, ASKED, _LONG / side, 4))
        places, levels, turns, words = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(places, levels, turns, words, len(parts[0][0]))

    @property
    def asked(self) -> NDArray[np.int64]:
        """Positions of the corners that other pictures are asked for."""
        return np.concatenate([np.arange(min(ASKED, self.whole)), np.arange(self.whole, len(self.words))])

    def to_bytes(self) -> bytes:
        """About 40 bytes a corner: places to a 64th of a pixel, sizes and turns in half precision."""
        head = np.array([len(self.words), self.whole], "<u2")
        places = np.round(self.places * _PLACE).clip(0, 65_535).astype("<u2")
        rest = (self.levels.astype("<f2"), self.turns.astype("<f2"), self.words)
        return b"".join(part.tobytes() for part in (head, places, *rest))

    @classmethod
    def from_bytes(cls, stored: bytes) -> Corners:
        """What `to_bytes` made. Raises `ValueError` for anything else."""
        m, whole = (int(v) for v in np.frombuffer(stored, "<u2", 2))
        if len(stored) != 4 + 40 * m or whole > m:
            raise ValueError("not the corners of a picture")
        places = np.frombuffer(stored, "<u2", 2 * m, 4).reshape(m, 2).astype(np.float32) / np.float32(_PLACE)
        levels, turns = (np.frombuffer(stored, "<f2", m, 4 + 4 * m + s * m).astype(np.float32) for s in (0, 2))
        return cls(places, levels, turns, np.frombuffer(stored, np.uint8, 32 * m, 4 + 8 * m).reshape(m, 32), whole)


def _find(grey: Grey, most: int, shrunk: float, levels: int) -> tuple[Any, Any, Any, Any]:
    """Places, levels, turns and words of the strongest corners of a picture that was `shrunk` times, of few sizes."""
    import cv2

    for contrast in _CONTRASTS:
        # Smaller borders than OpenCV's 31, or small pictures lose most of their corners.
        finder: Any = cv2.ORB_create(  # type: ignore[attr-defined]
            nfeatures=max(most, 100), nlevels=levels, edgeThreshold=15, patchSize=31, fastThreshold=contrast
        )
        points, words = finder.detectAndCompute(grey, None)
        if len(points) > 0.9 * most:
            break
    if not points:
        return np.empty((0, 2), np.float32), *(np.empty(0, np.float32),) * 2, np.empty((0, 32), np.uint8)
    facts = np.array([(*k.pt, k.octave, k.angle, k.response) for k in points], np.float32)
    first = np.argsort(-facts[:, 4], kind="stable")[:most]
    facts, words = facts[first], words[first]
    return facts[:, :2] * shrunk, facts[:, 2] + np.float32(np.log(shrunk) / np.log(STEP)), facts[:, 3], words


def gather_asked(
    askers: Sequence[tuple[int, Corners]],
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Of numbered pictures, one after the other: number (k,), words (k, 32), levels and turns (k,) of what is asked."""
    asked = [corners.asked for _, corners in askers]
    words, levels, turns = (
        np.concatenate([getattr(corners, name)[a] for (_, corners), a in zip(askers, asked, strict=True)])
        for name in ("words", "levels", "turns")
    )
    return np.repeat(np.array([n for n, _ in askers], np.int64), [len(a) for a in asked]), words, levels, turns


def nearest_two(a: Words, b: Words) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
    """Of every word of `a` the position of the nearest of at least two in `b`, its distance in bits, and the next's.

    All bits counted in arrays of bytes, which takes half the time of OpenCV's matcher; 255 stands for 255 and 256.
    """
    x, y = (np.ascontiguousarray(words).view(np.uint64) for words in (a, b))
    columns = np.ascontiguousarray(y.T)
    bits = np.bitwise_count(x[:, :1] ^ columns[0])
    for k in (1, 2):
        bits += np.bitwise_count(x[:, k : k + 1] ^ columns[k])
    bits += np.minimum(np.bitwise_count(x[:, 3:] ^ columns[3]), 63)
    rows, nearest = np.arange(len(a)), bits.argmin(1)
    first = bits[rows, nearest]
    bits[rows, nearest] = 255
    return nearest, first, bits.min(1)


def bins_of(levels: NDArray[np.float32], turns: NDArray[np.float32]) -> NDArray[np.int64]:
    """Differences of sizes and turns (m,) of m matches → (4, m): the four overlapping bins that each votes for."""
    steps, around = np.round(levels).astype(np.int64) + 64, 360 // _DEGREES * 2
    halves = np.floor((turns % 360) / (_DEGREES / 2)).astype(np.int64) % around
    bins = [(steps + a) // _LEVELS * around + (halves + b) % around // 2 for a in range(_LEVELS) for b in range(2)]
    return np.stack(bins) * 4 + np.arange(4)[:, None]


def count_votes(
    owners: NDArray[np.int64], asked: NDArray[np.int64], levels: NDArray[np.float32], turns: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which pictures got votes, and how many: of each the most different corners asked that agree on a size and a turn.

    Of m matches: `owners` (m,), whose corner it is; `asked` (m,), for which corner; and differences of `levels` and
    `turns`.
    """
    if not len(owners):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    bins = bins_of(levels, turns)
    spread = int(bins.max()) + 1
    keys = (owners[None] * spread + bins).ravel()
    many = int(asked.max()) + 1
    # A corner votes once for a bin, however many corners of that picture look like it. Sorting beats numpy's hashes.
    votes = np.sort(keys * many + np.tile(asked, len(bins)))
    votes = votes[_starts(votes)] // many
    first = _starts(votes)
    counts, of = np.diff(np.append(np.flatnonzero(first), len(votes))), votes[first] // spread
    begins = _starts(of)
    return of[begins], np.maximum.reduceat(counts, np.flatnonzero(begins))


def _starts(ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(m,) where a new value begins."""
    return np.concatenate([[True], ascending[1:] != ascending[:-1]])


def agreeing(levels: NDArray[np.float32], turns: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(m,) which matches vote for the bin with the most votes."""
    bins = bins_of(levels, turns)
    values, counts = np.unique(bins, return_counts=True)
    return np.asarray((bins == values[counts.argmax()]).any(0))
