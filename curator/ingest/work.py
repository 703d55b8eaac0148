"""What every part of one ingest shares, and the passes that complete an index: vectors of a second space, missing measures."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from curator.database import Curation, Writer
from curator.embeddings import lengths, normalise
from curator.encoders import Encoder
from curator.errors import PictureError
from curator.images import Decoded, decode, measure, read_bytes
from curator.index import Index
from curator.job import Job
from curator.records import Image, Measures, Pixels, Space, Vectors

logger = logging.getLogger("curator")
T = TypeVar("T")

BATCH = 64  # images per transaction and per call of the encoder


@dataclass
class Work:
    """What every part of one ingest shares."""

    index: Index
    db: Writer
    space: Space
    encoder: Encoder
    job: Job
    tally: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, by: int = 1) -> None:
        """Add to a number of the report."""
        self.tally[what] = self.tally.get(what, 0) + by

    def project(self, prepared: Mapping[bytes, Pixels]) -> dict[bytes, Vectors]:
        """Prepared pictures by sha256 → their vectors (d,) before normalising. Slow, so call it outside a transaction."""
        return dict(zip(prepared, self.encoder.project_images(np.stack(list(prepared.values()))), strict=True)) if prepared else {}

    def store(self, raw: Mapping[bytes, Vectors], contents: Mapping[bytes, int]) -> None:
        """Keep vectors by sha256, as unit rows with their lengths. Call inside a transaction."""
        if raw:
            rows = np.stack(list(raw.values()))
            self.db.put_vectors(self.space, [contents[h] for h in raw], normalise(rows), lengths(rows))


def fill_space(work: Work) -> None:
    """Give every present content a vector in the space: what makes a second encoder complete."""
    missing = work.db.missing(work.space)
    done = 0
    for batch in batched(missing, BATCH):
        decoded = [d for image in work.db.images(batch) if (d := _reread(image, work.encoder.side)) is not None]
        prepared = {d.content.sha256: work.encoder.prepare(d.picture) for d in decoded}
        raw = work.project(prepared)
        with work.db.atomic():
            work.store(raw, work.db.content_ids(list(raw)))
        work.index.step("space batch committed")
        done += len(batch)
        work.count("encoded", len(prepared))
        work.job.progress(done, len(missing), f"space '{work.space.encoder}'")
        work.job.check()


def fill_measures(work: Work) -> None:
    """Measure what was indexed before there were measures; a file that is no longer what was indexed stays without."""
    curation = Curation(work.db)
    missing = curation.unmeasured()
    done = 0
    with ThreadPoolExecutor(os.cpu_count() or 1, "measure") as threads:
        for batch in batched(missing, 8 * BATCH):
            images = work.db.images(batch)
            found = dict(m for m in threads.map(_measured, images, [work.encoder.side] * len(images)) if m is not None)
            ids = work.db.content_ids(list(found))
            with work.db.atomic():
                curation.put_measures({ids[h]: m for h, m in found.items()})
            work.index.step("measures committed")
            done += len(batch)
            work.job.progress(done, len(missing), "measures")
            work.job.check()


def _measured(image: Image, side: int) -> tuple[bytes, Measures] | None:
    decoded = _reread(image, side)
    return (decoded.content.sha256, measure(decoded.picture)) if decoded is not None else None


def _reread(image: Image, side: int) -> Decoded | None:
    """An indexed image decoded again, or None if its file is no longer what was indexed."""
    try:
        decoded = decode(read_bytes(image.path), side=side)
    except PictureError as error:
        logger.warning("%s: %s; it is passed over", image.path, error)
        return None
    return decoded if decoded.content.sha256.hex() == image.sha256 else None


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` items, in order."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
