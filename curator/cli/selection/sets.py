"""`curator selections`: list, show, compare, join, subtract, split and drop selections."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curator.cli.face import index_option, json_option, opened, plural, print_json, say, table, working
from curator.cli.selection.select import draw_selection, overwrite_option, print_selection

if TYPE_CHECKING:
    from curator.records import Selection


@click.group(invoke_without_command=True)
@index_option
@json_option
@click.pass_context
def selections(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List selections; show, compare, join, subtract, split or drop them, or write their manifests."""
    from curator.database import Selections

    ctx.obj = name
    if ctx.invoked_subcommand is not None:
        return
    with opened(name) as index:
        found = [Selections(index.reader).get(n) for n in Selections(index.reader).names()]
    rows = [
        {"name": s.name, "images": len(s), "by": _made(s), "digest": s.digest,
        "created_at": s.created_at} for s in found
    ]  # fmt: skip
    if as_json:
        print_json(rows)
    else:
        shown = [(r["name"], r["images"], r["by"], str(r["digest"])[:12], r["created_at"]) for r in rows]
        click.echo(
            table(shown, ("name", "images", "by", "digest", "created at"))
            if rows
            else "No selections yet; `curator select NAME` makes one."
        )


def _made(s: Selection) -> str:
    return str(s.recipe.get("made_by") or s.recipe.get("recipe", {}).get("by", ""))


def _inner_index(command: Any) -> Any:
    """`-i` after the subcommand as well as before it."""
    return click.pass_obj(click.option("--index", "-i", "name", metavar="NAME|PATH", help="Which index.")(command))


@selections.command("manifest")
@click.argument("chosen", metavar="NAME")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to a file instead of standard output.",
)
@_inner_index
def manifest_command(outer: str | None, chosen: str, output: Path | None, name: str | None) -> None:
    """Write a selection's manifest: recipe, counts of every step, and every image with its SHA-256. `select --replay`
    reads it."""
    from curator.database import Selections
    from curator.selection.recipe import manifest_of, write_manifest

    with opened(name or outer) as index:
        manifest = manifest_of(index, Selections(index.reader).get(chosen))
    if output is None:
        print_json(manifest)
    else:
        write_manifest(manifest, output)
        say(f"Manifest: {output}")


@selections.command("show")
@click.argument("chosen", metavar="NAME")
@click.option("--paths", is_flag=True, help="Print paths only, a line each.")
@click.option(
    "--sheet", type=click.Path(path_type=Path, dir_okay=False), help="Draw the first images on a contact sheet."
)
@json_option
@_inner_index
def show_command(
    outer: str | None, *, chosen: str, paths: bool, sheet: Path | None, as_json: bool, name: str | None
) -> None:
    """Show how a selection was made, or its images."""
    from curator.database import Selections

    with opened(name or outer) as index:
        s = Selections(index.reader).get(chosen)
        if paths:
            for image in index.images(s.ids):
                click.echo(str(image.path))
        else:
            print_selection(index, s, as_json=as_json)
        if sheet:
            draw_selection(index, s, sheet)


@selections.command("diff")
@click.argument("first")
@click.argument("second")
@json_option
@_inner_index
def diff_command(outer: str | None, *, first: str, second: str, as_json: bool, name: str | None) -> None:
    """Compare two selections by content. Exit code 1 if they differ."""
    from dataclasses import asdict

    from curator.selection.sets import diff

    with opened(name or outer) as index:
        found = diff(index, first, second)
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(
            f"{len(found.first)} only in {first}, {len(found.second)} only in {second}, {len(found.both)} in both."
        )
    sys.exit(1 if found.first or found.second else 0)


@selections.command("union")
@click.argument("chosen", metavar="NAME")
@click.argument("parts", nargs=-1, required=True)
@overwrite_option
@_inner_index
def union_command(outer: str | None, *, chosen: str, parts: tuple[str, ...], overwrite: bool, name: str | None) -> None:
    """Keep as NAME the images of all PARTS, in their order, each content once."""
    _combine(name or outer, chosen, "union", parts, overwrite)


@selections.command("minus")
@click.argument("chosen", metavar="NAME")
@click.argument("parts", nargs=-1, required=True)
@overwrite_option
@_inner_index
def minus_command(outer: str | None, *, chosen: str, parts: tuple[str, ...], overwrite: bool, name: str | None) -> None:
    """Keep as NAME the first of PARTS without the images of the others."""
    _combine(name or outer, chosen, "minus", parts, overwrite)


def _combine(index_name: str | None, chosen: str, how: str, parts: tuple[str, ...], overwrite: bool) -> None:
    from curator.selection.sets import combine

    with opened(index_name) as index:
        print_selection(index, combine(index, chosen, how, parts, overwrite=overwrite), as_json=False)


@selections.command("split")
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
@_inner_index
def split_command(
    outer: str | None, *, chosen: str, parts: tuple[str, ...], seed: int, level: str, overwrite: bool, name: str | None
) -> None:
    """Divide a selection, such as into train=0.8 test=0.2, by a hash of content; duplicates go to one part as a whole.

    The parts are selections of their own, NAME-PART. Other pictures that are added later never move one that was there.
    """
    from curator.selection.sets import parse_shares, split

    with opened(name or outer) as index, working() as job:
        for s in split(index, chosen, parse_shares(parts), seed=seed, level=level, overwrite=overwrite, job=job):
            print_selection(index, s, as_json=False)


@selections.command("drop")
@click.argument("names", nargs=-1, required=True)
@_inner_index
def drop_command(outer: str | None, names: tuple[str, ...], name: str | None) -> None:
    """Forget selections. No image and no file is touched."""
    from curator.selection.sets import drop

    with opened(name or outer) as index:
        drop(index, names)
    click.echo(f"Dropped {plural(len(names), 'selection')}; no image was touched.")


COMMANDS = (selections,)
