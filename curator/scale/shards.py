"""Rows of a shard: columns, and reading and writing them as Parquet that DuckDB, pyarrow and others read as it is."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.errors import SetDamaged, SpaceMismatch
from curator.records import Content, Ids, Measures, Notes
from curator.registry import extra
from curator.scale.records import ROW_BITS, Receipt, SetFacts
from curator.scale.storage import Storage, tar_of
from curator.texts import to_json

ROW_GROUP = 4_096
VECTOR = "vector"
_TEXTS = ("uri", "mode", "format", "taken_at", "camera", "label", "caption", "extra", "origin")
_REALS = ("sharpness", "brightness", "contrast", "entropy", "norm")

Half = NDArray[np.float16]


@dataclass(frozen=True)
class ShardRow:
    """One picture of a shard, as it is written."""

    row: int
    uri: str
    size: int
    content: Content
    measures: Measures
    notes: Notes
    vector: Half
    norm: float


def schema_of(dim: int, facts: Mapping[str, str]) -> Any:
    """The columns of a shard, and what is said of all of them."""
    pa = extra("pyarrow", "scale")
    columns = [("id", pa.int64()), ("uri", pa.string()), ("sha256", pa.binary(32)), ("pixel_hash", pa.binary(16))]
    columns += [("hashes", pa.binary(64)), ("size", pa.int64()), ("width", pa.int32()), ("height", pa.int32())]
    columns += [(name, pa.string()) for name in _TEXTS[1:]]
    columns += [(name, pa.float32()) for name in _REALS]
    columns += [(VECTOR, pa.list_(pa.float16(), dim))]
    return pa.schema(columns, metadata=dict(facts))


def shard_bytes(rows: Sequence[ShardRow], shard: int, facts: SetFacts) -> bytes:
    """A shard as the bytes of a Parquet file: the same rows make the same bytes."""
    pa, pq = extra("pyarrow", "scale"), extra("pyarrow.parquet", "scale")
    table = pa.table(_columns(rows, shard, facts.dim), schema_of(facts.dim, marks_of(facts)))
    sink = io.BytesIO()
    plain = [name for name in table.column_names if name != VECTOR]
    pq.write_table(table, sink, row_group_size=ROW_GROUP, compression="zstd", use_dictionary=plain)
    return sink.getvalue()


def marks_of(facts: SetFacts) -> dict[str, str]:
    """What a shard says of itself: a reader of another space refuses it."""
    return {"curator.fingerprint": facts.fingerprint, "curator.set": facts.id, "curator.encoder": facts.encoder}


def _columns(rows: Sequence[ShardRow], shard: int, dim: int) -> dict[str, Any]:
    vectors = np.stack([r.vector for r in rows]) if rows else np.empty((0, dim), np.float16)
    content, measures, notes = [r.content for r in rows], [r.measures for r in rows], [r.notes for r in rows]
    columns: dict[str, Any] = {
        "id": [shard << ROW_BITS | r.row for r in rows],
        "uri": [r.uri for r in rows],
        "sha256": [c.sha256 for c in content],
        "pixel_hash": [c.pixel_hash for c in content],
        "hashes": [m.hashes.astype("<u8").tobytes() for m in measures],
        "size": [r.size for r in rows],
        "label": [n.label for n in notes],
        "caption": [n.caption for n in notes],
        "extra": [to_json(n.extra, sort_keys=True, ensure_ascii=False) if n.extra else None for n in notes],
        "origin": ["real"] * len(rows),
        "norm": [r.norm for r in rows],
        VECTOR: vector_column(vectors),
    }
    columns |= {
        k: [getattr(c, k) for c in content] for k in ("width", "height", "mode", "format", "taken_at", "camera")
    }
    return columns | {k: [getattr(m, k) for m in measures] for k in ("sharpness", "brightness", "contrast", "entropy")}


@dataclass(frozen=True)
class Part:
    """Rows of one shard that count, as an Arrow table, with the vectors beside it."""

    shard: int
    table: Any  # pyarrow.Table without the vectors
    ids: Ids
    x: Half  # (n, d) float16 unit rows

    def column(self, name: str) -> list[Any]:
        """One column's values."""
        return list(self.table[name].to_pylist())

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: NDArray[np.int64]) -> Part:
        """Some of the rows, in their order."""
        return Part(self.shard, self.table.take(positions), self.ids[positions], self.x[positions])


@dataclass(frozen=True)
class ShardedSet:
    """A set that is open: where, of what, its receipts in order, and the rows that a later plan took back."""

    storage: Storage
    facts: SetFacts
    receipts: tuple[Receipt, ...]
    stale: Mapping[int, set[str]]

    @property
    def rows(self) -> int:
        """Rows of all shards, with those that were taken back."""
        return sum(r.rows for r in self.receipts)

    @property
    def mark(self) -> str:
        """Another one as soon as a row comes, goes or changes."""
        return "".join(r.sha256 for r in self.receipts) + self.facts.superseded

    def part(self, receipt: Receipt, columns: Sequence[str] | None = None) -> Part:
        """The rows of a shard that count; see `read_part`."""
        return read_part(self.storage, self.facts, receipt, self.stale, columns)

    def columns(self, columns: Sequence[str]) -> Any:
        """Some columns of all rows that count, as one Arrow table."""
        pa = extra("pyarrow", "scale")
        return pa.concat_tables([read_columns(self.storage, r, columns, self.stale) for r in self.receipts])


