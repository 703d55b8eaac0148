"""`sketches/`: what comparisons need of each picture, by the SHA-256 of its file, so that nothing is decoded twice.

A cache in an SQLite file of its own, memory-mapped, with a CRC on every row. What cannot be read is as if it were not
there, and is made again from the picture.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

logger = logging.getLogger("curator")

FOLDER, FILE = "sketches", "sketches.db"
VERSION = 1  # of what is kept: another begins anew
_TABLE = (
    "CREATE TABLE IF NOT EXISTS sketches (sha256 BLOB PRIMARY KEY, picture BLOB NOT NULL, "
    "picture_crc INTEGER NOT NULL, corners BLOB, corners_crc INTEGER)"
)
_MAPPED = 1 << 40  # bytes at most
_WAIT = 10.0  # seconds for another process that writes
_PART = 500  # rows of one question


class Sketches:
    """The cache of one index; a file that is damaged, or of no use here, is put away and begun anew.

    For one thread at a time. Nothing is lost where it cannot be written: then all is made again each time.
    """

    def __init__(self, index_folder: Path) -> None:
        self.file = index_folder / FOLDER / FILE
        self._connection: sqlite3.Connection | None = None
        self._is_given_up = self._is_read_only = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def pictures(self, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """sha256 → the JPEG kept of a picture, of those that are there and whole."""
        return self._column("picture", hashes)

    def corners(self, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """sha256 → the corners kept of a picture."""
        return self._column("corners", hashes)

    def put(self, pictures: Mapping[bytes, bytes]) -> None:
        """Keep pictures by sha256."""
        rows = [(h, p, zlib.crc32(p)) for h, p in pictures.items()]
        self._write("INSERT OR REPLACE INTO sketches (sha256, picture, picture_crc) VALUES (?, ?, ?)", rows)

    def put_corners(self, corners: Mapping[bytes, bytes]) -> None:
        """Keep the corners of pictures that are there."""
        rows = [(c, zlib.crc32(c), h) for h, c in corners.items()]
        self._write("UPDATE sketches SET corners = ?, corners_crc = ? WHERE sha256 = ?", rows)

    def keep_only(self, hashes: Iterable[bytes]) -> None:
        """Forget pictures that are not among these, where they are more than half of all."""
        with self._opened() as db:
            if db is None:
                return
            there = {bytes(row[0]) for row in db.execute("SELECT sha256 FROM sketches")}
            gone = there - set(hashes)
            if 2 * len(gone) > len(there):
                with db:
                    db.executemany("DELETE FROM sketches WHERE sha256 = ?", [(h,) for h in gone])
                db.execute("VACUUM")

    def _column(self, name: str, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        values: dict[bytes, bytes] = {}
        damaged = 0
        with self._opened() as db:
            for start in range(0, len(hashes) if db is not None else 0, _PART):
                part = list(hashes[start : start + _PART])
                marks = ", ".join("?" * len(part))
                sql = f"SELECT sha256, {name}, {name}_crc FROM sketches WHERE sha256 IN ({marks}) AND {name} NOT NULL"
                assert db is not None
                for sha256, value, crc in db.execute(sql, part):
                    if zlib.crc32(value) == crc:
                        values[sha256] = value
                    else:
                        damaged += 1
        if damaged:
            logger.warning("%d rows of %s are damaged, and are made again", damaged, self.file)
        return values

    def _write(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows and not self._is_read_only:
            with self._opened() as db:
                if db is not None:
                    try:
                        with db:
                            db.executemany(sql, rows)
                    except sqlite3.OperationalError as error:  # a full disk, a copy that cannot be written
                        self._is_read_only = True
                        logger.warning("%s cannot be written (%s); what is new is not kept", self.file, error)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection | None]:
        """The connection, or None where there cannot be one; an error of the file ends its use, and of nothing else."""
        connection: sqlite3.Connection | None = None
        try:
            connection = self._connect()
        except sqlite3.DatabaseError as error:
            self._give_up(error)
        try:
            yield connection
        except sqlite3.DatabaseError as error:
            self._give_up(error)

    def _connect(self) -> sqlite3.Connection | None:
        if self._connection is None and not self._is_given_up:
            with contextlib.suppress(OSError):
                self.file.parent.mkdir(exist_ok=True)
            self._connection = sqlite3.connect(self.file, timeout=_WAIT, check_same_thread=False)
            self._connection.execute("PRAGMA synchronous = OFF")  # a cache: after a crash its CRCs tell
            self._connection.execute(f"PRAGMA mmap_size = {_MAPPED}")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version != VERSION:
                self._connection.execute("DROP TABLE IF EXISTS sketches")
                self._connection.execute(_TABLE)
                self._connection.execute(f"PRAGMA user_version = {VERSION}")
        return self._connection

    def _give_up(self, error: sqlite3.DatabaseError) -> None:
        """Do without. A damaged file is put away; a full disk may be over next time, and another writer in a moment."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return
        self._is_given_up = True
        self.close()
        reason = str(error)
        if not isinstance(error, sqlite3.OperationalError):
            with contextlib.suppress(OSError):
                self.file.unlink()
            reason += "; it is begun anew next time"
        logger.warning("%s is of no use now (%s); pictures are read from their files", self.file, reason)
