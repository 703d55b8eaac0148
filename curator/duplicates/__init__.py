"""Duplicates: evidence on pairs of pictures, cut-offs, groups and keepers. Pure algorithms on arrays."""

from curator.duplicates.alignment import place_on
from curator.duplicates.corners import Corners, count_votes
from curator.duplicates.detail import LEAST_FACTOR, is_enlarged
from curator.duplicates.evidence import (
    ALTERED,
    BITS,
    KINDS,
    LEVELS,
    LISTED,
    TURNED,
    Thresholds,
    compare_hashes,
    dismissed,
    examine,
    inner,
    is_dismissed,
    judge,
    look_closer,
    needs_corners,
    needs_look,
    proved,
    strength,
    textured,
)
from curator.duplicates.groups import cover, join, ways_to
from curator.duplicates.laying import turned_onto
from curator.duplicates.sketch import SIDE, Sketch, shrink
from curator.duplicates.sliding import Tiny, find_part
from curator.duplicates.thresholds import Cut, choose_cut, tail_cut
from curator.duplicates.transforms import TRANSFORMS
from curator.intervals import wilson

__all__ = [
    "ALTERED",
    "BITS",
    "KINDS",
    "LEAST_FACTOR",
    "LEVELS",
    "LISTED",
    "SIDE",
    "TRANSFORMS",
    "TURNED",
    "Corners",
    "Cut",
    "Sketch",
    "Thresholds",
    "Tiny",
    "choose_cut",
    "compare_hashes",
    "count_votes",
    "cover",
    "dismissed",
    "examine",
    "find_part",
    "inner",
    "is_dismissed",
    "is_enlarged",
    "join",
    "judge",
    "look_closer",
    "needs_corners",
    "needs_look",
    "place_on",
    "proved",
    "shrink",
    "strength",
    "tail_cut",
    "textured",
    "turned_onto",
    "ways_to",
    "wilson",
]
