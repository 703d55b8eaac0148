"""A trained generator, GAN or VAE, that makes one picture from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from curator.errors import UsageError
from curator.training.folder import Arrays, Run
from curator.training.keeping import FITTED, save_arrays
from curator.training.kinds import VaeOptions
from curator.training.options import Options
from curator.training.parts import generated
from curator.training.pictures import Bytes, Shape, to_bytes
from curator.training.samplers import SAMPLERS, Drawn, draw, fit_second_stage
from curator.training.state import load_network
from curator.training.trainers import TRAINERS


@dataclass(frozen=True)
class PictureGenerator:
    """`network` maps latents (b, d) and conditions (b, k) to pictures; what its sampler draws from is `fitted`."""

    network: torch.nn.Module
    options: Options
    shape: Shape
    fitted: Arrays

    @property
    def samplers(self) -> tuple[str, ...]:
        """Where latents may come from, the default first."""
        # Without a fitted mixture, as for a GAN, latents come from N(0, I).
        return ("gmm", *(s for s in SAMPLERS if s != "gmm")) if "means" in self.fitted else ("normal",)

    def latent(self, seed: int, *, sampler: str, psi: float = 1.0, label: int = -1) -> NDArray[np.float32]:
        """(d,) of a seed; `psi` below 1 draws nearer to the middle: likelier pictures, and fewer kinds (Brock et al.
        2019, §3.1).
        """
        return draw(sampler, self.fitted, _size(self.options), Drawn(seed, psi), label)

    def make(self, z: NDArray[np.float32], c: NDArray[np.float32]) -> Bytes:
        """(d,), (k,) → (C, H, W): one at a time, so that a picture depends on nothing but its seed and condition."""
        # (d,), (k,) → (1, d), (1, k) → (1, C, H, W)
        with torch.no_grad():
            picture = self.network(
                torch.from_numpy(z.astype(np.float32))[None], torch.from_numpy(c.astype(np.float32))[None]
            )
        out: Bytes = to_bytes(picture, self.shape.border)[0]
        return out

    def make_many(self, z: NDArray[np.float32], c: NDArray[np.float32]) -> Bytes:
        """(n, d), (n, k) → (n, C, H, W) in batches: faster than `make`, and equal to it but for rounding."""
        # Sums run in another order than one by one, which may move a byte by one.
        rows = (torch.from_numpy(z), torch.from_numpy(c))
        return generated(self.network, rows, torch.device("cpu"), self.shape.border)


def load_generator(run: Run, checkpoint: str | int = "best", *, sampler: str | None = None) -> PictureGenerator:
    """The averaged generator of a checkpoint. Raises `UsageError` for a classifier's run, or a sampler it has not."""
    options, shape = run.options, run.shape
    images_seen = run.checkpoint(checkpoint)
    place = run.place_of(images_seen)
    arrays, _ = run.load_checkpoint(images_seen)
    # 1. The network of the run's own options.
    make_network = TRAINERS[options.trainer].generator
    if TRAINERS[options.trainer].translator is not None:
        raise UsageError(f"{run.name} draws pictures of pictures; name them: curator generate {run.name} --from IMAGES")
    if make_network is None:
        raise UsageError(
            f"{run.name} trained a {options.trainer}, which makes no pictures; name the run of a gan or vae"
        )
    network, name = make_network(options, shape)
    # 2. Its averaged weights: single steps of a GAN jump about.
    load_network(network, arrays, f"averages/{name}/")
    # 3. What latents are drawn from.
    fitted = _fitted(place, sampler, options) if isinstance(options, VaeOptions) else {}
    generator = PictureGenerator(network.eval(), options, shape, fitted)
    if sampler is not None and sampler not in generator.samplers:
        raise UsageError(
            f"checkpoint {place.name} of {run.name} has the samplers {', '.join(generator.samplers)}, not '{sampler}'"
        )
    return generator


def _fitted(place: Path, sampler: str | None, options: Options) -> Arrays:
    """What was fitted when training ended, for the checkpoint that was best.

    The second stage is fitted when it is first asked for.
    """
    if not (place / FITTED).is_file():
        return {}
    fitted: dict[str, NDArray[Any]] = load_file(place / FITTED)
    if sampler == "two-stage" and "second_sigma" not in fitted:
        fitted |= fit_second_stage(fitted, options.seed)
        save_arrays(fitted, place / FITTED)
    return fitted


def _size(options: Options) -> int:
    """How many numbers a picture is made from."""
    return int(getattr(options, "latent"))  # noqa: B009 - of every trainer that has a generator


def interpolated(first: NDArray[np.float32], second: NDArray[np.float32], t: float) -> NDArray[np.float32]:
    """From one latent to another along the great circle (Shoemake 1985), where lengths stay those of a Gaussian."""
    # Gaussian latents are nearly orthogonal: halfway on a straight line is shorter by √2 than any the network knows.
    a, b = first / np.linalg.norm(first), second / np.linalg.norm(second)
    angle = float(np.arccos(np.clip(a @ b, -1, 1)))
    # sin(angle) would be 0 below the line.
    if angle < 1e-4:
        return np.asarray((1 - t) * first + t * second, np.float32)
    return np.asarray((np.sin((1 - t) * angle) * first + np.sin(t * angle) * second) / np.sin(angle), np.float32)
