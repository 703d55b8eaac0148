"""Files that must not have changed: SHA-256, computed once per state of the file.

A file's state is its size, mtime and ctime; any write through the file system changes one of them, and then the bytes
are read again. Decay of the medium itself is found by `forget`, then `problem_in`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

VERIFIED = "verified.json"


def sha256_of(file: Path) -> str:
    """Hex SHA-256 of a whole file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digest_of(hashes: Sequence[bytes]) -> str:
    """Hex SHA-256 of an ordered list of digests: a selection's identity."""
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def problem_in(folder: Path, expected: Mapping[str, str]) -> str | None:
    """What is wrong with the files that should have these checksums, or None."""
    if _remembered(folder) == _state(folder, expected):
        return None
    for name, checksum in expected.items():
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
        if sha256_of(folder / name) != checksum:
            return f"{folder / name} has changed since it was written"
    remember(folder, expected)
    return None


def remember(folder: Path, names: Iterable[str]) -> None:
    """Note that the files are right as they are now. A folder that cannot be written is simply checked each time."""
    with contextlib.suppress(OSError):
        beside = folder / f".{VERIFIED}.{os.getpid()}"
        beside.write_text(json.dumps(_state(folder, names)))
        os.replace(beside, folder / VERIFIED)


def forget(folder: Path) -> None:
    """Let the next check read every byte."""
    with contextlib.suppress(OSError):
        (folder / VERIFIED).unlink()


def _remembered(folder: Path) -> object:
    try:
        return json.loads((folder / VERIFIED).read_text())
    except (OSError, ValueError):
        return None


def _state(folder: Path, names: Iterable[str]) -> dict[str, list[int]]:
    try:
        stats = {name: (folder / name).stat() for name in names}
    except OSError:
        return {}
    return {name: [s.st_size, s.st_mtime_ns, s.st_ctime_ns] for name, s in stats.items()}
