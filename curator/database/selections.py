"""What the database keeps of choosing: selections, concepts, columns computed by programs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from curator.database.reader import FEW, Reader, in_parts
from curator.errors import IndexDamaged, UnknownName
from curator.files import digest_of
from curator.records import Concept, Ids, Selection, Space
from curator.registry import suggest
from curator.texts import to_json


class Selections:
    """Questions and changes about selections, of an open `Reader`; changes need a `Writer`, inside its `atomic()`."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def names(self) -> list[str]:
        """Of all selections, oldest first."""
        return [r[0] for r in self.reader.rows("SELECT name FROM selections ORDER BY id")]

    def get(self, name: str) -> Selection:
        """One selection, whole. Raises `UnknownName`, or `IndexDamaged` where a repair could not save all of it."""
        rows = self.reader.rows("SELECT id, digest, manifest, created_at FROM selections WHERE name = ?", [name])
        if not rows:
            raise UnknownName(f"no selection '{name}'; {suggest(name, self.names())}")
        key, digest, manifest, created = rows[0]
        members = self.reader.rows(
            "SELECT image_id, sha256, value, split FROM selected WHERE selection_id = ? ORDER BY rank", [key]
        )
        ids = np.fromiter((r[0] for r in members), np.int64, len(members))
        if digest_of([r[1] for r in members]) != digest:
            raise IndexDamaged(
                f"the selection '{name}' has lost rows; drop it, and make it again from a manifest or its recipe"
            )
        values = np.array([math.nan if r[2] is None else r[2] for r in members], np.float64)
        return Selection(
            name,
            ids,
            tuple(r[1] for r in members),
            values,
            tuple(r[3] for r in members),
            digest,
            json.loads(manifest),
            created,
        )

    def put(self, s: Selection) -> None:
        """Keep a selection; one of the same name is replaced."""
        self.drop(s.name)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        self.reader.connection.execute(
            "INSERT INTO selections (name, digest, manifest, created_at) VALUES (?, ?, ?, ?)",
            [s.name, s.digest, to_json(s.recipe, sort_keys=True, ensure_ascii=False), now],
        )
        key = self.reader.rows("SELECT id FROM selections WHERE name = ?", [s.name])[0][0]
        values = [None if math.isnan(v) else v for v in s.values.tolist()]
        rows = [
            (key, rank, *row) for rank, row in enumerate(zip(s.ids.tolist(), s.sha256, values, s.splits, strict=True))
        ]
        self.reader.connection.executemany(
            "INSERT INTO selected (selection_id, rank, image_id, sha256, value, split) VALUES (?, ?, ?, ?, ?, ?)", rows
        )

    def drop(self, name: str) -> None:
        """Forget a selection, if there is one of that name."""
        for (key,) in self.reader.rows("SELECT id FROM selections WHERE name = ?", [name]):
            self.reader.connection.execute("DELETE FROM selected WHERE selection_id = ?", [key])
            self.reader.connection.execute("DELETE FROM selections WHERE id = ?", [key])

    def concepts(self, space: Space) -> list[str]:
        """Names of the space's concepts."""
        return [
            r[0] for r in self.reader.rows("SELECT name FROM concepts WHERE space_id = ? ORDER BY name", [space.id])
        ]

    def concept(self, space: Space, name: str) -> Concept:
        """One concept. Raises `UnknownName`."""
        rows = self.reader.rows(
            "SELECT vector, bias, facts FROM concepts WHERE space_id = ? AND name = ?", [space.id, name]
        )
        if not rows:
            raise UnknownName(f"no concept '{name}' in space '{space.encoder}'; {suggest(name, self.concepts(space))}")
        return Concept(name, np.frombuffer(rows[0][0], np.float32), rows[0][1], json.loads(rows[0][2]))

    def put_concept(self, space: Space, c: Concept) -> None:
        """Keep a concept; one of the same name is replaced."""
        self.reader.connection.execute(
            "INSERT OR REPLACE INTO concepts (space_id, name, vector, bias, facts) VALUES (?, ?, ?, ?, ?)",
            [
                space.id,
                c.name,
                np.ascontiguousarray(c.vector, np.float32).tobytes(),
                c.bias,
                to_json(c.facts, sort_keys=True),
            ],
        )

    def drop_concept(self, space: Space, name: str) -> None:
        """Forget a concept."""
        self.reader.connection.execute("DELETE FROM concepts WHERE space_id = ? AND name = ?", [space.id, name])

    def put_computed(self, name: str, values: Mapping[int, Any]) -> None:
        """image id → value of a computed column; other images keep theirs."""
        rows = [(i, name, v) for i, v in values.items()]
        self.reader.connection.executemany(
            "INSERT OR REPLACE INTO computed (image_id, name, value) VALUES (?, ?, ?)", rows
        )

    def computed_of(self, ids: Ids | Sequence[int]) -> dict[int, dict[str, Any]]:
        """image id → values of its computed columns by name."""
        values_of: dict[int, dict[str, Any]] = {int(i): {} for i in ids}
        marks = ", ".join(map(str, values_of))
        sql = f"SELECT image_id, name, value FROM computed WHERE image_id IN ({marks}) ORDER BY name"
        for image_id, name, value in self.reader.rows(sql):
            values_of[image_id][name] = value
        return values_of

    def selections_of(self, ids: Ids | Sequence[int]) -> dict[int, list[str]]:
        """image id → names of the selections that it is in, oldest first."""
        names_of: dict[int, list[str]] = {int(i): [] for i in ids}
        sql = (
            "SELECT DISTINCT x.image_id, s.id, s.name FROM selected x JOIN selections s ON s.id = x.selection_id "
            f"WHERE x.image_id IN ({', '.join(map(str, names_of))}) ORDER BY s.id"
        )
        for image_id, _, name in self.reader.rows(sql):
            names_of[image_id].append(name)
        return names_of

    def labels_of(self, ids: Ids | Sequence[int]) -> Counter[str]:
        """How many of these images have each label; those without one are left out."""
        counts: Counter[str] = Counter()
        for part in in_parts([int(i) for i in ids]):
            sql = f"SELECT label FROM images WHERE label IS NOT NULL AND id IN ({', '.join(map(str, part))})"
            counts.update(row[0] for row in self.reader.rows(sql))
        return counts

    def sha256_of(self, ids: Ids | Sequence[int], *, few: int = FEW) -> list[bytes]:
        """Digests of the contents of images, in their order: up to `few` are looked up, for more all are read through.

        Raises `UnknownName` for an id there never was.
        """
        wanted = [int(i) for i in ids]
        these = f" WHERE i.id IN ({', '.join(map(str, wanted))})" if len(wanted) <= few else ""
        digest_of = dict(
            self.reader.rows(f"SELECT i.id, c.sha256 FROM images i CROSS JOIN contents c ON c.id = i.content_id{these}")
        )
        for i in wanted:
            if i not in digest_of:
                raise UnknownName(f"no image with id {i}; `curator search` shows ids")
        return [digest_of[i] for i in wanted]
