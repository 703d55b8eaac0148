"""Trainers: speed of a step, and what ten minutes on two cores give on Fashion-MNIST.

    python scripts/bench_train.py --data ../shared/data --minutes 10 --out runs-bench

Each row of ROWS is one run of that many minutes on the 60,000 training pictures; one that is finished in `--out` is not
run again. Then 10,000 pictures of each generator are compared with the 10,000 test pictures, in the last 64 features of
the `resnet` that was trained here (not normalised): Fréchet distance, precision and recall (k = 3), density and
coverage (k = 5). The row `real` holds 10,000 training pictures. The baseline is DCGAN as its paper and tutorials have
it: batch normalisation, cross-entropy, Adam (2e-4, β1 0.5); they do not average weights, so it is measured with and
without. Each generator is that of its best checkpoint by the Fréchet distance of 1,000 samples in the space of `tiny`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_generators import made_by, run_of, save_sheet
from machine import describe_machine

from curator.metrics import frechet_distance, manifold
from curator.training.classifier import head_features, judged, probabilities
from curator.training.engine import train
from curator.training.exporting import load_classifier
from curator.training.folder import Run
from curator.training.numbered import start_run
from curator.training.pictures import Bytes, Pictures, padded, pictures_of
from curator.training.trainers import TRAINERS, options_for

N = 10_000
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("classifier", {"side": 28, "augment": ("flip",), "holdout": 0.05, "net": "resnet", "width": 16}),
    "cnn": ("classifier", {"side": 28, "augment": ("flip",), "holdout": 0.05, "dropout": 0.3}),
    "gan": ("gan", {"preset": "tiny"}),
    "vae": ("vae", {}),
    "dcgan": ("gan", {"preset": "dcgan", "images": 0}),
    "quick": ("gan", {"images": 0}),
}


def main() -> None:
    """Run what is not there yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs-bench"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    given = parser.parse_args()
    data = np.load(given.data / "fashion_mnist.npz")
    names = [str(n) for n in data["label_names"]]
    fashion = pictures_of(data["train_images"], data["train_labels"].astype(np.int64), names)
    test = pictures_of(data["test_images"], data["test_labels"].astype(np.int64), names)
    print(describe_machine() + "\n")
    measure_speed(padded(fashion.taken(np.arange(4_096)), 32), given.out)
    done = {name: run_row(name, fashion, given.out, given.minutes) for name in given.rows}
    if "cnn" in done:
        judge_classifier(done["cnn"], test)
    if "resnet" in done:
        features = judge_classifier(done["resnet"], test)
        compare(done, features, fashion, test, given.out)


def measure_speed(pictures: Pictures, out: Path) -> None:
    """Images a second of a GAN's whole step, both networks and both penalties, widths 32-64-128 at 32 px, in the second
    half of a run.
    """
    print("| GAN step, `tiny` | images/s |\n|---|--:|")
    for precision in ("auto", "fp32"):
        run = start_run(
            out / "speed", options_for("gan", {"precision": precision, "images": 32_768, "every": 32_768}), pictures
        )
        train(run, TRAINERS["gan"].make, pictures, lambda p: p.reshape(len(p), -1)[:, :2].astype(np.float32))
        rows = run.rows("stats.jsonl")
        middle, last = rows[len(rows) // 2], rows[-1]
        rate = (last["images_seen"] - middle["images_seen"]) / (last["seconds"] - middle["seconds"])
        print(f"| {'bf16 where the machine has it' if precision == 'auto' else 'fp32'} | {rate:.0f} |", flush=True)


def run_row(name: str, fashion: Pictures, out: Path, minutes: float) -> Run:
    """One run, resumed if it was cut off."""
    trainer, changes = ROWS[name]
    pictures = fashion if trainer == "classifier" else padded(fashion, 32)
    return run_of(out, name, trainer, changes | {"max_minutes": minutes}, pictures)


def judge_classifier(run: Run, test: Pictures) -> Callable[[Bytes], np.ndarray]:
    """Print its numbers on the test pictures → its features."""
    network: Any = load_classifier(run)
    found = judged(run.options, probabilities(network, test.pixels, torch.device("cpu")), test.labels)  # type: ignore[arg-type]
    parameters = sum(p.numel() for p in network.parameters())
    heads = ("net", "parameters", "images/s", "test accuracy", "loss", "Manhattan distance", "calibration error")
    print("\n| " + " | ".join(heads) + " |\n|---" + "|--:" * (len(heads) - 1) + "|")
    numbers = (found["loss"], found["manhattan_distance"], found["calibration_error"])
    speed = run.state["images_seen"] / run.state["seconds"]
    shown = " | ".join(f"{v:.3f}" for v in numbers)
    print(f"| `{run.options.net}` | {parameters:,} | {speed:.0f} | {found['accuracy']:.2%} | {shown} |")
    print("\nconfusion, true by predicted: " + " ".join(str(row) for row in found["confusion"]))
    return partial(head_features, network)


def compare(
    done: dict[str, Run], features: Callable[[Bytes], np.ndarray], fashion: Pictures, test: Pictures, out: Path
) -> None:
    """The table of generators, and a grid of each."""
    y = features(test.pixels)
    chosen = np.random.default_rng(0).permutation(len(fashion))[:N]
    rows: list[tuple[str, str, Bytes]] = [("real", "", fashion.pixels[chosen])]
    for name in ("gan", "dcgan", "quick"):
        rows += [(f"`{name}`", rate_of(done[name]), made_by(done[name], N))] if name in done else []
    if "dcgan" in done:
        rows.append(
            (
                "`dcgan`, weights not averaged",
                rate_of(done["dcgan"]),
                made_by(done["dcgan"], N, weights="networks"),
            )
        )
    for sampler in ("gmm", "two-stage", "normal") if "vae" in done else ():
        rows.append((f"vae, {sampler}", rate_of(done["vae"]), made_by(done["vae"], N, sampler)))
    print("\n| generator | images/s | FD | precision | recall | density | coverage |\n|---|--:|--:|--:|--:|--:|--:|")
    for name, rate, pixels in rows:
        x = features(pixels)
        m = manifold(x, y)
        print(
            f"| {name} | {rate} | {frechet_distance(x, y):.2f} | {m.precision:.3f} | {m.recall:.3f} | {m.density:.3f} "
            f"| {m.coverage:.3f} |",
            flush=True,
        )
    save_sheet([pixels for _, _, pixels in rows], 8, out / "grids.png")
    print(f"\nGrids, in the table's order: {out / 'grids.png'}")


def rate_of(run: Run) -> str:
    """Images a second over the whole run, checkpoints and all."""
    return f"{run.state['images_seen'] / run.state['seconds']:.0f}"


if __name__ == "__main__":
    main()
