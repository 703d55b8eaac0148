"""Images as a data set for torch, decoded as the bundled trainers decode them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curator.errors import UsageError
from curator.images import read_picture
from curator.training.options import FITS
from curator.training.pictures import fitted, to_unit

_LARGEST = 8_192  # pixels of a side


def _checked(side: Any) -> int:
    """Pixels, also as NumPy's whole numbers. Raises `UsageError`."""
    try:
        pixels = operator.index(side)
    except TypeError:
        pixels = 0
    if not 1 <= pixels <= _LARGEST:
        raise UsageError(f"a side is a whole number of pixels from 1 to {_LARGEST}, not {side!r}")
    return pixels


class ImageDataset(torch.utils.data.Dataset[tuple[Any, int]]):
    """(picture, class) of each file; it holds paths alone, so that workers of a `DataLoader` can be given it.

    `classes` are the distinct labels, sorted; the class of a file without a label is −1. A picture is what `transform`
    makes of a `PIL.Image`, or a tensor (3, H, W) float32 in [−1, 1]. With `side` it is square, made so by `fit`.
    Raises `PictureError` where a file cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[str | None],
        *,
        transform: Callable[[Any], Any] | None = None,
        side: int | None = None,
        fit: str = "crop",
    ) -> None:
        if fit not in FITS:
            raise UsageError(f"no way '{fit}' to make a picture square; there are: {', '.join(FITS)}")
        self.paths = [str(p) for p in paths]
        self.classes = sorted({label for label in labels if label is not None})
        code = {name: c for c, name in enumerate(self.classes)}
        self.targets = [-1 if label is None else code[label] for label in labels]
        self.transform, self.side, self.fit = transform, None if side is None else _checked(side), fit

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> tuple[Any, int]:
        """Picture and class at a position."""
        picture = read_picture(Path(self.paths[at]), side=self.side or 0)
        if self.side is not None:
            picture = fitted(picture, self.side, self.fit)
        if self.transform is not None:
            return self.transform(picture), self.targets[at]
        pixels = np.asarray(picture).transpose(2, 0, 1)  # (H, W, 3) → (3, H, W)
        return to_unit(torch.from_numpy(np.ascontiguousarray(pixels))), self.targets[at]
