"""The writer's lock, its transactions, and changes to what images belong to: roots, spaces, generations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

from curator.database.connection import connect_writer, mark_clean, take_lock, transaction
from curator.database.integrity import room_for
from curator.database.reader import Reader
from curator.database.schema import FORMAT, SEALED, migrate
from curator.errors import IndexLocked
from curator.files import as_path, as_stored, sweep, whole
from curator.job import QUIET, Job
from curator.records import Root, Space
from curator.texts import to_json

_UNSEEN = ("queries", "meta")  # tables whose rows change nothing that anybody sees
_AGAIN = 600.0  # seconds that a writer waits for the lock it lent to others


class Writing(Reader):
    """The one writer of an index, for as long as it holds the lock: transactions, roots, spaces, generations."""

    @classmethod
    def open(cls, folder: Path, *, lock: IO[bytes] | None = None, wait: float = 0.0) -> Self:
        """Take the lock if it is not given, waiting so many seconds for it, check, migrate after a backup.

        Raises `IndexLocked`, `IndexDamaged` or `IndexTooNew`.
        """
        lock = lock or take_lock(folder, wait=wait)
        try:
            writer = cls(folder, connect_writer(folder))
            writer._begin(lock)
        except BaseException:
            lock.close()
            raise
        return writer

    def _begin(self, lock: IO[bytes]) -> None:
        sweep(self.folder)
        self._lock = lock
        self.lost = False  # whether the lock is gone, so that nothing may be written
        version = self.connection.execute("PRAGMA user_version").fetchone()[0]
        if version < FORMAT:
            if version:
                with room_for(self.folder), whole(self.folder / f"index.format-{version}.db") as beside:
                    self.copy_to(beside)  # also what lies in a log beside the file
            with room_for(self.folder):
                migrate(self.connection)

    def close(self) -> None:
        """End cleanly: the next opening need not check every row."""
        super().close()
        if not self.lost:
            mark_clean(self.folder)
        self._lock.close()

    @contextlib.contextmanager
    def aside(self, job: Job = QUIET, *, wait: float = _AGAIN) -> Iterator[None]:
        """Within it others may write: nothing here is half done. Afterwards the lock is this writer's again.

        Raises `IndexLocked` where another has the lock for `wait` seconds more, and `Stopped` where the job is asked to
        stop meanwhile: nothing more is written then.

        What others have changed meanwhile is seen afterwards, so hold nothing that they may change.
        """
        mark_clean(self.folder)
        self._lock.close()
        try:
            yield
        finally:
            self.lost = True  # as it stays where waiting ends in an error or in Ctrl-C
            self._lock = take_lock(self.folder, wait=wait, job=job)
            self.lost = False

    @contextlib.contextmanager
    def atomic(self) -> Iterator[None]:
        """All or nothing, sealed and on disk when it ends without an error. Raises `IndexFull`, `IndexLocked`."""
        if self.lost:
            raise IndexLocked(f"another process has taken over {self.folder}; run the same command again")
        with room_for(self.folder), transaction(self.connection):
            yield
            sealed = [self._seal(table) for table in SEALED if table not in _UNSEEN]
            if any(sealed):
                self._set_meta("changes", self.meta("changes") + 1)
            for table in _UNSEEN:
                self._seal(table)

    def _seal(self, table: str) -> int:
        """Give new rows of a table their checksums → how many there were."""
        sql = f"UPDATE {table} SET crc = row_crc({', '.join(SEALED[table])}) WHERE crc IS NULL"
        return int(self.connection.execute(sql).rowcount)

    def _set_meta(self, key: str, value: int) -> None:
        self.connection.execute("UPDATE meta SET value = ?, crc = NULL WHERE key = ?", [value, key])

    def _next_seq(self) -> int:
        """The number of this change: larger than that of every row before it."""
        seq = self.meta("seq") + 1
        self._set_meta("seq", seq)
        return seq

    def add_root(self, path: Path) -> Root:
        """Register a folder, or return it if it is.

        A root inside it becomes part of it; one around it is returned instead.
        """
        for root in self.roots():
            if path.is_relative_to(root.path):
                return root
        self.connection.execute("INSERT INTO roots (path) VALUES (?)", [as_stored(str(path))])
        added = next(r for r in self.roots() if r.path == path)
        for root in self.roots():
            if root.id != added.id and root.path.is_relative_to(path):
                self._absorb(root, added)
        return added

    def _absorb(self, inner: Root, outer: Root) -> None:
        prefix = inner.path.relative_to(outer.path).as_posix()
        for table in ("images", "skipped"):
            rows = self.rows(f"SELECT rowid, path FROM {table} WHERE root_id = ?", [inner.id])
            moved = [(outer.id, as_stored(f"{prefix}/{as_path(path)}"), rowid) for rowid, path in rows]
            self.connection.executemany(f"UPDATE {table} SET root_id = ?, path = ?, crc = NULL WHERE rowid = ?", moved)
        self.connection.execute("DELETE FROM roots WHERE id = ?", [inner.id])

    def set_root_options(self, root_id: int, options: Mapping[str, Any]) -> None:
        """Remember what a root was indexed with, so that a bare `curator index` repeats it."""
        self.connection.execute(
            "UPDATE roots SET options = ?, crc = NULL WHERE id = ?", [to_json(options, sort_keys=True), root_id]
        )

    def repoint_root(self, root_id: int, path: Path) -> None:
        """The folder has moved: say where it is now."""
        self.connection.execute("UPDATE roots SET path = ?, crc = NULL WHERE id = ?", [as_stored(str(path)), root_id])

    def add_space(self, encoder: str, fingerprint: str, dim: int) -> Space:
        """Register a space, or return it if it is; the first one becomes the active one."""
        known = next((s for s in self.spaces() if s.fingerprint == fingerprint), None)
        if known is None:
            self.connection.execute(
                "INSERT INTO spaces (encoder, fingerprint, dim) VALUES (?, ?, ?)", [encoder, fingerprint, dim]
            )
            known = next(s for s in self.spaces() if s.fingerprint == fingerprint)
        if not self.meta("active_space"):
            self.use_space(known)
        return known

    def use_space(self, space: Space) -> None:
        """Let searches use this space from now on."""
        self._set_meta("active_space", space.id)

    def next_generation(self) -> int:
        """A number for new FAISS files that no other ever had."""
        number = self.meta("last_generation") + 1
        self._set_meta("last_generation", number)
        return number

    def set_generation(self, space: Space, generation: int, built_seq: int, files_sha256: str) -> None:
        """The files of `generation` now hold the space up to change `built_seq`."""
        self.connection.execute(
            "UPDATE spaces SET generation = ?, built_seq = ?, files_sha256 = ?, crc = NULL WHERE id = ?",
            [generation, built_seq, files_sha256, space.id],
        )
