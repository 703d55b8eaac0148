"""Sets of shards: what is planned is embedded once, whatever happens, and a choice is what one machine would choose."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from conftest import draw
from hypothesis import given
from hypothesis import strategies as st
from scaling import (
    DAMAGED,
    FailingFiles,
    InProcess,
    group_is_alive,
    make_set,
    put_pictures,
    register_failing,
    rows_of,
    start_driver,
    value_of,
    vectors_of,
)  # fmt: skip

from curator.database import Selections
from curator.database.listed import skipped_files
from curator.duplicates.leaders import keepers_of, leaders
from curator.encoders import PixelEncoder, encoders, open_towers, probe_vectors, tower_files
from curator.encoders.folder import check_probe
from curator.errors import (
    EncoderError,
    ExtraMissing,
    NoSet,
    RootMissing,
    ScaleProblem,
    SetDamaged,
    SpaceMismatch,
    UnknownName,
    UsageError,
    WhereError,
)  # fmt: skip
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.job import Job
from curator.registry import extra
from curator.scale import drive
from curator.scale.bring import bring
from curator.scale.checking import set_status, skipped_of, verify_set
from curator.scale.choosing import SetRecipe
from curator.scale.dedupe import SetDedupe, dedupe_set
from curator.scale.drive import embed_set, whole_set
from curator.scale.executor import LocalExecutor, Workers
from curator.scale.join import at_most, divided, join_cell
from curator.scale.plan import make_plan, read_facts
from curator.scale.records import Receipt
from curator.scale.select import select_from
from curator.scale.shards import read_receipts
from curator.scale.storage import Storage, StorageError, checked, insistently, member_uri, read_shown, read_uri, tar_of
from curator.selection.recipe import Recipe
from curator.selection.select import select
from curator.selectors.rounds import ONE_PASS


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety pictures and three that are none."""
    return put_pictures(tmp_path_factory.mktemp("scale") / "pictures", 90)


@pytest.fixture(scope="module")
def ready(pictures: Path) -> Path:
    """A whole set of them, to read."""
    place = pictures.parent / "set"
    make_set(pictures, place, label_from="folder")
    return place


@pytest.fixture(scope="module")
def local(pictures: Path) -> Iterator[Index]:
    """A local index of the same."""
    with Index.create(pictures.parent / "index") as index:
        ingest(index, [pictures], PixelEncoder(), IngestOptions(label_from="folder"))
        yield index


def test_a_set_is_what_an_index_is(ready: Path, local: Index) -> None:
    """The same pictures, contents, labels, and vectors to the bit; what cannot be read, for the same reason."""
    rows = rows_of(ready)
    ids = local.reader.ids_where("1")
    x = local.reader.vectors(local.space, ids.tolist()).astype(np.float16)
    assert rows == {
        str(i.path): (rows[str(i.path)][0], bytes.fromhex(i.sha256), i.label, v.tobytes())
        for i, v in zip(local.images(ids), x, strict=True)
    }
    assert len({row[0] for row in rows.values()}) == 90
    reasons = {reason for _, _, reason in skipped_of(str(ready))}
    assert reasons == {s.reason for _, s in skipped_files(local.reader)}


def test_a_row_has_every_column_of_an_image(ready: Path, local: Index) -> None:
    whole = whole_set(Storage(str(ready)))
    part = whole.part(whole.receipts[0])
    for number, row in enumerate(part.table.to_pylist()):
        image_id = local.reader.find(Path(row["uri"]))
        (image,) = local.images([image_id])
        for name in ("width", "height", "mode", "format", "origin", "label", "caption", "taken_at", "camera", "size"):
            assert row[name] == getattr(image, name), name
        for name in ("sharpness", "brightness", "contrast", "entropy"):
            assert row[name] == pytest.approx(local.reader.values_of(name)[image_id], rel=1e-6)
        assert row["norm"] == pytest.approx(float(local.reader.norms(local.space, [image_id])[0]), rel=1e-6)
        assert row["id"] == part.ids[number]
        assert len(row["hashes"]) == 64


def test_others_read_a_shard_as_it_is(ready: Path) -> None:
    """pyarrow and DuckDB find the same numbers, halves of a float."""
    whole = whole_set(Storage(str(ready)))
    file = ready / "shards" / whole.receipts[0].file
    part = whole.part(whole.receipts[0])
    by_arrow = np.stack([np.asarray(v) for v in pq.read_table(file)["vector"].to_pylist()])
    by_duckdb = np.array([v for (v,) in duckdb.sql(f"SELECT vector FROM '{file}'").fetchall()])
    assert np.array_equal(by_arrow.astype(np.float16), part.x)
    assert np.array_equal(by_duckdb.astype(np.float16), part.x)


def test_a_set_of_a_set_is_the_same_bytes(pictures: Path, ready: Path, tmp_path: Path) -> None:
    """Whoever embeds the same shard writes the same file, so that two drivers do no harm."""
    make_set(pictures, tmp_path / "again", label_from="folder")
    files = [{f.name for f in (home / "shards").glob("*.parquet")} for home in (ready, tmp_path / "again")]
    assert files[0] == files[1]


def test_processes_make_the_same(pictures: Path, ready: Path, tmp_path: Path) -> None:
    make_plan(str(pictures), str(tmp_path / "set"), shard_size=16, options={"label_from": "folder"})
    report = embed_set(str(tmp_path / "set"), "pixels", LocalExecutor(Workers(2, 2)))
    assert (report.rows, report.skipped, report.complete) == (90, 3, True)
    assert {f.name for f in (ready / "shards").glob("*")} == {f.name for f in (tmp_path / "set" / "shards").glob("*")}
    assert (
        json.loads((tmp_path / "set" / "manifest.json").read_text())["sha256"]
        == json.loads((ready / "manifest.json").read_text())["sha256"]
    )
    assert not list((tmp_path / "set" / "attempts").glob("*"))


