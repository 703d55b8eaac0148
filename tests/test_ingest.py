"""`curator index` against the ways folders change, and the failures other tools are known for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from conftest import digest, draw
from PIL import Image

from curator.admin.maintenance import verify
from curator.admin.manage import forget_root, remove_images, repoint_root, restore_images, tag_images
from curator.database.listed import skipped_files
from curator.encoders import PixelEncoder
from curator.errors import RootMissing, UsageError
from curator.index import Index
from curator.index.images import find_ids
from curator.ingest import IngestOptions, ingest, use_space
from curator.job import Job
from curator.records import IngestReport, Progress
from curator.search.facts import status

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


def test_a_removed_file_is_not_found_and_a_restored_one_is_the_old_one(
    fill: Fill, index: Index, folder: Path, tmp_path: Path
) -> None:
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
    with pytest.raises(RootMissing, match=r"never indexed$"):
        fill(tmp_path / "mistyped")
    with pytest.raises(RootMissing, match=r"unmounted disk.*--allow-empty"):
        fill()
    assert len(index) == 10
    folder.rmdir()
    away.rename(folder)
    assert counts(fill()) == {"unchanged": 10}
    shutil.rmtree(folder)
    folder.mkdir()
    assert counts(fill(allow_empty=True)) == {"removed": 10}


def test_a_moved_root_is_repointed_and_nothing_is_encoded(
    fill: Fill, index: Index, folder: Path, tmp_path: Path
) -> None:
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


def test_an_encoder_says_how_many_images_it_takes_and_the_space_in_which_numbers(
    fill: Fill, index: Index, folder: Path, tmp_path: Path
) -> None:
    class Halved(PixelEncoder):
        batch, precision = 100, "bfloat16"
        sizes: ClassVar[list[int]] = []

        def project_images(self, batch: np.ndarray) -> np.ndarray:
            self.sizes.append(len(batch))
            return super().project_images(batch)

    fill()
    assert status(index).spaces[0].precisions == ("float32",)
    more = tmp_path / "more"
    more.mkdir()
    for number in range(250):
        draw(number).save(more / f"{number}.png")
    ingest(index, [more], Halved())
    assert (len(Halved.sizes), sum(Halved.sizes)) == (3, 240), "ten contents were known"
    assert status(index).spaces[0].precisions == ("bfloat16", "float32")
    with index.write() as db, db.atomic():
        db.connection.execute("DELETE FROM recipes")  # as before there were any
    draw(999).save(more / "last.png")
    ingest(index, [more], Halved())
    assert status(index).spaces[0].precisions == ("bfloat16", "unknown")


def test_a_bad_file_is_skipped_with_its_reason_and_retried_when_it_changes(
    fill: Fill, index: Index, folder: Path
) -> None:
    (folder / "bad.jpg").write_bytes(b"not a picture")
    (folder / "empty.png").touch()
    assert counts(fill()) == {"new": 10, "encoded": 10, "skipped": 2}
    assert {s.path: s.reason for _, s in skipped_files(index.reader)} == {
        "bad.jpg": "not a picture in an allowed format",
        "empty.png": "empty file",
    }
    assert counts(fill()) == {"unchanged": 10, "skipped": 2}
    draw(77).save(folder / "bad.jpg")
    (folder / "empty.png").unlink()
    assert counts(fill()) == {"new": 1, "unchanged": 10, "encoded": 1}
    assert skipped_files(index.reader) == []


def test_a_good_file_that_turns_bad_stays_known_and_is_listed(fill: Fill, index: Index, folder: Path) -> None:
    fill()
    (folder / "cats/0.png").write_bytes(b"broken now")
    assert counts(fill()) == {"skipped": 1, "unchanged": 9}
    assert [s.path for _, s in skipped_files(index.reader)] == ["cats/0.png"]


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
    assert index.reader.ids_where("price > 10 and meta_width = 1").tolist() == [
        index.reader.find(folder / "dogs/5.png")
    ]
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
    ingest(index, [folder], PixelEncoder(), IngestOptions(), job=Job(show=told.append))
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
            (folder / "dogs/9.png").unlink(missing_ok=True)
            return super().prepare(picture)

    for i in range(300):  # more than are read ahead
        draw(1000 + i).save(folder / "cats" / f"x{i}.png")
    assert counts(ingest(index, [folder], Vanishing())) == {"new": 309, "skipped": 1, "encoded": 309}
    assert skipped_files(index.reader)[0][1].reason == "cannot be read: No such file or directory"


def test_a_picture_the_encoder_cannot_take_is_skipped(index: Index, folder: Path) -> None:
    class Picky(PixelEncoder):
        def prepare(self, picture: Image.Image) -> np.ndarray:
            raise MemoryError("too wide")

    assert counts(ingest(index, [folder], Picky())) == {"skipped": 10}


def test_a_moved_file_may_take_the_name_of_a_removed_one_that_is_no_text(
    fill: Fill, index: Index, folder: Path
) -> None:
    odd = folder / os.fsdecode(b"caf\xe9.png")
    draw(50).save(odd)
    fill()
    odd.unlink()
    fill()
    moved = index.reader.find(folder / "cats/0.png")
    (folder / "cats/0.png").rename(odd)
    assert counts(fill()) == {"moved": 1, "unchanged": 9}
    assert index.reader.find(odd) == moved
    assert list(verify(index.folder)) == []


def test_options_of_a_part_are_not_those_of_the_whole(fill: Fill, index: Index, folder: Path) -> None:
    fill(label_from="folder")
    fill(folder / "dogs", origin="generated")
    assert counts(fill()) == {"unchanged": 10}
    assert index.reader.breakdown("origin") == [("generated", 5), ("real", 5)]


@pytest.mark.parametrize("relative", [False, True])
def test_paths_with_dots_are_the_paths_they_mean(
    fill: Fill, index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    monkeypatch.chdir(folder / "cats")
    odd = Path("..") if relative else folder / "cats" / ".."
    assert counts(fill(odd)) == {"new": 10, "encoded": 10}
    assert counts(fill(folder)) == {"unchanged": 10}
    assert find_ids(index, [str(odd / "dogs" / "5.png")]) == [index.reader.find(folder / "dogs/5.png")]
    assert index.search(image=odd / "dogs/5.png", k=1).ids[0] == index.reader.find(folder / "dogs/5.png")


def test_a_wrong_table_is_not_remembered_and_a_lost_one_can_be_forgotten(
    fill: Fill, index: Index, folder: Path, tmp_path: Path
) -> None:
    fill()
    with pytest.raises(UsageError, match="no file"):
        fill(table=str(tmp_path / "typo.csv"))
    assert counts(fill()) == {"unchanged": 10}
    table = tmp_path / "t.csv"
    table.write_text("file,label\ncats/0.png,tom\n")
    fill(table=str(table))
    assert counts(fill(folder / "dogs")) == {"unchanged": 5}, "a part need not be in the table"
    table.unlink()
    with pytest.raises(UsageError, match="forgets the last one"):
        fill()
    assert counts(fill(table="")) == {"unchanged": 10}
    assert counts(fill()) == {"unchanged": 10}
    assert index.reader.breakdown("label") == [("tom", 1)]


def test_metadata_above_a_part_still_speaks_of_it(fill: Fill, index: Index, folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,price\ndogs/5.png,7\n")
    fill(label_from="folder")
    fill(folder / "dogs")
    fill(folder / "dogs/5.png")
    assert index.reader.ids_where("price = 7 and label = 'dogs'").tolist() == [index.reader.find(folder / "dogs/5.png")]


def test_what_was_removed_by_hand_stays_out_when_its_file_changes_or_moves(
    fill: Fill, index: Index, folder: Path
) -> None:
    fill()
    remove_images(index, [1, 2])
    draw(99).save(folder / "cats/0.png")
    (folder / "cats/1.png").rename(folder / "elsewhere.png")
    fill()
    assert len(index) == 8
    assert len(index.search(like=5, k=20)) == 8
    restore_images(index, [1, 2])
    assert index.images([2])[0].path == folder / "elsewhere.png"
    assert len(index) == 10


def test_bringing_back_by_hand_does_not_raise_the_dead(fill: Fill, index: Index, folder: Path) -> None:
    fill()
    (folder / "cats/0.png").unlink()
    fill()
    restore_images(index, [1])
    assert len(index) == 9


def test_a_foreign_index_db_hides_nothing_and_an_index_of_ours_is_passed_over(
    fill: Fill, index: Index, folder: Path
) -> None:
    fill()
    (folder / "cats/index.db").write_bytes(b"somebody's database")
    assert counts(fill()) == {"unchanged": 10}
    with Index.create(folder / "inside") as inside:
        (inside.folder / "thumb.png").write_bytes((folder / "cats/0.png").read_bytes())
    assert counts(fill()) == {"unchanged": 10}


def test_what_cannot_be_seen_is_not_gone(fill: Fill, index: Index, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    draw(70).save(outside / "a.png")
    (folder / "linked").symlink_to(outside)
    assert counts(fill())["new"] == 11
    outside.rename(tmp_path / "away")
    assert counts(fill()) == {"unchanged": 10, "skipped": 1}
    assert len(index) == 11
    (tmp_path / "away").rename(outside)
    assert counts(fill()) == {"unchanged": 11}
    assert skipped_files(index.reader) == []


def test_a_moved_image_keeps_its_origin(fill: Fill, index: Index, folder: Path) -> None:
    fill(folder / "cats", origin="generated", label_from="folder")
    fill(folder, label_from="folder")
    (folder / "cats/0.png").rename(folder / "dogs/0.png")
    assert counts(fill())["moved"] == 1
    assert index.reader.breakdown("origin") == [("generated", 5), ("real", 5)]


def test_one_missing_root_does_not_stop_the_others(fill: Fill, index: Index, folder: Path, tmp_path: Path) -> None:
    fill(folder / "cats")
    fill(folder / "dogs")
    (folder / "cats").rename(tmp_path / "away")
    draw(80).save(folder / "dogs/new.png")
    report = ingest(index, [], PixelEncoder())
    assert counts(report) == {"unchanged": 5, "new": 1, "encoded": 1}
    assert len(report.problems) == 1
    assert len(index) == 11


def test_single_files_stay_single(fill: Fill, index: Index, folder: Path) -> None:
    assert counts(fill(folder / "cats/0.png", folder / "cats/1.png"))["new"] == 2
    assert counts(ingest(index, [], PixelEncoder())) == {"unchanged": 2}
    (folder / "cats/1.png").unlink()
    assert counts(ingest(index, [], PixelEncoder())) == {"unchanged": 1, "removed": 1}
    assert counts(fill(folder / "cats")) == {"unchanged": 1, "new": 3, "encoded": 3}
    draw(81).save(folder / "cats/new.png")
    assert counts(ingest(index, [], PixelEncoder()))["new"] == 1, "the whole folder is known now"


def test_a_file_that_can_be_read_again_leaves_the_list(fill: Fill, index: Index, folder: Path) -> None:
    file = folder / "cats/0.png"
    fill()
    good, stat = file.read_bytes(), file.stat()
    file.write_bytes(b"bad")
    fill()
    file.write_bytes(good)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert counts(fill()) == {"unchanged": 10}
    assert skipped_files(index.reader) == []


def test_an_image_without_a_vector_is_told_of(fill: Fill, index: Index, folder: Path) -> None:
    fill()
    draw(90).save(folder / "late.png")
    fill(encoder=Other())
    hits = index.search(like=1, k=20)
    assert len(hits) == 10
    assert any("1 images have no vector in space 'pixels' yet" in n for n in hits.notes)
    assert any("have no vector" in f.problem for f in verify(index.folder))
    fill()
    assert not any("have no vector" in n for n in index.search(like=1, k=20).notes)
    draw(91).save(folder / "cats/0.png")
    fill()
    with pytest.raises(UsageError, match="--anyway"):
        use_space(index, "other")
    use_space(index, "other", anyway=True)


def test_roots_lie_apart(fill: Fill, index: Index, folder: Path, tmp_path: Path) -> None:
    fill(folder / "cats")
    fill(folder / "dogs")
    for new in (folder / "dogs", folder / "dogs" / "deep", folder):
        new.mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="must lie apart"):
            repoint_root(index, str(folder / "cats"), new)


def test_the_same_folder_gives_the_same_index_whatever_the_history(tmp_path: Path, folder: Path) -> None:
    """Indexed at once, or in pieces with detours: equal content, equal answers."""
    with Index.create(tmp_path / "one") as one, Index.create(tmp_path / "two") as two:
        ingest(one, [folder], PixelEncoder())
        ingest(two, [folder / "dogs"], PixelEncoder())
        ingest(two, [folder], PixelEncoder(), IngestOptions(exclude=("cats/1.png",)))
        ingest(two, [folder], PixelEncoder(), IngestOptions(exclude=()))
        assert digest(one) == digest(two)
        q = one.vector_of_file(folder / "cats/1.png")
        assert paths(one) == paths(two)
        assert one.nearest(q, 10).scores.tolist() == two.nearest(q, 10).scores.tolist()


def test_a_single_file_above_a_root_leaves_that_root_whole(fill: Fill, index: Index, folder: Path) -> None:
    fill(folder / "cats", label_from="folder")
    draw(60).save(folder / "top.png")
    assert counts(fill(folder / "top.png"))["new"] == 1
    draw(61).save(folder / "cats/new.png")
    (folder / "cats/0.png").unlink()
    assert counts(ingest(index, [], PixelEncoder())) == {"new": 1, "removed": 1, "unchanged": 5, "encoded": 1}
    assert len(index) == 6, "and the dogs stay out"


def test_part_of_a_forgotten_root_is_remembered(fill: Fill, index: Index, folder: Path) -> None:
    fill()
    forget_root(index, str(folder))
    assert counts(fill(folder / "cats/0.png")) == {"restored": 1}
    os.utime(folder / "cats/0.png", (1, 1))
    assert counts(ingest(index, [], PixelEncoder())) == {"unchanged": 1}


def test_a_root_moves_to_where_a_forgotten_one_was(fill: Fill, index: Index, folder: Path) -> None:
    cats, dogs = folder / "cats", folder / "dogs"
    fill(cats)
    fill(dogs)
    forget_root(index, str(dogs))
    shutil.rmtree(dogs)
    cats.rename(dogs)
    with pytest.raises(UsageError, match="roots move"):
        fill(dogs)
    repoint_root(index, str(cats), dogs)
    assert counts(fill(dogs)) == {"unchanged": 5}
    assert index.reader.find(dogs / "0.png") == 1
