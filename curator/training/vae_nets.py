"""Encoder and decoder of the VAE; conditions are concatenated in both."""

from __future__ import annotations

import torch
from torch import nn

from curator.training.gan_nets import CONDITION

_LOW, _HIGH = -10.0, 4.0  # of log-variances: bounds the KL term, which a first bad step could throw far out
LINEAR, SIGMOID = "linear", "sigmoid"


class Autoencoder(nn.Module):
    """x (b, C, side, side), c (b, k) → latents (b, latent) and back.

    The output is linear, from the mean picture on. A sigmoid's gradient vanishes where pictures are dark while the
    optimal-variance loss grows its steps, and both together collapse to black; it is kept for cross-entropy, whose
    gradient undoes it.
    """

    def __init__(
        self,
        *,
        width: int,
        side: int,
        mean: torch.Tensor,
        latent: int,
        condition: int,
        dropout: float,
        output: str = LINEAR,
    ) -> None:
        super().__init__()
        # Three halvings.
        channels, small = len(mean), side // 8
        self.output = output
        # As in the GAN: whatever its kind, a condition becomes 64 numbers.
        self.condition = nn.Linear(condition, CONDITION) if condition else None
        extra = CONDITION if condition else 0
        # (b, C, side, side) → (b, 4w · (side / 8)²)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Flatten(), nn.Dropout(dropout),
        )  # fmt: skip
        # → mean and log-variance side by side.
        self.moments = nn.Linear(4 * width * small**2 + extra, 2 * latent)
        # (b, latent + 64) → (b, C, side, side): one transposed convolution for each halving.
        self.decoder = nn.Sequential(
            nn.Linear(latent + extra, 4 * width * small**2), nn.Unflatten(1, (4 * width, small, small)),
            nn.LeakyReLU(0.2), nn.Dropout(dropout),
            nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(width, width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 3, padding=1),
        )  # fmt: skip
        # A sigmoid starts at the mean picture by its logit, kept off 0 and 1.
        shares = ((mean + 1) / 2).clamp(0.02, 0.98)
        self.mean = nn.Parameter(mean.clone() if output == LINEAR else torch.log(shares / (1 - shares)))

    def encode(self, x: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """→ mean (b, latent), log-variance (b, latent)."""
        # float32 from here on: bf16 has too few digits for exp and log.
        mean, log_variance = self.moments(self._with(self.encoder(x), c)).float().chunk(2, 1)
        return mean, log_variance.clamp(_LOW, _HIGH)

    def decode(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """→ what the loss takes: pictures around [−1, 1], or logits of pixels where the output is a sigmoid."""
        return self.decoder(self._with(z, c)).float() + self.mean

    def forward(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Latents → pictures around [−1, 1]."""
        y = self.decode(z, c)
        return y if self.output == LINEAR else 2 * torch.sigmoid(y) - 1

    def _with(self, h: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return h if self.condition is None else torch.cat([h, self.condition(c).to(h.dtype)], 1)
