"""Tables, migrations and the marks by which a file is known to be an index."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from curator.records import INDEX_MARK
from curator.texts import column_name, is_finite, to_json

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database

APPLICATION_ID = int.from_bytes(INDEX_MARK, "big")
FORMAT = 7  # user_version: one more for every migration

# Each of these tables has a last column `crc`: CRC-32 over the others in this order. SQLite itself detects no flipped
# bit.
SEALED: dict[str, tuple[str, ...]] = {
    "meta": ("key", "value"),
    "roots": ("id", "path", "options"),
    "contents": ("id", "sha256", "pixel_hash", "width", "height", "mode", "format", "taken_at", "camera"),
    "images": (
        "id", "root_id", "path", "size", "mtime_ns", "content_id", "origin", "label", "caption", "extra", "added_at",
        "removed", "seq",
    ),
    "skipped": ("root_id", "path", "size", "mtime_ns", "reason"),
    "tags": ("image_id", "tag"),
    "columns": ("name",),
    "spaces": ("id", "encoder", "fingerprint", "dim", "generation", "built_seq", "files_sha256"),
    "embeddings": ("space_id", "content_id", "seq", "norm", "vector"),
    "queries": ("space_id", "query", "vector"),
    "measures": ("content_id", "hashes", "sharpness", "brightness", "contrast", "entropy"),
    "edges": ("first", "second", "distance", "transform", "laid", "inliers", "scale", "degrees", "agreement",
    "overlap", "difference", "weakest"),
    "decisions": ("subject", "other", "subject_id", "verdict", "decided_at"),
    "groups": ("image_id", "keeper_id", "kind", "via_id", "score"),
    "calibrations": ("space_id", "kind", "threshold", "facts"),
    "selections": ("id", "name", "digest", "manifest", "created_at"),
    "selected": ("selection_id", "rank", "image_id", "sha256", "value", "split"),
    "concepts": ("space_id", "name", "vector", "bias", "facts"),
    "computed": ("image_id", "name", "value"),
    "recipes": ("name", "recipe"),
    "edits": ("image_id", "name", "value", "source"),
    "actions": ("id", "at", "who", "text", "before", "after", "undone"),
}  # fmt: skip

# Of a row of `groups g`: an image that is one too many, for as long as its keeper is there, and nobody has said that it
# is no duplicate of that.
_KEEPER_THERE = (
    "g.kind NOT IN ('keeper', 'kept') AND EXISTS (SELECT 1 FROM images k WHERE k.id = g.keeper_id AND k.removed IS "
    "NULL)"
)
IS_DUPLICATE = (
    f"{_KEEPER_THERE} AND (NOT EXISTS (SELECT 1 FROM decisions WHERE verdict = 'not-duplicate') OR NOT EXISTS (SELECT "
    "1 FROM images k JOIN contents kc ON kc.id = k.content_id JOIN images m ON m.id = g.image_id JOIN contents mc ON "
    "mc.id = m.content_id JOIN decisions d ON (d.subject = mc.sha256 AND d.other = kc.sha256) OR (d.subject = "
    "kc.sha256 AND d.other = mc.sha256) WHERE k.id = g.keeper_id AND d.verdict = 'not-duplicate'))"
)


def _views(is_duplicate: str) -> str:
    """What other programs read."""
    return f"""
CREATE VIEW pictures AS
    SELECT i.id, r.path || '/' || i.path AS path, i.label, i.caption, i.origin, c.width, c.height, c.format, i.size,
    c.taken_at, c.camera,
        (SELECT group_concat(tag, ' ') FROM tags t WHERE t.image_id = i.id) AS tags, lower(hex(c.sha256)) AS sha256,
        m.sharpness, m.brightness, m.contrast, m.entropy,
        CASE WHEN {is_duplicate} THEN g.keeper_id END AS duplicate_of, i.removed, i.added_at
    FROM images i JOIN roots r ON r.id = i.root_id JOIN contents c ON c.id = i.content_id
        LEFT JOIN measures m ON m.content_id = i.content_id LEFT JOIN groups g ON g.image_id = i.id;
