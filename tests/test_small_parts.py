"""Registry, scenes, contact sheets, errors."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from curator import errors
from curator.drawing.pages import Page, save_page
from curator.drawing.scenes import COLOURS, SHAPES, TEXTURES, draw_scene, draw_thing
from curator.drawing.sheets import Section, Tile, draw_sheet, save_sheet
from curator.errors import CuratorError, UnknownName, UsageError
from curator.files import sweep, whole, write_whole
from curator.images import read_picture
from curator.registry import Registry


def test_a_registry_finds_refuses_and_suggests() -> None:
    parts: Registry[int] = Registry("part")
    parts.register("alpha")(1)
    assert parts["alpha"] == 1
    assert list(parts) == ["alpha"]
    assert "beta" not in parts
    with pytest.raises(ValueError, match="already"):
        parts.register("alpha")(2)
    with pytest.raises(UnknownName, match="no part 'alhpa'; did you mean 'alpha'"):
        parts["alhpa"]


def test_a_broken_plug_in_is_left_out_and_the_others_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that offers a good trainer and one whose module does not import."""
    (tmp_path / "offered.py").write_text("good = 7\n")
    (tmp_path / "broken.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "offers-1.0.dist-info").mkdir()
    (tmp_path / "offers-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: offers\nVersion: 1.0\n")
    (tmp_path / "offers-1.0.dist-info" / "entry_points.txt").write_text(
        "[curator.things]\ngood = offered:good\nbad = broken:bad\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    things: Registry[int] = Registry("thing")
    things.register("own")(1)
    assert things["good"] == 7
    assert list(things) == ["own", "good"]
    with pytest.raises(UnknownName, match="'bad' of broken:bad cannot be loaded: ModuleNotFoundError"):
        things["bad"]
    with pytest.raises(UnknownName, match="did you mean 'good'"):
        things["goof"]


def test_a_whole_file_minds_links_devices_and_modes(tmp_path: Path) -> None:
    target, link = tmp_path / "real.txt", tmp_path / "link.txt"
    target.write_text("before")
    target.chmod(0o640)
    link.symlink_to(target)
    write_whole(link, "after")
    assert link.is_symlink()
    assert target.read_text() == "after"
    assert target.stat().st_mode & 0o777 == 0o640
    write_whole(Path(os.devnull), "nothing")
    assert not Path(os.devnull).is_file()
    with pytest.raises(UnicodeEncodeError), whole(target) as beside:
        beside.write_text("half \udc00", encoding="utf-8")
    assert target.read_text() == "after"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.txt", "real.txt"]


def test_every_error_stands_in_the_drawn_tree() -> None:
    kinds = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, CuratorError)]
    assert len(kinds) > 10
    for kind in kinds:
        assert kind.__name__ in (errors.__doc__ or "")


def test_scenes_repeat_for_a_seed_and_say_what_they_show() -> None:
    one, two = ([draw_scene(np.random.default_rng(5), 48) for _ in range(3)] for _ in range(2))
    assert [s.caption for s in one] == [s.caption for s in two]
    assert all(a.picture.tobytes() == b.picture.tobytes() for a, b in zip(one, two, strict=True))
    scenes = [draw_scene(rng, 32) for rng in [np.random.default_rng(1)] for _ in range(300)]
    words = " ".join(s.caption for s in scenes)
    assert all(w in words for w in (*COLOURS, "digit", "letter", "two", "left of", "striped"))
    assert len({s.caption for s in scenes}) > 250


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("texture", TEXTURES)
def test_a_thing_has_its_colour_on_its_background(shape: str, texture: str) -> None:
    pixels = np.asarray(draw_thing("red", shape, texture=texture, background="blue", size=48)).reshape(-1, 3)
    shown = {tuple(p) for p in pixels.tolist()}
    assert COLOURS["red"] in shown
    assert COLOURS["blue"] in shown


