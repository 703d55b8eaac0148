"""Edges that join all images that may be joined, their counts, and what the groups of a run must hold to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from curator.records import Grouped, Nodes


def spread(first: Sequence[int], second: Sequence[int], keys: Sequence[Hashable] | None) -> Iterator[tuple[int, int]]:
    """Pairs between two lists of images that join all that may be joined.

    They go through the first of each list, or through two of unlike keys.
    """
    if keys is None:
        yield first[0], second[0]
        yield from ((first[0], b) for b in second[1:])
        yield from ((a, second[0]) for a in first[1:])
        return
    one, two = _two_unlike(first, keys), _two_unlike(second, keys)
    yield from ((a, b) for a in first for b in two if keys[a] != keys[b])
    yield from ((a, b) for b in second for a in one if keys[a] != keys[b])


def _two_unlike(images: Sequence[int], keys: Sequence[Hashable]) -> list[int]:
    """The first image, and the first of another key: whatever a third one's key is, it differs from one of theirs."""
    other = next((p for p in images if keys[p] != keys[images[0]]), None)
    return [images[0]] if other is None else [images[0], other]


def count_pairs(nodes: Nodes, images_of: Sequence[Sequence[int]]) -> dict[str, int]:
    """Pairs of identical images by kind, without listing them."""
    files = pixels = 0
    for images in images_of:
        if len(images) > 1:
            copies = Counter(nodes.content_ids[images].tolist()).values()
            same = sum(c * (c - 1) // 2 for c in copies)
            files += same
            pixels += len(images) * (len(images) - 1) // 2 - same
    return {"identical-file": files, "identical-pixels": pixels}


@dataclass(frozen=True)
class Covering:
    """What a semantic cover left: pairs of kept images above `threshold`, and those that decisions excuse."""

    threshold: float = 1.0
    left_above: int = 0
    excused_above: int = 0
    is_exact: bool = True


def check_groups(members: Sequence[Grouped], covering: Covering) -> tuple[str, ...]:
    """Verify what a run promises, on its result → in words. Raises `AssertionError` for a bug."""
    ids = [m.image_id for m in members]
    keepers = {m.image_id for m in members if m.kind == "keeper"}
    assert len(set(ids)) == len(ids), "an image in two groups"
    assert {m.keeper_id for m in members} == keepers, "a group without its keeper"
    assert all(m.keeper_id == m.image_id for m in members if m.kind == "keeper"), "a keeper of another's group"
    removed = [m for m in members if m.kind not in ("keeper", "kept")]
    checks = [f"groups are disjoint, and each of {len(removed)} duplicates has a kept image in its group"]
    semantic = [m for m in removed if m.kind == "semantic"]
    if semantic or covering.threshold < 1.0:
        assert all((m.score or 0.0) >= covering.threshold for m in semantic), "a semantic edge below the threshold"
        how = "" if covering.is_exact else ", as far as an approximate search tells"
        said = f"{covering.left_above} pairs of kept images score {covering.threshold:.3f} or more{how}"
        excused = (
            f" ({covering.excused_above} more were both kept by a decision or protected)"
            if covering.excused_above
            else ""
        )
        checks.append(
            f"{said}{excused}; each of {len(semantic)} images removed as semantic duplicates scores that with a kept "
            "one"
        )
    return tuple(checks)
