"""Train the bundled `small` encoder: pictures beside captions, class names at the places of their words, closer crops.

    python scripts/train_small_clip.py --data ../shared/data [--tiny-imagenet DIR] [--more DIR] --minutes 600
    python scripts/train_small_clip.py --data ../shared/data --pack PACK     # then carry PACK to a machine with a GPU
    python scripts/train_small_clip.py --packed PACK --batch 2048 --lessons 2048 --second-views 512 --minutes 8.1

It goes on where it was stopped. `--open-only` leaves out all photos that are not openly licensed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from small_data import SIDE, Words, difference_hash, folder_photos, photo_rows, photos, tiny_imagenet, unseen_tokens
from small_material import Batch, Material, pack, pack_small, pictures_of, unpack
from train_tiny_clip import Pool, load_pools, unicl_loss, view_loss

CONFIG = Path(__file__).parent / "small_clip.json"
PLACE = 128  # dims of a vector in which the places of words lie
SIDES = ((0.3, 64), (0.7, 80), (1.0, SIDE))  # until which share of the time pictures have which side
TEMPERATURE = 0.05  # of the class names
CAPTIONS, LOOKS, LESSONS = 0.5, 0.5, 4.0  # weights of the losses beside that of class names
WARM_UP = 200  # steps
LONGEST = 30  # seconds that one step may count, so that a process that was paused loses nothing
PART_BYTES = 36 << 20  # of one file of a pack
_SAVED_EVERY = 300  # seconds


def encode_texts(model: CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """(t, 32) tokens → (t, 256) unit rows."""
    return F.normalize(model.encode_text(tokens).float(), dim=1)


def losses(model: CLIP, batch: Batch, material: Material, second_views: int) -> dict[str, torch.Tensor]:
    """The four of one batch, weighted."""
    device = batch.views.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        x = model.encode_image(batch.views)
        t = model.encode_text(torch.cat([batch.tokens, batch.lesson_tokens]))
    x, t = F.normalize(x.float(), dim=1), F.normalize(t.float(), dim=1)
    b, whole = len(batch.keys), ~batch.mixed
    places = F.normalize(x[:b, :PLACE][batch.has_class], dim=1)
    named = F.cross_entropy(places @ material.places.T / TEMPERATURE, batch.targets) if len(places) else x.sum() * 0
    taught = F.normalize(t[b:, :PLACE], dim=1)
    return {
        "classes": named,
        "captions": CAPTIONS * unicl_loss(x[:b][whole], t[:b][whole], batch.keys[whole], model.logit_scale.exp()),
        "looks": LOOKS * view_loss(x[:second_views], x[b:], x[second_views:b]),
        "lessons": LESSONS * (1 - (taught * batch.lesson_places).sum(1)).mean(),
    }


class Run:
    """A training that can be stopped: model, AdamW, moving average, and the seconds it has had."""

    def __init__(self, work: Path, device: torch.device, lr: float, seed: int) -> None:
        torch.manual_seed(seed)
        parts = json.loads(CONFIG.read_text())["model_cfg"]
        self.model = CLIP(parts["embed_dim"], parts["vision_cfg"], parts["text_cfg"]).train().to(device)
        self.model.visual.to(memory_format=torch.channels_last)
        decay = [p for p in self.model.parameters() if p.ndim >= 2]
        plain = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6)
        self.mean = {k: v.detach().clone().float() for k, v in self.model.state_dict().items()}
        self.lr, self.step, self.seconds = lr, 0, 0.0
        self.rng = torch.Generator(device).manual_seed(seed)
        self.file, self.log = work / "state.safetensors", work / "log.jsonl"
        work.mkdir(parents=True, exist_ok=True)
        if self.file.exists():
            self._resume(seed)

    def _resume(self, seed: int) -> None:
        stored = load_file(self.file, device=str(self.rng.device))
        self.step, self.seconds = int(stored.pop("step")), float(stored.pop("seconds"))
        self.model.load_state_dict({k.removeprefix("model."): v for k, v in stored.items() if k.startswith("model.")})
        self.mean = {k.removeprefix("mean."): v for k, v in stored.items() if k.startswith("mean.")}
        state = self.optimiser.state_dict()
        for name, value in stored.items():
            if name.startswith("adam."):
                _, number, key = name.split(".")
                state["state"].setdefault(int(number), {})[key] = value.cpu() if key == "step" else value
        self.optimiser.load_state_dict(state)
        self.rng.manual_seed(seed + 1_000_003 * self.step)
        print(f"goes on at step {self.step}, after {self.seconds / 60:.1f} minutes", flush=True)

    def save(self) -> None:
        state = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        state |= {f"mean.{k}": v for k, v in self.mean.items()}
        for number, values in self.optimiser.state_dict()["state"].items():
            state |= {f"adam.{number}.{k}": v for k, v in values.items()}
        state |= {"step": torch.tensor(self.step), "seconds": torch.tensor(self.seconds, dtype=torch.float64)}
        new = self.file.with_suffix(".new")
        save_file({k: v.contiguous() for k, v in state.items()}, new)
        new.replace(self.file)

    def train(self, material: Material, *, minutes: float, batch: int, lessons: int, second_views: int) -> None:
        """Until the minutes are over; warm-up, then a rate that falls as a cosine of the share of time spent."""
        last = tick = time.monotonic()
        while (share := self.seconds / (60 * minutes)) < 1:
            rate = self.lr * min(1, (self.step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * share))
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            side = next(s for end, s in SIDES if share < end)
            parts = losses(
                self.model, material.draw(self.rng, batch, second_views, lessons, side), material, second_views
            )
            self.optimiser.zero_grad()
            sum(parts.values()).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimiser.step()
            self.model.logit_scale.data.clamp_(0, math.log(100))
            self._average()
            self.step += 1
            tick, spent = time.monotonic(), time.monotonic() - tick
            self.seconds += min(spent, LONGEST)
            if self.step % 50 == 0:
                line = {"step": self.step, "seconds": round(self.seconds), "side": side}
                with self.log.open("a") as out:
                    out.write(json.dumps(line | {k: round(v.item(), 3) for k, v in parts.items()}) + "\n")
            if time.monotonic() - last > _SAVED_EVERY:
                last = time.monotonic()
                self.save()
        self.save()

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(0.998, (self.step + 1) / (self.step + 10))
        for name, value in self.model.state_dict().items():
            self.mean[name].lerp_(value.detach().float(), 1 - keep)


def write_encoder(mean: dict[str, torch.Tensor], material: Material, folder: Path) -> None:
    """fp16 weights and their config; a token that no text had gets the mean of its pieces' vectors, or zero."""
    seen = np.zeros(len(mean["token_embedding.weight"]), bool)
    for tokens in (material.tokens, material.lesson_tokens):
        seen[tokens.unique().cpu().numpy()] = True
    table = mean["token_embedding.weight"].cpu()
    table[~torch.from_numpy(seen)] = 0
    for number, parts in unseen_tokens(seen).items():
        table[number] = table[parts].mean(0)
    state = {k: v.cpu() for k, v in mean.items()} | {"token_embedding.weight": table}
    half = {k: v.half().contiguous() for k, v in state.items() if "attn_mask" not in k and "num_batches" not in k}
    half |= {k: v.long() for k, v in state.items() if "num_batches" in k}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(half, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(CONFIG.read_text())


def pools_of(options: argparse.Namespace, words: Words) -> list[Pool]:
    """All sets, without what looks like an exam photo."""
    pools = load_pools(options.data, options.scenes, fashion_first=False, side=SIDE)
    own = photos(options.data, "train")
    exam = np.array([difference_hash(p) for p in _exam(options.data)], np.uint64)
    known = sorted(set(own.labels))
    further = [tiny_imagenet(options.tiny_imagenet, known, exam)] if options.tiny_imagenet else []
    if options.more:
        further += [folder_photos(f, exam) for f in sorted(options.more.iterdir()) if f.is_dir()]
    return [*pools, own, *further]


def _exam(data: Path) -> Iterable:
    return (picture for row, picture in photo_rows(data) if row["split"] != "train")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, help="folder with the sets' .tar and .npz files")
    ask.add_argument("--tiny-imagenet", type=Path, help="folder of that set, as published")
    ask.add_argument("--more", type=Path, help="folder of further sets, each with one folder per class in plain words")
    ask.add_argument("--pack", type=Path, help="write what it would learn from into this folder, and stop")
    ask.add_argument("--packed", type=Path, help="folder that --pack wrote, instead of --data")
    ask.add_argument("--open-only", action="store_true")
    ask.add_argument("--minutes", type=float, default=600)
    ask.add_argument("--batch", type=int, default=256)
    ask.add_argument("--lessons", type=int, default=512)
    ask.add_argument("--second-views", type=int, default=64)
    ask.add_argument("--scenes", type=int, default=20_000)
    ask.add_argument("--lr", type=float, default=2e-3)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--work", type=Path, default=Path("train_small_clip.work"), help="state of the training")
    ask.add_argument("--out", type=Path, help="folder for the weights; else `new` in --work")
    options = ask.parse_args()
    if (options.data is None) == (options.packed is None):
        ask.error("say one of --data and --packed")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.packed:
        small, pictures = unpack(options.packed, device)
    else:
        words = Words.load(options.data)
        pools = pools_of(options, words)
        if options.pack:
            pack(pools, words, options.seed, options.pack, PART_BYTES)
            return
        small, pictures = pack_small(pools, words, options.seed), pictures_of(pools, device)
    if options.open_only:  # all that has a class is a photo that is not openly licensed
        small["weights"] = small["weights"] * (small["labels"] < 0)
    material = Material(small, pictures, device)
    run = Run(options.work, device, options.lr, options.seed)
    run.train(
        material,
        minutes=options.minutes,
        batch=options.batch,
        lessons=options.lessons,
        second_views=options.second_views,
    )
    write_encoder(run.mean, material, options.out or options.work / "new")
    print(f"{run.step} steps in {run.seconds / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
