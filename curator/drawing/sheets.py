"""Contact sheets: many pictures with captions on one, because people would rather look."""

from __future__ import annotations

import glob
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps, PngImagePlugin

from curator.errors import PictureError, UsageError
from curator.files import whole, whole_for_user
from curator.images import read_picture
from curator.texts import escaped, valid_text

_MARGIN, _HEAD, _TEXT = 10, 34, 42  # pixels around a tile, of a heading, and of the lines under a picture
_OURS = "curator sheet"
_TALL = 2_400  # pixels of a page
_Placed = tuple[Image.Image, tuple[int, int]]
_PAPER, _INK, _FAINT, _FRAME = (250, 250, 248), (30, 30, 30), (120, 120, 120), (42, 125, 63)


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet, a file or a picture, with a bold first line and a faint second one.

    A `framed` one stands out.
    """

    picture: Path | Image.Image
    title: str
    subtitle: str = ""
    framed: bool = False
    large: bool = False  # on a page: as large as it is


@dataclass(frozen=True)
class Section:
    """A heading and the tiles under it."""

    heading: str
    tiles: Sequence[Tile]


def draw_sheet(sections: Iterable[Section], *, columns: int = 6, side: int = 180) -> Image.Image:
    """Lay sections out, small ones beside each other, `columns` tiles of `side` pixels wide.

    A file that cannot be read is said so.
    """
    placed, _ = _lay_out([_strip(section, columns, side) for section in sections], _width(columns, side), math.inf)
    return _drawn(placed, _width(columns, side))


def draw_pages(sections: Iterable[Section], *, columns: int = 6, side: int = 180) -> Iterator[Image.Image]:
    """The same on as many sheets as are needed for none to be taller than a screen or three."""
    rows = (_TALL - _HEAD) // (side + _TEXT)
    waiting: list[Image.Image] = []
    for section in sections:
        for first in range(0, max(1, len(section.tiles)), rows * columns):
            heading = section.heading if first == 0 else f"{section.heading} (continued)"
            part = Section(heading, section.tiles[first : first + rows * columns])
            waiting.append(_strip(part, columns, side))
            placed, left = _lay_out(waiting, _width(columns, side), _TALL)
            if left:
                yield _drawn(placed, _width(columns, side))
                waiting = left
    yield _drawn(_lay_out(waiting, _width(columns, side), math.inf)[0], _width(columns, side))


def _width(columns: int, side: int) -> int:
    return columns * (side + _MARGIN) + _MARGIN


def _lay_out(strips: list[Image.Image], width: int, tall: float) -> tuple[list[_Placed], list[Image.Image]]:
    """Strips with their corners on a sheet of this width, and those that would make it taller than `tall`."""
    placed: list[_Placed] = []
    left, top, height = _MARGIN // 2, 0, 0
    for number, strip in enumerate(strips):
        if left + strip.width > width and height:
            left, top, height = _MARGIN // 2, top + height, 0
        if placed and top + strip.height + _MARGIN > tall:
            return placed, strips[number:]
        placed.append((strip, (left, top)))
        left, height = left + strip.width, max(height, strip.height)
    return placed, []


def _drawn(placed: list[_Placed], width: int) -> Image.Image:
    height = max((top + strip.height for strip, (_, top) in placed), default=0)
    sheet = Image.new("RGB", (width, height + _MARGIN), _PAPER)
    for strip, place in placed:
        sheet.paste(strip, place)
    return sheet


def refuse_sheet(target: Path) -> None:
    """Raise `UsageError` for a sheet that could only fail to be written, before what it shows is made."""
    if target.suffix.lower() not in (".png", ".jpg", ".jpeg") or not target.absolute().parent.is_dir():
        raise UsageError(f"cannot write {target}; name a .png or .jpg file in a folder that is there")
    if target.exists() and not _is_ours(target):
        raise UsageError(f"{target} is there already, and curator did not make it; name another file")


def save_picture(picture: Image.Image, target: Path) -> None:
    """Write one picture to where a person said. Raises `UsageError`, also where a file of somebody else's is there."""
    refuse_sheet(target)
    with whole_for_user(target) as beside:
        picture.save(beside, "PNG" if target.suffix.lower() == ".png" else "JPEG", **_mark(target))


