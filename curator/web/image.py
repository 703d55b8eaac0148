"""One image: its facts, its neighbours, what it is a duplicate of and on what evidence, and where it comes from."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import Any

from curator.cleaning.describe import describe_evidence
from curator.cleaning.groups import stored_groups
from curator.database import Curation
from curator.errors import UnknownName
from curator.images import decode
from curator.index import Index
from curator.index.images import relative
from curator.index.thumbnails import indexed_bytes, refuse_outside
from curator.records import Image
from curator.search.facts import image_facts, roots, run_names

_NEIGHBOURS = 12
AS_IT_IS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}


def describe_image(index: Index, image_id: int) -> dict[str, Any]:
    """Everything that is known of an image. Raises `UnknownName`."""
    (known,) = image_facts(index, [image_id])
    image, folders = known.image, roots(index)
    root = next((r for r in folders if image.path.is_relative_to(r.path)), None)
    return asdict(image) | {
        "path": relative(image, [r.path for r in folders]),
        "full_path": str(image.path),
        "root": {"path": str(root.path), "reachable": root.reachable} if root else None,
        "computed": dict(known.computed),
        "selections": list(known.selections),
        "state": known.state,
        "neighbours": neighbours_of(index, image_id) if known.state != "removed" else [],
        "edges": _edges(index, image),
        "group": _group(index, image_id),
        "verdicts": _verdicts(index, image),
        "provenance": _provenance(index, image, dict(known.computed)),
    }


def _provenance(index: Index, image: Image, computed: dict[str, Any]) -> dict[str, Any] | None:
    """Of a generated image: the run and checkpoint that made it, from which seed, and the nearest it was trained on."""
    name = image.extra.get("run")
    if image.origin != "generated" or not isinstance(name, str):
        return None
    known = name in run_names(index)
    facts = {n: image.extra[n] for n in ("checkpoint", "seed", "condition", "number") if n in image.extra}
    return facts | {
        "run": name,
        "known": known,
        "nearest": computed.get("audit_nearest"),
        "audit": computed.get("audit"),
    }


def neighbours_of(index: Index, image_id: int) -> list[dict[str, Any]]:
    """The nearest other images, with their scores; none of an image without a vector."""
    try:
        hits = index.nearest(index.vector_of_id(image_id), _NEIGHBOURS + 1)
    except UnknownName:  # it has no vector in this space yet
        return []
    pairs = zip(hits.ids.tolist(), hits.scores.tolist(), strict=True)
    return [{"id": i, "score": round(s, 4)} for i, s in pairs if i != image_id][:_NEIGHBOURS]


def _edges(index: Index, image: Image) -> list[dict[str, Any]]:
    """Pictures that it was proved to be related to within its group, in words."""
    curation = Curation(index.reader)
    members = curation.groups_of([image.id])
    others = [m for m in members if image.id in (m.image_id, m.via_id) and m.image_id != m.via_id]
    evidence = curation.evidence_between([(m.image_id, m.via_id) for m in others])
    edges = []
    for m in others:
        other = m.via_id if m.image_id == image.id else m.image_id
        said = describe_evidence(m.kind, evidence.get((m.image_id, m.via_id)), m.score)
        edges.append({"id": other, "kind": m.kind, "evidence": said})
    return edges


def _group(index: Index, image_id: int) -> dict[str, Any] | None:
    keepers = {m.keeper_id for m in Curation(index.reader).groups_of([image_id])}
    groups = [g for g in stored_groups(index, sorted(keepers)) if len(g.images) > 1]
    if not groups:
        return None
    return {"keeper": groups[0].group.keeper, "reason": groups[0].reason, "ids": sorted(groups[0].images)}


def _verdicts(index: Index, image: Image) -> list[dict[str, Any]]:
    decisions = Curation(index.reader).decisions([bytes.fromhex(image.sha256)], [image.id])
    return [{"verdict": d.verdict, "at": d.decided_at} for d in decisions if d.subject_id in (0, image.id)]


def original(index: Index, image_id: int) -> tuple[bytes, str]:
    """An image's file as it is, or as a PNG where browsers do not show its format → (bytes, media type).

    Raises `PictureError` where it is outside its folder, gone or changed; `UnknownName`.
    """
    (image,) = index.images([image_id])
    refuse_outside(image.path, [r.path for r in roots(index)])
    data = indexed_bytes(image)
    if image.format in AS_IT_IS:
        return data, AS_IT_IS[image.format]
    out = io.BytesIO()
    decode(data).picture.save(out, "PNG", compress_level=1)
    return out.getvalue(), "image/png"
