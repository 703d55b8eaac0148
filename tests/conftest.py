"""Pictures drawn for tests, and indexes of them. Nothing here needs the network or `../shared`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import settings
from PIL import Image

from curator.cli import cli
from curator.encoders import Encoder, PixelEncoder, load_encoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.records import IngestReport

settings.register_profile("untimed", deadline=None)  # a busy machine fails no test
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _private_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the person's own caches or indexes, and none reaches a hub."""
    before = dict(os.environ)
    os.environ["OMP_NUM_THREADS"] = "1"  # of processes that tests start: two workers share the cores
    os.environ["CURATOR_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["HF_HOME"] = str(tmp_path_factory.mktemp("hub"))
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # the discard port: nobody answers
    os.environ.pop("CURATOR_INDEX", None)
    yield
    os.environ.clear()
    os.environ.update(before)


def digest(index: Index) -> list[tuple[object, ...]]:
    """Everything a person knows an index by, ids and history aside: equal content, equal digest."""
    images = index.images(index.reader.ids_where("1"))
    return sorted((str(i.path), i.size, i.sha256, i.origin, i.label, i.caption, str(i.extra), i.tags) for i in images)


def draw(seed: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    """A picture unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize(size, Image.Resampling.NEAREST)


def photo_pieces(side: int = 200) -> list[Image.Image]:
    """Twelve pieces of scikit-learn's two sample photos that share no pixel: real texture, no two the same."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    corners = [(x, y) for y in range(0, 428 - side, 210) for x in range(0, 641 - side, 210)]
    return [photo.crop((x, y, x + side, y + side)) for photo in photos for x, y in corners]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures: five in `cats/`, five in `dogs/`."""
    root = tmp_path / "pictures"
    for number in range(10):
        path = root / ("cats" if number < 5 else "dogs") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(number).save(path)
    return root


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """An empty index."""
    with Index.create(tmp_path / "index") as made:
        yield made


@pytest.fixture
def fill(index: Index, folder: Path) -> Callable[..., IngestReport]:
    """Index the folder with the pixel encoder; keywords are `IngestOptions`."""

    def run(*paths: Path, encoder: Encoder | None = None, **options: object) -> IngestReport:
        return ingest(index, list(paths) or [folder], encoder or PixelEncoder(), IngestOptions(**options))  # type: ignore[arg-type]

    return run


@pytest.fixture(scope="session")
def tiny() -> Encoder:
    """The bundled encoder, exported once per test session."""
    return load_encoder("tiny")


@pytest.fixture
def curator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(cli, [str(w) for w in words], input=stdin, prog_name="curator")

    return run


@pytest.fixture
def digits(tmp_path: Path, curator: Callable[..., Result]) -> Path:
    """96 digits of 8 px in folders 0 and 1, indexed with the pixel encoder."""
    from sklearn.datasets import load_digits

    found = load_digits()
    chosen = np.flatnonzero(found.target < 2)[:96]
    for number in chosen:
        path = tmp_path / "digits" / str(found.target[number]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((found.images[number] * 15.9).astype(np.uint8)).save(path)
    indexed = curator("index", "digits", "-e", "pixels", "--label-from", "folder")
    assert indexed.exit_code == 0, indexed.output
    return tmp_path / "digits"
