"""What finds vectors elsewhere: an engine that is loaded shard by shard, named by a URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from curator.errors import SpaceMismatch, UnknownName, UsageError
from curator.records import Finding, Ids, Image, Space, Vectors
from curator.registry import Registry, suggest
from curator.vectors.calibration import UNFINISHED
from curator.vectors.engine import Engine

COLUMNS = (
    "uri", "sha256", "size", "width", "height", "mode", "format", "taken_at", "camera", "label", "caption", "origin",
    "extra", "sharpness", "brightness", "contrast", "entropy", "norm",
)  # fmt: skip
CONDITIONS = ("id", "path", "aspect", *(name for name in COLUMNS if name != "norm"))  # what a condition may name
_MODULES = {"postgres": "curator.vectors.postgres", "qdrant": "curator.vectors.qdrant"}  # imported when asked for
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LOCAL = ("", "localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class LoadPart:
    """Rows that are loaded together, and again without harm: a shard of a set, or some images of an index.

    `columns` maps `COLUMNS` to values (n,); `ids` (n,), `x` (n, d) float16 unit rows; `sha256` is of the shard's file.
    """

    shard: int
    sha256: str
    ids: Ids
    x: NDArray[np.float16]
    columns: Mapping[str, Sequence[Any]]


class Service(Engine, Protocol):
    """An engine that others run. It holds copies alone: `curator push` fills it again."""

    def create(self, space: Space, source: str, *, replace: bool = False) -> None:
        """Make room for a set of this space that is filled from `source`, or find it made.

        `replace` lets go what is there of another source. Raises `SpaceMismatch`, `EngineRefused`.
        """
        ...

    def load(self, part: LoadPart) -> None:
        """Take a part, whole or not at all, in place of an earlier one of its number."""
        ...

    def loaded(self) -> dict[int, str]:
        """shard → SHA-256 of the parts that are there whole."""
        ...

    def remove(self, shard: int) -> None:
        """Take a part away."""
        ...

    @property
    def is_finished(self) -> bool:
        """Whether nothing was loaded or taken away since `finish`."""
        ...

    def finish(self, say: Callable[[str], None], words: Vectors | None = None) -> None:
        """After loading: build what searches need, and measure what they find of the hits of `words` (w, d)."""
        ...

    def images(self, ids: Sequence[int]) -> list[Image]:
        """Records in the order of `ids`. Raises `UnknownName`."""
        ...

    def ids_where(self, where: str, *, limit: int | None = None) -> Ids:
        """Ascending ids for which a condition holds; the first `limit` of them. Raises `WhereError`."""
        ...

    def values_of(self, column: str, ids: Sequence[int]) -> dict[int, Any]:
        """id → value of a column that conditions may name. Raises `UnknownName` for another column."""
        ...

    def drop(self) -> None:
        """Remove everything of the set from the service."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


services: Registry[Callable[[str], Service]] = Registry("service")


def is_service(name: object) -> bool:
    """Whether a name is the URL of a service."""
    return isinstance(name, str) and "://" in name


def open_service(url: str) -> Service:
    """The engine that a URL such as `postgres://HOST/DB?set=photos` names. Raises `UsageError`, `NoEngine`."""
    scheme = url.partition("://")[0]
    scheme = "postgres" if scheme == "postgresql" else scheme
    if scheme not in _MODULES:
        raise UsageError(f"no service '{scheme}'; {suggest(scheme, _MODULES)}, as postgres://HOST/DB?set=NAME")
    import_module(_MODULES[scheme])
    return services[scheme](url)


def check_same(
    name: str, stored: tuple[str, str, str | None], space: Space, source: str, *, replace: bool = False
) -> None:
    """Refuse to fill a service's set from elsewhere; `stored` is (fingerprint, encoder, source) of what is there.

    Raises `SpaceMismatch` for another space, `UsageError` for another source, unless it is to be replaced.
    """
    fingerprint, encoder, filled_from = stored
    if fingerprint != space.fingerprint:
        raise SpaceMismatch(f"the set '{name}' in this service is of '{encoder}'; take another name there")
    if filled_from is not None and filled_from != source and not replace:
        raise UsageError(
            f"the set '{name}' in this service was filled from {filled_from}, and this is {source}; take another "
            "name there, or say --replace"
        )


def all_there(ids: Sequence[int], known: Container[int], name: str) -> list[int]:
    """Ids that a service was asked for, if it has all of them. Raises `UnknownName`."""
    missing = [int(i) for i in ids if int(i) not in known]
    if missing:
        raise UnknownName(f"no image with id {missing[0]} in the set '{name}'; a search shows ids")
    return [int(i) for i in ids]


def findings_in(place: str, damaged: Iterable[tuple[int, int, int]], *, is_finished: bool) -> Iterator[Finding]:
    """What is wrong with a service's copy; `damaged`: parts, with the rows that are there and should be."""
    if not is_finished:
        yield Finding(place, UNFINISHED, True)
    for shard, rows, all_rows in damaged:
        yield Finding(f"{place}, part {shard}", f"holds {rows} of {all_rows} rows; `curator push` mends it", True)


def check_column(column: str) -> str:
    """A column that conditions may name. Raises `UnknownName`."""
    if column not in CONDITIONS:
        raise UnknownName(f"no column '{column}'; {suggest(column, CONDITIONS)}")
    return column


def split_url(url: str, way: str) -> tuple[str, str]:
    """A URL → (the same without `set`, the set's name). Raises `UsageError` for one with a password, or no name.

    `way` says where the password belongs.
    """
    parts = urlsplit(url)
    if parts.password is not None:
        raise UsageError(f"a password in a URL stays in the shell's history; leave it out, and {way}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "password" in options:
        raise UsageError(f"a password in a URL stays in the shell's history; leave it out, and {way}")
    name = options.pop("set", "")
    if not NAME.fullmatch(name):
        raise UsageError(f"{url} names no set; end it with ?set=NAME, of small letters, digits and _")
    return urlunsplit(parts._replace(query=urlencode(options))), name


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine: a name of its own, or the folder of a socket."""
    return (host or "") in _LOCAL or (host or "").startswith("/")
