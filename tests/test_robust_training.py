"""What may befall a training: a machine that sleeps, a disk that is full, numbers that stand still."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from curator.errors import IndexFull
from curator.job import Job
from curator.records import Progress
from curator.training.engine import train
from curator.training.folder import Run
from curator.training.numbered import start_run
from curator.training.options import Options
from curator.training.parallel import Team
from curator.training.pictures import Bytes, Pictures, padded, pictures_of
from curator.training.rules import Loop, standing_still
from curator.training.timing import Timing
from curator.training.trainers import TRAINERS, options_for

_SMALL = {"side": 8, "width": 8, "latent": 4, "batch": 16, "every": 256, "keep": 1}


@pytest.fixture(scope="module")
def digits() -> Pictures:
    raw = load_digits()
    return pictures_of((raw.images[:256] * 15).astype("uint8"))


def features(pixels: Bytes) -> object:
    return pixels.reshape(len(pixels), -1)[:, ::8].astype("float32")


def options(**changes: object) -> Options:
    return options_for("vae", _SMALL | {"images": 2_048} | changes)


def go(run: Run, pictures: Pictures, job: Job, *, resume: bool = False) -> object:
    return train(run, TRAINERS["vae"].make, pictures, features, resume=resume, job=job)  # type: ignore[arg-type]


def test_the_time_in_which_a_process_is_stopped_is_not_counted(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from test_robust_training import *\n"
        "raw = load_digits(); pictures = pictures_of((raw.images[:256] * 15).astype('uint8'))\n"
        f"run = start_run(Path({str(tmp_path)!r}), options(images=0, max_minutes=0.15, every=10**6), pictures)\n"
        "print(run.folder, flush=True)\n"
        "go(run, pictures, Job(say=lambda line: print(line, flush=True)))\n"
    )
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    run = Run(Path(process.stdout.readline().strip()))
    while len(run.rows("stats.jsonl")) < 2:  # it is among its steps, each of which takes milliseconds
        time.sleep(0.05)
    process.send_signal(signal.SIGSTOP)
    time.sleep(9)
    process.send_signal(signal.SIGCONT)
    lines, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "The process stood still for 9 s" in lines
    assert run.state["seconds"] < 10 < time.monotonic() - began - 8, (
        "nine seconds of training, however long it stood still"
    )


def test_a_slow_disk_is_counted_and_a_stop_within_a_measurement_is_not() -> None:
    wall, cpu = [0.0], [0.0]
    alone = Team(0, 1, torch.device("cpu"))
    timing = Timing(options(images=0, max_minutes=10), alone, wall=lambda: wall[0], cpu=lambda: cpu[0])
    loop = Loop(0)
    timing.start(loop)
    wall[0] += 20  # a checkpoint on a slow disk
    timing.wrote()
    assert timing.seconds() == 20
    with timing.measuring(loop):
        wall[0], cpu[0] = wall[0] + 2, cpu[0] + 2
        timing.seconds()
        wall[0] += 3_600
    assert loop.measure_seconds == 2
    assert timing.stood_still() == 3_600
    assert timing.stood_still() == 0
    assert not timing.is_late(loop)


@pytest.mark.parametrize("room", [3_000, 20_000])
def test_a_full_disk_keeps_the_last_checkpoint_and_the_run_goes_on(tmp_path: Path, digits: Pictures, room: int) -> None:
    """Where a line of the log has no room, and where a checkpoint has none."""
    free = resource.getrlimit(resource.RLIMIT_FSIZE)
    whole = start_run(tmp_path, options(), digits, name="whole")
    go(whole, digits, Job())
    run = start_run(tmp_path, options(), digits, name="cut")

    def fill(p: Progress) -> None:
        if p.done == 1_040:  # after the fourth checkpoint
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, free[1]))

    try:
        with pytest.raises(IndexFull, match=r"the checkpoint at 1024 images is good: make room, then .*--resume"):
            go(run, digits, Job(show=fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, free)
    assert run.checkpoints() == sorted({int(run.state["best"]), 1_024})
    assert all(p.name.isdigit() for p in (run.folder / "checkpoints").iterdir()), "nothing cut off takes room"
    go(run, digits, Job(), resume=True)
    there, here = (r.load_checkpoint(r.checkpoint("latest"))[0] for r in (whole, run))
    assert there.keys() == here.keys()
    assert all((there[name] == here[name]).all() for name in there)


def test_numbers_that_stand_still_are_told_once(tmp_path: Path, digits: Pictures) -> None:
    lines: list[str] = []
    run = start_run(tmp_path, options(rate=1e-12, images=4_096), padded(digits, 8))
    go(run, digits, Job(say=lines.append))
    still = [line for line in lines if line.startswith("No better ")]
    assert len(still) == 1
    assert "--patience 6 ends such a run" in still[0]


@pytest.mark.parametrize(
    ("stale", "patience", "seen", "count"), [(5, 0, 50, 0), (6, 0, 50, 1), (6, 9, 50, 0), (6, 0, 100, 0)]
)
def test_who_is_told_of_standing_still(stale: int, patience: int, seen: int, count: int) -> None:
    loop = Loop(100, images_seen=seen, best=10, stale=stale)
    assert bool(standing_still(loop, options(patience=patience), "loss")) == bool(count)
