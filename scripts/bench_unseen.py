"""What a user gets on pictures that nobody tuned to: any folder of labelled pictures, any encoder.

    python scripts/bench_unseen.py --data photos --encoder base -o unseen.html --json unseen.json
    python scripts/bench_unseen.py --data photos --labels labels.csv --where "split = 'validation'" --encoder small

`--data` is a folder whose sub-folders are labels, or with `--labels` a table of `file` and `label` (and `duplicate`: a
number that shots of one picture share). Pictures are copied into a temporary folder; the source is only read.

Printed, each with the number of pictures and what chance would give: naming by words alone and by a probe on the
vectors; text and picture search; whether `sure` is right as often as it says, on labels it was not learnt from;
duplicates, planted and given; what each selector leaves of strangers when a quarter of the pictures are of other labels
or, by `--mix`, of another folder, with how well `preview` forecasts it; what the audit says of planted copies, blur and
noise.

The encoder's card says whether it was trained on such pictures; the page says which encoder it was.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_audit import KINDS, STRANGE, Table, add_as_generated, plant, printed, said_of_each, spoil
from machine import describe_machine
from PIL import Image

from curator.cleaning.clusters import find_clusters, reject_clusters
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.drawing.pages import Page, save_page
from curator.drawing.sheets import Section, Tile
from curator.embeddings import Background, fit_logistic
from curator.encoders import Encoder, load_encoder
from curator.index import Index
from curator.index.sureness import asked_as, curve, labelled, said_and_so
from curator.index.words import prompt
from curator.ingest import IngestOptions, ingest
from curator.runs.lookup import held_out_ids
from curator.runs.train import plan_training, train_on
from curator.selection.preview import preview
from curator.selection.recipe import Recipe
from curator.selection.select import select

SELECTORS = (
    "random", "typicality", "density", "density-knn", "uniqueness", "k-center", "facility-location", "balanced",
    "importance", "match-nearest", "match",
)  # fmt: skip
TRUSTED = 100  # pictures of the wanted kind that `match` and `importance` are given
QUERIES = 10  # words and pictures whose hits are drawn


@dataclass(frozen=True)
class Labelled:
    """A picture file, its label, and the number that shots of the same picture share, or ""."""

    file: Path
    label: str
    duplicate: str = ""


def read_pictures(options: argparse.Namespace) -> list[Labelled]:
    """The pictures of a folder in an order of their own, `--most` at most."""
    if options.labels:
        with options.labels.open(newline="") as opened:
            rows = list(csv.DictReader(opened))
        wanted = dict(pair.split("=", 1) for pair in options.where)
        rows = [r for r in rows if all(r[k] == v for k, v in wanted.items())]
        found = [Labelled(options.data / r["file"], r[options.column], r.get("duplicate") or "") for r in rows]
    else:
        files = sorted(p for p in options.data.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
        found = [Labelled(p, p.parent.name) for p in files]
    order = np.random.default_rng(0).permutation(len(found))[: options.most]
    return [found[i] for i in order]


def fill(home: Path, parts: dict[str, Sequence[Labelled]], encoder: Encoder) -> Index:
    """An index of copies, `PART/LABEL/…`, with labels by folder."""
    for part, pictures in parts.items():
        for number, p in enumerate(pictures):
            target = home / "pictures" / part / p.label.replace("/", "_") / f"{number:05d}{p.file.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(p.file, target)
    index = Index.create(home / "index")
    ingest(index, [home / "pictures"], encoder, IngestOptions(label_from="folder"))
    return index


def naming(index: Index) -> Table:
    """Zero-shot by the labels' words, and a probe learnt from four fifths."""
    ids = index.reader.ids_where("1")
    labels = [i.label or "" for i in index.images(ids)]
    names, codes = np.unique(labels, return_inverse=True)
    x = index.reader.vectors(index.space, ids.tolist())
    rows = []
    if index.encoder.has_text:
        axes = np.stack([prompt(index, asked_as(n)) for n in names])
        order = np.argsort(-(x @ axes.T), axis=1)[:, :5]
        top1, top5 = (order[:, 0] == codes).mean(), (order == codes[:, None]).any(1).mean()
        chance = f"{1 / len(names):.1%}, {min(1, 5 / len(names)):.1%}"
        rows.append(["by words alone: first, among five", f"{top1:.1%}, {top5:.1%}", chance, f"{len(ids):,}"])
    many = np.flatnonzero(np.bincount(codes)[codes] >= 5)
    test = np.zeros(len(many), bool)
    for code in np.unique(codes[many]):
        members = np.flatnonzero(codes[many] == code)
        test[members[: max(1, len(members) // 5)]] = True
    fitted = fit_logistic(x[many][~test], codes[many][~test])
    right = (fitted.predict(x[many][test]) == codes[many][test]).mean()
    chance = f"{1 / len(np.unique(codes[many])):.1%}"
    rows.append(["by a probe on the vectors", f"{right:.1%}", chance, f"{test.sum():,}"])
    return ["naming", f"right, of {len(names)} labels", "chance", "pictures"], rows


def searching(index: Index) -> Table:
    """Precision of the first ten hits, over labels with ten pictures, and how many right ones a picture's hits hold."""
    ids = index.reader.ids_where("1")
    label_of = {i.id: i.label for i in index.images(ids)}
    counts = Counter(label_of.values())
    asked = [n for n, c in sorted(counts.items()) if n and c >= 10]
    rows = []
    if asked and index.encoder.has_text:
        shares = [np.mean([label_of[int(h)] == n for h in index.search(text=asked_as(n), k=10).ids]) for n in asked]
        chance = np.mean([counts[n] / len(ids) for n in asked])
        rows.append(["words, precision@10", f"{np.mean(shares):.3f}", f"{chance:.3f}", f"{len(asked)} labels"])
    some = [int(i) for i in ids if counts[label_of[int(i)]] >= 5][:1000]
    hits = [[label_of[int(h)] == label_of[i] for h in index.search(like=i, k=11).ids if int(h) != i][:10] for i in some]
    most = np.mean([min(10, counts[label_of[i]] - 1) / 10 for i in some])
    chance = np.mean([counts[label_of[i]] / len(ids) for i in some])
    rows.append(
        [
            f"a picture, precision@10 (at most {most:.2f})",
            f"{np.mean(hits):.3f}",
            f"{chance:.3f}",
            f"{len(some)} pictures",
        ]
    )
    return ["search", "share of the first ten", "chance", "asked"], rows


def sureness(index: Index) -> Table:
    """`sure` learnt from one half of the labels, and what is so of hits for the other half, asked for and absent."""
    ids, codes, names = labelled(index.reader, index.space)
    heads = ["`sure` says", "right", "hits"]
    if len(names) < 6 or not index.encoder.has_text:
        return heads, [["not learnt: too few labels", "–", "0"]]
    x, t = index.reader.vectors(index.space, ids.tolist()), index.encoder.encode_texts([asked_as(n) for n in names])
    scores = x @ t.T
    z = np.stack([Background.of(c).z(c) for c in scores.T], axis=1).astype(np.float64)
    right = codes[:, None] == np.arange(len(names))
    half = np.arange(len(names)) % 2 == 0
    knots, p = curve(z[:, half], right[:, half])
    s, y = said_and_so(knots, p, z[:, ~half], right[:, ~half], top=20)
    edges = [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.001]
    rows = []
    for low, high in itertools.pairwise(edges):
        within = (s >= low) & (s < high)
        share = f"{y[within].mean():.1%}" if within.any() else "–"
        rows.append([f"{low:.0%} to {min(high, 1):.0%}", share, f"{within.sum()}"])
    return heads, rows


def duplicates(home: Path, pictures: Sequence[Labelled], encoder: Encoder) -> Table:
    """Planted: resized, re-encoded, crops of several sizes. Given: shots that share a number in the table."""
    rng = np.random.default_rng(0)
    made = home / "planted"
    made.mkdir(parents=True)
    some = pictures[:600]
    kinds = {
        "half the size": 150,
        "JPEG quality 30": 150,
        "crop of 90 %": 100,
        "crop of 60 %": 100,
        "crop of 45 %": 100,
    }
    source = [kind for kind, count in kinds.items() for _ in range(count)][: len(some)]
    with fill(home / "own", {"all": pictures}, encoder) as index:
        for number, (p, kind) in enumerate(zip(some, source, strict=False)):
            with Image.open(p.file) as opened:
                picture = opened.convert("RGB")
            w, h = picture.size
            if kind.startswith("crop"):
                side = int(kind.split()[2]) / 100
                cw, ch = max(8, int(w * side)), max(8, int(h * side))
                left, top = int(rng.integers(w - cw + 1)), int(rng.integers(h - ch + 1))
                picture = picture.crop((left, top, left + cw, top + ch))
            elif kind.startswith("half"):
                picture = picture.resize((max(8, w // 2), max(8, h // 2)))
            picture.save(made / f"{number:05d}.jpg", quality=30 if kind.startswith("JPEG") else 92)
        ingest(index, [made], index.encoder, IngestOptions())
        started = time.monotonic()
        result = dedupe(index, DedupeOptions(), keep_proposals=False)
        seconds = time.monotonic() - started
        path_of = {i.id: i.path for i in index.images(index.reader.ids_where("1"))}
        group_of = {m.image_id: n for n, g in enumerate(result.groups) for m in g.members}
        id_of = {path: i for i, path in path_of.items()}
        originals = {
            n: id_of[p] for p, n in ((p, int(p.stem)) for p in id_of if "planted" not in p.parts) if n < len(some)
        }
        found: dict[str, list[bool]] = {}
        for number, kind in enumerate(source):
            copy = id_of[made / f"{number:05d}.jpg"]
            group = group_of.get(copy)
            found.setdefault(kind, []).append(group is not None and group_of.get(originals[number]) == group)
        rows = [[kind, f"{np.mean(hit):.1%}", f"{len(hit)}"] for kind, hit in found.items()]
        known = {id_of[p]: pictures[int(p.stem)].duplicate for p in id_of if "planted" not in p.parts}
        number_of = {id_of[made / f"{n:05d}.jpg"]: n for n in range(len(source))}

        def same(a: int, b: int) -> bool:
            origin = [number_of.get(i, int(path_of[i].stem)) for i in (a, b)]
            return origin[0] == origin[1] or (known.get(a) not in (None, "") and known.get(a) == known.get(b))

        pairs = [(m.image_id, g.keeper) for g in result.groups for m in g.members if m.image_id != g.keeper]
        right = [same(a, b) for a, b in pairs]
        rows.append(
            ["what was proposed, and is one of these", f"{np.mean(right):.1%}" if right else "–", f"{len(right)}"]
        )
        rows.append([f"seconds, {len(path_of):,} pictures", f"{seconds:.0f}", ""])
    return ["duplicates", "found together", "pairs"], rows


def contamination(
    home: Path, wanted: Sequence[Labelled], strangers: Sequence[Labelled], encoder: Encoder, what: str
) -> Table:
    """A quarter of strangers: the share of them that each selector chooses, half of all being chosen."""
    trusted, held = wanted[:TRUSTED], wanted[TRUSTED : 2 * TRUSTED]
    base = wanted[2 * TRUSTED :]
    others = strangers[: len(base) // 3]
    parts = {"trusted": trusted, "held": held, "wanted": base, "strangers": others}
    with fill(home, parts, encoder) as index:
        root = home / "pictures"
        where = "path LIKE 'wanted/%' OR path LIKE 'strangers/%'"
        total = len(base) + len(others)
        stranger = set(index.reader.ids_where("path LIKE 'strangers/%'").tolist())
        shares, rows = {}, []
        for by in SELECTORS:
            needs = by in ("importance", "match", "match-nearest")
            recipe = Recipe(n=total // 2, by=by, where=where, reference=str(root / "trusted") if needs else None)
            chosen = select(index, by, recipe)
            shares[by] = float(np.mean([i in stranger for i in chosen.ids.tolist()]))
        previewed = {r.name: r for r in preview(index, list(shares), str(root / "held")) if r.name in shares}
        names = list(shares)
        truth = [shares[n] for n in names]
        for n in names:
            r = previewed[n]
            cells = [f"{v:.3f}" for v in (r.frechet, r.apart, r.precision, r.density, r.coverage)]
            rows.append([n, f"{shares[n]:.1%}", *cells])
        forecasts = [
            spearman(truth, [sign * getattr(previewed[n], key) for n in names])
            for key, sign in (("frechet", 1), ("apart", 1), ("precision", -1), ("density", -1), ("coverage", -1))
        ]
        rows.append(["Spearman with the share of strangers", "", *(f"{v:.2f}" for v in forecasts)])
        clusters = find_clusters(index, where=where)
        bad = [c.number for c in clusters if np.mean([i in stranger for i in c.ids[:12]]) > 0.5]
        if bad:
            reject_clusters(index, bad)
        left = select(index, "after-clusters", Recipe(by="random", where=where)).ids.tolist()
        lost = 1 - sum(i not in stranger for i in left) / len(base)
        share = float(np.mean([i in stranger for i in left]))
        rows.append(
            [f"all, after {len(bad)} of {len(clusters)} clusters rejected (lost {lost:.1%})", f"{share:.1%}"] + [""] * 5
        )
    heads = [f"{what}: {len(others) / total:.0%} of {total:,}", "strangers", "Fréchet", "apart", "precision", "density"]
    return [*heads, "coverage"], rows


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Correlation of ranks."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b)[0])


def audited(home: Path, pictures: Sequence[Labelled], encoder: Encoder) -> Table:
    """Planted copies, real pictures never trained on, blur, noise: what the audit and the metrics say of each."""
    few = pictures[: min(len(pictures), 2_400)]
    count = max(60, len(few) // 12)
    real, unseen = few[: -3 * count], few[-3 * count :]
    side = 64
    with fill(home, {"real": real}, encoder) as index:
        plan = plan_training(index, "vae", None, {"side": side, "width": 4, "images": 128, "holdout": 0.25})
        run, _ = train_on(index, plan)
        held = set(held_out_ids(run).tolist())
        trained = [i.path for i in index.images(index.reader.ids_where("1")) if i.id not in held]
        rng = np.random.default_rng(1)

        def square(path: Path) -> Image.Image:
            with Image.open(path) as opened:
                return opened.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)

        made = {f"unseen real pictures-{i}": square(p.file) for i, p in enumerate(unseen)}
        for kind in (*KINDS, *STRANGE):
            hide = plant if kind in KINDS else spoil
            made |= {f"{kind}-{i}": hide(square(p), kind, rng).convert("RGB") for i, p in enumerate(trained[:count])}
        add_as_generated(index, run, home / "made", made)
        return said_of_each(index, run)


def drawn(index: Index) -> list[Section]:
    """The first hits for some words and some pictures, mistakes and all."""
    ids = index.reader.ids_where("1")
    counts = Counter(i.label for i in index.images(ids) if i.label)
    rng = np.random.default_rng(1)
    names = [n for n, _ in counts.most_common(60)]
    sections = []
    for n in [names[i] for i in rng.permutation(len(names))[:QUERIES]] if index.encoder.has_text else ():
        hits = index.search(text=asked_as(n), k=8)
        tiles = [Tile(i.path, i.label or "", framed=i.label == n) for i in index.images(hits.ids)]
        sections.append(Section(f"words: {asked_as(n)}", tiles))
    for i in rng.choice(ids, QUERIES, replace=False).tolist():
        own = index.images([i])[0]
        hits = [h for h in index.search(like=int(i), k=9).ids.tolist() if h != i][:8]
        tiles = [Tile(h.path, h.label or "", framed=h.label == own.label) for h in index.images(hits)]
        sections.append(Section(f"picture: {own.label}", [Tile(own.path, own.label or "", "the query"), *tiles]))
    return sections


def main() -> None:
    """Measure, print, write a page and a JSON file."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, required=True, help="a folder of pictures")
    ask.add_argument("--labels", type=Path, help="a table of file and label, instead of sub-folders as labels")
    ask.add_argument("--column", default="label", help="of the table")
    ask.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only these rows of the table"
    )
    ask.add_argument("--mix", type=Path, help="a folder whose pictures are the strangers, not some labels'")
    ask.add_argument("--strange", action="append", default=[], help="a label that counts as strange; repeatable")
    ask.add_argument("--encoder", default="small")
    ask.add_argument("--most", type=int, default=5_000, help="pictures at most")
    ask.add_argument(
        "--skip", default="", help="parts by commas: naming, search, sure, duplicates, contamination, audit"
    )
    ask.add_argument("-o", "--output", type=Path, help="a page of all tables and of hits")
    ask.add_argument("--json", type=Path)
    options = ask.parse_args()
    encoder, pictures = load_encoder(options.encoder), read_pictures(options)
    skipped = set(options.skip.split(","))
    title = f"`{options.encoder}` on {len(pictures):,} pictures of {options.data.name}"
    print(describe_machine(), f"\n\n{title}\n")
    tables: dict[str, Table] = {}
    sections: list[Section] = []

    def measured(name: str, of: Callable[[], Any]) -> None:
        if name in skipped:
            return
        tables[name] = of()
        print(printed(tables[name]) + "\n", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        with fill(home / "all", {"all": pictures}, encoder) as index:
            measured("naming", lambda: naming(index))
            measured("search", lambda: searching(index))
            measured("sure", lambda: sureness(index))
            sections = drawn(index)
            measured("duplicates", lambda: duplicates(home / "duplicates", pictures, encoder))
            wanted, strangers = divided(pictures, options)
            if len(strangers) >= 60 and len(wanted) >= 4 * TRUSTED:
                what = options.mix.name if options.mix else ", ".join(options.strange) or "a fifth of the labels"
                measured("contamination", lambda: contamination(home / "mix", wanted, strangers, encoder, what))
            measured("audit", lambda: audited(home / "audit", pictures, encoder))
            if options.output:
                lines = tuple(line for t in tables.values() for line in (*printed(t).splitlines(), ""))
                print(
                    save_page(
                        Page(title.replace("`", ""), (), (describe_machine(), "", *lines), sections), options.output
                    )
                )
    if options.json:
        facts = {name: [dict(zip(heads, row, strict=True)) for row in rows] for name, (heads, rows) in tables.items()}
        options.json.write_text(json.dumps({"encoder": options.encoder, "pictures": len(pictures)} | facts, indent=1))


def divided(pictures: Sequence[Labelled], options: argparse.Namespace) -> tuple[list[Labelled], list[Labelled]]:
    """What is wanted, and strangers: another folder, the labels named, or a fifth of all labels."""
    if options.mix:
        files = sorted(p for p in options.mix.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
        order = np.random.default_rng(0).permutation(len(files))
        return list(pictures), [Labelled(files[i], "strangers") for i in order]
    names = sorted({p.label for p in pictures})
    strange = set(options.strange) or set(names[:: max(2, math.ceil(len(names) / max(1, len(names) // 5)))])
    return [p for p in pictures if p.label not in strange], [p for p in pictures if p.label in strange]


if __name__ == "__main__":
    main()
