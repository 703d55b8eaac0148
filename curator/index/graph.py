"""The nearest-neighbour graph of an index: built once for a set of pictures, certified, cached in `graph/`."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.database import Curation, Reader
from curator.duplicates import tail_cut, wilson
from curator.files import UNREADABLE, by_age, sweep, whole
from curator.job import QUIET, Job
from curator.records import Certificate, Graph, Nodes, Scores, Space
from curator.texts import to_json
from curator.vectors import Neighbours, exact_neighbours

logger = logging.getLogger("curator")

NEIGHBOURS = 16  # of each node
TARGET = 0.99  # least recall of edges above the threshold
_GRAPHS = 4  # of one space that are kept: of the whole index, and of parts or other thresholds asked for lately
_SAMPLED = 1_000  # nodes searched exactly for the certificate, and edges that it counts at least …
_SAMPLED_AT_MOST = 8_000  # … unless so many nodes have fewer

Half = NDArray[np.float16]


def load_graph(
    reader: Reader,
    space: Space,
    nodes: Nodes,
    *,
    threshold: float | None = None,
    job: Job = QUIET,
) -> Graph:
    """The certified graph of these nodes: from the cache if it is of the same vectors, else built and cached.

    `threshold` is the score from which an edge matters; without one it is taken from the tail of the nearest
    neighbours' scores. A cache that cannot be read or written costs time, never an answer.
    """
    home = reader.folder / "graph"
    file = home / f"{space.id}-{_digest(reader, space, nodes, threshold)}.npz"
    try:
        return _read(file)
    except FileNotFoundError:
        pass
    except UNREADABLE as error:
        logger.warning("%s cannot be read (%s); the graph is built again", file, error)
    graph = build_graph(Curation(reader).vectors(space, nodes.contents), threshold=threshold, job=job)
    try:
        _write(file, graph)
        for old in by_age(home, f"{space.id}-*.npz")[:-_GRAPHS]:
            old.unlink(missing_ok=True)
        sweep(home)
    except OSError as error:
        logger.warning("the graph could not be cached (%s)", error)
    return graph


def build_graph(
    x: Half,
    *,
    threshold: float | None = None,
    exact: int | None = None,
    nprobe: int = 4,
    job: Job = QUIET,
) -> Graph:
    """Find neighbours of every row of `x` (n, d), with a certificate.

    Where its recall is below 0.99, twice as many lists are probed. Nodes whose 16 neighbours all reach the threshold
    get the further ones too, up to 1,024 each.
    """
    n = len(x)
    rng = np.random.default_rng(0)
    sample = np.sort(rng.choice(n, min(n, _SAMPLED), replace=False))
    if n < 2:
        empty = (
            np.full((n, 0), -1, np.int32),
            np.empty((n, 0), np.float32),
            np.empty((0, 2), np.int32),
            np.empty(0, np.float32),
        )
        return Graph(
            *empty,
            Certificate("exact", n, 0, 0, 1.0, 1.0, 1.0, 1.0 if threshold is None else threshold, "no pair at all"),
        )
    k = min(NEIGHBOURS, n - 1)
    true, true_scores = exact_neighbours(x, sample, k)
    source = "given" if threshold is not None else "tail of the nearest neighbours' scores"
    threshold = tail_cut(true_scores[:, 0]) if threshold is None else threshold
    search = Neighbours(x, nprobe=nprobe, **({} if exact is None else {"exact": exact}))
    edges_of_first = int((true_scores >= threshold).sum())
    if not search.is_exact and edges_of_first < _SAMPLED:  # of few edges the interval would be wide
        most = min(n, _SAMPLED_AT_MOST, -(-_SAMPLED * _SAMPLED // max(1, edges_of_first)))
        others = np.setdiff1d(np.arange(n), sample, assume_unique=True)
        further = np.sort(rng.choice(others, most - len(sample), replace=False))
        sample = np.concatenate([sample, further])
        more, more_scores = exact_neighbours(x, further, k)
        true, true_scores = np.concatenate([true, more]), np.concatenate([true_scores, more_scores])
    while True:
        neighbours, scores = search.nearest(k, job=job)
        saturated = np.flatnonzero(scores[:, -1] >= threshold) if n - 1 > k else np.empty(0, np.int64)
        pairs, pair_scores = search.within(saturated, threshold)
        rows, columns = np.nonzero(true_scores >= threshold)
        edges = np.stack([sample[rows], true[rows, columns]], axis=1)
        held = int(_holds(neighbours, pairs, edges).sum())
        recall = held / len(edges) if len(edges) else 1.0
        if search.is_exact or recall >= TARGET or search.nprobe >= n:
            break
        search.nprobe *= 2
    low, high = (1.0, 1.0) if search.is_exact else wilson(held, len(edges))
    nprobe = 0 if search.is_exact else search.nprobe
    certificate = Certificate(
        search.method, len(sample), len(edges), held, recall, low, high, threshold, source, nprobe
    )
    return Graph(neighbours, scores, pairs, pair_scores, certificate)


def _holds(found: NDArray[np.int32], pairs: NDArray[np.int32], edges: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(m,) whether each edge is in the graph, from either end."""
    a, b = edges[:, 0], edges[:, 1]
    there = (found[a] == b[:, None]).any(1) | (found[b] == a[:, None]).any(1)
    n = len(found)
    far = np.sort(pairs.astype(np.int64), axis=1)
    keys, wanted = far[:, 0] * n + far[:, 1], np.minimum(a, b) * n + np.maximum(a, b)
    return np.asarray(there | np.isin(wanted, keys))


def _digest(reader: Reader, space: Space, nodes: Nodes, threshold: float | None) -> str:
    """What the graph is of: the vectors of these contents in this space, and the threshold asked for."""
    state = f"{space.fingerprint} {Curation(reader).vectors_seq(space)} {threshold} {NEIGHBOURS} {TARGET} "
    return hashlib.sha256(state.encode() + nodes.contents.tobytes()).hexdigest()[:20]


def _read(file: Path) -> Graph:
    with file.open("rb") as data, np.load(data, allow_pickle=False) as stored:
        certificate = Certificate(**json.loads(stored["certificate"].tobytes()))
        pair_scores: Scores = stored["pair_scores"]
        return Graph(stored["neighbours"], stored["scores"], stored["pairs"], pair_scores, certificate)


def _write(file: Path, graph: Graph) -> None:
    file.parent.mkdir(exist_ok=True)
    certificate = np.frombuffer(to_json(asdict(graph.certificate)).encode(), np.uint8)
    arrays = {name: getattr(graph, name) for name in ("neighbours", "scores", "pairs", "pair_scores")}
    with whole(file) as beside:
        np.savez(beside, certificate=certificate, **arrays)
