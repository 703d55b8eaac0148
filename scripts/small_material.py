"""What the bundled `small` encoder is trained on, as tensors on one device: pictures, captions, classes, words.

It can be packed into files of tens of megabytes, to be carried to a machine with a GPU.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from small_data import CONTEXT, SIDE, Lessons, Photos, Words, class_places
from train_tiny_clip import DRAWN, PHOTO, Pool

from curator.encoders.tokenizer import Tokenizer

SHARES = {"photos": 0.27, "tiny-imagenet": 0.24, "mini_imagenet_train": 0.09, "cifar100_train": 0.08}
SHARES |= {"imagenette_train": 0.02, "intel_train": 0.015, "fruits40": 0.025, "office_objects": 0.01}
SHARES |= {"scenes": 0.12, "clothing": 0.06, "grocery": 0.06}
SHARES |= {"noto_emoji": 0.05, "dcss_tiles": 0.05, "fashion-mnist": 0.05, "digits": 0.02}
SMOOTHING, LIKENESS = 0.1, 0.15  # how much of a target is spread over other names, and how sharply by likeness
HINT = 0.15  # of the target, for the class that a pseudo-label names
MIXED = 0.5  # of the photos with a class and without a second view
_BLOCK = 2048  # pictures that are enlarged at once


@dataclass
class Batch:
    views: torch.Tensor  # (b + v, 3, side, side): b pictures and second views of the first v
    tokens: torch.Tensor  # (b, 32)
    keys: torch.Tensor  # (b,)
    mixed: torch.Tensor  # (b,) bool: a picture made of two, which has classes and no caption
    targets: torch.Tensor  # (p, classes) of those pictures that have a class
    has_class: torch.Tensor  # (b,) bool
    lesson_tokens: torch.Tensor  # (w, 32)
    lesson_places: torch.Tensor  # (w, 128)


class Material:
    """All pools in memory, and seeded batches of them, each pool in its share."""

    def __init__(self, small: dict[str, np.ndarray], pictures: torch.Tensor, device: torch.device) -> None:
        """`small`: what `pack_small` says; `pictures` (n, 3, 96, 96) uint8."""
        self.pictures, self.device = pictures, device
        self.classes = [str(c) for c in small["classes"]]
        put = {k: torch.from_numpy(v.astype(np.int64)).to(device) for k, v in small.items() if v.dtype.kind in "iu"}
        self.kinds, self.keys, self.labels, self.hints = put["kinds"], put["keys"], put["labels"], put["hints"]
        self.first_caption, self.captions, self.numbers = put["first_caption"], put["captions"], put["numbers"]
        self.tokens, self.lesson_tokens = put["tokens"], put["lesson_tokens"]
        self.lesson_rows, self.lesson_firsts = put["lesson_rows"], put["lesson_firsts"]
        self.weights = torch.from_numpy(small["weights"]).to(device)
        self.places, self.vectors = (torch.from_numpy(small[k]).float().to(device) for k in ("places", "vectors"))
        self.vectors = F.normalize(self.vectors, dim=1)
        likeness = self.places @ self.places.T / LIKENESS
        alone = torch.eye(len(likeness), device=device)
        self.soft = (1 - SMOOTHING) * alone + SMOOTHING * torch.softmax(likeness - 1e9 * alone, 1)

    def draw(self, rng: torch.Generator, size: int, second_views: int, lessons: int, side: int) -> Batch:
        chosen = torch.multinomial(self.weights, size, replacement=True, generator=rng)
        twice = torch.cat([chosen, chosen[:second_views]])
        second = torch.arange(len(twice), device=self.device) >= size
        views = augment(self.pictures[twice].float() / 255, self.kinds[twice], second, side, rng)
        which = (torch.rand(size, device=self.device, generator=rng) * self.captions[chosen]).long()
        texts = self.numbers[self.first_caption[chosen] + which]
        labels, hints = self.labels[chosen], self.hints[chosen]
        targets = self.soft[labels.clamp(min=0)]
        hinted = (hints >= 0)[:, None]
        targets = torch.where(hinted, (1 - HINT) * targets + HINT * self.soft[hints.clamp(min=0)], targets)
        may = (labels >= 0) & (torch.arange(size, device=self.device) >= second_views)
        mixed = may & (torch.rand(size, device=self.device, generator=rng) < MIXED)
        mix(views, targets, torch.nonzero(mixed)[:, 0], rng)
        lesson = torch.randint(len(self.lesson_rows), (lessons,), device=self.device, generator=rng)
        first = self.lesson_firsts[lesson]
        # The thing weighs more than what is said of it.
        leaning = torch.where((first >= 0)[:, None], 0.5 * self.vectors[first.clamp(min=0)], 0.0)
        places = F.normalize(self.vectors[self.lesson_rows[lesson]] + leaning, dim=1)
        has_class = labels >= 0
        return Batch(
            views.contiguous(memory_format=torch.channels_last),
            self.tokens[texts],
            self.keys[chosen],
            mixed,
            targets[has_class],
            has_class,
            self.lesson_tokens[lesson],
            places,
        )


def pack_small(pools: Sequence[Pool], words: Words, seed: int) -> dict[str, np.ndarray]:
    """Everything but the pictures, as arrays: n pictures, t texts, w lessons, c classes."""
    keys = [k for p in pools for k in p.keys]
    number_of = {k: i for i, k in enumerate(dict.fromkeys(keys))}
    captions = [c for p in pools for c in p.captions]
    texts = list(dict.fromkeys(c for cs in captions for c in cs))
    text_number = {t: i for i, t in enumerate(texts)}
    counts = np.array([len(cs) for cs in captions])
    labelled = [p for p in pools if isinstance(p, Photos)]
    labels = {label for p in labelled for label in p.labels}
    hints = {h for p in labelled for h in p.hints if h and h in words.place}
    classes = sorted(labels | hints)
    row_of = {c: i for i, c in enumerate(classes)}
    places, _ = class_places(classes, words)
    lessons = Lessons.make(words, seed)
    none = [-1]
    return {
        "kinds": np.concatenate([np.full(len(p.keys), p.kind) for p in pools]),
        "keys": np.array([number_of[k] for k in keys]),
        "labels": np.concatenate(
            [[row_of[x] for x in p.labels] if isinstance(p, Photos) else none * len(p.keys) for p in pools]
        ),
        "hints": np.concatenate(
            [[row_of.get(h, -1) for h in p.hints] if isinstance(p, Photos) else none * len(p.keys) for p in pools]
        ),
        "weights": np.concatenate([_weights(p) for p in pools]).astype(np.float32),
        "first_caption": np.cumsum(counts) - counts,
        "captions": counts,
        "numbers": np.array([text_number[c] for cs in captions for c in cs]),
        "tokens": Tokenizer(CONTEXT)(texts).astype(np.uint16),
        "classes": np.array(classes),
        "places": places,
        "vectors": words.vectors.astype(np.float16),
        "lesson_tokens": lessons.tokens,
        "lesson_rows": lessons.rows,
        "lesson_firsts": lessons.firsts,
    }


def _weights(pool: Pool) -> np.ndarray:
    """(n,) of a pool: its share, and within it each key by the root of its size, so that no class drowns another."""
    sizes: dict[str, int] = {}
    for key in pool.keys:
        sizes[key] = sizes.get(key, 0) + 1
    each = np.array([1 / math.sqrt(sizes[k]) for k in pool.keys])
    return SHARES.get(pool.name, pool.share) * each / each.sum()


def pictures_of(pools: Sequence[Pool], device: torch.device) -> torch.Tensor:
    """(n, 3, 96, 96) uint8; the pools forget theirs."""
    pictures = [x for p in pools for x in p.pictures]
    for pool in pools:
        pool.pictures.clear()
    return enlarge(pictures, device)


def enlarge(pictures: list[np.ndarray], device: torch.device) -> torch.Tensor:
    """n square pictures (s, s, 3) uint8 of any sides → (n, 3, 96, 96) uint8, bicubic."""
    whole = torch.empty((len(pictures), 3, SIDE, SIDE), dtype=torch.uint8, device=device)
    sides = np.array([len(p) for p in pictures])
    for side in np.unique(sides):
        rows = np.flatnonzero(sides == side)
        for part in np.array_split(rows, math.ceil(len(rows) / _BLOCK)):
            x = torch.from_numpy(np.stack([pictures[i] for i in part])).to(device).permute(0, 3, 1, 2)
            if side != SIDE:
                x = F.interpolate(x.float(), size=SIDE, mode="bicubic", align_corners=False).round().clamp(0, 255)
            whole[torch.from_numpy(part).to(device)] = x.to(torch.uint8)
    return whole


def pack(pools: Sequence[Pool], words: Words, seed: int, folder: Path, most: int) -> None:
    """Write `texts.npz` and `pictures-N.npz`, each of at most `most` bytes, into `folder`; pictures as WebP."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "texts.npz", **pack_small(pools, words, seed))
    with ThreadPoolExecutor(2) as workers:
        coded = list(workers.map(_to_webp, (x for p in pools for x in p.pictures)))
    ends = np.cumsum([len(c) for c in coded])
    part = (ends - 1) // most
    for number in range(int(part[-1]) + 1):
        rows = np.flatnonzero(part == number)
        joined = np.frombuffer(b"".join(coded[i] for i in rows), np.uint8)
        np.savez(folder / f"pictures-{number}.npz", joined=joined, sizes=np.array([len(coded[i]) for i in rows]))


