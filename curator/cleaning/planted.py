"""What share of crops `dedupe` finds, by their size: cut out of the user's own pictures, and looked for among them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from curator.cleaning.comparing import RANK
from curator.cleaning.corners import corner_file
from curator.cleaning.first_look import VOTES, count_corners, find_hints
from curator.cleaning.looks import Look, Looks
from curator.database import Curation
from curator.duplicates import BITS, LISTED, Sketch, Thresholds, Tiny, compare_hashes, examine, judge
from curator.errors import PictureError
from curator.images import decode, measure, read_bytes
from curator.index import Index
from curator.job import Job
from curator.records import Nodes

SIZES = (30, 40, 50, 60, 75, 90)  # % of the side
_LEAST = 16  # pixels of a crop's short side
_CROP, _WHOLE = -1, -2  # in place of contents


def find_planted(
    index: Index, nodes: Nodes, chosen: NDArray[np.int64], *, semantic: float, rng: np.random.Generator, job: Job
) -> dict[str, Any]:
    """Cut one crop of each size out of each chosen picture, and look for it as `dedupe` does.

    `by_size` has for each size how many were `made`, how many vector and corners bring to their picture, and how many
    are `found`: brought there by either or by hash, and shown on the pixels to be the same.
    """
    x = Curation(index.reader).vectors(index.space, nodes.contents).astype(np.float32)
    by_size = {str(size): {"made": 0, "by_vector": 0, "by_corners": 0, "found": 0} for size in SIZES}
    first = dict(zip(nodes.contents.tolist(), range(len(nodes)), strict=True))
    image_of = {int(c): int(i) for c, i in zip(nodes.content_ids[::-1], nodes.image_ids[::-1], strict=True)}
    with Looks(index.reader, nodes) as looks:
        file = corner_file(nodes.contents, looks, job=job)
        for done, content in enumerate(nodes.contents[chosen].tolist(), 1):
            job.progress(done, len(chosen), "planting crops")
            job.check()
            image = index.images([image_of[content]])[0]
            try:
                decoded = decode(read_bytes(image.path), side=1 << 12)
            except PictureError:
                continue
            if decoded.content.sha256.hex() != image.sha256:
                continue  # changed since it was indexed
            picture = decoded.picture
            crops = {size: crop for size in SIZES if (crop := _crop(picture, size / 100, rng)) is not None}
            if not crops:
                continue
            scores = index.encoder.encode_images(list(crops.values())) @ x.T
            sketches = [Sketch.of(crop) for crop in crops.values()]
            asker, owner = file.partners([s.corners for s in sketches])
            node = first[content]
            for number, (size, crop) in enumerate(crops.items()):
                count = by_size[str(size)]
                score = scores[number][node]
                near = score >= semantic or (scores[number] > score).sum() < RANK
                alike = bool(((asker == number) & (owner == node)).any())
                count["made"] += 1
                count["by_vector"] += int(near)
                count["by_corners"] += alike
                count["found"] += _is_found(looks, picture, crop, sketches[number], brought=bool(near) or alike)
    return {"by_size": by_size, "neighbours": RANK, "corners": file.method}


def _crop(picture: Pillow.Image, share: float, rng: np.random.Generator) -> Pillow.Image | None:
    w, h = round(picture.width * share), round(picture.height * share)
    if min(w, h) < _LEAST:
        return None
    left, top = int(rng.integers(picture.width - w + 1)), int(rng.integers(picture.height - h + 1))
    return picture.crop((left, top, left + w, top + h))


def _is_found(looks: Looks, picture: Pillow.Image, crop: Pillow.Image, sketch: Sketch, *, brought: bool) -> bool:
    """Whether a crop would be proposed as one of its picture, had `brought` or its hash brought it there."""
    distance, transform = compare_hashes(measure(picture).hashes[None], measure(crop).hashes[None])
    whole = Sketch.of(picture)
    hint, votes = None, VOTES
    if distance[0] > BITS:
        if not brought:
            return False
        seen: dict[int, Look | None] = {
            _WHOLE: Look(whole.corners, Tiny.of(whole.grey)),
            _CROP: Look(sketch.corners, Tiny.of(sketch.grey)),
        }
        votes = int(count_corners([(_WHOLE, _CROP)], seen, looks.threads)[0])
        hint = find_hints([(_WHOLE, _CROP)], seen, looks.threads)[0]
        if hint is None and votes < VOTES:
            return False
    extent = "all" if votes >= VOTES else "hint"
    evidence = examine(int(distance[0]), int(transform[0]), whole, sketch, Thresholds(), hint=hint, extent=extent)
    return judge(evidence, Thresholds()) not in (None, *LISTED)
