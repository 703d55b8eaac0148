"""Encoders: pictures and words → vectors of one space."""

from __future__ import annotations

from collections.abc import Callable

from curator.encoders.base import Encoder
from curator.encoders.catalogue import SHORT_NAMES, is_cached, parse_name
from curator.encoders.clip import best_runtime, load_clip, open_clip_space
from curator.encoders.pixels import PixelEncoder
from curator.registry import Registry
from curator.records import Space

__all__ = ["SHORT_NAMES", "Encoder", "PixelEncoder", "best_runtime", "encoders", "is_cached", "load_encoder", "open_space", "parse_name"]

encoders: Registry[Callable[[], Encoder]] = Registry("encoder")
encoders.register("pixels")(PixelEncoder)
encoders.register("tiny")(lambda: load_clip("tiny"))


def load_encoder(name: str, *, runtime: str = "onnx") -> Encoder:
    """The encoder of that name, ready to encode images: a registered one, or any open_clip model.

    Raises `UnknownName` or `EncoderUnavailable`.
    """
    if name in encoders and name != "tiny":
        return encoders[name]()
    return load_clip(name, runtime=runtime)


def open_space(space: Space) -> Encoder:
    """The encoder that made a space, for queries. Raises `SpaceMismatch` when its weights have changed since."""
    if space.encoder in encoders and space.encoder != "tiny":
        return encoders[space.encoder]()
    return open_clip_space(space.encoder, space.fingerprint)
