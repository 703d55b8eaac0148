"""Generators and discriminators.

Conditions are concatenated in G and projected in D (Miyato and Koyama 2018), one path for all kinds.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

# As in DCGAN and all that came after it.
_SLOPE = 0.2  # of leaky ReLUs


class Generator(nn.Module):
    """z (b, latent), c (b, k) → x (b, C, side, side).

    `body` maps (b, latent + k') to pictures, k' = 64 numbers made of c.
    """

    def __init__(self, body: nn.Module, condition: int) -> None:
        super().__init__()
        # An embedding of 512 numbers would drown a latent of 64: both get about the same room.
        self.condition = nn.Linear(condition, CONDITION) if condition else None
        self.body = body

    def forward(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Pictures in about [−1, 1]."""
        if self.condition is not None:
            # (b, latent) → (b, latent + 64)
            z = torch.cat([z, self.condition(c)], 1)
        out: torch.Tensor = self.body(z)
        return out


class Discriminator(nn.Module):
    """x (b, C, side, side), c (b, k) → logits (b,).

    Of the picture alone, plus ⟨V c, its features averaged over positions⟩.
    """

    def __init__(self, body: nn.Module, channels: int, condition: int) -> None:
        super().__init__()
        self.body = body  # (b, C, side, side) → (b, channels, 4, 4)
        self.head = nn.Linear(channels * 16, 1)
        # V of the projection: no bias, which would be one logit for all.
        self.condition = nn.Linear(condition, channels, bias=False) if condition else None

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """One logit a picture, higher for real."""
        # (b, C, side, side) → (b, channels, 4, 4)
        h = self.body(x)
        # (b, channels, 4, 4) → (b, 16 · channels) → (b,)
        logits = self.head(h.flatten(1))[:, 0]
        if self.condition is not None:
            # ⟨V c, mean h⟩ over √channels, so that its variance does not grow with the width.
            logits = logits + (self.condition(c) * h.mean((2, 3))).sum(1) / math.sqrt(h.shape[1])
        return logits


# Numbers that a condition becomes, whatever its kind.
CONDITION = 64


class Up(nn.Module):
    """Bilinear to twice the side."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, C, H, W) → (b, C, 2H, 2W)."""
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Down(nn.Module):
    """Bilinear to half the side, which at that factor is the mean of four."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, C, 2H, 2W) → (b, C, H, W)."""
        return F.avg_pool2d(x, 2)


def _widths(width: int, side: int) -> list[int]:
    """Channels from the largest map to the smallest, 4 × 4: doubling, up to eight times the first."""
    return [min(width * 2**i, width * 8) for i in range(int(math.log2(side)) - 2)]


def lite(width: int, side: int, channels: int, latent: int, condition: int) -> tuple[nn.Module, nn.Module]:
    """DCGAN's shape without its normalisation, for a CPU.

    The generator ends with a nonlinearity at full resolution: without one, what is drawn is a filter over enlarged
    maps, and the discriminator wins by texture (Fashion-MNIST, 60,000 images, features of the benchmark's classifier,
    2026-11-25: FD 55 and recall 0.37 with it; without, one convolution a resolution 75 and 0.22, two 63 and 0.13,
    transposed ones 90 and 0.16). The discriminator halves by 4 × 4 convolutions of stride 2, which cost a third of 3 ×
    3 ones followed by bilinear halving.
    """
    widths = _widths(width, side)
    widest = widths[-1]
    # G: (b, latent + k') → (b, widest, 4, 4), then twice the side at each step.
    up: list[nn.Module] = [
        nn.Linear(latent + (CONDITION if condition else 0), widest * 16),
        nn.Unflatten(1, (widest, 4, 4)),
        nn.LeakyReLU(_SLOPE),
    ]
    # Enlarge, convolve; a second convolution only at 8 × 8, where it is cheap.
    for i, (wide, narrow) in enumerate(itertools.pairwise([*widths[::-1], max(4, width // 2)])):
        up += [Up(), nn.Conv2d(wide, narrow, 3, padding=1), nn.LeakyReLU(_SLOPE)]
        up += [nn.Conv2d(narrow, narrow, 3, padding=1), nn.LeakyReLU(_SLOPE)] if i == 0 else []
    # No tanh: bytes are clipped, and a saturated tanh has no gradient.
    up += [nn.Conv2d(max(4, width // 2), channels, 3, padding=1)]
    # D: (b, C, side, side) → (b, widest, 4, 4), half the side at each step.
    down: list[nn.Module] = []
    for before, after in zip([channels, *widths[:-1]], widths, strict=True):
        down += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
    return _he(Generator(nn.Sequential(*up), condition)), _he(
        Discriminator(nn.Sequential(*down), widths[-1], condition)
    )


def _he(network: nn.Module) -> nn.Module:
    """First weights that keep the variance of their input through leaky ReLUs (He et al. 2015, eq. 15).

    Nothing else normalises here.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            # std = gain / √fan_in, with the gain of leaky ReLU.
            nn.init.kaiming_normal_(module.weight, _SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def dcgan(width: int, side: int, channels: int, latent: int, condition: int) -> tuple[nn.Module, nn.Module]:
    """The baseline (Radford et al. 2016): transposed convolutions, batch normalisation, tanh, weights from N(0, 0.02²).

    Conditions begin louder: from N(0, 0.02²) they were not learnt in 30,000 images (a classifier saw the label that was
    asked for in 9 % of Fashion-MNIST's ten, and 0.80 of held-out images were covered); as loud as the latent in both
    networks 61 %, and all variety gone; a third as loud in the generator 95 %, which is what stands here (2026-11-25).
    """
    # The paper's shape has no fully connected layer but the first projection.
    widths = _widths(width, side)
    entry = latent + (CONDITION if condition else 0)
    up: list[nn.Module] = [
        nn.Unflatten(1, (entry, 1, 1)),
        nn.ConvTranspose2d(entry, widths[-1], 4, bias=False),
        nn.BatchNorm2d(widths[-1]),
        nn.ReLU(),
    ]
    # Each transposed convolution of stride 2 doubles the side.
    # (b, wide, H, W) → (b, narrow, 2H, 2W)
    for wide, narrow in zip(widths[::-1][:-1], widths[-2::-1], strict=True):
        up += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]
    up += [nn.ConvTranspose2d(widths[0], channels, 4, 2, 1), nn.Tanh()]
    down: list[nn.Module] = []
    # The first layer of D has no normalisation (Radford et al. 2016, §3).
    for i, (before, after) in enumerate(zip([channels, *widths[:-1]], widths, strict=True)):
        down += [
            nn.Conv2d(before, after, 4, 2, 1, bias=i == 0),
            *([nn.BatchNorm2d(after)] if i else []),
            nn.LeakyReLU(_SLOPE),
        ]
    generator, discriminator = (
        Generator(nn.Sequential(*up), condition),
        Discriminator(nn.Sequential(*down), widths[-1], condition),
    )
    for network in (generator, discriminator):
        for name, weight in network.named_parameters():
            # The exception that the docstring explains.
            if name == "condition.weight":
                nn.init.normal_(weight, 0.0, (0.3 if network is generator else 1) / math.sqrt(condition))
            # Convolutions: N(0, 0.02²).
            elif weight.ndim > 1:
                nn.init.normal_(weight, 0.0, 0.02)
            # Scales of batch normalisation: N(1, 0.02²).
            elif name.endswith("weight"):
                nn.init.normal_(weight, 1.0, 0.02)
    return generator, discriminator


class Block(nn.Module):
    """R3GAN's residual block: 1 × 1 – grouped 3 × 3 – 1 × 1 (Huang et al. 2024, §3.3).

    No normalisation; the last weights begin at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The bottleneck is inverted: wide inside, where groups of 16 keep it cheap.
        inner = channels * 2
        self.enter = nn.Conv2d(channels, inner, 1)
        self.mix = nn.Conv2d(inner, inner, 3, padding=1, groups=max(1, inner // 16), bias=False)
        self.leave = nn.Conv2d(inner, channels, 1, bias=False)

    def begin(self, blocks: int) -> None:
        """First weights in a stack of so many blocks (Zhang et al. 2019, Fixup).

        Each block starts as the identity, and all keep the variance.
        """
        # Fixup for three layers a block: L^(−1/(2m − 2)) with m = 3, and the last at 0.
        for conv, gain in ((self.enter, blocks**-0.25), (self.mix, blocks**-0.25), (self.leave, 0.0)):
            nn.init.normal_(conv.weight, 0.0, gain * math.sqrt(2 / (1 + _SLOPE**2) / conv.weight[0].numel()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, C, H, W) → the same."""
        # (b, C, H, W) → (b, 2C, H, W)
        h = F.leaky_relu(self.enter(x), _SLOPE)
        out: torch.Tensor = x + self.leave(F.leaky_relu(self.mix(h), _SLOPE))
        return out


def res(width: int, side: int, channels: int, latent: int, condition: int) -> tuple[nn.Module, nn.Module]:
    """R3GAN's shape: two blocks at each resolution.

    Bilinear resampling between, 1 × 1 convolutions where the width changes.
    """
    # One width more than `lite`: the smallest map has blocks of its own.
    widths = [*_widths(width, side), min(width * 2 ** (int(math.log2(side)) - 2), width * 8)]
    # Residual blocks in each network.
    depth = 2 * len(widths)

    def stage(channels: int) -> list[nn.Module]:
        return [Block(channels), Block(channels)]

    up: list[nn.Module] = [
        nn.Linear(latent + (CONDITION if condition else 0), widths[-1] * 16),
        nn.Unflatten(1, (widths[-1], 4, 4)),
        *stage(widths[-1]),
    ]
    # 1 × 1 first, then enlarge: a quarter of the work, the same function.
    for wide, narrow in zip(widths[::-1][:-1], widths[-2::-1], strict=True):
        up += [nn.Conv2d(wide, narrow, 1, bias=False) if wide != narrow else nn.Identity(), Up(), *stage(narrow)]
    up += [nn.Conv2d(widths[0], channels, 1)]
    down: list[nn.Module] = [nn.Conv2d(channels, widths[0], 1)]
    for narrow, wide in itertools.pairwise(widths):
        down += [*stage(narrow), Down(), nn.Conv2d(narrow, wide, 1, bias=False) if wide != narrow else nn.Identity()]
    down += stage(widths[-1])
    both = Generator(nn.Sequential(*up), condition), Discriminator(nn.Sequential(*down), widths[-1], condition)
    # He's weights everywhere, then Fixup's inside the blocks.
    for network in both:
        _he(network)
        for block in network.modules():
            if isinstance(block, Block):
                block.begin(depth)
    return both


NETS: dict[str, Any] = {"lite": lite, "res": res, "dcgan": dcgan}