def test_planned_again_is_nothing_new(ready: Path, pictures: Path) -> None:
    report = make_plan(str(pictures), str(ready))
    assert (report.new, report.known, report.changed, report.gone) == (0, 93, 0, 0)


def test_what_is_new_changed_or_gone_is_planned_so(tmp_path: Path) -> None:
    """A later plan adds shards, and takes rows of changed and lost files back; ids are never used twice."""
    home = put_pictures(tmp_path / "p", 20, damaged=False)
    make_set(home, tmp_path / "set")
    before = rows_of(tmp_path / "set")
    draw(1000).save(home / "label-0" / "new.png")
    draw(1001).save(home / "label-1" / "0001.png")
    (home / "label-2" / "0002.png").unlink()
    report = make_plan(str(home), str(tmp_path / "set"))
    assert (report.new, report.changed, report.gone, report.known) == (2, 1, 1, 18)
    with pytest.raises(ScaleProblem, match="1 shard of 3 have no receipt"):
        whole_set(Storage(str(tmp_path / "set")))
    embed_set(str(tmp_path / "set"), None, InProcess())
    after = rows_of(tmp_path / "set")
    assert len(after) == 20
    assert str(home / "label-2" / "0002.png") not in after
    changed = str(home / "label-1" / "0001.png")
    assert after[changed][1] == hashlib.sha256(Path(changed).read_bytes()).digest()
    assert not {row[0] for row in after.values()} & {before[changed][0]}
    assert all(after[u] == row for u, row in before.items() if u in after and u != changed)


