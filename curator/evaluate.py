"""`curator evaluate`: what a run made, or a selection, against held-out images, from vectors that are stored already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from curator.apply import held_out_ids, pictures_of_run, trained_digests
from curator.curate.candidates import find_images, vectors_of
from curator.curate.label import refuse_taken
from curator.database import Selections
from curator.embeddings import normalise
from curator.errors import UsageError
from curator.index import Index
from curator.metrics import HIGHER, UNBIASED, PerImage, half_width, metrics, per_image
from curator.records import Ids, Progress, Vectors
from curator.train import find_named, home_of, run_of
from curator.training.folder import Run, runs_in

_ROUNDS = 10  # of the bootstrap
_FEW = 500  # images under which intervals are wide
IMAGE_COLUMNS = ("realism", "rarity", "nearest_ratio", "authentic")

Told = Callable[[Progress], None]


@dataclass(frozen=True)
class Number:
    """One metric in one space: its value, 95 % interval, and whether more of it is better."""

    space: str
    metric: str
    value: float
    low: float
    high: float
    higher_is_better: bool


@dataclass(frozen=True)
class Evaluation:
    """`n` images named `what`, against `m` named `against`; `distinct` is the share of what is judged that is not a copy of another of it;

    `notes` say what limits the numbers.
    """

    what: str
    n: int
    against: str
    m: int
    distinct: float
    numbers: tuple[Number, ...]
    notes: tuple[str, ...]

    def value(self, metric: str, space: str | None = None) -> float:
        """A number by name, of the first space or of a named one."""
        return self.number(metric, space).value

    def number(self, metric: str, space: str | None = None) -> Number:
        """The same with its interval."""
        return next(n for n in self.numbers if n.metric == metric and space in (None, n.space))


@dataclass(frozen=True)
class Sides:
    """Ids judged and ids to compare with, each content once, and what is said about them."""

    what: str
    x: Ids
    against: str
    y: Ids
    distinct: float
    notes: list[str] = field(default_factory=list)


def evaluate(
    index: Index,
    sides: Sides,
    *,
    parts: Sequence[str] = (),
    classifier: Run | None = None,
    raw: bool = False,
    rounds: int = _ROUNDS,
    seed: int = 0,
    progress: Told = lambda p: None,
) -> Evaluation:
    """Metrics of `sides` (see `sides_of`). `parts` are names of `metrics`, all by default.

    With `raw` the numbers stand once more for vectors of their length before normalising, with `classifier` for its features.
    """
    chosen = list(parts) or list(metrics)
    for name in chosen:
        metrics[name]  # an unknown name is said before anything is computed
    notes = list(sides.notes)
    spaces = [(index.space.encoder, _stored(index, sides.x), _stored(index, sides.y))]
    if raw:
        _, x, y = spaces[0]
        spaces.append((f"{index.space.encoder}, not normalised", _lengthened(index, sides.x, x), _lengthened(index, sides.y, y)))
    if classifier is not None:
        x, y = (_features(index, classifier, ids, progress) for ids in (sides.x, sides.y))
        spaces.append((f"{classifier.name} features", x, y))
    numbers = []
    for i, (space, x, y) in enumerate(spaces):
        least, d = min(len(x), len(y)), x.shape[1]
        if least < 2 * d and "frechet" in chosen:
            notes.append(f"{least} images are few for the {d} dimensions of {space}: the Fréchet distances are biased, FD∞ too")
        for j, name in enumerate(chosen):
            numbers += [Number(space, *row) for row in _intervals(name, x, y, rounds, seed)]
            progress(Progress(i * len(chosen) + j + 1, len(chosen) * len(spaces), 0, "measuring", "metrics"))
    return Evaluation(sides.what, len(sides.x), sides.against, len(sides.y), sides.distinct, tuple(numbers), tuple(notes))


def sides_of(index: Index, named: str, against: str | None = None, *, checkpoint: str | None = None) -> Sides:
    """A run's generated images, of one checkpoint if it is named, or a selection, folder or condition; and held-out images.

    `against` None takes what the run itself held out. Left out are images to compare with that are judged too, that the run was trained
    on, or were generated; and of both sides copies, in files or in vectors: a second one would make radii of 0. Raises `UsageError`,
    `UnknownName`.
    """
    run = find_named(index, named, numbers=True)
    notes: list[str] = []
    if run is None and checkpoint is not None:
        raise UsageError(f"'{named}' is no run, so it has no checkpoints")
    x = _fresh(index, run, checkpoint, notes) if run else find_images(index, named)
    y, said = reference_of(index, run, against)
    y = _apart(index, y, x, run, notes)
    once, y = _once(index, x, notes, named), _once(index, y, notes, said)
    n, m = len(once), len(y)
    if n < 2 or m < 2:
        raise UsageError(f"metrics take two images or more on each side; '{named}' has {n}, and '{said}' {m} that it does not share")
    if n != m:
        notes.append(f"{n} against {m} images: the Fréchet distance and recall are biased by n, so compare numbers of equal n only")
    if min(n, m) < _FEW:
        notes.append(f"fewer than {_FEW} images on one side: trust the intervals, not the values")
    return Sides(named, once, said, y, n / len(x), notes)


def each_image(index: Index, sides: Sides, *, keep: bool = True) -> PerImage:
    """Realism, rarity, ratio and authenticity of each image judged, in the index's space; with `keep` as columns to filter by.

    `rarity` is left empty where no ball of the reference holds the image.
    """
    if keep:
        for column in IMAGE_COLUMNS:
            refuse_taken(index, column, by="evaluate")
    found = per_image(_stored(index, sides.x), _stored(index, sides.y))
    if keep:
        columns = zip(IMAGE_COLUMNS, (found.realism, found.rarity, found.ratio, found.authentic.astype(np.int64)), strict=True)
        with index.write() as db, db.atomic():
            for name, values in columns:
                rows = {int(i): round(v, 6) if np.isfinite(v) else None for i, v in zip(sides.x, values.tolist(), strict=True)}
                Selections(db).put_computed(name, rows)
    return found


def find_classifier(index: Index, named: str | None) -> Run | None:
    """A classifier's run by name; None for "none"; by default the latest that is not training now, if there is one."""
    if named is not None:
        return None if named == "none" else run_of(index, named, trainer="classifier")
    there = [r for r in runs_in(home_of(index)) if r.trainer == "classifier" and r.state["status"] not in ("started", "training")]
    return there[-1] if there else None


