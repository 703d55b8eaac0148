"""`curator generate`: a run → pictures with their seeds, a manifest and a grid; they go into the index as generated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.embeddings import normalise
from curator.errors import UsageError
from curator.files import whole_for_user
from curator.index import Index
from curator.index.images import find_ids
from curator.index.words import prompt
from curator.ingest import IngestOptions, ingest
from curator.job import QUIET, Job
from curator.records import IngestReport
from curator.registry import suggest
from curator.runs.lookup import refuse_foreign
from curator.runs.manifests import merge_manifest, refuse_strangers
from curator.training.batches import scaled
from curator.training.folder import ENDED, Run
from curator.training.generator import PictureGenerator, interpolated, load_generator
from curator.training.kinds import VaeOptions
from curator.training.pictures import Bytes, are_alike, tiled, to_picture
from curator.training.samplers import NEAR_DATA

_GAP_IMAGES = 2_000
_GAP_WORDS = 200
_SCALE = 4  # of a strip's pictures
_GRID = 256  # pictures at most


@dataclass(frozen=True)
class Asked:
    """What is to be made: `n` pictures of seeds from `seed` on.

    At most one of `label`, `like`, `text` and `mix` conditions them. `psi` in (0, 1] shrinks latents; `sampler` is a
    VAE's, None for the best it has.
    """

    n: int = 64
    seed: int = 0
    psi: float = 1.0
    label: str | None = None
    like: str | None = None
    text: str | None = None
    mix: tuple[str, str] | None = None
    sampler: str | None = None
    checkpoint: str = "best"

    def __post_init__(self) -> None:
        if self.n < 1 or not 0 <= self.seed < 2**31:
            raise UsageError(
                f"-n takes 1 picture or more and --seed a number from 0 to {2**31 - 1}, not {self.n} and {self.seed}"
            )
        if not 0 < self.psi <= 1:
            raise UsageError(f"--psi takes a number above 0 and up to 1, not {self.psi}")
        if sum(v is not None for v in (self.label, self.like, self.text, self.mix)) > 1:
            raise UsageError("--label, --like, --text and --mix each condition what is made; name one")


@dataclass(frozen=True)
class Condition:
    """What a picture was asked to show.

    Pictures take the rows (m, k) in turn; `labels` has one for each row, and `words` says all of it.
    """

    rows: NDArray[np.float32]
    labels: tuple[int, ...]
    words: str


UNCONDITIONED = Condition(np.zeros((1, 0), np.float32), (-1,), "")


@dataclass(frozen=True)
class Generated:
    """What was made: files in order of their seeds, and the grid.

    `report` is None where they were not indexed. `is_collapsed`: pictures of one condition look the same.
    """

    files: tuple[Path, ...]
    grid: Path
    report: IngestReport | None
    is_collapsed: bool


def generate(
    index: Index,
    run: Run,
    asked: Asked,
    *,
    target: Path | None = None,
    add: bool = True,
    job: Job = QUIET,
) -> Generated:
    """Make pictures into `target`, by default the run's `generated/`, and index them.

    Their columns are run, checkpoint, seed and label. A seed gives the same file whatever else is made. Raises
    `UsageError` for a condition or sampler the run does not have.
    """
    if add:
        refuse_foreign(index, run)
    generator = load_generator(run, asked.checkpoint, sampler=asked.sampler)
    sampler = asked.sampler or generator.samplers[0]
    checkpoint = run.checkpoint(asked.checkpoint)
    condition = condition_for(index, run, generator, asked)
    if isinstance(run.options, VaeOptions) and asked.sampler is None and sampler == "normal":
        _say_plain(run, job)
    target = (target or run.folder / "generated").absolute()
    refuse_strangers(target)
    names = {row: generator.shape.classes[row] if row >= 0 else None for row in condition.labels}
    stems = {row: _stem(run, asked, sampler, condition.words, label) for row, label in names.items()}

    def planned(i: int) -> tuple[Path, dict[str, Any]]:
        row = condition.labels[i % len(condition.labels)]
        label, file = names[row], target / f"{stems[row]}-seed-{asked.seed + i:06d}.png"
        facts = {
            "run": run.name,
            "checkpoint": checkpoint,
            "seed": asked.seed + i,
            "label": label,
            "condition": condition.words,
        }
        return file, {"file_name": file.name} | facts | {
            "psi": asked.psi,
            "sampler": sampler,
            "near_data": sampler in NEAR_DATA,
        }

    files, rows = zip(*(planned(i) for i in range(asked.n)), strict=True)
    merge_manifest(target, rows)  # before the pictures: none is ever without its seed
    shown: list[Bytes] = []
    for i, file in enumerate(files):
        row = i % len(condition.labels)
        z = generator.latent(asked.seed + i, sampler=sampler, psi=asked.psi, label=condition.labels[row])
        pixels = generator.make(z, condition.rows[row])
        write_picture(to_picture(pixels), file)
        shown += [pixels] if i < _GRID else []
        job.progress(i + 1, asked.n, "generating")
        job.check()
    label = next(iter(names.values())) if len(names) == 1 else None
    grid = run.folder / "grids" / f"{_stem(run, asked, sampler, condition.words, label)}-seed-{asked.seed:06d}.png"
    grid.parent.mkdir(exist_ok=True)
    write_picture(tiled(np.stack(shown), max(1, round(len(shown) ** 0.5)), 2), grid)
    report = ingest(index, [target], index.encoder, IngestOptions(origin="generated"), job=job) if add else None
    return Generated(files, grid, report, are_alike(shown, len(condition.labels)))


def _say_plain(run: Run, job: Job) -> None:
    way_out = "--checkpoint best has one" if run.state["status"] in ENDED else "--resume, and let the run end"
    job.say(f"Note: drawn from N(0, I): no mixture, which draws better, was fitted to this checkpoint; {way_out}.")


def condition_for(index: Index, run: Run, generator: PictureGenerator, asked: Asked) -> Condition:
    """The rows that condition pictures.

    Raises `UsageError` where the run was trained with another kind of condition, or none.
    """
    kind, shape = run.options.condition, generator.shape
    wanted = "label" if asked.label is not None else "embedding" if asked.like or asked.text else None
    if wanted and kind != wanted:
        trained = f"with --condition {kind}" if kind != "none" else "without a condition"
        what = "--label takes" if wanted == "label" else "--like and --text take"
        raise UsageError(f"{run.name} was trained {trained}; {what} a run with --condition {wanted}")
    if kind == "none":
        if asked.mix:
            raise UsageError(
                f"{run.name} was trained without a condition, so nothing can be mixed; train with --condition label "
                "or embedding"
            )
        return UNCONDITIONED
    if kind == "label":
        return label_condition(shape.classes, asked)
    if run.facts["trained_on"]["space"] != index.space.encoder:
        raise UsageError(
            f"{run.name} is conditioned on vectors of '{run.facts['trained_on']['space']}'; `curator encoders use` "
            "switches to it"
        )
    if asked.text is not None:
        return Condition(scaled(_moved(index, run, prompt(index, asked.text))), (-1,), f"text: {asked.text}")
    names = asked.mix or ((asked.like,) if asked.like else None)
    if names is None:  # as the training images are
        ids = [r["id"] for r in run.rows("manifest.jsonl")]
        chosen = np.random.default_rng(asked.seed).choice(ids, asked.n)
        return Condition(
            scaled(normalise(index.reader.vectors(index.space, chosen.tolist()))), (-1,) * asked.n, "training images"
        )
    x = np.stack([_vector(index, n) for n in names])
    return Condition(
        scaled(normalise(x.mean(0, keepdims=True))),
        (-1,),
        ("mix: " if asked.mix else "like: ") + " and ".join(map(str, names)),
    )


def label_condition(classes: Sequence[str], asked: Asked) -> Condition:
    """One label, two mixed, or each in turn. Raises `UsageError` for one that there is not."""
    names = asked.mix or ((asked.label,) if asked.label else None)
    for name in names or ():
        if name not in classes:
            raise UsageError(f"the run knows no label '{name}'; {suggest(str(name), classes)}")
    axes = np.eye(len(classes), dtype=np.float32)
    if names is None:
        return Condition(scaled(axes), tuple(range(len(classes))), "each label in turn")
    positions = [classes.index(str(n)) for n in names]
    label = positions[0] if len(positions) == 1 else -1
    return Condition(scaled(normalise(axes[positions].mean(0, keepdims=True))), (label,), " and ".join(map(str, names)))


def _vector(index: Index, named: str) -> NDArray[np.float32]:
    file = Path(named)
    return index.vector_of_file(file) if file.is_file() else index.vector_of_id(find_ids(index, [named])[0])


def _moved(index: Index, run: Run, text: NDArray[np.float32]) -> NDArray[np.float32]:
    """A text's vector moved to where images are → (1, d).

    By the gap of the two means over the run's images (Liang et al. 2022, §4.2). Words are the images' own captions and
    labels; without any, the text itself stands for them.
    """
    ids = [r["id"] for r in run.rows("manifest.jsonl")][:_GAP_IMAGES]
    images = index.images(ids)
    said = sorted({str(i.caption or i.label) for i in images if i.caption or i.label})[:_GAP_WORDS]
    words = np.stack([index.vector_of_text(w) for w in said]) if said else text[None]
    gap = normalise(index.reader.vectors(index.space, ids)).mean(0) - words.mean(0)
    return normalise((text + gap)[None].astype(np.float32))


def _stem(run: Run, asked: Asked, sampler: str, words: str, label: str | None) -> str:
    """All that a picture depends on but its seed: what is usual is left out."""
    parts = [run.name[:5], str(run.checkpoint(asked.checkpoint))]
    said = label or ("" if words in ("", "each label in turn") else words)
    if words == "training images":
        said = f"of {asked.seed} {asked.n}"
    if said:
        short = "".join(c if c.isalnum() else "-" for c in said)[:40].strip("-")
        parts += [short] if short == said else [short, hashlib.sha256(said.encode()).hexdigest()[:8]]
    parts += [sampler] if isinstance(run.options, VaeOptions) else []
    parts += [f"psi-{asked.psi:g}"] if asked.psi != 1 else []
    return "-".join(parts)


def write_picture(picture: Image.Image, file: Path) -> None:
    """Write a picture whole, in the format that its suffix says."""
    with whole_for_user(file) as beside:
        picture.save(beside, file.suffix[1:].upper())


def write_interpolation(index: Index, run: Run, asked: Asked, target: Path, *, steps: int = 8) -> None:
    """From seed to seed, n of them, and back to the first: a strip for a .png, an animation for a .webp.

    Raises `UsageError` for another kind of file.
    """
    if target.suffix not in (".png", ".webp"):
        raise UsageError(f"--interpolate writes a strip (.png) or an animation (.webp), not {target.name}")
    if not target.absolute().parent.is_dir():
        raise UsageError(f"cannot write {target}: its folder is not there")
    generator = load_generator(run, asked.checkpoint, sampler=asked.sampler)
    condition = condition_for(index, run, generator, asked)
    row, label = condition.rows[0], condition.labels[0]
    how: dict[str, Any] = {"sampler": asked.sampler or generator.samplers[0], "psi": asked.psi, "label": label}
    ends = [generator.latent(asked.seed + i, **how) for i in range(max(2, asked.n))]
    between: list[Bytes] = []
    for first, second in zip(ends, [*ends[1:], ends[0]], strict=True):
        between += [generator.make(interpolated(first, second, t / steps), row) for t in range(steps)]
    if target.suffix == ".png":
        write_picture(tiled(np.stack(between), steps, 2), target)
        return
    frames = [to_picture(p).convert("RGB") for p in between]
    large = [f.resize((f.width * _SCALE, f.height * _SCALE), Image.Resampling.NEAREST) for f in frames]
    with whole_for_user(target) as beside:
        large[0].save(beside, "WEBP", save_all=True, append_images=large[1:], duration=80, loop=0, lossless=True)
