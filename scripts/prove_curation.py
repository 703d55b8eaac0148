"""Whether curation pays: the bundled GAN and VAE, trained for a fixed budget on what each way of choosing takes from a
contaminated folder.

    python scripts/prove_curation.py --data ../shared/data --quick  # about half an hour on two cores
    python scripts/prove_curation.py --data ../shared/data  # two and a half times the pictures and budget, and a colour
    # set

The folder: clean pictures, and for each ten of them three that do not belong (half of them alike: one texture; half of
all kinds: pieces of photos and drawn scenes) and two copies, saved with noise. Each choice takes N of them in the space
of `tiny`; `all` takes everything, `oracle` knows which are clean. It trains a VAE and the default GAN (batches of 16,
so that it learns enough from few images) for the same number of images seen, by `--seeds`, two trainings at a time, of
one thread each. What they make is compared with clean held-out pictures in another space: the last features of a
classifier, trained here on other pictures, or for the colour set 8 × 8 pixels. `curator preview` is given other
held-out pictures. What is finished in `--out` is not done again.

Printed: means over seeds of Fréchet distance and coverage, the gain over a random choice of the same size with its 95 %
interval (Student's t over seeds; of two trainers and sixteen choices one or two are outside theirs by chance), and
Spearman's correlation of preview's ranking, by Fréchet distance and by precision (chosen after the first run on
Fashion-MNIST, so the colour set is its test), with that of training, with a 95 % interval by resampling choices and
seeds, beside the most that a forecast can be expected to reach: √r for the reliability r of a mean over seeds, by
Spearman and Brown's formula from one seed's correlation with another.

Fashion-MNIST needs `fashion_mnist.npz`, the colour set `clothing.tar` and `noto_emoji.tar`. `tiny` was trained on about
half of these pictures of Fashion-MNIST and on most of the clothing and the emoji (see `train_tiny_clip.py`), so it
knows them better than a stranger's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contaminated import World, colour_world, fashion_world
from machine import describe_machine
from numpy.typing import NDArray
from scipy.stats import spearmanr, t

from curator.database import Selections
from curator.encoders import load_encoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.metrics import frechet_distance, manifold
from curator.runs.train import plan_training, train_on
from curator.selection.preview import preview
from curator.selection.recipe import Recipe
from curator.selection.select import select
from curator.selection.sets import listed
from curator.training.generator import load_generator
from curator.training.parts import generated

WORKER: dict[str, Any] = {}  # of a process: the world, the index, images seen
POOL = "label IN ('clean', 'stranger', 'copy')"
TRUSTED = "label = 'trusted'"
BY = (
    "k-center", "facility-location", "herding", "balanced", "hierarchical", "importance", "typicality", "uniqueness",
    "density",
    "density-ppca", "density-knn", "match", "match * facility-location",
)  # fmt: skip
BUDGET = {"gan": 1.5, "vae": 1.0}  # of images seen
GIVEN: dict[str, dict[str, Any]] = {"gan": {"batch": 16}, "vae": {}}


def main() -> None:
    """Make the worlds, judge every choice, print the tables and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("proof"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, of one thread each")
    parser.add_argument("--worlds", nargs="+", choices=("fashion", "colour"))
    given = parser.parse_args()
    clean, images = (1_500, 20_000) if given.quick else (4_000, 50_000)
    print(describe_machine() + "\n", flush=True)
    found = {}
    for name in given.worlds or (["fashion"] if given.quick else ["fashion", "colour"]):
        place = Place(given.data, given.out, clean if name == "fashion" else 1_500, given.seeds, given.processes)
        found[name] = run_world(name, place, images)
    draw(found, given.out / "curation.png")
    print(f"\nPlot: {given.out / 'curation.png'}")


@dataclass(frozen=True)
class Place:
    """Where data is, where results go, and how many clean pictures, seeds and processes there are."""

    data: Path
    out: Path
    clean: int
    seeds: int
    processes: int

    def world(self, name: str) -> World:
        """Made, or read again."""
        make = {"fashion": fashion_world, "colour": colour_world}[name]
        return make(self.data, self.out / f"{name}-{self.clean}", self.clean)


def recipes_for(n: int, seed: int) -> dict[str, Recipe]:
    """Recipes by name; the reference, where one is asked for, is 300 trusted pictures."""
    takes = {"importance", "match", "match * facility-location"}
    found = {
        "all": Recipe(where=POOL, dedupe="none"),
        "random": Recipe(where=POOL, n=n, dedupe="none", seed=seed),
        "random, no duplicates": Recipe(where=POOL, n=n, dedupe="verified", seed=seed),
    }
    chosen = {
        by: Recipe(where=POOL, n=n, by=by, dedupe="verified", reference=TRUSTED if by in takes else None, seed=seed)
        for by in BY
    }
    return found | chosen


def run_world(name: str, place: Place, images: int) -> dict[str, Any]:
    """Choose in every way, train, judge; print its table."""
    began = time.monotonic()
    world = place.world(name)
    rows = Rows(place.out / f"{world.folder.name}-{images}.jsonl")
    home = place.out / f"index-{world.folder.name}"
    with Index.open(str(home)) if home.is_dir() else Index.create(home) as index:
        ingest(index, [world.folder], load_encoder("tiny"), IngestOptions(label_from="folder"))
        chosen = [choose(index, world.choose, seed) for seed in range(place.seeds)]
        names = list(chosen[0])
        digest = {n: Selections(index.reader).get(n).digest for of in chosen for n in of.values()}
        different = {d: n for n, d in digest.items()}  # most choose the same whatever the seed
        found = {
            r.name: {"FD": r.frechet, "precision": r.precision}
            for r in preview(index, list(different.values()), "label = 'held'")
        }
        kinds = {s: contents(index, [of[s] for of in chosen]) for s in names}
    jobs = [
        {"selection": n, "trainer": t, "seed": seed}
        for seed, of in enumerate(chosen)
        for n in of.values()
        for t in BUDGET
    ]
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes; torch.set_num_threads(1) is five times slower here
    with get_context("spawn").Pool(place.processes, begin, (name, place, home, images)) as pool:
        for row in pool.imap_unordered(judge, [job for job in jobs if not rows.find(job)]):
            rows.add(row)
    ranked = {
        number: {s: float(np.mean([found[different[digest[of[s]]]][number] for of in chosen])) for s in names}
        for number in ("FD", "precision")
    }
    scores = {
        s: {
            t: [(r["fd"], r["coverage"]) for of in chosen for r in rows.find({"selection": of[s], "trainer": t})]
            for t in BUDGET
        }
        for s in names
    }
    done = {"names": names, "kinds": kinds, "scores": scores, "preview": ranked}
    report(f"{name}, {(time.monotonic() - began) / 60:.0f} min", done)
    return done


def choose(index: Index, n: int, seed: int) -> dict[str, str]:
    """Choose in every way, unless it is done → the selections' names."""
    known = Selections(index.reader).names()
    names = {}
    for choice, recipe in recipes_for(n, seed).items():
        names[choice] = f"{re.sub(r'[^a-z]+', '-', choice)}-{seed}"
        if names[choice] not in known:
            select(index, names[choice], recipe)
    names["oracle"] = f"oracle-{seed}"
    if names["oracle"] not in known:
        order = np.random.default_rng(seed).permutation(index.reader.ids_where("label = 'clean'"))
        listed(index, names["oracle"], order[:n].tolist(), {"made_by": "oracle"})
    return names


class Rows:
    """Lines of JSON in a file, kept as they come."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []

    def find(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """Those of a job."""
        return [r for r in self.rows if job.items() <= r.items()]

    def add(self, row: dict[str, Any]) -> None:
        """Keep and print one."""
        self.rows.append(row)
        with self.file.open("a") as out:
            out.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def contents(index: Index, selections: list[str]) -> dict[str, float]:
    """How many images a selection has, and the shares of strangers and copies, over all of them."""
    labels = [i.label for name in selections for i in index.images(Selections(index.reader).get(name).ids)]
    shares = {kind: labels.count(kind) / len(labels) for kind in ("stranger", "copy")}
    return {"n": len(labels) // len(selections)} | shares


def begin(name: str, place: Place, home: Path, images: int) -> None:
    """What a process needs for its jobs, once."""
    WORKER.update(world=place.world(name), index=Index.open(str(home)), images=images)


def judge(job: dict[str, Any]) -> dict[str, Any]:
    """Train → the job with Fréchet distance and coverage of as many pictures as are held out."""
    index, world, trainer = WORKER["index"], WORKER["world"], job["trainer"]
    images = round(BUDGET[trainer] * WORKER["images"])
    given = GIVEN[trainer] | {"images": images, "every": images, "seed": job["seed"], "holdout": 0.0}
    run, _ = train_on(index, plan_training(index, trainer, job["selection"], given))
    generator = load_generator(run, "latest")
    sampler = generator.samplers[0]
    z = torch.from_numpy(np.stack([generator.latent(i, sampler=sampler) for i in range(len(world.held))]))
    x = world.features(
        generated(generator.network, (z, torch.zeros((len(z), 0))), torch.device("cpu"), generator.shape.border)
    )
    shutil.rmtree(run.folder)
    return job | {
        "fd": round(frechet_distance(x, world.held), 3),
        "coverage": round(manifold(x, world.held).coverage, 4),
    }


def gain(ours: list[tuple[float, float]], random: list[tuple[float, float]]) -> tuple[float, float]:
    """Of the Fréchet distance over a random choice, in percent, and half its 95 % interval; seeds are paired."""
    parts = np.array([100 * (1 - a[0] / b[0]) for a, b in zip(ours, random, strict=True)])
    return float(parts.mean()), float(t.ppf(0.975, len(parts) - 1) * parts.std(ddof=1) / np.sqrt(len(parts)))


def report(title: str, done: dict[str, Any]) -> None:
    """The table of a world, and how well preview foretold it."""
    names, kinds, scores, ranked = (done[k] for k in ("names", "kinds", "scores", "preview"))
    print(f"\n{title}\n")
    heads = [
        "choice",
        "n",
        "strangers",
        "copies",
        "preview's FD",
        "precision",
        *(f"{t} {h}" for t in ("GAN", "VAE") for h in ("FD", "gain", "coverage")),
    ]
    print("| " + " | ".join(heads) + " |")
    print("|---|" + "--:|" * (len(heads) - 1))
    for s in names:
        cells = []
        for trainer in BUDGET:
            values = np.array(scores[s][trainer])
            middle, half = gain(scores[s][trainer], scores["random"][trainer])
            cells += [
                f"{values[:, 0].mean():.3g}",
                "–" if s == "random" else f"{middle:+.0f} ± {half:.0f} %",
                f"{values[:, 1].mean():.3f}",
            ]
        k = kinds[s]
        print(
            f"| {s} | {k['n']} | {k['stranger']:.0%} | {k['copy']:.0%} | {ranked['FD'][s]:.4f} | "
            f"{ranked['precision'][s]:.3f} | " + " | ".join(cells) + " |"
        )
    for trainer in BUDGET:
        fd = np.array([[v[0] for v in scores[s][trainer]] for s in names])  # (choices, seeds)
        seeds = fd.shape[1]
        between = np.mean([spearmanr(fd[:, a], fd[:, b]).statistic for a in range(seeds) for b in range(a)])
        most = np.sqrt(max(0.0, seeds * between / (1 + (seeds - 1) * between)))
        print(f"\nSpearman with the {trainer}'s FD, of which at most {most:.2f} is to be expected:")
        for number, sign in (("FD", 1), ("precision", -1)):
            value, low, high = correlation(sign * np.array([ranked[number][s] for s in names]), fd)
            print(f"- preview's {number}: {value:.2f} ({low:.2f} to {high:.2f})")


def correlation(foretold: NDArray[np.float64], fd: NDArray[np.float64]) -> tuple[float, float, float]:
    """Spearman's of a forecast (choices,) and means of (choices, seeds), with a 95 % interval by resampling both."""
    rng = np.random.default_rng(0)
    again = []
    for _ in range(2_000):
        rows, columns = rng.integers(0, len(fd), len(fd)), rng.integers(0, fd.shape[1], fd.shape[1])
        again.append(spearmanr(foretold[rows], fd[rows][:, columns].mean(1)).statistic)
    low, high = np.nanquantile(again, (0.025, 0.975))
    return float(spearmanr(foretold, fd.mean(1)).statistic), float(low), float(high)


def draw(found: dict[str, dict[str, Any]], target: Path) -> None:
    """Preview's distance against training's, a panel for each world and trainer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4 * len(found)), layout="constrained")
    for row, (world, f) in enumerate(found.items()):
        for column, trainer in enumerate(BUDGET):
            axes = figure.add_subplot(len(found), 2, 2 * row + column + 1)
            for s in f["names"]:
                values = [v[0] for v in f["scores"][s][trainer]]
                axes.errorbar(f["preview"]["FD"][s], np.mean(values), yerr=np.ptp(values) / 2, fmt="o", capsize=3)
                axes.annotate(
                    s, (f["preview"]["FD"][s], np.mean(values)), fontsize=8, xytext=(4, 4), textcoords="offset points"
                )
            axes.set_xlabel("preview: FD of the selection, space of tiny")
            axes.set_ylabel(f"FD of what the {trainer} makes, judge's space")
            axes.set_title(f"{world}, {trainer}")
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
