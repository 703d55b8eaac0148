"""Save every sound row of a damaged database into a fresh one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curator.database.integrity import row_crc
from curator.database.schema import SEALED
from curator.database.writer import Writer


def salvage(writer: Writer, damaged: Path) -> int:
    """Fill the empty database of `writer` from `damaged` → the number of rows that were lost, as far as can be told."""
    lost = 0
    with contextlib.closing(sqlite3.connect(damaged)) as source:
        writer.connection.execute("PRAGMA foreign_keys = OFF")
        with writer.atomic():
            for table in SEALED:
                if table != "meta":  # whose counters are restored last
                    lost += _copy(source, writer.connection, table)
            lost += _drop_dangling(writer.connection)
            _restore_meta(source, writer.connection)
            _restore_last_id(source, writer.connection)
        writer.connection.execute("PRAGMA foreign_keys = ON")
    return lost


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> int:
    columns = SEALED[table]
    marks = ", ".join("?" * (len(columns) + 1))
    insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}, crc) VALUES ({marks})"
    lost = 0
    for row in _readable(source, table, columns):
        if row[-1] == row_crc(*row[:-1]):
            target.execute(insert, row)
        else:
            lost += 1
    return lost


def _readable(source: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Rows from the front up to a damaged page, then from the back up to it."""
    for order in ("", "DESC"):
        try:
            yield from source.execute(f"SELECT {', '.join(columns)}, crc FROM {table} ORDER BY rowid {order}")
        except sqlite3.DatabaseError:
            continue
        return


def _drop_dangling(target: sqlite3.Connection) -> int:
    dropped = 0
    while rows := target.execute("PRAGMA foreign_key_check").fetchall():
        for table, rowid, _, _ in rows:
            dropped += target.execute(f"DELETE FROM {table} WHERE rowid = ?", [rowid]).rowcount
    return dropped


def _restore_meta(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Counters are never set back: each becomes the larger of what was stored and what the rows need."""
    needs = {
        "seq": "SELECT max(coalesce((SELECT max(seq) FROM images), 0), coalesce((SELECT max(seq) FROM embeddings), 0))",
        "last_generation": "SELECT coalesce(max(generation), 0) FROM spaces",
    }
    stored: dict[str, int] = {}
    with contextlib.suppress(sqlite3.DatabaseError):
        stored = {k: v for k, v, crc in source.execute("SELECT key, value, crc FROM meta") if crc == row_crc(k, v)}
    for key, sql in needs.items():
        least = target.execute(sql).fetchone()[0]
        target.execute("UPDATE meta SET value = ?, crc = NULL WHERE key = ?", [max(least, stored.get(key, 0)), key])
    spaces = target.execute(
        "SELECT id FROM spaces ORDER BY id = ? DESC, id", [stored.get("active_space", 0)]
    ).fetchall()
    target.execute("UPDATE meta SET value = ?, crc = NULL WHERE key = 'active_space'", [spaces[0][0] if spaces else 0])


def _restore_last_id(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """No id is used twice, also not that of a row that was lost."""
    last = 0
    for sql in (
        "SELECT seq FROM sqlite_sequence WHERE name = 'images'",
        "SELECT max(image_id) FROM tags",
        "SELECT max(id) FROM images",
    ):
        with contextlib.suppress(sqlite3.DatabaseError, TypeError):
            last = max(last, int(source.execute(sql).fetchone()[0]))
    target.execute("DELETE FROM sqlite_sequence WHERE name = 'images'")
    target.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('images', ?)", [last])
