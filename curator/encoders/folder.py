"""Exported towers as a set carries them: opened by their checksums alone, on a machine that never had the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from curator.embeddings import normalise
from curator.encoders.base import Encoder
from curator.encoders.catalogue import Weights
from curator.encoders.clip import ClipEncoder
from curator.encoders.spec import SPEC, sound_spec
from curator.errors import EncoderError, SpaceMismatch
from curator.files import sha256_of
from curator.records import Vectors

SAME = 0.9999  # least cosine with the stored vectors of the probe: another machine differs in the last digits only
_PROBES = 4


def tower_files(encoder: Encoder) -> dict[str, Path]:
    """Name → file of what makes up an encoder; none for one that has no files, which workers take by its name."""
    if not isinstance(encoder, ClipEncoder):
        return {}
    return {name: encoder.folder / name for name in (*encoder.spec.files, SPEC)}


def open_towers(name: str, folder: Path, *, threads: int = 0, gpu: bool = False) -> ClipEncoder:
    """An encoder from a folder of `tower_files`; `threads` of the CPU, 0 for all; `gpu` where the runtime has one.

    Neither torch nor the weights are needed, but for words of an encoder whose tokenizer is the hub's. Raises
    `EncoderError` for files that are not what was exported.
    """
    spec = sound_spec(folder)
    if spec is None:
        raise EncoderError(
            f"the towers in {folder} are not what was exported; delete the folder, and it is fetched again"
        )
    return ClipEncoder(Weights(name), folder, spec, runtime="onnx", threads=threads, gpu=gpu)


def probe_vectors(encoder: Encoder) -> Vectors:
    """(4, d) unit rows: what an encoder makes of four fixed pictures."""
    return normalise(encoder.project_in_lane(np.stack([encoder.prepare(p) for p in _probe_pictures()])))


def check_probe(encoder: Encoder, expected: Vectors, who: str) -> None:
    """Raise `SpaceMismatch` if the four pictures do not come out as they did where the set was begun."""
    if expected.shape != (_PROBES, encoder.dim):
        raise SpaceMismatch(f"the probe has vectors of shape {expected.shape}, and '{encoder.name}' makes others")
    least = float((probe_vectors(encoder) * expected).sum(1).min())
    if not least >= SAME:
        raise SpaceMismatch(
            f"{who} makes other vectors of the probe pictures (least cosine {least:.5f}, {SAME} is required): other "
            "weights, or another precision; nothing was written"
        )


def _probe_pictures() -> list[Image.Image]:
    """Noise, a slope, rings and a chequer, 256 pixels a side: the same to the bit on every machine."""
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (256, 256, 3), np.uint8)
    y, x = np.mgrid[:256, :256]
    slope = np.stack([x, y, 255 - x], -1).astype(np.uint8)
    rings = np.repeat((((x - 128) ** 2 + (y - 128) ** 2) // 256 % 256)[..., None], 3, -1).astype(np.uint8)
    chequer = np.repeat(((x // 32 + y // 32) % 2 * 255)[..., None], 3, -1).astype(np.uint8)
    return [Image.fromarray(pixels) for pixels in (noise, slope, rings, chequer)]


def checksums(files: Mapping[str, Path]) -> dict[str, str]:
    """Name → SHA-256."""
    return {name: sha256_of(file) for name, file in files.items()}
