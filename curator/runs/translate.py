"""`curator generate RUN --from`: pictures → what a picture-to-picture network makes of them, into the index."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curator.errors import PictureError, UsageError
from curator.images import absolute
from curator.index import Index
from curator.index.images import find_images
from curator.ingest import IngestOptions, ingest
from curator.job import QUIET, Job
from curator.records import Image
from curator.runs.generate import Generated, write_picture
from curator.runs.lookup import refuse_foreign
from curator.runs.manifests import merge_manifest, refuse_strangers
from curator.runs.pairs import input_pixels
from curator.training.exporting import load_translator
from curator.training.folder import Run
from curator.training.kinds import Pix2pixOptions
from curator.training.pictures import Bytes, tiled, to_picture
from curator.training.pix2pix import translated

_SHOWN = 64  # pairs of the grid


@dataclass(frozen=True)
class Translation:
    """What is to be drawn: of which picture file, selection, folder or condition, by which checkpoint.

    A run that was trained on inputs made out of pictures makes them first, and one on halves takes the half that is the
    input; `as_is` gives it the picture itself, as a drawing for a run on edges.
    """

    named: str
    checkpoint: str = "best"
    as_is: bool = False
    n: int | None = None

    def __post_init__(self) -> None:
        if self.n is not None and self.n < 1:
            raise UsageError(f"-n takes 1 picture or more, not {self.n}")


def translate(
    index: Index, run: Run, asked: Translation, *, target: Path | None = None, add: bool = True, job: Job = QUIET
) -> Generated:
    """Draw a picture of each input into `target`, by default the run's `generated/`, and index it.

    Columns are run, checkpoint, input (its id, or the name of its file) and label. Raises `UsageError` for a run that
    makes no pictures of pictures.
    """
    if add:
        refuse_foreign(index, run)
    options = run.options
    if not isinstance(options, Pix2pixOptions):
        raise UsageError(
            f"{run.name} trained a {options.trainer}; --from takes the run of a pix2pix, and others make pictures "
            "without it"
        )
    checkpoint = run.checkpoint(asked.checkpoint)
    network = load_translator(run, checkpoint)
    inputs = _inputs(index, asked)
    target = (target or run.folder / "generated").absolute()
    refuse_strangers(target)
    inner = run.shape.side - 2 * run.shape.border
    planned: list[Path] = []
    files: list[Path] = []
    problem = ""
    shown: list[Bytes] = []
    rows: list[dict[str, Any]] = []
    for path, image in inputs:
        name = f"{image.id}" if image else path.name
        file = target / f"{run.name[:5]}-{checkpoint}-of-{_safe(name, path)}{'-as-is' if asked.as_is else ''}.png"
        label = image.label if image else None
        rows.append({"file_name": file.name, "run": run.name, "checkpoint": checkpoint, "input": name, "label": label})
        planned.append(file)
    merge_manifest(target, rows)  # before the pictures: none is ever without its input
    for n, (file, (path, image)) in enumerate(zip(planned, inputs, strict=True)):
        try:
            seen = input_pixels(path, image.sha256 if image else "", options, inner, as_is=asked.as_is)
        except PictureError as error:
            problem = str(error)
            job.say(f"Skipped: {error}")
            continue
        border = run.shape.border
        padded = np.pad(seen, ((0, 0), (0, 0), (border, border), (border, border)), mode="edge")
        drawn = translated(network, padded, torch.device("cpu"), border)[0]
        write_picture(to_picture(drawn), file)
        files.append(file)
        shown += [seen[0], drawn] if len(files) <= _SHOWN else []
        job.progress(n + 1, len(planned), "drawing")
        job.check()
    if not files:
        raise UsageError(f"none of the pictures can be read: {problem}")
    grid = run.folder / "grids" / f"{run.name[:5]}-{checkpoint}-of-{_mark([f.name for f in files])}.png"
    grid.parent.mkdir(exist_ok=True)
    write_picture(tiled(np.stack(shown), min(8, len(shown)), 2), grid)
    report = ingest(index, [target], index.encoder, IngestOptions(origin="generated"), job=job) if add else None
    return Generated(tuple(files), grid, report, is_collapsed=False)


def _inputs(index: Index, asked: Translation) -> list[tuple[Path, Image | None]]:
    """Files, with the image that the index knows each as."""
    file = absolute(Path(asked.named))
    if os.path.isfile(file):  # noqa: PTH113 - a condition may be too long for a name, which Path.is_file raises for
        image_id = index.reader.find(file)
        return [(file, None if image_id is None else index.images([image_id])[0])]
    return [(i.path, i) for i in index.images(find_images(index, asked.named)[: asked.n])]


def _safe(name: str, path: Path) -> str:
    short = "".join(c if c.isalnum() else "-" for c in name)[:40].strip("-")
    return short if short == name else f"{short}-{_mark([str(path)])}"


def _mark(names: list[str]) -> str:
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[:8]
