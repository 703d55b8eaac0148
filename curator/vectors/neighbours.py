"""All-pairs work: the nearest neighbours of every vector, and hashes within a few bits of each other.

HNSW is not used: among many identical vectors its recall halves. Nor are FAISS's own threads shared with searches,
which set them to one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import blocks
from curator.job import QUIET, Job, cores
from curator.records import Positions, Scores, Vectors
from curator.vectors.centroids import fill_centroids

EXACT = 50_000  # vectors up to which every product is computed
_BLOCK = 16_384  # queries at a time
_TRAINING = 64  # vectors per centroid that k-means sees
_ALIKE = 65  # nearest hashes of each, itself among them
_MOST = 1_024  # further neighbours kept of one saturated node

Half = NDArray[np.float16]


class Neighbours:
    """Nearest neighbours among the rows of `x`: (n, d) float16, unit rows. Exact up to 50,000, inverted lists beyond.

    The inverted lists (Jégou et al. 2011, §IV) have 4√n centroids of spherical k-means, chosen with the seed; `nprobe`
    of them are visited for each query.
    """

    def __init__(self, x: Half, *, nprobe: int = 4, seed: int = 0, exact: int = EXACT) -> None:
        import faiss

        faiss.omp_set_num_threads(cores())
        self.x = x
        self.nprobe = nprobe
        self.is_exact = len(x) <= exact
        # Of each row the numbers and scores of its nearest lists, the first of which holds it.
        self._near: tuple[NDArray[np.int32], Scores] | None = None
        self._index: Any = None if self.is_exact else self._inverted_lists(seed)

    @property
    def method(self) -> str:
        """In words, for the certificate."""
        return "exact" if self.is_exact else f"IVF{self._index.nlist},Flat"

    def nearest(self, k: int, *, job: Job = QUIET) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """(n, k) positions and scores of every row's nearest others, best first; −1 and −inf where there are fewer."""
        n = len(self.x)
        neighbours, scores = np.full((n, k), -1, np.int32), np.full((n, k), -np.inf, np.float32)
        whole = self.x.astype(np.float32) if self.is_exact else None
        for part in blocks(n, _BLOCK):
            rows, columns = (slice(part.start, part.stop), slice(0, min(k, n - 1)))
            values, near = self._search_rows(part, min(k + 1, n), whole)
            neighbours[rows, columns], scores[rows, columns] = _without_self(near, values, part.start, min(k, n - 1))
            job.progress(part.stop, n, "neighbours")
            job.check()
        return neighbours, scores

    def nearest_to(self, q: Half, k: int, *, job: Job = QUIET) -> Positions:
        """(m, k) positions of the rows nearest to vectors (m, d) that are not among them, best first; k up to n."""
        whole = self.x.astype(np.float32) if self.is_exact else None
        near = [np.empty((0, min(k, len(self.x))), np.int64)]
        for part in blocks(len(q), _BLOCK):
            values = q[part].astype(np.float32)
            positions = self._search(values, min(k, len(self.x)), whole)[1]
            short = (positions < 0).any(1)  # whose lists hold too few
            if short.any():
                positions[short] = self._search(values[short], min(k, len(self.x)), self.x.astype(np.float32))[1]
            near.append(positions)
            job.progress(part.stop, len(q), "nearest")
            job.check()
        return np.concatenate(near).astype(np.int64)

    def _search(self, q: Vectors, k: int, whole: Vectors | None) -> tuple[Any, Any]:
        import faiss

        faiss.omp_set_num_threads(cores())
        if whole is not None:
            return faiss.knn(q, whole, k, metric=faiss.METRIC_INNER_PRODUCT)
        self._index.nprobe = self.nprobe
        return self._index.search(q, k)  # type: ignore[no-any-return]

    def _search_rows(self, part: slice, k: int, whole: Vectors | None) -> tuple[Any, Any]:
        """The same for rows that are there themselves, whose nearest lists are known from putting them in."""
        q = self.x[part].astype(np.float32)
        # A table for more lists would grow with every doubling of them.
        if whole is not None or self._near is None or self._near[0].shape[1] != min(self.nprobe, self._index.nlist):
            return self._search(q, k, whole)
        lists, coarse = (a[part] for a in self._near)
        self._index.nprobe = lists.shape[1]
        return self._index.search_preassigned(q, k, lists.astype(np.int64), coarse)  # type: ignore[no-any-return]

    def _nearest_lists(self) -> tuple[NDArray[np.int32], Scores]:
        """(n, nprobe) numbers of each row's nearest lists, best first, and the scores of their centroids."""
        count = min(self.nprobe, self._index.nlist)
        lists, coarse = np.empty((len(self.x), count), np.int32), np.empty((len(self.x), count), np.float32)
        for part in blocks(len(self.x), _BLOCK):
            coarse[part], lists[part] = self._index.quantizer.search(self.x[part].astype(np.float32), count)
        return lists, coarse

    def _inverted_lists(self, seed: int) -> Any:
        import faiss

        n, dim = self.x.shape
        lists = int(4 * np.sqrt(n))
        self._index = index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
        chosen = np.sort(np.random.default_rng(seed).choice(n, min(n, _TRAINING * lists), replace=False))
        fill_centroids(index.quantizer, self.x[chosen].astype(np.float32), lists, seed=seed)
        index.is_trained = True
        self._near = self._nearest_lists()
        for part in blocks(n, _BLOCK):
            x, nearest = self.x[part].astype(np.float32), self._near[0][part, 0].astype(np.int64)
            index.add_core(len(x), faiss.swig_ptr(x), None, faiss.swig_ptr(nearest))
        return index

    def within(self, positions: Positions, threshold: float) -> tuple[NDArray[np.int32], Scores]:
        """Pairs (m, 2) and scores (m,) of the given rows with every other whose score reaches the threshold.

        Up to 1,024 for each.
        """
        pairs, scores = [np.empty((0, 2), np.int32)], [np.empty(0, np.float32)]
        whole = self.x.astype(np.float32) if self.is_exact and len(positions) else None
        k = min(_MOST + 1, len(self.x))
        for part in blocks(len(positions), 1_024):
            block = positions[part]
            values, near = self._search(self.x[block].astype(np.float32), k, whole)
            rows, columns = np.nonzero((values >= threshold) & (near >= 0) & (near != block[:, None]))
            pairs.append(np.stack([block[rows], near[rows, columns]], axis=1).astype(np.int32))
            scores.append(values[rows, columns].astype(np.float32))
        return np.concatenate(pairs), np.concatenate(scores)


