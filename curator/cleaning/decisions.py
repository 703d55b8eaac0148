"""`curator decide`: a person's verdicts, kept by content for ever, so that no run asks again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations

from curator.database import Curation, Selections
from curator.database.actions import recorded
from curator.database.curation import apart_pairs, kept_ids, rejected_ids
from curator.duplicates import KINDS
from curator.errors import UsageError
from curator.index import Index
from curator.records import OF_NONE, Decision, Grouped
from curator.texts import plural

VERDICTS = ("keep", "reject", "not-duplicate")


def judge_alone(index: Index, verdict: str, ids: Sequence[int], *, what: str = "") -> list[int]:
    """A verdict on images by themselves, duplicates or not → ids of those whose verdict is another now.

    "reject": no selection and no training takes them. "keep": they stay, whatever groups they are in. "undo" forgets
    either. The verdict is on contents; no file is touched. `what` says in the history whose images they are.
    """
    if verdict not in ("keep", "reject", "undo"):
        raise UsageError(f"a verdict on an image by itself is keep, reject or undo, not '{verdict}'")
    with index.write() as db, db.atomic():
        curation = Curation(db)
        hash_of = dict(zip(ids, Selections(db).sha256_of(ids), strict=True))
        about = list(dict.fromkeys(hash_of.values()))
        of_them = [d for d in curation.decisions(about) if d.subject in hash_of.values()]
        alone = [d for d in of_them if d.other == OF_NONE]
        before = {d.subject: d.verdict for d in alone}
        if verdict == "reject":  # an earlier "keep" beside another picture would win
            alone += [d for d in of_them if d.verdict == "keep" and d.other != OF_NONE]
        with recorded(db, index.who, f"{verdict} {what or plural(len(ids), 'image')}", verdicts=about):
            curation.undecide(alone)
            if verdict != "undo":
                curation.decide(Decision(h, OF_NONE, 0, verdict) for h in about)
    return [i for i, h in hash_of.items() if before.get(h, "undo") != verdict]


def decide(index: Index, verdict: str, ids: Sequence[int]) -> int:
    """Remember a verdict on images of the last run's groups → the number of pairs it speaks of.

    "keep": each image stays, whatever else is in its group. "reject": each is a duplicate of its group's keeper.
    "not-duplicate": no two of these images are the same picture. Raises `UsageError` where an image is in no group, or
    is the one to keep; `UnknownName` for an id there never was.
    """
    chosen = list(dict.fromkeys(int(i) for i in ids))
    with index.write() as db:
        curation = Curation(db)
        state = _State.around(curation, chosen)
        decisions = {"keep": _keep, "reject": _reject, "not-duplicate": _apart}[verdict](chosen, state)
        subjects = {state.sha256[i]: i for i in chosen}
        pairs = {frozenset((d.subject, d.other)) for d in decisions}

        def is_replaced(d: Decision) -> bool:
            """A later verdict on an image, or on a pair, takes the place of an earlier one."""
            if d.verdict == "not-duplicate":
                return False
            if verdict == "not-duplicate":
                return frozenset((d.subject, d.other)) in pairs
            return d.subject in subjects and d.subject_id in (0, subjects[d.subject])

        about = dict.fromkeys([*subjects, *(d.subject for d in decisions), *(d.other for d in decisions)])
        with db.atomic(), recorded(db, index.who, f"{verdict}: {plural(len(chosen), 'image')}", verdicts=about):
            curation.undecide(d for d in curation.decisions(list(subjects)) if is_replaced(d))
            curation.decide(decisions)
        index.step("decisions committed")
    return len(decisions)


def keep_only(index: Index, ids: Sequence[int]) -> int:
    """Reject all of a group but one image, whatever was said of them before → the number of images rejected.

    Raises `UsageError` for several images or one in no group, `UnknownName`.
    """
    if len(ids) != 1:
        raise UsageError("keep-only takes one image, the one of its group that stays")
    with index.write() as db:
        curation = Curation(db)
        state = _State.around(curation, ids)
        rest = list(state.others(ids[0]))
        if not rest:
            raise UsageError(f"image {ids[0]} is in no group, so it is kept anyway; `curator dedupe` finds groups")
        everyone = {ids[0], *rest}
        hashes = dict.fromkeys(state.sha256[i] for i in everyone)
        former = [d for d in curation.decisions(list(hashes)) if d.verdict != "not-duplicate" and d.subject in hashes]
        text = f"keep only image {ids[0]}, reject {plural(len(rest), 'other')}"
        with db.atomic(), recorded(db, index.who, text, verdicts=hashes):
            curation.undecide(d for d in former if d.subject_id in (0, *everyone))
            curation.decide(state.about(i, ids[0], "reject") for i in rest)
    return len(rest)


def apart_ids(curation: Curation, groups: Sequence[Grouped] | None = None) -> set[int]:
    """Members of the last run's groups, or of these, that are no duplicate of their keeper, by a verdict."""
    rows = curation.groups() if groups is None else groups
    members = [g for g in rows if g.image_id != g.keeper_id]
    ids = sorted({i for g in members for i in (g.image_id, g.keeper_id)})
    hashes = dict(zip(ids, Selections(curation.reader).sha256_of(ids), strict=True))
    apart = apart_pairs(curation, None if groups is None else list(dict.fromkeys(hashes.values())))
    return {g.image_id for g in members if frozenset((hashes[g.image_id], hashes[g.keeper_id])) in apart}


def decided_ids(curation: Curation) -> set[int]:
    """Images on which there is a verdict: to be rejected, to be kept, or no duplicate of their group's keeper."""
    return set(rejected_ids(curation)) | kept_ids(curation) | apart_ids(curation)


