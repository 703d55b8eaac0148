"""`curator loop`: train, generate, audit, admit, and again, for as long as held-out images say that it helps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from curator.apply import label_by_run
from curator.audit import audit
from curator.curate.sets import listed, split
from curator.database import Selections
from curator.errors import UsageError
from curator.evaluate import evaluate
from curator.generate import Asked, generate
from curator.index import Index
from curator.records import Progress
from curator.train import plan_training, train_on
from curator.training.folder import Run

_HELD = {"train": 0.8, "held": 0.2}
_COLUMN = "loop_label"  # of the classifier's answers
_WATCHED = ("coverage", "recall", "precision", "frechet_distance")

Told = Callable[[Progress], None]


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

    beside the held-out images.
    """

    number: int
    run: str
    real: int
    generated: int
    made: int
    admitted: int
    refused: Mapping[str, int]
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Looped:
    """The rounds, and why there were no more."""

    rounds: tuple[Round, ...]
    ended: str


def loop(
    index: Index,
    named: str,
    classifier: Run,
    options: LoopOptions = LoopOptions(),
    *,
    progress: Told = lambda p: None,
    say: Callable[[str], None] = lambda line: None,
) -> Looped:
    """Train on a selection, and admit what the generator made where something other than its own discriminator vouches for it.

    A fifth of the images is held out for good, as `NAME-held`; duplicates stay on one side. A generated image is admitted if the audit
    calls it novel and the classifier is sure of the label that was asked for; of each label at most as many as there are real ones, so that
    at most half of a set is generated, and no real image gives way. Two rounds whose coverage of the held-out images falls end the loop.
    Raises `UsageError` for a selection with generated images or without labels, `UnknownName`.
    """
    chosen = Selections(index.reader).get(named)
    if any(image.origin != "real" for image in index.images(chosen.ids)):
        raise UsageError(f"'{named}' holds generated images; the loop begins with real ones, and admits others itself")
    kept, held = split(index, named, _HELD, seed=options.seed, overwrite=True, progress=progress)
    labels = index.reader.values_of("label")
    quota = Counter(str(labels[int(i)]) for i in kept.ids)
    admitted: list[int] = []
    rounds: list[Round] = []
    falls, ended = 0, f"all {options.rounds} rounds are done"
    for number in range(1, options.rounds + 1):
        set_name = f"{named}-round-{number}"
        listed(index, set_name, [*kept.ids.tolist(), *admitted], {"made_by": f"loop on {named}", "round": number}, overwrite=True)
        given = {"holdout": 0.0, "seed": options.seed} | dict(options.given) | {"condition": "label"}
        run, _ = train_on(index, plan_training(index, "gan", set_name, given), name=set_name, progress=progress, say=say)
        generate(index, run, Asked(options.made, seed=options.seed + number * 1_000_000), progress=progress)
        found = evaluate(index, run.name, held.name, parts=("manifold", "frechet"), seed=options.seed, progress=progress)
        numbers = {name: found.value(name) for name in _WATCHED}
        vouched, refused = _vouched(index, run, classifier, held.name, sure=options.sure, progress=progress)
        fresh = _within(quota, vouched)
        refused["beyond the quota"] = len(vouched) - len(fresh)
        rounds.append(Round(number, run.name, len(kept), len(admitted), options.made, len(fresh), refused, numbers))
        say(f"Round {number}: on {len(kept)} real and {len(admitted)} generated, {len(fresh)} of {options.made} admitted.")
        admitted += fresh
        falls = falls + 1 if number > 1 and numbers["coverage"] < rounds[-2].numbers["coverage"] else 0
        if falls == 2:
            ended = "coverage of the held-out images fell twice"
            break
        if not fresh:
            ended = "nothing was admitted"
            break
    return Looped(tuple(rounds), ended)


def _vouched(index: Index, run: Run, classifier: Run, held: str, *, sure: float, progress: Told) -> tuple[dict[int, str], dict[str, int]]:
    """Image id → label of what may be admitted; and how many were not, by reason."""
    looked = audit(index, run, held_out=held, progress=progress)
    novel = {f.image_id for f in looked.findings if f.label == "novel"}
    refused = Counter(f.label for f in looked.findings if f.label != "novel")
    said = label_by_run(index, classifier, named=f"origin = 'generated' AND run = '{run.name}'", column=_COLUMN, progress=progress)
    asked = index.reader.values_of("label")
    vouched = {}
    for image_id in sorted(novel):
        label, confidence = said.predictions[image_id]
        if label != str(asked[image_id]) or confidence < sure:
            refused["not sure to be its label"] += 1
        else:
            vouched[image_id] = label
    return vouched, dict(refused)


def _within(quota: Counter[str], vouched: Mapping[int, str]) -> list[int]:
    """Those for which there is room, which they take."""
    fresh = []
    for image_id, label in vouched.items():
        if quota[label] > 0:
            quota[label] -= 1
            fresh.append(image_id)
    return fresh
