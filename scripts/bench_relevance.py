"""Does "nothing here clearly matches" tell the truth? Queries with and without an answer, on labelled sets.

    python scripts/bench_relevance.py --data ../shared/data

Each set is indexed with `tiny`, without labels, so that nothing is learnt of how sure hits are. A query has an answer
if it names one of the set's own classes; it has none if it names a class of another set, or is no word at all. Printed:
for each kind the share of queries that are called clear.
"""

from __future__ import annotations

import argparse
import csv
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from machine import describe_machine

from curator.drawing.scenes import draw_scene
from curator.encoders import load_encoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest

NONSENSE = ("zzyqv gribble", "xkcd qwerty", "florp", "asdf jkl", "mmmm mmm", "blorgon", "qqq", "the of and")
SCENES = (
    "a red circle",
    "three blue stars",
    "a green heart",
    "the digit 7",
    "a purple ring",
    "two yellow squares",
    "the letter K",
)


def sets(data: Path, folder: Path) -> dict[str, list[str]]:
    """Unpack and draw the sets → name → queries that have an answer in it."""
    for name in ("clothing", "grocery"):
        with tarfile.open(data / f"{name}.tar") as tar:
            tar.extractall(folder, filter="data")
    rng = np.random.default_rng(3)
    (folder / "scenes").mkdir()
    for number in range(1500):
        draw_scene(rng, 96).picture.save(folder / "scenes" / f"{number}.png")

    def values(name: str, column: str) -> list[str]:
        with (folder / name / "labels.csv").open() as opened:
            return sorted({row[column].replace("-", " ").lower() for row in csv.DictReader(opened)})

    return {"clothing": values("clothing", "label"), "grocery": values("grocery", "coarse"), "scenes": list(SCENES)}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--data", type=Path, required=True)
    options = ask.parse_args()
    print(describe_machine(), "\n")
    print("| set | queries | called clear |\n|---|---|--:|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        answers = sets(options.data, folder)
        encoder = load_encoder("tiny")
        for name, present in answers.items():
            absent = [q for other, queries in answers.items() if other != name for q in queries]
            with Index.create(folder / f"{name}-index") as index:
                ingest(index, [folder / name], encoder, IngestOptions())
                for kind, queries in (("with an answer", present), ("without", absent), ("nonsense", NONSENSE)):
                    share = np.mean([index.search(text=q, k=1).clear for q in queries])
                    print(f"| {name} | {len(queries)} {kind} | {share:.0%} |", flush=True)


if __name__ == "__main__":
    main()
