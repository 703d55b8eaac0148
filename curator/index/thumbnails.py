"""Small pictures to look at: made once for each content, and kept in `sketches/`, which comparisons read as well."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Self

from PIL import Image as Pillow

from curator.database import Reader, Sketches
from curator.duplicates import SIDE, shrink
from curator.errors import PictureError
from curator.images import decode, read_bytes
from curator.records import Image


def reread(image: Image, *, side: int = SIDE) -> Pillow.Image:
    """An indexed picture from its file, with a long side of about `side` pixels or more; 0 takes all of it.

    Raises `PictureError` where the file is gone, or no longer what was indexed.
    """
    decoded = decode(read_bytes(image.path), side=side)
    if decoded.content.sha256.hex() != image.sha256:
        raise PictureError("the file has changed since it was indexed; `curator index` reads it again")
    return decoded.picture


class Thumbnails:
    """Thumbnails of an index's images, of 320 pixels on the long side at most, for several threads."""

    def __init__(self, reader: Reader) -> None:
        self._cache = Sketches(reader.folder)
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
        fresh: dict[bytes, bytes] = {}
        thumbnails: dict[int, bytes | PictureError] = {}
        for image in images:
            sha256 = bytes.fromhex(image.sha256)
            try:
                if sha256 not in stored:
                    stored[sha256] = fresh[sha256] = shrink(reread(image))
                thumbnails[image.id] = stored[sha256]
            except PictureError as error:
                thumbnails[image.id] = error
        if fresh:
            with self._lock:
                self._cache.put(fresh)
        return thumbnails
