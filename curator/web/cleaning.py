"""Duplicates on the page: an overview by kind, groups to review, verdicts; leaks and issues as lists."""

from __future__ import annotations

import io
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from curator.cleaning.decisions import VERDICTS, accept, apart_ids, decide, decided_ids, keep_only, proposals, undo
from curator.cleaning.describe import describe_evidence
from curator.cleaning.groups import StoredGroup, group_keepers, stored_groups
from curator.cleaning.issues import find_issues
from curator.cleaning.quarantine import quarantine
from curator.database import Curation
from curator.database.curation import kept_ids, rejected_ids
from curator.duplicates import KINDS, Sketch, place_on, turned_onto
from curator.errors import UsageError
from curator.index import Index
from curator.index.images import relative
from curator.index.thumbnails import Thumbnails
from curator.search.facts import roots

_PAGE = 30  # groups
_EXAMPLES = 3


def overview(index: Index) -> dict[str, Any]:
    """Of each kind: groups, duplicates, bytes and those that nobody has decided about, with groups to look at."""
    curation = Curation(index.reader)
    members = [g for g in curation.groups() if g.kind not in ("keeper", "kept")]
    known = decided_ids(curation)
    size_of = {i.id: i.size for i in index.images([m.image_id for m in members])}
    kinds = []
    for kind in KINDS:
        of_kind = [m for m in members if m.kind == kind]
        if not of_kind:
            continue
        keepers = sorted({m.keeper_id for m in of_kind})
        undecided = [m for m in of_kind if m.image_id not in known]
        # To be looked at before all are accepted: groups that are still open.
        still = sorted({m.keeper_id for m in undecided}) or keepers
        examples = np.random.default_rng(0).permutation(still)[:_EXAMPLES].tolist()
        kinds.append(
            {
                "kind": kind,
                "groups": len(keepers),
                "images": len(of_kind),
                "undecided": len(undecided),
                "bytes": sum(size_of[m.image_id] for m in undecided),
                "examples": examples,
            }
        )
    return {
        "kinds": kinds,
        "keepers": group_keepers(index).tolist(),
        "decided": sum(m.image_id in known for m in members),
        "duplicates": len(members),
    }


def list_groups(index: Index, kinds: Sequence[str], keepers: Sequence[int]) -> dict[str, Any]:
    """Groups by their keepers, or the keepers of all groups of these kinds, to page through."""
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"no kind of duplicate '{kind}'; there are: {', '.join(KINDS)}")
    curation = Curation(index.reader)
    if not keepers:
        known = decided_ids(curation)
        is_open = {g.keeper_id for g in curation.groups() if g.image_id != g.keeper_id and g.image_id not in known}
        listed = group_keepers(index, kinds).tolist()
        return {"keepers": listed, "settled": [k not in is_open for k in listed]}
    if len(keepers) > _PAGE:
        raise UsageError(f"at most {_PAGE} groups at a time")
    folders = [r.path for r in roots(index)]
    staying, apart = kept_ids(curation), apart_ids(curation, curation.groups_of([int(k) for k in keepers]))
    return {"groups": [_described(g, folders, curation, staying, apart) for g in stored_groups(index, keepers)]}


def _described(
    stored: StoredGroup, folders: list[Path], curation: Curation, staying: Set[int], apart: Set[int]
) -> dict[str, Any]:
    hashes = {bytes.fromhex(i.sha256) for i in stored.images.values()}
    rejected = set(rejected_ids(curation, list(hashes)))
    members = []
    for m in stored.group.members:
        image, evidence = stored.images[m.image_id], stored.evidence.get(m.image_id)
        said = "" if m.kind in ("keeper", "kept") else describe_evidence(m.kind, evidence, m.score)
        members.append(
            {
                "id": image.id, "path": relative(image, folders), "kind": m.kind, "via": m.via_id, "evidence": said,
                "width": image.width, "height": image.height, "size": image.size,
                "format": image.format, "label": image.label, "origin": image.origin, "taken_at": image.taken_at,
                "rejected": image.id in rejected, "kept": image.id in staying,
                "apart": image.id in apart,
            }
        )  # fmt: skip
    group = stored.group
    return {"keeper": group.keeper, "settled": group.settled, "reason": stored.reason, "members": members}


def give_verdict(index: Index, verdict: str, ids: Sequence[int]) -> None:
    """A verdict on images of groups: "keep", "reject", "not-duplicate".

    "keep-only" rejects the rest of the group of the one image named, whatever was said before; "undo" forgets what was.
    """
    if verdict == "undo":
        undo(index, ids)
    elif verdict == "keep-only":
        keep_only(index, ids)
    elif verdict in VERDICTS:
        decide(index, verdict, ids)
    else:
        raise UsageError(f"no verdict '{verdict}'; there are: {', '.join((*VERDICTS, 'keep-only', 'undo'))}")


def accept_kinds(index: Index, kinds: Sequence[str], *, dry_run: bool) -> dict[str, Any]:
    """Reject every duplicate of these kinds that nobody has decided about, or say how many that would be."""
    ids = proposals(index, kinds) if dry_run else accept(index, kinds)
    size = sum(i.size for i in index.images(ids))
    return {"ids": ids, "images": len(ids), "bytes": size}


def aligned(index: Index, thumbnails: Thumbnails, first: int, second: int) -> list[float] | None:
    """How the second of two images lies on the first: an affine map in shares of their long sides, row by row.

    Of a turned copy as the evidence says, else by corners; None where neither tells.
    """
    images = index.images([first, second])
    curation = Curation(index.reader)
    contents = curation.contents_of([first, second])
    evidence = curation.evidence_between([(first, second)]).get((first, second))
    if evidence is not None and evidence.laid is not None and evidence.transform != "same" and len(contents) == 2:
        # The turn brings the later content onto the earlier one.
        a, b = sorted(images, key=lambda i: contents[i.id])
        onto = turned_onto(evidence.transform, (a.width, a.height), (b.width, b.height))
        return [float(v) for v in (onto if a.id == first else _inverted(onto)).ravel()]
    data = thumbnails.of(images)
    pictures = [Pillow.open(io.BytesIO(d)).convert("RGB") for i in images if isinstance(d := data[i.id], bytes)]
    place = place_on(*map(Sketch.of, pictures)) if len(pictures) == 2 else None
    return None if place is None else [float(v) for v in place.ravel()]


def _inverted(fit: NDArray[np.float64]) -> NDArray[np.float64]:
    back = np.linalg.inv(fit[:, :2])
    return np.hstack([back, -back @ fit[:, 2:]])


def list_issues(index: Index) -> list[dict[str, Any]]:
    """Blurred, dark, odd and the like among real images: a name, the rule, and the worst first."""
    return [
        {"name": i.name, "rule": i.rule, "ids": list(i.ids), "values": list(i.values)}
        for i in find_issues(index, where="origin = 'real'")
    ]


def would_move(index: Index) -> dict[str, Any]:
    """What `curator quarantine` would move aside; it is run in a terminal, not from the page."""
    report = quarantine(index, dry_run=True)
    return {
        "moves": len(report.moves),
        "first": [m.path for m in report.moves[:20]],
        "left": [list(pair) for pair in report.left[:20]],
        "command": "curator quarantine",
    }