def _to_webp(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "webp", quality=60, method=4)
    return out.getvalue()


def _from_webp(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def unpack(folder: Path, device: torch.device) -> tuple[dict[str, np.ndarray], torch.Tensor]:
    """What `pack` wrote: what `pack_small` said, and the pictures (n, 3, 96, 96) uint8."""
    coded: list[bytes] = []
    files = sorted(folder.glob("pictures-*.npz"), key=lambda f: int(f.stem.split("-")[1]))
    for file in files:
        stored = np.load(file)
        joined, ends = stored["joined"].tobytes(), np.cumsum(stored["sizes"])
        coded += [joined[a:b] for a, b in zip(ends - stored["sizes"], ends, strict=True)]
    with ProcessPoolExecutor() as workers:
        pictures = list(workers.map(_from_webp, coded, chunksize=512))
    small = dict(np.load(folder / "texts.npz"))
    if len(pictures) < len(small["kinds"]):  # a part of the files, for a trial
        small["weights"] = small["weights"] * (np.arange(len(small["weights"])) < len(pictures))
    return small, enlarge(pictures, device)


def augment(
    x: torch.Tensor, kinds: torch.Tensor, second: torch.Tensor, side: int, rng: torch.Generator
) -> torch.Tensor:
    """Random crop, turn, flip, light, tint, blur, JPEG and noise, each in the measure the kind of image stands.

    (b, 3, 96, 96) in 0 to 1 → (b, 3, side, side), by CLIP's mean and deviation. A `second` view (b,) of a photo is a
    closer crop.
    """
    b, device = len(x), x.device
    photo = kinds == PHOTO

    def chance() -> torch.Tensor:
        return torch.rand(b, device=device, generator=rng)

    def uniform(low: torch.Tensor | float, high: torch.Tensor | float) -> torch.Tensor:
        return chance() * (high - low) + low

    def wide(values: torch.Tensor) -> torch.Tensor:
        return values.view(b, 1, 1, 1)

    # Least area of a crop for photos, icons and drawings.
    least = torch.tensor([0.3, 0.6, 0.85], device=device)[kinds]
    closer = second & photo
    area = uniform(torch.where(closer, 0.16, least), torch.where(closer, 0.56, 1.05))
    ratio = torch.exp(uniform(-0.25, 0.25))
    w, h = (area * ratio).sqrt().clamp(max=1.05), (area / ratio).sqrt().clamp(max=1.05)
    cx, cy = uniform(-1, 1) * (1 - w).abs(), uniform(-1, 1) * (1 - h).abs()
    flip = torch.where((chance() < 0.5) & (kinds != DRAWN), -1.0, 1.0)
    turn = torch.where((chance() < 0.33) & photo, uniform(-0.2, 0.2), 0.0)
    cos, sin = turn.cos(), turn.sin()
    theta = torch.stack(
        [torch.stack([w * flip * cos, -h * sin, cx], 1), torch.stack([w * flip * sin, h * cos, cy], 1)], 1
    )
    grid = F.affine_grid(theta, [b, 3, side, side], align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    strength = torch.tensor([0.4, 0.15, 0.1], device=device)[kinds]
    x = x * wide(uniform(1 - strength, 1 + strength))
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * wide(uniform(1 - strength, 1 + strength)) + mean
    tints = torch.rand((b, 3, 1, 1), device=device, generator=rng) * 2 - 1
    x = x * (1 + tints * wide(0.12 * photo * (chance() < 0.5)))
    grey = x.mean(1, keepdim=True)
    pale = torch.where(photo & (chance() < 0.08), 0.0, uniform(1 - strength, 1 + strength))
    x = grey + (x - grey) * wide(pale)
    # As if it had been a smaller picture: of half the side, or of 32 px.
    half = F.interpolate(F.avg_pool2d(x, 2), size=side, mode="bilinear", align_corners=False)
    x = torch.lerp(x, half, wide(uniform(-1.5, 1).clamp(min=0)))
    little = F.interpolate(F.adaptive_avg_pool2d(x, 32), size=side, mode="bicubic", align_corners=False)
    x = torch.where(wide(photo & (chance() < 0.15)), little, x)
    x = torch.where(wide(photo & (chance() < 0.2)), jpeg(x, wide(uniform(0.02, 0.15))), x)
    noise = torch.randn(x.shape, device=device, generator=rng)
    x = (x + noise * wide(uniform(-0.03, 0.03).clamp(min=0))).clamp(0, 1)
    mean3 = torch.tensor(open_clip.OPENAI_DATASET_MEAN, device=device).view(3, 1, 1)
    std3 = torch.tensor(open_clip.OPENAI_DATASET_STD, device=device).view(3, 1, 1)
    return (x - mean3) / std3


def jpeg(x: torch.Tensor, coarseness: torch.Tensor) -> torch.Tensor:
    """What JPEG does to a picture: 8 × 8 cosine transforms, rounded the coarser, the higher the frequency."""
    b, c, side, _ = x.shape
    n = torch.arange(8, device=x.device, dtype=torch.float32)
    basis = torch.cos((2 * n[None] + 1) * n[:, None] * math.pi / 16) * 0.5
    basis[0] /= math.sqrt(2)
    blocks = x.view(b, c, side // 8, 8, side // 8, 8)
    waves = torch.einsum("ui,bcyixj,vj->bcyuxv", basis, blocks, basis)
    step = (coarseness * (1 + n[:, None] + n[None])[None])[:, :, None, :, None, :]
    waves = (waves / step).round() * step
    return torch.einsum("ui,bcyuxv,vj->bcyixj", basis, waves, basis).reshape(b, c, side, side)


def mix(views: torch.Tensor, targets: torch.Tensor, rows: torch.Tensor, rng: torch.Generator) -> None:
    """Mix each of `rows` with its neighbour there, and their targets alike: one half by mixup, the other by CutMix.

    Zhang et al. 2018; Yun et al. 2019.
    """
    n, side = len(rows), views.shape[-1]
    if n < 2:
        return
    share = torch.rand(n, device=views.device, generator=rng)
    edge = (1 - share).sqrt()[:, None] / 2
    middle = torch.rand((n, 2), device=views.device, generator=rng)
    at = (torch.arange(side, device=views.device) + 0.5)[None] / side
    inside = ((at - middle[:, :1]).abs() < edge)[:, :, None] & ((at - middle[:, 1:]).abs() < edge)[:, None, :]
    cut = (torch.arange(n, device=views.device) % 2 == 0)[:, None, None]
    kept = torch.where(cut, (~inside).float(), share[:, None, None])[:, None]
    one, two = views[rows], views[rows.roll(1)]
    share = kept.mean((1, 2, 3))[:, None]
    views[rows] = kept * one + (1 - kept) * two
    targets[rows] = share * targets[rows] + (1 - share) * targets[rows.roll(1)]
