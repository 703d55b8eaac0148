"""From edges between pictures to groups of images with a keeper each, with what a person decided, and with checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from curator.cleaning.edges import Covering, count_pairs
from curator.cleaning.joining import Joining, Rules
from curator.cleaning.keepers import Policy, find_enlarged
from curator.database import Reader
from curator.duplicates import TURNED, cover, join, ways_to
from curator.records import Decision, Grouped, Nodes
from curator.vectors import Neighbours

_DEEP = 64  # neighbours of a kept image that are checked, of which some may be excused
_ROUNDS = 8  # repairs of the leader cover before it is given up


@dataclass(frozen=True)
class Link:
    """A verified edge between two nodes; smaller `strength` is stronger.

    `inner` says which of the two, 0 or 1, is cut out of the other.
    """

    first: int
    second: int
    kind: str
    strength: tuple[float, ...]
    inner: int | None = None


@dataclass(frozen=True)
class Listed:
    """Two nodes that are near to being one picture, and are listed, not proposed."""

    first: int
    second: int
    kind: str


class Grouping(Joining):
    """Groups images by edges between their nodes. Positions are those of `nodes.image_ids`."""

    def __init__(
        self,
        reader: Reader,
        nodes: Nodes,
        policy: Policy,
        decisions: Sequence[Decision],
        rules: Rules,
    ) -> None:
        super().__init__(reader, nodes, policy, decisions, rules)
        self.counts: Counter[str] = Counter()
        self.listed: list[Listed] = []
        self._parts: set[tuple[int, int]] = set()  # (image, another that it is cut out of), by position
        self.covering = Covering()
        self.is_exact = True

    def _inside(self, node: int) -> Iterator[tuple[int, int, str]]:
        """Edges between the images of one node: enough to join all that may be joined."""
        images = self.images_of[node]
        if len(images) < 2:
            return
        copies: dict[int, list[int]] = {}
        for position in images:
            copies.setdefault(int(self.nodes.content_ids[position]), []).append(position)
        first = [same[0] for same in copies.values()]
        for members, kind in [
            *((same, "identical-file") for same in copies.values()),
            (first, "identical-pixels"),
            (images, ""),
        ]:
            for a, b in self.spread(members, members):
                if a != b and self.may_join(a, b):
                    same = self.nodes.content_ids[a] == self.nodes.content_ids[b]
                    yield a, b, kind or ("identical-file" if same else "identical-pixels")

    def _edges(self, links: Iterable[Link]) -> Iterator[tuple[int, int, str]]:
        inside = sorted(
            (e for node in range(len(self.nodes)) for e in self._inside(node)), key=lambda e: (e[2], e[0], e[1])
        )
        if self.keys is None:
            self.counts.update(count_pairs(self.nodes, self.images_of))
        else:
            self.counts.update({frozenset(e[:2]): e[2] for e in inside}.values())
        yield from inside
        for link in links:
            # A six that is a nine when turned: what turning changes the label of is no copy.
            if link.kind in TURNED and self.labels_differ(link.first, link.second):
                self.listed.append(Listed(link.first, link.second, link.kind))
                self.veto(link.first, link.second)
                continue
            joined = False
            for a, b in self.spread(self.images_of[link.first], self.images_of[link.second]):
                if self.may_join(a, b):
                    joined = True
                    if link.inner is not None:
                        self._parts.add((b, a) if link.inner else (a, b))
                    yield a, b, link.kind
            self.counts[link.kind] += joined

    def notes(self, members: Iterable[Grouped]) -> tuple[str, ...]:
        """What a person should know of the groups: different labels in one, and files that have several names."""
        labels = self.labels
        of_group: dict[int, set[str | None]] = {}
        for m in members:
            of_group.setdefault(m.keeper_id, set()).add(labels.get(m.image_id))
        mixed = sum(len(values - {None}) > 1 for values in of_group.values())
        notes = (
            [f"{mixed} of {len(of_group)} groups hold images of different labels; look at those first"] if mixed else []
        )
        if self.further_names:
            notes.append(
                f"{self.further_names} images are links to files that are here under another name, and count once"
            )
        return tuple(notes)

    def verified(self, links: Sequence[Link]) -> list[Grouped]:
        """Union-find on identical and verified edges."""
        edges = list(self._edges(links))
        kind_of: dict[tuple[int, int], str] = {}
        for a, b, kind in edges:
            kind_of.setdefault((min(a, b), max(a, b)), kind)
        groups = join(len(self.nodes.image_ids), ((a, b) for a, b, _ in edges), self.vetoes)
        group_of = {p: g for g, group in enumerate(groups) for p in group}
        inside: dict[int, list[tuple[int, int]]] = {}
        for a, b, _ in edges:
            if a in group_of and group_of.get(b) == group_of[a]:
                inside.setdefault(group_of[a], []).append((a, b))
        return [m for g, group in enumerate(groups) for m in self._group(group, inside[g], kind_of)]

    def _group(
        self, group: list[int], pairs: list[tuple[int, int]], kind_of: dict[tuple[int, int], str]
    ) -> list[Grouped]:
        ids = self.nodes.image_ids
        images = self.images([int(ids[p]) for p in group])
        position_of = {int(ids[p]): p for p in group}
        enlarged = find_enlarged(images) if "largest" in self.policy.keep else set()
        there = set(group)
        parts = {int(ids[p]) for p, whole in self._parts if p in there and whole in there}
        keeper = self.policy.order(images, enlarged=enlarged, parts=parts)[0].id
        ways = ways_to(position_of[keeper], group, pairs)
        members = []
        for position in group:
            image_id = int(ids[position])
            if image_id == keeper:
                members.append(Grouped(keeper, keeper, "keeper", keeper, None))
                continue
            via = ways[position]
            kind = kind_of[min(position, via), max(position, via)]
            stays = image_id in self.policy.kept or self.policy.is_protected(self.records[image_id])
            members.append(Grouped(image_id, keeper, "kept" if stays else kind, int(ids[via]), None))
        return members

    def semantic(
        self,
        members: list[Grouped],
        pairs: NDArray[np.int64],
        scores: NDArray[np.float32],
        x: NDArray[np.float16],
        threshold: float,
    ) -> list[Grouped]:
        """Groups joined further by a greedy leader cover, so that no two kept images score `threshold` or more.

        `pairs` (m, 2) of nodes and `scores` (m,) are those above it; `x` (n, d) the nodes' vectors, with which the
        result is checked, and pairs that the graph did not hold are added until none is left.
        """
        out = {m.image_id for m in members if m.kind not in ("keeper", "kept")}
        ids = self.nodes.image_ids
        standing = sorted(p for images in self.images_of for p in images if int(ids[p]) not in out)
        by_node: dict[int, list[int]] = {}
        for p in standing:
            by_node.setdefault(int(self.nodes.node_of[p]), []).append(p)
        kept_positions = frozenset(p for p in standing if int(ids[p]) in self.policy.kept)
        edges = self._between(pairs, scores, by_node)
        for _ in range(_ROUNDS):
            positions, values = (
                np.array(list(edges), np.int64).reshape(-1, 2),
                np.array(list(edges.values()), np.float32),
            )
            touched = sorted({p for edge in edges for p in edge})
            order = self._order(touched)
            covered = cover(order, positions, values, self.vetoes, kept_positions | self._protected(touched))
            left = self._left_above(x, [p for p in standing if p not in covered], threshold)
            fresh = {
                edge: s
                for edge, s in left.items()
                if edge not in edges and not (edge[0] in kept_positions and edge[1] in kept_positions)
            }
            if not fresh:
                break
            edges |= fresh
        forced = kept_positions | self._protected(touched)
        excused = {e for e in left if e[0] in forced and e[1] in forced}
        self.covering = Covering(threshold, len(left) - len(excused), len(excused), self.is_exact)
        self.counts["semantic"] = len(edges)
        return self._attach(members, covered, edges)

    def _between(
        self, pairs: NDArray[np.int64], scores: NDArray[np.float32], by_node: dict[int, list[int]]
    ) -> dict[tuple[int, int], float]:
        """Edges between standing images, by position."""
        edges: dict[tuple[int, int], float] = {}
        for (first, second), score in zip(pairs.tolist(), scores.tolist(), strict=True):
            for a in by_node.get(first, ()):
                for b in by_node.get(second, ()):
                    if self.may_join(a, b):
                        edges[min(a, b), max(a, b)] = score
        return edges

    def _order(self, positions: list[int]) -> NDArray[np.int64]:
        position_of = {int(self.nodes.image_ids[p]): p for p in positions}
        return np.array([position_of[i.id] for i in self.policy.order(self.images(list(position_of)))], np.int64)

    def _protected(self, positions: Iterable[int]) -> frozenset[int]:
        if not self.policy.protect:
            return frozenset()
        ids = self.nodes.image_ids
        return frozenset(p for p in positions if self.policy.is_protected(self.records[int(ids[p])]))

    def _left_above(
        self, x: NDArray[np.float16], standing: list[int], threshold: float
    ) -> dict[tuple[int, int], float]:
        """Pairs of kept images that score the threshold or more and may be joined: exact up to 50,000 kept pictures."""
        by_node: dict[int, list[int]] = {}
        for p in standing:
            by_node.setdefault(int(self.nodes.node_of[p]), []).append(p)
        keepers = np.array(sorted(by_node), np.int64)
        if len(keepers) < 2:
            return {}
        search = Neighbours(x[keepers])
        self.is_exact = search.is_exact
        near, scores = search.nearest(min(_DEEP, len(keepers) - 1))
        rows, columns = np.nonzero((near >= 0) & (scores >= threshold))
        pairs = np.stack([keepers[rows], keepers[near[rows, columns]]], axis=1)
        return self._between(pairs, scores[rows, columns], by_node)

    def _attach(
        self, members: list[Grouped], covered: dict[int, int], edges: dict[tuple[int, int], float]
    ) -> list[Grouped]:
        """Each covered image and its group join the group of its leader."""
        ids = self.nodes.image_ids
        leader = {int(ids[a]): int(ids[b]) for a, b in covered.items()}
        score = {int(ids[a]): edges[min(a, b), max(a, b)] for a, b in covered.items()}
        keeper_of = {m.image_id: m.keeper_id for m in members}
        joined = [
            replace(m, keeper_id=_follow(m.keeper_id, leader, keeper_of)) for m in members if m.image_id not in leader
        ]
        there = {m.image_id for m in joined}
        for image, lead in leader.items():
            joined.append(Grouped(image, _follow(lead, leader, keeper_of), "semantic", lead, score[image]))
        for lead in sorted({_follow(b, leader, keeper_of) for b in leader.values()} - there):
            joined.append(Grouped(lead, lead, "keeper", lead, None))
        return sorted(joined, key=lambda m: (m.keeper_id, m.image_id))


def _follow(image: int, leader: dict[int, int], keeper_of: dict[int, int]) -> int:
    """The image that stands for this one in the end."""
    seen = set()
    while image not in seen:
        seen.add(image)
        image = leader.get(image, keeper_of.get(image, image))
    return image
