"""Candidates without an encoder, first looks, changes in one place, and why a pair was, or was not, found."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from conftest import photo_pieces
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from curator.cleaning.corners import CornerFile
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.cleaning.explain import explain
from curator.cleaning.looks import Looks
from curator.cleaning.planted import find_planted
from curator.cleaning.rounds import Joined
from curator.database import Curation, Sketches
from curator.database.sketches import FILE, FOLDER
from curator.duplicates import Corners, Sketch, Thresholds, Tiny, count_votes, find_part, judge, shrink
from curator.duplicates.corners import nearest_two
from curator.duplicates.evidence import look_closer
from curator.duplicates.sliding import lies_there
from curator.encoders import PixelEncoder
from curator.errors import UsageError
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.job import QUIET
from curator.records import Evidence
from curator.vectors import WordFile, nearest_words

Run = Callable[..., Result]


CUT = (0, 1, 3, 4, 5, 7)  # of the pieces, those with texture where they are cut


def part(picture: Image.Image, share: float, left: float, top: float) -> Image.Image:
    w, h = round(picture.width * share), round(picture.height * share)
    x, y = round((picture.width - w) * left), round((picture.height - h) * top)
    return picture.crop((x, y, x + w, y + h))


@pytest.fixture(scope="module")
def pieces() -> list[Image.Image]:
    return photo_pieces()


@pytest.fixture
def cut(index: Index, tmp_path: Path, pieces: list[Image.Image]) -> Index:
    """Pieces of photos, and a crop of half the side of six with texture, which no pixel encoder puts near."""
    (tmp_path / "set").mkdir()
    for number, piece in enumerate(pieces):
        piece.save(tmp_path / "set" / f"{number:02d}.png")
        if number in CUT:
            part(piece, 0.5, 0.3, 0.6).save(tmp_path / "set" / f"{number:02d}-crop.png")
    ingest(index, [tmp_path / "set"], PixelEncoder())
    return index


def names_of(index: Index) -> dict[int, str]:
    return {i.id: i.path.name for i in index.images(index.reader.ids_where("1"))}


def test_corners_come_back_as_they_were_kept(pieces: list[Image.Image]) -> None:
    corners = Sketch.of(pieces[0]).corners
    again = Corners.from_bytes(corners.to_bytes())
    assert (again.words == corners.words).all()
    assert again.whole == corners.whole
    np.testing.assert_allclose(again.places, corners.places, atol=1 / 64)
    np.testing.assert_allclose(again.turns, corners.turns, atol=0.25)
    with pytest.raises(ValueError, match="not the corners"):
        Corners.from_bytes(corners.to_bytes()[:-1])
    flat = Corners.of(np.zeros((320, 200), np.uint8))
    assert len(flat.words) == flat.whole == len(Corners.from_bytes(flat.to_bytes()).words) == 0


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_votes_are_of_corners_that_agree_on_a_size_and_turn(data: st.DataObject) -> None:
    """By brute force: of each picture, the most different corners asked in any bin."""
    m = data.draw(st.integers(1, 60))
    whole = st.integers(0, 5)
    owners, asked = (np.array(data.draw(st.lists(whole, min_size=m, max_size=m))) for _ in range(2))
    levels = np.array(data.draw(st.lists(st.integers(-8, 8), min_size=m, max_size=m)), np.float32)
    turns = np.array(data.draw(st.lists(st.integers(-359, 359), min_size=m, max_size=m)), np.float32)
    pictures, votes = count_votes(owners, asked, levels, turns)
    assert pictures.tolist() == sorted(set(owners.tolist()))
    for picture, count in zip(pictures.tolist(), votes.tolist(), strict=True):
        own = owners == picture
        most = 0
        for a in (0, 1):
            for b in (0, 1):
                bins: dict[tuple[int, int], set[int]] = {}
                for q, level, turn in zip(asked[own], levels[own], turns[own], strict=True):
                    key = ((int(level) + 64 + a) // 2, (int((turn % 360) // 22.5) + b) % 16 // 2)
                    bins.setdefault(key, set()).add(int(q))
                most = max(most, *map(len, bins.values()))
        assert count == most


def test_inverted_lists_find_what_an_exact_search_finds() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 256, (20_000, 32)).astype(np.uint8)
    asked = words[:500].copy()
    asked[np.arange(500), rng.integers(0, 32, 500)] ^= 0b1001  # two bits
    exact, lists = WordFile(words), WordFile(words, exact=0)
    assert exact.is_exact
    assert not lists.is_exact
    assert "lists" in lists.method
    assert (exact.nearest(asked, 1)[1][:, 0] == np.arange(500)).all()
    assert (lists.nearest(asked, 1)[1][:, 0] == np.arange(500)).mean() > 0.9
    distances, _ = nearest_words(asked, words[:500])
    assert (distances[:, 0] == 2).all()


@pytest.mark.parametrize("share", [0.35, 0.5, 0.7])
def test_a_part_is_found_where_it_was_cut(pieces: list[Image.Image], share: float) -> None:
    for piece in (pieces[0], pieces[4], pieces[7]):
        whole, crop = Sketch.of(piece), Sketch.of(part(piece, share, 0.25, 0.75))
        place = find_part(Tiny.of(whole.grey), Tiny.of(crop.grey))
        np.testing.assert_allclose(place[0, 0], share, atol=0.04)
        np.testing.assert_allclose(place[:, 2], [(1 - share) * 0.25, (1 - share) * 0.75], atol=0.05)


def test_one_answer_whoever_asks(pieces: list[Image.Image]) -> None:
    a, b = Sketch.of(pieces[0]), Sketch.of(part(pieces[0], 0.4, 0.5, 0.5))
    one, other = (look_closer(Evidence(64, "same"), x, y) for x, y in ((a, b), (b, a)))
    assert judge(one, Thresholds()) == judge(other, Thresholds()) == "cropped/edited"
    assert (one.inliers, one.agreement, one.overlap) == (other.inliers, other.agreement, other.overlap)
    np.testing.assert_allclose([one.scale, other.scale], [0.4, 2.5], rtol=0.05)


def test_crops_are_found_without_the_encoder(cut: Index) -> None:
    result = dedupe(cut, DedupeOptions(neighbours=1))
    names = names_of(cut)
    together = {frozenset(names[m.image_id] for m in g.members) for g in result.groups}
    assert together == {frozenset((f"{n:02d}.png", f"{n:02d}-crop.png")) for n in CUT}
    assert {names[g.keeper] for g in result.groups} == {f"{n:02d}.png" for n in CUT}
    assert result.corners
    assert result.shortcut is not None
    assert result.shortcut.missed == 0


def test_the_whole_is_kept_before_a_part_that_was_enlarged(
    index: Index, tmp_path: Path, pieces: list[Image.Image]
) -> None:
    (tmp_path / "set").mkdir()
    pieces[0].save(tmp_path / "set/whole.png")
    part(pieces[0], 0.6, 0.5, 0.5).resize((400, 400), Image.Resampling.LANCZOS).save(tmp_path / "set/part.png")
    ingest(index, [tmp_path / "set"], PixelEncoder())
    (group,) = dedupe(index).groups
    assert names_of(index)[group.keeper] == "whole.png"


def form(name: str) -> Image.Image:
    """A printed form with a name written into it, another in another place."""
    picture = Image.new("RGB", (300, 400), "white")
    draw = ImageDraw.Draw(picture)
    for row in range(14):
        draw.text(
            (20, 20 + 26 * row),
            f"{row + 1}. Please answer question {row * 7 % 10} in full:",
            fill="black",
            font_size=12,
        )
        draw.line((20, 40 + 26 * row, 280, 40 + 26 * row), fill="grey")
    draw.text((110, 180 + 20 * (len(name) % 3)), name, fill="navy", font_size=34)
    return picture


def test_filled_copies_of_a_form_are_altered_and_none_is_proposed(index: Index, tmp_path: Path) -> None:
    (tmp_path / "forms").mkdir()
    for name in ("Ada", "Boole", "Curie", "Dirac"):
        form(name).save(tmp_path / "forms" / f"{name}.png")
    ingest(index, [tmp_path / "forms"], PixelEncoder())
    result = dedupe(index)
    assert not result.groups
    assert {p.kind for p in result.listed} == {"altered"}
    assert result.pairs["altered"] == len(result.listed) >= 3


def test_a_small_thing_that_moved_is_a_change(index: Index, tmp_path: Path, pieces: list[Image.Image]) -> None:
    (tmp_path / "camera").mkdir()
    for number, place in enumerate((20, 90, 150)):
        frame = pieces[0].copy()
        frame.paste(pieces[7].resize((28, 28)), (place, 60))
        frame.save(tmp_path / "camera" / f"{number}.jpg", quality=90)
    ingest(index, [tmp_path / "camera"], PixelEncoder())
    result = dedupe(index)
    assert not result.groups
    assert {p.kind for p in result.listed} == {"altered"}
    assert len(result.listed) == 3
    a, b = result.listed[0].first, result.listed[0].second
    assert explain(index, a, b).kind == "altered"
    assert "listed and not proposed" in explain(index, a, b).because


def test_what_turning_makes_another_label_of_is_listed(index: Index, tmp_path: Path) -> None:
    for label, turn in (("6", 0), ("9", 180)):
        (tmp_path / "digits" / label).mkdir(parents=True)
        picture = Image.new("L", (64, 64), "white")
        ImageDraw.Draw(picture).text((20, 4), "6", fill="black", font_size=48)
        picture.rotate(turn).save(tmp_path / "digits" / label / "digit.png")
    ingest(index, [tmp_path / "digits"], PixelEncoder(), IngestOptions(label_from="folder"))
    result = dedupe(index)
    assert not result.groups
    (pair,) = result.listed
    assert pair.kind in ("rotated", "mirrored")
    assert pair.labels_differ


def test_two_parts_that_share_little_are_overlapping(index: Index, tmp_path: Path) -> None:
    from sklearn.datasets import load_sample_image

    sheet = Image.fromarray(load_sample_image("china.jpg"))
    (tmp_path / "sheet").mkdir()
    for number, left in enumerate((60, 200)):
        sheet.crop((left, 40, left + 300, 340)).save(tmp_path / "sheet" / f"{number}.png")
    ingest(index, [tmp_path / "sheet"], PixelEncoder())
    result = dedupe(index)
    assert not result.groups
    assert [p.kind for p in result.listed] == ["overlapping"]


def test_within_joins_inside_folders_alone(index: Index, tmp_path: Path, pieces: list[Image.Image]) -> None:
    for folder in ("a", "b"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for quality in (95, 60):
            pieces[0].save(tmp_path / "set" / folder / f"{quality}.jpg", quality=quality)
    ingest(index, [tmp_path / "set"], PixelEncoder())
    folders = {i.id: i.path.parent.name for i in index.images(index.reader.ids_where("1"))}
    groups = dedupe(index, DedupeOptions(within=True)).groups
    assert sorted(tuple(sorted(folders[m.image_id] for m in g.members)) for g in groups) == [("a", "a"), ("b", "b")]
    with pytest.raises(UsageError, match="--within"):
        DedupeOptions(within=True, across=True)
    with pytest.raises(UsageError, match="--neighbours takes 1 to 16"):
        DedupeOptions(neighbours=0)


def test_links_to_one_file_are_one_image(index: Index, tmp_path: Path, pieces: list[Image.Image]) -> None:
    (tmp_path / "set").mkdir()
    pieces[0].save(tmp_path / "set/one.png")
    os.link(tmp_path / "set/one.png", tmp_path / "set/two.png")
    shutil.copyfile(tmp_path / "set/one.png", tmp_path / "set/copy.png")
    ingest(index, [tmp_path / "set"], PixelEncoder())
    result = dedupe(index)
    (group,) = result.groups
    names = {names_of(index)[m.image_id] for m in group.members}
    assert len(names) == 2
    assert "copy.png" in names
    assert any("links to files" in n for n in result.notes)


def test_nothing_is_decoded_twice_and_a_damaged_cache_is_made_again(cut: Index, tmp_path: Path) -> None:
    file = cut.reader.folder / FOLDER / FILE
    assert file.exists()  # written by indexing
    (tmp_path / "set").rename(tmp_path / "away")
    first = dedupe(cut)
    assert not any("could not be compared" in n for n in first.notes)
    assert len(first.groups) == 6
    (tmp_path / "away").rename(tmp_path / "set")
    nodes = Curation(cut.reader).nodes(cut.space)
    with sqlite3.connect(file) as db:
        db.execute("UPDATE sketches SET picture = zeroblob(length(picture)), corners = zeroblob(length(corners))")
    db.close()
    with Looks(cut.reader, nodes) as looks:
        assert all(look is not None for look in looks.looks(nodes.contents.tolist()).values())
    with Sketches(cut.reader.folder) as kept:
        hashes = [bytes.fromhex(i.sha256) for i in cut.images(cut.reader.ids_where("1"))]
        assert set(kept.pictures(hashes)) == set(kept.corners(hashes)) == set(hashes)
        others = [bytes([n]) * 32 for n in range(40)]
        kept.put(dict.fromkeys(others, b"of a picture that is gone"))
    dedupe(cut, DedupeOptions())
    with Sketches(cut.reader.folder) as kept:
        assert set(kept.pictures(hashes + others)) == set(hashes)
    file.write_bytes(b"no database" * 1_000)
    with Looks(cut.reader, nodes) as looks:
        assert all(look is not None for look in looks.looks(nodes.contents.tolist()).values())


def test_a_small_picture_is_kept_without_loss(pieces: list[Image.Image]) -> None:
    small = pieces[0].resize((100, 80))
    assert shrink(small).startswith(b"\x89PNG")
    assert shrink(pieces[0]).startswith(b"\xff\xd8")


def test_planted_crops_are_counted_by_size(cut: Index) -> None:
    nodes = Curation(cut.reader).nodes(cut.space)
    rng = np.random.default_rng(0)
    planted = find_planted(cut, nodes, np.array(CUT), semantic=0.99, rng=rng, job=QUIET)
    for size, count in planted["by_size"].items():
        assert count["made"] == 6
        assert 0 <= count["found"] <= count["made"], size
    assert planted["by_size"]["75"]["found"] >= 5
    file = CornerFile(64)
    file.add([None])
    file.close()
    assert file.partners([None])[0].size == 0


def test_compare_says_which_stage_said_no(cut: Index, curator: Run) -> None:
    ids = {name: image_id for image_id, name in names_of(cut).items()}
    home = cut.reader.folder
    shown = curator("compare", "-i", home, f"id:{ids['00.png']}", f"id:{ids['00-crop.png']}", "--json").stdout
    found = json.loads(shown)["duplicates"]
    assert found["kind"] == "cropped/edited"
    assert [s["name"] for s in found["stages"]][:4] == ["hash", "vector", "corners", "first look"]
    shown = curator("compare", "-i", home, f"id:{ids['00.png']}", f"id:{ids['10.png']}")
    assert "not the same picture: " in shown.stdout
    assert "says no" in shown.stdout


EVIDENCE = {
    "re-encoded": Evidence(0, "same", laid=0.99, difference=0.0, weakest=1.0),
    "cropped/edited": Evidence(40, "same", None, 60, 0.5, 0.0, 0.99, 1.0, 0.0, 1.0),
    "altered": Evidence(0, "same", laid=0.99, difference=0.0, weakest=0.0),
    "overlapping": Evidence(40, "same", None, 60, 0.5, 0.0, 0.99, 0.5, 0.0, 1.0),
    None: Evidence(40, "same"),
}


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda p: p[0] < p[1]),
        st.sampled_from(sorted(EVIDENCE, key=str)),
        max_size=20,
    )
)
def test_a_pair_is_left_out_only_where_others_say_what_it_is(kinds: dict[tuple[int, int], str | None]) -> None:
    joined = Joined(Thresholds(), {})
    for key, kind in kinds.items():
        assert judge(EVIDENCE[kind], Thresholds()) == kind
        joined.add({key: EVIDENCE[kind]})
    one = {n: {n} for n in range(8)}
    for a, b in [key for key, kind in kinds.items() if kind == "re-encoded"]:
        both = one[a] | one[b]
        one |= dict.fromkeys(both, both)
    for a, b in itertools.combinations(range(8), 2):
        between = [kind for (x, y), kind in kinds.items() if {x, y} & one[a] and {x, y} & one[b]]
        says = 2 * between.count("cropped/edited") + between.count("altered")
        assert joined.has((a, b)) == (b in one[a] or says >= 2)


def test_the_two_nearest_words_are_those_of_a_search_of_all() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (n, 32), np.uint8) for n in (70, 90))
    b[:20], b[20] = a[:20], ~a[0]
    nearest, first, second = nearest_two(a, b)
    distances, positions = nearest_words(a, b)
    assert (first == distances[:, 0]).all()
    assert (second == distances[:, 1]).all()
    assert (nearest[first < second] == positions[first < second, 0]).all()


def test_a_part_lies_where_it_was_cut_and_nowhere_else(pieces: list[Image.Image]) -> None:
    for n in CUT:
        whole, crop = Sketch.of(pieces[n]), Sketch.of(part(pieces[n], 0.5, 0.3, 0.6))
        corner = np.array([0.5 * 0.3 * whole.grey.shape[1], 0.5 * 0.6 * whole.grey.shape[0]])
        scale = 0.5 * max(whole.grey.shape) / max(crop.grey.shape)
        fit = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        back = np.array([[1 / scale, 0, -corner[0] / scale], [0, 1 / scale, -corner[1] / scale]])
        assert lies_there(whole.grey, crop.grey, fit)
        assert lies_there(crop.grey, whole.grey, back), "seen from the crop"
        other = Sketch.of(pieces[(n + 1) % len(pieces)]).grey
        assert not lies_there(other, crop.grey, fit)
