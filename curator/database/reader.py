"""Every question asked of the database. Rows leave as records and arrays, never as cursors."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from curator.database.connected import Connected
from curator.database.integrity import room_for, row_crc
from curator.database.where import DEADLINE, Further, columns_of, ids_where, values_sql
from curator.errors import IndexDamaged, UnknownName
from curator.files import as_path, as_stored
from curator.records import Ids, Image, Root, Space, Vectors

_BLOCK = 4096  # rows per fetch
T = TypeVar("T")
_MANY = 400  # bound variables, or pairs of them, per statement
FEW = 20_000  # ids that are looked up one by one; for more, reading every row is faster
# CROSS: images first
_EMBEDDED = "FROM images i CROSS JOIN embeddings e ON e.space_id = :space AND e.content_id = i.content_id"
_VECTORS = f"SELECT i.id, e.seq, e.norm, e.vector, e.crc, e.content_id {_EMBEDDED}"
_CHANGED = (  # ids whose vector is not the one in the space's files
    "SELECT id FROM images WHERE seq > :since UNION SELECT i.id FROM embeddings e JOIN images i ON i.content_id = "
    "e.content_id "
    "WHERE e.space_id = :space AND e.seq > :since"
)
_LABELLED = "removed IS NULL AND origin = 'real' AND label IS NOT NULL"
_MISSING = (
    "SELECT {} FROM images i {} WHERE i.removed IS NULL AND NOT EXISTS (SELECT 1 FROM embeddings e "
    "WHERE e.space_id = :space AND e.content_id = i.content_id)"
)


class Reader(Connected):
    """A read-only view of one index's database."""

    deadline = DEADLINE  # seconds that one condition may take

    def _one(self, sql: str, values: Sequence[object] = ()) -> Any:
        rows = self.rows(sql, values)
        return rows[0][0] if rows else None

    def meta(self, key: str) -> int:
        """One of the counters: `seq`, `active_space`, `last_generation`."""
        return int(self._one("SELECT value FROM meta WHERE key = ?", [key]) or 0)

    def roots(self) -> list[Root]:
        """Registered roots, in the order they were added."""
        rows = self.rows("SELECT id, path, options FROM roots ORDER BY id")
        return [Root(i, Path(as_path(path)), json.loads(options)) for i, path, options in rows]

    def spaces(self) -> list[Space]:
        """All spaces, oldest first."""
        sql = "SELECT id, encoder, fingerprint, dim, generation, built_seq, files_sha256 FROM spaces ORDER BY id"
        return [Space(*row) for row in self.rows(sql)]

    def active_space(self) -> Space | None:
        """The space that searches use; None before the first `curator index`."""
        active = self.meta("active_space")
        return next((s for s in self.spaces() if s.id == active), None)

    def counts(self, space: Space | None = None) -> dict[str, int]:
        """Images present, removed, skipped, and without a vector in the space."""
        present = self._one("SELECT count(*) FROM images WHERE removed IS NULL")
        removed = self._one("SELECT count(*) FROM images WHERE removed IS NOT NULL")
        contents = self._one("SELECT count(DISTINCT content_id) FROM images WHERE removed IS NULL")
        skipped = self._one("SELECT count(*) FROM skipped")
        counts = {"images": present, "contents": contents, "removed": removed, "skipped": skipped}
        if space is not None:
            counts["missing"] = len(self.missing(space))
        return counts

    def breakdown(self, column: str) -> list[tuple[str, int]]:
        """Present images per value of `origin` or `format`, and real ones per `label`, most first."""
        sql = {
            "label": f"SELECT label, count(*) FROM images WHERE {_LABELLED} GROUP BY label",
            "origin": "SELECT origin, count(*) FROM images WHERE removed IS NULL GROUP BY origin",
            "format": "SELECT c.format, count(*) FROM images i JOIN contents c ON c.id = i.content_id "
            "WHERE removed IS NULL GROUP BY 1",
        }[column]
        return sorted(((str(v), n) for v, n in self.rows(sql)), key=lambda pair: (-pair[1], pair[0]))

    def tags(self) -> list[str]:
        """Every tag that is on an image."""
        return [row[0] for row in self.rows("SELECT DISTINCT tag FROM tags ORDER BY tag")]

    def images(self, ids: Ids | Sequence[int]) -> list[Image]:
        """Records in the order of `ids`, removed ones too. Raises `UnknownName` for an id there never was."""
        image_of: dict[int, Image] = {}
        for part in in_parts([int(i) for i in ids if int(i) < 2**63]):
            marks = ", ".join("?" * len(part))
            sql = (
                "SELECT i.id, r.path, i.path, i.size, c.sha256, c.width, c.height, c.mode, c.format, i.origin, "
                "i.label, i.caption, c.taken_at, c.camera, i.mtime_ns, i.extra, "
                "(SELECT json_group_array(tag) FROM (SELECT tag FROM tags WHERE image_id = i.id ORDER BY tag)) "
                "FROM images i JOIN contents c ON c.id = i.content_id JOIN roots r ON r.id = i.root_id WHERE i.id IN "
                f"({marks})"
            )
            for row in self.rows(sql, part):
                path = Path(as_path(row[1])) / as_path(row[2])
                tags, extra = tuple(json.loads(row[16])), json.loads(row[15])
                image_of[row[0]] = Image(row[0], path, row[3], row[4].hex(), *row[5:15], tags, extra)  # type: ignore[call-arg]
        missing = [int(i) for i in ids if int(i) not in image_of]
        if missing:
            raise UnknownName(f"no image with id {missing[0]}; `curator search` shows ids")
        return [image_of[int(i)] for i in ids]

    def is_present(self, image_id: int) -> bool:
        """Whether the image is in the index and not removed."""
        return 0 < image_id < 2**63 and bool(
            self._one("SELECT 1 FROM images WHERE id = ? AND removed IS NULL", [image_id])
        )

    def find(self, path: Path, *, removed: bool = False) -> int | None:
        """The id of the image at an absolute path, if it is present (or removed by hand)."""
        state = "removed = 'by hand'" if removed else "removed IS NULL"
        for root in self.roots():
            if path.is_relative_to(root.path):
                stored = as_stored(path.relative_to(root.path).as_posix())
                image_id = self._one(
                    f"SELECT id FROM images WHERE root_id = ? AND path = ? AND {state}", [root.id, stored]
                )
                if image_id is not None:
                    return int(image_id)
        return None

    def stat_of(self, image_id: int) -> tuple[int, int]:
        """(size in bytes, mtime in ns) of the file as it was indexed."""
        size, mtime_ns = self.rows("SELECT size, mtime_ns FROM images WHERE id = ?", [image_id])[0]
        return size, mtime_ns

    def ids_below(self, folder: Path) -> Ids:
        """Ascending ids of the present images whose path lies in a folder."""
        ids: list[int] = []
        # As bytes, because a path that is no UTF-8 is stored so.
        sql = "SELECT id FROM images WHERE removed IS NULL AND root_id = ? AND substr(CAST(path AS BLOB), 1, ?) = ?"
        for root in self.roots():
            if root.path.is_relative_to(folder) or folder.is_relative_to(root.path):
                within = folder != root.path and folder.is_relative_to(root.path)
                start = os.fsencode(folder.relative_to(root.path)) + b"/" if within else b""
                ids += [row[0] for row in self.rows(sql, [root.id, len(start), start])]
        return np.array(sorted(ids), np.int64)

    def content_ids(self, hashes: Sequence[bytes]) -> dict[bytes, int]:
        """sha256 → content id, for those already known."""
        content_of: dict[bytes, int] = {}
        for part in in_parts(list(hashes)):
            content_of |= dict(
                self.rows(f"SELECT sha256, id FROM contents WHERE sha256 IN ({', '.join('?' * len(part))})", part)
            )
        return content_of

    def with_vectors(self, space: Space, hashes: Iterable[bytes]) -> set[bytes]:
        """Those contents, by sha256, that have a vector in the space and need not be encoded again."""
        sql = (
            "SELECT sha256 FROM contents c JOIN embeddings e ON e.content_id = c.id WHERE e.space_id = ? AND sha256 IN "
        )
        parts = in_parts(list(hashes))
        return {
            row[0] for part in parts for row in self.rows(f"{sql}({', '.join('?' * len(part))})", [space.id, *part])
        }

    def missing(self, space: Space) -> list[int]:
        """One present image id for each content that has no vector in the space."""
        return [
            row[0]
            for row in self.rows(
                _MISSING.format("min(i.id)", "") + " GROUP BY i.content_id ORDER BY 1", {"space": space.id}
            )
        ]

    def missing_since(self, space: Space) -> int:
        """How many contents of images newer than the space's files have no vector. Fast, unlike `missing`."""
        sql = _MISSING.format("count(DISTINCT i.content_id)", "INDEXED BY images_seq") + " AND i.seq > :since"
        return int(self.rows(sql, {"space": space.id, "since": space.built_seq})[0][0])

    def vector_blocks(self, space: Space) -> Iterator[tuple[Ids, NDArray[np.float16]]]:
        """Blocks of (ids, (b, d) float16) of all present images, by ascending id.

        Raises `IndexDamaged` at a bad checksum.
        """
        rows = self.connection.execute(f"{_VECTORS} WHERE i.removed IS NULL ORDER BY i.id", {"space": space.id})
        while block := rows.fetchmany(_BLOCK):
            yield self._vectors(space, block)

    def content_vectors(self, space: Space) -> Iterator[tuple[Ids, NDArray[np.float16]]]:
        """Blocks of (content ids, (b, d) float16) of all contents in the space, by ascending id.

        Raises `IndexDamaged`.
        """
        sql = (
            "SELECT content_id, seq, norm, vector, crc, content_id FROM embeddings WHERE space_id = ? ORDER BY "
            "content_id"
        )
        rows = self.connection.execute(sql, [space.id])
        while block := rows.fetchmany(_BLOCK):
            yield self._vectors(space, block)

    def vectors_since(self, space: Space) -> tuple[Ids, Vectors]:
        """(ids, (n, d) float32) of the present images whose vector is newer than the space's files, by ascending id."""
        sql = f"{_VECTORS} WHERE i.removed IS NULL AND i.id IN ({_CHANGED}) ORDER BY i.id"
        ids, x = self._vectors(space, self.rows(sql, {"space": space.id, "since": space.built_seq}))
        return ids, x.astype(np.float32)

    def changed_since(self, space: Space) -> Ids:
        """Ascending ids whose vector in the files no longer counts: removed, replaced, or added since."""
        rows = self.rows(_CHANGED, {"space": space.id, "since": space.built_seq})
        return np.sort(np.fromiter((r[0] for r in rows), np.int64))

    def vectors(self, space: Space, ids: Sequence[int]) -> Vectors:
        """(n, d) float32 in the order of `ids`. Raises `UnknownName` for an image without a vector in the space."""
        vector_of: dict[int, Vectors] = {}
        for part in in_parts([int(i) for i in ids]):
            # Integers of our own, so they may stand in the text.
            rows = self.rows(
                f"{_VECTORS} WHERE i.id IN ({', '.join(map(str, part))}) ORDER BY i.id", {"space": space.id}
            )
            got, x = self._vectors(space, rows)
            vector_of |= dict(zip(got.tolist(), x.astype(np.float32), strict=True))
        absent = [i for i in ids if int(i) not in vector_of]
        if absent:
            raise UnknownName(f"image {absent[0]} has no vector in space '{space.encoder}'; run `curator index`")
        return np.stack([vector_of[int(i)] for i in ids]) if len(ids) else np.empty((0, space.dim), np.float32)

    def norms(self, space: Space, ids: Sequence[int]) -> NDArray[np.float64]:
        """(n,) lengths of the images' vectors before normalising."""
        sql = f"SELECT i.id, e.norm {_EMBEDDED} WHERE i.id IN ({{}})"
        parts = [
            self.rows(sql.format(", ".join(map(str, part))), {"space": space.id})
            for part in in_parts([int(i) for i in ids])
        ]
        norm_of = dict(row for rows in parts for row in rows)
        return np.array([norm_of[int(i)] for i in ids])

    def _vectors(self, space: Space, rows: list[tuple[Any, ...]]) -> tuple[Ids, NDArray[np.float16]]:
        for image_id, seq, norm, vector, crc, content_id in rows:
            if crc != row_crc(space.id, content_id, seq, norm, vector):
                raise IndexDamaged(
                    f"the vector of image {image_id} is damaged; `curator repair` drops it, `curator index` makes it "
                    "again"
                )
        x = np.frombuffer(b"".join(r[3] for r in rows), np.float16).reshape(len(rows), space.dim)
        return np.fromiter((r[0] for r in rows), np.int64, len(rows)), x

    def extra_columns(self) -> list[str]:
        """Names of the columns that side-cars brought."""
        return [row[0] for row in self.rows("SELECT name FROM columns ORDER BY name")]

    def further_columns(self) -> Further:
        """Columns that side-cars brought, and those that programs computed."""
        return Further(
            tuple(self.extra_columns()),
            tuple(r[0] for r in self.rows("SELECT DISTINCT name FROM computed ORDER BY name")),
        )

    def columns(self) -> list[str]:
        """Every column a `where` may use."""
        return list(columns_of(self.further_columns()))

    def ids_where(self, where: str, *, removed: bool = False) -> Ids:
        """Ascending ids of present images (or of those removed by hand) for which the condition holds.

        Raises `WhereError`.
        """
        further = self.further_columns()
        return self.asked(lambda db: ids_where(db, where, further, removed=removed, seconds=self.deadline))

    def values_of(self, column: str) -> dict[int, Any]:
        """image id → its value of a column that a `where` may use, for every present image. Raises `WhereError`."""
        return dict(self.each_value(column))

    def each_value(self, column: str) -> Iterator[tuple[int, Any]]:
        """What `values_of` has, by ascending id and one at a time: ten million at once are a gigabyte and a half."""
        yield from self.connection.execute(values_sql(column, self.further_columns()))

    def copy_to(self, target: Path) -> None:
        """A consistent copy of the whole database into a new file, while others may write. Raises `IndexFull`."""
        with room_for(target.parent), contextlib.closing(sqlite3.connect(target)) as copy:
            self.connection.backup(copy)

    def cached_query(self, space: Space, query: str) -> Vectors | None:
        """The vector (d,) of words asked before; None if they were not, or if the row is damaged."""
        rows = self.rows("SELECT vector, crc FROM queries WHERE space_id = ? AND query = ?", [space.id, query])
        if not rows or rows[0][1] != row_crc(space.id, query, rows[0][0]):
            return None
        return np.frombuffer(rows[0][0], np.float32)


def in_parts(values: Sequence[T]) -> Iterator[list[T]]:
    """Values in lists of as many as one statement binds."""
    return (list(values[i : i + _MANY]) for i in range(0, len(values), _MANY))
