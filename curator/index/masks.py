"""Conditions answered from columns in memory: what SQLite would say, in the time that a comparison of arrays takes.

SQLite hands over one id at a time, which for half a million costs several times the search itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.database import Reader
from curator.database.actions import mark_of
from curator.errors import WhereError
from curator.records import Ids
from curator.vectors.conditions import NUMBERS, TEXTS, filter_of

LEAST = 50_000  # images, under which SQLite is as fast
_LONGEST = 1_000  # characters: each part of a condition is a comparison of a whole column
_TEXTS = TEXTS - {"path", "uri", "sha256", "caption"}  # of few values, and of no other name here
_SIGNS = {"lt": np.less, "lte": np.less_equal, "gt": np.greater, "gte": np.greater_equal}

Mask = NDArray[np.bool_]


class Masks:
    """The columns of one index that conditions have named twice since the last change. For any number of threads."""

    def __init__(self, reader: Reader, least: int = LEAST) -> None:
        self.reader, self.least = reader, least
        self._lock = threading.Lock()
        self._mark = ""
        self._asked: set[str] = set()
        self._columns: dict[str, _Column] = {}

    def ids_where(self, where: str, count: int) -> Ids:
        """Ascending ids of present images for which a condition holds; `count` is how many images there are.

        Call it inside a snapshot. Raises `WhereError`.
        """
        tree = _tree_of(where) if count >= self.least else None
        if tree is None:
            return self.reader.ids_where(where)
        names = set(_named(tree))
        columns = self._columns_for(names)
        if columns is not None:
            ids = columns["id"].values
            return np.asarray(ids[_holds(tree, columns)], np.int64)
        ids = self.reader.ids_where(where)
        with self._lock:  # only what SQLite has understood is answered without it
            self._asked |= names
        return ids

    def _columns_for(self, names: set[str]) -> dict[str, _Column] | None:
        """Columns by name, and that of the ids; None where one was not asked for since the last change.

        Reading a column takes longer than one answer of SQLite.
        """
        mark = mark_of(self.reader)
        with self._lock:
            if mark != self._mark:
                self._mark, self._asked, self._columns = mark, set(), {}
            if not names or not names <= self._asked:
                return None
            columns = dict(self._columns)
        # Outside the lock: other searches go on, and at worst two threads read the same.
        columns |= {name: _Column(self.reader, name) for name in {"id", *names} - set(columns)}
        with self._lock:
            if mark == self._mark:
                self._columns |= columns
        return columns


class _Column:
    """`values` (n,) in the order of ids: float64, int64 ids, or for texts int32 codes of `codes`; `is_null` (n,)."""

    def __init__(self, reader: Reader, name: str) -> None:
        stored = (value for _, value in reader.each_value(name))
        self.codes: dict[str, int] = {}
        if name == "id":
            self.values: NDArray[Any] = np.fromiter(stored, np.int64)
            self.is_null = np.zeros(len(self.values), bool)
        elif name in NUMBERS:
            self.values = np.fromiter((np.nan if v is None else v for v in stored), np.float64)
            self.is_null = np.isnan(self.values)  # SQLite stores no other
        else:
            code = self.codes.setdefault
            self.values = np.fromiter((-1 if v is None else code(v, len(self.codes)) for v in stored), np.int32)
            self.is_null = self.values < 0


def _tree_of(where: str) -> dict[str, Any] | None:
    """The filter that a condition is; None for SQL that only SQLite understands, or nobody, and for long lists."""
    if len(where) > _LONGEST or not where.isascii():
        return None
    try:
        tree = filter_of(where)
    except WhereError:
        return None
    return tree if set(_named(tree)) <= NUMBERS | _TEXTS else None


def _named(tree: dict[str, Any]) -> Iterator[str]:
    """The columns of a filter."""
    if "key" in tree:
        yield str(tree["key"])
    elif "is_empty" in tree:
        yield str(tree["is_empty"]["key"])
    for part in (p for how in ("must", "must_not", "should") for p in tree.get(how, [])):
        yield from _named(part)


def _holds(tree: dict[str, Any], columns: dict[str, _Column]) -> Mask:
    """(n,) for which rows a filter holds. A comparison with no value never does: NaN is neither less nor more."""
    n = len(columns["id"].values)
    if "has_id" in tree:  # the grammar has it for `false` alone
        return np.zeros(n, bool)
    if "is_empty" in tree:
        return columns[tree["is_empty"]["key"]].is_null
    if "match" in tree:
        column = columns[tree["key"]]
        return np.asarray(column.values == column.codes.get(tree["match"]["value"], -2))
    if "range" in tree:
        x = columns[tree["key"]].values
        parts = [_SIGNS[sign](x, value) for sign, value in tree["range"].items()]
        return np.asarray(np.logical_and.reduce(parts))
    holds = np.ones(n, bool)
    for part in tree.get("must", []):
        holds &= _holds(part, columns)
    for part in tree.get("must_not", []):
        holds &= ~_holds(part, columns)
    if "should" in tree:
        one_holds = np.zeros(n, bool)
        for part in tree["should"]:
            one_holds |= _holds(part, columns)
        holds &= one_holds
    return holds
