"""Commands that choose training data: select, selections, preview."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curator.cli.face import index_option, json_option, opened, plural, print_json, progress_bar, say, table

if TYPE_CHECKING:
    from curator.index import Index
    from curator.records import Selection

_overwrite = click.option("--overwrite", is_flag=True, help="Replace a selection of the same name.")


@click.command()
@click.argument("chosen", metavar="NAME", required=False)
@index_option
@click.option("-n", type=click.IntRange(1), help="How many images. [default: all that are left]")
@click.option("--by", default="random", show_default=True, metavar="OBJECTIVE", help="What to choose by; see below.")
@click.option("--where", help="Only images for which this SQL condition holds.")
@click.option("--origin", type=click.Choice(["real", "generated", "any"]), default="real", show_default=True, help="Of which origin.")
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
@click.option("--per", metavar="COLUMN", help="As many of each value of this column, such as label.")
@click.option("--extend", metavar="SELECTION", help="Begin with these images, and choose what adds to them.")
@click.option("--reference", metavar="SELECTION|FOLDER|CONDITION", help="What match, importance and herding follow.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@_overwrite
@click.option("--replay", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="MANIFEST", help="Make this one again.")
@click.option("--as-listed", is_flag=True, help="With --replay: take the listed images by content, instead of the recipe.")
@click.option("--sheet", type=click.Path(path_type=Path, dir_okay=False), help="Draw the first images on a contact sheet.")
@json_option
def select(
    *, chosen: str | None, name: str | None, replay: Path | None, as_listed: bool, overwrite: bool, sheet: Path | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Choose images to train on, and keep the choice as NAME: ordered, immutable, with a recipe that makes it again.

    Filter, dedupe, score, select:  curator select shoes-2k --where "width >= 128" --match "red sneakers" --avoid drawing --by k-center -n
    2000 --per label

    \b
    --by takes one of the first, or scores with powers, alone or times one of the first, as in "typicality^0.5 * k-center":
      random, balanced, hierarchical, k-center, facility-location, herding, importance
      typicality, uniqueness, density, density-ppca, density-knn, match, words

    Generated images are chosen only if --origin says so; rejected ones never. Exit code 1 if a --replay is not identical.
    """
    from curator.curate.recipe import Recipe, read_manifest
    from curator.curate.select import replay as again
    from curator.curate.select import select as choose
    from curator.errors import UsageError

    differences: tuple[str, ...] = ()
    with opened(name) as index:
        with progress_bar() as progress:
            if replay is not None:
                done = again(index, read_manifest(replay), name=chosen, as_listed=as_listed, overwrite=overwrite, progress=progress)
                selection, differences = done.selection, done.differences
            elif chosen is None:
                raise UsageError("name the selection: curator select NAME [OPTIONS]")
            else:
                command = shlex.join(["curator", *sys.argv[1:]])
                selection = choose(index, chosen, Recipe(**options), overwrite=overwrite, command=command, progress=progress)
        _print_selection(index, selection, as_json=as_json)
        if sheet:
            _draw(index, selection, sheet)
    for line in differences:
        say(f"Differs: {line}.")
    if differences and not as_listed:
        say("Not kept, because it is not identical; --as-listed takes those listed images that are there.")
    sys.exit(1 if differences else 0)


def _print_selection(index: Index, s: Selection, *, as_json: bool) -> None:
    if as_json:
        from curator.curate.recipe import manifest_of

        print_json(manifest_of(index, s))
        return
    steps = [(step["step"], step["before"], step["after"]) for step in s.recipe.get("steps", ())]
    if steps:
        click.echo(table(steps, ("step", "from", "to")))
    click.echo(f"{s.name}: {plural(len(s), 'image')}, {s.digest[:16]}")


def _draw(index: Index, s: Selection, target: Path) -> None:
    from curator.sheets import Section, Tile, save_sheet

    images = index.images(s.ids[:60])
    tiles = [
        Tile(i.path, f"{rank}  {i.label or ''}", f"id:{i.id}  {v:.3f}") for rank, (i, v) in enumerate(zip(images, s.values, strict=False))
    ]
    save_sheet([Section(f"{s.name}: the first {len(tiles)} of {len(s)}", tiles)], target, columns=10)
    say(f"Sheet: {target}")


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
        {"name": s.name, "images": len(s), "by": _made(s), "digest": s.digest, "created_at": s.created_at} for s in found
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
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file instead of standard output.")
@_inner_index
def manifest_command(outer: str | None, chosen: str, output: Path | None, name: str | None) -> None:
    """Write a selection's manifest: recipe, counts of every step, and every image with its SHA-256. `select --replay` reads it."""
    from curator.curate.recipe import manifest_of, write_manifest
    from curator.database import Selections

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
@click.option("--sheet", type=click.Path(path_type=Path, dir_okay=False), help="Draw the first images on a contact sheet.")
@json_option
@_inner_index
def show_command(outer: str | None, *, chosen: str, paths: bool, sheet: Path | None, as_json: bool, name: str | None) -> None:
    """Show how a selection was made, or its images."""
    from curator.database import Selections

    with opened(name or outer) as index:
        s = Selections(index.reader).get(chosen)
        if paths:
            for image in index.images(s.ids):
                click.echo(str(image.path))
        else:
            _print_selection(index, s, as_json=as_json)
        if sheet:
            _draw(index, s, sheet)


