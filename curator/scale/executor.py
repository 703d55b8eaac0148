"""Who does the work: processes of this machine, or a cluster. Stages never know which."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol

from curator.errors import ExecutorLost
from curator.job import Job, cores

Outcome = dict[str, Any]  # strings and numbers alone: vectors travel through the storage
Stage = Callable[[int], Outcome]
_LOSSES = 8  # of the whole pool in a row, without one item done, after which something else is wrong


@dataclass(frozen=True)
class Workers:
    """How many: `least` to `most` processes, each with `gpus` of a machine's; `most` 0 leaves it to the executor."""

    least: int = 1
    most: int = 0
    gpus: float = 0.0


class Executor(Protocol):
    """Runs one stage on many items, in any order; an item may run twice, so a stage must not mind."""

    def threads(self) -> int:
        """How many threads each worker has to itself; 0 for all of its machine."""
        ...

    def run(self, stage: Stage, items: Sequence[int], job: Job) -> Iterator[Outcome]:
        """The outcome of each item as it is ready; stops when the job does. Raises `ExecutorLost`."""
        ...


class LocalExecutor:
    """Processes of this machine. One that dies takes nothing along but its own item, which is done again."""

    def __init__(self, workers: Workers = Workers()) -> None:
        self.count = workers.most or max(workers.least, cores() // 4, 1)  # decoding in threads fills about four cores

    def threads(self) -> int:
        """The cores, shared out."""
        return max(1, cores() // self.count)

    def run(self, stage: Stage, items: Sequence[int], job: Job) -> Iterator[Outcome]:
        """See `Executor`. A pool that breaks is made again, as it does not say whose death broke it."""
        waiting, losses = list(items), 0
        while waiting and not job.stop:
            done: set[int] = set()
            try:
                for item, outcome in self._pool(stage, waiting, job):
                    done.add(item)
                    losses = 0
                    yield outcome
            except BrokenProcessPool as error:
                losses += 1
                if losses >= _LOSSES:
                    raise ExecutorLost(
                        f"the worker processes died {losses} times in a row, the last one by {error}; is there memory "
                        "enough? What has a receipt is kept, and fewer --workers may do"
                    ) from error
            waiting = [item for item in waiting if item not in done]

    def _pool(self, stage: Stage, items: Sequence[int], job: Job) -> Iterator[tuple[int, Outcome]]:
        context = multiprocessing.get_context("spawn")  # a forked child of a process with OpenMP threads hangs
        pool = ProcessPoolExecutor(self.count, context, initializer=_alone, initargs=(os.getpid(),))
        ahead = 2 * self.count
        queue, running = list(items), dict[Future[Outcome], int]()
        try:
            while (queue or running) and not job.stop:
                while queue and len(running) < ahead:
                    item = queue.pop(0)
                    running[pool.submit(stage, item)] = item
                ready, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield running.pop(future), future.result()
        finally:
            # Nothing that is half done counts, so nobody waits for it.
            workers = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in workers if running or queue else ():
                process.kill()


def _alone(parent: int) -> None:
    """Of a worker: Ctrl-C is the parent's affair, and who has lost its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
