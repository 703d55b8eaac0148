"""The folder of a run: written beside and replaced, JSON and safetensors only.

No torch here, so that listing is instant.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from curator.errors import UnknownName, UsageError
from curator.files import write_whole
from curator.registry import suggest
from curator.texts import to_json
from curator.training.options import Options
from curator.training.pictures import Shape
from curator.training.trainers import options_from

_HASH = re.compile(r"[0-9a-f]{64}")
_UNKNOWN = {"what": "", "digest": "", "column": "label", "space": ""}  # of a run of pictures that no index has
LATEST, BEST = "latest", "best"
ENDED = ("finished", "out of time", "stopped early")  # statuses of a run that ended well


def _is_count(value: Any) -> bool:
    return isinstance(value, int)


# What every line of a file says.
_KEYS: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "manifest.jsonl": {"id": _is_count, "sha256": lambda v: bool(_HASH.fullmatch(str(v)))},
    "metrics.jsonl": {"images_seen": _is_count},
    "stats.jsonl": {"images_seen": _is_count},
}

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """One training, in `folder`; nothing is kept in memory."""

    folder: Path

    @property
    def name(self) -> str:
        """As `00003-gan-shoes`."""
        return self.folder.name

    @property
    def trainer(self) -> str:
        """The word of its trainer."""
        return str(self.facts["options"]["trainer"])

    @property
    def options(self) -> Options:
        """What was asked for, all defaults filled in."""
        return options_from(self.facts["options"])

    @property
    def facts(self) -> dict[str, Any]:
        """`options.json`: options, versions, command, what it was trained on."""
        try:
            stored = {"trained_on": {}} | _object((self.folder / "options.json").read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.folder / 'options.json'} cannot be read ({error}), so this is no run") from error
        if not all(isinstance(stored.get(key), dict) for key in ("options", "images", "shape", "trained_on")):
            raise UsageError(f"{self.folder / 'options.json'} does not say what was trained, so this is no run")
        return stored | {"trained_on": _UNKNOWN | stored["trained_on"]}

    @property
    def is_readable(self) -> bool:
        """Whether its options are there, and whole."""
        try:
            return isinstance(self.facts["options"].get("trainer"), str)
        except UsageError:
            return False

    @property
    def shape(self) -> Shape:
        """What its networks were made for."""
        facts = self.facts["shape"]
        return Shape(**(facts | {"classes": tuple(facts["classes"])}))

    @property
    def state(self) -> dict[str, Any]:
        """`state.json`: status, images seen, checkpoints."""
        begun: dict[str, Any] = {"status": "started", "images_seen": 0}
        file = self.folder / "state.json"  # a crash may have come before it
        if not file.is_file():
            return begun
        state = _object(file.read_text(errors="replace"))
        is_whole = isinstance(state.get("status"), str) and isinstance(state.get("images_seen"), int)
        return state if is_whole else begun | {"status": "damaged"}

    def write_state(self, **changes: Any) -> None:
        """Change values of `state.json`, whole or not at all."""
        self.write_json("state.json", self.state | changes)

    def is_called(self, named: str) -> bool:
        """Whether this is its name or number."""
        return self.name == named or (named.isdigit() and int(named) == int(self.name[:5]))

    def write_json(self, name: str, value: Any) -> None:
        """Write a file of JSON, whole or not at all."""
        self.write_text(name, to_json(value, indent=1) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """An object of JSON; {} where there is none, or no whole one."""
        try:
            return _object((self.folder / name).read_text(errors="replace"))
        except OSError:
            return {}

    def write_text(self, name: str, text: str) -> None:
        """Write a file, whole or not at all."""
        write_whole(self.folder / name, text)

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Add one line of JSON."""
        with (self.folder / name).open("a") as opened:
            opened.write(to_json(row) + "\n")

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The lines of a file, but those that a crash or a bad disk left not whole; null was no number."""
        try:
            lines = (self.folder / name).read_text(errors="replace").splitlines()
        except OSError:
            return []
        rows = (_object(line) for line in lines)
        keys = _KEYS.get(name, {})
        whole = (row for row in rows if row and all(is_valid(row.get(k)) for k, is_valid in keys.items()))
        return [{k: math.nan if v is None else v for k, v in row.items()} for row in whole]

    def cut_logs(self, images_seen: int) -> None:
        """Drop lines about what comes after `images_seen`: a resumed run writes them again."""
        for name in ("stats.jsonl", "metrics.jsonl"):
            rows = [r for r in self.rows(name) if r["images_seen"] <= images_seen]
            self.write_text(name, "".join(to_json(r) + "\n" for r in rows))

    def begin_anew(self) -> None:
        """Forget the steps of a run that has no checkpoint."""
        self.cut_logs(-1)
        self.write_json("state.json", {"status": "started", "images_seen": 0})

    def checkpoints(self) -> list[int]:
        """Images seen at each complete checkpoint, ascending."""
        return sorted(int(p.name) for p in (self.folder / "checkpoints").glob("*") if p.name.isdigit())

    def checkpoint(self, named: str | int = BEST) -> int:
        """A checkpoint by its number, `best` or `latest`.

        Raises `UnknownName`, `UsageError` where there is none yet.
        """
        state, there = self.state, self.checkpoints()  # in this order: a new best one may be written meanwhile
        if not there:
            goes_on = f"`curator train {self.trainer} --resume {self.name}` goes on with it"
            raise UsageError(f"{self.name} has no checkpoint; {'train anew' if state['images_seen'] else goes_on}")
        if named == LATEST:
            return there[-1]
        if named == BEST:
            best = state.get("best")  # 0 before any was measured
            if best and best not in there:
                problem = f"the best checkpoint of {self.name}, at {best} images, is gone"
                raise UsageError(f"{problem}; --checkpoint {there[-1]} takes the latest")
            return int(best) if best in there else there[-1]
        if not str(named).isdigit() or int(named) not in there:
            raise UnknownName(
                f"{self.name} has no checkpoint '{named}'; {suggest(str(named), [LATEST, BEST, *map(str, there)])}"
            )
        return int(named)

    def place_of(self, images_seen: int) -> Path:
        """The folder of a checkpoint."""
        return self.folder / "checkpoints" / f"{images_seen:09d}"

    def save_checkpoint(self, images_seen: int, arrays: Arrays, facts: Mapping[str, Any]) -> None:
        """Arrays and JSON facts, whole or not at all. One that is there stays: state is a function of images seen."""
        place = self.place_of(images_seen)
        if place.is_dir():
            return
        beside = place.with_name(f".{place.name}.tmp")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            (beside / "state.safetensors").write_bytes(packed(arrays))
            (beside / "state.json").write_text(to_json(facts, indent=1) + "\n")
            for written in (beside / "state.safetensors", beside / "state.json"):
                with written.open("rb") as opened:
                    os.fsync(opened.fileno())
            os.replace(beside, place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def load_checkpoint(self, images_seen: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """What `save_checkpoint` wrote. Raises `UsageError` for one that is damaged."""
        place = self.place_of(images_seen)
        try:
            return load_file(place / "state.safetensors"), json.loads((place / "state.json").read_text())
        except Exception as error:  # safetensors raises errors of its own making
            raise UsageError(f"the checkpoint {place} cannot be read ({error})") from error

    def prune(self, keep: int, also: Iterable[int]) -> None:
        """Drop all checkpoints but the last `keep` and some."""
        self.drop(set(self.checkpoints()[:-keep]) - set(also))

    def drop(self, checkpoints: Iterable[int]) -> None:
        """Remove checkpoints."""
        for old in checkpoints:
            shutil.rmtree(self.place_of(old), ignore_errors=True)


def _object(text: str) -> dict[str, Any]:
    """A JSON object; {} for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def packed(arrays: Arrays, facts: Mapping[str, str] | None = None) -> bytes:
    """Arrays in the safetensors format.

    Written like any file, and not for its owner's eyes alone as its own `save_file` does.
    """
    return bytes(save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, dict(facts) if facts else None))
