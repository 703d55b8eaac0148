"""What a training and a trained network are given: pictures of images, their labels and vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.database import Selections
from curator.embeddings import normalise
from curator.encoders import Encoder
from curator.errors import UsageError
from curator.index import Index, build_graph
from curator.index.images import vectors_of
from curator.job import QUIET, Job
from curator.records import Ids
from curator.runs.lookup import home_of
from curator.runs.pairs import read_images, reading_of, with_inputs
from curator.texts import plural
from curator.training.folder import Run
from curator.training.kinds import GanOptions, Pix2pixOptions
from curator.training.options import Options
from curator.training.pictures import (
    Bytes,
    Pictures,
    Reading,
    held_out,
    inner_side,
    padded,
    to_picture,
)

_BLOCK = 256  # images in memory at once


def pictures_of_run(index: Index, run: Run, ids: Ids, job: Job, *, block: int = _BLOCK) -> Iterator[Pictures]:
    """Images as the run saw its own, a `block` of them at a time.

    At its side, with its border and channels, whatever sizes they have. A file that cannot be read, or has changed
    since it was indexed, is left out, and said. Raises `UsageError` where that is all of them.
    """
    shape = run.shape
    problems: list[str] = []
    for start in range(0, len(ids), block):
        part = ids[start : start + block]
        read = read_images(index, part, Reading(shape.side - 2 * shape.border, run.options.fit))
        problems += read.problems
        if not len(read.kept):
            continue
        pixels = read.pixels
        if pixels.shape[1] != shape.channels:
            pixels = np.repeat(pixels, 3, 1) if shape.channels == 3 else _grey(pixels)
        n = len(pixels)
        yield padded(Pictures(pixels, np.full(n, -1, np.int64), (), part[read.kept], (b"",) * n), shape.side)
        job.progress(start + len(part), len(ids), "applying")
        job.check()
    if len(problems) == len(ids):
        raise UsageError(
            f"none of {len(ids)} files can be read; the first: {problems[0] if problems else 'there are none'}"
        )
    _say_left_out(problems, job)


def _grey(pixels: Bytes) -> Bytes:
    """(n, 3, H, W) → (n, 1, H, W) by ITU-R BT.601's weights, as Pillow's."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(np.rint(np.einsum("nchw,c->nhw", pixels, weights)).astype(np.uint8)[:, None])


@dataclass(frozen=True)
class RunPlan:
    """What a training would do: its options, the images, what they are called, and their classes."""

    options: Options
    ids: Ids
    named: str
    digest: str
    classes: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    inputs: Ids | None = None  # of pairs that are images of their own: the input of each of `ids`
    lonely: tuple[int, int] = (0, 0)  # inputs and targets without a partner, which are left out


def trained_on(index: Index, run: Run, *, job: Job = QUIET) -> Pictures:
    """The pictures of a run's manifest, with the labels they had.

    Raises `UsageError` where one has changed or is gone.
    """
    rows = run.rows("manifest.jsonl")
    listed = sum(run.facts["images"].values())
    if len(rows) != listed:
        raise UsageError(f"manifest.jsonl of {run.name} lists {len(rows)} of its {listed} images; train anew")
    ids = np.array([r["id"] for r in rows], np.int64)
    given_ids = np.array([r["input"] for r in rows if "input" in r], np.int64)
    gone = np.setdiff1d(np.concatenate([ids, given_ids]), index.reader.ids_where("1"))
    now = Selections(index.reader).sha256_of(ids) if not len(gone) else []
    changed = sum(h.hex() != r["sha256"] for h, r in zip(now, rows, strict=False))
    if len(given_ids) and not len(gone):
        inputs_now = Selections(index.reader).sha256_of(given_ids)
        changed += sum(h.hex() != r.get("input_sha256") for h, r in zip(inputs_now, rows, strict=True))
    if len(gone) or changed:
        what = f"{len(gone)} images of {run.name} are gone from the index and {changed} have changed"
        raise UsageError(f"{what}; bring the files back, or train anew")
    shape = run.shape
    read = read_images(index, ids, reading_of(run.options, shape.side - 2 * shape.border), job)
    code = {name: c for c, name in enumerate(shape.classes)}
    labels = np.array([code.get(str(r.get("label")), -1) for r in rows], np.int64)
    pictures = Pictures(read.pixels, labels, shape.classes, ids, tuple(now))
    problems = read.problems
    if isinstance(run.options, Pix2pixOptions) and not problems:
        inputs = {r["id"]: r["input"] for r in rows if "input" in r}
        pictures, problems = with_inputs(index, run.options, pictures, inputs, job)
    if problems:
        what = f"{plural(len(problems), 'file')} of {run.name} {'is' if len(problems) == 1 else 'are'}"
        raise UsageError(f"{what} not what it was trained on: {problems[0]}; bring the files back, or train anew")
    return _with_embeddings(index, run.options, pictures)


