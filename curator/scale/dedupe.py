"""Duplicates of a set: the same file, the same pixels, or, by their vectors, nearly the same; and which one stays."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.cleaning.keepers import LOSSLESS
from curator.duplicates.leaders import keepers_of, leaders
from curator.embeddings import find_sorted
from curator.errors import UsageError
from curator.intervals import wilson
from curator.job import QUIET, Job
from curator.records import Ids
from curator.registry import Registry, extra
from curator.scale.drive import run_all, whole_set
from curator.scale.executor import Executor
from curator.scale.join import (
    MOST_VISITS,
    TRAINING,
    VISITS,
    AssignShard,
    CertifyShard,
    Edges,
    JoinGroup,
    count_cells,
    read_cells,
    train_cells,
    visits_needed,
)
from curator.scale.select import sample_of
from curator.scale.shards import Half, ShardedSet, put_arrays, put_rows, read_arrays, read_rows, vectors_in
from curator.scale.stages import check_name, duplicates_in
from curator.scale.storage import Storage
from curator.texts import to_json

KEEP = ("real", "largest", "oldest")
TARGET = 0.99  # least recall of the join
_SAMPLED = 1_000  # rows that are compared with all
_COLUMNS = ("sha256", "pixel_hash", "width", "height", "format", "taken_at", "label", "caption", "origin")

Columns = Mapping[str, Sequence[Any]]
SetRule = Callable[[Columns], NDArray[Any]]  # smaller is better
set_rules: Registry[SetRule] = Registry("keep rule of set")
set_rules.register("real")(lambda c: np.array([o != "real" for o in c["origin"]]))
set_rules.register("labelled")(lambda c: np.array([v is None for v in c["label"]]))
set_rules.register("captioned")(lambda c: np.array([v is None for v in c["caption"]]))
set_rules.register("largest")(lambda c: -np.array(c["width"], np.int64) * np.array(c["height"], np.int64))
set_rules.register("lossless")(lambda c: np.array([f not in LOSSLESS for f in c["format"]]))
set_rules.register("oldest")(lambda c: np.array([t or "~" for t in c["taken_at"]]))
set_rules.register("shortest-path")(lambda c: np.array([len(u) for u in c["uri"]]))


@dataclass(frozen=True)
class SetDedupe:
    """How: `level` "exact" (file or pixels) or "semantic" (score ≥ `threshold` besides); `keep` rules, the first one
    first; `visits` cells of each row, `cells` in all (by default one for 1,000 rows), `memory` bytes of one group.
    """

    level: str = "exact"
    threshold: float = 0.94
    keep: tuple[str, ...] = KEEP
    visits: int = VISITS
    cells: int | None = None
    memory: int = 2 * 2**30
    seed: int = 0

    def __post_init__(self) -> None:
        if self.level not in ("exact", "semantic"):
            raise UsageError(
                f"no level '{self.level}' for sets; there are: exact, semantic. Pixels are proved after `bring`"
            )
        if not -1 <= self.threshold <= 1 or self.visits < 1 or self.memory < 1:
            raise UsageError("a threshold is an inner product in [−1, 1]; visits and memory are numbers from 1 on")
        for rule in self.keep:
            set_rules[rule]


@dataclass
class SetDuplicates:
    """What was found: images, the same file, the same pixels, alike; how many stay; recall of the join by a sample of
    rows that were compared with all (`edges` that there are, `held` of them found), and what visits would reach 0.99.
    """

    images: int = 0
    same_file: int = 0
    same_pixels: int = 0
    alike: int = 0
    kept: int = 0
    rounds: int = 0
    let_go: int = 0  # edges beyond 1,024 of a row
    edges: int | None = None
    held: int | None = None
    recall: tuple[float, float] | None = None  # 95 % interval
    visits_for_target: int | None = None
    notes: list[str] = field(default_factory=list)


def dedupe_set(
    place: str, name: str, how: SetDedupe, executor: Executor, *, overwrite: bool = False, job: Job = QUIET
) -> SetDuplicates:
    """Find duplicates and the keeper of each, and keep the result in the set under a name; again, it goes on.

    No picture is touched. Raises `UsageError`, `ScaleProblem` for a set that is not whole.
    """
    storage = Storage(place)
    whole = whole_set(storage)
    check_name(storage, name, f"dedupe/{name}/groups.parquet", what="result", overwrite=overwrite)
    rows = _Rows.read(whole, how)
    result = SetDuplicates(len(rows.ids))
    keeper, kind = rows.exact(result)
    score = np.where(kind == "kept", np.nan, 1.0).astype(np.float32)
    if how.level == "semantic" and len(rows.ids):
        state = to_json(asdict(how), sort_keys=True) + whole.mark
        home = f"dedupe/{name}/{hashlib.sha256(state.encode()).hexdigest()[:8]}"
        put_rows(storage, f"{home}/exact.parquet", rows.table(keeper, kind, score))
        edges = _Join(whole, home, how, executor, job).edges(result)
        rows.near(keeper, kind, score, edges, result)
    result.kept = int((keeper == rows.ids).sum())
    put_rows(storage, f"dedupe/{name}/groups.parquet", rows.table(keeper, kind, score))
    storage.put(f"dedupe/{name}/recipe.json", to_json({"how": asdict(how), "result": asdict(result)}, indent=1) + "\n")
    return result


@dataclass(frozen=True)
class _Rows:
    """Every row's identity and what the rules look at, best first: about 100 bytes a row."""

    ids: Ids
    sha256: list[bytes]
    pixel_hash: list[bytes]

    @classmethod
    def read(cls, whole: ShardedSet, how: SetDedupe) -> _Rows:
        table = whole.columns(_COLUMNS)
        columns = {name: table[name].to_pylist() for name in (*_COLUMNS, "uri")}
        ids = table["id"].to_numpy()
        # The last key of lexsort counts first; ties go by content, then by id.
        content = np.array([h.hex() for h in columns["sha256"]], "U64")
        order = np.lexsort((ids, content, *(set_rules[rule](columns) for rule in reversed(how.keep))))
        lists = ([columns[name][i] for i in order.tolist()] for name in ("sha256", "pixel_hash"))
        return cls(ids[order], *lists)

    def exact(self, result: SetDuplicates) -> tuple[Ids, NDArray[Any]]:
        """(n,) ids of keepers, and kinds, by file and pixels: the best of each stays."""
        first_of: dict[bytes, int] = {}
        keeper, kind = self.ids.copy(), np.full(len(self.ids), "kept", "U11")
        seen: set[bytes] = set()
        for n, (sha256, pixels) in enumerate(zip(self.sha256, self.pixel_hash, strict=True)):
            best = first_of.setdefault(pixels, n)
            if best != n:
                keeper[n], kind[n] = self.ids[best], "same file" if sha256 in seen else "same pixels"
            seen.add(sha256)
        result.same_file, result.same_pixels = int((kind == "same file").sum()), int((kind == "same pixels").sum())
        return keeper, kind

    def near(
        self, keeper: Ids, kind: NDArray[Any], score: NDArray[np.float32], edges: Edges, result: SetDuplicates
    ) -> None:
        """Bring in what is alike: keepers of the graph, in place; copies follow the row they are copies of."""
        first, second, scores = edges
        order = np.argsort(self.ids)
        a, b = (order[np.searchsorted(self.ids, ends, sorter=order)] for ends in (first, second))
        leading, result.rounds = leaders(a, b, len(self.ids))
        stays, nearness = keepers_of(leading, a, b, scores)
        moved = np.flatnonzero(stays != np.arange(len(stays)))
        new_of: dict[int, int] = {}
        for n in moved.tolist():
            if kind[n] == "kept":
                m = int(stays[n])
                keeper[n], kind[n], score[n] = self.ids[m], "alike", nearness[n]
                new_of[int(self.ids[n])] = int(self.ids[m])
        result.alike = int((kind == "alike").sum())
        for n in np.flatnonzero((kind != "kept") & (kind != "alike")).tolist():
            keeper[n] = new_of.get(int(keeper[n]), int(keeper[n]))

    def table(self, keeper: Ids, kind: NDArray[Any], score: NDArray[np.float32]) -> Any:
        """Every row that has company: id, keeper_id, kind, score."""
        pa = extra("pyarrow", "scale")
        with_company = np.isin(self.ids, keeper[keeper != self.ids]) | (keeper != self.ids)
        members = np.flatnonzero(with_company)
        members = members[np.lexsort((self.ids[members], keeper[members]))]
        return pa.table({
            "id": self.ids[members], "keeper_id": keeper[members],
            "kind": pa.array(kind[members].tolist(), pa.string()), "score": score[members],
        })  # fmt: skip


