"""Commands that find duplicates and decide about them: dedupe, decide."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curator.cli.face import echo, opened, print_json, say, table, working
from curator.cli.options import (
    FiniteRange,
    former,
    index_option,
    json_option,
    output_option,
    sheet_option,
    where_option,
)
from curator.texts import plural

if TYPE_CHECKING:
    from curator.cleaning.result import DedupeResult, Group
    from curator.records import Image

LEVELS = ("exact", "verified", "semantic")
_SHOWN = 12  # groups


@click.command("dedupe")
@index_option
@click.option(
    "--level", type=click.Choice(LEVELS), default="verified", show_default=True, help="What counts as a duplicate."
)
@click.option("--keep", metavar="RULES", help="Which image of a group to keep: rules in order. [default: as above]")
@click.option(
    "--protect",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Never propose images in this folder for removal; repeatable.",
)
@click.option("--across", is_flag=True, help="Only duplicates between roots.")
@click.option("--ignore-same-dir", is_flag=True, help="Only duplicates between folders.")
@click.option("--within", is_flag=True, help="Only duplicates inside one folder.")
@click.option(
    "--neighbours",
    type=click.IntRange(1, 16),
    default=8,
    show_default=True,
    help="Nearest images of each that are looked at, whatever their score.",
)
@where_option
@click.option(
    "--threshold",
    type=FiniteRange(-1, 1),
    help="Least score of a semantic duplicate. [default: calibrated, else from the tail]",
)
@click.option("--all", "everything", is_flag=True, help="Also list groups that were decided about.")
@json_option
@sheet_option("the groups")
@output_option("Write the groups to a page that needs nothing else.")
@former("--html", now="--output")
def dedupe_command(
    *,
    name: str | None,
    keep: str | None,
    everything: bool,
    as_json: bool,
    sheet: Path | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Find what is in the index twice.

    Says of what kind it is, and proposes what to keep. No file is touched.

    \b
    exact      identical files, identical pixels
    verified   also re-encoded, mirrored, rotated, cropped or edited, proved on the pixels
    semantic   also what an encoder cannot tell apart: shots of one thing, variants

    Pairs that are one picture but for a change in one place (altered), or parts of one picture that share little
    (overlapping), are listed and never proposed. `curator compare A B` says why two images were, or were not, found.

    --keep takes, in order: protected, real, labelled, whole, largest, lossless, oldest, shortest-path (these, so, by
    default), and captioned, tagged, smallest, largest-file, newest. `curator decide` says yes or no;
    exit code 1 if there is something to decide."""
    from curator.cleaning.dedupe import DedupeOptions, dedupe
    from curator.cleaning.describe import draw_groups, facts_of
    from curator.cleaning.keepers import parse_keep

    with opened(name) as index:
        with working() as job:
            result = dedupe(index, DedupeOptions(keep=parse_keep(keep), **options), job=job)
        groups = [g for g in result.groups if everything or not g.settled]
        listed = [i for p in result.listed for i in (p.first, p.second)]
        images = {i.id: i for i in index.images([*(m.image_id for g in groups for m in g.members), *listed])}
    drawn = draw_groups(
        result, groups, images, sheet=sheet, page=output
    )  # first, as a reader of the text may stop early
    if as_json:
        print_json(facts_of(result, groups, images))
    else:
        _print_groups(result, groups, images)
    for line in drawn:
        say(line)
    sys.exit(1 if any(not g.settled for g in groups) else 0)


def _print_groups(result: DedupeResult, groups: list[Group], images: dict[int, Image]) -> None:
    from curator.cleaning.describe import describe_listed, describe_member, remarks

    echo(
        table(
            [(kind, result.pairs[kind], result.images.get(kind, "listed")) for kind in result.pairs],
            ("kind", "pairs", "duplicates"),
        )
    )
    duplicates, decided = sum(len(g.duplicates) for g in result.groups), sum(g.settled for g in result.groups)
    summary = (
        f"{plural(len(result.groups), 'group')} with {plural(duplicates, 'duplicate')} among "
        f"{plural(result.searched, 'image')}"
    )
    echo(f"\n{summary}; {decided} decided about.")
    for group in groups[:_SHOWN]:
        echo()
        for m in group.members:
            kind, evidence = describe_member(m, result)
            echo(f"  {kind:<16} id:{m.image_id:<7} {images[m.image_id].path}{f'   ({evidence})' if evidence else ''}")
    if len(groups) > _SHOWN:
        echo(f"\n… and {len(groups) - _SHOWN} groups more; --sheet, -o and --json show them.")
    for pair in result.listed[:_SHOWN]:
        said = describe_listed(pair, result)
        echo(f"\n  {pair.kind}, not proposed ({said})")
        for image_id in (pair.first, pair.second):
            echo(f"    id:{image_id:<7} {images[image_id].path}")
    if len(result.listed) > _SHOWN:
        echo(f"\n… and {len(result.listed) - _SHOWN} pairs more that are not proposed; --json lists them.")
    if groups:
        echo(
            "\n`curator decide reject --proposed` accepts the proposals, `decide keep|reject|not-duplicate ID...` "
            "speaks of some."
        )
    for line in remarks(result):
        say(line)


