"""pix2pix on few pairs and many, made out of clothing photos, judged on photos that none of the runs had.

    python scripts/bench_pairs.py --data ../shared/data --out runs-bench --minutes 10 --threads 1

Each row is one run on so many photos, drawn at random, of a side in pixels: the photo's edges, or what else is made of
it, are the input, and the photo is the target. All are then drawn from the test photos' inputs: mean absolute (L1) and
squared (MSE) distance to the target in steps of 255, beside what copying the input has and what the mean training photo
has, and the Fréchet distance to the targets in the space of `small`, with that of the inputs. A finished run in
`--out` is not made again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_generators import begin, clothing, parser_of, run_of

from curator.encoders import load_encoder
from curator.metrics import frechet_distance
from curator.runs.inputs import features_of
from curator.training.exporting import load_translator
from curator.training.pairs import made_pairs
from curator.training.pictures import Bytes, tiled
from curator.training.pix2pix import translated

FEW = ("flip", "diffaug")
# name → source, side, pairs (0 for all), augmentation
ROWS: dict[str, tuple[str, int, int, tuple[str, ...]]] = {
    "edges-155": ("edges", 64, 155, FEW),
    "edges-155-plain": ("edges", 64, 155, ()),
    "edges-600": ("edges", 64, 600, FEW),
    "edges-all": ("edges", 64, 0, ("flip",)),
    "grey-all": ("grey", 64, 0, ("flip",)),
    "lowres-all": ("lowres", 64, 0, ("flip",)),
    "mask-all": ("mask", 64, 0, ("flip",)),
    "edges-600-128": ("edges", 128, 600, FEW),
    "edges-600-256": ("edges", 256, 600, FEW),
}


def measured(name: str, *, data: Path, out: Path, minutes: float, sheets: Path) -> str:
    """Train a row or find it trained, draw, and compare → a row of the table."""
    source, side, pairs, augment = ROWS[name]
    sample = clothing(data, side)
    chosen = np.random.default_rng(0).permutation(len(sample.train))[: pairs or None]
    photos = sample.train.taken(chosen)
    options: dict[str, Any] = {"source": source, "side": side, "augment": augment, "max_minutes": minutes, "images": 0}
    run = run_of(out, name, "pix2pix", options, replace(photos, pixels=made_pairs(photos.pixels, source)))
    held = made_pairs(sample.test.pixels, source)
    inputs, targets = held[:, :3], held[:, 3:]
    drawn = translated(load_translator(run), inputs, torch.device("cpu"), 0)
    mean = np.broadcast_to(photos.pixels.mean(0), targets.shape)
    _show(inputs, drawn, targets, sheets / f"{name}.png")
    features = features_of(lambda: load_encoder("small"))
    off, l1_of_input, l1_of_mean = (np.abs(x.astype(np.float32) - targets) for x in (drawn, inputs, mean))
    reals = features(targets)
    frechet = [frechet_distance(features(x), reals) for x in (drawn, inputs)]
    cells = [source, f"{side}", f"{len(photos)}", "+".join(augment) or "none", f"{run.state['images_seen']:,}"]
    cells += [f"{v:.1f}" for v in (off.mean(), l1_of_input.mean(), l1_of_mean.mean(), np.square(off).mean())]
    return "| " + " | ".join([*cells, *(f"{v:.3f}" for v in frechet)]) + " |"


def _show(inputs: Bytes, drawn: Bytes, targets: Bytes, path: Path) -> None:
    """Twelve test photos: input, drawing and target side by side."""
    n = np.linspace(0, len(inputs) - 1, 12).astype(int)
    strips = np.stack([inputs[n], drawn[n], targets[n]], 1).reshape(-1, *inputs.shape[1:])
    tiled(strips, 6).save(path)


def main() -> None:
    """Train what is not there yet, then print the table."""
    given = parser_of(__doc__, list(ROWS), list(ROWS)).parse_args()
    out = given.out / f"{given.minutes:g}-minutes" / "pairs"
    out.mkdir(parents=True, exist_ok=True)
    begin(given)
    print()
    heads = ["input", "px", "pairs", "augment", "images seen", "L1", "of copying", "of the mean photo", "MSE"]
    heads += ["FD", "of copying"]
    print("| " + " | ".join(heads) + " |\n|---|" + "--:|" * (len(heads) - 1))
    for name in given.rows:
        print(measured(name, data=given.data, out=out, minutes=given.minutes, sheets=out), flush=True)


if __name__ == "__main__":
    main()
