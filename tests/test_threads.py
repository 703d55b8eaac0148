"""One `Index` in many threads, beside a writer: every answer is the one that a single thread gets."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import draw

from curator.database import Curation, Reader, take_lock
from curator.encoders import Encoder
from curator.errors import IndexClosed, IndexDamaged, IndexLocked, UsageError, WhereError
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.records import IngestReport

Fill = Callable[..., IngestReport]
Ask = Callable[[Index], object]


def asked(number: int) -> Ask:
    """One of eight kinds of question about the first sixty images, which no writer of these tests changes."""
    image_id = number % 60 + 1
    kinds: list[Ask] = [
        lambda index: index.search(like=image_id, where="id <= 60", k=5).ids.tolist(),
        lambda index: index.search(text=f"red circle {number % 3}", where="id <= 60", k=5).ids.tolist(),
        lambda index: index.search(
            like=image_id, k=5, where=f"width > 3 AND id <= 60 AND id % 2 = {number % 2}"
        ).ids.tolist(),
        lambda index: index.reader.ids_where(f"width > 3 AND id <= {image_id}").tolist(),
        lambda index: [str(i.path) for i in index.images([image_id, 1])],
        lambda index: index.reader.values_of("label")[image_id],
        lambda index: index.engine.count("id <= 60"),
        lambda index: round(float(index.engine.vectors([image_id]).sum()), 4),
    ]
    return kinds[number % len(kinds)]


def test_eight_threads_beside_a_writer_get_the_answers_of_one(index: Index, tmp_path: Path, tiny: Encoder) -> None:
    first, more = tmp_path / "first", tmp_path / "more"
    for number in range(60):
        path = first / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        draw(number).save(path)
    ingest(index, [first], tiny, IngestOptions(label_from="folder"))
    asks = [asked(number) for number in range(200)]
    expected = [ask(index) for ask in asks]
    done = threading.Event()

    def write() -> int:
        rounds = 0
        while not done.is_set():
            rounds += 1
            draw(1000 + rounds).save(more / f"{rounds}.png")
            with Index.open(index.folder) as other:
                ingest(other, [more], tiny, IngestOptions())
        return rounds

    def read(start: int) -> list[object]:
        order = np.roll(np.arange(len(asks)), start).tolist()
        answers = {at: asks[at](index) for at in order}
        return [answers[at] for at in range(len(asks))]

    more.mkdir()
    with ThreadPoolExecutor(9) as threads:
        writing = threads.submit(write)
        readers = [threads.submit(read, 25 * number) for number in range(8)]
        try:
            answers = [reader.result(timeout=120) for reader in readers]
        finally:
            done.set()
        assert writing.result(timeout=60) >= 1
    assert all(a == expected for a in answers)


def files_open(file: Path) -> int:
    """How often this process has a file open."""
    links = list(Path("/proc/self/fd").iterdir())
    return sum(link.exists() and link.readlink() == file for link in links)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux which files are open")
def test_connections_go_with_their_threads(index: Index, fill: Fill) -> None:
    fill()
    before = files_open(index.folder / "index.db")
    for _ in range(20):
        thread = threading.Thread(target=lambda: index.reader.ids_where("width > 3"))
        thread.start()
        thread.join()
    assert files_open(index.folder / "index.db") == before


def test_closing_under_the_questions_of_other_threads_only_refuses_the_next_ones(index: Index, fill: Fill) -> None:
    """A connection closed by another thread than its own ends the process."""
    fill()
    asks = (
        lambda: index.reader.ids_where("sharpness >= (SELECT min(sharpness) FROM present) AND path LIKE '%a%'"),
        lambda: index.search(like=1, where="width > 3"),
        lambda: index.images([1]),
    )

    def ask_on(number: int) -> int:
        answered = 0
        try:
            while True:
                asks[(number + answered) % len(asks)]()
                answered += 1
        except IndexClosed:
            return answered

    with ThreadPoolExecutor(6) as threads:
        for _ in range(5):
            asking = [threads.submit(ask_on, number) for number in range(6)]
            time.sleep(0.2)
            index.close()
            assert all(a.result(timeout=60) > 0 for a in asking)
            index.reader = type(index.reader).open(index.folder)
            index.engine = type(index.engine)(index.reader)


def test_a_closed_index_says_so_in_every_thread(index: Index, fill: Fill) -> None:
    fill()
    index.close()
    for question in (lambda: len(index), lambda: index.reader.ids_where("1"), lambda: index.search(like=1)):
        with pytest.raises(IndexClosed, match="is closed"):
            question()
    with ThreadPoolExecutor(1) as threads, pytest.raises(IndexClosed):
        threads.submit(len, index).result()


def test_whoever_writes_waits_for_who_only_remembers(index: Index, fill: Fill) -> None:
    fill()
    held = take_lock(index.folder)
    with pytest.raises(IndexLocked):
        take_lock(index.folder)
    threading.Timer(0.3, held.close).start()
    began = time.monotonic()
    with index.write(wait=30) as db:
        assert Curation(db).groups() == []
    assert time.monotonic() - began < 20


def test_a_search_that_may_not_remember_writes_nothing(index: Index, folder: Path, tiny: Encoder) -> None:
    ingest(index, [folder], tiny, IngestOptions())
    held = take_lock(index.folder)
    index.search(text="a red circle")  # nobody waits for the lock
    held.close()
    index.search(text="a red circle", remember=False)
    assert index.reader.cached_query(index.space, "a red circle") is None
    index.search(text="a red circle")
    assert index.reader.cached_query(index.space, "a red circle") is not None


@pytest.mark.parametrize(
    "where",
    [
        "1) UNION SELECT id FROM images WHERE (1",
        "1) OR (1",
        "(1",
        "label = 'a' AND ')' = ')' )",
        "load_extension('x')",
        "randomblob(1000000000) IS NULL",
        "length(hex(zeroblob(1000000000))) > 0",
        "1; DELETE FROM images",
        "(printf('%.*c', 900000, 'a') || id) LIKE ('%' || printf('%.*c', 40000, 'a') || '_b%')",
        "id IN (SELECT id FROM pragma_table_info('images'))",
    ],
)
def test_a_condition_can_do_no_harm(index: Index, fill: Fill, where: str) -> None:
    fill()
    with pytest.raises(WhereError):
        index.reader.ids_where(where)
    assert len(index.reader.ids_where("1")) == 10


def test_what_is_no_fault_of_a_condition_is_not_called_one(index: Index, fill: Fill) -> None:
    fill()
    assert len(index.reader.ids_where("CURRENT_DATE > '2000-01-01'")) == len(index)
    with pytest.raises(WhereError, match="UTF-8"):
        index.reader.ids_where("path = '\udcff'")
    index.close()
    file = index.folder / "index.db"
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    file.write_bytes(data)
    with Reader(index.folder) as reader, pytest.raises(IndexDamaged, match="curator verify"):
        reader.ids_where("width > 3")


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("label = ')'", 0),
        ("'(' = '(' -- a remark )", 10),
        ("/* ( */ 1", 10),
        ('"width" > 3 AND (label IS NULL OR 1)', 10),
    ],
)
def test_signs_within_texts_and_remarks_close_nothing(index: Index, fill: Fill, where: str, count: int) -> None:
    fill()
    assert len(index.reader.ids_where(where)) == count


def test_a_condition_that_never_ends_is_stopped(index: Index, fill: Fill) -> None:
    fill()
    endless = "id IN (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n)"
    began, index.reader.deadline = time.monotonic(), 0.2
    with pytest.raises(WhereError, match="took more than"):
        index.reader.ids_where(endless)
    assert time.monotonic() - began < 20
    assert len(index.reader.ids_where("1")) == 10, "the connection is as good as before"


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": -1}])
def test_fewer_than_one_hit_is_refused(index: Index, fill: Fill, wrong: dict[str, int]) -> None:
    fill()
    with pytest.raises(UsageError, match="k of 1 or more"):
        index.search(like=1, **wrong)


def test_no_score_is_above_one(index: Index, fill: Fill) -> None:
    fill()
    for image_id in range(1, 11):
        assert index.search(like=image_id).scores.max() <= 1


def test_an_index_is_found_from_a_folder_within(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(
        [sys.executable, "-m", "curator", "index", str(folder), "-e", "pixels"], check=True, capture_output=True
    )
    monkeypatch.chdir(folder)
    found = subprocess.run(
        [sys.executable, "-m", "curator", "search", "id:1", "-n", "1"], check=False, capture_output=True, text=True
    )
    assert found.returncode == 0
    assert str(tmp_path / "indexes" / "default") in found.stderr.splitlines()[0]
