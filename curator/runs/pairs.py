"""Pairs of pictures to train on: two sets of images joined by name, the halves of each picture, or made of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from curator.database import Curation, Selections
from curator.database.curation import rejected_ids
from curator.errors import UsageError
from curator.index import Index
from curator.index.images import find_images
from curator.job import QUIET, Job
from curator.records import Ids
from curator.runs.lookup import home_of
from curator.training.kinds import Pix2pixOptions
from curator.training.options import Options
from curator.training.pairs import GIVEN, input_of, joined, made_pairs
from curator.training.pictures import Bytes, Loaded, Pictures, Reading, read_pictures

_FEW = 3  # names that an error lists


@dataclass(frozen=True)
class Paired:
    """Ids of inputs and of their targets (n,), in the order of these; how many of each have no partner."""

    inputs: Ids
    targets: Ids
    lonely: tuple[int, int]


def paired_ids(index: Index, inputs: str, targets: str, allowed: Ids) -> Paired:
    """Images of two names whose files are called alike.

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
    ids, target_ids = (np.array([stems[s] for s in both], np.int64) for stems in (of_input, of_target))
    return Paired(ids, target_ids, (len(of_input) - len(both), len(of_target) - len(both)))


def _by_stem(index: Index, named: str, allowed: Ids) -> dict[str, int]:
    ids = find_images(index, named)
    images = index.images(ids[np.isin(ids, allowed)])
    stems = {image.path.stem: image.id for image in images}
    if len(stems) < len(images):
        seen: set[str] = set()
        double = next(i.path.stem for i in images if i.path.stem in seen or seen.add(i.path.stem))  # type: ignore[func-returns-value]
        raise UsageError(f"several files of {named} are called '{double}', so that pairs cannot be told by name")
    return stems


def reading_of(options: Options, side: int) -> Reading:
    """How a run reads files: of those that hold two pictures side by side, both halves."""
    return Reading(side, options.fit, halves=isinstance(options, Pix2pixOptions) and options.source == "halves")


def read_images(index: Index, ids: Ids, reading: Reading, job: Job = QUIET) -> Loaded:
    """The files of images, those that still have the content that was indexed."""
    images = index.images(ids)
    hashes = [i.sha256 for i in images]
    return read_pictures([i.path for i in images], reading, sha256=hashes, home=home_of(index), job=job)


def with_inputs(
    index: Index, options: Pix2pixOptions, read: Pictures, inputs: Mapping[int, int], job: Job
) -> tuple[Pictures, tuple[str, ...]]:
    """Pictures as read → pairs (n, 6, H, W), and why others are none; `inputs` maps a target's id to its input's.

    Raises `UsageError` where no input can be read.
    """
    if options.source == "pairs":
        ids = np.array([inputs[int(i)] for i in read.ids], np.int64)
        sources = read_images(index, ids, Reading(read.pixels.shape[2], options.fit), job)
        if not len(sources.kept):
            raise UsageError(f"none of the {len(ids)} inputs can be read; the first: {sources.problems[0]}")
        read, ids = read.taken(sources.kept), ids[sources.kept]
        hashes = tuple(Selections(index.reader).sha256_of(ids))
        pixels = joined(sources.pixels, read.pixels)
        return replace(read, pixels=pixels, inputs=ids, input_sha256=hashes), sources.problems
    if options.source == "halves":
        return replace(read, pixels=joined(*sides_of(read.pixels, options))), ()
    return replace(read, pixels=made_pairs(read.pixels, options.source)), ()


def sides_of(pixels: Bytes, options: Pix2pixOptions) -> tuple[Bytes, Bytes]:
    """(n, C, H, 2H) → inputs and targets, (n, C, H, H) each."""
    side = pixels.shape[2]
    halves = (pixels[..., :side], pixels[..., side:])
    return halves[::-1] if options.reverse else halves


def input_pixels(path: Path, sha256: str, options: Pix2pixOptions, side: int, *, as_is: bool) -> Bytes:
    """(1, 3, side, side): what a network sees of a file, as in training, or with `as_is` the picture itself.

    Raises `PictureError`, also for another content than that of a `sha256`.
    """
    reading = Reading(side, options.fit) if as_is else reading_of(options, side)
    # (1, C, H, W)
    pixels = reading.read(path, sha256).transpose(2, 0, 1)[None]
    if reading.halves:
        return sides_of(pixels, options)[0]
    return pixels if as_is or options.source in GIVEN else input_of(pixels[0], options.source)[None]
