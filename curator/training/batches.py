"""Batches whose every random number is a function of (seed, images seen): a resumed run, or one on two processes, draws
the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator.training.options import Options
from curator.training.pictures import Pictures, to_unit

_LEAST_WIDTH = 8  # channels that are laid out last


def generator_of(*key: int | str) -> torch.Generator:
    """A generator that depends on nothing but the key."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") & (2**63 - 1))


def order_of(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The permutation (n,) in which an epoch is seen."""
    return np.random.default_rng([seed, epoch]).permutation(n)


@dataclass
class Batch:
    """`x` (b, C, H, W) in [−1, 1], `y` (b,) labels, `c` (b, k) conditions, k = 0 for none: this process' share of
    `whole` images.

    Random numbers are drawn for the whole batch, and cut to the share.
    """

    x: torch.Tensor
    y: torch.Tensor
    c: torch.Tensor
    whole: int
    share: slice
    generator: torch.Generator

    def normal(self, *shape: int) -> torch.Tensor:
        """(b, …) from N(0, 1)."""
        return torch.randn((self.whole, *shape), generator=self.generator)[self.share].to(self.x.device)

    def uniform(self, *shape: int) -> torch.Tensor:
        """(b, …) from U[0, 1)."""
        return torch.rand((self.whole, *shape), generator=self.generator)[self.share].to(self.x.device)


@dataclass
class Source:
    """Batches of pictures, in the order of `order_of`, on a device; `rank` of `world` processes takes each `world`-th
    image."""

    pictures: Pictures
    options: Options
    device: torch.device
    rank: int = 0
    world: int = 1
    _order: dict[int, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def layout(self) -> torch.memory_format:
        """Of pictures and weights: channels last is faster, but with fewer than 8 channels oneDNN writes beyond its
        buffers on AVX2.

        (3.13.3 in torch 2.15: heap corruption in the gradients of a `resnet` of width 4 or 6, not of 8, 12, 16 or 20;
        2026-11-25.)"""
        return torch.channels_last if self.options.width >= _LEAST_WIDTH else torch.contiguous_format

    def batch(self, images_seen: int, size: int, phase: str = "") -> Batch:
        """The batch that follows `images_seen` images; phases of one step differ in their random numbers."""
        at = self._positions(images_seen, size)
        generator = generator_of(self.options.seed, images_seen, phase)
        share = slice(self.rank, None, self.world)
        mine = at[share]
        drawn = mine
        if self.options.condition == "embedding" and self.pictures.neighbours is not None:
            # The picture is a neighbour of the one that conditions it (Casanova et al. 2021, eq. 2).
            near = self.pictures.neighbours[mine]
            column = torch.randint(near.shape[1], (size,), generator=generator)[share].numpy()
            drawn = near[np.arange(len(mine)), column]
        x = to_unit(torch.from_numpy(self.pictures.pixels[drawn]).to(self.device))
        y = torch.from_numpy(self.pictures.labels[drawn]).to(self.device)
        batch = Batch(x, y, self.conditions(mine), size, share, generator)
        batch.x = augmented(batch, self.options.augment).clone(
            memory_format=self.layout
        )  # one channel alone would pass for either
        noise = getattr(self.options, "condition_noise", 0.0)
        if noise and self.options.condition == "embedding":
            batch.c = with_noise(batch, noise)
        return batch

    def conditions(self, at: NDArray[np.int64]) -> torch.Tensor:
        """(b, k) of pictures: one-hot labels or embeddings, times √k, so that each entry has about unit variance."""
        return torch.from_numpy(conditions_of(self.pictures, at, self.options.condition)).to(self.device)

    def _positions(self, images_seen: int, size: int) -> NDArray[np.int64]:
        n, at = len(self.pictures), np.empty(0, np.int64)
        while len(at) < size:
            epoch, offset = divmod(images_seen + len(at), n)
            if epoch not in self._order:
                self._order = {epoch: order_of(n, self.options.seed, epoch)}
            at = np.concatenate([at, self._order[epoch][offset : offset + size - len(at)]])
        return at


def conditions_of(pictures: Pictures, at: NDArray[np.int64], condition: str) -> NDArray[np.float32]:
    """(b, k) conditions of pictures, rows of length √k."""
    if condition == "label":
        return one_hot(pictures.labels[at], len(pictures.classes))
    if condition == "embedding" and pictures.embeddings is not None:
        return scaled(pictures.embeddings[at])
    return np.zeros((len(at), 0), np.float32)


def one_hot(labels: NDArray[np.int64], k: int) -> NDArray[np.float32]:
    """(b,) → (b, k), length √k. Raises `ValueError` for a label that is none."""
    if len(labels) and labels.min() < 0:
        raise ValueError("a picture without a label cannot be conditioned on it")
    return scaled(np.eye(k, dtype=np.float32)[labels])


def scaled(rows: NDArray[Any]) -> NDArray[np.float32]:
    """(b, k) unit rows → length √k."""
    return np.asarray(rows, np.float32) * np.float32(np.sqrt(rows.shape[1]))


def with_noise(batch: Batch, length: float) -> torch.Tensor:
    """Conditions moved by noise of a length relative to theirs, and put back on the sphere."""
    moved = batch.c + length * batch.normal(batch.c.shape[1])
    return moved * (batch.c.norm(dim=1, keepdim=True) / moved.norm(dim=1, keepdim=True).clamp_min(1e-8))


def augmented(batch: Batch, augment: tuple[str, ...]) -> torch.Tensor:
    """The pictures of a batch, mirrored with probability ½ if `flip`, moved by up to an eighth if `shift`."""
    x = batch.x
    if "flip" in augment:
        x = torch.where(batch.uniform(1, 1, 1) < 0.5, x.flip(3), x)
    return shifted(batch, x) if "shift" in augment else x


def shifted(batch: Batch, x: torch.Tensor) -> torch.Tensor:
    """Each picture moved by up to an eighth of its side both ways, the edge repeated; differentiable."""
    b, _, height, width = x.shape
    most = max(1, height // 8)
    by = torch.floor(batch.uniform(2) * (2 * most + 1)).long()
    wide = torch.nn.functional.pad(x, (most,) * 4, mode="replicate")
    rows = torch.arange(height, device=x.device) + by[:, :1]
    columns = torch.arange(width, device=x.device) + by[:, 1:]
    return wide[torch.arange(b, device=x.device)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )


def distorted(batch: Batch, x: torch.Tensor) -> torch.Tensor:
    """DiffAugment: brightness, saturation, contrast, a shift and a hole (Zhao et al. 2020, §3.2); differentiable."""
    x = x + (batch.uniform(1, 1, 1) - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (batch.uniform(1, 1, 1) * 2) + grey
    middle = x.mean((1, 2, 3), keepdim=True)
    x = shifted(batch, (x - middle) * (batch.uniform(1, 1, 1) + 0.5) + middle)
    height, width = x.shape[2:]
    at = batch.uniform(2)
    rows = (torch.arange(height, device=x.device) - at[:, :1] * height).abs() < height / 4
    columns = (torch.arange(width, device=x.device) - at[:, 1:] * width).abs() < width / 4
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])
