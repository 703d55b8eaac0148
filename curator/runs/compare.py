"""Two runs beside each other: options that differ, curves laid over each other, pictures of the same latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from curator.errors import UsageError
from curator.files import whole_for_user
from curator.training.curves import draw_over
from curator.training.folder import Run
from curator.training.generator import load_generator
from curator.training.pictures import Bytes, tiled
from curator.training.trainers import TRAINERS

_SHOWN = 32  # latents
_GAP = 12  # pixels between parts of the sheet


@dataclass(frozen=True)
class RunComparison:
    """What differs between runs: option → a value for each run, number → the best checkpoint's for each run.

    None stands where a run has no such option or number; `n` held-out images are what the others are of.
    """

    runs: tuple[str, ...]
    options: Mapping[str, tuple[Any, ...]]
    best: tuple[int, ...]
    metrics: Mapping[str, tuple[float | None, ...]]


def compare_runs(runs: Sequence[Run]) -> RunComparison:
    """Compare two runs and more by what their folders say. Raises `UsageError` for fewer."""
    if len({r.folder for r in runs}) < 2:
        raise UsageError("a comparison takes two runs and more")
    stored = [r.facts["options"] for r in runs]
    names = list(dict.fromkeys(k for options in stored for k in options))
    options = {n: tuple(o.get(n) for o in stored) for n in names}
    differing = {n: v for n, v in options.items() if any(x != v[0] for x in v)}
    best = tuple(int(r.state.get("best") or 0) for r in runs)
    rows = [_row_of(r, images_seen) for r, images_seen in zip(runs, best, strict=True)]
    metrics = {n: tuple(_number(row.get(n)) for row in rows) for n in dict.fromkeys(k for row in rows for k in row)}
    shown = {n: v for n, v in metrics.items() if any(x is not None for x in v)}
    return RunComparison(tuple(r.name for r in runs), differing, best, shown)


def _row_of(run: Run, images_seen: int) -> dict[str, Any]:
    return next((m for m in run.rows("metrics.jsonl") if m.get("images_seen") == images_seen), {})


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def draw_comparison(runs: Sequence[Run], target: Path) -> None:
    """Write a picture: curves over images seen, all runs in each panel, and below what each generator makes.

    Generators of one trainer and latent size are given the same latents; pictures of a row are of one run.
    """
    parts = [draw_over(runs), *(tiled(p, 16, 2).convert("RGB") for p in _made(runs))]
    sheet = Image.new("RGB", (max(p.width for p in parts), sum(p.height + _GAP for p in parts)), "white")
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height + _GAP
    with whole_for_user(target) as beside:
        sheet.save(beside, "PNG")


def _made(runs: Sequence[Run]) -> list[Bytes]:
    pictures = []
    for run in runs:
        if TRAINERS[run.trainer].generator is None or run.options.condition != "none":
            continue
        generator = load_generator(run)
        latents = [generator.latent(seed, sampler=generator.samplers[0]) for seed in range(_SHOWN)]
        pictures.append(np.stack([generator.make(z, np.zeros(0, np.float32)) for z in latents]))
    return pictures
