"""What the database keeps for curating: measures of contents, evidence on pairs, decisions, groups, calibrations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.database.reader import Reader, in_parts
from curator.database.schema import SEALED
from curator.embeddings import find_sorted
from curator.errors import IndexDamaged
from curator.files import as_path
from curator.records import DIHEDRAL, OF_NONE, Decision, Evidence, Grouped, Ids, Measures, Nodes, Space
from curator.texts import to_json

_GROUPS = (
    "SELECT g.image_id, g.keeper_id, g.kind, g.via_id, g.score FROM groups g JOIN images i ON i.id = g.image_id "
    "JOIN images k ON k.id = g.keeper_id WHERE i.removed IS NULL AND k.removed IS NULL {}"
    "ORDER BY g.keeper_id, g.image_id"
)


_DECISIONS = (
    "SELECT subject, other, subject_id, verdict, decided_at FROM decisions {} "
    "ORDER BY decided_at, subject, other, subject_id"
)


class Curation:
    """Questions and changes about duplicates, of an open `Reader`; changes need a `Writer`, inside its `atomic()`."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def nodes(self, space: Space) -> Nodes:
        """Present images that have a vector in the space, collapsed by content and by pixels.

        By pixels only where the hash says all there is: not of what has transparency, more than 8 bits or several
        frames.
        """
        sql = (
            "SELECT i.id, i.content_id, CASE WHEN c.mode IN ('RGB', 'L', '1', 'CMYK', 'YCbCr') AND c.format NOT IN "
            "('GIF', 'WEBP', 'AVIF', 'TIFF') THEN c.pixel_hash ELSE c.sha256 END FROM images i JOIN contents c ON "
            "c.id = i.content_id "
            "WHERE i.removed IS NULL AND EXISTS "
            "(SELECT 1 FROM embeddings e WHERE e.space_id = ? AND e.content_id = i.content_id) ORDER BY i.id"
        )
        rows = self.reader.rows(sql, [space.id])
        ids, contents = (np.fromiter((r[column] for r in rows), np.int64, len(rows)) for column in (0, 1))
        first: dict[bytes, int] = {}
        for _, content, pixels in rows:
            first[pixels] = min(content, first.get(pixels, content))
        standing = np.fromiter((first[r[2]] for r in rows), np.int64, len(rows))
        distinct, node_of = np.unique(standing, return_inverse=True)
        return Nodes(ids, contents, node_of.astype(np.int64), distinct)

    def vectors_seq(self, space: Space) -> int:
        """Number of the last change to a vector of the space."""
        return int(
            self.reader.rows("SELECT coalesce(max(seq), 0) FROM embeddings WHERE space_id = ?", [space.id])[0][0]
        )

    def vectors(self, space: Space, contents: Ids) -> NDArray[np.float16]:
        """(n, d) float16 of contents given by ascending id, as stored. Raises `IndexDamaged` where one is missing."""
        x = np.empty((len(contents), space.dim), np.float16)
        filled = 0
        for ids, block in self.reader.content_vectors(space):
            positions, is_known = find_sorted(contents, ids)
            x[positions[is_known]] = block[is_known]
            filled += int(is_known.sum())
        if filled != len(contents):
            raise IndexDamaged(
                f"{len(contents) - filled} vectors are missing in space '{space.encoder}'; run `curator verify`"
            )
        return x

    def unmeasured(self) -> list[int]:
        """One present image id for each content that has no measures yet."""
        sql = (
            "SELECT min(id) FROM images WHERE removed IS NULL AND content_id NOT IN (SELECT content_id FROM measures) "
            "GROUP BY content_id ORDER BY 1"
        )
        return [row[0] for row in self.reader.rows(sql)]

    def put_measures(self, measures: Mapping[int, Measures]) -> None:
        """content id → measures."""
        rows = [
            (i, m.hashes.astype("<u8").tobytes(), m.sharpness, m.brightness, m.contrast, m.entropy)
            for i, m in measures.items()
        ]  # fmt: skip
        self.reader.connection.executemany(
            "INSERT OR REPLACE INTO measures (content_id, hashes, sharpness, brightness, contrast, entropy) VALUES "
            "(?, ?, ?, ?, ?, ?)",
            rows,
        )

    def hashes(self, contents: Ids) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
        """pHashes (n, 8) uint64 and entropies (n,) in bits of contents given by ascending id.

        The entropy is NaN where nothing was measured.
        """
        rows = self.reader.rows("SELECT content_id, hashes, entropy FROM measures ORDER BY content_id")
        known = np.fromiter((r[0] for r in rows), np.int64, len(rows))
        values = np.frombuffer(b"".join(r[1] for r in rows), "<u8").reshape(-1, len(DIHEDRAL)).astype(np.uint64)
        hashes, entropy = np.zeros((len(contents), len(DIHEDRAL)), np.uint64), np.full(len(contents), np.nan)
        positions, is_known = find_sorted(contents, known)
        hashes[positions[is_known]] = values[is_known]
        entropy[positions[is_known]] = np.fromiter((r[2] for r in rows), np.float64, len(rows))[is_known]
        return hashes, entropy

    def table(self, columns: str) -> list[tuple[Any, ...]]:
        """Columns of `measures m`, `contents c` and `images i` for every present image that was measured, by id."""
        return self.reader.rows(
            f"SELECT {columns} FROM images i JOIN contents c ON c.id = i.content_id JOIN measures m ON m.content_id = "
            "c.id "
            "WHERE i.removed IS NULL ORDER BY i.id"
        )

    def edges(self) -> dict[tuple[int, int], Evidence]:
        """(first, second) content ids → evidence, for every pair ever looked at."""
        rows = self.reader.rows(f"SELECT {', '.join(SEALED['edges'])} FROM edges")
        return {(r[0], r[1]): Evidence(*r[2:]) for r in rows}

    def evidence_between(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Evidence]:
        """(image id, image id) → what was seen when their contents, or others of the same pixels, were compared."""
        ids = sorted({i for pair in pairs for i in pair})
        alike: dict[int, list[int]] = {}  # image id → contents of the same pixels, which stand for each other
        for few in in_parts(ids):
            part = ", ".join(map(str, few))
            sql = (
                "SELECT i.id, o.id FROM images i JOIN contents c ON c.id = i.content_id "
                f"JOIN contents o ON o.pixel_hash = c.pixel_hash WHERE i.id IN ({part})"
            )
            for image_id, content in self.reader.rows(sql):
                alike.setdefault(image_id, []).append(content)
        evidence: dict[tuple[int, int], Evidence] = {}
        columns = ", ".join(SEALED["edges"][2:])
        for a, b in pairs:
            for one, two in product(alike.get(a, ()), alike.get(b, ())):
                sql = f"SELECT {columns} FROM edges WHERE first = ? AND second = ?"
                rows = self.reader.rows(sql, [min(one, two), max(one, two)])
                if rows:
                    evidence[a, b] = Evidence(*rows[0])
                    break
        return evidence

    def put_edges(self, edges: Mapping[tuple[int, int], Evidence]) -> None:
        """Keep evidence; that of a pair looked at before is replaced."""
        names = SEALED["edges"]
        rows = [(*pair, *(getattr(e, name) for name in names[2:])) for pair, e in edges.items()]
        marks = ", ".join("?" * len(names))
        self.reader.connection.executemany(f"INSERT OR REPLACE INTO edges ({', '.join(names)}) VALUES ({marks})", rows)

    def decisions(self, about: Sequence[bytes] | None = None, ids: Sequence[int] = ()) -> list[Decision]:
        """Every verdict, oldest first; or those in which one of these contents, or of these image ids, is named."""
        if about is None:
            return [Decision(*row) for row in self.reader.rows(_DECISIONS.format(""))]
        decisions: dict[Decision, None] = {}
        for part in in_parts(about):
            marks = ", ".join("?" * len(part))
            sql = _DECISIONS.format(f"WHERE subject IN ({marks}) OR other IN ({marks})")
            decisions |= dict.fromkeys(Decision(*row) for row in self.reader.rows(sql, [*part, *part]))
        for few in in_parts([int(i) for i in ids]):
            sql = _DECISIONS.format(f"WHERE subject_id IN ({', '.join(map(str, few))})")
            decisions |= dict.fromkeys(Decision(*row) for row in self.reader.rows(sql))
        return list(decisions)

    def decisions_page(self, after: Decision | None, limit: int) -> list[Decision]:
        """The next verdicts after one, oldest first; from the first without."""
        columns = "decided_at, subject, other, subject_id"
        where = f"WHERE ({columns}) > (?, ?, ?, ?)" if after else ""
        values = [after.decided_at, after.subject, after.other, after.subject_id] if after else []
        rows = self.reader.rows(f"{_DECISIONS.format(where)} LIMIT ?", [*values, limit])
        return [Decision(*row) for row in rows]

    def decide(self, decisions: Iterable[Decision]) -> None:
        """Keep verdicts; a later one on the same pair replaces the earlier."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        rows = [(d.subject, d.other, d.subject_id, d.verdict, now) for d in decisions]
        self.reader.connection.executemany(
            "INSERT OR REPLACE INTO decisions (subject, other, subject_id, verdict, decided_at) VALUES (?, ?, ?, ?, ?)",
            rows,
        )

    def undecide(self, decisions: Iterable[Decision]) -> None:
        """Take verdicts back."""
        rows = [(d.subject, d.other, d.subject_id) for d in decisions]
        self.reader.connection.executemany(
            "DELETE FROM decisions WHERE subject = ? AND other = ? AND subject_id = ?", rows
        )

    def groups(self) -> list[Grouped]:
        """The present members of the last run's groups, by keeper and id. A group whose keeper is gone is none."""
        return [Grouped(*row) for row in self.reader.rows(_GROUPS.format(""))]

    def groups_of(self, ids: Sequence[int]) -> list[Grouped]:
        """The same for the groups alone that these images are in."""
        members: list[Grouped] = []
        for few in in_parts(ids):
            part = ", ".join(str(int(i)) for i in few)
            these = f"AND g.keeper_id IN (SELECT keeper_id FROM groups WHERE image_id IN ({part})) "
            members += [Grouped(*row) for row in self.reader.rows(_GROUPS.format(these))]
        return list(dict.fromkeys(members))

    def replace_groups(self, groups: Iterable[Grouped], looked_at: Iterable[int] | None = None) -> None:
        """What the last run found takes the place of what was found before, of the images looked at or of all."""
        if looked_at is None:
            self.reader.connection.execute("DELETE FROM groups")
        else:
            ids = [(i,) for i in looked_at]
            self.reader.connection.executemany(
                "DELETE FROM groups WHERE keeper_id IN (SELECT keeper_id FROM groups WHERE image_id = ?)", ids
            )
        rows = [(g.image_id, g.keeper_id, g.kind, g.via_id, g.score) for g in groups]
        self.reader.connection.executemany(
            "INSERT INTO groups (image_id, keeper_id, kind, via_id, score) VALUES (?, ?, ?, ?, ?)", rows
        )

    def calibrations(self, space: Space) -> dict[str, tuple[float, dict[str, Any]]]:
        """kind → (threshold, facts of how it was found)."""
        rows = self.reader.rows(
            "SELECT kind, threshold, facts FROM calibrations WHERE space_id = ? ORDER BY kind", [space.id]
        )
        return {kind: (threshold, json.loads(facts)) for kind, threshold, facts in rows}

    def put_calibrations(
        self, space: Space, found: Mapping[str, tuple[float, Mapping[str, Any]]], *, kinds: Sequence[str]
    ) -> None:
        """Thresholds of a space by kind; earlier ones of these `kinds` go."""
        marks = ", ".join("?" * len(kinds))
        self.reader.connection.execute(
            f"DELETE FROM calibrations WHERE space_id = ? AND kind IN ({marks})", [space.id, *kinds]
        )
        rows = [
            (space.id, kind, threshold, to_json(facts, sort_keys=True)) for kind, (threshold, facts) in found.items()
        ]
        self.reader.connection.executemany(
            "INSERT INTO calibrations (space_id, kind, threshold, facts) VALUES (?, ?, ?, ?)", rows
        )

    def contents_of(self, ids: Sequence[int]) -> dict[int, int]:
        """image id → content id, of those images that are present."""
        contents: dict[int, int] = {}
        for few in in_parts(ids):
            part = ", ".join(str(int(i)) for i in few)
            sql = f"SELECT id, content_id FROM images WHERE removed IS NULL AND id IN ({part})"
            contents |= dict(self.reader.rows(sql))
        return contents

    def places(self, ids: Ids) -> list[tuple[int, str]]:
        """(root id, folder below it) of images, in the order of `ids`."""
        rows = self.reader.rows("SELECT id, root_id, path FROM images WHERE removed IS NULL")
        places = {i: (root, as_path(path).rpartition("/")[0]) for i, root, path in rows}
        return [places[int(i)] for i in ids]

    def with_content(self, hashes: Sequence[bytes]) -> dict[bytes, list[int]]:
        """sha256 → ids of the present images that have it."""
        ids_of: dict[bytes, list[int]] = {}
        for part in in_parts(hashes):
            sql = (
                "SELECT c.sha256, i.id FROM contents c JOIN images i ON i.content_id = c.id WHERE i.removed IS NULL "
                f"AND c.sha256 IN ({', '.join('?' * len(part))}) ORDER BY i.id"
            )
            for sha256, image_id in self.reader.rows(sql, part):
                ids_of.setdefault(sha256, []).append(image_id)
        return ids_of


