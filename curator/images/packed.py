"""Picture files as a walk saw them, packed: of many millions, an object each would take gigabytes."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator
from heapq import merge
from itertools import chain, compress
from operator import attrgetter

from curator.files import as_stored, stored_order
from curator.records import ImageFile

_END = b"\0"  # no name holds it


class ImageFiles(Collection[ImageFile]):
    """Files in the order in which a database has their paths, `stored_order`. They are iterated, never looked up.

    A file takes 17 bytes and its name: the folder is kept once for files of one folder that follow one another. While a
    folder is listed, what it holds are objects, so that ten million files in one still take gigabytes. Give them in
    their order; those whose names are no UTF-8 may come anywhere, and are kept as objects, as there are few.
    """

    def __init__(self, files: Iterable[ImageFile] = ()) -> None:
        self._names = bytearray()  # each with `_END`; a whole path, after a slash, where the folder is another one
        self._sizes, self._times = array("q"), array("q")
        self._odd: list[ImageFile] = []
        self._wanted: bytearray | None = None
        folder: str | None = None
        for file in files:
            if isinstance(as_stored(file.path), bytes):
                self._odd.append(file)
                continue
            around, _, name = file.path.rpartition("/")
            self._names += (name if around == folder else f"/{file.path}").encode() + _END
            folder = around
            self._sizes.append(file.size)
            self._times.append(file.mtime_ns)
        self._odd.sort(key=lambda f: stored_order(f.path))
        self._count = len(self._sizes) + len(self._odd)

    @classmethod
    def merged(cls, parts: Iterable[ImageFiles]) -> ImageFiles:
        """All files of several, of which no `only` has left any out."""
        several = list(parts)
        assert all(part._wanted is None for part in several)
        if len(several) == 1:
            return several[0]
        odd = (file for part in several for file in part._odd)
        return cls(chain(merge(*(part._usual() for part in several), key=attrgetter("path")), odd))

    def only(self, wanted: bytearray) -> ImageFiles:
        """Those whose byte, in the order of iteration, is not 0; nothing is copied."""
        assert self._wanted is None
        chosen = ImageFiles()
        chosen._names, chosen._sizes, chosen._times, chosen._odd = self._names, self._sizes, self._times, self._odd
        chosen._wanted, chosen._count = wanted, len(wanted) - wanted.count(0)
        return chosen

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ImageFile]:
        return compress(self._all(), self._wanted) if self._wanted is not None else self._all()

    def __contains__(self, file: object) -> bool:
        return any(file == one for one in self)

    def _all(self) -> Iterator[ImageFile]:
        yield from self._usual()
        yield from self._odd

    def _usual(self) -> Iterator[ImageFile]:
        folder, start, names = "", 0, self._names
        for size, mtime_ns in zip(self._sizes, self._times, strict=True):
            end = names.index(_END, start)
            name = names[start:end].decode()
            start = end + 1
            if name[0] == "/":
                path = name[1:]
                folder = path[: path.rfind("/") + 1]
            else:
                path = folder + name
            yield ImageFile(path, size, mtime_ns)