@click.group("decide")
def decide_group() -> None:
    """Say yes or no to what dedupe found.

    Verdicts are kept by content, for ever. No file is touched.
    """


def _verdict(verdict: str, images: tuple[str, ...], name: str | None, where: str | None) -> None:
    from curator.cleaning.decisions import decide
    from curator.index.images import find_ids

    with opened(name) as index:
        ids = find_ids(index, images, where=where)
        decide(index, verdict, ids)
    echo(f"{verdict}: {plural(len(ids), 'image')}.")


@decide_group.command("keep")
@click.argument("images", nargs=-1, metavar="ID|PATH...")
@index_option
@click.option("--where", help="All images for which this SQL condition holds.")
def keep_command(images: tuple[str, ...], name: str | None, where: str | None) -> None:
    """Keep these images, whatever else is in their groups; where one was a duplicate, it becomes the keeper."""
    _verdict("keep", images, name, where)


@decide_group.command("reject")
@click.argument("images", nargs=-1, metavar="ID|PATH...")
@index_option
@click.option("--where", help="All images for which this SQL condition holds.")
@click.option(
    "--proposed", is_flag=True, help="All duplicates that `curator dedupe` proposed, and nobody decided about."
)
@click.option("--kind", "kinds", multiple=True, help="With --proposed: only this kind of duplicate; repeatable.")
def reject_command(
    images: tuple[str, ...], name: str | None, where: str | None, proposed: bool, kinds: tuple[str, ...]
) -> None:
    """These images are duplicates of their groups' keepers. `curator quarantine` may move them later."""
    from curator.cleaning.decisions import accept

    if not proposed:
        _verdict("reject", images, name, where)
        return
    with opened(name) as index:
        ids = accept(index, kinds)
    echo(
        f"reject: {plural(len(ids), 'image')}. No file was touched; `curator quarantine --dry-run` shows what could "
        "be moved."
    )


@decide_group.command("not-duplicate")
@click.argument("images", nargs=-1, metavar="ID|PATH...", required=True)
@index_option
def apart_command(images: tuple[str, ...], name: str | None) -> None:
    """No two of these images are the same picture; they never share a group again."""
    _verdict("not-duplicate", images, name, None)


@decide_group.command("undo")
@click.argument("images", nargs=-1, metavar="ID|PATH...", required=True)
@index_option
def undo_command(images: tuple[str, ...], name: str | None) -> None:
    """Forget every verdict that speaks of these images."""
    from curator.cleaning.decisions import undo
    from curator.index.images import find_ids

    with opened(name) as index:
        count = undo(index, find_ids(index, images))
    echo(f"Forgot {plural(count, 'verdict')}.")


@decide_group.command("list")
@index_option
@json_option
def list_command(name: str | None, as_json: bool) -> None:
    """List every verdict."""
    from curator.search.facts import verdicts

    with opened(name) as index:
        listed = verdicts(index)
    if as_json:
        print_json([
            {"verdict": v.decision.verdict, "subject": v.decision.subject.hex(), "other": v.decision.other.hex(),
             "image": v.decision.subject_id or None, "decided_at": v.decision.decided_at,
             "images": [i.id for i in v.images], "beside": [i.id for i in v.beside]}
            for v in listed
        ])  # fmt: skip
        return
    rows = [(v.decision.verdict, _named(v.images), _named(v.beside), v.decision.decided_at) for v in listed]
    echo(table(rows, ("verdict", "image", "beside", "decided at")) if rows else "No verdicts yet.")


def _named(images: Sequence[Image]) -> str:
    """The first of some images by id and path; a dash where none of that content is in the index now."""
    more = f" and {len(images) - 1} more" if len(images) > 1 else ""
    return f"id:{images[0].id} {images[0].path}{more}" if images else "–"


COMMANDS = (dedupe_command, decide_group)
