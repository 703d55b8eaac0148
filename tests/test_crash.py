"""SIGKILL at every durable step and at random times, a full disk, many readers: nothing acknowledged is ever lost."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import digest, draw

from curator.admin.maintenance import repair, verify
from curator.admin.manage import repoint_root
from curator.encoders import PixelEncoder
from curator.errors import IndexLocked, NoIndex
from curator.index import Index
from curator.ingest import ingest

WORK = """
import os, signal, sys
from pathlib import Path
from curator.encoders import PixelEncoder
from curator.errors import IndexLocked, NoIndex
from curator.index import Index
from curator.ingest import ingest
from curator.admin.manage import remove_images

job, folder, place, stop, count = sys.argv[1:]
log = os.open(place + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
seen = 0

class Logging(PixelEncoder):
    def project_images(self, batch):
        for row in batch:
            os.write(log, (row.tobytes().hex() + "\\n").encode())
        return super().project_images(batch)

def step(name):
    global seen
    seen += name == stop
    print(name, flush=True)
    if name == stop and seen == int(count):
        os.kill(os.getpid(), signal.SIGKILL)

with Index.create(place, step=step) as index:
    if job == "index":
        ingest(index, [Path(folder)], Logging())
    elif job == "remove":
        remove_images(index, index.reader.ids_where("id % 2").tolist())
    else:
        with index.write() as db:
            index.rebuild(db, index.space)
"""
STEPS = [
    ("index", "batch encoded", 2), ("index", "batch written", 1), ("index", "batch committed", 3),
    ("index", "generation files written", 1), ("index", "generation synced", 1), ("index", "generation renamed", 1),
    ("index", "generation switched", 1),
    ("reindex", "removals committed", 1), ("remove", "removal written", 1), ("rebuild", "generation files written", 1),
    ("rebuild", "generation synced", 1), ("rebuild", "generation renamed", 1), ("rebuild", "generation switched", 1),
]  # fmt: skip


def run(job: str, folder: Path, place: Path, stop: str = "", count: int = 1) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WORK, job, str(folder), str(place), stop, str(count)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "pictures"
    folder.mkdir()
    for i in range(200):
        draw(i).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def indexed(many: Path) -> Path:
    """An index of them, with the log of what was encoded beside it; to be copied."""
    place = many.parent / "indexed"
    assert run("index", many, place).returncode == 0
    return place


def check(place: Path, folder: Path) -> None:
    """After a crash: sound, whole batches only; the next run encodes exactly what has no vector, and leaves no
    debris."""
    assert list(verify(place)) == []
    with Index(place) as index:
        stored = index.reader.connection.execute("SELECT count(*) FROM embeddings").fetchone()[0]
        assert stored % 64 == 0 or stored == 200, "a batch is there whole or not at all"
    log = Path(f"{place}.log")
    before = len(log.read_text().splitlines())
    done = run("index", folder, place)
    assert done.returncode == 0, done.stderr
    wanted = len({p.read_bytes() for p in folder.iterdir()}) if stored < 200 else stored
    assert len(log.read_text().splitlines()) - before == wanted - stored, "nothing that has a vector is encoded again"
    assert list(verify(place)) == []
    assert not list(place.rglob(".new-*"))


@pytest.mark.parametrize(("job", "stop", "count"), STEPS)
def test_a_kill_at_any_step_loses_nothing(
    tmp_path: Path, many: Path, indexed: Path, job: str, stop: str, count: int
) -> None:
    place, folder = tmp_path / "i", many
    if job != "index":
        shutil.copytree(indexed, place)
        shutil.copy(f"{indexed}.log", f"{place}.log")
    if job == "reindex":
        folder = tmp_path / "pictures"
        folder.mkdir()
        for file in sorted(many.iterdir())[50:]:
            (folder / file.name).hardlink_to(file)
        with Index(place) as index:
            repoint_root(index, str(many), folder)
    killed = run("index" if job == "reindex" else job, folder, place, stop, count)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    check(place, folder)
    with Index(place) as index, Index.create(tmp_path / "reference") as reference:
        ingest(reference, [folder], PixelEncoder())
        assert digest(index) == digest(reference)
        q = reference.vector_of_id(7)
        assert np.array_equal(index.nearest(q, 50).scores, reference.nearest(q, 50).scores)


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path, many: Path, seed: int) -> None:
    place = tmp_path / "i"
    command = [sys.executable, "-c", WORK, "index", str(many), str(place), "", "1"]
    acknowledged = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as working:
        assert working.stdout is not None
        working.stdout.readline()
        time.sleep(float(np.random.default_rng(seed).uniform(0, 0.15)))
        working.send_signal(signal.SIGKILL)
        acknowledged = 64 * working.stdout.read().count("batch committed")
    assert list(verify(place)) == []
    with Index(place) as index:
        assert len(index) >= min(acknowledged, 200), "what was acknowledged is there"
    check(place, many)


def test_a_full_disk_loses_nothing_and_says_so(tmp_path: Path, many: Path) -> None:
    place = tmp_path / "i"
    run("index", many, place)
    half = tmp_path / "half"
    said: list[str] = []
    for limit in (60_000, 200_000):
        limited = f"import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2)\n"
        code = limited + "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + WORK
        command = [sys.executable, "-c", code, "index", str(many), str(half), "", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        last = (done.stderr.strip().splitlines() or [""])[-1]
        assert done.returncode == 0 or "curator.errors.IndexFull" in last, done.stderr
        said.append(last)
        with contextlib.suppress(NoIndex):  # there was not even room for the tables
            assert list(verify(half)) == []
    assert run("index", many, half).returncode == 0
    assert any("IndexFull" in line for line in said), "a full disk is told, not swallowed"
    with Index(half) as index, Index(place) as reference:
        assert digest(index) == digest(reference)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


READ = """
import sys, time
from pathlib import Path
import numpy as np
from curator.embeddings import exact_scores
from curator.index import Index
place, until = Path(sys.argv[1]), time.monotonic() + float(sys.argv[2])
asked = 0
with Index(place) as index:
    q = index.vector_of_id(1)
    while time.monotonic() < until:
        hits = index.nearest(q, 20, where="id % 2 = 1" if asked % 2 else None)
        with index.reader.snapshot():
            x = index.reader.vectors(index.space, hits.ids.tolist())
        assert np.array_equal(exact_scores(x, q), hits.scores), "a hit whose score is not its vector's"
        assert (np.diff(hits.scores) <= 0).all() and hits.ids[0] == 1, hits
        asked += 1
    if asked < 5:
        sys.exit("too few questions")
print(asked)
"""
SECONDS = float(os.environ.get("CURATOR_CONCURRENCY_SECONDS", "4"))


def test_one_writer_and_four_readers(tmp_path: Path, many: Path) -> None:
    """A few seconds here; `CURATOR_CONCURRENCY_SECONDS=60 scripts/test -k readers` for the full minute."""
    place, folder = tmp_path / "i", tmp_path / "pictures"
    folder.mkdir()
    for file in sorted(many.iterdir())[:100]:
        (folder / file.name).hardlink_to(file)
    run("index", folder, place)
    command = [sys.executable, "-c", READ, str(place), str(SECONDS)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    until, written = time.monotonic() + SECONDS, 0
    with Index(place) as index:
        while time.monotonic() < until:
            for i in range(10, 60):  # image 1 stays
                (folder / f"{i:03d}.png").unlink() if written % 2 == 0 else (folder / f"{i:03d}.png").hardlink_to(
                    many / f"{i:03d}.png"
                )
            ingest(index, [folder], PixelEncoder())
            with index.write() as db:
                index.rebuild(db, index.space)
            written += 1
    for reader in readers:
        out, err = reader.communicate(timeout=60)
        assert reader.returncode == 0, err
        assert int(out) >= 5
    assert written >= 3
    assert list(verify(place)) == []


def test_repair_of_a_sound_index_changes_no_answer(tmp_path: Path, many: Path) -> None:
    run("index", many, tmp_path / "i")
    with Index(tmp_path / "i") as index:
        before = digest(index)
    assert repair(tmp_path / "i") == ["FAISS files of space 'pixels' written again"]
    with Index(tmp_path / "i") as index:
        assert digest(index) == before


BUSY = """
import sys
from pathlib import Path
from curator.database import Writer
w = Writer.open(Path(sys.argv[1]))
w.connection.execute("PRAGMA cache_size = 1")
w.connection.execute("BEGIN IMMEDIATE")
w.connection.execute("UPDATE images SET caption = hex(randomblob(500)), crc = NULL")
print("busy", flush=True)
sys.stdin.read(1)
w.connection.execute("ROLLBACK")
w.close()
"""


def test_repair_leaves_an_index_alone_that_is_being_written(tmp_path: Path, many: Path) -> None:
    """A busy database is not a damaged one."""
    run("index", many, tmp_path / "i")
    with Index(tmp_path / "i") as index:
        before = digest(index)
    with subprocess.Popen(
        [sys.executable, "-c", BUSY, tmp_path / "i"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(IndexLocked):
            repair(tmp_path / "i")
        writer.communicate(b"x")
    assert list(verify(tmp_path / "i")) == []
    with Index(tmp_path / "i") as index:
        assert digest(index) == before


def test_an_open_reader_survives_the_death_of_the_writer(tmp_path: Path, many: Path) -> None:
    run("index", many, tmp_path / "i")
    with Index(tmp_path / "i") as index:
        q = index.vector_of_id(1)
        expected = index.nearest(q, 10).ids.tolist()
        with subprocess.Popen(
            [sys.executable, "-c", BUSY, tmp_path / "i"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            writer.kill()
        assert index.nearest(q, 10).ids.tolist() == expected
        assert len(index) == 200
    assert list(verify(tmp_path / "i")) == []
