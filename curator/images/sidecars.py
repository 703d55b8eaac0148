"""Labels, captions and further columns from what lies beside pictures.

Sources, later ones winning: the folder's name, `picture.txt` and `picture.json` (img2dataset writes these), a
`metadata.csv` or `metadata.jsonl` in Hugging Face's imagefolder form, and a CSV the user names.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.errors import UsageError
from curator.images.walk import METADATA
from curator.records import ImageFile, Notes
from curator.registry import suggest

logger = logging.getLogger("curator")

_LABEL = ("label", "class", "category")
_CAPTION = ("caption", "text", "prompt")
_FILE = ("file_name", "file", "filename", "path", "image")
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class NoteSources:
    """Where notes come from besides side-cars.

    `label_from` is None, "folder" or a column; `table` a CSV to join by file. `must_join`: a table of which no row
    names a picture is an error.
    """

    label_from: str | None = None
    table: Path | None = None
    must_join: bool = True


def read_notes(
    root: Path, images: Iterable[ImageFile], sidecars: Iterable[str], sources: NoteSources
) -> dict[str, Notes]:
    """→ path → `Notes`, for every image of which anything is known.

    Raises `UsageError` if the named CSV cannot be joined; an unreadable side-car says nothing and stops nothing.
    """
    paths = {f.path for f in images}
    columns: dict[str, dict[str, Scalar]] = {}
    by_stem = {path.rpartition(".")[0]: path for path in sorted(paths)}
    for sidecar in sidecars:
        folder, _, name = sidecar.rpartition("/")
        if name in METADATA:
            _join(columns, paths, folder, _rows(root / sidecar))
        elif (picture := by_stem.get(sidecar.rpartition(".")[0])) is not None:
            columns.setdefault(picture, {}).update(_beside(root / sidecar))
    if sources.table is not None and _join(columns, paths, "", _named_rows(sources.table)) == 0 and sources.must_join:
        raise UsageError(f"{sources.table}: no row names a picture below {root}; one column of {', '.join(_FILE)} must")
    if (
        sources.label_from not in (None, "folder")
        and sources.must_join
        and not any(sources.label_from in c for c in columns.values())
    ):
        there = sorted({name for c in columns.values() for name in c})
        raise UsageError(
            f"no side-car has a column '{sources.label_from}' to take labels from; "
            f"{suggest(str(sources.label_from), there)}"
        )
    noted = paths if sources.label_from == "folder" else columns.keys()
    return {path: _notes(path, columns.get(path, {}), sources.label_from, root) for path in noted}


def _join(
    columns: dict[str, dict[str, Scalar]], paths: set[str], folder: str, rows: Iterable[Mapping[str, Any]]
) -> int:
    """Add each row to the picture it names, by path below `folder`, else by a file name that stands once."""
    names: dict[str, list[str]] = {}
    joined = 0
    for row in rows:
        key = next((k for k in _FILE if row.get(k)), None)
        if key is None:
            continue
        file_name = str(row[key]).replace("\\", "/")
        path = f"{folder}/{file_name}" if folder else file_name
        if path not in paths and not folder:
            names = names or _by_name(paths)
            alike = names.get(file_name.rpartition("/")[2], [])
            path = alike[0] if len(alike) == 1 else path
        if path in paths:
            columns.setdefault(path, {}).update({k: v for k, v in _scalars(row).items() if k != key})
            joined += 1
    return joined


def _by_name(paths: Iterable[str]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for path in paths:
        names.setdefault(path.rpartition("/")[2], []).append(path)
    return names


def _notes(path: str, columns: Mapping[str, Scalar], label_from: str | None, root: Path) -> Notes:
    extra = dict(columns)
    label, caption = _take(extra, _LABEL), _take(extra, _CAPTION)
    if label_from == "folder":
        label = path.rpartition("/")[0].rpartition("/")[2] or root.name
    elif label_from:
        value = columns.get(label_from)
        label = None if value is None else str(value)
        extra.pop(label_from, None)
    return Notes(label, caption, extra)


def _take(extra: dict[str, Scalar], names: tuple[str, ...]) -> str | None:
    for name in names:
        if extra.get(name) not in (None, ""):
            return str(extra.pop(name))
    return None


def _beside(path: Path) -> dict[str, Scalar]:
    text = _read(path)
    if path.suffix.lower() == ".txt":
        return {"caption": text.strip()} if text.strip() else {}
    if path.suffix.lower() == ".json":
        return _scalars(_object(text))
    return {}


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".jsonl":
        yield from (_object(line) for line in _read(path).split("\n") if line.strip())
        return
    try:
        yield from csv.DictReader(io.StringIO(_read(path), newline=""))
    except csv.Error as error:
        logger.warning("%s: %s; the rest of it is not read", path, error)


def _named_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if not path.is_file():
        raise UsageError(
            f"no file {path}; --csv takes a CSV or JSONL with one row per picture, and --csv '' forgets the last one"
        )
    return _rows(path)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig", errors="replace")
    except OSError:
        return ""


def _object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _scalars(row: Mapping[str, Any]) -> dict[str, Scalar]:
    """Keep what a column can hold; numbers in CSV text become numbers, so that `price > 10` compares as one expects."""
    scalars = {str(k): _number(v) if isinstance(v, str) else v for k, v in row.items() if k}
    return {k: v for k, v in scalars.items() if isinstance(v, str | int | float | bool) and v != ""}


def _number(text: str) -> Scalar:
    plain = text.strip()
    if not plain or plain[0] not in "-.0123456789" or (len(plain) > 1 and plain[0] == "0" and plain[1].isdigit()):
        return text  # leading zeros are an identifier, not a number
    try:
        return int(plain)
    except ValueError:
        pass
    try:
        return float(plain)
    except ValueError:
        return text
