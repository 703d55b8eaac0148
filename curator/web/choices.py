"""Images that somebody chose, where they are too many for an address: kept in the index's folder for thirty days."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from pathlib import Path

import numpy as np

from curator.errors import UnknownName, UsageError
from curator.files import UNREADABLE, sweep, whole
from curator.records import Ids

_DAYS = 30
_MOST = 100_000  # ids; a condition on more is too long for SQLite
_NAME = re.compile(r"[0-9a-f]{16}")


def put_choice(folder: Path, ids: Ids) -> str:
    """Keep ids → the name under which `read_choice` finds them. Raises `UsageError` for too many."""
    if len(ids) > _MOST:
        raise UsageError(
            f"at most {_MOST:,} images can be chosen at once, not {len(ids):,}; a selection takes any number"
        )
    ordered = np.unique(np.asarray(ids, np.int64))
    name = hashlib.sha256(ordered.tobytes()).hexdigest()[:16]
    home = folder / "choices"
    home.mkdir(exist_ok=True)
    with whole(home / f"{name}.npy") as beside, beside.open("wb") as out:
        np.save(out, ordered)
    sweep(home)
    for file in home.glob("*.npy"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > _DAYS * 86_400:
                file.unlink()
    return name


def read_choice(folder: Path, name: str) -> tuple[int, ...]:
    """The ids. Raises `UnknownName` where they were kept too long ago."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name[:40]}' names no choice of images")
    try:
        ids = np.load(folder / "choices" / f"{name}.npy", allow_pickle=False)
        return tuple(np.asarray(ids, np.int64).ravel().tolist())
    except UNREADABLE as error:
        raise UnknownName(f"the choice {name} is not kept any more; choose the images again") from error
