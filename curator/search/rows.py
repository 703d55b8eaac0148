"""What is told of hits: rows for JSON and tables, from the command line's own search and from a page's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from curator.records import Hits, Image


def hit_rows(hits: Hits, images: Sequence[Image]) -> list[dict[str, Any]]:
    """A row for each hit, best first; numbers that are unknown are None."""
    return [
        {"id": i.id, "path": i.place, "score": round(float(s), 6), "z": _known(z, 3), "confidence": _known(c, 4)}
        | {"label": i.label, "caption": i.caption, "origin": i.origin, "width": i.width, "height": i.height}
        | {"tags": list(i.tags), "extra": dict(i.extra)}
        for i, s, z, c in zip(images, hits.scores, hits.z, hits.confidence, strict=True)
    ]


def answer_facts(hits: Hits, images: Sequence[Image]) -> dict[str, Any]:
    """Rows under `hits`, and beside them all that is said of the answer as a whole."""
    facts = {"searched": hits.searched, "exact": hits.exact, "clear": hits.clear, "notes": list(hits.notes)}
    return {"hits": hit_rows(hits, images)} | facts


def _known(value: float, digits: int) -> float | None:
    """A number for JSON, which has no NaN."""
    return None if math.isnan(value) else round(float(value), digits)
