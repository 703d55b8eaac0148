"""What a loop is told, what it did, and when it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Self

from curator.errors import UsageError

TRAIN, ADMIT, SCORE = "loop-train", "loop-admit", "loop-score"
PARTS = {TRAIN: 0.7, ADMIT: 0.15, SCORE: 0.15}
WATCHED = ("coverage", "recall", "precision", "frechet_distance")


@dataclass(frozen=True)
class LoopOptions:
    """How a loop goes: at most `rounds`, `made` pictures in each.

    `given` are options of the GAN's training; `sure` is the classifier's least confidence.
    """

    rounds: int = 3
    made: int = 500
    sure: float = 0.9
    seed: int = 0
    given: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.made < 1:
            raise UsageError("--rounds and -n take 1 or more")
        if not 0 < self.sure <= 1:
            raise UsageError(f"--sure takes a confidence above 0 and up to 1, not {self.sure}")
        if not 0 <= self.seed < 1_000_000:
            raise UsageError(f"--seed takes a whole number from 0 to 999999, not {self.seed}")


@dataclass(frozen=True)
class Round:
    """One round: what it trained on and made, and what was admitted for the next.

    `numbers` are (value, low, high).
    """

    number: int
    run: str
    real: int
    generated: int
    made: int
    admitted: int
    refused: Mapping[str, int]
    numbers: Mapping[str, tuple[float, float, float]]

    def as_json(self) -> dict[str, Any]:
        """For a recipe: JSON has no NaN, so null stands for ends that nothing is known of."""
        return asdict(self) | {
            "numbers": {k: [v if math.isfinite(v) else None for v in of] for k, of in self.numbers.items()}
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Back again."""
        numbers = {k: tuple(math.nan if v is None else v for v in row["numbers"][k]) for k in WATCHED}
        return cls(**dict(row) | {"numbers": numbers})


@dataclass(frozen=True)
class Looped:
    """The rounds, why there were no more, and the selection of real and admitted images that they left."""

    rounds: tuple[Round, ...]
    ended: str
    selection: str
    interrupted: bool = False

    @property
    def best(self) -> int | None:
        """The number of the round whose coverage is largest: it trained on `NAME-round-NUMBER`."""
        return max(self.rounds, key=lambda r: r.numbers["coverage"][0]).number if self.rounds else None


def end_of(rounds: list[Round], most: int) -> str:
    """Why there is no further round, or ""."""
    coverage = [r.numbers["coverage"][0] for r in rounds]
    if sum(after < before for before, after in pairwise(coverage)) >= 2:
        return "coverage of the held-out images fell twice"
    if rounds and not rounds[-1].admitted:
        return "nothing was admitted"
    return f"all {most} rounds are done" if len(rounds) >= most else ""
