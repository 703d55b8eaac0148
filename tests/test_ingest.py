"""`curator index` against the ways folders change, and the failures other tools are known for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import draw
from PIL import Image

from curator.encoders import PixelEncoder
from curator.errors import PictureError, RootMissing, UsageError
from curator.index import Index
from curator.ingest import IngestOptions, Progress, ingest, use_space
from curator.maintenance import verify
from curator.manage import remove_images, repoint_root, restore_images, tag_images
from curator.records import IngestReport

Fill = Callable[..., IngestReport]


class Counting(PixelEncoder):
    """The pixel encoder, counting what it encodes."""

    def __init__(self) -> None:
        self.seen = 0

    def project_images(self, batch: np.ndarray) -> np.ndarray:
        self.seen += len(batch)
        return super().project_images(batch)


class Other(Counting):
    """A second space: upside down."""

    name, fingerprint = "other", "other"

    def project_images(self, batch: np.ndarray) -> np.ndarray:
        return -super().project_images(batch)


def counts(report: IngestReport) -> dict[str, int]:
    names = ("new", "changed", "moved", "restored", "removed", "skipped", "unchanged", "encoded")
    return {k: getattr(report, k) for k in names if getattr(report, k)}


def paths(index: Index) -> list[str]:
    return sorted(str(i.path.relative_to(i.path.parents[1])) for i in index.images(index.reader.ids_where("1")))


def test_first_and_second_run(fill: Fill, index: Index) -> None:
    assert counts(fill()) == {"new": 10, "encoded": 10}
    assert counts(fill()) == {"unchanged": 10}
    assert len(index) == 10


def test_only_what_changed_is_encoded(fill: Fill, folder: Path) -> None:
    fill()
    draw(100).save(folder / "cats/0.png")
    draw(101).save(folder / "new.png")
    os.utime(folder / "cats/1.png")
    assert counts(fill()) == {"changed": 1, "new": 1, "unchanged": 9, "encoded": 2}


def test_a_touched_file_is_not_encoded_and_not_read_again(fill: Fill, folder: Path) -> None:
    fill()
    os.utime(folder / "cats/1.png", (1, 1))
    assert counts(fill()) == {"unchanged": 10}
    encoder = Counting()
    assert counts(fill(encoder=encoder)) == {"unchanged": 10}
    assert encoder.seen == 0


def test_a_renamed_file_keeps_its_id_and_tags(fill: Fill, index: Index, folder: Path) -> None:
    fill()
    old = index.reader.find(folder / "cats/2.png")
    assert old is not None
    tag_images(index, [old], ["dear"])
    (folder / "deep").mkdir()
    (folder / "cats/2.png").rename(folder / "deep/renamed.png")
    assert counts(fill()) == {"moved": 1, "unchanged": 9}
    assert index.images([old])[0].path == folder / "deep/renamed.png"
    assert index.images([old])[0].tags == ("dear",)
    assert index.reader.find(folder / "cats/2.png") is None


def test_two_files_that_swap_names_swap_contents(fill: Fill, index: Index, folder: Path) -> None:
    fill()
    a, b, spare = folder / "cats/0.png", folder / "cats/1.png", folder / "spare"
    for one, two in ((a, spare), (b, a), (spare, b)):
        one.rename(two)
    report = fill()
    assert report.encoded == 0
    assert index.search(image=a, k=1).scores[0] == pytest.approx(1, abs=1e-3)
    assert index.images(index.search(image=a, k=1).ids)[0].path == a


def test_a_removed_file_is_not_found_and_a_restored_one_is_the_old_one(fill: Fill, index: Index, folder: Path, tmp_path: Path) -> None:
    fill()
    file = folder / "cats/3.png"
    old = index.reader.find(file)
    stat = file.stat()
    shutil.move(file, tmp_path / "away.png")
    assert counts(fill()) == {"removed": 1, "unchanged": 9}
    assert old not in index.search(like=1, k=20).ids
    shutil.move(tmp_path / "away.png", file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert counts(fill()) == {"restored": 1, "unchanged": 9}
    assert index.reader.find(file) == old
    assert old in index.search(like=1, k=20).ids


def test_a_toggled_exclude_hides_and_brings_back_without_encoding(fill: Fill, index: Index) -> None:
    fill()
    assert counts(fill(exclude=("cats",))) == {"removed": 5, "unchanged": 5}
    assert len(index.search(like=7, k=20)) == 5
    assert counts(fill()) == {"unchanged": 5}, "remembered"
    assert counts(fill(exclude=())) == {"restored": 5, "unchanged": 5}


def test_an_unmounted_or_missing_root_removes_nothing(fill: Fill, index: Index, folder: Path, tmp_path: Path) -> None:
    fill()
    away = tmp_path / "away"
    folder.rename(away)
    with pytest.raises(RootMissing, match=r"is not there; nothing was removed.*roots move"):
        fill()
    folder.mkdir()
    with pytest.raises(RootMissing, match=r"unmounted disk.*--allow-empty"):
        fill()
    assert len(index) == 10
    folder.rmdir()
    away.rename(folder)
    assert counts(fill()) == {"unchanged": 10}
    shutil.rmtree(folder)
    folder.mkdir()
    assert counts(fill(allow_empty=True)) == {"removed": 10}


def test_a_moved_root_is_repointed_and_nothing_is_encoded(fill: Fill, index: Index, folder: Path, tmp_path: Path) -> None:
    fill()
    folder.rename(tmp_path / "elsewhere")
    repoint_root(index, str(folder), tmp_path / "elsewhere")
    assert counts(fill(tmp_path / "elsewhere")) == {"unchanged": 10}
    assert all(i.path.exists() for i in index.images(index.reader.ids_where("1")))


def test_two_files_equal_in_their_first_megabyte_are_two(fill: Fill, index: Index, folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)
    Image.fromarray(noise).save(folder / "a.bmp")
    noise[:40] = 255 - noise[:40]  # BMP stores rows from below, so these bytes come last
    Image.fromarray(noise).save(folder / "b.bmp")
    assert (folder / "a.bmp").read_bytes()[: 2**20] == (folder / "b.bmp").read_bytes()[: 2**20]
    assert counts(fill())["encoded"] == 12
    assert len({i.sha256 for i in index.images(index.reader.ids_where("1"))}) == 12


def test_the_same_content_twice_is_two_images_encoded_once(fill: Fill, index: Index, folder: Path) -> None:
    shutil.copy(folder / "cats/0.png", folder / "dogs/copy.png")
    assert counts(fill()) == {"new": 11, "encoded": 10}
    assert len(index.search(image=folder / "cats/0.png", k=2)) == 2
    (folder / "cats/0.png").unlink()
    assert counts(fill()) == {"removed": 1, "unchanged": 10}
    assert len(index) == 10, "the copy stays"


def test_a_bad_file_is_skipped_with_its_reason_and_retried_when_it_changes(fill: Fill, index: Index, folder: Path) -> None:
    (folder / "bad.jpg").write_bytes(b"not a picture")
    (folder / "empty.png").touch()
    assert counts(fill()) == {"new": 10, "encoded": 10, "skipped": 2}
    assert {s.path: s.reason for _, s in index.reader.skipped()} == {
        "bad.jpg": "not a picture in an allowed format",
        "empty.png": "empty file",
    }
    assert counts(fill()) == {"unchanged": 10, "skipped": 2}
    draw(77).save(folder / "bad.jpg")
    (folder / "empty.png").unlink()
    assert counts(fill()) == {"new": 1, "unchanged": 10, "encoded": 1}
    assert index.reader.skipped() == []


def test_a_good_file_that_turns_bad_stays_known_and_is_listed(fill: Fill, index: Index, folder: Path) -> None:
    fill()
    (folder / "cats/0.png").write_bytes(b"broken now")
    assert counts(fill()) == {"skipped": 1, "unchanged": 9}
    assert [s.path for _, s in index.reader.skipped()] == ["cats/0.png"]


def test_part_of_a_root_is_brought_up_to_date_alone(fill: Fill, index: Index, folder: Path) -> None:
    fill()
    (folder / "dogs/9.png").unlink()
    (folder / "cats/1.png").unlink()
    assert counts(fill(folder / "cats")) == {"removed": 1, "unchanged": 4}
    assert len(index.reader.roots()) == 1
    assert counts(fill(folder / "dogs/8.png")) == {"unchanged": 1}
    assert len(index) == 9


def test_a_root_around_another_takes_it_in(fill: Fill, index: Index, folder: Path) -> None:
    fill(folder / "cats")
    ids = index.reader.ids_where("1").tolist()
    assert counts(fill(folder)) == {"new": 5, "unchanged": 5, "encoded": 5}
    assert [r.path for r in index.reader.roots()] == [folder]
    assert index.reader.find(folder / "cats/0.png") in ids


def test_metadata_follows_its_sources_without_reading_pictures_again(fill: Fill, index: Index, folder: Path) -> None:
    fill(label_from="folder")
    assert index.reader.breakdown("label") == [("cats", 5), ("dogs", 5)]
    (folder / "cats/0.txt").write_text("a caption")
    (folder / "dogs/metadata.jsonl").write_text(json.dumps({"file_name": "5.png", "price": 12, "width": 1}))
    report = fill()
    assert counts(report) == {"unchanged": 10}
    assert index.reader.breakdown("label") == [("cats", 5), ("dogs", 5)], "remembered"
    first = index.reader.find(folder / "cats/0.png")
    assert index.images([first or 0])[0].caption == "a caption"
    assert index.reader.ids_where("price > 10 and meta_width = 1").tolist() == [index.reader.find(folder / "dogs/5.png")]
    assert "price" in index.reader.columns()
    fill(origin="generated")
    assert index.reader.breakdown("origin") == [("generated", 10)]


def test_an_image_removed_by_hand_stays_out_until_it_is_brought_back(fill: Fill, index: Index, folder: Path) -> None:
    fill()
    remove_images(index, [1, 2])
    os.utime(folder / "cats/0.png", (5, 5))
    assert counts(fill()) == {"unchanged": 10}
    assert len(index) == 8
    restore_images(index, [1, 2])
    assert len(index) == 10
    assert all(p.exists() for p in [folder / "cats/0.png", folder / "cats/1.png"]), "files are not touched"


def test_names_that_are_no_text_are_kept_to_the_byte(fill: Fill, index: Index, folder: Path) -> None:
    for name in (b"caf\xe9.png", b"line\nbreak.png", b"\xf0\x9f\x90\x88.png"):
        draw(int(name[0])).save(folder / os.fsdecode(name))
    assert counts(fill())["new"] == 13
    assert counts(fill()) == {"unchanged": 13}
    assert all(i.path.exists() for i in index.images(index.reader.ids_where("1")))
    assert index.reader.find(folder / os.fsdecode(b"caf\xe9.png")) is not None


def test_a_second_space_fills_while_searches_use_the_first(fill: Fill, index: Index, folder: Path) -> None:
    fill()
    before = index.search(like=1, k=10)
    other = Other()

    def stop(name: str) -> None:
        if name == "space batch committed":
            assert index.search(like=1, k=10).ids.tolist() == before.ids.tolist()

    index.step = stop
    with pytest.raises(UsageError, match="no space 'other'"):
        use_space(index, "other")
    assert fill(encoder=other).encoded == 10
    assert other.seen == 10
    index.step = lambda name: None
    assert index.space.encoder == "pixels"
    draw(500).save(folder / "late.png")
    fill()
    with pytest.raises(UsageError, match="1 images have no vector in 'other' yet"):
        use_space(index, "other")
    assert fill(encoder=Other()).encoded == 1
    use_space(index, "other")
    assert index.space.encoder == "other"
    assert len(index.search(vector=index.vector_of_id(1), k=20)) == 11
    assert list(verify(index.folder)) == []


def test_progress_starts_at_what_is_done(index: Index, folder: Path, fill: Fill) -> None:
    fill(folder / "cats")
    told: list[Progress] = []
    ingest(index, [folder], PixelEncoder(), IngestOptions(), progress=told.append)
    assert (told[-1].done, told[-1].total, told[-1].already) == (10, 10, 5)


def test_ctrl_c_keeps_finished_batches(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(200):
        draw(i).save(folder / f"{i:03d}.png")
    steps: list[str] = []

    def interrupt(name: str) -> None:
        steps.append(name)
        if name == "batch encoded" and steps.count(name) == 2:
            raise KeyboardInterrupt

    index.step = interrupt
    encoder = Counting()
    report = ingest(index, [folder], encoder)
    assert report.interrupted
    assert len(index) == report.new == 64
    index.step = lambda name: None
    assert ingest(index, [folder], encoder).encoded == 136
    assert len(index) == 200


def test_a_picture_that_vanishes_under_the_walk_is_skipped(index: Index, folder: Path) -> None:
    class Vanishing(PixelEncoder):
        def prepare(self, picture: Image.Image) -> np.ndarray:
            raise PictureError("made to fail")

    report = ingest(index, [folder], Vanishing())
    assert report.skipped == 10


def test_the_same_folder_gives_the_same_index_whatever_the_history(tmp_path: Path, folder: Path) -> None:
    """Indexed at once, or in pieces with detours: equal content, equal answers."""
    with Index.create(tmp_path / "one") as one, Index.create(tmp_path / "two") as two:
        ingest(one, [folder], PixelEncoder())
        ingest(two, [folder / "dogs"], PixelEncoder())
        ingest(two, [folder], PixelEncoder(), IngestOptions(exclude=("cats/1.png",)))
        ingest(two, [folder], PixelEncoder(), IngestOptions(exclude=()))
        assert one.reader.digest() == two.reader.digest()
        q = one.vector_of_file(folder / "cats/1.png")
        assert paths(one) == paths(two)
        assert one.nearest(q, 10).scores.tolist() == two.nearest(q, 10).scores.tolist()
