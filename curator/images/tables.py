"""Tables and side-cars as they come: encodings, separators, header names, values."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curator.files import read_regular
from curator.texts import Scalar, as_number, column_name, is_finite, to_json, undefused, valid_text

LABEL = ("label", "class", "category")
CAPTION = ("caption", "captions", "text", "prompt")
KEYS = (
    "file_name", "file", "filename", "path", "filepath", "file_path", "image", "image_path", "image_file", "img_path",
    "image_name", "image_id", "img", "img_name",
)  # fmt: skip
EXPORTED = "images.csv"  # the table of `curator export`, whose cells are kept from being formulas
_SEPARATORS = ",;\t|"
MAX_BYTES = 2 * 2**30  # of a table
_SIDECAR_BYTES = 16 * 2**20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DC, _XMP = "{http://purl.org/dc/elements/1.1/}", "{http://ns.adobe.com/xap/1.0/}"
_ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"

Row = Mapping[str, Any]


@dataclass
class Remarks:
    """What a person should know of what was read: counts, and an example each."""

    unread: list[str] = field(default_factory=list)  # files that are not in the encoding that was said
    broken: list[str] = field(default_factory=list)  # files that are not what their name says
    not_numbers: Counter[str] = field(default_factory=Counter)  # column → cells
    strangers: list[str] = field(default_factory=list)  # rows that name no picture
    ambiguous: list[str] = field(default_factory=list)  # rows that name several
    conflicts: list[str] = field(default_factory=list)  # rows that say something else than one before
    unnamed: int = 0  # pictures of which the person's table says nothing
    example: str = ""  # one of them

    def lines(self) -> list[str]:
        """In words, a line each."""
        columns = [f"in column {name}" for name in self.not_numbers]
        said = [
            ("side-cars and tables that are not UTF-8", len(self.unread), self.unread, "; --encoding names theirs"),
            ("side-cars and tables that are not what they are called", len(self.broken), self.broken, ""),
            ("cells with no number (NaN, infinity, too long) and so no value", self.not_numbers.total(), columns, ""),
            ("rows that name no picture here", len(self.strangers), self.strangers, ""),
            ("rows that name several pictures", len(self.ambiguous), self.ambiguous, "; write their folders"),
            ("rows that contradict one before", len(self.conflicts), self.conflicts, "; the last one counts"),
            ("pictures without a row in the table", self.unnamed, [self.example], ""),
        ]
        return [f"{what}: {count}, such as {examples[0]}{way}" for what, count, examples, way in said if count]


def read_text(path: Path, encoding: str | None, remarks: Remarks, *, most: int = _SIDECAR_BYTES) -> str:
    """A file as text: by its byte order mark, else in `encoding`, else as UTF-8; "" with a remark where it is none."""
    try:
        data = read_regular(path, most)
    except OSError as error:
        remarks.broken.append(f"{path} ({error.strerror})")
        return ""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _decoded(data, name, path, remarks)
    return _decoded(data, encoding or "utf-8", path, remarks)


def _decoded(data: bytes, encoding: str, path: Path, remarks: Remarks) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        remarks.unread.append(str(path))
        return ""
    if text.count("\0") > len(text) // 5:  # UTF-16 without a mark is valid UTF-8 as long as it is English
        remarks.unread.append(str(path))
        return ""
    return text


def read_table(path: Path, encoding: str | None, remarks: Remarks) -> Iterator[Row]:
    """Rows of a CSV, JSON-lines, parquet or StyleGAN `dataset.json` file, with cells as they are written."""
    if path.suffix.lower() == ".parquet":
        yield from _parquet_rows(path, remarks)
        return
    text = read_text(path, encoding, remarks, most=MAX_BYTES)
    if path.suffix.lower() == ".jsonl":
        for line in text.split("\n"):
            if line.strip():
                yield from _objects(line, path, remarks)
    elif path.suffix.lower() == ".json":
        yield from _stylegan_rows(read_object(text, path, remarks))
    else:
        yield from _csv_rows(text, path, remarks)


def _csv_rows(text: str, path: Path, remarks: Remarks) -> Iterator[Row]:
    """With the separator that the header has most of, and names without the spaces around them."""
    header = re.sub(r'"[^"]*"', "", text.partition("\n")[0])
    separator = max(_SEPARATORS, key=header.count)
    csv.field_size_limit(_SIDECAR_BYTES)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    last: list[str] = []
    try:
        names = [name.strip() for name in next(rows, [])]
        doubled = sorted({n for n in names if n and names.count(n) > 1})
        if doubled:
            remarks.broken.append(
                f"{path} (its header names '{doubled[0]}' twice; the first value that there is counts)"
            )
        for row in rows:
            if row:
                last = row
                cells = list(map(undefused, row)) if path.name == EXPORTED else row
                values = dict(zip(names, cells, strict=False))
                for name in doubled:
                    values[name] = next((c for n, c in zip(names, cells, strict=False) if n == name and c), "")
                yield values
        if any("\n" in cell for cell in last) and not text.rstrip().endswith('"'):
            remarks.broken.append(f"{path} (a quotation mark is not closed, so its last cell holds what follows)")
    except csv.Error as error:
        remarks.broken.append(f"{path} ({error})")


def _parquet_rows(path: Path, remarks: Remarks) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet as pq
    except ImportError:
        remarks.broken.append(f"{path} (parquet needs the extra: pip install 'image-curator[export]')")
        return
    try:
        for batch in pq.ParquetFile(path).iter_batches(1024):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        remarks.broken.append(f"{path} ({error})")


def _stylegan_rows(stored: Row) -> Iterator[Row]:
    """`{"labels": [["00000/a.png", 3], …]}`, as StyleGAN's data set tool writes it."""
    labels = stored.get("labels")
    for pair in labels if isinstance(labels, list) else ():
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and pair[1] is not None:
            yield {"file_name": pair[0], "label": str(pair[1])}


