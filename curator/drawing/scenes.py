"""Drawn, captioned pictures: the free supply of images whose content is known exactly.

The bundled encoder is trained on them, `curator demo` shows them, tests use them as images whose right answer is
certain. Everything is a pure function of the generator it is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 130, 32),
    "yellow": (250, 215, 40),
    "green": (50, 160, 70),
    "blue": (40, 90, 210),
    "purple": (130, 60, 180),
    "pink": (245, 130, 180),
    "brown": (125, 80, 45),
    "cyan": (60, 200, 220),
    "black": (20, 20, 20),
    "white": (248, 248, 248),
    "gray": (135, 135, 135),
}
SHAPES = ("circle", "square", "triangle", "star", "diamond", "hexagon", "cross", "ring", "heart", "crescent")
TEXTURES = ("plain", "striped", "dotted", "checkered")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLACES = {
    "on the left": (0.25, 0.5),
    "on the right": (0.75, 0.5),
    "at the top": (0.5, 0.25),
    "at the bottom": (0.5, 0.75),
    "in the center": (0.5, 0.5),
}
RELATIONS = {
    "left of": ((0.27, 0.5), (0.73, 0.5)),
    "right of": ((0.73, 0.5), (0.27, 0.5)),
    "above": ((0.5, 0.27), (0.5, 0.73)),
    "below": ((0.5, 0.73), (0.5, 0.27)),
}
_GRID = ((0.3, 0.3), (0.7, 0.7), (0.7, 0.3), (0.3, 0.7), (0.5, 0.5))
_OVERSAMPLE = 3  # drawn this much larger, then reduced, so that edges are smooth


@dataclass(frozen=True)
class Scene:
    """One drawn picture, its full caption, and shorter captions that are also true of it."""

    picture: Image.Image
    caption: str
    short_captions: tuple[str, ...]


def draw_scene(rng: np.random.Generator, size: int = 96) -> Scene:
    """Draw one random scene: a single thing, several alike, two related things, or a character.

    `size` is the side in pixels. The kinds come 5 : 3 : 3 : 2.
    """
    kind = rng.choice(["single", "several", "pair", "character"], p=[5 / 13, 3 / 13, 3 / 13, 2 / 13])
    draw = {"single": _single, "several": _several, "pair": _pair, "character": _character}[str(kind)]
    return draw(rng, size)


def draw_thing(
    colour: str, shape: str, *, texture: str = "plain", background: str = "white", size: int = 96
) -> Image.Image:
    """Draw one centred shape: what a test or a demo asks for by name."""
    canvas = _canvas(background, size)
    _stamp(canvas, shape, (0.5, 0.5), 0.32, COLOURS[colour], texture=texture)
    return _reduce(canvas, size)


def _single(rng: np.random.Generator, size: int) -> Scene:
    colour, background = _two_colours(rng)
    shape = _pick(rng, SHAPES)
    texture = _pick(rng, TEXTURES) if rng.random() < 0.5 else "plain"
    scale = _pick(rng, ("small", "large"))
    place = _pick(rng, tuple(PLACES)) if scale == "small" else "in the center"
    canvas = _canvas(background, size)
    centre = _jitter(rng, PLACES[place], 0.04)
    radius = rng.uniform(0.12, 0.17) if scale == "small" else rng.uniform(0.32, 0.42)
    _stamp(canvas, shape, centre, radius, COLOURS[colour], texture=texture, degrees=rng.uniform(-15, 15))
    thing = f"{colour} {shape}" if texture == "plain" else f"{texture} {colour} {shape}"
    where = f" {place}" if scale == "small" else ""
    return Scene(
        _reduce(canvas, size),
        f"a {scale} {thing}{where} on a {background} background",
        (f"a {thing}", thing, f"{colour} {shape}", f"a {scale} {thing}", f"a {shape}{where}", f"a {thing}{where}"),
    )


def _several(rng: np.random.Generator, size: int) -> Scene:
    colour, background = _two_colours(rng)
    shape = _pick(rng, SHAPES)
    count = int(rng.integers(2, 6))
    canvas = _canvas(background, size)
    for centre in [*_GRID[: count - 1], _GRID[4]] if count % 2 else _GRID[:count]:
        _stamp(
            canvas,
            shape,
            _jitter(rng, centre, 0.03),
            rng.uniform(0.12, 0.15),
            COLOURS[colour],
            degrees=rng.uniform(-15, 15),
        )
    things = f"{colour} {_plural(shape)}"
    return Scene(
        _reduce(canvas, size),
        f"{NUMBERS[count]} {things} on a {background} background",
        (f"{NUMBERS[count]} {things}", f"{count} {things}", f"{NUMBERS[count]} {_plural(shape)}", things),
    )


def _pair(rng: np.random.Generator, size: int) -> Scene:
    colours = [c for c in COLOURS if c not in ("white", "black")]
    one, two = (str(c) for c in rng.choice(colours, 2, replace=False))
    shape_one, shape_two = _pick(rng, SHAPES), _pick(rng, SHAPES)
    background = _pick(rng, ("white", "black"))
    relation = _pick(rng, tuple(RELATIONS))
    canvas = _canvas(background, size)
    for centre, colour, shape in zip(RELATIONS[relation], (one, two), (shape_one, shape_two), strict=True):
        _stamp(
            canvas,
            shape,
            _jitter(rng, centre, 0.03),
            rng.uniform(0.16, 0.22),
            COLOURS[colour],
            degrees=rng.uniform(-15, 15),
        )
    first, second = f"a {one} {shape_one}", f"a {two} {shape_two}"
    return Scene(
        _reduce(canvas, size),
        f"{first} {relation} {second} on a {background} background",
        (f"{first} {relation} {second}", f"{first} and {second}", f"{second} and {first}"),
    )


def _character(rng: np.random.Generator, size: int) -> Scene:
    colour, background = _two_colours(rng)
    is_digit = rng.random() < 0.7
    digit = int(rng.integers(0, 10))
    glyph = str(digit) if is_digit else chr(ord("A") + int(rng.integers(0, 26)))
    canvas = _canvas(background, size)
    font = ImageFont.load_default(size=int(canvas.width * rng.uniform(0.55, 0.8)))
    x, y = _jitter(rng, (0.5, 0.5), 0.06)
    ImageDraw.Draw(canvas).text(
        (canvas.width * x, canvas.width * y), glyph, fill=COLOURS[colour], font=font, anchor="mm"
    )
    canvas = canvas.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC, fillcolor=COLOURS[background])
    name = f"the digit {glyph}" if is_digit else f"the letter {glyph}"
    short = (f"a {colour} {name[4:]}", name, f"the number {NUMBERS[digit]}" if is_digit else f"letter {glyph}")
    return Scene(_reduce(canvas, size), f"{name} in {colour} on a {background} background", short)


def _stamp(
    canvas: Image.Image,
    shape: str,
    at: tuple[float, float],
    radius: float,
    colour: tuple[int, int, int],
    *,
    texture: str = "plain",
    degrees: float = 0.0,
) -> None:
    """Paste one textured, rotated shape onto the canvas; `at` and `radius` are fractions of its side."""
    side = canvas.width
    mask = Image.new("L", (side, side), 0)
    centre, r = (at[0] * side, at[1] * side), radius * side
    _outline(ImageDraw.Draw(mask), shape, centre, r, math.radians(degrees))
    canvas.paste(colour if texture == "plain" else _fill(side, colour, texture), (0, 0, side, side), mask)


def _outline(pen: ImageDraw.ImageDraw, shape: str, centre: tuple[float, float], r: float, turn: float) -> None:
    x, y = centre
    if shape in ("circle", "ring", "crescent"):
        pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
        if shape == "ring":
            pen.ellipse((x - r * 0.55, y - r * 0.55, x + r * 0.55, y + r * 0.55), fill=0)
        if shape == "crescent":
            pen.ellipse((x - r * 0.5, y - r * 0.95, x + r * 1.3, y + r * 0.85), fill=0)
    elif shape == "heart":
        t = np.linspace(0, 2 * math.pi, 60)
        dx, dy = 16 * np.sin(t) ** 3, -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
        pen.polygon([(x + r * a / 16, y + r * b / 16) for a, b in zip(dx, dy, strict=True)], fill=255)
    elif shape == "cross":
        for w, h in ((r, r * 0.33), (r * 0.33, r)):
            pen.polygon(_turned([(-w, -h), (w, -h), (w, h), (-w, h)], centre, turn), fill=255)
    else:
        pen.polygon(_turned(_corners(shape, r), centre, turn), fill=255)


def _corners(shape: str, r: float) -> list[tuple[float, float]]:
    sides = {"square": 4, "triangle": 3, "diamond": 4, "hexagon": 6, "star": 10}[shape]
    start = math.pi / 4 if shape == "square" else -math.pi / 2
    radii = [r * (0.42 if shape == "star" and i % 2 else 1.0) for i in range(sides)]
    corners = [
        (q * math.cos(start + 2 * math.pi * i / sides), q * math.sin(start + 2 * math.pi * i / sides))
        for i, q in enumerate(radii)
    ]
    return [(a * 0.68, b) for a, b in corners] if shape == "diamond" else corners


def _turned(points: list[tuple[float, float]], centre: tuple[float, float], turn: float) -> list[tuple[float, float]]:
    c, s = math.cos(turn), math.sin(turn)
    return [(centre[0] + a * c - b * s, centre[1] + a * s + b * c) for a, b in points]


def _fill(side: int, colour: tuple[int, int, int], texture: str) -> Image.Image:
    """A square of paint; a texture alternates the colour with a lighter or darker tone of itself."""
    y, x = np.mgrid[0:side, 0:side] / side
    marks = {
        "striped": (x * 12).astype(int) % 2 == 0,
        "dotted": ((x * 12) % 1 - 0.5) ** 2 + ((y * 12) % 1 - 0.5) ** 2 < 0.08,
        "checkered": ((x * 11).astype(int) + (y * 11).astype(int)) % 2 == 0,
    }[texture]
    paint = np.asarray(colour, float)
    other = paint * 0.35 if paint.mean() > 110 else paint + (255 - paint) * 0.6
    return Image.fromarray(np.where(marks[..., None], other, paint).astype(np.uint8))


def _canvas(background: str, size: int) -> Image.Image:
    return Image.new("RGB", (size * _OVERSAMPLE, size * _OVERSAMPLE), COLOURS[background])


def _reduce(canvas: Image.Image, size: int) -> Image.Image:
    return canvas.resize((size, size), Image.Resampling.BOX)


def _two_colours(rng: np.random.Generator) -> tuple[str, str]:
    """A colour and a different background, light or dark half of the time."""
    background = _pick(rng, ("white", "black", "gray")) if rng.random() < 0.6 else _pick(rng, tuple(COLOURS))
    return _pick(rng, tuple(c for c in COLOURS if c != background)), background


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _jitter(rng: np.random.Generator, at: tuple[float, float], by: float) -> tuple[float, float]:
    return at[0] + rng.uniform(-by, by), at[1] + rng.uniform(-by, by)


def _plural(shape: str) -> str:
    return {"cross": "crosses"}.get(shape, f"{shape}s")
