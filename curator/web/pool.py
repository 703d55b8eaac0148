"""Threads in which the page's questions are answered, so that none waits for another kind.

All share one `Index`, which is made for that: its threads read of one moment each, and load the encoder once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from curator.index import Index

P = ParamSpec("P")
T = TypeVar("T")
_KINDS = {"ask": 2, "picture": 2, "change": 1, "encode": 1, "choose": 2}  # how many at a time


class AskingPool:
    """Threads that ask, read pictures and choose; one that changes the index, in order, and one that encodes."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._threads = {kind: ThreadPoolExecutor(n, f"page-{kind}") for kind, n in _KINDS.items()}

    async def run(self, kind: str, what: Callable[P, T], *values: P.args, **more: P.kwargs) -> T:
        """The answer of a function, given in a thread of a kind."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads[kind], lambda: what(*values, **more))

    def warm(self) -> None:
        """Load the encoder beforehand: the first words somebody asks for would wait for it."""
        self._threads["encode"].submit(_load, self.index)

    def close(self) -> None:
        """Wait for what is being answered, and take nothing more."""
        for threads in self._threads.values():
            threads.shutdown(wait=True, cancel_futures=True)


def _load(index: Index) -> Any:
    return index.encoder.has_text and index.encoder.encode_texts(["a"])
