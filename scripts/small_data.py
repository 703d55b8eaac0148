"""What the bundled `small` encoder learns from beside the sets of `tiny`: photos with class names, and words.

Never the exam: validation photos, one class in ten, and one word in seventy are held out by the hash of their names,
and a further photo that looks like a held-out one is left out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from train_tiny_clip import PHOTO, Pool

from curator.drawing.scenes import COLOURS, NUMBERS
from curator.encoders.tokenizer import Tokenizer

SIDE = 96  # pixels the image tower takes, and the most at which training pictures wait
CONTEXT = 32  # tokens the text tower takes
SURE = 0.8  # probability from which a pseudo-label is believed
PHOTO_PROMPTS = ("a photo of a {}", "{}", "{}", "a {}", "a picture of a {}", "a photo of the {}", "{}, a photo")
_TOO_NEAR = 4  # bits of 64 in which two pictures' difference hashes may differ and still be one picture
# Tiny-ImageNet's names of classes that photos.tar calls otherwise.
_RENAMED = {
    "Arabian camel": "camel",
    "European fire salamander": "fire salamander",
    "pay-phone": "pay phone",
    "alp": "alp mountain",
    "gasmask": "gas mask",
    "crane": "construction crane",
    "chest": "treasure chest",
    "fly": "fly insect",
    "plate": "plate of food",
    "American lobster": "lobster",
    "brass": "memorial plaque",
    "American alligator": "alligator",
    "boa constrictor": "boa constrictor snake",
    "standard poodle": "poodle",
}


def one_in(n: int, name: str) -> bool:
    """Whether a name is among the 1/n chosen by its SHA-256."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % n == 0


def is_held_out_class(name: str) -> bool:
    """One class in ten: no photo of it is trained on."""
    return one_in(10, name)


@dataclass(frozen=True)
class Words:
    """Words and short phrases with a sentence encoder's vectors: `vectors` (n, 128) float32 unit rows."""

    words: list[str]
    vectors: np.ndarray
    physical: np.ndarray
    place: dict[str, int] = field(repr=False)

    @classmethod
    def load(cls, data: Path) -> Words:
        stored = np.load(data / "words.npz")
        words = [str(w) for w in stored["words"]]
        x = stored["vectors"].astype(np.float32) * stored["scale"].astype(np.float32)[:, None]
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        return cls(words, x, stored["physical"], {w: i for i, w in enumerate(words)})

    def held_out(self) -> list[str]:
        """About 1,000 words that the text tower is not taught."""
        return [w for w in self.words if one_in(70, f"word {w}")]

    def vector(self, name: str) -> np.ndarray | None:
        """(128,) of a name; None where it is not in the list."""
        at = self.place.get(name)
        return None if at is None else self.vectors[at]


@dataclass
class Photos(Pool):
    """Photos with a class each: `labels` (n,) and `hints`, a second class that a network believes it sees, or None."""

    labels: list[str] = field(default_factory=list)
    hints: list[str | None] = field(default_factory=list)

    def add_photo(self, picture: Image.Image, captions: tuple[str, ...], label: str, hint: str | None = None) -> None:
        """A photo waits at its own size, which is 64 or 72 px, and no larger than `side`."""
        picture.thumbnail((self.side, self.side))
        self.pictures.append(np.asarray(picture))
        self.captions.append(captions)
        self.keys.append(f"class {label}")
        self.labels.append(label)
        self.hints.append(hint)


def prompts(label: str) -> tuple[str, ...]:
    return tuple(p.format(label) for p in PHOTO_PROMPTS)


def photo_rows(data: Path) -> Iterator[tuple[dict[str, str], Image.Image]]:
    with tarfile.open(data / "photos.tar") as tar:
        rows = csv.DictReader(io.TextIOWrapper(tar.extractfile("photos/labels.csv"), "utf-8"))
        row_of = {row["file"]: row for row in rows}
        for member in tar:  # in the order of the file, which is the fastest
            row = row_of.get(member.name.removeprefix("photos/"))
            if row is not None:
                yield row, Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")


