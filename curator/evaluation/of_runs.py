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
from curator.intervals import FEWEST, wilson
from curator.job import QUIET, Job
from curator.records import Ids
from curator.runs.apply import shares_of
from curator.runs.inputs import features_of, pictures_of_run
from curator.runs.lookup import held_out_ids, refuse_foreign, trained_digests
from curator.training.batches import one_hot, scaled
from curator.training.folder import Run
from curator.training.kinds import ClassifierOptions
from curator.training.trainers import TRAINERS

_PARTS = ("frechet", "manifold")  # those of a checkpoint
_ROUNDS = 20


def measure_runs(
    index: Index, runs: Sequence[Run], *, most: int = 1_000, job: Job = QUIET
) -> Mapping[str, tuple[Number | None, ...]]:
    """metric → a number with its interval for each run, None where it says nothing of one.

    Generators make as many pictures as there are held-out images, `most` at most, with seeds from 0, and are measured
    in the index's space; those that are conditioned are asked for what these images have. Classifiers are asked the
    labels of these images. All are measured on images that no run was trained on.

    Raises `UsageError` for fewer than 40 of them, runs of another index, generators of unlike sizes, classifiers of
    unlike labels, and runs that are none of these.
    """
    for run in runs:
        refuse_foreign(index, run)
    _refuse_unlike(runs)
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


def _refuse_unlike(runs: Sequence[Run]) -> None:
    """Refuse what cannot stand in one row of a table."""
    generators = [r for r in runs if TRAINERS[r.trainer].generator is not None]
    classifiers = [r for r in runs if isinstance(r.options, ClassifierOptions)]
    if not generators and not classifiers:
        raise UsageError("--measure takes runs that make pictures out of nothing, or labels")
    if len({(r.shape.side - 2 * r.shape.border, r.shape.channels) for r in generators}) > 1:
        raise UsageError("these generators make pictures of unlike sizes or colours, so their numbers do not compare")
    if len({(r.shape.classes, r.facts["trained_on"]["column"]) for r in classifiers}) > 1:
        raise UsageError("these classifiers learnt unlike labels, so their accuracies do not compare")


def _numbers(index: Index, run: Run, ids: Ids, job: Job) -> Iterator[Number]:
    if isinstance(run.options, ClassifierOptions):
        labels = _labels(index, run)
        known = ids[[labels.get(i) in run.shape.classes for i in ids.tolist()]]
        if len(known) >= FEWEST:
            asked, shares = shares_of(index, run, known, job)
            right = [labels[i] == run.shape.classes[c] for i, c in zip(asked.tolist(), shares.argmax(1), strict=True)]
            yield Number("pixels", "accuracy", float(np.mean(right)), *wilson(sum(right), len(right)), True)
    elif TRAINERS[run.trainer].generator is not None:
        features = features_of(lambda: index.encoder)
        real = np.concatenate([features(p.inner) for p in pictures_of_run(index, run, ids, job)])
        generated = features(_generated(index, run, ids))
        job.check()
        for part in _PARTS:
            numbers = with_intervals(part, generated, real, _ROUNDS, 0)
            yield from (Number(index.space.encoder, *row) for row in numbers)


def _labels(index: Index, run: Run) -> dict[int, str]:
    """image id → its value of the column that a run learnt."""
    values = index.reader.values_of(run.facts["trained_on"]["column"])
    return {i: str(v) for i, v in values.items() if v is not None}


def _generated(index: Index, run: Run, ids: Ids) -> NDArray[np.uint8]:
    """A picture for each image, with its condition; where its label is none of the run's, with one that the run saw."""
    from curator.training.generator import load_generator

    generator = load_generator(run)
    rows, codes = np.zeros((len(ids), 0), np.float32), np.full(len(ids), -1)
    if run.options.condition == "label":
        code = {name: c for c, name in enumerate(run.shape.classes)}
        seen = [code[r["label"]] for r in run.rows("manifest.jsonl") if r.get("label") in code]
        drawn, labels = np.random.default_rng(0).choice(seen, len(ids)), _labels(index, run)
        codes = np.array([code.get(labels.get(i, ""), d) for i, d in zip(ids.tolist(), drawn.tolist(), strict=True)])
        rows = one_hot(codes, len(code))
    elif run.options.condition == "embedding":
        rows = scaled(unit_vectors_of(index, ids))
    sampler = generator.samplers[0]
    z = [generator.latent(seed, sampler=sampler, label=c) for seed, c in enumerate(codes.tolist())]
    return generator.make_many(np.stack(z), rows)
