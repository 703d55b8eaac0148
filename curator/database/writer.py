"""Every change to the database, each inside a transaction that also seals its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from curator.database.integrity import row_crc
from curator.database.reader import in_parts
from curator.database.schema import UNUSED_COLUMNS
from curator.database.writing import Writing
from curator.files import as_stored
from curator.records import Content, ImageFile, Notes, Skipped, Space, Vectors
from curator.texts import to_json

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


class Writer(Writing):
    """The one writer of an index, for as long as it holds the lock. All changes happen inside `atomic()`."""

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
            "INSERT OR REPLACE INTO embeddings (space_id, content_id, seq, norm, vector, crc) VALUES (?, ?, ?, ?, ?, "
            "?)",
            sealed,
        )

    def put_images(self, images: Iterable[NewImage]) -> None:
        """Add images, or bring rows of the same path up to date: new content, new notes, back on disk. Keeps ids."""
        seq, now = self._next_seq(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        images = list(images)
        rows = [
            (
                i.root_id,
                as_stored(i.file.path),
                i.file.size,
                i.file.mtime_ns,
                i.content_id,
                i.origin,
                *_noted(i.notes),
                now,
                seq,
            )
            for i in images
        ]
        # What was found of a picture says nothing of another one in its place.
        self.connection.executemany(
            "DELETE FROM groups WHERE keeper_id IN (SELECT g.keeper_id FROM images i JOIN groups g ON g.image_id = "
            "i.id "
            "WHERE i.root_id = ? AND i.path = ? AND i.content_id != ?)",
            [(i.root_id, as_stored(i.file.path), i.content_id) for i in images],
        )
        self.connection.executemany(
            "INSERT INTO images (root_id, path, size, mtime_ns, content_id, origin, label, caption, extra, added_at, "
            "seq) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (root_id, path) DO UPDATE SET size = excluded.size, "
            "mtime_ns = excluded.mtime_ns, content_id = excluded.content_id, origin = excluded.origin, label = "
            "excluded.label, "
            f"caption = excluded.caption, extra = excluded.extra, removed = {_UNLESS_BY_HAND}, seq = excluded.seq, "
            "crc = NULL",
            rows,
        )
        self._keep_edits(f"seq = {int(seq)}")
        self._note_columns(i.notes for i in images)

    def put_notes(self, notes: Mapping[int, tuple[str, Notes]]) -> None:
        """image id → (origin, notes): metadata only, so no vector changes."""
        rows = [(origin, *_noted(n), image_id) for image_id, (origin, n) in notes.items()]
        self.connection.executemany(
            "UPDATE images SET origin = ?, label = ?, caption = ?, extra = ?, crc = NULL WHERE id = ?", rows
        )
        for part in in_parts(list(notes)):
            self._keep_edits(f"id IN ({', '.join(map(str, part))})")
        self._note_columns(n for _, n in notes.values())

    def edit(self, name: str, values: Mapping[int, str | None]) -> None:
        """Write the label or caption of images, whatever their files say; None gives back what those say."""
        there = "FROM edits WHERE image_id = ?1 AND name = ?2"
        texts = [(image_id, name, value) for image_id, value in values.items() if value is not None]
        self.connection.executemany(
            f"INSERT INTO edits (image_id, name, value, source) SELECT id, ?2, ?3, {name} FROM images WHERE id = ?1 "
            "ON CONFLICT (image_id, name) DO UPDATE SET value = excluded.value, crc = NULL",
            texts,
        )
        self.connection.executemany(f"UPDATE images SET {name} = ?3, crc = NULL WHERE id = ?1 AND ?2 = ?2", texts)
        back = [(image_id, name) for image_id, value in values.items() if value is None]
        self.connection.executemany(
            f"UPDATE images SET {name} = (SELECT source {there}), crc = NULL WHERE id = ?1 AND EXISTS "
            f"(SELECT 1 {there})",
            back,
        )
        self.connection.executemany(f"DELETE {there}", back)

    def _keep_edits(self, which: str) -> None:
        """Of images that were written as their files say: what a person wrote stands, and what those say beside it."""
        for name in ("label", "caption"):
            of = f"name = '{name}' AND image_id IN (SELECT id FROM images WHERE {which})"
            self.connection.execute(
                f"UPDATE edits SET source = (SELECT {name} FROM images WHERE id = image_id), crc = NULL WHERE {of}"
            )
            self.connection.execute(
                f"UPDATE images SET {name} = (SELECT value FROM edits WHERE image_id = id AND name = '{name}'), "
                f"crc = NULL WHERE id IN (SELECT image_id FROM edits WHERE {of})"
            )

    def _note_columns(self, notes: Iterable[Notes]) -> None:
        names = sorted({name for n in notes for name in n.extra})
        self.connection.executemany("INSERT OR IGNORE INTO columns (name) VALUES (?)", [(n,) for n in names])

    def drop_unused_columns(self) -> None:
        """Forget further columns that no image has any more."""
        self.connection.execute(UNUSED_COLUMNS)

    def put_stat(self, image_id: int, file: ImageFile) -> None:
        """The file was touched, and its content is the same."""
        sql = "UPDATE images SET size = ?, mtime_ns = ?, crc = NULL WHERE id = ?"
        self.connection.execute(sql, [file.size, file.mtime_ns, image_id])

    def move_image(self, image_id: int, root_id: int, file: ImageFile) -> None:
        """The same file under a new path: id, tags and vector stay.

        A removed row that still held the path makes way.
        """
        old = self._one("SELECT id FROM images WHERE root_id = ? AND path = ?", [root_id, as_stored(file.path)])
        if old is not None:
            aside = f"{file.path}\0{old}"  # no file can have this name
            self.connection.execute("UPDATE images SET path = ?, crc = NULL WHERE id = ?", [as_stored(aside), old])
        self.connection.execute(
            "UPDATE images SET root_id = ?, path = ?, size = ?, mtime_ns = ?, "
            f"removed = {_UNLESS_BY_HAND}, seq = ?, crc = NULL WHERE id = ?",
            [root_id, as_stored(file.path), file.size, file.mtime_ns, self._next_seq(), image_id],
        )

    def remove(self, ids: Sequence[int], *, by_hand: bool) -> int:
        """Leave a tombstone → on how many images: the row, its tags and its vector stay, and searches pass over it."""
        seq, kind = self._next_seq(), "by hand" if by_hand else "gone"
        sql = "UPDATE images SET removed = ?, seq = ?, crc = NULL WHERE id = ? AND removed IS NULL"
        return self.connection.executemany(sql, [(kind, seq, int(i)) for i in ids]).rowcount

    def restore(self, ids: Sequence[int]) -> int:
        """Take back removals by hand → how many; what is gone from disk comes back when its file does."""
        seq = self._next_seq()
        sql = "UPDATE images SET removed = NULL, seq = ?, crc = NULL WHERE id = ? AND removed = 'by hand'"
        return self.connection.executemany(sql, [(seq, int(i)) for i in ids]).rowcount

    def put_back(self, image_id: int, size: int, mtime_ns: int) -> None:
        """A file that was gone is at its place again."""
        sql = (
            "UPDATE images SET removed = NULL, size = ?, mtime_ns = ?, seq = ?, crc = NULL WHERE id = ? AND removed = "
            "'gone'"
        )
        self.connection.execute(sql, [size, mtime_ns, self._next_seq(), image_id])

    def tag(self, ids: Sequence[int], tags: Sequence[str]) -> None:
        """Put tags on images; one that is there stays."""
        rows = [(int(i), t) for i in ids for t in tags]
        self.connection.executemany("INSERT OR IGNORE INTO tags (image_id, tag) VALUES (?, ?)", rows)

    def untag(self, ids: Sequence[int], tags: Sequence[str]) -> None:
        """Take tags off images."""
        self.connection.executemany(
            "DELETE FROM tags WHERE image_id = ? AND tag = ?", [(int(i), t) for i in ids for t in tags]
        )

    def put_skipped(self, root_id: int, files: Iterable[Skipped]) -> None:
        """Remember files that could not be read, with the reason."""
        rows = [(root_id, as_stored(f.path), f.size, f.mtime_ns, f.reason) for f in files]
        self.connection.executemany(
            "INSERT OR REPLACE INTO skipped (root_id, path, size, mtime_ns, reason) VALUES (?, ?, ?, ?, ?)", rows
        )

    def clear_skipped(self, root_id: int, paths: Iterable[str]) -> None:
        """Forget files that have become readable or have gone."""
        self.connection.executemany(
            "DELETE FROM skipped WHERE root_id = ? AND path = ?", [(root_id, as_stored(p)) for p in paths]
        )

    def cache_query(self, space: Space, query: str, q: Vectors) -> None:
        """Keep the vector (d,) of some words."""
        vector = np.ascontiguousarray(q, np.float32).tobytes()
        self.connection.execute(
            "INSERT OR REPLACE INTO queries (space_id, query, vector) VALUES (?, ?, ?)", [space.id, query, vector]
        )


def _noted(notes: Notes) -> tuple[str | None, str | None, str]:
    return notes.label, notes.caption, to_json(notes.extra, sort_keys=True, ensure_ascii=False)
