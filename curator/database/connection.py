"""Connections: read-only by default, and one writer behind an flock.

Whatever was not a clean end is followed by a check of every row.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from curator.database.integrity import BUSY_MS, damaged_rows, refuse_if_busy, row_crc
from curator.database.schema import APPLICATION_ID, FORMAT
from curator.errors import IndexDamaged, IndexLocked, IndexTooNew, IndexTooOld, NoIndex
from curator.files import DATABASE, read_start, write_whole
from curator.job import QUIET, Job
from curator.texts import to_json

LOCK, STAMP = "writer.lock", "clean.json"
ALONE = "ingest.lock"  # of work that lends the writer's lock to others, but not to its own kind
_PATIENCE = 0.05  # seconds between two tries to become the writer
# Older SQLite can corrupt a WAL when it is reset under a reader (fixed in 3.51.3).
JOURNAL = "WAL" if sqlite3.sqlite_version_info >= (3, 51, 3) else "TRUNCATE"


def take_lock(folder: Path, *, name: str = LOCK, wait: float = 0.0, job: Job = QUIET) -> IO[bytes]:
    """Become the one writer; the lock dies with the process.

    Raises `IndexLocked` if others keep it for `wait` seconds, `Stopped` if the job is asked to stop meanwhile.

    Others that only remember a query's vector have it for milliseconds, so whoever has work to do waits a little.
    """
    try:
        held = (folder / name).open("ab")  # held for as long as the writer lives
    except OSError as error:
        raise IndexLocked(f"{folder} cannot be written: {error.strerror}") from error
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() < until and not job.stop:
                time.sleep(_PATIENCE)
                continue
            held.close()
            job.check()
            problem = f"another process is writing to {folder}; wait for it to finish, or stop it"
            raise IndexLocked(problem) from error
        return held


def is_locked(folder: Path, *, name: str = LOCK) -> bool:
    """Whether a process has the lock now."""
    try:
        with (folder / name).open("rb") as probe:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def connect_reader(folder: Path) -> sqlite3.Connection:
    """A read-only connection to a checked database.

    Raises `NoIndex`, `IndexTooNew`, `IndexTooOld` or `IndexDamaged`.
    """
    if not is_born(folder):
        raise NoIndex(f"no index at {folder}; make one with `curator index FOLDER`")
    if not is_clean(folder):
        recover(folder)
        if not is_born(folder):  # what there was of it has been rolled back
            raise NoIndex(
                f"no index at {folder}; its creation was interrupted, so make it again with `curator index FOLDER`"
            )
    connection = open_raw(folder)
    check_format(connection, folder)
    return connection


def connect_writer(folder: Path) -> sqlite3.Connection:
    """A read-write connection, for the holder of the lock. Autocommit: its transactions are those of `transaction`.

    Raises `IndexLocked` where the file may only be read.
    """
    file = folder / DATABASE
    existed = file.is_file() and file.stat().st_size > 0
    if not existed and any((folder / "vectors").glob("*/manifest.json")):
        problem = f"{file} is empty or gone, though FAISS files of it lie in {folder / 'vectors'}"
        raise IndexDamaged(f"{problem}; put a backup in its place, or delete the folder `vectors` to begin anew")
    if existed and not os.access(file, os.W_OK):  # which SQLite opens all the same, and refuses at the first write
        raise IndexLocked(f"{file} cannot be written: only reading is allowed; `chmod u+w` it, or copy the index")
    if existed and not is_clean(folder):
        _check(folder, open_raw(folder, "rw"))
    connection = open_raw(folder, "rwc")
    if existed:
        check_format(connection, folder, older_is_fine=True)
    connection.execute(f"PRAGMA journal_mode = {JOURNAL}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.create_function("row_crc", -1, row_crc, deterministic=True)
    return connection


def is_born(folder: Path) -> bool:
    """Whether a file with our mark in its header is there: False also after a kill before the first migration."""
    try:
        return read_start(folder / DATABASE, 100)[68:72] == APPLICATION_ID.to_bytes(4, "big")
    except OSError:
        return False


def check_format(connection: sqlite3.Connection, folder: Path, *, older_is_fine: bool = False) -> None:
    """Refuse what is no index, what is newer than this program, and what must first be migrated by a writer."""
    with _damage(folder):
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '_sqlite%'"
        ).fetchone()[0]
    if application == 0 and version == 0 and not tables and older_is_fine:
        return  # created, and killed before its first migration
    if application != APPLICATION_ID:
        raise IndexDamaged(f"{folder / DATABASE} is not an index of curator's; name another folder")
    refuse_newer(connection, folder)
    if version < FORMAT and not older_is_fine:
        raise IndexTooOld(f"the index at {folder} has the older format {version}; it is migrated after a backup")


def refuse_newer(connection: sqlite3.Connection, folder: Path) -> None:
    """Raise `IndexTooNew` for a later format, which is no damage; a header that cannot be read says nothing."""
    with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise IndexTooNew(
                f"the index at {folder} has format {version}, and this curator knows up to {FORMAT}; upgrade "
                "image-curator"
            )


def is_clean(folder: Path) -> bool:
    """Whether the database file is, to the inode's times, what the last writer left; a copied index is checked once."""
    try:
        stamp = json.loads((folder / STAMP).read_text())
    except (OSError, ValueError):
        return False
    return bool(stamp == _state(folder) and not stamp["pending"])


