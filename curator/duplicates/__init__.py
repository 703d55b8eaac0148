"""Duplicates: evidence on pairs of pictures, cut-offs, groups and keepers. Pure algorithms on arrays."""

from curator.duplicates.alignment import Sketch
from curator.duplicates.detail import LEAST_FACTOR, is_enlarged
from curator.duplicates.evidence import (
    BITS,
    KINDS,
    LEVELS,
    Thresholds,
    compare_hashes,
    examine,
    judge,
    look_closer,
    needs_corners,
    strength,
    textured,
)
from curator.duplicates.groups import cover, join, ways_to
from curator.duplicates.thresholds import Cut, choose_cut, tail_cut
from curator.duplicates.transforms import TRANSFORMS
from curator.intervals import wilson

__all__ = [
    "BITS",
    "KINDS",
    "LEAST_FACTOR",
    "LEVELS",
    "TRANSFORMS",
    "Cut",
    "Sketch",
    "Thresholds",
    "choose_cut",
    "compare_hashes",
    "cover",
    "examine",
    "is_enlarged",
    "join",
    "judge",
    "look_closer",
    "needs_corners",
    "strength",
    "tail_cut",
    "textured",
    "ways_to",
    "wilson",
]
