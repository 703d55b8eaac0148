"""Ten queries by words and ten by a picture on photos that the bundled encoders never saw, drawn with their mistakes.

    python scripts/unseen_sheet.py --data ../shared/data --out scripts/unseen-sheet.jpg
    python scripts/unseen_sheet.py --data ../shared/data --photos --out photos.jpg

The photos are the test splits of clothing-dataset-small (CC0 1.0) and GroceryStoreDataset (MIT, every sixth), of which
other shots taught both encoders. With `--photos` they are the validation photos of `photos.tar`, whose terms let nobody
pass them on: the sheet is to look at, and what it shows is also printed as a table of labels. Right hits are framed.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from small_data import photo_rows

from curator.drawing.sheets import Section, Tile, draw_sheet
from curator.encoders import load_encoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest

# Words → the labels that are right.
WORDS = {
    "a dress": "dress", "a t-shirt": "t shirt", "shoes": "shoes", "a hat": "hat", "trousers": "pants", "apple": "apple",
    "milk": "milk", "banana": "banana", "tomato": "tomato", "juice": "juice",
}  # fmt: skip
PHOTO_WORDS = {
    "a panda": "panda", "mountains": "mountain", "a plate of pizza": "pizza", "a puppy": "dog", "an automobile": "car",
    "woods": "forest", "somebody playing chess": "chess", "ice hockey": "ice hockey", "a bedroom": "bedroom",
    "a church": "church",
}  # fmt: skip


def unpack_photos(data: Path, folder: Path) -> None:
    """Validation photos of `photos.tar` into folders of their labels."""
    rows = (pair for pair in photo_rows(data) if pair[0]["split"] == "validation")
    for number, (row, picture) in enumerate(rows):
        target = folder / "photos" / row["label"] / f"{number:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target)


def unpack(data: Path, folder: Path) -> None:
    """Test photos into folders of their labels, `photos/LABEL/…`."""
    for name, column, step in (("clothing", "label", 1), ("grocery", "coarse", 6)):
        with tarfile.open(data / f"{name}.tar") as tar:
            tar.extractall(folder / "raw", filter="data")
        with (folder / "raw" / name / "labels.csv").open() as opened:
            rows = [r for r in csv.DictReader(opened) if r["split"] == "test"]
        for number, row in enumerate(rows[::step]):
            label = row[column].replace("-", " ").lower()
            target = folder / "photos" / label / f"{name}{number:04d}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / "raw" / name / row["file"]).rename(target)


def row(query: str, right: str, labels: list[str]) -> str:
    """A line of the table: labels in order, right ones bold, with how often each stands in a row."""
    runs = [(label, len(list(same))) for label, same in itertools.groupby(labels)]
    cells = [(f"**{label}**" if label == right else label) + (f" × {n}" if n > 1 else "") for label, n in runs]
    return f"| {query} | {', '.join(cells)} |"


def main() -> None:
    """Index, ask, draw."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--photos", action="store_true", help="validation photos of photos.tar instead")
    ask.add_argument("--encoder", default="small")
    ask.add_argument("--out", type=Path, required=True)
    options = ask.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (unpack_photos if options.photos else unpack)(options.data, folder)
        with Index.create(folder / "index") as index:
            ingest(index, [folder / "photos"], load_encoder(options.encoder), IngestOptions(label_from="folder"))
            sections = []
            print("| query | first hits |\n|---|---|")
            for words, label in (PHOTO_WORDS if options.photos else WORDS).items():
                images = index.images(index.search(text=words, k=7).ids)
                right = [i.label == label for i in images]
                tiles = [Tile(i.path, i.label or "", framed=r) for i, r in zip(images, right, strict=True)]
                sections.append(Section(f"words: {words}   ({sum(right)} of 7)", tiles))
                print(row(words, label, [i.label or "" for i in images]))
            ids = index.reader.ids_where("1")
            for i in np.random.default_rng(4).choice(ids, 10, replace=False).tolist():
                (own,) = index.images([i])
                images = index.images([h for h in index.search(like=i, k=7).ids.tolist() if h != i][:6])
                tiles = [Tile(h.path, h.label or "", framed=h.label == own.label) for h in images]
                sections.append(Section(f"a picture of: {own.label}", [Tile(own.path, "the query"), *tiles]))
                print(row(f"a picture of: {own.label}", own.label or "", [h.label or "" for h in images]))
            draw_sheet(sections, columns=14, side=110).save(options.out, quality=62)


if __name__ == "__main__":
    main()
