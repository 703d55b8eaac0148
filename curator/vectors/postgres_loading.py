"""Filling a Postgres with a set: tables, parts that come whole or not at all, the graph, and what it finds."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from curator.errors import EngineRefused, NoEngine
from curator.records import Space, Vectors
from curator.registry import extra
from curator.vectors.calibration import K, least_width, settled_width
from curator.vectors.services import COLUMNS, LoadPart, check_same, is_loopback, split_url

_SAMPLE = 1_000
_MOST_MEMORY = 16_384  # MB for the building of a graph
_TYPES = {
    "size": "bigint", "width": "integer", "height": "integer", "extra": "jsonb", "sharpness": "real",
    "brightness": "real", "contrast": "real", "entropy": "real", "norm": "real",
}  # fmt: skip


class PostgresLoading:
    """A set's tables in a schema of their own, `curator_NAME`, and what fills them. Each thread has a connection."""

    def __init__(self, url: str) -> None:
        self._psycopg = extra("psycopg", "postgres")
        self._dsn, self.name = split_url(url, "put it into ~/.pgpass or PGPASSWORD")
        self.schema = f"curator_{self.name}"
        self._local, self._lock = threading.local(), threading.Lock()
        self._connections: dict[threading.Thread, Any] = {}
        self._space: Space | None = None
        self._sample: Vectors | None = None

    # Connections

    def _connect(self) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is not None and not connection.closed:
            return connection
        info = self._psycopg.conninfo.conninfo_to_dict(self._dsn.replace("postgres://", "postgresql://", 1))
        more = (
            {}
            if "sslmode" in info or is_loopback(info.get("hostaddr") or info.get("host") or os.environ.get("PGHOST"))
            else {"sslmode": "verify-full"}
        )
        # Not prepared: a plan that is kept would outlive the settings that it was made under.
        try:
            connection = self._psycopg.connect(
                self._dsn.replace("postgres://", "postgresql://", 1),
                autocommit=True,
                connect_timeout=10,
                prepare_threshold=None,
                **more,
            )
        except self._psycopg.OperationalError as error:
            raise NoEngine(f"Postgres does not answer: {line_of(error)}") from error
        self._local.connection = connection
        with self._lock:
            for thread in list(self._connections):
                if not thread.is_alive():
                    self._connections.pop(thread).close()
            self._connections[threading.current_thread()] = connection
        return connection

    def _ready(self) -> Any:
        """A connection to a set that is there. Raises `NoEngine`."""
        connection = self._connect()
        if not getattr(self._local, "known", False):
            row = connection.execute("SELECT to_regclass(%s)", [f"{self.schema}.spaces"]).fetchone()
            if row[0] is None:
                raise NoEngine(f"there is no set '{self.name}' in this Postgres; `curator push` makes one")
            role = f"{self.schema}_reader"
            of_role = connection.execute("SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = %s", [role])
            self._has_role = bool((of_role.fetchone() or [False])[0])
            self._local.known = True
        return connection

    @contextlib.contextmanager
    def _working(self, what: str) -> Iterator[Any]:
        """A connection to a set that is there, whose errors become ours; `what` it is used for. Raises `NoEngine`."""
        try:
            yield self._ready()
        except self._psycopg.OperationalError as error:
            raise NoEngine(f"Postgres was lost while {what}: {line_of(error)}") from error
        except self._psycopg.Error as error:
            raise EngineRefused(f"Postgres refuses, while {what}: {line_of(error)}") from error

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            while self._connections:
                self._connections.popitem()[1].close()

    def create(self, space: Space, source: str, *, replace: bool = False) -> None:
        """See `Service`. pgvector before 0.8 answers short without a word, and is refused."""
        connection = self._connect()
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            (version,) = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
            if tuple(int(n) for n in version.split(".")[:2]) < (0, 8):
                raise EngineRefused(f"pgvector {version} is too old: before 0.8 filtered searches come back short")
            with connection.transaction():  # all of it is there, or nothing
                for statement in self._tables(space.dim):
                    connection.execute(statement)
                row = connection.execute(f"SELECT fingerprint, encoder, source FROM {self.schema}.spaces").fetchone()
                if row is None:
                    sql = (
                        f"INSERT INTO {self.schema}.spaces (encoder, fingerprint, dim, source) VALUES (%s, %s, %s, %s)"
                    )
                    connection.execute(sql, [space.encoder, space.fingerprint, space.dim, source])
                else:
                    check_same(self.name, row, space, source, replace=replace)
                    if row[2] is not None and row[2] != source:  # ids of the two may meet
                        connection.execute(f"TRUNCATE {self.schema}.images, {self.schema}.shards, {self.schema}.sample")
                        connection.execute(f"UPDATE {self.schema}.spaces SET ef = NULL, total = 0")
                    connection.execute(f"UPDATE {self.schema}.spaces SET source = %s", [source])
        except self._psycopg.Error as error:
            raise EngineRefused(f"Postgres refuses to make room: {line_of(error)}") from error
        self._make_role(connection)

    def _tables(self, dim: int) -> list[str]:
        columns = ", ".join(f"{name} {_TYPES.get(name, 'text')}" for name in COLUMNS)
        shown = ", ".join(name for name in COLUMNS if name not in ("uri", "norm"))
        s = self.schema
        return [
            f"CREATE SCHEMA IF NOT EXISTS {s}",
            f"CREATE TABLE IF NOT EXISTS {s}.spaces (encoder text, fingerprint text, dim integer, ef integer, "
            "recall real, total bigint DEFAULT 0)",
            f"ALTER TABLE {s}.spaces ADD COLUMN IF NOT EXISTS source text",
            f"CREATE TABLE IF NOT EXISTS {s}.shards (shard integer PRIMARY KEY, sha256 text NOT NULL, rows bigint)",
            f"CREATE TABLE IF NOT EXISTS {s}.images (id bigint PRIMARY KEY, shard integer NOT NULL, {columns}, "
            f"vector halfvec({int(dim)}) NOT NULL)",
            f"CREATE TABLE IF NOT EXISTS {s}.sample (id bigint PRIMARY KEY, vector halfvec({int(dim)}) NOT NULL)",
            f"CREATE OR REPLACE VIEW {s}.pictures AS SELECT id, uri, uri AS path, {shown}, "
            f"width::real / greatest(height, 1) AS aspect, vector FROM {s}.images",
            f"CREATE INDEX IF NOT EXISTS images_shard ON {s}.images (shard)",
        ]

    def _make_role(self, connection: Any) -> None:
        """A role that sees the pictures and nothing else, where this user may make one."""
        role = f"{self.schema}_reader"
        with contextlib.suppress(self._psycopg.Error):
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
                connection.execute(f"CREATE ROLE {role} NOLOGIN")
            connection.execute(f"GRANT {role} TO CURRENT_USER")
            connection.execute(f"GRANT USAGE ON SCHEMA {self.schema} TO {role}")
            connection.execute(f"GRANT SELECT ON {self.schema}.pictures, {self.schema}.sample TO {role}")
        self._local.known = False

    def loaded(self) -> dict[int, str]:
        """shard → SHA-256 of the parts that are there whole."""
        with self._working("looking at its parts") as connection:
            receipts = dict(connection.execute(f"SELECT shard, sha256 FROM {self.schema}.shards").fetchall())
        damaged = {shard for shard, _, _ in self._damaged()}
        return {shard: sha256 for shard, sha256 in receipts.items() if shard not in damaged}

    def _damaged(self) -> list[tuple[int, int, int]]:
        """(shard, rows that are there, rows of its receipt) where these differ."""
        sql = (
            f"SELECT s.shard, count(i.id), s.rows FROM {self.schema}.shards s LEFT JOIN {self.schema}.images i "
            "ON i.shard = s.shard GROUP BY s.shard, s.rows HAVING s.rows <> count(i.id) ORDER BY 1"
        )
        with self._working("counting its rows") as connection:
            return list(connection.execute(sql).fetchall())

    def load(self, part: LoadPart) -> None:
        """COPY into a table beside, then one transaction: the old rows go, the new ones and their receipt come."""
        names = ", ".join(COLUMNS)
        what = f"loading part {part.shard} (push again, it goes on)"
        with self._working(what) as connection, connection.transaction():
            connection.execute(f"CREATE TEMP TABLE arriving (LIKE {self.schema}.images) ON COMMIT DROP")
            columns = [part.columns[name] for name in COLUMNS]
            with connection.cursor().copy(f"COPY arriving (id, shard, {names}, vector) FROM STDIN") as copy:
                for number, image_id in enumerate(part.ids.tolist()):
                    values = [plain(column[number]) for column in columns]
                    copy.write_row([image_id, part.shard, *values, as_text(part.x[number])])
            connection.execute(f"UPDATE {self.schema}.spaces SET ef = NULL")  # until `finish` searches compare all
            connection.execute(f"DELETE FROM {self.schema}.images WHERE shard = %s", [part.shard])
            connection.execute(f"INSERT INTO {self.schema}.images SELECT * FROM arriving")
            connection.execute(
                f"INSERT INTO {self.schema}.shards VALUES (%s, %s, %s) ON CONFLICT (shard) DO UPDATE SET sha256 = "
                "excluded.sha256, rows = excluded.rows",
                [part.shard, part.sha256, len(part.ids)],
            )

    def remove(self, shard: int) -> None:
        """Take a part away."""
        with self._working("taking a part away") as connection, connection.transaction():
            connection.execute(f"UPDATE {self.schema}.spaces SET ef = NULL")
            connection.execute(f"DELETE FROM {self.schema}.images WHERE shard = %s", [shard])
            connection.execute(f"DELETE FROM {self.schema}.shards WHERE shard = %s", [shard])

    @property
    def is_finished(self) -> bool:
        """Whether nothing was loaded or taken away since `finish`."""
        with self._working("looking at it") as connection:
            return connection.execute(f"SELECT ef FROM {self.schema}.spaces").fetchone()[0] is not None

    def finish(self, say: Callable[[str], None], words: Vectors | None = None) -> None:
        """Build the graph and the indexes of columns, draw the sample, and measure how wide a walk must be."""
        s = self.schema
        with self._working("building its graph") as connection:
            (dim, rows) = connection.execute(
                f"SELECT dim, (SELECT count(*) FROM {s}.images) FROM {s}.spaces"
            ).fetchone()
            # Of each image its vector and its neighbours; a graph that does not fit is built on disk, for hours.
            needed = min(_MOST_MEMORY, max(256, rows * (2 * dim + 1_000) >> 20))
            say(f"Building the graph, with {needed / 1024:.1f} GB of the server's memory; minutes for 100,000 images.")
            connection.execute(f"SET maintenance_work_mem = '{needed}MB'")
            connection.execute(
                f"CREATE INDEX IF NOT EXISTS images_graph ON {s}.images USING hnsw (vector halfvec_ip_ops) "
                "WITH (m = 16, ef_construction = 64)"
            )
            for column in ("label", "origin", "sha256"):
                connection.execute(f"CREATE INDEX IF NOT EXISTS images_{column} ON {s}.images ({column})")
            with connection.transaction():
                connection.execute(f"DELETE FROM {s}.sample")
                connection.execute(
                    f"INSERT INTO {s}.sample SELECT id, vector FROM {s}.images ORDER BY hashint8(id) LIMIT {_SAMPLE}"
                )
                connection.execute(f"UPDATE {s}.spaces SET total = (SELECT count(*) FROM {s}.images)")
            connection.execute(f"ANALYZE {s}.images")
            ef, recall = self._calibrate(connection, words)
            (total,) = connection.execute(f"SELECT total FROM {s}.spaces").fetchone()
            ef = settled_width(ef, recall, total, say)
            connection.execute(f"UPDATE {s}.spaces SET ef = %s, recall = %s", [ef, recall])

    def _calibrate(self, connection: Any, words: Vectors | None) -> tuple[int, float]:
        """The least `ef` by which 0.95 of the hits of words are found, and what share of all are."""
        rows = connection.execute(f"SELECT vector::real[] FROM {self.schema}.sample ORDER BY id").fetchall()
        x = np.array([r[0] for r in rows], np.float32)
        return least_width(x, lambda q, ef: self._nearest_ids(connection, q, ef), words)

    def _nearest_ids(self, connection: Any, q: Vectors, ef: int | None) -> set[int]:
        """Ids of the best twenty: by the graph, or, without `ef`, by comparing every one."""
        with connection.transaction():
            connection.execute("SET LOCAL enable_seqscan = off" if ef else "SET LOCAL enable_indexscan = off")
            if ef:
                connection.execute(f"SET LOCAL hnsw.ef_search = {int(ef)}")
                connection.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
            sql = f"SELECT id FROM {self.schema}.images ORDER BY vector <#> %s::halfvec LIMIT {K}"
            return {r[0] for r in connection.execute(sql, [as_text(q)]).fetchall()}

    def drop(self) -> None:
        """Remove the set's schema and role."""
        with self._working("removing it") as connection:
            connection.execute(f"DROP SCHEMA {self.schema} CASCADE")
            with contextlib.suppress(self._psycopg.Error):
                connection.execute(f"DROP ROLE IF EXISTS {self.schema}_reader")
        self._local.known = False


def as_text(q: Vectors) -> str:
    """A vector (d,) as pgvector writes it."""
    return "[" + ",".join(map(repr, q.astype(np.float16).astype(float).tolist())) + "]"


def plain(value: Any) -> Any:
    """A value as COPY takes it: no NUL, which Postgres's texts cannot hold."""
    if isinstance(value, bytes):
        return value.hex()
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def line_of(error: BaseException) -> str:
    """The first line of what Postgres says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
