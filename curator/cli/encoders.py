"""Commands about encoders: list, pull, use."""

from __future__ import annotations

import click

from curator.cli.face import echo, opened, print_json, table, working
from curator.cli.options import index_option, json_option


@click.group("encoders", invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="List every MODEL/PRETRAINED that open_clip knows.")
@json_option
@click.pass_context
def encoders_group(ctx: click.Context, everything: bool, as_json: bool) -> None:
    """List encoders, fetch one, or switch to one.

    What they are good for, how large they are, and which are on this machine.
    """
    if ctx.invoked_subcommand is not None:
        return
    from curator.encoders import describe_encoders, list_open_clip

    if everything:
        echo("\n".join(list_open_clip()))
        return
    rows = describe_encoders()
    if as_json:
        print_json(rows)
        return
    headings = ("name", "model", "dim", "MB", "zero-shot %", "images/s", "here", "good for")
    keys = ("name", "model", "dim", "megabytes", "accuracy", "images_per_second", "here", "good_for")
    echo(table([tuple(_shown(r[k]) for k in keys) for r in rows], headings))
    echo(
        "\nAny other open_clip model: --encoder MODEL/PRETRAINED (see --all), --encoder "
        "MODEL:/path/to/checkpoint.safetensors"
    )


def _shown(value: object) -> object:
    return {"None": "", "True": "yes", "False": "no"}.get(str(value), value)


@encoders_group.command()
@click.argument("name")
def pull(name: str) -> None:
    """Fetch an encoder's weights from the hub and export its towers."""
    from curator.encoders import load_encoder

    encoder = load_encoder(name)
    echo(f"{encoder.name} is ready: {encoder.dim} dims, input {encoder.side} px.")


@encoders_group.command()
@click.argument("encoder")
@click.option("--anyway", is_flag=True, help="Even if some images have no vector there; searches then pass over them.")
@index_option
def use(encoder: str, name: str | None, anyway: bool) -> None:
    """Let searches of an index use another of its encoders, once every image has its vector."""
    from curator.ingest import use_space

    with opened(name) as index, working() as job:
        use_space(index, encoder, anyway=anyway, job=job)
    echo(f"Searches use '{encoder}' now.")


COMMANDS = (encoders_group,)
