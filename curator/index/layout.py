"""The map of an index: laid out once for a set of pictures, and cached in `layout/`; new ones are placed beside."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curator.database import Curation, Reader
from curator.drawing.layout import NEAREST, Plane, lay_out, place_near
from curator.embeddings import find_sorted
from curator.files import UNREADABLE, by_age, sweep, whole
from curator.index.graph import build_graph, load_graph
from curator.job import QUIET, Job
from curator.records import Ids, Nodes, Space
from curator.vectors import Neighbours

logger = logging.getLogger("curator")

_MOST = 200_000  # pictures that are laid out; of more, a sample is, and the rest placed beside
_NEW = 0.2  # of the pictures that may be placed beside before all are laid out anew
_LAYOUTS = 2  # of one space that are kept


@dataclass(frozen=True)
class Layout:
    """Where each image lies on the map: `image_ids` (m,) ascending, `places` (m, 2).

    `digest` names what was laid out: places of another digest mean nothing on this map. `laid` pictures were, of
    `pictures` in all; the others lie at the median of their nearest.
    """

    image_ids: Ids
    places: Plane
    digest: str
    laid: int
    pictures: int


def load_layout(reader: Reader, space: Space, *, anew: bool = False, job: Job = QUIET) -> Layout:
    """The map of all present images with a vector: from the cache where most are on it, else laid out.

    Copies share a place. Pictures that came since are placed beside, until they are a fifth of those laid out; of more
    than 200,000, until a fifth of those laid out is gone. `anew` lays out at once. A cache that cannot be read or
    written costs time, never an answer. Raises `Stopped`.
    """
    nodes = Curation(reader).nodes(space)
    home = reader.folder / "layout"
    stored = None if anew else _newest(home, space)
    if stored is None or _is_old(stored[0], nodes.contents):
        stored = _laid_out(reader, space, nodes, job)
        _keep(home, space, *stored)
    contents, laid = stored
    positions, is_laid = find_sorted(contents, nodes.contents)
    places = np.zeros((len(nodes), 2), np.float32)
    places[is_laid] = laid[positions[is_laid]]
    if not is_laid.all():
        fresh = Curation(reader).vectors(space, nodes.contents[~is_laid])
        there = nodes.contents[is_laid]
        near = Neighbours(Curation(reader).vectors(space, there)).nearest_to(fresh, NEAREST, job=job)
        places[~is_laid] = place_near(places[is_laid], near)
    digest = _digest(space, contents)
    return Layout(nodes.image_ids, places[nodes.node_of], digest, int(is_laid.sum()), len(nodes))


def _is_old(laid: Ids, contents: Ids) -> bool:
    """Whether too many came since; of more than are laid out, whether too few of those are still there."""
    still = int(np.isin(contents, laid).sum())
    return still < (1 - _NEW) * _MOST if len(contents) > _MOST else len(contents) - still > _NEW * max(1, still)


def _laid_out(reader: Reader, space: Space, nodes: Nodes, job: Job) -> tuple[Ids, Plane]:
    """Contents (n,) ascending and their places (n, 2)."""
    contents = nodes.contents
    if len(contents) <= _MOST:
        graph = load_graph(reader, space, nodes, job=job)
        return contents, lay_out(graph.neighbours, Curation(reader).vectors(space, contents), job=job)
    # The same pictures are chosen whatever came since: those whose hashed number is smallest.
    hashed = contents.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    chosen = np.sort(contents[np.argsort(hashed, kind="stable")[:_MOST]])
    x = Curation(reader).vectors(space, chosen)
    return chosen, lay_out(build_graph(x, job=job).neighbours, x, job=job)


def _digest(space: Space, contents: Ids) -> str:
    return hashlib.sha256(f"{space.fingerprint} ".encode() + contents.tobytes()).hexdigest()[:16]


def _newest(home: Path, space: Space) -> tuple[Ids, Plane] | None:
    for file in reversed(by_age(home, f"{space.id}-*.npz")):
        try:
            with file.open("rb") as data, np.load(data, allow_pickle=False) as stored:
                contents, places = stored["contents"], stored["places"]
            is_whole = contents.ndim == 1 and places.shape == (len(contents), 2) and np.isfinite(places).all()
            if is_whole and file.stem.endswith(_digest(space, contents)):
                return contents, places
            logger.warning("%s is not what its name says; the map is laid out again", file)
        except UNREADABLE as error:
            logger.warning("%s cannot be read (%s); the map is laid out again", file, error)
    return None


def _keep(home: Path, space: Space, contents: Ids, places: Plane) -> None:
    try:
        home.mkdir(exist_ok=True)
        with whole(home / f"{space.id}-{_digest(space, contents)}.npz") as beside:
            np.savez(beside, contents=contents, places=places)
        for old in by_age(home, f"{space.id}-*.npz")[:-_LAYOUTS]:
            old.unlink(missing_ok=True)
        sweep(home)
    except OSError as error:
        logger.warning("the map could not be cached (%s)", error)
