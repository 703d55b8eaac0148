"""`curator runs`: list training runs, and say everything of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curator.cli import completing
from curator.cli.face import opened, print_json, table
from curator.cli.options import index_option, inner_index, json_option, output_option

if TYPE_CHECKING:
    from curator.index import Index


@click.group("runs", invoke_without_command=True)
@index_option
@json_option
@click.pass_context
def runs_group(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List runs, show one or export one.

    Without a subcommand: list them, oldest first.
    """
    from curator.runs.lookup import home_of
    from curator.training.folder import runs_in

    ctx.obj = name
    if ctx.invoked_subcommand is not None:
        return
    with opened(name) as index:
        runs = [describe_run(r) for r in runs_in(home_of(index))]
    if as_json:
        print_json(runs)
    else:
        heads = ("run", "status", "images_seen", "seconds", "trained_on", "best")
        rows = [[r[h] for h in heads] for r in runs]
        click.echo(table(rows, heads) if rows else "No runs yet; `curator train vae` makes one.")


@runs_group.command("show")
@click.argument("run", shell_complete=completing.runs)
@json_option
@inner_index
def show_command(*, run: str, name: str | None, as_json: bool) -> None:
    """Show everything of a run: options, numbers, what to look at."""
    from curator.runs.lookup import run_of

    with opened(name) as index:
        show_run(run_of(index, run), as_json=as_json)


@runs_group.command("export")
@click.argument("run", shell_complete=completing.runs)
@output_option("The file.", required=True)
@click.option("--as", "form", default="onnx", show_default=True, metavar="FORM", help="onnx or safetensors.")
@inner_index
def export_command(*, run: str, name: str | None, output: Path, form: str) -> None:
    """Write a run's network to a file that others read; ONNX is checked against torch."""
    with opened(name) as index:
        export_run(index, run, output, form)


def export_run(index: Index, run: str, output: Path, form: str) -> None:
    """Write the file, and say how far it is from torch."""
    from curator.runs.train import export_network

    apart = export_network(index, run, form, output)
    click.echo(f"{output}: {run} as {form}" + (f", within {apart:.1g} of torch." if apart else "."))


def describe_run(run: Any) -> dict[str, Any]:
    """What a list says of a run."""
    state = run.state
    return {
        "run": run.name, "status": state["status"], "images_seen": state["images_seen"],
        "seconds": state.get("seconds", 0),
        "trained_on": run.facts.get("trained_on", {}).get("what", ""), "best": state.get("best", 0),
        "folder": str(run.folder),
    }  # fmt: skip


def show_run(run: Any, *, as_json: bool) -> None:
    """Everything a run's folder says, for `curator show`."""
    metrics = run.rows("metrics.jsonl")
    facts = run.facts
    samples = sorted((run.folder / "samples").glob("*.png"))
    looks = [str(p) for p in (run.folder / "curves.png", *samples[-1:], run.folder / "card.md") if p.is_file()]
    if as_json:
        print_json(
            describe_run(run)
            | facts
            | {"state": run.state, "metrics": metrics, "checkpoints": run.checkpoints(), "look_at": looks}
        )
        return
    for key, value in (
        describe_run(run) | {k: v for k, v in facts["options"].items() if v not in (None, [], "")}
    ).items():
        click.echo(f"{key:>16}  {value}")
    if metrics:
        names = [k for k in metrics[-1] if k not in ("images_seen", "seconds", "n")]
        click.echo(
            "\n"
            + table([[m["images_seen"], *(f"{m[k]:.4f}" for k in names)] for m in metrics], ("images_seen", *names))
        )
    click.echo("\nLook at:\n  " + "\n  ".join(looks) if looks else "\nNothing to look at yet.")
