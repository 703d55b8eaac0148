"""`curator verify`, `repair` and `backup`: find what is wrong, mend what can be mended, keep a copy."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from curator.database import (
    ALONE,
    Reader,
    Writer,
    damaged_rows,
    dangling_rows,
    has_tables,
    is_born,
    open_raw,
    refuse_newer,
    salvage,
    take_lock,
    take_over_log,
)
from curator.errors import IndexExists, IndexFull, IndexLocked, NoIndex, PictureError
from curator.files import DATABASE, whole
from curator.images import decode, read_bytes
from curator.index import Index
from curator.index.engine import verify_files
from curator.job import QUIET, Job
from curator.records import Finding, Image

_BESIDE = ".repair"  # where rows are saved until they are whole
_SAMPLE = 50  # images that `--deep` encodes again
_SAME = 0.99  # least cosine of a re-encoded image: other runtimes and batch sizes differ in the last digits only


def verify(folder: Path, *, deep: bool = False) -> Iterator[Finding]:
    """Check database, checksums, counts and dangling rows; `deep` also encodes a sample of images again.

    Opens the database without trusting it; raises `NoIndex` where there is none, `IndexLocked` where it stays busy.
    """
    _refuse_nothing(folder)
    with contextlib.suppress(IndexLocked), take_lock(folder), _unchecked(folder, "rw"):
        pass  # reading rolls back what a killed writer left half-done
    with _unchecked(folder) as connection:
        broken = damaged_rows(connection, folder) or (
            [] if is_born(folder) else ["its header does not say that it is an index"]
        )
        yield from (Finding(DATABASE, problem, True) for problem in broken)
        if broken:
            return
        yield from (Finding(DATABASE, problem, True) for problem in dangling_rows(connection))
        reader = Reader(folder, connection)
        for space in reader.spaces():
            yield from verify_files(reader, space)
            missing = len(reader.missing(space))
            if missing and space == reader.active_space():
                yield Finding(
                    DATABASE,
                    f"{missing} images have no vector in space '{space.encoder}'; `curator index` makes them",
                    False,
                )
    if deep:
        with Index(folder) as index:
            yield from _reencode(index)


def repair(folder: Path, *, step: Callable[[str], None] = lambda _: None, job: Job = QUIET) -> list[str]:
    """Save every sound row into a fresh database and write new FAISS files → what was done, in words.

    The damaged database is kept beside as `index.damaged-DATE.db`. Images that lost a row come back with `curator
    index`. A kill or a full disk leaves the damaged database where it was, and the same command begins again. Raises
    `NoIndex`, `IndexFull`, or `IndexLocked` while another process writes.
    """
    done = []
    _refuse_nothing(folder)
    with take_lock(folder, name=ALONE), take_lock(folder) as lock:
        shutil.rmtree(folder / _BESIDE, ignore_errors=True)  # of a repair that was killed
        with _unchecked(folder, "rw") as connection:
            is_damaged = bool(damaged_rows(connection, folder)) or not is_born(folder)
            take_over_log(connection)
        if is_damaged:
            done.append(_save_rows(folder, step))
        db = Writer.open(folder, lock=lock)
        try:
            shutil.rmtree(folder / "vectors", ignore_errors=True)
            with Index(folder) as index:
                for space in db.spaces():
                    index.rebuild(db, space, job=job)
                    done.append(f"FAISS files of space '{space.encoder}' written again")
        finally:
            db.close()
    return done


def _save_rows(folder: Path, step: Callable[[str], None]) -> str:
    """Salvage into a folder beside, keep the damaged file, then put the new one in its place."""
    beside = folder / _BESIDE
    beside.mkdir()
    try:
        with Writer.open(beside) as db:
            salvaged = salvage(db, folder / DATABASE)
        step("rows saved")
        damaged = folder / f"index.damaged-{datetime.now():%Y%m%d-%H%M%S-%f}.db"
        for file in folder.glob(f"{DATABASE}-*"):  # a log that SQLite could not take over belongs to the damaged one
            os.replace(file, damaged.with_name(damaged.name + file.name.removeprefix(DATABASE)))
        _keep_copy(folder / DATABASE, damaged)
        step("damaged file kept")
        os.replace(beside / DATABASE, folder / DATABASE)
        step("database replaced")
    except OSError as error:
        raise IndexFull(f"cannot write to {folder}: {error.strerror}; make room and run again") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return f"{salvaged} in {damaged.name}; run `curator index` to read their images again"


def _keep_copy(file: Path, copy: Path) -> None:
    try:
        os.link(file, copy)  # takes no room
    except OSError:
        with whole(copy) as beside:
            shutil.copy2(file, beside)


def backup(folder: Path, target: Path | None = None) -> Path:
    """A consistent copy of the database, taken while others may write → its path.

    Raises `IndexExists` for a taken name.
    """
    target = target or folder / "backups" / f"index-{datetime.now():%Y%m%d-%H%M%S}.db"
    if target.exists():
        raise IndexExists(f"{target} is there already; name another file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Reader.open(folder) as reader, whole(target) as beside:
            reader.copy_to(beside)
    except OSError as error:
        raise IndexFull(f"cannot write {target}: {error.strerror}; make room, or name another place") from error
    return target


def _refuse_nothing(folder: Path) -> None:
    file = folder / DATABASE
    if not file.is_file() or not file.stat().st_size:
        raise NoIndex(f"no index at {folder}; make one with `curator index FOLDER`")


@contextlib.contextmanager
def _unchecked(folder: Path, mode: str = "ro") -> Iterator[Any]:
    """The database as it is. Raises `NoIndex` where there is nothing in it."""
    with contextlib.closing(open_raw(folder, mode)) as connection:
        if not has_tables(connection, folder) and not is_born(folder):
            raise NoIndex(f"no index at {folder}; make one with `curator index FOLDER`")
        refuse_newer(connection, folder)
        yield connection


def _reencode(index: Index) -> Iterator[Finding]:
    ids = np.random.default_rng(0).permutation(index.reader.ids_where("1"))
    for image in index.images(ids[:_SAMPLE]):
        problem = _difference(index, image)
        if problem:
            yield Finding(str(image.path), problem, False)


def _difference(index: Index, image: Image) -> str | None:
    """What keeps an image's file from encoding to its stored vector."""
    try:
        decoded = decode(read_bytes(image.path), side=index.encoder.side)
    except PictureError as error:
        return f"{error}; `curator index` notes it"
    if decoded.content.sha256.hex() != image.sha256:
        return "has changed since it was indexed; run `curator index`"
    again = index.encoder.encode_images([decoded.picture]).ravel()
    cosine = float(again @ index.vector_of_id(image.id))
    return f"encodes to another vector than the stored one (cosine {cosine:.4f})" if cosine < _SAME else None
