"""Long work that the page asks for: one thing at a time in the background, with its progress, and a way to stop it."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from curator.errors import CuratorError, Stopped, UsageError
from curator.job import Job
from curator.records import Progress

logger = logging.getLogger("curator")

_REMEMBERED = 50  # that have ended


@dataclass
class Task:
    """One piece of work: what it is in `words`, how far it is, and what came of it."""

    number: int
    name: str
    words: str
    state: str = "waiting"  # running, done, stopped, failed
    done: int = 0
    total: int = 0
    doing: str = ""
    error: str = ""
    answer: Any = None
    job: Job = field(default_factory=Job)

    def describe(self) -> dict[str, Any]:
        """How it stands, and its answer where that is a list to show."""
        names = ("number", "name", "words", "state", "done", "total", "doing", "error")
        shown = {"answer": self.answer} if isinstance(self.answer, list) else {}
        return {name: getattr(self, name) for name in names} | shown


class Tasks:
    """The work of one page, newest last."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, "page-work")
        self._lock = threading.Lock()
        self._works: list[Task] = []

    def start(self, name: str, words: str, what: Callable[[Job], Any]) -> Task:
        """Begin it, unless the same waits or runs already; then that is returned.

        Raises `UsageError` where other work of this name does: its answers would be taken for this one's.
        """
        with self._lock:
            for work in self._works:
                if work.name == name and work.state in ("waiting", "running"):
                    if work.words == words:
                        return work
                    raise UsageError(f"{work.words}: this is going on; stop it first, or wait")
            work = Task(len(self._works) + 1, name, words)
            work.job = Job(show=lambda p: _show(work, p))
            for older in self._works:  # what came of it is of use until it is done again
                if older.name == name:
                    older.answer = None
            self._works.append(work)
        self._threads.submit(self._run, work, what)
        return work

    def latest(self, name: str) -> Task | None:
        """The last of this name."""
        with self._lock:
            return next((w for w in reversed(self._works) if w.name == name), None)

    def stop(self, number: int) -> None:
        """Ask it to stop at its next step; nothing half done is left."""
        for work in self._works:
            if work.number == number:
                work.job.cancel()

    def describe(self) -> list[dict[str, Any]]:
        """Newest first."""
        with self._lock:
            return [w.describe() for w in reversed(self._works[-_REMEMBERED:])]

    def close(self) -> None:
        """Stop all of it."""
        for work in self._works:
            work.job.cancel()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(self, work: Task, what: Callable[[Job], Any]) -> None:
        work.state = "running"
        try:
            work.job.check()
            work.answer = what(work.job)
            work.state = "done"
        except Stopped:
            work.state = "stopped"
        except CuratorError as error:
            work.state, work.error = "failed", str(error)
        except Exception as error:
            number = secrets.token_hex(4)
            logger.error("%s failed (%s)", work.words, number, exc_info=error)
            work.state, work.error = "failed", f"a bug: the terminal says more, under {number}"


def _show(work: Task, progress: Progress) -> None:
    work.done, work.total, work.doing = progress.done, progress.total, progress.doing
