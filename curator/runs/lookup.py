"""Runs by name, and what of the index they were trained on, held out and generated."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curator.database import Selections, is_locked, quoted
from curator.errors import UnknownName, UsageError
from curator.index import Index
from curator.records import Ids
from curator.training.folder import LATEST, Run
from curator.training.numbered import find_run, runs_in
from curator.training.pictures import held_out
from curator.training.trainers import TRAINERS

_RUNS = "runs"
LOCK = "training.lock"  # of a run's folder: the process that trains it has it
_GOING = ("started", "training")


def status_of(run: Run) -> str:
    """How a run stands: "interrupted" where it was training when its process was killed."""
    status = str(run.state["status"])
    return "interrupted" if status in _GOING and not is_locked(run.folder, name=LOCK) else status


def makes_pictures(run: Run) -> bool:
    """Whether a run trained a generator, told by its trainer; that of a plug-in which is not here made none."""
    try:
        training = TRAINERS[run.trainer]
        return training.generator is not None or training.translator is not None
    except UnknownName:
        return False


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


def generated_ids(index: Index, run: Run, checkpoint: int | None = None) -> Ids:
    """What a run generated, of one checkpoint or all. Raises `UsageError` where nothing of it is in the index."""
    refuse_foreign(index, run)
    if not makes_pictures(run):
        raise UsageError(f"{run.name} trained a {run.trainer}, which makes no pictures; name the run of a gan or vae")
    columns = index.reader.columns()
    ids = (
        index.reader.ids_where(f"origin = 'generated' AND run = {quoted(run.name)}")
        if "run" in columns
        else np.empty(0, np.int64)
    )
    if checkpoint is not None and len(ids):
        of = index.reader.values_of("checkpoint") if "checkpoint" in columns else {}
        ids = ids[[str(of.get(int(i))) == str(checkpoint) for i in ids]]
    if not len(ids):
        what = run.name if checkpoint is None else f"checkpoint {checkpoint} of {run.name}"
        way = (
            f"`curator generate {run.name} -n 1000{'' if checkpoint is None else f' --checkpoint {checkpoint}'}` "
            "makes and indexes it"
        )
        raise UsageError(f"nothing of {what} is in the index; {way}")
    return ids


def home_of(index: Index) -> Path:
    """The folder of an index's runs."""
    return index.folder / _RUNS


def refuse_foreign(index: Index, run: Run) -> None:
    """Raise `UsageError` for a run of another index, whose ids mean nothing here."""
    if run.folder.parent.resolve() != home_of(index).resolve():
        raise UsageError(f"{run.folder} is a run of another index; name that index with -i")


def find_named(index: Index, name: str, *, numbers: bool = False) -> Run | None:
    """The run of exactly that name, or with `numbers` a number or `latest` (that makes pictures), if there is one."""
    if numbers and name == LATEST and name not in Selections(index.reader).names():
        return find_generator(index, name)
    return next((r for r in runs_in(home_of(index)) if r.name == name or (numbers and r.is_called(name))), None)


def run_of(index: Index, named: str, *, trainer: str | None = None) -> Run:
    """A run of an index, as `find_run` finds it."""
    return find_run(home_of(index), named, trainer=trainer)


def find_generator(index: Index, named: str, *, from_pictures: bool = False) -> Run:
    """A run that makes pictures, of others or of nothing, by name or number; `latest` is one that is not training now.

    Raises `UnknownName`.
    """
    if named != LATEST:
        return run_of(index, named)
    kinds = {n for n, training in TRAINERS.items() if (training.translator is not None) == from_pictures}
    there = [
        r
        for r in runs_in(home_of(index))
        if makes_pictures(r) and r.trainer in kinds and r.checkpoints() and status_of(r) not in _GOING
    ]
    if not there:
        raise UnknownName(
            "no run here makes pictures of pictures yet; `curator train pix2pix` is how one begins"
            if from_pictures
            else "no run here makes pictures yet; `curator train vae` or `curator train gan` is how one begins"
        )
    return there[-1]
