"""`curator selections`: list, show, compare, join, subtract, split and drop selections."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curator.cli import completing
from curator.cli.face import echo, opened, print_json, say, table, working
from curator.cli.options import index_option, inner_index, json_option, output_option, overwrite_option, sheet_option
from curator.cli.selection.select import draw_selection, print_selection
from curator.texts import plural

if TYPE_CHECKING:
    from curator.records import Selection


@click.group("selections", invoke_without_command=True)
@index_option
@json_option
@click.pass_context
def selections_group(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List, show, join, split or drop selections.

    Without a subcommand: list them. `diff` compares two, `manifest` writes one to a file.
    """
    from curator.database import Selections

    ctx.obj = name
    if ctx.invoked_subcommand is not None:
        return
    with opened(name) as index:
        selections = [Selections(index.reader).get(n) for n in Selections(index.reader).names()]
    rows = [
        {"name": s.name, "images": len(s), "by": _made(s), "digest": s.digest,
        "created_at": s.created_at} for s in selections
    ]  # fmt: skip
    if as_json:
        print_json(rows)
    else:
        shown = [(r["name"], r["images"], r["by"], str(r["digest"])[:12], r["created_at"]) for r in rows]
        echo(
            table(shown, ("name", "images", "by", "digest", "created at"))
            if rows
            else "No selections yet; `curator select NAME` makes one."
        )


def _made(s: Selection) -> str:
    return str(s.recipe.get("made_by") or s.recipe.get("recipe", {}).get("by", ""))


@selections_group.command("manifest")
@click.argument("chosen", metavar="NAME")
@output_option("Write it to a file instead of standard output.")
@inner_index
def manifest_command(*, chosen: str, output: Path | None, name: str | None) -> None:
    """Write a selection's manifest: recipe, counts of every step, and every image with its SHA-256.

    `select --replay` reads it.
    """
    from curator.database import Selections
    from curator.selection.recipe import manifest_of, write_manifest

    with opened(name) as index:
        manifest = manifest_of(index, Selections(index.reader).get(chosen))
    if output is None:
        print_json(manifest)
    else:
        write_manifest(manifest, output)
        say(f"Manifest: {output}")


@selections_group.command("show")
@click.argument("chosen", metavar="NAME", shell_complete=completing.selections)
@click.option("--paths", is_flag=True, help="Print paths only, a line each.")
@sheet_option("the first images")
@json_option
@inner_index
def show_command(*, chosen: str, paths: bool, sheet: Path | None, as_json: bool, name: str | None) -> None:
    """Show how a selection was made, or its images."""
    from curator.database import Selections

    with opened(name) as index:
        s = Selections(index.reader).get(chosen)
        if paths:
            for image in index.images(s.ids):
                echo(str(image.path))
        else:
            print_selection(index, s, as_json=as_json)
        if sheet:
            draw_selection(index, s, sheet)


@selections_group.command("diff")
@click.argument("first", shell_complete=completing.selections)
@click.argument("second", shell_complete=completing.selections)
@json_option
@inner_index
def diff_command(*, first: str, second: str, as_json: bool, name: str | None) -> None:
    """Compare two selections by content. Exit code 1 if they differ."""
    from dataclasses import asdict

    from curator.selection.sets import diff

    with opened(name) as index:
        difference = diff(index, first, second)
    if as_json:
        print_json(asdict(difference))
    else:
        echo(
            f"{len(difference.first)} only in {first}, {len(difference.second)} only in {second}, "
            f"{len(difference.both)} in both."
        )
    sys.exit(1 if difference.first or difference.second else 0)


@selections_group.command("union")
@click.argument("chosen", metavar="NAME")
@click.argument("parts", nargs=-1, required=True, shell_complete=completing.selections)
@overwrite_option
@inner_index
def union_command(*, chosen: str, parts: tuple[str, ...], overwrite: bool, name: str | None) -> None:
    """Keep as NAME the images of all PARTS, in their order, each content once."""
    _combine(name, chosen, "union", parts, overwrite)


@selections_group.command("minus")
@click.argument("chosen", metavar="NAME")
@click.argument("parts", nargs=-1, required=True, shell_complete=completing.selections)
@overwrite_option
@inner_index
def minus_command(*, chosen: str, parts: tuple[str, ...], overwrite: bool, name: str | None) -> None:
    """Keep as NAME the first of PARTS without the images of the others."""
    _combine(name, chosen, "minus", parts, overwrite)


def _combine(index_name: str | None, chosen: str, how: str, parts: tuple[str, ...], overwrite: bool) -> None:
    from curator.selection.sets import combine

    with opened(index_name) as index:
        print_selection(index, combine(index, chosen, how, parts, overwrite=overwrite), as_json=False)


@selections_group.command("split")
@click.argument("chosen", metavar="NAME")
@click.argument("parts", nargs=-1, required=True, metavar="PART=SHARE...")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the hash that divides.")
@click.option(
    "--level",
    type=click.Choice(["exact", "verified", "semantic"]),
    default="verified",
    show_default=True,
    help="What stays together.",
)
@overwrite_option
@inner_index
def split_command(
    *, chosen: str, parts: tuple[str, ...], seed: int, level: str, overwrite: bool, name: str | None
) -> None:
    """Divide a selection, such as into train=0.8 test=0.2, by a hash of content; duplicates go to one part as a whole.

    The parts are selections of their own, NAME-PART. Other pictures that are added later never move one that was there.
    """
    from curator.selection.sets import absent_labels, parse_shares, split

    with opened(name) as index, working() as job:
        made_of = split(index, chosen, parse_shares(parts), seed=seed, level=level, overwrite=overwrite, job=job)
        for s in made_of:
            print_selection(index, s, as_json=False)
        absent = absent_labels(index, made_of)
    for part, labels in absent.items():
        shown = f"{', '.join(labels[:5])}{' …' if len(labels) > 5 else ''}"
        say(f"Note: {part} has no image of {shown}. What numbers labels by their folders, as torchvision does,")
        say("numbers them otherwise there; another --seed may draw one.")


@selections_group.command("drop")
@click.argument("names", nargs=-1, required=True, shell_complete=completing.selections)
@inner_index
def drop_command(*, names: tuple[str, ...], name: str | None) -> None:
    """Forget selections. No image and no file is touched."""
    from curator.selection.sets import drop

    with opened(name) as index:
        drop(index, names)
    echo(f"Dropped {plural(len(names), 'selection')}; no image was touched.")


COMMANDS = (selections_group,)
