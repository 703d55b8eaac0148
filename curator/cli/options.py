"""Options that mean the same in every command, former spellings of some, and the help that shows them in sections."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from curator.cli import completing

F = TypeVar("F", bound=Callable[..., Any])
IMAGES = "SELECTION|FOLDER|CONDITION"  # how a set of images is named
ORIGINS = ("real", "generated", "any")


class FiniteRange(click.FloatRange):
    """A finite number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Fails for NaN and infinities."""
        return _finite(self, super().convert(value, param, ctx), param, ctx)


class FiniteNumber(click.types.FloatParamType):
    """Any finite number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Fails for NaN and infinities."""
        return _finite(self, super().convert(value, param, ctx), param, ctx)


def _finite(kind: Any, number: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
    """NaN compares with nothing, so that a limit would let all through or none."""
    return number if math.isfinite(number) else kind.fail(f"{number} is not a finite number.", param, ctx)


def stack(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order of the help."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


index_option = click.option(
    "--index",
    "-i",
    "name",
    metavar="NAME|PATH",
    shell_complete=completing.indexes,
    help="Which index: a name below indexes/, or a path. [default: $CURATOR_INDEX or 'default']",
)


def inner_index(command: Any) -> Any:
    """`-i` after a subcommand as well as before it."""

    @functools.wraps(command)
    def run(outer: str | None, *, name: str | None, **given: Any) -> None:
        command(name=name or outer, **given)

    passed: Any = click.pass_obj  # its type forgets that options become keywords
    return index_option(passed(run))


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
where_option = click.option(
    "--where", metavar="CONDITION", shell_complete=completing.columns, help="Only images for which this SQL holds."
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace a selection of the same name.")


def sheet_option(what: str) -> Callable[[F], F]:
    """`--sheet FILE`: draw what the command found. One that could only fail is refused before any work."""

    def checked(_context: click.Context, _option: click.Parameter, sheet: Path | None) -> Path | None:
        if sheet is not None:
            from curator.drawing.sheets import refuse_sheet

            refuse_sheet(sheet)
        return sheet

    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option("--sheet", type=kind, callback=checked, help=f"Draw {what} on a contact sheet.")


def output_option(what: str, *, folder: bool | None = False, **more: Any) -> Callable[[F], F]:
    """`-o/--output`: where the one thing that a command writes goes, a `folder` or a file; None for either."""
    kind = click.Path(path_type=Path, file_okay=folder is not True, dir_okay=folder is not False)
    return click.option("-o", "--output", type=kind, help=what, **more)


def reference_option(what: str, **more: Any) -> Callable[[F], F]:
    """`--reference`: the held-out or trusted images that something is measured against."""
    return click.option("--reference", metavar=IMAGES, shell_complete=completing.selections, help=what, **more)


def selection_option(what: str) -> Callable[[F], F]:
    """`--selection`: the images that a command works on."""
    return click.option("--selection", metavar=IMAGES, shell_complete=completing.selections, help=what)


def refuse_named(why: str, *names: str) -> None:
    """Refuse options that the command line names although they would do nothing; `why` says what was asked for."""
    context = click.get_current_context()
    for option in context.command.params:
        if option.name in names and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{why}, for which {option.opts[0]} does nothing; leave it out")


def former(*spellings: str, now: str, is_flag: bool = False) -> Callable[[F], F]:
    """Spellings that an option had once: not shown, and each says what it is called now."""
    target = now.lstrip("-").replace("-", "_")

    def pass_on(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value:
            click.echo(f"Note: {' or '.join(param.opts)} is now called {now}.", err=True)
            ctx.default_map = {**(ctx.default_map or {}), target: value}

    return click.option(*spellings, hidden=True, expose_value=False, is_eager=True, is_flag=is_flag, callback=pass_on)


class _FormerArgument(click.Argument):
    """An argument that has become an option: taken, and not shown."""

    def get_usage_pieces(self, ctx: click.Context) -> list[str]:
        return []


def former_argument(now: str, kind: Any = None) -> Callable[[F], F]:
    """What was given without an option's name once."""
    target = now.lstrip("-").replace("-", "_")

    def pass_on(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None:
            click.echo(f"Note: it is now written {now} {value}.", err=True)
            ctx.default_map = {**(ctx.default_map or {}), target: value}

    return click.argument(
        f"former_{target}", cls=_FormerArgument, required=False, type=kind, expose_value=False, callback=pass_on,
        is_eager=True,
    )  # fmt: skip


class AdvancedOption(click.Option):
    """An option that the help shows apart."""


class Sectioned(click.Command):
    """A command whose help shows the options that people use, then the others under a heading of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The usual options, then "Advanced"."""
        params = [p for p in self.get_params(ctx) if p.get_help_record(ctx)]
        usual = [p for p in params if not isinstance(p, AdvancedOption)]
        advanced = [p for p in params if isinstance(p, AdvancedOption)]
        for title, options in (("Options", usual), ("Advanced", advanced)):
            records = [record for p in options if (record := p.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def advanced(*names: str, **more: Any) -> Callable[[F], F]:
    """An option of the section "Advanced"."""
    return click.option(*names, cls=AdvancedOption, **more)


def write_sections(formatter: click.HelpFormatter, sections: Sequence[tuple[str, Sequence[click.Command]]]) -> None:
    """Commands under headings, each with its first sentence, whole."""
    width = max(len(c.name or "") for _, commands in sections for c in commands)
    for title, commands in sections:
        with formatter.section(title):
            rows = [(f"{c.name:<{width}}", c.get_short_help_str(200)) for c in commands if not c.hidden]
            formatter.write_dl(rows)