def save_sheet(sections: Iterable[Section], target: Path, *, columns: int = 6) -> str:
    """Draw a sheet into a file → what to say of it; the format is that of its name. Raises `UsageError`.

    What does not fit on one goes on into `NAME.page-2.png` and so on. Such pages of an earlier sheet go, no other file.
    """
    refuse_sheet(target)
    written = 0
    try:
        for page in draw_pages(sections, columns=columns):
            written += 1
            place = _page_of(target, written)
            if place.exists() and not _is_ours(place):
                raise UsageError(f"{place} is there, and is no page of a sheet; name another sheet than {target}")
            with whole(place) as beside:
                page.save(beside, **_mark(target))
        for old in target.parent.glob(f"{glob.escape(target.stem)}.page-*{glob.escape(target.suffix)}"):
            number = old.stem.rpartition("-")[2]
            if number.isdecimal() and int(number) > written and _is_ours(old):
                old.unlink()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(
            f"cannot write {target}: {reason}; name a .png or .jpg file in a folder that is there"
        ) from error
    return str(target) if written == 1 else f"{target}, and {written - 1} more up to {_page_of(target, written).name}"


def _mark(target: Path) -> dict[str, Any]:
    """Options of Pillow that write into a file that it is a sheet of curator's."""
    if target.suffix.lower() == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_text("Software", _OURS)
        return {"pnginfo": text}
    return {"comment": _OURS.encode()}


def _is_ours(file: Path) -> bool:
    try:
        with Image.open(file) as opened:
            return _OURS in (opened.info.get("Software"), opened.info.get("comment", b"").decode(errors="replace"))
    except (OSError, ValueError):
        return False


def _page_of(target: Path, number: int) -> Path:
    return target if number == 1 else target.with_name(f"{target.stem}.page-{number}{target.suffix}")


def _strip(section: Section, columns: int, side: int) -> Image.Image:
    columns = max(2, min(columns, len(section.tiles)))
    width = columns * (side + _MARGIN)
    head = _HEAD if section.heading else _MARGIN
    cell = side + _TEXT
    rows = max(1, math.ceil(len(section.tiles) / columns))
    strip = Image.new("RGB", (width, head + rows * cell), _PAPER)
    pen = ImageDraw.Draw(strip)
    pen.text((_MARGIN // 2, 10), _fit(pen, section.heading, width - _MARGIN, 16), fill=_INK, font=_font(16))
    for i, tile in enumerate(section.tiles):
        left, top = _MARGIN // 2 + (i % columns) * (side + _MARGIN), head + (i // columns) * cell
        _tile(strip, tile, (left, top), side)
    return strip


def _tile(strip: Image.Image, tile: Tile, corner: tuple[int, int], side: int) -> None:
    left, top = corner
    pen = ImageDraw.Draw(strip)
    try:
        picture = read_picture(tile.picture) if isinstance(tile.picture, Path) else tile.picture
    except PictureError:
        pen.rectangle((left, top, left + side, top + side), outline=_FAINT)
        pen.text((left + 8, top + 8), "cannot be read", fill=_FAINT, font=_font(13))
    else:
        # Pixel art is enlarged as it is; photos are reduced smoothly.
        how = Image.Resampling.NEAREST if max(picture.size) <= side // 2 else Image.Resampling.LANCZOS
        fitted = ImageOps.contain(picture, (side, side), how)
        x, y = left + (side - fitted.width) // 2, top + (side - fitted.height) // 2
        strip.paste(fitted, (x, y))
        if tile.framed:
            pen.rectangle((x - 4, y - 4, x + fitted.width + 3, y + fitted.height + 3), outline=_FRAME, width=4)
    pen.text((left, top + side + 4), _fit(pen, tile.title, side, 13), fill=_INK, font=_font(13))
    pen.text((left, top + side + 21), _fit(pen, tile.subtitle, side, 12), fill=_FAINT, font=_font(12))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _fit(pen: ImageDraw.ImageDraw, text: str, width: int, size: int) -> str:
    """Cut a line to `width` pixels, from its middle."""
    text = escaped(valid_text(text))
    while text and pen.textlength(text, font=_font(size)) > width:
        half = (len(text) - 2) // 2
        text = f"{text[:half]}…{text[len(text) - half :]}" if half > 1 else ""
    return text
