"""The pace of a training: threads are tried, time limits count everything, measuring stays in its share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curator.job import Job
from curator.training.classifier import Classification
from curator.training.engine import train
from curator.training.folder import Run
from curator.training.numbered import start_run
from curator.training.parallel import Team
from curator.training.parts import Clock, Features
from curator.training.pictures import Bytes, Pictures, are_alike, pictures_of
from curator.training.rules import Loop, advice
from curator.training.threads import Threads, Waits
from curator.training.timing import Timing
from curator.training.trainers import options_for

ALONE = Team(0, 1, torch.device("cpu"))
SMALL = {"side": 8, "width": 4, "net": "resnet", "batch": 8}


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def walk(threads: Threads, seconds: dict[int, float], steps: int) -> None:
    """Steps that take so long with so many threads."""
    for _ in range(steps):
        with threads.step():
            time.sleep(seconds[torch.get_num_threads()])


@pytest.mark.parametrize(("seconds", "best"), [({1: 0.002, 2: 0.02}, 1), ({1: 0.02, 2: 0.002}, 2)])
def test_the_faster_number_of_threads_is_kept_and_said(seconds: dict[int, float], best: int) -> None:
    lines: list[str] = []
    threads = Threads(ALONE, Job(say=lines.append), 64)
    with threads.own():
        assert threads.settled() == (0, 0.0)
        walk(threads, seconds, 13)
        assert torch.get_num_threads() == best
        assert threads.settled()[0] == best
        assert seconds[best] <= threads.settled()[1] < seconds[3 - best]
    assert torch.get_num_threads() == 2, "what was there before is put back"
    assert len(lines) == 1
    assert "1 thread " in lines[0]
    assert f"Training with {best} thread" in lines[0]


def test_a_trial_takes_no_minutes_of_a_run_whose_steps_are_long() -> None:
    """On a core that other work shares two threads may take seconds for a step."""
    threads = Threads(ALONE, Job(), 64, waits=Waits(long=0.05))
    with threads.own():
        walk(threads, {1: 0.002, 2: 0.04}, 2 + 6)
        assert threads.settled()[0] == 1


def test_threads_are_tried_again_when_the_pace_falls_by_half() -> None:
    lines: list[str] = []
    threads = Threads(ALONE, Job(say=lines.append), 64, count=2, reference=0.002, waits=Waits(pause=0.0))
    with threads.own():
        walk(threads, {2: 0.002}, 20)
        assert not lines, "a resumed run does not try them at once"
        walk(threads, {1: 0.002, 2: 0.01}, 40)
        assert torch.get_num_threads() == 1
    assert "fell" in lines[0]
    assert "Training with 1 thread" in lines[1]


def test_a_resumed_run_keeps_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(ALONE, Job(say=lambda _line: pytest.fail("tried")), 64, count=1, reference=0.002)
    with threads.own():
        walk(threads, {1: 0.002}, 30)
        assert torch.get_num_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert Threads(ALONE, Job(), 64).settled() == (0, 0.0), "nothing was chosen"


def test_idle_threads_are_tried_anew_after_a_while() -> None:
    lines: list[str] = []
    threads = Threads(ALONE, Job(say=lines.append), 64, waits=Waits(later=0.0))
    with threads.own():
        walk(threads, {1: 0.002, 2: 0.01}, 13)
        walk(threads, {1: 0.005, 2: 0.001}, 33)
        assert torch.get_num_threads() == 2, "the other work has ended"
    assert len(lines) == 2


def test_threads_that_the_user_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    threads = Threads(ALONE, Job(say=lambda _line: pytest.fail("said")), 64)
    with threads.own():
        walk(threads, {2: 0.0}, 15)
    assert threads.count == 2


def features(pixels: Bytes) -> np.ndarray:
    return pixels.reshape(len(pixels), -1).astype(np.float32)


def run_of(home: Path, pictures: Pictures, **changes: object) -> Run:
    return start_run(home, options_for("classifier", SMALL | changes), pictures)


@pytest.fixture(scope="module")
def digits() -> Pictures:
    from sklearn.datasets import load_digits

    found = load_digits()
    return pictures_of((found.images[:160] * 15.9).astype(np.uint8), found.target[:160], [str(d) for d in range(10)])


def after(seconds: float, **given: object) -> tuple[Timing, Loop]:
    """The time of a run of a minute that has trained for `seconds`."""
    timing = Timing(options_for("classifier", SMALL | {"max_minutes": 1.0} | given), ALONE)
    loop = Loop(0, images_seen=1000, seconds=seconds)
    timing.start(loop)
    return timing, loop


def test_a_time_limit_leaves_time_for_the_last_measurement() -> None:
    timing, loop = after(52.0)
    assert not timing.is_late(loop)
    loop.measure_seconds = 5.0
    assert timing.is_late(loop)


def test_measuring_is_counted_and_stays_within_a_tenth_of_the_time() -> None:
    timing, loop = after(40.0)
    with timing.measuring(loop):
        time.sleep(0.01)
    assert loop.measured_seconds == loop.measure_seconds >= 0.01
    loop.measured_seconds, loop.measure_seconds = 2.5, 1.0
    assert timing.can_measure(loop)
    loop.measured_seconds = 3.5
    assert not timing.can_measure(loop)
    timing, _ = after(40.0, every=100)
    assert timing.can_measure(loop), "an interval that was asked for is obeyed"


def test_a_checkpoint_without_numbers_is_resumed_and_the_last_one_has_them(tmp_path: Path, digits: Pictures) -> None:
    """Where measuring takes long, only the first and the last are measured."""

    class Slow(Classification):
        def measure(self, held: Pictures, features: Features) -> dict[str, Any]:
            until = time.process_time() + 1.1  # with as much again it would be more than is free
            while time.process_time() < until:
                pass
            return super().measure(held, features)

    run = run_of(tmp_path, digits, images=320)
    job = Job(show=lambda p: job.cancel() if p.done == 168 else None)
    train(run, Slow, digits, features, job=job)
    assert run.checkpoints()[-1] == 168
    assert [r["images_seen"] for r in run.rows("metrics.jsonl")] == [16]
    train(run, Slow, digits, features, resume=True)
    assert [r["images_seen"] for r in run.rows("metrics.jsonl")] == [16, 320]
    assert run.state["best"] == 320


def test_a_plan_leaves_time_for_the_end() -> None:
    timing, loop = after(10.0)
    loop.measure_seconds = 5.0
    timing.plan(loop, 10)
    assert loop.images == pytest.approx(5000, rel=0.02)


def test_advice_does_not_name_what_the_run_already_has() -> None:
    few = {"recall": 0.0, "coverage": 0.0}
    now = Clock(5000, 10_000)
    line = advice(few, now, options_for("gan", {"preset": "tiny"}))
    assert "leave --net, --loss and --preset out" in line
    line = advice(few, now, options_for("gan", {"preset": "dcgan", "augment": ("diffaug",)}))
    assert "--preset" not in line
    assert "diffaug" not in line


def test_pictures_that_look_the_same_are_called_a_collapse() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 255, (3, 8, 8), np.uint8)
    other = rng.integers(0, 255, (3, 8, 8), np.uint8)
    assert are_alike([one] * 8, 1)
    assert are_alike([one, other] * 4, 2), "each of two conditions"
    assert not are_alike([one, other] * 4, 1)
    assert not are_alike([one], 1), "one picture cannot tell"
