"""What `curator dedupe` found, in words, as JSON, on a contact sheet and on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from curator.cleaning.comparing import Shortcut
from curator.cleaning.result import DedupeResult, Group, ListedPair
from curator.drawing.pages import Page, save_page
from curator.drawing.sheets import Section, Tile, save_sheet
from curator.duplicates import BITS
from curator.intervals import wilson
from curator.records import Certificate, Evidence, Grouped, Image

ON_A_SHEET, OF_A_GROUP = 60, 30  # groups, and images of one


def describe_evidence(kind: str, evidence: Evidence | None, score: float | None) -> str:
    """What an edge rests on, in a few words."""
    if kind == "semantic":
        return f"score {score:.3f}"
    if evidence is None:
        return ""
    if kind == "altered":
        return f"agreement {_agreement(evidence):.3f}, but {evidence.weakest:.3f} in one place"
    if kind == "overlapping":
        return f"share {evidence.overlap:.0%} of the smaller, agreement {evidence.agreement:.3f}"
    if kind == "cropped/edited":
        turned = f", {evidence.degrees:+.0f}°" if abs(evidence.degrees or 0.0) >= 2 else ""
        return f"{evidence.inliers} corners, scale {evidence.scale:.2f}{turned}, agreement {evidence.agreement:.3f}"
    turned = "" if evidence.transform == "same" else f"{evidence.transform}, "
    return f"{turned}{evidence.distance} bits, agreement {evidence.laid:.3f}"


def _agreement(evidence: Evidence) -> float:
    return max(evidence.laid or -1.0, evidence.agreement or -1.0)


def describe_listed(pair: ListedPair, result: DedupeResult) -> str:
    """What a pair that is not proposed rests on."""
    said = describe_evidence(pair.kind, result.evidence_of(pair.first, pair.second), None)
    return f"{said}{', and the labels differ' if pair.labels_differ else ''}"


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
        c = result.certificate
        lines.append(
            f"Looked at: pairs that score {c.threshold:.3f} or more, of which {describe_certificate(c)}; the "
            f"{result.neighbours} nearest of each picture (--neighbours); those within {BITS} bits by hash; those with "
            f"most corners alike ({result.corners}). At other pairs nobody looked."
        )
        said = _said(result.shortcut)
        joined = f"; {result.joined} more are joined by others" if result.joined else ""
        lines.append(f"Pairs of pictures compared: {result.compared} now, {result.known} before{joined}.{said}")
        lines.append(describe_crops(result.planted))
        used = ", ".join(
            f"{kind} {value:.3f} ({result.thresholds.sources[kind]})"
            for kind, value in result.thresholds.values().items()
        )
        lines.append(f"Thresholds: {used}.")
    return lines + [f"Note: {n}." for n in result.notes]


def _said(shortcut: Shortcut | None) -> str:
    """What the first look may have lost."""
    if shortcut is None or not shortcut.sampled:
        return ""
    _, high = wilson(shortcut.missed, shortcut.sampled)
    return (
        f" A first look turned {shortcut.dismissed} away; of {shortcut.sampled} of those compared in full, "
        f"{shortcut.missed} were the same after all (95 %: at most {high:.1%})."
    )


def describe_crops(planted: Mapping[str, Any] | None) -> str:
    """What `calibrate` found of crops of the user's own pictures."""
    if planted is None:
        return "Crops: `curator calibrate` tells what share of small crops is found among these pictures."
    shares = ", ".join(
        f"{int(size)} % of the side: {count['found']} of {count['made']} "
        f"(95 %: {' to '.join(f'{v:.0%}' for v in wilson(count['found'], count['made']))})"
        for size, count in planted["by_size"].items()
    )
    return f"Crops that `curator calibrate` cut out of these pictures, and found again: {shares}."


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
        "listed": [
            asdict(p) | {"evidence": asdict(e) if (e := result.evidence_of(p.first, p.second)) else None}
            for p in result.listed
        ],
        "neighbours": result.neighbours,
        "corners": result.corners,
        "joined": result.joined,
        "shortcut": asdict(result.shortcut) if result.shortcut else None,
        "planted_crops": result.planted,
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
        labels = sorted({str(label) for m in g.members if (label := images[m.image_id].label) is not None})
        mixed = f"  labels differ: {', '.join(labels)}" if len(labels) > 1 else ""
        return f"{len(g.members)} images, keep id:{g.keeper}{'  (decided)' if g.settled else ''}{mixed}"

    def plain(image_id: int, said: str) -> Tile:
        image = images[image_id]
        return Tile(image.path, f"id:{image_id}", said)

    sections = [Section(heading(g), [tile(m) for m in g.members[:OF_A_GROUP]]) for g in groups]
    sections += [
        Section(f"{p.kind}, not proposed", [plain(p.first, ""), plain(p.second, describe_listed(p, result))])
        for p in result.listed[:OF_A_GROUP]
    ]
    written = []
    if sheet:
        drawn = save_sheet(sections[:ON_A_SHEET], sheet)
        more = (
            f" (the first {ON_A_SHEET} of {len(sections)} groups; -o holds all)" if len(sections) > ON_A_SHEET else ""
        )
        written.append(f"Sheet: {drawn}{more}")
    if page:
        rows = (
            ("kind", "pairs", "duplicates"),
            *((k, str(result.pairs[k]), str(result.images.get(k, 0))) for k in result.pairs),
        )
        drawn = save_page(Page(f"Duplicates: {len(groups)} groups", rows, tuple(remarks(result)), sections), page)
        written.append(f"Page: {drawn}")
    return written