CREATE VIEW selection_pictures AS
    SELECT s.name AS selection, x.rank, p.path, p.label, p.caption, x.value, x.split, x.image_id
    FROM selected x JOIN selections s ON s.id = x.selection_id JOIN pictures p ON p.id = x.image_id;
"""


_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER) WITHOUT ROWID;
CREATE TABLE roots (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, options TEXT NOT NULL DEFAULT '{}', crc INTEGER);
CREATE TABLE contents (
    id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, pixel_hash BLOB NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, mode TEXT NOT NULL, format TEXT NOT NULL,
    taken_at TEXT, camera TEXT, crc INTEGER
);
CREATE INDEX contents_pixel_hash ON contents (pixel_hash);
CREATE TABLE images (
    id INTEGER PRIMARY KEY AUTOINCREMENT, root_id INTEGER NOT NULL REFERENCES roots (id), path TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, content_id INTEGER NOT NULL REFERENCES contents (id),
    origin TEXT NOT NULL CHECK (origin IN ('real', 'generated')), label TEXT, caption TEXT,
    extra TEXT NOT NULL DEFAULT '{}', added_at TEXT NOT NULL, removed TEXT CHECK (removed IN ('gone', 'by hand')),
    seq INTEGER NOT NULL, crc INTEGER, UNIQUE (root_id, path)
);
CREATE INDEX images_seq ON images (seq);
CREATE INDEX images_content ON images (content_id);
CREATE TABLE skipped (
    root_id INTEGER NOT NULL REFERENCES roots (id), path TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    reason TEXT NOT NULL, crc INTEGER, PRIMARY KEY (root_id, path)
);
CREATE TABLE tags (image_id INTEGER NOT NULL REFERENCES images (id), tag TEXT NOT NULL, crc INTEGER,
PRIMARY KEY (image_id, tag));
CREATE TABLE columns (name TEXT PRIMARY KEY, crc INTEGER);
CREATE TABLE spaces (
    id INTEGER PRIMARY KEY, encoder TEXT NOT NULL, fingerprint TEXT NOT NULL UNIQUE, dim INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0, built_seq INTEGER NOT NULL DEFAULT 0, files_sha256 TEXT NOT NULL DEFAULT '',
    crc INTEGER
);
CREATE TABLE embeddings (
    space_id INTEGER NOT NULL REFERENCES spaces (id), content_id INTEGER NOT NULL REFERENCES contents (id),
    seq INTEGER NOT NULL, norm REAL NOT NULL, vector BLOB NOT NULL, crc INTEGER, PRIMARY KEY (space_id, content_id)
);
CREATE INDEX embeddings_seq ON embeddings (space_id, seq);
CREATE TABLE queries (
    space_id INTEGER NOT NULL REFERENCES spaces (id), query TEXT NOT NULL, vector BLOB NOT NULL, crc INTEGER,
    PRIMARY KEY (space_id, query)
);
INSERT INTO meta (key, value) VALUES ('seq', 0), ('active_space', 0), ('last_generation', 0);
"""

