"""Pictures to train on, decoded once into bytes at training resolution.

The one place where bytes become [−1, 1] and back.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.errors import PictureError, UsageError
from curator.images import read_picture
from curator.job import QUIET, Job, cores
from curator.records import Ids, Vectors

_MAPPED = 2 * 2**30  # bytes from which the array lies in a file
_NEAR = 0.8  # a square picture at least this large beside `side` is padded to it; a smaller one is enlarged

Bytes = NDArray[np.uint8]

_SEEN = 2.0  # of 255: the mean standard deviation of a pixel over pictures, under which they look the same


@dataclass(frozen=True)
class Shape:
    """All that a network needs to know of pictures.

    `channels`, `side` in pixels with its `border`, `classes`, `dims` of embeddings.
    """

    channels: int
    side: int
    border: int = 0
    classes: tuple[str, ...] = ()
    dims: int = 0

    def condition_size(self, condition: str) -> int:
        """k: how many numbers condition a generator."""
        return len(self.classes) if condition == "label" else self.dims if condition == "embedding" else 0


@dataclass(frozen=True)
class Pictures:
    """Pictures with all that a training needs of them.

    `pixels` (n, C, H, W) uint8; `labels` (n,) positions in `classes`, −1 for none; `ids` (n,); `sha256` of the files.
    `border` are pixels that were padded on each side, and are cut off what is generated. `embeddings` (n, d) unit rows
    and `neighbours` (n, k) positions, the image itself first, are for generators that are conditioned on them;
    `inputs` (n,) are the ids of pictures that pairs begin with, where those are images of their own, and `input_sha256`
    the digests of their files.
    """

    pixels: Bytes
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    ids: Ids
    sha256: tuple[bytes, ...]
    border: int = 0
    embeddings: Vectors | None = None
    neighbours: NDArray[np.int64] | None = None
    inputs: Ids | None = None
    input_sha256: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> Shape:
        """What networks need to know."""
        dims = self.embeddings.shape[1] if self.embeddings is not None else 0
        return Shape(self.pixels.shape[1], self.pixels.shape[2], self.border, self.classes, dims)

    @property
    def inner(self) -> Bytes:
        """(n, C, H, W) without the border."""
        within = slice(self.border, self.pixels.shape[2] - self.border)
        return self.pixels[:, :, within, within]

    def taken(self, at: NDArray[np.int64]) -> Pictures:
        """Those at positions (m,), in their order.

        Neighbours that are not among them are replaced by the image itself.
        """
        near = None
        if self.neighbours is not None:
            place = np.full(len(self), -1, np.int64)
            place[at] = np.arange(len(at))
            near_kept = place[self.neighbours[at]]
            near = np.where(near_kept >= 0, near_kept, np.arange(len(at))[:, None])
        # A run of positions is a view, so that a mapped array stays in its file.
        whole = len(at) > 0 and bool((np.diff(at) == 1).all())
        return replace(
            self,
            pixels=self.pixels[at[0] : at[-1] + 1] if whole else self.pixels[at],
            labels=self.labels[at],
            ids=self.ids[at],
            sha256=tuple(self.sha256[i] for i in at.tolist()),
            embeddings=self.embeddings[at] if self.embeddings is not None else None,
            neighbours=near,
            inputs=self.inputs[at] if self.inputs is not None else None,
            input_sha256=tuple(self.input_sha256[i] for i in at.tolist()) if self.input_sha256 else (),
        )

    def divide(self, share: float) -> tuple[Pictures, Pictures]:
        """(to train on, held out), by a hash of content: copies stay together, and more images never move one."""
        held = held_out(self.sha256, share)
        return self.taken(np.flatnonzero(~held)) if held.any() else self, self.taken(np.flatnonzero(held))


def held_out(hashes: Sequence[bytes], share: float) -> NDArray[np.bool_]:
    """(n,) which contents are held out, by a hash of their digests."""
    # 8 bytes of a hash are a number in [0, 2⁶⁴), evenly spread: the share below share · 2⁶⁴ is held out.
    marks = [hashlib.sha256(b"holdout" + h).digest()[:8] for h in hashes]
    return np.array([int.from_bytes(m, "big") < share * 2**64 for m in marks], bool)


def pictures_of(pixels: Bytes, labels: NDArray[np.int64] | None = None, classes: Sequence[str] = ()) -> Pictures:
    """Pictures from an array (n, H, W) or (n, C, H, W) uint8, as tests and benchmarks have them.

    The digests are of the pixels.
    """
    # (n, H, W) → (n, 1, H, W)
    x = np.ascontiguousarray(pixels[:, None] if pixels.ndim == 3 else pixels)
    hashes = tuple(hashlib.sha256(row.tobytes()).digest() for row in x)
    y = np.full(len(x), -1, np.int64) if labels is None else np.asarray(labels, np.int64)
    return Pictures(x, y, tuple(classes), np.arange(len(x), dtype=np.int64), hashes)


def padded(pictures: Pictures, side: int) -> Pictures:
    """Pad square pictures to `side` by their own edges, as 28 px to 32."""
    border, odd = divmod(side - pictures.shape.side, 2)
    if border < 0 or odd:
        raise UsageError(f"{pictures.shape.side} px cannot be padded evenly to {side}")
    # (n, C, s, s) → (n, C, side, side)
    edges = ((0, 0), (0, 0), (border, border), (border, border))
    return replace(
        pictures, pixels=np.pad(pictures.pixels, edges, mode="edge") if border else pictures.pixels, border=border
    )


def inner_side(sizes: Sequence[tuple[int, int]], side: int) -> int:
    """How large pictures are laid into `side`.

    Square ones of one size a little below it stay as they are; all others fill it.
    """
    width, height = sizes[0]
    as_is = (
        width == height and _NEAR * side < width < side and (side - width) % 2 == 0 and set(sizes) == {(width, height)}
    )
    return width if as_is else side


@dataclass(frozen=True)
class Loaded:
    """Files that were read: `pixels` (m, C, side, side or twice it) of those at positions `kept` (m,).

    `problems` say why others could not be read.
    """

    pixels: Bytes
    kept: NDArray[np.int64]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """How files become bytes: `side` pixels, `fit` to a square; or `halves`, each made square, beside each other."""

    side: int
    fit: str = "crop"
    halves: bool = False

    @property
    def width(self) -> int:
        """In pixels, of what is read."""
        return self.side * (2 if self.halves else 1)

    def read(self, path: Path, sha256: str = "") -> Bytes:
        """(side, width, 3) of a file. Raises `PictureError`, also for another content than that of `sha256`."""
        picture = read_picture(path, side=self.width, sha256=sha256)
        parts = halves_of(picture) if self.halves else (picture,)
        return np.concatenate([np.asarray(fitted(part, self.side, self.fit)) for part in parts], 1)


def read_pictures(
    paths: Sequence[Path],
    reading: Reading,
    *,
    sha256: Sequence[str] = (),
    home: Path | None = None,
    most: int = _MAPPED,
    job: Job = QUIET,
) -> Loaded:
    """Files → bytes: one channel if all are grey, else three.

    A file that cannot be read, or has another content than that of `sha256`, is left out, with its reason. Resized by
    LANCZOS, the antialiased filter (an aliased one changes every Fréchet distance: Parmar et al. 2022), after it was
    cropped to the middle square, or squashed. Beyond `most` bytes the array is mapped to a file in `home` that has no
    name, and goes when the process does.
    """

    def read(path: Path, content: str) -> Bytes | str:
        try:
            return reading.read(path, content)
        except PictureError as error:
            return str(error)

    x = _room((len(paths), reading.side, reading.width, 3), home, most)
    grey = True
    left: list[int] = []
    problems: list[str] = []
    with ThreadPoolExecutor(cores()) as pool:
        for i, pixels in enumerate(pool.map(read, paths, sha256 or [""] * len(paths))):
            if isinstance(pixels, str):
                problems.append(pixels)
            else:
                x[len(left)] = pixels
                left.append(i)
                grey = grey and bool((pixels[..., :1] == pixels).all())
            job.progress(i + 1, len(paths), "decoding")
            job.check()
    turned = (x[: len(left), ..., :1] if grey else x[: len(left)]).transpose(0, 3, 1, 2)
    pixels = turned if isinstance(x, np.memmap) else np.ascontiguousarray(turned)
    return Loaded(pixels, np.array(left, np.int64), tuple(problems))


def _room(shape: tuple[int, ...], home: Path | None, most: int) -> Bytes:
    if home is None or int(np.prod(shape, dtype=np.int64)) <= most:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile(dir=home) as nameless:
        return np.memmap(nameless, np.uint8, "w+", shape=shape)


def halves_of(picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The left and the right half of a picture."""
    middle = picture.width // 2
    return picture.crop((0, 0, middle, picture.height)), picture.crop((picture.width - middle, 0, *picture.size))


