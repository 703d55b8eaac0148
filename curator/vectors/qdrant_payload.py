"""What Qdrant keeps of an image beside its vector, and the image that it stands for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from curator.records import Image

_IMAGE = ("size", "sha256", "width", "height", "mode", "format", "origin", "label", "caption", "taken_at", "camera")


def payload_of(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns of one image that have a value, and NaN is none; `extra` as what it holds, for conditions on that."""
    payload = {name: value for name, value in columns.items() if value is not None and value == value}  # noqa: PLR0124
    if "extra" in payload:
        payload["extra"] = json.loads(payload["extra"])
    if payload.get("height") and payload.get("width"):
        payload["aspect"] = payload["width"] / payload["height"]
    return payload


def image_of(image_id: int, payload: dict[str, Any]) -> Image:
    """The record of an image, from what was stored."""
    uri = payload["uri"]
    fields = {name: payload.get(name) for name in _IMAGE}
    return Image(id=image_id, path=Path(uri), mtime_ns=0, tags=(), extra=payload.get("extra") or {}, uri=uri, **fields)  # type: ignore[arg-type]
