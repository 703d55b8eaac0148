"""What is known of the files of a root, those that could not be read, and the recipe of what was done last."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from curator.database.reader import Reader
from curator.files import as_path, as_stored
from curator.records import Ids, KnownImage, Skipped, Space
from curator.texts import to_json

_PAGE = 4096  # rows at a time


def each_known(reader: Reader, root_id: int) -> Iterator[tuple[str, KnownImage]]:
    """Path and what is known of each image of a root, removed ones too; label and caption as the files say."""
    edit = "FROM edits WHERE image_id = i.id AND name = "
    noted = ", ".join(
        f"(SELECT CASE count(*) WHEN 0 THEN i.{n} ELSE max(source) END {edit} '{n}')" for n in ("label", "caption")
    )
    columns = f"path, id, size, mtime_ns, content_id, removed, origin, {noted}, extra"
    last: object = ""  # paths are not empty, and bytes come after every text
    while True:
        sql = f"SELECT {columns} FROM images i WHERE root_id = ? AND path > ? ORDER BY path LIMIT {_PAGE}"
        rows = reader.rows(sql, [root_id, last])
        for row in rows:
            yield as_path(row[0]), KnownImage(*row[1:])
        if len(rows) < _PAGE:
            return
        last = rows[-1][0]


def skipped_files(reader: Reader, root_id: int | None = None) -> list[tuple[int, Skipped]]:
    """(root id, file) for every file that could not be read, by root and path."""
    return _skipped(reader, "") if root_id is None else _skipped(reader, "WHERE root_id = ?", root_id)


def skipped_page(reader: Reader, after: tuple[int, str], limit: int) -> list[tuple[int, Skipped]]:
    """The next of them after a (root id, path); all that follow where `limit` is -1."""
    where = "WHERE (root_id, path) > (?, ?)"
    return _skipped(reader, where, after[0], as_stored(after[1]), limit=limit)


def _skipped(reader: Reader, where: str, *values: object, limit: int = -1) -> list[tuple[int, Skipped]]:
    sql = f"SELECT root_id, path, reason, size, mtime_ns FROM skipped {where} ORDER BY root_id, path LIMIT ?"
    return [(row[0], Skipped(as_path(row[1]), *row[2:])) for row in reader.rows(sql, [*values, limit])]


def recipe_of(reader: Reader, name: str) -> dict[str, Any]:
    """With what options something was done last, as `put_recipe` kept them; empty before the first time."""
    rows = reader.rows("SELECT recipe FROM recipes WHERE name = ?", [name])
    return dict(json.loads(rows[0][0])) if rows else {}


def put_recipe(reader: Reader, name: str, recipe: Mapping[str, Any]) -> None:
    """Keep with what options something was done, inside a writer's `atomic()`."""
    sql = "INSERT OR REPLACE INTO recipes (name, recipe) VALUES (?, ?)"
    reader.connection.execute(sql, [name, to_json(recipe, sort_keys=True)])


UNKNOWN = "unknown"


def precisions_of(reader: Reader, space: Space) -> tuple[str, ...]:
    """The numbers that the space's images were encoded in, as "float32"; "unknown" of vectors from elsewhere."""
    return tuple(recipe_of(reader, f"space {space.fingerprint}").get("precisions", ()))


def note_precision(reader: Reader, space: Space, precision: str) -> None:
    """Keep that images are encoded so, inside a writer's `atomic()`, before their vectors are stored."""
    known = precisions_of(reader, space)
    if not known and reader.rows("SELECT 1 FROM embeddings WHERE space_id = ? LIMIT 1", [space.id]):
        known = (UNKNOWN,)  # an older index has vectors already
    if precision not in known:
        put_recipe(reader, f"space {space.fingerprint}", {"precisions": sorted({*known, precision})})


def every_sha256(reader: Reader) -> set[bytes]:
    """The SHA-256 of all contents."""
    return {bytes(sha256) for (sha256,) in reader.rows("SELECT sha256 FROM contents")}


def sha256_of(reader: Reader, contents: Ids) -> bytes:
    """The SHA-256 of contents given by ascending id, one after the other: what a cache of them is made from."""
    wanted = set(contents.tolist())
    rows = reader.rows("SELECT id, sha256 FROM contents ORDER BY id")
    return b"".join(sha256 for content, sha256 in rows if content in wanted)