def rejected_ids(curation: Curation, about: Sequence[bytes] | None = None) -> dict[int, bytes]:
    """Present images that were rejected and not kept → sha256 of the one that was kept beside each.

    It is empty for one rejected by itself. `about` limits it to verdicts in which one of these contents is named.
    """
    decisions = curation.decisions(about)
    kept_contents = {i for _, i in _spoken_of(curation, decisions, "keep")}
    spoken = [(d, i) for d, i in _spoken_of(curation, decisions, "reject") if i not in kept_contents]
    return {i: d.other for d, i in sorted(spoken, key=lambda pair: pair[0].other != OF_NONE)}  # by itself counts least


def kept_ids(curation: Curation) -> set[int]:
    """Present images that are to be kept by a verdict."""
    return {i for _, i in _spoken_of(curation, curation.decisions(), "keep")}


def apart_pairs(curation: Curation, about: Sequence[bytes] | None = None) -> set[frozenset[bytes]]:
    """Pairs of contents that are not the same picture by a verdict; `about` as in `rejected_ids`."""
    return {frozenset((d.subject, d.other)) for d in curation.decisions(about) if d.verdict == "not-duplicate"}


def _spoken_of(curation: Curation, decisions: Sequence[Decision], verdict: str) -> list[tuple[Decision, int]]:
    """Each verdict of that kind with every present image that it speaks of."""
    said = [d for d in decisions if d.verdict == verdict]
    there = curation.with_content([d.subject for d in said])
    return [(d, i) for d in said for i in there.get(d.subject, ()) if d.subject_id in (0, i)]
