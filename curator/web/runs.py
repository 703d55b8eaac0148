"""Runs on the page: curves and samples of each, starting and stopping, and what one makes beside real images."""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from curator.cleaning.decisions import judge_alone
from curator.database import Curation, Selections
from curator.database.curation import kept_ids, rejected_ids
from curator.errors import UnknownName, UsageError
from curator.evaluation.audit import audit
from curator.index import Index
from curator.index.images import have_content, vectors_of
from curator.job import Job
from curator.registry import suggest
from curator.runs.facts import list_runs, run_details
from curator.runs.lookup import generated_ids, home_of, makes_pictures, trained_digests
from curator.training.folder import Run
from curator.training.numbered import runs_in
from curator.training.trainers import TRAINERS
from curator.vectors import Neighbours
from curator.web.body import Body, ids_of, text_of
from curator.web.jobs import Tasks
from curator.web.selection import images_said

_POINTS = 400  # of a curve
_SPARK = 40
_WORD = re.compile(r"[\w.+-]{1,60}")
_AT_ONCE = 2  # trainings of one page
_LOG = 4_000  # bytes of a training's last words


def list_all(index: Index) -> dict[str, Any]:
    """All runs, newest first, each with a small curve of its main loss."""
    runs = []
    for facts in reversed(list_runs(index)):
        run = _run(index, facts.run)
        rows = run.rows("stats.jsonl")
        name = next((n for n in _numbers(rows) if n not in ("images_seen", "seconds")), "")
        seconds = max(facts.seconds, 1e-9)
        runs.append(
            asdict(facts) | {
                "trainer": run.trainer if run.is_readable else "", "curve": name,
                "spark": [r.get(name) for r in _thinned(rows, _SPARK)], "pace": facts.images_seen / seconds,
            }
        )  # fmt: skip
    return {"runs": runs, "trainers": {name: {"presets": sorted(t.options.presets())} for name, t in TRAINERS.items()}}


def describe_run(index: Index, name: str) -> dict[str, Any]:
    """One run: how it stands, its options, curves, measured checkpoints, and its samples' numbers."""
    run = _run(index, name)
    details = run_details(run)
    stats = run.rows("stats.jsonl")
    return asdict(details.facts) | {
        "trainer": run.trainer,
        "options": dict(details.stored.get("options", details.stored)),
        "stats": _columns(_thinned(stats, _POINTS)),
        "metrics": _columns(list(details.metrics)),
        "checkpoints": list(details.checkpoints),
        "samples": [p.name for p in _samples(run)],
        "makes_pictures": makes_pictures(run),
        "generated": _generated(index, run),
        "command": f"curator runs show {run.name}",
        "resume": f"curator train {run.trainer} --resume {run.name}",
    }


def sample(index: Index, name: str, number: int) -> bytes:
    """The picture of a run's samples with this number. Raises `UnknownName`."""
    files = _samples(_run(index, name))
    if not 0 <= number < len(files):
        raise UnknownName(f"{name} has {len(files)} sheets of samples, numbered from 0")
    return files[number].read_bytes()


