"""Search speed on synthetic unit vectors of 512 dims, beside a numpy scan and rclip's own search code on the same
vectors.

    python scripts/bench_search.py [--sizes 10000 100000 1000000] [--folder /tmp/bench] [--rclip] [--beside CHECKOUT]

Every figure is of a fresh process: CPU seconds (user + system, all threads) from opening the index to the ids, imports
not counted but shown, and the process's peak memory. Recall is against a float64 sort over the stored fp16 vectors.
`--rclip` installs rclip into an environment of its own and calls its `RClip.search` with the text encoder replaced by
the query vector, so that nothing is downloaded and only its search is measured.

`--lists` measures what the lists of an index of two million and more find (`--sizes 10000000`, 30 GB of disk), beside
comparing all, for queries ever further from the images; `--autofaiss` has the index that autofaiss builds of the same
vectors answer them too. Ours stays in `--folder`.

A second table is of an index that stays open, as that of a page or of a program: the median of twenty queries after
two, with `--beside` also by the code of another checkout, on the same index. `--cold INDEX` says where the CPU of a
first query by words goes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import PEAK, describe_machine, home_of

from curator.database import NewImage
from curator.embeddings import normalise
from curator.index import Index
from curator.job import Job
from curator.records import Content, ImageFile, Notes
from curator.vectors.lists import LEAST

DIM, QUERIES, BLOCK = 512, 5, 10_000

ASK = """
import json, sys, time
started = time.process_time()
import faiss, numpy as np, curator.index
imported = time.process_time() - started
place, queries, where, k = sys.argv[1], np.load(sys.argv[2]), sys.argv[3] or None, 20
out = []
for q in queries[:1] if sys.argv[4] == "cold" else queries:
    before = time.process_time()
    with curator.index.Index.open(place) as index:
        hits = index.nearest(q, k, where=where)
    out.append((time.process_time() - before, hits.ids.tolist(), hits.searched))
peak = peak_mib()
print(json.dumps({"imports": imported, "peak_mib": peak, "answers": out}))
"""

OPEN = """
import json, sys, time
import numpy as np, curator.index
place, queries = sys.argv[1], np.load(sys.argv[2])
out = {}
with curator.index.Index.open(place) as index:
    for where in json.loads(sys.argv[3]):
        times, answers = [], []
        for turn in range(22):
            wall, cpu = time.monotonic(), time.process_time()
            hits = index.nearest(queries[turn % len(queries)], 20, where=where)
            times.append((time.monotonic() - wall, time.process_time() - cpu))
            answers.append(hits.ids.tolist())
        out[where or "none"] = [np.median(times[2:], axis=0).tolist(), answers, hits.searched]
print(json.dumps([out, peak_mib()]))
"""

LISTS = """
import json, sys, time
import numpy as np, curator.index
place, queries, exact = sys.argv[1], np.load(sys.argv[2]), sys.argv[3] == "exact"
out = []
with curator.index.Index.open(place) as index:
    for where in (None, "width <= 500"):
        for turn in range(2):  # the first reads from the disk, and asks SQLite
            for n, q in enumerate(queries):
                wall, cpu = time.monotonic(), time.process_time()
                answer = index.engine.nearest(q, 20, where=where, exact=exact)
                took = time.monotonic() - wall, time.process_time() - cpu
                if turn:
                    out.append([where, n, *took, answer.exact, answer.ids.tolist(), answer.notes])
print(json.dumps([out, peak_mib()]))
"""

MANY = """
import json, sys, time
import numpy as np, curator.index
from curator.index.many import search_many
place, count = sys.argv[1], int(sys.argv[2])
with curator.index.Index.open(place) as index:
    q = np.random.default_rng(1).normal(size=(count, index.space.dim)).astype(np.float32)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    index.nearest(q[0], 20)
    wall, cpu = time.monotonic(), time.process_time()
    alone = [index.nearest(one, 20).ids.tolist() for one in q[:32]]
    peak = peak_mib()
    between = time.monotonic(), time.process_time()
    together = search_many(index, q, 20)
    ended = time.monotonic(), time.process_time()
