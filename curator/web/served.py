"""The page of an index that a service answers for: search, filters and pictures, and nothing that changes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shlex
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from curator.duplicates import SIDE, shrink
from curator.errors import CuratorError, PictureError, UnknownName
from curator.images import decode, read_bytes
from curator.index import Index
from curator.records import Image
from curator.web.endpoints import Endpoints
from curator.web.image import AS_IT_IS, neighbours_of
from curator.web.search import changes, facts_of

_KEPT = 2_000  # thumbnails in memory
_AGAIN = 60.0  # seconds before a picture that could not be had is asked for again
_NONE: dict[str, Any] = {
    "tags": [], "labels": [], "selections": [], "concepts": [], "has_sureness": False, "duplicates": 0, "runs": [],
    "roots": [],
}  # fmt: skip


def read_file(uri: str) -> bytes:
    """The bytes of a picture on this machine. Raises `PictureError` for any other place."""
    if "://" in uri:
        raise PictureError(f"{uri} cannot be read here")
    return read_bytes(Path(uri))


class ServedPage(Endpoints):
    """`read` gets the bytes of a picture by its uri. What is shown has the SHA-256 that the service says."""

    def __init__(self, index: Index, read: Callable[[str], bytes]) -> None:
        super().__init__(index, read_only=True)
        self.read = read
        self._thumbnails: OrderedDict[str, bytes] = OrderedDict()
        self._failed: dict[str, tuple[float, PictureError]] = {}  # by SHA-256, and when
        self._lock = threading.Lock()

    def describe(self) -> dict[str, Any]:
        """See `Endpoints`."""
        reader, space = self.index.reader, self.index.space
        name: str = reader.url  # type: ignore[attr-defined]
        return _NONE | {
            "name": name, "option": shlex.join(["--on", name]), "counts": reader.counts(), "columns": reader.columns(),
            "encoder": space.encoder, "dims": space.dim, "changes": changes(self.index), "is_served": True,
        }  # fmt: skip

    def facts(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """See `Endpoints`."""
        return [facts_of(image, image.place) for image in self._present(ids).values()]

    def _present(self, ids: Sequence[int]) -> dict[int, Image]:
        """Those of the images that the service has; parts come and go."""
        with contextlib.suppress(UnknownName):
            return {i.id: i for i in self.index.images(ids)}
        images = {}
        for image_id in ids:
            with contextlib.suppress(UnknownName):
                (images[image_id],) = self.index.images([image_id])
        return images

    def describe_image(self, image_id: int) -> dict[str, Any]:
        """See `Endpoints`."""
        (image,) = self.index.images([image_id])
        nothing: dict[str, Any] = {"root": None, "group": None, "provenance": None, "computed": {}}
        nothing |= {"selections": [], "edges": [], "verdicts": []}
        return asdict(image) | nothing | {
            "path": image.place, "full_path": image.place, "state": "present",
            "neighbours": neighbours_of(self.index, image_id),
        }  # fmt: skip

    def thumbnails_of(self, ids: Sequence[int]) -> Mapping[int, bytes | PictureError]:
        """See `Endpoints`."""
        gone = PictureError("the service has no such image any more")
        thumbnails: dict[int, bytes | PictureError] = dict.fromkeys(ids, gone)
        for image in self._present(ids).values():
            failed = self._failed.get(image.sha256)
            if failed is not None and time.monotonic() - failed[0] < _AGAIN:
                thumbnails[image.id] = failed[1]
                continue
            try:
                thumbnails[image.id] = self._thumbnail(image)
            except PictureError as error:
                thumbnails[image.id] = error
                self._failed[image.sha256] = (time.monotonic(), error)
        return thumbnails

    def _thumbnail(self, image: Image) -> bytes:
        with self._lock:
            known = self._thumbnails.get(image.sha256)
            if known is not None:
                self._thumbnails.move_to_end(image.sha256)
                return known
        thumbnail = shrink(decode(self._bytes(image), side=SIDE).picture)
        with self._lock:
            self._thumbnails[image.sha256] = thumbnail
            while len(self._thumbnails) > _KEPT:
                self._thumbnails.popitem(last=False)
        return thumbnail

    def original(self, image_id: int) -> tuple[bytes, str]:
        """See `Endpoints`. Whatever is no picture is not sent, wherever its uri leads."""
        (image,) = self.index.images([image_id])
        data = self._bytes(image)
        decoded = decode(data)
        if decoded.content.format in AS_IT_IS:
            return data, AS_IT_IS[decoded.content.format]
        out = io.BytesIO()
        decoded.picture.save(out, "PNG", compress_level=1)
        return out.getvalue(), "image/png"

    def _bytes(self, image: Image) -> bytes:
        try:
            data = self.read(image.place)
        except PictureError:
            raise
        except (OSError, CuratorError) as error:
            raise PictureError(f"{image.place} cannot be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise PictureError("the file has changed since it was embedded")
        return data
