"""Name → part, with "did you mean" and entry points of other distributions; libraries of extras."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from curator.errors import ExtraMissing, UnknownName

logger = logging.getLogger("curator")
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
    def _offered(self) -> dict[str, EntryPoint]:
        """What other distributions offer, not loaded yet: a broken one must not stand in the way of the rest."""
        return {e.name: e for e in entry_points(group=f"curator.{self.kind}s") if e.name not in self._parts}

    def __getitem__(self, name: str) -> Part:
        """The part of that name. Raises `UnknownName` with near names, or with what is wrong with a plug-in."""
        if name in self._parts:
            return self._parts[name]
        if name not in self._offered:
            raise UnknownName(f"no {self.kind} '{name}'; {suggest(name, [*self._parts, *self._offered])}")
        entry = self._offered[name]
        try:
            self._parts[name] = entry.load()
        except Exception as error:  # whatever somebody else's module raises when imported
            problem = f"{self.kind} '{name}' of {entry.value} cannot be loaded: {type(error).__name__}: {error}"
            raise UnknownName(problem) from error
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts or name in self._offered

    def __iter__(self) -> Iterator[str]:
        """Names of the parts; a plug-in that cannot be loaded is left out, with a warning."""
        for name in [*self._parts, *(n for n in self._offered if n not in self._parts)]:
            try:
                self[name]
            except UnknownName as error:
                logger.warning("%s; it is left out", error)
            else:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


def extra(module: str, name: str) -> Any:
    """An optional library, imported. Raises `ExtraMissing` with the line that installs the extra `name`."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ExtraMissing(f"this needs the extra '{name}': pip install 'image-curator[{name}]' ({error})") from error


def suggest(name: str, known: Iterable[str]) -> str:
    """The second half of an unknown-name message: the nearest names, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return f"did you mean {' or '.join(repr(n) for n in near)}?"
    return f"there are: {', '.join(names)}" if names else "there are none"
