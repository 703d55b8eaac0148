"""What the engine asks of a trainer: networks, phases, numbers about held-out images, samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from curator.training.batches import Batch
from curator.training.pictures import Bytes, Pictures, to_bytes

Features = Callable[[Bytes], NDArray[np.float32]]
"""(n, C, H, W) bytes → (n, d): the space in which samples are measured."""


@dataclass(frozen=True)
class Clock:
    """How far a run is: `images_seen` of `images`.

    Or `in_time` of its time, while it is not known how many images that allows.
    """

    images_seen: int
    images: int
    in_time: float = 0.0

    @property
    def share(self) -> float:
        """In [0, 1]."""
        # By images where their number is known, else by time: schedules go by this one number.
        return min(1.0, self.images_seen / self.images if self.images else self.in_time)


Loss = Callable[[Batch, Clock], tuple[torch.Tensor, dict[str, torch.Tensor]]]
"""Mean loss over a batch, and numbers for the log."""


@dataclass(frozen=True)
class Phase:
    """One update of one network within a step."""

    name: str
    network: torch.nn.Module
    optimiser: torch.optim.Optimizer
    loss: Loss


class Trainer(Protocol):
    """A trainer's parts. `averages` maps the name of a network to its averaged copy, which samples and predicts."""

    better: str  # the number of `measure` by which a checkpoint is best: lower is better

    @property
    def phases(self) -> Sequence[Phase]:
        """In the order of a step."""
        ...

    @property
    def networks(self) -> Mapping[str, torch.nn.Module]:
        """Those that are trained."""
        ...

    @property
    def averages(self) -> Mapping[str, torch.nn.Module]:
        """Those that are used."""
        ...

    def measure(self, held: Pictures, features: Features) -> dict[str, Any]:
        """Numbers by name, beside images that were not trained on where some are held out."""
        ...

    def samples(self, held: Pictures) -> Bytes | None:
        """(n, C, H, W): the same every time for the same weights; None where nothing is made."""
        ...

    def finish(self, pictures: Pictures) -> dict[str, NDArray[Any]]:
        """What is fitted once training is over, on the best weights."""
        ...


def generated(
    network: Callable[..., torch.Tensor],
    rows: Sequence[torch.Tensor],
    device: torch.device,
    border: int,
    *,
    block: int = 256,
) -> Bytes:
    """What a network makes of the rows of tensors, (n, …) each → (n, C, H, W) bytes, a block at a time."""
    with torch.no_grad():
        parts = [
            to_bytes(network(*(t[i : i + block].to(device) for t in rows)), border)
            for i in range(0, len(rows[0]), block)
        ]
    return np.concatenate(parts)


def optimiser_for(network: torch.nn.Module, options: Any) -> torch.optim.Optimizer:
    """The optimiser that the options name.

    `gd` and `sgd` (Robbins and Monro 1951; Nesterov 1983), `adam` (Kingma and Ba 2015), `adamw` (Loshchilov and Hutter
    2019). `l2` is the gradient of half the sum of squares of weights, biases left alone; in adamw it is decoupled from
    the step.
    """
    # Penalties weigh these alone: biases and scales are few, and pulling them to 0 only hurts.
    weights = weights_of(network)
    weighed = set(map(id, weights))
    others = [p for p in network.parameters() if id(p) not in weighed]
    groups = [{"params": weights, "weight_decay": options.l2}, {"params": others, "weight_decay": 0.0}]
    # Full-batch gradient descent is SGD whose batch is everything.
    if options.optimiser == "gd":
        return torch.optim.SGD(groups, lr=options.rate)
    if options.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=options.rate, momentum=options.momentum, nesterov=options.nesterov)
    kind = torch.optim.AdamW if options.optimiser == "adamw" else torch.optim.Adam
    # A GAN takes β₁ = 0: momentum chases the other network's last move.
    betas = (getattr(options, "beta1", 0.9), getattr(options, "beta2", 0.999))
    return kind(groups, lr=options.rate, betas=betas, eps=1e-8, foreach=True)


def weights_of(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    """What penalties weigh: weights of convolutions and dense layers, not biases, normalisations or a mean picture."""
    # By kind of layer: scales of normalisations are weights by name, and no more than factors.
    kinds = torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear
    return [m.weight for m in network.modules() if isinstance(m, kinds)]


def averaged(network: torch.nn.Module) -> torch.nn.Module:
    """A copy that is not trained, for `follow`."""
    import copy

    return copy.deepcopy(network).eval().requires_grad_(False)


def follow(average: torch.nn.Module, network: torch.nn.Module, *, seen: int, batch: int, half_life: int) -> None:
    """Let averaged weights follow, with a half-life in images (EMA).

    It is at most 5 % of the images seen, so that early weights are forgotten (Karras et al. 2020).
    """
    # After `half_life` images half of the old weights is left. Early on the half-life grows with the run.
    decay = 0.5 ** (batch / max(1.0, min(half_life, 0.05 * seen)))
    ours, theirs = list(average.parameters()), list(network.parameters())
    with torch.no_grad():
        # average ← average + (1 − decay)(network − average), all tensors in one call.
        torch._foreach_lerp_(ours, theirs, 1.0 - decay)
        # Statistics of normalisation are taken over as they are: they are averages already.
        for a, b in zip(average.buffers(), network.buffers(), strict=True):
            a.copy_(b)
