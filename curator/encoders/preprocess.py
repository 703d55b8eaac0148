"""open_clip's evaluation transform without torch: Pillow resizes, uint8 comes out; scaling happens inside the tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from curator.records import Pixels

_EXTREME = 50  # sides of a picture beyond which it is cropped before it is resized
VERSION = 1  # part of every fingerprint: raise it when the arithmetic below changes


@dataclass(frozen=True)
class Preprocess:
    """How a model wants its pictures.

    Input side in pixels, resize mode, filter, fill grey, mean and std of each channel.
    """

    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0

    @classmethod
    def from_open_clip(cls, config: dict[str, Any]) -> Preprocess:
        """From an open_clip `preprocess_cfg`. Raises `ValueError` for a non-square input."""
        size = config["size"]
        sides = {size} if isinstance(size, int) else set(size)
        if len(sides) != 1:
            raise ValueError(f"only square inputs are supported, not {size}")
        mean, std = (
            tuple(config[k]) if not isinstance(config[k], int | float) else (config[k],) * 3 for k in ("mean", "std")
        )
        rest = {k: config[k] for k in ("interpolation", "resize_mode", "fill_color") if config.get(k) is not None}
        return cls(int(sides.pop()), mean, std, **rest)

    def __call__(self, picture: Image.Image) -> Pixels:
        """Upright RGB picture → (side, side, 3) uint8."""
        bilinear = self.interpolation == "bilinear"
        how = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
        w, h = picture.size
        if self.resize_mode == "squash":
            return np.asarray(picture.resize((self.side, self.side), how), np.uint8)
        if self.resize_mode == "longest":
            ratio = max(w, h) / self.side
            fitted = picture.resize((max(1, round(w / ratio)), max(1, round(h / ratio))), how)
        elif max(w, h) > _EXTREME * min(w, h):
            # Resized whole, a banner would fill the memory; the crop is the same to a fraction of a pixel.
            left, top, short = (w - min(w, h)) / 2, (h - min(w, h)) / 2, min(w, h)
            fitted = picture.resize((self.side, self.side), how, box=(left, top, left + short, top + short))
        else:
            long = int(self.side * max(w, h) / min(w, h))
            fitted = picture.resize((self.side, long) if w <= h else (long, self.side), how)
        return self._centre(fitted)

    def _centre(self, picture: Image.Image) -> Pixels:
        """Crop to the middle square, or pad to it."""
        w, h = picture.size
        if w >= self.side and h >= self.side:
            left, top = round((w - self.side) / 2), round((h - self.side) / 2)
            return np.asarray(picture.crop((left, top, left + self.side, top + self.side)), np.uint8)
        canvas = Image.new("RGB", (self.side, self.side), (self.fill_color,) * 3)
        canvas.paste(picture, ((self.side - w) // 2, (self.side - h) // 2))
        return np.asarray(canvas, np.uint8)