_SECOND = """
CREATE TABLE measures (
    content_id INTEGER PRIMARY KEY REFERENCES contents (id), hashes BLOB NOT NULL,
    sharpness REAL NOT NULL, brightness REAL NOT NULL, contrast REAL NOT NULL, entropy REAL NOT NULL, crc INTEGER
);
CREATE TABLE edges (
    first INTEGER NOT NULL REFERENCES contents (id), second INTEGER NOT NULL REFERENCES contents (id),
    distance INTEGER NOT NULL, transform TEXT NOT NULL, laid REAL,
    inliers INTEGER, scale REAL, degrees REAL, agreement REAL, overlap REAL, difference REAL,
    crc INTEGER, PRIMARY KEY (first, second), CHECK (first < second)
);
CREATE TABLE decisions (
    subject BLOB NOT NULL, other BLOB NOT NULL, subject_id INTEGER NOT NULL DEFAULT 0,
    verdict TEXT NOT NULL CHECK (verdict IN ('keep', 'reject', 'not-duplicate')), decided_at TEXT NOT NULL,
    crc INTEGER, PRIMARY KEY (subject, other, subject_id)
);
CREATE TABLE groups (
    image_id INTEGER PRIMARY KEY REFERENCES images (id), keeper_id INTEGER NOT NULL REFERENCES images (id),
    kind TEXT NOT NULL, via_id INTEGER NOT NULL, score REAL, crc INTEGER
);
CREATE INDEX groups_keeper ON groups (keeper_id);
CREATE TABLE calibrations (
    space_id INTEGER NOT NULL REFERENCES spaces (id), kind TEXT NOT NULL, threshold REAL NOT NULL, facts TEXT NOT NULL,
    crc INTEGER, PRIMARY KEY (space_id, kind)
);
"""

_THIRD = f"""
CREATE TABLE selections (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, digest TEXT NOT NULL, manifest TEXT NOT NULL,
    created_at TEXT NOT NULL, crc INTEGER
);
CREATE TABLE selected (
    selection_id INTEGER NOT NULL REFERENCES selections (id), rank INTEGER NOT NULL,
    image_id INTEGER NOT NULL REFERENCES images (id),
    sha256 BLOB NOT NULL, value REAL, split TEXT, crc INTEGER, PRIMARY KEY (selection_id, rank)
);
CREATE INDEX selected_image ON selected (image_id);
CREATE TABLE concepts (
    space_id INTEGER NOT NULL REFERENCES spaces (id), name TEXT NOT NULL, vector BLOB NOT NULL, bias REAL NOT NULL,
    facts TEXT NOT NULL,
    crc INTEGER, PRIMARY KEY (space_id, name)
);
CREATE TABLE computed (
    image_id INTEGER NOT NULL REFERENCES images (id), name TEXT NOT NULL, value, crc INTEGER, PRIMARY KEY (image_id,
    name)
);
{_views(_KEEPER_THERE)}"""

# With what options something was done last, as JSON: "dedupe" made the groups.
_FOURTH = """
CREATE TABLE recipes (name TEXT PRIMARY KEY, recipe TEXT NOT NULL, crc INTEGER);
"""

# How much the weakest patch of two pictures agrees, which tells a change from a codec. What corners did not show to be
# one picture is left out: there are new ways to see it.
_FIFTH = """
ALTER TABLE edges RENAME TO former_edges;
CREATE TABLE edges (
    first INTEGER NOT NULL REFERENCES contents (id), second INTEGER NOT NULL REFERENCES contents (id),
    distance INTEGER NOT NULL, transform TEXT NOT NULL, laid REAL,
    inliers INTEGER, scale REAL, degrees REAL, agreement REAL, overlap REAL, difference REAL, weakest REAL,
    crc INTEGER, PRIMARY KEY (first, second), CHECK (first < second)
);
INSERT INTO edges (first, second, distance, transform, laid, inliers, scale, degrees, agreement, overlap, difference)
    SELECT first, second, distance, transform, laid, inliers, scale, degrees, agreement, overlap, difference
    FROM former_edges
    WHERE (inliers IS NULL OR (inliers >= 12 AND agreement >= 0.9)) AND crc = row_crc(
        first, second, distance, transform, laid, inliers, scale, degrees, agreement, overlap, difference
    );
DROP TABLE former_edges;
"""

_SIXTH = """
CREATE TABLE actions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT NOT NULL, text TEXT NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL, undone INTEGER NOT NULL DEFAULT 0, crc INTEGER
);
INSERT INTO meta (key, value) VALUES ('changes', 0);
"""