def lens(index: Index, name: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """What a run made, each beside the training image nearest to it, by `sort`: ratio, realism, or id.

    Raises `UsageError` where nothing of the run is in the index.
    """
    run = _run(index, name)
    ids = generated_ids(index, run).tolist()
    columns = set(index.reader.columns())
    names = [n for n in ("audit", "audit_nearest", "audit_ratio", "realism") if n in columns]
    value_of = {n: index.reader.values_of(n) for n in names}
    rejected, staying = rejected_ids(Curation(index.reader)), kept_ids(Curation(index.reader))
    rows = [
        {"id": i, "rejected": i in rejected, "kept": i in staying} | {n: value_of[n].get(i) for n in names} for i in ids
    ]
    if "audit_nearest" not in names or any(r["audit_nearest"] is None for r in rows):
        for row, nearest in zip(rows, _nearest_trained(index, run, ids), strict=True):
            row.setdefault("audit_nearest", None)
            row["audit_nearest"] = row["audit_nearest"] or nearest
    order = parameters.get("sort", "audit_ratio")
    if order in names:
        rows.sort(key=lambda r: (r.get(order) is None, -(r[order] or 0) if order == "realism" else r.get(order) or 0))
    return {
        "run": run.name, "images": rows, "audit": run.read_json("audit.json") or None, "columns": names,
        "command": f"curator audit {run.name}",
    }  # fmt: skip


def _nearest_trained(index: Index, run: Run, made_ids: Sequence[int]) -> list[int | None]:
    """For each image the training image nearest by vector, of those that are still there; None where none is."""
    there = Curation(index.reader).nodes(index.space).image_ids
    trained = there[have_content(index, there, trained_digests(run))]
    if not len(trained):
        return [None] * len(made_ids)
    near = Neighbours(vectors_of(index, trained)).nearest_to(vectors_of(index, np.array(made_ids, np.int64)), 1)
    return [int(trained[position]) for position in near[:, 0]]


def judge_made(index: Index, body: Body) -> Any:
    """Keep or reject generated images, or forget what was said."""
    judge_alone(index, text_of(body, "verdict"), ids_of(body, "ids"))
    return {}


def start_audit(index: Index, tasks: Tasks, body: Body) -> Any:
    """Audit what a run made, in the background; `reference` names real images that it never saw."""
    run, reference = _run(index, text_of(body, "run")), images_said(index, text_of(body, "reference") or None)

    def look(job: Job) -> int:
        return len(audit(index, run, reference=reference, job=job).findings)

    return tasks.start(f"audit {run.name}", f"auditing {run.name}", look).describe()


@dataclass
class Begun:
    """One training that the page began: its process, its command, and where its words go."""

    process: subprocess.Popen[bytes]
    command: str
    log: IO[bytes]


class Trainings:
    """Trainings begun by the page. They are processes of their own, and go on when the page is closed."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._lock = threading.Lock()
        self._all: list[Begun] = []

    def start(self, body: Body) -> Any:
        """Begin one: a trainer, a selection, a preset, side and minutes. Raises `UsageError`."""
        words = self._words(body)
        with self._lock:
            if sum(t.process.poll() is None for t in self._all) >= _AT_ONCE:
                raise UsageError(f"{_AT_ONCE} trainings of this page are going on; stop one, or start it in a terminal")
        # Its output goes to a file without a name, which is gone with the page.
        log = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as the process
        full = [sys.executable, "-m", "curator", *words, "-i", str(self.index.folder)]
        process = subprocess.Popen(
            full, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        with self._lock:
            self._all.append(Begun(process, shlex.join(["curator", *words]), log))
        return self.describe({})

    def describe(self, _: Mapping[str, str]) -> Any:
        """All that were begun, newest first, with their last words."""
        with self._lock:
            return [
                {
                    "pid": t.process.pid, "command": t.command, "ended": t.process.poll(), "words": _last_words(t.log),
                    "run": _run_in(_first_words(t.log)),
                }
                for t in reversed(self._all)
            ]  # fmt: skip

    def stop(self, body: Body) -> Any:
        """Ask one to save and stop, as Ctrl-C does."""
        with self._lock:
            for t in self._all:
                if t.process.pid == body.get("pid") and t.process.poll() is None:
                    t.process.send_signal(signal.SIGINT)
        return self.describe({})

    def close(self) -> None:
        """Let go of their output; they go on."""
        with self._lock:
            for t in self._all:
                t.log.close()

    def _words(self, body: Body) -> list[str]:
        trainer, selection = text_of(body, "trainer"), text_of(body, "selection")
        if trainer not in TRAINERS:
            raise UsageError(f"no trainer '{trainer[:40]}'; there are: {', '.join(TRAINERS)}")
        words = ["train", trainer]
        if selection:
            Selections(self.index.reader).get(selection)
            words += ["--selection", selection]
        for option in ("preset", "name", "condition"):
            value = text_of(body, option)
            if value and not _WORD.fullmatch(value):
                raise UsageError(f"--{option} is one word, not {value[:40]!r}")
            words += [f"--{option}", value] if value else []
        for option, kind in (("side", int), ("max_minutes", float)):
            if body.get(option):
                words += [f"--{option.replace('_', '-')}", str(_positive(body[option], option, kind))]
        return words


def _positive(value: Any, option: str, kind: type[int] | type[float]) -> float:
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"--{option} is a number, not {str(value)[:40]!r}") from error
    if not 0 < number < 1e6:
        raise UsageError(f"--{option} is a number above 0, not {number}")
    return number


def _last_words(log: IO[bytes]) -> str:
    """Read beside the training's own place in the file, which it writes at."""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), _LOG, max(0, size - _LOG)).decode(errors="replace")


def _first_words(log: IO[bytes]) -> str:
    return os.pread(log.fileno(), _LOG, 0).decode(errors="replace")


def _run_in(text: str) -> str | None:
    match = re.search(r"^Run (\S+):", text, re.MULTILINE)
    return match[1] if match else None


def _generated(index: Index, run: Run) -> int:
    try:
        return len(generated_ids(index, run))
    except UsageError:
        return 0


def _samples(run: Run) -> list[Path]:
    return sorted(p for p in (run.folder / "samples").glob("*.png") if p.is_file() and not p.is_symlink())


def _run(index: Index, name: str) -> Run:
    """A run of this index by its name alone: never by a path. Raises `UnknownName`."""
    runs = runs_in(home_of(index))
    run = next((r for r in runs if r.name == name), None)
    if run is None:
        raise UnknownName(f"no run '{name[:80]}'; {suggest(name[:80], [r.name for r in runs])}")
    return run


def _numbers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name for name, value in (rows[0] if rows else {}).items() if isinstance(value, int | float)]


def _thinned(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    every = math.ceil(len(rows) / most) or 1
    return [*rows[::every], *(rows[-1:] if len(rows) % every != 1 and every > 1 else [])]


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
