"""Commands that measure what was made: evaluate, audit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curator.cli.face import index_option, json_option, opened, print_json, progress_bar, say, table

if TYPE_CHECKING:
    from curator.audit import Audit
    from curator.index import Index
    from curator.sheets import Section

_SHOWN = 24  # pairs on a sheet


@click.command()
@click.argument("named", metavar="RUN|SELECTION|FOLDER|CONDITION")
@index_option
@click.option("--against", metavar="SELECTION|FOLDER|CONDITION", help="Held-out images. [default: what the run held out]")
@click.option("--classifier", metavar="RUN", help="Measure in this classifier's features as well.")
@click.option(
    "--metric", "parts", multiple=True, help="frechet, manifold, clipped, kernel, vendi, sliced-wasserstein; repeatable. [default: all]"
)
@click.option("--rounds", type=click.IntRange(2), default=10, show_default=True, help="Of the bootstrap that intervals come from.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@json_option
def evaluate(
    *,
    named: str,
    name: str | None,
    against: str | None,
    classifier: str | None,
    as_json: bool,
    parts: tuple[str, ...],
    rounds: int,
    seed: int,
) -> None:
    """Measure what a run made, or a selection, against held-out images, from stored vectors.

    Numbers compare only with numbers of the same space and the same n. ↑ more is better, ↓ less.
    """
    from dataclasses import asdict

    from curator.evaluate import evaluate as measure
    from curator.train import home_of
    from curator.training.folder import find_run

    with opened(name) as index, progress_bar() as progress:
        judge = find_run(home_of(index), classifier, trainer="classifier") if classifier else None
        done = measure(index, named, against, parts=parts, classifier=judge, rounds=rounds, seed=seed, progress=progress)
    if as_json:
        print_json(asdict(done))
        return
    click.echo(f"{done.what} (n = {done.n}) against {done.against} (n = {done.m})")
    for space in dict.fromkeys(n.space for n in done.numbers):
        found = [n for n in done.numbers if n.space == space]
        rows = [("↑" if n.higher_is_better else "↓", n.metric, f"{n.value:.4f}", f"{n.low:.4f} – {n.high:.4f}") for n in found]
        click.echo("\n" + table(rows, ("", f"in {space}", "value", "95 %")))
    for note in done.notes:
        say(f"Note: {note}.")


@click.command()
@click.argument("named", metavar="RUN", default="latest")
@index_option
@click.option("--held-out", metavar="SELECTION|FOLDER|CONDITION", help="Real images the run never saw. [default: those it held out]")
@click.option(
    "--max-copies", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Share of copies above which the exit code is 1."
)
@click.option("--sheet", type=click.Path(path_type=Path, dir_okay=False), help="Draw the closest pairs on a contact sheet.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the closest pairs to a page that needs nothing else.")
@json_option
def audit(
    *, named: str, name: str | None, held_out: str | None, max_copies: float, sheet: Path | None, html: Path | None, as_json: bool
) -> None:
    """Find what a RUN copied from the images it was trained on. Exit code 1 above --max-copies.

    Each generated image is compared with its nearest training image, as real images that the run never saw are, which set the threshold.
    Labels go to the column audit: copy, near-copy, novel or off-distribution; with audit_nearest and audit_ratio.
    """
    from dataclasses import asdict

    from curator.audit import audit as look
    from curator.pages import Page, save_page
    from curator.sheets import save_sheet
    from curator.train import home_of
    from curator.training.folder import find_run

    with opened(name) as index, progress_bar() as progress:
        done = look(index, find_run(home_of(index), named), held_out=held_out, progress=progress)
        pairs = [_pairs(index, done)] if sheet or html else []
    lines = _lines(done)
    if sheet:
        save_sheet(pairs, sheet, columns=8)
        say(f"Sheet: {sheet}")
    if html:
        rows = (("label", "images"), *((label, str(n)) for label, n in done.counts.items()))
        save_page(Page(f"What {done.run} copied", rows, tuple(lines), pairs), html)
        say(f"Page: {html}")
    if as_json:
        print_json(asdict(done) | {"copies": done.copies})
    else:
        click.echo(table(list(done.counts.items()), ("label", "images")) + "\n\n" + "\n".join(lines))
    sys.exit(1 if done.copies > max_copies else 0)


def _lines(done: Audit) -> list[str]:
    return [
        f"{done.copies:.1%} of {len(done.findings)} are copies or near-copies, by a ratio up to {done.threshold:.3f}; "
        f"of {done.judged} real images that it never saw {done.false_alarms:.1%} would be.",
        f"Raw authenticity {done.authentic:.1%}; of those real images {done.held_authentic:.1%}, so it says little by itself.",
    ]


def _pairs(index: Index, done: Audit) -> Section:
    from curator.sheets import Section, Tile

    tiles = []
    for f in done.findings[:_SHOWN]:
        made, real = index.images([f.image_id]), index.images([f.nearest_id])
        tiles.append(Tile(made[0].path, f"{f.label} {f.ratio:.2f}", f"made, id:{f.image_id}", framed=f.label in ("copy", "near-copy")))
        tiles.append(Tile(real[0].path, f.evidence or f"apart {f.difference:.0f} of 255", f"trained on, id:{f.nearest_id}"))
    return Section(f"The {len(tiles) // 2} closest pairs: made, and trained on", tiles)


COMMANDS = (evaluate, audit)
