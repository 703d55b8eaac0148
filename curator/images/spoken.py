"""What is said of pictures by what lies beside them, put together: label, captions, further columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curator.errors import UsageError
from curator.images.tables import CAPTION, LABEL, Remarks, Row, as_text, captions_of, scalars
from curator.records import ImageFile, Notes
from curator.texts import Scalar, is_finite, valid_text

_PATIENCE = 1.0  # seconds that a regular expression may take for one name


@dataclass(frozen=True)
class NoteSources:
    """Where notes come from besides side-cars.

    `label_from` is None, "folder" or a column; `label_from_name` a regular expression whose first group is the label.
    `table` is joined by the column `key`, or by one of the usual names; `encoding` is that of texts without a byte
    order mark. `must_join`: a table of which no row names a picture is an error, and so is
    a regular expression that finds no label, where it is new and not a root's stored one (`is_new_pattern`).
    """

    label_from: str | None = None
    label_from_name: str | None = None
    table: Path | None = None
    key: str | None = None
    encoding: str | None = None
    must_join: bool = True
    is_new_pattern: bool = True

    @property
    def column(self) -> str | None:
        """The column that labels come from, if it is one."""
        return self.label_from if self.label_from != "folder" else None


@dataclass
class Said:
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
        lone = {c for c in self.captions if "\n" not in c}
        # Those of a list, and the same as one text of several lines, as an export says both.
        each = [c for c in self.captions if c in lone or not {line.strip() for line in c.split("\n")} <= lone | {""}]
        captions = [" ".join(c.split()) for c in each] if len(each) > 1 else each
        extra = {k: v for k, v in self.extra.items() if k != without}
        return Notes(label, "\n".join(captions) or None, extra)


def notes_of_rows(rows: Iterable[Row], remarks: Remarks, *, without: str | None = None) -> Notes:
    """What one or several rows say of one picture; `without` is the column that names it."""
    said = Said()
    for row in rows:
        said.add(row, remarks, without)
    return said.notes(said.label, without=without)


def _first(row: Row, usual: Mapping[str, str], names: Iterable[str]) -> str | None:
    """The first of these columns that says something."""
    return next((usual[n] for n in names if n in usual and row[usual[n]] not in (None, "", [])), None)


class NamePattern:
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

    def label_in(self, path: str) -> str | None:
        """The label in a file's name; None where it has none. Raises `UsageError` where that takes too long."""
        name = path.rpartition("/")[2]
        try:
            match = self.compiled.search(name, timeout=_PATIENCE)
        except TimeoutError as error:
            raise UsageError(
                f"--label-from-name {self.compiled.pattern!r} takes more than {_PATIENCE:g} s for '{name}'; write it "
                "without a repetition inside a repetition"
            ) from error
        return valid_text(match[1] or "") or None if match else None


@dataclass(frozen=True)
class Spoken(Mapping[str, Notes]):
    """path → notes, made when they are asked for: of labels from folders there are as many as of images.

    `labels` are those from names, by path: what a regular expression says is asked once, while others may write.
    """

    root: Path
    images: Iterable[ImageFile]
    said: Mapping[str, Said]
    sources: NoteSources
    labels: Mapping[str, str | None]

    @property
    def _is_of_all(self) -> bool:
        return self.sources.label_from == "folder" or bool(self.labels)

    def __getitem__(self, path: str) -> Notes:
        said = self.said.get(path)
        if said is None and not self._is_of_all:
            raise KeyError(path)
        said = said or Said()
        column = self.sources.column
        label = said.cells.get(column) if column else said.label
        if self.sources.label_from == "folder":
            label = valid_text(path.rpartition("/")[0].rpartition("/")[2] or self.root.name)
        else:
            label = self.labels.get(path) or label
        return said.notes(label, without=column)

    def __iter__(self) -> Iterator[str]:
        return (f.path for f in self.images) if self._is_of_all else iter(self.said)

    def __len__(self) -> int:
        return sum(1 for _ in self)
