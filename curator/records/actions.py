"""What somebody did to an index."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """`text` says what was done, `who` from where ("cli", "web"); `is_undone` that it was taken back."""

    id: int
    at: str
    who: str
    text: str
    is_undone: bool
