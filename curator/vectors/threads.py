"""Work on every core, in threads of our own: FAISS's own wait for each other where several searches run at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def in_threads(work: Callable[[_In], _Out], parts: Iterable[_In]) -> list[_Out]:
    """The results of `work` for each part, in order; a single part stays in this thread."""
    items = list(parts)
    if len(items) == 1:
        return [work(items[0])]
    from concurrent.futures import ThreadPoolExecutor  # of no use to a search of a small index

    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(work, items))
