"""What `curator dedupe` finds of crops, what it makes of small changes, and how fast and how far it compares.

    python scripts/bench_comparing.py crops --data ../shared/data [--encoder small]
    python scripts/bench_comparing.py cases --data ../shared/data
    python scripts/bench_comparing.py size --data ../shared/data --count 20000
    python scripts/bench_comparing.py sketches --pictures 1000000 --asked 5000

`crops`: 2,400 photos, and a crop of 30 to 90 % of the side of each second one. `cases`: twelve filled copies of one
form, a still camera before which a small thing moves, a 6 and a 9, parts of one sheet. `size`: as many mosaics of four
photos as asked for, of 224 px, from files to groups. `sketches`: synthetic corners of a million pictures.
"""

from __future__ import annotations

import argparse
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import describe_machine, peak_mib
from PIL import Image, ImageDraw

from curator.cleaning.corners import CornerFile
from curator.cleaning.dedupe import dedupe
from curator.cleaning.result import DedupeResult
from curator.duplicates import Corners
from curator.encoders import load_encoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest

NAMES = ("Ada", "Babbage", "Curie", "Dirac", "Euler", "Fermat", "Gauss", "Hilbert", "Ito", "Jacobi", "Klein", "Noether")
SIZES = (0.3, 0.4, 0.5, 0.6, 0.75, 0.9)


def photos_of(data: Path, place: Path, *names: str) -> list[Path]:
    """Files of sets, in a seeded order."""
    for name in names:
        with tarfile.open(data / f"{name}.tar") as tar:
            tar.extractall(place, filter="data")
    files = sorted(f for name in names for f in (place / name).rglob("*.jpg"))
    return [files[i] for i in np.random.default_rng(0).permutation(len(files))]


def seen(folder: Path, home: Path, encoder: str, *, labels: bool = False) -> tuple[DedupeResult, dict[int, str], float]:
    """What is found in a folder, names by id, and seconds of the indexing before it."""
    with Index.create(home) as index:
        started = time.monotonic()
        ingest(index, [folder], load_encoder(encoder), IngestOptions(label_from="folder" if labels else None))
        seconds = time.monotonic() - started
        result = dedupe(index)
        return result, {i.id: i.path.stem for i in index.images(index.reader.ids_where("1"))}, seconds


def crops(options: argparse.Namespace) -> None:
    """Recall by size, and groups that mix pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        place, folder = Path(scratch), Path(scratch) / "set"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for number, file in enumerate(photos_of(options.data, place, "clothing", "grocery")[:2_400]):
            picture = Image.open(file).convert("RGB")
            picture.save(folder / f"{number:05d}.png")
            if number % 2:
                share = SIZES[number // 2 % len(SIZES)]
                w, h = (round(v * share) for v in picture.size)
                left = int((picture.width - w) * rng.uniform(0.2, 0.8))
                top = int((picture.height - h) * rng.uniform(0.2, 0.8))
                picture.crop((left, top, left + w, top + h)).save(folder / f"{number:05d}-{share:.2f}.png")
        result, names, _ = seen(folder, place / "index", options.encoder)
        group_of = {names[m.image_id]: g.keeper for g in result.groups for m in g.members}
        made, found = Counter[str](), Counter[str]()
        for name in names.values():
            number, _, share = name.partition("-")
            if share:
                made[share] += 1
                found[share] += name in group_of and group_of[name] == group_of.get(number)
        print("| crops of | " + " | ".join(f"{float(s):.0%}" for s in sorted(made)) + " |")
        print("|---|" + "--:|" * len(made))
        print("| crops | " + " | ".join(str(made[s]) for s in sorted(made)) + " |")
        print("| found with their photo | " + " | ".join(f"{found[s] / made[s]:.1%}" for s in sorted(made)) + " |")
        mixed = [g for g in result.groups if len({names[m.image_id][:5] for m in g.members}) > 1]
        print(f"\n{len(mixed)} of {len(result.groups)} groups hold pictures of several photos; {said(result)}")


def said(result: DedupeResult) -> str:
    """Pairs and seconds."""
    speed = result.compared / result.seconds
    return f"{result.compared:,} pairs, {result.seconds:.0f} s in all, {speed:,.0f} pairs/s; {result.shortcut}"


def cases(options: argparse.Namespace) -> None:
    """Changes in one place, that are no copies."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        files = photos_of(options.data, place, "clothing")
        print("| case | pictures | proposed for removal | listed |\n|---|--:|--:|---|")
        for name, draw in (("form", forms), ("still camera", camera), ("6 and 9", digits), ("sheet", sheet)):
            folder = place / "cases" / name
            pictures = draw(files)
            for label, picture in pictures:
                (folder / label).mkdir(parents=True, exist_ok=True)
                picture.save(folder / label / f"{len(list(folder.rglob('*.jpg')))}.jpg", quality=92)
            result, _, _ = seen(folder, place / f"index {name}", options.encoder, labels=name == "6 and 9")
            listed = ", ".join(f"{count} {kind}" for kind, count in Counter(p.kind for p in result.listed).items())
            print(f"| {name} | {len(pictures)} | {sum(result.images.values())} | {listed or '–'} |", flush=True)


