"""`curator completion`: a line for the shell's start-up file, after which Tab completes names of an index."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print a script that completes names in a shell.

    For bash and zsh: eval "$(curator completion bash)" in the start-up file. For fish: curator completion fish |
    source.
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell
    click.echo(kind(ctx.find_root().command, {}, "curator", "_CURATOR_COMPLETE").source())


COMMANDS = (completion_command,)
