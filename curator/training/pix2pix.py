"""Pictures from pictures: a conditional GAN on pairs (Isola et al. 2017)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator.metrics import frechet_distance
from curator.training.batches import Batch, Source, distorted
from curator.training.gan import LOSSES, Remembered
from curator.training.kinds import Pix2pixOptions
from curator.training.parts import Clock, Features, Phase, averaged, generated, optimiser_for
from curator.training.pictures import Bytes, Pictures, Shape, to_unit
from curator.training.pix2pix_nets import Patches, UNet, begun

_JUDGED = 1_000  # pairs that a checkpoint is measured on
_SHOWN = 16  # pairs of the grid, each as input, output, target and their difference
_BLOCK = 64


class Pix2pix:
    """A U-Net and a discriminator of patches, one update of each a step."""

    # Not by L1: no colour follows from an edge, so that a grey smear has the least error, and the first steps draw one.
    # Of 155 pairs L1 chose the checkpoint of 376 images, whose drawings nobody would know (2026-11-30).
    better = "frechet_distance"

    def __init__(self, source: Source) -> None:
        options = source.options
        assert isinstance(options, Pix2pixOptions)
        self.options, self.source = options, source
        self.generator = unet_of(options, source.pictures.shape).to(source.device, memory_format=source.layout)
        self.discriminator = begun(Patches(options.width, options.side)).to(source.device, memory_format=source.layout)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.averages = {"generator": averaged(self.generator)}
        self.phases = (
            Phase("discriminator", self.discriminator, optimiser_for(self.discriminator, options), self.judge),
            Phase("generator", self.generator, optimiser_for(self.generator, options), self.make),
        )
        self.loss = LOSSES[options.loss]
        self.real = Remembered()

    def judge(self, batch: Batch, _clock: Clock) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The discriminator's loss: tell true pairs from those whose picture was drawn."""
        # 1. (b, 6, H, W) → (b, 3, H, W) twice: what is given, and what it should become.
        sources, true = batch.x[:, :3], batch.x[:, 3:]
        # 2. Drawn pictures, which this update does not move.
        with torch.no_grad():
            drawn = self.generator(sources).float()
        # 3. (b, 1, h, w) logits of both, of the input and the picture together.
        r = self._logits(batch, sources, true)
        f = self._logits(batch, sources, drawn)
        return self.loss[0](r, f), {"logit_gap": (r - f).mean().detach()}

    def make(self, batch: Batch, _clock: Clock) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The generator's loss: fool the discriminator, and stay near the target, by Manhattan distance (eq. 4)."""
        sources, true = batch.x[:, :3], batch.x[:, 3:]
        drawn = self.generator(sources).float()
        # (b, 1, h, w): every patch votes.
        f = self._logits(batch, sources, drawn)
        # |drawn − true|, a mean over all numbers, so that its weight does not depend on the side.
        near = (drawn - true).abs().mean()
        return self.loss[1](f.detach(), f) + self.options.l1_weight * near, {"l1": near.detach()}

    def _logits(self, batch: Batch, given: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        pair = torch.cat([given, picture], 1)
        # Of few pairs the discriminator would learn each by heart: both of a pair are distorted alike.
        seen = distorted(batch, pair) if "diffaug" in self.options.augment else pair
        out: torch.Tensor = self.discriminator(seen).float()
        return out

    def measure(self, held: Pictures, features: Features) -> dict[str, float]:
        """How far drawn pictures are from their targets, of 255, and how far the inputs are; Fréchet distance."""
        # As many drawings as targets: the Fréchet distance depends on n.
        n = min(_JUDGED, len(held))
        # (n, 6, H, W) → three times (n, 3, H, W), without the border.
        sources, true = held.inner[:n, :3], held.inner[:n, 3:]
        drawn = self._drawn(held.pixels[:n, :3], held.border)
        off, copied = (np.abs(x.astype(np.float32) - true) for x in (drawn, sources))
        numbers = {"l1": off.mean(), "mse": np.square(off).mean(), "l1_of_input": copied.mean()}
        numbers |= {"frechet_distance": frechet_distance(features(drawn), self.real(_targets(held), n, features))}
        return {k: float(v) for k, v in numbers.items()} | {"n": float(n)}

    def samples(self, held: Pictures) -> Bytes:
        """Input, output, target and their difference, of the same pairs at every checkpoint."""
        # The same pairs each time, so that checkpoints can be compared by eye.
        n = min(_SHOWN, len(held))
        sources, true = held.inner[:n, :3], held.inner[:n, 3:]
        drawn = self._drawn(held.pixels[:n, :3], held.border)
        off = np.abs(drawn.astype(np.int16) - true).astype(np.uint8)
        # (n, 4, 3, H, W) → (4n, 3, H, W): two pairs a row of eight.
        return np.stack([sources, drawn, true, off], 1).reshape(-1, *true.shape[1:])

    def finish(self, pictures: Pictures) -> dict[str, NDArray[Any]]:
        """Nothing is fitted."""
        return {}

    def _drawn(self, given: Bytes, border: int) -> Bytes:
        # The averaged weights draw, as in all that is made later.
        return translated(self.averages["generator"], given, self.source.device, border)


def _targets(held: Pictures) -> Pictures:
    return replace(held, pixels=held.pixels[:, 3:])


def translated(network: torch.nn.Module, given: Bytes, device: torch.device, border: int) -> Bytes:
    """(n, 3, H, W) inputs with their border → (n, 3, H, W) outputs without."""
    # Without dropout: a picture depends on nothing but its input and the weights.
    network.eval()
    rows = (torch.from_numpy(given),)
    return generated(lambda x: network(to_unit(x)), rows, device, border, block=_BLOCK)


def unet_of(options: Pix2pixOptions, shape: Shape) -> torch.nn.Module:
    """The generator with its first weights."""
    return begun(UNet(options.width, shape.side, options.dropout))
