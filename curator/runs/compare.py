"""Two runs beside each other: options that differ, curves laid over each other, pictures of the same latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from curator.drawing.sheets import save_picture
from curator.errors import UsageError
from curator.runs.generate import UNCONDITIONED, Asked, label_condition
from curator.training.curves import draw_over
from curator.training.folder import Run
from curator.training.generator import load_generator
from curator.training.pictures import tiled
from curator.training.trainers import TRAINERS

_SHOWN = 32  # latents
_GAP = 12  # pixels between parts of the sheet
_LETTERS = 14  # pixels


@dataclass(frozen=True)
class RunComparison:
    """What differs between runs: option → a value for each run, number → the best checkpoint's for each run.

    None stands where a run has no such option or number; `n` held-out images are what the others are of.
    """

    runs: tuple[str, ...]
    options: Mapping[str, tuple[Any, ...]]
    best: tuple[int, ...]
    metrics: Mapping[str, tuple[float | None, ...]]
    are_alike: bool  # whether all were trained and measured on the same images, in the same space


def compare_runs(runs: Sequence[Run]) -> RunComparison:
    """Compare two runs and more by what their folders say. Raises `UsageError` for fewer."""
    if len({r.folder for r in runs}) < 2:
        raise UsageError("a comparison takes two runs and more")
    stored = [r.facts["options"] | _images_of(r) for r in runs]
    contents = {tuple(sorted((m["sha256"], m.get("input_sha256")) for m in r.rows("manifest.jsonl"))) for r in runs}
    names = list(dict.fromkeys(k for options in stored for k in options))
    options = {n: tuple(o.get(n) for o in stored) for n in names}
    differing = {n: v for n, v in options.items() if any(x != v[0] for x in v)}
    best = tuple(int(r.state.get("best") or 0) for r in runs)
    rows = [_row_of(r, images_seen) for r, images_seen in zip(runs, best, strict=True)]
    metrics = {n: tuple(_number(row.get(n)) for row in rows) for n in dict.fromkeys(k for row in rows for k in row)}
    shown = {n: v for n, v in metrics.items() if any(x is not None for x in v)}
    are_alike = len(contents) == 1 and not {"measured_in", "holdout"} & differing.keys()
    return RunComparison(tuple(r.name for r in runs), differing, best, shown, are_alike)


def _images_of(run: Run) -> dict[str, Any]:
    """What a run was trained on, and the space that it was measured in."""
    facts = run.facts
    of, count = facts["trained_on"], facts["images"].get("trained")
    return {"trained_on": of["what"], "trained_images": count, "measured_in": of["space"]}


def _row_of(run: Run, images_seen: int) -> dict[str, Any]:
    return next((m for m in run.rows("metrics.jsonl") if m.get("images_seen") == images_seen), {})


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def draw_comparison(runs: Sequence[Run], target: Path) -> None:
    """Write a picture: curves over images seen, all runs in each panel, and below what each run draws, under its name.

    Generators are given the same seeds, which are the same latents for those of one kind and size. What is conditioned
    on pictures or vectors is shown as it was sampled at its best checkpoint. Raises `UsageError` where the file cannot
    be written.
    """
    parts = [draw_over(runs), *(_titled(*p) for run in runs if (p := drawn_by(run)) is not None)]
    sheet = Image.new("RGB", (max(p.width for p in parts), sum(p.height + _GAP for p in parts)), "white")
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height + _GAP
    save_picture(sheet, target)


def _titled(title: str, picture: Image.Image) -> Image.Image:
    font = ImageFont.load_default(size=_LETTERS)
    width = max(picture.width, int(font.getlength(title)) + 8)
    titled = Image.new("RGB", (width, picture.height + 2 * _LETTERS), "white")
    ImageDraw.Draw(titled).text((4, _LETTERS // 3), title, fill="black", font=font)
    titled.paste(picture, (0, 2 * _LETTERS))
    return titled


def drawn_by(run: Run) -> tuple[str, Image.Image] | None:
    """What a run draws, and what that is of; None for one that draws nothing, or has no checkpoint yet."""
    if not run.checkpoints():
        return None
    if TRAINERS[run.trainer].generator is not None and run.options.condition != "embedding":
        generator = load_generator(run)
        is_labelled = run.options.condition == "label"
        condition = label_condition(generator.shape.classes, Asked()) if is_labelled else UNCONDITIONED
        pictures = []
        for i in range(_SHOWN):
            row = i % len(condition.labels)
            z = generator.latent(i, sampler=generator.samplers[0], label=condition.labels[row])
            pictures.append(generator.make(z, condition.rows[row]))
        what = f"seeds 0 to {_SHOWN - 1}" + (", labels in turn" if is_labelled else "")
        return f"{run.name}: {what}", tiled(np.stack(pictures), 16, 2)
    best = run.checkpoint()
    samples = run.folder / "samples" / f"{best:09d}.png"
    what = "samples" if TRAINERS[run.trainer].translator is None else "inputs, drawings, targets and differences"
    try:
        with Image.open(samples) as opened:
            return f"{run.name}: {what} at {best} images seen", opened.convert("RGB")
    except OSError:  # a trainer that draws nothing has none
        return None
