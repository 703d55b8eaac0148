"""Camera RAW files, told by their first bytes and developed by LibRaw (the extra `raw`)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Literal

from PIL import Image

from curator.errors import PictureError

RAW_SUFFIXES = frozenset([
    ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw", ".3fr",
    ".iiq", ".mrw", ".x3f", ".erf", ".mef", ".mos", ".kdc", ".dcr", ".rwl",
])  # fmt: skip
_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb")
_FURTHER = ((4, b"ftypcrx "), (8, b"CR\x02"), (6, b"HEAPCCDR"))
_TIFF: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
_WHOLE = {3: 2, 4: 4}  # kinds of whole numbers in a TIFF, and their bytes
_TURNED = (5, 6)  # LibRaw's words for a quarter turn either way
_MOST_TAGS = 512
# TIFF tags: what kind of picture the first one is, how it is packed, how it is shown, where others lie, DNG's version.
_SUBFILE, _COMPRESSION, _PHOTOMETRIC, _SUB_IFDS, _DNG = 254, 259, 262, 330, 50706
_PENTAX, _MOSAIC = 65535, 32803


def is_raw(data: bytes) -> bool:
    """Whether bytes begin as a camera's RAW file does.

    Most are TIFF files, and begin with a small picture that stands for the one in a later directory.
    """
    if data.startswith(_STARTS) or any(data.startswith(mark, first) for first, mark in _FURTHER):
        return True
    tags = dict(_first_tags(data))
    if _DNG in tags or tags.get(_COMPRESSION) == _PENTAX or tags.get(_PHOTOMETRIC) == _MOSAIC:
        return True
    return bool(tags.get(_SUBFILE, 0) & 1) and _SUB_IFDS in tags


def develop(data: bytes, least: int, most: int) -> tuple[Image.Image, tuple[int, int]]:
    """The picture by the camera's white balance, upright, and the size (width, height) that it has in full.

    It comes at half of it where both sides stay above `least`. Raises `PictureError`, for more than `most` pixels too.
    """
    try:
        import rawpy
    except ImportError as error:
        raise PictureError(
            "camera RAW needs the extra: pip install 'image-curator[raw]', then curator index --retry"
        ) from error
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            sizes = raw.sizes
            width, height = (sizes.height, sizes.width) if sizes.flip in _TURNED else (sizes.width, sizes.height)
            if width * height > most:
                raise PictureError(f"more than {most // 10**6} megapixels ({width} × {height})")
            is_large = min(width, height) >= 2 * least
            pixels = raw.postprocess(use_camera_wb=True, half_size=is_large, output_bps=8)
    except rawpy.LibRawError as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else error
        raise PictureError(f"a camera RAW file that LibRaw cannot read: {reason}") from error
    # A sensor without colours gives one of them.
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).convert("RGB"), (width, height)


def _first_tags(data: bytes) -> Iterator[tuple[int, int]]:
    """(tag, its value where that is one whole number, else 0) of a TIFF's first directory."""
    order = _TIFF.get(data[:4])
    if order is None:
        return

    def number(begin: int, size: int) -> int:
        return int.from_bytes(data[begin : begin + size], order)

    first = number(4, 4)
    for entry in range(min(number(first, 2), _MOST_TAGS)):
        begin = first + 2 + 12 * entry
        is_whole = number(begin + 2, 2) in _WHOLE and number(begin + 4, 4) == 1
        yield number(begin, 2), number(begin + 8, _WHOLE[number(begin + 2, 2)]) if is_whole else 0
