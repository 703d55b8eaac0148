"""Name → part, with "did you mean" and entry points of other distributions."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from curator.errors import UnknownName

Part = TypeVar("Part")


class Registry(Mapping[str, Part], Generic[Part]):
    """Parts of one kind by name. A distribution adds its own under the entry-point group `curator.<kind>s`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._parts: dict[str, Part] = {}

    def register(self, name: str) -> Callable[[Part], Part]:
        """Decorate a part to add it; a name taken twice is a `ValueError`."""

        def add(part: Part) -> Part:
            if name in self._parts:
                raise ValueError(f"{self.kind} '{name}' is registered already")
            self._parts[name] = part
            return part

        return add

    @cached_property
    def _foreign(self) -> dict[str, Part]:
        found = {e.name: e.load() for e in entry_points(group=f"curator.{self.kind}s")}
        return {name: part for name, part in found.items() if name not in self._parts}

    def __getitem__(self, name: str) -> Part:
        """The part of that name. Raises `UnknownName` with near names."""
        if name in self._parts:
            return self._parts[name]
        if name in self._foreign:
            return self._foreign[name]
        raise UnknownName(f"no {self.kind} '{name}'; {suggest(name, self)}")

    def __contains__(self, name: object) -> bool:
        return name in self._parts or name in self._foreign

    def __iter__(self) -> Iterator[str]:
        return iter([*self._parts, *self._foreign])

    def __len__(self) -> int:
        return len(self._parts) + len(self._foreign)


def suggest(name: str, known: Iterable[str]) -> str:
    """The second half of an unknown-name message: the nearest names, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return f"did you mean {' or '.join(repr(n) for n in near)}?"
    return f"there are: {', '.join(names)}" if names else "there are none"
