"""What a shell offers when Tab is pressed: names that an index holds. Nothing is said where there is no index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from curator.index import Index

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _of_index(names: Callable[[Index], list[str]]) -> Complete:
    """Complete from what the index of the command line holds."""

    def complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
        from curator.errors import CuratorError
        from curator.index import Index

        try:
            outer = ctx.parent.params.get("name") if ctx.parent else None
            with Index.open(ctx.params.get("name") or outer) as index:
                known = names(index)
        except (CuratorError, OSError):
            return []
        return [CompletionItem(name) for name in known if name.startswith(begun)]

    return complete


def _selections(index: Index) -> list[str]:
    from curator.database import Selections

    return Selections(index.reader).names()


def _concepts(index: Index) -> list[str]:
    from curator.database import Selections

    return Selections(index.reader).concepts(index.space)


def _runs(index: Index) -> list[str]:
    from curator.search.facts import run_names

    return [*run_names(index), "latest"]


def _columns(index: Index) -> list[str]:
    return index.reader.columns()


selections, concepts, runs, columns = (_of_index(f) for f in (_selections, _concepts, _runs, _columns))


def indexes(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of the indexes in `indexes/` here or in a folder around here."""
    current = Path.cwd()
    homes = (folder / "indexes" for folder in (current, *current.parents))
    home = next((h for h in homes if h.is_dir()), None)
    names = sorted(p.parent.name for p in home.glob("*/index.db")) if home else []
    return [CompletionItem(name) for name in names if name.startswith(begun)]