same = sum(a == t.ids.tolist() for a, t in zip(alone, together))
print(json.dumps({
    "alone": [(between[0] - wall) / 32, (between[1] - cpu) / 32],
    "together": [(ended[0] - between[0]) / count, (ended[1] - between[1]) / count], "same": same,
    "peaks": [peak, peak_mib()],
}))
"""

NUMPY = """
import json, sys, time
import numpy as np
queries, out = np.load(sys.argv[2]), []
for q in queries[:1]:
    before = time.process_time()
    x = np.load(sys.argv[1], mmap_mode="r")
    scores = x @ q
    best = np.argpartition(-scores, 20)[:20]
    best = best[np.argsort(-scores[best])]
    out.append(time.process_time() - before)
print(json.dumps({"peak_mib": peak_mib(), "seconds": out}))
"""

RCLIP = """
import json, sys, time
import numpy as np
from rclip import db, model
from rclip.main import RClip
queries, out = np.load(sys.argv[2]), []
for q in queries[:1]:
    before = time.process_time()
    m = model.Model()
    m.compute_text_features = lambda texts: np.stack([q for _ in texts])
    results = list(RClip(m, db.DB(sys.argv[1]), 8, None).search("x", "/synthetic", 20))
    out.append(time.process_time() - before)
print(json.dumps({"peak_mib": peak_mib(), "seconds": out}))
"""

COLD = """
import json, sys, time
marks = [("interpreter", time.process_time())]
def mark(what):
    marks.append((what, time.process_time()))
import numpy
mark("numpy")
import curator.cli
mark("click, the command line")
from curator.index import Index
from curator.search import query
mark("the library")
index = Index.open(sys.argv[1])
mark("the index")
import onnxruntime
mark("onnxruntime")
encoder = index.encoder
session = encoder._text_session
mark("session of the text tower")
q = encoder.encode_texts([sys.argv[2]])[0]
mark("tower")
import faiss
mark("faiss")
index.nearest(q, 12)
mark("search")
print(json.dumps([[what, now - before] for (what, now), (_, before) in zip(marks, [("", 0.0), *marks])]))
"""

WHOLE = """
import atexit, runpy, sys
atexit.register(lambda: print(peak_mib(), file=sys.stderr))
runpy.run_module("curator", run_name="__main__", alter_sys=True)
"""

AUTOFAISS = """
import json, os, sys, time
import faiss, numpy as np
from autofaiss import build_index
dense, probes, folder = sys.argv[1], np.load(sys.argv[2]), sys.argv[3]
faiss.omp_set_num_threads(1)
wall, cpu = time.monotonic(), time.process_time()
index, infos = build_index(np.load(dense, mmap_mode="r"), index_path=f"{folder}/knn.index", verbose=40, nb_cores=1,
    index_infos_path=f"{folder}/infos.json", metric_type="ip", should_be_memory_mappable=True)
