"""Commands that choose training data and hand it on: select, preview, export."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curator.cli.face import SELECTION, index_option, json_option, opened, plural, print_json, say, table, working

if TYPE_CHECKING:
    from curator.index import Index
    from curator.records import Selection

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace a selection of the same name.")


@click.command()
@click.argument("chosen", metavar="NAME", required=False)
@index_option
@click.option("-n", type=click.IntRange(1), help="How many images. [default: all that are left]")
@click.option("--by", default="random", show_default=True, metavar="OBJECTIVE", help="What to choose by; see below.")
@click.option("--where", help="Only images for which this SQL condition holds.")
@click.option(
    "--origin",
    type=click.Choice(["real", "generated", "any"]),
    default="real",
    show_default=True,
    help="Of which origin.",
)
@click.option("--match", multiple=True, metavar="WORDS|concept:NAME", help="Prefer images that fit; repeatable.")
@click.option("--avoid", multiple=True, metavar="WORDS|concept:NAME", help="Prefer images that do not fit; repeatable.")
@click.option(
    "--dedupe",
    type=click.Choice(["known", "none", "exact", "verified", "semantic"]),
    default="known",
    show_default=True,
    help="Leave duplicates out: those the last `curator dedupe` found, or found now at a level.",
)
@click.option("--threshold", type=click.FloatRange(-1, 1), help="Least score of a semantic duplicate.")
@click.option(
    "--per",
    metavar="COLUMN",
    help="As many of each value of this column, such as label; images without one count as one more.",
)
@click.option("--extend", metavar="SELECTION", help="Begin with these images, and choose what adds to them.")
@click.option("--reference", metavar=SELECTION, help="What match, importance and herding follow.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@overwrite_option
@click.option(
    "--replay",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="MANIFEST",
    help="Make this one again.",
)
@click.option(
    "--as-listed", is_flag=True, help="With --replay: take the listed images by content, instead of the recipe."
)
@click.option(
    "--sheet", type=click.Path(path_type=Path, dir_okay=False), help="Draw the first images on a contact sheet."
)
@json_option
def select(
    *, chosen: str | None, name: str | None, replay: Path | None, as_listed: bool, overwrite: bool, sheet: Path | None,
    as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Choose images to train on, and keep the choice as NAME: ordered, immutable, with a recipe that makes it again.

    Filter, dedupe, score, select:  curator select shoes-2k --where "width >= 128" --match "red sneakers" --avoid
    drawing --by k-center -n 2000 --per label

    \b
    --by takes one of the first, or scores with powers, alone or times one of the first,
    as in "typicality^0.5 * k-center":
      random, balanced, hierarchical, k-center, facility-location, herding, importance
      typicality, uniqueness, density, density-ppca, density-knn, match, words

    Generated images are chosen only if --origin says so; rejected ones never. Exit code 1 if a --replay is not
    identical."""
    from curator.errors import UsageError
    from curator.selection.recipe import Recipe, read_manifest
    from curator.selection.select import replay as again
    from curator.selection.select import select as choose

    differences: tuple[str, ...] = ()
    with opened(name) as index:
        with working() as job:
            if replay is not None:
                if Recipe(**options) != Recipe():
                    raise UsageError(
                        "--replay makes a selection by the manifest's own recipe; leave the other options out"
                    )
                done = again(
                    index, read_manifest(replay), name=chosen, as_listed=as_listed, overwrite=overwrite, job=job
                )
                selection, differences = done.selection, done.differences
            elif chosen is None:
                raise UsageError("name the selection: curator select NAME [OPTIONS]")
            else:
                command = shlex.join(["curator", *sys.argv[1:]])
                selection = choose(index, chosen, Recipe(**options), overwrite=overwrite, command=command, job=job)
        print_selection(index, selection, as_json=as_json)
        if sheet:
            draw_selection(index, selection, sheet)
    for line in differences:
        say(f"Differs: {line}.")
    if differences and not as_listed:
        say("Not kept, because it is not identical; --as-listed takes those listed images that are there.")
    sys.exit(1 if differences else 0)


def print_selection(index: Index, s: Selection, *, as_json: bool) -> None:
    """Its steps and digest, or its manifest."""
    if as_json:
        from curator.selection.recipe import manifest_of

        print_json(manifest_of(index, s))
        return
    steps = [(step["step"], step["before"], step["after"]) for step in s.recipe.get("steps", ())]
    if steps:
        click.echo(table(steps, ("step", "from", "to")))
    click.echo(f"{s.name}: {plural(len(s), 'image')}, {s.digest[:16]}")


