"""`curator runs`: list training runs, and say everything of one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curator.cli import completing
from curator.cli.face import echo, opened, print_json, say, table, working
from curator.cli.options import index_option, inner_index, json_option, output_option, sheet_option

if TYPE_CHECKING:
    from curator.index import Index
    from curator.training.folder import Run


@click.group("runs", invoke_without_command=True)
@index_option
@json_option
@click.pass_context
def runs_group(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List runs, show one or export one.

    Without a subcommand: list them, oldest first.
    """
    from curator.runs.facts import list_runs

    ctx.obj = name
    if ctx.invoked_subcommand is not None:
        return
    with opened(name) as index:
        runs = [asdict(r) for r in list_runs(index)]
    if as_json:
        print_json(runs)
    else:
        heads = ("run", "status", "images_seen", "seconds", "trained_on", "best")
        rows = [[r[h] for h in heads] for r in runs]
        echo(table(rows, heads) if rows else "No runs yet; `curator train vae` makes one.")


@runs_group.command("show")
@click.argument("run", shell_complete=completing.runs)
@json_option
@inner_index
def show_command(*, run: str, name: str | None, as_json: bool) -> None:
    """Show everything of a run: options, numbers, what to look at."""
    from curator.runs.lookup import run_of

    with opened(name) as index:
        show_run(run_of(index, run), as_json=as_json)


@runs_group.command("compare")
@click.argument("runs", nargs=-1, required=True, shell_complete=completing.runs)
@sheet_option("curves and pictures")
@click.option("--measure", type=click.IntRange(40), metavar="N", help="Measure all on the same N unseen images.")
@json_option
@inner_index
def compare_command(
    *, runs: tuple[str, ...], name: str | None, sheet: Path | None, measure: int | None, as_json: bool
) -> None:
    """Show what differs between runs: options, and the numbers of their best checkpoints.

    Those numbers are of each run's own held-out images. With --measure each makes up to N pictures, or is asked N
    labels, and all are measured on images that none was trained on, with 95 % intervals. With --sheet their curves are
    laid over each other, above what each run draws.
    """
    from curator.runs.compare import compare_runs, draw_comparison
    from curator.runs.lookup import run_of

    with opened(name) as index, working() as job:
        chosen = [run_of(index, run) for run in runs]
        compared, measured = compare_runs(chosen), {}
        if measure:
            from curator.evaluation.of_runs import measure_runs

            measured = dict(measure_runs(index, chosen, most=measure, job=job))
    if sheet:
        draw_comparison(chosen, sheet)
        say(f"Sheet: {sheet}")
    if as_json:
        both = {m: [n and asdict(n) for n in numbers] for m, numbers in measured.items()}
        print_json(asdict(compared) | ({"measured": both} if measure else {}))
        return
    plain = [
        (option, *("–" if v in (None, "", [], ()) else v for v in values))
        for option, values in compared.options.items()
    ]
    echo(table(plain, ("option", *compared.runs)) if plain else "All options are the same.")
    if not (compared.are_alike or measured):
        echo("Note: they were trained on unlike images, or measured in unlike spaces; see --measure.")
    numbers = [
        ("held-out images" if n == "n" else n.replace("_", " "),
         *("–" if v is None else f"{v:.0f}" if n == "n" else f"{v:.4f}" for v in values))
        for n, values in compared.metrics.items()
    ]  # fmt: skip
    if numbers:
        echo("\n" + table([("best at", *compared.best), *numbers], ("number", *compared.runs)))
    if measured:
        rows = [
            (("↑ " if next(filter(None, numbers)).higher_is_better else "↓ ") + metric.replace("_", " "),
             *("–" if n is None else f"{n.value:.4f} ({n.interval})" for n in numbers))
            for metric, numbers in measured.items()
        ]  # fmt: skip
        echo("\n" + table(rows, ("on the same unseen images", *compared.runs)))


@runs_group.command("export")
@click.argument("run", shell_complete=completing.runs)
@output_option("A new file, or folder for python.", folder=None, required=True)
@click.option("--as", "form", default="onnx", show_default=True, metavar="FORM", help="onnx, safetensors or python.")
@inner_index
def export_command(*, run: str, name: str | None, output: Path, form: str) -> None:
    """Write a run's network to a file that others read.

    ONNX is checked against torch. `python` is a folder with the network's own source, which needs torch and safetensors
    alone. Each comes with the lines that load it, in Markdown.
    """
    with opened(name) as index:
        export_run(index, run, output, form)


def export_run(index: Index, run: str, output: Path, form: str) -> None:
    """Write the file, and say how far it is from torch."""
    from curator.runs.train import export_network

    apart = export_network(index, run, form, output)
    echo(f"{output}: {run} as {form}" + (f", within {apart:.1g} of torch." if apart else "."))


def show_run(run: Run, *, as_json: bool) -> None:
    """Everything a run's folder says, for `curator show`."""
    from curator.runs.facts import run_details

    details = run_details(run)
    line, metrics = asdict(details.facts), details.metrics
    looks = [str(p) for p in details.look_at]
    if as_json:
        further = {"state": details.state, "metrics": metrics, "checkpoints": details.checkpoints, "look_at": looks}
        print_json(line | dict(details.stored) | further)
        return
    for key, value in (line | {k: v for k, v in details.stored["options"].items() if v not in (None, [], "")}).items():
        echo(f"{key:>16}  {value}")
    if metrics:
        names = [k for k, v in metrics[-1].items() if isinstance(v, float) and k not in ("seconds", "n")]
        rows = [[m["images_seen"], *(f"{m[k]:.4f}" if k in m else "–" for k in names)] for m in metrics]
        echo("\n" + table(rows, ("images_seen", *names)))
    echo("\nLook at:\n  " + "\n  ".join(looks) if looks else "\nNothing to look at yet.")
