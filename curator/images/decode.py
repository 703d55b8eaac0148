"""Bytes of a picture file → upright RGB on white in sRGB, and what the file says of itself."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from curator.errors import PictureError
from curator.files import read_regular
from curator.images.raw import develop, is_raw
from curator.records import Content
from curator.texts import valid_text

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "PPM", "JPEG2000", "ICO", "PSD")
_TGA_KINDS = {1, 2, 3, 9, 10, 11}  # of a Targa header, which has no magic number
MAX_BYTES = 256 * 2**20
MAX_PIXELS = 178_956_970  # where Pillow itself refuses a decompression bomb
DRAFT_SIDE = 448  # a JPEG is decoded at reduced scale while both sides stay at least this (Pillow's draft mode)
_HEIF_MARKS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc")
_JXL_MARKS = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
_SRGB = ImageCms.createProfile("sRGB")
_ORIENTATION, _MAKE, _MODEL, _EXIF_IFD = 0x0112, 0x010F, 0x0110, 0x8769
# When it was taken, digitised, and changed last, each with the tag of its offset from UTC.
_TAKEN = ((0x9003, 0x9011), (0x9004, 0x9012), (0x0132, 0x9010))

_BAND = 256  # rows of deep grey that are floats at a time
_OFFSET = re.compile(r"[+-]\d\d:\d\d")

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
        data = read_regular(path, MAX_BYTES)
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
    _enable_extras()
    try:
        if is_raw(data):
            return _decode_raw(data, side)
        with Image.open(io.BytesIO(data), formats=allowed_formats(data)) as opened:
            return _decode(opened, data, side)
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        if data[4:12] in _HEIF_MARKS:
            raise PictureError(
                "HEIC needs the extra: pip install 'image-curator[heif]', then curator index --retry"
            ) from error
        if data.startswith(_JXL_MARKS):
            raise PictureError(
                "JPEG XL needs the extra: pip install 'image-curator[jxl]', then curator index --retry"
            ) from error
        raise PictureError("not a picture in an allowed format") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"more than {MAX_PIXELS // 10**6} megapixels") from error
    except Exception as error:  # Pillow's decoders raise almost anything on a corrupt file
        raise PictureError(f"damaged: {str(error) or type(error).__name__}") from error


def read_picture(path: Path, *, side: int = 0, sha256: str = "") -> Image.Image:
    """Read one file as an upright RGB picture, for use at `side` pixels.

    Raises `PictureError`, naming the file, also where its content is not that of a `sha256` in hex.
    """
    try:
        data = read_bytes(path)
        if sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise PictureError("has changed since it was indexed; run `curator index`")
        return decode(data, side=side).picture
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error


def _decode(opened: Image.Image, data: bytes, side: int) -> Decoded:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise PictureError(f"more than {MAX_PIXELS // 10**6} megapixels ({width} × {height})")
    exif = _exif(opened.getexif)
    kind, mode = opened.format or "", opened.mode
    orientation = 1 if kind == "TIFF" else exif.orientation  # Pillow turns a TIFF itself, as it loads it
    if kind in ("JPEG", "MPO"):
        least = max(DRAFT_SIDE, 2 * side)
        opened.draft(None, (least, least))
    with _ROOM.of(_PER_PIXEL * opened.width * opened.height):
        opened.load()
        picture = _to_rgb(to_srgb(opened))
    if kind == "TIFF":
        width, height = opened.size
    if orientation != 1:
        picture.getexif()[_ORIENTATION] = orientation
        picture = ImageOps.exif_transpose(picture)
    if orientation >= 5:
        width, height = height, width
    picture.info.clear()
    return _described(picture, data, size=(width, height), mode=mode, kind=kind, exif=exif)


def _decode_raw(data: bytes, side: int) -> Decoded:
    with _ROOM.of(_RAW_BYTES * len(data)):
        picture, size = develop(data, max(DRAFT_SIDE, 2 * side), MAX_PIXELS)
    return _described(picture, data, size=size, mode="RGB", kind="RAW", exif=_exif(lambda: _tags_of(data)))


def _described(
    picture: Image.Image, data: bytes, *, size: tuple[int, int], mode: str, kind: str, exif: _Exif
) -> Decoded:
    pixels = hashlib.sha256(b"%d %d " % picture.size)
    pixels.update(picture.tobytes())
    content = Content(
        hashlib.sha256(data).digest(), pixels.digest()[:16], *size, mode, kind, exif.taken_at, exif.camera
    )
    return Decoded(content, picture)


@dataclass(frozen=True)
class _Exif:
    orientation: int = 1
    taken_at: str | None = None
    camera: str | None = None


def _tags_of(data: bytes) -> Image.Exif:
    """The first directory of a TIFF."""
    exif = Image.Exif()
    exif.load(data)
    return exif


def _exif(read: Callable[[], Image.Exif]) -> _Exif:
    """Orientation, date and camera; a damaged EXIF block is as good as none."""
    try:
        exif = read()
        orientation = exif.get(_ORIENTATION, 1)
        inner = exif.get_ifd(_EXIF_IFD)
        dates = (_date(inner.get(tag) or exif.get(tag), inner.get(offset)) for tag, offset in _TAKEN)
        taken = next((date for date in dates if date), None)
        camera = " ".join(_text(exif[t]) for t in (_MAKE, _MODEL) if exif.get(t))
    except Exception:  # noqa: BLE001 - EXIF parsing raises almost anything on a damaged block, and the picture is still good
        return _Exif()
    return _Exif(orientation if orientation in range(1, 9) else 1, taken, camera or None)


def _date(written: object, offset: object) -> str | None:
    """`YYYY:MM:DD HH:MM:SS` → ISO, with its offset from UTC if the camera knew it; None for what is no date."""
    if not written:
        return None
    plain = _text(written)[:19].replace("/", ":").replace("-", ":").replace("T", " ")
    for form in ("%Y:%m:%d %H:%M:%S", "%Y:%m:%d %H:%M", "%Y:%m:%d"):
        with suppress(ValueError):
            when = datetime.strptime(plain, form)
            zone = _text(offset)
            return f"{when:%Y-%m-%d %H:%M:%S}{zone if _OFFSET.fullmatch(zone) else ''}"
    return None


def _text(value: object) -> str:
    return valid_text("" if value is None else str(value).replace("\0", "")).strip()


def to_srgb(picture: Image.Image) -> Image.Image:
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
    """16-bit, 32-bit and float grey → 8-bit: by the range of the type, or 0–1 where all values lie there.

    In bands of rows: whole, the floats would take four times the picture's own bytes.
    """
    width, height = picture.size
    bands = [(0, top, width, min(top + _BAND, height)) for top in range(0, height, _BAND)]
    largest = max((float(_finite(picture.crop(band)).max(initial=0)) for band in bands), default=0.0)
    factor = 1.0
    if picture.mode == "F" and largest <= 1:
        factor = 255.0
    elif picture.mode != "F" and (picture.mode.startswith("I;16") or largest > 255):
        factor = 1 / 257
    grey = np.empty((height, width), np.uint8)
    for band in bands:
        grey[band[1] : band[3]] = np.clip(np.rint(_finite(picture.crop(band)) * np.float32(factor)), 0, 255)
    return Image.fromarray(grey).convert("RGB")


def _finite(picture: Image.Image) -> NDArray[np.float32]:
    return np.nan_to_num(np.asarray(picture, np.float32), posinf=0.0, neginf=0.0)


class _Room:
    """Bytes that all threads together may fill with decoded pictures; who wants more waits."""

    def __init__(self, total: int) -> None:
        self.total, self.used, self.changed = total, 0, threading.Condition()

    @contextmanager
    def of(self, size: int) -> Iterator[None]:
        """Within it `size` bytes are taken. One that alone is larger than all waits until it is alone."""
        with self.changed:
            self.changed.wait_for(lambda: not self.used or self.used + size <= self.total)
            self.used += size
        try:
            yield
        finally:
            with self.changed:
                self.used -= size
                self.changed.notify_all()


_ROOM = _Room(2 * 2**30)
_PER_PIXEL = 12  # bytes: as decoded, with transparency, and as RGB
_RAW_BYTES = 12  # for each byte of a RAW file: three colours of 16 bits a pixel, twice


@lru_cache(maxsize=1)  # an import that fails is looked for on the disk each time
def _enable_extras() -> None:
    """Register HEIC and JPEG XL if their extras are installed."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401 - registers itself


def allowed_formats(data: bytes) -> list[str]:
    """Names that Pillow may try on a file: bundled ones, extras that are here, TGA where it looks like it."""
    extras = [name for name in ("HEIF", "JXL") if name in Image.OPEN]
    return [*FORMATS, *extras, *(["TGA"] if _is_targa(data) else [])]


def _is_targa(data: bytes) -> bool:
    """Whether the header makes sense as one: colour map, kind, sides and bits of a pixel."""
    if len(data) < 18:
        return False
    width, height = int.from_bytes(data[12:14], "little"), int.from_bytes(data[14:16], "little")
    return data[1] < 2 and data[2] in _TGA_KINDS and width > 0 < height and data[16] in (8, 15, 16, 24, 32)
