"""Small pictures to look at: made once for each content, and kept in `sketches/`, which comparisons read as well."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from PIL import Image as Pillow

from curator.database import Reader, Sketches
from curator.duplicates import SIDE, shrink
from curator.errors import PictureError
from curator.images import decode, read_bytes
from curator.records import Image


def indexed_bytes(image: Image) -> bytes:
    """An indexed picture's file. Raises `PictureError` where it is gone, or no longer what was indexed."""
    data = read_bytes(image.path)
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise PictureError("the file has changed since it was indexed; `curator index` reads it again")
    return data


def reread(image: Image) -> Pillow.Image:
    """An indexed picture from its file, at about the size of comparisons or more. Raises `PictureError`."""
    return decode(indexed_bytes(image), side=SIDE).picture


def refuse_outside(path: Path, folders: Sequence[Path]) -> None:
    """Raise `PictureError` where a path, links followed, is in none of these folders: an index may be somebody's."""
    real = path.resolve()
    if not any(real.is_relative_to(folder.resolve()) for folder in folders):
        raise PictureError("the file is not inside its folder any more, so it is not shown")


class Thumbnails:
    """Thumbnails of an index's images, of 320 pixels on the long side at most, for several threads."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._cache = reader, Sketches(reader.folder)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file of the cache back."""
        with self._lock:
            self._cache.close()

    def of(self, images: Sequence[Image]) -> dict[int, bytes | PictureError]:
        """id → a JPEG or PNG, or why there is none."""
        hashes = list(dict.fromkeys(bytes.fromhex(i.sha256) for i in images))
        with self._lock:
            stored = self._cache.pictures(hashes)
        folders = [root.path for root in self._reader.roots()] if len(stored) < len(hashes) else []
        fresh: dict[bytes, bytes] = {}
        thumbnails: dict[int, bytes | PictureError] = {}
        for image in images:
            sha256 = bytes.fromhex(image.sha256)
            try:
                if sha256 not in stored:
                    refuse_outside(image.path, folders)
                    stored[sha256] = fresh[sha256] = shrink(reread(image))
                thumbnails[image.id] = stored[sha256]
            except PictureError as error:
                thumbnails[image.id] = error
        if fresh:
            with self._lock:
                self._cache.put(fresh)
        return thumbnails
