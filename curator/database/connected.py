"""The connections of one reader: one for each thread, so that no two threads ever meet on one.

SQLite holds a connection's mutex while an authorizer's callback waits for the interpreter's lock. On a connection that
two threads share, one of them waits for the mutex while it has the lock, and the process stands still for ever.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from curator.database.connection import connect_reader, open_raw, recover
from curator.database.integrity import refuse_if_busy
from curator.errors import IndexClosed, IndexDamaged

T = TypeVar("T")
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR}


class _Own:
    """The connection of one thread.

    That thread alone closes it: under a statement of another thread, closing would end the process.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:  # the thread has ended, or let go of it
        self.connection.close()


class Connected:
    """Runs statements on an index's database, in any number of threads. `with` closes it.

    `connection` None opens a read-only one for each thread; a given one belongs to whoever gave it, and to one thread.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection | None = None) -> None:
        self.folder = folder
        self._given = connection
        self._local = threading.local()
        self._closed = False

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open and check. Raises `NoIndex`, `IndexTooNew` or `IndexDamaged`."""
        reader = cls(folder)
        reader._keep(connect_reader(folder))
        return reader

    def close(self) -> None:
        """Nothing else can be asked afterwards, in any thread.

        What other threads are asking now is still answered; their connections go when they ask again, or end.
        """
        self._closed = True
        self._local.__dict__.clear()
        if self._given is not None:
            self._given.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection. Raises `IndexClosed`."""
        if self._closed:
            self._local.__dict__.clear()
            raise IndexClosed(f"the index at {self.folder} is closed; open it again")
        if self._given is not None:
            return self._given
        mine: _Own | None = getattr(self._local, "own", None)
        return mine.connection if mine else self._keep(open_raw(self.folder))

    def _keep(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        self._local.own = _Own(connection)
        return connection

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Within it, this thread's answers are of one moment, whatever a writer commits meanwhile."""
        if self.connection.in_transaction:
            yield
            return
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("ROLLBACK")

    def rows(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        """What a statement returns. Raises `IndexLocked`, `IndexClosed` or `IndexDamaged`."""
        return self.asked(lambda db: db.execute(sql, values).fetchall())

    def asked(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """What a question gets from this thread's connection, asked again after what can be mended.

        Raises `IndexLocked`, `IndexClosed` or `IndexDamaged`.
        """
        connection = self.connection
        try:
            return question(connection)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not self._can_go_on(error):
                raise
        return question(connection)

    def _can_go_on(self, error: Exception) -> bool:
        """Whether a statement may be run again. Raises `IndexLocked`, `IndexDamaged` for what SQLite calls so."""
        refuse_if_busy(error, self.folder)
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF in _DAMAGE or isinstance(error, UnicodeDecodeError):
            problem = f"the database at {self.folder} cannot be read: {error}; run `curator verify`"
            raise IndexDamaged(problem) from error
        if code != sqlite3.SQLITE_READONLY_ROLLBACK:
            return False
        recover(self.folder)  # a writer died in the middle of a commit, and this reader was open already
        return True
