"""`--where`: a SQL condition on named columns, run where it can do no harm."""

from __future__ import annotations

import contextlib
import difflib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from curator.database.schema import IS_DUPLICATE
from curator.errors import WhereError
from curator.records import Ids
from curator.registry import suggest
from curator.texts import leaves_its_parentheses

# Left joins, so that SQLite leaves out the tables a condition does not ask for.
_COLUMNS = {
    "id": "i.id",
    "path": "i.path",
    "root": "r.path",
    "size": "i.size",
    "mtime_ns": "i.mtime_ns",
    "modified": "datetime(i.mtime_ns / 1000000000, 'unixepoch')",
    "added_at": "i.added_at",
    "origin": "i.origin",
    "label": "i.label",
    "caption": "i.caption",
    "sha256": "lower(hex(c.sha256))",
    "pixel_hash": "lower(hex(c.pixel_hash))",
    "width": "c.width",
    "height": "c.height",
    "aspect": "1.0 * c.width / c.height",
    "mode": "c.mode",
    "format": "c.format",
    "taken_at": "c.taken_at",
    "camera": "c.camera",
    "sharpness": "m.sharpness",
    "brightness": "m.brightness",
    "contrast": "m.contrast",
    "entropy": "m.entropy",
    "duplicate_of": f"CASE WHEN {IS_DUPLICATE} THEN g.keeper_id END",
    "duplicate_kind": f"CASE WHEN {IS_DUPLICATE} THEN g.kind END",
    "rejected": "EXISTS (SELECT 1 FROM decisions d "
    "WHERE d.verdict = 'reject' AND d.subject = c.sha256 AND d.subject_id IN (0, i.id))",
    "selections": "(SELECT group_concat(s.name, ' ') FROM selected x "
    "JOIN selections s ON s.id = x.selection_id WHERE x.image_id = i.id)",
    "tags": "(SELECT group_concat(t.tag, ' ') FROM tags t WHERE t.image_id = i.id)",
}
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
# Functions that look at values, make no large ones and end soon: not `trim`, which compares sign by sign. SQLite's
# own, so that a condition means the same everywhere.
_FUNCTIONS = """
    abs avg ceil ceiling char coalesce count current_date current_time
    current_timestamp date datetime exp floor format glob group_concat hex ifnull iif instr
    json_array json_array_length json_each json_extract json_type json_valid julianday length like ln log log10 log2
    lower max min mod nullif octet_length pow power printf quote replace round sign sqrt strftime
    string_agg substr substring sum time timediff total trunc typeof unicode unixepoch upper -> ->>
""".split()  # noqa: SIM905 - one long list would take sixty lines
_OF_THE_CONDITION = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_RANGE,
}
DEADLINE = 30.0  # seconds that one condition may take
_LONGEST = 1_000_000  # bytes of one value: `hex(zeroblob(1e9))` would not be interrupted
_PATTERN = 1_000  # bytes of what LIKE and GLOB compare with: nothing interrupts one comparison
_OPERATIONS = 10_000  # of SQLite's machine between two looks at the clock


