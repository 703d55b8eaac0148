"""`curator quarantine` and `restore`: move rejected files aside with a journal, and put them back byte for byte.

The journal is written before a file is moved, so that after a kill at any moment every file is either at its place or
in the quarantine, and the journal knows which. Nothing is ever overwritten, and there is no delete.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from curator.cleaning.journal import FOLDER, Move, known_in, read_moves, write_move
from curator.cleaning.moving import are_two_names, move_aside, move_back
from curator.database import Curation, Writer
from curator.database.curation import rejected_ids
from curator.errors import UsageError
from curator.files import sha256_of
from curator.images import absolute
from curator.index import Index
from curator.job import QUIET, Job
from curator.records import OF_NONE, Image


@dataclass(frozen=True)
class Report:
    """What was done, or would be: moves, and files left where they are with the reason."""

    moves: tuple[Move, ...]
    left: tuple[tuple[str, str], ...]


def quarantine(
    index: Index,
    *,
    to: Path | None = None,
    dry_run: bool = False,
    job: Job = QUIET,
) -> Report:
    """Move the files of rejected images aside.

    They go to `to`, a folder of the same file system, or to `.curator-quarantine` in their root. A file moves only if
    it and the one that is kept are, to the byte, what the index says; others are left, with the reason. Raises
    `UsageError` for a folder on another file system, `IndexLocked`.
    """
    with index.write() as db:
        if not dry_run:
            _finish(db, index)
        moves, left = _plan(db, to)
        if dry_run:
            return Report(tuple(moves), tuple(left))
        done: list[Move] = []
        for move in moves:
            job.check()
            problem = move_aside(move, index)
            if problem:
                left.append((move.path, problem))
                continue
            with db.atomic():
                db.remove([move.image_id], by_hand=False)
            index.step("image marked")
            done.append(move)
            job.progress(len(done), len(moves), "quarantine", unit="files")
    return Report(tuple(done), tuple(left))


def restore(
    index: Index,
    paths: Sequence[Path] = (),
    *,
    dry_run: bool = False,
    job: Job = QUIET,
) -> Report:
    """Put quarantined files back where they were: all, or those of these original paths.

    Their images return with id and tags. A place that is taken by another file is left alone, and so is a quarantined
    file that has changed; both are reported.
    """
    wanted = {str(absolute(p)) for p in paths}
    with index.write() as db:
        if not dry_run:
            _finish(db, index)
        open_ = [m for m in read_moves(db, index) if m.event != "restored" and (not wanted or m.path in wanted)]
        moves = [m for m in open_ if Path(m.moved_to).exists()]
        left = [
            (m.path, f"{m.moved_to} is not there any more")
            for m in open_
            if m not in moves and not Path(m.path).exists()
        ]
        strangers = _strangers(moves, db)
        left += [(m.path, strangers[m.moved_to]) for m in moves if m.moved_to in strangers]
        moves = [m for m in moves if m.moved_to not in strangers]
        left += [(path, "is not in quarantine") for path in sorted(wanted - {m.path for m in open_})]
        if dry_run:
            return Report(tuple(moves), tuple(left))
        done = []
        for move in moves:
            job.check()
            problem = move_back(move, index)
            if problem:
                left.append((move.path, problem))
                continue
            _mark_back(db, move)
            index.step("image marked back")
            write_move(index, replace(move, event="restored"))
            done.append(move)
            job.progress(len(done), len(moves), "restore", unit="files")
    return Report(tuple(done), tuple(left))


def _plan(db: Writer, to: Path | None) -> tuple[list[Move], list[tuple[str, str]]]:
    curation = Curation(db)
    # What was rejected by itself is no duplicate, so nothing would be left of it.
    rejected = {i: beside for i, beside in rejected_ids(curation).items() if beside != OF_NONE}
    images = {i.id: i for i in db.images(sorted(rejected))}
    there = curation.with_content(list(set(rejected.values())))
    keepers = {i.id: i for i in db.images(sorted({k for ids in there.values() for k in ids}))}
    roots = [r.path for r in db.roots()]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    reasons = {g.image_id: g.kind for g in curation.groups()}
    checked: dict[int, str] = {}  # keepers, each read once
    moves: dict[str, Move] = {}
    left: list[tuple[str, str]] = []
    for image_id, image in images.items():
        keeper = _kept_instead(image_id, rejected, there, keepers)
        if keeper is None:
            left.append((str(image.path), "what was kept beside it is not in the index any more, or rejected itself"))
            continue
        if keeper.id not in checked:
            checked[keeper.id] = _differs(keeper, "the image kept in its stead")
        root = next(r for r in db.roots() if image.path.is_relative_to(r.path))
        home = absolute(to) / root.path.name if to else root.path / FOLDER
        problem = (
            checked[keeper.id] or _differs(image) or _same_file(image.path, keeper.path) or _elsewhere(image.path, home)
        )
        if problem:
            left.append((str(image.path), problem))
            continue
        target = _target(image, root.path, home, roots, moves)
        reason = f"rejected; {reasons.get(image_id, 'decided')}"
        facts = (image.sha256, reason, str(keeper.path), keeper.sha256, image_id, now, root.id, str(root.path))
        moves[str(target)] = Move(str(home), str(image.path), str(target), *facts)
    return list(moves.values()), left


def _kept_instead(
    image_id: int, rejected: Mapping[int, bytes], there: Mapping[bytes, Sequence[int]], kept: Mapping[int, Image]
) -> Image | None:
    """The image that stays for a rejected one: what was kept beside it, or beside that if it was rejected later."""
    current, seen = image_id, {image_id}
    while current in rejected:
        beside = [k for k in there.get(rejected[current], ()) if k not in seen]
        if not beside:
            return None
        staying = [k for k in beside if k not in rejected]
        current = next((k for k in staying if kept[k].path.exists()), (staying or beside)[0])
        seen.add(current)
    return kept[current]


def _target(image: Image, root: Path, home: Path, roots: Sequence[Path], taken: Container[str]) -> Path:
    """A free place, and none of those `taken`. Raises `UsageError` where `home` would be indexed."""
    inside = next((r for r in roots if home.is_relative_to(r)), None)
    if inside is not None and not any(part.startswith(".") for part in home.relative_to(inside).parts):
        raise UsageError(
            f"{home} lies in the root {inside} and would be indexed again; name a folder outside, or one whose name "
            "begins with a dot"
        )
    place = home / image.path.relative_to(root)
    number = 1
    while os.path.lexists(place) or str(place) in taken:
        number += 1
        end = os.fsencode(f".{number}{image.path.suffix}")
        # A name has 255 bytes at most.
        place = place.with_name(os.fsdecode(os.fsencode(image.path.stem)[: 255 - len(end)] + end))
    return place


def _elsewhere(path: Path, home: Path) -> str:
    """Why a file cannot be renamed into the quarantine, or nothing."""
    existing = next(p for p in (home, *home.parents) if p.exists())
    same = existing.stat().st_dev == path.stat().st_dev
    return "" if same else f"{home} is on another file system; --to takes a folder on the same one"


def _same_file(path: Path, keeper: Path) -> str:
    """Why moving a file would move the one that is kept, or nothing: one folder may be reached in two ways."""
    is_same = path.resolve() == keeper.resolve() or (path.samefile(keeper) and path.stat().st_nlink == 1)
    return f"is the very file that is kept, reached as {keeper}" if is_same else ""


def _differs(image: Image, what: str = "the file") -> str:
    """Why a file is not what the index says, or nothing."""
    if image.path.is_symlink():
        return f"{what} is a symbolic link, which only leads to a picture ({image.path})"
    try:
        sha256 = sha256_of(image.path)
    except OSError as error:
        return f"{what} cannot be read: {error.strerror} ({image.path})"
    return (
        "" if sha256 == image.sha256 else f"{what} has changed since it was indexed ({image.path}); run `curator index`"
    )


def _strangers(moves: Sequence[Move], db: Writer) -> dict[str, str]:
    """Place of a file → why the journal is not believed about it: files go from a quarantine to a root, nowhere else.

    A quarantine is a folder that has this very move in a journal of its own.
    """
    roots, known_by = [r.path for r in db.roots()], cache(known_in)
    strangers = {}
    for move in moves:
        path, moved_to, home = Path(move.path), Path(move.moved_to), Path(move.home)
        plain = all(absolute(p) == p for p in (path, moved_to, home))
        root = next((r for r in roots if path.is_relative_to(r)), None)
        says = f"the journal says that {moved_to}"
        if not plain or root is None:
            strangers[move.moved_to] = f"{says} goes to {path}, which is in no folder of this index; it stays"
            continue
        known = (moved_to.name, path.relative_to(root).as_posix(), move.sha256)
        if not moved_to.is_relative_to(home) or known not in known_by(home):
            where = f"was put in quarantine in {home}, which knows nothing of it; it stays"
            strangers[move.moved_to] = f"{says} {where}"
    return strangers


def _finish(db: Writer, index: Index) -> None:
    """Bring files and rows into step after a kill: a file under both names keeps the one it was going from."""
    moves = read_moves(db, index)
    strangers = _strangers(moves, db)
    for move in moves:
        if move.moved_to in strangers:
            continue
        source, target = Path(move.path), Path(move.moved_to)
        if move.event != "restored" and are_two_names(source, target):
            target.unlink()
        if move.event == "quarantine" and target.exists() and not source.exists() and db.is_present(move.image_id):
            with db.atomic():
                db.remove([move.image_id], by_hand=False)
        if move.event == "restore" and source.exists() and not target.exists():
            _mark_back(db, move)
            write_move(index, replace(move, event="restored"))


def _mark_back(db: Writer, move: Move) -> None:
    """The image is present again, if its file is to the byte what it was; else `curator index` sees to it."""
    place = Path(move.path)
    if place.is_file() and sha256_of(place) == move.sha256:
        stat = place.stat()
        with db.atomic():
            db.put_back(move.image_id, stat.st_size, stat.st_mtime_ns)
