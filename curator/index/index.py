"""`Index`: one folder with a database and its FAISS files, kept in step."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from curator.database import ALONE, Reader, Writer, take_lock
from curator.embeddings import LEAST_SAMPLE, Background, exact_scores, normalise
from curator.encoders import Encoder, open_space
from curator.errors import IndexFull, IndexLocked, IndexTooOld, NoIndex, UnknownName, UsageError
from curator.files import locate
from curator.images import absolute, read_picture
from curator.index.engine import LocalEngine
from curator.index.files import is_worth_writing, write_files
from curator.index.served import ServedReader
from curator.index.sureness import read_sureness
from curator.job import QUIET, Job
from curator.records import Hits, Ids, Image, Positions, Space, Vectors
from curator.texts import valid_text
from curator.vectors import Answer, Engine, clear_unfinished
from curator.vectors.services import Service, is_service, open_service

logger = logging.getLogger("curator")

CLEAR = 0.9  # how surely a best hit must beat unrelated images to be an answer; measured by scripts/bench_relevance.py
_LIKELY = 0.5  # the same where it was learnt how often hits are right
WAIT = 10.0  # seconds that a writer waits for others, who mostly have very little to write


class Index:
    """An index, open for questions; `with` closes it.

    `step` is called with the name of each durable step of a write; tests use it to stop at any of them.
    """

    who = "cli"  # of the actions that are recorded; "web" for the page

    def __init__(self, folder: Path | str, *, step: Callable[[str], None] = lambda name: None) -> None:
        self.step = step
        self._encoder: tuple[int, Encoder] | None = None
        self._loading = threading.Lock()
        self.service: Service | None = None
        if isinstance(folder, str):  # the URL of a service
            self.service, self.folder = open_service(folder), Path()
            self.engine: Engine = self.service
            self.reader: Reader = ServedReader(folder, self.service)  # type: ignore[assignment]
            return
        self.folder = folder
        try:
            self.reader = Reader.open(folder)
        except IndexTooOld as error:
            logger.warning("%s", error)
            Writer.open(folder).close()
            self.reader = Reader.open(folder)
        self.engine = LocalEngine(self.reader)

    @classmethod
    def open(cls, name: str | Path | None = None, *, step: Callable[[str], None] = lambda name: None) -> Self:
        """Open an index by name or path, migrating an older format, or what a service's URL names, to read.

        Raises `NoIndex`, `IndexTooNew`, `IndexDamaged`, `IndexLocked`, `NoEngine`.
        """
        return cls(str(name) if is_service(name) else locate(name), step=step)

    @classmethod
    def create(cls, name: str | Path | None = None, *, step: Callable[[str], None] = lambda name: None) -> Self:
        """Open an index, making an empty one if there is none.

        Raises `IndexLocked` where the folder cannot be written.
        """
        folder = locate(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise IndexLocked(f"{folder} cannot be made: {error.strerror}") from error
        try:
            return cls(folder, step=step)
        except NoIndex:
            Writer.open(folder).close()
            return cls(folder, step=step)

    def close(self) -> None:
        """Close the database."""
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return int(self.reader.counts()["images"])

    @contextlib.contextmanager
    def write(self, *, wait: float = WAIT, alone: bool = False) -> Iterator[Writer]:
        """The one writer, until the end of the block. Raises `IndexLocked` when another has it for `wait` seconds.

        `alone` is for work that lends the lock to others between its transactions, and still must not meet its own
        kind: indexing, and what moves roots.
        """
        if self.is_served:
            raise IndexLocked("what a service answers for is read only here; `curator push` fills it")
        with take_lock(self.folder, name=ALONE) if alone else contextlib.nullcontext():
            writer = Writer.open(self.folder, wait=wait)
            clear_unfinished(self.folder / "vectors")
            try:
                yield writer
            finally:
                writer.close()

    @property
    def is_served(self) -> bool:
        """Whether a service answers, and not a folder of this machine."""
        return self.service is not None

    @property
    def space(self) -> Space:
        """The space that searches use. Raises `NoIndex` for an index without images."""
        return self.engine.space

    @property
    def encoder(self) -> Encoder:
        """The encoder of the active space, loaded on first use. Raises `EncoderError` where it is not to be had."""
        space = self.space
        with self._loading:  # several threads load it once
            if self._encoder is None or self._encoder[0] != space.id:
                self._encoder = (space.id, open_space(space))
            return self._encoder[1]

    def images(self, ids: Ids | Sequence[int]) -> list[Image]:
        """Metadata of images, in the order of `ids`. Raises `UnknownName` for an id there never was."""
        return self.reader.images(ids)

    def vector_of_text(self, text: str, *, remember: bool = True) -> Vectors:
        """Words → (d,) unit; remembered in the index, so that asking again needs no encoder. Raises `NoTextTower`."""
        space, text = self.space, valid_text(text)
        if not text.strip():
            raise UsageError("an empty text says nothing to search for; name words, or a picture")
        q = self.reader.cached_query(space, text)
        if q is None:
            q = self.encoder.encode_texts([text]).ravel()
            if remember:
                self._remember(space, text, q)
        return q

    def _remember(self, space: Space, text: str, q: Vectors) -> None:
        """Keep a query's vector if nobody else is writing: it is a convenience, and waits for nothing."""
        with contextlib.suppress(IndexLocked, IndexFull), self.write(wait=0) as db, db.atomic():
            db.cache_query(space, text, q)

    def vector_of_id(self, image_id: int) -> Vectors:
        """The stored vector (d,) of an image, as unit row. Raises `UnknownName`."""
        if not self.reader.is_present(image_id):
            raise UnknownName(f"no image with id {image_id} in this index; `curator search` shows ids")
        return normalise(self.reader.vectors(self.space, [image_id])).ravel()

    def vector_of_file(self, path: Path) -> Vectors:
        """A picture file → (d,) unit: the stored vector if the file is indexed and untouched, or gone.

        Raises `PictureError`.
        """
        path = absolute(path)
        known = self.reader.find(path)
        if known is not None and self._is_untouched(path, known):
            with contextlib.suppress(UnknownName):
                return self.vector_of_id(known)
        return self.encoder.encode_images([read_picture(path)]).ravel()

    def _is_untouched(self, path: Path, known: int) -> bool:
        try:
            stat = path.stat()
        except OSError:
            return True
        return (stat.st_size, stat.st_mtime_ns) == self.reader.stat_of(known)

    def search(
        self,
        *,
        text: str | None = None,
        image: str | Path | None = None,
        like: int | None = None,
        vector: Vectors | None = None,
        where: str | None = None,
        k: int = 20,
        min_score: float | None = None,
        unique: bool = False,
        remember: bool = True,
    ) -> Hits:
        """The `k` images nearest to words, a picture file, an image's id or a vector (d,); exactly one of them.

        `where` is a SQL condition on `reader.columns()`; `min_score` an inner product in [−1, 1]; `unique` keeps one
        image per content. Raises `UsageError` for none or several queries or one of the wrong kind, `WhereError`,
        `NoTextTower`, `PictureError`.
        """
        queries = {"text": text, "image": image, "like": like, "vector": vector}
        asked = [name for name, value in queries.items() if value is not None]
        if len(asked) != 1:
            raise UsageError(f"name exactly one of text, image, like and vector, not {' and '.join(asked) or 'none'}")
        if text is not None:
            if not isinstance(text, str):
                raise UsageError(f"text is a string of words, not {type(text).__name__}")
            q = self.vector_of_text(text, remember=remember)
        elif image is not None:
            q = self.vector_of_file(Path(image))
        elif like is not None:
            if isinstance(like, bool) or not isinstance(like, int | np.integer):
                raise UsageError(f"like is an image's id, a whole number, not {like!r}")
            q = self.vector_of_id(int(like))
        else:
            q = self._as_unit(vector)
        return self.nearest(q, k, where=where, min_score=min_score, unique=unique, is_words=text is not None)

    def _as_unit(self, vector: Any) -> Vectors:
        """A vector (d,) of any length → a unit one. Raises `UsageError` for another shape, or without a direction."""
        try:
            v = np.asarray(vector, np.float32)
            if v.shape != (self.space.dim,):
                raise UsageError(f"a vector of this index has the shape ({self.space.dim},), not {v.shape}")
            return normalise(v[None]).ravel()
        except (TypeError, ValueError) as error:
            raise UsageError(f"the vector cannot be searched with: {error}") from error

    def nearest(
        self,
        q: Vectors,
        k: int,
        *,
        where: str | None = None,
        min_score: float | None = None,
        unique: bool = False,
        is_words: bool = False,
        exact: bool = False,
    ) -> Hits:
        """The `k` images nearest to one unit vector (d,); see `search`. `exact` compares every match.

        Only of words is it known how sure a hit is, so `is_words` says that the vector is that of some.
        """
        refuse_limits(k, min_score)
        with self.engine.moment():
            background = Background.of(exact_scores(self.engine.sample(), q))
            answer, chosen = self._enough(q, k, where, unique=unique, exact=exact)
        ids, scores = answer.ids[chosen], answer.scores[chosen]
        z, notes = background.z(scores), answer.notes
        if len(scores) and np.isnan(z[0]):
            notes += (f"with fewer than {LEAST_SAMPLE} images, how sure a hit is cannot be told",)
        learnt = read_sureness(self.reader, self.space) if is_words and not self.is_served else None
        confidence = learnt.of(z) if learnt else np.full(len(scores), np.nan, np.float32)
        stands_out = confidence if learnt else background.confidence(scores[:1], answer.total)
        clear = len(scores) > 0 and not stands_out[0] < (_LIKELY if learnt else CLEAR)
        if min_score is not None:
            reached = scores >= min_score
            ids, scores, z, confidence = ids[reached], scores[reached], z[reached], confidence[reached]
        return Hits(ids, scores, z, confidence, answer.searched, answer.exact, clear, notes)

    def _enough(self, q: Vectors, k: int, where: str | None, *, unique: bool, exact: bool) -> tuple[Answer, Positions]:
        """An answer, and the positions of its best `k`; with `unique` only the first of each content counts."""
        wanted = k
        while True:
            answer = self.engine.nearest(q, wanted, where=where, exact=exact)
            chosen = self._first_of_each(answer.ids) if unique else np.arange(len(answer.ids))
            if len(chosen) >= k or len(answer.ids) < wanted:
                return answer, chosen[:k]
            wanted *= 4

    def rebuild(self, db: Writer, space: Space, **options: Any) -> None:
        """Write new FAISS files of a space from the database; see `curator.index.files.write_files`."""
        write_files(self.folder, db, space, step=self.step, **options)

    def rebuild_if_worth(self, db: Writer, space: Space, *, listed: bool = True, job: Job = QUIET) -> None:
        """The same when so much has changed that searches would feel it, or lists are missing if `listed`.

        A full disk costs speed, never an answer.
        """
        space = next(s for s in db.spaces() if s.id == space.id)
        if is_worth_writing(self.folder, db, space, listed=listed):
            try:
                self.rebuild(db, space, learn=listed, job=job)
            except OSError as error:
                logger.warning("the FAISS files could not be written (%s); searches read the database instead", error)

    def _first_of_each(self, ids: Ids) -> Positions:
        hashes = [i.sha256 for i in self.images(ids)]
        first = {h: i for i, h in reversed(list(enumerate(hashes)))}
        return np.array(sorted(first.values()), np.int64)


def refuse_limits(k: object, min_score: float | None) -> None:
    """Raise `UsageError` for what a search cannot keep to."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise UsageError(f"a search takes a whole k of 1 or more, not {k!r}")
    if min_score is not None and not -1 <= min_score <= 1:
        raise UsageError(f"min_score is a number in [−1, 1], not {min_score}")
