"""What a trained network says of the index's images.

A classifier's labels, a VAE's latents and reconstruction errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.drawing.sheets import Section, Tile
from curator.errors import UsageError
from curator.files import whole_for_user
from curator.index import Index
from curator.index.columns import put_columns, refuse_columns
from curator.index.images import find_images, have_content
from curator.job import QUIET, Job
from curator.labelling.label import COLUMN, Labelled, Tested, keep_labels, label_columns
from curator.records import Ids
from curator.runs.inputs import pictures_of_run
from curator.runs.lookup import trained_digests
from curator.training.folder import Run
from curator.training.kinds import VaeOptions
from curator.training.pictures import Bytes, to_bytes, to_picture, to_unit


def label_by_run(
    index: Index, run: Run, *, named: str | None = None, column: str = COLUMN, job: Job = QUIET
) -> Labelled:
    """A classifier's labels with confidence, in columns; its accuracy is that on labelled images it was not trained on.

    Raises `UsageError` for another run, or images of other channels.
    """
    refuse_columns(index, "label", label_columns(column))
    ids, shares = shares_of(index, run, find_images(index, named or "origin = 'real'"), job)
    real = index.reader.ids_where("origin = 'real'")
    tested = ids[
        np.isin(ids, real) & ~have_content(index, ids, trained_digests(run))
    ]  # a copy of what was trained on tests nothing
    source = run.facts["trained_on"]["column"]
    return keep_labels(index, ids, shares, run.shape.classes, Tested(column, tested, source))


def shares_of(index: Index, run: Run, ids: Ids, job: Job = QUIET) -> tuple[Ids, NDArray[np.float64]]:
    """A classifier's word on images: (m,) ids that could be read, (m, classes) probabilities. Raises `UsageError`."""
    import torch

    from curator.training.classifier import probabilities
    from curator.training.exporting import load_classifier

    network, device = load_classifier(run), torch.device("cpu")
    judged = [(p.ids, probabilities(network, p.pixels, device)) for p in pictures_of_run(index, run, ids, job)]
    read, shares = (np.concatenate(column) for column in zip(*judged, strict=True))
    return read, shares


@dataclass(frozen=True)
class Encoded:
    """`latents` (n, d) of images `ids` (n,), and what came back of them.

    `errors` (n,) are mean absolute differences in levels of 255; `worst` and `best` are positions of some, and
    `shown` (m, 2, C, H, W) are those in this order, each before and after.
    """

    ids: Ids
    latents: NDArray[np.float32]
    errors: NDArray[np.float64]
    worst: NDArray[np.int64]
    best: NDArray[np.int64]
    shown: Bytes


def encode(
    index: Index, run: Run, *, named: str | None = None, keep: bool = True, shown: int = 16, job: Job = QUIET
) -> Encoded:
    """Images through a VAE and back. With `keep` their errors become the column `reconstruction_error`, to filter by.

    `shown` pairs of picture and reconstruction are returned, half of them the worst, half the best. Raises
    `UsageError` for another run.
    """
    import torch

    from curator.training.generator import load_generator

    if not isinstance(run.options, VaeOptions):
        raise UsageError(
            f"{run.name} trained a {run.options.trainer}, which encodes no pictures; name the run of a vae"
        )
    if run.options.condition != "none":
        raise UsageError(
            f"{run.name} is conditioned by {run.options.condition}; encoding takes a run without a condition"
        )
    if keep:
        refuse_columns(index, "reconstruct")
    network = load_generator(run).network
    ids = find_images(index, named or "origin = 'real'")
    read, latents, errors = [], [], []
    with torch.no_grad():
        for pictures in pictures_of_run(index, run, ids, job):
            x = to_unit(torch.from_numpy(np.ascontiguousarray(pictures.pixels)))
            c = torch.zeros((len(x), 0))
            mean, _ = network.encode(x, c)
            read.append(pictures.ids)
            latents.append(mean.numpy())
            errors.append(
                np.abs(to_bytes(network(mean, c), pictures.border).astype(np.float64) - pictures.inner).mean((1, 2, 3))
            )
    ids, e = np.concatenate(read), np.concatenate(errors)
    if keep:
        rows = {int(i): round(float(v), 4) for i, v in zip(ids, e, strict=True)}
        put_columns(index, "reconstruct", [rows, dict.fromkeys(rows, run.name)])
    order = np.argsort(e, kind="stable")
    half = min(shown // 2, -(-len(order) // 2))
    worst, best = order[::-1][:half], order[: min(half, len(order) - half)]  # none is both
    extremes = np.concatenate([worst, best])
    (extreme,) = pictures_of_run(index, run, ids[extremes], QUIET)
    z = np.concatenate(latents)
    with torch.no_grad():
        again = to_bytes(network(torch.from_numpy(z[extremes]), torch.zeros((len(extremes), 0))), extreme.border)
    return Encoded(ids, z, e, worst, best, np.stack([extreme.inner, again], 1))


def sections_of(index: Index, encoded: Encoded) -> list[Section]:
    """What a sheet shows: the worst and the best images, each beside its reconstruction."""
    positions = np.concatenate([encoded.worst, encoded.best])
    images = index.images(encoded.ids[positions])
    tiles = [
        # (2, C, H, W) → (C, H, 2W)
        Tile(to_picture(np.concatenate(list(pair), 2)).convert("RGB"), image.path.name, f"error {error:.1f} of 255")
        for image, error, pair in zip(images, encoded.errors[positions], encoded.shown, strict=True)
    ]
    n = len(encoded.worst)
    return [Section("The worst, each beside its reconstruction", tiles[:n]), Section("The best", tiles[n:])]


def save_latents(encoded: Encoded, target: Path) -> None:
    """Write latents to `target` (.npy) and ids beside it. Raises `UsageError`."""
    if target.suffix != ".npy":
        raise UsageError(f"latents are written as .npy, not {target.name}")
    for file, values in ((target, encoded.latents), (target.with_name(target.stem + "-ids.npy"), encoded.ids)):
        with whole_for_user(file) as beside:
            np.save(beside, values)
