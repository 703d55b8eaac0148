"""The loop, for all trainers: budget, schedules, checkpoints, a guard against NaN, resuming.

A step takes a batch that is a function of (seed, images seen), and lets each phase of the trainer update its network. Every
`options.every` images the run is marked: numbers on held-out images, a grid of samples, a checkpoint. A run that is resumed from a
checkpoint goes on as if it had never stopped, bit for bit on a CPU with as many threads.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from curator.errors import UsageError
from curator.records import Progress
from curator.training.batches import Source, generator_of, order_of
from curator.training.card import write_card
from curator.training.curves import draw_curves
from curator.training.folder import LATEST, Run
from curator.training.options import Options
from curator.training.parallel import Team
from curator.training.parts import Clock, Features, Phase, Trainer, follow
from curator.training.pictures import Pictures, tiled
from curator.training.rules import Diverged, Loop, Outcome, advice, asked_to_stop, precision_of, scheduled
from curator.training.state import pack, unpack

_MICRO = 1024  # images that are computed at once: a larger batch is gathered from parts
_WARM, _WARM_SHARE = 20, 0.02  # steps and share of the time that a time limit without a budget is planned from
_JUDGED = 10_000  # most images that a checkpoint is measured on
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
    progress: Callable[[Progress], None] = lambda p: None,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Train until the budget is used, time is up, a held-out score no longer improves, or Ctrl-C; always leaves a checkpoint.

    `team` is that of `Team.join()`, None for this process alone.

    Raises `UsageError` where nothing is left to train on, or losses leave the finite numbers a fourth time.
    """
    options = run.options
    kept, held = pictures.divide(options.holdout)
    if not len(kept):
        raise UsageError(f"no image is left to train on: {len(pictures)} were given, and all are held out")
    with contextlib.nullcontext(team) if team else Team.join() as joined, torch.random.fork_rng():
        torch.manual_seed(options.seed)  # of the first weights; steps have seeds of their own
        source = Source(kept, options, joined.device, joined.rank, joined.world)
        judged = held if len(held) else kept
        judged = judged.taken(order_of(len(judged), options.seed, 0)[:_JUDGED])  # folders are often sorted by label
        return Engine(run, make(source), source, judged, features=features, team=joined, progress=progress, say=say).go(resume)


