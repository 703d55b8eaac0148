"""Measure the `small` encoder on what it never saw: validation photos, classes held out wholly, words held out.

    python scripts/measure_small_clip.py --data ../shared/data [--encoder small | --checkpoint FILE]

`--checkpoint` measures the moving average of a training that still runs. Every number is of validation photos; a class
"held out" had no photo in training, its name is known from the word list alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from machine import describe_machine
from open_clip.model import CLIP
from PIL import Image
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from small_data import CONTEXT, Words, is_held_out_class, photo_rows, photos
from train_small_clip import CONFIG, PLACE, encode_texts

from curator.encoders import load_encoder
from curator.encoders.preprocess import Preprocess
from curator.encoders.tokenizer import Tokenizer

PROMPTS = ("a photo of a {}", "{}", "a picture of a {}")
Encode = Callable[[Sequence[Image.Image]], np.ndarray]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def of_checkpoint(file: Path) -> tuple[Encode, Callable[[Sequence[str]], np.ndarray]]:
    """Encoders of pictures and of texts from the moving average in a checkpoint."""
    stored = json.loads(CONFIG.read_text())
    parts = stored["model_cfg"]
    model = CLIP(parts["embed_dim"], parts["vision_cfg"], parts["text_cfg"])
    state = {k.removeprefix("mean."): v for k, v in load_file(file).items() if k.startswith("mean.")}
    model.load_state_dict(state)
    model.eval()
    shape = Preprocess.from_open_clip(stored["preprocess_cfg"] | {"size": parts["vision_cfg"]["image_size"]})
    mean, std = torch.tensor(shape.mean).view(3, 1, 1), torch.tensor(shape.std).view(3, 1, 1)

    def images(pictures: Sequence[Image.Image]) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(np.stack([shape(p) for p in pictures])).permute(0, 3, 1, 2).float() / 255
            return unit(model.encode_image((x - mean) / std).numpy())

    def texts(lines: Sequence[str]) -> np.ndarray:
        with torch.inference_mode():
            return encode_texts(model, torch.from_numpy(Tokenizer(CONTEXT)(lines))).numpy()

    return images, texts


def in_blocks(images: Encode, pictures: Sequence[Image.Image]) -> np.ndarray:
    return np.concatenate([images(pictures[i : i + 256]) for i in range(0, len(pictures), 256)])


def print_zero_shot(x: np.ndarray, axes: np.ndarray, truth: np.ndarray, hidden: np.ndarray) -> None:
    print("\n| validation photos | photos | classes | top-1 | top-5 | chance of top-5 |\n|---|--:|--:|--:|--:|--:|")
    for name, rows, columns in (
        ("all classes", np.ones(len(x), bool), np.ones(len(axes), bool)),
        ("classes trained on", ~hidden[truth], ~hidden),
        ("classes held out, among those", hidden[truth], hidden),
    ):
        number = np.flatnonzero(columns)
        order = number[np.argsort(-(x[rows] @ axes[columns].T), axis=1)[:, :5]]
        right = order == truth[rows][:, None]
        shares = f"{right[:, 0].mean():.1%} | {right.any(1).mean():.1%} | {min(1.0, 5 / columns.sum()):.1%}"
        print(f"| {name} | {rows.sum()} | {columns.sum()} | {shares} |")


def print_searches(x: np.ndarray, axes: np.ndarray, truth: np.ndarray) -> None:
    asked = np.flatnonzero(np.bincount(truth, minlength=len(axes)) >= 10)
    best = np.argsort(-(axes[asked] @ x.T), axis=1)[:, :10]
    share = (truth[best] == asked[:, None]).mean()
    print(f"\ntext search, precision@10 over {len(asked)} classes with ten pictures: {share:.3f}")
    near = np.argsort(-(x @ x.T) + 9 * np.eye(len(x)), axis=1)[:, :10]
    print(f"picture search, precision@10: {(truth[near] == truth[:, None]).mean():.3f}")


def print_crops(images: Encode, pictures: Sequence[Image.Image], x: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    crops = []
    for picture in pictures[:1000]:
        side = rng.uniform(0.4, 0.6)
        w, h = int(picture.width * side), int(picture.height * side)
        left, top = int(rng.integers(picture.width - w + 1)), int(rng.integers(picture.height - h + 1))
        crops.append(picture.crop((left, top, left + w, top + h)))
    y = in_blocks(images, crops)
    found = np.argsort(-(y @ x.T), axis=1)[:, :10] == np.arange(len(y))[:, None]
    print(f"crops of 40 to 60 % of the side to their photos, recall@10: {found.any(1).mean():.3f}")


def print_probe(images: Encode, data: Path) -> None:
    """Ten everyday classes at 32 px: the photos of imagenette, learnt from its training part, which taught `small`."""
    parts: dict[str, tuple[list[Image.Image], list[str]]] = {"train": ([], []), "validation": ([], [])}
    for row, picture in photo_rows(data):
        if row["source"] == "imagenette" and row["split"] in parts:
            parts[row["split"]][0].append(picture.resize((32, 32), Image.Resampling.BOX))
            parts[row["split"]][1].append(row["label"])
    (learnt, names), (asked, truth) = parts["train"], parts["validation"]
    probe = LogisticRegression(C=10, max_iter=2_000).fit(in_blocks(images, learnt), names)
    share = (probe.predict(in_blocks(images, asked)) == np.array(truth)).mean()
    print(f"linear probe at 32 px, {len(set(names))} classes, {len(learnt)} → {len(asked)} photos: {share:.1%}")


def print_words(texts: Callable[[Sequence[str]], np.ndarray], words: Words) -> None:
    asked = words.held_out()
    t = np.concatenate([texts(words.words[i : i + 4096]) for i in range(0, len(words.words), 4096)])
    t = unit(t[:, :PLACE] if t.shape[1] > PLACE else t)
    right = []
    for word in asked:
        row = words.place[word]
        true = np.argsort(-(words.vectors @ words.vectors[row]))[1:11]
        near = np.argsort(-(t @ t[row]))[:2]
        right.append(next(int(i) for i in near if i != row) in set(true.tolist()))
    print(f"words held out ({len(asked)}): the nearest other word is one of the true ten for {np.mean(right):.1%}")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--encoder", default="small")
    ask.add_argument("--checkpoint", type=Path)
    options = ask.parse_args()
    print(describe_machine())
    if options.checkpoint:
        images, texts = of_checkpoint(options.checkpoint)
    else:
        encoder = load_encoder(options.encoder)
        images, texts = encoder.encode_images, encoder.encode_texts
    pool = photos(options.data, "validation", held_out_too=True)
    pictures = [Image.fromarray(p) for p in pool.pictures]
    x = in_blocks(images, pictures)
    classes = sorted(set(pool.labels))
    axes = unit(np.mean([texts([p.format(c) for c in classes]) for p in PROMPTS], axis=0))
    truth = np.searchsorted(classes, np.array(pool.labels))
    print_zero_shot(x, axes, truth, np.array([is_held_out_class(c) for c in classes]))
    print_searches(x, axes, truth)
    print_crops(images, pictures, x)
    print_probe(images, options.data)
    print_words(texts, Words.load(options.data))


if __name__ == "__main__":
    main()