def fitted(picture: Image.Image, side: int, fit: str) -> Image.Image:
    """To a square of `side` pixels."""
    if fit == "crop" and picture.width != picture.height:
        least = min(picture.size)
        left, top = (picture.width - least) // 2, (picture.height - least) // 2
        picture = picture.crop((left, top, left + least, top + least))
    return picture if picture.size == (side, side) else picture.resize((side, side), Image.Resampling.LANCZOS)


def to_unit(pixels: Any) -> Any:
    """Bytes 0–255, a tensor → float32 in [−1, 1]. `to_bytes` is its inverse; nothing else here converts."""
    return pixels.float() / 127.5 - 1.0


def to_bytes(x: Any, border: int = 0) -> Bytes:
    """A tensor (b, C, H, W) around [−1, 1] → bytes, clipped, without the border."""
    y: Bytes = ((x.detach().float() + 1.0) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
    return y[:, :, border : y.shape[2] - border, border : y.shape[3] - border] if border else y


def to_picture(pixels: Bytes) -> Image.Image:
    """(C, H, W) → a picture, grey or RGB."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def tiled(pixels: Bytes, columns: int = 8, scale: int = 2) -> Image.Image:
    """(n, C, H, W) → one picture of all of them, row by row, a pixel apart and enlarged as they are."""
    n, channels, height, width = pixels.shape
    rows = -(-n // columns)
    sheet = np.full((channels, rows * (height + 1) + 1, columns * (width + 1) + 1), 255, np.uint8)
    for i, one in enumerate(pixels):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        sheet[:, top : top + height, left : left + width] = one
    picture = to_picture(sheet)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def are_alike(pictures: Sequence[Bytes], conditions: int) -> bool:
    """Whether the pictures (C, H, W) of each condition, which take turns, differ by less than the eye sees."""
    groups = [np.stack(pictures[i::conditions]) for i in range(conditions) if len(pictures[i::conditions]) > 1]
    return bool(groups) and all(g.astype(np.float32).std(0).mean() < _SEEN for g in groups)
