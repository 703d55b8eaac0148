"""Generators at equal time on four sets of pictures, by seeds, judged in two spaces that none of them was chosen in.

    python scripts/bench_generators.py --data ../shared/data --out runs-bench --minutes 10 --seeds 0 1 2
    python scripts/bench_generators.py --data ../shared/data --sets clothing --rows default tiny --threads 1

A run that is finished in `--out` is not made again, and one that was cut off goes on, so a table can be made over days,
and by several processes with a thread each where they share neither set nor folder. Sets: Fashion-MNIST (28 px in 32),
3,000 of it, clothing photos (64 px), emoji on white (64 px), scikit-learn's digits (8 px in 32). As many are made
as the set has for testing, 10,000 at most, and are compared with those. The spaces: the last 64 features of a `resnet`
that learnt the set's labels (8 × 8 pixels where there are none), and `small`. Checkpoints are chosen in the space of
`tiny`. Rows of `generator_peers.py` are programs of others, which train on the held-out pictures too. A row gives the
mean over seeds and half of its 95 % interval (Student's t).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from generator_peers import PEERS, peer_pictures
from machine import describe_machine
from scipy.stats import t as student
from sklearn.datasets import load_digits

from curator.encoders import load_encoder
from curator.job import Job
from curator.metrics import frechet_distance, manifold
from curator.runs.inputs import features_of
from curator.training.classifier import head_features
from curator.training.engine import train
from curator.training.exporting import load_classifier
from curator.training.folder import ENDED, Run
from curator.training.generator import load_generator
from curator.training.numbered import runs_in, start_run
from curator.training.pictures import (
    Bytes,
    Pictures,
    Reading,
    fitted,
    padded,
    pictures_of,
    read_pictures,
    tiled,
    to_picture,
)
from curator.training.state import load_network
from curator.training.trainers import TRAINERS, options_for

MOST = 10_000
Space = Callable[[Bytes], np.ndarray]
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("gan", {}),
    "tiny": ("gan", {"preset": "tiny"}),
    "dcgan": ("gan", {"preset": "dcgan"}),
    "flip": ("gan", {"augment": ("flip",)}),
    "distorted": ("gan", {"augment": ("diffaug",)}),
    "diffaug": ("gan", {"augment": ("flip", "diffaug")}),
    "narrow": ("gan", {"width": 16}),
    "vae": ("vae", {}),
    "vae64": ("vae", {"latent": 64}),
}


@dataclass(frozen=True)
class Sample:
    """Pictures to train on, and others to be judged by."""

    side: int
    train: Pictures
    test: Pictures


def fashion(data: Path) -> Sample:
    stored = np.load(data / "fashion_mnist.npz")
    names = [str(n) for n in stored["label_names"]]
    parts = [
        padded(pictures_of(stored[f"{part}_images"], stored[f"{part}_labels"].astype(np.int64), names), 32)
        for part in ("train", "test")
    ]
    return Sample(32, *parts)


def few(data: Path) -> Sample:
    """Three thousand of Fashion-MNIST."""
    whole = fashion(data)
    chosen = np.random.default_rng(0).permutation(len(whole.train))[:3_000]
    return Sample(32, whole.train.taken(chosen), whole.test)


def clothing(data: Path, side: int = 64) -> Sample:
    home = data / "clothing"
    with (home / "labels.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    names = sorted({r["label"] for r in rows})
    read = read_pictures([home / r["file"] for r in rows], Reading(side))
    labels = np.array([names.index(rows[i]["label"]) for i in read.kept])
    is_test = np.array([rows[i]["split"] == "test" for i in read.kept])
    parts = [pictures_of(read.pixels[m], labels[m], names) for m in (~is_test, is_test)]
    return Sample(side, *parts)


def emoji(data: Path) -> Sample:
    read = read_pictures(sorted((data / "noto_emoji").rglob("*.png")), Reading(64))
    is_test = np.random.default_rng(0).permutation(len(read.pixels)) < len(read.pixels) // 5
    return Sample(64, pictures_of(read.pixels[~is_test]), pictures_of(read.pixels[is_test]))


def digits(_: Path) -> Sample:
    raw = load_digits()
    small = (raw.images * 15.9).astype(np.uint8)
    x = np.stack([np.asarray(fitted(to_picture(p[None]), 32, "crop")) for p in small])
    is_test = np.random.default_rng(0).permutation(len(x)) < len(x) // 5
    names = [str(n) for n in range(10)]
    return Sample(32, *(pictures_of(x[m], raw.target[m].astype(np.int64), names) for m in (~is_test, is_test)))


SETS: dict[str, Callable[[Path], Sample]] = {
    "fashion": fashion, "few": few, "clothing": clothing, "emoji": emoji, "digits": digits,
}  # fmt: skip


def run_of(out: Path, name: str, trainer: str, changes: dict[str, Any], pictures: Pictures) -> Run:
    """A run that is finished, resumed or begun."""
    earlier = next((r for r in runs_in(out) if r.name.endswith(f"-{trainer}-{name}")), None)
    if earlier and earlier.state["status"] in ENDED:
        return earlier
    sizes = [(pictures.inner.shape[3], pictures.inner.shape[2])] * len(pictures)
    options = options_for(trainer, TRAINERS[trainer].options.suited(changes, sizes))  # as the command chooses
    run = earlier or start_run(out, options, pictures, name=name)
    features = features_of(partial(load_encoder, "tiny"))
    outcome = train(
        run,
        TRAINERS[trainer].make,
        pictures,
        features,
        resume=bool(earlier and earlier.checkpoints()),
        job=Job(say=print),
    )
    print(f"{run.folder.parent.name} {name}: {outcome}", flush=True)
    return run


def spaces_of(out: Path, sample: Sample, minutes: float) -> dict[str, Space]:
    """Where pictures are compared: names → functions of (n, C, H, W) bytes."""
    if sample.train.classes:
        flips = {"augment": ("flip",), "holdout": 0.05, "net": "resnet", "width": 16, "max_minutes": minutes}
        judge = run_of(out, "judge", "classifier", flips | {"side": sample.side}, sample.train)
        border = sample.train.border
        around = ((0, 0), (0, 0), (border, border), (border, border))
        network = load_classifier(judge)
        first: tuple[str, Space] = ("a classifier", lambda p: head_features(network, np.pad(p, around, mode="edge")))
    else:
        cell = sample.side // 8
        first = (
            "8 × 8 pixels",
            lambda p: p.reshape(len(p), -1, 8, cell, 8, cell).mean((3, 5)).reshape(len(p), -1) / 255,
        )
    return dict([first, ("small", features_of(partial(load_encoder, "small")))])


def made_by(run: Run, n: int, sampler: str | None = None, weights: str = "averages") -> Bytes:
    """(n, C, H, W) of the best checkpoint, by its usual sampler unless another is named."""
    generator = load_generator(run, sampler=sampler)
    if weights != "averages":
        load_network(generator.network, run.load_checkpoint(run.checkpoint())[0], f"{weights}/generator/")
    z = np.stack([generator.latent(i, sampler=sampler or generator.samplers[0]) for i in range(n)])
    return generator.make_many(z, np.zeros((n, 0), np.float32))


def save_sheet(parts: list[Bytes], columns: int, path: Path) -> None:
    """Grids of the first pictures of each part, eight rows high, side by side."""
    strips = [np.asarray(tiled(p[: 8 * columns], columns, 2 if p.shape[-1] < 64 else 1).convert("RGB")) for p in parts]
    gap = np.full((strips[0].shape[0], 8, 3), 255, np.uint8)
    sheet = np.concatenate([part for strip in strips for part in (strip, gap)], 1)
    to_picture(sheet.transpose(2, 0, 1)).save(path)


def numbers(x: np.ndarray, y: np.ndarray) -> list[float]:
    m = manifold(x.astype(np.float32), y.astype(np.float32))
    return [frechet_distance(x, y), m.precision, m.recall, m.density, m.coverage]


def cell(values: list[float], digits_shown: int) -> str:
    middle = f"{np.mean(values):.{digits_shown}f}"
    if len(values) < 2:
        return middle
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{middle} ± {half:.{digits_shown}f}"


def table(
    name: str, sample: Sample, rows: list[str], seeds: list[int], *, out: Path, minutes: float, example: Path | None
) -> None:
    spaces = spaces_of(out, sample, minutes)
    rng = np.random.default_rng(1)
    n = min(MOST, len(sample.test))
    real = {space: f(sample.test.inner[:n]) for space, f in spaces.items()}
    again = sample.train.inner[rng.permutation(len(sample.train))[:n]]
    print(f"\n{name}: {len(sample.train)} pictures of {sample.side} px, {n} of each against {n} unseen ones\n")
    heads = ["generator", "seeds", "images"] + [
        f"{m}, {s}" for s in spaces for m in ("FD", "precision", "recall", "density", "coverage")
    ]
    print("| " + " | ".join(heads) + " |\n|---|" + "--:|" * (len(heads) - 1))
    shown = {"training pictures": again}
    for row in ["training pictures", *rows]:
        pictures, seen = [again], 0
        if row in ROWS:
            trainer, changes = ROWS[row]
            common = {"side": sample.side, "holdout": 0.05, "max_minutes": minutes}
            runs = [run_of(out, f"{row}-{s}", trainer, common | changes | {"seed": s}, sample.train) for s in seeds]
            pictures, seen = [made_by(r, n) for r in runs], int(np.mean([r.state["images_seen"] for r in runs]))
            shown[row] = pictures[0]
        elif row in PEERS:
            both = [peer_pictures(row, sample.train, out, n=n, seed=s, minutes=minutes, example=example) for s in seeds]
            pictures, seen = [made for made, _ in both], int(np.mean([images for _, images in both]))
            shown[row] = pictures[0]
        by_space = {s: np.array([numbers(f(p), real[s]) for p in pictures]) for s, f in spaces.items()}
        cells = [cell(list(v), 3) for s in spaces for v in by_space[s].T]
        print(f"| {row} | {len(pictures)} | {seen:,} | " + " | ".join(cells) + " |", flush=True)
    save_sheet(list(shown.values()), 4, out / f"{name}.png")
    print(f"\nSheet, in the table's order: {out / f'{name}.png'}")


def parser_of(text: str | None, rows: list[str], usual: list[str]) -> argparse.ArgumentParser:
    """Arguments of a benchmark that trains rows for some minutes each, in a folder where it goes on."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="with fashion_mnist.npz, and the tars unpacked")
    parser.add_argument("--out", type=Path, default=Path("runs-bench"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rows", nargs="+", default=usual, choices=rows)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 lets each run choose")
    return parser


def begin(given: argparse.Namespace) -> None:
    """Set the threads, and say on what machine it runs and for how long."""
    if given.threads:
        torch.set_num_threads(given.threads)
    print(f"{describe_machine()}; {given.minutes:g} minutes each, {given.threads or 'all'} threads")


def main() -> None:
    """Train what is not there yet, then print the tables."""
    parser = parser_of(__doc__, [*ROWS, *PEERS], ["default", "tiny", "vae"])
    parser.add_argument("--example", type=Path, help="dcgan/main.py of github.com/pytorch/examples, for dcgan-example")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    given = parser.parse_args()
    begin(given)
    for name in given.sets:
        out = given.out / f"{given.minutes:g}-minutes" / name
        out.mkdir(parents=True, exist_ok=True)
        table(
            name, SETS[name](given.data), given.rows, given.seeds, out=out, minutes=given.minutes, example=given.example
        )


if __name__ == "__main__":
    main()
