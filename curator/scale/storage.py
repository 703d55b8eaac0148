"""Files of a set and of its source, on any storage that fsspec knows. The only module with `fsspec`."""

from __future__ import annotations

import errno
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from curator.errors import NoSet, ScaleProblem, SetFull, UsageError
from curator.files import FULL, read_regular, write_whole
from curator.images import MAX_BYTES
from curator.registry import extra

T = TypeVar("T")
_TRIES, _FIRST_WAIT = 3, 0.5  # of one storage call, and seconds before the second; each further one waits four times
_SECRET = re.compile(
    r"[?&](x-amz-signature|x-amz-credential|x-goog-signature|signature|sig|token|awsaccesskeyid)=", re.I
)
_USER = re.compile(r"^[a-z0-9+.-]+://[^/@]*:[^/@]*@", re.I)
_SHOWN = ("s3", "s3a", "gs", "gcs", "az", "abfs")  # storages that a page fetches pictures from
_ESCAPED = re.compile("%3A|%25")
_CHAINED = re.compile(r"^tar://(?P<member>.+?)::(?P<tar>.+)$")


class StorageError(ScaleProblem):
    """The storage did not answer as it should: not the fault of any picture."""


class Storage:
    """The files below one place: a folder, or a URL such as `s3://bucket/set`. Names are relative, with `/`.

    Its credentials are the machine's own, as the storage's library finds them: none is ever part of a URL here.
    """

    def __init__(self, place: str) -> None:
        self.place = checked(place.rstrip("/") or "/")
        self.is_local = "://" not in self.place

    @cached_property
    def _at(self) -> tuple[Any, str]:
        if self.is_local:
            self.place = os.path.normpath(Path(self.place).expanduser().absolute())
        return file_system(self.place)

    def __reduce__(self) -> tuple[type[Storage], tuple[str]]:
        """Only the place travels between processes."""
        return Storage, (self.place,)

    def path(self, name: str) -> str:
        """The storage's own path of a file."""
        return f"{self._at[1].rstrip('/')}/{name}" if name else self._at[1]

    def read(self, name: str) -> bytes:
        """A whole file. Raises `FileNotFoundError`, `StorageError`."""
        fs = self._at[0]
        return bytes(insistently(lambda: fs.cat_file(self.path(name)), name))

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """Whole small files; those that are not there are left out."""
        paths = {self.path(name): name for name in names}
        if not paths:
            return {}
        fs = self._at[0]
        answer = insistently(lambda: fs.cat(list(paths), on_error="return"), "several files")
        blobs = {paths[p]: data for p, data in answer.items() if p in paths}
        for name, data in blobs.items():
            if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                raise StorageError(f"{self.place}/{name} cannot be read: {_reason(data)}") from data
        return {name: bytes(data) for name, data in blobs.items() if not isinstance(data, Exception)}

    def open(self, name: str) -> BinaryIO:
        """A file to read from, seekable. Raises `FileNotFoundError`, `StorageError`."""
        fs = self._at[0]
        opened: BinaryIO = insistently(lambda: fs.open(self.path(name), "rb"), name)
        return opened

    def put(self, name: str, data: bytes | str) -> None:
        """Write a file whole: it is there as it should be, or not at all. Raises `SetFull`, `StorageError`."""
        content = data.encode() if isinstance(data, str) else data
        try:
            if self.is_local:
                target = Path(self.path(name))
                target.parent.mkdir(parents=True, exist_ok=True)
                write_whole(target, content)
            else:
                fs = self._at[0]
                insistently(lambda: fs.pipe_file(self.path(name), content), name)
        except OSError as error:
            if error.errno in FULL:
                raise SetFull(f"{self.place} is full, so {name} was not written; make room and run it again") from error
            raise StorageError(f"{self.place}/{name} cannot be written: {_reason(error)}") from error

    def size(self, name: str) -> int | None:
        """Bytes of one file; None where it is not there."""
        fs = self._at[0]
        try:
            return int(insistently(lambda: fs.info(self.path(name)), name)["size"])
        except FileNotFoundError:
            return None

    def mark(self, name: str) -> str:
        """What is another as soon as a file is written anew; "" where there is none."""
        return mark_of(self.infos(name.rpartition("/")[0]).get(name.rpartition("/")[2], {}))

    def sizes(self, folder: str) -> dict[str, int]:
        """Name within the folder → bytes, of the files in it; none for a folder that is not there."""
        return {name: int(info.get("size") or 0) for name, info in self.infos(folder).items()}

    def infos(self, folder: str) -> dict[str, Mapping[str, Any]]:
        """Name within the folder → what the storage says of the file."""
        fs = self._at[0]
        try:
            listed = insistently(lambda: fs.ls(self.path(folder), detail=True, refresh=True), folder)
        except FileNotFoundError:
            return {}
        except TypeError:  # a file system that keeps no listings
            listed = fs.ls(self.path(folder), detail=True)
        return {str(i["name"]).rpartition("/")[2]: i for i in listed if i["type"] == "file"}

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, sorted."""
        fs = self._at[0]
        try:
            listed = insistently(lambda: fs.ls(self.path(folder), detail=True), folder)
        except FileNotFoundError:
            return []
        return sorted(str(i["name"]).rstrip("/").rpartition("/")[2] for i in listed if i["type"] == "directory")

    def remove(self, name: str) -> None:
        """Remove one file, if it is there."""
        fs = self._at[0]
        try:
            insistently(lambda: fs.rm_file(self.path(name)), name)
        except FileNotFoundError:
            return

    def require(self, name: str) -> bytes:
        """A file without which this is no set. Raises `NoSet`."""
        try:
            return self.read(name)
        except FileNotFoundError as error:
            raise NoSet(
                f"there is no set at {self.place}; `curator scale plan SOURCE {self.place}` makes one"
            ) from error


def mark_of(info: Mapping[str, Any]) -> str:
    """Of what a storage says of a file: its size, and its tag or time."""
    marks = (info.get(k) for k in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created"))
    return f"{int(info.get('size') or 0)}-{next((str(m) for m in marks if m), '')}"


def written_at(info: Mapping[str, Any]) -> float:
    """When a file was written, in seconds, of what a storage says of it; infinity where it does not say."""
    times = (info.get(k) for k in ("LastModified", "mtime", "created"))
    written = next((t for t in times if t), None)
    if isinstance(written, datetime):
        return written.timestamp()
    return float(written) if isinstance(written, int | float) else math.inf


def file_system(place: str) -> tuple[Any, str]:
    """fsspec's file system and path of a place. Raises `ExtraMissing` for a storage whose library is not here."""
    core = extra("fsspec.core", "scale")
    try:
        return core.url_to_fs(place)  # type: ignore[no-any-return]
    except ImportError as error:
        scheme = place.partition("://")[0]
        name = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}.get(scheme)
        how = f"pip install 'image-curator[{name}]'" if name else f"install fsspec's library for {scheme}://"
        raise UsageError(f"{place} needs a library that is not here: {how} ({error})") from error
    except ValueError as error:
        raise UsageError(f"{place} names no storage: {error}") from error


