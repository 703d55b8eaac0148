"""How many threads a training computes with: tried in its first steps, and when its pace falls by half.

Threads of one step wait for each other after every layer. Where another program keeps a core busy, all of them wait for
the one that shares it, and a single thread can be five times as fast as two.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import torch

from curator.job import Job
from curator.training.parallel import Team

_UNCOUNTED = 1  # steps after a change, in which threads start and memory is taken
_COUNTED = 5  # steps that a number of threads is judged by
_BETTER = 0.95  # of the time of the threads in use, at which others are worth a change
_RECENT = 20  # steps whose median is the pace


@dataclass(frozen=True)
class Waits:
    """Seconds of trials: `long` of steps after which two of them have to do, so that a trial does not take the minutes
    of a run; `pause` before another; `later`, when fewer threads than there could be are tried anew, as other work may
    have ended.
    """

    long: float = 3.0
    pause: float = 60.0
    later: float = 600.0


class Threads:
    """Sets the threads of torch for a training. Without anything to choose it only watches.

    It leaves them alone on a GPU, in a team, where there is one core, and where the user has set `OMP_NUM_THREADS`.
    """

    def __init__(
        self, team: Team, job: Job, size: int, *, count: int = 0, reference: float = 0.0, waits: Waits = Waits()
    ) -> None:
        """`count` and `reference` (seconds of a step) are those that a resumed run had; 0 for none."""
        self.job, self.size, self.reference, self.waits = job, size, reference, waits
        self.before = torch.get_num_threads()
        is_free = team.world == 1 and team.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ
        # Half as many each time: between 12 and 6 the pace differs little, between 12 and 1 five-fold.
        halved = [self.before >> i for i in range(self.before.bit_length())]  # as 12, 6, 3, 1
        self.choices = halved if is_free and self.before > 1 else []
        # A resumed run goes on with what it had chosen, unless this machine has other cores.
        self.count = count if count in self.choices else self.before
        self.recent: deque[float] = deque(maxlen=_RECENT)
        self.tried: dict[int, list[float]] = {}
        self.todo: list[int] = []
        self.judged, self.has_said = time.monotonic(), False
        if self.choices and count not in self.choices:
            self._try()

    @contextlib.contextmanager
    def own(self) -> Iterator[None]:
        """While this holds, torch has the threads chosen here; afterwards those it had."""
        try:
            torch.set_num_threads(self.count)
            yield
        finally:
            torch.set_num_threads(self.before)

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Around one step of the training."""
        # A trial walks through its numbers of threads, a few steps with each.
        if self.todo:
            self.count = self.todo.pop(0)
            torch.set_num_threads(self.count)
            self.tried.setdefault(self.count, [])
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        if not self.tried:
            self._watch(seconds)
            return
        tried = self.tried[self.count]
        tried.append(seconds)
        # Where steps take seconds, two of each number have to do.
        if len(tried) > _UNCOUNTED and sum(tried) > self.waits.long:
            self.todo = [n for n in self.todo if n != self.count]
        if not self.todo:
            self._choose()

    def settled(self) -> tuple[int, float]:
        """The threads chosen and the seconds of a step with them, for a run that is resumed; 0 while none are."""
        return (self.count, self.reference) if self.choices and not self.is_trying else (0, 0.0)

    @property
    def is_trying(self) -> bool:
        """Whether the coming steps are a trial, whose pace is not that of the run."""
        return bool(self.tried or self.todo)

    def _try(self) -> None:
        """The coming steps are tried with each number of threads."""
        order = sorted(self.choices, key=lambda n: (n != self.count, -n))  # those in use first
        self.todo = [n for n in order for _ in range(_UNCOUNTED + _COUNTED)]
        self.todo = [order[0], *self.todo]  # the first step of all is the slowest

    def _choose(self) -> None:
        # Medians, without the steps after a change: one slow step of another program decides nothing.
        seconds = {n: median(times[_UNCOUNTED:][-_COUNTED:]) for n, times in self.tried.items()}
        used = next(iter(seconds))  # the first that were tried
        best = min(seconds, key=lambda n: seconds[n])
        # A gain of a few per cent is noise, and would let the choice go back and forth.
        best = best if seconds[best] < _BETTER * seconds[used] else used
        torch.set_num_threads(best)
        paces = "; ".join(f"{_named(n)} {self.size / max(s, 1e-9):,.0f} images/s" for n, s in sorted(seconds.items()))
        why = "they share the work" if best > 1 else "more would wait for each other, or for other work on this machine"
        if best != used or not self.has_said:
            self.job.say(f"Pace: {paces}. Training with {_named(best)}: {why}.")
        self.count, self.reference, self.judged, self.has_said = best, seconds[best], time.monotonic(), True
        self.tried, self.todo = {}, []
        self.recent.clear()

    def _watch(self, seconds: float) -> None:
        """Another trial where the pace has fallen by half, and now and then where threads lie idle."""
        self.recent.append(seconds)
        if len(self.recent) < _RECENT:
            return
        # The best pace there was is what others are compared with.
        pace = median(self.recent)
        self.reference = min(self.reference or pace, pace)
        since = time.monotonic() - self.judged
        # Other work may have ended: more threads than now would be faster then.
        if self.choices and self.count < self.before and since > self.waits.later:
            self._try()
        elif self.choices and pace > 2 * self.reference and since > self.waits.pause:
            was, now = (self.size / max(s, 1e-9) for s in (self.reference, pace))
            self.job.say(f"The pace fell from {was:,.0f} to {now:,.0f} images/s; threads are tried again.")
            self._try()


def _named(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"
