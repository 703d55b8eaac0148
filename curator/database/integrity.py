"""Whether the rows are those that were written: checksums, SQLite's own check, dangling references."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

from curator.database.schema import FORMAT, SEALED
from curator.errors import IndexFull, IndexLocked

BUSY_MS = 60_000
_KEYS = (
    "id",
    "key",
    "path",
    "name",
    "image_id",
    "content_id",
    "space_id",
    "first",
    "second",
    "subject_id",
    "kind",
    "selection_id",
    "rank",
)


def refuse_if_busy(error: Exception, folder: Path) -> None:
    """Raise `IndexLocked` for an error that says nothing worse than that another process is at work."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise IndexLocked(f"another process kept {folder} busy for {BUSY_MS // 1000} s; try again") from error


def row_crc(*values: object) -> int:
    """CRC-32 of one row's values, types told apart."""
    crc = 0
    for value in values:
        raw = value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogateescape")
        crc = zlib.crc32(raw, zlib.crc32(b"%s%d:" % (type(value).__name__.encode(), len(raw)), crc))
    return crc


def damaged_rows(connection: sqlite3.Connection, folder: Path, limit: int = 20) -> list[str]:
    """What is wrong inside the database: SQLite's own findings, then rows whose checksum does not fit.

    Raises `IndexLocked` when another process keeps it busy: that is no damage.
    """
    problems: list[str] = []
    try:
        rows = connection.execute(f"PRAGMA integrity_check({limit})").fetchall()
        problems += [str(r[0]) for r in rows if r[0] != "ok"]
        older = connection.execute("PRAGMA user_version").fetchone()[0] < FORMAT
        there = {r[0] for r in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table, columns in SEALED.items():
            if older and table not in there:
                continue
            key = " || ' ' || ".join(c for c in columns if c in _KEYS)
            sql = f"SELECT {key} FROM {table} WHERE crc IS NOT row_crc({', '.join(columns)}) LIMIT {limit}"
            problems += [f"{table} {row[0]}: checksum does not fit" for row in connection.execute(sql)]
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        refuse_if_busy(error, folder)
        problems.append(f"cannot be read: {error}")
    return problems[:limit]


def take_over_log(connection: sqlite3.Connection) -> None:
    """Write what a log beside the database holds into it, as far as SQLite can: it belongs to the database."""
    with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def dangling_rows(connection: sqlite3.Connection) -> Iterator[str]:
    """Rows that name what is not there, and vectors that do not fit their space, in words."""
    for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"a row of {table} names a row of {parent} that is not there"
    sql = "SELECT count(*) FROM embeddings e JOIN spaces s ON s.id = e.space_id WHERE length(e.vector) != 2 * s.dim"
    (wrong,) = connection.execute(sql).fetchone()
    if wrong:
        yield f"{wrong} vectors have another length than their space"


def has_tables(connection: sqlite3.Connection, folder: Path) -> bool:
    """Whether there is an index's table, or damage that keeps one from telling."""
    try:
        return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'images'").fetchone())
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        refuse_if_busy(error, folder)
        return True


@contextlib.contextmanager
def room_for(folder: Path) -> Iterator[None]:
    """Tell a full disk from a bug."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise
        raise IndexFull(
            f"cannot write to {folder}: {error}; make room and run again, nothing that was done is lost"
        ) from error
