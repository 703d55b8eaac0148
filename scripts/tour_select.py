"""A tour of selecting: a messy folder of digits, what each selector chooses from it, and how clean the choice is.

python scripts/tour_select.py [FOLDER]

Makes FOLDER (tour-pictures) with 600 handwritten digits from scikit-learn, a quarter as many pieces of photos and drawn
scenes that do not belong, and 150 duplicates (copies, smaller ones, mirrored ones); indexes it with the bundled
encoder, finds the duplicates, selects 60 by every selector, and draws the first twelve of each on tour-sheet.png.
Everything is seeded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from curator.cleaning.dedupe import dedupe
from curator.drawing.scenes import draw_scene
from curator.drawing.sheets import Section, Tile, save_sheet
from curator.encoders import load_encoder
from curator.index import Index
from curator.ingest import ingest
from curator.labelling.concepts import fit_concept
from curator.selection.recipe import Recipe
from curator.selection.select import select

DIGITS, STRANGERS, COPIES, CHOSEN = 600, 150, 150, 60


def make(folder: Path) -> None:
    """Digits held out in `held/`, the messy rest in `mess/`; the file's name says what it is."""
    rng = np.random.default_rng(0)
    (folder / "mess").mkdir(parents=True)
    (folder / "held").mkdir()
    digits = load_digits()
    pictures = [
        Image.fromarray((d * 15.9).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC).convert("RGB")
        for d in digits.images
    ]
    for number in range(DIGITS):
        pictures[number].save(folder / "mess" / f"digit-{digits.target[number]}-{number:04d}.png")
    for number in range(DIGITS, DIGITS + 300):
        pictures[number].save(folder / "held" / f"{number:04d}.png")
    photos = [Image.fromarray(p) for p in load_sample_images().images]
    for number in range(STRANGERS):
        if number % 2:
            x, y = int(rng.integers(0, 540)), int(rng.integers(0, 327))
            stranger = photos[number % 4 // 2].crop((x, y, x + 100, y + 100)).resize((64, 64))
        else:
            stranger = draw_scene(rng, 64).picture
        stranger.save(folder / "mess" / f"stranger-{number:04d}.png")
    for number, at in enumerate(rng.permutation(DIGITS)[:COPIES].tolist()):
        name = f"copy-{digits.target[at]}-of-{at:04d}"
        copy = (pictures[at], pictures[at].resize((48, 48)), pictures[at].transpose(Image.Transpose.FLIP_LEFT_RIGHT))[
            number % 3
        ]
        copy.save(folder / "mess" / f"{name}.{'jpg' if number % 3 == 1 else 'png'}")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tour-pictures")
    if not folder.exists():
        make(folder)
    recipes = {
        "random, nothing left out": Recipe(n=CHOSEN, dedupe="none"),
        "random": Recipe(n=CHOSEN),
        "balanced over clusters": Recipe(n=CHOSEN, by="balanced"),
        "hierarchical": Recipe(n=CHOSEN, by="hierarchical"),
        "k-center": Recipe(n=CHOSEN, by="k-center"),
        "facility-location": Recipe(n=CHOSEN, by="facility-location"),
        "typicality": Recipe(n=CHOSEN, by="typicality"),
        "density": Recipe(n=CHOSEN, by="density"),
        "words: a handwritten digit, not a photo or drawing": Recipe(
            n=CHOSEN, match=("a handwritten digit",), avoid=("a photo", "a drawing of shapes")
        ),
        "match 300 held-out digits": Recipe(n=CHOSEN, by="match", reference=str(folder / "held")),
        "importance, 300 held-out digits": Recipe(n=CHOSEN, by="importance", reference=str(folder / "held")),
        "concept of 5 marks * k-center": Recipe(n=CHOSEN, match=("concept:digit",), by="k-center"),
    }
    sections = []
    with Index.create(folder.parent / "indexes" / "tour") as index:
        ingest(index, [folder], load_encoder("tiny"))
        dedupe(index)
        names = {i.path.name: i.id for i in index.images(index.reader.ids_where("path NOT LIKE 'held/%'"))}
        held = {i.id for i in index.images(index.reader.ids_where("path LIKE 'held/%'"))}
        fit_concept(
            index,
            "digit",
            [names[n] for n in sorted(names) if n.startswith("digit-")][:500:100],
            [names[n] for n in sorted(names) if n.startswith("stranger")][:2],
        )
        print("| selector | strangers | duplicates | digits of ten |\n|---|--:|--:|--:|")
        for number, (name, recipe) in enumerate(recipes.items()):
            where = Recipe(**{**vars(recipe), "where": "path LIKE 'mess/%'"})
            images = index.images(select(index, f"tour-{number}", where, overwrite=True).ids)
            assert not {i.id for i in images} & held
            kinds = [i.path.stem.split("-") for i in images]
            strangers = sum(k[0] == "stranger" for k in kinds)
            of = [k[2] if k[0] == "digit" else k[3] for k in kinds if k[0] != "stranger"]
            classes = len({k[1] for k in kinds if k[0] != "stranger"})
            print(f"| {name} | {strangers / len(kinds):.0%} | {1 - len(set(of)) / max(1, len(of)):.0%} | {classes} |")
            sections.append(
                Section(f"{name}: {strangers / len(kinds):.0%} strangers", [Tile(i.path, "") for i in images[:12]])
            )
    save_sheet(sections, folder.parent / "tour-sheet.png", columns=12)


if __name__ == "__main__":
    main()
