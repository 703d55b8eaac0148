"""Files written whole or not at all, and files that must not have changed: SHA-256, once per state of the file.

A file's state is its size, mtime and ctime; any write through the file system changes one of them, and then the bytes
are read again. Decay of the medium itself is found by `forget`, then `problem_in`.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from curator.errors import UsageError
from curator.texts import to_json

DATABASE = "index.db"  # of an index's folder
VERIFIED = "verified.json"
_CHUNK = 2**20  # bytes read at a time of what a file has grown by
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # errors of a disk or a quota without room
_HALF = re.compile(r"\.(.+)\.(\d+)(?:-\d+|\.part)(?:\.\w+)?")  # names that `whole` and exports write to first


def locate(name: str | Path | None = None) -> Path:
    """The folder of an index: a path if `name` looks like one, else `indexes/<name>` here or in a folder around here.

    Without a name it is `CURATOR_INDEX`, else `default`. An index that is nowhere yet belongs in `indexes/` here.
    """
    chosen = str(name or os.environ.get("CURATOR_INDEX") or "default")
    if os.sep in chosen or chosen.startswith((".", "~")) or (Path(chosen) / DATABASE).is_file():
        return Path(chosen).expanduser().absolute()
    current = Path.cwd()
    homes = (folder / "indexes" / chosen for folder in (current, *current.parents))
    return next((home for home in homes if (home / DATABASE).is_file()), current / "indexes" / chosen)


def as_stored(path: str) -> str | bytes:
    """A path for SQLite: text, or the raw bytes of a name that is not valid UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def as_path(stored: str | bytes) -> str:
    """The reverse of `as_stored`."""
    return os.fsdecode(stored) if isinstance(stored, bytes) else stored


def stored_order(path: str) -> tuple[bool, str | bytes]:
    """What paths are sorted by in a database: texts by their characters, and then the bytes."""
    stored = as_stored(path)
    return isinstance(stored, bytes), stored


def read_regular(path: Path, most: int) -> bytes:
    """A regular file of at most `most` bytes, whole.

    A named pipe would wait for ever and a device never end, so neither is read. Raises `OSError` with the reason.
    """
    data = read_start(path, most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"is larger than {most // 2**20} MiB")
    return data


def read_start(path: Path, count: int) -> bytes:
    """At most the first `count` bytes of a regular file. Raises `OSError`."""
    if "\0" in str(path):  # which Python answers with a `ValueError`
        raise OSError(errno.EINVAL, "no file's name has a NUL in it")
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        # Room is made for what is asked for, so no more is asked for than there is; what grows meanwhile comes after.
        data = opened.read(min(count, status.st_size + 1))
        while len(data) < count and (more := opened.read(min(count - len(data), _CHUNK))):
            data += more
        return data


@contextlib.contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to.

    It takes the target's place when the block ends well; else nothing is left. A link stays one, and the file it names
    is replaced; a device such as `/dev/null` is written to.
    """
    target = target.resolve()
    if target.exists() and not target.is_file():
        yield target
        return
    mark = f"{os.getpid()}-{threading.get_ident()}"
    beside = target.with_name(f".{target.stem}.{mark}{target.suffix}")  # the suffix says which format to write
    try:
        yield beside
        with contextlib.suppress(FileNotFoundError):
            beside.chmod(target.stat().st_mode)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def write_whole(target: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all; text as UTF-8."""
    with whole(target) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


def sweep(folder: Path, name: str = "") -> None:
    """Remove what killed processes left half-written: of one name, or all in a folder of ours."""
    for left in folder.glob(f".{glob.escape(name)}*"):
        half = _HALF.fullmatch(left.name)
        if half and name in ("", half[1]) and not _is_alive(int(half[2])):
            with contextlib.suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def by_age(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder, oldest first. Another process may be dropping some."""
    aged = []
    for file in folder.glob(pattern):
        with contextlib.suppress(OSError):
            aged.append((file.stat().st_mtime_ns, file))
    return [file for _, file in sorted(aged)]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def whole_for_user(target: Path) -> Iterator[Path]:
    """The same for a file that a person named. Raises `UsageError` where it cannot be written."""
    try:
        with whole(target) as beside:
            yield beside
    except OSError as error:
        way = "make room" if error.errno in FULL else "name a file in a folder that is there"
        raise UsageError(f"cannot write {target}: {error.strerror or error}; {way}") from error


@contextlib.contextmanager
def whole_folder_for_user(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, a new or empty one that a person named, whose place it takes when all went well.

    Else nothing is left; nor is what processes that were killed left there. Raises `UsageError` where it cannot be
    written.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    sweep(target.parent, target.name)
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        yield beside
        if target.exists():
            target.rmdir()
        os.replace(beside, target)
    except OSError as error:
        raise UsageError(
            f"cannot write {target}: {error.strerror or error}; name a new folder on a disk with room"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


# What reading a damaged file of arrays raises: a flipped byte may be in a header of NumPy's, or of the zip around it.
UNREADABLE = (
    OSError, EOFError, ValueError, KeyError, TypeError, NotImplementedError, RuntimeError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


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
        write_whole(folder / VERIFIED, to_json(_state(folder, names)))


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
