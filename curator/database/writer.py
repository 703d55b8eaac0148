"""Every change to the database, each inside a transaction that also seals its rows."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from curator.database.connection import as_path, as_stored, connect_writer, mark_clean, take_lock
from curator.database.integrity import row_crc
from curator.database.reader import Reader
from curator.database.schema import FORMAT, SEALED, migrations
from curator.errors import IndexFull
from curator.records import Content, ImageFile, Notes, Root, Skipped, Space, Vectors

# What a person took out stays out, whatever happens to the file.
_UNLESS_BY_HAND = "CASE WHEN images.removed = 'by hand' THEN 'by hand' END"


@dataclass(frozen=True)
class NewImage:
    """One present image as a scan found it."""

    root_id: int
    file: ImageFile
    content_id: int
    notes: Notes
    origin: str


class Writer(Reader):
    """The one writer of an index, for as long as it holds the lock. All changes happen inside `atomic()`."""

    @classmethod
    def open(cls, folder: Path, *, lock: IO[bytes] | None = None) -> Self:
        """Take the lock if it is not given, check, migrate after a backup.

        Raises `IndexLocked`, `IndexDamaged` or `IndexTooNew`.
        """
        lock = lock or take_lock(folder)
        try:
            writer = cls(folder, connect_writer(folder))
            writer._begin(lock)
        except BaseException:
            lock.close()
            raise
        return writer

    def _begin(self, lock: IO[bytes]) -> None:
        from sqlite_utils import Database

        self._lock = lock
        self._db = Database(self.connection)
        version = self.connection.execute("PRAGMA user_version").fetchone()[0]
        if version < FORMAT:
            if version:
                shutil.copy2(self.folder / "index.db", self.folder / f"index.format-{version}.db")
            with _room(self.folder):
                migrations().apply(self._db)

    def close(self) -> None:
        """End cleanly: the next opening need not check every row."""
        super().close()
        mark_clean(self.folder)
        self._lock.close()

    @contextlib.contextmanager
    def atomic(self) -> Iterator[None]:
        """All or nothing, sealed and on disk when it ends without an error. Raises `IndexFull`."""
        with _room(self.folder), self._db.atomic():
            yield
            for table, columns in SEALED.items():
                self.connection.execute(f"UPDATE {table} SET crc = row_crc({', '.join(columns)}) WHERE crc IS NULL")

    def _set_meta(self, key: str, value: int) -> None:
        self.connection.execute("UPDATE meta SET value = ?, crc = NULL WHERE key = ?", [value, key])

    def _next_seq(self) -> int:
        """The number of this change: larger than that of every row before it."""
        seq = self.meta("seq") + 1
        self._set_meta("seq", seq)
        return seq

    def add_root(self, path: Path) -> Root:
        """Register a folder, or return it if it is. A root inside it becomes part of it; one around it is returned instead."""
        for root in self.roots():
            if path.is_relative_to(root.path):
                return root
        self.connection.execute("INSERT INTO roots (path) VALUES (?)", [as_stored(str(path))])
        added = next(r for r in self.roots() if r.path == path)
        for root in self.roots():
            if root.id != added.id and root.path.is_relative_to(path):
                self._absorb(root, added)
        return added

    def _absorb(self, inner: Root, outer: Root) -> None:
        prefix = inner.path.relative_to(outer.path).as_posix()
        for table in ("images", "skipped"):
            rows = self.rows(f"SELECT rowid, path FROM {table} WHERE root_id = ?", [inner.id])
            moved = [(outer.id, as_stored(f"{prefix}/{as_path(path)}"), rowid) for rowid, path in rows]
            self.connection.executemany(f"UPDATE {table} SET root_id = ?, path = ?, crc = NULL WHERE rowid = ?", moved)
        self.connection.execute("DELETE FROM roots WHERE id = ?", [inner.id])

    def set_root_options(self, root_id: int, options: Mapping[str, Any]) -> None:
        """Remember what a root was indexed with, so that a bare `curator index` repeats it."""
        self.connection.execute("UPDATE roots SET options = ?, crc = NULL WHERE id = ?", [json.dumps(options, sort_keys=True), root_id])

    def repoint_root(self, root_id: int, path: Path) -> None:
        """The folder has moved: say where it is now."""
        self.connection.execute("UPDATE roots SET path = ?, crc = NULL WHERE id = ?", [as_stored(str(path)), root_id])

    def add_space(self, encoder: str, fingerprint: str, dim: int) -> Space:
        """Register a space, or return it if it is; the first one becomes the active one."""
        known = next((s for s in self.spaces() if s.fingerprint == fingerprint), None)
        if known is None:
            self.connection.execute("INSERT INTO spaces (encoder, fingerprint, dim) VALUES (?, ?, ?)", [encoder, fingerprint, dim])
            known = next(s for s in self.spaces() if s.fingerprint == fingerprint)
        if not self.meta("active_space"):
            self.use_space(known)
        return known

    def use_space(self, space: Space) -> None:
        """Let searches use this space from now on."""
        self._set_meta("active_space", space.id)

    def next_generation(self) -> int:
        """A number for new FAISS files that no other ever had."""
        number = self.meta("last_generation") + 1
        self._set_meta("last_generation", number)
        return number

    def set_generation(self, space: Space, generation: int, built_seq: int, files_sha256: str) -> None:
        """The files of `generation` now hold the space up to change `built_seq`."""
        self.connection.execute(
            "UPDATE spaces SET generation = ?, built_seq = ?, files_sha256 = ?, crc = NULL WHERE id = ?",
            [generation, built_seq, files_sha256, space.id],
        )

    def put_contents(self, contents: Iterable[Content]) -> dict[bytes, int]:
        """Add what is new → sha256 → content id."""
        contents = list(contents)
        rows = [(c.sha256, c.pixel_hash, c.width, c.height, c.mode, c.format, c.taken_at, c.camera) for c in contents]
        self.connection.executemany(
            "INSERT OR IGNORE INTO contents (sha256, pixel_hash, width, height, mode, format, taken_at, camera) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        return self.content_ids([c.sha256 for c in contents])

    def put_vectors(self, space: Space, content_ids: Sequence[int], x: Vectors, norms: NDArray[np.float32]) -> None:
        """Store unit rows (n, d) as fp16, each with its length before normalising; an older vector is replaced."""
        seq = self._next_seq()
        half = np.ascontiguousarray(x, np.float16)
        rows = [
            (space.id, content, seq, float(norm), row.tobytes())
            for content, norm, row in zip(content_ids, norms, half, strict=True)
        ]  # fmt: skip
        sealed = [(*r, row_crc(space.id, r[1], seq, r[3], r[4])) for r in rows]
        self.connection.executemany(
            "INSERT OR REPLACE INTO embeddings (space_id, content_id, seq, norm, vector, crc) VALUES (?, ?, ?, ?, ?, ?)", sealed
        )

    def put_images(self, images: Iterable[NewImage]) -> None:
        """Add images, or bring rows of the same path up to date: new content, new notes, back on disk. Keeps ids."""
        seq, now = self._next_seq(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        images = list(images)
        rows = [
            (i.root_id, as_stored(i.file.path), i.file.size, i.file.mtime_ns, i.content_id, i.origin, *_noted(i.notes), now, seq)
            for i in images
        ]
        # What was found of a picture says nothing of another one in its place.
        self.connection.executemany(
            "DELETE FROM groups WHERE keeper_id IN (SELECT g.keeper_id FROM images i JOIN groups g ON g.image_id = i.id "
            "WHERE i.root_id = ? AND i.path = ? AND i.content_id != ?)",
            [(i.root_id, as_stored(i.file.path), i.content_id) for i in images],
        )
        self.connection.executemany(
            "INSERT INTO images (root_id, path, size, mtime_ns, content_id, origin, label, caption, extra, added_at, seq) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (root_id, path) DO UPDATE SET size = excluded.size, "
            "mtime_ns = excluded.mtime_ns, content_id = excluded.content_id, origin = excluded.origin, label = excluded.label, "
            f"caption = excluded.caption, extra = excluded.extra, removed = {_UNLESS_BY_HAND}, seq = excluded.seq, crc = NULL",
            rows,
        )
        self._note_columns(i.notes for i in images)

    def put_notes(self, notes: Mapping[int, tuple[str, Notes]]) -> None:
        """image id → (origin, notes): metadata only, so no vector changes."""
        rows = [(origin, *_noted(n), image_id) for image_id, (origin, n) in notes.items()]
        self.connection.executemany("UPDATE images SET origin = ?, label = ?, caption = ?, extra = ?, crc = NULL WHERE id = ?", rows)
        self._note_columns(n for _, n in notes.values())

    def _note_columns(self, notes: Iterable[Notes]) -> None:
        names = sorted({name for n in notes for name in n.extra})
        self.connection.executemany("INSERT OR IGNORE INTO columns (name) VALUES (?)", [(n,) for n in names])

    def put_stat(self, image_id: int, file: ImageFile) -> None:
        """The file was touched, and its content is the same."""
        sql = "UPDATE images SET size = ?, mtime_ns = ?, crc = NULL WHERE id = ?"
        self.connection.execute(sql, [file.size, file.mtime_ns, image_id])

    def move_image(self, image_id: int, root_id: int, file: ImageFile) -> None:
        """The same file under a new path: id, tags and vector stay. A removed row that still held the path makes way."""
        old = self._one("SELECT id FROM images WHERE root_id = ? AND path = ?", [root_id, as_stored(file.path)])
        if old is not None:
            aside = f"{file.path}\0{old}"  # no file can have this name
            self.connection.execute("UPDATE images SET path = ?, crc = NULL WHERE id = ?", [as_stored(aside), old])
        self.connection.execute(
            "UPDATE images SET root_id = ?, path = ?, size = ?, mtime_ns = ?, "
            f"removed = {_UNLESS_BY_HAND}, seq = ?, crc = NULL WHERE id = ?",
            [root_id, as_stored(file.path), file.size, file.mtime_ns, self._next_seq(), image_id],
        )

    def remove(self, ids: Sequence[int], *, by_hand: bool) -> None:
        """Leave a tombstone: the row, its tags and its vector stay, and searches pass over it."""
        seq, kind = self._next_seq(), "by hand" if by_hand else "gone"
        sql = "UPDATE images SET removed = ?, seq = ?, crc = NULL WHERE id = ? AND removed IS NULL"
        self.connection.executemany(sql, [(kind, seq, int(i)) for i in ids])

    def restore(self, ids: Sequence[int]) -> None:
        """Take back removals by hand; what is gone from disk comes back when its file does."""
        seq = self._next_seq()
        sql = "UPDATE images SET removed = NULL, seq = ?, crc = NULL WHERE id = ? AND removed = 'by hand'"
        self.connection.executemany(sql, [(seq, int(i)) for i in ids])

    def put_back(self, image_id: int, size: int, mtime_ns: int) -> None:
        """A file that was gone is at its place again."""
        sql = "UPDATE images SET removed = NULL, size = ?, mtime_ns = ?, seq = ?, crc = NULL WHERE id = ? AND removed = 'gone'"
        self.connection.execute(sql, [size, mtime_ns, self._next_seq(), image_id])

    def tag(self, ids: Sequence[int], tags: Sequence[str]) -> None:
        """Put tags on images; one that is there stays."""
        rows = [(int(i), t) for i in ids for t in tags]
        self.connection.executemany("INSERT OR IGNORE INTO tags (image_id, tag) VALUES (?, ?)", rows)

    def untag(self, ids: Sequence[int], tags: Sequence[str]) -> None:
        """Take tags off images."""
        self.connection.executemany("DELETE FROM tags WHERE image_id = ? AND tag = ?", [(int(i), t) for i in ids for t in tags])

    def put_skipped(self, root_id: int, files: Iterable[Skipped]) -> None:
        """Remember files that could not be read, with the reason."""
        rows = [(root_id, as_stored(f.path), f.size, f.mtime_ns, f.reason) for f in files]
        self.connection.executemany("INSERT OR REPLACE INTO skipped (root_id, path, size, mtime_ns, reason) VALUES (?, ?, ?, ?, ?)", rows)

    def clear_skipped(self, root_id: int, paths: Iterable[str]) -> None:
        """Forget files that have become readable or have gone."""
        self.connection.executemany("DELETE FROM skipped WHERE root_id = ? AND path = ?", [(root_id, as_stored(p)) for p in paths])

    def cache_query(self, space: Space, query: str, q: Vectors) -> None:
        """Keep the vector (d,) of some words."""
        vector = np.ascontiguousarray(q, np.float32).tobytes()
        self.connection.execute("INSERT OR REPLACE INTO queries (space_id, query, vector) VALUES (?, ?, ?)", [space.id, query, vector])


@contextlib.contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Tell a full disk from a bug."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise
        raise IndexFull(f"cannot write to {folder}: {error}; make room and run again, nothing that was done is lost") from error


def _noted(notes: Notes) -> tuple[str | None, str | None, str]:
    return notes.label, notes.caption, json.dumps(notes.extra, sort_keys=True, ensure_ascii=False)
