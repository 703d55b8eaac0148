"""Selections from a set: a pass over the shards for what could be chosen, and one over that for what is."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.errors import SpaceMismatch, UsageError
from curator.files import digest_of
from curator.job import QUIET, Job
from curator.records import Positions
from curator.registry import extra
from curator.scale.choosing import ChooseInShard, SetRecipe, codes_in, in_order, pool_of
from curator.scale.conditions import check_where
from curator.scale.drive import run_all, whole_set
from curator.scale.executor import Executor
from curator.scale.shards import VECTOR, Part, ShardedSet, put_arrays, put_rows, read_arrays, read_rows, vectors_in
from curator.scale.stages import check_name
from curator.scale.storage import Storage
from curator.selectors import Pool, sampling, selectors, spherical_kmeans
from curator.selectors.rounds import TWO_ROUNDS, best_keys, share_of_shard
from curator.selectors.scores import TAUGHT, ratio_weights
from curator.texts import to_json

_ASKED = 64  # shards that a sample is taken from
_LISTED = 1_000_000  # images up to which a manifest as `curator selections manifest` has it is written too
ROWS = "selection.parquet"


@dataclass(frozen=True)
class SetSelection:
    """What was chosen: images in order with their values, and how many of how many."""

    name: str
    count: int
    candidates: int
    rounds: int
    digest: str


def select_from(
    place: str, name: str, recipe: SetRecipe, executor: Executor, *, overwrite: bool = False, job: Job = QUIET,
) -> SetSelection:  # fmt: skip
    """Choose images of a whole set, and keep the choice in it under a name; again, it goes on where it was.

    Raises `UsageError` for a name that is taken, `WhereError`, `ScaleProblem` for a set that is not whole.
    """
    storage = Storage(place)
    whole = whole_set(storage)
    check_name(storage, name, f"select/{name}/{ROWS}", what="selection", overwrite=overwrite)
    if recipe.where and whole.receipts:
        check_where(recipe.where, whole.part(whole.receipts[0]))
    home = f"select/{name}/{_mark(whole, recipe)}"
    if recipe.by == "importance":
        _fit(whole, recipe, home)
    shards = [r.shard for r in whole.receipts]
    share = share_of_shard(recipe.n, len(shards))
    while True:
        stage = ChooseInShard(storage.place, home, to_json(asdict(recipe)), share)
        run_all(stage, shards, executor, "choosing", job)
        parts = [read_rows(storage, stage.file(s)) for s in shards]
        # Matches in few shards: each of those has to give more than its share.
        if sum(map(len, parts)) >= recipe.n or share >= recipe.n or max(map(len, parts), default=0) < share:
            break
        share = min(recipe.n, 4 * share)
    union = _union(parts)
    if not len(union):
        raise UsageError("no image of the set is left to choose from")
    positions, values, what = _final(storage, home, union, recipe)
    rows = union.take(positions)
    head = {"name": name, "set_recipe": asdict(recipe), "value": what}
    _write(whole, head, rows, values)
    digest = digest_of(rows.column("sha256"))
    return SetSelection(name, len(positions), len(union), 2 if recipe.by in TWO_ROUNDS else 1, digest)


def _mark(whole: ShardedSet, recipe: SetRecipe) -> str:
    """Eight digits for a recipe and what it is asked of: parts of another one are not taken for this one's."""
    state = to_json(asdict(recipe), sort_keys=True) + whole.mark
    if recipe.dedupe:
        state += whole.storage.mark(f"dedupe/{recipe.dedupe}/groups.parquet")
    if recipe.reference:
        state += whole_set(Storage(recipe.reference)).mark
    return hashlib.sha256(state.encode()).hexdigest()[:8]


def _fit(whole: ShardedSet, recipe: SetRecipe, home: str) -> None:
    """Weights of importance and the clusters it spreads over, from samples of the set and of the reference."""
    if whole.storage.size(f"{home}/fit.npz") is not None:
        return
    other = whole_set(Storage(recipe.reference or ""))
    if other.facts.fingerprint != whole.facts.fingerprint:
        raise SpaceMismatch(
            f"{recipe.reference} is a set of '{other.facts.encoder}', and this one of '{whole.facts.encoder}'"
        )
    reference, others = sample_of(other, recipe.seed), sample_of(whole, recipe.seed)
    if not len(reference) or not len(others):
        raise UsageError("importance needs images in the set and in the reference, and one of them has none")
    w, bias = ratio_weights(reference, others)
    count = min(64, max(8, int(math.sqrt(whole.rows))))
    centres = spherical_kmeans(others, count, np.random.default_rng(recipe.seed))
    share = sampling.share_of(reference, centres)
    put_arrays(whole.storage, f"{home}/fit.npz", w=w, bias=bias, centres=centres, share=share)


