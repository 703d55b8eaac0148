"""What the stages of `dedupe` and `select` have in common: each makes one file of its shard or group, once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curator.errors import SetDamaged, UsageError
from curator.records import Ids
from curator.records.selections import NAME
from curator.scale.executor import Outcome
from curator.scale.plan import read_facts, superseded_rows
from curator.scale.shards import Part, read_part, read_receipt, read_rows
from curator.scale.storage import Storage


@dataclass(frozen=True)
class OnceStage(ABC):
    """A stage whose every item becomes one file below `home`; put whole, the file is its own receipt."""

    place: str
    home: str

    def file(self, number: int) -> str:
        """Where the rows of an item go."""
        return f"{self.home}/{self.folder}{number:06d}.parquet"

    @property
    @abstractmethod
    def folder(self) -> str:
        """Within `home`, with `/` at its end; "" for `home` itself."""

    @abstractmethod
    def make(self, storage: Storage, number: int) -> None:
        """Make the file of an item."""

    def __call__(self, number: int) -> Outcome:
        """Make it, unless it was done."""
        storage = Storage(self.place)
        if storage.size(self.file(number)) is None:
            self.make(storage, number)
        return {"shard": number}


def read_shard(storage: Storage, shard: int, columns: Sequence[str] | None = None) -> Part:
    """The rows of one shard that count, as a worker reads them; see `read_part`."""
    facts = read_facts(storage)
    receipt = read_receipt(storage, facts, shard)
    if receipt is None:
        raise SetDamaged(f"shard {shard} has lost its receipt; `curator scale embed {storage.place}` makes it again")
    return read_part(storage, facts, receipt, superseded_rows(storage, facts), columns)


def duplicates_in(storage: Storage, file: str) -> Ids:
    """Ids, ascending, of the rows that a table of groups has another keeper for. Raises `FileNotFoundError`."""
    table = read_rows(storage, file)
    ids, keepers = table["id"].to_numpy(), table["keeper_id"].to_numpy()
    return np.asarray(np.sort(ids[ids != keepers]), np.int64)


def without(part: Part, ids: Ids) -> Part:
    """The rows of other ids."""
    return part.take(np.flatnonzero(~np.isin(part.ids, ids)).astype(np.int64))


def check_name(storage: Storage, name: str, file: str, *, what: str, overwrite: bool) -> None:
    """Raise `UsageError` for what is no name, or one that stands for another `file` of that kind already."""
    if not NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no name for a {what}: letters, digits, and . _ + - within")
    if not overwrite and storage.size(file) is not None:
        raise UsageError(f"there is a {what} '{name}' in {storage.place} already; take another name, or --overwrite")
