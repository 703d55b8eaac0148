"""Train the bundled `tiny` encoder: a small CLIP for drawings, icons, digits, garments and visual similarity.

    python scripts/train_tiny_clip.py --data ../shared/data --fashion first
    python scripts/train_tiny_clip.py --data ../shared/data --start curator/encoders/tiny/open_clip_model.safetensors \
        --steps 1000 --lr 5e-4 --seed 1

Two runs, because the file of Fashion-MNIST is sorted by class and the first run took its first 20,000 images, which are
three classes; the second goes on from there with every third image (2026-11-23).

The loss is UniCL's (Yang et al. 2022, eq. 3–5): image–text contrast in which every pair of the same key is positive, so
that a thousand "dress" photos do not repel each other; plus InfoNCE between two augmented views (SimCLR, Chen et al.
2020, eq. 1), because most users of a small encoder look for images that look alike. Weights are an exponential moving
average, stored as fp16. Every random choice comes from `--seed`, and the number of steps is fixed, so a run on the same
machine type repeats.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import re
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from PIL import Image
from safetensors.torch import load_file, save_file

from curator.drawing.scenes import NUMBERS, draw_scene

STORED = 80  # side, in pixels, at which training images wait in memory
PHOTO, ICON, DRAWN = 0, 1, 2  # which augmentation an image may get


@dataclass
class Pool:
    """Images of one source with their captions: `pictures` (n, side, side, 3) uint8; equal keys are positives."""

    name: str
    kind: int
    share: float
    side: int = STORED
    pictures: list[np.ndarray] = field(default_factory=list)
    captions: list[tuple[str, ...]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def add(self, picture: Image.Image, captions: tuple[str, ...], key: str) -> None:
        self.pictures.append(np.asarray(picture.resize((self.side, self.side), Image.Resampling.BICUBIC)))
        self.captions.append(captions)
        self.keys.append(key)


def open_picture(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def members(data: Path, name: str, table: str) -> list[tuple[dict[str, str], bytes]]:
    with tarfile.open(data / f"{name}.tar") as tar:
        files = {m.name: m for m in tar.getmembers() if m.isfile()}
        rows = csv.DictReader(io.TextIOWrapper(tar.extractfile(files[f"{name}/{table}"]), "utf-8"))
        return [(row, tar.extractfile(files[f"{name}/{row['file']}"]).read()) for row in rows]


GARMENTS = {"longsleeve": "long sleeve shirt", "outwear": "jacket", "pants": "pants", "shoes": "shoes"}


def clothing(data: Path, split: str, side: int = STORED) -> Pool:
    pool = Pool("clothing", PHOTO, 0.24, side)
    for row, raw in members(data, "clothing", "labels.csv"):
        if (row["split"] == "test") == (split == "test"):
            name = GARMENTS.get(row["label"], row["label"])
            names = (f"a photo of a {name}", name, row["label"], f"a {name}", f"a piece of clothing, {name}")
            pool.add(open_picture(raw), names, f"clothing {row['label']}")
    return pool


def grocery(data: Path, split: str, side: int = STORED) -> Pool:
    pool = Pool("grocery", PHOTO, 0.22, side)
    for row, raw in members(data, "grocery", "labels.csv"):
        if row["split"] == split:
            fine, coarse = row["label"].replace("-", " ").lower(), row["coarse"].replace("-", " ").lower()
            # The coarse name stands in every caption, so that both levels are learned from one key.
            whole = fine if coarse in fine else f"{fine} {coarse}"
            names = (f"a photo of {whole}", whole, f"{whole} in a grocery store", f"a photo of {coarse}", coarse)
            pool.add(open_picture(raw), names, f"grocery {fine}")
    return pool


def held_out(name: str) -> bool:
    """One icon in ten, chosen by its name."""
    return sum(name.encode()) % 10 == 0


def icons(data: Path, name: str, kind: str, split: str, side: int = STORED) -> Pool:
    pool = Pool(name, ICON, 0.13, side)
    for row, raw in members(data, name, "captions.csv"):
        caption = re.sub(r"[_\s]+", " ", row["caption"]).strip().lower()
        if held_out(caption) == (split == "test"):
            pool.add(
                open_picture(raw), (f"{kind} of {caption}", caption, f"{caption} {kind}", caption), f"{name} {caption}"
            )
    return pool


def fashion(data: Path, split: str, *, first: bool = False) -> Pool:
    pool = Pool("fashion-mnist", PHOTO, 0.09 if first else 0.15)
    stored = np.load(data / "fashion_mnist.npz")
    names = [str(n).replace("/", " or ").lower() for n in stored["label_names"]]
    # The file is sorted by class, so a part of it must be taken in strides.
    part = slice(None) if split == "test" else slice(20_000) if first else slice(0, None, 3)
    for image, label in zip(stored[f"{split}_images"][part], stored[f"{split}_labels"][part], strict=True):
        name = names[int(label)]
        captions = (f"a grayscale picture of a {name}", f"a {name}", name, f"a small gray {name}")
        pool.add(Image.fromarray(image).convert("RGB"), captions, f"fashion {name}")
    return pool


def digits(split: str) -> Pool:
    from sklearn.datasets import load_digits

    pool = Pool("digits", DRAWN, 0.04)
    stored = load_digits()
    part = slice(0, 1297) if split == "train" else slice(1297, None)
    for image, label in zip(stored.images[part], stored.target[part], strict=True):
        captions = (f"a handwritten digit {label}", f"the digit {label}", f"handwritten {NUMBERS[label]}", f"a {label}")
        pool.add(Image.fromarray((image * 15.9).astype(np.uint8)).convert("RGB"), captions, f"digit {label}")
    return pool


def scenes(count: int, seed: int, side: int = STORED) -> Pool:
    pool = Pool("scenes", DRAWN, 0.28, side)
    rng = np.random.default_rng(seed)
    for _ in range(count):
        scene = draw_scene(rng, side)
        pool.add(scene.picture, (scene.caption, scene.caption, *scene.short_captions), scene.caption)
    return pool


def load_pools(data: Path, scene_count: int, *, fashion_first: bool, side: int = STORED) -> list[Pool]:
    """All sets of `tiny`; what is larger than 28 px at `side` pixels."""
    icon_sets = (("noto_emoji", "an emoji"), ("dcss_tiles", "pixel art"))
    return [
        scenes(scene_count, 1, side),
        clothing(data, "train", side),
        grocery(data, "train", side),
        *(icons(data, name, kind, "train", side) for name, kind in icon_sets),
        fashion(data, "train", first=fashion_first),
        digits("train"),
    ]


class Batches:
    """Seeded batches over all pools, each pool in its share."""

    def __init__(self, pools: list[Pool], size: int, seed: int) -> None:
        self.pictures = torch.from_numpy(np.concatenate([np.stack(p.pictures) for p in pools]))
        self.kinds = np.concatenate([np.full(len(p.keys), p.kind) for p in pools])
        keys = [k for p in pools for k in p.keys]
        numbers = {k: i for i, k in enumerate(dict.fromkeys(keys))}
        self.keys = torch.tensor([numbers[k] for k in keys])
        self.captions = [c for p in pools for c in p.captions]
        weights = np.concatenate([np.full(len(p.keys), p.share / len(p.keys)) for p in pools])
        self.weights = weights / weights.sum()
        texts = list(dict.fromkeys(c for cs in self.captions for c in cs))
        self.text_number = {t: i for i, t in enumerate(texts)}
        self.tokens = open_clip.tokenizer.SimpleTokenizer(context_length=32)(texts)
        self.size, self.rng = size, np.random.default_rng(seed)
        self.torch_rng = torch.Generator().manual_seed(seed)

    def draw(self, second_views: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """→ views (b + second_views, 3, 64, 64), tokens (b, 32), keys (b,)."""
        chosen = self.rng.choice(len(self.weights), self.size, replace=False, p=self.weights)
        twice = np.concatenate([chosen, chosen[:second_views]])
        x = self.pictures[twice].permute(0, 3, 1, 2).float() / 255
        views = augment(x, torch.from_numpy(self.kinds[twice]), self.torch_rng)
        texts = [self.captions[i][int(self.rng.integers(len(self.captions[i])))] for i in chosen]
        return views, self.tokens[[self.text_number[t] for t in texts]], self.keys[chosen]


def augment(x: torch.Tensor, kinds: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Random crop, flip, light, tint, blur and noise, each in the measure the kind of image stands.

    (b, 3, 80, 80) → (b, 3, 64, 64).
    """
    b = len(x)

    def uniform(low: torch.Tensor | float, high: torch.Tensor | float, *shape: int) -> torch.Tensor:
        return torch.rand(b, *shape, generator=rng) * (high - low) + low

    least = torch.tensor([0.4, 0.6, 0.85])[kinds]
    area = uniform(least, 1.05)
    ratio = torch.exp(uniform(-0.22, 0.22))
    w, h = (area.sqrt() * ratio.sqrt()).clamp(max=1.05), (area.sqrt() / ratio.sqrt()).clamp(max=1.05)
    cx, cy = uniform(-1, 1) * (1 - w).abs(), uniform(-1, 1) * (1 - h).abs()
    flip = torch.where((torch.rand(b, generator=rng) < 0.5) & (kinds != DRAWN), -1.0, 1.0)
    zero = torch.zeros(b)
    theta = torch.stack([torch.stack([w * flip, zero, cx], 1), torch.stack([zero, h, cy], 1)], 1)
    grid = F.affine_grid(theta, [b, 3, 64, 64], align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    strength = torch.tensor([0.35, 0.15, 0.1])[kinds].view(b, 1, 1, 1)
    x = x * uniform(1 - strength, 1 + strength, 1, 1, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * uniform(1 - strength, 1 + strength, 1, 1, 1) + mean
    gray = x.mean(1, keepdim=True)
    x = gray + (x - gray) * uniform(1 - strength, 1 + strength, 1, 1, 1)
    soft = F.interpolate(F.avg_pool2d(x, 2), size=64, mode="bilinear", align_corners=False)
    x = torch.lerp(x, soft, (uniform(-1, 1, 1, 1, 1)).clamp(min=0))
    x = x + torch.randn(x.shape, generator=rng) * uniform(-0.03, 0.03, 1, 1, 1).clamp(min=0)
    mean, std = torch.tensor(open_clip.OPENAI_DATASET_MEAN), torch.tensor(open_clip.OPENAI_DATASET_STD)
    return ((x.clamp(0, 1) - mean.view(3, 1, 1)) / std.view(3, 1, 1)).contiguous(memory_format=torch.channels_last)


def unicl_loss(image: torch.Tensor, text: torch.Tensor, keys: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Bidirectional contrast with soft targets over all pairs of equal key; image, text: (b, d) unit rows."""
    logits = scale * image @ text.T
    same = (keys[:, None] == keys[None, :]).float()
    targets = same / same.sum(1, keepdim=True)
    return 0.5 * (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets))


def view_loss(one: torch.Tensor, two: torch.Tensor, rest: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    """InfoNCE from each second view to its first among all images of the batch; all (·, d) unit rows."""
    logits = two @ torch.cat([one, rest]).T / temperature
    return F.cross_entropy(logits, torch.arange(len(two)))


def train(
    model: CLIP, batches: Batches, *, steps: int, lr: float, second_views: int, log: Path
) -> dict[str, torch.Tensor]:
    """Run `steps` of AdamW with warm-up and cosine decay → the averaged state."""
    decay = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6)
    mean_state = {k: v.detach().clone().float() for k, v in model.state_dict().items()}
    started, totals = time.time(), np.zeros(2)
    for step in range(steps):
        rate = lr * min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        views, tokens, keys = batches.draw(second_views)
        with torch.autocast("cpu", torch.bfloat16):
            x = model.encode_image(views)
        x = F.normalize(x.float(), dim=1)
        t = F.normalize(model.encode_text(tokens), dim=1)
        b = len(keys)
        words = unicl_loss(x[:b], t, keys, model.logit_scale.exp())
        looks = view_loss(x[:second_views], x[b:], x[second_views:b])
        optimiser.zero_grad()
        (words + 0.5 * looks).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        model.logit_scale.data.clamp_(0, math.log(100))
        keep = min(0.998, (step + 1) / (step + 10))
        for name, value in model.state_dict().items():
            mean_state[name].lerp_(value.detach().float(), 1 - keep)
        totals += (words.item(), looks.item())
        if (step + 1) % 50 == 0:
            line = {
                "step": step + 1,
                "words": round(totals[0] / 50, 3),
                "looks": round(totals[1] / 50, 3),
                "seconds": round(time.time() - started),
            }
            totals[:] = 0
            with log.open("a") as out:
                out.write(json.dumps(line) + "\n")
            if (step + 1) % 1000 == 0:
                save_file({k: v.contiguous() for k, v in mean_state.items()}, log.with_suffix(".safetensors"))
    return mean_state


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--data", type=Path, required=True, help="folder with the sets' .tar and .npz files")
    ask.add_argument("--out", type=Path, default=Path("curator/encoders/tiny"))
    ask.add_argument("--steps", type=int, default=3000)
    ask.add_argument("--batch", type=int, default=384)
    ask.add_argument("--second-views", type=int, default=128)
    ask.add_argument("--scenes", type=int, default=40_000)
    ask.add_argument("--fashion", choices=["first", "strided"], default="strided", help="which third of Fashion-MNIST")
    ask.add_argument("--start", type=Path, help="weights to go on from")
    ask.add_argument("--lr", type=float, default=1.5e-3)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--log", type=Path, default=Path("train_tiny_clip.jsonl"))
    options = ask.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(2)
    started = time.time()
    batches = Batches(
        load_pools(options.data, options.scenes, fashion_first=options.fashion == "first"), options.batch, options.seed
    )
    print(
        f"{len(batches.keys)} images, {len(batches.tokens)} captions, loaded in {time.time() - started:.0f} s",
        flush=True,
    )
    config = json.loads((options.out / "open_clip_config.json").read_text())["model_cfg"]
    model = CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"]).train()
    if options.start:
        model.load_state_dict({k: v.float() for k, v in load_file(options.start).items()}, strict=False)
    model.visual.to(memory_format=torch.channels_last)
    state = train(
        model, batches, steps=options.steps, lr=options.lr, second_views=options.second_views, log=options.log
    )
    # A word never seen in training keeps no random direction: it says nothing.
    seen = torch.zeros(config["text_cfg"]["vocab_size"], dtype=torch.bool)
    seen[batches.tokens.unique()] = True
    state["token_embedding.weight"][~seen] = 0
    half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in state.items() if "attn_mask" not in k}
    save_file(half, options.out / "open_clip_model.safetensors")
    print(f"trained in {(time.time() - started) / 60:.0f} minutes", flush=True)


if __name__ == "__main__":
    main()