def forms(_files: list[Path]) -> list[tuple[str, Image.Image]]:
    """A printed form with twelve names written into it."""
    names = [
        "Ada",
        "Babbage",
        "Curie",
        "Dirac",
        "Euler",
        "Fermat",
        "Gauss",
        "Hilbert",
        "Ito",
        "Jacobi",
        "Klein",
        "Lovelace",
    ]
    pictures = []
    for name in names:
        picture = Image.new("RGB", (600, 800), "white")
        draw = ImageDraw.Draw(picture)
        for row in range(15):
            draw.text(
                (40, 40 + 50 * row), f"{row + 1}. Please answer question {row * 7 % 10} in full", "black", font_size=22
            )
            draw.line((40, 78 + 50 * row, 560, 78 + 50 * row), fill="grey")
        draw.text((230, 395), name, "navy", font_size=44)
        pictures.append(("form", picture))
    return pictures


def camera(files: list[Path]) -> list[tuple[str, Image.Image]]:
    """One view, before which a small thing stands in twelve places."""
    view, thing = (Image.open(f).convert("RGB") for f in files[:2])
    view, thing = view.resize((640, 480)), thing.resize((60, 60))
    pictures = []
    for number in range(12):
        frame = view.copy()
        frame.paste(thing, (20 + 45 * number, 200 + 10 * (number % 3)))
        pictures.append(("camera", frame))
    return pictures


def digits(_files: list[Path]) -> list[tuple[str, Image.Image]]:
    """A 6 and a 9, of five sizes each."""
    pictures = []
    for size in (30, 34, 38, 42, 46):
        picture = Image.new("RGB", (64, 64), "white")
        ImageDraw.Draw(picture).text((18, 4), "6", "black", font_size=size)
        pictures += [("6", picture), ("9", picture.rotate(180, fillcolor="white"))]
    return pictures


def sheet(files: list[Path]) -> list[tuple[str, Image.Image]]:
    """Four photos on one plate, and what two cameras see of it."""
    plate = Image.new("RGB", (900, 500), "white")
    for number, file in enumerate(files[2:6]):
        plate.paste(Image.open(file).convert("RGB").resize((200, 400)), (30 + 220 * number, 50))
    return [("sheet", plate.crop((left, 0, left + 500, 500))) for left in (0, 200, 400)]


def size(options: argparse.Namespace) -> None:
    """From files to groups."""
    with tempfile.TemporaryDirectory() as scratch:
        place, folder = Path(scratch), Path(scratch) / "set"
        folder.mkdir()
        files = photos_of(options.data, place, "clothing", "grocery")
        rng = np.random.default_rng(0)
        tiles = [Image.open(f).convert("RGB").resize((112, 112)) for f in files]
        for number in range(options.count):
            picture = Image.new("RGB", (224, 224))
            for at, tile in enumerate(rng.integers(len(tiles), size=4)):
                picture.paste(tiles[tile], (112 * (at % 2), 112 * (at // 2)))
            picture.save(folder / f"{number:06d}.jpg", quality=90)
        result, _, seconds = seen(folder, place / "index", options.encoder)
        kept = sum(f.stat().st_size for f in (place / "index" / "sketches").iterdir())
        print(f"{options.count:,} pictures: indexed in {seconds:.0f} s; {said(result)}")
        print(f"sketches: {kept / options.count / 1024:.1f} KiB a picture; peak {peak():.1f} GiB")


def peak() -> float:
    return peak_mib() / 1024


def sketches(options: argparse.Namespace) -> None:
    """Memory and time of the candidates by corners, of random words."""
    rng = np.random.default_rng(0)
    most = max(32, min(512, 24_000_000 // options.pictures))
    file = CornerFile(most)
    asked: list[Corners | None] = []
    started = time.monotonic()
    for number in range(options.pictures):
        words = rng.integers(0, 256, (most + 64, 32), np.uint8)
        of = Corners(np.zeros((len(words), 2), np.float32), *np.zeros((2, len(words)), np.float32), words, most)
        file.add([of])
        if number < options.asked:
            asked.append(of)
    drawn = time.monotonic()
    file.close()
    built = time.monotonic()
    for start in range(0, len(asked), 512):
        part = asked[start : start + 512]
        file.partners(part, np.arange(start, start + len(part)))
    seconds = time.monotonic() - built
    print(f"{options.pictures:,} pictures, {most} corners each: {file.method}; built in {built - drawn:.0f} s")
    print(f"{1000 * seconds / len(asked):.1f} ms a picture asked, of {len(asked):,}; peak {peak():.1f} GiB")
    print(f"drawing them took {drawn - started:.0f} s")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = ask.add_subparsers(dest="job", required=True)
    work: dict[str, Callable[[argparse.Namespace], None]] = {"crops": crops, "cases": cases, "size": size}
    for name in work:
        job = jobs.add_parser(name)
        job.add_argument("--data", type=Path, required=True)
        job.add_argument("--encoder", default="small")
        job.add_argument("--count", type=int, default=20_000)
    job = jobs.add_parser("sketches")
    job.add_argument("--pictures", type=int, default=1_000_000)
    job.add_argument("--asked", type=int, default=5_000)
    options = ask.parse_args()
    print(describe_machine() + "\n")
    (work | {"sketches": sketches})[options.job](options)


if __name__ == "__main__":
    main()
