"""The training runs of an index, as records that any face can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.index import Index
from curator.runs.lookup import home_of, status_of
from curator.training.folder import Run
from curator.training.numbered import runs_in


@dataclass(frozen=True)
class RunFacts:
    """A run in a line: how it stands, how far it came, what it was trained on, and its best checkpoint."""

    run: str
    status: str
    images_seen: int
    seconds: float
    trained_on: str
    best: int
    folder: str


@dataclass(frozen=True)
class RunDetails:
    """All that a run's folder says: `stored` with its options, state, `metrics` by checkpoint, files to look at."""

    facts: RunFacts
    stored: Mapping[str, Any]
    state: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    checkpoints: Sequence[int]
    look_at: Sequence[Path]


def list_runs(index: Index) -> list[RunFacts]:
    """All runs, oldest first."""
    return [run_facts(run) for run in runs_in(home_of(index))]


def run_facts(run: Run) -> RunFacts:
    """A run in a line."""
    state, what = run.state, str(run.facts["trained_on"]["what"])
    seconds, best = (v if isinstance(v := state.get(n), int | float) else 0 for n in ("seconds", "best"))  # or damaged
    return RunFacts(run.name, status_of(run), state["images_seen"], seconds, what, int(best), str(run.folder))


def run_details(run: Run) -> RunDetails:
    """All of a run."""
    samples = sorted((run.folder / "samples").glob("*.png"))
    looks = (run.folder / "curves.png", *samples[-1:], run.folder / "card.md")
    looks_there = [p for p in looks if p.is_file()]
    facts = run_facts(run)
    state = run.state | {"status": facts.status}
    return RunDetails(facts, run.facts, state, run.rows("metrics.jsonl"), run.checkpoints(), looks_there)
