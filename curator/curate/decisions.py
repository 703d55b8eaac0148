"""`curator decide`: a person's verdicts, kept by content for ever, so that no run asks again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from curator.database import Curation
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
        decisions = make(list(dict.fromkeys(ids)), groups, images)
        subjects = {(d.subject, d.subject_id) for d in decisions}
        with db.atomic():
            if verdict != "not-duplicate":  # a later verdict on an image takes the place of an earlier one
                curation.undecide(
                    d for d in curation.decisions() if d.verdict in ("keep", "reject") and (d.subject, d.subject_id) in subjects
                )
            curation.decide(decisions)
        index.step("decisions committed")
    return len(decisions)


def accept(index: Index, kinds: Sequence[str] = ()) -> list[int]:
    """Reject every duplicate that the last run proposed and nobody has decided about, of these kinds or all → their ids."""
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"no kind of duplicate '{kind}'; there are: {', '.join(KINDS)}")
    curation = Curation(index.reader)
    chosen = [g.image_id for g in curation.groups() if g.kind in (kinds or KINDS)]
    decided = set(rejected_ids(curation))
    chosen = [i for i in chosen if i not in decided]
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


def rejected_ids(curation: Curation) -> dict[int, bytes]:
    """Present images that were rejected → sha256 of the one that was kept beside each."""
    rejected = [d for d in curation.decisions() if d.verdict == "reject"]
    there = curation.with_content([d.subject for d in rejected])
    return {i: d.other for d in rejected for i in there.get(d.subject, ()) if d.subject_id in (0, i)}


def _keep(ids: Sequence[int], groups: Sequence[Grouped], images: dict[int, Image]) -> list[Decision]:
    members = _by_keeper(groups)
    keeper_of = {g.image_id: g.keeper_id for g in groups}
    found = []
    for i in ids:
        others = [o for o in members.get(keeper_of.get(i, -1), ()) if o != i]
        if not others:
            raise UsageError(f"image {i} is in no group, so it is kept anyway; `curator dedupe` finds groups")
        found += [_about(images[i], images[o], "keep") for o in others]
    return found


def _reject(ids: Sequence[int], groups: Sequence[Grouped], images: dict[int, Image]) -> list[Decision]:
    keeper_of = {g.image_id: g.keeper_id for g in groups}
    members = _by_keeper(groups)
    found = []
    for i in ids:
        if i not in keeper_of:
            raise UsageError(f"image {i} is in no group; `curator dedupe` finds groups, `curator remove` takes any image out of the index")
        keeper = keeper_of[i]
        if keeper == i or keeper in ids:
            others = [o for o in members[keeper] if o not in ids]
            if not others:
                raise UsageError(f"rejecting all of the group of image {keeper} would keep none of it; leave one out")
            keeper = others[0]
        found.append(_about(images[i], images[keeper], "reject"))
    return found


def _apart(ids: Sequence[int], groups: Sequence[Grouped], images: dict[int, Image]) -> list[Decision]:
    if len(ids) < 2:
        raise UsageError("not-duplicate takes two images or more: those that are not the same picture")
    hashes = sorted(bytes.fromhex(images[i].sha256) for i in ids)
    return [Decision(a, b, 0, "not-duplicate") for a, b in sorted(set(combinations(hashes, 2)))]


def _about(image: Image, other: Image, verdict: str) -> Decision:
    same = image.sha256 == other.sha256
    return Decision(bytes.fromhex(image.sha256), bytes.fromhex(other.sha256), image.id if same else 0, verdict)


def _by_keeper(groups: Iterable[Grouped]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for g in groups:
        found.setdefault(g.keeper_id, []).append(g.image_id)
    return found
