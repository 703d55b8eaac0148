"""Commands that find duplicates and clean up: dedupe, decide, quarantine, restore."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curator.cli.face import echo, opened, plural, print_json, say, table, working
from curator.cli.options import former, index_option, json_option, output_option, sheet_option, where_option

if TYPE_CHECKING:
    from curator.cleaning.quarantine import Report
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
@where_option
@click.option(
    "--threshold",
    type=click.FloatRange(-1, 1),
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

    --keep takes, in order: protected, real, labelled, largest, lossless, oldest, shortest-path (these, so, by default),
    and captioned, tagged, smallest, largest-file, newest. `curator decide` says yes or no; exit code 1 if there is
    something to decide."""
    from curator.cleaning.dedupe import DedupeOptions, dedupe
    from curator.cleaning.describe import draw_groups, facts_of
    from curator.cleaning.keepers import parse_keep

    with opened(name) as index:
        with working() as job:
            result = dedupe(index, DedupeOptions(keep=parse_keep(keep), **options), job=job)
        groups = [g for g in result.groups if everything or not g.settled]
        images = {i.id: i for i in index.images([m.image_id for g in groups for m in g.members])}
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
    from curator.cleaning.describe import describe_member, remarks

    echo(
        table(
            [(kind, result.pairs[kind], result.images[kind]) for kind in result.pairs], ("kind", "pairs", "duplicates")
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


@click.command("quarantine")
@index_option
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder of the same file system. [default: as above]",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be moved.")
@click.option("--undo", is_flag=True, help="Put everything back, as `curator restore` does.")
@json_option
def quarantine_command(name: str | None, *, to: Path | None, dry_run: bool, undo: bool, as_json: bool) -> None:
    """Move the files of rejected images aside.

    `curator restore`, or --undo, puts them back, byte for byte.

    They go to `.curator-quarantine` in their root, which scans pass over, or to --to. A file moves only if it and the
    one that is kept are what the index says. A journal of every move lies beside the files and in the index. Exit code
    1 if a file was left.
    """
    from curator.cleaning.quarantine import quarantine

    if undo:
        _restore(name, (), dry_run=dry_run, as_json=as_json)
        return
    with opened(name) as index, working() as job:
        report = quarantine(index, to=to, dry_run=dry_run, job=job)
    _print_moves(report, "would be moved" if dry_run else "moved", as_json, back=False)


@click.command("restore")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@index_option
@click.option("--dry-run", is_flag=True, help="Only say what would be put back.")
@json_option
def restore_command(paths: tuple[Path, ...], name: str | None, dry_run: bool, as_json: bool) -> None:
    """Put quarantined files back.

    All of them go where they were, or those whose former PATHS are named. Nothing is overwritten.
    """
    _restore(name, paths, dry_run=dry_run, as_json=as_json)


def _restore(name: str | None, paths: tuple[Path, ...], *, dry_run: bool, as_json: bool) -> None:
    from curator.cleaning.quarantine import restore

    with opened(name) as index, working() as job:
        report = restore(index, paths, dry_run=dry_run, job=job)
    if report.moves and not dry_run:
        say(
            "They are still rejected, and `curator quarantine` would move them again; `curator decide undo` forgets a "
            "verdict."
        )
    _print_moves(report, "would be put back" if dry_run else "put back", as_json, back=True)


def _print_moves(report: Report, done: str, as_json: bool, *, back: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json(
            {"moves": [asdict(m) for m in report.moves], "left": [{"path": p, "reason": r} for p, r in report.left]}
        )
    else:
        for m in report.moves:
            echo(f"{m.moved_to} -> {m.path}" if back else f"{m.path} -> {m.moved_to}   ({m.reason}; kept: {m.keeper})")
        echo(f"{plural(len(report.moves), 'file')} {done}.")
        for path, reason in report.left:
            say(f"Left: {path}: {reason}")
    sys.exit(1 if report.left else 0)


COMMANDS = (dedupe_command, decide_group, quarantine_command, restore_command)
