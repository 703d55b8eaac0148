"""Moving one file into the quarantine or out of it: journalled first, never over another, never what has changed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from curator.cleaning.journal import Move, write_move
from curator.files import sha256_of
from curator.index import Index


def move_aside(move: Move, index: Index) -> str:
    """Look once more, journal, then move → the problem, or nothing.

    A file that someone writes to in the very moment of its move goes back at once.
    """
    source, target = Path(move.path), Path(move.moved_to)
    try:
        if sha256_of(Path(move.keeper)) != move.keeper_sha256:
            return f"the image kept in its stead has changed ({move.keeper})"
        before = _state_of(source)
        if sha256_of(source) != move.sha256:
            return f"the file has changed meanwhile ({source}); run `curator index`"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_move(index, move)
        index.step("move journalled")
        _move_file(source, target)
        if _state_of(target) != before and sha256_of(target) != move.sha256:
            write_move(index, replace(move, event="restore"))
            _move_file(target, source)
            write_move(index, replace(move, event="restored"))
            return f"the file changed while it was moved, and is at its place again ({source})"
    except OSError as error:
        return f"cannot be moved: {error.strerror}"
    index.step("file moved")
    return ""


def _state_of(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def move_back(move: Move, index: Index) -> str:
    """Journal, then put a file back where it was → the problem, or nothing."""
    source, place = Path(move.moved_to), Path(move.path)
    try:
        if sha256_of(source) != move.sha256:
            return f"{source} is not what was put there; it stays"
        if place.exists() or place.is_symlink():
            return f"its place is taken; the file stays in {source}"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_move(index, replace(move, event="restore"))
        _move_file(source, place)
    except OSError as error:
        return f"cannot be moved back: {error.strerror}"
    index.step("file moved back")
    return ""


def _move_file(source: Path, target: Path) -> None:
    """Rename without ever overwriting.

    A hard link comes first, where the file system has them, and then the old name goes.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        if target.exists():
            raise FileExistsError(17, "its place is taken") from None
        source.rename(target)
    else:
        source.unlink()
    for folder in {source.parent, target.parent}:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def are_two_names(source: Path, target: Path) -> bool:
    """Whether a move was cut between making the new name and dropping the old.

    Then both are hard links to one file; one that leads to the other is something else.
    """
    if source.is_symlink() or target.is_symlink() or not (source.exists() and target.exists()):
        return False
    return source.samefile(target) and source.stat().st_nlink > 1 and source.resolve() != target.resolve()
