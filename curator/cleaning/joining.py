"""Which images may share a group: by what a person said, by the folders they lie in, by what their files are."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from curator.cleaning.edges import spread
from curator.cleaning.keepers import Policy
from curator.database import Curation, Reader
from curator.records import Decision, Image, Nodes


@dataclass(frozen=True)
class Rules:
    """Which edges between two images count: `across` roots, between `folders`, or `within` one; `links` as copies."""

    across: bool = False
    folders: bool = False
    within: bool = False
    links: bool = False


class Joining:
    """The images of each node, of each file one, and what may be joined. Positions are those of `nodes.image_ids`."""

    def __init__(
        self, reader: Reader, nodes: Nodes, policy: Policy, decisions: Sequence[Decision], rules: Rules
    ) -> None:
        self.reader, self.nodes, self.policy = reader, nodes, policy
        order = np.argsort(nodes.node_of, kind="stable")
        bounds = np.searchsorted(nodes.node_of[order], np.arange(len(nodes) + 1))
        self.images_of = [order[a:b].tolist() for a, b in pairwise(bounds.tolist())]
        self.records: dict[int, Image] = {}
        self.further_names = 0 if rules.links else self._drop_further_names()
        self.vetoes = self._vetoes(decisions)
        self.apart = {frozenset((a, b)) for a, others in self.vetoes.items() for b in others}
        self.within = rules.within
        self.keys = self._keys(rules.across, rules.folders or rules.within)

    def images(self, ids: list[int]) -> list[Image]:
        """Records of images, each read once."""
        new = [i for i in ids if i not in self.records]
        self.records.update((i.id, i) for i in self.reader.images(new))
        return [self.records[i] for i in ids]

    def _drop_further_names(self) -> int:
        """Leave only one image of each file that has several names (links) → how many were left out."""
        dropped = 0
        for node, images in enumerate(self.images_of):
            if len(images) < 2:
                continue
            records = dict(zip(images, self.images([int(self.nodes.image_ids[p]) for p in images]), strict=True))
            first: dict[object, int] = {}
            # The name that a person spoke of stands for the file, else one that is no symbolic link.
            for position in sorted(images, key=lambda p: (*self._spoken_of(records[p]), p)):
                first.setdefault(_file_at(records[position].path) or position, position)
            dropped += len(images) - len(first)
            self.images_of[node] = sorted(first.values())
        return dropped

    def _spoken_of(self, image: Image) -> tuple[bool, bool, bool]:
        is_link = image.path.is_symlink()
        return image.id not in self.policy.kept, not self.policy.is_protected(image), is_link

    def veto(self, first: int, second: int) -> None:
        """Keep the images of two nodes out of each other's groups."""
        for a in self.images_of[first]:
            for b in self.images_of[second]:
                self.vetoes.setdefault(a, set()).add(b)
                self.vetoes.setdefault(b, set()).add(a)

    def _vetoes(self, decisions: Sequence[Decision]) -> dict[int, set[int]]:
        """Position → positions that a person said are something else."""
        apart = [d for d in decisions if d.verdict == "not-duplicate"]
        there = Curation(self.reader).with_content([h for d in apart for h in (d.subject, d.other)])
        position_of = {int(i): p for p, i in enumerate(self.nodes.image_ids)} if apart else {}
        vetoes: dict[int, set[int]] = {}
        for d in apart:
            for a in there.get(d.subject, ()):
                for b in there.get(d.other, ()):
                    if a != b and a in position_of and b in position_of:
                        vetoes.setdefault(position_of[a], set()).add(position_of[b])
                        vetoes.setdefault(position_of[b], set()).add(position_of[a])
        return vetoes

    def _keys(self, across: bool, folders: bool) -> list[Hashable] | None:
        """What two images must differ in for an edge between them to count, or None."""
        if not across and not folders:
            return None
        places = Curation(self.reader).places(self.nodes.image_ids)
        return [root if across else (root, folder) for root, folder in places]

    def may_join(self, a: int, b: int) -> bool:
        """Whether an edge between two images counts."""
        return b not in self.vetoes.get(a, ()) and self.keys_allow(a, b)

    def keys_allow(self, a: int, b: int) -> bool:
        """Whether the folders or roots of two images let an edge between them count."""
        return self.keys is None or (self.keys[a] == self.keys[b]) == self.within

    def spread(self, first: Sequence[int], second: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Pairs that join all that may be joined."""
        if self.keys is None or not self.within:
            yield from spread(first, second, self.keys)
            return
        for key in dict.fromkeys(self.keys[a] for a in first):
            inside = [b for b in second if self.keys[b] == key]
            if inside:
                yield from spread([a for a in first if self.keys[a] == key], inside, None)

    @cached_property
    def labels(self) -> dict[int, str | None]:
        """image id → label."""
        return {i: None if v is None else str(v) for i, v in self.reader.values_of("label").items()}

    def labels_differ(self, first: int, second: int) -> bool:
        """Whether all images of one node have other labels than those of another."""
        one, two = (
            {self.labels.get(int(self.nodes.image_ids[p])) for p in self.images_of[node]} - {None}
            for node in (first, second)
        )
        return bool(one) and bool(two) and one.isdisjoint(two)


def _file_at(path: Path) -> tuple[int, int] | None:
    """What tells a file from all others, whatever its names; None where it is not there."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