def test_tars_are_shards(tmp_path: Path, ready: Path) -> None:
    """A tar is a shard; pictures keep their labels and captions, and are fetched from it again."""
    for number in range(2):
        with tarfile.open(tmp_path / f"{number:05d}.tar", "w") as tar:
            for row in range(8):
                out = io.BytesIO()
                draw(number * 8 + row).save(out, "PNG")
                files = {"png": out.getvalue(), "txt": f"caption {row}".encode(), "json": b'{"label": "l", "price": 3}'}
                for suffix, data in files.items():
                    info = tarfile.TarInfo(f"a/{row:03d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    whole = make_set(f"{tmp_path}/{{00000..00001}}.tar", tmp_path / "set")
    assert (whole.facts.kind, whole.facts.shards, whole.rows) == ("tars", 2, 16)
    row = whole.part(whole.receipts[1]).table.to_pylist()[3]
    assert (row["label"], row["caption"], json.loads(row["extra"])) == ("l", "caption 3", {"price": 3})
    assert row["uri"] == f"tar://a/003.png::{tmp_path}/00001.tar"
    assert list(verify_set(str(tmp_path / "set"), deep=1.0)) == []
    select_from(str(tmp_path / "set"), "all", SetRecipe(16), InProcess())
    with Index.create(tmp_path / "index") as index:
        done = bring(str(tmp_path / "set"), "all", index, tmp_path / "brought")
        assert (done.fetched, done.missing) == (16, {})
        assert len(index.reader.ids_where("price = 3 and label = 'l'")) == 16


def test_a_tar_that_breaks_off_fails_its_shard_and_is_no_skip(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(b"\0" * 100 + b"nonsense" * 200)
    make_plan(str(tmp_path / "0.tar"), str(tmp_path / "set"))
    report = embed_set(str(tmp_path / "set"), "pixels", InProcess())
    assert list(report.failed) == [0]
    assert "cannot be read to its end" in report.failed[0]
    assert not report.complete


def test_tables_name_pictures(tmp_path: Path) -> None:
    home = put_pictures(tmp_path / "p", 6, damaged=False)
    lines = [f"p/{f.relative_to(home)},{n},shoe {n}" for n, f in enumerate(sorted(home.rglob("*.png")))]
    (tmp_path / "list.csv").write_text("\n".join(["uri,price,label", *lines]))
    whole = make_set(tmp_path / "list.csv", tmp_path / "set")
    rows = whole.part(whole.receipts[0]).table.to_pylist()
    assert [(r["label"], json.loads(r["extra"])) for r in rows] == [(f"shoe {n}", {"price": n}) for n in range(6)]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="no column `uri`"):
        make_plan(str(tmp_path / "other.csv"), str(tmp_path / "x"))


@pytest.mark.parametrize(
    "place",
    ["s3://b/a.png?X-Amz-Signature=1", "s3://user:word@b/a", "https://x/y.jpg", "gs://b/a?sig=1", "http://x/y"],
)
def test_what_must_not_be_written_down_is_refused(place: str) -> None:
    with pytest.raises(UsageError):
        checked(place)


def test_storage_in_memory_is_a_storage_too(pictures: Path, tmp_path: Path) -> None:
    """Everything works on a storage that is no disk."""
    whole = make_set(pictures, "memory://bucket/set")
    assert whole.rows == 90
    assert list(verify_set("memory://bucket/set", deep=0.1)) == []
    fs = whole.storage._at[0]
    for number in range(5):
        out = io.BytesIO()
        draw(number).save(out, "PNG")
        fs.pipe_file(f"/photos/label-{number % 2}/{number}.png", out.getvalue())
    fs.pipe_file("/photos/.hidden/x.png", b"x")
    other = make_set("memory://photos", tmp_path / "set", label_from="folder")
    assert [r["label"] for r in other.part(other.receipts[0]).table.to_pylist()] == ["label-0"] * 3 + ["label-1"] * 2
    fs.pipe_file("/photos/label-1/1.png", fs.cat_file("/photos/label-0/0.png"))
    assert make_plan("memory://photos", str(tmp_path / "set")).changed in (
        0,
        1,
    )  # memory keeps seconds of mtimes at best
    with pytest.raises(UsageError, match="side-cars"):
        make_plan("memory://photos", str(tmp_path / "other"), options={"label_from": "price"})


@pytest.mark.parametrize("harm", ["truncated", "other bytes", "no file", "no receipt", "half a receipt"])
def test_what_was_harmed_is_made_again(tmp_path: Path, pictures: Path, harm: str) -> None:
    """And what was not harmed is not touched."""
    whole = make_set(pictures, tmp_path / "set")
    before = rows_of(tmp_path / "set")
    receipt = whole.receipts[2]
    file, paper = tmp_path / "set" / "shards" / receipt.file, tmp_path / "set" / "shards" / "000002.json"
    others = {f: f.stat().st_mtime_ns for f in (tmp_path / "set" / "shards").iterdir() if f not in (file, paper)}
    data = file.read_bytes()
    if harm == "truncated":
        file.write_bytes(data[:-7])
    elif harm == "other bytes":
        file.write_bytes(data[:-7] + b"1234567")
    elif harm == "no file":
        file.unlink()
    elif harm == "no receipt":
        paper.unlink()
    else:
        paper.write_text(paper.read_text()[:40])
    said: list[str] = []
    report = embed_set(str(tmp_path / "set"), None, InProcess(), job=Job(say=said.append))
    assert (report.already, report.done) == (5, 1)
    assert rows_of(tmp_path / "set") == before
    assert file.read_bytes() == data
    assert {f: f.stat().st_mtime_ns for f in others} == others
    assert bool(said) == (harm != "no receipt")


def test_verify_finds_harm_and_embed_mends_it(tmp_path: Path, pictures: Path) -> None:
    whole = make_set(pictures, tmp_path / "set")
    file = tmp_path / "set" / "shards" / whole.receipts[1].file
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    stray = tmp_path / "set" / "shards" / "000009-00000000.parquet"
    stray.write_bytes(b"x")
    os.utime(stray, (1, 1))
    with pytest.raises(SetDamaged, match="other bytes"):
        whole.part(whole.receipts[1])
    places = [f.place for f in verify_set(str(tmp_path / "set"), clean=True)]
    assert places == [f"shards/{file.name}", f"shards/{stray.name}"]
    assert not stray.exists()
    assert embed_set(str(tmp_path / "set"), None, InProcess()).done == 1
    assert list(verify_set(str(tmp_path / "set"))) == []


def test_verify_deep_reads_pictures_again(tmp_path: Path) -> None:
    home = put_pictures(tmp_path / "p", 6, damaged=False)
    make_set(home, tmp_path / "set")
    assert list(verify_set(str(tmp_path / "set"), deep=1.0)) == []
    draw(77).save(home / "label-0" / "0000.png")
    (home / "label-1" / "0001.png").unlink()
    problems = sorted(f.problem.partition(" ")[0] for f in verify_set(str(tmp_path / "set"), deep=1.0))
    assert problems == ["cannot", "has"]


def test_a_set_has_one_space(tmp_path: Path, pictures: Path, ready: Path) -> None:
    with pytest.raises(SpaceMismatch, match="a set has one space"):
        embed_set(str(ready), "tiny", InProcess())
    make_plan(str(pictures), str(tmp_path / "set"))
    with pytest.raises(UsageError, match="which encoder"):
        embed_set(str(tmp_path / "set"), None, InProcess())
    with pytest.raises(NoSet, match="scale plan"):
        embed_set(str(tmp_path / "nothing"), "pixels", InProcess())
    with pytest.raises(RootMissing):
        make_plan(str(tmp_path / "missing"), str(tmp_path / "x"))
    with pytest.raises(UsageError, match="is a set of"):
        make_plan(str(tmp_path), str(ready))


def test_a_set_of_a_later_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text('{"format": 2}')
    with pytest.raises(SetDamaged, match="upgrade"):
        read_facts(Storage(str(tmp_path)))
    (tmp_path / "set.json").write_text("{")
    with pytest.raises(SetDamaged, match=r"set\.json"):
        read_facts(Storage(str(tmp_path)))


def test_towers_open_by_their_bytes_alone(tmp_path: Path, tiny: Any) -> None:
    """As a worker opens them, that never had the weights; a changed byte is noticed, and other vectors are refused."""
    for name, file in tower_files(tiny).items():
        (tmp_path / name).write_bytes(file.read_bytes())
    opened = open_towers("tiny", tmp_path, threads=1)
    assert np.allclose(probe_vectors(opened), probe_vectors(tiny), atol=1e-5)
    check_probe(opened, probe_vectors(tiny), "a worker")
    wrong = probe_vectors(tiny)[:, ::-1].copy()
    with pytest.raises(SpaceMismatch, match="a worker makes other vectors"):
        check_probe(opened, wrong, "a worker")
    assert tower_files(PixelEncoder()) == {}
    data = (tmp_path / "image.onnx").read_bytes()
    (tmp_path / "image.onnx").write_bytes(data[:-1] + b"x")
    with pytest.raises(EncoderError, match="not what was exported"):
        open_towers("tiny", tmp_path)


def test_a_worker_with_other_weights_does_not_work(tmp_path: Path, pictures: Path) -> None:
    make_plan(str(pictures), str(tmp_path / "set"))
    embed_set(str(tmp_path / "set"), "tiny", InProcess())
    facts = read_facts(Storage(str(tmp_path / "set")))
    place = tmp_path / "other"
    make_plan(str(pictures), str(place))
    Storage(str(place)).put("set.json", replace(facts, encoder="pixels", towers={}).to_json())
    probe = (tmp_path / "set" / "encoder" / "probe.npy").read_bytes()
    Storage(str(place)).put("encoder/probe.npy", probe)
    with pytest.raises(SpaceMismatch, match="not the encoder"):
        embed_set(str(place), None, InProcess())
    assert not list((place / "shards").glob("*"))


def test_the_picture_that_kills_is_skipped_and_no_other(tmp_path: Path) -> None:
    """Three workers die at it; then its shard is looked at by halves, and all the others are embedded."""
    import deadly

    home = put_pictures(tmp_path / "p", 24, damaged=False)
    draw(5, (33, 33)).save(home / "label-1" / "deadly.png")
    make_plan(str(home), str(tmp_path / "set"), shard_size=8)
    report = embed_set(str(tmp_path / "set"), "deadly", deadly.WithDeadly())
    encoders._parts.pop("deadly")  # other tests look at what is registered
    assert (report.rows, report.skipped, report.complete) == (24, 1, True)
    assert set_status(str(tmp_path / "set")).skipped == {"kills the decoder": 1}
    assert not list((tmp_path / "set" / "attempts").glob("*"))


def test_storage_that_fails_is_no_skip(tmp_path: Path) -> None:
    """An outage is told as one: its shards have no receipt, and are done when it is over."""
    home = put_pictures(tmp_path / "p", 8, damaged=False)
    table = "\n".join(["uri", *(f"failing://{f}" for f in sorted(home.rglob("*.png")))])
    (tmp_path / "list.csv").write_text(table)
    register_failing()
    make_plan(str(tmp_path / "list.csv"), str(tmp_path / "set"), shard_size=1)
    FailingFiles.fails = True
    with pytest.raises(ScaleProblem, match=r"of the first . shards failed.*out of order"):
        embed_set(str(tmp_path / "set"), "pixels", InProcess())
    assert not list((tmp_path / "set" / "shards").glob("*"))
    FailingFiles.fails = False
    assert embed_set(str(tmp_path / "set"), "pixels", InProcess()).rows == 8


def test_a_passing_fault_is_tried_again_when_asked(tmp_path: Path) -> None:
    home = put_pictures(tmp_path / "p", 6, damaged=False)
    make_plan(str(home), str(tmp_path / "set"))
    away = home / "label-0" / "0000.png"
    data = away.read_bytes()
    away.unlink()
    assert embed_set(str(tmp_path / "set"), "pixels", InProcess()).skipped == 1
    away.write_bytes(data)
    assert embed_set(str(tmp_path / "set"), None, InProcess()).done == 0
    again = embed_set(str(tmp_path / "set"), None, InProcess(), retry_skipped=True)
    assert (again.done, again.skipped, len(rows_of(tmp_path / "set"))) == (1, 0, 6)


def test_a_folder_that_is_not_mounted_is_an_outage(tmp_path: Path) -> None:
    """No shard of it is done, and all are when it is back; what has really gone is planned so, and then done."""
    home = put_pictures(tmp_path / "p", 12, damaged=False)
    make_plan(str(home), str(tmp_path / "set"), shard_size=6)
    home.rename(tmp_path / "away")
    with pytest.raises(ScaleProblem, match="is the folder mounted"):
        embed_set(str(tmp_path / "set"), "pixels", InProcess())
    storage = Storage(str(tmp_path / "set"))
    assert read_receipts(storage, read_facts(storage)) == {}
    (tmp_path / "away").rename(home)
    for file in sorted(home.rglob("*.png"))[:6]:
        file.unlink()
    assert make_plan(str(home), str(tmp_path / "set")).gone == 6
    assert embed_set(str(tmp_path / "set"), None, InProcess()).complete
    assert len(rows_of(tmp_path / "set")) == 6


def test_what_has_gone_since_is_in_no_result(tmp_path: Path) -> None:
    """Parts of an earlier choice or comparison are not taken for those of the set as it is now."""
    home = put_pictures(tmp_path / "p", 30, damaged=False)
    place = str(make_set(home, tmp_path / "set").storage.place)
    how = SetDedupe("semantic", threshold=0.2, cells=2)
    for name in ("d", "e"):
        dedupe_set(place, name, how, InProcess())
    select_from(place, "s", SetRecipe(30), InProcess())
    for file in sorted(home.rglob("*.png"))[:5]:
        file.unlink()
    make_plan(str(home), place)
    assert select_from(place, "s", SetRecipe(30), InProcess(), overwrite=True).count == 25
    again, fresh = (dedupe_set(place, name, how, InProcess(), overwrite=True) for name in ("d", "new"))
    assert again == fresh
    files = [pq.read_table(tmp_path / "set" / "dedupe" / n / "groups.parquet").to_pylist() for n in ("d", "new")]
    assert str(files[0]) == str(files[1])  # a score that is not known equals none


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path, pictures: Path) -> None:
    make_plan(str(pictures), str(tmp_path / "set"), shard_size=16)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))\n"
        "from curator.cli import main; sys.argv = ['curator', 'scale', 'embed', sys.argv[1], '-e', 'pixels']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "set"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is full" in done.stderr
    assert not list((tmp_path / "set" / "shards").glob("*.json"))
    embed_set(str(tmp_path / "set"), None, InProcess())
    assert len(rows_of(tmp_path / "set")) == 90


