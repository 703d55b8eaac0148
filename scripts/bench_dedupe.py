"""Duplicates: precision and recall on transformed photos beside imagededup and CleanVision, and the graph at a million
vectors.

python scripts/bench_dedupe.py photos --data ../shared/data [--originals 300] [--distractors 3000] [--peers] python
scripts/bench_dedupe.py vectors --sizes 100000 1000000

`photos`: originals of three sets, each transformed in every way of `curator.duplicates.TRANSFORMS` (held-out ones among
them, which nothing is calibrated on), between distractors of the same sets. Two files are the same picture if they come
from one original. So shots of one scene that the sets hold by nature count as wrong wherever a tool calls them
duplicates. Every tool reads the same files; the peers run in an environment of their own.

`vectors`: unit vectors around many centres, a tenth of them with planted near copies. Time and memory are of
`build_graph` in a process of its own; recall is measured on the planted pairs, besides what the graph certifies of
itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from machine import PEAK, describe_machine, home_of
from PIL import Image

from curator.cleaning.calibrate import calibrate
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.duplicates import KINDS, TRANSFORMS
from curator.encoders import load_encoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest

SETS = ("clothing", "grocery", "noto_emoji")
Pair = frozenset[str]

IMAGEDEDUP = """
import json, sys, time
from imagededup.methods import PHash
started = time.monotonic()
p = PHash()
found = p.find_duplicates(image_dir=sys.argv[1], max_distance_threshold=int(sys.argv[2]), num_enc_workers=2,
num_dist_workers=2)
print(json.dumps({"groups": [[a, b] for a, bs in found.items() for b in bs], "seconds": time.monotonic() - started}))
"""
CLEANVISION = """
import contextlib, io, json, pathlib, sys, time
started = time.monotonic()
from cleanvision import Imagelab
with contextlib.redirect_stdout(io.StringIO()):
    lab = Imagelab(data_path=sys.argv[1])
    lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, n_jobs=2)
sets = lab.info["exact_duplicates"]["sets"] + lab.info["near_duplicates"]["sets"]
print(json.dumps({"groups": [[pathlib.Path(p).name for p in s] for s in sets], "seconds": time.monotonic() - started}))
"""


def make_photos(data: Path, folder: Path, originals: int, distractors: int, seed: int) -> None:
    """Files named SOURCE__TRANSFORM: `original` for what was transformed, `distractor` for the others."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as place:
        files = []
        for name in SETS:
            with tarfile.open(data / f"{name}.tar") as tar:
                tar.extractall(place, filter="data")
            files.append(sorted(p for p in (Path(place) / name).rglob("*") if p.suffix in (".jpg", ".png")))
        for name, paths in zip(SETS, files, strict=True):
            chosen = rng.permutation(len(paths))[: (originals + distractors) // len(SETS)]
            for number, at in enumerate(chosen.tolist()):
                source, is_original = f"{name}-{at:05d}", number < originals // len(SETS)
                flat = Image.open(paths[at]).convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat).convert("RGB")
                picture.save(folder / f"{source}__{'original' if is_original else 'distractor'}.png")
                for transform, t in TRANSFORMS.items() if is_original else ():
                    changed = t.change(picture, np.random.default_rng([seed, at, list(TRANSFORMS).index(transform)]))
                    changed.save(folder / f"{source}__{transform}.png")


def closed(groups: Iterable[Iterable[str]]) -> set[Pair]:
    """All pairs within groups."""
    return {frozenset(p) for group in groups for p in itertools.combinations(sorted(set(group)), 2)}


def is_right(pair: Pair) -> bool:
    return len({name.split("__")[0] for name in pair}) == 1


def report(tool: str, pairs: set[Pair], files: list[str], seconds: float) -> dict[str, float]:
    """A row for photos and one for emoji, and recall per transform: the share of originals found together with their
    copy.
    """
    recall = {}
    for transform in TRANSFORMS:
        copies = [f for f in files if f.endswith(f"__{transform}.png")]
        recall[transform] = float(
            np.mean([frozenset((f, f"{f.split('__')[0]}__original.png")) in pairs for f in copies])
        )
    for what, has in (
        ("photos", lambda name: not name.startswith("noto")),
        ("emoji", lambda name: name.startswith("noto")),
    ):
        chosen = [p for p in pairs if all(has(name) for name in p)]
        right, count = sum(map(is_right, chosen)), sum(map(has, files))
        wrong, million = len(chosen) - right, count * (count - 1) / 2e6
        precision = f"{right / max(1, len(chosen)):.4f}"
        print(f"| {tool} | {what} | {precision} | {wrong} | {wrong / million:.2f} | {seconds:.0f} |", flush=True)
    mixed = sum(len({name.startswith("noto") for name in p}) == 2 for p in pairs)
    if mixed:
        print(f"| {tool} | a photo and an emoji | | {mixed} | | |")
    return recall


