"""Folders of pictures of which it is known what does not belong, for `prove_curation.py`, and pictures of a tar."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.drawing.scenes import draw_scene
from curator.encoders import PixelEncoder
from curator.training.classifier import head_features
from curator.training.engine import train
from curator.training.exporting import load_classifier
from curator.training.numbered import runs_in, start_run
from curator.training.pictures import Bytes, pictures_of, to_picture
from curator.training.trainers import TRAINERS, options_for

Features = Callable[[Bytes], np.ndarray]


@dataclass(frozen=True)
class World:
    """A folder of `clean`, `stranger`, `copy`, `trusted` and `held` (for preview) pictures, by sub-folders, and the
    judge's features.
    """

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


def fashion_world(data: Path, folder: Path, clean: int) -> World:
    """28 px garments, judged by a residual network trained on 20,000 others."""
    rng = np.random.default_rng(0)
    stored = np.load(data / "fashion_mnist.npz")
    order = rng.permutation(len(stored["train_images"]))
    pictures = stored["train_images"][order]
    labels = stored["train_labels"][order].astype(np.int64)
    judge = pictures_of(pictures[-20_000:], labels[-20_000:], [str(n) for n in stored["label_names"]])
    options = options_for(
        "classifier",
        {"side": 28, "net": "resnet", "width": 16, "images": 120_000, "every": 120_000, "augment": ("flip",)},
    )
    earlier = [r for r in runs_in(folder.parent / "judge") if r.state["status"] == "finished"]
    run = earlier[0] if earlier else start_run(folder.parent / "judge", options, judge)
    if not earlier:
        train(run, TRAINERS["classifier"].make, judge, lambda p: p.reshape(len(p), -1).astype(np.float32))
    print(f"judge: {1 - run.rows('metrics.jsonl')[-1]['error']:.1%} of held-out labels right", flush=True)
    features = partial(head_features, load_classifier(run))
    grey = [Image.fromarray(p) for p in pictures[: clean + 300]]
    others = stored["test_images"][rng.permutation(len(stored["test_images"]))[:3_000], None]
    fill(folder, Parts(grey[:clean], grey[clean:], [Image.fromarray(o[0]) for o in others[2_000:]]), 28, "L", rng)
    return World(folder, features, features(others[:2_000]), int(0.7 * clean))


def colour_world(data: Path, folder: Path, clean: int) -> World:
    """32 px photos of garments, with emoji among the strangers, judged by 8 × 8 pixels."""
    rng = np.random.default_rng(1)
    photos = unpacked(data / "clothing.tar", folder.parent, ".jpg", 32)
    order = rng.permutation(len(photos))
    photos = [photos[i] for i in order]
    others = photos[clean + 300 :]
    emoji = tuple(unpacked(data / "noto_emoji.tar", folder.parent, ".png", 32))
    fill(folder, Parts(photos[:clean], photos[clean : clean + 300], others[1_000:2_000], emoji), 32, "RGB", rng)
    encoder = PixelEncoder()

    def features(p: Bytes) -> np.ndarray:
        return encoder.encode_images([to_picture(q) for q in p])

    pixels = np.stack([np.asarray(p).transpose(2, 0, 1) for p in others[:1_000]])
    return World(folder, features, features(pixels), int(0.7 * clean))


def unpacked(archive: Path, folder: Path, suffix: str, side: int) -> list[Image.Image]:
    """Pictures of a tar, reduced to a square."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    files = sorted((folder / archive.stem).rglob(f"*{suffix}"))
    return [Image.open(f).convert("RGB").resize((side, side), Image.Resampling.LANCZOS) for f in files]


def fill(world: Path, given: Parts, side: int, mode: str, rng: np.random.Generator) -> None:
    """Write the sub-folders, all or none, unless they are there."""
    if world.is_dir():
        return
    beside = world.with_name(f".{world.name}")
    shutil.rmtree(beside, ignore_errors=True)
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
        (beside / name).mkdir(parents=True)
        for i, picture in enumerate(pictures):
            picture.convert(mode).resize((side, side), Image.Resampling.LANCZOS).save(beside / name / f"{i:05d}.png")
    beside.rename(world)


def noisy(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A copy as another program would save it."""
    pixels = np.asarray(picture, np.float32)
    return Image.fromarray(np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8))
