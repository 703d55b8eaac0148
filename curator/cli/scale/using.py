"""Commands on a whole set: duplicates, selections, and the way to this machine."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from curator.cli.face import echo, opened, print_json, say, working
from curator.cli.options import (
    FiniteRange,
    index_option,
    json_option,
    overwrite_option,
    seed_option,
)
from curator.cli.scale.making import executor_of, scale_group, workers_options
from curator.texts import plural


@scale_group.command("dedupe")
@click.argument("place", metavar="SET")
@click.argument("name")
@click.option(
    "--level",
    type=click.Choice(["exact", "semantic"]),
    default="exact",
    show_default=True,
    help="The same file or pixels, or a score besides.",
)
@click.option(
    "--threshold", type=FiniteRange(-1, 1), default=0.94, show_default=True, help="Least score, for semantic."
)
@click.option("--keep", default="real,largest,oldest", show_default=True, metavar="RULES", help="Which one stays.")
@click.option("--visits", type=click.IntRange(1), default=6, show_default=True, help="Cells of each row.")
@click.option("--cells", type=click.IntRange(1), help="Cells in all. [default: one for 1,000 rows]")
@click.option("--memory", type=FiniteRange(0.01), default=2.0, show_default=True, help="GiB of one worker.")
@workers_options
@overwrite_option
@json_option
def dedupe_command(
    place: str, name: str, *, where: str, workers: str, trusted_network: bool, keep: str, memory: float,
    overwrite: bool, as_json: bool, **how: Any,
) -> None:  # fmt: skip
    """Find duplicates in a set, and which to keep.

    The result stays in the set as NAME, for `select --dedupe NAME`. No picture is touched, and no pixels are compared:
    what looks alike to the encoder is proposed, and proved after `bring`.
    """
    from curator.scale.dedupe import SetDedupe, dedupe_set

    asked = SetDedupe(keep=tuple(k.strip() for k in keep.split(",")), memory=int(memory * 2**30), **how)
    with working() as job, executor_of(where, workers, trusted_network=trusted_network) as executor:
        result = dedupe_set(place, name, asked, executor, overwrite=overwrite, job=job)
    if as_json:
        print_json(asdict(result))
        return
    echo(
        f"{result.images:,} images: {result.same_file:,} the same file, {result.same_pixels:,} the same pixels, "
        f"{result.alike:,} alike; {result.kept:,} stay."
    )
    if result.recall is not None:
        low, high = result.recall
        echo(
            f"Of {result.edges:,} pairs that a sample has, {result.held:,} were found: recall {low:.3f} to {high:.3f}."
        )
    for note in result.notes:
        say(f"Note: {note}.")


@scale_group.command("select")
@click.argument("place", metavar="SET")
@click.argument("name")
@click.option("-n", "n", type=click.IntRange(1), required=True, help="How many images.")
@click.option(
    "--by",
    default="random",
    show_default=True,
    metavar="SELECTOR",
    help="random, balanced, importance, k-center or facility-location.",
)
@click.option("--where", "condition", metavar="CONDITION", help="Only images for which this SQL of DuckDB's holds.")
@click.option("--dedupe", metavar="NAME", help="Leave out the duplicates of a result of `curator scale dedupe`.")
@click.option("--reference", metavar="SET2", help="A set that the choice should be like; for importance.")
@click.option(
    "--origin", type=click.Choice(["real", "generated", "any"]), default="real", show_default=True, help="Which images."
)
@click.option("--per", default="label", show_default=True, metavar="COLUMN", help="What balanced balances over.")
@seed_option
@workers_options
@overwrite_option
@json_option
def select_command(
    place: str, name: str, *, where: str, workers: str, trusted_network: bool, condition: str | None, overwrite: bool,
    as_json: bool, **recipe: Any,
) -> None:  # fmt: skip
    """Choose images of a set."""
    from curator.scale.choosing import SetRecipe
    from curator.scale.select import select_from

    asked = SetRecipe(where=condition, **recipe)
    with working() as job, executor_of(where, workers, trusted_network=trusted_network) as executor:
        chosen = select_from(place, name, asked, executor, overwrite=overwrite, job=job)
    if as_json:
        print_json(asdict(chosen))
        return
    how = "in two rounds" if chosen.rounds == 2 else "in one pass"
    echo(f"{plural(chosen.count, 'image')} chosen {how}, of {chosen.candidates:,} that the shards gave: '{name}'.")
    echo(f"`curator scale bring {place} {name}` fetches them.")


@scale_group.command("bring")
@click.argument("place", metavar="SET")
@click.argument("selection")
@index_option
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the pictures go. [default: SELECTION-pictures]",
)
@overwrite_option
@json_option
def bring_command(
    place: str, selection: str, *, name: str | None, to: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Fetch a selection into a local index.

    Pictures are checked by their SHA-256, vectors are taken over after a sample was encoded again, and the selection is
    kept in the index under its name.
    """
    from curator.files import locate
    from curator.index import Index
    from curator.scale.bring import bring

    with Index.create(locate(name)) as index, working() as job:
        done = bring(place, selection, index, to or Path(f"{selection}-pictures"), overwrite=overwrite, job=job)
    if as_json:
        print_json(asdict(done))
    else:
        echo(
            f"{plural(done.fetched, 'picture')} fetched, {done.already} were here, {len(done.missing)} could not be "
            f"had; {done.report.new} new in {locate(name)}."
        )
        for uri, reason in list(done.missing.items())[:10]:
            say(f"Missing: {uri}: {reason}")
    sys.exit(1 if done.missing else 0)


@click.command("push")
@click.argument("place", metavar="[SET]", required=False)
@index_option
@click.option("--to", "url", required=True, metavar="URL", help="Such as postgres://HOST/DB?set=NAME.")
@click.option("--where", metavar="CONDITION", help="Only images for which this SQL holds.")
@click.option("--replace", is_flag=True, help="Let go what the service has from another set or index.")
@json_option
def push_command(
    place: str | None, name: str | None, *, url: str, where: str | None, replace: bool, as_json: bool
) -> None:
    """Load a set or an index into a service.

    SET is a set of shards; without it the images of an index are loaded. Run again, it loads what is missing or has
    changed, and takes away what has gone. `curator search --on URL` asks the service.
    """
    from curator.scale.push import push_index, push_set

    with working() as job:
        if place:
            report = push_set(place, url, where=where, replace=replace, job=job)
        else:
            with opened(name) as index:
                report = push_index(index, url, where=where, replace=replace, job=job)
    if as_json:
        print_json(asdict(report))
        return
    parts = [f"{plural(report.loaded, 'part')} loaded"]
    parts += [f"{n} {what}" for n, what in ((report.already, "were there"), (report.removed, "taken away")) if n]
    echo(f"{', '.join(parts)}: {report.images:,} images.")


@scale_group.command("drop-service")
@click.argument("url")
@click.option("--yes", is_flag=True, help="Do it.")
def drop_command(url: str, *, yes: bool) -> None:
    """Remove a set from a service.

    Only the service's copy goes: the set or the index that was pushed stays.
    """
    from curator.scale.push import drop_service

    if not yes:
        raise click.UsageError("this removes the service's copy of the set; say --yes")
    drop_service(url)
    echo("Removed; `curator push` loads it again.")