@dataclass(frozen=True)
class _Join:
    """Train, assign, join and certify: the stages of one semantic deduplication, in `home`."""

    whole: ShardedSet
    home: str
    how: SetDedupe
    executor: Executor
    job: Job

    def edges(self, result: SetDuplicates) -> Edges:
        """All pairs that the join finds, each once; what they are worth is written into the result."""
        storage, how, n = self.whole.storage, self.how, self.whole.rows
        if storage.size(f"{self.home}/cells.npz") is None:
            sample = sample_of(self.whole, how.seed, max(256, TRAINING * count_cells(n, how.cells)))
            mean, centres = train_cells(sample, n, cells=how.cells, seed=how.seed)
            put_arrays(storage, f"{self.home}/cells.npz", mean=mean, centres=centres)
        shards = tuple(r.shard for r in self.whole.receipts)
        cells = len(read_cells(storage, self.home)[1])
        # Of each visit a group holds the vector twice, as float16 and as float32, and a little more.
        needed = n * how.visits * (self.whole.facts.dim * 6 + 64)
        groups = max(1, min(cells, -(-needed // how.memory)))
        assigning = AssignShard(storage.place, self.home, how.visits, groups)
        run_all(assigning, shards, self.executor, "assigning to cells", self.job)
        files = tuple(map(assigning.file, shards))
        joining = JoinGroup(storage.place, self.home, how.visits, files, how.threshold)
        run_all(joining, range(groups), self.executor, "comparing", self.job)
        tables = [read_rows(storage, joining.file(g)) for g in range(groups)]
        result.let_go = sum(int((t.schema.metadata or {}).get(b"dropped", b"0")) for t in tables)
        first, second, scores = (
            np.concatenate([t[c].to_numpy() for t in tables]) for c in ("first", "second", "score")
        )
        pairs, once = np.unique(np.stack([first, second], 1), axis=0, return_index=True)
        edges = pairs[:, 0], pairs[:, 1], scores[once].astype(np.float32)
        self._certify(edges, result)
        if result.let_go:
            result.notes.append(f"rows with more than 1,024 pairs keep the best: {result.let_go:,} pairs were let go")
        for file in files:  # together as large as the set, and of no use any more
            storage.remove(file)
        return edges

    def _certify(self, edges: Edges, result: SetDuplicates) -> None:
        """Compare a sample of rows with all, and say what share of their edges the join has."""
        storage, receipts = self.whole.storage, self.whole.receipts
        if storage.size(f"{self.home}/sample.npz") is None:
            ids, x = self._sampled()
            put_arrays(storage, f"{self.home}/sample.npz", ids=ids, x=x)
        stage = CertifyShard(storage.place, self.home, self.how.threshold)
        run_all(stage, [r.shard for r in receipts], self.executor, "certifying", self.job)
        tables = [read_rows(storage, stage.file(r.shard)) for r in receipts]
        sampled, other = (np.concatenate([t[c].to_numpy() for t in tables]) for c in ("sampled", "id"))
        y = np.concatenate([vectors_in(t) for t in tables])
        low, high = np.minimum(sampled, other), np.maximum(sampled, other)
        # Of two that are both sampled the edge is there twice.
        _, once = np.unique(np.stack([low, high], 1), axis=0, return_index=True)
        low, high, sampled, y = low[once], high[once], sampled[once], y[once]
        of_sample = np.isin(edges[0], low) & np.isin(edges[1], high)
        joined = set(zip(edges[0][of_sample].tolist(), edges[1][of_sample].tolist(), strict=True))
        result.edges = len(low)
        result.held = sum(pair in joined for pair in zip(low.tolist(), high.tolist(), strict=True))
        result.recall = wilson(result.held, result.edges)
        if result.edges and result.held / result.edges < TARGET:
            self._advise(sampled, y, result)

    def _advise(self, sampled: Ids, y: Half, result: SetDuplicates) -> None:
        """How many visits the same sample says are enough."""
        storage = self.whole.storage
        sample = read_arrays(storage, f"{self.home}/sample.npz")
        x = sample["x"][find_sorted(sample["ids"], sampled)[0]]
        needed = np.sort(visits_needed(x, y, *read_cells(storage, self.home)))
        enough = int(needed[math.ceil(TARGET * len(needed)) - 1])
        result.visits_for_target = enough if enough <= MOST_VISITS else None
        way_out = f"no {MOST_VISITS} visits would; ask for fewer --cells"
        if result.visits_for_target:
            way_out = f"--visits {enough} would reach it"
        result.notes.append(
            f"{result.held} of {result.edges} sampled pairs were found, less than {TARGET:.0%}: {way_out}"
        )

    def _sampled(self) -> tuple[Ids, Half]:
        """Ids (m,), ascending, and vectors of rows drawn by chance, none of them a copy."""
        rng = np.random.default_rng(self.how.seed)
        copies = duplicates_in(self.whole.storage, f"{self.home}/exact.parquet")
        receipts = self.whole.receipts
        shares = rng.multinomial(_SAMPLED, np.array([r.rows for r in receipts]) / max(1, self.whole.rows))
        drawn_ids, xs = [np.empty(0, np.int64)], [np.empty((0, self.whole.facts.dim), np.float16)]
        for receipt, share in zip(receipts, shares.tolist(), strict=True):
            part = self.whole.part(receipt, ()) if share else None
            if part is not None:
                alone = np.flatnonzero(~np.isin(part.ids, copies))
                drawn = np.sort(rng.choice(alone, min(share, len(alone)), replace=False)) if len(alone) else alone
                drawn_ids.append(part.ids[drawn])
                xs.append(part.x[drawn])
        return np.concatenate(drawn_ids), np.concatenate(xs)
