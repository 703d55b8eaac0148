"""Postgres with pgvector as engine. The only module with `psycopg`.

A search is routed, and never left to the planner, which takes its graph for a filter that one row in twenty passes, and
comes back with nothing (measured: 0.21 of the hits at a filter of 10 %). Few matches are compared one by one, which is
exact; for many the graph is walked until there are enough, and their true scores decide.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curator.embeddings import best_first, check_unit, exact_scores
from curator.errors import EngineRefused, NoEngine, WhereError
from curator.records import Finding, Ids, Image, Space, Vectors
from curator.texts import leaves_its_parentheses, to_json
from curator.vectors.calibration import UNFINISHED, note_of
from curator.vectors.engine import Answer
from curator.vectors.postgres_loading import PostgresLoading, as_text, line_of
from curator.vectors.services import CONDITIONS, all_there, check_column, findings_in, services

# What ends a text otherwise than the check of parentheses knows, and functions that undo the role or run statements.
_FORBIDDEN = re.compile(r"[;$\\]|\be'|set_config|query_to_xml|table_to_xml|schema_to_xml|database_to_xml|dblink", re.I)
_TUPLES = 200_000  # of the graph that one search looks at, at most
_SECONDS = 30  # that one condition may take
_IMAGE = "id, uri, size, sha256, width, height, mode, format, origin, label, caption, taken_at, camera, extra"


@services.register("postgres")
class PostgresEngine(PostgresLoading):
    """One set, answering. Conditions are Postgres's SQL, run as a role that may only read the pictures."""

    few = 20_000  # matches up to which every one is compared

    @contextlib.contextmanager
    def _asking(self, where: str | None = None) -> Iterator[Any]:
        """A transaction that only reads, as a role that may do nothing else, with a deadline."""
        connection = self._ready()
        try:
            with connection.transaction():
                connection.execute("SET TRANSACTION READ ONLY")
                connection.execute(f"SET LOCAL statement_timeout = '{_SECONDS}s'")
                connection.execute(f"SET LOCAL search_path = {self.schema}, public")
                if self._has_role:
                    connection.execute(f"SET LOCAL ROLE {self.schema}_reader")
                yield connection
        except self._psycopg.OperationalError as error:
            if where is None or connection.closed:
                raise NoEngine(f"Postgres was lost: {line_of(error)}") from error
            raise WhereError(self._explain(where, line_of(error))) from error
        except self._psycopg.Error as error:
            if where is None:
                raise EngineRefused(f"Postgres refuses: {line_of(error)}") from error
            raise WhereError(self._explain(where, line_of(error))) from error

    # What an engine answers

    @property
    def space(self) -> Space:
        """Whose vectors these are. Raises `NoEngine`."""
        if self._space is None:
            with self._working("looking at it") as connection:
                row = connection.execute(f"SELECT encoder, fingerprint, dim FROM {self.schema}.spaces").fetchone()
            self._space = Space(0, row[0], row[1], row[2], 0, 0, "")
        return self._space

    def moment(self) -> contextlib.AbstractContextManager[None]:
        """Nothing: parts come and go whole, and a search asks once."""
        return contextlib.nullcontext()

    def count(self, where: str | None = None) -> int:
        """How many images there are, or for how many a condition holds. Raises `WhereError`."""
        with self._asking(where) as connection:
            return int(connection.execute(f"SELECT count(*) FROM pictures{self._where(where)}", []).fetchone()[0])

    def nearest(self, q: Vectors, k: int, *, where: str | None = None, exact: bool = False) -> Answer:
        """The `k` images nearest to a unit vector (d,), never fewer than min(k, matches); `exact` compares each."""
        check_unit(q[None], self.space.dim)
        ef, recall, total = self._facts()
        with self._asking(where) as connection:
            few = f"SELECT count(*) FROM (SELECT 1 FROM pictures{self._where(where)} LIMIT {self.few + 1}) few"
            matches = int(connection.execute(few, []).fetchone()[0])
            compare_all = exact or matches <= self.few or not ef
            rows = [] if compare_all else self._walk(connection, q, k, where, int(ef or 0))
            if compare_all or len(rows) < min(k, matches):
                rows, compare_all = self._scan(connection, q, k, where), True
        ids = np.array([row[0] for row in rows], np.int64)
        x = np.array([row[1] for row in rows], np.float32).reshape(-1, len(q))
        scores = exact_scores(x, q)
        order = best_first(scores, ids)[:k]
        searched = matches
        if matches > self.few:
            searched = total if where is None else self.count(where)
        notes: tuple[str, ...] = () if compare_all else (note_of(recall),)
        notes += (UNFINISHED,) if ef is None else ()
        if where is not None and not self._has_role:
            notes += (f"the condition ran with your own rights: this user may not be {self.schema}_reader",)
        return Answer(ids[order], scores[order], searched, total, compare_all, notes)

    def _scan(self, connection: Any, q: Vectors, k: int, where: str | None) -> list[Any]:
        """Every match compared; a margin beyond k, because float32 and float64 order ties differently."""
        sql = (
            "WITH c AS MATERIALIZED (SELECT id, vector, vector <#> %s::halfvec AS s "
            f"FROM pictures{self._where(where)}) "
            f"SELECT id, vector::real[] FROM c ORDER BY s, id LIMIT {int(k) + 32}"
        )
        return list(connection.execute(sql, [as_text(q)], binary=True).fetchall())

    def _walk(self, connection: Any, q: Vectors, k: int, where: str | None, ef: int) -> list[Any]:
        """The graph, walked on until there are ten times as many as wanted; their true scores order them."""
        connection.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        connection.execute(f"SET LOCAL hnsw.ef_search = {int(ef)}")
        connection.execute(f"SET LOCAL hnsw.max_scan_tuples = {_TUPLES}")
        connection.execute("SET LOCAL enable_seqscan = off")
        sql = (
            f"SELECT id, vector::real[] FROM pictures{self._where(where)} "
            f"ORDER BY vector <#> %s::halfvec LIMIT {10 * int(k)}"
        )
        return list(connection.execute(sql, [as_text(q)], binary=True).fetchall())

    def vectors(self, ids: Sequence[int]) -> Vectors:
        """(n, d) float32 in the order of `ids`. Raises `UnknownName`."""
        with self._asking() as connection:
            sql = "SELECT id, vector::real[] FROM pictures WHERE id = ANY(%s)"
            rows = connection.execute(sql, [[int(i) for i in ids]], binary=True).fetchall()
        vector_of = {row[0]: row[1] for row in rows}
        return np.array([vector_of[i] for i in all_there(ids, vector_of, self.name)], np.float32).reshape(
            -1, self.space.dim
        )

    def images(self, ids: Sequence[int]) -> list[Image]:
        """Records in the order of `ids`. Raises `UnknownName`."""
        with self._asking() as connection:
            sql = f"SELECT {_IMAGE} FROM pictures WHERE id = ANY(%s)"
            rows = connection.execute(sql, [[int(i) for i in ids]]).fetchall()
        image_of = {
            r[0]: Image(r[0], Path(r[1]), *r[2:13], 0, (), r[13] or {}, r[1])  # type: ignore[call-arg]
            for r in rows
        }
        return [image_of[i] for i in all_there(ids, image_of, self.name)]

    def ids_where(self, where: str, *, limit: int | None = None) -> Ids:
        """Ascending ids for which a condition of Postgres's SQL holds. Raises `WhereError`."""
        most = "" if limit is None else f" LIMIT {int(limit)}"
        with self._asking(where) as connection:
            rows = connection.execute(f"SELECT id FROM pictures{self._where(where)} ORDER BY id{most}", []).fetchall()
        return np.array([r[0] for r in rows], np.int64)

    def values_of(self, column: str, ids: Sequence[int]) -> dict[int, Any]:
        """id → value of a column that conditions may name. Raises `UnknownName` for another column."""
        sql = f"SELECT id, {check_column(column)} FROM pictures WHERE id = ANY(%s)"
        with self._asking() as connection:
            values = dict(connection.execute(sql, [[int(i) for i in ids]]).fetchall())
        return {i: to_json(v, ensure_ascii=False) if isinstance(v, dict | list) else v for i, v in values.items()}

    def sample(self) -> Vectors:
        """(m, d) float32: 1,000 random vectors, drawn when loading ended."""
        if self._sample is None:
            with self._asking() as connection:
                rows = connection.execute("SELECT vector::real[] FROM sample ORDER BY id", binary=True).fetchall()
            self._sample = np.array([r[0] for r in rows], np.float32).reshape(-1, self.space.dim)
        return self._sample

    def verify(self) -> Iterator[Finding]:
        """Parts whose rows are not as many as their receipt says."""
        return findings_in(self.schema, self._damaged(), is_finished=self.is_finished)

    def _facts(self) -> tuple[int | None, float, int]:
        """How wide a search walks (0: compares all; None before loading has ended), its recall, how many images."""
        with self._working("looking at it") as connection:
            row = connection.execute(f"SELECT ef, recall, total FROM {self.schema}.spaces").fetchone()
        return row[0], float(row[1] or 0.0), int(row[2] or 0)

    def _where(self, where: str | None) -> str:
        """A condition as part of a statement. Raises `WhereError` for one that would change the statement."""
        if where is None:
            return ""
        if leaves_its_parentheses(where) or _FORBIDDEN.search(where):
            problem = "its parentheses do not match, or it holds ; or $ or E'…', or a function that reaches out"
            raise WhereError(self._explain(where, problem))
        return f" WHERE (\n{where.replace('%', '%%')}\n)"

    def _explain(self, where: str, problem: str) -> str:
        columns = ", ".join(CONDITIONS)
        form = "a condition of Postgres's SQL such as \"width >= 256 and label = 'shoe'\""
        listed = f"the columns: {columns}; extra is JSON, as extra->>'price'"
        return f"--where {where!r}: {problem}\nIt takes {form}, on {listed}"
