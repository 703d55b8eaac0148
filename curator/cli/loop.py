"""The command that trains, admits and trains again: loop."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from curator.cli.face import echo, opened, print_json, table, working
from curator.cli.options import (
    FiniteNumber,
    FiniteRange,
    former_argument,
    index_option,
    json_option,
    seed_option,
    selection_option,
)


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
@click.option("--sure", type=FiniteNumber(), default=0.9, show_default=True, help="The classifier's least confidence.")
@click.option("--images", type=int, help="Budget of each training: real images seen.")
@click.option("--max-minutes", type=FiniteRange(0, min_open=True), help="Budget of each training in time.")
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


COMMANDS = (loop_command,)
