"""Walk a folder for picture files, recursively: safe against symlink loops and unreadable folders."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cmp_to_key
from pathlib import Path

from curator.errors import RootMissing
from curator.files import read_start
from curator.images.packed import ImageFiles
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


_LAST = 2**63 - 1  # nanoseconds


@dataclass
class Walk:
    """What a walk saw. Paths are relative to the root, with `/`; `unreadable` are folders whose content is unknown."""

    images: ImageFiles = field(default_factory=ImageFiles)
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
    """Find every picture file below `root/under`, in the order in which a database has their paths.

    Hidden and system folders, and index folders of curator's own, are passed over; linked folders are followed, each
    real folder once. `exclude` holds globs matched against the path below the root, against each part of it, and
    against folders. Raises `RootMissing` when the starting point itself cannot be listed.
    """
    start = root / under if under else root
    try:
        os.scandir(start).close()
    except OSError as error:
        raise RootMissing(f"cannot list {start}: {error.strerror}; nothing was changed for it") from error
    walking = _Walking(root, exclude, job, deque([under]))
    trees = []
    while walking.tops:
        trees.append(ImageFiles(walking.tree(walking.tops.popleft())))
        walking.line_up()
    walked = walking.walked
    walked.images = ImageFiles.merged(trees)
    walked.sidecars += _metadata_above(root, under)
    walked.sidecars.sort()
    return walked


def walk_files(root: Path, paths: Sequence[str]) -> Walk:
    """The same for single files below the root, with the side-cars that may speak of them."""
    walked = Walk()
    sidecars: set[str] = set()
    images = []
    for path in sorted(set(paths)):
        try:
            stat = (root / path).stat()
            images.append(_image_file(path, stat))
        except FileNotFoundError:
            continue
        except OSError as error:
            walked.broken.append(Skipped(path, f"cannot be opened: {error.strerror}"))
        beside = {f"{stem}{suffix}" for stem in (path, path.rpartition(".")[0]) for suffix in _BESIDE}
        sidecars |= {sidecar for sidecar in beside if (root / sidecar).is_file()}
        sidecars |= set(_metadata_above(root, path))
    walked.images, walked.sidecars = ImageFiles(images), sorted(sidecars)
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


@dataclass
class _Walking:
    """One walk: `tops` are the folders that it has still to enter, where it begins and where links lead to.

    A link's folder comes after every real one, so that a folder is known by its real path.
    """

    root: Path
    exclude: Sequence[str]
    job: Job
    tops: deque[str]
    walked: Walk = field(default_factory=Walk)
    seen: set[tuple[int, int]] = field(default_factory=set)
    links: list[tuple[str, str]] = field(default_factory=list)  # (folder, path) below the last of `tops`

    def tree(self, top: str) -> Iterator[ImageFile]:
        """The pictures below a folder and its real folders, in the order of their paths."""
        within = [self._entries(top)]
        while within:
            entry = next(within[-1], None)
            if entry is None:
                within.pop()
            elif isinstance(entry, str):
                within.append(self._entries(entry))
            else:
                yield entry

    def line_up(self) -> None:
        """Have the links that were met entered in their turn: of several to one folder the first gives it its path.

        A folder's come before those of its folders, and the last of its folders before the others: so it has been since
        version 1, and another order would give images other paths.
        """
        self.links.sort(key=lambda link: cmp_to_key(_folder_order)(link[0].split("/") if link[0] else []))
        self.tops.extend(path for _, path in self.links)
        self.links.clear()

    def _entries(self, folder: str) -> Iterator[ImageFile | str]:
        """What one folder holds: pictures, and real folders by path."""
        self.job.check()
        if not self._is_first_visit(folder):
            return iter(())
        return iter(sorted(self._list(folder), key=lambda e: f"{e}/" if isinstance(e, str) else e.path))

    def _list(self, folder: str) -> Iterator[ImageFile | str]:
        root, walked = self.root, self.walked
        try:
            entries = sorted(os.scandir(root / folder if folder else root), key=lambda e: e.name)
        except OSError as error:
            walked.unreadable.append(Skipped(folder, f"folder cannot be listed: {error.strerror}"))
            return
        if _is_index(root / folder):
            return
        for entry, path in _admitted(entries, folder, self.exclude, walked):
            suffix = os.path.splitext(entry.name)[1].lower()
            try:
                if entry.is_dir():
                    if entry.is_symlink():
                        self.links.append((folder, path))
                    else:
                        yield path
                elif suffix in SUFFIXES or (suffix not in SIDECARS and _is_mute_picture(root / path)):
                    yield _image_file(path, entry.stat())
                elif suffix in SIDECARS:
                    walked.sidecars.append(path)
                elif entry.is_symlink() and not suffix and not (root / path).exists():
                    walked.unreadable.append(Skipped(path, "link leads nowhere"))
                elif entry.is_file():
                    walked.passed[suffix if 1 < len(suffix) <= 12 else "without extension"] += 1
            except OSError as error:
                if suffix in SUFFIXES:
                    walked.broken.append(Skipped(path, f"cannot be opened: {error.strerror}"))

    def _is_first_visit(self, folder: str) -> bool:
        try:
            stat = (self.root / folder).stat()
        except OSError as error:
            self.walked.unreadable.append(Skipped(folder, f"folder cannot be read: {error.strerror}"))
            return False
        identity = (stat.st_dev, stat.st_ino)
        is_first = identity not in self.seen
        self.seen.add(identity)
        return is_first


def _folder_order(a: list[str], b: list[str]) -> int:
    """Below 0 where folder `a` comes before `b`: what is around another first, and else the greater name."""
    for one_name, other_name in zip(a, b, strict=False):
        if one_name != other_name:
            return -1 if one_name > other_name else 1
    return len(a) - len(b)


def _image_file(path: str, stat: os.stat_result) -> ImageFile:
    """A time beyond the 64 bits of a database (the year 2262) is its last one: it only has to stay the same."""
    return ImageFile(path, stat.st_size, max(-_LAST, min(stat.st_mtime_ns, _LAST)))


def _is_mute_picture(path: Path) -> bool:
    """Whether a file begins as a picture does whose name does not say what it is."""
    if not _MUTE.search(path.name):
        return False
    try:
        start = read_start(path, 16)
    except OSError:
        return False
    return start.startswith(_MAGIC) or start[8:12] in _MAGIC_AT_8


def _admitted(
    entries: list[os.DirEntry[str]], folder: str, exclude: Sequence[str], walked: Walk
) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Entries with their paths below the root, but hidden ones, excluded ones, and RAW files beside their JPEG."""
    developed: set[str] = set()
    # JPEGs first, so that it is known which of them are read.
    for entry in sorted(entries, key=lambda e: not e.name.lower().endswith(_JPEG)):
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name.startswith(".") or entry.name.lower() in _SYSTEM:
            continue
        if any(fnmatchcase(path, glob) or fnmatchcase(entry.name, glob.rstrip("/")) for glob in exclude):
            walked.excluded += 1
            continue
        stem, suffix = os.path.splitext(entry.name.lower())
        with contextlib.suppress(OSError):
            if suffix in _JPEG and entry.is_file() and entry.stat().st_size:
                developed.add(stem)
        if suffix in RAW_SUFFIXES and stem in developed:
            walked.beside += 1
            continue
        yield entry, path
