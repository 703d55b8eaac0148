"""`curator web`: the local page."""

from __future__ import annotations

from collections.abc import Callable

import click

from curator.cli.face import echo, opened
from curator.cli.options import index_option


@click.command("web")
@index_option
@click.option("--on", "service", metavar="URL", help="A service such as postgres://HOST/DB?set=NAME, to look at.")
@click.option("--port", type=int, default=8717, show_default=True, help="Or the next free one.")
@click.option("--no-open", is_flag=True, help="Do not open the browser.")
@click.option("--read-only", is_flag=True, help="Look, and change nothing.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need --allow-host.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A further name under which the page may be asked.")
def web_command(
    name: str | None, *, service: str | None, port: int, no_open: bool, read_only: bool, host: str,
    allow_host: tuple[str, ...],
) -> None:  # fmt: skip
    """Open an index in the browser.

    Search, look, review duplicates, undo. The page is on this machine only. Its address holds a token, which the
    browser keeps; the same address works next time. Ctrl-C ends it. What a service has is searched, filtered and looked
    at, and not changed; its page has a new address each time.
    """
    import webbrowser

    from curator.web import WebOptions, serve

    options = WebOptions(port, host, allow_host, read_only)

    def ready(address: str, once: str) -> None:
        echo(f"Page: {address}")
        echo("Ctrl-C ends it.", err=True)
        if not no_open:
            webbrowser.open(once)

    with opened(service or name) as index:
        serve(index, options, ready=ready, read=_reading() if service else None)


def _reading() -> Callable[[str], bytes]:
    from curator.scale.storage import read_shown

    return read_shown


COMMANDS = (web_command,)
