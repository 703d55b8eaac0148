"""`curator loop`: train, generate, audit, admit, and again, for as long as held-out images say that it helps."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from curator.database import Selections
from curator.errors import IndexLocked, UsageError
from curator.evaluation.audit import FEWEST
from curator.evaluation.evaluate import EvaluateOptions, evaluate
from curator.evaluation.sides import distinct, sides_with
from curator.images import absolute
from curator.index import Index
from curator.index.columns import refuse_columns
from curator.index.images import refuse_changed
from curator.index.sureness import read_sureness
from curator.index.words import prompt
from curator.job import QUIET, Job
from curator.labelling.label import label_columns
from curator.loop.admit import COLUMN, Judging, admit, generated_of
from curator.loop.records import ADMIT, PARTS, SCORE, WATCHED, Looped, LoopOptions, Round, end_of
from curator.records import Ids, Selection
from curator.runs.lookup import generated_ids, home_of, trained_digests
from curator.runs.train import plan_training, resume_training, train_on
from curator.selection.sets import listed, split
from curator.training.folder import ENDED, Run
from curator.training.numbered import runs_in

_TRIES, _WAIT = 60, 10.0  # and seconds between them, while another process writes

T = TypeVar("T")


def loop(
    index: Index,
    named: str,
    classifier: Run | None,
    options: LoopOptions = LoopOptions(),  # noqa: B008 - frozen
    *,
    overwrite: bool = False,
    job: Job = QUIET,
) -> Looped:
    """Train on a selection, admit what the generator made where that is vouched for, and train again.

    Its own discriminator does not vouch. The selection is split in three, duplicates on one side: `NAME-loop-train`;
    `NAME-loop-admit`, on which the audit is calibrated; `NAME-loop-score`, which only scores. A generated image is
    admitted if the audit calls it novel and the classifier (None: words, zero-shot, in the index's space) is sure of
    the label that was asked for; of each label at most as many as there are real ones, so that at most half of a set is
    generated, and no real image gives way. The set of round k is `NAME-round-k`, which holds the rounds before it, so
    that a loop that was cut off goes on. Two falls of the coverage of what scores end it. Raises `UsageError` for a
    selection with generated images or without labels, or a loop of other options that was begun and is not to be
    overwritten; `UnknownName`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("`curator loop` runs as one process; `torchrun` is for `curator train`")
    facts: dict[str, Any] = {
        "classifier": classifier.name if classifier else "words",
        "of": Selections(index.reader).get(named).digest,
    }
    facts |= {"made": options.made, "sure": options.sure, "seed": options.seed, "given": dict(options.given)}
    _refuse_early(index, named, classifier)
    current, rounds = _begun(index, named, facts, overwrite=overwrite, job=job)
    _refuse_parts(index, named, classifier, job)
    while not (ended := end_of(rounds, options.rounds)):
        refuse_changed(index, current)
        run = _trained(index, current, options, job)
        status = run.state["status"]
        if status not in ENDED:
            why = (
                "diverged; begin again with other options"
                if status == "diverged"
                else "was interrupted; the same command goes on"
            )
            return Looped(
                tuple(rounds), f"the training of {run.name} {why}", current.name, interrupted=status == "interrupted"
            )
        judging = Judging(named, classifier, options.sure)
        after = partial(_after, index, current, run, judging=judging, options=options, job=job)
        done, taken = _patiently(partial(after, len(rounds) + 1), job)
        if done is None:
            return Looped(tuple(rounds), f"all that {run.name} makes is one picture", current.name)
        rounds.append(done)
        job.say(
            f"Round {done.number}: on {done.real} real and {done.generated} generated, {done.admitted} of {done.made} "
            "admitted."
        )
        current = _patiently(partial(_keep, index, named, [*current.ids.tolist(), *taken], facts, rounds), job)
    return Looped(tuple(rounds), ended, current.name)


def _after(
    index: Index, current: Selection, run: Run, number: int, *, judging: Judging, options: LoopOptions, job: Job
) -> tuple[Round | None, list[int]]:
    """Generate, score, and what is admitted; None where all that is made is one picture."""
    from curator.runs.generate import Asked, generate

    # No held-out image chooses a checkpoint.
    asked = Asked(options.made, seed=options.seed + number * 1_000_000, checkpoint="latest")
    generated = _ids_of(index, run, generate(index, run, asked, job=job).files)
    if len(distinct(index, generated)) < 2:
        return None, []
    sides = sides_with(index, generated, run, f"{judging.named}-{SCORE}")
    measures = EvaluateOptions(("manifold", "frechet"), anchors=0, seed=options.seed)
    numbers = evaluate(index, sides, measures, job=job).intervals(WATCHED)
    taken, refused = admit(index, current, run, generated, judging, job=job)
    before = len(generated_of(index, current))
    counts = (len(current) - before, before, len(generated), len(taken))
    return Round(number, run.name, *counts, refused, numbers), taken


def _patiently(work: Callable[[], T], job: Job) -> T:
    """Do what may find another process writing, which an unattended loop waits for."""
    for _ in range(_TRIES):
        try:
            return work()
        except IndexLocked:
            job.say("Another process is writing to the index; the loop waits for it.")
            time.sleep(_WAIT)
    return work()


def _refuse_early(index: Index, named: str, classifier: Run | None) -> None:
    """Raise `UsageError` or `NoTextTower` for what could only fail after a whole training."""
    refuse_columns(index, "audit")
    refuse_columns(index, "label", label_columns(COLUMN))
    values = index.reader.values_of("label")
    chosen = Selections(index.reader).get(named).ids.tolist()
    least = math.ceil(FEWEST / PARTS[ADMIT])
    if len(chosen) < least:
        raise UsageError(
            f"'{named}' has {len(chosen)} images; the loop takes {least} or more, as the audit is calibrated on some "
            "of them"
        )
    labels = {str(values[i]) for i in chosen if values.get(i) is not None}
    if classifier is None:
        if len(labels) < 2:
            raise UsageError("words vouch for a label among others: the selection has fewer than two labels")
        prompt(index, min(labels))
        learnt = read_sureness(index.reader, index.space)
        if learnt is None or math.isnan(learnt.scale):
            raise UsageError(
                "how sure words are of these pictures could not be learnt from the index's labels, so they cannot "
                "vouch; train a classifier to do it"
            )
        return
    unknown = labels - set(classifier.shape.classes)
    if unknown:
        raise UsageError(
            f"{classifier.name} knows no label '{min(unknown)}', so it can vouch for none of it; train one on all "
            "labels"
        )
    generated = np.concatenate(
        [index.reader.ids_where("origin = 'generated'", removed=removed) for removed in (False, True)]
    )
    taught = len(trained_digests(classifier) & set(Selections(index.reader).sha256_of(generated)))
    if taught:
        raise UsageError(
            f"{classifier.name} was trained on {taught} generated images; the loop takes one that saw real images only"
        )


def _refuse_parts(index: Index, named: str, classifier: Run | None, job: Job) -> None:
    """Raise `UsageError` for a part too small to calibrate on; say where the classifier knows what scores."""
    stored = Selections(index.reader)
    for part, what in ((ADMIT, "calibrate the audit on"), (SCORE, "score with")):
        held = len(stored.get(f"{named}-{part}"))
        if held < FEWEST:
            raise UsageError(f"{named}-{part} has {held} images, too few to {what}; take a larger selection")
    learnt = len(trained_digests(classifier) & set(stored.get(f"{named}-{SCORE}").sha256)) if classifier else 0
    if learnt:
        job.say(f"Note: {learnt} of the images that score taught the classifier that vouches as well.")


def _begun(
    index: Index, named: str, facts: Mapping[str, Any], *, overwrite: bool, job: Job
) -> tuple[Selection, list[Round]]:
    """The set that is next to be trained on, and the rounds before: of the loop that was begun, or the first."""
    stored = Selections(index.reader)
    names = stored.names()
    prefix = f"{named}-round-"
    there = [
        n for n in names if n.startswith(prefix) and n.removeprefix(prefix).isdigit() and "loop" in stored.get(n).recipe
    ]
    there.sort(key=lambda n: int(n.removeprefix(prefix)))
    if there and not overwrite:
        latest = stored.get(there[-1])
        if latest.recipe.get("loop") != facts:
            before = latest.recipe["loop"]
            what = ", ".join(f"{k} {before.get(k)} then and {v} now" for k, v in facts.items() if before.get(k) != v)
            raise UsageError(
                f"another loop on '{named}' was begun, with {what}; --overwrite forgets it, or a copy of the "
                "selection has its own"
            )
        return latest, [Round.from_json(r) for r in latest.recipe["rounds"]]
    if any(image.origin != "real" for image in index.images(stored.get(named).ids)):
        raise UsageError(f"'{named}' holds generated images; the loop begins with real ones, and admits others itself")
    parts = [f"{named}-{part}" for part in PARTS]
    if foreign := [p for p in parts if p in names and stored.get(p).recipe.get("shares") != PARTS]:
        raise UsageError(
            f"'{foreign[0]}' is a selection that no loop made, and would be replaced; `curator selections drop` it "
            "first"
        )
    with index.write() as db, db.atomic():
        for name in there:
            Selections(db).drop(name)
    facts_of_split = {"of": {named: facts["of"]}, "shares": PARTS, "seed": facts["seed"], "level": "verified"}
    if not overwrite and all(p in names and facts_of_split.items() <= stored.get(p).recipe.items() for p in parts):
        train = stored.get(parts[0])  # cut off right after the split
    else:
        train = split(index, named, PARTS, seed=facts["seed"], overwrite=overwrite, job=job)[0]
    return _keep(index, named, train.ids.tolist(), facts, []), []


def _keep(index: Index, named: str, ids: list[int], facts: Mapping[str, Any], rounds: list[Round]) -> Selection:
    """The set of the next round, with the rounds before it."""
    recipe = {
        "made_by": f"loop on {named}",
        "of": {named: facts["of"]},
        "loop": dict(facts),
        "rounds": [r.as_json() for r in rounds],
    }
    recipe |= {"held_out": {part: f"{named}-{part}" for part in (ADMIT, SCORE)}}
    return listed(index, f"{named}-round-{len(rounds) + 1}", ids, recipe)


def _trained(index: Index, current: Selection, options: LoopOptions, job: Job) -> Run:
    """The run of a set with these options: one that is there, gone on with if it was cut off, or a new one."""
    options_given = {"holdout": 0.0, "seed": options.seed} | dict(options.given) | {"condition": "label"}
    plan = plan_training(index, "gan", current.name, options_given)
    of = {"what": current.name, "digest": current.digest}
    there = [
        r for r in runs_in(home_of(index)) if r.options == plan.options and of.items() <= r.facts["trained_on"].items()
    ]
    if there and there[-1].state["status"] in (*ENDED, "diverged"):
        return there[-1]
    if there and there[-1].checkpoints():
        return resume_training(index, "gan", there[-1].name, job=job)[0]
    return train_on(index, plan, name=current.name, job=job)[0]


def _ids_of(index: Index, run: Run, files: Sequence[Path]) -> Ids:
    """Ids of a run's pictures by their files."""
    wanted = {absolute(f) for f in files}
    return np.array([i.id for i in index.images(generated_ids(index, run)) if i.path in wanted], np.int64)
