"""Walk a folder for picture files: recursive, sorted, safe against symlink loops and unreadable folders."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from curator.errors import RootMissing
from curator.files import read_start
from curator.images.raw import RAW_SUFFIXES
from curator.job import QUIET, Job
from curator.records import INDEX_MARK, ImageFile, Skipped

SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp",
    ".dib", ".tif", ".tiff", ".avif", ".avifs", ".ppm", ".pgm", ".pbm", ".pnm", ".heic",
    ".heif", ".jp2", ".j2k", ".jpx", ".jpf", ".tga", ".ico", ".psd", ".jxl",
]) | RAW_SUFFIXES  # fmt: skip
_JPEG = (".jpg", ".jpeg")  # what a camera writes beside a RAW file
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "manifest.jsonl", "dataset.json")
SIDECARS = frozenset([".txt", ".caption", ".json", ".csv", ".jsonl", ".parquet", ".xmp"])
_BESIDE = (".txt", ".caption", ".json", ".xmp")  # of one picture
# Names that say nothing of what is inside, or that a web page has added to: `photo.jpg?w=300`, `.jpg_large`.
_MUTE = re.compile(
    r"(^[^.]+|\.(img|bin|tmp|dat|orig|download)|\.(jpe?g|png|webp|gif|bmp|tiff?|avif)[^a-z0-9.].*)$", re.IGNORECASE
)
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"8BPS")
_MAGIC_AT_8 = (b"WEBP", b"avif", b"heic", b"heix", b"mif1")
_SYSTEM = frozenset(
    {"@eadir", "__macosx", "$recycle.bin", "#recycle", "system volume information", "lost+found", "__pycache__"}
)


@dataclass
class Walk:
    """What a walk saw. Paths are relative to the root, with `/`; `unreadable` are folders whose content is unknown."""

    images: list[ImageFile] = field(default_factory=list)
    sidecars: list[str] = field(default_factory=list)
    unreadable: list[Skipped] = field(default_factory=list)
    broken: list[Skipped] = field(default_factory=list)
    excluded: int = 0
    passed: Counter[str] = field(default_factory=Counter)  # files that are no pictures, by their extension
    beside: int = 0  # camera RAW files whose picture is here as a JPEG too

    def remarks(self) -> tuple[str, ...]:
        """What was passed over, in words."""
        raw = (f"camera RAW files beside a JPEG of that name, which is read instead: {self.beside}",)
        return (raw if self.beside else ()) + self._passed_over()

    def _passed_over(self) -> tuple[str, ...]:
        if not self.passed:
            return ()
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.passed.most_common(8))
        more = f", and {len(self.passed) - 8} more kinds" if len(self.passed) > 8 else ""
        return (f"files that are not read as pictures: {self.passed.total()} ({kinds}{more})",)

    def was_seen(self, path: str) -> bool:
        """Whether the walk could look where this path was: what it could not see is not gone."""
        if any(s.path == path for s in self.broken):
            return False
        return not any(not s.path or path.startswith(s.path + "/") for s in self.unreadable)


def walk(root: Path, *, exclude: Sequence[str] = (), under: str = "", job: Job = QUIET) -> Walk:
    """Find every picture file below `root/under`, sorted by path.

    Hidden and system folders, and index folders of curator's own, are passed over; linked folders are followed, each
    real folder once. `exclude` holds globs matched against the path below the root, against each part of it, and
    against folders. Raises `RootMissing` when the starting point itself cannot be listed.
    """
    walked = Walk()
    seen: set[tuple[int, int]] = set()
    start = root / under if under else root
    try:
        os.scandir(start).close()
    except OSError as error:
        raise RootMissing(f"cannot list {start}: {error.strerror}; nothing was changed for it") from error
    real: list[str] = [under]
    linked: list[str] = []
    while real or linked:
        job.check()
        folder = real.pop() if real else linked.pop(0)
        if not _first_visit(root / folder, seen, walked, folder):
            continue
        for kind, path in _list(root, folder, exclude, walked):
            (linked if kind == "link" else real).append(path)
    walked.sidecars += _metadata_above(root, under)
    walked.images.sort(key=lambda f: f.path)
    walked.sidecars.sort()
    return walked


def walk_files(root: Path, paths: Sequence[str]) -> Walk:
    """The same for single files below the root, with the side-cars that may speak of them."""
    walked = Walk()
    sidecars: set[str] = set()
    for path in sorted(set(paths)):
        try:
            stat = (root / path).stat()
            walked.images.append(ImageFile(path, stat.st_size, stat.st_mtime_ns))
        except FileNotFoundError:
            continue
        except OSError as error:
            walked.broken.append(Skipped(path, f"cannot be opened: {error.strerror}"))
        beside = {f"{stem}{suffix}" for stem in (path, path.rpartition(".")[0]) for suffix in _BESIDE}
        sidecars |= {sidecar for sidecar in beside if (root / sidecar).is_file()}
        sidecars |= set(_metadata_above(root, path))
    walked.sidecars = sorted(sidecars)
    return walked


def absolute(path: Path) -> Path:
    """Without `~`, `.` and `..`: the one form in which paths are stored and compared. Links stay links."""
    return Path(os.path.normpath(path.expanduser().absolute()))


def _metadata_above(root: Path, under: str) -> Iterator[str]:
    """`metadata.csv` and `.jsonl` of the folders between the root and `under`."""
    folder = under
    while folder:
        folder = folder.rpartition("/")[0]
        for name in METADATA:
            path = f"{folder}/{name}" if folder else name
            if (root / path).is_file():
                yield path


def _is_index(folder: Path) -> bool:
    """Whether a folder is an index of curator's own."""
    try:
        return read_start(folder / "index.db", 72)[68:] == INDEX_MARK
    except OSError:
        return False


