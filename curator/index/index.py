"""`Index`: one folder with a database and its FAISS files, kept in step."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np

from curator.database import DATABASE, Reader, Writer
from curator.embeddings import LEAST_SAMPLE, check_unit, normalise
from curator.encoders import Encoder, open_space
from curator.errors import IndexFull, IndexLocked, IndexTooOld, NoIndex, UnknownName
from curator.images import absolute, read_picture
from curator.index.view import View
from curator.records import Hits, Ids, Image, Positions, Space, Vectors
from curator.vectors import clear_unfinished, drop_generations, write_generation

logger = logging.getLogger("curator")

CLEAR = 0.9  # least confidence of a best hit that counts as an answer; measured by scripts/bench_relevance.py
_TAIL = 2_000  # changes that a search scans from the database before new FAISS files are worth their writing


def locate(name: str | Path | None = None) -> Path:
    """The folder of an index: a path if it looks like one, else `indexes/<name>`; `CURATOR_INDEX`, else `default`."""
    chosen = str(name or os.environ.get("CURATOR_INDEX") or "default")
    looks_like_path = os.sep in chosen or chosen.startswith((".", "~")) or (Path(chosen) / DATABASE).is_file()
    return Path(chosen).expanduser().absolute() if looks_like_path else Path("indexes", chosen).absolute()


class Index:
    """An index, open for questions; `with` closes it.

    `step` is called with the name of each durable step of a write; tests use it to stop at any of them.
    """

    def __init__(self, folder: Path, *, step: Callable[[str], None] = lambda name: None) -> None:
        self.folder = folder
        self.step = step
        try:
            self.reader = Reader.open(folder)
        except IndexTooOld as error:
            logger.warning("%s", error)
            Writer.open(folder).close()
            self.reader = Reader.open(folder)
        self._view: View | None = None
        self._encoder: tuple[int, Encoder] | None = None

    @classmethod
    def open(cls, name: str | Path | None = None, *, step: Callable[[str], None] = lambda name: None) -> Self:
        """Open an index by name or path, migrating an older format. Raises `NoIndex`, `IndexTooNew`, `IndexDamaged`, `IndexLocked`."""
        return cls(locate(name), step=step)

    @classmethod
    def create(cls, name: str | Path | None = None, *, step: Callable[[str], None] = lambda name: None) -> Self:
        """Open an index, making an empty one if there is none. Raises `IndexLocked` where the folder cannot be written."""
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
    def write(self) -> Iterator[Writer]:
        """The one writer, until the end of the block. Raises `IndexLocked` when another process has it."""
        writer = Writer.open(self.folder)
        clear_unfinished(self.folder / "vectors")
        try:
            yield writer
        finally:
            writer.close()

    @property
    def space(self) -> Space:
        """The space that searches use. Raises `NoIndex` for an index without images."""
        space = self.reader.active_space()
        if space is None:
            raise NoIndex(f"the index at {self.folder} is empty; fill it with `curator index FOLDER`")
        return space

    @property
    def encoder(self) -> Encoder:
        """The encoder of the active space, loaded on first use. Raises `EncoderError` where it is not to be had."""
        space = self.space
        if self._encoder is None or self._encoder[0] != space.id:
            self._encoder = (space.id, open_space(space))
        return self._encoder[1]

    def images(self, ids: Ids | list[int]) -> list[Image]:
        """Metadata of images, in the order of `ids`. Raises `UnknownName` for an id there never was."""
        return self.reader.images(ids)

    def vector_of_text(self, text: str) -> Vectors:
        """Words → (d,) unit; remembered in the index, so that asking again needs no encoder. Raises `NoTextTower`."""
        space = self.space
        q = self.reader.cached_query(space, text)
        if q is None:
            q = self.encoder.encode_texts([text]).ravel()
            with contextlib.suppress(IndexLocked, IndexFull), self.write() as db, db.atomic():
                db.cache_query(space, text, q)
        return q

    def vector_of_id(self, image_id: int) -> Vectors:
        """The stored vector (d,) of an image, as unit row. Raises `UnknownName`."""
        if not self.reader.is_present(image_id):
            raise UnknownName(f"no image with id {image_id} in this index; `curator search` shows ids")
        return normalise(self.reader.vectors(self.space, [image_id])).ravel()

    def vector_of_file(self, path: Path) -> Vectors:
        """A picture file → (d,) unit: the stored vector if the file is indexed and untouched, or gone. Raises `PictureError`."""
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
    ) -> Hits:
        """The `k` images nearest to words, a picture file, an image's id or a vector (d,); exactly one of them.

        `where` is a SQL condition on `reader.columns()`; `min_score` an inner product in [−1, 1]; `unique` keeps one image
        per content. Raises `ValueError` for none or several queries, `WhereError`, `NoTextTower`, `PictureError`.
        """
        given = [name for name, value in {"text": text, "image": image, "like": like, "vector": vector}.items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"name exactly one of text, image, like and vector, not {given or 'none'}")
        if text is not None:
            q = self.vector_of_text(text)
        elif image is not None:
            q = self.vector_of_file(Path(image))
        else:
            q = self.vector_of_id(like) if like is not None else normalise(np.asarray(vector, np.float32)[None]).ravel()
        return self.nearest(q, k, where=where, min_score=min_score, unique=unique)

    def nearest(self, q: Vectors, k: int, *, where: str | None = None, min_score: float | None = None, unique: bool = False) -> Hits:
        """The `k` images nearest to one unit vector (d,); see `search`."""
        with self.reader.snapshot():
            view = self._current_view()
            check_unit(q[None], view.space.dim)
            chosen = self.reader.ids_where(where) if where else None
            background = view.background(q)
            wanted = k
            while True:
                ids, scores, searched = view.nearest(q, wanted, chosen)
                kept = self._first_of_each(ids) if unique else np.arange(len(ids))
                if len(kept) >= k or len(ids) < wanted:
                    break
                wanted *= 4
        kept = kept[:k]
        ids, scores = ids[kept], scores[kept]
        confidence = background.confidence(scores, view.count)
        notes = view.notes
        if len(scores) and np.isnan(confidence[0]):
            notes += (f"with fewer than {LEAST_SAMPLE} images, how sure a hit is cannot be told",)
        clear = bool(len(scores) and not confidence[0] < CLEAR)
        if min_score is not None:
            enough = scores >= min_score
            ids, scores, confidence = ids[enough], scores[enough], confidence[enough]
        return Hits(ids, scores, background.z(scores), confidence, searched, True, clear, notes)

    def rebuild(self, db: Writer, space: Space) -> None:
        """Write new FAISS files of a space from the database and switch to them; the old ones go one step later."""
        home = self.folder / "vectors"
        with db.atomic():
            number = db.next_generation()
        built_seq = db.meta("seq")
        facts = {
            "missing": len(db.missing(space)),
            "space": space.fingerprint,
            "encoder": space.encoder,
            "seq": built_seq,
            "generation": number,
        }
        checksum = write_generation(home, number, space.dim, db.vector_blocks(space), facts=facts, step=self.step)
        with db.atomic():
            db.set_generation(space, number, built_seq, checksum)
        self.step("generation switched")
        drop_generations(home, {s.generation for s in db.spaces()} | {space.generation, number})

    def rebuild_if_worth(self, db: Writer, space: Space, *, at_least: int = _TAIL) -> None:
        """`rebuild` when so much has changed that searches would feel it. A full disk costs speed, never an answer."""
        space = next(s for s in db.spaces() if s.id == space.id)
        changes = len(db.changed_since(space))
        if changes > at_least or (changes and not space.generation):
            try:
                self.rebuild(db, space)
            except OSError as error:
                logger.warning("the FAISS files could not be written (%s); searches read the database instead", error)

    def _current_view(self) -> View:
        """What is loaded, if it is still true; otherwise load. Call inside a snapshot."""
        space, seq = self.space, self.reader.meta("seq")
        if self._view is None or (self._view.seq, self._view.space) != (seq, space):
            self._view = View.load(self.reader, space, seq)
        return self._view

    def _first_of_each(self, ids: Ids) -> Positions:
        hashes = [i.sha256 for i in self.images(ids)]
        first = {h: i for i, h in reversed(list(enumerate(hashes)))}
        return np.array(sorted(first.values()), np.int64)
