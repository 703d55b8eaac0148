"""Groups: union-find on verified edges, a leader cover on semantic ones, and ways from every member to its keeper."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from curator.records import Positions, Scores

Pairs = NDArray[np.int64]


def join(n: int, pairs: Iterable[tuple[int, int]], vetoes: Mapping[int, set[int]]) -> list[list[int]]:
    """Components of more than one of n things, joined by pairs in the order given.

    Two vetoed ones are never brought together. `vetoes` maps a thing to those it must not share a group with, both
    ways. Without vetoes the order of the pairs changes nothing.
    """
    parent = list(range(n))
    members: dict[int, list[int]] = {}
    vetoed = {thing: set(others) for thing, others in vetoes.items()}  # of each root, what its group must not meet

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in pairs:
        one, two = root(a), root(b)
        if one == two:
            continue
        first, second = members.get(one, [one]), members.get(two, [two])
        if vetoes and _clash(first, second, vetoed.get(one, ()), vetoed.get(two, ())):
            continue
        if len(first) < len(second):
            one, two, first, second = two, one, second, first
        parent[two] = one
        members[one] = [*first, *second] if one not in members else first
        if one in members and members[one] is first:
            first.extend(second)
        members.pop(two, None)
        if one in vetoed or two in vetoed:
            vetoed[one] = vetoed.pop(one, set()) | vetoed.pop(two, set())
    return sorted(sorted(group) for group in members.values())


def _clash(
    first: Sequence[int], second: Sequence[int], vetoed_first: Collection[int], vetoed_second: Collection[int]
) -> bool:
    """Whether one group holds what the other must not meet.

    Vetoes hold both ways, so the shorter question is enough.
    """
    if len(vetoed_first) <= len(vetoed_second):
        return not set(second).isdisjoint(vetoed_first) if vetoed_first else False
    return not set(first).isdisjoint(vetoed_second) if vetoed_second else False


def ways_to(keeper: int, members: Sequence[int], pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """member → the next one on its shortest way to the keeper, by the pairs of the group.

    Pairs that are given first are preferred.
    """
    near: dict[int, list[int]] = {m: [] for m in members}
    for a, b in pairs:
        if a in near and b in near:
            near[a].append(b)
            near[b].append(a)
    ways: dict[int, int] = {}
    queue = deque([keeper])
    while queue:
        node = queue.popleft()
        for other in near[node]:
            if other != keeper and other not in ways:
                ways[other] = node
                queue.append(other)
    return ways


def cover(
    order: Positions, pairs: Pairs, scores: Scores, vetoes: Mapping[int, set[int]], kept: frozenset[int] = frozenset()
) -> dict[int, int]:
    """Greedy leader cover: covered thing → its leader.

    `order` is of preference; pairs (m, 2) are those above the threshold. Each thing in turn that no leader covers
    becomes one. So no two leaders are joined by a pair (but those in `kept`, which are leaders come what may), and each
    covered thing is joined to its leader: the one it scores highest with, ties by preference. Vetoed pairs count as not
    there.
    """
    near: dict[int, list[tuple[int, float]]] = {}
    for (a, b), score in zip(pairs.tolist(), scores.tolist(), strict=True):
        if b not in vetoes.get(a, ()):
            near.setdefault(a, []).append((b, score))
            near.setdefault(b, []).append((a, score))
    rank = {int(thing): rank_of_thing for rank_of_thing, thing in enumerate(order)}
    leaders: set[int] = set()
    covered: dict[int, int] = {}
    for thing in sorted(near, key=lambda t: (t not in kept, rank[t])):
        joined = [(score, -rank[other], other) for other, score in near[thing] if other in leaders]
        if joined and thing not in kept:
            covered[thing] = max(joined)[2]
        else:
            leaders.add(thing)
    return covered
