"""One update of one network: gradients gathered over parts of a batch, averaged over processes, penalised, applied."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from curator.training.batches import Source
from curator.training.options import Options
from curator.training.parallel import Team
from curator.training.parts import Clock, Phase, Trainer, weights_of
from curator.training.rules import Diverged, scheduled

_MICRO = 1024  # images that are computed at once: a larger batch is gathered from parts


class Stepper:
    """Makes the updates of a trainer's phases, in one process of a team."""

    def __init__(
        self, trainer: Trainer, source: Source, team: Team, autocast: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self.trainer, self.source, self.team, self.autocast = trainer, source, team, autocast
        self.options: Options = source.options
        # Full-batch descent takes all images that divide evenly among the processes.
        whole = len(source.pictures) // team.world * team.world
        self.size = whole if self.options.optimiser == "gd" else self.options.batch

    def update(self, phase: Phase, clock: Clock, images_seen: int, rate_factor: float) -> dict[str, float]:
        """One update, from the batch that follows `images_seen` → the phase's numbers. Raises `Diverged`."""
        # 1. Only this phase's network gathers gradients: the others are looked through, not moved.
        for network in self.trainer.networks.values():
            network.requires_grad_(network is phase.network)
        phase.optimiser.zero_grad(set_to_none=True)
        # 2. Gradients of the parts add up to those of the whole batch, each weighed by its share.
        parts = max(1, math.ceil(self.size / _MICRO))
        numbers: dict[str, float] = {}
        for part in range(parts):
            first, last = self.size * part // parts, self.size * (part + 1) // parts
            batch = self.source.batch(images_seen + first, last - first, phase.name)
            with self.autocast():
                loss, facts = phase.loss(batch, clock)
            weight = (last - first) / self.size
            (loss * weight).backward()
            for name, value in (facts | {phase.name: loss}).items():
                numbers[name] = numbers.get(name, 0.0) + weight * float(value.detach())
        # 3. All processes agree on whether the step is sound, or some would wait for ever for the others.
        if self.team.any(not all(map(math.isfinite, numbers.values())))[0]:
            raise Diverged(f"the loss of '{phase.name}' is not finite")
        self.team.average(phase.network)
        # 4. L1 is the sum of absolute weights: its gradient is their sign. L2 is the optimiser's own.
        if self.options.l1:
            for p in weights_of(phase.network):
                if p.grad is not None:
                    p.grad.add_(p.sign(), alpha=self.options.l1)
        # 5. The rate of this very step; the factor is ½ for each time that the run had to go back.
        for group in phase.optimiser.param_groups:
            group["lr"] = self.options.rate * rate_factor * scheduled(self.options.schedule, clock)
        phase.optimiser.step()
        return numbers
