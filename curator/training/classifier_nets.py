"""Classifiers of at most a million parameters: the tutorial's, a residual and a separable one.

Each gives its last features too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Classifier(nn.Module):
    """x (b, C, H, W) → logits (b, classes); `features` (b, f) are what the last layer sees."""

    def __init__(self, body: nn.Module, size: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(size, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(b, C, H, W) → (b, f)."""
        out: torch.Tensor = self.body(x)
        return out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        out: torch.Tensor = self.head(self.dropout(self.features(x)))
        return out


def cnn(width: int, side: int, channels: int, classes: int, dropout: float) -> Classifier:
    """The tutorial's network: three convolutions, two poolings, 64 dense units.

    Convolutions have 32, 64 and 64 channels, 3 × 3 and unpadded; `width` 32 is its own.
    """
    # Each unpadded 3 × 3 takes two pixels, each pooling halves.
    last = ((side - 2) // 2 - 2) // 2 - 2
    # (b, C, side, side) → (b, 2w)
    body = nn.Sequential(
        nn.Conv2d(channels, width, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(2 * width, 2 * width, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(2 * width * last * last, 2 * width), nn.ReLU(),
    )  # fmt: skip
    return Classifier(body, 2 * width, classes, dropout)


class Residual(nn.Module):
    """Two 3 × 3 convolutions with batch normalisation beside a shortcut (He et al. 2016)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        # Normalised twice; the nonlinearity comes after the sum.
        self.main = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip
        # Where shapes agree the shortcut is the input itself.
        same = before == after and stride == 1
        self.short = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, before, H, W) → (b, after, H / stride, W / stride)."""
        return F.relu(self.main(x) + self.short(x))


def resnet(width: int, side: int, channels: int, classes: int, dropout: float) -> Classifier:
    """Three residual blocks, halving twice, then the mean over positions."""
    del side
    # (b, C, H, W) → (b, w, H, W) → (b, 4w, H / 4, W / 4) → (b, 4w)
    body = nn.Sequential(
        nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        Residual(width, width, 1), Residual(width, 2 * width, 2), Residual(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    return Classifier(body, 4 * width, classes, dropout)


class Separable(nn.Module):
    """A depthwise 3 × 3 convolution and a 1 × 1 one, twice, beside a strided shortcut (Chollet 2017, fig. 5)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()

        # Depthwise looks around, 1 × 1 mixes channels: 9a + ab weights instead of 9ab.
        def pair(a: int, b: int) -> list[nn.Module]:
            return [
                nn.ReLU(),
                nn.Conv2d(a, a, 3, padding=1, groups=a, bias=False),
                nn.Conv2d(a, b, 1, bias=False),
                nn.BatchNorm2d(b),
            ]

        # The nonlinearity comes first, so that blocks can follow each other.
        self.main = nn.Sequential(*pair(before, after), *pair(after, after), nn.MaxPool2d(3, 2, 1))
        # A shortcut that halves as the pooling does.
        self.short = nn.Conv2d(before, after, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, before, H, W) → (b, after, H / 2, W / 2)."""
        out: torch.Tensor = self.main(x) + self.short(x)
        return out


def xception(width: int, side: int, channels: int, classes: int, dropout: float) -> Classifier:
    """A small Xception: an ordinary convolution, three separable blocks, the mean over positions."""
    # The mean over positions makes any side do.
    del side
    # (b, C, H, W) → (b, w, H, W) → (b, 8w, H / 8, W / 8) → (b, 8w)
    body = nn.Sequential(
        nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        Separable(width, 2 * width), Separable(2 * width, 4 * width), Separable(4 * width, 8 * width),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    return Classifier(body, 8 * width, classes, dropout)


NETS: dict[str, Any] = {"cnn": cnn, "resnet": resnet, "xception": xception}
