"""What lies in a set besides its rows: `set.json`, receipts, and the manifest; all of them JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from curator.errors import SetDamaged
from curator.texts import to_json

FORMAT = 1
ROW_BITS = 20  # of an id: shard << 20 | row
MOST_ROWS = 1 << ROW_BITS  # rows of one shard at most


@dataclass(frozen=True)
class PlanFile:
    """One file of the plan: shards `first` to `first + shards - 1`, a row group each."""

    file: str
    sha256: str
    first: int
    shards: int
    rows: int


@dataclass(frozen=True)
class SetFacts:
    """`set.json`: what a set is of, and in which space.

    `kind` is "files" or "tars": of tars it is not known beforehand how many pictures they hold. `encoder`,
    `fingerprint` and `dim` are empty until the first shard is embedded.
    """

    source: str
    kind: str
    shard_size: int
    plan: tuple[PlanFile, ...] = ()
    encoder: str = ""
    fingerprint: str = ""
    dim: int = 0
    towers: Mapping[str, str] = field(default_factory=dict)  # file of `encoder/` → SHA-256
    superseded: str = ""  # SHA-256 of plan/superseded.parquet, where a later plan took rows back
    options: Mapping[str, str] = field(default_factory=dict)  # of the plan, for the next one
    version: str = ""
    format: int = FORMAT

    @property
    def shards(self) -> int:
        """How many shards are planned."""
        return sum(p.shards for p in self.plan)

    @property
    def planned(self) -> int:
        """How many files are planned: pictures, or tars."""
        return sum(p.rows for p in self.plan)

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits for the source and the space: the same work makes the same set."""
        return hashlib.sha256(f"{self.source}\0{self.fingerprint}".encode()).hexdigest()[:16]

    def plan_of(self, shard: int) -> PlanFile:
        """The plan's file that holds a shard. Raises `SetDamaged` for one that was never planned."""
        for part in self.plan:
            if part.first <= shard < part.first + part.shards:
                return part
        raise SetDamaged(f"shard {shard} was never planned; the set has {self.shards}")

    def mark_of(self, shard: int) -> str:
        """Sixteen digits for what a shard is made of: its part of the plan, and the encoder."""
        return hashlib.sha256(f"{self.plan_of(shard).sha256}\0{self.fingerprint}".encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """As text."""
        return to_json(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: bytes | str, place: str) -> SetFacts:
        """The reverse. Raises `SetDamaged` for anything else, and for a later format."""
        try:
            stored = json.loads(text)
            if int(stored["format"]) > FORMAT:
                raise SetDamaged(
                    f"{place} has the format {stored['format']}, and this curator knows up to {FORMAT}; upgrade "
                    "image-curator"
                )
            plan = tuple(PlanFile(**part) for part in stored.pop("plan"))
            return replace(cls(**stored), plan=plan)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SetDamaged(f"{place}/set.json cannot be read: {error}") from error


@dataclass(frozen=True)
class SkippedRow:
    """A picture of a shard that has no row, and why; `permanent` says that trying again would not help."""

    uri: str
    reason: str
    permanent: bool = True


@dataclass(frozen=True)
class Receipt:
    """What a shard became: its file with `size` in bytes and SHA-256, rows, what was skipped. Put after the file."""

    shard: int
    file: str
    size: int
    sha256: str
    rows: int
    skipped: tuple[SkippedRow, ...] = ()
    attempt: int = 1
    seconds: float = 0.0
    worker: str = ""
    of: str = ""  # `SetFacts.mark_of` the shard

    def to_json(self) -> str:
        """As text."""
        return to_json(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: bytes | str) -> Receipt | None:
        """The reverse; None for what is no receipt, such as half of one."""
        try:
            stored = json.loads(text)
            skipped = tuple(SkippedRow(**row) for row in stored.pop("skipped"))
            receipt = replace(cls(**stored), skipped=skipped)
            return receipt if isinstance(receipt.rows, int) and isinstance(receipt.file, str) else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass(frozen=True)
class SetManifest:
    """All receipts of a whole set, and one SHA-256 over them."""

    shards: int
    rows: int
    skipped: int
    sha256: str
    receipts: tuple[Receipt, ...]

    @classmethod
    def of(cls, receipts: Sequence[Receipt]) -> SetManifest:
        """Of receipts in the order of their shards."""
        digest = hashlib.sha256("".join(f"{r.shard}:{r.sha256}\n" for r in receipts).encode()).hexdigest()
        skipped = sum(len(r.skipped) for r in receipts)
        return cls(len(receipts), sum(r.rows for r in receipts), skipped, digest, tuple(receipts))

    def to_json(self) -> str:
        """As text; what was skipped stays in the receipts."""
        stored = asdict(self)
        stored["receipts"] = [{k: v for k, v in r.items() if k != "skipped"} for r in stored["receipts"]]
        return to_json(stored, indent=1) + "\n"
