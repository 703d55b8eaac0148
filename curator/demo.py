"""`curator demo`: the whole tool on pictures made for it, offline."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from curator.drawing.scenes import draw_scene
from curator.drawing.sheets import Section, Tile, save_sheet
from curator.encoders import load_encoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.job import QUIET, Job
from curator.runs.generate import Asked, generate
from curator.runs.train import plan_training, train_on
from curator.search.query import Question, parse_query, search
from curator.training.pictures import tiled

_SCENES, _DIGITS, _SIDE = 240, 200, 96


@dataclass(frozen=True)
class _Shown:
    """One search of the demo, as a person would type it."""

    words: tuple[str, ...]
    where: str | None = None

    def typed(self) -> str:
        quoted = [f'"{w}"' if " " in w else w for w in self.words]
        return " ".join(["curator search", *quoted, *(["--where", f'"{self.where}"'] if self.where else []), "-i demo"])


def run_demo(folder: Path, *, minutes: float = 0.75, job: Job = QUIET) -> Path:
    """Show the tool on pictures made in `folder` → the contact sheet's path.

    They are indexed with `tiny`, searched four ways, and digits are trained on. `minutes` is the time that each of two
    trainings gets; 0 leaves them out.
    """
    job.say(
        f"Pictures: {make_pictures(folder)} in {folder}/ (drawn scenes with captions, handwritten digits, pieces of "
        "two photos)"
    )
    with Index.create("demo") as index:
        report = ingest(index, [folder], load_encoder("tiny"), IngestOptions(label_from="folder"), job=job)
        job.check()
        job.say(f"$ curator index {folder} --encoder tiny --label-from folder -i demo")
        job.say(f"  {report.new} new, {report.unchanged} unchanged, {report.encoded} encoded in {report.seconds:.1f} s")
        photo = next(iter(sorted((folder / "photos").glob("*.jpg"))), folder / "scenes" / "000.png")
        shown = (
            _Shown(("a", "red", "circle")),
            _Shown((f"./{photo}" if not photo.is_absolute() else str(photo),)),
            _Shown(("the", "digit", "3"), "label = 'digits'"),
            _Shown(("2:heart", "-", "red"), "label = 'scenes'"),
        )
        sections = [_section(index, s, job) for s in shown]
    sheet = folder.parent / "demo-sheet.png"
    written = save_sheet(sections, sheet, columns=8)
    job.say(f"Contact sheet: {written}")
    if minutes:
        _train_on_digits(folder.parent, minutes, job)
    job.say("Next: curator index ~/Pictures, then curator search WORDS, or ask the demo's index more with -i demo")
    job.say("Or look at all of it in the browser: curator web -i demo")
    return sheet


def _train_on_digits(home: Path, minutes: float, job: Job) -> None:
    """A VAE and a GAN on scikit-learn's 1,797 digits, and the grids of what they make."""
    from sklearn.datasets import load_digits

    folder = home / "demo-digits"
    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    for number, (digit, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        _save(Image.fromarray((digit * 15.9).astype(np.uint8)), folder / f"{number:04d}-{label}.png")
    with Index.create("demo-digits") as index:
        ingest(index, [folder], load_encoder("tiny"), IngestOptions(), job=job)
        job.check()
        grids = []
        for trainer in ("vae", "gan"):
            job.say(f"$ curator train {trainer} --max-minutes {minutes:g} -i demo-digits")
            plan = plan_training(index, trainer, None, {"max_minutes": minutes})
            run, outcome = train_on(index, plan, job=job)
            job.check()
            numbers = next((m for m in run.rows("metrics.jsonl") if m["images_seen"] == outcome.best), {})
            job.say(
                f"  {run.name}: {outcome.images_seen} images in {outcome.seconds:.0f} s, recall "
                f"{numbers.get('recall', 0):.2f}"
            )
            job.say(f"$ curator generate {run.name} -i demo-digits")
            generated = generate(index, run, Asked(64), job=job)
            grids.append(Tile(generated.grid, f"{trainer}: 64 it made", f"{outcome.images_seen} images seen"))
        real = (digits.images[:64, None] * 15.9).astype(np.uint8)
        grids.append(Tile(tiled(real, 8, 2), "64 real ones"))
    sheet = home / "demo-generated.png"
    written = save_sheet([Section("Trained on 1,797 digits of 8 by 8 pixels", grids)], sheet, columns=3)
    job.say(f"What they made: {written}")


def _section(index: Index, shown: _Shown, job: Job) -> Section:
    hits = search(index, parse_query(shown.words), Question(k=8, where=shown.where))
    images = index.images(hits.ids)
    job.say(f"$ {shown.typed()}")
    for image, score in list(zip(images, hits.scores, strict=True))[:3]:
        job.say(f"  {score:.3f}  id:{image.id:<4} {image.label}: {image.caption or image.path.name}")
    tiles = [
        Tile(i.path, f"{s:.3f} {i.label}", i.caption or i.path.name) for i, s in zip(images, hits.scores, strict=True)
    ]
    return Section(f"{shown.typed()}   ({hits.searched} searched)", tiles)


def make_pictures(folder: Path, *, seed: int = 0) -> int:
    """Fill `folder` with scenes, digits and photos, each only if it is not there yet → the number of pictures."""
    _make_scenes(folder / "scenes", seed)
    with suppress(ImportError):  # the extra `demo`; drawn scenes alone make a demo too
        _make_digits(folder / "digits")
        _make_photos(folder / "photos")
    return sum(1 for p in folder.rglob("*") if p.suffix in (".png", ".jpg"))


def _make_scenes(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(_SCENES):
        scene = draw_scene(rng, _SIDE)
        _save(scene.picture, folder / f"{number:03d}.png")
        (folder / f"{number:03d}.txt").write_text(scene.caption + "\n")


def _make_digits(folder: Path) -> None:
    from sklearn.datasets import load_digits

    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    for number in range(_DIGITS):
        pixels = (digits.images[-1 - number] * 15.9).astype(np.uint8)
        name = f"{number:03d}-digit-{digits.target[-1 - number]}.png"
        _save(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC), folder / name)


def _make_photos(folder: Path) -> None:
    """Two sample photos, whole and cut into overlapping pieces: real texture, and neighbours that look alike."""
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True, exist_ok=True)
    samples = load_sample_images()
    for name, pixels in zip(samples.filenames, samples.images, strict=True):
        stem, photo = Path(name).stem, Image.fromarray(pixels)
        _save(photo, folder / f"{stem}.jpg")
        for number, (left, top) in enumerate((x, y) for y in range(0, 228, 100) for x in range(0, 441, 110)):
            _save(photo.crop((left, top, left + 200, top + 200)), folder / f"{stem}-{number:02d}.jpg")


def _save(picture: Image.Image, path: Path) -> None:
    if not path.exists():
        picture.save(path)
