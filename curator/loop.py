"""`curator loop`: train, generate, audit, admit, and again, for as long as held-out images say that it helps."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from curator.apply import label_by_run
from curator.audit import audit
from curator.curate.label import label_by_words
from curator.curate.sets import listed, split
from curator.database import Selections
from curator.errors import UsageError
from curator.evaluate import evaluate, sides_of
from curator.generate import Asked, generate
from curator.index import Index
from curator.records import Progress, Selection
from curator.train import home_of, plan_training, resume_training, train_on
from curator.training.folder import Run, runs_in

PARTS = {"train": 0.7, "admit": 0.15, "score": 0.15}
_COLUMN = "loop_label"  # of what vouches
_WATCHED = ("coverage", "recall", "precision", "frechet_distance")
_DONE = ("finished", "out of time", "stopped early")

Told = Callable[[Progress], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class LoopOptions:
    """At most `rounds`; `made` pictures in each; `given` options of the GAN's training; `sure`, the classifier's least confidence."""

    rounds: int = 3
    made: int = 500
    sure: float = 0.9
    seed: int = 0
    given: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.made < 1:
            raise UsageError("--rounds and -n take 1 or more")
        if not 0 < self.sure <= 1:
            raise UsageError(f"--sure takes a confidence above 0 and up to 1, not {self.sure}")


@dataclass(frozen=True)
class Round:
    """One round: what it trained on, what it made, what was admitted for the next and why the rest was not; and `numbers` of what it made

    beside the images held out for scoring: value, and ends of the 95 % interval.
    """

    number: int
    run: str
    real: int
    generated: int
    made: int
    admitted: int
    refused: Mapping[str, int]
    numbers: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Looped:
    """The rounds, why there were no more, and the selection of real and admitted images that they left."""

    rounds: tuple[Round, ...]
    ended: str
    selection: str


def loop(
    index: Index,
    named: str,
    classifier: Run | None,
    options: LoopOptions = LoopOptions(),
    *,
    overwrite: bool = False,
    progress: Told = lambda p: None,
    say: Say = lambda line: None,
) -> Looped:
    """Train on a selection, and admit what the generator made where something other than its own discriminator vouches for it.

    The selection is split in three, duplicates on one side: `NAME-train`; `NAME-admit`, on which the audit is calibrated; `NAME-score`,
    which only scores. A generated image is admitted if the audit calls it novel and the classifier (None: words, zero-shot, in the index's
    space) is sure of the label that was asked for; of each label at most as many as there are real ones, so that at most half of a set is
    generated, and no real image gives way. The set of round k is `NAME-round-k`, which holds the rounds before it, so that a loop that was
    cut off goes on. Two falls of the coverage of what scores end it. Raises `UsageError` for a selection with generated images or without
    labels, or a loop of other options that was begun and is not to be overwritten; `UnknownName`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("`curator loop` runs as one process; `torchrun` is for `curator train`")
    if classifier is not None:
        _refuse_taught(index, classifier)
    facts: dict[str, Any] = {"classifier": classifier.name if classifier else "words", "of": Selections(index.reader).get(named).digest}
    facts |= {"made": options.made, "sure": options.sure, "seed": options.seed, "given": dict(options.given)}
    current, rounds = _begun(index, named, facts, overwrite=overwrite, progress=progress)
    while not (ended := _end_of(rounds, options.rounds)):
        number = len(rounds) + 1
        run = _trained(index, current, options, progress, say)
        if run.state["status"] not in _DONE:
            return Looped(tuple(rounds), f"{run.name} was interrupted; the same command goes on", current.name)
        generate(index, run, Asked(options.made, seed=options.seed + number * 1_000_000), progress=progress)
        found = evaluate(
            index, sides_of(index, run.name, f"{named}-score"), parts=("manifold", "frechet"), seed=options.seed, progress=progress
        )
        numbers = {name: (n.value, n.low, n.high) for name in _WATCHED for n in [found.number(name)]}
        vouched, refused = _vouched(index, run, classifier, f"{named}-admit", sure=options.sure, progress=progress)
        admitted = [i.id for i in index.images(current.ids) if i.origin != "real"]
        fresh = _within(_room(index, current, admitted), vouched)
        refused["beyond the quota"] = len(vouched) - len(fresh)
        real = len(current) - len(admitted)
        rounds.append(Round(number, run.name, real, len(admitted), options.made, len(fresh), refused, numbers))
        say(f"Round {number}: on {real} real and {len(admitted)} generated, {len(fresh)} of {options.made} admitted.")
        current = _keep(index, named, [*current.ids.tolist(), *fresh], facts, rounds)
    return Looped(tuple(rounds), ended, current.name)


