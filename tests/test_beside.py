"""Work beside `curator index`: it lends the lock between its batches, and its halves need no index."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from conftest import draw
from numpy.typing import NDArray
from PIL import Image

from curator.admin.maintenance import verify
from curator.cleaning.decisions import _State, accept, decide
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.cleaning.groups import group_keepers, stored_groups
from curator.database import Curation, Selections, Writer, take_lock
from curator.encoders import PixelEncoder
from curator.errors import IndexLocked, Stopped, UsageError
from curator.images import walk
from curator.index import Index
from curator.index.images import find_images
from curator.ingest import IngestOptions, ingest, read_batch
from curator.job import Job
from curator.records import IngestReport, Pixels, Progress, Vectors
from curator.search.facts import skipped, verdicts
from curator.selection.recipe import Recipe
from curator.selection.select import select

Fill = Callable[..., IngestReport]


class Odd(PixelEncoder):
    """An encoder that makes no vector of dark pictures, as one with overflowing weights would."""

    def project_images(self, batch: NDArray[np.uint8]) -> Vectors:
        x = super().project_images(batch)
        x[batch.mean((1, 2, 3)) < 20] = np.nan
        return x


def test_selecting_and_deciding_go_on_while_another_process_indexes(
    tmp_path: Path, curator: Callable[..., Result]
) -> None:
    """The other process holds `ingest.lock` all the time, and the writer's lock for each batch alone."""
    first, many = tmp_path / "first", tmp_path / "many"
    for number in range(1600):
        file = (first / "ab"[number % 2] if number < 80 else many) / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(number % 1200, (96, 96)).save(file)
    assert curator("index", first, "-e", "pixels").exit_code == 0

    def count() -> int:
        with Index.open() as index:
            return len(index)

    command = [sys.executable, "-m", "curator", "index", str(many), "-e", "pixels"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as indexing:
        began = time.monotonic()
        while count() <= 80 and indexing.poll() is None and time.monotonic() - began < 60:
            time.sleep(0.01)
        rounds, second = 0, ""
        while indexing.poll() is None:
            rounds += 1
            for words in (
                ("select", f"s{rounds}", "-n", 40, "--where", "id > 20 AND id <= 80"),
                ("selections", "split", f"s{rounds}", "a=0.5", "b=0.5"),
                ("preview", f"s{rounds}-a", "--reference", "id <= 20"),
                ("leaks", "--between", "a", "b", "--by", "folder", "--level", "exact"),
                ("tag", f"t{rounds}", 1),
                ("dedupe", "--level", "exact"),
            ):
                done = curator(*words)
                assert "another process" not in done.output, words
                findings = words[0] in ("leaks", "dedupe")  # they exit 1 where there is something to look at
                assert done.exit_code in ((0, 1) if findings else (0,)), (words, done.output)
            if indexing.poll() is None:
                second = second or curator("index", many, "-e", "pixels").output
    assert indexing.returncode == 0
    assert rounds >= 1
    assert not second or "another process" in second, "two of a kind do not meet"
    with Index.open() as index:
        assert len(index) == 1600
        assert list(verify(index.folder)) == []
        assert index.reader.images([1])[0].tags


def test_a_batch_is_read_and_encoded_without_an_index(tmp_path: Path) -> None:
    """No exception crosses a batch: what cannot be read, and what has no vector, is skipped with its reason."""
    for number in range(5):
        draw(number).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    Image.new("RGB", (20, 20), (3, 3, 3)).save(tmp_path / "dark.png")
    files = walk(tmp_path).images
    batch = read_batch(tmp_path, files, Odd())
    assert len(batch) == 7
    assert sorted(r.file.path for r in batch.files) == [f"{n}.png" for n in range(5)]
    reasons = {s.path: s.reason for s in batch.skipped}
    assert "makes no vector" in reasons["dark.png"]
    assert set(reasons) == {"bad.png", "dark.png"}
    assert len(batch.vectors) == 5
    again = read_batch(tmp_path, files, Odd(), known=batch.vectors.keys())
    assert not again.vectors
    assert all(r.content is None for r in again.files)


def test_a_picture_without_a_vector_is_skipped_and_the_rest_is_indexed(index: Index, tmp_path: Path) -> None:
    for number in range(5):
        draw(number).save(tmp_path / f"{number}.png")
    Image.new("RGB", (20, 20), (3, 3, 3)).save(tmp_path / "dark.png")
    report = ingest(index, [tmp_path], Odd(), IngestOptions())
    assert (report.new, report.skipped, report.newly_skipped) == (5, 1, 1)
    assert len(index) == 5
    assert list(verify(index.folder)) == []
    assert ingest(index, [tmp_path], Odd(), IngestOptions()).newly_skipped == 0


def test_two_of_a_kind_do_not_meet(index: Index) -> None:
    with index.write(alone=True) as db, db.aside():
        with index.write() as other, other.atomic():
            other.tag([], [])
        with pytest.raises(IndexLocked), index.write(alone=True):
            pass


def test_groups_are_read_back_with_evidence_and_reasons(index: Index, tmp_path: Path) -> None:
    large, small = tmp_path / "large.png", tmp_path / "small.jpg"
    draw(1, (400, 400)).save(large)
    draw(1, (400, 400)).resize((200, 200)).save(small, quality=90)
    draw(2, (300, 300)).save(tmp_path / "a.png")
    draw(2, (300, 300)).save(tmp_path / "b.png")
    ingest(index, [tmp_path], PixelEncoder(), IngestOptions())
    result = dedupe(index, DedupeOptions())
    keepers = group_keepers(index)
    assert keepers.tolist() == sorted(g.keeper for g in result.groups)
    groups = {g.group.keeper: g for g in stored_groups(index, keepers)}
    assert {k: g.group for k, g in groups.items()} == {g.keeper: g for g in result.groups}
    by_size = groups[index.reader.find(large) or 0]
    assert by_size.reason == "largest"
    ((image_id, evidence),) = by_size.evidence.items()
    assert evidence == result.evidence_of(image_id, by_size.group.keeper)
    assert stored_groups(index, []) == []
    assert group_keepers(index, ["identical-file"]).tolist() == [
        k for k in keepers.tolist() if k != by_size.group.keeper
    ]


def test_reasons_are_told_by_the_rules_that_chose_the_keepers(index: Index, tmp_path: Path) -> None:
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    draw(1, (400, 400)).save(large)
    draw(1, (400, 400)).resize((200, 200)).save(small)
    ingest(index, [tmp_path], PixelEncoder(), IngestOptions())
    dedupe(index, DedupeOptions(keep=("smallest",)))
    (group,) = stored_groups(index, group_keepers(index))
    assert (group.group.keeper, group.reason) == (index.reader.find(small), "smallest")
    dedupe(index, DedupeOptions(protect=(tmp_path,)), keep_proposals=False)
    assert stored_groups(index, group_keepers(index))[0].reason == "smallest", "what kept no groups has no say"


def test_long_lists_can_be_had_a_page_at_a_time(index: Index, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
        for copy in "ab":
            draw(number).save(tmp_path / f"{number}{copy}.png")
    ingest(index, [tmp_path], PixelEncoder(), IngestOptions())
    dedupe(index, DedupeOptions("exact"))
    for image_id in group_keepers(index).tolist():
        decide(index, "keep", [image_id])
    files = skipped(index)
    assert len(files) == 5
    first = skipped(index, limit=2)
    second = skipped(index, after=first[-1], limit=2)
    assert [*first, *second, *skipped(index, after=second[-1])] == files
    said = verdicts(index)
    assert {v.images[0].id for v in said} == set(group_keepers(index).tolist())
    assert all(len(v.beside) == 1 for v in said)
    begin = verdicts(index, limit=2)
    middle = verdicts(index, after=begin[-1].decision, limit=2)
    assert [*begin, *middle, *verdicts(index, after=middle[-1].decision)] == said


def test_a_folder_names_what_lies_in_it(index: Index, folder: Path, fill: Fill) -> None:
    """Not what lies in a folder whose name begins alike, and also names that are no UTF-8."""
    odd = os.fsdecode(b"\xff\xe9.png")
    for name in ("cat.png", "cats0.png", f"cats/{odd}"):
        draw(20 + len(name)).save(folder / name)
    fill()
    names = [i.path.name for i in index.images(find_images(index, str(folder / "cats")))]
    assert names == [*(f"{n}.png" for n in range(5)), odd]
    assert len(find_images(index, str(folder))) == len(find_images(index, str(folder.parent))) == 13


def test_a_verdict_is_given_in_its_own_group_alone(index: Index, tmp_path: Path) -> None:
    """What is read for a verdict does not grow with the number of groups."""
    for number in range(30):
        for copy in "ab":
            draw(number).save(tmp_path / f"{number:03d}{copy}.png")
    ingest(index, [tmp_path], PixelEncoder(), IngestOptions())
    dedupe(index, DedupeOptions("exact"))
    image_id = index.reader.find(tmp_path / "007b.png") or 0
    state = _State.around(Curation(index.reader), [image_id])
    assert len(state.members) == 1
    assert len(state.sha256) == 2
    assert decide(index, "keep", [image_id]) == 1
    assert len(accept(index)) == 29


def test_groups_of_images_that_changed_meanwhile_are_not_kept(index: Index, fill: Fill, folder: Path) -> None:
    """Another process may index between the comparing and the storing."""
    (folder / "copy.png").write_bytes((folder / "cats" / "0.png").read_bytes())
    fill()

    def step(name: str) -> None:
        if name == "graph cached":
            draw(77).save(folder / "copy.png")
            with Index.open(index.folder) as other:
                ingest(other, [folder], PixelEncoder(), IngestOptions())

    index.step = step
    assert len(dedupe(index, DedupeOptions()).groups) == 1
    assert Curation(index.reader).groups() == []


def test_a_verdict_given_meanwhile_is_minded(index: Index, fill: Fill, folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "cats" / "0.png").read_bytes())
    fill()
    (group,) = dedupe(index, DedupeOptions()).groups
    decided = []

    def step(name: str) -> None:
        if name == "graph cached" and not decided:
            with Index.open(index.folder) as other:
                decided.append(decide(other, "reject", [group.keeper]))

    index.step = step
    (again,) = dedupe(index, DedupeOptions()).groups
    assert decided == [1]
    assert again.keeper != group.keeper
    assert [m.keeper_id for m in Curation(index.reader).groups()] == [again.keeper] * 2


def test_a_name_taken_meanwhile_is_not_written_over(index: Index, fill: Fill) -> None:
    fill()

    def show(progress: Progress) -> None:
        with Index.open(index.folder) as other:
            if "mine" not in Selections(other.reader).names():
                select(other, "mine", Recipe(n=2))

    with pytest.raises(UsageError, match="already"):
        select(index, "mine", Recipe(n=3, by="typicality"), job=Job(show=show))
    assert len(Selections(index.reader).get("mine").ids) == 2


def test_who_cannot_have_the_lock_again_writes_nothing(index: Index, fill: Fill) -> None:
    """As at a second Ctrl-C while another process writes."""
    fill()
    writer, clean = Writer.open(index.folder), index.folder / "clean.json"
    aside = writer.aside(wait=0.1)
    aside.__enter__()
    with take_lock(index.folder):
        clean.unlink()
        with pytest.raises(IndexLocked):
            aside.__exit__(None, None, None)
        with pytest.raises(IndexLocked, match="taken over"), writer.atomic():
            pass
        writer.close()
        assert not clean.exists()


def test_copies_in_one_pass_are_decoded_once(index: Index, tmp_path: Path) -> None:
    """The threads that read ahead learn what earlier batches made known."""
    data = tmp_path / "0000.png"
    draw(1).save(data)
    for number in range(1, 1500):
        (tmp_path / f"{number:04d}.png").write_bytes(data.read_bytes())
    prepared = []

    class Counting(PixelEncoder):
        def prepare(self, picture: Image.Image) -> Pixels:
            prepared.append(1)
            return super().prepare(picture)

    assert ingest(index, [tmp_path], Counting(), IngestOptions()).encoded == 1
    assert len(prepared) < 700, "those that waited before the first batch was written, and no more"


def test_a_stop_is_heard_while_another_process_writes(index: Index) -> None:
    """And not only after the ten minutes that a writer waits for the lock it lent."""
    job = Job()
    writer = Writer.open(index.folder)
    aside = writer.aside(job)
    aside.__enter__()
    with take_lock(index.folder):
        job.cancel()
        began = time.monotonic()
        with pytest.raises(Stopped):
            aside.__exit__(None, None, None)
        assert time.monotonic() - began < 5
    with pytest.raises(IndexLocked), writer.atomic():
        pass
    writer.close()