# Labels and captions that a person wrote, which stand in `images` too; `source` is what the files say. What somebody
# told apart is no duplicate any more, to readers of the views as well.
_SEVENTH = f"""
DROP VIEW selection_pictures;
DROP VIEW pictures;
{_views(IS_DUPLICATE)}
CREATE INDEX decisions_apart ON decisions (verdict) WHERE verdict = 'not-duplicate';
CREATE TABLE edits (
    image_id INTEGER NOT NULL REFERENCES images (id), name TEXT NOT NULL CHECK (name IN ('label', 'caption')),
    value TEXT NOT NULL, source TEXT, crc INTEGER, PRIMARY KEY (image_id, name)
);
"""


UNUSED_COLUMNS = "DELETE FROM columns WHERE name NOT IN (SELECT DISTINCT key FROM images, json_each(images.extra))"


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to this format, from nothing or from an earlier one."""
    # 0.2 s to import, a second where there is pandas, so only here.
    from sqlite_utils import Database, Migrations

    # In order; each leaves `user_version` at its own number.
    steps = Migrations("curator")

    @steps()
    def m001_first(db: Database) -> None:
        _create(db, _FIRST)
        db.execute(
            "UPDATE meta SET crc = row_crc(key, value)"
        )  # here, because the disk may be full before the next step
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")

    @steps()
    def m002_duplicates(db: Database) -> None:
        _create(db, _SECOND)
        db.execute("PRAGMA user_version = 2")

    @steps()
    def m003_selections(db: Database) -> None:
        _create(db, _THIRD)
        db.execute("PRAGMA user_version = 3")

    @steps()
    def m004_recipes(db: Database) -> None:
        _create(db, _FOURTH)
        _mend_json(db)
        db.execute("PRAGMA user_version = 4")

    @steps()
    def m005_weakest(db: Database) -> None:
        _create(db, _FIFTH)
        db.execute(f"UPDATE edges SET crc = row_crc({', '.join(SEALED['edges'])})")
        db.execute("PRAGMA user_version = 5")

    @steps()
    def m006_actions(db: Database) -> None:
        _create(db, _SIXTH)
        db.execute("UPDATE meta SET crc = row_crc(key, value) WHERE crc IS NULL")
        db.execute("PRAGMA user_version = 6")

    @steps()
    def m007_edits(db: Database) -> None:
        _create(db, _SEVENTH)
        db.execute("PRAGMA user_version = 7")

    steps.apply(Database(connection))


def _mend_json(db: Database) -> None:
    """Take NaN and infinities out of further columns, for which `json_extract` refuses every row; mend odd names."""
    odd = [name for (name,) in db.execute("SELECT name FROM columns").fetchall() if column_name(name) != name]
    where = "extra != '{}'" if odd else "NOT json_valid(extra)"
    for image_id, extra in db.execute(f"SELECT id, extra FROM images WHERE {where}").fetchall():
        finite = {column_name(k): v for k, v in json.loads(extra).items() if column_name(k) and is_finite(v)}
        mended = to_json(finite, sort_keys=True, ensure_ascii=False)
        db.execute("UPDATE images SET extra = ?, crc = NULL WHERE id = ?", [mended, image_id])
    for name in odd:
        db.execute("DELETE FROM columns WHERE name = ?", [name])
        if column_name(name):
            db.execute("INSERT OR IGNORE INTO columns (name, crc) VALUES (?, row_crc(?))", [column_name(name)] * 2)
    db.execute(UNUSED_COLUMNS)
    db.execute(f"UPDATE images SET crc = row_crc({', '.join(SEALED['images'])}) WHERE crc IS NULL")


def _create(db: Database, sql: str) -> None:
    """Run statements, and let rows that have no checksum yet be found fast."""
    for statement in sql.split(";\n"):
        if statement.strip():
            db.execute(statement)
    for table in re.findall(r"CREATE TABLE (\w+)", sql):
        db.execute(f"CREATE INDEX {table}_unsealed ON {table} (crc) WHERE crc IS NULL")
