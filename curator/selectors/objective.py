"""`--by "typicality^0.5 * k-center"`: a product of powers of scores, and what chooses by it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from curator.errors import UnknownName, UsageError
from curator.registry import suggest
from curator.selectors.neighbours import nearest
from curator.selectors.pool import Chosen, Pool, Reals, Selector, best_of, scorers, selectors

_LEAST = 1e-3  # a score's smallest place in (0, 1]
_FEWEST = 1e-100  # a product's smallest value, so that no weight is 0


@dataclass(frozen=True)
class Objective:
    """Powers of scorers by name, and the selector they weight; without one, the largest products are chosen."""

    powers: tuple[tuple[str, float], ...]
    selector: str | None = None
    power: float = 1.0

    def __str__(self) -> str:
        factors = [*self.powers, *([(self.selector, self.power)] if self.selector else [])]
        return " * ".join(name if power == 1 else f"{name}^{power:g}" for name, power in factors)


def parse_objective(text: str) -> Objective:
    """Read a product.

    Raises `UnknownName` with near names, `UsageError` for two selectors or a power that is no number.
    """
    powers: list[tuple[str, float]] = []
    selector: tuple[str, float] | None = None
    for factor in text.split("*"):
        match = re.fullmatch(r"\s*([a-z][a-z-]*)\s*(?:\^\s*(-?\d+(?:\.\d+)?)\s*)?", factor)
        if not match:
            raise UsageError(
                "--by takes names joined by *, each with a power if wanted, such as 'typicality^0.5 * k-center', not "
                f"{text!r}"
            )
        name, power = match[1], float(match[2] or 1)
        if name in scorers:
            powers.append((name, power))
        elif name not in selectors:
            raise UnknownName(f"no selector '{name}'; {suggest(name, [*selectors, *scorers])}")
        elif selector is not None:
            raise UsageError(f"--by takes one of {', '.join(selectors)}, not both '{selector[0]}' and '{name}'")
        elif power <= 0:
            raise UsageError(f"the power of '{name}' must be above 0; scores may have a negative one")
        else:
            selector = name, power
    return Objective(tuple(powers), *(selector or ()))


def choose(pool: Pool, objective: Objective, k: int) -> Chosen:
    """At most k free positions of the pool, in order. Raises `UsageError` where a part lacks what it needs."""
    # 1. Every score that the product names.
    scores = {name: scorers[name](pool) for name, _ in objective.powers}
    # 2. One score alone is taken as it is: its values mean something.
    if objective.selector is None and len(objective.powers) == 1:
        ((name, power),) = objective.powers
        chosen = best_of(scores[name] * np.sign(power or 1), pool.free, k)
        return Chosen(chosen, scores[name][chosen], name)
    # 3. Several become one weight in (0, ∞) for each image …
    weights = _product(scores, objective)
    # … by which images are chosen alone …
    if objective.selector is None:
        chosen = best_of(weights, pool.free, k)
        return Chosen(chosen, weights[chosen], str(objective))
    # … or which the selector multiplies with what it makes large.
    chooser: Callable[[Pool, int], Chosen] = selectors[objective.selector]
    # A greedy choice of gain^p × w is that of gain × w^(1/p).
    return chooser(replace(pool, weights=weights ** (1 / objective.power)) if objective.powers else pool, k)


def choose_per_label(pool: Pool, objective: Objective, k: int) -> Chosen:
    """The same within each label, merged in turn.

    Every prefix has as many of each label as there are (water-filling).
    """
    assert pool.labels is not None
    # Positions of each label.
    groups = [np.flatnonzero(pool.labels == code) for code in np.unique(pool.labels)]
    # ∞: not chosen by its label.
    rank = np.full(len(pool), np.inf)
    values = np.full(len(pool), np.nan)
    what = ""
    for members in groups:
        part = _restricted(pool, members)
        chosen = choose(part, objective, k)
        # How many of the label come before it, those to begin with counted.
        rank[members[chosen.positions]] = len(part.start) + np.arange(len(chosen.positions))
        values[members[chosen.positions]] = chosen.values
        what = chosen.what
    # By turns: the first of every label, then the second of every label.
    order = np.lexsort((pool.labels, rank))
    order = order[np.isfinite(rank[order])][:k].astype(np.int64)
    return Chosen(order, values[order], what)


def _restricted(pool: Pool, at: np.ndarray) -> Pool:
    """The pool of some positions only, with neighbours among themselves."""
    neighbours, near = None, None
    if pool.neighbours is not None:
        # The cached graph leads to other labels, so neighbours are found anew.
        neighbours, near = nearest(pool.x[at], pool.neighbours.shape[1])
    is_start = np.zeros(len(pool), bool)
    is_start[pool.start] = True
    return replace(
        pool,
        x=pool.x[at],
        sha256=tuple(pool.sha256[i] for i in at.tolist()),
        labels=None,
        neighbours=neighbours,
        near=near,
        words=None if pool.words is None else pool.words[at],
        start=np.flatnonzero(is_start[at]).astype(np.int64),
        weights=None if pool.weights is None else pool.weights[at],
    )


def _product(scores: dict[str, Reals], objective: Objective) -> Reals:
    """Scores have scales of their own, so each is taken as its place among the others, in (0, 1], before its power."""
    product = np.ones(len(next(iter(scores.values()))) if scores else 0)
    for name, power in objective.powers:
        product = product * np.maximum(_places(scores[name]), _LEAST) ** power
    # A power of many places may leave the range of floats, and no weight may be 0.
    return np.asarray(np.clip(product, _FEWEST, 1 / _FEWEST))


def _places(values: Reals) -> Reals:
    """Mean rank over n, ties sharing theirs."""
    # Equal scores share the mean of their places.
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    upper = np.cumsum(counts)
    return np.asarray(((upper - counts) + (counts + 1) / 2)[inverse] / max(1, len(values)))


__all__ = ["Objective", "Selector", "choose", "choose_per_label", "parse_objective"]
