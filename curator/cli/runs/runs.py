"""`curator runs`: list training runs, and say everything of one."""

from __future__ import annotations

from typing import Any

import click

from curator.cli.face import index_option, json_option, opened, print_json, table


@click.command()
@index_option
@json_option
def runs(name: str | None, as_json: bool) -> None:
    """List training runs, oldest first."""
    from curator.runs.lookup import home_of
    from curator.training.folder import runs_in

    with opened(name) as index:
        found = [describe_run(r) for r in runs_in(home_of(index))]
    if as_json:
        print_json(found)
    else:
        heads = ("run", "status", "images_seen", "seconds", "trained_on", "best")
        rows = [[r[h] for h in heads] for r in found]
        click.echo(table(rows, heads) if rows else "No runs yet; `curator train vae` makes one.")


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
