"""What a search for duplicates found: groups of images that are the same picture, and how sure that is."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from curator.cleaning.comparing import Shortcut
from curator.duplicates import KINDS, Thresholds
from curator.records import Certificate, Evidence, Grouped


@dataclass(frozen=True)
class Group:
    """Images shown to be the same picture.

    `members` begin with the keeper; `settled` where every other one has been decided about.
    """

    members: tuple[Grouped, ...]
    settled: bool

    @property
    def keeper(self) -> int:
        """Id of the image to keep."""
        return self.members[0].keeper_id

    @property
    def duplicates(self) -> tuple[Grouped, ...]:
        """The members that are neither the keeper nor kept by decision."""
        return tuple(m for m in self.members if m.kind not in ("keeper", "kept"))


@dataclass(frozen=True)
class ListedPair:
    """Two images that are near to being the same picture, and of which none is proposed for removal.

    Of kind `altered` or `overlapping`; or turned upon each other, where turning changes the label.
    """

    first: int
    second: int
    kind: str
    labels_differ: bool


@dataclass(frozen=True, repr=False)
class DedupeResult:
    """What was found.

    `pairs` counts edges and `images` the duplicates they lead to, by kind; `checks` are the guarantees in words.
    `neighbours` of each picture were looked at, and those that `corners` found (how, in words); `shortcut` is what the
    first look may lose, `joined` counts pairs that others joined already, and `planted` is what `calibrate` found of
    crops it made itself, by their size.
    """

    groups: tuple[Group, ...]
    searched: int
    nodes: int
    compared: int
    known: int
    pairs: Mapping[str, int]
    images: Mapping[str, int]
    certificate: Certificate | None
    thresholds: Thresholds
    evidence: Mapping[tuple[int, int], Evidence]
    content_of: Mapping[int, int]
    checks: tuple[str, ...]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    listed: tuple[ListedPair, ...] = ()
    neighbours: int = 0
    corners: str = ""
    shortcut: Shortcut | None = None
    planted: Mapping[str, Any] | None = None
    joined: int = 0

    def __repr__(self) -> str:
        """In a few words; the evidence alone would fill screens."""
        duplicates = sum(self.images.values())
        return f"<groups: {len(self.groups)}; duplicates: {duplicates}; images searched: {self.searched}>"

    def evidence_of(self, a: int, b: int) -> Evidence | None:
        """What was seen of two images, if their pictures were compared."""
        contents = sorted(self.content_of.get(i, -1) for i in (a, b))
        return self.evidence.get((contents[0], contents[1]))


def as_groups(members: Iterable[Grouped], rejected: Container[int]) -> tuple[Group, ...]:
    """Members by keeper, the keeper first, then what is kept, then the surest duplicates."""
    by_keeper: dict[int, list[Grouped]] = {}
    for m in members:
        by_keeper.setdefault(m.keeper_id, []).append(m)
    groups = []
    for _, group in sorted(by_keeper.items()):
        ordered = sorted(
            group, key=lambda m: (m.image_id != m.keeper_id, m.kind != "kept", _strength(m.kind), m.image_id)
        )
        settled = all(m.image_id in rejected or m.kind in ("keeper", "kept") for m in ordered)
        groups.append(Group(tuple(ordered), settled))
    return tuple(groups)


def _strength(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else 0
