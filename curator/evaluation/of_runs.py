"""Runs beside each other: what they make and say, measured on images that none of them was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from curator.errors import UsageError
from curator.evaluation.evaluate import Number, with_intervals
from curator.index import Index
from curator.index.images import have_content, unit_vectors_of
from curator.intervals import wilson
from curator.job import QUIET, Job
from curator.records import Ids
from curator.runs.apply import shares_of
from curator.runs.inputs import features_of, pictures_of_run
from curator.runs.lookup import held_out_ids, trained_digests
from curator.training.batches import one_hot, scaled
from curator.training.folder import Run
from curator.training.kinds import ClassifierOptions
from curator.training.trainers import TRAINERS

FEWEST = 40  # images that intervals are drawn of
_PARTS = ("frechet", "manifold")  # those of a checkpoint
_ROUNDS = 20


def measure_runs(
    index: Index, runs: Sequence[Run], *, most: int = 1_000, job: Job = QUIET
) -> Mapping[str, tuple[Number | None, ...]]:
    """metric → a number with its interval for each run, None where it says nothing of one.

    Generators make as many pictures as there are held-out images, `most` at most, with seeds from 0 and the conditions
    of those images, and are measured in the index's space; classifiers are asked the labels of those images. All are
    measured on images that no run was trained on. Raises `UsageError` for fewer than 40 of them.
    """
    ids = unseen_by(index, runs)
    if len(ids) < FEWEST:
        raise UsageError(
            f"{len(ids)} images are held out of all these runs, and intervals take {FEWEST}; "
            "train with a larger --holdout"
        )
    ids = np.sort(np.random.default_rng(0).permutation(ids)[:most])
    columns = [{n.metric: n for n in _numbers(index, run, ids, job)} for run in runs]
    return {m: tuple(c.get(m) for c in columns) for m in dict.fromkeys(m for c in columns for m in c)}


def unseen_by(index: Index, runs: Sequence[Run]) -> Ids:
    """Ascending ids of images that some of the runs held out, and none was trained on, in any copy."""
    held = reduce(np.union1d, [held_out_ids(run) for run in runs])
    present = np.intersect1d(held, index.reader.ids_where("1"))
    return present[~have_content(index, present, set().union(*map(trained_digests, runs)))]


def _numbers(index: Index, run: Run, ids: Ids, job: Job) -> Iterator[Number]:
    space = index.space.encoder
    if isinstance(run.options, ClassifierOptions):
        labels = {r["id"]: r.get("label") for r in run.rows("manifest.jsonl")}
        asked, shares = shares_of(index, run, ids[[labels.get(int(i)) is not None for i in ids]], job)
        right = [labels[i] == run.shape.classes[c] for i, c in zip(asked.tolist(), shares.argmax(1), strict=True)]
        yield Number("pixels", "accuracy", float(np.mean(right)), *wilson(sum(right), len(right)), True)
    elif TRAINERS[run.trainer].generator is not None:
        features = features_of(lambda: index.encoder)
        real = np.concatenate([features(p.inner) for p in pictures_of_run(index, run, ids, job)])
        generated = features(_made(index, run, ids))
        job.check()
        for part in _PARTS:
            yield from (Number(space, *row) for row in with_intervals(part, generated, real, _ROUNDS, 0))


def _made(index: Index, run: Run, ids: Ids) -> NDArray[np.uint8]:
    """A picture for each image, with its condition."""
    from curator.training.generator import load_generator

    generator = load_generator(run)
    rows, codes = np.zeros((len(ids), 0), np.float32), np.full(len(ids), -1)
    if run.options.condition == "label":
        labels = {r["id"]: r.get("label") for r in run.rows("manifest.jsonl")}
        classes = run.shape.classes
        codes = np.array([classes.index(labels[i]) if labels.get(i) in classes else 0 for i in ids.tolist()])
        rows = one_hot(codes, len(classes))
    elif run.options.condition == "embedding":
        rows = scaled(unit_vectors_of(index, ids))
    sampler = generator.samplers[0]
    z = [generator.latent(seed, sampler=sampler, label=code) for seed, code in enumerate(codes.tolist())]
    return generator.make_many(np.stack(z), rows)
