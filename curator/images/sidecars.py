"""Labels, captions and further columns from what lies beside pictures.

Sources, later ones winning: the folder's name or the file's, side-cars (`picture.txt`, `.caption`, `.json`, `.xmp`,
with or without the picture's own extension before theirs), tables (`metadata.csv`, `.jsonl` and `.parquet` in Hugging
Face's imagefolder form, StyleGAN's `dataset.json`), and a table that a person names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curator.errors import UsageError
from curator.images.joining import FOREIGN, Match, Names
from curator.images.tables import (
    CAPTION,
    KEYS,
    LABEL,
    Remarks,
    Row,
    as_text,
    captions_of,
    read_object,
    read_table,
    read_text,
    read_xmp,
    scalars,
)
from curator.images.walk import METADATA
from curator.records import ImageFile, Notes
from curator.registry import suggest
from curator.texts import Scalar, is_finite, valid_text

_PATIENCE = 1.0  # seconds that a regular expression may take for one name


@dataclass(frozen=True)
class NoteSources:
    """Where notes come from besides side-cars.

    `label_from` is None, "folder" or a column; `label_from_name` a regular expression whose first group is the label.
    `table` is joined by the column `key`, or by one of the usual names; `encoding` is that of texts without a byte
    order mark. `must_join`: a table of which no row names a picture is an error.
    """

    label_from: str | None = None
    label_from_name: str | None = None
    table: Path | None = None
    key: str | None = None
    encoding: str | None = None
    must_join: bool = True


@dataclass(frozen=True)
class NotesRead:
    """What was read: path → notes, for every image of which anything is known, and remarks for the person."""

    notes: Mapping[str, Notes]
    remarks: tuple[str, ...]


@dataclass
class _Said:
    """What the sources say of one picture."""

    label: str | None = None
    captions: dict[str, None] = field(default_factory=dict)  # in order, each once
    extra: dict[str, Scalar] = field(default_factory=dict)
    cells: dict[str, str] = field(default_factory=dict)  # column → its text, as it is written

    def add(self, row: Row, remarks: Remarks, without: str | None = None) -> None:
        """A row's label, captions and further columns; later ones win, and captions add up."""
        row = {str(k): v for k, v in row.items() if k and k != without}
        usual = {k.strip().casefold(): k for k in row}
        label, caption = (_first(row, usual, names) for names in (LABEL, CAPTION))
        if label is not None and not is_finite(row[label]):
            remarks.not_numbers[label] += 1
        elif label is not None:
            self.label = as_text(row[label])
        if caption is not None:
            self.captions |= dict.fromkeys(captions_of(row[caption]))
        self.extra |= scalars({k: v for k, v in row.items() if k not in (label, caption)}, remarks)
        self.cells |= {k: valid_text(str(v)) for k, v in row.items() if v not in (None, "") and is_finite(v)}

    def notes(self, label: str | None, *, without: str | None) -> Notes:
        """Several captions stand on a line each."""
        captions = [" ".join(c.split()) for c in self.captions] if len(self.captions) > 1 else list(self.captions)
        extra = {k: v for k, v in self.extra.items() if k != without}
        return Notes(label, "\n".join(captions) or None, extra)


def notes_of_rows(rows: Iterable[Row], remarks: Remarks, *, without: str | None = None) -> Notes:
    """What one or several rows say of one picture; `without` is the column that names it."""
    said = _Said()
    for row in rows:
        said.add(row, remarks, without)
    return said.notes(said.label, without=without)


def _first(row: Row, usual: Mapping[str, str], names: Iterable[str]) -> str | None:
    """The first of these columns that says something."""
    return next((usual[n] for n in names if n in usual and row[usual[n]] not in (None, "", [])), None)


def read_notes(root: Path, images: Iterable[ImageFile], sidecars: Iterable[str], sources: NoteSources) -> NotesRead:
    """What lies beside the images of a root, and in the person's table.

    An unreadable side-car says nothing, stops nothing and is remarked on. Raises `UsageError` if the person's table
    cannot be joined, or the regular expression is none.
    """
    paths = [f.path for f in images]
    pattern = _NamePattern(sources.label_from_name) if sources.label_from_name else None
    beside = list(sidecars)
    # Without a source nothing is said of any path, of which there may be millions.
    reading = _Reading(root, paths if beside or sources.table is not None else [], sources)
    for sidecar in beside:
        reading.beside(sidecar)
    if sources.table is not None:
        reading.table(sources.table)
    said = reading.said
    column = sources.label_from if sources.label_from != "folder" else None
    if column and sources.must_join and not any(column in s.cells for s in said.values()):
        there = sorted({name for s in said.values() for name in s.cells})
        raise UsageError(f"no side-car has a column '{column}' to take labels from; {suggest(column, there)}")
    notes = {}
    for path in paths if sources.label_from == "folder" or pattern else said:
        one = said.get(path, _Said())
        label = one.cells.get(column) if column else one.label
        if sources.label_from == "folder":
            label = valid_text(path.rpartition("/")[0].rpartition("/")[2] or root.name)
        elif pattern:
            label = pattern.label_in(path.rpartition("/")[2]) or label
        notes[path] = one.notes(label, without=column)
    return NotesRead(notes, reading.finish())


class _NamePattern:
    """A person's regular expression whose first group, in a file's name, is the label."""

    def __init__(self, text: str) -> None:
        import regex  # it can be stopped; `re` may take for ever, as `(a+)+$` does

        try:
            self.compiled = regex.compile(text)
        except regex.error as error:
            raise UsageError(f"--label-from-name takes a regular expression, and {text!r} is none: {error}") from error
        if self.compiled.groups < 1:
            raise UsageError(
                f"--label-from-name needs a group for the label, as in '^([a-z]+)_', and {text!r} has none"
            )

    def label_in(self, name: str) -> str | None:
        try:
            match = self.compiled.search(name, timeout=_PATIENCE)
        except TimeoutError as error:
            raise UsageError(
                f"--label-from-name {self.compiled.pattern!r} takes more than {_PATIENCE:g} s for '{name}'; write it "
                "without a repetition inside a repetition"
            ) from error
        return valid_text(match[1] or "") or None if match else None


class _Reading:
    """Everything that is said of the pictures below a root, source by source."""

    def __init__(self, root: Path, paths: list[str], sources: NoteSources) -> None:
        self.root, self.paths, self.sources = root, set(paths), sources
        self.names = Names(root, paths)
        self.said: dict[str, _Said] = {}
        self.remarks = Remarks()
        self._silent: set[str] = set()  # pictures beside tables
        self._spoken_of: set[str] = set()
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
        return tuple(self.remarks.lines())

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

    def _of(self, path: str) -> _Said:
        return self.said.setdefault(path, _Said())


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
