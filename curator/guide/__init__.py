"""The guide: pages of Markdown that ship with the package and that `curator guide` shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from curator.errors import UnknownName
from curator.registry import suggest

PAGES: Mapping[str, str] = {
    "tour": "From a folder to a trained model, in eleven commands",
    "search": "Queries by words, pictures and conditions; what a score means",
    "cleaning": "Duplicates, verdicts, quarantine, leaks, bad pictures",
    "selecting": "Choose training data, split it, preview it, export it",
    "labelling": "Concepts, zero-shot labels, probes, classifiers",
    "training": "GAN, VAE, pix2pix and classifier; runs; generating",
    "evaluating": "Metrics, the copy audit, the loop, the report",
    "encoders": "Which encoder, spaces, weights, offline",
    "python": "The same from Python and in a notebook",
    "page": "The local page: search, look, review duplicates, undo",
    "scale": "Beyond one machine: sets, Ray, services",
    "reference": "Every command and every part, generated",
    "glossary": "The words",
}


def page(topic: str) -> str:
    """The text of a page. Raises `UnknownName` with near topics."""
    if topic not in PAGES:
        raise UnknownName(f"no page '{topic}' in the guide; {suggest(topic, PAGES)}")
    return (Path(__file__).parent / f"{topic}.md").read_text(encoding="utf-8")