def read_part(
    storage: Storage,
    facts: SetFacts,
    receipt: Receipt,
    stale: Mapping[int, set[str]],
    columns: Sequence[str] | None = None,
) -> Part:
    """A shard's rows, without those that a later plan took back.

    `columns` besides id, uri and vectors; None for all. Raises `SetDamaged` for a file that is not what the receipt
    says, `SpaceMismatch` for one of another space.
    """
    pq = extra("pyarrow.parquet", "scale")
    data = checked_file(storage, receipt)
    file = pq.ParquetFile(io.BytesIO(data))
    marks = file.schema_arrow.metadata or {}
    if marks.get(b"curator.fingerprint", b"").decode() != facts.fingerprint:
        raise SpaceMismatch(f"{storage.place}/{receipt.file} is of another space than the set; it is left alone")
    wanted = None if columns is None else [*dict.fromkeys(("id", "uri", *columns, VECTOR))]
    table = file.read(columns=wanted)
    part = Part(receipt.shard, table.drop_columns([VECTOR]), table["id"].to_numpy(), vectors_in(table))
    counts = _counts(part.column("uri"), stale.get(receipt.shard))
    return part if counts is None else part.take(counts)


def read_columns(storage: Storage, receipt: Receipt, columns: Sequence[str], stale: Mapping[int, set[str]]) -> Any:
    """Some columns of a shard that counts, as an Arrow table: only their bytes are fetched, so no checksum is asked."""
    pq = extra("pyarrow.parquet", "scale")
    with storage.open(f"shards/{receipt.file}") as opened:
        table = pq.ParquetFile(opened).read(columns=[*dict.fromkeys(("id", "uri", *columns))])
    counts = _counts(table["uri"].to_pylist(), stale.get(receipt.shard))
    return table if counts is None else table.take(counts)


def _counts(uris: list[str], gone: set[str] | None) -> NDArray[np.int64] | None:
    """Positions of the rows that no later plan took back; None for all of them."""
    if not gone:
        return None
    counts = [u not in gone and (tar_of(u) or ("",))[0] not in gone for u in uris]
    return np.flatnonzero(counts).astype(np.int64)


def vectors_in(table: Any) -> Half:
    """(n, d) float16 of a table's column of vectors."""
    width = table.schema.field(VECTOR).type.list_size
    chunks = [np.asarray(c.flatten()) for c in table[VECTOR].chunks]
    return np.asarray(np.concatenate(chunks or [np.empty(0, np.float16)]).reshape(-1, width), np.float16)


def vector_column(x: Half) -> Any:
    """The reverse: (n, d) → a column of vectors."""
    pa = extra("pyarrow", "scale")
    return pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])


def put_rows(storage: Storage, file: str, table: Any, *, row_group: int = ROW_GROUP) -> str:
    """Write a table whole → its SHA-256."""
    sink = io.BytesIO()
    extra("pyarrow.parquet", "scale").write_table(table, sink, compression="zstd", row_group_size=row_group)
    storage.put(file, sink.getvalue())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def put_arrays(storage: Storage, file: str, **arrays: Any) -> None:
    """Write arrays under their names, whole."""
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    storage.put(file, sink.getvalue())


def read_arrays(storage: Storage, file: str) -> dict[str, NDArray[Any]]:
    """Arrays that `put_arrays` wrote. Raises `FileNotFoundError`."""
    with np.load(io.BytesIO(storage.read(file)), allow_pickle=False) as stored:
        return dict(stored)


def read_rows(storage: Storage, file: str) -> Any:
    """A table that `put_rows` wrote. Raises `FileNotFoundError`."""
    return extra("pyarrow.parquet", "scale").read_table(io.BytesIO(storage.read(file)))


def checked_file(storage: Storage, receipt: Receipt) -> bytes:
    """The bytes of a shard. Raises `SetDamaged` for others than those that were written."""
    try:
        data = storage.read(f"shards/{receipt.file}")
    except FileNotFoundError as error:
        raise SetDamaged(f"{storage.place}/shards/{receipt.file} is missing; {_AGAIN}") from error
    if hashlib.sha256(data).hexdigest() != receipt.sha256:
        raise SetDamaged(f"{storage.place}/shards/{receipt.file} has other bytes than were written; {_AGAIN}")
    return data


_AGAIN = "`curator scale verify` takes its receipt back, and `curator scale embed` makes it again"


def read_receipts(storage: Storage, facts: SetFacts) -> dict[int, Receipt]:
    """shard → receipt, of every planned shard whose file is there and has the size it should."""
    sizes = storage.sizes("shards")
    names = [f"shards/{name}" for name in sizes if name.endswith(".json")]
    receipts = {}
    for text in storage.read_many(names).values():
        receipt = Receipt.from_json(text)
        if receipt is not None and sizes.get(receipt.file) == receipt.size and _is_of(receipt, facts):
            receipts[receipt.shard] = receipt
    return dict(sorted(receipts.items()))


def _is_of(receipt: Receipt, facts: SetFacts) -> bool:
    """Whether a receipt is of this plan and encoder, and not of a set that was here before."""
    # Receipts of the first versions do not say it.
    return receipt.shard < facts.shards and receipt.of in ("", facts.mark_of(receipt.shard))


def read_receipt(storage: Storage, facts: SetFacts, shard: int) -> Receipt | None:
    """The receipt of one shard; None where it has none, or its file is not there with the size it should have."""
    text = storage.read_many([receipt_name(shard)]).get(receipt_name(shard))
    receipt = Receipt.from_json(text) if text is not None else None
    if receipt is None or storage.size(f"shards/{receipt.file}") != receipt.size or not _is_of(receipt, facts):
        return None
    return receipt


def receipt_name(shard: int) -> str:
    """Where the receipt of a shard lies."""
    return f"shards/{shard:06d}.json"
