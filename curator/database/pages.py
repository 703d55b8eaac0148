"""Rows of a damaged SQLite file, page by page, where SQLite itself reads no further.

Every row of an index ends in a checksum, so a row that was found on a leaf page proves by itself that it is whole, and
which table it can belong to: neither the schema nor the tree above it is needed. See "Database File Format" in SQLite's
documentation for the layout (§1.2 pages, §1.5 free list, §1.6 trees, §2.1 records).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TABLE_LEAF, _TABLE_INNER, _INDEX_LEAF, _INDEX_INNER = 0x0D, 0x05, 0x0A, 0x02
_HEADER = 100  # bytes of the file before the first page's own header
_DEFAULT_SIZE = 4096
_MOST_COLUMNS = 64  # of one row: more is no row of ours

Values = tuple[Any, ...]


@dataclass
class FoundRows:
    """What lies on the leaf pages: (rowid, values) of tables, values of trees without rowids, and what was lost."""

    rows: list[tuple[int, Values]] = field(default_factory=list)
    keyed: list[Values] = field(default_factory=list)
    unreadable_pages: int = 0
    broken_cells: int = 0


class _Torn(Exception):
    """A cell or page that does not make sense."""


class DatabaseFile:
    """The bytes of a database file as pages. A torn last page is filled up with zeros."""

    def __init__(self, file: Path) -> None:
        self.data = file.read_bytes()
        size = int.from_bytes(self.data[16:18], "big")
        size = 65536 if size == 1 else size
        sensible = 512 <= size <= 65536 and size & (size - 1) == 0
        self.size = size if sensible and self.data[:6] == b"SQLite" else _DEFAULT_SIZE
        reserved = self.data[20] if len(self.data) > 20 and sensible else 0
        self.usable = self.size - (reserved if reserved <= self.size - 480 else 0)
        self.count = -(-len(self.data) // self.size)
        said = int.from_bytes(self.data[28:32], "big")
        self.missing = max(0, said - self.count) if said < 2**24 else 0  # cut off behind the end

    def page(self, number: int) -> bytes:
        """A page by its number, from 1."""
        if not 1 <= number <= self.count:
            raise _Torn
        return self.data[(number - 1) * self.size : number * self.size].ljust(self.size, b"\0")

    def found_rows(self) -> FoundRows:
        """Every cell of every leaf page that is not on the free list."""
        cells, free, overflow = FoundRows(unreadable_pages=self.missing), self._free(), set[int]()
        strange: list[int] = []
        for number in range(1, self.count + 1):
            if number in free:
                continue
            page, start = self.page(number), _HEADER if number == 1 else 0
            kind = page[start]
            if kind == _TABLE_LEAF and number > 1:
                self._read(page, start, cells, overflow, has_rowid=True)
            elif kind == _INDEX_LEAF:
                self._read(page, start, cells, overflow, has_rowid=False)
            elif kind not in (_TABLE_INNER, _INDEX_INNER, _TABLE_LEAF):
                strange.append(number)
        cells.unreadable_pages += len(set(strange) - overflow)
        return cells

    def _free(self) -> set[int]:
        """Numbers of the pages on the free list, as far as it can be followed."""
        free, trunk = set[int](), int.from_bytes(self.data[32:36], "big")
        while 1 < trunk <= self.count and trunk not in free:
            page = self.page(trunk)
            following, count = struct.unpack(">II", page[:8])
            if count > self.usable // 4 - 2:
                break
            free |= {trunk, *struct.unpack(f">{count}I", page[8 : 8 + 4 * count])}
            trunk = following
        return free

    def _read(self, page: bytes, start: int, cells: FoundRows, overflow: set[int], *, has_rowid: bool) -> None:
        (count,) = struct.unpack(">H", page[start + 3 : start + 5])
        if count > self.usable // 4:
            cells.unreadable_pages += 1
            return
        for place in struct.unpack(f">{count}H", page[start + 8 : start + 8 + 2 * count]):
            try:
                rowid, payload = self._cell(page, place, overflow, has_rowid=has_rowid)
                values = decode_record(payload)
            except (_Torn, IndexError, struct.error, UnicodeDecodeError):
                cells.broken_cells += has_rowid
                continue
            if has_rowid:
                cells.rows.append((rowid, values))
            else:
                cells.keyed.append(values)

    def _cell(self, page: bytes, place: int, overflow: set[int], *, has_rowid: bool) -> tuple[int, bytes]:
        """(rowid, the whole payload), with what lies on overflow pages."""
        length, place = varint(page, place)
        rowid = 0
        if has_rowid:
            rowid, place = varint(page, place)
            rowid -= 2**64 if rowid >= 2**63 else 0
        if length > len(self.data):
            raise _Torn
        # §1.6: how much of a payload stays on the page.
        most = self.usable - 35 if has_rowid else (self.usable - 12) * 64 // 255 - 23
        least = (self.usable - 12) * 32 // 255 - 23
        if length <= most:
            return rowid, page[place : place + length]
        local = least + (length - least) % (self.usable - 4)
        local = local if local <= most else least
        parts, left = [page[place : place + local]], length - local
        (following,) = struct.unpack(">I", page[place + local : place + local + 4])
        while left > 0:
            overflow.add(following)
            beyond = self.page(following)
            parts.append(beyond[4 : min(self.usable, 4 + left)])
            left -= self.usable - 4
            (following,) = struct.unpack(">I", beyond[:4])
            if len(parts) > self.count + 1:
                raise _Torn
        return rowid, b"".join(parts)


def varint(data: bytes, place: int) -> tuple[int, int]:
    """A variable-length integer (§1.6) → (value, where it ends)."""
    value = 0
    for length in range(9):
        byte = data[place + length]
        if length == 8:
            return (value << 8) | byte, place + 9
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, place + length + 1
    raise _Torn


def decode_record(payload: bytes) -> Values:
    """A record (§2.1) → its values; text as `str`, where it is UTF-8."""
    end, place = varint(payload, 0)
    kinds: list[int] = []
    while place < end:
        kind, place = varint(payload, place)
        kinds.append(kind)
    if place != end or len(kinds) > _MOST_COLUMNS:
        raise _Torn
    return tuple(_values(payload, end, kinds))


def _values(payload: bytes, place: int, kinds: list[int]) -> Iterator[Any]:
    whole = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
    for kind in kinds:
        if kind == 0:
            yield None
            continue
        if kind in (8, 9):
            yield kind - 8
            continue
        length = whole.get(kind) or (8 if kind == 7 else (kind - 12) // 2 if kind >= 12 else -1)
        if length < 0 or place + length > len(payload):
            raise _Torn
        raw, place = payload[place : place + length], place + length
        if kind in whole:
            yield int.from_bytes(raw, "big", signed=True)
        elif kind == 7:
            yield struct.unpack(">d", raw)[0]
        else:
            yield raw if kind % 2 == 0 else raw.decode()