def draw_selection(index: Index, s: Selection, target: Path) -> None:
    """The first sixty images on a contact sheet."""
    from curator.drawing.sheets import Section, Tile, save_sheet

    images = index.images(s.ids[:60])
    tiles = [
        Tile(i.path, f"{rank}  {i.label or ''}", f"id:{i.id}  {v:.3f}")
        for rank, (i, v) in enumerate(zip(images, s.values, strict=False))
    ]
    save_sheet([Section(f"{s.name}: the first {len(tiles)} of {len(s)}", tiles)], target, columns=10)
    say(f"Sheet: {target}")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="SELECTION...")
@index_option
@click.option("--against", required=True, metavar=SELECTION, help="Held-out images to compare with.")
@click.option(
    "--balance",
    "column",
    default="label",
    show_default=True,
    metavar="COLUMN",
    help="Whose values should be spread evenly.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the controls and the intervals.")
@json_option
def preview(names: tuple[str, ...], *, name: str | None, against: str, column: str, seed: int, as_json: bool) -> None:
    """Compare selections with held-out images before training on them: distance, variety, duplicates, balance; best
    first.

    Beside each stand random choices of the same size. Ranks are by Fréchet distance in the index's space, with the
    ranks that its interval allows."""
    from dataclasses import asdict

    from curator.selection.preview import preview as compare

    with opened(name) as index, working() as job:
        rows = compare(index, names, against, column=column, seed=seed, job=job)
    if as_json:
        print_json([asdict(r) for r in rows])
        return
    shown = [
        (r.rank, f"{r.rank_low}–{r.rank_high}", r.name, r.images, f"{r.frechet:.4f}", f"{r.low:.4f}–{r.high:.4f}",
        f"{r.precision:.3f}",
         f"{r.recall:.3f}", f"{r.density:.3f}", f"{r.coverage:.3f}", f"{r.duplicates:.1%}", f"{r.balance:.3f}")
        for r in rows
    ]  # fmt: skip
    heads = (
        "rank",
        "may be",
        "selection",
        "images",
        "Fréchet",
        "95 %",
        "precision",
        "recall",
        "density",
        "coverage",
        "duplicates",
        "balance",
    )
    click.echo(table(shown, heads))


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="SELECTION... FOLDER | RUN FILE")
@index_option
@click.option("--as", "form", default="imagefolder", show_default=True, metavar="FORM", help="In what form; see below.")
@click.option(
    "--link",
    type=click.Choice(["copy", "hardlink", "symlink", "none"]),
    default="copy",
    show_default=True,
    help="How pictures get there.",
)
@click.option("--size", type=click.IntRange(1), help="Reduce pictures to this long side, in pixels.")
@click.option(
    "--shard", type=click.IntRange(1), default=1000, show_default=True, help="Images per tar or parquet file."
)
def export(names: tuple[str, ...], *, name: str | None, **options: Any) -> None:
    """Write selections into a new FOLDER, in a form that others read; several selections become splits of one set.

    \b
    imagefolder     SPLIT/LABEL/picture and metadata.jsonl: datasets, torchvision
    webdataset      tar shards
    parquet         pictures inside, as datasets stores them
    coco            images and annotations
    csv, jsonl      a table, with or without the pictures
    npy             embeddings and ids
    clip-retrieval  embeddings and metadata as clip-retrieval and embedding-reader lay them out

    Beside it stand images.csv, manifest.json and croissant.json. The same selection gives the same bytes. A training
    run is written as `onnx`, checked against torch, or `safetensors`: curator export RUN FILE --as onnx"""
    from curator.errors import UsageError
    from curator.runs.train import RUN_FORMS, export_network
    from curator.selection.export import ExportOptions
    from curator.selection.export import export as write

    if len(names) < 2:
        raise UsageError("name a selection, and a new folder: curator export SELECTION FOLDER")
    with opened(name) as index, working() as job:
        if options["form"] in RUN_FORMS:
            apart = export_network(index, names[0], options["form"], Path(names[-1]))
            click.echo(
                f"{names[-1]}: {names[0]} as {options['form']}" + (f", within {apart:.1g} of torch." if apart else ".")
            )
            return
        count = write(index, list(names[:-1]), Path(names[-1]), ExportOptions(**options), job=job)
    click.echo(f"{names[-1]}: {plural(count, 'image')} as {options['form']}.")


COMMANDS = (select, preview, export)
