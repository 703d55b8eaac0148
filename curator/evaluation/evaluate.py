"""`curator evaluate`: images against held-out ones, from stored vectors and a classifier's features."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from curator.errors import EncoderError, PictureError
from curator.evaluation.anchors import anchor_vectors
from curator.evaluation.sides import Sides
from curator.images import read_picture
from curator.index import Index
from curator.index.columns import put_columns, refuse_columns
from curator.index.images import have_content, unit_vectors_of
from curator.intervals import FEWEST
from curator.job import QUIET, Job
from curator.metrics import PerImage, half_of, half_width, metrics, per_image
from curator.records import Ids, Vectors
from curator.runs.inputs import pictures_of_run
from curator.runs.lookup import home_of, run_of, trained_digests
from curator.training.folder import ENDED, Run
from curator.training.numbered import runs_in

_ROUNDS = 10  # of the bootstrap
_ANCHORED = 200  # real pictures that anchors are made of
JUDGED = "as many"  # beside the anchors: as many of the images judged, against the same reference


@dataclass(frozen=True)
class Number:
    """One metric in one space: its value, 95 % interval, and whether more of it is better."""

    space: str
    metric: str
    value: float
    low: float
    high: float
    higher_is_better: bool

    @property
    def interval(self) -> str:
        """In words; a dash where nothing is known of it."""
        return interval(self.low, self.high)


def interval(low: float, high: float) -> str:
    """Its two ends, or a dash where there are none."""
    return "–" if np.isnan(low) else f"{low:.4f} – {high:.4f}"


@dataclass(frozen=True)
class Evaluation:
    """`n` images named `what`, against the `m` of a `reference`, in numbers.

    `distinct` is the share of what is judged that is no copy of another of it. `anchors` has what each metric makes, in
    the first space, of `anchored` real pictures blurred, shuffled, or turned to noise, and of as many of those judged.
    `notes` say what limits the numbers.
    """

    what: str
    n: int
    reference: str
    m: int
    distinct: float
    numbers: tuple[Number, ...]
    notes: tuple[str, ...]
    anchored: int = 0
    anchors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def value(self, metric: str, space: str | None = None) -> float:
        """A number by name, of the first space or of a named one."""
        return self.number(metric, space).value

    def number(self, metric: str, space: str | None = None) -> Number:
        """The same with its interval."""
        return next(n for n in self.numbers if n.metric == metric and space in (None, n.space))

    def intervals(self, metrics: Iterable[str]) -> dict[str, tuple[float, float, float]]:
        """Name → (value, low, high), of the first space."""
        return {name: (n.value, n.low, n.high) for name in metrics for n in [self.number(name)]}


@dataclass(frozen=True)
class EvaluateOptions:
    """What to measure: `parts` are names of `metrics`, all by default; `rounds` of the bootstrap.

    With `raw` the numbers stand once more for vectors of their length before normalising, with `classifier` for its
    features. `anchors` is the number of real pictures that anchors are made of, 0 for none.
    """

    parts: tuple[str, ...] = ()
    classifier: Run | None = None
    raw: bool = False
    anchors: int = _ANCHORED
    rounds: int = _ROUNDS
    seed: int = 0


def evaluate(
    index: Index, sides: Sides, options: EvaluateOptions = EvaluateOptions(), *, job: Job = QUIET
) -> Evaluation:
    """Metrics of `sides` (see `sides_of`), in the index's space and in those that `options` add."""
    chosen = list(options.parts) or list(metrics)
    for name in chosen:
        metrics[name]  # an unknown name is said before anything is computed
    notes = list(sides.notes)
    if min(len(sides.x), len(sides.y)) < FEWEST:
        notes.append(f"under {FEWEST} images nothing is known of the intervals")
    spaces = [(index.space.encoder, unit_vectors_of(index, sides.x), unit_vectors_of(index, sides.y))]
    if options.raw:
        _, x, y = spaces[0]
        spaces.append(
            (f"{index.space.encoder}, not normalised", _lengthened(index, sides.x, x), _lengthened(index, sides.y, y))
        )
    if (classifier := options.classifier) is not None:
        x, y = (_features(index, classifier, ids, job) for ids in (sides.x, sides.y))
        spaces.append((f"{classifier.name} features", x, y))
        notes += _said_of(index, classifier, sides, (len(x), len(y)))
    numbers = []
    for i, (space, x, y) in enumerate(spaces):
        least, d = min(len(x), len(y)), x.shape[1]
        if least < 2 * d and "frechet" in chosen:
            notes.append(
                f"{least} images are few for the {d} dimensions of {space}: the Fréchet distances are biased, FD∞ too"
            )
        for j, name in enumerate(chosen):
            numbers += [Number(space, *row) for row in with_intervals(name, x, y, options.rounds, options.seed)]
            job.progress(i * len(chosen) + j + 1, len(chosen) * len(spaces), "measuring", unit="metrics")
            job.check()
    anchored, anchors = _anchored(index, sides, spaces[0][1:], options, notes, job=job)
    notes += _praised(numbers, anchors)
    return Evaluation(
        sides.what, len(sides.x), sides.reference, len(sides.y), sides.distinct, tuple(numbers), tuple(notes),
        anchored, anchors,
    )  # fmt: skip