def mark_clean(folder: Path) -> None:
    """Remember the database file as checked. A folder that cannot be written is simply checked each time."""
    with contextlib.suppress(OSError):
        write_whole(folder / STAMP, to_json(_state(folder)))


@contextlib.contextmanager
def _damage(folder: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite's message may quote what is damaged
        refuse_if_busy(error, folder)
        raise IndexDamaged(
            f"the database at {folder} is damaged: {error}; restore a backup, or `curator repair` to save what is left"
        ) from error


def open_raw(folder: Path, mode: str = "ro") -> sqlite3.Connection:
    """A connection to the database as it is, unchecked; `mode` is SQLite's "ro", "rw" or "rwc"."""
    uri = f"{(folder / DATABASE).absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_MS / 1000, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.create_function("row_crc", -1, row_crc, deterministic=True)
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; one within another is a savepoint."""
    is_inner = connection.in_transaction
    begin, end = ("SAVEPOINT inner", "RELEASE inner") if is_inner else ("BEGIN", "COMMIT")
    connection.execute(begin)
    try:
        yield
        connection.execute(end)
    except BaseException:
        if connection.in_transaction:  # an error such as a full disk may have ended it
            for undo in ("ROLLBACK TO inner", "RELEASE inner") if is_inner else ("ROLLBACK",):
                connection.execute(undo)
        raise


def recover(folder: Path) -> None:
    """After an end that was not clean: roll back what was never acknowledged, then check every row once."""
    try:
        held = take_lock(folder)
    except IndexLocked:
        if os.access(folder, os.W_OK):
            return  # a writer is alive, and it is in the nature of its work that the stamp is behind
        _check(folder, open_raw(folder))
        return
    with held:
        _check(folder, open_raw(folder, "rw"))
        mark_clean(folder)


def _check(folder: Path, connection: sqlite3.Connection) -> None:
    with contextlib.closing(connection):
        check_format(connection, folder, older_is_fine=True)
        if connection.execute("PRAGMA user_version").fetchone()[0] == FORMAT and (
            problems := damaged_rows(connection, folder, 3)
        ):
            raise IndexDamaged(
                f"the database at {folder} is damaged ({problems[0]}); restore a backup, or `curator repair` to save "
                "what is left"
            )


def _state(folder: Path) -> dict[str, int]:
    stat = (folder / DATABASE).stat()
    beside = [folder / f"{DATABASE}-{kind}" for kind in ("wal", "journal")]
    pending = sum(f.stat().st_size for f in beside if f.exists())  # a journal with something in it is no clean end
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "ctime_ns": stat.st_ctime_ns, "pending": pending}


assert sys.platform != "win32", "file locks and atomic replaces are POSIX here"
