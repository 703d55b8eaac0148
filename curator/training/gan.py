"""The GAN: relativistic pairing with both gradient penalties (Huang et al. 2024, "R3GAN").

Older losses stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from curator.metrics import frechet_distance, manifold
from curator.training.batches import Batch, Source, conditions_of, distorted, generator_of
from curator.training.gan_nets import NETS
from curator.training.kinds import GanOptions
from curator.training.parts import Clock, Features, Phase, averaged, generated, optimiser_for
from curator.training.pictures import Bytes, Pictures, Shape

# More samples judge better and cost more than the training between two checkpoints.
_JUDGED = 1_000  # samples that a checkpoint is measured on
_SHOWN = 64

Losses = tuple[
    Callable[[torch.Tensor, torch.Tensor], torch.Tensor], Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
]

# loss → (that of D, that of G), of logits (r of real, f of generated), each (b,).
LOSSES: dict[str, Losses] = {
    # Each picture against its partner: softplus(−t) is −log sigmoid(t) (Jolicoeur-Martineau 2019; Huang et al. 2024,
    # eq. 2).
    "relativistic": (lambda r, f: F.softplus(f - r).mean(), lambda r, f: F.softplus(r - f).mean()),
    # (Goodfellow et al. 2014, §3), with R1 as Mescheder et al. 2018 advise.
    "nonsaturating": (lambda r, f: (F.softplus(-r) + F.softplus(f)).mean(), lambda r, f: F.softplus(-f).mean()),
    # (Lim and Ye 2017)
    "hinge": (lambda r, f: (F.relu(1 - r) + F.relu(1 + f)).mean(), lambda r, f: -f.mean()),
    # Mean squared error (Mao et al. 2017, eq. 9).
    "lsgan": (lambda r, f: 0.5 * ((r - 1) ** 2 + f**2).mean(), lambda r, f: 0.5 * ((f - 1) ** 2).mean()),
    # Cross-entropy as in DCGAN and its tutorials: the non-saturating loss, halved, and no penalty.
    "bce": (lambda r, f: 0.5 * (F.softplus(-r) + F.softplus(f)).mean(), lambda r, f: F.softplus(-f).mean()),
}
# loss → (whether R1, whether R2) is on unless --gamma says 0.
_PENALTIES = {
    "relativistic": (True, True),
    "nonsaturating": (True, False),
    "hinge": (False, False),
    "lsgan": (False, False),
    "bce": (False, False),
}


def gamma_range(options: GanOptions) -> tuple[float, float]:
    """γ at the start and at the end, falling tenfold.

    From 1 up to 32 px, 2 at 64, 20 above, as the paper's; 0 for losses without penalties. The small net `lite` begins
    at 10 up to 32 px: on Fashion-MNIST, 100,000 images, γ 10 → 2 had FD 0.021 and coverage 0.41 in the space of 8 × 8
    pixels, 5 → 0.5 0.036 and 0.36, 2 → 1 0.034 and 0.36; at 50,000 images 1 → 0.1 had 0.066 and 0.14 (2026-11-25, two
    cores).
    """
    # What was asked for stands still unless an end was asked for as well.
    if options.gamma is not None:
        return options.gamma, options.gamma if options.gamma_end is None else options.gamma_end
    if not any(_PENALTIES[options.loss]):
        return 0.0, 0.0
    # Below, r1_over_r2 drifts and the discriminator wins by texture.
    small = 10.0 if options.net == "lite" else 1.0
    start = small if options.side <= 32 else 2.0 if options.side <= 64 else 20.0
    return start, start / 10


class Gan:
    """A generator and a discriminator, one update of each a step."""

    better = "frechet_distance"

    def __init__(self, source: Source) -> None:
        options = source.options
        assert isinstance(options, GanOptions)
        self.options, self.source = options, source
        # The two networks, with first weights drawn by the run's seed.
        networks = both_networks(options, source.pictures.shape)
        self.generator, self.discriminator = (n.to(source.device, memory_format=source.layout) for n in networks)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.averages = {"generator": averaged(self.generator)}
        self.phases = (
            Phase("discriminator", self.discriminator, optimiser_for(self.discriminator, options), self.judge),
            Phase("generator", self.generator, optimiser_for(self.generator, options), self.make),
        )
        self.loss = LOSSES[options.loss]
        self.real = Remembered()
        self.gamma = gamma_range(options)
        # A γ that was asked for turns a penalty on even for losses that have none.
        asked = options.gamma is not None and options.gamma > 0
        first, second = _PENALTIES[options.loss]
        self.penalised = (first or asked, second or (asked and not first))

    def judge(self, batch: Batch, clock: Clock) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The discriminator's loss: tell real from generated, with ½γ(R1 + R2).

        R1 and R2 are the squared gradients at both (Mescheder et al. 2018).
        """
        # 1. Pictures of G, which this update does not move.
        with torch.no_grad():
            pictures = self.generator(batch.normal(self.options.latent), batch.c).float()
        # 2. What D sees of both, distorted alike.
        real, fake = self._seen(batch, batch.x).detach(), self._seen(batch, pictures).detach()
        # 3. γ falls with the schedule: the game is kept tame early, and sharp late.
        gamma = self._gamma(clock)
        penalised = [x for x, on in ((real, self.penalised[0]), (fake, self.penalised[1])) if on and gamma]
        # The penalties are gradients by the pictures themselves.
        for x in penalised:
            x.requires_grad_(True)
        # 4. (b,) logits of real, (b,) of generated: pair i is (r_i, f_i).
        r, f = self._logits(real, batch.c), self._logits(fake, batch.c)
        loss = self.loss[0](r, f)
        # Near 0 D is fooled; growing without end it has won.
        numbers = {"logit_gap": (r - f).mean().detach()}
        if penalised:
            # 5. One backward pass serves both: d(Σ r)/dx_i is d r_i / dx_i, as pictures do not mix.
            total = (r.sum() if self.penalised[0] else 0) + (f.sum() if self.penalised[1] else 0)
            # create_graph: the penalty is differentiated once more, by D's weights.
            gradients = torch.autograd.grad(total, penalised, create_graph=True)
            # (b, C, H, W) → (b,) → the mean squared length of the gradient.
            sizes = [g.float().square().sum((1, 2, 3)).mean() for g in gradients]
            loss = loss + 0.5 * gamma * sum(sizes)
            numbers |= {name: s.detach() for name, s in zip(self._names(), sizes, strict=True)}
            if (
                len(sizes) == 2
            ):  # far from 1: the discriminator is much steeper at one kind of picture than at the other
                numbers["r1_over_r2"] = (sizes[0] / sizes[1].clamp_min(1e-12)).detach()
        return loss, numbers

    def make(self, batch: Batch, _clock: Clock) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The generator's loss."""
        # 1. Pictures of G, with their gradients.
        pictures = self.generator(batch.normal(self.options.latent), batch.c).float()
        # 2. (b,) what D thinks of them.
        f = self._logits(self._seen(batch, pictures), batch.c)
        # 3. The relativistic loss compares them with real partners; for others r is not looked at.
        r = f.detach()
        if self.options.loss == "relativistic":
            with torch.no_grad():
                r = self._logits(self._seen(batch, batch.x), batch.c)
        return self.loss[1](r, f), {}

    def _names(self) -> list[str]:
        return [name for name, on in zip(("r1", "r2"), self.penalised, strict=True) if on]

    def _logits(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.discriminator(x, c).float()
        return out

    def _seen(self, batch: Batch, x: torch.Tensor) -> torch.Tensor:
        """What the discriminator sees: real and generated alike are distorted, so that the generator learns neither."""
        return distorted(batch, x) if "diffaug" in self.options.augment else x

    def _gamma(self, clock: Clock) -> float:
        """From start to end along a cosine."""
        start, end = self.gamma
        return end + (start - end) * (0.5 + 0.5 * math.cos(math.pi * clock.share))

    def measure(self, held: Pictures, features: Features) -> dict[str, float]:
        """Fréchet distance, precision, recall, density and coverage of samples, against as many real images."""
        # As many samples as real images: these metrics depend on n.
        n = min(_JUDGED, len(held))
        pictures = self._made(generator_of(self.options.seed, "measured"), held, np.arange(n))
        return compared(features(pictures), self.real(held, n, features))

    def samples(self, held: Pictures) -> Bytes:
        """The grid's pictures, with the same z and conditions at every checkpoint.

        A column for each label where there are labels.
        """
        # Conditions of held-out images, in order.
        positions = np.arange(_SHOWN) % len(held)
        if self.options.condition == "label":
            first = [
                int(np.flatnonzero(held.labels == c)[0]) if (held.labels == c).any() else 0
                for c in range(len(held.classes))
            ]
            positions = np.array([first[i % 8 % len(first)] for i in range(_SHOWN)])
        return self._made(generator_of(self.options.seed, "shown"), held, positions)

    def finish(self, pictures: Pictures) -> dict[str, NDArray[Any]]:
        """Nothing is fitted."""
        return {}

    def _made(self, generator: torch.Generator, held: Pictures, at: NDArray[np.int64]) -> Bytes:
        # On the CPU, so that every device draws the same.
        z = torch.randn((len(at), self.options.latent), generator=generator)
        c = torch.from_numpy(conditions_of(held, at, self.options.condition))
        # The averaged generator draws: it lags, and is better.
        return generated(self.averages["generator"], (z, c), self.source.device, held.border)


class Remembered:
    """Features of real pictures, computed at the first checkpoint only."""

    def __init__(self) -> None:
        self.kept: NDArray[np.float32] | None = None

    def __call__(self, held: Pictures, n: int, features: Features) -> NDArray[np.float32]:
        """(n, d) of the first n."""
        if self.kept is None:
            self.kept = features(held.inner[:n])
        return self.kept


def compared(x: NDArray[np.float32], y: NDArray[np.float32]) -> dict[str, float]:
    """Metrics of samples x against real y, each (n, d), by name."""
    shares = manifold(x, y)
    numbers = {"frechet_distance": frechet_distance(x, y)} | {k: float(v) for k, v in vars(shares).items()}
    return numbers | {"n": float(len(x))}


def both_networks(options: GanOptions, shape: Shape) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Generator and discriminator with their first weights."""
    networks: tuple[torch.nn.Module, torch.nn.Module] = NETS[options.net](
        options.width, shape.side, shape.channels, options.latent, shape.condition_size(options.condition)
    )
    return networks
