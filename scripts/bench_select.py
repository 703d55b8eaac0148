"""Selectors: seconds and memory by size; and what marks do for a concept.

python scripts/bench_select.py sizes --sizes 10000 100000 1000000 python scripts/bench_select.py concepts --data
../shared/data

`sizes`: synthetic unit vectors (512 dims, 1,000 centres), a tenth of them chosen (at most 10,000), each selector in a
process of its own. The neighbour graph is built once before, as an index caches it, and its time is the row `graph`.
Memory is the process's peak, vectors and graph included.

`concepts`: grocery's coarse classes with 20 test images or more, in the space of `tiny`. A class begins as one training
image, or as its name in words; then, five times, the five best training images not yet seen are marked by their label,
and the concept is fitted. Printed: mean precision of the best 20 test images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from machine import PEAK, describe_machine

from curator.embeddings import normalise
from curator.encoders import load_encoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.labelling.concepts import fit_concept
from curator.selectors import scorers, selectors

DIM = 512
RUN = """
import hashlib, json, sys, time
import numpy as np
from curator.selectors import Pool, choose, parse_objective
folder, name, k = sys.argv[1:]
x = np.load(folder + "/x.npy")
neighbours, near = np.load(folder + "/neighbours.npy"), np.load(folder + "/near.npy")
digests = tuple(hashlib.sha256(i.to_bytes(8, "little")).digest() for i in range(len(x)))
rng = np.random.default_rng(1)
reference = x[np.sort(rng.choice(len(x), 1000, replace=False))]
pool = Pool(x, digests, 0, None, neighbours, near, None if name == "herding" else reference, rng.uniform(size=len(x)))
started = time.monotonic()
found = choose(pool, parse_objective(name), int(k))
seconds = time.monotonic() - started
assert len(set(found.positions.tolist())) == int(k)
print(json.dumps({"seconds": seconds, "gib": peak_mib() / 1024}))
"""
GRAPH = """
import json, sys, time
import numpy as np
from curator.index import build_graph
x = np.load(sys.argv[1] + "/x.npy")
started = time.monotonic()
graph = build_graph(x)
seconds = time.monotonic() - started
np.save(sys.argv[1] + "/neighbours.npy", graph.neighbours)
np.save(sys.argv[1] + "/near.npy", graph.scores)
print(json.dumps({"seconds": seconds, "gib": peak_mib() / 1024}))
"""


def run(code: str, *arguments: object) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", PEAK + code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def write_vectors(file: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1000, DIM)).astype(np.float32)
    x = np.lib.format.open_memmap(file, "w+", np.float16, (n, DIM))
    for start in range(0, n, 20_000):
        b = min(20_000, n - start)
        x[start : start + b] = normalise(
            centres[rng.integers(0, 1000, b)] + 1.5 * rng.normal(size=(b, DIM)).astype(np.float32)
        )
    x.flush()


def sizes(options: argparse.Namespace) -> None:
    names = options.only or [*selectors, *scorers]
    found: dict[str, list[str]] = {name: [] for name in ("graph", *names)}
    for n in options.sizes:
        k = min(n // 10, 10_000)
        with tempfile.TemporaryDirectory() as folder:
            write_vectors(Path(folder) / "x.npy", n)
            for name, cells in found.items():
                r = run(GRAPH, folder) if name == "graph" else run(RUN, folder, name, k)
                cells.append(f"{r['seconds']:.1f} s, {r['gib']:.1f} GiB")
                print(n, name, cells[-1], file=sys.stderr, flush=True)
    print(
        "| selector | "
        + " | ".join(f"{n:,} → {min(n // 10, 10_000):,}" for n in options.sizes)
        + " |\n|---|"
        + "--:|" * len(options.sizes)
    )
    for name, cells in found.items():
        print(f"| `{name}` | " + " | ".join(cells) + " |")


def concepts(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(options.data / "grocery.tar") as tar:
            tar.extractall(place, filter="data")
        with Index.create(Path(place) / "index") as index:
            table = str(Path(place) / "grocery/labels.csv")
            ingest(
                index, [Path(place) / "grocery"], load_encoder("tiny"), IngestOptions(label_from="coarse", table=table)
            )
            label, split = index.reader.values_of("label"), index.reader.values_of("split")
            names = sorted(
                c for c in set(label.values()) if sum(label[i] == c and split[i] == "test" for i in label) >= 20
            )
            print(
                f"{len(names)} classes\n\n| begins with | nothing marked | "
                + " | ".join(f"{5 * r} marked" for r in range(1, 6))
                + " |"
            )
            print("|---|" + "--:|" * 6)
            for start in ("one image", "its name"):
                rows = [rounds(index, c, start, label, split) for c in names]
                print(f"| {start} | " + " | ".join(f"{v:.3f}" for v in np.mean(rows, axis=0)) + " |")


def rounds(index: Index, wanted: str, start: str, label: dict, split: dict) -> list[float]:
    """Precision of the best 20 test images before, and after each of five rounds of five marks."""
    train = [i for i in label if label[i] == wanted and split[i] == "train"]
    first = int(np.random.default_rng(1).choice(train))
    q = index.vector_of_id(first) if start == "one image" else index.vector_of_text(wanted.replace("-", " ").lower())

    def precision() -> float:
        return float(np.mean([label[int(i)] == wanted for i in index.nearest(q, 20, where="split = 'test'").ids]))

    found, seen, afresh = [precision()], set(), True
    for _ in range(5):
        near = [int(i) for i in index.nearest(q, 60, where="split = 'train'").ids]
        marked = [i for i in near if i not in seen][:5]
        seen |= set(marked)
        like = [i for i in marked if label[i] == wanted]
        if afresh and not like:
            like = [first]
        concept = fit_concept(
            index, "benchmark", like, [i for i in marked if i not in like and label[i] != wanted], afresh=afresh
        )
        afresh = False
        q = normalise(concept.vector[None]).ravel()
        found.append(precision())
    return found


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    jobs = ask.add_subparsers(dest="job", required=True)
    job = jobs.add_parser("sizes")
    job.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    job.add_argument("--only", nargs="+", help="Only these selectors.")
    job = jobs.add_parser("concepts")
    job.add_argument("--data", type=Path, required=True)
    options = ask.parse_args()
    print(describe_machine(), "\n")
    {"sizes": sizes, "concepts": concepts}[options.job](options)


if __name__ == "__main__":
    main()
