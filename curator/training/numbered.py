"""The runs below a folder, numbered: begun, listed, found by name.

No torch here, so that listing is instant.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from curator.errors import UnknownName, UsageError
from curator.registry import suggest
from curator.texts import to_json
from curator.training.folder import LATEST, Run
from curator.training.options import Options
from curator.training.pictures import Pictures, held_out

_NUMBERED = re.compile(r"(\d{5})-([a-z][a-z0-9]*)(?:-(.+))?")
_LIBRARIES = ("image-curator", "numpy", "torch", "safetensors")


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