def test_a_sheet_shows_every_tile_and_survives_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no")
    red = draw_thing("red", "square", background="red", size=40)
    sheet = draw_sheet(
        [Section("one", [Tile(red, "a" * 200), Tile(tmp_path / "bad.png", "b")]), Section("", [Tile(red, "c")])],
        columns=2,
    )
    reds = (np.asarray(sheet) == COLOURS["red"]).all(-1).sum()
    assert reds > 1.8 * 180 * 180, "two red tiles"


def test_frames_of_a_sheet_are_whole_in_every_column() -> None:
    white = Tile(Image.new("RGB", (40, 40), "white"), "", framed=True)
    whole = np.asarray(draw_sheet([Section("", [white] * 3)] * 2, columns=6, side=40))
    is_green = (whole[..., 1].astype(int) - whole[..., 0] > 40).any(0)
    assert is_green.sum() == 6 * (40 + 2 * 4)  # six tiles of 40 pixels, a frame of 4 on both sides of each


def test_a_sheet_is_written_whole_or_refused(tmp_path: Path) -> None:
    save_sheet([Section("x", [Tile(draw_thing("red", "star"), "t")])], tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 1000
    for target in (tmp_path / "none" / "s.png", tmp_path / "s.nonsense"):
        with pytest.raises(UsageError, match="cannot write"):
            save_sheet([Section("x", [])], target)
    assert [p.name for p in tmp_path.iterdir()] == ["s.png"]


def test_a_large_sheet_is_paged_and_an_earlier_ones_pages_go(tmp_path: Path) -> None:
    thing = draw_thing("red", "star")
    tiles = [Tile(thing, str(i)) for i in range(150)]
    target = tmp_path / "s.png"
    said = save_sheet([Section("many", tiles), Section("few", tiles[:2])], target)
    pages = sorted(tmp_path.iterdir())
    assert [p.name for p in pages] == ["s.page-2.png", "s.page-3.png", "s.png"]
    assert said.endswith("s.png, and 2 more up to s.page-3.png")
    heights = [read_picture(p).height for p in pages]
    assert max(heights) <= 2_400
    assert sum(heights) >= 26 * 180, "every tile is on one of them"
    (tmp_path / "s.page-mine.png").write_bytes(b"a person's")
    thing.save(tmp_path / "s.page-9.png")
    assert save_sheet([Section("few", tiles[:2])], target) == str(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.page-9.png", "s.page-mine.png", "s.png"]
    thing.save(tmp_path / "s.page-2.png")
    with pytest.raises(UsageError, match="is no page of a sheet"):
        save_sheet([Section("many", tiles)], target)


def test_a_large_page_keeps_its_pictures_beside_it(tmp_path: Path) -> None:
    thing = draw_thing("red", "star")
    target = tmp_path / "a page.html"

    def page(count: int) -> Page:
        return Page("Many", (), (), [Section(str(i), [Tile(thing, "t")] * 50) for i in range(count // 50)])

    said = save_page(page(400), target)
    assert said.endswith("with pictures in a page.pictures")
    text = target.read_text()
    assert text.count('loading="lazy"') == 400
    named = re.findall(r'src="(a%20page\.pictures/\d+\.jpg)"', text)
    assert len(named) == 100
    assert all((tmp_path / unquote(n)).is_file() for n in named)
    assert save_page(page(100), target) == str(target)
    assert [p.name for p in tmp_path.iterdir()] == ["a page.html"], "a small page needs no folder"
    (tmp_path / "a page.pictures").mkdir()
    with pytest.raises(UsageError, match="no page has made it"):
        save_page(page(400), target)
    assert len(list(tmp_path.iterdir())) == 2, "nothing half-written is left"


def test_what_killed_processes_left_half_written_goes(tmp_path: Path) -> None:
    """And nothing that a living process is writing, nor any other hidden file."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        ended.wait()
    gone = [f".clean.{ended.pid}-1234.json", f".set.{ended.pid}.part"]
    stay = [f".clean.{os.getpid()}-1.json", ".hidden", ".config.json", "clean.json", f".clean.{ended.pid}.json"]
    for name in gone + stay:
        (tmp_path / name).write_text("x")
    sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == set(stay)
