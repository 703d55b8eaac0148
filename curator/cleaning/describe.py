"""What `curator dedupe` found, in words, as JSON, on a contact sheet and on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from curator.cleaning.result import DedupeResult, Group
from curator.drawing.pages import Page, save_page
from curator.drawing.sheets import Section, Tile, save_sheet
from curator.records import Certificate, Evidence, Grouped, Image

ON_A_SHEET, OF_A_GROUP = 60, 30  # groups, and images of one


def describe_evidence(kind: str, evidence: Evidence | None, score: float | None) -> str:
    """What an edge rests on, in a few words."""
    if kind == "semantic":
        return f"score {score:.3f}"
    if evidence is None:
        return ""
    if kind == "cropped/edited":
        turned = f", {evidence.degrees:+.0f}°" if abs(evidence.degrees or 0.0) >= 2 else ""
        return f"{evidence.inliers} corners, scale {evidence.scale:.2f}{turned}, agreement {evidence.agreement:.3f}"
    turned = "" if evidence.transform == "same" else f"{evidence.transform}, "
    return f"{turned}{evidence.distance} bits, agreement {evidence.laid:.3f}"


def describe_member(m: Grouped, result: DedupeResult) -> tuple[str, str]:
    """(what it is in its group, on what evidence)."""
    if m.kind in ("keeper", "kept"):
        return "keep", "as decided or protected" if m.kind == "kept" else ""
    if m.kind in ("identical-file", "identical-pixels"):
        return m.kind, ""
    return m.kind, describe_evidence(m.kind, result.evidence_of(m.image_id, m.via_id), m.score)


def describe_certificate(c: Certificate) -> str:
    """How complete the neighbour graph is."""
    if c.method == "exact":
        return "every pair was compared"
    seen = f"{c.found} of {c.edges} edges of {c.sampled} nodes; {c.method}, {c.nprobe} probes"
    return f"recall {c.recall:.4f} (95 %: {c.low:.4f}–{c.high:.4f}; {seen})"


def remarks(result: DedupeResult) -> list[str]:
    """What a person should know of how it was found."""
    lines = [f"Checked: {c}." for c in result.checks]
    if result.certificate is not None:
        lines.append(f"Neighbours: {describe_certificate(result.certificate)}.")
        lines.append(f"Pairs of pictures compared: {result.compared} now, {result.known} before.")
        used = ", ".join(
            f"{kind} {value:.3f} ({result.thresholds.sources[kind]})"
            for kind, value in result.thresholds.values().items()
        )
        lines.append(f"Thresholds: {used}.")
    return lines + [f"Note: {n}." for n in result.notes]


def facts_of(result: DedupeResult, groups: Sequence[Group], images: Mapping[int, Image]) -> dict[str, Any]:
    """Everything, for programs."""

    def member(m: Grouped) -> dict[str, Any]:
        evidence = result.evidence_of(m.image_id, m.via_id) if m.kind not in ("keeper", "kept") else None
        image = images[m.image_id]
        return asdict(m) | {
            "path": str(image.path),
            "sha256": image.sha256,
            "evidence": asdict(evidence) if evidence else None,
        }

    return {
        "searched": result.searched,
        "pictures": result.nodes,
        "pairs": dict(result.pairs),
        "duplicates": dict(result.images),
        "groups": [
            {"keeper": g.keeper, "settled": g.settled, "members": [member(m) for m in g.members]} for g in groups
        ],
        "certificate": asdict(result.certificate) if result.certificate else None,
        "thresholds": {
            k: {"value": v, "source": result.thresholds.sources[k]} for k, v in result.thresholds.values().items()
        },
        "checks": list(result.checks),
        "notes": list(result.notes),
        "compared": result.compared,
        "seconds": round(result.seconds, 3),
    }


def draw_groups(
    result: DedupeResult, groups: Sequence[Group], images: Mapping[int, Image], *, sheet: Path | None, page: Path | None
) -> list[str]:
    """Draw groups on a contact sheet (the first 60) and on a page (all) → what was written. Raises `UsageError`."""

    def tile(m: Grouped) -> Tile:
        image, (kind, evidence) = images[m.image_id], describe_member(m, result)
        facts = f"{image.width} x {image.height} {image.format} {image.path.name}"
        return Tile(image.path, f"{kind}  id:{image.id}", evidence or facts, framed=kind == "keep")

    def heading(g: Group) -> str:
        return f"{len(g.members)} images, keep id:{g.keeper}{'  (decided)' if g.settled else ''}"

    sections = [Section(heading(g), [tile(m) for m in g.members[:OF_A_GROUP]]) for g in groups]
    written = []
    if sheet:
        drawn = save_sheet(sections[:ON_A_SHEET], sheet)
        more = (
            f" (the first {ON_A_SHEET} of {len(sections)} groups; --html holds all)"
            if len(sections) > ON_A_SHEET
            else ""
        )
        written.append(f"Sheet: {drawn}{more}")
    if page:
        rows = (
            ("kind", "pairs", "duplicates"),
            *((k, str(result.pairs[k]), str(result.images[k])) for k in result.pairs),
        )
        drawn = save_page(Page(f"Duplicates: {len(groups)} groups", rows, tuple(remarks(result)), sections), page)
        written.append(f"Page: {drawn}")
    return written