def test_killed_at_any_moment_nothing_is_lost_or_doubled(tmp_path: Path, pictures: Path, ready: Path) -> None:
    """SIGKILL of the driver and its workers while shards are written; the next ones do the rest, to the bit."""
    place = tmp_path / "set"
    make_plan(str(pictures), str(place), shard_size=4, options={"label_from": "folder"})
    for wait in (0.9, 1.2, 1.6):
        driver = start_driver(place)
        time.sleep(wait)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    report = embed_set(str(place), None if (place / "encoder").exists() else "pixels", InProcess())
    receipts = read_receipts(Storage(str(place)), read_facts(Storage(str(place))))
    assert report.complete
    assert sum(r.rows + len(r.skipped) for r in receipts.values()) == 93
    mine, theirs = rows_of(place), rows_of(ready)
    assert {u: row[1:] for u, row in mine.items()} == {u: row[1:] for u, row in theirs.items()}


def test_workers_do_not_outlive_their_driver(tmp_path: Path) -> None:
    home = put_pictures(tmp_path / "p", 60, damaged=False)
    make_plan(str(home), str(tmp_path / "set"), shard_size=1)
    driver = start_driver(tmp_path / "set")
    deadline = time.monotonic() + 30
    while not list((tmp_path / "set" / "shards").glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    while group_is_alive(driver.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not group_is_alive(driver.pid)


def test_two_drivers_do_no_harm(tmp_path: Path, pictures: Path, ready: Path) -> None:
    place = tmp_path / "set"
    make_plan(str(pictures), str(place), shard_size=8, options={"label_from": "folder"})
    drivers = [start_driver(place) for _ in range(2)]
    assert all(d.wait() in (0, 1) for d in drivers)
    assert {u: row[1:] for u, row in rows_of(place).items()} == {u: row[1:] for u, row in rows_of(ready).items()}
    said: list[str] = []
    Storage(str(place)).put("driver.json", json.dumps({"host": "other", "pid": 7, "at": time.time()}))
    embed_set(str(place), None, InProcess(), job=Job(say=said.append))
    assert "Another driver works on this set (process 7 on other)" in said[0]


def test_a_stop_keeps_what_has_a_receipt(tmp_path: Path, pictures: Path) -> None:
    make_plan(str(pictures), str(tmp_path / "set"), shard_size=16)
    job = Job(show=lambda p: job.cancel() if p.done >= 2 else None)
    report = embed_set(str(tmp_path / "set"), "pixels", InProcess(), job=job)
    assert (report.interrupted, report.done, report.complete) == (True, 2, False)
    assert set_status(str(tmp_path / "set")).shards_done == 2
    assert embed_set(str(tmp_path / "set"), None, InProcess()).already == 2


@pytest.mark.parametrize("by", ["random", "balanced"])
@pytest.mark.parametrize("n", [1, 7, 40, 1000])
def test_one_pass_over_shards_is_what_one_machine_chooses(
    ready: Path, local: Index, tmp_path: Path, by: str, n: int
) -> None:
    name = f"{by}-{n}"
    mine = select_from(str(ready), name, SetRecipe(n, by, seed=3), InProcess(), overwrite=True)
    per = "label" if by == "balanced" else None
    theirs = select(local, name, Recipe(n=n, by=by, per=per, seed=3, dedupe="none"), overwrite=True)
    assert mine.digest == theirs.digest


@pytest.mark.parametrize("by", ["random", "balanced", "importance", "k-center", "facility-location"])
def test_shards_change_no_one_pass_choice_and_hardly_one_of_two_rounds(
    pictures: Path, ready: Path, tmp_path: Path, by: str
) -> None:
    """One shard or six: the same choice by keys; in two rounds nearly as good a one."""
    make_set(pictures, tmp_path / "one", size=1000, label_from="folder")
    make_set(pictures / "label-3", tmp_path / "reference")
    recipe = SetRecipe(20, by, reference=str(tmp_path / "reference") if by == "importance" else None)
    chosen = [
        select_from(str(place), f"s-{by}", recipe, InProcess(), overwrite=True) for place in (ready, tmp_path / "one")
    ]
    digests = [
        list(pq.read_table(place / "select" / f"s-{by}" / "selection.parquet")["sha256"].to_pylist())
        for place in (ready, tmp_path / "one")
    ]
    assert [c.count for c in chosen] == [20, 20]
    if by in ONE_PASS:
        assert digests[0] == digests[1]
    else:
        assert value_of(by, ready, digests[0]) >= 0.95 * value_of(by, ready, digests[1])


@pytest.mark.parametrize("by", ["k-center", "facility-location"])
def test_matches_in_few_shards_are_enough_of_them(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """As from 100,000 wanted, where a shard gives a share at first: a choice is short only where the matches are."""
    monkeypatch.setattr("curator.selectors.rounds._MANY", 1)
    first = whole_set(Storage(str(ready))).receipts[0]
    ids = f"id >= {first.shard << 20} AND id < {(first.shard << 20) + first.rows}"
    chosen = select_from(str(ready), f"few-{by}", SetRecipe(first.rows - 1, by, where=ids), InProcess(), overwrite=True)
    assert chosen.count == first.rows - 1
    many = select_from(str(ready), f"few-{by}", SetRecipe(1_000, by, where=ids), InProcess(), overwrite=True)
    assert many.count == first.rows


def test_choices_can_be_narrowed(ready: Path) -> None:
    place = str(ready)
    dedupe_set(place, "copies", SetDedupe(), InProcess(), overwrite=True)
    whole = select_from(
        place, "n1", SetRecipe(1000, where="label = 'label-1' and width >= 10"), InProcess(), overwrite=True
    )
    once = select_from(place, "n2", SetRecipe(1000, dedupe="copies"), InProcess(), overwrite=True)
    assert whole.count == sum(row[2] == "label-1" for row in rows_of(place).values())
    assert once.count == 81
    with pytest.raises(UsageError, match="no image of the set"):
        select_from(place, "n3", SetRecipe(5, where="width > 1000"), InProcess())
    with pytest.raises(UnknownName, match="no result"):
        select_from(place, "n3", SetRecipe(5, dedupe="nothing"), InProcess())
    with pytest.raises(UsageError, match="already"):
        select_from(place, "n2", SetRecipe(5), InProcess())
    with pytest.raises(UnknownName, match="no selector 'typicality'"):
        SetRecipe(5, "typicality")
    with pytest.raises(UsageError, match="needs --reference"):
        SetRecipe(5, "importance")
    with pytest.raises(UsageError, match="no column 'breed'"):
        select_from(place, "n3", SetRecipe(5, "balanced", per="breed"), InProcess())


@pytest.mark.parametrize(
    "where",
    [
        "nonsense =", "width > 1) OR (1 = 1", "1; DROP TABLE rows",
        "label = (SELECT content FROM read_text('/etc/passwd'))",
        "(SELECT count(*) FROM read_parquet('/tmp/*')) > 0",
        "getenv('HOME') = ''", "colour = 'red'", "",
    ],
)  # fmt: skip
def test_a_hostile_condition_is_refused(ready: Path, where: str) -> None:
    with pytest.raises(WhereError if where else UsageError):
        select_from(str(ready), "hostile", SetRecipe(5, where=where or " "), InProcess())


def test_exact_duplicates_are_the_same_files_and_pixels(tmp_path: Path) -> None:
    """The keeper is the one that the rules say; of two files with the same pixels one stays."""
    home = tmp_path / "p"
    home.mkdir()
    draw(1).save(home / "a.png")
    draw(1).save(home / "b.bmp")
    (home / "c.png").write_bytes((home / "a.png").read_bytes())
    draw(2).save(home / "d.png")
    make_set(home, tmp_path / "set")
    result = dedupe_set(str(tmp_path / "set"), "exact", SetDedupe(keep=("shortest-path",)), InProcess())
    assert (result.images, result.same_file, result.same_pixels, result.kept) == (4, 1, 1, 2)
    groups = pq.read_table(tmp_path / "set" / "dedupe" / "exact" / "groups.parquet").to_pylist()
    assert len({g["keeper_id"] for g in groups}) == 1
    assert sorted(g["kind"] for g in groups) == ["kept", "same file", "same pixels"]
    lossless = dedupe_set(str(tmp_path / "set"), "all", SetDedupe("semantic", threshold=1.0), InProcess())
    assert lossless.kept == 2


@pytest.mark.parametrize("cells", [1, 3, 8])
def test_near_duplicates_are_those_of_comparing_everything(ready: Path, cells: int) -> None:
    """With visits enough the join finds every pair, and its keepers are those of one greedy pass."""
    how = SetDedupe("semantic", threshold=0.2, cells=cells, visits=8, memory=200_000)
    result = dedupe_set(str(ready), f"near-{cells}", how, InProcess(), overwrite=True)
    assert result.edges
    assert (result.held, result.notes) == (result.edges, [])
    ids, x = vectors_of(ready)
    groups = {g["id"]: g for g in pq.read_table(ready / "dedupe" / f"near-{cells}" / "groups.parquet").to_pylist()}
    keeper_of = {int(i): groups.get(int(i), {"keeper_id": i})["keeper_id"] for i in ids}
    scores = x.astype(np.float32) @ x.astype(np.float32).T
    place = {int(i): n for n, i in enumerate(ids)}
    stays = [i for i, keeper in keeper_of.items() if i == keeper]
    positions = [place[i] for i in stays]
    apart = scores[np.ix_(positions, positions)] - np.eye(len(stays)) * 2
    assert apart.max() < 0.2, "no two that stay are alike"
    alike = [g for g in groups.values() if g["kind"] == "alike"]
    assert result.alike == len(alike)
    assert all(scores[place[g["id"]], place[g["keeper_id"]]] >= 0.2 - 1e-5 for g in alike), "each has one that stays"
    assert not list((ready / "dedupe" / f"near-{cells}").glob("*/cells/*"))


def test_too_few_visits_are_told_with_how_many_would_do(ready: Path) -> None:
    how = SetDedupe("semantic", threshold=0.1, cells=12, visits=1)
    result = dedupe_set(str(ready), "few", how, InProcess(), overwrite=True)
    assert result.held is not None
    assert result.edges is not None
    assert result.held < result.edges
    assert result.visits_for_target is not None
    assert f"--visits {result.visits_for_target} would reach it" in result.notes[0]
    again = replace(how, visits=result.visits_for_target)
    better = dedupe_set(str(ready), "enough", again, InProcess(), overwrite=True)
    assert better.held is not None
    assert better.held >= 0.99 * (better.edges or 0)


@given(st.integers(1, 40), st.integers(0, 200), st.randoms())
def test_leaders_are_what_one_greedy_pass_keeps(n: int, edges: int, random: Any) -> None:
    """Each row without a kept neighbour of a better rank: no two kept are neighbours, and each dropped has one."""
    pairs = np.array([(random.randrange(n), random.randrange(n)) for _ in range(edges)], np.int64).reshape(-1, 2)
    near: dict[int, set[int]] = {i: set() for i in range(n)}
    for a, b in pairs.tolist():
        if a != b:
            near[a].add(b)
            near[b].add(a)
    greedy: set[int] = set()
    for rank in range(n):
        if not near[rank] & greedy:
            greedy.add(rank)
    stays, _ = leaders(pairs[:, 0], pairs[:, 1], n)
    assert set(np.flatnonzero(stays).tolist()) == greedy
    scores = np.arange(len(pairs), dtype=np.float32)
    keeper, nearness = keepers_of(stays, pairs[:, 0], pairs[:, 1], scores)
    for rank in range(n):
        assert keeper[rank] == rank if stays[rank] else keeper[rank] in near[rank] & greedy
        best = [s for (a, b), s in zip(pairs.tolist(), scores, strict=True) if rank in (a, b) and stays[a] != stays[b]]
        assert stays[rank] or nearness[rank] == max(best)


def test_a_crowded_cell_is_divided_and_loses_little() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9_000, 16)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    half, ids, home = x.astype(np.float16), np.arange(9_000), np.ones(9_000, bool)
    parts = list(divided(x, home, 100.0, 6))
    assert len(parts) > 5
    assert sum(at_home.sum() for _, at_home in parts) == 9_000, "each is at home in one"
    whole = {(int(a), int(b)) for a, b in zip(*join_cell(half, ids, home, 0.9)[:2], strict=True)}
    joined = set()
    for members, at_home in parts:
        joined |= {
            (int(a), int(b)) for a, b in zip(*join_cell(half[members], ids[members], at_home, 0.9)[:2], strict=True)
        }
    assert joined <= whole
    assert len(joined) >= 0.95 * len(whole)


def test_a_row_keeps_its_best_edges() -> None:
    first, second = np.zeros(2_000, np.int64), np.arange(1, 2_001)
    scores = np.linspace(0, 1, 2_000, dtype=np.float32)
    (_, b, s), dropped = at_most((np.r_[first, first], np.r_[second, second], np.r_[scores, scores]), 5)
    assert dropped == 0, "an edge stays while either end wants it"
    (_, b, s), dropped = at_most((np.r_[0, 0, 0, 1, 1, 2], np.r_[1, 2, 3, 2, 3, 3], np.float32([6, 5, 4, 3, 2, 1])), 1)
    assert s.tolist() == [6, 5, 4]
    assert b.tolist() == [1, 2, 3]
    assert dropped == 3


def test_what_is_brought_is_what_was_chosen(tmp_path: Path, ready: Path, pictures: Path) -> None:
    """Pictures, labels, vectors to the bit, the selection in its order; nothing is encoded again, or fetched twice."""
    select_from(str(ready), "mine", SetRecipe(12, "balanced"), InProcess(), overwrite=True)
    with Index.create(tmp_path / "index") as index:
        done = bring(str(ready), "mine", index, tmp_path / "brought")
        assert (done.fetched, done.already, done.missing, done.report.encoded) == (12, 0, {}, 0)
        listed = pq.read_table(ready / "select" / "mine" / "selection.parquet").to_pylist()
        brought = Selections(index.reader).get("mine")
        assert [h.hex() for h in brought.sha256] == [row["sha256"].hex() for row in listed]
        rows = rows_of(ready)
        images = index.images(brought.ids)
        x = index.reader.vectors(index.space, brought.ids.tolist()).astype(np.float16)
        for image, v in zip(images, x, strict=True):
            _, sha256, label, vector = rows[str(image.extra["uri"])]
            assert (bytes.fromhex(image.sha256), image.label, v.tobytes()) == (sha256, label, vector)
        again = bring(str(ready), "mine", index, tmp_path / "brought")
        assert (again.fetched, again.already, len(index)) == (0, 12, 12)
        select_from(str(ready), "more", SetRecipe(20), InProcess(), overwrite=True)
        bring(str(ready), "more", index, tmp_path / "brought")
        assert all(i.label for i in index.images(index.reader.ids_where("1"))), "labels of both selections stay"
        with pytest.raises(UnknownName, match="no selection"):
            bring(str(ready), "nothing", index, tmp_path / "x")
    with Index.create(tmp_path / "other") as index:
        (tmp_path / "theirs").mkdir()
        (tmp_path / "theirs" / "metadata.jsonl").write_text('{"file_name": "a.png"}\n')
        with pytest.raises(UsageError, match="is there already"):
            bring(str(ready), "mine", index, tmp_path / "theirs")


def test_pictures_without_a_suffix_are_brought_with_one(tmp_path: Path) -> None:
    """Names that say nothing of a format, of members with colons, percents and all that ends a uri."""
    names = ["plain", "a::b", "a:", "100%3A", "x.y", "é:%", "p.png"]
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for number, name in enumerate(names):
            out = io.BytesIO()
            draw(number).save(out, "PNG")
            info = tarfile.TarInfo(f"{name}.png" if name != "p.png" else name)
            info.size = len(out.getvalue())
            tar.addfile(info, io.BytesIO(out.getvalue()))
    whole = make_set(f"{tmp_path}/0.tar", tmp_path / "set")
    uris = whole.part(whole.receipts[0]).column("uri")
    members = [m[1] for m in map(tar_of, uris) if m]
    assert sorted(members) == sorted(f"{n}.png" if n != "p.png" else n for n in names)
    assert [hashlib.sha256(read_uri(u)).digest() for u in uris] == whole.part(whole.receipts[0]).column("sha256")
    for number in range(3):
        draw(50 + number).save(tmp_path / f"no-suffix-{number}", "PNG")
    (tmp_path / "list.csv").write_text("uri\n" + "".join(f"no-suffix-{n}\n" for n in range(3)))
    make_set(tmp_path / "list.csv", tmp_path / "other")
    for place, count in (("set", len(names)), ("other", 3)):
        select_from(str(tmp_path / place), "all", SetRecipe(count), InProcess())
        with Index.create(tmp_path / f"index-{place}") as index:
            done = bring(str(tmp_path / place), "all", index, tmp_path / f"brought-{place}")
            assert (done.fetched, done.missing, len(index)) == (count, {}, count)


def test_a_folder_may_be_called_as_a_tar(tmp_path: Path) -> None:
    for name in ("my.target", "photos.tar"):
        put_pictures(tmp_path / name, 3, damaged=False)
        assert make_set(tmp_path / name, tmp_path / f"set-{name}").facts.kind == "files"


def test_receipts_that_arrive_meanwhile_stay(tmp_path: Path, pictures: Path) -> None:
    """While one driver reads every byte another one may put a receipt: it is no stray."""
    whole = make_set(pictures, tmp_path / "set", size=16)
    last = tmp_path / "set" / "shards" / f"{whole.receipts[-1].shard:06d}.json"
    receipt = last.read_bytes()
    last.unlink()

    class Meanwhile(Storage):
        def read(self, name: str) -> bytes:
            if name.endswith(".parquet"):  # whose bytes are checked
                last.write_bytes(receipt)
            return super().read(name)

    drive.sound_receipts(Meanwhile(str(tmp_path / "set")), whole.facts)
    assert last.exists()


def test_a_set_of_the_first_version_is_still_one(tmp_path: Path, pictures: Path) -> None:
    """Its receipts do not say of which plan they are."""
    make_set(pictures, tmp_path / "set", size=16)
    for file in (tmp_path / "set" / "shards").glob("*.json"):
        stored = json.loads(file.read_text())
        del stored["of"]
        file.write_text(json.dumps(stored))
    assert embed_set(str(tmp_path / "set"), None, InProcess()).done == 0


@pytest.mark.parametrize("member", ["a.png", "a:b 50%.png", "a::b", "a:", "100%3A", "é:%25", "::"])
def test_members_are_named_so_that_they_are_found_again(member: str) -> None:
    assert tar_of(member_uri("s3://b/x.tar", member)) == ("s3://b/x.tar", member)


def test_a_page_fetches_little_and_from_few_places(tmp_path: Path) -> None:
    (tmp_path / "a::b.png").write_bytes(b"x" * 100)
    assert read_shown(str(tmp_path / "a::b.png")) == b"x" * 100
    for uri in ("http://x/a.png", "file:///etc/passwd", "tar://a::/x/b.tar.gz", "filecache::s3://b/x", "memory://a"):
        with pytest.raises(UsageError):
            read_shown(uri)
    fsspec.filesystem("memory").pipe_file("/big.png", b"x" * 100)
    assert len(read_uri("memory://big.png", most=100)) == 100
    with pytest.raises(OSError, match="larger"):
        read_uri("memory://big.png", most=99)


def test_receipts_of_another_plan_are_none(tmp_path: Path, pictures: Path) -> None:
    """A plan that is made anew where another set was, with other shards, or of other pictures, takes none of its."""
    make_set(pictures, tmp_path / "set", size=16)
    (tmp_path / "set" / "set.json").unlink()
    (tmp_path / "set" / "manifest.json").unlink()
    make_plan(str(pictures), str(tmp_path / "set"), shard_size=10)
    with pytest.raises(ScaleProblem, match="no receipt yet"):
        whole_set(Storage(str(tmp_path / "set")))
    report = embed_set(str(tmp_path / "set"), "pixels", InProcess())
    assert (report.already, report.complete) == (0, True)
    make_set(pictures, tmp_path / "new", size=10)
    assert rows_of(tmp_path / "set") == rows_of(tmp_path / "new")


def test_what_has_changed_or_gone_is_not_brought(tmp_path: Path) -> None:
    home = put_pictures(tmp_path / "p", 6, damaged=False)
    make_set(home, tmp_path / "set")
    select_from(str(tmp_path / "set"), "all", SetRecipe(6), InProcess())
    draw(99).save(home / "label-0" / "0000.png")
    (home / "label-1" / "0001.png").unlink()
    with Index.create(tmp_path / "index") as index:
        done = bring(str(tmp_path / "set"), "all", index, tmp_path / "brought")
        assert done.fetched == 4
        assert sorted(reason[:10] for reason in done.missing.values()) == ["has change", "is not the"]
        assert len(Selections(index.reader).get("all")) == 4


def test_from_a_folder_to_an_index_by_commands(curator: Callable[..., Result], tmp_path: Path) -> None:
    put_pictures(tmp_path / "photos", 30)
    assert "Would plan 33 pictures" in curator("scale", "plan", "photos", "set", "--dry-run").output
    assert not (tmp_path / "set").exists()
    assert (
        "Planned 33 pictures"
        in curator("scale", "plan", "photos", "set", "--shard-size", 8, "--label-from", "folder").output
    )
    done = curator("scale", "embed", "set", "-e", "pixels")
    assert done.exit_code == 1, "three could not be read"
    assert "5 of 5 shards done, 5 of them now: 30 rows, 3 skipped" in done.output
    status = json.loads(curator("scale", "status", "set", "--json").output)
    assert (status["rows"], status["shards_done"], sum(status["skipped"].values())) == (30, 5, 3)
    assert all(name in curator("scale", "status", "set", "--skipped").output for name in DAMAGED)
    assert curator("scale", "verify", "set", "--deep", "0.2").exit_code == 0
    assert "3 the same file" in curator("scale", "dedupe", "set", "d").output
    assert (
        "10 images chosen"
        in curator("scale", "select", "set", "s", "-n", 10, "--by", "balanced", "--dedupe", "d").output
    )
    assert "10 pictures fetched" in curator("scale", "bring", "set", "s", "-i", "./i", "--to", "brought").output
    assert curator("search", "id:1", "-i", "./i").exit_code == 0
    assert curator("scale", "embed", "set", "--workers", "many").exit_code == 2
    assert curator("scale", "status", "nothing").exit_code == 2


def test_an_extra_that_is_missing_says_the_line_that_installs_it() -> None:
    with pytest.raises(ExtraMissing, match=r"pip install 'image-curator\[scale\]'"):
        extra("no_such_library", "scale")
    code = (
        "import sys; sys.modules['fsspec.core'] = None; sys.modules['fsspec'] = None\n"
        "from curator.cli import main; sys.argv = ['curator', 'scale', 'status', 'x']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'image-curator[scale]'" in done.stderr


def test_a_storage_is_asked_again_and_then_told() -> None:
    asked: list[int] = []

    def fails() -> None:
        asked.append(1)
        raise ConnectionError("nobody there")

    with pytest.raises(StorageError, match="a picture cannot be reached: nobody there"):
        insistently(fails, "a picture")
    assert len(asked) == 3


@pytest.mark.parametrize("text", ["", "{", "[]", '{"shard": 1}', '{"skipped": 3}', "null"])
def test_half_a_receipt_is_none(text: str) -> None:
    assert Receipt.from_json(text) is None
    whole = Receipt(3, "f", 10, "ab", 2)
    assert Receipt.from_json(whole.to_json()) == whole
