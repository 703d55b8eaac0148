"""Records about selections: named, ordered, immutable sets of images, and concepts fitted on marked ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.records.images import Ids, Vectors

NAME = re.compile(r"[\w][\w.+-]*")  # of selections, splits and concepts


@dataclass(frozen=True)
class Selection:
    """Images in an order of which every prefix is the choice for a smaller budget.

    `ids` (n,) int64; `sha256` n digests as they were when chosen; `values` (n,) what each was chosen for, NaN where
    nothing was computed; `splits` n names or None. `digest` is the SHA-256 of the ordered digests, `recipe` the
    manifest without the images.
    """

    name: str
    ids: Ids
    sha256: tuple[bytes, ...]
    values: NDArray[np.float64]
    splits: tuple[str | None, ...]
    digest: str
    recipe: Mapping[str, Any]
    created_at: str = ""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Concept:
    """A direction (d,) in one space and a bias.

    The probability that an image shows the concept is the logistic of `vector @ x + bias`.
    """

    name: str
    vector: Vectors
    bias: float
    facts: Mapping[str, Any]
