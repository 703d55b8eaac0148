"""Batches whose every random number is a function of (seed, images seen).

So a resumed run, or one on two processes, draws the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator.training.options import Options
from curator.training.pictures import Pictures, to_unit

# See `Source.layout`.
_LEAST_WIDTH = 8  # channels that are laid out last


def generator_of(*key: int | str) -> torch.Generator:
    """A generator that depends on nothing but the key."""
    # A hash spreads near keys over all seeds: step 1 and step 2 have nothing in common.
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") & (2**63 - 1))


def order_of(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The permutation (n,) in which an epoch is seen."""
    return np.random.default_rng([seed, epoch]).permutation(n)


@dataclass
class Batch:
    """This process' share of `whole` images.

    `x` (b, C, H, W) in [−1, 1], `y` (b,) labels, `c` (b, k) conditions, k = 0 for none. Random numbers are drawn for
    the whole batch, and cut to the share.
    """

    x: torch.Tensor
    y: torch.Tensor
    c: torch.Tensor
    whole: int
    share: slice
    generator: torch.Generator

    def normal(self, *shape: int) -> torch.Tensor:
        """(b, …) from N(0, 1)."""
        # Drawn for all processes and cut: two of them draw what one would.
        return torch.randn((self.whole, *shape), generator=self.generator)[self.share].to(self.x.device)

    def uniform(self, *shape: int) -> torch.Tensor:
        """(b, …) from U[0, 1)."""
        return torch.rand((self.whole, *shape), generator=self.generator)[self.share].to(self.x.device)


@dataclass
class Source:
    """Batches of pictures, in the order of `order_of`, on a device.

    `rank` of `world` processes takes each `world`-th image.
    """

    pictures: Pictures
    options: Options
    device: torch.device
    rank: int = 0
    world: int = 1
    _order: dict[int, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def layout(self) -> torch.memory_format:
        """The memory layout of pictures and weights.

        Channels last is faster for most, but with fewer than 8 channels oneDNN writes beyond its buffers on AVX2.
        (3.13.3 in torch 2.15: heap corruption in the gradients of a `resnet` of width 4 or 6, not of 8, 12, 16 or 20;
        2026-11-25.)
        """
        pays = self.options.is_channels_last or self.device.type != "cpu"
        return torch.channels_last if pays and self.options.width >= _LEAST_WIDTH else torch.contiguous_format

    def batch(self, images_seen: int, size: int, phase: str = "") -> Batch:
        """The batch that follows `images_seen` images; phases of one step differ in their random numbers."""
        # (size,) the same in every process …
        positions = self._positions(images_seen, size)
        generator = generator_of(self.options.seed, images_seen, phase)
        share = slice(self.rank, None, self.world)
        # … of which this one takes each `world`-th.
        mine = positions[share]
        drawn = mine
        if self.options.condition == "embedding" and self.pictures.neighbours is not None:
            # The picture is a neighbour of the one that conditions it (Casanova et al. 2021, eq. 2).
            near = self.pictures.neighbours[mine]
            column = torch.randint(near.shape[1], (size,), generator=generator)[share].numpy()
            drawn = near[np.arange(len(mine)), column]
        # (b, C, H, W)
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
        # A batch may reach over the end of an epoch, and a large one over several.
        n, positions = len(self.pictures), np.empty(0, np.int64)
        while len(positions) < size:
            epoch, offset = divmod(images_seen + len(positions), n)
            # Only the epoch in use is kept.
            if epoch not in self._order:
                self._order = {epoch: order_of(n, self.options.seed, epoch)}
            positions = np.concatenate([positions, self._order[epoch][offset : offset + size - len(positions)]])
        return positions


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
    # Noise of the length of the condition times `length`, in expectation.
    moved = batch.c + length * batch.normal(batch.c.shape[1])
    return moved * (batch.c.norm(dim=1, keepdim=True) / moved.norm(dim=1, keepdim=True).clamp_min(1e-8))


def augmented(batch: Batch, augment: tuple[str, ...]) -> torch.Tensor:
    """The pictures of a batch, mirrored with probability ½ if `flip`, moved by up to an eighth if `shift`."""
    x = batch.x
    if "flip" in augment:
        # (b, 1, 1, 1) broadcast over channels and pixels.
        x = torch.where(batch.uniform(1, 1, 1) < 0.5, x.flip(3), x)
    return shifted(batch, x) if "shift" in augment else x


def shifted(batch: Batch, x: torch.Tensor) -> torch.Tensor:
    """Each picture moved by up to an eighth of its side both ways, the edge repeated; differentiable."""
    b, _, height, width = x.shape
    # Pixels at most, either way.
    most = max(1, height // 8)
    # (b, 2) whole pixels in [0, 2·most]; most means "not at all".
    by = torch.floor(batch.uniform(2) * (2 * most + 1)).long()
    # (b, C, H + 2·most, W + 2·most)
    wide = torch.nn.functional.pad(x, (most,) * 4, mode="replicate")
    # (b, H) and (b, W): which rows and columns each picture keeps.
    rows = torch.arange(height, device=x.device) + by[:, :1]
    columns = torch.arange(width, device=x.device) + by[:, 1:]
    # Indexing puts channels last: (b, H, W, C) → (b, C, H, W).
    return wide[torch.arange(b, device=x.device)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )


def distorted(batch: Batch, x: torch.Tensor) -> torch.Tensor:
    """DiffAugment: brightness, saturation, contrast, a shift and a hole (Zhao et al. 2020, §3.2); differentiable."""
    # Brightness: ± half of the half-range.
    x = x + (batch.uniform(1, 1, 1) - 0.5)
    # Saturation: away from grey, by 0 to 2 times.
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (batch.uniform(1, 1, 1) * 2) + grey
    # Contrast: away from the picture's mean, by 0.5 to 1.5 times; then a shift.
    middle = x.mean((1, 2, 3), keepdim=True)
    x = shifted(batch, (x - middle) * (batch.uniform(1, 1, 1) + 0.5) + middle)
    height, width = x.shape[2:]
    # A hole of half the side, anywhere, also half outside.
    corners = batch.uniform(2)
    rows = (torch.arange(height, device=x.device) - corners[:, :1] * height).abs() < height / 4
    columns = (torch.arange(width, device=x.device) - corners[:, 1:] * width).abs() < width / 4
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])
