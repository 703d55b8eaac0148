"""A map as a picture: points in colours, with a legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# Twelve that stay apart for most eyes; what has none of them is grey.
COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a6d00", "#7a5fc4", "#a3262a", "#2c8f8f",
    "#b58ab9", "#6b8e23",
)  # fmt: skip
_GREY, _SIDE, _MARGIN, _LINE = "#c8c8c3", 1_400, 30, 26  # pixels


def draw_scatter(places: NDArray[np.floating], codes: NDArray[np.integer], names: Sequence[str]) -> Image.Image:
    """Points at `places` (n, 2), coloured by `codes` (n,) into `names`; grey for any other code, beneath the rest."""
    low, high = (places.min(0), places.max(0)) if len(places) else (np.zeros(2), np.ones(2))
    scale = (_SIDE - 2 * _MARGIN) / max(float((high - low).max()), 1e-9)
    xy = _MARGIN + (places - low) * scale
    xy[:, 1] = _SIDE - xy[:, 1]  # up is up
    width = _SIDE + (300 if names else 0)
    picture = Image.new("RGB", (width, _SIDE), "white")
    pen = ImageDraw.Draw(picture)
    half = 1.2 if len(places) > 20_000 else 2.4
    is_named = (codes >= 0) & (codes < min(len(names), len(COLOURS)))
    for i in [*np.flatnonzero(~is_named).tolist(), *np.flatnonzero(is_named).tolist()]:
        x, y = xy[i].tolist()
        pen.ellipse((x - half, y - half, x + half, y + half), fill=COLOURS[codes[i]] if is_named[i] else _GREY)
    font = ImageFont.load_default(size=18)
    for number, name in enumerate(names[: len(COLOURS)]):
        top = _MARGIN + number * _LINE
        pen.rectangle((_SIDE, top + 3, _SIDE + 14, top + 17), fill=COLOURS[number])
        pen.text((_SIDE + 22, top), name[:30], fill="black", font=font)
    return picture