def _anchored(
    index: Index, sides: Sides, rows: tuple[Vectors, Vectors], options: EvaluateOptions, notes: list[str], *, job: Job
) -> tuple[int, dict[str, dict[str, float]]]:
    """How many real pictures anchors were made of, and each anchor's numbers against the same reference."""
    count = min(options.anchors, len(sides.x), len(sides.y))
    if count < 2:
        return 0, {}
    rng = np.random.default_rng(options.seed)
    chosen = np.sort(rng.choice(len(sides.y), min(count, len(sides.y) // 2), replace=False))
    pictures = []
    for image in index.images(sides.y[chosen]):
        job.check()
        with contextlib.suppress(PictureError):
            pictures.append(read_picture(image.path, side=index.encoder.side, sha256=image.sha256))
    if len(pictures) < 2:
        notes.append("without anchors, as no image to compare with can be read")
        return 0, {}
    try:
        vectors = anchor_vectors(index.encoder, pictures)
    except EncoderError as error:
        notes.append(f"without anchors, as the encoder is not here: {error}")
        return 0, {}
    # What anchors were made of is not what they are compared with; and as many of what is judged stand beside them.
    y = np.delete(rows[1], chosen, axis=0)
    few = rows[0][np.sort(rng.choice(len(sides.x), min(len(pictures), len(sides.x)), replace=False))]
    anchors = {}
    for name, x in {JUDGED: few, **vectors}.items():
        of = np.random.default_rng(options.seed)
        anchors[name] = {key: v for part in options.parts or metrics for key, v in metrics[part](x, y, of).items()}
        job.progress(len(anchors), len(vectors) + 1, "measuring anchors", unit="anchors")
    return len(pictures), anchors


def _praised(numbers: Iterable[Number], anchors: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Metrics of the first space by which as much of what is judged is no better than an anchor."""
    better = {n.metric: n.higher_is_better for n in numbers}
    judged = anchors.get(JUDGED, {})
    notes = []
    for anchor, values in anchors.items():
        names = [
            metric.replace("_", " ")
            for metric, value in values.items()
            if anchor != JUDGED and ((value >= judged[metric]) if better[metric] else (value <= judged[metric]))
        ]
        notes += [f"by {', '.join(names)} {anchor} pictures are as good"] if names else []
    return notes


def each_image(index: Index, sides: Sides, *, keep: bool = True) -> PerImage:
    """Realism, rarity and nearest-real ratio of each image judged, in the index's space.

    With `keep` they become columns to filter by. `measured_against` says what they are relative to; `rarity` is left
    empty where no ball of the reference holds the image.
    """
    if keep:
        refuse_columns(index, "evaluate")
    measured = per_image(unit_vectors_of(index, sides.x), unit_vectors_of(index, sides.y))
    if keep:
        ids = sides.x.tolist()
        numbers = (measured.realism, measured.rarity, measured.nearest.ratio)
        columns = [
            {i: round(v, 6) if np.isfinite(v) else None for i, v in zip(ids, of.tolist(), strict=True)}
            for of in numbers
        ]
        put_columns(index, "evaluate", [*columns, dict.fromkeys(ids, sides.reference)])
    return measured


def find_classifier(index: Index, named: str | None) -> Run | None:
    """A classifier's run by name; None for "none"; by default the latest that ended well, if there is one."""
    if named is not None:
        return None if named == "none" else run_of(index, named, trainer="classifier")
    there = [r for r in runs_in(home_of(index)) if r.trainer == "classifier" and r.state["status"] in ENDED]
    return there[-1] if there else None


def _said_of(index: Index, classifier: Run, sides: Sides, read: tuple[int, int]) -> list[str]:
    """What limits numbers in a classifier's features."""
    known = trained_digests(classifier)
    learnt = sum(int(have_content(index, ids, known).sum()) for ids in (sides.x, sides.y))
    notes = [f"{learnt} of the images taught {classifier.name}, whose features know them"] if learnt else []
    if read != (len(sides.x), len(sides.y)):
        notes.append(f"{classifier.name} could read {read[0]} and {read[1]} of the files, so n is smaller there")
    return notes


def _lengthened(index: Index, ids: Ids, x: Vectors) -> Vectors:
    """Unit rows at the lengths that the encoder gave them."""
    return np.asarray(x * index.reader.norms(index.space, ids.tolist())[:, None], np.float32)


def _features(index: Index, run: Run, ids: Ids, job: Job) -> Vectors:
    from curator.training.classifier import head_features
    from curator.training.exporting import load_classifier

    network = load_classifier(run)
    return np.concatenate([head_features(network, p.pixels) for p in pictures_of_run(index, run, ids, job)])


def with_intervals(
    name: str, x: Vectors, y: Vectors, rounds: int, seed: int
) -> list[tuple[str, float, float, float, bool]]:
    """Each number of a part: name, value, its 95 % interval by random halves of x and y, whether more is better.

    No end lies beyond what the number can be. A share is within 3/n of it at best, of which halves see nothing near 0
    and 1 (the rule of three: Hanley and Lippman-Hand 1983). Under 40 images halves say nothing, and the ends are NaN.
    """
    part, rng = metrics[name], np.random.default_rng([seed, 1])
    whole = part(x, y, np.random.default_rng(seed))
    enough = min(len(x), len(y)) >= FEWEST
    halves = (
        [part(half_of(x, rng), half_of(y, rng), np.random.default_rng(seed)) for _ in range(rounds)] if enough else []
    )
    numbers = []
    for key, value in whole.items():
        kind = part.numbers[key]
        rule_of_three = 3 / min(len(x), len(y)) if kind.is_share and enough else 0.0
        spread = max(half_width([h[key] for h in halves]), rule_of_three)
        low = value - spread if kind.may_be_negative else np.maximum(0.0, value - spread)
        high = np.minimum(1.0, value + spread) if kind.is_share else value + spread
        numbers.append((key, value, float(low), float(high), kind.higher_is_better))
    return numbers
