"""What every part of one ingest shares, and the passes that complete an index.

They bring vectors of a second space, and missing measures.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from curator.database import Curation, Sketches, Writer
from curator.database.listed import note_precision
from curator.embeddings import lengths, normalise
from curator.encoders import Encoder
from curator.errors import PictureError
from curator.images import Decoded, decode, measure, read_bytes
from curator.index import Index
from curator.index.sureness import WORDS, is_current, learn_sureness
from curator.ingest.batches import AHEAD, BATCH, ahead, batched, encoded_ahead, project, until_stopped
from curator.job import Job, cores
from curator.records import Image, Measures, Pixels, Space, Vectors

logger = logging.getLogger("curator")


@dataclass
class Work:
    """What every part of one ingest shares."""

    index: Index
    db: Writer
    space: Space
    encoder: Encoder
    job: Job
    sketches: Sketches
    tally: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)

    def count(self, what: str, by: int = 1) -> None:
        """Add to a number of the report."""
        self.tally[what] += by


def fill_space(work: Work) -> None:
    """Give every present content a vector in the space: what makes a second encoder complete."""
    db, encoder = work.db, work.encoder
    missing = db.missing(work.space)
    images = (image for batch in batched(missing, encoder.batch) for image in db.images(batch))
    prepared = batched(ahead(images, lambda i: _prepared(i, encoder), most=AHEAD * encoder.batch), encoder.batch)

    def encode(batch: Sequence[tuple[bytes, Pixels] | None]) -> tuple[int, dict[bytes, Vectors]]:
        return len(batch), project(dict(read for read in batch if read is not None), encoder.project_in_lane)

    done = 0
    with closing(encoded_ahead(until_stopped(prepared, work.job), encode, encoder)) as batches:
        while True:
            with db.aside(work.job):
                count, vectors = next(batches, (0, {}))
            if not count:
                break
            with db.atomic():
                if vectors:
                    note_precision(db, work.space, encoder.precision)
                put_vectors(db, work.space, vectors, db.content_ids(list(vectors)))
            work.index.step("space batch committed")
            done += count
            work.count("encoded", len(vectors))
            work.job.progress(done, len(missing), f"space '{work.space.encoder}'")
    work.job.check()


def fill_measures(work: Work) -> None:
    """Measure what was indexed before there were measures; a file that is not what was indexed stays without."""
    curation = Curation(work.db)
    missing = curation.unmeasured()
    done = 0
    with ThreadPoolExecutor(cores(), "measure") as threads:
        for batch in batched(missing, 8 * BATCH):
            images = work.db.images(batch)
            with work.db.aside(work.job):
                sides = [work.encoder.side] * len(images)
                measures = dict(m for m in threads.map(_measured, images, sides) if m is not None)
            ids = work.db.content_ids(list(measures))
            with work.db.atomic():
                curation.put_measures({ids[h]: m for h, m in measures.items()})
            work.index.step("measures committed")
            done += len(batch)
            work.job.progress(done, len(missing), "measures")
            work.job.check()


def put_vectors(db: Writer, space: Space, vectors: Mapping[bytes, Vectors], contents: Mapping[bytes, int]) -> None:
    """Keep vectors (d,) by sha256, as unit rows with their lengths. Call it inside a transaction."""
    if vectors:
        rows = np.stack(list(vectors.values()))
        db.put_vectors(space, [contents[h] for h in vectors], normalise(rows), lengths(rows))


def _measured(image: Image, side: int) -> tuple[bytes, Measures] | None:
    decoded = _reread(image, side)
    return (decoded.content.sha256, measure(decoded.picture)) if decoded is not None else None


def _prepared(image: Image, encoder: Encoder) -> tuple[bytes, Pixels] | None:
    """(sha256, pixels for the encoder) of an image; None where it cannot take them, or the file is another one."""
    decoded = _reread(image, encoder.side)
    try:
        return (decoded.content.sha256, encoder.prepare(decoded.picture)) if decoded is not None else None
    except (ValueError, MemoryError) as error:
        logger.warning("a picture cannot be prepared for '%s': %s; it is passed over", encoder.name, error)
        return None


def _reread(image: Image, side: int) -> Decoded | None:
    """An indexed image decoded again, or None if its file is no longer what was indexed."""
    try:
        decoded = decode(read_bytes(image.path), side=side)
    except PictureError as error:
        logger.warning("%s: %s; it is passed over", image.path, error)
        return None
    return decoded if decoded.content.sha256.hex() == image.sha256 else None


def fill_sureness(work: Work) -> None:
    """Learn from the labels how sure hits for words are, if they have changed since."""
    if not work.encoder.has_text or is_current(work.db, work.space):
        return
    with work.db.aside(work.job):
        threshold, facts = learn_sureness(work.db, work.space, work.encoder.encode_texts)
    with work.db.atomic():
        Curation(work.db).put_calibrations(work.space, {WORDS: (threshold, facts)}, kinds=[WORDS])
