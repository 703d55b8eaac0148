"""`curator guide`: the pages of the guide, read in a terminal."""

from __future__ import annotations

import click


@click.command("guide")
@click.argument("topic", required=False)
@click.option("--list", "listing", is_flag=True, help="List the topics.")
def guide_command(topic: str | None, listing: bool) -> None:
    """Show a page of the guide.

    Without TOPIC: the tour, and the list of topics.
    """
    from curator.guide import PAGES, page

    if listing:
        width = max(map(len, PAGES))
        click.echo("\n".join(f"{name:<{width}}  {title}" for name, title in PAGES.items()))
        return
    click.echo_via_pager(page(topic or "tour"))


COMMANDS = (guide_command,)
