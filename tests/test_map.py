"""The map: what is near among vectors is near on it, it is laid out once, and what comes later finds its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from conftest import draw
from PIL import Image
from sklearn.datasets import load_digits

from curator.admin.manage import remove_images
from curator.drawing import layout as drawing
from curator.drawing.layout import lay_out, place_near
from curator.embeddings import normalise
from curator.errors import Stopped
from curator.index import Index, build_graph
from curator.index.layout import load_layout
from curator.job import Job
from curator.records import IngestReport
from curator.vectors import Neighbours, exact_neighbours

KEPT = 15  # neighbours that are compared


def neighbours_kept(x: np.ndarray, y: np.ndarray) -> float:
    """Share of each row's nearest among vectors that are its nearest on the map too."""
    apart = ((y[:, None] - y[None]) ** 2).sum(-1)
    np.fill_diagonal(apart, np.inf)
    near = exact_neighbours(x.astype(np.float16), np.arange(len(x)), KEPT)[0]
    on_map = np.argsort(apart, 1)[:, :KEPT]
    return float(np.mean([len(set(a) & set(b)) / KEPT for a, b in zip(near.tolist(), on_map.tolist(), strict=True)]))


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Vectors (1,797, 64) of handwritten digits, unit rows, and their places."""
    x = normalise(load_digits().data.astype(np.float32) - 5)
    return x, lay_out(build_graph(x.astype(np.float16)).neighbours, x)


def test_neighbours_are_kept_and_labels_lie_together(digits: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = digits
    apart = x - x.mean(0)
    principal = apart @ np.linalg.eigh(apart.T @ apart)[1][:, -2:]
    assert neighbours_kept(x, y) > 3 * neighbours_kept(x, principal)
    assert neighbours_kept(x, y) > 0.5
    near = np.argsort(((y[:, None] - y[None]) ** 2).sum(-1), 1)[:, 1:6]
    label = load_digits().target
    assert (label[near] == label[:, None]).mean() > 0.93


def test_the_same_input_gives_the_same_bytes_and_stays_as_it_is(digits: tuple[np.ndarray, np.ndarray]) -> None:
    x = digits[0][:300]
    near = build_graph(x.astype(np.float16)).neighbours
    before = x.copy(), near.copy()
    one, two = (lay_out(near, x) for _ in range(2))
    assert one.tobytes() == two.tobytes()
    assert (x == before[0]).all()
    assert (near == before[1]).all()
    assert np.abs(one.mean(0)).max() < 1e-5
    assert float((one**2).sum(1).mean()) == pytest.approx(1, abs=1e-4)


def test_new_points_lie_as_well_as_if_all_were_laid_out(digits: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = digits
    is_new = np.random.default_rng(0).random(len(x)) < 0.1
    old = x[~is_new].astype(np.float16)
    laid = lay_out(build_graph(old).neighbours, old)
    placed = np.zeros_like(y)
    placed[~is_new] = laid
    placed[is_new] = place_near(laid, Neighbours(old).nearest_to(x[is_new].astype(np.float16), drawing.NEAREST))
    label = load_digits().target

    def agrees(places: np.ndarray) -> float:
        near = np.argsort(((places[is_new][:, None] - places[None]) ** 2).sum(-1), 1)[:, 1:6]
        return float((label[near] == label[is_new][:, None]).mean())

    assert agrees(placed) > agrees(y) - 0.05


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_a_few_points_have_places(n: int) -> None:
    x = (
        normalise(np.random.default_rng(n).normal(size=(n, 8)).astype(np.float32))
        if n
        else np.zeros((0, 8), np.float32)
    )
    places = lay_out(build_graph(x.astype(np.float16)).neighbours, x)
    assert places.shape == (n, 2)
    assert np.isfinite(places).all()


def test_all_alike_is_no_failure() -> None:
    x = np.tile(normalise(np.ones((1, 8), np.float32)), (40, 1))
    assert np.isfinite(lay_out(build_graph(x.astype(np.float16)).neighbours, x)).all()


def test_laying_out_stops_when_asked(digits: tuple[np.ndarray, np.ndarray]) -> None:
    job = Job()
    job.cancel()
    with pytest.raises(Stopped):
        lay_out(build_graph(digits[0][:100].astype(np.float16)).neighbours, digits[0][:100], job=job)


@pytest.fixture
def mapped(index: Index, tmp_path: Path, fill: Callable[..., IngestReport]) -> Index:
    """Forty pictures, two of which stand twice."""
    (tmp_path / "set").mkdir()
    for n in range(40):
        draw(n).save(tmp_path / "set" / f"{n}.png")
    for n in (0, 1):
        (tmp_path / "set" / f"{n}-copy.png").write_bytes((tmp_path / "set" / f"{n}.png").read_bytes())
    fill(tmp_path / "set")
    return index


def test_copies_share_a_place_and_the_map_is_cached(mapped: Index) -> None:
    first = load_layout(mapped.reader, mapped.space)
    assert (first.laid, first.pictures, len(first.image_ids)) == (40, 40, 42)
    place_of = dict(zip([i.path.name for i in mapped.images(first.image_ids)], first.places.tolist(), strict=True))
    assert place_of["0.png"] == place_of["0-copy.png"] != place_of["1.png"]
    (file,) = (mapped.folder / "layout").iterdir()
    written = file.stat().st_mtime_ns
    again = load_layout(mapped.reader, mapped.space)
    assert again.places.tobytes() == first.places.tobytes()
    assert file.stat().st_mtime_ns == written


def test_new_pictures_are_placed_until_they_are_a_fifth(
    mapped: Index, tmp_path: Path, fill: Callable[..., IngestReport]
) -> None:
    first = load_layout(mapped.reader, mapped.space)
    for n in range(40, 46):
        draw(n).save(tmp_path / "set" / f"{n}.png")
    fill(tmp_path / "set")
    more = load_layout(mapped.reader, mapped.space)
    assert (more.digest, more.laid, more.pictures) == (first.digest, 40, 46)
    assert (more.places[:42] == first.places).all(), "nothing that has a place moves"
    for n in range(46, 60):
        draw(n).save(tmp_path / "set" / f"{n}.png")
    fill(tmp_path / "set")
    anew = load_layout(mapped.reader, mapped.space)
    assert anew.digest != first.digest
    assert anew.laid == anew.pictures == 60


def test_what_is_removed_has_no_place_and_moves_nothing(mapped: Index) -> None:
    first = load_layout(mapped.reader, mapped.space)
    remove_images(mapped, first.image_ids[:5].tolist())
    fewer = load_layout(mapped.reader, mapped.space)
    assert (fewer.digest, len(fewer.image_ids)) == (first.digest, 37)
    assert (fewer.places == first.places[5:]).all()


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_cache_costs_time_and_no_answer(mapped: Index, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    first = load_layout(mapped.reader, mapped.space)
    (file,) = (mapped.folder / "layout").iterdir()
    data = file.read_bytes()
    if damage == "other":
        np.savez(file, contents=np.arange(3), places=np.zeros((3, 2), np.float32))
    else:
        file.write_bytes(data[:100] if damage == "cut" else b"")
    again = load_layout(mapped.reader, mapped.space)
    assert again.places.tobytes() == first.places.tobytes()
    assert "laid out again" in caplog.text


def test_map_on_the_command_line(mapped: Index, curator: Callable[..., Result], tmp_path: Path) -> None:
    target = tmp_path / "map.png"
    result = curator("map", target, "-i", mapped.folder, "--colour", "format")
    assert result.exit_code == 0, result.output
    with Image.open(target) as picture:
        assert picture.size == (1700, 1400)
        assert len(picture.getcolors(1 << 24) or []) > 2
    rows = json.loads(curator("map", "-i", mapped.folder, "--json", "--colour", "format").stdout)
    assert len(rows) == 42
    assert {row["value"] for row in rows} == {"PNG"}
    assert "no column" in curator("map", "-i", mapped.folder, "--colour", "colour").output.lower()


def test_a_map_never_takes_the_place_of_another_file(
    mapped: Index, curator: Callable[..., Result], tmp_path: Path
) -> None:
    picture = tmp_path / "set" / "3.png"
    for target in (picture, mapped.folder / "index.db"):
        before = target.read_bytes()
        result = curator("map", target, "-i", mapped.folder)
        assert result.exit_code != 0
        assert target.read_bytes() == before
    target = tmp_path / "map.png"
    assert [curator("map", target, "-i", mapped.folder).exit_code for _ in range(2)] == [0, 0], "its own is replaced"


def test_a_sheet_never_takes_the_place_of_a_picture(
    mapped: Index, curator: Callable[..., Result], tmp_path: Path
) -> None:
    picture = tmp_path / "set" / "3.png"
    before = picture.read_bytes()
    result = curator("search", "id:1", "--sheet", picture, "-i", mapped.folder)
    assert "did not make it" in result.output
    assert picture.read_bytes() == before


@pytest.mark.parametrize("place", range(0, 400, 23))
def test_any_flipped_byte_of_the_cache_costs_time_alone(mapped: Index, place: int) -> None:
    first = load_layout(mapped.reader, mapped.space)
    (file,) = (mapped.folder / "layout").iterdir()
    data = bytearray(file.read_bytes())
    data[place] ^= 0x41
    file.write_bytes(bytes(data))
    assert load_layout(mapped.reader, mapped.space).places.shape == first.places.shape
