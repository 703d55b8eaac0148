"""Which images of one shard could be in a choice from all of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.errors import UnknownName, UsageError
from curator.index import build_graph
from curator.records import Ids
from curator.registry import extra, suggest
from curator.scale.conditions import rows_where
from curator.scale.shards import VECTOR, Part, put_rows, read_arrays, vector_column
from curator.scale.stages import OnceStage, duplicates_in, read_shard
from curator.scale.storage import Storage
from curator.selectors import Pool, assign, sampling, selectors
from curator.selectors.rounds import ONE_PASS, TWO_ROUNDS, best_keys, best_keys_of_each


@dataclass(frozen=True)
class SetRecipe:
    """How to choose from a set: `n` images by a selector; `where` is DuckDB's SQL; `dedupe` names a result of
    `curator scale dedupe`, whose duplicates are left out; `reference` another set to be like; `origin` "real",
    "generated" or "any"; `per` a column to balance over.
    """

    n: int
    by: str = "random"
    where: str | None = None
    dedupe: str | None = None
    reference: str | None = None
    origin: str = "real"
    per: str = "label"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in (*ONE_PASS, *TWO_ROUNDS):
            raise UnknownName(f"no selector '{self.by}' for sets; {suggest(self.by, (*ONE_PASS, *TWO_ROUNDS))}")
        if self.by == "importance" and not self.reference:
            raise UsageError("importance needs --reference SET2: a set of what the choice should be like")
        if self.n < 1:
            raise UsageError(f"-n takes a number of images from 1 on, not {self.n}")


@dataclass(frozen=True)
class ChooseInShard(OnceStage):
    """The stage that looks at one shard: which of its rows could be in the answer."""

    recipe: str  # JSON
    share: int  # images that a shard gives at most, for selectors of two rounds

    @property
    def folder(self) -> str:
        """By share: a larger one is asked for where the first was too little."""
        return f"{self.share}/"

    def make(self, storage: Storage, number: int) -> None:
        """Choose."""
        recipe = SetRecipe(**json.loads(self.recipe))
        part = _candidates(read_shard(storage, number), storage, recipe)
        put_rows(storage, self.file(number), _choose(storage, self.home, part, recipe, self.share))


def _candidates(part: Part, storage: Storage, recipe: SetRecipe) -> Part:
    """The rows that a recipe may choose from, in the order of a pool."""
    counts = np.ones(len(part), bool)
    if recipe.origin != "any":
        counts &= np.array([o == recipe.origin for o in part.column("origin")], bool)
    if recipe.dedupe:
        mark = storage.mark(f"dedupe/{recipe.dedupe}/groups.parquet")
        counts &= ~np.isin(part.ids, _dropped(storage.place, recipe.dedupe, mark))
    if recipe.where and len(part):
        counts &= rows_where(part, recipe.where)
    return in_order(part.take(np.flatnonzero(counts).astype(np.int64)))


@lru_cache(maxsize=2)
def _dropped(place: str, name: str, _mark: str) -> Ids:
    """Ids of duplicates that a result of `curator scale dedupe` found, ascending."""
    storage = Storage(place)
    try:
        return duplicates_in(storage, f"dedupe/{name}/groups.parquet")
    except FileNotFoundError as error:
        raise UnknownName(
            f"no result '{name}' of `curator scale dedupe` in {place}; {suggest(name, storage.folders('dedupe'))}"
        ) from error


def in_order(part: Part) -> Part:
    """Rows by content, as a pool has them: ties by position are ties by content."""
    digests = part.column("sha256")
    order = sorted(range(len(part)), key=lambda p: (digests[p], int(part.ids[p])))
    return part.take(np.array(order, np.int64))


def pool_of(part: Part, recipe: SetRecipe, codes: NDArray[np.int64] | None = None) -> Pool:
    """What selectors see of some rows, which come in the order of their contents."""
    neighbours = near = None
    if recipe.by == "facility-location":
        graph = build_graph(part.x)
        neighbours, near = graph.neighbours, graph.scores
    return Pool(part.x, tuple(part.column("sha256")), recipe.seed, codes, neighbours, near)


def _choose(storage: Storage, home: str, part: Part, recipe: SetRecipe, share: int) -> Any:
    """Rows of one shard that could be in the answer, as a table; with vectors where a second round needs them."""
    pa = extra("pyarrow", "scale")
    if recipe.by in TWO_ROUNDS:
        wanted = min(share, len(part))
        chosen = np.arange(len(part))
        if wanted < len(part):
            chosen = np.sort(selectors[recipe.by](pool_of(part, recipe), wanted).positions)
        return part.table.take(chosen).append_column(VECTOR, vector_column(part.x[chosen]))
    uniform = pool_of(part, recipe).uniform
    if recipe.by == "importance":
        keys, codes = _keys_of(storage, home, part, uniform)
        chosen = best_keys_of_each(keys, codes, recipe.n)
        table = part.table.take(chosen).append_column("key", pa.array(keys[chosen]))
        return table.append_column("code", pa.array(codes[chosen]))
    keys = np.log(uniform)
    if recipe.by == "balanced":
        return part.table.take(best_keys_of_each(keys, codes_in(part, recipe.per), recipe.n))
    return part.table.take(best_keys(keys, recipe.n))


def codes_in(part: Part, column: str) -> NDArray[np.int64]:
    """(n,) a code for each value of a column, −1 for none. Raises `UsageError` for no such column."""
    if column not in part.table.column_names:
        raise UsageError(f"no column '{column}' to balance over; {suggest(column, part.table.column_names)}")
    code_of: dict[Any, int] = {}
    values = part.column(column)
    return np.array([-1 if v is None else code_of.setdefault(v, len(code_of)) for v in values], np.int64)


def _keys_of(storage: Storage, home: str, part: Part, uniform: NDArray[np.float64]) -> tuple[Any, NDArray[np.int64]]:
    """Keys of importance, and the cluster of each row: by weights that were fitted once, on a sample."""
    fit = read_arrays(storage, f"{home}/fit.npz")
    keys = part.x.astype(np.float32) @ fit["w"] + float(fit["bias"]) + sampling.gumbel(uniform)
    return keys.astype(np.float64), assign(part.x, fit["centres"])[0]
