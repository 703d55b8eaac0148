"""`--where` on the rows of a shard, by DuckDB: in memory, no file, network or setting in the condition's reach."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.errors import WhereError
from curator.records import Ids
from curator.registry import extra
from curator.scale.shards import Part
from curator.texts import leaves_its_parentheses

COLUMNS = (
    "id", "uri", "path", "size", "sha256", "pixel_hash", "width", "height", "aspect", "mode", "format", "taken_at",
    "camera", "label", "caption", "extra", "origin", "norm", "sharpness", "brightness", "contrast", "entropy",
)  # fmt: skip
# Digests as the local index shows them, and the names that it has for the same.
_VIEW = """
CREATE VIEW images AS SELECT * REPLACE (lower(hex(sha256)) AS sha256, lower(hex(pixel_hash)) AS pixel_hash),
    uri AS path, width / height AS aspect FROM rows
"""


def rows_where(part: Part, where: str) -> NDArray[np.bool_]:
    """(n,) for which rows a condition holds. Raises `WhereError` with the columns."""
    duckdb = extra("duckdb", "scale")
    if leaves_its_parentheses(where):
        raise WhereError(_explain(where, "its parentheses do not match"))
    settings = {"enable_external_access": "false", "autoload_known_extensions": "false", "threads": "1"}
    with duckdb.connect(config=settings) as connection:
        connection.execute("SET python_enable_replacements = false")
        connection.register("rows", part.table)
        connection.execute(_VIEW)
        connection.execute("SET lock_configuration = true")
        try:
            cursor = connection.execute(f"SELECT id FROM images WHERE (\n{where}\n)")
            ids: Ids = np.array([row[0] for row in cursor.fetchall()], np.int64)
        except duckdb.Error as error:
            raise WhereError(_explain(where, _first_line(error))) from error
    return np.asarray(np.isin(part.ids, ids))


def check_where(where: str, part: Part) -> None:
    """Raise `WhereError` for a condition that no shard could be asked, before any work."""
    rows_where(part.take(np.empty(0, np.int64)), where)


def _explain(where: str, problem: str) -> str:
    form = "a condition of DuckDB's SQL such as \"width >= 256 and label = 'shoe'\""
    columns = f"the columns: {', '.join(COLUMNS)}; what else a table said is in extra, as extra->>'$.price'"
    return f"--where {where!r}: {problem}\nIt takes {form}, on {columns}"


def _first_line(error: Any) -> str:
    return str(error).strip().splitlines()[0]
