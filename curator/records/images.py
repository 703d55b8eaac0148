"""Images, contents, spaces, hits, and the array aliases all records are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

INDEX_MARK = b"CUR1"  # application id in the header of an index's database
FORGOTTEN = "forgotten"  # option of a root that a bare `curator index` leaves out

# The symmetries of the square: what a picture looks like mirrored, upside down, on its side, and both.
DIHEDRAL = ("same", "mirror", "flip", "rotate-180", "transpose", "rotate-90", "rotate-270", "transverse")

Vectors = NDArray[np.float32]  # (n, d) float32
Scores = NDArray[np.float32]  # (k,) inner products of unit vectors, larger is closer
Ids = NDArray[np.int64]  # (k,) SQLite keys of images
Positions = NDArray[np.int64]  # (k,) offsets into an array or a FAISS file
Pixels = NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True, slots=True)  # there may be millions
class ImageFile:
    """A picture file as the walk saw it. `path` is relative to its root; `mtime_ns` in nanoseconds, `size` in bytes."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Skipped:
    """A file that could not be read, with the reason in words."""

    path: str
    reason: str
    size: int = 0
    mtime_ns: int = 0


@dataclass(frozen=True)
class Content:
    """What the bytes of a file say, whatever its path: keyed by the SHA-256 of the whole file."""

    sha256: bytes
    pixel_hash: bytes
    width: int
    height: int
    mode: str
    format: str
    taken_at: str | None = None
    camera: str | None = None


@dataclass(frozen=True)
class Measures:
    """What the pixels of one content say: `hashes` (8,) uint64, a pHash for each of `DIHEDRAL`.

    `brightness` and `contrast` are mean and standard deviation of the grey levels, in [0, 1]; `entropy` of their
    histogram in bits, [0, 8]; `sharpness` the spread of the Laplacian over that of the picture, at 256 pixels, about
    [0, 1].
    """

    hashes: NDArray[np.uint64]
    sharpness: float
    brightness: float
    contrast: float
    entropy: float


@dataclass(frozen=True)
class Notes:
    """What a person or a side-car file says of an image. `extra` maps further column names to JSON scalars."""

    label: str | None = None
    caption: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """One row of the index, joined with its content."""

    id: int
    path: Path
    size: int
    sha256: str
    width: int
    height: int
    mode: str
    format: str
    origin: str
    label: str | None
    caption: str | None
    taken_at: str | None
    camera: str | None
    mtime_ns: int
    tags: tuple[str, ...]
    extra: Mapping[str, Any]
    uri: str | None = None  # of an image that a service has; `path` is then only good for its name

    @property
    def place(self) -> str:
        """Where it is, in words: a uri, or the path of a file."""
        return self.uri or str(self.path)


@dataclass(frozen=True, slots=True)  # there may be millions
class KnownImage:
    """What a scan compares a file with."""

    id: int
    size: int
    mtime_ns: int
    content_id: int
    removed: str | None
    origin: str
    label: str | None
    caption: str | None
    extra: str


@dataclass(frozen=True)
class Root:
    """A registered folder of pictures; `options` are those of its last `curator index`."""

    id: int
    path: Path
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Space:
    """Encoder + weights + preprocessing: vectors are comparable only within one.

    `generation` names the FAISS files that hold the space's vectors up to change number `built_seq`; 0 means none yet.
    """

    id: int
    encoder: str
    fingerprint: str
    dim: int
    generation: int
    built_seq: int
    files_sha256: str


@dataclass(frozen=True)
class Hits:
    """Result of a search, best first, ties by id; may be shorter than asked for.

    `ids` (k,) int64; `scores` (k,) float32; `z` (k,) how many spreads each score lies above what this query scores on a
    fixed sample of the index, NaN in an index too small to tell; `confidence` (k,) the probability that the image shows
    what the words say, NaN where that has not been learnt, and for pictures always. `exact` says that every candidate
    was compared; `clear` is False where nothing clearly matches; `notes` are remarks a person should read.
    """

    ids: Ids
    scores: Scores
    z: NDArray[np.float32]
    confidence: NDArray[np.float32]
    searched: int
    exact: bool = True
    clear: bool = True
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class IngestReport:
    """What one `curator index` did.

    Counts of images, `noted` of those whose label or other notes have changed; `seconds` of wall time; `problems` of
    roots that were left out; `remarks` on what was passed over and on what side-cars and tables say.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    moved: int = 0
    restored: int = 0
    removed: int = 0
    skipped: int = 0
    still_skipped: int = 0
    encoded: int = 0
    noted: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def newly_skipped(self) -> int:
        """Files that could not be read, and were not listed before."""
        return self.skipped - self.still_skipped


@dataclass(frozen=True)
class Progress:
    """Told while work runs: `done` of `total`, of which `already` were done at the start.

    `doing` says what, `unit` of what.
    """

    done: int
    total: int
    already: int
    doing: str
    unit: str = "images"


@dataclass(frozen=True)
class Finding:
    """One thing `curator verify` found wrong: where, what, and whether `curator repair` mends it."""

    place: str
    problem: str
    repairable: bool
