"""What a trained network says of the index's images: a classifier's labels, a VAE's latents and reconstruction errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.curate.candidates import find_images
from curator.curate.label import COLUMN, Labelled, keep_labels, refuse_taken
from curator.database import Selections
from curator.errors import UsageError
from curator.index import Index
from curator.records import Ids, Progress
from curator.train import pictures_for
from curator.training.exporting import load_classifier
from curator.training.folder import Run
from curator.training.maker import load_maker
from curator.training.options import Options, VaeOptions
from curator.training.pictures import Bytes, Pictures, to_bytes, to_unit

_BLOCK = 2_048  # images in memory at once
_ALL = "1"
Told = Callable[[Progress], None]


def label_by_run(index: Index, run: Run, *, named: str | None = None, column: str = COLUMN, progress: Told = lambda p: None) -> Labelled:
    """A classifier's labels with confidence, in columns; its accuracy is that on labelled images it was not trained on.

    Raises `UsageError` for another run, or images of other channels.
    """
    import torch

    from curator.training.classifier import probabilities

    network = load_classifier(run)
    ids = find_images(index, named or _ALL)
    device = torch.device("cpu")
    shares = [probabilities(network, p.pixels, device) for p in pictures_of_run(index, run, ids, progress)]
    seen = np.array([r["id"] for r in run.rows("manifest.jsonl")], np.int64)
    tested = np.setdiff1d(ids, np.setdiff1d(seen, held_out_ids(run)))
    source = run.facts["trained_on"]["column"]
    return keep_labels(index, ids, np.concatenate(shares), run.shape.classes, column, tested=tested, source=source)


def held_out_ids(run: Run) -> Ids:
    """Ids of the manifest's images that a run did not train on."""
    rows = run.rows("manifest.jsonl")
    ids = np.array([r["id"] for r in rows], np.int64)
    hashes = tuple(bytes.fromhex(r["sha256"]) for r in rows)
    return Pictures(np.empty((len(rows), 1, 1, 1), np.uint8), ids, (), ids, hashes).divide(run.options.holdout)[1].ids


def pictures_of_run(index: Index, run: Run, ids: Ids, progress: Told) -> Iterator[Pictures]:
    """Images as the run saw them, block by block. Raises `UsageError` where they have other channels."""
    wanted = run.shape
    for start in range(0, len(ids), _BLOCK):
        part = ids[start : start + _BLOCK]
        found = pictures_for(index, _plain(run.options), part, (), "label")
        pixels = found.pixels
        if found.shape.channels != wanted.channels:
            pixels = np.repeat(pixels, 3, 1) if wanted.channels == 3 else _grey(pixels)
        yield replace(found, pixels=pixels)
        progress(Progress(start + len(part), len(ids), 0, "applying"))


def _plain(options: Options) -> Options:
    return replace(options, condition="none")


def _grey(pixels: Bytes) -> Bytes:
    """(n, 3, H, W) → (n, 1, H, W) by ITU-R BT.601's weights, as Pillow's."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(np.rint(np.einsum("nchw,c->nhw", pixels, weights)).astype(np.uint8)[:, None])


@dataclass(frozen=True)
class Encoded:
    """`latents` (n, d) of images `ids` (n,); mean absolute `errors` (n,) of their reconstructions, in levels of 255; some of both."""

    ids: Ids
    latents: NDArray[np.float32]
    errors: NDArray[np.float64]
    shown: Bytes


def encode(
    index: Index, run: Run, *, named: str | None = None, keep: bool = True, shown: int = 16, progress: Told = lambda p: None
) -> Encoded:
    """Images through a VAE and back. With `keep` their errors become the column `reconstruction_error`, to filter by.

    `shown` pairs of picture and reconstruction are returned, half of the best and half of the worst. Raises `UsageError` for another run.
    """
    import torch

    if not isinstance(run.options, VaeOptions):
        raise UsageError(f"{run.name} trained a {run.options.trainer}, which encodes no pictures; name the run of a vae")
    if run.options.condition != "none":
        raise UsageError(f"{run.name} is conditioned by {run.options.condition}; encoding takes a run without a condition")
    network = load_maker(run).network
    ids = find_images(index, named or _ALL)
    latents, errors, kept = [], [], []
    with torch.no_grad():
        for found in pictures_of_run(index, run, ids, progress):
            x = to_unit(torch.from_numpy(np.ascontiguousarray(found.pixels)))
            c = torch.zeros((len(x), 0))
            mean, _ = network.encode(x, c)
            again = to_bytes(network(mean, c), found.border)
            latents.append(mean.numpy())
            errors.append(np.abs(again.astype(np.float64) - found.inner).mean((1, 2, 3)))
            kept.append(np.stack([found.inner, again], 1))
    e = np.concatenate(errors)
    if keep:
        refuse_taken(index, "reconstruction_error")
        with index.write() as db, db.atomic():
            Selections(db).put_computed("reconstruction_error", {int(i): round(float(v), 4) for i, v in zip(ids, e, strict=True)})
    order = np.argsort(e, kind="stable")
    half = min(shown // 2, len(order) // 2)
    pairs = np.concatenate(kept)[np.concatenate([order[:half], order[len(order) - half :]])]
    return Encoded(ids, np.concatenate(latents), e, pairs.reshape(-1, *pairs.shape[2:]))


def save_latents(encoded: Encoded, target: Path) -> None:
    """Write latents to `target` (.npy) and ids beside it. Raises `UsageError`."""
    if target.suffix != ".npy":
        raise UsageError(f"latents are written as .npy, not {target.name}")
    try:
        np.save(target, encoded.latents)
        np.save(target.with_name(target.stem + "-ids.npy"), encoded.ids)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from error