def photos(data: Path, split: str, *, held_out_too: bool = False) -> Photos:
    """The photos of a split; without `held_out_too`, only those of classes that are trained on."""
    pool = Photos("photos", PHOTO, 0.34, SIDE)
    for row, picture in photo_rows(data):
        if row["split"] != split or (is_held_out_class(row["label"]) and not held_out_too):
            continue
        captions = tuple(c.strip().lower() for c in row["captions"].split(" | ")) if row["captions"] else ()
        pool.add_photo(picture, captions + prompts(row["label"]), row["label"], _hint(row["pseudo"]))
    return pool


def _hint(pseudo: str) -> str | None:
    name, _, probability = pseudo.split(";", maxsplit=1)[0].rpartition(":")
    return name if name and float(probability) >= SURE and not is_held_out_class(name) else None


def tiny_imagenet(folder: Path, known: Sequence[str], exam: np.ndarray) -> Photos:
    """The training photos of Tiny-ImageNet (64 px), but those that look like an exam photo.

    `known` are the class names of photos.tar, which win over WordNet's; `exam` (n,) uint64 difference hashes.
    """
    names = dict(line.split("\t") for line in (folder / "words.txt").read_text().splitlines())
    pool = Photos("tiny-imagenet", PHOTO, 0.30, SIDE)
    looked_at = 0
    for wnid in (folder / "wnids.txt").read_text().split():
        lemmas = [n.strip() for n in names[wnid].split(",")]
        label = _RENAMED.get(lemmas[0]) or next((n.lower() for n in lemmas if n.lower() in known), lemmas[0].lower())
        if is_held_out_class(label):
            continue
        pictures = [Image.open(f).convert("RGB") for f in sorted((folder / "train" / wnid / "images").glob("*.JPEG"))]
        for picture in _not_in(exam, pictures):
            pool.add_photo(picture, prompts(label), label)
        looked_at += len(pictures)
    _say(pool, looked_at)
    return pool


def folder_photos(folder: Path, exam: np.ndarray) -> Photos:
    """Photos in one folder per class, named in plain words; but those that look like an exam photo."""
    pool = Photos(folder.name, PHOTO, 0.0, SIDE)
    looked_at = 0
    for place in sorted(f for f in folder.iterdir() if f.is_dir()):
        label = place.name.replace("_", " ").lower()
        if is_held_out_class(label):
            continue
        pictures = [Image.open(f).convert("RGB") for f in sorted(place.iterdir())]
        for picture in _not_in(exam, pictures):
            pool.add_photo(picture, prompts(label), label)
        looked_at += len(pictures)
    _say(pool, looked_at)
    return pool


def _say(pool: Photos, looked_at: int) -> None:
    n = len(pool.keys)
    print(f"{pool.name}: {n} photos, {looked_at - n} left out that look like exam photos", flush=True)


def _not_in(exam: np.ndarray, pictures: list[Image.Image]) -> list[Image.Image]:
    hashes = np.array([difference_hash(p) for p in pictures], np.uint64)
    near = np.bitwise_count(hashes[:, None] ^ exam[None]).min(1, initial=64) <= _TOO_NEAR
    return [p for p, drop in zip(pictures, near, strict=True) if not drop]


def difference_hash(picture: Image.Image) -> int:
    """64 bits: whether each of 8 × 9 grey cells is darker than its right neighbour."""
    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    return int(np.packbits(grey[:, 1:] > grey[:, :-1]).view(">u8")[0])


def exam_hashes(data: Path, further: Path | None) -> np.ndarray:
    """Difference hashes of the validation photos, and of every picture in a folder."""
    hashes = [difference_hash(p) for row, p in photo_rows(data) if row["split"] == "validation"]
    for file in sorted(further.rglob("*.JPEG")) if further else ():
        hashes.append(difference_hash(Image.open(file).convert("RGB")))
    return np.array(hashes, np.uint64)


