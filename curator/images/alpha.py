"""Transparency of pictures: kept, laid on white, or cut to what is seen."""

from __future__ import annotations

import io

from PIL import Image, ImageOps

from curator.errors import PictureError
from curator.images.decode import allowed_formats, decode, to_srgb
from curator.images.raw import is_raw

_WHOLE = 1 << 20  # an input side so large that no JPEG is decoded at reduced scale
_MODES = {"RGBA", "LA", "PA", "La", "RGBa"}
_PALETTES = {"PNG", "GIF", "WEBP"}  # formats whose palettes may have a transparent colour


def has_alpha(mode: str) -> bool:
    """Whether pictures of a mode have a channel of alpha, be it opaque."""
    return mode in _MODES


def may_be_transparent(mode: str, kind: str) -> bool:
    """Whether a picture of a mode and format can have transparent pixels."""
    return has_alpha(mode) or (mode in ("1", "P", "L", "RGB", "I;16") and kind in _PALETTES)


def with_alpha(data: bytes) -> Image.Image:
    """Upright, in sRGB, at full size: RGBA where anything is transparent, else RGB. Raises `PictureError`."""
    plain = decode(data, side=_WHOLE).picture
    if is_raw(data):
        return plain
    try:
        with Image.open(io.BytesIO(data), formats=allowed_formats(data)) as opened:
            if opened.mode not in _MODES and "transparency" not in opened.info:
                return plain
            over = ImageOps.exif_transpose(to_srgb(opened)).convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        raise PictureError(f"damaged: {error}") from error
    return plain if over.getchannel("A").getextrema()[0] == 255 else over


def seen_box(picture: Image.Image) -> tuple[int, int, int, int]:
    """The smallest box (left, top, right, bottom) with all that is seen; the whole picture, if nothing is."""
    whole = (0, 0, *picture.size)
    return picture.getchannel("A").getbbox() or whole if picture.mode == "RGBA" else whole


def on_white(picture: Image.Image) -> Image.Image:
    """RGB, with white where the picture is transparent."""
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Of another size; colours of transparent pixels do not bleed into their neighbours."""
    if picture.mode != "RGBA":
        return picture.resize(size, Image.Resampling.LANCZOS)
    return picture.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
