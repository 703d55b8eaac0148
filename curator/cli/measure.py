"""Commands that measure what was made: evaluate."""

from __future__ import annotations

import click

from curator.cli.face import index_option, json_option, opened, print_json, progress_bar, say, table


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


COMMANDS = (evaluate,)
