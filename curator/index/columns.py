"""Columns that commands compute: whose they are, and the one way they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curator.database import Selections
from curator.errors import UsageError
from curator.index import Index

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "clusters": ("cluster",),
    "audit": ("audit", "audit_nearest", "audit_ratio", "authentic"),
    "evaluate": ("realism", "rarity", "nearest_ratio", "measured_against"),
    "reconstruct": ("reconstruction_error", "reconstruction_error_run"),
}
"""Of commands whose columns have fixed names; `label` is told its own."""


def refuse_columns(index: Index, by: str, names: Sequence[str] = ()) -> None:
    """Raise `UsageError` where columns of a command would hide behind others that mean something else.

    They are `names`, or the command's own.
    """
    wanted = {name.lower() for name in names or COLUMNS[by]}
    others = {name: command for command, owned in COLUMNS.items() if command != by for name in owned}
    if taken := wanted & others.keys():
        raise UsageError(
            f"'{min(taken)}' is the column that `curator {others[min(taken)]}` writes; name another --column"
        )
    ours = set(index.reader.columns()) - set(index.reader.further_columns().computed)
    if taken := wanted & {c.lower() for c in ours}:
        way = "name another --column" if by == "label" else "rename it in the side-car that brought it"
        raise UsageError(
            f"'{min(taken)}' is a column of the index already, and what is computed goes to one of its own; {way}"
        )


def put_columns(index: Index, by: str, values: Sequence[Mapping[int, Any]], names: Sequence[str] = ()) -> None:
    """Write image id → value for each column of a command, all or none; other images keep theirs.

    Raises `UsageError`.
    """
    refuse_columns(index, by, names)
    with index.write() as db, db.atomic():
        for name, column in zip(names or COLUMNS[by], values, strict=True):
            Selections(db).put_computed(name, column)
