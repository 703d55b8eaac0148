"""What people did, with what stood there before and after, so that it can be undone and redone.

An action is the difference it made: of tags, edits, verdicts, concepts, selections and removals, by key, as JSON.
Undoing puts back what was before, and is refused where something else has changed the same since.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from curator.database.reader import Reader, in_parts
from curator.database.selections import Selections
from curator.database.writer import Writer
from curator.errors import UnknownName, UsageError
from curator.records import Action
from curator.texts import to_json

_KEPT, _BYTES = 1_000, 64 << 20  # actions, and what they take together; older ones are forgotten
_COLUMNS = "id, at, who, text, undone"

State = dict[str, Any]  # key → what stands there, as JSON; None for nothing


class _Part(Protocol):
    """One kind of thing that people change."""

    def read(self, db: Reader, keys: Iterable[str]) -> State: ...
    def write(self, db: Writer, state: Mapping[str, Any]) -> None: ...


class _Tags:
    """Keys: image ids."""

    def read(self, db: Reader, keys: Iterable[str]) -> State:
        state: State = dict.fromkeys(keys)
        for part in in_parts(list(state)):
            sql = f"SELECT image_id, tag FROM tags WHERE image_id IN ({', '.join(part)}) ORDER BY image_id, tag"
            for image_id, tag in db.rows(sql):
                state[str(image_id)] = [*(state[str(image_id)] or []), tag]
        return state

    def write(self, db: Writer, state: Mapping[str, Any]) -> None:
        db.connection.executemany("DELETE FROM tags WHERE image_id = ?", [(int(k),) for k in state])
        rows = [(int(k), tag) for k, tags in state.items() for tag in tags or []]
        db.connection.executemany("INSERT INTO tags (image_id, tag) VALUES (?, ?)", rows)


class _Edits:
    """Keys: image ids with "label" or "caption"; what stands there is what a person wrote."""

    def read(self, db: Reader, keys: Iterable[str]) -> State:
        state: State = dict.fromkeys(keys)
        for part in in_parts([key.partition("/")[0] for key in state]):
            sql = f"SELECT image_id, name, value FROM edits WHERE image_id IN ({', '.join(part)})"
            rows = {f"{image_id}/{name}": value for image_id, name, value in db.rows(sql)}
            state |= {key: value for key, value in rows.items() if key in state}
        return state

    def write(self, db: Writer, state: Mapping[str, Any]) -> None:
        for name in ("label", "caption"):
            chosen = {key: value for key, value in state.items() if key.endswith(f"/{name}")}
            db.edit(name, {int(key.partition("/")[0]): value for key, value in chosen.items()})


class _Removals:
    """Keys: image ids; what stands there is whether somebody took it out of the index."""

    def read(self, db: Reader, keys: Iterable[str]) -> State:
        state: State = dict.fromkeys(keys)
        for part in in_parts(list(state)):
            sql = f"SELECT id FROM images WHERE removed = 'by hand' AND id IN ({', '.join(part)})"
            state |= {str(image_id): True for (image_id,) in db.rows(sql)}
        return state

    def write(self, db: Writer, state: Mapping[str, Any]) -> None:
        db.remove([int(k) for k, removed in state.items() if removed], by_hand=True)
        db.restore([int(k) for k, removed in state.items() if not removed])


class _Verdicts:
    """Keys: contents, by SHA-256; what stands there are the verdicts whose subject it is."""

    def read(self, db: Reader, keys: Iterable[str]) -> State:
        state: State = dict.fromkeys(keys)
        for part in in_parts([bytes.fromhex(k) for k in state]):
            marks = ", ".join("?" * len(part))
            sql = (
                "SELECT lower(hex(subject)), lower(hex(other)), subject_id, verdict, decided_at FROM decisions "
                f"WHERE subject IN ({marks}) ORDER BY subject, other, subject_id"
            )
            for subject, *verdict in db.rows(sql, part):
                state[subject] = [*(state[subject] or []), verdict]
        return state

    def write(self, db: Writer, state: Mapping[str, Any]) -> None:
        db.connection.executemany("DELETE FROM decisions WHERE subject = ?", [(bytes.fromhex(k),) for k in state])
        rows = [
            (bytes.fromhex(k), bytes.fromhex(other), *verdict)
            for k, verdicts in state.items()
            for other, *verdict in verdicts or []
        ]
        db.connection.executemany(
            "INSERT INTO decisions (subject, other, subject_id, verdict, decided_at) VALUES (?, ?, ?, ?, ?)", rows
        )


class _Concepts:
    """Keys: (space id, name)."""

    def read(self, db: Reader, keys: Iterable[str]) -> State:
        state: State = {}
        for key in keys:
            space, _, name = key.partition("/")
            sql = "SELECT lower(hex(vector)), bias, facts FROM concepts WHERE space_id = ? AND name = ?"
            rows = db.rows(sql, [int(space), name])
            state[key] = list(rows[0]) if rows else None
        return state

    def write(self, db: Writer, state: Mapping[str, Any]) -> None:
        for key, concept in state.items():
            space, _, name = key.partition("/")
            db.connection.execute("DELETE FROM concepts WHERE space_id = ? AND name = ?", [int(space), name])
            if concept is not None:
                vector, bias, facts = concept
                db.connection.execute(
                    "INSERT INTO concepts (space_id, name, vector, bias, facts) VALUES (?, ?, ?, ?, ?)",
                    [int(space), name, bytes.fromhex(vector), bias, facts],
                )


class _Selected:
    """Keys: names of selections."""

    def read(self, db: Reader, keys: Iterable[str]) -> State:
        state: State = {}
        for name in keys:
            state[name] = None
            for key, *head in db.rows("SELECT id, digest, manifest, created_at FROM selections WHERE name = ?", [name]):
                sql = (
                    "SELECT image_id, lower(hex(sha256)), value, split FROM selected WHERE selection_id = ? "
                    "ORDER BY rank"
                )
                state[name] = [*head, [list(row) for row in db.rows(sql, [key])]]
        return state

    def write(self, db: Writer, state: Mapping[str, Any]) -> None:
        for name, selection in state.items():
            Selections(db).drop(name)
            if selection is None:
                continue
            *head, members = selection
            key = db.connection.execute(
                "INSERT INTO selections (name, digest, manifest, created_at) VALUES (?, ?, ?, ?)", [name, *head]
            ).lastrowid
            rows = [
                (key, rank, image_id, bytes.fromhex(sha256), value, split)
                for rank, (image_id, sha256, value, split) in enumerate(members)
            ]
            db.connection.executemany(
                "INSERT INTO selected (selection_id, rank, image_id, sha256, value, split) VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )


_PARTS: dict[str, _Part] = {
    "tags": _Tags(),
    "edits": _Edits(),
    "removals": _Removals(),
    "verdicts": _Verdicts(),
    "concepts": _Concepts(),
    "selections": _Selected(),
}


def _key(value: Any) -> str:
    """An id, a content's SHA-256, a name, or (space id, name), as a key of JSON."""
    if isinstance(value, bytes):
        return value.hex()
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)


