"""Rows that `curator repair` saves of damaged databases, beside what the sqlite3 shell's `.recover` saves.

    python scripts/bench_repair.py [--trials 218]

Each trial damages a copy of one index: pages zeroed or filled with noise, bits flipped, the end cut off, the schema
spoilt. A row counts if its checksum fits. "sound but lost" are rows on pages that no damage touched, that name no lost
row, and that were not saved. Many distributions build the shell without `.recover`; its columns are dashes then.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import describe_machine
from PIL import Image

from curator.admin.maintenance import repair
from curator.admin.manage import tag_images
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.database import Writer
from curator.database.integrity import row_crc
from curator.database.pages import DatabaseFile
from curator.database.salvage import tables_of
from curator.database.schema import SEALED
from curator.encoders import PixelEncoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest

PAGE = 4096
REMADE = ("meta", "spaces")  # whose rows change as FAISS files are written again
Damage = Callable[[bytearray, np.random.Generator], bytearray]


def zero(count: int) -> Damage:
    def damage(data: bytearray, rng: np.random.Generator) -> bytearray:
        for page in rng.choice(len(data) // PAGE, min(count, len(data) // PAGE), replace=False):
            data[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
        return data

    return damage


def noise(count: int) -> Damage:
    def damage(data: bytearray, rng: np.random.Generator) -> bytearray:
        for page in rng.choice(np.arange(1, len(data) // PAGE), count, replace=False):
            data[page * PAGE : (page + 1) * PAGE] = rng.bytes(PAGE)
        return data

    return damage


def flip(count: int) -> Damage:
    def damage(data: bytearray, rng: np.random.Generator) -> bytearray:
        for place in rng.integers(PAGE, len(data), count):
            data[place] ^= 1 << int(rng.integers(8))
        return data

    return damage


def cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: len(data) - int(rng.integers(1, 20)) * PAGE]


def schema(data: bytearray, rng: np.random.Generator) -> bytearray:
    place = int(rng.integers(100, PAGE))
    data[place] ^= 1 << int(rng.integers(8))
    return data


DAMAGES: dict[str, Damage] = {
    "1 page zeroed": zero(1), "5 pages zeroed": zero(5), "5 pages of noise": noise(5), "1 bit flipped": flip(1),
    "20 bits flipped": flip(20), "end cut off": cut, "bit of the schema flipped": schema,
}  # fmt: skip


def build(place: Path) -> Path:
    rng = np.random.default_rng(0)
    (place / "pictures").mkdir()
    for number in range(330):
        pixels = np.random.default_rng(number % 300).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.NEAREST).save(place / f"pictures/{number:03d}.png")
        words = " ".join(rng.choice(["red", "old", "small", "boat", "house", "tree"], 40))
        (place / f"pictures/{number:03d}.txt").write_text(f"{number} {words}")
    with Index.create(place / "index") as index:
        ingest(index, [place / "pictures"], PixelEncoder(), IngestOptions())
        tag_images(index, list(range(1, 331)), ["kept"])
        dedupe(index, DedupeOptions("exact"))
    return place / "index"


def sound_rows(file: Path) -> set[tuple[object, ...]]:
    """(table, row) whose checksum fits; a table that cannot be read has none."""
    rows: set[tuple[object, ...]] = set()
    with contextlib.closing(sqlite3.connect(file)) as db:
        for table, columns in SEALED.items():
            with contextlib.suppress(sqlite3.DatabaseError):
                for row in db.execute(f"SELECT {', '.join(columns)}, crc FROM {table}"):
                    if row[-1] == row_crc(*row[:-1]):
                        rows.add((table, *row))
    return rows


def recovered(file: Path, place: Path) -> set[tuple[object, ...]]:
    """What the shell's `.recover` gets."""
    done = subprocess.run(["sqlite3", str(file), ".recover"], capture_output=True, check=False)
    out = place / "recovered.db"
    out.unlink(missing_ok=True)
    subprocess.run(["sqlite3", str(out)], input=done.stdout, capture_output=True, check=False)
    return sound_rows(out) if out.exists() else set()


def untouched(sound: Path, damaged: bytes | bytearray) -> set[tuple[object, ...]]:
    """(table, row) of every row of a table with rowids that lies on pages which are the same in both files."""
    whole = sound.read_bytes()
    same = bytearray(whole)
    for start in range(PAGE, len(whole), PAGE):
        # A page that differs counts as empty: a leaf without cells.
        if whole[start : start + PAGE] != damaged[start : start + PAGE]:
            same[start : start + PAGE] = b"\x0d" + bytes(PAGE - 1)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "pages.db"
        file.write_bytes(same)
        cells = DatabaseFile(file).found_rows().rows
        with Writer.open(Path(temporary)) as db:
            tables = [t for t in tables_of(db.connection).values() if t.name != "meta"]
    rows = ((t.name, row) for rowid, values in cells for t in tables if (row := t.row(rowid, values)) is not None)
    return {(name, *row) for name, row in rows}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--trials", type=int, default=218)
    options = ask.parse_args()
    print(describe_machine())
    table: dict[str, list[list[float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        index = build(place)
        before = sound_rows(index / "index.db")
        for trial in range(options.trials):
            name = list(DAMAGES)[trial % len(DAMAGES)]
            damaged = place / "damaged"
            shutil.rmtree(damaged, ignore_errors=True)
            shutil.copytree(index, damaged)
            data = DAMAGES[name](bytearray((index / "index.db").read_bytes()), np.random.default_rng(trial))
            (damaged / "index.db").write_bytes(data)
            theirs = recovered(damaged / "index.db", place)
            started = time.process_time()
            repair(damaged)
            seconds = time.process_time() - started
            ours = sound_rows(damaged / "index.db")
            # Rows that name a lost one are dropped, whoever finds them; counters are made anew.
            gone = {(row[0], row[1]) for row in before - ours}
            whole = untouched(index / "index.db", data)
            sound = {row for row in (whole | theirs) - ours if row[0] not in REMADE and not _names_lost(row, gone)}
            table[name].append(
                [len(before) - len(ours), len(before) - len(theirs) if theirs else np.nan, len(sound), seconds]
            )
    print("\n| damage | trials | rows lost, median (most) | by .recover | sound but lost | CPU s |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, rows in table.items():
        ours, theirs, beyond, seconds = np.array(rows).T
        print(
            f"| {name} | {len(rows)} | {np.median(ours):.0f} ({ours.max():.0f}) | "
            f"{'–' if np.isnan(theirs).all() else f'{np.nanmedian(theirs):.0f} ({np.nanmax(theirs):.0f})'} | "
            f"{beyond.sum():.0f} | {seconds.mean():.2f} |"
        )
    print(f"\n{len(before)} rows before")


def _names_lost(row: tuple[object, ...], gone: set[tuple[object, object]]) -> bool:
    """Whether a sound row names an image, content, root or space that was lost."""
    contents, images = ("contents", 0), ("images", 0)
    named = {
        "images": [("roots", 1), ("contents", 5)], "tags": [images], "embeddings": [("spaces", 0), ("contents", 1)],
        "measures": [contents], "groups": [images, ("images", 1)], "edges": [contents, ("contents", 1)],
        "computed": [images],
    }  # fmt: skip
    return any((table, row[1 + at]) in gone for table, at in named.get(str(row[0]), []))


if __name__ == "__main__":
    main()
