"""Commands that keep an index in order: tag, remove, roots, verify, repair, backup."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from curator.cli.face import index_option, json_option, opened, plural, print_json, table


@click.command()
@click.argument("tags", metavar="TAG[,TAG]")
@click.argument("images", nargs=-1, metavar="ID|PATH...")
@index_option
@click.option("--where", help="Tag all images for which this SQL condition holds.")
@click.option("--remove", "off", is_flag=True, help="Take the tags off instead.")
def tag(tags: str, images: tuple[str, ...], name: str | None, where: str | None, off: bool) -> None:
    """Put tags on images; search them with --tag, or --where "tags LIKE '%good%'"."""
    from curator.admin.manage import find_ids, tag_images

    with opened(name) as index:
        ids = find_ids(index, images, where=where)
        tag_images(index, ids, tags.split(","), off=off)
    click.echo(f"{'Untagged' if off else 'Tagged'} {plural(len(ids), 'image')}.")


@click.command()
@click.argument("images", nargs=-1, metavar="ID|PATH...")
@index_option
@click.option("--where", help="Remove all images for which this SQL condition holds.")
@click.option("--undo", is_flag=True, help="Bring removed images back: by id, path or --where.")
@click.option("--list", "listing", is_flag=True, help="List the images that were removed.")
def remove(images: tuple[str, ...], name: str | None, *, where: str | None, undo: bool, listing: bool) -> None:
    """Take images out of the index. Files are not touched, and later `curator index` runs leave the images out.

    --undo brings them back.
    """
    from curator.admin.manage import find_ids, remove_images, restore_images

    with opened(name) as index:
        if listing:
            removed = index.images(index.reader.ids_where(where or "1", removed=True))
            click.echo(table([(i.id, i.label or "", i.path) for i in removed], ("id", "label", "path")))
            return
        ids = find_ids(index, images, where=where, removed=undo)
        (restore_images if undo else remove_images)(index, ids)
    hint = "" if undo else " `curator remove --list` shows them, `--undo` brings them back."
    click.echo(f"{'Restored' if undo else 'Removed'} {plural(len(ids), 'image')}; no file was touched.{hint}")


@click.group(invoke_without_command=True)
@index_option
@json_option
@click.pass_context
def roots(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List the folders an index knows, say that one has moved, or forget one."""
    from curator.records import FORGOTTEN

    ctx.obj = name
    if ctx.invoked_subcommand is None:
        with opened(name) as index:
            rows = [
                {"id": r.id, "path": str(r.path), "reachable": r.path.is_dir()}
                for r in index.reader.roots()
                if FORGOTTEN not in r.options
            ]
        if as_json:
            print_json(rows)
        else:
            click.echo(
                table(
                    [(r["id"], "yes" if r["reachable"] else "NO", r["path"]) for r in rows], ("id", "reachable", "path")
                )
            )


@roots.command("move")
@click.argument("old")
@click.argument("new", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--index", "-i", "name", metavar="NAME|PATH", help="Which index.")
@click.pass_obj
def move_root(outer: str | None, old: str, new: Path, name: str | None) -> None:
    """Say that the root OLD (path or id) is now at NEW. Nothing is read or encoded again."""
    from curator.admin.manage import repoint_root

    with opened(name or outer) as index:
        repoint_root(index, old, new.absolute())
    click.echo(f"{old} is now {new.absolute()}.")


@roots.command("forget")
@click.argument("root")
@click.option("--index", "-i", "name", metavar="NAME|PATH", help="Which index.")
@click.pass_obj
def forget(outer: str | None, root: str, name: str | None) -> None:
    """Leave ROOT (path or id) out from now on. No file is touched; `curator index ROOT` brings its images back."""
    from curator.admin.manage import forget_root

    with opened(name or outer) as index:
        count = forget_root(index, root)
    click.echo(f"Forgot {root} with {plural(count, 'image')}; no file was touched.")


@click.command()
@index_option
@click.option("--deep", is_flag=True, help="Also encode a sample of images again and compare.")
@json_option
def verify(name: str | None, deep: bool, as_json: bool) -> None:
    """Check an index: database, checksums, counts, dangling rows. Exit code 1 if anything is wrong."""
    from curator.admin.maintenance import verify as check
    from curator.index import locate

    findings = list(check(locate(name), deep=deep))
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        for f in findings:
            click.echo(f"{f.place}: {f.problem}" + ("  (`curator repair` mends this)" if f.repairable else ""))
        click.echo(f"{len(findings)} findings." if findings else "All checks passed.")
    sys.exit(1 if findings else 0)


@click.command()
@index_option
def repair(name: str | None) -> None:
    """Save every sound row and write new FAISS files. A damaged database is kept beside."""
    from curator.admin.maintenance import repair as mend
    from curator.index import locate

    for line in mend(locate(name)):
        click.echo(line)


@click.command()
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False), required=False)
@index_option
def backup(target: Path | None, name: str | None) -> None:
    """Copy the database, consistently, while others may write. FAISS files need none: they are made again from it."""
    from curator.admin.maintenance import backup as copy
    from curator.index import locate

    click.echo(f"Backup: {copy(locate(name), target)}")


COMMANDS = (tag, remove, roots, verify, repair, backup)
