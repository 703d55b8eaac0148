"""Whether curation pays: the bundled GAN and VAE, trained for a fixed budget on what each strategy chooses from a contaminated folder.

    python scripts/prove_curation.py --data ../shared/data --quick      # under half an hour on two cores
    python scripts/prove_curation.py --data ../shared/data              # three times the budget, and a colour set as well

The folder: clean pictures, and for each ten of them three that do not belong (half of them alike: one texture; half of all kinds: pieces
of photos and drawn scenes) and two copies, saved with noise. Strategies choose N of them in the space of `tiny`; `all` takes everything,
`oracle` knows which are clean. Each choice trains a VAE and a GAN for the same number of images seen, by three seeds. What they make is
compared with clean held-out pictures in another space: the last features of a classifier, trained here on other pictures, or for the
colour set 8 × 8 pixels. Printed: means over seeds of Fréchet distance and coverage, the gain over a random choice of the same size with its
95 % interval (Student's t over seeds), and Spearman's correlation of `curator preview`'s ranking with that of training. Fashion-MNIST needs
`fashion_mnist.npz`, the colour set `clothing.tar` and `noto_emoji.tar`.
"""

from __future__ import annotations

import argparse
import json
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import spearmanr, t

from curator.curate.preview import preview
from curator.curate.recipe import Recipe
from curator.curate.select import select
from curator.curate.sets import listed
from curator.encoders import PixelEncoder, load_encoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.metrics import frechet_distance, manifold
from curator.scenes import draw_scene
from curator.train import plan_training, train_on
from curator.training.engine import train
from curator.training.exporting import load_classifier
from curator.training.folder import start_run
from curator.training.gan import generated
from curator.training.maker import load_maker
from curator.training.options import options_for
from curator.training.pictures import Bytes, pictures_of, to_picture, to_unit
from curator.training.trainers import TRAINERS

SEEDS = 3
Features = Callable[[Bytes], np.ndarray]


@dataclass(frozen=True)
class World:
    """A folder of `clean`, `stranger`, `copy`, `trusted` and `held` pictures, by the names of sub-folders, and the judge's features."""

    folder: Path
    features: Features
    held: NDArray[np.float32]  # features of the pictures held out for judging
    choose: int


@dataclass(frozen=True)
class Parts:
    """What a folder is filled from; `strangers` beside the pieces of photos."""

    clean: list[Image.Image]
    trusted: list[Image.Image]
    held: list[Image.Image]
    strangers: tuple[Image.Image, ...] = ()


def main() -> None:
    """Make the worlds, run every strategy, print the tables and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--plot", type=Path, default=Path("curation.png"))
    given = parser.parse_args()
    clean, budget = (1_500, {"gan": 25_000, "vae": 20_000}) if given.quick else (4_000, {"gan": 100_000, "vae": 100_000})
    print(describe_machine() + "\n", flush=True)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        worlds = {"fashion": lambda: fashion_world(given.data, home / "fashion", clean)}
        if not given.quick:
            worlds["colour"] = lambda: colour_world(given.data, home / "colour", 1_500)
        for name, make in worlds.items():
            found[name] = run_world(name, make(), home / f"index-{name}", budget)
    draw(found, given.plot)
    print(f"\nPlot: {given.plot}")


def fashion_world(data: Path, folder: Path, clean: int) -> World:
    """28 px garments, judged by a residual network trained on 20,000 others."""
    rng = np.random.default_rng(0)
    stored = np.load(data / "fashion_mnist.npz")
    order = rng.permutation(len(stored["train_images"]))
    pictures = stored["train_images"][order]
    labels = stored["train_labels"][order].astype(np.int64)
    judge = pictures_of(pictures[-20_000:], labels[-20_000:], [str(n) for n in stored["label_names"]])
    options = options_for(
        "classifier", {"side": 28, "net": "resnet", "width": 16, "images": 120_000, "every": 120_000, "augment": ("flip",)}
    )
    run = start_run(folder.parent / "judge", options, judge)
    train(run, TRAINERS["classifier"], judge, lambda p: p.reshape(len(p), -1).astype(np.float32))
    network: Any = load_classifier(run)
    print(f"judge: {1 - run.rows('metrics.jsonl')[-1]['error']:.1%} of held-out labels right", flush=True)

    def features(pixels: Bytes) -> np.ndarray:
        with torch.no_grad():
            return torch.cat([network.features(to_unit(torch.from_numpy(pixels[i : i + 500]))) for i in range(0, len(pixels), 500)]).numpy()

    grey = [Image.fromarray(p) for p in pictures[: clean + 300]]
    held = stored["test_images"][:2_000, None]
    fill(folder, Parts(grey[:clean], grey[clean:], [Image.fromarray(h[0]) for h in held[:1_000]]), 28, "L", rng)
    return World(folder, features, features(held), int(0.7 * clean))


def colour_world(data: Path, folder: Path, clean: int) -> World:
    """32 px photos of garments, with emoji among the strangers, judged by 8 × 8 pixels."""
    rng = np.random.default_rng(1)
    photos = unpacked(data / "clothing.tar", folder.parent, ".jpg", 32)
    order = rng.permutation(len(photos))
    photos = [photos[i] for i in order]
    held = photos[clean + 300 : clean + 300 + 1_500]
    emoji = tuple(unpacked(data / "noto_emoji.tar", folder.parent, ".png", 32))
    fill(folder, Parts(photos[:clean], photos[clean : clean + 300], held[:1_000], emoji), 32, "RGB", rng)
    encoder = PixelEncoder()

    def features(p: Bytes) -> np.ndarray:
        return encoder.encode_images([to_picture(q) for q in p])

    pixels = np.stack([np.asarray(p).transpose(2, 0, 1) for p in held])
    return World(folder, features, features(pixels), int(0.7 * clean))


def unpacked(archive: Path, folder: Path, suffix: str, side: int) -> list[Image.Image]:
    """Pictures of a tar, reduced to a square."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    files = sorted((folder / archive.stem).rglob(f"*{suffix}"))
    return [Image.open(f).convert("RGB").resize((side, side), Image.Resampling.LANCZOS) for f in files]


