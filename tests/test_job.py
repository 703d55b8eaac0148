"""A job tells, says and stops, in any thread; long work asks it at every batch and keeps what is whole."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import draw

from curator.admin.maintenance import verify
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.cli.face import _pace
from curator.database import Curation, take_lock
from curator.encoders import PixelEncoder
from curator.errors import Stopped, UsageError
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.job import QUIET, Job
from curator.records import IngestReport, Progress
from curator.selection.recipe import Recipe
from curator.selection.select import select

Fill = Callable[..., IngestReport]


def test_a_signal_asks_once_and_the_second_stops_at_once() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
    said: list[str] = []
    job = Job(say=said.append)
    with job.on_signals(), job.on_signals():
        signal.raise_signal(signal.SIGINT)
        assert job.stop
        with pytest.raises(Stopped):
            job.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert len(said) == 1
    assert not job.stop, "a stop that a signal asked for ends with the block"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_quiet_job_stops_with_its_own_and_says_nothing() -> None:
    said: list[str] = []
    job = Job(say=said.append)
    quiet = job.quiet()
    job.cancel()
    quiet.say("nothing")
    assert quiet.stop
    assert not said


def test_stopping_an_ingest_from_another_thread_keeps_whole_batches(index: Index, tmp_path: Path) -> None:
    """Off the main thread there are no signals, and `cancel` is all there is."""
    for number in range(300):
        draw(number).save(tmp_path / f"{number:03d}.png")
    reports: list[IngestReport] = []

    def show(p: Progress) -> None:
        if p.done == 64:
            job.cancel()

    job = Job(show=show)
    work = threading.Thread(
        target=lambda: reports.append(ingest(index, [tmp_path], PixelEncoder(), IngestOptions(), job=job))
    )
    work.start()
    work.join(60)
    stored = reports[0].new
    assert reports[0].interrupted
    assert stored in (64, 128), "and the batch that was being encoded meanwhile"
    assert len(index) == stored
    assert list(verify(index.folder)) == []
    assert ingest(index, [tmp_path], PixelEncoder(), IngestOptions()).new == 300 - stored


def test_the_job_of_those_who_do_not_look_on_keeps_nothing() -> None:
    """What one caller asks must not reach the others."""
    with pytest.raises(UsageError, match="of its own"):
        QUIET.cancel()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with QUIET.on_signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert not QUIET.stop


def test_what_was_compared_before_a_stop_is_kept_though_another_writes(index: Index, tmp_path: Path) -> None:
    for number in range(300):
        for copy, size in (("a", 200), ("b", 190)):
            draw(number).resize((size, size)).save(tmp_path / f"{number:03d}{copy}.png")
    ingest(index, [tmp_path], PixelEncoder(), IngestOptions())
    held = []

    def show(p: Progress) -> None:
        if p.doing == "comparing pictures":
            job.cancel()
            threading.Timer(0.3, held.pop().close).start()  # the other process goes on for a while

    def step(name: str) -> None:
        if name == "graph cached":
            held.append(take_lock(index.folder))

    job, index.step = Job(show=show), step
    with pytest.raises(Stopped):
        dedupe(index, DedupeOptions(), job=job)
    assert len(Curation(index.reader).edges()) > 0
    index.step = lambda name: None
    assert len(dedupe(index, DedupeOptions()).groups) == 300


WORKS: dict[str, Callable[[Index, Job], object]] = {
    "dedupe": lambda index, job: dedupe(index, DedupeOptions(), job=job),
    "select": lambda index, job: select(index, "some", Recipe(n=3, by="typicality"), job=job),
}


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_work_that_is_stopped_changes_nothing(index: Index, fill: Fill, work: Callable[[Index, Job], object]) -> None:
    """Whether it is stopped before it begins, or at the first thing that it tells."""
    fill()
    early = Job()
    early.cancel()
    late = Job(show=lambda progress: late.cancel())
    for job in (early, late):
        with pytest.raises(Stopped):
            work(index, job)
    assert index.reader.ids_where("selections IS NOT NULL OR duplicate_of IS NOT NULL").tolist() == []
    work(index, QUIET)


@pytest.mark.parametrize(
    ("done", "since", "started_at", "said"),
    [
        (64, 0.0, 0, ""), (600, 10.0, 0, ", 60 a second, 7 s left"), (700, 10.0, 500, ", 20 a second, 15 s left"),
        (100, 100.0, 0, ", 1.0 a second, 15 min left"), (500, 10.0, 500, ""), (1_200, 10.0, 0, ""),
    ],
)  # fmt: skip
def test_a_line_of_progress_says_pace_and_time_left(done: int, since: float, started_at: int, said: str) -> None:
    """Of what was done since it was first told of: a resumed run and a slow first batch do not count."""
    assert _pace(Progress(done, 1_000, 0, "x"), time.monotonic() - since, started_at) == said
