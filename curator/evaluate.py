"""`curator evaluate`: what a run made, or a selection, against held-out images, from vectors that are stored already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curator.apply import held_out_ids, pictures_of_run, trained_digests
from curator.curate.candidates import find_images, vectors_of
from curator.database import Selections
from curator.embeddings import normalise
from curator.errors import UsageError
from curator.index import Index
from curator.metrics import HIGHER, UNBIASED, half_width, metrics
from curator.records import Ids, Progress, Vectors
from curator.train import find_named
from curator.training.folder import Run

_ROUNDS = 10  # of the bootstrap
_FEW = 500  # images under which intervals are wide


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
    """`n` images named `what`, against `m` named `against`; `notes` say what limits the numbers."""

    what: str
    n: int
    against: str
    m: int
    numbers: tuple[Number, ...]
    notes: tuple[str, ...]

    def value(self, metric: str, space: str | None = None) -> float:
        """A number by name, of the first space or of a named one."""
        return next(n.value for n in self.numbers if n.metric == metric and space in (None, n.space))


def evaluate(
    index: Index,
    named: str,
    against: str | None = None,
    *,
    parts: Sequence[str] = (),
    classifier: Run | None = None,
    rounds: int = _ROUNDS,
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda p: None,
) -> Evaluation:
    """Metrics of a run's generated images, or of a selection, folder or condition, against held-out images.

    `against` None takes what the run itself held out. `parts` are names of `metrics`, all by default; with `classifier` the numbers stand
    once more for its features. Copies, in files or in vectors, count once on each side: a second one would make radii of 0. Raises
    `UsageError`, `UnknownName`.
    """
    run = find_named(index, named, numbers=True)
    x_ids = generated_ids(index, run) if run else find_images(index, named)
    y_ids, said = reference_of(index, run, against)
    notes: list[str] = []
    y_ids = _apart(index, y_ids, x_ids, run, notes)
    x_ids, y_ids = (_once(index, ids, notes, what) for ids, what in ((x_ids, named), (y_ids, said)))
    n, m = len(x_ids), len(y_ids)
    if n < 2 or m < 2:
        raise UsageError(f"metrics take two images or more on each side; '{named}' has {n}, and '{said}' {m} that it does not share")
    if n != m:
        notes.append(f"{n} against {m} images: the Fréchet distance and recall are biased by n, so compare numbers of equal n only")
    if min(n, m) < _FEW:
        notes.append(f"fewer than {_FEW} images on one side: trust the intervals, not the values")

    def stored(ids: Ids) -> Vectors:
        return normalise(vectors_of(index, ids).astype(np.float32))

    spaces = [(index.space.encoder, stored(x_ids), stored(y_ids))]
    if classifier is not None:
        x, y = (_features(index, classifier, ids, progress) for ids in (x_ids, y_ids))
        spaces.append((f"{classifier.name} features", x, y))
    chosen = list(parts) or list(metrics)
    for name in chosen:
        metrics[name]  # an unknown name is said before anything is computed
    numbers = []
    for i, (space, x, y) in enumerate(spaces):
        for j, name in enumerate(chosen):
            numbers += [Number(space, *row) for row in _intervals(name, x, y, rounds, seed)]
            progress(Progress(i * len(chosen) + j + 1, len(chosen) * len(spaces), 0, "measuring", "metrics"))
    return Evaluation(named, n, said, m, tuple(numbers), tuple(notes))


def generated_ids(index: Index, run: Run) -> Ids:
    """What a run generated. Raises `UsageError` where nothing of it is in the index."""
    known = "run" in index.reader.columns()
    ids = index.reader.ids_where(f"origin = 'generated' AND run = '{run.name}'") if known else np.empty(0, np.int64)
    if not len(ids):
        raise UsageError(f"nothing of {run.name} is in the index; `curator generate {run.name} -n 1000` makes and indexes it")
    return ids


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


def _features(index: Index, run: Run, ids: Ids, progress: Callable[[Progress], None]) -> Vectors:
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
