"""Labels, captions and further columns from what lies beside pictures.

Sources, later ones winning: the folder's name or the file's, side-cars (`picture.txt`, `.caption`, `.json`, `.xmp`,
with or without the picture's own extension before theirs), tables (`metadata.csv`, `.jsonl` and `.parquet` in Hugging
Face's imagefolder form, StyleGAN's `dataset.json`), and a table that a person names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.errors import UsageError
from curator.images.joining import FOREIGN, Match, Names
from curator.images.spoken import NamePattern, NoteSources, Said, Spoken
from curator.images.tables import (
    CAPTION,
    KEYS,
    Remarks,
    Row,
    read_object,
    read_table,
    read_text,
    read_xmp,
)
from curator.images.walk import METADATA
from curator.records import ImageFile, Notes
from curator.registry import suggest
from curator.texts import valid_text

_TABLES = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class NotesRead:
    """What was read: path → notes, for every image of which anything is known, and remarks for the person."""

    notes: Mapping[str, Notes]
    remarks: tuple[str, ...]


def read_notes(root: Path, images: Iterable[ImageFile], sidecars: Iterable[str], sources: NoteSources) -> NotesRead:
    """What lies beside the images of a root, and in the person's table.

    An unreadable side-car says nothing, stops nothing and is remarked on. Raises `UsageError` if the person's table
    cannot be joined, or the regular expression is none.
    """
    pattern = NamePattern(sources.label_from_name) if sources.label_from_name else None
    labels = {f.path: pattern.label_in(f.path) for f in images} if pattern else {}
    silent = ""
    if labels and sources.must_join and not any(labels.values()):
        silent = (
            f"--label-from-name {sources.label_from_name!r} finds a label in none of {len(labels):,} names, such as "
            f"{min(labels).rpartition('/')[2]!r}; its first group is the label, as in '^([a-z]+)_'"
        )
        if sources.is_new_pattern:
            raise UsageError(silent)
    beside = list(sidecars)
    # Without a source nothing is said of any path, of which there may be millions.
    reading = _Reading(root, [f.path for f in images] if beside or sources.table is not None else [], sources)
    for sidecar in beside:
        reading.beside(sidecar)
    if sources.table is not None:
        reading.table(sources.table)
    said = reading.said
    column = sources.column
    if column and sources.must_join and not any(column in s.cells for s in said.values()):
        there = sorted({name for s in said.values() for name in s.cells})
        raise UsageError(f"no side-car has a column '{column}' to take labels from; {suggest(column, there)}")
    return NotesRead(Spoken(root, images, said, sources, labels), (*([silent] if silent else []), *reading.finish()))


class _Reading:
    """Everything that is said of the pictures below a root, source by source."""

    def __init__(self, root: Path, paths: list[str], sources: NoteSources) -> None:
        self.root, self.paths, self.sources = root, set(paths), sources
        self.names = Names(root, paths)
        self.said: dict[str, Said] = {}
        self.remarks = Remarks()
        self._silent: set[str] = set()  # pictures beside tables
        self._spoken_of: set[str] = set()
        self._unasked: list[str] = []  # tables that nobody named
        self._by_stem: dict[str, list[str]] = {}
        for path in sorted(paths):
            self._by_stem.setdefault(path.rpartition(".")[0], []).append(path)

    def beside(self, sidecar: str) -> None:
        """A side-car of one picture, or a folder's table."""
        folder, _, name = sidecar.rpartition("/")
        if name in METADATA:
            joined = self._join(read_table(self.root / sidecar, self.sources.encoding, self.remarks), folder)
            if joined:
                below = f"{folder}/" if folder else ""
                self._silent |= {p for p in self.paths if p.startswith(below)}
                self._spoken_of |= joined
            return
        stem = sidecar.rpartition(".")[0]
        pictures = [stem] if stem in self.paths else self._by_stem.get(stem, ())
        if not pictures and name.lower().endswith(_TABLES):
            self._unasked.append(sidecar)
        if pictures:
            row = self._row(self.root / sidecar)
            for path in pictures:
                self._of(path).add(row, self.remarks)

    def _row(self, path: Path) -> Row:
        suffix = path.suffix.lower()
        if suffix == ".xmp":
            return read_xmp(path, self.remarks)
        text = read_text(path, self.sources.encoding, self.remarks)
        if suffix == ".json":
            return read_object(text, path, self.remarks) if text else {}
        return {"caption": text.strip()} if suffix in (".txt", ".caption") else {}

    def table(self, table: Path) -> None:
        """The table that a person named."""
        if not table.is_file():
            what = f"{table} is no file" if table.exists() else f"no file {table}"
            raise UsageError(f"{what}; --csv takes a table with one row per picture, and --csv '' forgets the last one")
        joined = self._join(read_table(table, self.sources.encoding, self.remarks), "", self.sources.key)
        if str(table) in self.remarks.unread:
            raise UsageError(f"{table} is not UTF-8; --encoding says what it is, as in --encoding cp1252")
        if not joined and self.sources.must_join:
            raise UsageError(
                f"{table}: no row names a picture below {self.root}; one column of {', '.join(KEYS[:6])} … must, or "
                "--key COLUMN says which"
            )
        self._silent |= self.paths
        self._spoken_of |= joined

    def finish(self) -> tuple[str, ...]:
        """The remarks, with the pictures of which no table beside them speaks."""
        silent = self._silent - self._spoken_of
        if self.sources.must_join and silent:
            self.remarks.unnamed, self.remarks.example = len(silent), min(silent)
        unasked: tuple[str, ...] = ()
        if self._unasked and self.sources.table is None and self.sources.must_join:
            first = self.root / min(self._unasked)
            more = f" and {len(self._unasked) - 1} more" if len(self._unasked) > 1 else ""
            unasked = (f"a table that is not read, as --csv names none: {first}{more}",)
        return (*unasked, *self.remarks.lines())

    def _join(self, rows: Iterable[Row], folder: str, key: str | None = None) -> set[str]:
        """Add each row to the picture that it names → the pictures.

        Of several rows for one picture the best named ones count. Rows that name it as another machine would count only
        where all of them write the same name.
        """
        claims: dict[str, list[tuple[int, str, str, Row]]] = {}
        for row in rows:
            for column in _key_columns(row, key):
                name = str(row[column])
                match = self.names.find(name, folder)
                if len(match.paths) == 1:
                    claims.setdefault(match.paths[0], []).append((match.rank, name, column, row))
                else:
                    self._remark(name, match)
        for path, claimed in claims.items():
            best = min(rank for rank, *_ in claimed)
            names = {name for rank, name, *_ in claimed if rank == best}
            if best == FOREIGN and len(names) > 1:
                self.remarks.strangers += sorted(names)
                continue
            self.remarks.strangers += [name for rank, name, *_ in claimed if rank > best]
            said: dict[str, Any] = {}
            for rank, name, column, row in claimed:
                if rank == best:
                    self._of(path).add(row, self.remarks, without=column)
                    self.remarks.conflicts += [name] if _contradicts(row, said) else []
                    said |= {k: v for k, v in row.items() if v not in (None, "")}
        return {path for path in claims if path in self.said}

    def _remark(self, name: str, match: Match) -> None:
        (self.remarks.ambiguous if match.paths else self.remarks.strangers).append(valid_text(name))

    def _of(self, path: str) -> Said:
        return self.said.setdefault(path, Said())


def _contradicts(row: Row, said: Mapping[str, Any]) -> bool:
    """Whether a row gives a column another value than one before it; captions add up instead."""
    return any(
        v not in (None, "") and k in said and said[k] != v and str(k).strip().casefold() not in CAPTION
        for k, v in row.items()
    )


def _key_columns(row: Row, key: str | None) -> list[str]:
    """The column that names the picture; or, as Hugging Face has it, every `…_file_name`."""
    usual: dict[str, Any] = {str(k).strip().casefold(): k for k in row if k}
    if key is not None:
        wanted = usual.get(key.casefold())
        return [wanted] if wanted is not None and row[wanted] else []
    column = next((usual[k] for k in KEYS if k in usual and row[usual[k]]), None)
    if column is not None:
        return [column]
    return [k for low, k in usual.items() if low.endswith("_file_name") and row[k]]
