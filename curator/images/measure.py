"""What the pixels of a picture say without any encoder: perceptual hashes and numbers by which to find bad pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.records import DIHEDRAL, Measures

_HASHED = 32  # pixels a side under the cosine transform
_KEPT = 8  # lowest frequencies a side → 64 bits
_SIDE = 256  # pixels of the long side at which sharpness is measured, so that it compares across sizes


def _cosines() -> NDArray[np.float64]:
    """(8, 32): the lowest rows of the DCT-II matrix."""
    u, x = np.mgrid[:_KEPT, :_HASHED]
    return np.asarray(np.cos(np.pi * (2 * x + 1) * u / (2 * _HASHED)))


_COSINES = _cosines()


def _symmetries() -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """(8, 64) each, in the order of `DIHEDRAL`: where a turned picture's coefficients stand in the picture's own
    transform, row by row, and their signs. Mirroring a picture negates its odd frequencies, transposing transposes."""
    place, odd = np.arange(_KEPT * _KEPT).reshape(_KEPT, _KEPT), np.where(np.arange(_KEPT) % 2, -1.0, 1.0)
    across, down, plain = (
        np.broadcast_to(odd, place.shape),
        np.broadcast_to(odd[:, None], place.shape),
        np.ones(place.shape),
    )
    turned = {
        "same": (place, plain),
        "mirror": (place, across),
        "flip": (place, down),
        "rotate-180": (place, across * down),
        "transpose": (place.T, plain),
        "rotate-90": (place.T, down),
        "rotate-270": (place.T, across),
        "transverse": (place.T, across * down),
    }
    places, signs = zip(*(turned[name] for name in DIHEDRAL), strict=True)
    return np.stack(places).reshape(len(DIHEDRAL), -1), np.stack(signs).reshape(len(DIHEDRAL), -1)


_PLACES, _SIGNS = _symmetries()


def measure(picture: Image.Image) -> Measures:
    """Hashes and quality numbers of a decoded picture; see `Measures` for their units."""
    grey = picture.convert("L")
    levels = np.asarray(grey.histogram(), np.float64)
    share = levels / levels.sum()
    mean = float(share @ np.arange(256))
    spread = float(np.sqrt(share @ (np.arange(256) - mean) ** 2))
    shares = share[share > 0]
    return Measures(
        perceptual_hashes(grey),
        sharpness=_sharpness(grey),
        brightness=mean / 255,
        contrast=spread / 255,
        entropy=float(-(shares * np.log2(shares)).sum()) + 0.0,
    )


def perceptual_hashes(grey: Image.Image) -> NDArray[np.uint64]:
    """(8,) pHashes of a grey picture under the eight symmetries of the square, in the order of `DIHEDRAL`.

    pHash after Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", §3.2: the 8 × 8
    lowest frequencies of a 32 × 32 cosine transform, each bit whether a coefficient exceeds their median. The mean
    (frequency 0, 0) is left out: it says how bright a picture is, and its bit is 0. One transform serves all eight.
    """
    small = np.asarray(grey.resize((_HASHED, _HASHED), Image.Resampling.BOX, reducing_gap=None), np.float64)
    values = (_COSINES @ small @ _COSINES.T).ravel()[_PLACES] * _SIGNS
    middle = (_KEPT * _KEPT - 1) // 2  # of an odd number of values the middle one is the median
    median = np.partition(values[:, 1:], middle, axis=1)[:, middle, None]
    bits = values > median
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def _sharpness(grey: Image.Image) -> float:
    """Spread of the Laplacian over that of the picture itself, at 256 pixels.

    About 0 for blur, 0.5 and more for sharp texture.
    """
    scale = _SIDE / max(grey.size)
    if scale < 1:
        grey = grey.resize(
            (max(3, round(grey.width * scale)), max(3, round(grey.height * scale))), Image.Resampling.BOX
        )
    v = np.asarray(grey, np.float32)
    if min(v.shape) < 3:
        return 0.0
    laplacian = 4 * v[1:-1, 1:-1] - v[:-2, 1:-1] - v[2:, 1:-1] - v[1:-1, :-2] - v[1:-1, 2:]
    spread = float(v.std())
    return float(laplacian.std()) / (4 * spread) if spread > 0.5 else 0.0
