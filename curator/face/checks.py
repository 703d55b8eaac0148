"""Arguments of the Python face: a wrong one is named before it gets any further."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from curator.errors import UsageError
from curator.records import Ids
from curator.registry import suggest

T = TypeVar("T")
_LARGEST = 2**63


def as_ids(ids: object) -> Ids:
    """Ids of images as an array (n,) int64. Raises `UsageError` for anything but a list of whole numbers."""
    try:
        values = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"ids are a list of whole numbers, not {_shown(ids)}") from error
    if values.ndim != 1 or (len(values) and values.dtype.kind not in "iu"):
        raise UsageError(f"ids are a list of whole numbers, not {_shown(ids)}")
    return values.astype(np.int64)


def as_id(image_id: Any) -> int:
    """An image's id. Raises `UsageError` for what is no whole number."""
    whole = isinstance(image_id, int | np.integer) and not isinstance(image_id, bool | np.bool_)
    if not whole or not -_LARGEST <= int(image_id) < _LARGEST:
        raise UsageError(f"an image's id is a whole number, not {_shown(image_id)}")
    return int(image_id)


def as_words(what: str, value: object, *, empty: bool = False) -> str:
    """A text that can be stored. Raises `UsageError`, naming `what` it should be."""
    if not isinstance(value, str) or not (empty or value.strip()) or "\0" in value:
        raise UsageError(f"{what} is text, not {_shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} is text, and {_shown(value)} holds half a character") from error
    return value


def options_of(kind: type[T], given: Mapping[str, Any]) -> T:
    """Options by name.

    Raises `UsageError` with near names for one that there is none of, and for a value of another type.
    """
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        raise UsageError(f"there is no option '{unknown}'; {suggest(unknown, names)}")
    hints = get_type_hints(kind)
    for name, value in given.items():
        if not _fits(value, hints[name]):
            raise UsageError(f"{name} is {_in_words(hints[name])}, not {_shown(value)}")
    return kind(**given)


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of an annotated type; one thing stands for a tuple of it."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        several = value if isinstance(value, list | tuple | set) else [value]
        return all(_fits(v, parts[0]) for v in several)
    if origin is not None:
        return isinstance(value, origin)
    if hint in (int, float):
        number = isinstance(value, int | np.integer | (float if hint is float else int)) and not isinstance(value, bool)
        return number and (not isinstance(value, float) or np.isfinite(value)) and abs(value) < _LARGEST  # type: ignore[arg-type]
    if hint is Path:
        return isinstance(value, str | Path)
    if hint is str:
        return isinstance(value, str) and value.isprintable()
    return hint is Any or isinstance(value, hint)


def _in_words(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint)).replace("pathlib.", "").replace("NoneType", "None")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def as_list(what: str, value: object) -> Sequence[Any]:
    """A list. Raises `UsageError`, naming `what` it should hold."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise UsageError(f"name a list of {what}, not {_shown(value)}")
    return value