def fill(world: Path, given: Parts, side: int, mode: str, rng: np.random.Generator) -> None:
    """Write the sub-folders."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(p) for p in load_sample_images().images]
    clean, odd = given.clean, given.strangers
    n = round(0.3 * len(clean))
    alike, varied = [], []
    for _ in range(n - n // 2):
        x, y = rng.integers(0, 60, 2)
        alike.append(photos[1].crop((200 + x, 200 + y, 280 + x, 280 + y)))  # one flower, a little to either side
    for i in range(n // 2):
        photo = photos[i % 2]
        x, y = rng.integers(0, (photo.width - 100, photo.height - 100))
        piece = photo.crop((x, y, x + 100, y + 100)) if i % 3 else draw_scene(rng, 96).picture
        varied.append(odd[i % len(odd)] if odd and i % 2 else piece)
    copied = [clean[i] for i in rng.choice(len(clean), round(0.2 * len(clean)))]
    parts = {
        "clean": clean,
        "stranger": alike + varied,
        "copy": [noisy(c, rng) for c in copied],
        "trusted": given.trusted,
        "held": given.held,
    }
    for name, pictures in parts.items():
        (world / name).mkdir(parents=True)
        for i, picture in enumerate(pictures):
            picture.convert(mode).resize((side, side), Image.Resampling.LANCZOS).save(world / name / f"{i:05d}.png")


def noisy(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A copy as another program would save it."""
    pixels = np.asarray(picture, np.float32)
    return Image.fromarray(np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8))


def run_world(name: str, world: World, place: Path, budget: dict[str, int]) -> dict[str, Any]:
    """Select by every strategy, train, judge; print its table."""
    began = time.monotonic()
    pool = "label IN ('clean', 'stranger', 'copy')"
    with Index.create(place) as index:
        ingest(index, [world.folder], load_encoder("tiny"), IngestOptions(label_from="folder"))
        strategies = {
            "all": Recipe(where=pool, dedupe="none"),
            "random": Recipe(where=pool, n=world.choose, dedupe="none"),
            "deduplicated": Recipe(where=pool, n=world.choose, dedupe="verified"),
            "k-center": Recipe(where=pool, n=world.choose, by="k-center", dedupe="verified"),
            "typicality": Recipe(where=pool, n=world.choose, by="typicality", dedupe="verified"),
            "density": Recipe(where=pool, n=world.choose, by="density", dedupe="verified"),
            "match": Recipe(where=pool, n=world.choose, by="match", reference="label = 'trusted'", dedupe="verified"),
        }
        for strategy, recipe in strategies.items():
            select(index, strategy, recipe)
        rng = np.random.default_rng(0)
        listed(index, "oracle", rng.permutation(index.reader.ids_where("label = 'clean'"))[: world.choose].tolist(), {"made_by": "oracle"})
        names = [*strategies, "oracle"]
        kinds = {s: contents(index, s) for s in names}
        ranked = {r.name: r.frechet for r in preview(index, names, "label = 'held'") if r.name in names}
        jobs = [(s, Job(trainer, images, seed)) for s in names for trainer, images in budget.items() for seed in range(SEEDS)]
        results = [(s, job.trainer, judge(index, world, s, job)) for s, job in jobs]
        scores = {s: {t: [r for n, k, r in results if (n, k) == (s, t)] for t in budget} for s in names}
    done = {"names": names, "kinds": kinds, "scores": scores, "preview": ranked}
    report(f"{name}, {(time.monotonic() - began) / 60:.0f} min", done)
    return done