class Engine:
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
        progress: Callable[[Progress], None],
        say: Callable[[str], None],
    ) -> None:
        self.run, self.trainer, self.source, self.held, self.features, self.team = run, trainer, source, held, features, team
        self.progress, self.say = progress, say
        self.options: Options = run.options
        self.autocast = precision_of(self.options, team.device)
        self.size = len(source.pictures) if self.options.optimiser == "gd" else self.options.batch
        self.loop = Loop(self.options.images)
        self.until = self.options.max_minutes * 60 or math.inf
        self.began = self.drawn = 0.0

    def go(self, resume: bool) -> Outcome:
        """Run the loop, from the latest checkpoint if asked."""
        if resume:
            self._restore(self.run.checkpoint(LATEST))
        self.already = self.loop.images_seen
        self.began = time.monotonic() - self.loop.seconds
        if self.team.rank == 0:
            self.run.write_state(status="training")
        if not resume:
            self._save()
        with asked_to_stop() as stop:
            status = self._steps(stop)
        if status != "interrupted":
            self._finish()
        if self.team.rank == 0:
            self.run.write_state(status=status)
            write_card(self.run)
        return Outcome(status, self.loop.images_seen, self.loop.seconds, self.loop.best)

    def _steps(self, stop: list[int]) -> str:
        every = 0
        while not self.loop.images or self.loop.images_seen < self.loop.images:
            if not self.loop.images and self.loop.steps >= _WARM and self._seconds() > _WARM_SHARE * min(self.until, 3600):
                self._plan()
            every = every or self._interval()
            if stop:
                self._save()
                return "interrupted"
            try:
                self._step()
                marked = self._is_due(every)
                if marked:
                    self._mark()
            except Diverged as error:
                self._back(str(error))
                continue
            if self.options.patience and self.loop.stale >= self.options.patience:
                return "stopped early"
            if self._seconds() > self.until:
                if not marked:
                    self._mark()
                return "out of time"
        return "finished"

    def _is_due(self, every: int) -> bool:
        """Whether the last step ended the budget, or passed a multiple of `every`."""
        seen = self.loop.images_seen
        return (0 < self.loop.images <= seen) or (every > 0 and seen // every > (seen - self.size) // every)

    def _step(self) -> None:
        """One batch through all phases; numbers are gathered for the log."""
        loop = self.loop
        clock = Clock(loop.images_seen, loop.images)
        torch.manual_seed(int(generator_of(self.options.seed, loop.images_seen, self.team.rank).initial_seed()))  # of dropout
        for phase in self.trainer.phases:
            for name, value in self._update(phase, clock).items():
                loop.sums[name] = loop.sums.get(name, 0.0) + value
        loop.images_seen += self.size
        loop.steps += 1
        loop.summed += 1
        for name, average in self.trainer.averages.items():
            follow(average, self.trainer.networks[name], seen=loop.images_seen, batch=self.size, half_life=self.options.ema_images)
        self._log(clock)

    def _update(self, phase: Phase, clock: Clock) -> dict[str, float]:
        for network in self.trainer.networks.values():
            network.requires_grad_(network is phase.network)
        phase.optimiser.zero_grad(set_to_none=True)
        parts = max(1, math.ceil(self.size / _MICRO))
        numbers: dict[str, float] = {}
        for part in range(parts):
            size = self.size * (part + 1) // parts - self.size * part // parts
            batch = self.source.batch(self.loop.images_seen + self.size * part // parts, size, phase.name)
            with self.autocast():
                loss, facts = phase.loss(batch, clock)
            weight = size / self.size
            (loss * weight).backward()
            for name, value in (facts | {phase.name: loss}).items():
                numbers[name] = numbers.get(name, 0.0) + weight * float(value.detach())
        if not all(map(math.isfinite, numbers.values())):
            raise Diverged(f"the loss of '{phase.name}' is not finite")
        self.team.average(phase.network)
        if self.options.l1:
            for p in phase.network.parameters():
                if p.ndim > 1 and p.grad is not None:
                    p.grad.add_(p.sign(), alpha=self.options.l1)
        for group in phase.optimiser.param_groups:
            group["lr"] = self.options.rate * self.loop.rate_factor * scheduled(self.options.schedule, clock)
        phase.optimiser.step()
        return numbers

    def _log(self, clock: Clock) -> None:
        loop = self.loop
        loop.seconds = self._seconds()
        total = loop.images or max(1, int(loop.images_seen / max(loop.seconds, 1e-9) * self.until))
        self.progress(Progress(loop.images_seen, total, self.already, "training"))
        every = max(1, (loop.images or 50 * self.size * _LOGS) // (self.size * _LOGS)) * self.size
        if (loop.images_seen // every) > ((loop.images_seen - self.size) // every) and self.team.rank == 0:
            row = {k: v / loop.summed for k, v in loop.sums.items()}
            self.run.append("stats.jsonl", {"images_seen": loop.images_seen, "seconds": round(loop.seconds, 3)} | row)
            loop.sums, loop.summed = {}, 0

    def _plan(self) -> None:
        """A time limit without a budget: as many images as the pace promises, so that schedules end when time does."""
        rate = self.loop.images_seen / max(1e-9, self._seconds())
        planned = int(self.team.agree(rate * self.until))
        self.loop.images = max(self.loop.images_seen + self.size, planned // self.size * self.size)

    def _interval(self) -> int:
        """Images between two marks, a multiple of the batch; 0 while the budget is not known yet."""
        wanted = self.options.every or self.loop.images // 20
        return -(-wanted // self.size) * self.size

    def _mark(self) -> None:
        """Numbers, samples, curves, a checkpoint."""
        loop, run = self.loop, self.run
        self._check_weights()
        with torch.no_grad():
            numbers = self.trainer.measure(self.held, self.features)
            grid = self.trainer.samples(self.held)
        value = numbers.get(self.trainer.better, math.inf)
        loop.stale = 0 if value < loop.best_value else loop.stale + 1
        if value < loop.best_value or loop.best < 0:
            loop.best, loop.best_value = loop.images_seen, value
        if not self.options.images and loop.images_seen < loop.images:
            self._plan()
        if self.team.rank:
            return
        run.append("metrics.jsonl", {"images_seen": loop.images_seen, "seconds": round(self._seconds(), 3)} | numbers)
        if grid is not None:
            (run.folder / "samples").mkdir(exist_ok=True)
            tiled(grid).save(run.folder / "samples" / f"{loop.images_seen:09d}.png")
        if time.monotonic() - self.drawn > _CURVES or loop.images_seen >= loop.images:  # drawing takes most of a second
            self.drawn = time.monotonic()
            draw_curves(run)
        self._save()
        for line in advice(numbers, Clock(loop.images_seen, loop.images)):
            self.say(line)

    def _check_weights(self) -> None:
        for name, network in self.trainer.networks.items():
            if not all(bool(torch.isfinite(p).all()) for p in network.parameters()):
                raise Diverged(f"a weight of '{name}' is not finite")

    def _save(self) -> None:
        loop = self.loop
        if self.team.rank:
            return
        reached = vars(loop) | {"best_value": loop.best_value if math.isfinite(loop.best_value) else None}
        arrays, packed = pack(self.trainer)
        self.run.save_checkpoint(loop.images_seen, arrays, {"loop": reached, "optimisers": packed})
        self.run.write_state(images_seen=loop.images_seen, images=loop.images, seconds=round(loop.seconds, 3), best=max(loop.best, 0))
        self.run.prune(self.options.keep, [loop.best])

    def _restore(self, images_seen: int) -> None:
        arrays, facts = self.run.load_checkpoint(images_seen)
        unpack(self.trainer, arrays, facts["optimisers"])
        before: Mapping[str, Any] = facts["loop"]
        self.loop = Loop(**(dict(before) | {"best_value": math.inf if before["best_value"] is None else before["best_value"]}))
        if self.options.images:
            self.loop.images = self.options.images
        for name in ("stats.jsonl", "metrics.jsonl"):
            if self.team.rank == 0:
                self.run.cut_rows(name, images_seen)

    def _back(self, why: str) -> None:
        """Reload the last good checkpoint, and halve the rate: three times, then a clear stop."""
        factor, retries = self.loop.rate_factor / 2, self.loop.retries + 1
        seconds = self._seconds()
        last = self.run.checkpoint(LATEST)
        if retries > _RETRIES:
            self.run.write_state(status="diverged")
            raise UsageError(
                f"{why} after {self.loop.images_seen} images, for the {retries}th time, with the rate halved to "
                f"{self.options.rate * self.loop.rate_factor:g}; the checkpoint at {last} images is good: use it, or train with a smaller "
                "--rate"
            )
        self.say(f"{why} after {self.loop.images_seen} images: back to {last}, at half the rate.")
        self._restore(last)
        self.loop.rate_factor, self.loop.retries, self.loop.seconds = factor, retries, seconds

    def _finish(self) -> None:
        """Fit what is fitted last, on the best weights, and keep it beside them."""
        if self.team.rank or self.loop.best < 0:
            return
        arrays, facts = self.run.load_checkpoint(self.loop.best)
        unpack(self.trainer, arrays, facts["optimisers"])
        with torch.no_grad():
            fitted = self.trainer.finish(self.source.pictures)
        if fitted:
            from safetensors.numpy import save_file

            target = self.run.place_of(self.loop.best) / "fitted.safetensors"
            beside = target.with_name(".fitted.tmp")
            save_file({k: np.ascontiguousarray(v) for k, v in fitted.items()}, beside)
            os.replace(beside, target)

    def _seconds(self) -> float:
        return time.monotonic() - self.began
