"""Commands that measure what was made: evaluate, audit, report."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curator.cli import completing
from curator.cli.face import echo, known, opened, print_json, say, table, working
from curator.cli.options import (
    FiniteRange,
    former,
    index_option,
    json_option,
    output_option,
    reference_option,
    sheet_option,
)
from curator.texts import plural

if TYPE_CHECKING:
    from curator.evaluation.evaluate import Evaluation


@click.command("evaluate")
@click.argument("named", metavar="RUN|SELECTION|FOLDER|CONDITION")
@index_option
@reference_option("Held-out images. [default: what the run held out]")
@former("--against", now="--reference")
@click.option(
    "--checkpoint", help="Only what this checkpoint of the run generated: best, latest or its number. [default: all]"
)
@click.option(
    "--classifier",
    metavar="RUN|none",
    help="Measure in this classifier's features as well. [default: the latest that is there]",
)
@click.option(
    "--raw",
    is_flag=True,
    help="Measure vectors of their length before normalising as well, as other tools' CLIP-FID does.",
)
@click.option(
    "--columns", is_flag=True, help="Write each image's realism, rarity and nearest_ratio to columns, to filter by."
)
@sheet_option("the least and the most realistic")
@click.option(
    "--metric",
    "parts",
    multiple=True,
    help="frechet, manifold, clipped, kernel, vendi, sliced-wasserstein; several by commas. [default: all]",
)
@click.option(
    "--rounds", type=click.IntRange(2), default=10, show_default=True, help="Random halves that intervals come from."
)
@click.option(
    "--anchors",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="Real pictures to blur, shuffle and turn to noise, for comparison; 0 for none.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random.")
@json_option
def evaluate_command(
    *,
    named: str,
    name: str | None,
    reference: str | None,
    checkpoint: str | None,
    classifier: str | None,
    raw: bool,
    columns: bool,
    sheet: Path | None,
    as_json: bool,
    parts: tuple[str, ...],
    rounds: int,
    anchors: int,
    seed: int,
) -> None:
    """Measure images against held-out ones.

    They are what a run made, or a selection, by stored vectors. Numbers compare only with numbers of the same space and
    the same n. ↑ more is better, ↓ less. Beside them stands what each metric makes of real pictures that were blurred,
    shuffled and turned to noise: a metric by which noise is as good says nothing.
    """
    from dataclasses import asdict

    from curator.drawing.sheets import save_sheet
    from curator.evaluation.evaluate import EvaluateOptions, each_image, evaluate, find_classifier
    from curator.evaluation.report import extremes
    from curator.evaluation.sides import sides_of
    from curator.index.columns import COLUMNS

    with opened(name) as index, working() as job:
        judge = find_classifier(index, classifier)
        sides = sides_of(index, named, reference, checkpoint=checkpoint)
        done = evaluate(
            index,
            sides,
            EvaluateOptions(tuple(p for names in parts for p in names.split(",")), judge, raw, anchors, rounds, seed),
            job=job,
        )
        shown = extremes(index, sides, each_image(index, sides, keep=columns)) if columns or sheet else []
    if columns:
        say(f"Written for {plural(done.n, 'image')}: {', '.join(COLUMNS['evaluate'])}")
    if sheet:
        written = save_sheet(shown, sheet, columns=8)
        say(f"Sheet: {written}")
    if as_json:
        print_json(asdict(done))
        return
    echo(f"{done.what} (n = {done.n}, {done.distinct:.0%} of it distinct) against {done.reference} (n = {done.m})")
    _print_numbers(done)
    for note in done.notes:
        say(f"Note: {note}.")


def _print_numbers(done: Evaluation) -> None:
    for space in dict.fromkeys(n.space for n in done.numbers):
        numbers = [n for n in done.numbers if n.space == space]
        beside = done.anchors if space == done.numbers[0].space else {}
        rows = [
            ["↑" if n.higher_is_better else "↓", n.metric, known(n.value, ".4f"), n.interval]
            + [known(values.get(n.metric, math.nan), ".4f") for values in beside.values()]
            for n in numbers
        ]
        echo("\n" + table(rows, ("", f"in {space}", "value", "95 %", *beside)))
    if done.anchors:
        say(f"As many: {done.anchored} of those judged. Beside them {done.anchored} real pictures, spoilt.")


@click.command("audit")
@click.argument("named", metavar="RUN", default="latest", shell_complete=completing.runs)
@index_option
@reference_option("Real images the run never saw. [default: those it held out]")
@former("--held-out", "--against", now="--reference")
@click.option("--checkpoint", help="Only what this checkpoint generated: best, latest or its number. [default: all]")
@click.option(
    "--max-copies",
    type=FiniteRange(0, 1),
    default=0.01,
    show_default=True,
    help="Share of copies above which the exit code is 1.",
)
@sheet_option("the closest pairs")
@output_option("Write the closest pairs to a page that needs nothing else.")
@former("--html", now="--output")
@json_option
def audit_command(
    *,
    named: str,
    name: str | None,
    reference: str | None,
    checkpoint: str | None,
    max_copies: float,
    sheet: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Find what a run copied.

    From the images it was trained on. Exit code 1 above --max-copies.

    Each generated image is compared with its nearest training image, as real images that the run never saw are, which
    set the threshold. Labels go to the column audit: copy, near-copy, novel or off-distribution; with audit_nearest,
    audit_ratio and authentic. Against --max-copies stands the share of proved copies, or of all beyond what unseen real
    images would give, whichever is more.
    """
    from dataclasses import asdict

    from curator.drawing.pages import Page, save_page
    from curator.drawing.sheets import save_sheet
    from curator.evaluation.audit import audit
    from curator.evaluation.report import closest_pairs, describe_audit
    from curator.runs.lookup import find_generator, generated_ids

    with opened(name) as index, working() as job:
        run = find_generator(index, named)
        generated = generated_ids(index, run, None if checkpoint is None else run.checkpoint(checkpoint))
        done = audit(index, run, generated, reference=reference, job=job)
        pairs = [closest_pairs(index, done)] if sheet or output else []
    lines = describe_audit(done)
    if sheet:
        written = save_sheet(pairs, sheet, columns=8)
        say(f"Sheet: {written}")
    if output:
        rows = (("label", "images"), *((label, str(n)) for label, n in done.counts.items()))
        written = save_page(Page(f"Whether {done.run} copied", rows, tuple(lines), pairs), output)
        say(f"Page: {written}")
    if as_json:
        print_json(asdict(done) | {"copies": done.copies, "beyond": done.beyond})
    else:
        echo(table(list(done.counts.items()), ("label", "images")) + "\n\n" + "\n".join(lines))
    sys.exit(1 if done.beyond > max_copies else 0)


@click.command("report")
@click.argument("named", metavar="RUN", shell_complete=completing.runs)
@index_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The page.",
)
@reference_option("Held-out images to measure with. [default: what the run held out]")
@former("--against", now="--reference")
def report_command(named: str, *, name: str | None, output: Path, reference: str | None) -> None:
    """Write one page about a run.

    It needs nothing else: what the run trained on, curves, samples, metrics, closest pairs, lineage.
    """
    from curator.evaluation.report import write_report
    from curator.runs.lookup import run_of

    with opened(name) as index, working() as job:
        write_report(index, run_of(index, named), output, reference=reference, job=job)
    say(f"Report: {output}")


COMMANDS = (evaluate_command, audit_command, report_command)