def contents(index: Index, selection: str) -> dict[str, int]:
    """How many of a selection are strangers, and copies."""
    from curator.database import Selections

    labels = [i.label for i in index.images(Selections(index.reader).get(selection).ids)]
    return {"n": len(labels), "stranger": labels.count("stranger"), "copy": labels.count("copy")}


@dataclass(frozen=True)
class Job:
    """One training."""

    trainer: str
    images: int
    seed: int


def judge(index: Index, world: World, selection: str, job: Job) -> tuple[float, float]:
    """Train → (Fréchet distance, coverage) of as many pictures as are held out."""
    given = {"images": job.images, "every": job.images, "seed": job.seed, "holdout": 0.0}
    run, _ = train_on(index, plan_training(index, job.trainer, selection, given))
    maker = load_maker(run, "latest")
    sampler = maker.samplers[0]
    z = torch.from_numpy(np.stack([maker.latent(i, sampler=sampler) for i in range(len(world.held))]))
    x = world.features(generated(maker.network, z, torch.zeros((len(z), 0)), torch.device("cpu"), maker.shape.border))
    found = frechet_distance(x, world.held), manifold(x, world.held).coverage
    row = vars(job) | {"selection": selection, "fd": round(found[0], 3), "coverage": round(found[1], 4)}
    print(json.dumps(row), flush=True)
    return found


def gain(ours: list[tuple[float, float]], random: list[tuple[float, float]]) -> tuple[float, float]:
    """Of the Fréchet distance over a random choice, in percent, and half its 95 % interval; seeds are paired."""
    parts = np.array([100 * (1 - a[0] / b[0]) for a, b in zip(ours, random, strict=True)])
    return float(parts.mean()), float(t.ppf(0.975, len(parts) - 1) * parts.std(ddof=1) / np.sqrt(len(parts)))


def report(title: str, done: dict[str, Any]) -> None:
    """The table of a world, and how well preview foretold it."""
    names, kinds, scores, ranked = (done[k] for k in ("names", "kinds", "scores", "preview"))
    print(f"\n{title}\n")
    heads = [
        "strategy",
        "n",
        "strangers",
        "copies",
        "preview's FD",
        *(f"{t} {h}" for t in ("GAN", "VAE") for h in ("FD", "gain", "coverage")),
    ]
    print("| " + " | ".join(heads) + " |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for s in names:
        cells = []
        for trainer in ("gan", "vae"):
            values = np.array(scores[s][trainer])
            middle, half = gain(scores[s][trainer], scores["random"][trainer])
            cells += [f"{values[:, 0].mean():.2f}", "–" if s == "random" else f"{middle:+.0f} ± {half:.0f} %", f"{values[:, 1].mean():.3f}"]
        k = kinds[s]
        print(f"| {s} | {k['n']} | {k['stranger'] / k['n']:.0%} | {k['copy'] / k['n']:.0%} | {ranked[s]:.4f} | " + " | ".join(cells) + " |")
    for trainer in ("gan", "vae"):
        means = [float(np.mean([v[0] for v in scores[s][trainer]])) for s in names]
        print(f"\nSpearman of preview's FD and the {trainer}'s: {spearmanr([ranked[s] for s in names], means).statistic:.2f}")


def draw(found: dict[str, dict[str, Any]], target: Path) -> None:
    """Preview's distance against training's, a panel for each world and trainer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4 * len(found)), layout="constrained")
    for row, (world, f) in enumerate(found.items()):
        for column, trainer in enumerate(("gan", "vae")):
            axes = figure.add_subplot(len(found), 2, 2 * row + column + 1)
            for s in f["names"]:
                values = [v[0] for v in f["scores"][s][trainer]]
                axes.errorbar(f["preview"][s], np.mean(values), yerr=np.ptp(values) / 2, fmt="o", capsize=3)
                axes.annotate(s, (f["preview"][s], np.mean(values)), fontsize=8, xytext=(4, 4), textcoords="offset points")
            axes.set_xlabel("preview: FD of the selection, space of tiny")
            axes.set_ylabel(f"FD of what the {trainer} makes, judge's space")
            axes.set_title(f"{world}, {trainer}")
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
