"""The face of the command line: error boundary, "did you mean", sections of the help, jobs, and printing."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curator.cli.options import write_sections
from curator.errors import CuratorError, Stopped
from curator.texts import escaped, to_json

if TYPE_CHECKING:
    from curator.index import Index
    from curator.job import Job
    from curator.records import Progress


_LINE_EVERY = 30.0  # seconds between two lines of progress in a log


class Face(click.Group):
    """Turns a `CuratorError` into one line and exit code 2; suggests near names of commands; shows them in sections."""

    sections: Sequence[tuple[str, Sequence[click.Command]]] = ()

    def invoke(self, ctx: click.Context) -> Any:
        """Run, with the one boundary between errors of users and bugs."""
        try:
            return super().invoke(ctx)
        except Stopped as error:
            echo(f"Interrupted: {error}.", err=True)
            ctx.exit(130)
        except CuratorError as error:
            echo(f"Error: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            sys.stderr.close()
            ctx.exit(0)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands in the sections of their wings."""
        write_sections(formatter, self.sections)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Look a command up, suggesting near names for one that is not there."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from curator.registry import suggest

            ctx.fail(f"no command '{args[0]}'; {suggest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@contextmanager
def opened(name: str | None) -> Iterator[Index]:
    """The index a command was asked to use."""
    from curator.index import Index

    chosen = name or os.environ.get("CURATOR_INDEX")
    with Index.open(chosen if chosen and "://" in chosen else folder_of(name)) as index:
        yield index


def folder_of(name: str | None) -> Path:
    """The folder of that index, which is said if it was found above here."""
    from curator.files import locate

    folder = locate(name)
    chosen = name or os.environ.get("CURATOR_INDEX", "")
    if not (folder.is_relative_to(Path.cwd()) or os.sep in chosen or chosen.startswith((".", "~"))):
        say(f"Index: {folder}")
    return folder


def say(text: str) -> None:
    """A line about the work, on stderr, so that output can be piped."""
    echo(text, err=True)


def echo(text: str = "", *, err: bool = False) -> None:
    """Print, with what could move a terminal's cursor or turn its text shown as escapes: names may hold anything."""
    click.echo("\n".join(map(escaped, text.split("\n"))), err=err)


@contextmanager
def working(say: Callable[[str], None] = say) -> Iterator[Job]:
    """A job whose progress is a bar on stderr, and which Ctrl-C stops at its next batch.

    The bar starts at what is already done. Where stderr is no terminal, a line every 30 seconds stands for it.
    """
    from tqdm import tqdm

    from curator.job import Job

    bars: dict[str, tqdm[None]] = {}  # one for each thing that is done, made when it begins

    began: dict[str, tuple[float, int]] = {}  # when each was first told of, and how many were done then
    said = time.monotonic()
    is_terminal = sys.stderr.isatty()

    def show(p: Progress) -> None:
        nonlocal said
        if p.doing not in began or p.done < began[p.doing][1]:
            began[p.doing] = (time.monotonic(), p.done)
        if not is_terminal and time.monotonic() - said > _LINE_EVERY:
            said = time.monotonic()
            echo(f"{p.doing}: {p.done} of {p.total} {p.unit}{_pace(p, *began[p.doing])}", err=True)
        if p.doing not in bars:
            shape: dict[str, Any] = {"disable": None, "dynamic_ncols": True, "leave": False, "file": sys.stderr}
            bars[p.doing] = tqdm(total=p.total, initial=p.already, desc=p.doing, unit=f" {p.unit}", **shape)
        bars[p.doing].total = p.total
        bars[p.doing].update(p.done - bars[p.doing].n)

    job = Job(show=show, say=say)
    try:
        with job.on_signals():
            yield job
    finally:
        for bar in bars.values():
            bar.close()


def _pace(p: Progress, since: float, done: int) -> str:
    """How fast something is done since so many were, and the time left."""
    seconds = time.monotonic() - since
    rate = (p.done - done) / max(seconds, 1e-9)
    if seconds < 1 or rate <= 0 or p.done > p.total:
        return ""
    left = (p.total - p.done) / rate
    shown = f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min"
    return f", {rate:,.{0 if rate >= 10 else 1}f} a second, {shown} left"


def print_json(value: Any) -> None:
    """One JSON document on stdout; a name that is not UTF-8 comes as \\udcXX escapes."""
    click.echo(to_json(value, indent=1, default=str))


def known(value: float, form: str) -> str:
    """A number in a format of Python's, as `.3f`; a dash where it is not known."""
    return "–" if math.isnan(value) else format(value, form)


def table(rows: Sequence[Sequence[object]], headings: Sequence[str]) -> str:
    """Aligned columns: numbers right, text left."""
    cells = [[_cell(c) for c in row] for row in rows]
    widths = [max(len(h), *(len(r[i]) for r in cells), 0) if cells else len(h) for i, h in enumerate(headings)]
    numeric = [
        bool(rows) and all(isinstance(r[i], int | float) or _is_number(str(r[i])) for r in rows)
        for i in range(len(headings))
    ]

    def line(values: Sequence[str]) -> str:
        padded = [v.rjust(w) if n else v.ljust(w) for v, w, n in zip(values, widths, numeric, strict=True)]
        return "  ".join(padded).rstrip()

    return "\n".join([line(headings), *(line(r) for r in cells)])


def _cell(value: object) -> str:
    """In one line; a dash for what is no number."""
    text = str(value)
    return "–" if text == "nan" else escaped(text)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("-", "", 1).replace("+", "", 1).replace("%", "", 1).isdigit()
