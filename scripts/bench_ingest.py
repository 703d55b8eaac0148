"""Indexing speed end to end from JPEG files, beside the encoder's own rate on prepared pictures; and a re-index of 50k
files.

    python scripts/bench_ingest.py --photos FOLDER [--vit-images 400] [--beside CHECKOUT] [--again] [--files 50000]

FOLDER holds JPEGs (`../shared/data/clothing.tar` unpacked, say). ViT-B-32 has random weights, which costs what trained
ones cost. The end-to-end figure counts walking, hashing, decoding, encoding and committing; loading and exporting the
encoder is not counted, as it happens once per machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import PEAK, describe_machine, home_of

from curator.encoders import Encoder, load_encoder
from curator.images import read_picture, walk
from curator.ingest import BATCH


def random_vit(folder: Path) -> str:
    """A ViT-B-32 with random weights, as a checkpoint → its encoder name."""
    file = folder / "vit-b-32.safetensors"
    if not file.exists():
        code = (
            "import sys, open_clip; from safetensors.torch import save_file; m = open_clip.create_model('ViT-B-32'); "
        )
        code += "save_file({k: v.contiguous() for k, v in m.state_dict().items()}, sys.argv[1])"
        subprocess.run([sys.executable, "-c", code, str(file)], check=True)
    return f"ViT-B-32:{file}"


def own_rate(encoder: Encoder, photos: Path, files: list[str], seconds: float = 8.0) -> float:
    """Images/s of `project_images` alone, on prepared batches."""
    batch = np.stack([encoder.prepare(read_picture(photos / f)) for f in files[:BATCH]])
    encoder.project_images(batch)
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        encoder.project_images(batch)
        done += len(batch)
    return done / (time.perf_counter() - started)


RATE = """
import json, resource, sys
from pathlib import Path
import numpy as np
from curator.encoders import load_encoder
from curator.index import Index
from curator.ingest import ingest

photos, few, folder, name, runtime, first = sys.argv[1:]
encoder = load_encoder(name, runtime=runtime)

def index(pictures, place):
    with Index.create(Path(folder) / place) as made:
        if first:
            ingest(made, [Path(pictures)], load_encoder(first))
        before = resource.getrusage(resource.RUSAGE_SELF)
        report = ingest(made, [Path(pictures)], encoder)
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [report.encoded / report.seconds, 1000 * cpu / report.encoded, peak_mib()]

index(few, "warm")
print(json.dumps(index(photos, "index")))
"""


def end_to_end(
    name: str, runtime: str, photos: Path, folder: Path, *, checkout: Path | None = None, first: str = ""
) -> tuple[float, float, float]:
    """Images/s, CPU ms an image and peak MiB of `curator index` of these files, in a process that has indexed before:
    of a fresh index, or of one that has the vectors of the encoder `first`.
    """
    for place in ("warm", "index"):
        shutil.rmtree(folder / place, ignore_errors=True)
    words = [sys.executable, "-c", PEAK + RATE, str(photos), str(folder / "few"), str(folder), name, runtime, first]
    said = subprocess.run(words, capture_output=True, text=True, check=True, cwd=home_of(checkout)).stdout
    images, cpu, peak = json.loads(said.splitlines()[-1])
    return images, cpu, peak


AGAIN = """
import json, sys
from curator.encoders import PixelEncoder
from curator.index import Index
from curator.ingest import ingest

with Index.create(Path(sys.argv[1])) as index:
    seconds = ingest(index, [Path(sys.argv[2])], PixelEncoder()).seconds