def pictures_for(index: Index, plan: RunPlan, *, column: str, job: Job = QUIET) -> Pictures:
    """Decode images at a plan's resolution, those that are held out last.

    Labels and embeddings come with them where the options ask for them.
    """
    home_of(index).mkdir(exist_ok=True)
    hashes = Selections(index.reader).sha256_of(plan.ids)
    order = np.argsort(
        held_out(hashes, plan.options.holdout), kind="stable"
    )  # so that both parts are views of one array
    ids = plan.ids[order]
    inner = inner_side(plan.sizes, plan.options.side)
    read = read_images(index, ids, reading_of(plan.options, inner), job)
    if not len(read.kept):
        raise UsageError(f"none of {len(ids)} files can be read; the first: {read.problems[0]}")
    problems = read.problems
    ids, order = ids[read.kept], order[read.kept]
    values = index.reader.values_of(column) if plan.classes else {}
    code = {name: c for c, name in enumerate(plan.classes)}
    labels = np.array([code[str(values[int(i)])] if code else -1 for i in ids], np.int64)
    pictures = Pictures(read.pixels, labels, plan.classes, ids, tuple(hashes[i] for i in order.tolist()))
    if isinstance(plan.options, Pix2pixOptions):
        paired = {} if plan.inputs is None else dict(zip(plan.ids.tolist(), plan.inputs.tolist(), strict=True))
        pictures, unread = with_inputs(index, plan.options, pictures, paired, job)
        problems += unread
    _say_left_out(problems, job)
    return _with_embeddings(index, plan.options, pictures)


def _say_left_out(problems: Sequence[str], job: Job) -> None:
    if problems:
        job.say(f"{plural(len(problems), 'file')} {'is' if len(problems) == 1 else 'are'} left out: {problems[0]}")


def _with_embeddings(index: Index, options: Options, found: Pictures) -> Pictures:
    """Pad pictures to the side, and add vectors where they are conditioned on those.

    A GAN needs the nearest neighbours too.
    """
    if options.condition != "embedding":
        return padded(found, options.side)
    x = vectors_of(index, found.ids)
    near = None
    if isinstance(options, GanOptions):
        graph = build_graph(x).neighbours[:, : options.neighbours - 1].astype(np.int64)
        itself = np.arange(len(x))[:, None]
        near = np.concatenate([itself, np.where(graph < 0, itself, graph)], 1)
    return padded(replace(found, embeddings=normalise(x.astype(np.float32)), neighbours=near), options.side)


def features_of(encoder: Callable[[], Encoder]) -> Callable[[Bytes], NDArray[np.float32]]:
    """What samples are measured with: an encoder, loaded when it is first asked."""

    def features(pixels: Bytes) -> NDArray[np.float32]:
        loaded = encoder()
        pictures: list[Image.Image] = [to_picture(p).convert("RGB") for p in pixels]
        return np.concatenate([loaded.encode_images(pictures[i : i + 64]) for i in range(0, len(pictures), 64)])

    return features