def ours(
    folder: Path, place: Path, encoder: str, level: str, *, calibrated: bool
) -> tuple[set[Pair], dict[str, list[bool]], float, int]:
    """Pairs of our groups, whether each edge is right by its kind, seconds, and duplicates without a keeper."""
    with Index.create(place) as index:
        ingest(index, [folder], load_encoder(encoder), IngestOptions())
        if calibrated:
            calibrate(index)
        started = time.monotonic()
        result = dedupe(index, DedupeOptions(level))
        seconds = time.monotonic() - started
        names = {i.id: i.path.name for i in index.images(index.reader.ids_where("1"))}
    edges = defaultdict(list)
    for g in result.groups:
        for m in g.duplicates:
            edges[m.kind].append(is_right(frozenset((names[m.image_id], names[m.via_id]))))
    keepers = {g.keeper for g in result.groups}
    orphans = sum(m.keeper_id not in keepers for g in result.groups for m in g.duplicates)
    return closed([names[m.image_id] for m in g.members] for g in result.groups), edges, seconds, orphans


def peer(python: str, code: str, *arguments: object) -> tuple[set[Pair], float]:
    done = subprocess.run([python, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    return closed(found["groups"]), found["seconds"]


def peers_python(place: Path) -> str:
    if not place.exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([place / "bin/python", "-m", "pip", "install", "-q", "imagededup", "cleanvision"], check=True)
    return str(place / "bin/python")


def photos(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photos"
        folder.mkdir()
        make_photos(options.data, folder, options.originals, options.distractors, options.seed)
        files = sorted(p.name for p in folder.iterdir())
        print(f"{len(files)} files: {options.originals} originals, {len(TRANSFORMS)} transforms of each, distractors\n")
        print(
            "| tool | pairs of | precision | wrong pairs | wrong per million pairs | seconds "
            "|\n|---|---|--:|--:|--:|--:|"
        )
        recalls, kinds = {}, {}
        for calibrated in (False, True):
            name = f"curator, {'calibrated' if calibrated else 'built-in thresholds'}"
            pairs, edges, seconds, orphans = ours(
                folder, Path(place) / name, options.encoder, "verified", calibrated=calibrated
            )
            recalls[name], kinds[name] = report(name, pairs, files, seconds), edges
            print(f"| orphans of {name} | | | {orphans} | | |")
            show_wrong(pairs, options.show)
        if options.peers:
            python = peers_python(Path(tempfile.gettempdir()) / "curator-bench-peers")
            for distance in (0, 10):
                pairs, seconds = peer(python, IMAGEDEDUP, folder, distance)
                recalls[f"imagededup pHash ≤ {distance}"] = report(
                    f"imagededup pHash ≤ {distance}", pairs, files, seconds
                )
            pairs, seconds = peer(python, CLEANVISION, folder)
            recalls["CleanVision"] = report("CleanVision", pairs, files, seconds)
        print("\n| transform | kind | " + " | ".join(recalls) + " |\n|---|---|" + "--:|" * len(recalls))
        for transform, t in TRANSFORMS.items():
            row = " | ".join(f"{recall[transform]:.3f}" for recall in recalls.values())
            print(f"| {transform}{' (held out)' if t.held_out else ''} | {t.kind} | {row} |")
        print(
            "\n| edges of kind | " + " | ".join(f"{k}: right of all" for k in kinds) + " |\n|---|" + "--:|" * len(kinds)
        )
        for kind in KINDS[:-1]:
            print(f"| {kind} | " + " | ".join(f"{sum(e[kind])} of {len(e[kind])}" for e in kinds.values()) + " |")


def show_wrong(pairs: set[Pair], count: int) -> None:
    """Wrong pairs between sources, each once, for a person to look at."""
    wrong = Counter(frozenset(n.split("__")[0] for n in p) for p in pairs if not is_right(p))
    for sources, times in wrong.most_common(count):
        print("  wrong:", " ".join(sorted(sources)), times, file=sys.stderr)


VECTORS = """
import json, sys, time
import numpy as np
from curator.index import build_graph
x = np.load(sys.argv[1], mmap_mode="r")
wall, cpu = time.monotonic(), time.process_time()
graph = build_graph(x, threshold=float(sys.argv[2]))
wall, cpu = time.monotonic() - wall, time.process_time() - cpu
pairs, _ = graph.above(float(sys.argv[2]))
np.save(sys.argv[3], pairs)
c = graph.certificate
print(json.dumps({"wall": wall, "cpu": cpu, "gib": peak_mib() / 1024, "method": c.method,
    "nprobe": c.nprobe, "recall": c.recall, "low": c.low, "high": c.high, "edges": c.edges}))
"""


def plant(file: Path, n: int, dim: int, seed: int = 0) -> np.ndarray:
    """(n, dim) float16 on disk; the last tenth are near copies of others (cosine about 0.97) → (m, 2) planted pairs."""
    rng = np.random.default_rng(seed)
    x = np.lib.format.open_memmap(file, "w+", np.float16, (n, dim))
    centres = rng.normal(size=(max(50, n // 200), dim)).astype(np.float32)
    planted = n // 10
    for start in range(0, n - planted, 20_000):
        b = min(20_000, n - planted - start)
        v = centres[rng.integers(0, len(centres), b)] + 1.2 * rng.normal(size=(b, dim)).astype(np.float32)
        x[start : start + b] = v / np.linalg.norm(v, axis=1, keepdims=True)
    origin = rng.permutation(n - planted)[:planted]
    for start in range(0, planted, 20_000):
        part = origin[start : start + 20_000]
        v = x[np.sort(part)][np.argsort(np.argsort(part))].astype(np.float32)
        v += 0.25 / np.sqrt(dim) * rng.normal(size=v.shape).astype(np.float32)
        x[n - planted + start : n - planted + start + len(part)] = v / np.linalg.norm(v, axis=1, keepdims=True)
    x.flush()
    return np.stack([origin, np.arange(n - planted, n)], axis=1)


def vectors(options: argparse.Namespace) -> None:
    heads = (
        "vectors",
        "method",
        "seconds",
        "CPU s",
        "peak GiB",
        "certified recall (95 %)",
        "edges in the certificate",
        "planted pairs found",
    )
    print("| " + " | ".join(heads) + " |\n|--:|---|" + "--:|" * 6)
    for n in options.sizes:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "x.npy"
            planted = plant(file, n, options.dim)
            print_graph(n, planted, file, Path(place) / "pairs.npy")
            if options.beside:
                print_graph(n, planted, file, Path(place) / "pairs.npy", options.beside.absolute())


def print_graph(n: int, planted: np.ndarray, file: Path, pairs: Path, checkout: Path | None = None) -> None:
    """One row: the graph of the vectors in `file` by this code, or by another checkout's."""
    words = [sys.executable, "-c", PEAK + VECTORS, file, "0.9", pairs]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=home_of(checkout))
    if done.returncode:
        raise SystemExit(done.stderr)
    r, found = json.loads(done.stdout.splitlines()[-1]), np.load(pairs)
    held = np.isin(planted[:, 0] * n + planted[:, 1], found[:, 0] * n + found[:, 1]).mean()
    certified = f"{r['recall']:.4f} ({r['low']:.4f}–{r['high']:.4f})"
    method = f"{r['method']}, {r['nprobe']} probes{', before' if checkout else ''}"
    cells = (
        f"{n:,}",
        method,
        f"{r['wall']:.0f}",
        f"{r['cpu']:.0f}",
        f"{r['gib']:.1f}",
        certified,
        r["edges"],
        f"{held:.4f}",
    )
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    jobs = ask.add_subparsers(dest="job", required=True)
    job = jobs.add_parser("photos")
    job.add_argument("--data", type=Path, required=True)
    job.add_argument("--originals", type=int, default=300)
    job.add_argument("--distractors", type=int, default=3000)
    job.add_argument("--encoder", default="tiny")
    job.add_argument("--seed", type=int, default=0)
    job.add_argument("--peers", action="store_true", help="Also run imagededup and CleanVision.")
    job.add_argument("--show", type=int, default=0, help="Print this many wrong pairs.")
    job = jobs.add_parser("vectors")
    job.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    job.add_argument("--dim", type=int, default=512)
    job.add_argument("--beside", type=Path, help="an older checkout, whose code does the same")
    options = ask.parse_args()
    print(describe_machine(), "\n")
    {"photos": photos, "vectors": vectors}[options.job](options)


if __name__ == "__main__":
    main()