def sample_of(whole: ShardedSet, seed: int, most: int = TAUGHT) -> NDArray[np.float16]:
    """(m, d) float16: about `most` rows, chosen by a hash of their content from up to 64 of the shards."""
    few = list(whole.receipts)
    if len(few) > _ASKED:
        chosen = np.random.default_rng(seed).choice(len(few), _ASKED, replace=False)
        few = [few[i] for i in np.sort(chosen).tolist()]
    total = sum(r.rows for r in few)
    rows, digests = [np.empty((0, whole.facts.dim), np.float16)], list[bytes]()
    for receipt in few:
        part = in_order(whole.part(receipt, ("sha256",)))
        share = most if total <= most else math.ceil(most * len(part) / total)
        uniform = Pool(part.x, tuple(part.column("sha256")), seed).uniform
        drawn = part.take(best_keys(-uniform, share))
        rows.append(drawn.x)
        digests += drawn.column("sha256")
    # In the order of the contents, whichever shards they were in.
    return np.concatenate(rows)[sorted(range(len(digests)), key=digests.__getitem__)]


def _union(parts: Sequence[Any]) -> Part:
    """What the shards gave, in the order of a pool; without vectors where they gave none."""
    pa = extra("pyarrow", "scale")
    table = pa.concat_tables(parts)
    x = np.zeros((len(table), 1), np.float16)
    if VECTOR in table.column_names:
        x = vectors_in(table)
        table = table.drop_columns([VECTOR])
    return in_order(Part(-1, table, table["id"].to_numpy(), x))


def _final(storage: Storage, home: str, union: Part, recipe: SetRecipe) -> tuple[Positions, NDArray[np.float64], str]:
    """The answer among what the shards gave: positions in order, their values, and what these are."""
    if recipe.by == "importance":
        share = read_arrays(storage, f"{home}/fit.npz")["share"]
        keys = np.array(union.column("key"), np.float64)
        codes = np.array(union.column("code"), np.int64)
        order = np.lexsort((np.arange(len(keys)), -keys))
        chosen = sampling.in_fair_turn(order, keys, codes, share, min(recipe.n, len(union)))
        return chosen, keys[chosen], "log ratio and noise"
    labels = codes_in(union, recipe.per) if recipe.by == "balanced" else None
    answer = selectors[recipe.by](pool_of(union, recipe, labels), min(recipe.n, len(union)))
    return answer.positions, answer.values, answer.what


def _write(whole: ShardedSet, head: dict[str, Any], rows: Part, values: NDArray[np.float64]) -> None:
    """`selection.parquet`, and the manifest that a local index understands."""
    pa = extra("pyarrow", "scale")
    digests, facts, name = rows.column("sha256"), whole.facts, head["name"]
    head |= {"digest": digest_of(digests), "count": len(rows), "schema": 1, "steps": []}
    head["made_by"] = f"`curator scale select` in {whole.storage.place}"
    head["space"] = {"encoder": facts.encoder, "fingerprint": facts.fingerprint, "dim": facts.dim}
    head["versions"] = {"image-curator": version("image-curator")}
    if len(rows) <= _LISTED:
        listed = zip(digests, rows.column("uri"), values.tolist(), strict=True)
        head["images"] = [
            {"rank": n, "sha256": h.hex(), "path": uri, "value": v if math.isfinite(v) else None, "split": None}
            for n, (h, uri, v) in enumerate(listed)
        ]
    columns = ("id", "uri", "sha256", "size", "format", "label", "caption", "extra", "origin")
    table = rows.table.select(columns).append_column("value", pa.array(values))
    whole.storage.put(f"select/{name}/manifest.json", to_json(head, indent=1) + "\n")
    put_rows(whole.storage, f"select/{name}/{ROWS}", table)
