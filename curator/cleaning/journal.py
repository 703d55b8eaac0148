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


def named_in(home: Path) -> set[str]:
    """Names of the files that the journal of a quarantine itself speaks of."""
    return {Path(move.moved_to).name for move in _moves_in(home / JOURNAL)}


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
        if all(isinstance(v, int if k in ("image_id", "root_id") else str) for k, v in asdict(move).items()):
            yield move