def generated_ids(index: Index, run: Run, checkpoint: int | None = None) -> Ids:
    """What a run generated, of one checkpoint or all. Raises `UsageError` where nothing of it is in the index."""
    columns = index.reader.columns()
    ids = index.reader.ids_where(f"origin = 'generated' AND run = '{run.name}'") if "run" in columns else np.empty(0, np.int64)
    if checkpoint is not None and len(ids):
        of = index.reader.values_of("checkpoint") if "checkpoint" in columns else {}
        ids = ids[[str(of.get(int(i))) == str(checkpoint) for i in ids]]
    if not len(ids):
        what = run.name if checkpoint is None else f"checkpoint {checkpoint} of {run.name}"
        way = f"`curator generate {run.name} -n 1000{'' if checkpoint is None else f' --checkpoint {checkpoint}'}` makes and indexes it"
        raise UsageError(f"nothing of {what} is in the index; {way}")
    return ids


def _fresh(index: Index, run: Run, checkpoint: str | None, notes: list[str]) -> Ids:
    """What a run generated, without what lies between training images; a mixture is noted."""
    ids = generated_ids(index, run, None if checkpoint is None else run.checkpoint(checkpoint))
    columns = set(index.reader.columns())
    near = index.reader.values_of("near_data") if "near_data" in columns else {}
    kept = ids[[str(near.get(int(i))).lower() not in ("1", "true") for i in ids]]
    if not len(kept):
        raise UsageError(
            f"all of {run.name} in the index was interpolated between training images (`--sampler near`), which is not measured"
        )
    if len(kept) < len(ids):
        notes.append(f"{len(ids) - len(kept)} interpolated between training images (`--sampler near`) are left out")
    for column in ("checkpoint", "psi", "sampler"):
        values = index.reader.values_of(column) if column in columns else {}
        mixed = sorted({str(values.get(int(i))) for i in kept})
        if len(mixed) > 1:
            notes.append(f"images of several values of {column} are judged together: {', '.join(mixed)}")
    return kept


