"""What comparisons need of the pictures of an index: read from `sketches/`, or made of the files and kept there."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import numpy as np
from PIL import Image as Pillow

from curator.database import Reader, Sketches
from curator.database.listed import every_sha256
from curator.duplicates import Corners, Sketch, Tiny, shrink
from curator.embeddings import blocks
from curator.errors import PictureError
from curator.index.thumbnails import reread
from curator.job import cores
from curator.records import Image, Nodes
from curator.vectors import stay_on_one_core

_LOOKS = 8_192  # kept in memory, about 40 kB each
_SKETCHES = 1_024  # … and about 0.3 MB each
_AT_ONCE = 256  # of those that are only passed through
_PATHS = 4  # of one content that are tried
_FORMATS = ("JPEG", "PNG")  # of what is kept
T = TypeVar("T")


@dataclass(frozen=True)
class Look:
    """What a first look needs of a picture: its corners, and the picture at the size of a stamp."""

    corners: Corners
    tiny: Tiny


class Looks:
    """Pictures of contents, at two sizes of effort. None stands for what cannot be read, nor was kept."""

    def __init__(self, reader: Reader, nodes: Nodes) -> None:
        self.reader = reader
        self._images_of: dict[int, list[int]] = {}
        standing = nodes.standing()
        own_last = np.argsort(nodes.content_ids != standing, kind="stable")  # a content's own images first
        for image_id, content in zip(nodes.image_ids[own_last].tolist(), standing[own_last].tolist(), strict=True):
            self._images_of.setdefault(content, []).append(image_id)
        self._looks: _Latest[Look] = _Latest(_LOOKS)
        self._sketches: _Latest[Sketch] = _Latest(_SKETCHES)
        self._cache = Sketches(reader.folder)
        self.threads = ThreadPoolExecutor(cores(), "compare", initializer=stay_on_one_core)

    def __enter__(self) -> Self:
        import cv2

        cv2.setNumThreads(1)  # the pictures are spread over the cores already
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.shutdown(wait=True, cancel_futures=True)
        self._cache.close()

    def forget_gone(self) -> None:
        """Give back the room of pictures that the index does not have any more, where they are the most."""
        self._cache.keep_only(every_sha256(self.reader))

    def looks(self, contents: Iterable[int]) -> dict[int, Look | None]:
        """content → what a first look needs."""
        wanted = list(dict.fromkeys(contents))
        missing = self._looks.missing(wanted)
        for part in blocks(len(missing), _AT_ONCE):
            sketches = self._read(missing[part])
            self._looks.put(dict(zip(sketches, self.threads.map(_look_of, sketches.values()), strict=True)))
        return self._looks.all_of(wanted)

    def sketches(self, contents: Iterable[int]) -> dict[int, Sketch | None]:
        """content → the picture at comparison size."""
        wanted = list(dict.fromkeys(contents))
        missing = self._sketches.missing(wanted)
        self._sketches.put(self._read(missing))
        return self._sketches.all_of(wanted)

    def corners(self, contents: Sequence[int]) -> dict[int, Corners | None]:
        """content → its corners alone, of which none are kept in memory."""
        return self._corners(self._hashes(contents))

    def _corners(self, hashes: Mapping[int, bytes]) -> dict[int, Corners | None]:
        stored = self._cache.corners([h for h in hashes.values() if h])
        corners = {content: _corners_of(stored.get(sha256)) for content, sha256 in hashes.items()}
        left = [c for c in hashes if corners[c] is None]
        pictures = self._pictures({c: hashes[c] for c in left})
        fresh = dict(zip(pictures, self.threads.map(_find_corners, pictures.values()), strict=True))
        self._cache.put_corners({h: c.to_bytes() for h, c in fresh.items() if c is not None})
        return corners | {c: fresh.get(hashes[c]) for c in left}

    def _read(self, contents: Sequence[int]) -> dict[int, Sketch | None]:
        """Sketches with their corners, which are then in the cache."""
        hashes = self._hashes(contents)
        corners = self._corners(hashes)
        pictures = self._pictures(hashes)
        there = [c for c in contents if hashes[c] in pictures]
        sizes = self.threads.map(_sketch_of, (pictures[hashes[c]] for c in there), (corners[c] for c in there))
        sketches = dict(zip(there, sizes, strict=True))
        return {c: sketches.get(c) for c in contents}

    def _pictures(self, hashes: Mapping[int, bytes]) -> dict[bytes, bytes]:
        """sha256 → the JPEG that is kept, of contents, from the cache, or from files and then into the cache."""
        contents = list(hashes)
        pictures = self._cache.pictures(list(hashes.values()))
        absent = [c for c in contents if hashes[c] not in pictures]
        images = [self.reader.images(self._images_of.get(c, [])[:_PATHS]) for c in absent]
        fresh = {
            hashes[c]: shrunk
            for c, shrunk in zip(absent, self.threads.map(_first_readable, images), strict=True)
            if shrunk is not None
        }
        self._cache.put(fresh)
        return pictures | fresh

    def _hashes(self, contents: Sequence[int]) -> dict[int, bytes]:
        """content → sha256; empty where no image has it any more."""
        first = {self._images_of[c][0]: c for c in contents if c in self._images_of}
        hashes = {first[i.id]: bytes.fromhex(i.sha256) for i in self.reader.images(list(first))}
        return {c: hashes.get(c, b"") for c in contents}


class _Latest(Generic[T]):
    """A dictionary that forgets what was not asked for lately."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._values: OrderedDict[int, T | None] = OrderedDict()

    def missing(self, keys: Iterable[int]) -> list[int]:
        return [k for k in keys if k not in self._values]

    def put(self, values: dict[int, T | None]) -> None:
        self._values.update(values)

    def all_of(self, keys: Sequence[int]) -> dict[int, T | None]:
        for key in keys:
            self._values.move_to_end(key)
        values = {key: self._values[key] for key in keys}
        while len(self._values) > max(self.most, len(keys)):
            self._values.popitem(last=False)
        return values


