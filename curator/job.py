"""A long piece of work: it tells its progress, says lines, and can be stopped from anywhere.

>>> job = Job(show=lambda p: print(f"{p.doing}: {p.done} of {p.total}"))
>>> job.progress(64, 1000, "indexing")
indexing: 64 of 1000
>>> job.cancel()
>>> job.stop
True

Whatever is long takes a `job`, and asks it at each batch: `job.stop` where a part of the work is worth keeping,
`job.check()` where it is not. So Ctrl-C, the Stop button of a page and the cancel of a cluster are one thing, and it
works in any thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from curator.errors import Stopped, UsageError
from curator.records import Progress


class Job:
    """What a face hands to the library. `show` is given every `Progress`, `say` every line for a person to read."""

    def __init__(
        self,
        *,
        show: Callable[[Progress], None] = lambda progress: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._show, self.say = show, say
        self._cancelled = threading.Event()
        self._signalled = False
        self._listens = False
        self._of: Job | None = None  # the job that this one stops with

    def progress(self, done: int, total: int, doing: str, *, already: int = 0, unit: str = "images") -> None:
        """Tell that `done` of `total` are done, of which `already` were at the start."""
        self._show(Progress(done, total, already, doing, unit))

    @property
    def stop(self) -> bool:
        """Whether the work was asked to stop."""
        return self._signalled or self._cancelled.is_set() or (self._of is not None and self._of.stop)

    def cancel(self) -> None:
        """Ask the work to stop at its next batch. Safe in any thread and in a signal handler."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Stopped` if the work was asked to stop. Call it where nothing is half done."""
        if self.stop:
            raise Stopped("stopped as asked; what was stored before stays, and the same command does the rest")

    def quiet(self) -> Job:
        """A job that stops with this one, and tells nobody anything."""
        silent = Job()
        silent._of = self
        return silent

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Within it Ctrl-C and SIGTERM ask the work to stop; the second one raises `KeyboardInterrupt` at once.

        A stop that a signal asked for ends with this block. Outside the main thread, where Python has no signals, and
        within another `on_signals`, nothing changes.
        """
        if self._listens or threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: object) -> None:
            if self.stop:
                raise KeyboardInterrupt
            self._signalled = True
            with contextlib.suppress(RuntimeError):  # the signal came while another line was being written
                self.say("Stopping at the next whole step. Press Ctrl-C again to stop at once.")

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        self._listens = True
        try:
            yield
        finally:
            self._listens = self._signalled = False
            for number, handler in before.items():
                signal.signal(number, handler)


class _Quiet(Job):
    """One job of all callers who do not look on. It keeps no state, for what one of them asks would reach the rest."""

    def cancel(self) -> None:
        """There is nothing to cancel: whoever wants to stop work makes a `Job` for it."""
        raise UsageError("give the work a `Job` of its own to stop it")

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Signals mean what they meant: Ctrl-C is a `KeyboardInterrupt`."""
        yield


QUIET = _Quiet()


def cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