def reference_of(index: Index, run: Run | None, against: str | None) -> tuple[Ids, str]:
    """Held-out images and what they are called."""
    if against is not None:
        return find_images(index, against), against
    if run is None:
        raise UsageError("name the held-out images to compare with: --against SELECTION|FOLDER|CONDITION")
    ids = held_out_ids(run)
    ids = ids[np.isin(ids, index.reader.ids_where("1"))]
    if not len(ids):
        raise UsageError(f"{run.name} held nothing out; name real images that it has not seen with --against, or train with --holdout 0.1")
    return ids, f"held out by {run.name}"


def _apart(index: Index, y: Ids, x: Ids, run: Run | None, notes: list[str]) -> Ids:
    """The reference without contents that are judged as well, that a run was trained on, or, for a run, that were generated."""
    hashes = Selections(index.reader).sha256_of(y)
    same = set(Selections(index.reader).sha256_of(x))
    known = trained_digests(run) if run else set()
    real = set(index.reader.ids_where("origin = 'real'").tolist()) if run else set(y.tolist())
    kept = [i for i, h in zip(y.tolist(), hashes, strict=True) if h not in same and h not in known and i in real]
    if len(kept) < len(y):
        what = "are judged as well" if run is None else "the run was trained on, or were generated,"
        notes.append(f"{len(y) - len(kept)} of {len(y)} images to compare with {what} and are left out")
    return np.array(kept, np.int64)


def _once(index: Index, ids: Ids, notes: list[str], what: str) -> Ids:
    """Each content and each vector once, in order."""
    hashes = Selections(index.reader).sha256_of(ids)
    rows = vectors_of(index, ids)
    seen: set[bytes] = set()
    kept = []
    for image_id, digest, row in zip(ids.tolist(), hashes, rows, strict=True):
        key = row.tobytes()
        if digest not in seen and key not in seen:
            kept.append(image_id)
        seen |= {digest, key}
    if len(kept) < len(ids):
        notes.append(f"{len(ids) - len(kept)} copies within '{what}' count once")
    return np.array(kept, np.int64)


def _stored(index: Index, ids: Ids) -> Vectors:
    return normalise(vectors_of(index, ids).astype(np.float32))


def _lengthened(index: Index, ids: Ids, x: Vectors) -> Vectors:
    """Unit rows at the lengths that the encoder gave them."""
    return np.asarray(x * index.reader.norms(index.space, ids.tolist())[:, None], np.float32)


def _features(index: Index, run: Run, ids: Ids, progress: Told) -> Vectors:
    import torch

    from curator.training.exporting import load_classifier
    from curator.training.pictures import to_unit

    network: Any = load_classifier(run)
    found = []
    with torch.no_grad():
        for p in pictures_of_run(index, run, ids, progress):
            found.append(network.features(to_unit(torch.from_numpy(np.ascontiguousarray(p.pixels)))).numpy())
    return np.asarray(np.concatenate(found), np.float32)


def _intervals(name: str, x: Vectors, y: Vectors, rounds: int, seed: int) -> list[tuple[str, float, float, float, bool]]:
    """Each number of a part with its 95 % interval, by random halves of x and y; no end below 0 for what cannot be negative."""
    part, rng = metrics[name], np.random.default_rng([seed, 1])
    whole = part(x, y, np.random.default_rng(seed))
    halves: list[dict[str, float]] = []
    for _ in range(rounds):
        a, b = (z[rng.permutation(len(z))[: max(2, len(z) // 2)]] for z in (x, y))
        halves.append(part(a, b, np.random.default_rng(seed)))
    found = []
    for key, value in whole.items():
        spread = half_width([h[key] for h in halves])
        low = value - spread if key in UNBIASED else max(0.0, value - spread)
        found.append((key, value, low, value + spread, key in HIGHER))
    return found
