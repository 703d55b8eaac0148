"""Commands that keep an index in order: tag, remove, roots, verify, repair, backup."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from curator.cli.face import echo, folder_of, opened, print_json, say, table
from curator.cli.options import (
    former,
    former_argument,
    index_option,
    inner_index,
    json_option,
    output_option,
)
from curator.errors import UsageError
from curator.texts import plural


@click.command("tag")
@click.argument("tags", metavar="TAG[,TAG]")
@click.argument("images", nargs=-1, metavar="ID|PATH...")
@index_option
@click.option("--where", help="Tag all images for which this SQL condition holds.")
@click.option("--undo", is_flag=True, help="Take the tags off instead.")
@former("--remove", now="--undo", is_flag=True)
def tag_command(tags: str, images: tuple[str, ...], name: str | None, where: str | None, undo: bool) -> None:
    """Put tags on images.

    Search them with --tag, or with --where "tags LIKE '%good%'".
    """
    from curator.admin.manage import tag_images
    from curator.index.images import find_ids

    with opened(name) as index:
        ids = find_ids(index, images, where=where)
        tag_images(index, ids, tags.split(","), off=undo)
    echo(f"{'Untagged' if undo else 'Tagged'} {plural(len(ids), 'image')}.")


@click.command("edit")
@click.argument("images", nargs=-1, metavar="ID|PATH...")
@index_option
@click.option("--where", help="Edit all images for which this SQL condition holds.")
@click.option("--label", help="Their label from now on.")
@click.option("--caption", help="Their caption from now on.")
@click.option("--undo", is_flag=True, help="Give back the labels and captions that the files say.")
def edit_command(
    images: tuple[str, ...], name: str | None, *, where: str | None, label: str | None, caption: str | None, undo: bool
) -> None:
    """Write labels and captions by hand.

    They are kept in the index and stand whatever later scans find; no file is changed.
    """
    from curator.admin.manage import EDITED, edit_images
    from curator.index.images import find_ids

    texts = {what: value for what, value in (("label", label), ("caption", caption)) if value is not None}
    if bool(texts) == undo:
        raise UsageError("say --label or --caption, or --undo alone")
    with opened(name) as index:
        ids = find_ids(index, images, where=where)
        edit_images(index, ids, dict.fromkeys(EDITED) if undo else texts)
    echo(
        f"{'As the files say' if undo else 'Written'}: {' and '.join(texts or EDITED)} of {plural(len(ids), 'image')}."
    )


@click.command("remove")
@click.argument("images", nargs=-1, metavar="ID|PATH...")
@index_option
@click.option("--where", help="Remove all images for which this SQL condition holds.")
@click.option("--undo", is_flag=True, help="Bring removed images back: by id, path or --where.")
@click.option("--list", "listing", is_flag=True, help="List the images that were removed.")
def remove_command(images: tuple[str, ...], name: str | None, *, where: str | None, undo: bool, listing: bool) -> None:
    """Take images out of the index.

    Files are not touched, and later `curator index` runs leave the images out. --undo brings them back.
    """
    from curator.admin.manage import remove_images, restore_images
    from curator.index.images import find_ids

    with opened(name) as index:
        if listing:
            removed = index.images(index.reader.ids_where(where or "1", removed=True))
            echo(table([(i.id, i.label or "", i.path) for i in removed], ("id", "label", "path")))
            return
        ids = find_ids(index, images, where=where, removed=undo)
        count = (restore_images if undo else remove_images)(index, ids)
    hint = "" if undo else " `curator remove --list` shows them, `--undo` brings them back."
    echo(f"{'Restored' if undo else 'Removed'} {plural(count, 'image')}; no file was touched.{hint}")


@click.group("roots", invoke_without_command=True)
@index_option
@json_option
@click.pass_context
def roots_group(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List, move or forget the folders of an index."""
    from curator.search.facts import roots

    ctx.obj = name
    if ctx.invoked_subcommand is not None:
        return
    with opened(name) as index:
        facts = roots(index, forgotten=False)
    if as_json:
        print_json([{"id": r.id, "path": str(r.path), "reachable": r.reachable} for r in facts])
    else:
        rows = [(r.id, "yes" if r.reachable else "NO", r.path) for r in facts]
        echo(table(rows, ("id", "reachable", "path")))


