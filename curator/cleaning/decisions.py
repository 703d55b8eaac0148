"""`curator decide`: a person's verdicts, kept by content for ever, so that no run asks again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations

from curator.database import Curation
from curator.database.curation import apart_pairs, kept_ids, rejected_ids
from curator.duplicates import KINDS
from curator.errors import UsageError
from curator.index import Index
from curator.records import Decision, Grouped, Image

VERDICTS = ("keep", "reject", "not-duplicate")


def decide(index: Index, verdict: str, ids: Sequence[int]) -> int:
    """Remember a verdict on images of the last run's groups → the number of pairs it speaks of.

    "keep": each image stays, whatever else is in its group. "reject": each is a duplicate of its group's keeper. "not-duplicate":
    no two of these images are the same picture. Raises `UsageError` where an image is in no group, or is the one to keep.
    """
    with index.write() as db:
        curation = Curation(db)
        groups = curation.groups()
        images = {i.id: i for i in db.images(sorted({*ids, *(g.image_id for g in groups), *(g.keeper_id for g in groups)}))}
        make = {"keep": _keep, "reject": _reject, "not-duplicate": _apart}[verdict]
        state = _State(groups, images, apart_pairs(curation), frozenset(rejected_ids(curation)))
        chosen = list(dict.fromkeys(ids))
        decisions = make(chosen, state)
        subjects = {bytes.fromhex(images[i].sha256): i for i in chosen}
        pairs = {frozenset((d.subject, d.other)) for d in decisions}

        def is_replaced(d: Decision) -> bool:
            """A later verdict on an image, or on a pair, takes the place of an earlier one."""
            if d.verdict == "not-duplicate":
                return False
            if verdict == "not-duplicate":
                return frozenset((d.subject, d.other)) in pairs
            return d.subject in subjects and d.subject_id in (0, subjects[d.subject])

        with db.atomic():
            curation.undecide(d for d in curation.decisions() if is_replaced(d))
            curation.decide(decisions)
        index.step("decisions committed")
    return len(decisions)


def accept(index: Index, kinds: Sequence[str] = ()) -> list[int]:
    """Reject every duplicate that the last run proposed and nobody has decided about, of these kinds or all → their ids."""
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"no kind of duplicate '{kind}'; there are: {', '.join(KINDS)}")
    curation = Curation(index.reader)
    found = [g for g in curation.groups() if g.kind in (kinds or KINDS)]
    decided = set(rejected_ids(curation)) | kept_ids(curation)
    hashes = {i.id: bytes.fromhex(i.sha256) for i in index.images(sorted({j for g in found for j in (g.image_id, g.keeper_id)}))}
    apart = apart_pairs(curation)
    chosen = [g.image_id for g in found if g.image_id not in decided and frozenset((hashes[g.image_id], hashes[g.keeper_id])) not in apart]
    if chosen:
        decide(index, "reject", chosen)
    return chosen


def undo(index: Index, ids: Sequence[int]) -> int:
    """Forget every verdict that speaks of these images → their number."""
    with index.write() as db:
        curation = Curation(db)
        hashes = {bytes.fromhex(i.sha256): i.id for i in db.images(ids)}
        gone = [d for d in curation.decisions() if _speaks_of(d, hashes, set(ids))]
        with db.atomic():
            curation.undecide(gone)
    return len(gone)


def _speaks_of(d: Decision, hashes: dict[bytes, int], ids: set[int]) -> bool:
    if d.subject_id:
        return d.subject_id in ids
    return d.subject in hashes or (d.verdict == "not-duplicate" and d.other in hashes)


@dataclass(frozen=True)
class _State:
    """What a verdict is given in: the last run's groups, their images, pairs told apart, and images rejected before."""

    groups: Sequence[Grouped]
    images: Mapping[int, Image]
    apart: Set[frozenset[bytes]]
    rejected: Set[int]

    def others(self, image_id: int) -> list[int]:
        """The members of an image's group that were not told apart from it, the keeper first; none for an image in no group."""
        keeper = next((g.keeper_id for g in self.groups if g.image_id == image_id), None)
        members = [g.image_id for g in self.groups if g.keeper_id == keeper]
        own = self.images[image_id].sha256
        return [
            o
            for o in sorted(members, key=lambda m: m != keeper)
            if o != image_id and frozenset(bytes.fromhex(h) for h in (own, self.images[o].sha256)) not in self.apart
        ]

    def about(self, image_id: int, other: int, verdict: str) -> Decision:
        """By content; by id as well where the group holds another image of that content."""
        image = self.images[image_id]
        copied = any(self.images[o].sha256 == image.sha256 for o in self.others(image_id))
        return Decision(bytes.fromhex(image.sha256), bytes.fromhex(self.images[other].sha256), image_id if copied else 0, verdict)


def _keep(ids: Sequence[int], state: _State) -> list[Decision]:
    found = []
    for i in ids:
        others = state.others(i)
        if not others:
            raise UsageError(f"image {i} is in no group, so it is kept anyway; `curator dedupe` finds groups")
        found += [state.about(i, o, "keep") for o in others]
    return found


def _reject(ids: Sequence[int], state: _State) -> list[Decision]:
    found = []
    for i in ids:
        others = state.others(i)
        if not others:
            raise UsageError(f"image {i} is in no group; `curator dedupe` finds groups, `curator remove` takes any image out of the index")
        staying = [o for o in others if o not in ids and o not in state.rejected]
        if not staying:
            raise UsageError(f"rejecting image {i} too would keep none of its group; leave one out, or `curator decide undo` another")
        found.append(state.about(i, staying[0], "reject"))
    return found


def _apart(ids: Sequence[int], state: _State) -> list[Decision]:
    if len(ids) < 2:
        raise UsageError("not-duplicate takes two images or more: those that are not the same picture")
    hashes = sorted(bytes.fromhex(state.images[i].sha256) for i in ids)
    if len(set(hashes)) < len(hashes):
        raise UsageError("two of these files are the same to the byte; `curator decide keep` keeps both")
    return [Decision(a, b, 0, "not-duplicate") for a, b in combinations(hashes, 2)]
