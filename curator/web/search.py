"""The page's lists: which images, in which order, with what scores; facts of those in view; values of columns."""

from __future__ import annotations

import re
import shlex
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.database import Curation, Selections
from curator.database.actions import mark_of
from curator.embeddings import exact_scores, normalise
from curator.errors import CuratorError
from curator.files import locate
from curator.images import decode
from curator.index import Index
from curator.index.images import relative
from curator.index.sureness import read_sureness
from curator.labelling.concepts import fit_marks
from curator.records import Ids, Image
from curator.search.facts import roots, run_names
from curator.search.query import Question, answer, is_plain, parse_query, picture_key, query_vector
from curator.web.place import MOST_HITS, Place

_VALUES, _BINS = 50, 24  # of a column that are shown, and of its histogram
_SAMPLED = 100_000  # images from which on a column's values are counted on a sample
_REMEMBERED = 64  # answers
_DAY = re.compile(r"[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])([ T]|$)")


@dataclass(frozen=True)
class Listing:
    """All ids in order, with scores (n,) and how sure each is, of a search; `background` are scores of other images."""

    ids: Ids
    scores: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    confidence: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    background: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    clear: bool = True
    searched: int = 0
    notes: tuple[str, ...] = ()


def list_images(index: Index, asked: Place, *, remember: bool = True) -> Listing:
    """What one address shows; words that were never asked for are remembered, unless nothing may be written.

    Raises `WhereError`, `UsageError`, `UnknownName`, `NoTextTower`.
    """
    if not asked.is_search:
        ids, notes = _all(index, asked.condition or "1")
        return Listing(_in_order(index, ids, asked), notes=notes)
    question = Question(MOST_HITS, asked.condition, min_score=asked.min_score, min_confidence=asked.min_confidence)
    terms = parse_query([asked.query], files=False) if asked.query else []
    vectors = [query_vector(index, terms, remember=remember)] if terms else []
    vectors += [fit_marks(index, asked.like, asked.unlike)] if asked.is_marked else []
    q = normalise(np.stack(vectors).sum(0, np.float32, keepdims=True)).ravel()
    hits = answer(index, q, question, is_words=is_plain(terms) and not asked.is_marked)
    notes = hits.notes
    if len(hits) == MOST_HITS < hits.searched:
        notes += (f"the {MOST_HITS:,} nearest of {hits.searched:,} are listed",)
    ids, scores, confidence = hits.ids, hits.scores, hits.confidence
    if asked.sort not in ("", "score"):
        ids = _in_order(index, ids, asked)
        place = {int(i): p for p, i in enumerate(hits.ids)}
        order = [place[int(i)] for i in ids]
        scores, confidence = scores[order], confidence[order]
    background = exact_scores(index.engine.sample(), q)
    return Listing(ids, scores, confidence, background, hits.clear, hits.searched, notes)


def _all(index: Index, condition: str) -> tuple[Ids, tuple[str, ...]]:
    """Ids of a condition; of an index that a service answers for, which may be very large, the first of them."""
    if index.service is None:
        return index.reader.ids_where(condition), ()
    ids = index.service.ids_where("true" if condition == "1" else condition, limit=_SAMPLED)
    return ids, (f"the first {_SAMPLED:,} are listed",) if len(ids) == _SAMPLED else ()


def _values_of(index: Index, column: str, ids: Ids) -> dict[int, Any]:
    """id → value of a column, of these images at least."""
    if index.service is not None:
        return index.service.values_of(column, ids.tolist())
    return index.reader.values_of(column)


def _in_order(index: Index, ids: Ids, asked: Place) -> Ids:
    column = asked.sort.removeprefix("-")
    if column in ("", "id", "score"):
        return np.sort(ids)[::-1] if asked.sort.startswith("-") else np.sort(ids)
    if column == "random":
        return np.random.default_rng(asked.seed).permutation(ids)
    values = _values_of(index, column, ids)
    known = [int(i) for i in ids if values.get(int(i)) is not None]
    known.sort(key=lambda i: _sortable(values[i]), reverse=asked.sort.startswith("-"))
    there = set(known)
    return np.array([*known, *(int(i) for i in ids if int(i) not in there)], np.int64)


def _sortable(value: Any) -> tuple[int, float, str]:
    is_number = isinstance(value, int | float)
    return (0, float(value), "") if is_number else (1, 0.0, str(value))


def facts(index: Index, ids: Sequence[int]) -> list[dict[str, Any]]:
    """What a cell of the grid says of each image."""
    folders = [r.path for r in roots(index)]
    return [facts_of(image, relative(image, folders)) for image in index.images(ids)]


def facts_of(image: Image, path: str) -> dict[str, Any]:
    """What a cell of the grid says of an image, under the path that it is shown by."""
    return {
        "id": image.id, "path": path, "label": image.label, "caption": image.caption, "origin": image.origin,
        "width": image.width, "height": image.height, "size": image.size, "tags": list(image.tags),
    }  # fmt: skip