def exact_neighbours(x: Half, positions: Positions, k: int) -> tuple[Positions, Scores]:
    """(m, k) positions and scores of the given rows' true nearest others, best first, read in blocks."""
    import faiss

    faiss.omp_set_num_threads(cores())
    q = x[positions].astype(np.float32)
    best = np.full((len(q), k + 1), -np.inf, np.float32)
    positions_found = np.full((len(q), k + 1), -1, np.int64)
    for part in blocks(len(x), 4 * _BLOCK):
        y = x[part].astype(np.float32)
        values, near = faiss.knn(q, y, min(k + 1, len(y)), metric=faiss.METRIC_INNER_PRODUCT)
        values, near = (
            np.concatenate([best, values], axis=1),
            np.concatenate([positions_found, near + part.start], axis=1),
        )
        order = np.argsort(-values, axis=1, kind="stable")[:, : k + 1]
        best, positions_found = np.take_along_axis(values, order, 1), np.take_along_axis(near, order, 1)
    is_self = positions_found == positions[:, None]
    is_self[~is_self.any(1), -1] = True  # pushed out by others that score the same
    return positions_found[~is_self].reshape(len(q), k), best[~is_self].reshape(len(q), k)


def near_hashes(hashes: NDArray[np.uint64], turned: NDArray[np.uint64], distance: int) -> NDArray[np.int64]:
    """Pairs (m, 2) of positions, first < second, where a 64-bit hash lies within `distance` bits of one of another's.

    `hashes` (n,), `turned` (n, t). Of each hash and turn the nearest 64 others at most, or a film's frames would all be
    pairs; they still hang together. Up to 100,000 hashes each is compared with each; beyond, those that differ by at
    most 2 bits in one of three bands of 21, which all within 8 bits do (Norouzi et al. 2012, "Fast search in Hamming
    space with multi-index hashing").
    """
    import faiss

    faiss.omp_set_num_threads(cores())
    index: Any
    if len(hashes) <= 2 * EXACT:
        index = faiss.IndexBinaryFlat(64)
    else:
        index = faiss.IndexBinaryMultiHash(64, 3, 21)
        index.nflip = 2
    index.add(_bytes(hashes))
    pairs_found = [np.empty((0, 2), np.int64)]
    for column in range(turned.shape[1]):
        for part in blocks(len(turned), 4 * _BLOCK):
            apart, near = index.search(_bytes(turned[part, column]), min(_ALIKE, len(hashes)))
            rows, columns = np.nonzero((near >= 0) & (apart <= distance))
            pairs = np.stack([rows + part.start, near[rows, columns]], axis=1)
            pairs_found.append(pairs[pairs[:, 0] != pairs[:, 1]])
    pairs = np.concatenate(pairs_found).astype(np.int64)
    pairs.sort(axis=1)
    return np.unique(pairs, axis=0)


def _bytes(hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(hashes, "<u8").view(np.uint8).reshape(-1, 8)


def _without_self(near: Any, values: Any, start: int, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Drop each row's own position, or its last where many score the same and it is not among them."""
    is_self = near == np.arange(start, start + len(near))[:, None]
    is_self[~is_self.any(1), -1] = True
    return near[~is_self].reshape(len(near), k).astype(np.int32), values[~is_self].reshape(len(near), k)