def checked(place: str) -> str:
    """A place that may be written down. Raises `UsageError` for one that carries a secret, or is a web page's."""
    if _SECRET.search(place) or _USER.match(place):
        raise UsageError(
            "a URL with a key or a signature in it would be written into the plan; take the plain URL, and give "
            "credentials to the machine (environment, or the storage's own configuration)"
        )
    if place.startswith(("http://", "https://")):
        raise UsageError(
            f"{place[:80]} is on the web; fetch it with img2dataset, whose tar shards `curator scale plan` reads"
        )
    return place


def read_uri(uri: str, *, most: int = MAX_BYTES) -> bytes:
    """The bytes of one picture, wherever it is. Raises `FileNotFoundError`, `StorageError`, or a local `OSError`.

    One of more than `most` bytes is such an error.
    """
    chained = tar_of(uri)
    if chained:
        (data,) = members_of(chained[0], {chained[1]}, most=most).values()
        return data
    if "://" not in uri:
        return read_regular(Path(uri), most)
    fs, path = file_system(uri)
    size = int(insistently(lambda: fs.info(path), uri).get("size") or 0)
    if size > most:
        raise OSError(errno.EFBIG, f"larger than {most // 2**20} MiB", uri)
    return bytes(insistently(lambda: fs.cat_file(path), uri))


