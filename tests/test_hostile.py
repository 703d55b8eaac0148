"""What others may hand us: crafted journals, broken archives, tables with nulls; and files that change meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import draw
from PIL import Image

from curator.admin.manage import remove_images
from curator.cleaning.decisions import accept
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.cleaning.journal import JOURNAL
from curator.cleaning.quarantine import quarantine, restore
from curator.encoders import PixelEncoder
from curator.errors import CuratorError, UsageError
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.ingest.importing import import_set
from curator.job import Job
from curator.records import IngestReport
from curator.runs.facts import list_runs
from curator.selection.recipe import read_manifest

Fill = Callable[..., IngestReport]


@pytest.fixture
def doubled(index: Index, folder: Path, fill: Fill) -> Index:
    """Every picture of the folder twice, and the second ones rejected."""
    for path in sorted(folder.rglob("*.png")):
        (path.parent / f"copy of {path.name}").write_bytes(path.read_bytes())
    fill()
    dedupe(index, DedupeOptions("exact"))
    accept(index)
    return index


# 3.3 Quarantine looks again just before each move


@pytest.mark.parametrize("what", ["file", "keeper"])
def test_what_changes_between_the_plan_and_the_move_stays(doubled: Index, folder: Path, what: str) -> None:
    planned = quarantine(doubled, dry_run=True).moves
    last = planned[-1]
    changed = Path(last.path if what == "file" else last.keeper)

    def change(step: str) -> None:
        if step == "image marked":
            draw(999).save(changed, "PNG")

    doubled.step = change  # type: ignore[method-assign]
    report = quarantine(doubled)
    assert changed.is_file()
    assert Path(last.path).is_file()
    assert last.path not in {m.path for m in report.moves}
    assert "changed" in dict(report.left)[last.path]
    assert len(report.moves) == len(planned) - 1


def test_a_place_that_is_a_folder_now_blocks_its_own_file_alone(doubled: Index) -> None:
    moves = quarantine(doubled).moves
    Path(moves[0].path).mkdir()
    report = restore(doubled)
    assert {m.path for m in report.moves} == {m.path for m in moves[1:]}
    assert "its place is taken" in dict(report.left)[moves[0].path]
    quarantine(doubled)  # what comes after is not blocked either


def test_names_of_the_greatest_length_that_meet(index: Index, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    name = "n" * 251 + ".png"
    for round_ in range(2):
        draw(5).save(root / "kept.png")
        draw(5).save(root / name)
        ingest(index, [root], PixelEncoder(), IngestOptions())
        dedupe(index, DedupeOptions("exact"))
        accept(index)
        assert [Path(m.path).name for m in quarantine(index).moves] == [name], round_
    assert len(restore(index).moves) >= 1


# 3.4 A crafted journal


@pytest.mark.parametrize("kind", ["out of the root", "no quarantine", "above", "odd types", "nested"])
def test_a_crafted_journal_moves_nothing(doubled: Index, folder: Path, tmp_path: Path, kind: str) -> None:
    (true, *_) = quarantine(doubled).moves
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    sha256 = hashlib.sha256(b"precious").hexdigest()
    crafted = asdict(true) | {"sha256": sha256}
    crafted |= {
        "out of the root": {"moved_to": str(victim), "path": str(tmp_path / "elsewhere.txt"), "home": str(tmp_path)},
        "no quarantine": {"moved_to": str(victim), "path": str(folder / "stolen.png"), "home": str(tmp_path)},
        "above": {"moved_to": f"{true.home}/../../victim.txt", "path": str(folder / "stolen.png")},
        "odd types": {"moved_to": [1], "path": {"a": 1}},
        "nested": {"image_id": "7"},
    }[kind]
    with (doubled.folder / JOURNAL).open("a") as out:
        out.write(json.dumps(crafted) + "\n" + "[" * 100_000 + "\n")
    report = restore(doubled)
    assert victim.read_text() == "precious"
    assert not (folder / "stolen.png").exists()
    assert not (tmp_path / "elsewhere.txt").exists()
    assert true.path in {m.path for m in report.moves}, "what is true still comes back"


# 3.5 A renamed file stays in the index


def test_a_renamed_file_does_not_take_the_place_of_a_removed_copy(index: Index, folder: Path, fill: Fill) -> None:
    twin = folder / "cats/twin.png"
    twin.write_bytes((folder / "cats/0.png").read_bytes())
    fill()
    removed = index.reader.find(twin) or 0
    remove_images(index, [removed])
    twin.unlink()
    (folder / "cats/0.png").rename(folder / "cats/twin2.png")
    fill()
    assert index.reader.find(folder / "cats/twin2.png") == 1
    assert len(index) == 10


# 3.6 Imports


def tar_with(path: Path, files: dict[str, bytes], *, sparse: str | None = None) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if sparse:
            info = tarfile.TarInfo(sparse)
            info.size = 0
            tar.addfile(info)
    if sparse:  # a header that says 200 GiB, of which nothing follows
        data = bytearray(path.read_bytes())
        at = data.rindex(sparse.encode())
        data[at + 124 : at + 136] = (
            b"%011o\0" % (200 * 2**30) if 200 * 2**30 < 8**11 else b"\x80" + (200 * 2**30).to_bytes(11, "big")
        )
        data[at + 148 : at + 156] = b" " * 8
        data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
        path.write_bytes(data)


def png(seed: int, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    draw(seed, (32, 32)).save(data, kind)
    return data.getvalue()


def test_one_bad_sample_of_a_tar_stops_no_other(index: Index, tmp_path: Path) -> None:
    source, lines = tmp_path / "shards", []
    source.mkdir()
    files = {
        "a.png": png(1), "a.json": b"{broken", "b.png": png(2), "b.cls": b"\xff\xfe", "c.png": png(3),
        "c.cls": b"9" * 6000, "d.png": png(4), "d.json": b"[" * 100_000,
    }  # fmt: skip
    tar_with(source / "0.tar", files)
    done = import_set(index, source, PixelEncoder(), job=Job(say=lines.append))
    assert done.report.new == 4
    assert sum(line.startswith("Skipped: the .json of 0.tar/") for line in lines) == 2


def test_a_tar_member_of_200_gib_is_passed_over(index: Index, tmp_path: Path) -> None:
    source, lines = tmp_path / "shards", []
    source.mkdir()
    tar_with(source / "0.tar", {"a.png": png(1)}, sparse="huge.png")
    with contextlib.suppress(UsageError):  # nothing follows the header, so the archive is cut off
        import_set(index, source, PixelEncoder(), job=Job(say=lines.append))
    assert any("huge.png" in line for line in lines)


@pytest.mark.parametrize("kind", ["AVIF", "PPM", "TIFF-big", "JPEG2000"])
def test_parquet_keeps_pictures_of_every_format(index: Index, tmp_path: Path, kind: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = tmp_path / "set"
    source.mkdir()
    data = png(1, kind.partition("-")[0])
    if kind == "TIFF-big":
        values = np.arange(32 * 32, dtype=">u2").reshape(32, 32)
        stream = io.BytesIO()
        Image.frombytes("I;16B", (32, 32), values.tobytes()).save(stream, "TIFF")
        data = stream.getvalue()
    pq.write_table(pa.table({"image": [{"bytes": data, "path": "x"}]}), source / "train.parquet")
    done = import_set(index, source, PixelEncoder())
    assert (done.report.new, done.report.skipped) == (1, 0)


def test_coco_with_nulls_and_odd_types(index: Index, folder: Path) -> None:
    (folder / "annotations").mkdir()
    coco = {
        "images": [{"id": 1, "file_name": "cats/0.png"}, {"id": 2, "file_name": "cats/1.png"}],
        "categories": None,
        "annotations": [
            None, 7, {"image_id": None}, {"image_id": [1]}, {"image_id": 1, "caption": None, "area": None},
            {"image_id": 1, "caption": "one"}, {"image_id": 1, "caption": "two"}, {"image_id": 2, "category_id": {}},
        ],
    }  # fmt: skip
    (folder / "annotations/captions_train.json").write_text(json.dumps(coco))
    import_set(index, folder, PixelEncoder(), form="coco")
    assert index.images([1])[0].caption == "one\ntwo"


@pytest.mark.parametrize("text", ["", "null", "[1]", '{"images": 7}', '{"images": [null]}', "[" * 100_000])
def test_what_is_no_coco_is_refused(index: Index, folder: Path, text: str) -> None:
    (folder / "annotations").mkdir()
    (folder / "annotations/x.json").write_text(text)
    with pytest.raises(UsageError, match="no COCO file"):
        import_set(index, folder, PixelEncoder(), form="coco")


def test_broken_parquet_and_npy_are_refused(index: Index, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(UsageError, match="no parquet file"):
        import_set(index, tmp_path / "a", PixelEncoder())
    (tmp_path / "b/img_emb").mkdir(parents=True)
    (tmp_path / "b/metadata").mkdir()
    pq.write_table(pa.table({"image_path": ["x.png"]}), tmp_path / "b/metadata/metadata_0.parquet")
    for data in (b"", b"\x93NUMPY\x01\0\xff\xff", b"\x93NUMPY\x09\0aaaa"):
        (tmp_path / "b/img_emb/img_emb_0.npy").write_bytes(data)
        with pytest.raises(UsageError, match="cannot be read"):
            import_set(index, tmp_path / "b", PixelEncoder())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        '{"schema": 1e999, "images": []}',
        '{"schema": 1, "images": [1]}',
        '{"schema":1,"images":{"a":"b"}}',
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(CuratorError):
        read_manifest(tmp_path / "m.json")


def test_one_broken_run_hides_no_other(index: Index, folder: Path, fill: Fill) -> None:
    fill()
    for number, text in (
        (1, "{broken"),
        (2, "null"),
        (3, '{"options": {"trainer": "vae"}, "images": {}, "shape": {}}'),
    ):
        run = index.folder / "runs" / f"{number:05d}-vae"
        run.mkdir(parents=True)
        (run / "options.json").write_text(text)
        (run / "state.json").write_text("{broken")
    assert [(r.run, r.status) for r in list_runs(index)] == [("00003-vae", "damaged")]
