"""Nearest corners: words of 256 bits by Hamming distance, a few of two pictures or millions of all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.job import cores

BITS = 256
EXACT = 200_000  # words up to which each is compared with each
_PROBES = 3  # lists visited for each word asked for
_ADDED = 1 << 20  # words at a time

Words = NDArray[np.uint8]


def nearest_words(asked: Words, words: Words, k: int = 2) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """(q, 32), (m, 32) → (q, k) distances in bits and positions, nearest first; −1 where there are fewer."""
    import faiss

    index = faiss.IndexBinaryFlat(BITS)
    index.add(np.ascontiguousarray(words))
    distances, positions = index.search(np.ascontiguousarray(asked), k)
    return distances, positions


def stay_on_one_core() -> None:
    """Let FAISS use one core in this thread, for threads among which work is divided already."""
    import faiss

    faiss.omp_set_num_threads(1)


class WordFile:
    """Nearest words among (m, 32) uint8: exact up to 200,000, inverted lists beyond.

    The 4√m centroids of the lists are words chosen by the seed, and are themselves found through lists of their own, so
    that a word costs as many comparisons as √m, not m (Jégou et al. 2011, §IV, for bits).
    """

    def __init__(self, words: Words, *, exact: int = EXACT, probes: int = _PROBES, seed: int = 0) -> None:
        import faiss

        faiss.omp_set_num_threads(cores())
        m = len(words)
        self.is_exact = m <= exact
        self._parts: list[Any] = []  # FAISS keeps no reference to a quantiser of Python's
        if self.is_exact:
            self._index: Any = faiss.IndexBinaryFlat(BITS)
        else:
            rng = np.random.default_rng(seed)
            centroids = words[np.sort(rng.choice(m, 4 * math.isqrt(m), replace=False))]
            coarse = faiss.IndexBinaryFlat(BITS)
            coarse.add(centroids[np.sort(rng.choice(len(centroids), math.isqrt(len(centroids)), replace=False))])
            middle = self._lists(coarse, centroids, 8)
            self._index = self._lists(middle, words, probes)
            return
        self._index.add(np.ascontiguousarray(words))

    def _lists(self, quantiser: Any, words: Words, probes: int) -> Any:
        import faiss

        index = faiss.IndexBinaryIVF(quantiser, BITS, quantiser.ntotal)
        index.is_trained, index.nprobe = True, probes
        for start in range(0, len(words), _ADDED):
            index.add(np.ascontiguousarray(words[start : start + _ADDED]))
        self._parts += [quantiser, index]
        return index

    @property
    def method(self) -> str:
        """In words, for the certificate."""
        return "exact" if self.is_exact else f"{self._index.nlist} lists, {self._index.nprobe} visited"

    def nearest(self, asked: Words, k: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(q, k) distances in bits and positions, nearest first; a position is −1 where there are fewer."""
        distances, positions = self._index.search(np.ascontiguousarray(asked), k)
        return distances, positions
