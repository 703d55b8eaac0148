"""What an address of the page says: parameters → a question, and what the command line would call it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from curator.database import all_of
from curator.errors import UsageError

Parameters = Mapping[str, str]
MOST_IDS = 200  # facts or thumbnails of so many images at a time
MOST_HITS = 10_000
_SPELT = 50  # ids that are spelt out in a command


@dataclass(frozen=True)
class Place:
    """One list: query words, marks that stand for a query, a condition, an order, and limits on scores."""

    query: str = ""
    where: str = ""
    like: tuple[int, ...] = ()
    unlike: tuple[int, ...] = ()
    sort: str = ""
    seed: int = 0
    min_score: float | None = None
    min_confidence: float | None = None
    fold: bool = False
    chosen: tuple[int, ...] = ()

    @classmethod
    def of(cls, parameters: Parameters, choice: Callable[[str], tuple[int, ...]] | None = None) -> Place:
        """`choice` is told the name of a choice, and gives its ids. Raises `UsageError` for what is no number."""
        chosen = parameters.get("chosen", "")
        return cls(
            query=parameters.get("q", "").strip(),
            where=parameters.get("where", "").strip(),
            like=ids_in(parameters.get("like", "")),
            unlike=ids_in(parameters.get("unlike", "")),
            sort=parameters.get("sort", ""),
            seed=_whole(parameters.get("seed", "0"), "seed"),
            min_score=_number(parameters.get("min_score"), "min_score"),
            min_confidence=_number(parameters.get("min_confidence"), "min_confidence"),
            fold=parameters.get("fold", "") == "1",
            # Ids, or the name of more of them than stand in an address: of sixteen hexadecimal digits.
            chosen=choice(chosen) if choice is not None and "," not in chosen and len(chosen) == 16 else ids_in(chosen),
        )

    @property
    def is_search(self) -> bool:
        """Whether there are scores: of a query, or of two marks and more."""
        return bool(self.query) or self.is_marked

    @property
    def is_marked(self) -> bool:
        """Whether marks rank the list."""
        return bool(self.like) and len(self.like) + len(self.unlike) > 1

    @property
    def condition(self) -> str | None:
        """All limits on metadata as one SQL condition. Raises `WhereError` for unbalanced parentheses."""
        parts = [self.where] if self.where else []
        parts += ["duplicate_of IS NULL"] if self.fold else []
        parts += [f"id IN ({', '.join(map(str, self.chosen))})"] if self.chosen else []
        return all_of(*parts) if parts else None

    def command(self, *, of_service: bool = False) -> str:
        """The command that prints the same; marks are a concept first. A service takes searches alone."""
        if of_service and not self.is_search:
            return shlex.join(["curator", "search", "WORDS", *(["--where", self.condition] if self.condition else [])])
        if len(self.chosen) > _SPELT:  # too long to read; the same as a selection is short
            return f'curator select NAME --where "id IN (… {len(self.chosen):,} ids …)"'
        if not self.is_search:
            return shlex.join(["curator", "select", "NAME", *(["--where", self.condition] if self.condition else [])])
        terms = [self.query] if self.query else []
        terms += ["concept:NAME"] if self.is_marked else []
        words = ["curator", "search", " + ".join(terms)]
        options = {"--where": self.condition, "--min-score": self.min_score, "--min-confidence": self.min_confidence}
        for option, value in options.items():
            words += [option, str(value)] if value is not None else []
        return shlex.join(words)


def ids_in(text: str) -> tuple[int, ...]:
    """Ids by commas, each once. Raises `UsageError`."""
    try:
        ids = tuple(dict.fromkeys(int(part) for part in text.split(",") if part))
    except ValueError as error:
        raise UsageError(f"ids are whole numbers, by commas, and not {text[:60]!r}") from error
    if any(not 0 <= i < 2**63 for i in ids):
        raise UsageError("an id is a number from 0")
    return ids


def few_ids(text: str) -> tuple[int, ...]:
    """The same, of as many as are shown at once."""
    ids = ids_in(text)
    if len(ids) > MOST_IDS:
        raise UsageError(f"at most {MOST_IDS} ids at a time, not {len(ids)}")
    return ids


def _number(text: str | None, name: str) -> float | None:
    if text is None or not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise UsageError(f"{name} is a number, not {text[:60]!r}") from error
    if not abs(value) <= 1e6:
        raise UsageError(f"{name} is a number, not {text[:60]!r}")
    return value


def _whole(text: str, name: str) -> int:
    try:
        value = int(text)
    except ValueError as error:
        raise UsageError(f"{name} is a whole number, not {text[:60]!r}") from error
    if not 0 <= value < 2**31:
        raise UsageError(f"{name} is a number from 0")
    return value
