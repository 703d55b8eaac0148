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
from curator.job import QUIET, Job, cores
from curator.records import Positions, Scores, Vectors
from curator.vectors.centroids import fill_centroids
from curator.vectors.threads import in_threads

LISTS = "lists.faiss"
LEAST = 2_000_000  # vectors from which on lists are written; fewer are compared in less than a tenth of a second
ENOUGH = 0.98  # of the true hits of probes that a walk has to hold
_OF_ONE, _OF_PROBES = 0.9, 0.95  # of its own hits, and of how many probes, it has to hold at least
_DISTANCES = (0.0, 1.0, 2.0, 3.5, 5.0, 8.0)  # of probes from images; words of CLIP are as far as 4 to 8
_KS = (20, 100, 500)
_PROBES = 200  # at each distance
_MOST = 0.5  # of the lists: beyond, comparing all costs hardly more
_ROWS = 65_536  # vectors that are put into lists at a time
_TRAINING = 40  # vectors for each centroid that k-means sees
_PART = 400_000  # vectors that a thread compares at least
_AS_NEAR = 0.03  # of its nearest centroid's score: all lists within are visited, as alike pictures spread over several

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

    @property
    def most(self) -> int:
        """The most hits that a walk was measured for."""
        return max((w.k for w in self.walks), default=0)

    def search(self, q: Vectors, k: int, wanted: int) -> tuple[Positions, Scores, Reach] | None:
        """Entries of the `wanted` best for one unit query (1, d), best first, rough scores, and the walk to them.

        `k` chooses the walk: as many hits as it has to hold. None where none was measured to, or the file has gone.
        """
        try:
            index = self._index
        except RuntimeError:
            return None
        coarse, order = index.quantizer.search(q, index.nlist)
        asked = min((w.k for w in self.walks if w.k >= k), default=0)
        # Of the walks that were measured for queries no nearer than this one, that of the nearest.
        walks = (w for w in self.walks if w.k == asked and w.score <= coarse[0, 0])
        reach = max(walks, key=lambda w: w.score, default=None)
        if reach is None:
            return None
        as_near = int(np.count_nonzero(coarse[0] >= coarse[0, 0] - _AS_NEAR))
        visited = max(reach.visited, min(as_near, int(_MOST * index.nlist)))
        scores, entries = self._scan(q, wanted, order[0, :visited], coarse[0, :visited])
        best = np.argsort(-scores, kind="stable")[:wanted]
        return entries[best], scores[best], reach

    def _scan(self, q: Vectors, wanted: int, order: NDArray[np.int64], coarse: Scores) -> tuple[Scores, Positions]:
        """Rough scores and entries of the best in some lists, on as many cores as they are long enough for."""
        import faiss

        def scan(part: slice) -> tuple[Scores, Positions]:
            faiss.omp_set_num_threads(1)  # a setting of the thread
            lists, centres = (np.ascontiguousarray(a[part][None]) for a in (order, coarse))
            scores, entries = np.empty((1, wanted), np.float32), np.empty((1, wanted), np.int64)
            parameters = faiss.SearchParametersIVF(nprobe=lists.shape[1])  # type: ignore[call-arg]  # SWIG adds it
            arrays = [faiss.swig_ptr(a) for a in (lists, centres, scores, entries)]
            # FAISS's own wrapper reads how many lists there are from the index, which threads share.
            self._index.search_preassigned_c(1, faiss.swig_ptr(q), wanted, *arrays, False, parameters)
            is_there = entries[0] >= 0
            return scores[0][is_there], entries[0][is_there]

        compared = len(order) * int(self._index.ntotal) // self._index.nlist
        parts = max(1, min(cores(), compared // _PART, len(order)))
        # Near lists are long ones: each thread takes every n-th.
        answers = in_threads(scan, [slice(i, None, parts) for i in range(parts)])
        return np.concatenate([s for s, _ in answers]), np.concatenate([e for _, e in answers])


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
    walks = _walks(index, probes, list_of[heap.I])
    return {"number": number, "walks": [asdict(w) for w in walks]}


def _probes(images: Vectors, rng: np.random.Generator) -> Vectors:
    """(p, d) of images → (distances · p, d): the images, then vectors ever further from them."""
    noise = rng.normal(size=images.shape).astype(np.float32) / np.float32(np.sqrt(images.shape[1]))
    return np.concatenate([normalise(images + np.float32(d) * noise) for d in _DISTANCES])


def _walks(index: Any, probes: Vectors, lists: NDArray[np.uint16]) -> list[Reach]:
    """For each distance and k the fewest lists that hold enough of the hits, which lie in `lists` (p, k).

    A mean alone would pass over the few probes among many alike pictures, which are spread over many lists.
    """
    # Of each probe the place of every list in its own order, nearest first: (p, number).
    coarse, order = index.quantizer.search(probes, index.nlist)
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(index.nlist)[None].repeat(len(order), 0), 1)
    ranks = np.take_along_axis(places, lists.astype(np.int64), 1)
    walks = []
    for nearest, rank in zip(*(np.split(a, len(_DISTANCES)) for a in (coarse[:, 0], ranks)), strict=True):
        for k in (k for k in _KS if k <= rank.shape[1]):
            # So many that `ENOUGH` of all hits are in them, and of nearly every probe nearly all.
            reached = np.sort(rank[:, :k], axis=None)[int(np.ceil(ENOUGH * k * len(rank))) - 1]
            worst = np.sort(np.sort(rank[:, :k], axis=1)[:, int(np.ceil(_OF_ONE * k)) - 1])
            visited = int(max(reached, worst[int(np.ceil(_OF_PROBES * len(rank))) - 1])) + 1
            if visited <= _MOST * index.nlist:
                recall = float((rank[:, :k] < visited).mean())
                walks.append(Reach(k, round(float(np.median(nearest)), 4), visited, round(recall, 4)))
    return walks
