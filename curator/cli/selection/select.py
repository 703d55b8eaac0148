"""Commands that choose training data and hand it on: select, export."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curator.cli import completing
from curator.cli.face import echo, opened, print_json, say, table, working
from curator.cli.options import (
    IMAGES,
    FiniteRange,
    index_option,
    json_option,
    output_option,
    overwrite_option,
    seed_option,
    sheet_option,
    where_option,
)
from curator.cli.runs import export_run
from curator.cli.selection.preview import preview_command
from curator.texts import plural

if TYPE_CHECKING:
    from curator.index import Index
    from curator.records import Selection

_LABELS = 12  # whose counts are shown


@click.command("select")
@click.argument("chosen", metavar="NAME", required=False)
@index_option
@click.option("-n", type=click.IntRange(1), help="How many images. [default: all that are left]")
@click.option("--by", default="random", show_default=True, metavar="OBJECTIVE", help="What to choose by; see above.")
@where_option
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
@click.option("--threshold", type=FiniteRange(-1, 1), help="Least score of a semantic duplicate.")
@click.option(
    "--per",
    metavar="COLUMN",
    help="As many of each value of this column, such as label; images without one count as one more.",
)
@click.option("--extend", metavar="SELECTION", help="Begin with these images, and choose what adds to them.")
@click.option("--reference", metavar=IMAGES, help="What match, importance and herding follow.")
@seed_option
@overwrite_option
@click.option(
    "--replay",
    "manifest",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="MANIFEST",
    help="Make this one again.",
)
@click.option(
    "--as-listed", is_flag=True, help="With --replay: take the listed images by content, instead of the recipe."
)
@sheet_option("the first images")
@json_option
def select_command(
    *, chosen: str | None, name: str | None, manifest: Path | None, as_listed: bool, overwrite: bool,
    sheet: Path | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Choose images to train on.

    The choice is kept as NAME: ordered, immutable, with a recipe that makes it again.

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
    from curator.selection.select import replay, select

    differences: tuple[str, ...] = ()
    with opened(name) as index:
        with working() as job:
            if manifest is not None:
                if Recipe(**options) != Recipe():
                    raise UsageError(
                        "--replay makes a selection by the manifest's own recipe; leave the other options out"
                    )
                done = replay(
                    index, read_manifest(manifest), name=chosen, as_listed=as_listed, overwrite=overwrite, job=job
                )
                selection, differences = done.selection, done.differences
            elif chosen is None:
                raise UsageError("name the selection: curator select NAME [OPTIONS]")
            else:
                command = shlex.join(["curator", *sys.argv[1:]])
                selection = select(index, chosen, Recipe(**options), overwrite=overwrite, command=command, job=job)
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
    from curator.database import Selections

    steps = [(step["step"], step["before"], step["after"]) for step in s.recipe.get("steps", ())]
    if steps:
        echo(table(steps, ("step", "from", "to")))
    labels = Selections(index.reader).labels_of(s.ids)
    if labels:
        counts = ", ".join(f"{label} {count}" for label, count in labels.most_common(_LABELS))
        echo(f"labels: {counts}{' …' if len(labels) > _LABELS else ''}")
    echo(f"{s.name}: {plural(len(s), 'image')}, {s.digest[:16]}")


def draw_selection(index: Index, s: Selection, target: Path) -> None:
    """The first sixty images on a contact sheet."""
    from curator.drawing.sheets import Section, Tile, save_sheet

    images = index.images(s.ids[:60])
    tiles = [
        Tile(i.path, f"{rank}  {i.label or ''}", f"id:{i.id}  {v:.3f}")
        for rank, (i, v) in enumerate(zip(images, s.values, strict=False))
    ]
    written = save_sheet([Section(f"{s.name}: the first {len(tiles)} of {len(s)}", tiles)], target, columns=10)
    say(f"Sheet: {written}")


@click.command("export")
@click.argument("names", nargs=-1, metavar="[SELECTION]...", shell_complete=completing.selections)
@output_option("A new folder for it.", folder=True)
@index_option
@click.option("--as", "form", default="imagefolder", show_default=True, metavar="FORM", help="In what form; see below.")
@click.option(
    "--link",
    type=click.Choice(["copy", "hardlink", "symlink", "none"]),
    default="copy",
    show_default=True,
    help="How pictures get there.",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    metavar="SPLIT=SELECTION",
    help="What a selection becomes; repeatable.",
)
@click.option("--size", type=click.IntRange(1), help="Long side of pictures at most, in pixels; the side for stylegan.")
@click.option(
    "--alpha",
    type=click.Choice(["keep", "white", "crop"]),
    default="keep",
    show_default=True,
    help="Transparency: as it is (but for stylegan), on white, or cut to what is seen, on white.",
)
@click.option("--keep-folders", is_flag=True, help="Keep the folders and names of the sources.")
@click.option("--repeats", type=click.IntRange(1), default=10, show_default=True, help="In an epoch, for kohya.")
@click.option(
    "--shard", type=click.IntRange(1), default=1000, show_default=True, help="Images per tar or parquet file."
)
def export_command(
    names: tuple[str, ...], *, output: Path | None, name: str | None, splits: tuple[str, ...], **options: Any
) -> None:
    """Write selections in a form that others read.

    They go into a new folder, -o; several selections become splits of one set.

    \b
    imagefolder     SPLIT/LABEL/picture and metadata.jsonl: datasets, torchvision
    webdataset      tar shards
    parquet         pictures inside, as datasets stores them
    coco            images and annotations
    csv, jsonl      a table, with or without the pictures
    npy             embeddings and ids
    clip-retrieval  embeddings and metadata as clip-retrieval and embedding-reader lay them out
    kohya           10_LABEL/picture and its captions as .txt, for LoRA trainers
    diffusers       pictures and metadata.jsonl with the column text
    stylegan        a zip of square pictures and dataset.json with labels

    Beside each stand images.csv with the further columns of the images, manifest.json and croissant.json. The
    same selection gives the same bytes. What a run trained is written by `curator runs export`.
    """
    from curator.errors import UsageError
    from curator.runs.train import RUN_FORMS
    from curator.selection.export import ExportOptions, export

    pairs = [split.partition("=") for split in splits]
    if any(not split or not selection for split, _, selection in pairs):
        raise UsageError("--split takes SPLIT=SELECTION, as in --split train=shoes-train")
    names = tuple(dict.fromkeys([*names, *(selection for _, _, selection in pairs)]))
    if output is None and len(names) > 1:
        *first, last = names
        say(f"Note: the folder is now named by -o: curator export {' '.join(first)} -o {last}")
        names, output = tuple(first), Path(last)
    if output is None or not names:
        raise UsageError("name a new folder for it: curator export SELECTION -o FOLDER")
    with opened(name) as index, working() as job:
        if options["form"] in RUN_FORMS:  # as it was written once
            say(f"Note: it is now `curator runs export {names[0]} -o {output} --as {options['form']}`.")
            export_run(index, names[0], output, options["form"])
            return
        count = export(
            index, list(names), output, ExportOptions(splits={s: split for split, _, s in pairs}, **options), job=job
        )
    echo(f"{output}: {plural(count, 'image')} as {options['form']}.")


COMMANDS = (select_command, preview_command, export_command)
