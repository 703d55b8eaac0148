"""Commands that learn from a person's marks: concept, label."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curator.cli import completing
from curator.cli.face import echo, known, opened, print_json, say, table, working
from curator.cli.options import index_option, inner_index, json_option, sheet_option, where_option
from curator.texts import plural

if TYPE_CHECKING:
    from curator.labelling.label import Labelled
    from curator.records import Image


@click.group("concepts", invoke_without_command=True)
@index_option
@json_option
@click.pass_context
def concepts_group(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List, fit or drop concepts.

    A concept is what you marked as wanted and unwanted. `concept:NAME` stands wherever words may.
    """
    from curator.database import Selections

    ctx.obj = name
    if ctx.invoked_subcommand is not None:
        return
    with opened(name) as index:
        stored = Selections(index.reader)
        concepts = [stored.concept(index.space, c) for c in stored.concepts(index.space)]
    rows = [{"name": c.name, "like": c.facts["like"], "unlike": c.facts["unlike"]} for c in concepts]
    if as_json:
        print_json(rows)
    else:
        shown = table([(r["name"], r["like"], r["unlike"]) for r in rows], ("concept", "like", "unlike"))
        echo(shown if rows else "No concepts yet; `curator concepts fit NAME --like ID` makes one.")


@concepts_group.command("fit")
@click.argument("chosen", metavar="NAME", shell_complete=completing.concepts)
@click.option("--like", multiple=True, metavar="ID|PATH[,...]", help="Images that show it; repeatable.")
@click.option("--unlike", multiple=True, metavar="ID|PATH[,...]", help="Images that do not; repeatable.")
@click.option("--afresh", is_flag=True, help="Forget earlier marks.")
@inner_index
def fit_command(*, chosen: str, like: tuple[str, ...], unlike: tuple[str, ...], afresh: bool, name: str | None) -> None:
    """Fit NAME to marked images, or add marks to it.

    `curator search concept:NAME` finds more images, and marks on those make it better.
    """
    from curator.index.images import find_ids
    from curator.labelling.concepts import fit_concept

    def ids(named: tuple[str, ...]) -> list[int]:
        split = [part for n in named for part in (n.split(",") if not Path(n).exists() else [n]) if part]
        return find_ids(index, split) if split else []

    with opened(name) as index:
        concept = fit_concept(index, chosen, ids(like), ids(unlike), afresh=afresh)
    echo(
        f"{chosen}: {concept.facts['like']} wanted, {concept.facts['unlike']} unwanted. Try `curator search "
        f"concept:{chosen}`."
    )


@concepts_group.command("drop")
@click.argument("chosen", metavar="NAME", shell_complete=completing.concepts)
@inner_index
def drop_command(*, chosen: str, name: str | None) -> None:
    """Forget a concept and its marks."""
    from curator.labelling.concepts import drop_concept

    with opened(name) as index:
        drop_concept(index, chosen)
    echo(f"Dropped {chosen}.")


@click.command("label")
@index_option
@click.option("--classes", metavar="A,B,...", help="Zero-shot: names of classes, in words.")
@click.option("--probe", metavar="COLUMN", help="Learn from the values of a column, such as label.")
@click.option("--run", "run", metavar="RUN", help="Use a classifier that `curator train classifier` trained.")
@where_option
@click.option(
    "--column",
    default="predicted",
    show_default=True,
    help="Where labels go; confidence goes to the same with _confidence.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the images held out to test a probe.")
@sheet_option("the surest disagreements")
@json_option
def label_command(
    *,
    name: str | None,
    classes: str | None,
    probe: str | None,
    run: str | None,
    where: str | None,
    column: str,
    seed: int,
    sheet: Path | None,
    as_json: bool,
) -> None:
    """Label images, with a confidence.

    By words (--classes), by a linear probe on stored vectors (--probe) or by a trained classifier (--run). A person's
    labels are never written over: predictions go to columns of their own, for --where and --per. The accuracy is
    measured on images that have a label, and that a probe did not learn from.
    """
    from curator.errors import UsageError
    from curator.labelling.label import label_by_probe, label_by_words

    if sum(way is not None for way in (classes, probe, run)) != 1:
        raise UsageError("label takes one of --classes A,B,..., --probe COLUMN and --run RUN")
    with opened(name) as index, working() as job:
        if run is not None:
            from curator.runs.apply import label_by_run
            from curator.runs.lookup import run_of

            classifier = run_of(index, run, trainer="classifier")
            done = label_by_run(index, classifier, named=where, column=column, job=job)
        elif classes is not None:
            done = label_by_words(index, classes.split(","), where=where, column=column, job=job)
        else:
            done = label_by_probe(index, str(probe), where=where, column=column, seed=seed, job=job)
        images = {i.id: i for i in index.images(list(done.disagreements[:60]))}
    if as_json:
        facts = {
            "accuracy": None if math.isnan(done.accuracy) else done.accuracy,
            "tested": done.tested,
            "classes": done.classes,
        }
        print_json(facts | {"labelled": len(done.predictions), "disagreements": done.disagreements})
        return
    _print_labels(done, images, column)
    if sheet:
        _draw_disagreements(done, images, sheet)


def _print_labels(done: Labelled, images: dict[int, Image], column: str) -> None:
    counts = {c: sum(p == c for p, _ in done.predictions.values()) for c in done.classes}
    echo(table(list(counts.items()), (column, "images")))
    tested = (
        "no image has a label to test with"
        if math.isnan(done.accuracy)
        else f"accuracy {done.accuracy:.1%} on {done.tested} images"
    )
    echo(f"\n{plural(len(done.predictions), 'image')} labelled in '{column}'; {tested}.")
    if all(math.isnan(sure) for _, sure in done.predictions.values()):
        echo("How sure that is has not been learnt here, or did not hold (see `curator guide search`).")
    for i in list(images)[:12]:
        said, sure = done.predictions[i]
        echo(f"  {images[i].label or '':<16} looks like {said:<16} {known(sure, '.0%')}  id:{i}  {images[i].path}")


def _draw_disagreements(done: Labelled, images: dict[int, Image], sheet: Path) -> None:
    from curator.drawing.sheets import Section, Tile, save_sheet

    tiles = [
        Tile(
            im.path, f"{done.predictions[i][0]} {known(done.predictions[i][1], '.0%')}", f"labelled {im.label}  id:{i}"
        )
        for i, im in images.items()
    ]
    written = save_sheet([Section(f"{len(done.disagreements)} disagreements", tiles)], sheet)
    say(f"Sheet: {written}")


COMMANDS = (concepts_group, label_command)


def _former(**given: Any) -> Any:
    say("Note: `curator concept` is now called `curator concepts`.")
    assert concepts_group.callback is not None
    return concepts_group.callback(**given)


FORMER = copy.copy(concepts_group)
FORMER.name, FORMER.hidden, FORMER.callback = "concept", True, _former
