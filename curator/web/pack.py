"""Arrays as bytes for the page: a head of JSON that names them, then one after the other, little-endian."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.texts import to_json


@dataclass(frozen=True)
class Packed:
    """An answer: facts in words, and arrays by name, which a page takes as they are and JSON as lists."""

    facts: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def as_lists(self) -> dict[str, Any]:
        """All of it as values of JSON."""
        return dict(self.facts) | {name: values.tolist() for name, values in self.arrays.items()}

    def as_bytes(self) -> bytes:
        """All of it as `pack` packs it."""
        return pack(self.facts, self.arrays)


_TYPES: dict[str, np.dtype[Any]] = {"i": np.dtype("<i4"), "f": np.dtype("<f4"), "d": np.dtype("<f8")}
_LARGE = 2**31 - 1


def pack(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Length of the head (uint32), the head, and arrays of int32 or float32, each at a multiple of four bytes.

    Ids of sets are too large for int32, and are float64, which holds them up to 2^53.
    """
    kinds = {name: _kind(values) for name, values in arrays.items()}
    packed = {name: values.astype(_TYPES[kinds[name]]) for name, values in arrays.items()}
    listed = [{"name": n, "type": kinds[n], "length": len(v)} for n, v in packed.items()]
    head = to_json(dict(facts) | {"arrays": listed}, ensure_ascii=False).encode()
    head += b" " * (-len(head) % 4)
    return b"".join([struct.pack("<I", len(head)), head, *(v.tobytes() for v in packed.values())])


def _kind(values: NDArray[Any]) -> str:
    if values.dtype.kind == "f":
        return "f"
    return "d" if len(values) and values.max() > _LARGE else "i"


def pack_blobs(blobs: Sequence[bytes]) -> bytes:
    """How many, their lengths (uint32 each), then one after the other."""
    return b"".join([struct.pack(f"<{len(blobs) + 1}I", len(blobs), *map(len, blobs)), *blobs])
