"""What may befall a run besides its training: kills, a second process, files and lines that are not what they were."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from conftest import draw

from curator.database import take_lock
from curator.errors import UsageError
from curator.index import Index
from curator.runs.compare import drawn_by
from curator.runs.lookup import LOCK, find_generator, run_of, status_of
from curator.runs.train import resume_training
from curator.training.folder import Run

Curator = Callable[..., Result]
VAE = ("train", "vae", "--side", 8, "--width", 4, "--latent", 4, "--batch", 8, "--images", 160, "--every", 80)


def ok(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output + (str(result.exception) if result.exception else "")
    return result.output


def only_run(number: str = "1") -> Run:
    with Index.open() as index:
        return run_of(index, number)


def test_a_run_that_is_being_trained_is_gone_on_with_by_nobody_else(digits: Path, curator: Curator) -> None:
    ok(curator(*VAE))
    run = only_run()
    run.write_state(status="training")
    with take_lock(run.folder, name=LOCK):
        assert status_of(run) == "training"
        refused = ok(curator("train", "vae", "--resume", "--images", 320), 2)
        assert "00001-vae is being trained now; wait for it" in refused
        with Index.open() as index, pytest.raises(Exception, match="no run here makes pictures yet"):
            find_generator(index, "latest")
    assert run.options.images == 160, "nothing was changed"
    assert status_of(run) == "interrupted"
    assert "320 images" in ok(curator("train", "vae", "--resume", "--images", 320))


def test_a_killed_run_is_interrupted_and_goes_on(digits: Path, curator: Curator) -> None:
    long = [*map(str, VAE[:-4]), "--images", "1000000", "--every", "80"]
    process = subprocess.Popen([sys.executable, "-m", "curator", *long], stderr=subprocess.DEVNULL, cwd=Path.cwd())
    while not (Path("indexes/default/runs/00001-vae/checkpoints/000000160")).is_dir():
        assert process.poll() is None
        time.sleep(0.05)
    assert "training" in ok(curator("runs"))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert "interrupted" in ok(curator("runs"))
    assert "4 pictures" in ok(curator("generate", "-n", 4, "--no-index"))
    seen = only_run().checkpoint("latest")
    assert f"goes on from {seen} images" in ok(curator("train", "vae", "--resume", "--images", seen + 80))


def test_a_run_without_a_checkpoint_begins_anew_in_its_folder(digits: Path, curator: Curator) -> None:
    ok(curator(*VAE))
    run = only_run()
    first, lines = run.load_checkpoint(160)[0], run.rows("stats.jsonl")
    shutil.rmtree(run.folder / "checkpoints")
    assert "00001-vae has no checkpoint; train anew" in ok(curator("generate", "1"), 2)
    assert "has no checkpoint to go on from; train anew" in ok(curator("train", "vae", "--resume"), 2)
    run.write_state(status="training", images_seen=0)  # as a kill within the first steps leaves it
    assert "`curator train vae --resume 00001-vae` goes on with it" in ok(curator("generate", "1"), 2)
    assert "it begins" in ok(curator("train", "vae", "--resume"))
    again = run.load_checkpoint(160)[0]
    assert all((again[name] == first[name]).all() for name in first)
    assert [r["images_seen"] for r in run.rows("stats.jsonl")] == [r["images_seen"] for r in lines]


def test_a_budget_below_twenty_images_trains(digits: Path, curator: Curator) -> None:
    assert "finished after 16 images" in ok(curator(*VAE[:-4], "--images", 10))


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--holdout", 0.999999), "--holdout 0.999999 takes all"), (("--latent", 10**8), "--latent takes 1 to ")],
)
def test_what_cannot_begin_leaves_no_folder(
    digits: Path, curator: Curator, options: tuple[object, ...], said: str
) -> None:
    assert said in ok(curator(*VAE, *options), 2)
    assert "No runs yet" in ok(curator("runs"))


def test_a_file_that_changed_since_it_was_indexed_is_not_trained_on(digits: Path, curator: Curator) -> None:
    changed = sorted(digits.rglob("*.png"))[5]
    before = changed.read_bytes()
    ok(curator(*VAE))
    draw(1, (8, 8)).convert("L").save(changed)
    said = ok(curator(*VAE, "--name", "other"))
    assert f"1 file is left out: {changed}: has changed since it was indexed; run `curator index`" in said
    assert len(only_run("2").rows("manifest.jsonl")) == 95
    refused = ok(curator("train", "vae", "--resume", "1", "--images", 320), 2)
    assert "1 file of 00001-vae is not what it was trained on" in refused
    assert "1 file is left out" in ok(curator("reconstruct", "1"))
    changed.write_bytes(before)
    ok(curator("train", "vae", "--resume", "1", "--images", 320))


@pytest.mark.parametrize("name", ["manifest.jsonl", "metrics.jsonl", "stats.jsonl"])
def test_lines_that_are_not_whole_are_no_rows(digits: Path, curator: Curator, name: str) -> None:
    ok(curator("train", "classifier", *VAE[2:6], "--net", "resnet", *VAE[8:]))
    run = only_run()
    lines = (run.folder / name).read_text()
    (run.folder / name).write_text('{}\n{"id": "x", "images_seen": "y"}\n[1]\nnot JSON\n' + lines)
    for command in (["runs"], ["runs", "show", "1"], ["report", "1"], ["train", "classifier", "--resume"]):
        more = ["--images", 240] if "--resume" in command else ["-o", "report.html"] if "report" in command else []
        ok(curator(*command, *more))
    if name == "manifest.jsonl":
        run.write_text(name, "".join(lines.splitlines(keepends=True)[1:]))
        with Index.open() as index, pytest.raises(UsageError, match="lists 95 of its 96 images"):
            resume_training(index, "classifier", changes={"images": 320})


def test_a_best_checkpoint_that_is_gone_is_said_and_sought_anew(digits: Path, curator: Curator) -> None:
    ok(curator(*VAE))
    run = only_run()
    best = int(run.state["best"])
    shutil.rmtree(run.place_of(best))
    if not run.checkpoints():
        pytest.fail("the best was the only checkpoint")
    latest = run.checkpoint("latest")
    said = ok(curator("generate", "1", "-n", 2, "--no-index"), 2)
    with Index.open() as index:
        resume_training(index, "vae")  # it has nothing left to do, and no best one any more
    assert f"at {best} images, is gone; --checkpoint {latest} takes the latest" in said
    ok(curator("generate", "1", "-n", 2, "--no-index", "--checkpoint", "latest"))
    assert "finished after 320" in ok(curator("train", "vae", "--resume", "--images", 320))
    assert run.checkpoint("best") > 0


def test_a_card_says_every_number_of_the_best_checkpoint(digits: Path, curator: Curator) -> None:
    ok(curator("train", "pix2pix", "--side", 32, "--width", 8, "--batch", 4, "--images", 32, "--every", 32))
    run = only_run()
    card = (run.folder / "card.md").read_text()
    row = run.rows("metrics.jsonl")[-1]
    assert all(f"| {name.replace('_', ' ')} | " in card for name in row if name not in ("images_seen", "seconds"))
    assert "- digest:" not in card
    assert "- column:" not in card


def test_runs_of_unlike_images_are_compared_with_a_note(digits: Path, curator: Curator) -> None:
    ok(curator(*VAE))
    ok(curator(*VAE, "--selection", "label = '0'"))
    said = ok(curator("runs", "compare", "1", "2"))
    assert "trained on" in said
    assert "label = '0'" in said
    assert "Note: they were trained on unlike images" in said
    alike = ok(curator("runs", "compare", "1", "1"), 2)
    assert "two runs" in alike
    ok(curator(*VAE, "--rate", 0.01))
    assert "Note" not in ok(curator("runs", "compare", "1", "3"))
    ok(curator(*VAE, "--holdout", 0.3))
    assert "Note" in ok(curator("runs", "compare", "1", "4"))


def test_a_full_disk_is_an_error_in_words_and_leaves_no_folder(digits: Path, curator: Curator) -> None:
    ok(curator(*VAE))
    Path("there").mkdir()
    free = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, free[1]))
    try:
        refused = curator("generate", "1", "-n", 9, "-o", "drawn", "--no-index")
        curator("generate", "1", "-n", 9, "-o", "there", "--no-index")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, free)
    assert "File too large; make room" in ok(refused, 2)
    assert not Path("drawn").exists()
    assert Path("there").is_dir(), "it was there before"
    ok(curator("generate", "1", "-n", 9, "-o", "drawn", "--no-index"))
    (Path("drawn") / "manifest.jsonl").write_text("not ours\n")
    assert "is not as `curator generate` wrote it" in ok(curator("generate", "1", "-n", 2, "-o", "drawn"), 2)


def test_a_sheet_of_runs_has_a_row_for_each_that_draws(digits: Path, curator: Curator) -> None:
    small = ("--side", 32, "--width", 4, "--batch", 8, "--images", 16, "--every", 16)
    ok(curator("train", "pix2pix", *small[:2], "--width", 8, *small[4:]))
    ok(curator("train", "gan", *small, "--latent", 4, "--condition", "label"))
    ok(curator("train", "vae", *small, "--latent", 4, "--condition", "embedding"))
    ok(curator("train", "classifier", *small, "--net", "resnet"))
    with Index.open() as index:
        runs = [run_of(index, str(n)) for n in (1, 2, 3, 4)]
        titles = [drawn_by(run) and drawn_by(run)[0] for run in runs]
    assert titles == [
        "00001-pix2pix: inputs, drawings, targets and differences at 16 images seen",
        "00002-gan: seeds 0 to 31, labels in turn",
        "00003-vae: samples at 16 images seen",
        None,
    ]
    ok(curator("runs", "compare", "1", "2", "3", "4", "--sheet", "runs.png"))
    theirs = ok(curator("runs", "compare", "1", "2", "--sheet", next(digits.rglob("*.png"))), 2)
    assert "and curator did not make it" in theirs