@contextlib.contextmanager
def recorded(db: Writer, who: str, text: str, **touched: Iterable[Any]) -> Iterator[None]:
    """What is done within it is one action, as far as it changes what is `touched`: parts and their keys.

    It stands inside `db.atomic()`. Nothing is kept of what changes nothing.
    """
    keys = {part: [_key(value) for value in values] for part, values in touched.items()}
    before = {part: _PARTS[part].read(db, values) for part, values in keys.items()}
    yield
    after = {part: _PARTS[part].read(db, values) for part, values in keys.items()}
    changed = {part: [k for k, v in before[part].items() if after[part][k] != v] for part in keys}
    if not any(changed.values()):
        return
    sides = [to_json({p: {k: side[p][k] for k in ks} for p, ks in changed.items() if ks}) for side in (before, after)]
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    # What was undone can be redone until something else is done.
    db.connection.execute("DELETE FROM actions WHERE undone > 0")
    db.connection.execute(
        "INSERT INTO actions (at, who, text, before, after, undone) VALUES (?, ?, ?, ?, ?, 0)", [now, who, text, *sides]
    )
    db.connection.execute(
        "DELETE FROM actions WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER newest AS place, "
        "sum(length(before) + length(after)) OVER newest AS bytes FROM actions WINDOW newest AS (ORDER BY id DESC)) "
        "WHERE place > ? OR (bytes > ? AND place > 1))",
        [_KEPT, _BYTES],
    )


