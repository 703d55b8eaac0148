"""What an export writes: the images of a selection with what is known of them.

The bytes of its files depend on nothing else.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from curator.errors import PictureError, UsageError
from curator.images import decode, read_bytes
from curator.job import Job
from curator.records import Image
from curator.registry import Registry
from curator.texts import defused, to_json

LINKS = ("copy", "hardlink", "symlink", "none")
MTIME = 0  # of all that is written: seconds since 1970
_LOSSLESS = {"PNG", "BMP", "GIF", "TIFF", "PPM"}
_SUFFIX = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tiff",
    "AVIF": ".avif",
    "PPM": ".ppm",
}
_WHOLE = 1 << 20  # an input side so large that no JPEG is decoded at reduced scale


@dataclass(frozen=True)
class Item:
    """One image of a selection, in its order.

    `key` names it in the export; `file` says where it is, relative to the export or absolute.
    """

    rank: int
    key: str
    image: Image
    sha256: str
    split: str
    value: float | None
    file: str
    origin: str  # the selection it comes from

    def row(self) -> dict[str, Any]:
        """What every form says of it, by column."""
        i = self.image
        return {
            "file": self.file, "sha256": self.sha256, "label": i.label, "caption": i.caption, "split": self.split,
            "rank": self.rank,
            "value": self.value, "width": i.width, "height": i.height, "origin": i.origin,
            "source": printable(i.path.name),
        }  # fmt: skip


@dataclass(frozen=True)
class ExportPlan:
    """What a form is given: an empty folder to fill, the items, and how.

    `size` is the long side in pixels, None as it is.
    """

    folder: Path
    items: Sequence[Item]
    link: str
    size: int | None
    shard: int
    vectors: Callable[[], Any]
    job: Job

    def exported(self, done: int) -> None:
        """Tell that so many items are written, and stop here if asked to."""
        self.job.progress(done, len(self.items), "exporting")
        self.job.check()


@dataclass(frozen=True)
class Form:
    """A way to write a selection: what fills the folder, and where a picture of a split and label lies in it.

    `packed` forms hold the pictures inside shards, so that nothing can be linked. `data_files` is the pattern of a
    split's files where Hugging Face's `datasets` reads the form from a folder, and `has_label_folders` says that it can
    tell labels by the names of folders.
    """

    write: Callable[[ExportPlan], None]
    place: Callable[[str, str, str], str] = lambda split, label, name: f"images/{split}/{name}"
    packed: bool = False
    data_files: Callable[[str], str] | None = None
    has_label_folders: bool = False


forms: Registry[Form] = Registry("form of export")


def content(item: Item, size: int | None) -> bytes:
    """The bytes of a picture to export: the file as it is, or resized.

    Raises `UsageError` where the file is not what was selected.
    """
    try:
        data = read_bytes(item.image.path)
    except PictureError as error:
        raise UsageError(
            f"{item.image.path} cannot be exported: {error}; `curator index` notes it, and then select again"
        ) from error
    if hashlib.sha256(data).hexdigest() != item.sha256:
        raise UsageError(f"{item.image.path} has changed since it was selected; run `curator index`, and select again")
    return data if size is None else _resized(data, item, size)


def _resized(data: bytes, item: Item, size: int) -> bytes:
    picture = decode(data, side=_WHOLE).picture
    if max(picture.size) > size:
        picture = picture.resize(_shape(*picture.size, size), Pillow.Resampling.LANCZOS)
    out = io.BytesIO()
    if item.image.format in _LOSSLESS:
        picture.save(out, "PNG")
    else:
        picture.save(out, "JPEG", quality=95)
    return out.getvalue()


def scaled(image: Image, size: int) -> Image:
    """The record of an image whose long side is at most `size` pixels."""
    width, height = (
        _shape(image.width, image.height, size)
        if max(image.width, image.height) > size
        else (image.width, image.height)
    )
    return replace(image, width=width, height=height)


def _shape(width: int, height: int, size: int) -> tuple[int, int]:
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def suffix_of(image: Image, size: int | None) -> str:
    """The suffix of an exported picture: that of what its bytes are."""
    if size is not None:
        return ".png" if image.format in _LOSSLESS else ".jpg"
    return _SUFFIX.get(image.format, image.path.suffix.lower() or ".img")


def place(plan: ExportPlan, item: Item, target: Path) -> None:
    """Put one picture at a path below the export, by copy or link. A hard link across file systems is a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    data = content(item, plan.size)
    if plan.link == "symlink":
        target.symlink_to(item.image.path)
        return
    if plan.link == "hardlink":
        try:
            os.link(item.image.path, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
        else:
            return
    with target.open("xb") as out:  # never through a link to a picture of the user's
        out.write(data)
    os.utime(target, (MTIME, MTIME))


def printable(path: str) -> str:
    """A path as text that every program reads.

    Bytes that are not UTF-8 become escapes, and such a path leads nowhere.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def write_text(target: Path, text: str) -> None:
    """A text file with the fixed time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8", newline="")
    os.utime(target, (MTIME, MTIME))


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same columns as CSV, in which no cell is a formula to a spreadsheet.

    A lone carriage return would end a line for some readers, so where there is one every cell is quoted.
    """
    out = io.StringIO()
    how: Any = csv.QUOTE_ALL if any("\r" in str(v) for row in rows for v in row.values()) else csv.QUOTE_MINIMAL
    lines = csv.DictWriter(out, list(rows[0]) if rows else ["file"], lineterminator="\n", quoting=how)
    lines.writeheader()
    lines.writerows({name: defused(cell) for name, cell in row.items()} for row in rows)
    return out.getvalue()


def as_jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as JSON lines."""
    return "".join(to_json(r, ensure_ascii=False) + "\n" for r in rows)
