"""The folder of a run: numbered, written beside and replaced, JSON and safetensors only.

No torch here, so that listing is instant.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from curator.errors import UnknownName, UsageError
from curator.files import write_whole
from curator.registry import suggest
from curator.texts import to_json
from curator.training.options import Options
from curator.training.pictures import Pictures, Shape, held_out
from curator.training.trainers import options_from

_NUMBERED = re.compile(r"(\d{5})-([a-z][a-z0-9]*)(?:-(.+))?")
_LIBRARIES = ("image-curator", "numpy", "torch", "safetensors")
LATEST, BEST = "latest", "best"
ENDED = ("finished", "out of time", "stopped early")  # statuses of a run that ended well

# What every line of a file says.
_KEYS: Mapping[str, Mapping[str, type]] = {
    "manifest.jsonl": {"id": int, "sha256": str},
    "metrics.jsonl": {"images_seen": int},
    "stats.jsonl": {"images_seen": int},
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
        return stored

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
        whole = (row for row in rows if row and all(isinstance(row.get(k), kind) for k, kind in keys.items()))
        return [{k: math.nan if v is None else v for k, v in row.items()} for row in whole]

    def cut_rows(self, name: str, images_seen: int) -> None:
        """Drop lines about what comes after `images_seen`: a resumed run writes them again."""
        rows = [r for r in self.rows(name) if r["images_seen"] <= images_seen]
        self.write_text(name, "".join(to_json(r) + "\n" for r in rows))

    def checkpoints(self) -> list[int]:
        """Images seen at each complete checkpoint, ascending."""
        return sorted(int(p.name) for p in (self.folder / "checkpoints").glob("*") if p.name.isdigit())

    def checkpoint(self, named: str | int = BEST) -> int:
        """A checkpoint by its number, `best` or `latest`.

        Raises `UnknownName`, `UsageError` where there is none yet.
        """
        there = self.checkpoints()
        if not there:
            way = f"`curator train {self.trainer} --resume {self.name}` goes on with it"
            raise UsageError(f"{self.name} has no checkpoint yet; {way}")
        if named == LATEST:
            return there[-1]
        if named == BEST:
            best = self.state.get("best")  # 0 before any was measured
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


def start_run(
    home: Path, options: Options, pictures: Pictures, facts: Mapping[str, Any] = MappingProxyType({}), *, name: str = ""
) -> Run:
    """Make the next numbered folder below `home`, with options and manifest in it before the first step.

    Raises `UsageError`, without a folder, where all pictures would be held out.
    """
    held = int(held_out(pictures.sha256, options.holdout).sum())
    if held == len(pictures):
        raise UsageError(
            f"no image is left to train on: {len(pictures)} were given, and --holdout {options.holdout:g} takes all"
        )
    home.mkdir(parents=True, exist_ok=True)
    number = max((n for n, _ in _numbered(home)), default=0)
    while True:  # another process may take a number meanwhile
        number += 1
        run = Run(home / "-".join(p for p in (f"{number:05d}", options.trainer, name) if p))
        try:
            run.folder.mkdir()
            break
        except FileExistsError:
            continue
    versions = {library: version(library) for library in _LIBRARIES} | {"python": platform.python_version()}
    with (run.folder / "manifest.jsonl").open("w") as opened:
        for n, (image_id, digest, label) in enumerate(
            zip(pictures.ids.tolist(), pictures.sha256, pictures.labels.tolist(), strict=True)
        ):
            known: dict[str, Any] = {"label": pictures.classes[label]} if label >= 0 and pictures.classes else {}
            if pictures.inputs is not None:
                known |= {"input": int(pictures.inputs[n]), "input_sha256": pictures.input_sha256[n].hex()}
            opened.write(to_json({"id": image_id, "sha256": digest.hex()} | known) + "\n")
    counts = {"trained": len(pictures) - held, "held_out": held}
    run.write_state(status="started", images_seen=0)
    described = {"options": options.as_json(), "versions": versions, "shape": asdict(pictures.shape), "images": counts}
    run.write_json("options.json", described | dict(facts))
    return run


def runs_in(home: Path) -> list[Run]:
    """All runs below a folder, oldest first; one whose options cannot be read is left out, and keeps no other."""
    return [run for _, run in sorted(_numbered(home), key=lambda n: n[0]) if run.is_readable]


def packed(arrays: Arrays, facts: Mapping[str, str] | None = None) -> bytes:
    """Arrays in the safetensors format.

    Written like any file, and not for its owner's eyes alone as its own `save_file` does.
    """
    return bytes(save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, dict(facts) if facts else None))


def find_run(home: Path, named: str, *, trainer: str | None = None) -> Run:
    """A run by name, number, `latest` (of a trainer), or the path of its folder. Raises `UnknownName`."""
    run_given = Run(Path(named).absolute())
    if (run_given.folder / "options.json").is_file():
        if trainer not in (None, run_given.trainer):
            raise UnknownName(f"{named} trained a {run_given.trainer}, and no {trainer}")
        return run_given
    there = [r for r in runs_in(home) if trainer is None or r.trainer == trainer]
    if named == LATEST and there:
        return there[-1]
    for run in there:
        if run.is_called(named):
            return run
    what = f"{trainer} run" if trainer else "run"
    if named == LATEST:
        raise UnknownName(f"no {what} yet; `curator train {trainer or 'vae'}` makes one")
    raise UnknownName(f"no {what} '{named}'; {suggest(named, [r.name for r in there])}")


def _numbered(home: Path) -> Iterator[tuple[int, Run]]:
    for folder in home.glob("*") if home.is_dir() else ():
        if match := _NUMBERED.fullmatch(folder.name):
            yield int(match[1]), Run(folder)