@roots_group.command("move")
@click.argument("old")
@click.argument("new", type=click.Path(path_type=Path, exists=True, file_okay=False))
@inner_index
def move_root(*, old: str, new: Path, name: str | None) -> None:
    """Say that the root OLD (path or id) is now at NEW. Nothing is read or encoded again."""
    from curator.admin.manage import repoint_root

    with opened(name) as index:
        repoint_root(index, old, new.absolute())
    echo(f"{old} is now {new.absolute()}.")


@roots_group.command("forget")
@click.argument("root")
@inner_index
def forget(*, root: str, name: str | None) -> None:
    """Leave ROOT (path or id) out from now on. No file is touched; `curator index ROOT` brings its images back."""
    from curator.admin.manage import forget_root

    with opened(name) as index:
        count = forget_root(index, root)
    echo(f"Forgot {root} with {plural(count, 'image')}; no file was touched.")


@click.command("verify")
@index_option
@click.option("--deep", is_flag=True, help="Also encode a sample of images again and compare.")
@json_option
def verify_command(name: str | None, deep: bool, as_json: bool) -> None:
    """Check that an index is sound.

    Database, checksums, counts, dangling rows. Exit code 1 if anything is wrong.
    """
    from curator.admin.maintenance import verify

    findings = list(verify(folder_of(name), deep=deep))
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        for f in findings:
            echo(f"{f.place}: {f.problem}" + ("  (`curator repair` mends this)" if f.repairable else ""))
        echo(f"{len(findings)} findings." if findings else "All checks passed.")
    sys.exit(1 if findings else 0)


@click.command("repair")
@index_option
def repair_command(name: str | None) -> None:
    """Save every sound row of a damaged index.

    Writes new FAISS files. The damaged database is kept beside.
    """
    from curator.admin.maintenance import repair
    from curator.job import Job

    for line in repair(folder_of(name), job=Job(say=say)):  # Ctrl-C ends it at once, and it begins again
        echo(line)


@click.command("backup")
@former_argument("--output", click.Path(path_type=Path, dir_okay=False))
@output_option("The copy. [default: backups/ in the index]")
@index_option
def backup_command(output: Path | None, name: str | None) -> None:
    """Copy the database, while others may write.

    FAISS files need no copy: they are made again from the database.
    """
    from curator.admin.maintenance import backup

    echo(f"Backup: {backup(folder_of(name), output)}")


@click.command("history")
@click.option("-n", "limit", type=click.IntRange(1), default=20, show_default=True, help="How many, the newest first.")
@index_option
@json_option
def history_command(limit: int, name: str | None, as_json: bool) -> None:
    """List what was done to an index.

    Tags, verdicts, concepts, selections and removals, from the command line and from the page alike. `curator undo`
    takes one back.
    """
    from curator.admin.history import history

    with opened(name) as index:
        actions = history(index, limit)
    if as_json:
        print_json([asdict(a) for a in actions])
        return
    for a in actions:
        echo(f"{a.id:>5}  {a.at}  {a.who}  {a.text}{'  (undone)' if a.is_undone else ''}")
    if not actions:
        echo("Nothing was done yet.")


@click.command("undo")
@click.argument("action", type=int, required=False)
@click.option("--redo", is_flag=True, help="Do again what was undone last.")
@index_option
def undo_command(action: int | None, name: str | None, redo: bool) -> None:
    """Take back the latest action, or another.

    ACTION is a number of `curator history`.
    """
    from curator.admin.history import redo_action, undo_action

    if redo and action is not None:
        raise UsageError("--redo takes what was undone last, and no number")
    with opened(name) as index:
        done = redo_action(index) if redo else undo_action(index, action)
    echo(f"{'Done again' if redo else 'Undone'}: {done.text}.")


COMMANDS = (
    tag_command, edit_command, remove_command, history_command, undo_command, roots_group, verify_command,
    repair_command, backup_command,
)  # fmt: skip
