"""Batches that are encoded beside one another: each content once, whatever the timing, and nothing lost by a stop."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import draw
from numpy.typing import NDArray
from PIL import Image

from curator.admin.maintenance import verify
from curator.encoders import PixelEncoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest, use_space
from curator.job import Job
from curator.records import Vectors
from curator.scale import embed
from curator.scale.sources import PlannedFile


class Lanes(PixelEncoder):
    """Three lanes and small batches; a vector depends a little on its batch, as where a GPU's sums do."""

    lanes, batch = 3, 8

    def __init__(self) -> None:
        self.seen, self._lock = 0, threading.Lock()

    def project_images(self, batch: NDArray[np.uint8]) -> Vectors:
        with self._lock:
            self.seen += len(batch)
        time.sleep(0.01 * (int(batch.sum()) % 3))  # so that later ones may be ready sooner
        x = super().project_images(batch) + np.float32(len(batch) / 100)
        x[batch.mean((1, 2, 3)) < 20] = np.nan  # no vector of dark pictures
        return x


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """100 files of 45 contents, of which one is dark; equal ones lie in neighbouring batches and further apart."""
    place = tmp_path / "pictures"
    place.mkdir()
    for number in range(100):
        picture = Image.new("RGB", (20, 20), (3, 3, 3)) if number % 10 == 4 else draw(number % 50)
        picture.save(place / f"{number:03d}.png")
    return place


def test_each_content_is_encoded_once(tmp_path: Path, folder: Path) -> None:
    encoder = Lanes()
    with Index.create(tmp_path / "index") as index:
        report = ingest(index, [folder], encoder)
        assert (report.new, report.skipped, report.encoded) == (90, 10, 45)
        assert encoder.seen == 46, "the dark one too, and not ten times"
        assert list(verify(index.folder)) == []


def test_batches_are_encoded_at_the_same_time(tmp_path: Path) -> None:
    class Meeting(PixelEncoder):
        lanes, batch = 3, 8
        barrier = threading.Barrier(3, timeout=60)

        def project_in_lane(self, batch: NDArray[np.uint8]) -> Vectors:
            self.barrier.wait()  # all three, or it is broken
            return self.project_images(batch)

    for number in range(24):
        draw(number).save(tmp_path / f"{number:02d}.png")
    with Index.create(tmp_path / "index") as index:
        assert ingest(index, [tmp_path], Meeting()).encoded == 24


def test_a_stop_stores_all_that_was_encoded(tmp_path: Path, folder: Path) -> None:
    encoder, job = Lanes(), Job(show=lambda progress: job.cancel())
    with Index.create(tmp_path / "index") as index:
        report = ingest(index, [folder], encoder, IngestOptions(), job=job)
        assert report.interrupted
        stored = index.reader.rows("SELECT count(*) FROM embeddings")[0][0]
        assert 0 < stored < 45
        assert encoder.seen - stored in (0, 1), "but of the dark one, of which there is no vector"
        assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]
        before = encoder.seen
        assert ingest(index, [folder], encoder).new == 90 - report.new
        assert encoder.seen - before <= 46 - stored


def test_a_stop_while_a_space_is_filled_stores_what_was_encoded(tmp_path: Path, folder: Path) -> None:
    class Other(Lanes):
        name, fingerprint = "other", "other"

    with Index.create(tmp_path / "index") as index:
        ingest(index, [folder], Lanes())
        other = Other()
        job = Job(show=lambda progress: job.cancel())
        assert ingest(index, [], other, job=job).interrupted
        stored = index.reader.rows("SELECT count(*) FROM embeddings WHERE space_id = 2")[0][0]
        assert 0 < stored == other.seen < 45
        ingest(index, [], other)
        assert other.seen == 45
        use_space(index, "other")


def test_whoever_makes_a_shard_makes_the_same(folder: Path) -> None:
    entries = [PlannedFile(str(file), 1, "", None) for file in sorted(folder.iterdir())]  # type: ignore[arg-type]

    def made() -> tuple[int, list[tuple[str, Any]]]:
        encoder = Lanes()
        rows = list(embed._encoded(SimpleNamespace(kind="files"), encoder, entries, 0, frozenset()))  # type: ignore[arg-type]
        return encoder.seen, [(entry.uri, None if v is None else (v.tobytes(), norm)) for entry, v, norm, _ in rows]

    (seen, first), (_, second) = made(), made()
    assert first == second
    assert seen == 46
    assert sum(v is None for _, v in first) == 10
    assert len({v for _, v in first if v is not None}) == 45
