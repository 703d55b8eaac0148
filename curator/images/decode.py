"""Bytes of a picture file → upright RGB on white in sRGB, and what the file says of itself."""

from __future__ import annotations

import hashlib
import io
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from curator.errors import PictureError
from curator.records import Content

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "PPM")
MAX_BYTES = 256 * 2**20
MAX_PIXELS = 178_956_970  # where Pillow itself refuses a decompression bomb
DRAFT_SIDE = 448  # a JPEG is decoded at reduced scale while both sides stay at least this (Pillow's draft mode)
_HEIF_MARKS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc")
_SRGB = ImageCms.createProfile("sRGB")
_ORIENTATION, _MAKE, _MODEL, _EXIF_IFD, _TAKEN = 0x0112, 0x010F, 0x0110, 0x8769, 0x9003

# MAX_PIXELS is the limit here; Pillow's warning at half of it would only be noise.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Decoded:
    """A picture, ready for an encoder, and the facts of its file."""

    content: Content
    picture: Image.Image


def read_bytes(path: Path) -> bytes:
    """The whole file. Raises `PictureError` for one that is empty, too large or cannot be read."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise PictureError(f"larger than {MAX_BYTES // 2**20} MiB ({size // 2**20} MiB)")
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror}") from error
    if not data:
        raise PictureError("empty file")
    return data


def decode(data: bytes, *, side: int = 0) -> Decoded:
    """Decode the first frame of an allowed format.

    `side` is the encoder's input side in pixels: a large JPEG is decoded at reduced scale, never below twice that. The
    pixel hash is of the picture as decoded. Raises `PictureError` with the reason for everything else.
    """
    _enable_heif()
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as opened:
            return _decode(opened, data, side)
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        if data[4:12] in _HEIF_MARKS:
            raise PictureError(
                "HEIC needs the extra: pip install 'image-curator[heif]', then curator index --retry"
            ) from error
        raise PictureError("not a picture in an allowed format") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"more than {MAX_PIXELS // 10**6} megapixels") from error
    except Exception as error:  # Pillow's decoders raise almost anything on a corrupt file
        raise PictureError(f"damaged: {str(error) or type(error).__name__}") from error


def read_picture(path: Path, *, side: int = 0) -> Image.Image:
    """Read one file as an upright RGB picture, for use at `side` pixels. Raises `PictureError`, naming the file."""
    try:
        return decode(read_bytes(path), side=side).picture
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error


def _decode(opened: Image.Image, data: bytes, side: int) -> Decoded:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise PictureError(f"more than {MAX_PIXELS // 10**6} megapixels ({width} × {height})")
    exif = _exif(opened)
    kind, mode = opened.format or "", opened.mode
    if kind in ("JPEG", "MPO"):
        least = max(DRAFT_SIDE, 2 * side)
        opened.draft(None, (least, least))
    opened.load()
    picture = _to_rgb(_to_srgb(opened))
    if exif.orientation != 1:
        picture.getexif()[_ORIENTATION] = exif.orientation
        picture = ImageOps.exif_transpose(picture)
    if exif.orientation >= 5:
        width, height = height, width
    picture.info.clear()
    pixels = hashlib.sha256(b"%d %d " % picture.size + picture.tobytes()).digest()[:16]
    content = Content(hashlib.sha256(data).digest(), pixels, width, height, mode, kind, exif.taken_at, exif.camera)
    return Decoded(content, picture)


@dataclass(frozen=True)
class _Exif:
    orientation: int = 1
    taken_at: str | None = None
    camera: str | None = None


def _exif(opened: Image.Image) -> _Exif:
    """Orientation, date as `YYYY-MM-DD HH:MM:SS`, and camera; a damaged EXIF block is as good as none."""
    try:
        exif = opened.getexif()
        orientation = exif.get(_ORIENTATION, 1)
        taken = exif.get_ifd(_EXIF_IFD).get(_TAKEN)
        camera = " ".join(_text(exif[t]) for t in (_MAKE, _MODEL) if exif.get(t))
    except Exception:  # noqa: BLE001 - EXIF parsing raises almost anything on a damaged block, and the picture is still good
        return _Exif()
    when = _text(taken) if taken else None
    if when and len(when) >= 10:
        when = when[:10].replace(":", "-") + when[10:]
    return _Exif(orientation if orientation in range(1, 9) else 1, when, camera or None)


def _text(value: object) -> str:
    return str(value).replace("\0", "").strip()


def _to_srgb(picture: Image.Image) -> Image.Image:
    """Apply an embedded ICC profile; one that cannot be used is ignored, as viewers do."""
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    if picture.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return picture
    with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return picture
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(picture, source, _SRGB, outputMode=mode)
        if converted is not None:
            return converted
    return picture


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _deep_gray(picture)
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        over = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return picture.copy() if picture.mode == "RGB" else picture.convert("RGB")


def _deep_gray(picture: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey → 8-bit: by the range of the type, or 0–1 where all values lie there."""
    values = np.nan_to_num(np.asarray(picture, np.float64), posinf=0.0, neginf=0.0)
    top = values.max(initial=0)
    if picture.mode == "F" and top <= 1:
        values = values * 255
    elif picture.mode != "F" and (picture.mode.startswith("I;16") or top > 255):
        values = values / 257
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).convert("RGB")


def _enable_heif() -> None:
    """Register HEIC once if the `heif` extra is installed."""
    if "HEIF" not in Image.OPEN:
        with suppress(ImportError):
            from pillow_heif import register_heif_opener

            register_heif_opener()


def _formats() -> tuple[str, ...]:
    return (*FORMATS, "HEIF") if "HEIF" in Image.OPEN else FORMATS
