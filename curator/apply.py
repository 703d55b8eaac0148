"""What a trained network says of the index's images: a classifier's labels, a VAE's latents and reconstruction errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.curate.candidates import find_images, have_content
from curator.curate.columns import put_columns, refuse_columns
from curator.curate.label import COLUMN, Labelled, keep_labels, label_columns
from curator.errors import UsageError
from curator.index import Index
from curator.records import Ids, Progress
from curator.training.folder import Run
from curator.training.options import VaeOptions
from curator.training.pictures import Bytes, Pictures, held_out, padded, read_pictures, to_bytes, to_unit

_BLOCK = 256  # images in memory at once
Told = Callable[[Progress], None]


def label_by_run(index: Index, run: Run, *, named: str | None = None, column: str = COLUMN, progress: Told = lambda p: None) -> Labelled:
    """A classifier's labels with confidence, in columns; its accuracy is that on labelled images it was not trained on.

    Raises `UsageError` for another run, or images of other channels.
    """
    import torch

    from curator.training.classifier import probabilities
    from curator.training.exporting import load_classifier

    refuse_columns(index, "label", label_columns(column))
    network = load_classifier(run)
    ids = find_images(index, named or "origin = 'real'")
    device = torch.device("cpu")
    found = [(p.ids, probabilities(network, p.pixels, device)) for p in pictures_of_run(index, run, ids, progress)]
    ids, shares = (np.concatenate(column) for column in zip(*found, strict=True))
    real = index.reader.ids_where("origin = 'real'")
    tested = ids[np.isin(ids, real) & ~have_content(index, ids, trained_digests(run))]  # a copy of what was trained on tests nothing
    source = run.facts["trained_on"]["column"]
    return keep_labels(index, ids, shares, run.shape.classes, column, tested=tested, source=source)


def trained_digests(run: Run) -> set[bytes]:
    """Contents that a run trained on."""
    hashes = [bytes.fromhex(r["sha256"]) for r in run.rows("manifest.jsonl")]
    return {h for h, out in zip(hashes, held_out(hashes, run.options.holdout), strict=True) if not out}


def held_out_ids(run: Run) -> Ids:
    """Ids of the manifest's images that a run did not train on."""
    rows = run.rows("manifest.jsonl")
    ids = np.array([r["id"] for r in rows], np.int64)
    hashes = tuple(bytes.fromhex(r["sha256"]) for r in rows)
    return ids[held_out(hashes, run.options.holdout)]


def pictures_of_run(index: Index, run: Run, ids: Ids, progress: Told) -> Iterator[Pictures]:
    """Images as the run saw its own, block by block: at its side, with its border and channels, whatever sizes they have.

    A file that cannot be read is left out. Raises `UsageError` where that is all of them.
    """
    shape = run.shape
    problems: list[str] = []
    for start in range(0, len(ids), _BLOCK):
        part = ids[start : start + _BLOCK]
        read = read_pictures([i.path for i in index.images(part)], shape.side - 2 * shape.border, fit=run.options.fit)
        problems += read.problems
        if not len(read.kept):
            continue
        pixels = read.pixels
        if pixels.shape[1] != shape.channels:
            pixels = np.repeat(pixels, 3, 1) if shape.channels == 3 else _grey(pixels)
        n = len(pixels)
        yield padded(Pictures(pixels, np.full(n, -1, np.int64), (), part[read.kept], (b"",) * n), shape.side)
        progress(Progress(start + len(part), len(ids), 0, "applying"))
    if len(problems) == len(ids):
        raise UsageError(f"none of {len(ids)} files can be read; the first: {problems[0] if problems else 'there are none'}")


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

    `shown` pairs of picture and reconstruction are returned, first the worst, then the best. Raises `UsageError` for another run.
    """
    import torch

    from curator.training.maker import load_maker

    if not isinstance(run.options, VaeOptions):
        raise UsageError(f"{run.name} trained a {run.options.trainer}, which encodes no pictures; name the run of a vae")
    if run.options.condition != "none":
        raise UsageError(f"{run.name} is conditioned by {run.options.condition}; encoding takes a run without a condition")
    if keep:
        refuse_columns(index, "reconstruct")
    network = load_maker(run).network
    ids = find_images(index, named or "origin = 'real'")
    read, latents, errors = [], [], []
    with torch.no_grad():
        for found in pictures_of_run(index, run, ids, progress):
            x = to_unit(torch.from_numpy(np.ascontiguousarray(found.pixels)))
            c = torch.zeros((len(x), 0))
            mean, _ = network.encode(x, c)
            read.append(found.ids)
            latents.append(mean.numpy())
            errors.append(np.abs(to_bytes(network(mean, c), found.border).astype(np.float64) - found.inner).mean((1, 2, 3)))
    ids, e = np.concatenate(read), np.concatenate(errors)
    if keep:
        rows = {int(i): round(float(v), 4) for i, v in zip(ids, e, strict=True)}
        put_columns(index, "reconstruct", [rows, dict.fromkeys(rows, run.name)])
    order = np.argsort(e, kind="stable")
    half = min(shown // 2, -(-len(order) // 2))
    extremes = np.concatenate([order[::-1][:half], order[:half]])  # the worst first
    (some,) = pictures_of_run(index, run, ids[extremes], lambda p: None)
    z = np.concatenate(latents)
    with torch.no_grad():
        again = to_bytes(network(torch.from_numpy(z[extremes]), torch.zeros((len(extremes), 0))), some.border)
    pairs = np.stack([some.inner, again], 1)
    return Encoded(ids, z, e, pairs.reshape(-1, *pairs.shape[2:]))


def save_latents(encoded: Encoded, target: Path) -> None:
    """Write latents to `target` (.npy) and ids beside it. Raises `UsageError`."""
    if target.suffix != ".npy":
        raise UsageError(f"latents are written as .npy, not {target.name}")
    try:
        np.save(target, encoded.latents)
        np.save(target.with_name(target.stem + "-ids.npy"), encoded.ids)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from error
