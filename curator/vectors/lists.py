"""Inverted lists over the vectors of a large generation: a search visits the nearest few lists, not every vector.

Jégou et al. 2011, §IV, with 8 bits a number. What finds the hits of images finds those of words far less often, so how
many lists are visited follows from how near the query is to the nearest centroid: probes at several distances from
images say for each how many lists hold 0.98 of their hits. A query that is further than all of them, or asks for more
than was measured, is not answered here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import blocks, normalise
from curator.job import QUIET, Job
from curator.records import Positions, Scores, Vectors
from curator.vectors.centroids import fill_centroids
from curator.vectors.cores import cores, in_threads

LISTS, LIST_OF = "lists.faiss", "list_of.npy"
LEAST = 2_000_000  # vectors from which on lists are written; fewer are compared in less than a tenth of a second
ENOUGH = 0.98  # of the true hits of probes that a walk has to hold
_DISTANCES = (0.0, 1.0, 2.0, 3.5, 5.0, 8.0)  # of probes from images; words of CLIP are as far as 4 to 8
_KS = (20, 100, 500)
_PROBES = 200  # at each distance
_MOST = 0.5  # of the lists: beyond, comparing all costs hardly more
_ROWS = 65_536  # vectors that are put into lists at a time
_TRAINING = 40  # vectors for each centroid that k-means sees
_PART = 400_000  # vectors that a thread compares at least
_SAMPLE = 20_000  # images of a condition by which its place among the lists is told
_EVEN = 0.5  # of its share of the visited lists that a condition must have, or it lies elsewhere

Rows = Callable[[Positions], Vectors]


@dataclass(frozen=True)
class Reach:
    """For `k` hits of a query whose nearest centroid has at least this `score`: so many lists, and the share of the
    probes' true hits in them.
    """

    k: int
    score: float
    visited: int
    recall: float


@dataclass(frozen=True)
class Lists:
    """Mapped lists; their entry e is the vector at position e when they were written."""

    folder: Path
    facts: Mapping[str, Any]  # of the generation's manifest

    @cached_property
    def walks(self) -> tuple[Reach, ...]:
        """What was measured when the lists were written."""
        return tuple(Reach(**w) for w in self.facts["walks"])

    @cached_property
    def _index(self) -> Any:
        import faiss

        return faiss.read_index(str(self.folder / LISTS), faiss.IO_FLAG_MMAP_IFC)

    @cached_property
    def _list_of(self) -> NDArray[np.uint16]:
        return np.load(self.folder / LIST_OF, mmap_mode="r")  # type: ignore[no-any-return]

    def search(
        self, q: Vectors, k: int, wanted: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[Positions, Reach] | None:
        """Entries of the `wanted` best for one unit query (1, d), and the walk that reached them.

        `k` chooses the walk: as many hits as would lie before those wanted if nothing were excluded. `allowed` (n,)
        limits the entries. None where no walk was measured to find enough.
        """
        coarse, order = self._index.quantizer.search(q, self._index.nlist)
        asked = min((w.k for w in self.walks if w.k >= k), default=0)
        # Of the walks that were measured for queries no nearer than this one, that of the nearest.
        reach = max(
            (w for w in self.walks if w.k == asked and w.score <= coarse[0, 0]), key=lambda w: w.score, default=None
        )
        if reach is None:
            return None
        visited = order[0, : reach.visited]
        if allowed is not None and not self._lies_even(visited, allowed):
            return None
        scores, entries = self._scan(q, wanted, visited, coarse[0, : reach.visited], allowed)
        return entries[np.argsort(-scores, kind="stable")[:wanted]], reach

    def _scan(
        self, q: Vectors, wanted: int, order: NDArray[np.int64], coarse: Scores, allowed: NDArray[np.bool_] | None
    ) -> tuple[Scores, Positions]:
        """Rough scores and entries of the best in some lists, on as many cores as they are long enough for."""
        import faiss

        bits = None if allowed is None else np.packbits(allowed, bitorder="little")  # alive as long as the selector
        selector = None if bits is None else faiss.IDSelectorBitmap(len(self._list_of), faiss.swig_ptr(bits))

        def scan(part: slice) -> tuple[Scores, Positions]:
            faiss.omp_set_num_threads(1)  # a setting of the thread
            lists, centres = (np.ascontiguousarray(a[part][None]) for a in (order, coarse))
            scores, entries = np.empty((1, wanted), np.float32), np.empty((1, wanted), np.int64)
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=lists.shape[1])  # type: ignore[call-arg]
            arrays = [faiss.swig_ptr(a) for a in (lists, centres, scores, entries)]
            # FAISS's own wrapper reads how many lists there are from the index, which threads share.
            self._index.search_preassigned_c(1, faiss.swig_ptr(q), wanted, *arrays, False, parameters)
            is_there = entries[0] >= 0
            return scores[0][is_there], entries[0][is_there]

        compared = len(order) * len(self._list_of) // self._index.nlist
        parts = max(1, min(cores(), compared // _PART, len(order)))
        # Near lists are long ones: each thread takes every n-th.
        answers = list(in_threads(scan, [slice(i, None, parts) for i in range(parts)]))
        return np.concatenate([s for s, _ in answers]), np.concatenate([e for _, e in answers])

    def _lies_even(self, visited: NDArray[np.int64], allowed: NDArray[np.bool_]) -> bool:
        """Whether images of a condition are about as often in the visited lists as all images are.

        A condition that holds for other lists has its nearest images there, where no probe looked.
        """
        matching = np.flatnonzero(allowed)
        step = max(1, len(matching) // _SAMPLE)
        is_visited = np.zeros(self._index.nlist, bool)
        is_visited[visited] = True
        matches = is_visited[self._list_of[matching[::step]]].mean()
        every = is_visited[self._list_of[:: max(1, len(self._list_of) // _SAMPLE)]].mean()
        return bool(matches >= _EVEN * every)


def write_lists(folder: Path, count: int, dim: int, rows: Rows, *, seed: int = 0, job: Job = QUIET) -> dict[str, Any]:
    """Write the lists of `count` vectors, which `rows` reads by position → facts for the manifest.

    Raises `OSError` where they cannot be written.
    """
    import faiss

    faiss.omp_set_num_threads(cores())
    rng = np.random.default_rng(seed)
    number = max(1, int(1.5 * np.sqrt(count)))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim), dim, number, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT, True
    )
    job.say(f"Searches of {count:,} images visit a few of {number:,} lists; these are being learnt.")
    taught = rows(np.sort(rng.choice(count, min(count, _TRAINING * number), replace=False)))
    fill_centroids(index.quantizer, taught, number, seed=seed)
    index.train(taught)  # the steps of the 8 bits alone, as there are centroids
    list_of = np.empty(count, np.uint16)
    # Probes at each distance from images, and the best hits of each so far.
    probes = _probes(rows(np.sort(rng.choice(count, min(count, _PROBES), replace=False))), rng)
    heap = faiss.ResultHeap(len(probes), min(_KS[-1], count), keep_max=True)
    for part in blocks(count, _ROWS):
        x = rows(np.arange(part.start, part.stop))
        _, nearest = index.quantizer.search(x, 1)
        list_of[part] = nearest[:, 0]
        index.add_core(len(x), faiss.swig_ptr(x), None, faiss.swig_ptr(np.ascontiguousarray(nearest)))
        scores, positions = faiss.knn(probes, x, min(_KS[-1], len(x)), metric=faiss.METRIC_INNER_PRODUCT)
        heap.add_result(scores, positions + part.start)
        job.progress(part.stop, count, "lists")
        job.check()
    heap.finalize()
    try:
        faiss.write_index(index, str(folder / LISTS))
    except RuntimeError as error:
        raise OSError(f"cannot write {folder / LISTS}: {str(error).splitlines()[-1]}") from error
    np.save(folder / LIST_OF, list_of)
    walks = _walks(index, probes, list_of[heap.I])
    return {"number": number, "walks": [asdict(w) for w in walks]}


def _probes(images: Vectors, rng: np.random.Generator) -> Vectors:
    """(p, d) of images → (distances · p, d): the images, then vectors ever further from them."""
    noise = rng.normal(size=images.shape).astype(np.float32) / np.float32(np.sqrt(images.shape[1]))
    return np.concatenate([normalise(images + np.float32(d) * noise) for d in _DISTANCES])


def _walks(index: Any, probes: Vectors, lists: NDArray[np.uint16]) -> list[Reach]:
    """For each distance and k the fewest lists that hold `ENOUGH` of the true hits, which lie in `lists` (p, k)."""
    # Of each probe the place of every list in its own order, nearest first: (p, number).
    coarse, order = index.quantizer.search(probes, index.nlist)
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(index.nlist)[None].repeat(len(order), 0), 1)
    ranks = np.take_along_axis(places, lists.astype(np.int64), 1)
    walks = []
    for nearest, rank in zip(*(np.split(a, len(_DISTANCES)) for a in (coarse[:, 0], ranks)), strict=True):
        for k in (k for k in _KS if k <= rank.shape[1]):
            reached = np.sort(rank[:, :k], axis=None)
            visited = int(reached[int(np.ceil(ENOUGH * len(reached))) - 1]) + 1
            if visited <= _MOST * index.nlist:
                recall = float((reached < visited).mean())
                walks.append(Reach(k, round(float(np.median(nearest)), 4), visited, round(recall, 4)))
    return walks
