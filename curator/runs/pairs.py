"""Pairs of pictures to train on: two sets of images joined by name, the halves of each picture, or made of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from curator.database import Curation, Selections
from curator.database.curation import rejected_ids
from curator.errors import PictureError, UsageError
from curator.images import read_picture
from curator.index import Index
from curator.index.images import find_images
from curator.job import Job
from curator.records import Ids
from curator.training.kinds import Pix2pixOptions
from curator.training.pairs import coloured, joined, made_pairs
from curator.training.pictures import Bytes, Pictures, fitted, read_pictures

_FEW = 3  # names that an error lists


def paired_ids(index: Index, inputs: str, targets: str, allowed: Ids) -> tuple[Ids, Ids]:
    """Ids of inputs and of their targets, in the order of these: images of two names whose files are called alike.

    Targets are among the `allowed` ids; rejected inputs and what is in one alone are left out. Raises `UsageError`
    where no two are, or where several in one are called alike.
    """
    if inputs == targets:
        raise UsageError(f"--pairs names {inputs} twice; name the inputs, and then what they should become")
    curation = Curation(index.reader)
    rejected = np.array(sorted(rejected_ids(curation)), np.int64)
    of_input = _by_stem(index, inputs, np.setdiff1d(curation.nodes(index.space).image_ids, rejected))
    of_target = _by_stem(index, targets, allowed)
    both = sorted(of_input.keys() & of_target.keys(), key=lambda stem: of_target[stem])
    if not both:
        examples = ", ".join([*sorted(of_input)[:_FEW], *sorted(of_target)[:_FEW]])
        raise UsageError(f"no file of {inputs} is called as one of {targets} but for its suffix: {examples}")
    return np.array([of_input[s] for s in both], np.int64), np.array([of_target[s] for s in both], np.int64)


def _by_stem(index: Index, named: str, allowed: Ids) -> dict[str, int]:
    ids = find_images(index, named)
    images = index.images(ids[np.isin(ids, allowed)])
    stems = {image.path.stem: image.id for image in images}
    if len(stems) < len(images):
        seen: set[str] = set()
        double = next(i.path.stem for i in images if i.path.stem in seen or seen.add(i.path.stem))  # type: ignore[func-returns-value]
        raise UsageError(f"several files of {named} are called '{double}', so that pairs cannot be told by name")
    return stems


def with_inputs(index: Index, options: Pix2pixOptions, read: Pictures, inputs: Mapping[int, int], job: Job) -> Pictures:
    """Pictures as read → pairs (n, 6, H, W); `inputs` maps a target's id to its input's, for pairs of two names.

    Raises `UsageError` for an input that cannot be read.
    """
    side = read.pixels.shape[2]
    if options.source == "pairs":
        ids = np.array([inputs[int(i)] for i in read.ids], np.int64)
        sources = read_pictures([i.path for i in index.images(ids)], side, fit=options.fit, job=job)
        if sources.problems:
            raise UsageError(f"{len(sources.problems)} inputs of pairs cannot be read: {sources.problems[0]}")
        hashes = tuple(Selections(index.reader).sha256_of(ids))
        return replace(read, pixels=joined(sources.pixels, read.pixels), inputs=ids, input_sha256=hashes)
    if options.source == "halves":
        return replace(read, pixels=_halves(index, read, options, side, job))
    return replace(read, pixels=made_pairs(read.pixels, options.source))


def _halves(index: Index, read: Pictures, options: Pix2pixOptions, side: int, job: Job) -> Bytes:
    pairs = np.empty((len(read), 6, side, side), np.uint8)
    for n, image in enumerate(index.images(read.ids)):
        try:
            left, right = halves_of(read_picture(image.path, side=2 * side))
        except PictureError as error:
            raise UsageError(f"{error}; leave it out of the selection") from error
        halves = [right, left] if options.reverse else [left, right]
        square = [np.asarray(fitted(half, side, options.fit).convert("RGB")).transpose(2, 0, 1) for half in halves]
        pairs[n] = np.concatenate(square)
        job.progress(n + 1, len(read), "halving")
        job.check()
    return pairs


def halves_of(picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The left and the right half of a picture."""
    middle = picture.width // 2
    return picture.crop((0, 0, middle, picture.height)), picture.crop((picture.width - middle, 0, *picture.size))


def square_input(path: Path, side: int, fit: str) -> Bytes:
    """(1, 3, side, side) of a file, as pairs are read. Raises `PictureError`."""
    picture = fitted(read_picture(path, side=side), side, fit).convert("RGB")
    return coloured(np.asarray(picture).transpose(2, 0, 1)[None])
