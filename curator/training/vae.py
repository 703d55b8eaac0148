"""The VAE: σ-VAE, with the variance of pixels at its optimum in closed form (Rybkin et al. 2021).

Older losses stand beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from curator.training.batches import Batch, Source, conditions_of, generator_of
from curator.training.gan import Remembered, compared
from curator.training.kinds import VaeOptions
from curator.training.parallel import mean_of_all
from curator.training.parts import Clock, Features, Phase, averaged, generated, optimiser_for
from curator.training.pictures import Bytes, Pictures, Shape, to_unit
from curator.training.samplers import fit_mixture
from curator.training.vae_nets import LINEAR, SIGMOID, Autoencoder

# Twice as many for the loss, which is cheap.
_JUDGED, _SHOWN = 1_000, 32


class Vae:
    """One autoencoder. Held-out `loss` is that of training without what is drawn: the mean latent is decoded."""

    better = "loss"

    def __init__(self, source: Source, *, output: str | None = None) -> None:
        options = source.options
        assert isinstance(options, VaeOptions)
        self.options, self.source = options, source
        # The mean picture of at most 5,000: the decoder draws differences from it.
        mean = to_unit(torch.from_numpy(source.pictures.pixels[:: max(1, len(source.pictures) // 5_000)].mean(0)))
        self.network = autoencoder_of(options, source.pictures.shape, mean, output).to(
            source.device, memory_format=source.layout
        )
        self.real = Remembered()
        self.networks = {"autoencoder": self.network}
        self.averages = {"autoencoder": averaged(self.network)}
        self.phases = (Phase("loss", self.network, optimiser_for(self.network, options), self.loss),)

    def loss(self, batch: Batch, clock: Clock) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Reconstruction plus β KL, in nats an image (Kingma and Welling 2014, eq. 10)."""
        # Dropout is on in training alone.
        network = self.network.train()
        # q(z | x) = N(mean, e^log_variance), (b, latent) each.
        mean, log_variance = network.encode(batch.x, batch.c)
        z = (
            mean
            if self.options.loss == "rae"
            else mean + torch.exp(0.5 * log_variance) * batch.normal(self.options.latent)
        )
        return self._sum(
            network.decode(z, batch.c),
            batch.x,
            mean,
            log_variance,
            min(1.0, clock.share / max(self.options.warmup, 1e-9)),
        )

    def _sum(
        self, y: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor, warm: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        # −log p(x | z), up to a constant.
        reconstruction = reconstruction_loss(self.options.loss, y, x)
        # What a person would see, for the number that is logged.
        pictures = y if self.network.output == LINEAR else 2 * torch.sigmoid(y) - 1
        error = F.mse_loss(pictures, x)
        if self.options.loss == "rae":  # (Ghosh et al. 2020, eq. 9): latents near 0 instead of a KL term
            kl = 0.5 * mean.square().sum(1).mean()
        else:
            # (latent,) KL(q ‖ N(0, 1)) of each dimension, averaged over the batch (Kingma and Welling 2014, app. B).
            each = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(0)
            free = self.options.free_bits  # of the mean over the whole batch (Kingma et al. 2016, eq. 15)
            kl = torch.where(mean_of_all(each) > free, each, free).sum() if free else each.sum()
        numbers = {"reconstruction": reconstruction, "kl": kl, "mean_squared_error": error}
        # The KL term is let in slowly, or latents go unused before the decoder has learnt to read them.
        return reconstruction + warm * self.options.beta * kl, {k: v.detach() for k, v in numbers.items()}

    def measure(self, held: Pictures, features: Features) -> dict[str, float]:
        """The loss on held-out images, and metrics of samples from N(0, I)."""
        # The averaged network is the one that will be used.
        network = self.averages["autoencoder"]
        n = min(2 * _JUDGED, len(held))
        x, c = self._tensors(held, np.arange(n))
        # Nothing is drawn: the number is the same every time.
        mean, log_variance = network.encode(x, c)
        loss, numbers = self._sum(network.decode(mean, c), x, mean, log_variance, 1.0)
        n = min(n, _JUDGED)
        # Samples from the prior, the plainest of the samplers: the others are fitted at the end.
        z = torch.randn((n, self.options.latent), generator=generator_of(self.options.seed, "measured"))
        pictures = generated(network, (z, c[:n].cpu()), self.source.device, held.border)
        metrics = compared(features(pictures), self.real(held, n, features))
        return {"loss": float(loss)} | {k: float(v) for k, v in numbers.items()} | metrics

    def samples(self, held: Pictures) -> Bytes:
        """The grid: a row of held-out images, one of their reconstructions, twice; then samples from N(0, I)."""
        network, options = self.averages["autoencoder"], self.options
        positions = np.arange(_SHOWN // 2) % len(held)
        x, c = self._tensors(held, positions)
        again = generated(network, (network.encode(x, c)[0].cpu(), c.cpu()), self.source.device, held.border)
        real = held.inner[positions]
        # Eight real ones, and under each what became of it.
        rows = [part for i in range(0, len(positions), 8) for part in (real[i : i + 8], again[i : i + 8])]
        z = torch.randn((_SHOWN, options.latent), generator=generator_of(options.seed, "shown"))
        c = torch.from_numpy(conditions_of(held, np.arange(_SHOWN) % len(held), options.condition))
        return np.concatenate([*rows, generated(network, (z, c), self.source.device, held.border)])

    def finish(self, pictures: Pictures) -> dict[str, NDArray[Any]]:
        """Latents of all training images, and the mixture fitted to draws of them."""
        mean, log_variance = self.encoded(pictures)
        # Draws of q, not its means: the prior must cover what the decoder was trained on.
        rng = np.random.default_rng(self.options.seed)
        z = (
            mean
            if self.options.loss == "rae"
            else mean + np.exp(0.5 * log_variance) * rng.standard_normal(mean.shape, np.float32)
        )
        # A conditioned decoder gets a mixture for each label.
        labels = pictures.labels if self.options.condition == "label" else np.full(len(pictures), -1, np.int64)
        latents: dict[str, NDArray[Any]] = {"means": mean, "log_variances": log_variance, "labels": pictures.labels}
        return latents | fit_mixture(z, labels, rng)

    def encoded(self, pictures: Pictures) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n, latent) means and log-variances of pictures."""
        network = self.averages["autoencoder"]
        moments = [
            network.encode(*self._tensors(pictures, np.arange(i, min(i + 512, len(pictures)))))
            for i in range(0, len(pictures), 512)
        ]
        return np.concatenate([m.cpu().numpy() for m, _ in moments]), np.concatenate(
            [v.cpu().numpy() for _, v in moments]
        )

    def _tensors(self, pictures: Pictures, at: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        x = to_unit(torch.from_numpy(pictures.pixels[at]).to(self.source.device))
        return x, torch.from_numpy(conditions_of(pictures, at, self.options.condition)).to(self.source.device)


def reconstruction_loss(loss: str, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Nats an image, up to a constant. D values an image.

    `sigma`: ½ D log MSE, a Gaussian with its best variance (Rybkin et al. 2021, eq. 6); over several processes the
    variance is that of the whole batch, by the gradient ½ D ∇MSE / MSE. `mse`: half the sum of squares, as `rae`. `l1`:
    the sum of absolute errors. `bce`: cross-entropy of pixels in [0, 1], y as logits.
    """
    # D
    values = x[0].numel()
    if loss == "sigma":
        error = F.mse_loss(y, x)
        # The best σ² is the MSE itself. Kept out of the graph it makes the gradient ½ D ∇MSE / MSE …
        over_all = mean_of_all(error).clamp_min(1e-8)
        # … while the value is ½ D log MSE.
        return 0.5 * values * (error / over_all + over_all.log() - 1)
    if loss == "bce":
        # The mean over values times D is the sum over a picture.
        return F.binary_cross_entropy_with_logits(y, (x + 1) / 2) * values
    return F.l1_loss(y, x) * values if loss == "l1" else 0.5 * F.mse_loss(y, x) * values


def autoencoder_of(
    options: VaeOptions, shape: Shape, mean: torch.Tensor | None = None, output: str | None = None
) -> Autoencoder:
    """The network with its first weights; `mean` (C, H, W) is the mean picture."""
    return Autoencoder(
        width=options.width, side=shape.side, mean=torch.zeros(shape.channels, shape.side,
        shape.side) if mean is None else mean,
        latent=options.latent, condition=shape.condition_size(options.condition), dropout=options.dropout,
        output=output or (SIGMOID if options.loss == "bce" else LINEAR),
    )  # fmt: skip
