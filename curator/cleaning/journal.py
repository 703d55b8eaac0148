"""The journal of quarantined files.

A line is written before its file moves, in the index and beside the files, and never rewritten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from curator.database import Reader
from curator.files import read_regular
from curator.index import Index
from curator.texts import to_json

_MOST = 2**30  # bytes of a journal
FOLDER, JOURNAL = ".curator-quarantine", "journal.jsonl"  # the name is hidden, so that scans pass over it


@dataclass(frozen=True)
class Move:
    """One line of the journal: where a file was, where it is, what it is, and the image kept in its stead."""

    home: str
    path: str
    moved_to: str
    sha256: str
    reason: str
    keeper: str
    keeper_sha256: str
    image_id: int
    at: str
    root_id: int
    root: str
    event: str = "quarantine"  # then "restore" before it is put back, and "restored" after


def write_move(index: Index, move: Move) -> None:
    """A line in the index's journal, which counts, and one beside the files, for people."""
    for folder in (index.folder, Path(move.home)):
        with (folder / JOURNAL).open("a", encoding="utf-8", errors="surrogateescape") as out:
            out.write("\n" if out.tell() and not _ends_whole(folder / JOURNAL) else "")
            out.write(to_json(asdict(move), sort_keys=True) + "\n")
            out.flush()
            os.fsync(out.fileno())


def _ends_whole(path: Path) -> bool:
    """Whether the last line was written to its end: a kill may have torn it."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read_moves(db: Reader, index: Index) -> list[Move]:
    """The last event of every file that was ever moved, by where it lies, at the places where moved roots are now."""
    roots = {r.id: r.path for r in db.roots()}
    return [_placed(m, roots) for m in {m.moved_to: m for m in _read_journal(index)}.values()]


def _placed(move: Move, roots: Mapping[int, Path]) -> Move:
    """The move with its paths below the place where its root is now."""
    old, new = Path(move.root), roots.get(move.root_id)
    if new is None or new == old:
        return move

    def now(path: str) -> str:
        return str(new / Path(path).relative_to(old)) if Path(path).is_relative_to(old) else path

    return replace(move, home=now(move.home), path=now(move.path), moved_to=now(move.moved_to))


def _read_journal(index: Index) -> Iterator[Move]:
    """Every line that was written to its end: a torn last one was never acted upon."""
    return _moves_in(index.folder / JOURNAL)


def known_in(home: Path) -> set[tuple[str, str, str]]:
    """What the journal of a quarantine itself says: (name there, path below its root, sha256) of every move."""
    moves = [m for m in _moves_in(home / JOURNAL) if Path(m.path).is_relative_to(m.root)]
    return {(Path(m.moved_to).name, Path(m.path).relative_to(m.root).as_posix(), m.sha256) for m in moves}


def _moves_in(journal: Path) -> Iterator[Move]:
    try:
        text = read_regular(journal, _MOST).decode("utf-8", "surrogateescape")
    except OSError:
        return
    for line in text.split("\n"):
        try:
            move = Move(**json.loads(line))
        except (ValueError, TypeError, RecursionError):
            continue
        is_typed = all(isinstance(v, int if k in ("image_id", "root_id") else str) for k, v in asdict(move).items())
        if not is_typed or not all(0 < i < 2**63 for i in (move.image_id, move.root_id)):
            continue
        if all(map(_is_path, (move.home, move.path, move.moved_to, move.keeper, move.root))):
            yield move


def _is_path(text: str) -> bool:
    """Whether a file can be called so: absolute, without NUL, and no part longer than 255 bytes."""
    try:
        parts = os.fsencode(text).split(b"/")
    except UnicodeEncodeError:
        return False
    return text.startswith("/") and "\0" not in text and all(len(part) <= 255 for part in parts) and len(text) < 4096
