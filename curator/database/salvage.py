"""Save every sound row of a damaged database into a fresh one.

A row is sound if its checksum fits. Rows are read from the leaf pages of the file, so that neither a damaged schema,
nor a damaged tree, nor a file that was cut short keeps any other row from being saved.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from curator.database.integrity import row_crc
from curator.database.pages import DatabaseFile, Values
from curator.database.schema import SEALED
from curator.database.writer import Writer

_ROWID = "INTEGER PRIMARY KEY"  # a column that is the rowid itself, and stands as NULL in the record


@dataclass(frozen=True)
class Salvaged:
    """What was saved, and what could not be read: cells that are no rows, and whole pages of 4,096 bytes."""

    rows: int
    broken: int
    pages: int
    dangling: int  # sound rows that name one that was lost

    def __str__(self) -> str:
        lost = f"{self.broken} damaged rows, {self.dangling} that belong to them and {self.pages} unreadable pages"
        return f"{self.rows} rows saved; {lost} left behind"


@dataclass(frozen=True)
class _Table:
    """How rows of a table look on a page: their columns' types, and which of them is the rowid."""

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    rowid: int | None

    def row(self, rowid: int, values: Values) -> Values | None:
        """The row with its rowid in place, if its types and its checksum fit this table."""
        if len(values) != len(self.columns) + 1:
            return None
        if self.rowid is not None:
            if values[self.rowid] is not None:
                return None
            values = (*values[: self.rowid], rowid, *values[self.rowid + 1 :])
        of = list(zip(values, self.types, strict=False))
        fits = all(v is None or isinstance(v, _PYTHON[t]) for v, t in of)
        # REAL columns store whole numbers as integers.
        row = (*(float(v) if t == "REAL" and isinstance(v, int) else v for v, t in of), values[-1])
        return row if fits and row[-1] == row_crc(*row[:-1]) else None


_PYTHON: Mapping[str, type | tuple[type, ...]] = {
    "INTEGER": int,
    "REAL": (int, float),
    "TEXT": (str, bytes),  # a path that is no UTF-8 is stored as bytes
    "BLOB": bytes,
    "": (int, float, str, bytes),
}


def salvage(writer: Writer, damaged: Path) -> Salvaged:
    """Fill the empty database of `writer` from the file `damaged`."""
    cells = DatabaseFile(damaged).found_rows()
    tables = tables_of(writer.connection)
    sound: dict[str, list[Values]] = {name: [] for name in tables}
    broken = cells.broken_cells
    for rowid, values in cells.rows:
        fitting = next(((t.name, row) for t in tables.values() if (row := t.row(rowid, values)) is not None), None)
        if fitting is not None:
            sound[fitting[0]].append(fitting[1])
        elif len(values) - 1 in {len(t.columns) for t in tables.values()} and not _is_of_sqlite(values):
            broken += 1
    meta = {row[0]: row[1] for values in cells.keyed if (row := tables["meta"].row(0, values)) is not None}
    sequences = [v[1] for _, v in cells.rows if len(v) == 2 and v[0] == "images" and isinstance(v[1], int)]
    writer.connection.execute("PRAGMA foreign_keys = OFF")
    with writer.atomic():
        for table in tables.values():
            if table.name != "meta":  # whose counters are restored last
                _insert(writer.connection, table, sound[table.name])
        _stand_in_for_roots(writer.connection)
        dangling = _drop_dangling(writer.connection)
        _restore_meta(writer.connection, meta)
        _restore_last_id(writer.connection, sequences)
        count = sum(writer.connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables)
    writer.connection.execute("PRAGMA foreign_keys = ON")
    return Salvaged(count, broken, cells.unreadable_pages, dangling)


def tables_of(connection: sqlite3.Connection) -> dict[str, _Table]:
    """The tables of a fresh index, in the order in which they may refer to each other."""
    tables = {}
    for name, columns in SEALED.items():
        info = connection.execute(f"PRAGMA table_info({name})").fetchall()
        types = tuple(str(row[2]).upper() for row in info if row[1] != "crc")
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", [name]).fetchone()
        rowid = next((i for i, c in enumerate(columns) if re.search(rf"\b{c} {_ROWID}", sql)), None)
        tables[name] = _Table(name, columns, types, rowid)
    return tables


def _is_of_sqlite(values: Values) -> bool:
    """Whether a row is of the schema, of SQLite's sequences, or of the log of migrations: those have no checksum."""
    is_sequence = len(values) == 2 and values[0] in SEALED
    return values[0] in ("table", "index", "view", "trigger") or is_sequence or isinstance(values[-1], str)


def _insert(target: sqlite3.Connection, table: _Table, rows: list[Values]) -> None:
    """Newest first where rows say when they were written: a freed page may hold an older one of the same key."""
    if "seq" in table.columns:
        seq = table.columns.index("seq")
        rows = sorted(rows, key=lambda row: row[seq], reverse=True)
    marks = ", ".join("?" * (len(table.columns) + 1))
    insert = f"INSERT OR IGNORE INTO {table.name} ({', '.join(table.columns)}, crc) VALUES ({marks})"
    target.executemany(insert, rows)


def _stand_in_for_roots(target: sqlite3.Connection) -> None:
    """Images whose root lost its path stay, below `/lost-root-ID`: `curator roots move` says where it is."""
    target.execute(
        "INSERT INTO roots (id, path) SELECT DISTINCT root_id, '/lost-root-' || root_id FROM images "
        "WHERE root_id NOT IN (SELECT id FROM roots)"
    )


def _drop_dangling(target: sqlite3.Connection) -> int:
    dropped = 0
    while rows := target.execute("PRAGMA foreign_key_check").fetchall():
        for table, rowid, _, _ in rows:
            dropped += target.execute(f"DELETE FROM {table} WHERE rowid = ?", [rowid]).rowcount
    return dropped


def _restore_meta(target: sqlite3.Connection, stored: Mapping[str, int]) -> None:
    """Counters are never set back: each becomes the larger of what was stored and what the rows need."""
    needs = {
        "seq": "SELECT max(coalesce((SELECT max(seq) FROM images), 0), coalesce((SELECT max(seq) FROM embeddings), 0))",
        "last_generation": "SELECT coalesce(max(generation), 0) FROM spaces",
    }
    for key, sql in needs.items():
        least = target.execute(sql).fetchone()[0]
        target.execute("UPDATE meta SET value = ?, crc = NULL WHERE key = ?", [max(least, stored.get(key, 0)), key])
    spaces = target.execute(
        "SELECT id FROM spaces ORDER BY id = ? DESC, id", [stored.get("active_space", 0)]
    ).fetchall()
    target.execute("UPDATE meta SET value = ?, crc = NULL WHERE key = 'active_space'", [spaces[0][0] if spaces else 0])


def _restore_last_id(target: sqlite3.Connection, sequences: list[int]) -> None:
    """No id is used twice, also not that of a row that was lost."""
    for sql in ("SELECT max(id) FROM images", "SELECT max(image_id) FROM tags", "SELECT max(image_id) FROM selected"):
        sequences = [*sequences, target.execute(sql).fetchone()[0] or 0]
    last = max(sequences)
    target.execute("DELETE FROM sqlite_sequence WHERE name = 'images'")
    target.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('images', ?)", [last])
