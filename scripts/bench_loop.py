"""Whether the loop pays: `curator loop` on Fashion-MNIST, round by round, by several seeds.

python scripts/bench_loop.py --data ../shared/data

A selection of REAL labelled pictures of 28 px, of which the loop trains on seven tenths; a classifier trained on 5,000
others vouches, 15 % of the selection score. Every round trains a DCGAN anew (batches of 16), for the same number of
images seen. Printed: a row for each round and seed, numbers in the space of `tiny` with half their 95 % interval; and
what as many real pictures in place of the admitted ones give in each round (row `more real`), trained for as long.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from machine import describe_machine
from PIL import Image

from curator.database import Selections
from curator.encoders import load_encoder
from curator.evaluation.evaluate import EvaluateOptions, evaluate
from curator.evaluation.sides import sides_of
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.loop import LoopOptions, Round, loop
from curator.loop.records import SCORE, TRAIN
from curator.runs.generate import Asked, generate
from curator.runs.train import plan_training, train_on
from curator.selection.sets import listed

REAL, TAUGHT = 2_000, 5_000
HEADS = (
    "seed",
    "round",
    "real",
    "generated",
    "of 1,000 made admitted",
    "coverage",
    "recall",
    "precision",
    "Fréchet distance",
)


def main() -> None:
    """Run the loops and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=40_000)
    given = parser.parse_args()
    print(describe_machine() + "\n")
    print("| " + " | ".join(HEADS) + " |\n|--:|" + "--:|" * (len(HEADS) - 1))
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        write(given.data, home / "fashion")
        with Index.create(home / "index") as index:
            ingest(index, [home / "fashion"], load_encoder("tiny"), IngestOptions(label_from="folder"))
            order = np.random.default_rng(0).permutation(index.reader.ids_where("1")).tolist()
            listed(index, "taught", order[REAL : REAL + TAUGHT], {"made_by": "bench_loop"})
            judge, _ = train_on(
                index, plan_training(index, "classifier", "taught", {"images": 100_000, "net": "resnet", "width": 16})
            )
            for seed in range(given.seeds):
                name = f"pool-{seed}"
                listed(index, name, order[:REAL], {"made_by": "bench_loop"})
                gan = {"preset": "dcgan", "batch": 16, "images": given.images, "every": given.images}
                done = loop(index, name, judge, LoopOptions(given.rounds, 1_000, 0.9, seed, gan))
                for r in done.rounds:
                    show(seed, r)
                spare = order[REAL + TAUGHT :]
                for r in done.rounds[1:]:
                    show(seed, more_real(index, name, r, spare[: r.generated], gan | {"seed": seed}))


def write(data: Path, folder: Path) -> None:
    """Pictures in folders of their label: the pool, what the classifier learns from, and some to spare."""
    stored = np.load(data / "fashion_mnist.npz")
    images, labels, names = (stored[key] for key in ("train_images", "train_labels", "label_names"))
    for i in np.random.default_rng(0).permutation(len(images))[: 2 * REAL + TAUGHT].tolist():
        place = folder / str(names[labels[i]]).replace("/", "-")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(place / f"{i:05d}.png")


def more_real(index: Index, name: str, of: Round, spare: list[int], gan: dict[str, object]) -> Round:
    """The round with as many other real pictures in place of the generated ones."""
    ids = [*Selections(index.reader).get(f"{name}-{TRAIN}").ids.tolist(), *spare]
    chosen = listed(index, f"{name}-more-{of.number}", ids, {"made_by": "bench_loop"})
    run, _ = train_on(index, plan_training(index, "gan", chosen.name, gan | {"holdout": 0.0, "condition": "label"}))
    generate(index, run, Asked(of.made, seed=int(str(gan["seed"])) + of.number * 1_000_000))
    found = evaluate(index, sides_of(index, run.name, f"{name}-{SCORE}"), EvaluateOptions(("manifold", "frechet")))
    return Round(of.number, "more real", len(ids), 0, of.made, 0, {}, found.intervals(of.numbers))


def show(seed: int, r: Round) -> None:
    """One row."""
    cells = " | ".join(f"{value:.3f} ± {high - value:.3f}" for value, _, high in r.numbers.values())
    admitted = "–" if r.run == "more real" else f"{r.admitted}"
    number = f"{r.number}, more real" if r.run == "more real" else f"{r.number}"
    print(f"| {seed} | {number} | {r.real} | {r.generated} | {admitted} | {cells} |", flush=True)
    if r.refused:
        print(f"  refused: {dict(r.refused)}", flush=True)


if __name__ == "__main__":
    main()
