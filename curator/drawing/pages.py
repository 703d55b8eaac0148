"""HTML pages without script or network. Pictures are inside, so that a page can be mailed.

Those of a large page, from the 301st on, lie in a folder beside it and are loaded as they come into view.
"""

from __future__ import annotations

import base64
import html
import io
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from curator.drawing.sheets import Section, Tile
from curator.errors import PictureError, UsageError
from curator.files import whole_for_user
from curator.images import read_picture

_SIDE = 220  # pixels of a thumbnail
_INSIDE = 300  # pictures in the page itself: about 3 MB
_OURS = ".curator-page"  # marks a folder of pictures that a page has made
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em; color: #222;
  background: #fafaf8 }
h1 { font-size: 1.4em } h2 { font-size: 1.05em; margin: 1.6em 0 .4em }
pre { background: #eee; padding: .6em .8em; overflow-x: auto; border-radius: 4px }
.row { display: flex; flex-wrap: wrap; gap: 12px }
figure { margin: 0; width: 220px } figure.large { width: auto } figure.large img { max-width: 100%; height: auto }
figure:not(.large) img { display: block }
.row { content-visibility: auto; contain-intrinsic-size: auto 280px }
figure.framed img { outline: 4px solid #2a7d3f }
.none { width: 220px; height: 120px; border: 1px dashed #999; color: #777; padding: 1em; box-sizing: border-box }
figcaption { font-size: 12px; color: #666; overflow-wrap: anywhere } figcaption b { color: #222; font-size: 13px }
table { border-collapse: collapse } td, th { padding: .15em .9em .15em 0; text-align: right }
td:first-child, th:first-child { text-align: left }
"""


@dataclass(frozen=True)
class Page:
    """A title, text above (a table of strings, then lines as they are), and sections of pictures."""

    title: str
    table: tuple[tuple[str, ...], ...]
    lines: tuple[str, ...]
    sections: Iterable[Section]


def save_page(page: Page, target: Path) -> str:
    """Write one HTML file, whole or not at all → what to say of it. Raises `UsageError` where it cannot be written."""
    title = html.escape(page.title)
    pictures = _Pictures(target)
    try:
        with whole_for_user(target) as beside:
            with beside.open("w", encoding="utf-8", errors="replace") as out:
                out.write(f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n')
                out.write(f"<style>{_STYLE}</style>\n<h1>{title}</h1>\n{_table(page.table)}")
                out.write(f"<pre>{html.escape(chr(10).join(page.lines))}</pre>\n" if page.lines else "")
                for section in page.sections:
                    tiles = "".join(_figure(tile, pictures) for tile in section.tiles)
                    out.write(f'<h2>{html.escape(section.heading)}</h2>\n<div class="row">{tiles}</div>\n')
                out.write("</html>\n")
            pictures.put_in_place()
    finally:
        shutil.rmtree(pictures.beside, ignore_errors=True)
    return f"{target}, with pictures in {pictures.folder.name}" if pictures.count > _INSIDE else str(target)


class _Pictures:
    """Where the pictures of a page go: the first into the page, the others into a folder."""

    def __init__(self, target: Path) -> None:
        self.folder = target.with_name(f"{target.stem}.pictures")
        self.beside = target.with_name(f".{self.folder.name}.{os.getpid()}.part")
        self.count = 0

    def source(self, jpeg: bytes) -> str:
        """What the page says of a picture: the picture itself, or the file it is put into."""
        self.count += 1
        if self.count <= _INSIDE:
            return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
        try:
            self.beside.mkdir(exist_ok=True)
            name = f"{self.count:06d}.jpg"
            (self.beside / name).write_bytes(jpeg)
        except OSError as error:
            raise UsageError(f"cannot write {self.folder}: {error.strerror}") from error
        return f"{quote(self.folder.name)}/{name}"

    def put_in_place(self) -> None:
        """The folder takes the place of an earlier page's. One that no page has made is not touched."""
        if self.folder.is_dir() and self.count <= _INSIDE and not (self.folder / _OURS).is_file():
            return
        if self.folder.is_dir():
            if not (self.folder / _OURS).is_file():
                raise UsageError(f"{self.folder} is there, and no page has made it; name another page")
            shutil.rmtree(self.folder)
        if self.count > _INSIDE:
            (self.beside / _OURS).touch()
            os.replace(self.beside, self.folder)


def _table(rows: tuple[tuple[str, ...], ...]) -> str:
    cells = [
        "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row)
        for row, tag in zip(rows, ["th"] + ["td"] * len(rows), strict=False)
    ]
    return "<table>" + "".join(f"<tr>{c}</tr>" for c in cells) + "</table>\n" if rows else ""


def _figure(tile: Tile, pictures: _Pictures) -> str:
    caption = f"<figcaption><b>{html.escape(tile.title)}</b><br>{html.escape(tile.subtitle)}</figcaption>"
    kind = "framed" if tile.framed else "large" if tile.large else ""
    return f"<figure{f' class={kind}' if kind else ''}>{_picture(tile, pictures)}{caption}</figure>"


def _picture(tile: Tile, pictures: _Pictures) -> str:
    try:
        picture = read_picture(tile.picture) if isinstance(tile.picture, Path) else tile.picture
    except PictureError as error:
        return f'<div class="none">{html.escape(str(error))}</div>'
    small = picture.copy()
    if not tile.large:
        small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=82)
    size = f'width="{small.width}" height="{small.height}"'
    return f'<img alt="" loading="lazy" decoding="async" {size} src="{pictures.source(data.getvalue())}">'
