"""Networks for pictures from pictures (Isola et al. 2017, "Image-to-image translation with conditional adversarial
networks", §3.2): a U-Net that draws, and a discriminator that judges patches.
"""

from __future__ import annotations

import math

import torch
from torch import nn

_SLOPE = 0.2  # of leaky ReLUs
_SMALLEST = 4  # pixels of the innermost map: below, instance normalisation has nothing left to normalise


class UNet(nn.Module):
    """Half the side at each step down, twice at each step up, where the map of the same size comes beside.

    `dropout` in the innermost steps up, while training, is the paper's noise.
    """

    def __init__(self, width: int, side: int, dropout: float) -> None:
        super().__init__()
        depth = int(math.log2(side // _SMALLEST))
        # Channels from the largest map to the smallest: doubling, up to eight times the first.
        widths = [min(width * 2**i, width * 8) for i in range(depth)]
        # (b, before, H, W) → (b, after, H/2, W/2); the first has no normalisation, as in the paper.
        self.down = nn.ModuleList()
        for i, (before, after) in enumerate(zip([3, *widths[:-1]], widths, strict=True)):
            norm = [nn.InstanceNorm2d(after, affine=True)] if i else []
            self.down.append(nn.Sequential(nn.Conv2d(before, after, 4, 2, 1), *norm, nn.LeakyReLU(_SLOPE)))
        # (b, before, H, W) → (b, after, 2H, 2W); beyond the innermost, what comes from below has its neighbour beside.
        self.up = nn.ModuleList()
        outs = [*widths[:-1][::-1], width]
        for i, (before, after) in enumerate(zip(widths[::-1], outs, strict=True)):
            wide = before if i == 0 else 2 * before
            noise = [nn.Dropout2d(dropout)] if dropout and i < 2 else []
            norm = nn.InstanceNorm2d(after, affine=True)
            self.up.append(nn.Sequential(nn.ConvTranspose2d(wide, after, 4, 2, 1), norm, *noise, nn.ReLU()))
        # At full size the input itself comes beside.
        self.draw = nn.Conv2d(width + 3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, 3, H, W) in [−1, 1] → (b, 3, H, W) in about that range."""
        maps, h = [], x
        for down in self.down:
            h = down(h)
            maps.append(h)
        # The innermost goes up alone; each further one with the map of its size.
        for i, up in enumerate(self.up):
            h = up(h if i == 0 else torch.cat([h, maps[-1 - i]], 1))
        out: torch.Tensor = torch.tanh(self.draw(torch.cat([h, x], 1)))
        return out


class Patches(nn.Module):
    """(b, 6, H, W), an input and a picture of it → logits (b, 1, h, w), one for each patch, higher for real.

    Patches of 34 pixels up to a side of 128, of 70 above, which the paper found best at 256.
    """

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        halvings = 2 if side <= 128 else 3
        widths = [min(width * 2**i, width * 8) for i in range(halvings + 1)]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip([6, *widths[:-1]], widths, strict=True)):
            # The last convolution before the logits keeps the side.
            stride = 2 if i < halvings else 1
            norm = [nn.InstanceNorm2d(after, affine=True)] if i else []
            layers += [nn.Conv2d(before, after, 4, stride, 1), *norm, nn.LeakyReLU(_SLOPE)]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One logit a patch."""
        out: torch.Tensor = self.body(x)
        return out


def begun(network: nn.Module) -> nn.Module:
    """First weights from N(0, 0.02²) (Isola et al. 2017, §6.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