@contextlib.contextmanager
def _guarded(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Within it a connection only reads, with harmless functions, small values and a deadline.

    The connection must be this thread's alone: `set_authorizer` on a shared one can stop the process for ever.
    """
    until = time.monotonic() + seconds
    longest = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    pattern = connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, _PATTERN)
    connection.set_authorizer(_authorise)
    connection.set_progress_handler(lambda: time.monotonic() > until, _OPERATIONS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
        connection.set_authorizer(None)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, pattern)


@dataclass(frozen=True)
class Further:
    """Names of columns beyond ours: `extra` from side-cars, `computed` by programs, such as predicted labels."""

    extra: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()

    def named_in(self, text: str) -> Further:
        """Those that stand in a condition: SQLite takes no more than 2,000 columns in a statement."""
        plain = text.casefold().replace('""', '"')
        return Further(*(tuple(n for n in names if n.casefold() in plain) for names in (self.extra, self.computed)))


def columns_of(further: Further) -> dict[str, str]:
    """Every column a condition may use → its SQL; one that clashes with ours gets the prefix `meta_`."""
    columns = dict(_COLUMNS)
    path = [
        (name, "json_extract(i.extra, " + quoted('$."' + name.replace('"', '\\"') + '"') + ")")
        for name in further.extra
    ]
    value = [
        (name, f"(SELECT p.value FROM computed p WHERE p.image_id = i.id AND p.name = {quoted(name)})")
        for name in further.computed
    ]
    for name, sql in [*path, *value]:
        taken = {n.lower() for n in columns}  # SQLite does not tell case apart in column names
        while name.lower() in taken:
            name = f"meta_{name}"  # noqa: PLW2901
        columns[name] = sql
    return columns


def ids_where(
    connection: sqlite3.Connection, where: str, further: Further, *, removed: bool = False, seconds: float = DEADLINE
) -> Ids:
    """Ascending ids of the present images for which the condition holds, or of those removed by hand.

    Raises `WhereError` with the columns, for what SQLite refuses, for what leaves its parentheses, and for what takes
    more than `seconds`.
    """
    _refuse_leaving(where, further)
    sql = f"{_present(further.named_in(where), removed=removed)}\nSELECT id FROM present WHERE (\n{where}\n)"
    try:
        with _guarded(connection, seconds):
            ids = np.fromiter(chain.from_iterable(connection.execute(sql)), np.int64)
    except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError) as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF not in _OF_THE_CONDITION:
            raise
        problem = "is not text in UTF-8" if isinstance(error, UnicodeEncodeError) else str(error)
        if problem == "interrupted":
            problem = f"took more than {seconds:g} s, so it may never end; ask for something simpler"
        raise WhereError(_explain(where, problem, list(columns_of(further)))) from error
    return ids if (ids[1:] > ids[:-1]).all() else np.sort(ids)


def all_of(*conditions: str) -> str:
    """Conditions joined by AND, each by itself. Raises `WhereError` for one that closes what it did not open."""
    for condition in conditions:
        _refuse_leaving(condition, Further())
    return conditions[0] if len(conditions) == 1 else " AND ".join(f"(\n{c}\n)" for c in conditions)


def _refuse_leaving(where: str, further: Further) -> None:
    """Raise `WhereError` for a condition that would change the statement."""
    if leaves_its_parentheses(where):
        raise WhereError(_explain(where, "its parentheses do not match", list(columns_of(further))))


def values_sql(column: str, further: Further) -> str:
    """A statement for (id, value of one column) of every present image, by id.

    Raises `WhereError` for an unknown column.
    """
    names = columns_of(further)
    if column not in names:  # SQLite would take it for a text
        raise WhereError(f"no column '{column}'; {suggest(column, names)}")
    return f"{_present(further.named_in(column))} SELECT id, {_name(column)} FROM present ORDER BY id"


def _present(further: Further, *, removed: bool = False) -> str:
    """`WITH present AS (...)`: every column that a condition may use.

    Its rows are the images that are present, or those removed by hand.
    """
    listed = ", ".join(f"{sql} AS {_name(column)}" for column, sql in columns_of(further).items())
    return (
        f"WITH present AS (SELECT {listed} FROM images i LEFT JOIN contents c ON c.id = i.content_id "
        "LEFT JOIN roots r ON r.id = i.root_id LEFT JOIN measures m ON m.content_id = i.content_id "
        "LEFT JOIN groups g ON g.image_id = i.id WHERE "
        f"{'i.removed = ' + quoted('by hand') if removed else 'i.removed IS NULL'})"
    )


def _authorise(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    is_listed = (second or "").lower() in _FUNCTIONS
    harmless = action in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and is_listed)
    return sqlite3.SQLITE_OK if harmless else sqlite3.SQLITE_DENY


def _explain(where: str, problem: str, columns: list[str]) -> str:
    unknown = problem.partition("no such column: ")[2]
    hint = ""
    if unknown and difflib.get_close_matches(unknown, columns):
        hint = f"; {suggest(unknown, columns)}"
    elif unknown:
        hint = "; text takes single quotes, as in label = 'shoe'"
    elif "syntax error" in problem:
        hint = '; a column named like a SQL word takes double quotes, as in "group" = 1'
    return (
        f"--where {where!r}: {problem}{hint}\nIt takes a SQLite condition such as \"width >= 256 and label = 'shoe'\", "
        f"on the columns: {', '.join(columns)}"
    )


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def quoted(value: str) -> str:
    """A text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"
