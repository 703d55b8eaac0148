"""The two sides of a measurement: images judged, and held-out images to compare with, each once and none on both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from curator.database import Curation, Selections
from curator.errors import UnknownName, UsageError
from curator.index import Index
from curator.index.images import find_images, have_content, vectors_of
from curator.records import Ids
from curator.registry import suggest
from curator.runs.lookup import find_named, generated_ids, held_out_ids, home_of, trained_digests
from curator.training.folder import Run
from curator.training.numbered import runs_in

_FEW = 500  # images under which intervals are wide
_LEAST_OF_LABEL = 20  # images of one label that others of it are compared with


@dataclass(frozen=True)
class Sides:
    """Ids judged and ids to compare with, each content once, and what is said about them."""

    what: str
    x: Ids
    reference: str
    y: Ids
    distinct: float
    notes: list[str] = field(default_factory=list)


def sides_of(index: Index, named: str, reference: str | None = None, *, checkpoint: str | None = None) -> Sides:
    """Find both sides of a measurement.

    What is judged is a run's generated images, of one checkpoint if it is named, a selection, folder or condition.
    `reference` None takes what the run itself held out. Left out are images to compare with that are judged too, that
    the run was trained on, or were generated; and of both sides copies, in files or in vectors: a second one would make
    radii of 0. Raises `UsageError`, `UnknownName`.
    """
    run = find_named(index, named, numbers=True)
    notes: list[str] = []
    if run is None and checkpoint is not None:
        raise UsageError(f"'{named}' is no run, so it has no checkpoints")
    try:
        x = _fresh(index, run, checkpoint, notes) if run else find_images(index, named)
    except UnknownName as error:
        there = [r.name for r in runs_in(home_of(index))] + Selections(index.reader).names()
        raise UnknownName(f"no run, selection or folder '{named}'; {suggest(named, there)}") from error
    return sides_with(index, x, run or named, reference, notes)


def sides_with(index: Index, x: Ids, what: Run | str, reference: str | None, notes: Sequence[str] = ()) -> Sides:
    """The same for images `x` that a run generated, or that are called so."""
    run, name = (what, what.name) if isinstance(what, Run) else (None, what)
    notes = list(notes)
    y, said = _reference(index, run, reference)
    if run and len(run.rows("metrics.jsonl")) > 1 and np.isin(y, held_out_ids(run)).any():
        notes.append(
            f"{run.name}'s best checkpoint was chosen by these very images, or some of them, which flatters it"
        )
    y = _of_label(index, x, y, notes) if run else y
    y = _apart(index, y, x, run, notes)
    once, y = _once(index, x, notes, name), _once(index, y, notes, said)
    n, m = len(once), len(y)
    if n < 2 or m < 2:
        raise UsageError(
            f"metrics take two images or more on each side; '{name}' has {n}, and '{said}' {m} that it does not share"
        )
    if n != m:
        notes.append(
            f"{n} against {m} images: most numbers depend on n, coverage, recall and distances above all; compare "
            "those of equal n only"
        )
    if min(n, m) < _FEW:
        notes.append(f"fewer than {_FEW} images on one side: trust the intervals, not the values")
    return Sides(name, once, said, y, n / len(x), notes)


def _fresh(index: Index, run: Run, checkpoint: str | None, notes: list[str]) -> Ids:
    """What a run generated, without what lies between training images; a mixture is noted."""
    ids = generated_ids(index, run, None if checkpoint is None else run.checkpoint(checkpoint))
    columns = set(index.reader.columns())
    near = index.reader.values_of("near_data") if "near_data" in columns else {}
    fresh = ids[[str(near.get(int(i))).lower() not in ("1", "true") for i in ids]]
    if not len(fresh):
        raise UsageError(
            f"all of {run.name} in the index was interpolated between training images (`--sampler near`), which is "
            "not measured"
        )
    if len(fresh) < len(ids):
        notes.append(f"{len(ids) - len(fresh)} interpolated between training images (`--sampler near`) are left out")
    for column in ("checkpoint", "psi", "sampler"):
        values = index.reader.values_of(column) if column in columns else {}
        mixed = sorted({str(values.get(int(i))) for i in fresh})
        if len(mixed) > 1:
            notes.append(f"images of several values of {column} are judged together: {', '.join(mixed)}")
    return fresh


def _reference(index: Index, run: Run | None, reference: str | None) -> tuple[Ids, str]:
    """Held-out images and what they are called."""
    if reference is not None:
        return find_images(index, reference), reference
    if run is None:
        raise UsageError("name the held-out images to compare with: --reference SELECTION|FOLDER|CONDITION")
    ids = held_out_ids(run)
    ids = ids[np.isin(ids, index.reader.ids_where("1"))]
    if not len(ids):
        raise UsageError(
            f"{run.name} held nothing out; name real images that it has not seen with --reference, or train with "
            "--holdout 0.1"
        )
    return ids, f"held out by {run.name}"


def _of_label(index: Index, x: Ids, y: Ids, notes: list[str]) -> Ids:
    """Where all images judged were asked for by one label, the images of the reference that have it."""
    label_of = index.reader.values_of("label")
    asked, there = ({label_of.get(int(i)) for i in ids} for ids in (x, y))
    label = next(iter(asked), None)
    if len(asked) != 1 or label is None or there <= {label}:
        return y
    same = np.array([i for i in y.tolist() if label_of.get(i) == label], np.int64)
    if len(same) < _LEAST_OF_LABEL:
        notes.append(
            f"all that is judged is '{label}', and of the {len(y)} images to compare with {len(same)} are: so it is "
            "compared with other labels too"
        )
        return y
    notes.append(f"all that is judged is '{label}', so it is compared with the {len(same)} of {len(y)} images that are")
    return same


def _apart(index: Index, y: Ids, x: Ids, run: Run | None, notes: list[str]) -> Ids:
    """The reference, without images that are judged too or, for a run, that it was trained on or generated.

    Images are told by file and by vector.
    """
    known = trained_digests(run) if run else set()
    real = set(index.reader.ids_where("origin = 'real'").tolist()) if run else set(y.tolist())
    learnt = Curation(index.reader).nodes(index.space).image_ids if known else np.empty(0, np.int64)
    seen = known.union(*keys_of(index, x), *keys_of(index, learnt[have_content(index, learnt, known)]))
    ids_left = [i for i, keys in zip(y.tolist(), keys_of(index, y), strict=True) if not seen & keys and i in real]
    if len(ids_left) < len(y):
        what = "are judged as well" if run is None else "the run was trained on, or were generated,"
        notes.append(f"{len(y) - len(ids_left)} of {len(y)} images to compare with {what} and are left out")
    return np.array(ids_left, np.int64)


def keys_of(index: Index, ids: Ids) -> list[set[bytes]]:
    """(n,) the digests of each image's content and of its stored vector: two that share one are copies."""
    hashes = Selections(index.reader).sha256_of(ids)
    return [
        {h, hashlib.blake2b(row.tobytes(), digest_size=16).digest()}
        for h, row in zip(hashes, vectors_of(index, ids), strict=True)
    ]


def distinct(index: Index, ids: Ids, seen: set[bytes] | None = None) -> Ids:
    """Each content and each vector once, in order, and none of those `seen`."""
    seen, ids_once = set(seen or ()), []
    for image_id, keys in zip(ids.tolist(), keys_of(index, ids), strict=True):
        if not seen & keys:
            ids_once.append(image_id)
        seen |= keys
    return np.array(ids_once, np.int64)


def _once(index: Index, ids: Ids, notes: list[str], what: str) -> Ids:
    ids_once = distinct(index, ids)
    if len(ids_once) < len(ids):
        notes.append(f"{len(ids) - len(ids_once)} copies within '{what}' count once")
    return ids_once