class Actions:
    """Questions about actions of an open `Reader`; `undo` and `redo` need a `Writer`, inside its `atomic()`."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def latest(self, limit: int = 50, *, before: int | None = None) -> list[Action]:
        """The newest first; those older than action `before`."""
        sql = f"SELECT {_COLUMNS} FROM actions WHERE id < ? ORDER BY id DESC LIMIT ?"
        rows = self.reader.rows(sql, [2**62 if before is None else before, limit])
        return [Action(key, when, who, text, bool(undone)) for key, when, who, text, undone in rows]

    def undo(self, action_id: int | None = None, *, who: str | None = None) -> Action:
        """Take an action back, by default the latest that is not, of anybody or of `who`.

        Raises `UsageError`, `UnknownName`.
        """
        where, values = ("id = ?", [action_id]) if action_id is not None else ("undone = 0", [])
        row = self._one_action(where, values, who=who, order="id")
        if row is None and action_id is not None:
            raise UnknownName(f"no action {action_id}; `curator history` lists them")
        if row is None:
            raise UsageError("nothing to undo")
        if row[4]:
            raise UsageError(f"'{row[3]}' is undone already")
        number = self.reader.rows("SELECT max(undone) + 1 FROM actions")[0][0]
        return self._turn(row, there=6, other=5, undone=number)

    def redo(self, *, who: str | None = None) -> Action:
        """Do again what was undone last. Raises `UsageError`."""
        row = self._one_action("undone > 0", [], who=who, order="undone")
        if row is None:
            raise UsageError("nothing to redo")
        return self._turn(row, there=5, other=6, undone=0)

    def _one_action(self, where: str, values: list[Any], *, who: str | None, order: str) -> tuple[Any, ...] | None:
        if who is not None:
            where, values = f"{where} AND who = ?", [*values, who]
        sql = f"SELECT {_COLUMNS}, before, after FROM actions WHERE {where} ORDER BY {order} DESC LIMIT 1"
        return next(iter(self.reader.rows(sql, values)), None)

    def _turn(self, row: tuple[Any, ...], *, there: int, other: int, undone: int) -> Action:
        """Put the `other` of the two sides in the place of the one that should be `there`."""
        key, when, who, text = row[:4]
        self._refuse_changed(key, text, json.loads(row[there]))
        for part, state in json.loads(row[other]).items():
            _PARTS[part].write(self._writer, state)
        self.reader.connection.execute("UPDATE actions SET undone = ?, crc = NULL WHERE id = ?", [undone, key])
        return Action(key, when, who, text, bool(undone))

    def _refuse_changed(self, key: int, text: str, there: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `UsageError` where something else has changed the same since."""
        for part, state in there.items():
            if json.loads(to_json(_PARTS[part].read(self.reader, state))) != state:
                later = self._later_on(key, part, state)
                first = f"; undo '{later}' first" if later else ""
                raise UsageError(f"'{text}' cannot be turned round any more: its {part} have changed since{first}")

    def _later_on(self, key: int, part: str, state: Mapping[str, Any]) -> str | None:
        """The latest action after one that touched the same."""
        sql = "SELECT text, after FROM actions WHERE id > ? AND undone = 0 ORDER BY id DESC"
        rows = self.reader.rows(sql, [key])
        return next((text for text, after in rows if json.loads(after).get(part, {}).keys() & state.keys()), None)

    @property
    def _writer(self) -> Writer:
        assert isinstance(self.reader, Writer)
        return self.reader


def mark_of(reader: Reader) -> str:
    """A mark that is another after every change that anybody can see."""
    return f"{reader.meta('seq')}.{reader.meta('changes')}"
