"""Rules of the loop: when to stop, how fast to learn, how precisely to compute, what to warn of."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from curator.training.options import Options
from curator.training.parts import Clock


@dataclass
class Loop:
    """Where a run is. `rate_factor` is halved when losses leave the finite numbers.

    `measure_seconds` the last measurement took, and `measured_seconds` all of them; `threads` (0: not chosen yet) are
    computed with, a step in `step_seconds` at best.
    """

    images: int
    images_seen: int = 0
    seconds: float = 0.0
    rate_factor: float = 1.0
    retries: int = 0
    best: int = -1
    best_value: float = math.inf
    stale: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0
    steps: int = 0
    measure_seconds: float = 0.0
    measured_seconds: float = 0.0
    threads: int = 0
    step_seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How training ended: `finished`, `interrupted`, `out of time` or `stopped early`.

    With images seen, seconds, and the best checkpoint.
    """

    status: str
    images_seen: int
    seconds: float
    best: int


_STILL = 6  # checkpoints without a better one after which a run stands still


class Diverged(Exception):
    """A loss or weight is not finite."""


def scheduled(schedule: str, clock: Clock) -> float:
    """The factor of the learning rate, after 1 % of warm-up.

    `constant`, a `cosine` from 1 to 0 (Loshchilov and Hutter 2017, eq. 5), or `linear`: 1 for half of the run, then
    down to 0 (Zhu et al. 2017, "Unpaired image-to-image translation", §4).
    """
    # A hundredth of the run from 0 up: Adam's first steps have no idea of the scale of gradients.
    warm = min(1.0, clock.share / 0.01 + 1e-3)
    # Half a cosine: flat at both ends.
    if schedule == "cosine":
        return warm * (0.5 + 0.5 * math.cos(math.pi * clock.share))
    # 1 up to the middle, then 2 − 2 · share, which is 0 at the end.
    return warm * (min(1.0, 2 - 2 * clock.share) if schedule == "linear" else 1.0)


def precision_of(options: Options, device: torch.device) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """Autocast to bf16 where the machine computes in it and nobody said otherwise.

    Never to fp16, whose range gradient penalties leave.
    """
    # bf16 has the exponents of float32 and 8 bits of fraction: gradients of gradients do not overflow in it.
    bf16 = options.precision == "bf16" or (options.precision == "auto" and has_bf16(device))

    @contextlib.contextmanager
    def cast() -> Iterator[None]:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            yield

    return cast


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 is computed and not only converted."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # oneDNN converts to float32 and back where the processor has no bf16, which is slower than float32.
    return bool(torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported())


def advice(numbers: Mapping[str, float], clock: Clock, options: Options) -> str:
    """What a person should know of a checkpoint's numbers: a generator that makes few things, and what may help.

    "" where there is nothing to say.
    """
    # Shares of real images: those in the ball of a generated one (recall), those with one in their ball (coverage).
    low = [name for name in ("recall", "coverage") if numbers.get(name, 1.0) < 0.02]
    # In the first fifth every GAN makes few kinds of pictures.
    if not low or clock.share < 0.2:
        return ""
    ways = [
        "train longer",
        *([] if options.net == "dcgan" else ["leave --net, --loss and --preset out"]),
        *(["a larger --gamma"] if getattr(options, "gamma", None) else []),
        "a smaller --rate",
        *(["--augment diffaug where images are few"] if "diffaug" not in options.augment else []),
    ]
    return (
        f"Warning: {' and '.join(low)} near 0 after {clock.images_seen} images: the generator makes few kinds of "
        f"pictures, or none that look real. Ways out: {', '.join(ways)}."
    )


def news(numbers: Mapping[str, float], loop: Loop, clock: Clock, options: Options, judged_by: str) -> Mapping[str, str]:
    """What a person should be told of a checkpoint, once in a run: kind → a line."""
    lines = {
        "collapse": advice(numbers, clock, options) if options.warns_of_collapse else "",
        "standing still": standing_still(loop, options, judged_by),
    }
    return {kind: line for kind, line in lines.items() if line}


def standing_still(loop: Loop, options: Options, number: str) -> str:
    """What a person should know of a run whose held-out number no longer gets better, by its name; "" for nothing."""
    # Noise alone makes some checkpoints no better; six in a row are a plateau.
    if loop.stale < _STILL or options.patience or loop.images_seen >= (loop.images or math.inf):
        return ""
    # A GAN has no held-out loss, and no --patience.
    ends = f"--patience {_STILL} ends such a run; " if options.has_held_out_loss else ""
    return (
        f"No better {number.replace('_', ' ')} since {loop.best} images, for {loop.stale} checkpoints: {ends}Ctrl-C "
        "keeps the best. More or other images, --augment, or a smaller --rate may help."
    )
