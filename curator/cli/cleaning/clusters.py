"""Commands on whole parts of an index: clusters, clusters reject, clusters keep."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curator.cli.face import echo, opened, print_json, say, table, working
from curator.cli.options import index_option, inner_index, json_option, sheet_option, where_option
from curator.texts import plural

if TYPE_CHECKING:
    from curator.cleaning.clusters import Cluster
    from curator.index import Index

_SHOWN = 12  # pictures of a cluster on a sheet


@click.group("clusters", invoke_without_command=True)
@index_option
@where_option
@click.option("-k", "count", type=click.IntRange(2), help="How many. [default: half the root of the number of images]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first centres.")
@sheet_option("each cluster: what is nearest to its centre, and what is farther and farther from it")
@json_option
@click.pass_context
def clusters_group(
    context: click.Context,
    *,
    name: str | None,
    where: str | None,
    count: int | None,
    seed: int,
    sheet: Path | None,
    as_json: bool,
) -> None:
    """Show what an index is made of, cluster by cluster.

    The number of each image's cluster is kept in the column `cluster`, for --where and --per. Look at the sheet, and
    reject a cluster that does not belong:

    \b
    curator clusters --sheet clusters.png
    curator clusters reject 3 7
    """
    context.obj = name
    if context.invoked_subcommand:
        return
    from curator.cleaning.clusters import find_clusters

    with opened(name) as index, working() as job:
        clusters = find_clusters(index, count=count, where=where, seed=seed, job=job)
        if sheet:
            _draw(index, clusters, sheet)
    if as_json:
        print_json([asdict(c) | {"medoid": c.ids[0]} for c in clusters])
        return
    total = sum(len(c.ids) for c in clusters)
    rows = [
        (c.number, len(c.ids), f"{len(c.ids) / total:.1%}", f"{c.tightness:.3f}", f"id:{c.ids[0]}", _labels(c),
         c.rejected or "")
        for c in clusters
    ]  # fmt: skip
    echo(table(rows, ("cluster", "images", "share", "tightness", "medoid", "labels", "rejected")))


def _labels(cluster: Cluster) -> str:
    return ", ".join(f"{label} {count}" for label, count in cluster.labels)


def _draw(index: Index, clusters: list[Cluster], target: Path) -> None:
    from curator.drawing.sheets import Section, Tile, save_sheet

    sections = []
    for c in clusters:
        images = index.images(c.across(_SHOWN))
        heading = f"cluster {c.number}: {plural(len(c.ids), 'image')}   {_labels(c)}"
        sections.append(
            Section(heading, [Tile(i.path, i.label or i.caption or i.path.name, f"id:{i.id}") for i in images])
        )
    say(f"Sheet: {save_sheet(sections, target, columns=_SHOWN)}")


@clusters_group.command("reject")
@click.argument("numbers", nargs=-1, type=int, required=True, metavar="CLUSTER...")
@inner_index
def reject_command(*, numbers: tuple[int, ...], name: str | None) -> None:
    """Reject all images of these clusters: no selection and no training takes them. No file is touched."""
    from curator.cleaning.clusters import reject_clusters

    with opened(name) as index:
        ids = reject_clusters(index, numbers)
    echo(f"reject: {plural(len(ids), 'image')}. `curator clusters keep {' '.join(map(str, numbers))}` takes it back.")


@clusters_group.command("keep")
@click.argument("numbers", nargs=-1, type=int, required=True, metavar="CLUSTER...")
@inner_index
def keep_command(*, numbers: tuple[int, ...], name: str | None) -> None:
    """Take the rejection of these clusters' images back."""
    from curator.cleaning.clusters import keep_clusters

    with opened(name) as index:
        ids = keep_clusters(index, numbers)
    echo(f"keep: {plural(len(ids), 'image')} {'is' if len(ids) == 1 else 'are'} not rejected any more.")


COMMANDS = (clusters_group,)
