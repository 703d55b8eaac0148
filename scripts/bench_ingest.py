"""Indexing speed end to end from JPEG files, beside the encoder's own rate on prepared pictures; and a re-index of 50k
files.

    python scripts/bench_ingest.py --photos FOLDER [--vit-images 400] [--again] [--files 50000]

FOLDER holds JPEGs (`../shared/data/clothing.tar` unpacked, say). ViT-B-32 has random weights, which costs what trained
ones cost. The end-to-end figure counts walking, hashing, decoding, encoding and committing; loading and exporting the
encoder is not counted, as it happens once per machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe_machine

from curator.encoders import Encoder, load_encoder
from curator.images import read_picture, walk
from curator.index import Index
from curator.ingest import BATCH, ingest


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


def end_to_end(encoder: Encoder, photos: Path, files: list[str], folder: Path) -> float:
    """Images/s of a fresh `curator index` of these files."""
    shutil.rmtree(folder / "some", ignore_errors=True)
    (folder / "some").mkdir()
    for number, file in enumerate(files):
        os.link(
            photos / file, folder / "some" / f"{number:05d}.jpg"
        ) if photos.stat().st_dev == folder.stat().st_dev else shutil.copy(
            photos / file, folder / "some" / f"{number:05d}.jpg"
        )
    shutil.rmtree(folder / "index", ignore_errors=True)
    with Index.create(folder / "index") as index:
        report = ingest(index, [folder / "some"], encoder)
    return report.encoded / report.seconds


AGAIN = """
import json, resource, sys
from pathlib import Path
from curator.encoders import PixelEncoder
from curator.index import Index
from curator.ingest import ingest

with Index.create(Path(sys.argv[1])) as index:
    seconds = ingest(index, [Path(sys.argv[2])], PixelEncoder()).seconds
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def reindex(photos: Path, files: list[str], folder: Path, count: int) -> list[tuple[float, float]]:
    """Seconds and peak memory (MiB) of the first and of the second `curator index` of `count` files, as processes."""
    many = folder / str(count)
    for number in range(count):
        part = many / f"{number // 1000:03d}"
        part.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / files[number % len(files)], part / f"{number:06d}.jpg")
    words = [sys.executable, "-c", AGAIN, str(folder / f"{count}-index"), str(many)]
    said = [subprocess.run(words, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    return [tuple(json.loads(text)) for text in said]


def print_reindex(photos: Path, files: list[str], folder: Path, count: int) -> None:
    """What files cost that are known already, beside an index of one file."""
    (_, one_first), (_, one_again) = reindex(photos, files, folder, 1)
    (first, peak_first), (again, peak_again) = reindex(photos, files, folder, count)
    kilobytes = [(peak - one) * 1024 / count for peak, one in ((peak_first, one_first), (peak_again, one_again))]
    print(f"\n{count:,} files, `pixels`: first index {first:.1f} s, unchanged re-index {again:.2f} s")
    print(f"Peaks {peak_first:.0f} and {peak_again:.0f} MiB; of one file {one_first:.0f} and {one_again:.0f}:")
    print(f"{kilobytes[0]:.3f} and {kilobytes[1]:.3f} kB a file.")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--photos", type=Path, required=True)
    ask.add_argument("--vit-images", type=int, default=400)
    ask.add_argument("--files", type=int, default=50_000)
    ask.add_argument("--again", action="store_true", help="only what known files cost")
    options = ask.parse_args()
    photos = options.photos.absolute()
    files = [f.path for f in walk(photos).images if f.path.lower().endswith((".jpg", ".jpeg"))]
    print(describe_machine())
    if options.again:
        with tempfile.TemporaryDirectory() as place:
            print_reindex(photos, files, Path(place), options.files)
        return
    print(
        "\n| encoder | runtime | encoder alone, images/s | from JPEG files, images/s | share |\n|---|---|--:|--:|--:|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        vit = random_vit(folder)
        for name, shown, runtime, count in (
            ("pixels", "pixels", "numpy", len(files)),
            ("tiny", "tiny", "onnx", len(files)),
            (vit, "ViT-B-32", "torch", options.vit_images),
            (vit, "ViT-B-32", "onnx", options.vit_images),
            (vit, "ViT-B-32", "bf16", options.vit_images),
        ):
            encoder = load_encoder(name, runtime=runtime if runtime != "numpy" else "onnx")
            whole = end_to_end(encoder, photos, files[:count], folder)
            if shown == "pixels":  # it does nothing but subtract: what is left is reading, decoding and storing
                print(f"| {shown} | {runtime} | – | {whole:.0f} | – |", flush=True)
                continue
            alone = own_rate(encoder, photos, files)
            print(f"| {shown} | {runtime} | {alone:.0f} | {whole:.0f} | {whole / alone:.0%} |", flush=True)
        print_reindex(photos, files, folder, options.files)


if __name__ == "__main__":
    main()