def read_object(text: str, path: Path, remarks: Remarks) -> Row:
    """A JSON object, {} for what is none. A number that JSON has no word for becomes NaN."""
    try:
        value = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError):
        remarks.broken.append(str(path))
        return {}
    if not isinstance(value, dict):
        remarks.broken.append(str(path))
    return value if isinstance(value, dict) else {}


def _objects(text: str, path: Path, remarks: Remarks) -> Iterator[Row]:
    """The object of a line, or those of a list."""
    if text.lstrip().startswith("["):
        try:
            listed = json.loads(text, parse_int=_whole)
        except (ValueError, RecursionError):
            listed = []
        objects = [row for row in listed if isinstance(row, dict)]
        remarks.broken += [] if objects else [str(path)]
        yield from objects
    else:
        yield read_object(text, path, remarks)


def as_text(value: object) -> str:
    """A label or caption as it is written: a list or a truth value as JSON."""
    return valid_text(value if isinstance(value, str) else to_json(value, ensure_ascii=False))


def _whole(digits: str) -> int | float:
    number = as_number(digits)
    return number if isinstance(number, int) else math.nan


def read_xmp(path: Path, remarks: Remarks) -> dict[str, Any]:
    """Caption (dc:description, else dc:title), label (xmp:Label), subjects and rating of an XMP side-car."""
    text = read_text(path, None, remarks)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can grow without end
        remarks.broken.append(str(path))
        return {}
    try:
        tree = ET.fromstring(text.strip()) if text.strip() else None
    except ET.ParseError:
        remarks.broken.append(str(path))
        return {}
    if tree is None:
        return {}

    def items(tag: str) -> list[str]:
        return [(i.text or "").strip() for e in tree.iter(tag) for i in e.iter(_ITEM) if (i.text or "").strip()]

    def value(tag: str) -> str | None:
        written = (e.get(tag) or (e.text if e.tag == tag else None) for e in tree.iter())
        return next((v.strip() for v in written if v and v.strip()), None)

    described = items(f"{_DC}description") or items(f"{_DC}title")
    columns = {
        "caption": described[0] if described else None,
        "label": value(f"{_XMP}Label"),
        "subject": ", ".join(items(f"{_DC}subject")) or None,
        "rating": value(f"{_XMP}Rating"),
    }
    return {name: v for name, v in columns.items() if v is not None}


def captions_of(value: object) -> list[str]:
    """One caption, or several of a list, without empty ones."""
    texts = value if isinstance(value, list | tuple) else [value]
    return [as_text(t).strip() for t in texts if t is not None and as_text(t).strip()]


def scalars(row: Row, remarks: Remarks) -> dict[str, Scalar]:
    """What columns can hold of a row: texts, truth values, and numbers, a CSV's too, so that `price > 10` holds.

    What is no number has no value, and is counted.
    """
    cells: dict[str, Scalar] = {}
    for raw, value in row.items():
        name = column_name(str(raw)) if raw else ""
        if not name or value is None or value == "" or not isinstance(value, str | int | float):
            continue
        cell: Scalar = as_number(value) if isinstance(value, str) else value
        if is_finite(cell):
            cells[name] = valid_text(cell) if isinstance(cell, str) else cell
        else:
            remarks.not_numbers[name] += 1
    return cells