@selections.command("diff")
@click.argument("first")
@click.argument("second")
@json_option
@_inner_index
def diff_command(outer: str | None, *, first: str, second: str, as_json: bool, name: str | None) -> None:
    """Compare two selections by content. Exit code 1 if they differ."""
    from dataclasses import asdict

    from curator.curate.sets import diff

    with opened(name or outer) as index:
        found = diff(index, first, second)
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(f"{len(found.first)} only in {first}, {len(found.second)} only in {second}, {len(found.both)} in both.")
    sys.exit(1 if found.first or found.second else 0)


@selections.command("union")
@click.argument("chosen", metavar="NAME")
@click.argument("parts", nargs=-1, required=True)
@_overwrite
@_inner_index
def union_command(outer: str | None, *, chosen: str, parts: tuple[str, ...], overwrite: bool, name: str | None) -> None:
    """Keep as NAME the images of all PARTS, in their order, each content once."""
    _combine(name or outer, chosen, "union", parts, overwrite)


@selections.command("minus")
@click.argument("chosen", metavar="NAME")
@click.argument("parts", nargs=-1, required=True)
@_overwrite
@_inner_index
def minus_command(outer: str | None, *, chosen: str, parts: tuple[str, ...], overwrite: bool, name: str | None) -> None:
    """Keep as NAME the first of PARTS without the images of the others."""
    _combine(name or outer, chosen, "minus", parts, overwrite)


def _combine(index_name: str | None, chosen: str, how: str, parts: tuple[str, ...], overwrite: bool) -> None:
    from curator.curate.sets import combine

    with opened(index_name) as index:
        _print_selection(index, combine(index, chosen, how, parts, overwrite=overwrite), as_json=False)


@selections.command("split")
@click.argument("chosen", metavar="NAME")
@click.argument("parts", nargs=-1, required=True, metavar="PART=SHARE...")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--level", type=click.Choice(["exact", "verified", "semantic"]), default="verified", show_default=True, help="What stays together."
)
@_overwrite
@_inner_index
def split_command(
    outer: str | None, *, chosen: str, parts: tuple[str, ...], seed: int, level: str, overwrite: bool, name: str | None
) -> None:
    """Divide a selection, such as into train=0.8 test=0.2, by a hash of content; duplicates go to one part as a whole.

    The parts are selections of their own, NAME-PART. Images added later never move one that was there.
    """
    from curator.curate.sets import parse_shares, split

    with opened(name or outer) as index, progress_bar() as progress:
        for s in split(index, chosen, parse_shares(parts), seed=seed, level=level, overwrite=overwrite, progress=progress):
            _print_selection(index, s, as_json=False)


@selections.command("drop")
@click.argument("names", nargs=-1, required=True)
@_inner_index
def drop_command(outer: str | None, names: tuple[str, ...], name: str | None) -> None:
    """Forget selections. No image and no file is touched."""
    from curator.curate.sets import drop

    with opened(name or outer) as index:
        drop(index, names)
    click.echo(f"Dropped {plural(len(names), 'selection')}; no image was touched.")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="SELECTION...")
@index_option
@click.option("--against", required=True, metavar="SELECTION|FOLDER|CONDITION", help="Held-out images to compare with.")
@click.option("--balance", "column", default="label", show_default=True, metavar="COLUMN", help="Whose values should be spread evenly.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the controls and the intervals.")
@json_option
def preview(names: tuple[str, ...], *, name: str | None, against: str, column: str, seed: int, as_json: bool) -> None:
    """Compare selections with held-out images before training on them: distance, variety, duplicates, balance; best first.

    Beside each stand random choices of the same size. Ranks are by Fréchet distance in the index's space, with the ranks that its interval
    allows.
    """
    from dataclasses import asdict

    from curator.curate.preview import preview as compare

    with opened(name) as index, progress_bar() as progress:
        rows = compare(index, names, against, column=column, seed=seed, progress=progress)
    if as_json:
        print_json([asdict(r) for r in rows])
        return
    shown = [
        (r.rank, f"{r.rank_low}–{r.rank_high}", r.name, r.images, f"{r.frechet:.4f}", f"{r.low:.4f}–{r.high:.4f}", f"{r.precision:.3f}",
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


COMMANDS = (select, selections, preview)
