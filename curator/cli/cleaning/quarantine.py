"""Commands that move files aside and back: quarantine, restore."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curator.cli.face import echo, opened, print_json, say, working
from curator.cli.options import index_option, json_option
from curator.texts import plural

if TYPE_CHECKING:
    from curator.cleaning.quarantine import Report


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


COMMANDS = (quarantine_command, restore_command)