built = time.monotonic() - wall, time.process_time() - cpu
index = faiss.read_index(f"{folder}/knn.index", faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
with open(f"{folder}/infos.json") as file:
    said = json.load(file)
faiss.ParameterSpace().set_index_parameters(index, said["index_param"])
out = []
for turn in range(2):
    for q in probes:
        wall, cpu = time.monotonic(), time.process_time()
        _, rows = index.search(q[None], 20)
        took = time.monotonic() - wall, time.process_time() - cpu
        if turn:
            out.append([*took, (rows[0] + 1).tolist()])
size = os.path.getsize(f"{folder}/knn.index")
print(json.dumps([out, built, size, said["index_key"], said["index_param"]]))
"""


def vectors(n: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Unit rows in blocks, around 1,000 centres as real embeddings lie."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(1000, DIM)).astype(np.float32)
    for start in range(0, n, BLOCK):
        b = min(BLOCK, n - start)
        yield normalise(centres[rng.integers(0, 1000, b)] + 1.5 * rng.normal(size=(b, DIM)).astype(np.float32))


def like_photos(n: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Unit rows in blocks whose variance falls along the axes as that of 12,288 photos in `small` does.

    There the eigenvalues of the covariance fall with the power −1.18 of their number, and their mean is 0.28 long.
    """
    rng, spectrum = np.random.default_rng([seed, 1]), np.arange(1, DIM + 1, dtype=np.float32) ** -0.59
    centres = np.random.default_rng(0).normal(size=(1000, DIM)).astype(np.float32)
    # A mean of 0.28 beside an expected length of √Σ(1 + 1)s² of the rest.
    middle = np.zeros(DIM, np.float32)
    middle[-1] = 0.29 * np.sqrt(2 * (spectrum**2).sum())
    for start in range(0, n, BLOCK):
        b = min(BLOCK, n - start)
        noise = rng.normal(size=(b, DIM)).astype(np.float32)
        yield normalise(middle + (centres[rng.integers(0, 1000, b)] + noise) * spectrum)


def build(place: Path, blocks: Iterator[np.ndarray], listed_from: int = LEAST) -> None:
    """An index of synthetic images, with its FAISS files."""
    with Index.create(place) as index, index.write() as db:
        with db.atomic():
            space = db.add_space("pixels", "synthetic", DIM)
            root = db.add_root(Path("/synthetic"))
        at = 0
        for x in blocks:
            with db.atomic():
                put(db, space, root.id, at, x)
            at += len(x)
        job = Job(say=lambda line: print(line, flush=True))
        wall, cpu = time.monotonic(), time.process_time()
        index.rebuild(db, space, listed_from=listed_from, job=job)
        print(f"FAISS files: {time.monotonic() - wall:,.0f} s, {time.process_time() - cpu:,.0f} s of CPU", flush=True)


def put(db: object, space: object, root: int, at: int, x: np.ndarray) -> None:
    hashes = [b"%032d" % (at + i) for i in range(len(x))]
    widths = [(at + i) * 7 % 1000 + 1 for i in range(len(x))]
    ids = db.put_contents(Content(h, h[:16], w, 480, "RGB", "JPEG") for h, w in zip(hashes, widths, strict=True))
    db.put_vectors(space, [ids[h] for h in hashes], x, np.ones(len(x), np.float32))
    files = [ImageFile(f"{at + i:08d}.jpg", 1000, 1) for i in range(len(x))]
    db.put_images(NewImage(root, f, ids[h], Notes(), "real") for f, h in zip(files, hashes, strict=True))


def add_tail_and_tombstones(place: Path, n: int, count: int) -> None:
    with Index(place) as index, index.write() as db, db.atomic():
        put(db, index.space, index.reader.roots()[0].id, n, next(vectors(count, seed=9)))
        db.remove(list(range(1, n, n // count))[:count], by_hand=True)


def run(python: str, code: str, *arguments: object, checkout: Path | None = None) -> dict:
    words = [python, "-c", PEAK + code, *map(str, arguments)]  # the folder that it runs in comes first on its path
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=home_of(checkout))
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def truth(place: Path, q: np.ndarray, where: str | None) -> list[int]:
    """Ids by a float64 sort over what the database holds: no FAISS, none of the index's own search."""
    best: list[tuple[float, int]] = []
    with Index(place) as index:
        chosen = None if where is None else set(index.reader.ids_where(where).tolist())
        for ids, x in index.reader.vector_blocks(index.space):
            keep = (
                np.ones(len(ids), bool)
                if chosen is None
                else np.fromiter((i in chosen for i in ids.tolist()), bool, len(ids))
            )
            scores = (x[keep].astype(np.float64) @ q.astype(np.float64)).astype(np.float32)
            best = sorted([*best, *zip((-scores).tolist(), ids[keep].tolist(), strict=True)])[:20]
    return [i for _, i in best]


def measure(place: Path, queries: Path, name: str, where: str = "") -> dict[str, object]:
    cold = run(sys.executable, ASK, place, queries, where, "cold")
    warm = run(sys.executable, ASK, place, queries, where, "all")
    found, expected = [], []
    for q, (_, ids, _) in list(zip(np.load(queries), warm["answers"], strict=True))[:2]:
        found += ids
        expected += truth(place, q, where or None)
    recall = len(set(found) & set(expected)) / max(1, len(set(expected)))
    first = cold["answers"][0][0]
    rest = np.median([a[0] for a in warm["answers"]])
    return {
        "case": name,
        "ms_cpu": 1000 * first,
        "median_ms_cpu": 1000 * rest,
        "searched": cold["answers"][0][2],
        "recall": recall,
    } | {
        "peak_mib": cold["peak_mib"],
        "imports_ms_cpu": 1000 * cold["imports"],
    }


def print_open(place: Path, queries: Path, beside: Path | None) -> None:
    """What queries of an index that stays open take, by this code and another's; their answers must be the same."""
    wheres = [None, *(f"width <= {10 * share}" for share in (50, 10, 1)), "width <= 500 AND origin = 'real'"]
    here, peak = run(sys.executable, OPEN, place, queries, json.dumps(wheres))
    there, its_peak = (
        run(sys.executable, OPEN, place, queries, json.dumps(wheres), checkout=beside) if beside else ({}, float("nan"))
    )
    print(f"\nPeak of the process {peak:.0f} MiB, before {its_peak:.0f}")
    print(
        "\n| condition | searched | ms | CPU ms | before: ms | CPU ms | same answers |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    for where, ((wall, cpu), answers, searched) in here.items():
        (old_wall, old_cpu), old, _ = there.get(where, [(float("nan"),) * 2, answers, 0])
        same = sum(a == b for a, b in zip(answers, old, strict=True))
        print(f"| {where} | {searched:,} | {1000 * wall:.0f} | {1000 * cpu:.0f} | {1000 * old_wall:.0f} | "
              f"{1000 * old_cpu:.0f} | {same} of {len(answers)} |", flush=True)  # fmt: skip


def whole_query(place: Path, words: str, checkout: Path | None) -> tuple[float, float, float]:
    """Wall ms, CPU ms and peak MiB of `curator search` in a process of its own."""
    started = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-c", PEAK + WHOLE, "search", words, "-i", place],
        env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=home_of(checkout),
    )
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = 1000 * (time.monotonic() - started)
    assert status == 0, said
    return wall, 1000 * (usage.ru_utime + usage.ru_stime), float(said.splitlines()[-1])


def print_cold(place: Path, beside: Path | None) -> None:
    """Where the CPU of a first query by words goes, beside what the whole command takes, by this code and by that of
    another checkout: medians of five processes.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    parts: dict[str, list[float]] = {}
    whole: dict[Path | None, list[tuple[float, float, float]]] = {None: []} | ({beside: []} if beside else {})
    for turn in range(6):  # the first compiles
        words = f"a thing that nobody has asked for yet, {time.time_ns()}"
        said = subprocess.run(
            [sys.executable, "-c", COLD, place, words], env=environment, capture_output=True, check=True
        )
        spent = {checkout: whole_query(place, f"{words}, {n}", checkout) for n, checkout in enumerate(whole)}
        if turn:
            for what, seconds in json.loads(said.stdout):
                parts.setdefault(what, []).append(seconds)
            for checkout, figures in spent.items():
                whole[checkout].append(figures)
    print("\n| part of a cold query | ms | CPU ms | peak MiB |\n|---|--:|--:|--:|")
    for what, values in parts.items():
        print(f"| {what} | | {1000 * np.median(values):.0f} | |")
    for checkout, rows in whole.items():
        wall, cpu, peak = np.median(np.array(rows), 0)
        print(f"| `curator search`, whole{', before' if checkout else ''} | {wall:.0f} | {cpu:.0f} | {peak:.0f} |")


def print_autofaiss(folder: Path, compared: list[Any], distances: Sequence[float], n: int) -> None:
    """What the index of autofaiss, which clip-retrieval serves, finds of the same true hits: `compared` are ours."""
    dense = dense_of(folder, like_photos(n), n)
    python = python_with(folder.parent, "autofaiss", "pyarrow<18", "faiss-cpu<1.9")  # as of when it was written
    out, (wall, cpu), size, key, param = run(python, AUTOFAISS, dense, folder / "probes.npy", folder)
    print(f"\nautofaiss: {key}, {param}; {wall:,.0f} s, {cpu:,.0f} s of CPU, {size / 1e9:.1f} GB\n")
    print("| distance | recall@20 | ms | CPU ms |\n|--:|--:|--:|--:|")
    each = len(out) // len(distances)
    truth_of = [row[5] for row in compared if row[0] is None]
    for i, distance in enumerate(distances):
        mine = list(zip(out, truth_of, strict=True))[i * each : (i + 1) * each]
        recall = float(np.mean([len(set(o[2]) & set(t)) / len(t) for o, t in mine]))
        ms = [1000 * float(np.median([o[at] for o, _ in mine])) for at in (0, 1)]
        print(f"| {distance} | {recall:.3f} | {ms[0]:.1f} | {ms[1]:.1f} |", flush=True)


def print_lists(place: Path, folder: Path, n: int, *, autofaiss: bool) -> None:
    """What the lists of a large index find of the true hits, and in what time, by how far queries are from images."""
    images = next(like_photos(30, seed=5))
    noise = np.random.default_rng(3).normal(size=images.shape).astype(np.float32) / DIM**0.5
    distances = (0.0, 1.0, 2.0, 3.5, 5.0)
    np.save(folder / "probes.npy", np.concatenate([normalise(images + np.float32(d) * noise) for d in distances]))
    walked, peak = run(sys.executable, LISTS, place, folder / "probes.npy", "lists")
    compared, all_peak = run(sys.executable, LISTS, place, folder / "probes.npy", "exact")
    print(f"\n{n:,} images; peak of the process that used lists {peak:,.0f} MiB, of that without {all_peak:,.0f}\n")
    heads = ("condition", "distance", "answered by lists", "recall@20", "said", "ms", "CPU ms", "all: ms", "CPU ms")
    print("| " + " | ".join(heads) + " |\n|---" + "|--:" * (len(heads) - 1) + "|")
    for where in (None, "width <= 500"):
        for i, distance in enumerate(distances):
            mine = [(w, c) for w, c in zip(walked, compared, strict=True)
                    if w[0] == where and w[1] // len(images) == i]  # fmt: skip
            by_lists = [(w, c) for w, c in mine if not w[4]]
            recall = [len(set(w[5]) & set(c[5])) / len(c[5]) for w, c in by_lists]
            said = [float(w[6][-1].split("recall ")[1].split()[0]) for w, _ in by_lists]
            ms = [1000 * float(np.median(times)) for times in zip(*((*w[2:4], *c[2:4]) for w, c in mine), strict=True)]
            shown = (f"{np.mean(recall):.3f}", f"{np.mean(said):.2f}") if recall else ("", "")
            cells = (where or "none", distance, f"{len(by_lists)} of {len(mine)}", *shown, *(f"{m:.0f}" for m in ms))
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    if autofaiss:
        print_autofaiss(folder, compared, distances, n)


def python_with(folder: Path, *packages: str) -> str:
    """An interpreter of an environment of its own, where a peer is installed."""
    environment = folder / f"{packages[0]}-environment"
    if not environment.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([environment / "bin/python", "-m", "pip", "install", "-q", *packages], check=True)
    return str(environment / "bin/python")


def dense_of(folder: Path, blocks: Iterator[np.ndarray], n: int) -> Path:
    """The vectors as one file (n, d) of float32."""
    stored = np.lib.format.open_memmap(folder / "dense.npy", "w+", np.float32, (n, DIM))
    at = 0
    for x in blocks:
        stored[at : at + len(x)] = x
        at += len(x)
    stored.flush()
    return folder / "dense.npy"


def fill_rclip(python: str, path: Path, n: int) -> None:
    """rclip's own schema, filled by SQL: its own insertion commits row by row."""
    run(python, f"from rclip import db; db.DB({str(path)!r}); print('{{}}')")
    with sqlite3.connect(path) as db:
        at = 0
        for x in vectors(n):
            rows = [(f"/synthetic/{at + i:08d}.jpg", 1.0, 1000, v.tobytes()) for i, v in enumerate(x)]
            db.executemany("INSERT INTO images (filepath, modified_at, size, vector) VALUES (?, ?, ?, ?)", rows)
            at += len(x)


def peers(folder: Path, n: int, queries: Path, *, rclip: bool) -> list[dict[str, object]]:
    dense = dense_of(folder, vectors(n), n)
    scan = run(sys.executable, NUMPY, dense, queries)
    rows: list[dict[str, object]] = [
        {"case": "numpy scan (fp32, mapped)", "ms_cpu": 1000 * scan["seconds"][0], "peak_mib": scan["peak_mib"]}
    ]
    if rclip:
        python = python_with(folder.parent, "rclip")
        fill_rclip(python, folder / "rclip.db", n)
        its = run(python, RCLIP, folder / "rclip.db", queries)
        rows.append({"case": "rclip", "ms_cpu": 1000 * its["seconds"][0], "peak_mib": its["peak_mib"]})
    return rows


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    ask.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "curator-bench")
    ask.add_argument("--rclip", action="store_true")
    ask.add_argument("--cold", type=Path, help="only where the CPU of a first query of this index goes")
    ask.add_argument("--autofaiss", action="store_true", help="with --lists: its index beside ours")
    ask.add_argument("--beside", type=Path, help="an older checkout, whose code answers the same")
    ask.add_argument("--lists", action="store_true", help="only what the lists of a large index find, by --listed-from")
    ask.add_argument("--listed-from", type=int, default=LEAST)
    options = ask.parse_args()
    print(describe_machine())
    if options.cold:
        print_cold(options.cold.absolute(), options.beside)
        return
    for n in options.sizes:
        folder = options.folder.absolute() / str(n)
        folder.mkdir(parents=True, exist_ok=True)
        queries = folder / "queries.npy"
        np.save(queries, next(vectors(QUERIES, seed=5)))
        place = folder / "index"
        if not place.exists():
            build(place, like_photos(n) if options.lists else vectors(n), options.listed_from)
        if options.lists:
            print_lists(place, folder, n, autofaiss=options.autofaiss)
            continue
        print_open(place, queries, options.beside)
        rows = [measure(place, queries, "no filter")]
        rows += [
            measure(place, queries, f"filter {share:g} %", f"id % 1000 < {10 * share:g}") for share in (0.1, 1, 10, 50)
        ]
        many = run(sys.executable, MANY, place, 2_048)
        add_tail_and_tombstones(place, n, 1000)
        rows.append(measure(place, queries, "1,000 new, 1,000 removed"))
        rows += peers(folder, n, queries, rclip=options.rclip)
        print(
            f"\n{n:,} images\n\n| case | CPU ms, open + query | searched | recall@20 | peak MiB "
            "|\n|---|--:|--:|--:|--:|"
        )
        for r in rows:
            recall = f"{r['recall']:.3f}" if "recall" in r else ""
            print(
                f"| {r['case']} | {r['ms_cpu']:.0f} | {r.get('searched', n):,} | {recall} | {r['peak_mib']:.0f} |",
                flush=True,
            )
        (alone, alone_cpu), (together, together_cpu) = many["alone"], many["together"]
        times, same = alone / together, many["same"]
        print(f"\n2,048 queries together: {1000 * together:.2f} ms of wall, {1000 * together_cpu:.2f} of CPU each")
        print(
            f"one by one {1000 * alone:.2f}, {1000 * alone_cpu:.2f}: {times:.0f} times as fast; {same} of 32 the same; "
            f"peaks {many['peaks'][1]:.0f} and {many['peaks'][0]:.0f} MiB"
        )
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