class Pieces(Tokenizer):
    """The tokenizer with merges left out at random (Provilkov et al. 2020), so that pieces of words learn a place."""

    def __init__(self, share: float, seed: int) -> None:
        super().__init__(CONTEXT)
        self.share, self.rng = share, np.random.default_rng(seed)

    def _merge(self, word: str) -> list[str]:
        parts = [*word[:-1], word[-1] + "</w>"]
        worst = len(self._ranks)
        while len(parts) > 1:
            ranks = [self._ranks.get(pair, worst) for pair in itertools.pairwise(parts)]
            ranks = [r if self.rng.random() >= self.share else worst for r in ranks]
            best = int(np.argmin(ranks))
            if ranks[best] == worst:
                break
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        return parts


@dataclass
class Lessons:
    """What the text tower is told of words: `tokens` (n, 32), and the word (n,) at whose place each text shall lie.

    `firsts` (n,) is a second word, as "red" in "red car", or -1: the place then leans towards it.
    """

    tokens: np.ndarray
    rows: np.ndarray
    firsts: np.ndarray

    @classmethod
    def make(cls, words: Words, seed: int) -> Lessons:
        """Every word but the held-out ones, whole, in pieces, and in prompts; things with a colour or a number."""
        rng = np.random.default_rng(seed)
        hidden = set(words.held_out())
        known = np.array([i for i, w in enumerate(words.words) if w not in hidden])
        things = known[words.physical[known].astype(bool)]
        tokens, rows, seconds = [], [], []

        def add(texts: list[str], of: np.ndarray, how: Tokenizer, firsts: np.ndarray | None = None) -> None:
            tokens.append(how(texts).astype(np.uint16))
            rows.append(of.astype(np.int32))
            seconds.append(np.full(len(of), -1, np.int32) if firsts is None else firsts.astype(np.int32))

        whole = Tokenizer(CONTEXT)
        add([words.words[i] for i in known], known, whole)
        for share in (0.15, 0.5):
            add([words.words[i] for i in known], known, Pieces(share, seed))
        asked = rng.choice(things, 50_000)
        add([PHOTO_PROMPTS[rng.integers(len(PHOTO_PROMPTS))].format(words.words[i]) for i in asked], asked, whole)
        said = [w for w in (*COLOURS, *NUMBERS[2:], "big", "small", "old", "young", "wooden") if w in words.place]
        asked, which = rng.choice(things, 40_000), rng.choice(len(said), 40_000)
        texts = [
            f"{said[i]} {words.words[j]}{'s' if said[i] in NUMBERS else ''}" for i, j in zip(which, asked, strict=True)
        ]
        add(texts, asked, whole, np.array([words.place[w] for w in said])[which])
        return cls(np.concatenate(tokens), np.concatenate(rows), np.concatenate(seconds))


def class_places(labels: Sequence[str], words: Words) -> tuple[np.ndarray, np.ndarray]:
    """→ places (c, 128) of class names and known (c,): whether the word list has the name.

    An unknown name gets the mean of its known words, the last one once more; without any, a zero.
    """
    places, known = np.zeros((len(labels), words.vectors.shape[1]), np.float32), np.zeros(len(labels), bool)
    for row, label in enumerate(labels):
        whole = words.vector(label)
        known[row] = whole is not None
        parts = [v for v in map(words.vector, label.split()) if v is not None]
        total = whole if whole is not None else np.sum(parts, axis=0) if parts else None
        if total is not None:
            places[row] = total / np.linalg.norm(total)
    return places, known


def unseen_tokens(seen: np.ndarray) -> dict[int, list[int]]:
    """Token that no lesson had → the smallest tokens it is made of, of those that lessons had."""
    tokenizer = Tokenizer(CONTEXT)
    name_of = {number: name for name, number in tokenizer._vocabulary.items()}
    split = {a + b: (a, b) for a, b in tokenizer._ranks}
    parts_of: dict[int, list[int]] = {}
    for number in np.flatnonzero(~seen):
        if int(number) not in name_of:
            continue
        todo, got = [name_of[int(number)]], []
        while todo:
            name = todo.pop()
            token = tokenizer._vocabulary[name]
            if seen[token]:
                got.append(token)
            elif name in split:
                todo += split[name]
        if got:
            parts_of[int(number)] = got
    return parts_of


def read_json_lines(file: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
