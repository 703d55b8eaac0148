"""Measure the bundled `tiny` encoder on held-out splits: the numbers of its model card.

python scripts/measure_tiny_clip.py --data ../shared/data [--encoder tiny]
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import describe_machine
from PIL import Image
from train_tiny_clip import Pool, clothing, digits, fashion, grocery, icons, members, open_picture, scenes

from curator.encoders import Encoder, load_encoder

BLOCK = 256


def encode(encoder: Encoder, pictures: list[Image.Image]) -> np.ndarray:
    return np.concatenate([encoder.encode_images(pictures[i : i + BLOCK]) for i in range(0, len(pictures), BLOCK)])


def recall(encoder: Encoder, pool: Pool) -> tuple[float, float, int]:
    """Text→image recall@1 and @10 over the pool's distinct captions; any image of the same caption counts."""
    x = encode(encoder, [Image.fromarray(p) for p in pool.pictures])
    captions = [c[0] for c in pool.captions]
    texts = sorted(set(captions))
    scores = encoder.encode_texts(texts) @ x.T
    order = np.argsort(-scores, axis=1)[:, :10]
    right = np.array([[captions[i] == t for i in row] for t, row in zip(texts, order, strict=True)])
    return float(right[:, 0].mean()), float(right.any(1).mean()), len(texts)


def zero_shot(
    encoder: Encoder, pool: Pool, label: Callable[[tuple[str, ...]], str], prompts: tuple[str, ...]
) -> tuple[float, int]:
    """Accuracy of the nearest class by the mean of its prompts' vectors."""
    labels = [label(c) for c in pool.captions]
    classes = sorted(set(labels))
    towers = np.stack([encoder.encode_texts([p.format(c) for p in prompts]).mean(0) for c in classes])
    towers /= np.linalg.norm(towers, axis=1, keepdims=True)
    x = encode(encoder, [Image.fromarray(p) for p in pool.pictures])
    guessed = np.argmax(x @ towers.T, axis=1)
    return float(np.mean([classes[g] == t for g, t in zip(guessed, labels, strict=True)])), len(classes)


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def crop(picture: Image.Image, share: float) -> Image.Image:
    """The middle, `share` of each side."""
    w, h = picture.size
    dx, dy = int(w * (1 - share) / 2), int(h * (1 - share) / 2)
    return picture.crop((dx, dy, w - dx, h - dy))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized to half": lambda p: p.resize((max(8, p.width // 2), max(8, p.height // 2)), Image.Resampling.BICUBIC),
    "JPEG quality 30": lambda p: jpeg(p, 30),
    "cropped to 90 % of each side": lambda p: crop(p, 0.9),
    "cropped to 75 % of each side": lambda p: crop(p, 0.75),
}


def near_duplicates(encoder: Encoder, pictures: list[Image.Image]) -> dict[str, float]:
    """How often a changed picture's nearest neighbour among all originals is its own."""
    x = encode(encoder, pictures)
    return {
        name: float(
            (np.argmax(encode(encoder, [change(p) for p in pictures]) @ x.T, axis=1) == np.arange(len(x))).mean()
        )
        for name, change in CHANGES.items()
    }


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--encoder", default="tiny")
    options = ask.parse_args()
    encoder, data = load_encoder(options.encoder), options.data
    print(describe_machine())
    started = time.time()
    print("\n| text → image, held-out | captions | recall@1 | recall@10 |\n|---|--:|--:|--:|")
    pools = {
        "drawn scenes (new seed)": scenes(1000, seed=2),
        "emoji, held-out names": icons(data, "noto_emoji", "an emoji", "test"),
        "game tiles, held-out names": icons(data, "dcss_tiles", "pixel art", "test"),
    }
    for name, pool in pools.items():
        one, ten, count = recall(encoder, pool)
        print(f"| {name} | {count} | {one:.1%} | {ten:.1%} |", flush=True)
    photo = ("a photo of a {}", "{}", "a {}")
    print("\n| zero-shot, held-out | classes | images | accuracy |\n|---|--:|--:|--:|")
    tests: tuple[tuple[str, Pool, Callable[[tuple[str, ...]], str], tuple[str, ...]], ...] = (
        ("clothing (test)", clothing(data, "test"), lambda c: c[1], photo),
        ("Fashion-MNIST (test)", fashion(data, "test"), lambda c: c[2], ("a grayscale picture of a {}", "a {}", "{}")),
        (
            "grocery, coarse (test)",
            grocery(data, "test"),
            lambda c: c[4],
            ("a photo of {}", "{}", "{} in a grocery store"),
        ),
        (
            "scikit-learn digits (last 500)",
            digits("test"),
            lambda c: c[3][2:],
            ("a handwritten digit {}", "the digit {}"),
        ),
    )
    for name, pool, label, prompts in tests:
        accuracy, classes = zero_shot(encoder, pool, label, prompts)
        print(f"| {name} | {classes} | {len(pool.keys)} | {accuracy:.1%} |", flush=True)
    photos = [open_picture(raw) for row, raw in members(data, "clothing", "labels.csv") if row["split"] == "test"]
    photos += [open_picture(raw) for row, raw in members(data, "grocery", "labels.csv") if row["split"] == "test"][::2]
    print(f"\n| near-duplicates among {len(photos)} held-out photos | recall@1 |\n|---|--:|")
    for name, share in near_duplicates(encoder, photos).items():
        print(f"| {name} | {share:.1%} |", flush=True)
    print(f"\n{time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
