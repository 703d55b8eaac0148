"""AskingPool in which the page's questions are answered, so that none waits for another kind.

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
_THREADS = 2  # of each kind


class AskingPool:
    """Two threads that ask and change the index, and two that read pictures."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._asking = ThreadPoolExecutor(_THREADS, "page-ask")
        self._pictures = ThreadPoolExecutor(_THREADS, "page-pictures")

    async def ask(self, what: Callable[P, T], *values: P.args, **more: P.kwargs) -> T:
        """The answer of a function, given in a thread of its own."""
        return await self._run(self._asking, lambda: what(*values, **more))

    async def picture(self, what: Callable[P, T], *values: P.args, **more: P.kwargs) -> T:
        """The same for pictures."""
        return await self._run(self._pictures, lambda: what(*values, **more))

    async def _run(self, threads: ThreadPoolExecutor, what: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, what)

    def warm(self) -> None:
        """Load the encoder beforehand: the first words somebody asks for would wait for it."""
        self._asking.submit(_load, self.index)

    def close(self) -> None:
        """Wait for what is being answered, and take nothing more."""
        for threads in (self._asking, self._pictures):
            threads.shutdown(wait=True, cancel_futures=True)


def _load(index: Index) -> Any:
    return index.encoder.has_text and index.encoder.encode_texts(["a"])