def _list(root: Path, folder: str, exclude: Sequence[str], found: Walk) -> list[tuple[str, str]]:
    folders: list[tuple[str, str]] = []
    try:
        entries = sorted(os.scandir(root / folder if folder else root), key=lambda e: e.name)
    except OSError as error:
        found.unreadable.append(Skipped(folder, f"folder cannot be listed: {error.strerror}"))
        return folders
    if _is_index(root / folder):
        return folders
    for entry, path in _admitted(entries, folder, exclude, found):
        suffix = os.path.splitext(entry.name)[1].lower()
        try:
            if entry.is_dir():
                folders.append(("link" if entry.is_symlink() else "real", path))
            elif suffix in SUFFIXES:
                stat = entry.stat()
                found.images.append(ImageFile(path, stat.st_size, stat.st_mtime_ns))
            elif suffix in SIDECARS:
                found.sidecars.append(path)
            elif entry.is_symlink() and not suffix and not (root / path).exists():
                found.unreadable.append(Skipped(path, "link leads nowhere"))
            elif _MUTE.search(entry.name) and _is_picture(root / path):
                stat = entry.stat()
                found.images.append(ImageFile(path, stat.st_size, stat.st_mtime_ns))
            elif entry.is_file():
                found.passed[suffix if 1 < len(suffix) <= 12 else "without extension"] += 1
        except OSError as error:
            if suffix in SUFFIXES:
                found.broken.append(Skipped(path, f"cannot be opened: {error.strerror}"))
    return folders


def _is_picture(path: Path) -> bool:
    """Whether a file begins as a picture does."""
    try:
        start = read_start(path, 16)
    except OSError:
        return False
    return start.startswith(_MAGIC) or start[8:12] in _MAGIC_AT_8


def _admitted(
    entries: list[os.DirEntry[str]], folder: str, exclude: Sequence[str], found: Walk
) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Entries with their paths below the root, but hidden ones, excluded ones, and RAW files beside their JPEG."""
    developed: set[str] = set()
    # JPEGs first, so that it is known which of them are read.
    for entry in sorted(entries, key=lambda e: not e.name.lower().endswith(_JPEG)):
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.startswith(".") or entry.name.lower() in _SYSTEM:
            continue
        if any(fnmatchcase(path, glob) or fnmatchcase(entry.name, glob.rstrip("/")) for glob in exclude):
            found.excluded += 1
            continue
        stem, suffix = os.path.splitext(entry.name.lower())
        with contextlib.suppress(OSError):
            if suffix in _JPEG and entry.is_file() and entry.stat().st_size:
                developed.add(stem)
        if suffix in RAW_SUFFIXES and stem in developed:
            found.beside += 1
            continue
        yield entry, path


def _first_visit(folder: Path, seen: set[tuple[int, int]], found: Walk, path: str) -> bool:
    try:
        stat = folder.stat()
    except OSError as error:
        found.unreadable.append(Skipped(path, f"folder cannot be read: {error.strerror}"))
        return False
    identity = (stat.st_dev, stat.st_ino)
    first = identity not in seen
    seen.add(identity)
    return first
