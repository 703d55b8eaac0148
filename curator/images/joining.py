"""Which picture a row of a table means: by the path as it is written, or as another machine wrote it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from curator.images.walk import SUFFIXES

_DRIVE = re.compile(r"^[A-Za-z]:/")


@dataclass(frozen=True)
class Match:
    """The pictures that a name fits: one, none or several.

    `rank` says how well: 0 the path as it is, 1 the end of a path, 2 but for case, 3 but for the extension, 4 where the
    name is the longer one, as another machine writes it.
    """

    paths: tuple[str, ...] = ()
    rank: int = 0


FOREIGN = 4


class Names:
    """The pictures below a root, looked up by what tables call them.

    A name means the picture of that very path. Otherwise it means those whose absolute path ends with it, or, where the
    name is the longer one, those whose path it ends with; letter case and a missing extension are forgiven last.
    """

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        self.root = _parts(root.as_posix())
        self.path_of: dict[tuple[str, ...], str] = {}
        self._by_stem: dict[str, list[tuple[str, ...]]] = {}
        for path in paths:
            parts = _parts(path)
            self.path_of[parts] = path
            self._by_stem.setdefault(_stem(parts[-1]), []).append(parts)

    def find(self, name: str, folder: str = "") -> Match:
        """What a name in a table of `folder`, a path below the root, fits."""
        parts, above = _parts(name), _parts(folder)
        if not parts:
            return Match()
        if (*above, *parts) in self.path_of:
            return Match((self.path_of[*above, *parts],))
        alike = self._by_stem.get(_stem(parts[-1]), [])
        for rank, same in enumerate((_exactly, _without_case, _without_extension), 1):
            wanted = same(parts)
            ends = [p for p in alike if _ends(same((*self.root, *p)), wanted)]
            ends = [p for p in ends if p[: len(above)] == above] or ends
            if ends:
                return Match(tuple(self.path_of[p] for p in ends), rank)
            longer = [p for p in alike if len(p) < len(parts) and _ends(wanted, same(p))]
            if longer:
                most = max(map(len, longer))
                return Match(tuple(self.path_of[p] for p in longer if len(p) == most), FOREIGN)
        return Match()


def _parts(name: str) -> tuple[str, ...]:
    """`file://`, drives, `.` and backslashes taken away; composed characters, as every system writes them alike."""
    plain = name.strip()
    if "://" in plain or plain.startswith("file:"):  # an address: nothing behind ? or # is of the name
        plain = unquote(re.split(r"[?#]", plain.partition(":")[2])[0])
    plain = _DRIVE.sub("", unicodedata.normalize("NFC", plain).replace("\\", "/"))
    return tuple(part for part in plain.split("/") if part not in ("", "."))


def _stem(name: str) -> str:
    """Without a picture's extension: what follows another dot belongs to the name."""
    stem, dot, suffix = name.rpartition(".")
    return (stem if stem and f"{dot}{suffix.lower()}" in SUFFIXES else name).casefold()


def _ends(whole: tuple[str, ...], tail: tuple[str, ...]) -> bool:
    return whole[-len(tail) :] == tail


def _exactly(parts: tuple[str, ...]) -> tuple[str, ...]:
    return parts


def _without_case(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.casefold() for part in parts)


def _without_extension(parts: tuple[str, ...]) -> tuple[str, ...]:
    return (*(part.casefold() for part in parts[:-1]), _stem(parts[-1]))
