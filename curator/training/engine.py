"""The loop, for all trainers: budget, schedules, checkpoints, a guard against NaN, resuming.

A step takes a batch that is a function of (seed, images seen), and lets each phase of the trainer update its network.
Every `options.every` images the run is marked: numbers on held-out images, a grid of samples, a checkpoint. A run that
is resumed from a checkpoint goes on as if it had never stopped, bit for bit on a CPU with as many threads.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable

import torch

from curator.errors import UsageError
from curator.job import QUIET, Job
from curator.training.batches import Source, generator_of, order_of
from curator.training.card import write_card
from curator.training.curves import draw_curves
from curator.training.folder import LATEST, Run
from curator.training.keeping import check_weights, finish, restore_loop, save_loop, telling_full_disk
from curator.training.options import Options
from curator.training.parallel import Team
from curator.training.parts import Features, Trainer, follow
from curator.training.pictures import Pictures, tiled
from curator.training.rules import Diverged, Loop, Outcome, news, precision_of
from curator.training.stepping import Stepper
from curator.training.threads import Threads
from curator.training.timing import Timing

_JUDGED = 5_000  # most images that a checkpoint is measured on
_RETRIES = 3
_LOGS = 200  # lines of stats.jsonl in a whole run
_CURVES = 10.0  # seconds between two drawings of the curves


def train(
    run: Run,
    make: Callable[[Source], Trainer],
    pictures: Pictures,
    features: Features,
    *,
    team: Team | None = None,
    resume: bool = False,
    job: Job = QUIET,
) -> Outcome:
    """Train until the budget or the time is used, a held-out score no longer improves, or the job is stopped.

    It always leaves a checkpoint. `team` is that of `Team.join()`, None for this process alone.

    Raises `UsageError` where losses leave the finite numbers a fourth time, and `IndexFull` where the disk is.
    """
    options = run.options
    # 1. Some images are held out, by a hash of their content.
    trained, held = pictures.divide(options.holdout)
    # 2. Whoever presses Ctrl-C asks the job to stop, in every process of the team.
    job = Job() if job is QUIET else job
    with job.on_signals(), contextlib.nullcontext(team) if team else Team.join() as joined, torch.random.fork_rng():
        # 3. First weights.
        torch.manual_seed(options.seed)  # of the first weights; steps have seeds of their own
        if options.batch % joined.world:
            raise UsageError(
                f"--batch {options.batch} cannot be divided among {joined.world} processes; take a multiple"
            )
        source = Source(trained, options, joined.device, joined.rank, joined.world)
        # 4. Without held-out images the numbers are of those that were trained on.
        judged = held if len(held) else trained
        judged = judged.taken(order_of(len(judged), options.seed, 0)[:_JUDGED])  # folders are often sorted by label
        with telling_full_disk(run):
            return _Engine(run, make(source), source, judged, features=features, team=joined, job=job).go(resume)


class _Engine:
    """One training in one process of a team."""

    def __init__(
        self,
        run: Run,
        trainer: Trainer,
        source: Source,
        held: Pictures,
        *,
        features: Features,
        team: Team,
        job: Job,
    ) -> None:
        self.run, self.trainer, self.source, self.held, self.features, self.team = (
            run,
            trainer,
            source,
            held,
            features,
            team,
        )
        self.job = job
        self.options: Options = run.options
        self.stepper = Stepper(trainer, source, team, precision_of(self.options, team.device))
        self.size = self.stepper.size
        # All that a checkpoint must hold besides the networks.
        self.loop = Loop(self.options.images)
        self.timing = Timing(self.options, team)
        self.drawn = 0.0
        self.every, self.marked = 0, -1
        self.told_of: set[str] = set()

    def go(self, resume: bool) -> Outcome:
        """Run the loop, from the latest checkpoint if asked."""
        # A resumed run begins where its latest checkpoint is, and drops the log lines after it.
        if resume:
            self._restore()
        self.already = self.loop.images_seen
        self.timing.start(self.loop)
        self.drawn = time.monotonic()
        self.threads = Threads(
            self.team, self.job, self.size, count=self.loop.threads, reference=self.loop.step_seconds
        )
        if self.team.rank == 0:
            self.run.write_state(status="training")
        # Step 0 is a checkpoint too: a run that is stopped at once can be resumed.
        if not resume:
            self._save()
        with self.threads.own():
            status = self._steps()
        if status != "interrupted" and self.team.rank == 0 and self.loop.best >= 0:
            finish(self.run, self.trainer, self.loop.best, self.source.pictures)
        if self.team.rank == 0:
            self.run.write_state(status=status)
            draw_curves(self.run)
            write_card(self.run)
        return Outcome(status, self.loop.images_seen, self.loop.seconds, self.loop.best)

    def _steps(self) -> str:
        """Until something ends the run.

        Processes decide together: one that stopped alone would leave the others waiting.
        """
        while True:
            # 1. Is it over? One question to all processes.
            asked, late, warm = self.team.any(self.job.stop, self.timing.is_late(self.loop), self.timing.is_warm())
            # 2. A time limit alone is turned into a budget once the pace is known.
            if self.timing.can_plan(self.loop, is_warm=warm and not self.threads.is_trying):
                self.timing.plan(self.loop, self.size)
            try:
                if asked:
                    self._save()
                    return "interrupted"
                # 3. The last state is always marked, once.
                if late or 0 < self.loop.images <= self.loop.images_seen:
                    if self.marked != self.loop.images_seen:
                        self._mark()
                    return "out of time" if late else "finished"
                # 4. A step, and a mark where one is due.
                with self.threads.step():
                    self._step()
                if self._is_due():
                    self._mark_or_save()
            # 5. Not finite: back to the last good checkpoint.
            except Diverged as error:
                self._back(str(error))
                continue
            # 6. No better for too long.
            if self.options.patience and self.loop.stale >= self.options.patience:
                return "stopped early"

    def _is_due(self) -> bool:
        """Whether the last step ended the budget, or passed a multiple of the interval between marks."""
        if not self.loop.images:
            return False
        # A multiple of the batch, so that marks fall between steps.
        self.every = self.every or -(-(self.options.every or self.loop.images // 20 or 1) // self.size) * self.size
        seen = self.loop.images_seen
        return self.loop.images <= seen or seen // self.every > (seen - self.size) // self.every

    def _step(self) -> None:
        """One batch through all phases; numbers are gathered for the log."""
        loop = self.loop
        # One clock for all phases: schedules do not move within a step.
        clock = self.timing.clock(loop)
        torch.manual_seed(
            int(generator_of(self.options.seed, loop.images_seen, self.team.rank).initial_seed())
        )  # of dropout
        # Numbers are summed and their means logged, now and then.
        for phase in self.trainer.phases:
            numbers = self.stepper.update(phase, clock, loop.images_seen, loop.rate_factor)
            for name, value in numbers.items():
                loop.sums[name] = loop.sums.get(name, 0.0) + value
        loop.images_seen += self.size
        loop.steps += 1
        loop.summed += 1
        # Averages follow after all phases have moved.
        for name, average in self.trainer.averages.items():
            follow(
                average,
                self.trainer.networks[name],
                seen=loop.images_seen,
                batch=self.size,
                half_life=self.options.ema_images,
            )
        self._log()

    def _log(self) -> None:
        loop = self.loop
        loop.seconds = self.timing.seconds()
        if still := self.timing.stood_still():
            self.job.say(f"The process stood still for {still:.0f} s, which are not counted.")
        loop.threads, loop.step_seconds = self.threads.settled()
        self.job.progress(loop.images_seen, self.timing.expected(loop), "training", already=self.already)
        # About two hundred lines, however long the run.
        every = max(1, (loop.images or 50 * self.size * _LOGS) // (self.size * _LOGS)) * self.size
        if (loop.images_seen // every) > ((loop.images_seen - self.size) // every) and self.team.rank == 0:
            row = {k: v / loop.summed for k, v in loop.sums.items()}
            self.run.append("stats.jsonl", {"images_seen": loop.images_seen, "seconds": round(loop.seconds, 3)} | row)
            loop.sums, loop.summed = {}, 0

    def _mark_or_save(self) -> None:
        """A mark; a checkpoint alone where numbers have had their share of the time."""
        if self.loop.images <= self.loop.images_seen or self.timing.can_measure(self.loop):
            self._mark()
        else:
            self._save()
        # The pace may have changed: plan anew.
        if not self.options.images and self.loop.images_seen < self.loop.images:
            self.timing.plan(self.loop, self.size)

    def _mark(self) -> None:
        """Numbers, samples, curves, a checkpoint."""
        loop, run = self.loop, self.run
        # 1. Never measure, show or keep weights that are not finite.
        check_weights(self.trainer)
        self.marked = loop.images_seen
        # 2. Statistics of normalisation differ between processes: take their mean.
        for average in self.trainer.averages.values():
            self.team.average_buffers(average)
        # 3. Numbers and a grid, from the averaged weights.
        with torch.no_grad(), self.timing.measuring(loop):
            numbers = self.trainer.measure(self.held, self.features)
            grid = self.trainer.samples(self.held)
        # 4. The best so far? All processes go by the first one's number.
        value = self.team.agree(numbers.get(self.trainer.better, math.inf))
        loop.stale = 0 if value < loop.best_value else loop.stale + 1
        if value < loop.best_value or loop.best < 0:
            loop.best, loop.best_value = loop.images_seen, value
        # 5. Only the first process writes.
        if self.team.rank:
            return
        run.append(
            "metrics.jsonl", {"images_seen": loop.images_seen, "seconds": round(self.timing.seconds(), 3)} | numbers
        )
        if grid is not None:
            (run.folder / "samples").mkdir(exist_ok=True)
            tiled(grid).save(run.folder / "samples" / f"{loop.images_seen:09d}.png")
        if time.monotonic() - self.drawn > _CURVES:  # drawing takes most of a second; the end is drawn in any case
            self.drawn = time.monotonic()
            draw_curves(run)
        self._save()
        for kind, line in news(numbers, loop, self.timing.clock(loop), self.options, self.trainer.better).items():
            if kind not in self.told_of:  # each once a run
                self.told_of.add(kind)
                self.job.say(line)

    def _save(self) -> None:
        """A checkpoint, of good weights only: all processes look, so that all go back together."""
        check_weights(self.trainer)
        if self.team.rank == 0:
            save_loop(self.run, self.trainer, self.loop, self.options.keep)
        self.timing.wrote()

    def _restore(self) -> None:
        self.loop = restore_loop(self.run, self.trainer, self.job)
        self.loop.images = self.options.images  # 0: planned anew
        if self.team.rank == 0:
            self.run.write_state(best=max(self.loop.best, 0))
            self.run.cut_logs(self.loop.images_seen)
        self.team.wait()
        self.marked = max((r["images_seen"] for r in self.run.rows("metrics.jsonl")), default=-1)

    def _back(self, why: str) -> None:
        """Reload the last good checkpoint, and halve the rate: three times, then a clear stop."""
        retries, seconds, seen = self.loop.retries + 1, self.timing.seconds(), self.loop.images_seen
        rate = self.options.rate * self.loop.rate_factor
        if self.team.rank == 0:
            self.run.write_state(rate_factor=self.loop.rate_factor / 2, retries=retries)
        self.team.wait()
        if retries > _RETRIES:
            if self.team.rank == 0:
                self.run.write_state(status="diverged")
            last = self.run.checkpoint(LATEST)
            raise UsageError(
                f"{why} after {seen} images, for the {retries}th time, with the rate halved to {rate:g}; the "
                f"checkpoint at {last} images "
                "is good: use it, or train with a smaller --rate"
            )
        self._restore()
        self.loop.retries, self.loop.seconds = retries, seconds
        self.job.say(f"{why} after {seen} images: back to {self.loop.images_seen}, at half the rate.")
