"""A mutator over small seeds: what bad disks, other programs and attackers make of bytes and of JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

_BYTES = [
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b'"',
    b"'",
    b"\\",
    b"\n",
    b"\r",
    b";",
    b"{",
    b"[" * 500,
    b"NaN",
    b"1e999",
    b"\x1b[2J",
]
_VALUES: list[Any] = [
    None, True, -1, 0, 2**63, -(2**70), 1e308, 0.5, "", "\ud83d", "\0", "a" * 5000, [], {}, [[]], "../x", "/etc",
]  # fmt: skip


def mutate_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: a flipped bit, bytes put in, taken out, doubled, or the end cut off."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        start = int(rng.integers(len(out) + 1))
        end = min(len(out), start + int(rng.integers(1, 40)))
        change = int(rng.integers(6))
        if change == 0 and start < len(out):
            out[start] ^= 1 << int(rng.integers(8))
        elif change == 1:
            out[start:start] = _BYTES[int(rng.integers(len(_BYTES)))]
        elif change == 2:
            del out[start:end]
        elif change == 3:
            out[start:start] = out[start:end] * int(rng.integers(1, 4))
        elif change == 4 and rng.random() < 0.2:
            del out[start:]
        else:
            out[start:end] = rng.bytes(end - start)
    return bytes(out)


def mutate_json(value: Any, rng: np.random.Generator) -> Any:
    """A copy with one part, anywhere within, replaced, dropped or renamed."""
    value = json.loads(json.dumps(value))
    inner: list[tuple[Any, Any]] = []

    def collect(part: Any) -> None:
        keys = list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else []
        for key in keys:
            inner.append((part, key))
            collect(part[key])

    collect(value)
    if not inner:
        return _VALUES[int(rng.integers(len(_VALUES)))]
    holder, key = inner[int(rng.integers(len(inner)))]
    change = int(rng.integers(3))
    if change == 0 and isinstance(holder, dict):
        holder[str(_VALUES[int(rng.integers(len(_VALUES)))])] = holder.pop(key)
    elif change == 1:
        del holder[key]
    else:
        holder[key] = _VALUES[int(rng.integers(len(_VALUES)))]
    return value


def as_bytes(value: Any) -> bytes:
    """JSON as it might be written, with NaN and half characters."""
    return json.dumps(value).encode("utf-8", "surrogatepass")