def _begun(index: Index, named: str, facts: Mapping[str, Any], *, overwrite: bool, progress: Told) -> tuple[Selection, list[Round]]:
    """The set that is next to be trained on, and the rounds before: of the loop that was begun, or the first."""
    kept = Selections(index.reader)
    names = kept.names()
    there = sorted((n for n in names if n.startswith(f"{named}-round-") and n.rpartition("-")[2].isdigit()), key=_number)
    if there and not overwrite:
        latest = kept.get(there[-1])
        if latest.recipe.get("loop") != facts:
            raise UsageError(
                f"another loop on '{named}' was begun, with other options, images or classifier: {there[-1]}; --overwrite forgets it, "
                "or give the selection another name"
            )
        return latest, [Round(**r) for r in latest.recipe["rounds"]]
    if any(image.origin != "real" for image in index.images(kept.get(named).ids)):
        raise UsageError(f"'{named}' holds generated images; the loop begins with real ones, and admits others itself")
    with index.write() as db, db.atomic():
        for name in there:
            Selections(db).drop(name)
    made = {"of": {named: facts["of"]}, "shares": PARTS, "seed": facts["seed"]}
    parts = [f"{named}-{part}" for part in PARTS]
    if not overwrite and all(p in names and made.items() <= kept.get(p).recipe.items() for p in parts):
        train = kept.get(parts[0])  # cut off right after the split
    else:
        train = split(index, named, PARTS, seed=facts["seed"], overwrite=overwrite, progress=progress)[0]
    return _keep(index, named, train.ids.tolist(), facts, []), []


def _keep(index: Index, named: str, ids: list[int], facts: Mapping[str, Any], rounds: list[Round]) -> Selection:
    """The set of the next round, with the rounds before it."""
    told = {"made_by": f"loop on {named}", "loop": dict(facts), "rounds": [asdict(r) for r in rounds]}
    return listed(index, f"{named}-round-{len(rounds) + 1}", ids, told)


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def _end_of(rounds: list[Round], most: int) -> str:
    """Why there is no further round, or ""."""
    coverage = [r.numbers["coverage"][0] for r in rounds]
    if sum(after < before for before, after in pairwise(coverage)) >= 2:
        return "coverage of the held-out images fell twice"
    if rounds and not rounds[-1].admitted:
        return "nothing was admitted"
    return f"all {most} rounds are done" if len(rounds) >= most else ""


def _trained(index: Index, current: Selection, options: LoopOptions, progress: Told, say: Say) -> Run:
    """The run of a set: one that is there, gone on with if it was cut off, or a new one."""
    of = {"what": current.name, "digest": current.digest}
    there = [r for r in runs_in(home_of(index)) if r.trainer == "gan" and of.items() <= r.facts.get("trained_on", {}).items()]
    if there and there[-1].state["status"] in _DONE:
        return there[-1]
    if there and there[-1].checkpoints():
        return resume_training(index, "gan", there[-1].name, progress=progress, say=say)[0]
    given = {"holdout": 0.0, "seed": options.seed} | dict(options.given) | {"condition": "label"}
    return train_on(index, plan_training(index, "gan", current.name, given), name=current.name, progress=progress, say=say)[0]


def _refuse_taught(index: Index, classifier: Run) -> None:
    """A classifier that learnt from generated images vouches for its own teachers."""
    made = set(index.reader.ids_where("origin = 'generated'").tolist())
    taught = sum(r["id"] in made for r in classifier.rows("manifest.jsonl"))
    if taught:
        raise UsageError(f"{classifier.name} was trained on {taught} generated images; the loop takes one that saw real images only")


def _vouched(
    index: Index, run: Run, classifier: Run | None, held: str, *, sure: float, progress: Told
) -> tuple[dict[int, str], dict[str, int]]:
    """Image id → label of what may be admitted; and how many were not, by reason."""
    looked = audit(index, run, held_out=held, progress=progress)
    novel = {f.image_id for f in looked.findings if f.label == "novel"}
    refused = Counter(f.label for f in looked.findings if f.label != "novel")
    where = f"origin = 'generated' AND run = '{run.name}'"
    if classifier is None:
        said = label_by_words(index, run.shape.classes, where=where, column=_COLUMN)
    else:
        said = label_by_run(index, classifier, named=where, column=_COLUMN, progress=progress)
    asked = index.reader.values_of("label")
    vouched = {}
    for image_id in sorted(novel):
        label, confidence = said.predictions[image_id]
        if label != str(asked[image_id]) or confidence < sure:
            refused["not sure to be its label"] += 1
        else:
            vouched[image_id] = label
    return vouched, dict(refused)


def _room(index: Index, current: Selection, admitted: list[int]) -> Counter[str]:
    """How many generated images of each label a set may still take: as many as it has real ones."""
    labels, taken = index.reader.values_of("label"), set(admitted)
    room: Counter[str] = Counter()
    for i in current.ids.tolist():
        room[str(labels[i])] += -1 if i in taken else 1
    return room


def _within(room: Counter[str], vouched: Mapping[int, str]) -> list[int]:
    """Those for which there is room, which they take."""
    fresh = []
    for image_id, label in vouched.items():
        if room[label] > 0:
            room[label] -= 1
            fresh.append(image_id)
    return fresh