def _look_of(sketch: Sketch | None) -> Look | None:
    if sketch is None:
        return None
    tiny = Tiny.of(sketch.grey)
    _ = tiny.whole, tiny.parts  # made here, by several threads
    return Look(sketch.corners, tiny)


def _corners_of(stored: bytes | None) -> Corners | None:
    try:
        return None if stored is None else Corners.from_bytes(stored)
    except ValueError:  # of another version
        return None


def _find_corners(picture: bytes) -> Corners | None:
    """Corners of a picture as it is kept, of which only the grey levels are decoded."""
    try:
        with Pillow.open(io.BytesIO(picture), formats=_FORMATS) as opened:
            opened.draft("L", None)
            # As they will be read again, so that the first run and the next see the same.
            return Corners.from_bytes(Corners.of(Sketch.grey_of(opened.convert("L"))).to_bytes())
    except (OSError, ValueError):  # of another version
        return None


def _sketch_of(picture: bytes, corners: Corners | None) -> Sketch | None:
    try:
        with Pillow.open(io.BytesIO(picture), formats=_FORMATS) as opened:
            return Sketch.of(opened.convert("RGB"), corners)
    except (OSError, ValueError):  # of another version
        return None


def _first_readable(images: Sequence[Image]) -> bytes | None:
    return next((shrunk for shrunk in map(_shrunk, images) if shrunk is not None), None)


def _shrunk(image: Image) -> bytes | None:
    """What is to be kept of an indexed picture, or None if its file is not there or no longer what was indexed."""
    picture = _reread(image)
    return None if picture is None else shrink(picture)


def read_sketch(image: Image) -> Sketch | None:
    """An indexed picture at comparison size, straight from its file."""
    picture = _reread(image)
    return None if picture is None else Sketch.of(picture)


def _reread(image: Image) -> Pillow.Image | None:
    try:
        return reread(image)
    except PictureError:
        return None
