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


_TYPES = {"i": np.dtype("<i4"), "f": np.dtype("<f4")}


def pack(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Length of the head (uint32), the head, and arrays of int32 or float32, each at a multiple of four bytes."""
    packed = {name: values.astype(_TYPES["f" if values.dtype.kind == "f" else "i"]) for name, values in arrays.items()}
    listed = [{"name": n, "type": "f" if v.dtype.kind == "f" else "i", "length": len(v)} for n, v in packed.items()]
    head = to_json(dict(facts) | {"arrays": listed}, ensure_ascii=False).encode()
    head += b" " * (-len(head) % 4)
    return b"".join([struct.pack("<I", len(head)), head, *(v.tobytes() for v in packed.values())])


def pack_blobs(blobs: Sequence[bytes]) -> bytes:
    """How many, their lengths (uint32 each), then one after the other."""
    return b"".join([struct.pack(f"<{len(blobs) + 1}I", len(blobs), *map(len, blobs)), *blobs])