print(json.dumps([seconds, peak_mib()]))
"""


def reindex(
    photos: Path, files: list[str], folder: Path, count: int, checkout: Path | None
) -> list[tuple[float, float]]:
    """Seconds and peak memory (MiB) of the first and of the second `curator index` of `count` files, as processes."""
    many = folder / str(count)
    for number in range(count):
        part = many / f"{number // 1000:03d}"
        part.mkdir(parents=True, exist_ok=True)
        if not (part / f"{number:06d}.jpg").exists():
            shutil.copy(photos / files[number % len(files)], part / f"{number:06d}.jpg")
    place = folder / f"{count}-index{'-before' if checkout else ''}"
    words = [sys.executable, "-c", PEAK + AGAIN, str(place), str(many)]
    said = [
        subprocess.run(words, capture_output=True, text=True, check=True, cwd=home_of(checkout)).stdout
        for _ in range(2)
    ]
    shutil.rmtree(place)
    return [tuple(json.loads(text)) for text in said]


def copied(photos: Path, files: list[str], folder: Path) -> Path:
    """A folder of its own for some of the photos."""
    folder.mkdir(exist_ok=True)
    for number, file in enumerate(files):
        shutil.copy(photos / file, folder / f"{number:06d}.jpg")
    return folder


def print_beside(names: list[str], older: Path, photos: Path, folder: Path) -> None:
    """This code and another checkout's in turn, three times each: medians. The last name once more, as a second
    encoder of what `pixels` has indexed.
    """
    print("\n| encoder | code | from JPEG files, images/s | CPU ms | peak MiB |\n|---|---|--:|--:|--:|", flush=True)
    for name, first in [*((name, "") for name in names), (names[-1], "pixels")]:
        mine, its = [], []
        for _ in range(3):
            mine.append(end_to_end(name, "onnx", photos, folder, first=first))
            its.append(end_to_end(name, "onnx", photos, folder, checkout=older, first=first))
        for shown, rows in (("this code", mine), ("the other", its)):
            images, cpu, peak = np.median(np.array(rows), 0)
            what = f"{name} after {first}" if first else name
            print(f"| {what} | {shown} | {images:.0f} | {cpu:.2f} | {peak:.0f} |", flush=True)


def print_reindex(photos: Path, files: list[str], folder: Path, count: int, checkout: Path | None = None) -> None:
    """What files cost that are known already, beside an index of one file."""
    (_, one_first), (_, one_again) = reindex(photos, files, folder, 1, checkout)
    (first, peak_first), (again, peak_again) = reindex(photos, files, folder, count, checkout)
    kilobytes = [(peak - one) * 1024 / count for peak, one in ((peak_first, one_first), (peak_again, one_again))]
    code = "the other checkout" if checkout else "this code"
    print(f"\n{count:,} files, `pixels`, {code}: first index {first:.1f} s, unchanged re-index {again:.2f} s")
    print(f"Peaks {peak_first:.0f} and {peak_again:.0f} MiB; of one file {one_first:.0f} and {one_again:.0f}:")
    print(f"{kilobytes[0]:.3f} and {kilobytes[1]:.3f} kB a file.")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--photos", type=Path, required=True)
    ask.add_argument("--vit-images", type=int, default=400)
    ask.add_argument("--files", type=int, default=50_000)
    ask.add_argument("--again", action="store_true", help="only what known files cost")
    ask.add_argument("--encoders", nargs="+", default=["tiny", "small"], help="those compared with --beside")
    ask.add_argument("--beside", type=Path, help="another checkout, whose indexing is measured in turn with this one's")
    options = ask.parse_args()
    photos = options.photos.absolute()
    files = [f.path for f in walk(photos).images if f.path.lower().endswith((".jpg", ".jpeg"))]
    print(describe_machine())
    if options.again:
        with tempfile.TemporaryDirectory() as place:
            print_reindex(photos, files, Path(place), options.files)
            if options.beside:
                print_reindex(photos, files, Path(place), options.files, options.beside.absolute())
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        copied(photos, files[:64], folder / "few")
        if options.beside:
            some = copied(photos, files, folder / "some")
            print_beside(options.encoders, options.beside.absolute(), some, folder)
            return
        print("\n| encoder | runtime | encoder alone, images/s | from JPEG files, images/s | CPU ms | share |")
        print("|---|---|--:|--:|--:|--:|", flush=True)
        vit = random_vit(folder)
        for name, shown, runtime, count in (
            ("pixels", "pixels", "numpy", len(files)),
            ("tiny", "tiny", "onnx", len(files)),
            ("small", "small", "onnx", len(files)),
            (vit, "ViT-B-32", "torch", options.vit_images),
            (vit, "ViT-B-32", "onnx", options.vit_images),
            (vit, "ViT-B-32", "bf16", options.vit_images),
        ):
            how = runtime if runtime != "numpy" else "onnx"
            some = copied(photos, files[:count], folder / f"some-{count}")
            whole, cpu, _ = end_to_end(name, how, some, folder)
            if shown == "pixels":  # it does nothing but subtract: what is left is reading, decoding and storing
                print(f"| {shown} | {runtime} | – | {whole:.0f} | {cpu:.2f} | – |", flush=True)
                continue
            alone = own_rate(load_encoder(name, runtime=how), photos, files)
            print(f"| {shown} | {runtime} | {alone:.0f} | {whole:.0f} | {cpu:.2f} | {whole / alone:.0%} |", flush=True)
        print_reindex(photos, files, folder, options.files)


if __name__ == "__main__":
    main()
