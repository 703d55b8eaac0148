"""What people and programs do to pictures, with seeded strength.

These are the known duplicates that thresholds are calibrated on.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


@dataclass(frozen=True)
class Transform:
    """A change, and the kind of edge it should be found as.

    Held-out ones are only measured with, never calibrated on.
    """

    change: Change
    kind: str
    held_out: bool = False


def _resize(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    scale = rng.uniform(0.4, 0.9)
    size = (max(8, round(picture.width * scale)), max(8, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _upscale(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    scale = rng.uniform(1.3, 2.5)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)


def _coded(picture: Image.Image, form: str, quality: int) -> Image.Image:
    data = io.BytesIO()
    picture.save(data, form, quality=quality)
    return Image.open(data).convert("RGB")


def _jpeg(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _coded(picture, "JPEG", int(rng.integers(20, 80)))


def _webp(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _coded(picture, "WEBP", int(rng.integers(20, 80)))


def _crop(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Take away 5 to 25 % of the area, at a random place."""
    side = np.sqrt(1 - rng.uniform(0.05, 0.25))
    w, h = round(picture.width * side), round(picture.height * side)
    left, top = int(rng.integers(0, picture.width - w + 1)), int(rng.integers(0, picture.height - h + 1))
    return picture.crop((left, top, left + w, top + h))


def _rotate(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    angle = 25 * rng.choice([-1, 1])
    return picture.rotate(float(angle), Image.Resampling.BICUBIC, fillcolor=(0, 0, 0))


def _colour(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(float(rng.uniform(0.75, 1.3)))
    return picture


def _blur(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 1.5)) * max(picture.size) / 256))


def _caption(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A white bar with words below the picture."""
    bar = round(picture.height * rng.uniform(0.08, 0.2))
    wider = Image.new("RGB", (picture.width, picture.height + bar), "white")
    wider.paste(picture)
    font = ImageFont.load_default(size=max(8, bar // 2))
    ImageDraw.Draw(wider).text((4, picture.height + bar // 4), "when it is monday", fill="black", font=font)
    return wider


def _letterbox(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    bar = round(picture.height * rng.uniform(0.08, 0.2))
    taller = Image.new("RGB", (picture.width, picture.height + 2 * bar))
    taller.paste(picture, (0, bar))
    return taller


def _noise(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    noise = rng.normal(0, rng.uniform(4, 12), (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def _watermark(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    marked = picture.copy()
    x, y = picture.width * rng.uniform(0.05, 0.4), picture.height * rng.uniform(0.1, 0.8)
    font = ImageFont.load_default(size=max(8, picture.height // 10))
    ImageDraw.Draw(marked).text((x, y), "PREVIEW", fill=(230, 230, 230), font=font)
    return marked


def _crop_and_scale(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _jpeg(_resize(_crop(picture, rng), rng), rng)


def _turned(how: Image.Transpose) -> Change:
    return lambda picture, rng: picture.transpose(how)


TRANSFORMS = {
    "resize": Transform(_resize, "re-encoded"),
    "jpeg": Transform(_jpeg, "re-encoded"),
    "colour": Transform(_colour, "re-encoded"),
    "blur": Transform(_blur, "re-encoded"),
    "mirror": Transform(_turned(Image.Transpose.FLIP_LEFT_RIGHT), "mirrored"),
    "flip": Transform(_turned(Image.Transpose.FLIP_TOP_BOTTOM), "mirrored"),
    "rotate-90": Transform(_turned(Image.Transpose.ROTATE_90), "rotated"),
    "rotate-180": Transform(_turned(Image.Transpose.ROTATE_180), "rotated"),
    "crop": Transform(_crop, "cropped/edited"),
    "rotate-25": Transform(_rotate, "cropped/edited"),
    "caption": Transform(_caption, "cropped/edited"),
    "letterbox": Transform(_letterbox, "cropped/edited"),
    "webp": Transform(_webp, "re-encoded", held_out=True),
    "noise": Transform(_noise, "re-encoded", held_out=True),
    "upscale": Transform(_upscale, "re-encoded", held_out=True),
    "watermark": Transform(_watermark, "cropped/edited", held_out=True),
    "crop+resize+jpeg": Transform(_crop_and_scale, "cropped/edited", held_out=True),
}