def read_shown(uri: str) -> bytes:
    """The bytes of a picture that a service names, from this machine's disks or object storage, and nowhere else.

    Raises `UsageError`, and what `read_uri` raises.
    """
    place = (tar_of(uri) or (uri,))[0]
    scheme, is_url, _ = place.partition("://")
    if is_url and (scheme not in _SHOWN or "::" in place):
        raise UsageError(f"{place[:80]} is neither a file nor in object storage, and is not fetched")
    if place != uri and not place.endswith(".tar"):
        raise UsageError(f"{place[:80]} would have to be unpacked to its end, and is not")
    return read_uri(uri)


def members_of(tar: str, wanted: set[str], *, most: int = MAX_BYTES) -> dict[str, bytes]:
    """Several members of a tar, read once from its beginning.

    Raises `FileNotFoundError` for one that is not in it, and `OSError` for one of more than `most` bytes.
    """
    import tarfile

    contents: dict[str, bytes] = {}
    with open_uri(tar) as opened, tarfile.open(fileobj=opened, mode="r|*") as archive:
        for member in archive:
            if member.name in wanted and member.size > most:
                raise OSError(errno.EFBIG, f"{member.name} is larger than {most // 2**20} MiB", tar)
            if member.name in wanted and (data := archive.extractfile(member)) is not None:
                contents[member.name] = data.read()
                if len(contents) == len(wanted):
                    break
    missing = sorted(wanted - contents.keys())
    if missing:
        raise FileNotFoundError(errno.ENOENT, f"{missing[0]} is not in it", tar)
    return contents


def member_uri(tar: str, member: str) -> str:
    """How fsspec names a file within a tar; a name that holds what ends it is written as in a URL."""
    if "::" in member or member.endswith(":") or _ESCAPED.search(member):
        member = member.replace("%", "%25").replace(":", "%3A")
    return f"tar://{member}::{tar}"


def tar_of(uri: str) -> tuple[str, str] | None:
    """(tar, member) of a picture that lies in one; None for a file."""
    chained = _CHAINED.match(uri)
    if chained is None:
        return None
    member = chained["member"]
    return chained["tar"], member.replace("%3A", ":").replace("%25", "%") if _ESCAPED.search(member) else member


def open_uri(uri: str) -> BinaryIO:
    """A file to read from. Raises `FileNotFoundError`, `StorageError`."""
    if "://" not in uri:
        return Path(uri).open("rb")
    fs, path = file_system(uri)
    opened: BinaryIO = insistently(lambda: fs.open(path, "rb"), uri)
    return opened


def insistently(do: Callable[[], T], what: str) -> T:
    """Ask a storage up to three times. A file that is not there, a full disk and a refusal are answers.

    Raises `FileNotFoundError`, `StorageError`.
    """
    wait = _FIRST_WAIT
    for attempt in range(1, _TRIES + 1):
        try:
            return do()
        except (FileNotFoundError, IsADirectoryError, TypeError):
            raise
        except Exception as error:  # the libraries of storages raise kinds of their own
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            if attempt == _TRIES or isinstance(error, PermissionError):
                raise StorageError(f"{what} cannot be reached: {_reason(error)}") from error
        time.sleep(wait)
        wait *= 4
    raise AssertionError  # the loop returns or raises


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
