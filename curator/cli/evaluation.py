"""Commands that measure what was made, and close the loop: evaluate, audit, loop, report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from curator.cli import completing
from curator.cli.face import echo, opened, plural, print_json, say, table, working
from curator.cli.options import (
    former,
    former_argument,
    index_option,
    json_option,
    output_option,
    reference_option,
    seed_option,
    selection_option,
    sheet_option,
)


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
    seed: int,
) -> None:
    """Measure images against held-out ones.

    They are what a run made, or a selection, by stored vectors. Numbers compare only with numbers of the same space and
    the same n. ↑ more is better, ↓ less.
    """
    from dataclasses import asdict

    from curator.drawing.sheets import refuse_sheet, save_sheet
    from curator.evaluation.evaluate import EvaluateOptions, each_image, evaluate, find_classifier
    from curator.evaluation.report import extremes
    from curator.evaluation.sides import sides_of
    from curator.index.columns import COLUMNS

    if sheet:
        refuse_sheet(sheet)
    with opened(name) as index, working() as job:
        judge = find_classifier(index, classifier)
        sides = sides_of(index, named, reference, checkpoint=checkpoint)
        done = evaluate(
            index,
            sides,
            EvaluateOptions(tuple(p for names in parts for p in names.split(",")), judge, raw, rounds, seed),
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
    for space in dict.fromkeys(n.space for n in done.numbers):
        numbers = [n for n in done.numbers if n.space == space]
        rows = [("↑" if n.higher_is_better else "↓", n.metric, f"{n.value:.4f}", n.interval) for n in numbers]
        echo("\n" + table(rows, ("", f"in {space}", "value", "95 %")))
    for note in done.notes:
        say(f"Note: {note}.")


@click.command("audit")
@click.argument("named", metavar="RUN", default="latest", shell_complete=completing.runs)
@index_option
@reference_option("Real images the run never saw. [default: those it held out]")
@former("--held-out", "--against", now="--reference")
@click.option("--checkpoint", help="Only what this checkpoint generated: best, latest or its number. [default: all]")
@click.option(
    "--max-copies",
    type=click.FloatRange(0, 1),
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
    from curator.drawing.sheets import refuse_sheet, save_sheet
    from curator.evaluation.audit import audit
    from curator.evaluation.report import closest_pairs, describe_audit
    from curator.runs.lookup import find_generator, generated_ids

    if sheet:
        refuse_sheet(sheet)
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


@click.command("loop")
@selection_option("The selection to begin with.")
@former_argument("--selection")
@index_option
@click.option(
    "--classifier", metavar="RUN", help="A classifier, trained on real images, that vouches for a picture's label."
)
@click.option(
    "--words", is_flag=True, help="Let the index's encoder vouch instead: the label's words fit the picture best."
)
@click.option("--rounds", type=int, default=3, show_default=True, help="At most so many.")
@click.option("-n", "made", type=int, default=500, show_default=True, help="Pictures to make in a round.")
@click.option("--sure", type=float, default=0.9, show_default=True, help="The classifier's least confidence.")
@click.option("--images", type=int, help="Budget of each training: real images seen.")
@click.option("--max-minutes", type=click.FloatRange(0, min_open=True), help="Budget of each training in time.")
@click.option("--preset", help="Of each training.")
@seed_option
@click.option(
    "--overwrite",
    is_flag=True,
    help="Forget a loop on this selection that was begun, and its sets; runs and pictures stay.",
)
@json_option
def loop_command(
    *,
    selection: str | None,
    name: str | None,
    classifier: str | None,
    words: bool,
    rounds: int,
    made: int,
    sure: float,
    seed: int,
    overwrite: bool,
    as_json: bool,
    **given: object,
) -> None:
    """Train, admit what is verified, train again.

    Honest: it may well not help. Admitted is what the audit calls novel and the classifier, or words, are sure of; of
    each label at most as many as there are real images, none of which ever gives way. 15 % calibrate the audit and 15 %
    score; two falls of their coverage end the loop. The same command goes on with a loop that was cut off.
    """
    from dataclasses import asdict

    from curator.loop import LoopOptions, loop
    from curator.runs.lookup import run_of

    if selection is None:
        raise click.UsageError("name the selection to begin with: --selection NAME")
    if words == (classifier is not None):
        raise click.UsageError("something must vouch for what is admitted: --classifier RUN or --words, one of the two")
    options = LoopOptions(rounds, made, sure, seed, {k: v for k, v in given.items() if v is not None})
    with opened(name) as index, working() as job:
        judge = run_of(index, classifier, trainer="classifier") if classifier else None
        done = loop(index, selection, judge, options, overwrite=overwrite, job=job)
    if as_json:
        print_json(asdict(done) | {"best": done.best})
        return
    if done.rounds:
        numbers = list(done.rounds[0].numbers)
        heads = ("round", "run", "real", "generated", "made", "admitted", *numbers)
        rows = [
            [r.number, r.run, r.real, r.generated, r.made, r.admitted, *(_shown(r.numbers[k]) for k in numbers)]
            for r in done.rounds
        ]
        echo(table(rows, heads))
    for r in done.rounds:
        echo(f"Round {r.number} refused: " + ", ".join(f"{n} {why}" for why, n in sorted(r.refused.items()) if n))
    echo(f"Ended: {done.ended}. Real and admitted images: {done.selection}.")
    if done.best:
        echo(f"Most of what scores was covered in round {done.best}, which trained on {selection}-round-{done.best}.")
    sys.exit(130 if done.interrupted else 0)


def _shown(number: Sequence[float]) -> str:
    """(value, low, high) of a number."""
    from curator.evaluation.evaluate import interval

    value, low, high = number
    return f"{value:.4f} ({interval(low, high)})"


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


COMMANDS = (evaluate_command, audit_command, loop_command, report_command)
