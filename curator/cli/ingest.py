"""Commands that put images into an index: index, demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curator.cli.face import echo, folder_of, print_json, say, working
from curator.cli.options import FiniteRange, index_option, json_option
from curator.texts import escaped

if TYPE_CHECKING:
    from curator.records import IngestReport


@click.command("index")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@index_option
@click.option(
    "--encoder", "-e", help="small, tiny, base, MODEL/PRETRAINED, MODEL:/checkpoint or pixels; see `curator encoders`."
)
@click.option("--origin", type=click.Choice(["real", "generated"]), help="What these images are. [default: real]")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Pass over matching files and folders; repeatable.")
@click.option(
    "--label-from", metavar="folder|COLUMN", help="Take labels from the folder's name or a side-car's column."
)
@click.option("--label-from-name", metavar="REGEX", help="Take labels from the file's name: the first group.")
@click.option(
    "--csv",
    "table",
    metavar="FILE",
    help="A table (CSV, JSON lines or parquet) with one row per picture, joined by file name; '' forgets the last one.",
)
@click.option("--key", metavar="COLUMN", help="The table's column that names the picture. [default: the usual names]")
@click.option("--encoding", metavar="NAME", help="Of side-cars and tables that are not UTF-8, as cp1252 or gbk.")
@click.option("--allow-empty", is_flag=True, help="Believe a folder that has lost every picture.")
@click.option("--retry", is_flag=True, help="Read files again that were skipped.")
@click.option("--strict", is_flag=True, help="Exit with 1 also for files that were skipped before.")
@json_option
def index_command(
    *,
    paths: tuple[Path, ...],
    name: str | None,
    encoder: str | None,
    as_json: bool,
    exclude: tuple[str, ...],
    table: str | None,
    strict: bool,
    **options: object,
) -> None:
    """Index folders of images.

    Or bring an index up to date: without PATHS all folders that it knows, as they were indexed before. Only what
    is new or changed is read; moved files keep their id; Ctrl-C keeps what is done. Options are remembered per folder.
    Exit code 1 if a file was skipped for the first time, or, with --strict, if any is.
    """
    from dataclasses import asdict

    from curator.ingest import IngestOptions, index_folders

    chosen = IngestOptions(exclude=exclude or None, table=str(Path(table).absolute()) if table else table, **options)  # type: ignore[arg-type]
    with working() as job:
        report = index_folders(name, paths, encoder, chosen, ask=_ask if sys.stdin.isatty() else None, job=job)
    if as_json:
        print_json(asdict(report))
    else:
        echo(describe(report))
    for remark in report.remarks:
        say(f"Note: {escaped(remark)}.")
    for problem in report.problems:
        say(f"Left out: {problem}")
    if report.interrupted:
        say("Interrupted; everything up to here is kept. Run the same command again to go on.")
        sys.exit(130)
    sys.exit(1 if report.problems or report.newly_skipped or (strict and report.skipped) else 0)


@click.command("demo")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo-pictures"))
@click.option("--open", "show", is_flag=True, help="Open the contact sheet when done.")
@click.option(
    "--minutes",
    type=FiniteRange(0),
    default=0.75,
    show_default=True,
    help="For each of two trainings; 0 leaves them out.",
)
def demo_command(folder: Path, show: bool, minutes: float) -> None:
    """Show the whole tool on pictures made for it.

    Offline, in about three minutes.

    Makes FOLDER with drawn scenes, handwritten digits and two photos, indexes it with the bundled encoder, searches it
    by words, by picture and with a filter, and draws a contact sheet; then trains a VAE and a GAN on digits, and shows
    what they make.
    """
    from curator.demo import run_demo

    with working(click.echo) as job:
        sheet = run_demo(folder, minutes=minutes, job=job)
    if show:
        click.launch(str(sheet))


def describe(report: IngestReport) -> str:
    """One line: what changed, and how fast."""
    parts = [
        f"{getattr(report, k)} {k}" for k in ("new", "changed", "moved", "restored", "removed", "skipped", "unchanged")
    ]
    parts += [f"{report.noted} of them with new labels or notes"] if report.noted else []
    shown = [p for p in parts if not p.startswith("0 ")] or ["nothing to do"]
    if report.newly_skipped not in (0, report.skipped):
        shown.append(f"{report.newly_skipped} of the skipped for the first time")
    rate = f", {report.encoded / report.seconds:.0f} images/s" if report.encoded and report.seconds else ""
    hint = "\n`curator skipped` lists the files that could not be read." if report.skipped else ""
    return f"{', '.join(shown)} in {report.seconds:.1f} s ({report.encoded} encoded{rate}).{hint}"


def _ask(question: str) -> bool:
    return click.confirm(question, err=True)


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@index_option
@click.option(
    "--as",
    "form",
    type=click.Choice(["webdataset", "parquet", "stylegan", "coco", "clip-retrieval", "imagefolder"]),
    help="[default: by its files]",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where packed pictures go. [default: SOURCE-pictures]",
)
@click.option("--encoder", "-e", help="As for `curator index`; for clip-retrieval the one that the vectors come from.")
@click.option("--origin", type=click.Choice(["real", "generated"]), help="What these images are. [default: real]")
@json_option
def import_command(
    *,
    source: Path,
    name: str | None,
    form: str | None,
    to: Path | None,
    encoder: str | None,
    origin: str | None,
    as_json: bool,
) -> None:
    """Index a data set that another program made.

    What `curator export` writes, and the layouts of img2dataset and embedding-reader. Tar shards and parquet files are
    unpacked into a folder; vectors of clip-retrieval are taken over, after a sample was encoded anew.
    """
    from dataclasses import asdict

    from curator.encoders import load_encoder
    from curator.index import Index
    from curator.ingest import choose_encoder
    from curator.ingest.importing import guess_form, import_set

    form = form or guess_form(source)  # before an index is made for nothing
    with Index.create(folder_of(name)) as index, working() as job:
        choice = choose_encoder(encoder, index.reader.active_space(), ask=None)
        say(f"Encoder: {choice.encoder} ({choice.why}).")
        if choice.warning:
            say(f"Warning: {choice.warning}")
        done = import_set(index, source, load_encoder(choice.encoder), form=form, to=to, origin=origin, job=job)
    if as_json:
        print_json(asdict(done))
    else:
        echo(f"{done.form}: pictures in {done.folder}. {describe(done.report)}")
    sys.exit(1 if done.report.newly_skipped or done.report.problems else 0)


COMMANDS = (index_command, import_command, demo_command)
