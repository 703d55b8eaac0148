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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from curator.errors import PictureError, UsageError
from curator.images import has_alpha, may_be_transparent, on_white, read_bytes, resized, with_alpha
from curator.job import Job
from curator.records import Image
from curator.registry import Registry
from curator.texts import defused, to_json

ALPHAS = ("keep", "white", "crop")
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
    pixels: tuple[int, int] = (0, 0)  # width and height of what is exported, before it is made smaller
    box: tuple[int, int, int, int] | None = None  # what of it is exported, in its own pixels; None for all
    extra: Mapping[str, Any] = field(default_factory=dict)  # the further columns that any of the items has

    def row(self) -> dict[str, Any]:
        """What every form says of it, by column; the further columns last."""
        i = self.image
        return {
            "file": self.file, "sha256": self.sha256, "label": i.label, "caption": i.caption, "split": self.split,
            "rank": self.rank,
            "value": self.value, "width": i.width, "height": i.height, "origin": i.origin,
            "source": printable(i.path.name), **self.extra,
        }  # fmt: skip


@dataclass(frozen=True)
class ExportPlan:
    """What a form is given: an empty folder to fill, the items, and how.

    `size` is the long side in pixels, None as it is; `alpha` what becomes of transparency, one of `ALPHAS`; `reads` the
    suffixes beside which pictures are written as PNG, none for all.
    """

    folder: Path
    items: Sequence[Item]
    link: str
    size: int | None
    alpha: str
    shard: int
    vectors: Callable[[], Any]
    job: Job
    reads: frozenset[str] = frozenset()

    def exported(self, done: int) -> None:
        """Tell that so many items are written, and stop here if asked to."""
        self.job.progress(done, len(self.items), "exporting")
        self.job.check()


@dataclass(frozen=True)
class Form:
    """A way to write a selection: what fills the folder, and where a picture of a split and label lies in it.

    What `write` gives back are the items as they were written, where they are not as planned.

    `packed` forms hold the pictures inside, so that nothing can be linked; with `has_shards` in several files of
    `shard` pictures each. `data_files` is the pattern of a
    split's files where Hugging Face's `datasets` reads the form from a folder, and `has_label_folders` says that it can
    tell labels by the names of folders. `has_repeats`: kohya's number before those names. `takes_size` says which sides
    the form can have, `size_is` in words. `reads` are the suffixes that its readers know, none for all: the rest
    is written as PNG.
    """

    write: Callable[[ExportPlan], Sequence[Item] | None]
    place: Callable[[str, str, str], str] = lambda split, label, name: f"images/{split}/{name}"
    packed: bool = False
    has_shards: bool = False
    data_files: Callable[[str], str] | None = None
    has_label_folders: bool = False
    has_repeats: bool = False
    takes_size: Callable[[int], bool] = lambda size: True
    size_is: str = "any number of pixels"
    reads: frozenset[str] = frozenset()


forms: Registry[Form] = Registry("form of export")


def captions_of(item: Item) -> list[str]:
    """Its captions: the lines of the column that are not empty."""
    return [line for line in (item.image.caption or "").split("\n") if line.strip()]


def content(item: Item, plan: ExportPlan) -> bytes:
    """The bytes of a picture to export: the file as it is, or resized, or without its transparency.

    Raises `UsageError` where the file is not what was selected.
    """
    data = selected_bytes(item)
    is_cut = plan.alpha != "keep" and may_be_transparent(item.image.mode, item.image.format)
    suffix = suffix_of(item.image, None)
    is_foreign = plan.size is None and bool(plan.reads) and suffix not in plan.reads
    if plan.size is None and not is_cut and not is_foreign:
        return data
    picture = with_alpha(data)
    # Nothing of it is seen through: it stays as it is, but for a channel of alpha that nobody should be given.
    is_opaque = picture.mode == "RGB" and (plan.alpha == "keep" or not has_alpha(item.image.mode))
    if is_opaque and plan.size is None and item.file.endswith(suffix):
        return data
    if item.box is not None:
        picture = picture.crop(item.box)
    if plan.alpha != "keep":
        picture = on_white(picture)
    if plan.size is not None and max(picture.size) > plan.size:
        picture = resized(picture, _shape(*picture.size, plan.size))
    out = io.BytesIO()
    if is_lossless(item.image) or is_foreign:
        picture.save(out, "PNG")
    else:
        picture.save(out, "JPEG", quality=95)
    return out.getvalue()


def is_lossless(image: Image) -> bool:
    """Whether a picture that is written anew becomes a PNG, and no JPEG."""
    return image.format in _LOSSLESS or (image.format != "JPEG" and may_be_transparent(image.mode, image.format))


def selected_bytes(item: Item) -> bytes:
    """The file of an item. Raises `UsageError` where it is not what was selected."""
    try:
        data = read_bytes(item.image.path)
    except PictureError as error:
        raise UsageError(
            f"{item.image.path} cannot be exported: {error}; `curator index` notes it, and then select again"
        ) from error
    if hashlib.sha256(data).hexdigest() != item.sha256:
        raise UsageError(f"{item.image.path} has changed since it was selected; run `curator index`, and select again")
    return data


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
        return ".png" if is_lossless(image) else ".jpg"
    return _SUFFIX.get(image.format, image.path.suffix.lower() or ".img")


def place(plan: ExportPlan, item: Item, target: Path) -> None:
    """Put one picture at a path below the export, by copy or link. A hard link across file systems is a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    data = content(item, plan)
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


def refuse_none(plan: ExportPlan, form: str) -> None:
    """Raise `UsageError` where a form that consists of pictures should have none."""
    if plan.link == "none":
        raise UsageError(f"--as {form} consists of pictures; --link none goes with csv, jsonl, npy and clip-retrieval")


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
