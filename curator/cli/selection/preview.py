"""`curator preview`: what a choice is worth, told before any training."""

from __future__ import annotations

from dataclasses import asdict

import click

from curator.cli import completing
from curator.cli.face import echo, known, opened, print_json, table, working
from curator.cli.options import former, index_option, json_option, reference_option, refuse_named
from curator.texts import plural


@click.command("preview")
@click.argument("names", nargs=-1, metavar="[SELECTION]...", shell_complete=completing.selections)
@index_option
@reference_option("Held-out images to compare with; not for --buckets.")
@former("--against", now="--reference")
@click.option(
    "--balance",
    "column",
    default="label",
    show_default=True,
    metavar="COLUMN",
    help="Whose values should be spread evenly.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the controls and the intervals.")
@click.option(
    "--buckets", metavar="512,768,…", help="Instead: which aspect buckets the images go into, at these pixels."
)
@json_option
def preview_command(
    names: tuple[str, ...], *, name: str | None, reference: str | None, column: str, seed: int, buckets: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare selections with held-out images.

    Before any training: distance, variety, duplicates, balance; the best first.

    Beside each stand random choices of the same size. Ranks are by Fréchet distance in the index's space, with the
    ranks that its interval allows. `apart` is the chance that a classifier tells an image of the selection from one of
    the reference: 0.5 at best. Precision and density praise a choice that is all of one kind, strangers too.

    With --buckets it tells instead what trainers that batch by shape, such as kohya's, would make of the sizes: how
    many images each bucket gets, how many are enlarged for it, and how much of them is cut off.
    """
    if buckets is not None:
        refuse_named("--buckets looks at sizes alone", "reference", "column", "seed")
        _print_buckets(names, name, buckets, as_json=as_json)
        return
    if reference is None:
        raise click.UsageError("name held-out images to compare with: --reference SELECTION")
    from curator.selection.preview import preview

    with opened(name) as index, working() as job:
        rows = preview(index, names, reference, column=column, seed=seed, job=job)
    if as_json:
        print_json([asdict(r) for r in rows])
        return
    shown = [
        (r.rank, f"{r.rank_low}–{r.rank_high}", r.name, r.images, known(r.frechet, ".4f"),
         f"{known(r.low, '.4f')}–{known(r.high, '.4f')}", known(r.apart, ".3f"), known(r.precision, ".3f"),
         known(r.recall, ".3f"), known(r.density, ".3f"), known(r.coverage, ".3f"), f"{r.duplicates:.1%}",
         known(r.balance, ".3f"))
        for r in rows
    ]  # fmt: skip
    heads = (
        "rank", "may be", "selection", "images", "Fréchet", "95 %", "apart", "precision", "recall", "density",
        "coverage", "duplicates", "balance",
    )  # fmt: skip
    echo(table(shown, heads))


def _print_buckets(names: tuple[str, ...], name: str | None, asked: str, *, as_json: bool) -> None:
    from curator.selection.buckets import bucket_reports

    try:
        resolutions = [int(part) for part in asked.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--buckets takes pixels by commas, as in 512,768,1024, not {asked!r}") from error
    with opened(name) as index:
        reports = bucket_reports(index, names, resolutions)
    if as_json:
        print_json({selection: [asdict(r) for r in of_it] for selection, of_it in reports.items()})
        return
    for selection, of_it in reports.items():
        for r in of_it:
            head = f"{selection or 'all real images'} at {r.resolution}: {plural(r.images, 'image')}"
            echo(f"{head}, {r.enlarged} enlarged, {r.cut:.1%} of each cut off on average.")
            rows = [(f"{b.width} × {b.height}", b.images, b.enlarged, f"{b.cut:.1%}") for b in r.buckets]
            echo(table(rows, ("bucket", "images", "enlarged", "cut off")))
