"""What a folder of generated pictures says of each: a line of its manifest, written before the picture."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curator.errors import UsageError
from curator.files import FULL, write_whole
from curator.images import walk
from curator.texts import to_json

_MANIFEST = "manifest.jsonl"


def refuse_strangers(target: Path) -> None:
    """Raise `UsageError` for a folder with pictures that were not generated: they would be indexed as if they were."""
    if not target.is_dir():
        return
    ours = _manifest_of(target)
    if any(f.path not in ours for f in walk(target).images):
        raise UsageError(f"{target} holds files that `curator generate` did not make; name a new folder with -o")


def merge_manifest(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add lines to the manifest of a folder, which is made for it; a picture that is made again replaces its own.

    Raises `UsageError` where it cannot be written, and leaves no empty folder.
    """
    merged = _manifest_of(folder) | {str(r["file_name"]): r for r in rows}
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / _MANIFEST, "".join(to_json(r) + "\n" for _, r in sorted(merged.items())))
    except OSError as error:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        way_out = "make room" if error.errno in FULL else "name another folder with -o"
        raise UsageError(f"cannot write into {folder}: {error.strerror}; {way_out}") from error


def _manifest_of(folder: Path) -> dict[str, Mapping[str, Any]]:
    """File → its line in a folder's manifest. Raises `UsageError` for one that `curator generate` did not write."""
    file = folder / _MANIFEST
    try:
        rows = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
        return {str(r["file_name"]): r for r in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{file} is not as `curator generate` wrote it ({error})"
        raise UsageError(f"{problem}; name a new folder with -o") from error
