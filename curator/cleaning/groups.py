"""The groups of the last `curator dedupe`, read back without running it: members, evidence, reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curator.cleaning.dedupe import DEDUPE
from curator.cleaning.keepers import KEEP, Policy
from curator.cleaning.result import Group, as_groups
from curator.database import Curation
from curator.database.curation import kept_ids, rejected_ids
from curator.database.listed import recipe_of
from curator.duplicates import inner
from curator.index import Index
from curator.records import Evidence, Ids, Image


@dataclass(frozen=True)
class StoredGroup:
    """A group with its `images` by id, the `evidence` on each member's edge by id, and the rule that chose the keeper.

    There is no evidence on identical files and pixels, which need none, nor on semantic edges, which have a score.
    """

    group: Group
    images: Mapping[int, Image]
    evidence: Mapping[int, Evidence]
    reason: str


def group_keepers(index: Index, kinds: Sequence[str] = ()) -> Ids:
    """(g,) the keepers of all groups, or of those with a duplicate of these kinds, ascending: what to page by."""
    wanted = set(kinds)
    members = Curation(index.reader).groups()
    keepers = {m.keeper_id for m in members if m.kind not in ("keeper", "kept") and (not wanted or m.kind in wanted)}
    return np.array(sorted(keepers), np.int64)


def stored_groups(index: Index, keepers: Ids | Sequence[int]) -> list[StoredGroup]:
    """The groups of these keepers, a slice of `group_keepers`, with reasons by the rules that chose the keepers."""
    curation = Curation(index.reader)
    recipe = recipe_of(index.reader, DEDUPE)
    keep, protect = recipe.get("keep", KEEP), map(Path, recipe.get("protect", ()))
    members = curation.groups_of([int(i) for i in keepers])
    policy = Policy(tuple(keep), tuple(protect), kept=kept_ids(curation), rejected=set(rejected_ids(curation)))
    images = {i.id: i for i in index.images([m.image_id for m in members])}
    evidence = curation.evidence_between([(m.image_id, m.via_id) for m in members if m.via_id != m.image_id])
    stored = []
    for group in as_groups(members, policy.rejected):
        members_by_id = {m.image_id: images[m.image_id] for m in group.members}
        seen = {m.image_id: evidence[m.image_id, m.via_id] for m in group.members if (m.image_id, m.via_id) in evidence}
        stored.append(
            StoredGroup(
                group,
                members_by_id,
                seen,
                policy.reason(group.keeper, list(members_by_id.values()), parts=_parts(group, seen)),
            )
        )
    return stored


def _parts(group: Group, seen: Mapping[int, Evidence]) -> set[int]:
    """Images that are cut out of the keeper, or it is out of them: of the two, the keeper is the whole one."""
    crops = (m for m in group.duplicates if m.via_id == group.keeper and m.image_id in seen)
    return {m.image_id for m in crops if inner(seen[m.image_id], m.kind) is not None}
