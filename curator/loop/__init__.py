"""`curator loop`: train, generate, audit, admit, and again, for as long as held-out images say that it helps."""

from curator.loop.records import Looped, LoopOptions, Round
from curator.loop.rounds import loop

__all__ = ["LoopOptions", "Looped", "Round", "loop"]
