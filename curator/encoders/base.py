"""What every encoder is: a name, a space, and two maps into it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.embeddings import normalise
from curator.errors import NoTextTower
from curator.records import Pixels, Vectors


class Encoder(ABC):
    """Pictures and words → vectors of one space.

    A part sets `name`, `dim` (d), `side` (input side in pixels) and `fingerprint` (model, weights and preprocessing:
    equal fingerprints mean comparable vectors), and writes `prepare` and `project_images`; `project_texts` if it can.
    """

    name: str
    dim: int
    side: int
    fingerprint: str
    has_text: bool = False
    batch: int = 64  # images that are encoded together
    lanes: int = 1  # threads that may call `project_in_lane` at the same time

    @property
    def precision(self) -> str:
        """The numbers that images are encoded in, as torch calls them."""
        return "float32"

    @abstractmethod
    def prepare(self, picture: Image.Image) -> Pixels:
        """One upright RGB picture → (side, side, 3) uint8. Safe to call from many threads."""

    @abstractmethod
    def project_images(self, batch: NDArray[np.uint8]) -> Vectors:
        """(b, side, side, 3) uint8, prepared → (b, d) float32 before normalising."""

    def project_in_lane(self, batch: NDArray[np.uint8]) -> Vectors:
        """The same by one of `lanes` threads, which together do more than one that uses every core."""
        return self.project_images(batch)

    def project_texts(self, texts: Sequence[str]) -> Vectors:
        """b texts → (b, d) float32 before normalising. Raises `NoTextTower` where there is no text tower."""
        raise NoTextTower(
            f"encoder '{self.name}' has no text tower, so words mean nothing to it; "
            "search by picture or id, or index with --encoder small or base"
        )

    def encode_images(self, pictures: Sequence[Image.Image]) -> Vectors:
        """b upright RGB pictures → (b, d) float32 unit rows."""
        return normalise(self.project_images(np.stack([self.prepare(p) for p in pictures])))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """b texts → (b, d) float32 unit rows. Raises `NoTextTower` where there is no text tower."""
        return normalise(self.project_texts(texts))
