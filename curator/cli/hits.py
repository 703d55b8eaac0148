"""Hits of a search, printed and drawn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curator.cli.face import echo, known, print_json, say, table
from curator.texts import plural, to_json

if TYPE_CHECKING:
    from curator.records import Hits, Image


def print_hits(rows: list[dict[str, Any]], *, as_json: bool, jsonl: bool, paths: bool, null: bool) -> None:
    """Rows in one of the forms that `curator search` has."""
    if paths or null:
        click.echo("".join(r["path"] + ("\0" if null else "\n") for r in rows), nl=False)
    elif as_json:
        print_json(rows)
    elif jsonl:
        for row in rows:
            click.echo(to_json(row))
    elif rows:
        cells = [
            (f"{r['score']:.3f}", _shown(r["z"], "+.1f"), _shown(r["confidence"], ".0%"), r["id"],
             r["label"] or r["caption"] or "", _short(r["path"]))
            for r in rows
        ]  # fmt: skip
        echo(table(cells, ("score", "z", "sure", "id", "label", "path")))


def _shown(value: float | None, form: str) -> str:
    return known(math.nan if value is None else value, form)


def summary_of(answer: dict[str, Any]) -> str:
    """What is said of an answer as a whole."""
    how = "exact" if answer["exact"] else "approximate"
    lines = [f"{plural(len(answer['hits']), 'hit')} of {answer['searched']} searched ({how})."]
    if not answer["clear"]:
        nearest = "; these are only the nearest" if answer["hits"] else ""
        lines.append(f"Nothing here clearly matches{nearest}.")
    return "\n".join([*lines, *(f"Note: {n}" for n in answer["notes"])])


def _short(place: str) -> str:
    folder = Path.cwd()
    return str(Path(place).relative_to(folder)) if Path(place).is_relative_to(folder) else place


def draw_hits(title: str, hits: Hits, images: list[Image], target: Path) -> None:
    """A contact sheet of hits, written to `target`."""
    from curator.drawing.sheets import Section, Tile, save_sheet

    tiles = [
        Tile(i.path, f"{s:.3f}  {i.label or i.caption or ''}", f"id:{i.id}  {i.path.name}")
        for i, s in zip(images, hits.scores, strict=True)
    ]
    written = save_sheet([Section(f"{title}   ({len(hits)} of {hits.searched})", tiles)], target)
    say(f"Sheet: {written}")
