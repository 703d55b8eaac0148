"""How widely a service walks its graph is settled by the probes that it serves worst."""

from __future__ import annotations

import numpy as np
import pytest

from curator.embeddings import normalise, top_k
from curator.records import Space
from curator.scale.probes import WORDS, words_of
from curator.vectors.calibration import EFS, ENOUGH, K, least_width


def unit(n: int, seed: int, d: int = 32) -> np.ndarray:
    return normalise(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))


class Walk:
    """A search that overlooks hits at random: as many as the width and the kind of probe say."""

    def __init__(self, x: np.ndarray, found: dict[int, float], of_words: dict[int, float], words: np.ndarray) -> None:
        self.x, self.found, self.of_words, self.words = x, found, of_words, words
        self.rng = np.random.default_rng(0)

    def __call__(self, q: np.ndarray, ef: int | None) -> set[int]:
        hits = top_k(self.x, q, K)[0].tolist()
        if ef is None:
            return set(hits)
        is_word = bool((self.words == q).all(1).any())
        share = (self.of_words if is_word else self.found)[ef]
        return {i for i in hits if self.rng.random() < share}


EASY = dict.fromkeys(EFS, 1.0)
HARD = dict(zip(EFS, (0.5, 0.8, 0.98, 1.0), strict=True))
NEVER = dict.fromkeys(EFS, 0.7)


@pytest.mark.parametrize(
    ("found", "of_words", "width", "is_enough"),
    [(EASY, EASY, 100, True), (HARD, EASY, 400, True), (EASY, HARD, 400, True), (EASY, NEVER, 800, False)],
)
def test_the_worse_of_words_and_far_vectors_settles_it(
    found: dict[int, float], of_words: dict[int, float], width: int, is_enough: bool
) -> None:
    x, words = unit(200, 0), unit(50, 1)
    ef, share = least_width(x, Walk(x, found, of_words, words), words)
    assert ef == width
    assert (share >= ENOUGH) is is_enough
    assert share == pytest.approx(min(found[ef], of_words[ef]), abs=0.04)


def test_without_words_far_vectors_settle_it_and_few_images_need_no_graph() -> None:
    x = unit(200, 0)
    assert least_width(x, Walk(x, HARD, EASY, unit(1, 3)))[0] == 400
    assert least_width(x[: K - 1], Walk(x, NEVER, NEVER, x)) == (EFS[0], 1.0)


def test_words_are_those_of_the_spaces_encoder(tiny: object) -> None:
    space = Space(0, "tiny", tiny.fingerprint, tiny.dim, 0, 0, "")  # type: ignore[attr-defined]
    words = words_of(space)
    assert words is not None
    assert words.shape == (len(WORDS.split(",")), tiny.dim)  # type: ignore[attr-defined]
    np.testing.assert_allclose(np.linalg.norm(words, axis=1), 1, atol=1e-5)
    assert words_of(Space(0, "pixels", "p", 192, 0, 0, "")) is None
    assert words_of(Space(0, "no such encoder", "0", 4, 0, 0, "")) is None
