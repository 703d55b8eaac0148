"""The time of a run: a limit that counts all but the start, a budget from the pace, measuring kept in bounds."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator

from curator.training.options import Options
from curator.training.parallel import Team
from curator.training.parts import Clock
from curator.training.rules import Loop

# A pace is known after twenty steps and 2 % of the time.
_WARM, _WARM_SHARE = 20, 0.02  # steps and share of the time that a time limit without a budget is planned from
_MEASURED = 0.1  # share of the time in which checkpoints may be measured
_FREE = 2.0  # seconds of measuring that no share limits: short runs are measured often
_ASLEEP, _IDLE = 5.0, 0.05  # seconds, in which the process computed for less than this share, it stood still
_ENDING = 2  # measurements that the last one, and what is fitted after it, may take


class Timing:
    """Seconds since a run began, those before it was resumed included.

    Those in which the process was stopped, or its machine frozen, are not of the run.
    """

    def __init__(
        self,
        options: Options,
        team: Team,
        *,
        wall: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        """`wall` and `cpu` are the clocks, in seconds."""
        self.options, self.team, self.wall, self.cpu = options, team, wall, cpu
        # In seconds; without a limit never.
        self.until = options.max_minutes * 60 or math.inf
        self.began = self.looked = wall()
        self.worked, self.still = cpu(), 0.0

    def start(self, loop: Loop) -> None:
        """Count on from where a loop was."""
        self.looked, self.worked = self.wall(), self.cpu()
        self.began = self.looked - loop.seconds

    def seconds(self) -> float:
        """Since the beginning. It is asked at every step, so in a long time without work the process stood still."""
        now, worked = self.wall(), self.cpu()
        gap = now - self.looked
        # Whoever computes uses a core; what waited for seconds and used none was not running.
        if gap > _ASLEEP and worked - self.worked < _IDLE * gap:
            self.began += gap
            self.still += gap
        self.looked, self.worked = now, worked
        return now - self.began

    def stood_still(self) -> float:
        """Seconds that were not counted since this was last asked."""
        still, self.still = self.still, 0.0
        return still

    def wrote(self) -> None:
        """After writing files: what that took is counted, however long a disk made the process wait."""
        self.looked, self.worked = self.wall(), self.cpu()

    def is_late(self, loop: Loop) -> bool:
        """Whether the time is used, but for what the end of the run takes."""
        return self.seconds() > self.until - _ENDING * loop.measure_seconds

    def is_warm(self) -> bool:
        """Whether the pace so far tells that of the run."""
        return self.seconds() > _WARM_SHARE * min(self.until, 3600)

    def can_plan(self, loop: Loop, *, is_warm: bool) -> bool:
        """Whether a time limit without a budget can be turned into one now."""
        return not loop.images and loop.steps >= _WARM and is_warm

    def plan(self, loop: Loop, size: int) -> None:
        """Set the budget of `loop`: as many images as the pace promises, so that schedules end when time does."""
        # Images a second so far, checkpoints counted.
        rate = loop.images_seen / max(1e-9, self.seconds())
        planned = int(self.team.agree(rate * (self.until - _ENDING * loop.measure_seconds)))
        loop.images = max(loop.images_seen + size, planned // size * size)

    def clock(self, loop: Loop) -> Clock:
        """Before a budget is planned, the share of the time that has passed stands for that of the images."""
        share = 0.0 if loop.images else self.team.agree(self.seconds()) / self.until
        return Clock(loop.images_seen, loop.images, share)

    def expected(self, loop: Loop) -> int:
        """Images of the whole run, as far as one knows."""
        return loop.images or max(1, int(loop.images_seen / max(loop.seconds, 1e-9) * self.until))

    def can_measure(self, loop: Loop) -> bool:
        """Whether one more measurement keeps all of them within a tenth of the time. `--every` is obeyed."""
        total = loop.measured_seconds + loop.measure_seconds
        allowed = bool(self.options.every) or total <= max(_FREE, _MEASURED * self.seconds())
        return bool(self.team.agree(float(allowed)))

    @contextlib.contextmanager
    def measuring(self, loop: Loop) -> Iterator[None]:
        """Around a measurement: what it took is remembered in `loop`."""
        started = self.seconds()
        yield
        loop.measure_seconds = self.seconds() - started
        loop.measured_seconds += loop.measure_seconds