@dataclass(frozen=True)
class Facet:
    """The values of a column among images: (value, images) of the commonest, or counts between `edges` of numbers.

    Of dates `days` are the edges, as text.
    """

    column: str
    images: int
    without: int
    distinct: int
    sampled: bool
    values: tuple[tuple[Any, int], ...] = ()
    edges: tuple[float, ...] = ()
    days: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()


class Facets:
    """Columns counted, and remembered for as long as nothing changes."""

    def __init__(self, index: Index, *, remember: bool = True) -> None:
        self.index, self.remember = index, remember
        self._facets: dict[tuple[Any, ...], Facet] = {}
        self._lock = threading.Lock()

    def of(self, asked: Place, column: str) -> Facet:
        """Of the images of a list. Raises `WhereError`."""
        if self.index.is_served:  # which does not say when it changes
            return _facet(self.index, list_images(self.index, asked, remember=False).ids, column)
        key = (changes(self.index), asked, column)
        with self._lock:
            if key in self._facets:
                return self._facets[key]
        facet = _facet(self.index, list_images(self.index, asked, remember=self.remember).ids, column)
        with self._lock:
            while len(self._facets) >= _REMEMBERED:
                del self._facets[next(iter(self._facets))]
            self._facets[key] = facet
        return facet


def _facet(index: Index, ids: Ids, column: str) -> Facet:
    chosen = ids
    if len(ids) > _SAMPLED:
        chosen = np.random.default_rng(0).choice(ids, _SAMPLED, replace=False)
    values_of = _values_of(index, column, chosen)
    values = [values_of.get(int(i)) for i in chosen]
    there = [v for v in values if v is not None]
    without, is_sampled = len(values) - len(there), len(chosen) < len(ids)
    numbers = [float(v) for v in there if isinstance(v, int | float)]
    if there and len(numbers) == len(there) and len(set(numbers)) > _BINS // 2:
        counts, edges = np.histogram(numbers, bins=_BINS)
        shown = tuple(map(float, edges)), tuple(map(int, counts))
        return Facet(column, len(ids), without, len(set(numbers)), is_sampled, edges=shown[0], counts=shown[1])
    if len(set(there)) > _BINS // 2 and (days := _days(there)) is not None:
        counts, edges = np.histogram(days, bins=_BINS)
        dates = tuple(str(np.datetime64(round(e), "D")) for e in edges.tolist())
        return Facet(column, len(ids), without, len(set(there)), is_sampled, days=dates, counts=tuple(map(int, counts)))
    words: Callable[[Any], Sequence[Any]] = (
        (lambda v: str(v).split()) if column in ("tags", "selections") else lambda v: (v,)
    )
    counted = Counter(word for v in there for word in words(v))
    return Facet(column, len(ids), without, len(counted), is_sampled, tuple(counted.most_common(_VALUES)))


def _days(values: Sequence[Any]) -> NDArray[np.int64] | None:
    """Days since 1970 of texts that all begin with a date; None of any others."""
    if not all(isinstance(v, str) and _DAY.match(v) for v in values):
        return None
    try:
        return np.array([v[:10] for v in values], "datetime64[D]").astype(np.int64)
    except ValueError:  # the 31st of February
        return None


def describe(index: Index) -> dict[str, Any]:
    """The index in a few facts that every view needs."""
    reader = index.reader
    with reader.snapshot():
        space, counts = reader.active_space(), reader.counts()
        stored, curation = Selections(reader), Curation(reader)
        return {
            "name": index.folder.name,
            "option": _option(index),
            "counts": counts,
            "columns": reader.columns(),
            "tags": reader.tags(),
            "labels": [label for label, _ in reader.breakdown("label")],
            "selections": stored.names(),
            "concepts": stored.concepts(space) if space else [],
            "encoder": space.encoder if space else None,
            "dims": space.dim if space else 0,
            "has_sureness": bool(space and read_sureness(reader, space)),
            "duplicates": sum(g.kind not in ("keeper", "kept") for g in curation.groups()),
            "runs": run_names(index),
            "roots": [asdict(r) | {"path": str(r.path)} for r in roots(index, forgotten=False)],
            "changes": changes(index),
        }


def _option(index: Index) -> str:
    """What a command needs to mean this index; nothing for the one that commands mean by themselves."""
    try:
        if locate() == index.folder:
            return ""
    except CuratorError:
        pass
    return shlex.join(["-i", str(index.folder)])


def changes(index: Index) -> str:
    """A mark that is another as soon as anything that the page shows has changed."""
    return "" if index.is_served else mark_of(index.reader)


def remember_picture(index: Index, data: bytes) -> str:
    """Encode a picture that somebody dropped on the page → the term that stands for it. Its bytes are not kept.

    Raises `PictureError`.
    """
    decoded = decode(data)
    term = picture_key(decoded.content.sha256.hex())
    space = index.space
    if index.reader.cached_query(space, term) is None:
        q = index.encoder.encode_images([decoded.picture]).ravel()
        with index.write() as db, db.atomic():
            db.cache_query(space, term, q)
    return term
