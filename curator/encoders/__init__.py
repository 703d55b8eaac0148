"""Encoders: pictures and words → vectors of one space."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from curator.encoders.base import Encoder
from curator.encoders.catalogue import BUNDLED, BUNDLED_RATES, BUNDLED_SIDES, BUNDLED_USES, SHORT_NAMES, parse_name
from curator.encoders.clip import best_runtime, load_clip, open_clip_space
from curator.encoders.folder import check_probe, checksums, open_towers, probe_vectors, tower_files
from curator.encoders.hub import is_cached
from curator.encoders.pixels import PixelEncoder
from curator.records import Space
from curator.registry import Registry

__all__ = [
    "BUNDLED",
    "SHORT_NAMES",
    "Encoder",
    "PixelEncoder",
    "best_runtime",
    "check_probe",
    "checksums",
    "describe_encoders",
    "encoders",
    "is_cached",
    "list_open_clip",
    "load_encoder",
    "open_space",
    "open_towers",
    "parse_name",
    "probe_vectors",
    "tower_files",
]

encoders: Registry[Callable[[], Encoder]] = Registry("encoder")
encoders.register("pixels")(PixelEncoder)
for _name in BUNDLED:
    encoders.register(_name)(partial(load_clip, _name))


def load_encoder(name: str, *, runtime: str = "onnx") -> Encoder:
    """The encoder of that name, ready to encode images: a registered one, or any open_clip model.

    Raises `UnknownName` or `EncoderUnavailable`.
    """
    if name in encoders and name not in BUNDLED:
        return encoders[name]()
    return load_clip(name, runtime=runtime)


def open_space(space: Space) -> Encoder:
    """The encoder that made a space, for queries. Raises `SpaceMismatch` when its weights have changed since."""
    if space.encoder in encoders and space.encoder not in BUNDLED:
        return encoders[space.encoder]()
    return open_clip_space(space.encoder, space.fingerprint)


def describe_encoders() -> list[dict[str, object]]:
    """Facts of every named encoder: what `curator encoders` and the README's table print."""
    bundled = {"model": "bundled", "dim": 256, "megabytes": 0, "accuracy": None, "here": True}
    pixels = {
        "name": "pixels",
        "model": "8 × 8 RGB",
        "dim": 192,
        "side": 8,
        "megabytes": 0,
        "accuracy": None,
        "here": True,
    }
    rows: list[dict[str, object]] = [
        *(
            {"name": n}
            | bundled
            | {"side": BUNDLED_SIDES[n], "images_per_second": BUNDLED_RATES[n], "good_for": BUNDLED_USES[n]}
            for n in BUNDLED
        ),
        pixels | {"images_per_second": None, "good_for": "tests, exact layout; no words"},
    ]
    for name, entry in SHORT_NAMES.items():
        facts = {
            k: getattr(entry, k) for k in ("dim", "side", "megabytes", "accuracy", "images_per_second", "good_for")
        }
        rows.append({"name": name, "model": f"{entry.model}/{entry.tag}", **facts, "here": is_cached(name)})
    others = [n for n in encoders if n not in (*BUNDLED, "pixels")]
    return rows + [dict.fromkeys(rows[0]) | {"name": n, "here": True} for n in others]


def list_open_clip() -> list[str]:
    """Every MODEL/PRETRAINED that the installed open_clip can fetch."""
    import open_clip

    return [f"{model}/{tag}" for model, tag in open_clip.list_pretrained()]