def proposals(index: Index, kinds: Sequence[str] = ()) -> list[int]:
    """Ids of the duplicates that the last run proposed, of these kinds or all, and nobody has decided about."""
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"no kind of duplicate '{kind}'; there are: {', '.join(KINDS)}")
    curation = Curation(index.reader)
    decided = decided_ids(curation)
    members = curation.groups()
    proposed = [g.image_id for g in members if g.kind in (kinds or KINDS) and g.image_id not in decided]
    return _leaving_some(_State.around(curation, proposed), proposed)


def _leaving_some(state: _State, ids: Sequence[int]) -> list[int]:
    """Those of `ids` that may all be rejected: of a group whose others are rejected already, one stays."""
    leaving = dict.fromkeys(ids)
    for i in ids:
        if state.staying(i, leaving) is None:
            del leaving[i]
    return list(leaving)


def accept(index: Index, kinds: Sequence[str] = ()) -> list[int]:
    """Reject every duplicate of `proposals` → their ids."""
    ids = proposals(index, kinds)
    if ids:
        decide(index, "reject", ids)
    return ids


def undo(index: Index, ids: Sequence[int]) -> int:
    """Forget every verdict that speaks of these images → their number."""
    with index.write() as db:
        curation = Curation(db)
        hashes = {bytes.fromhex(i.sha256): i.id for i in db.images(ids)}
        about = curation.decisions(list(hashes), ids)
        gone = [d for d in about if _speaks_of(d, hashes, set(ids))]
        verdicts = dict.fromkeys(d.subject for d in gone)
        with db.atomic(), recorded(db, index.who, f"forget verdicts on {plural(len(ids), 'image')}", verdicts=verdicts):
            curation.undecide(gone)
    return len(gone)


def _speaks_of(d: Decision, hashes: dict[bytes, int], ids: set[int]) -> bool:
    if d.subject_id:
        return d.subject_id in ids
    return d.subject in hashes or (d.verdict == "not-duplicate" and d.other in hashes)


@dataclass(frozen=True)
class _State:
    """What a verdict is given in: the groups around the images, pairs told apart, and images rejected before.

    `keeper_of` maps each member of those groups to its keeper, `members` a keeper to all of its group, the keeper
    first, and `sha256` every one of them to its content.
    """

    keeper_of: Mapping[int, int]
    members: Mapping[int, Sequence[int]]
    sha256: Mapping[int, bytes]
    apart: Set[frozenset[bytes]]
    rejected: Set[int]
    copies: Mapping[tuple[int, bytes], int]  # (keeper, content) → members of the group that have it

    @classmethod
    def around(cls, curation: Curation, ids: Sequence[int]) -> _State:
        """The state of the groups that hold these images, and nothing of any other. Raises `UnknownName`."""
        keeper_of, members = {}, dict[int, list[int]]()
        for g in curation.groups_of(ids):
            keeper_of[g.image_id] = g.keeper_id
            members.setdefault(g.keeper_id, [g.keeper_id])
            if g.image_id != g.keeper_id:
                members[g.keeper_id].append(g.image_id)
        everyone = sorted({*ids, *keeper_of})
        sha256 = dict(zip(everyone, Selections(curation.reader).sha256_of(everyone), strict=True))
        about = list(dict.fromkeys(sha256.values()))
        copies = Counter((keeper, sha256[i]) for i, keeper in keeper_of.items())
        rejected = set(rejected_ids(curation, about))
        return cls(keeper_of, members, sha256, apart_pairs(curation, about), rejected, copies)

    def others(self, image_id: int) -> Iterator[int]:
        """The rest of an image's group but those told apart from it, the keeper first; none for one in no group."""
        group = self.members.get(self.keeper_of.get(image_id, -1), ())
        content = self.sha256[image_id]
        return (o for o in group if o != image_id and frozenset((content, self.sha256[o])) not in self.apart)

    def staying(self, image_id: int, leaving: Container[int]) -> int | None:
        """An image of its group that stays where those `leaving` go; None where it is the last."""
        return next((o for o in self.others(image_id) if o not in leaving and o not in self.rejected), None)

    def about(self, image_id: int, other: int, verdict: str) -> Decision:
        """By content; by id as well where the group holds another image of that content."""
        content = self.sha256[image_id]
        is_copied = self.copies[self.keeper_of[image_id], content] > 1
        return Decision(content, self.sha256[other], image_id if is_copied else 0, verdict)


def _keep(ids: Sequence[int], state: _State) -> list[Decision]:
    decisions = []
    for i in ids:
        others = list(state.others(i))
        if not others:
            raise UsageError(f"image {i} is in no group, so it is kept anyway; `curator dedupe` finds groups")
        decisions += [state.about(i, o, "keep") for o in others]
    return decisions


def _reject(ids: Sequence[int], state: _State) -> list[Decision]:
    leaving = set(ids)
    decisions = []
    for i in ids:
        if next(state.others(i), None) is None:
            raise UsageError(
                f"image {i} is in no group; `curator dedupe` finds groups, and `curator remove` takes any image out of "
                "the index"
            )
        staying = state.staying(i, leaving)
        if staying is None:
            raise UsageError(
                f"rejecting image {i} too would keep none of its group; leave one out, or `curator decide undo` another"
            )
        decisions.append(state.about(i, staying, "reject"))
    return decisions


def _apart(ids: Sequence[int], state: _State) -> list[Decision]:
    if len(ids) < 2:
        raise UsageError("not-duplicate takes two images or more: those that are not the same picture")
    hashes = sorted(state.sha256[i] for i in ids)
    if len(set(hashes)) < len(hashes):
        raise UsageError("two of these files are the same to the byte; `curator decide keep` keeps both")
    return [Decision(a, b, 0, "not-duplicate") for a, b in combinations(hashes, 2)]
