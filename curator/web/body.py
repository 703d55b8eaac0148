"""What a change asks for: the body of a request, and the values in it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from curator.errors import UsageError
from curator.texts import valid_text

Body = Mapping[str, Any]


async def read_body(request: Request, most: int) -> bytes:
    """All of a request. Raises `UsageError` for more than `most` bytes."""
    parts, length = [], 0
    async for part in request.stream():
        parts.append(part)
        length += len(part)
        if length > most:
            raise UsageError(f"more than {most >> 20} MiB in one request")
    return b"".join(parts)


def object_in(data: bytes) -> Body:
    """The JSON object of a request. Raises `UsageError`."""
    try:
        value = json.loads(data, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise UsageError("the request is not JSON") from error
    if not isinstance(value, dict):
        raise UsageError("the request is not a JSON object")
    return value


def _finite(text: str) -> float:
    """JSON knows no NaN and no infinity, which Python reads all the same."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def list_in(body: Body, name: str) -> list[Any]:
    """A list of one or more. Raises `UsageError`."""
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise UsageError(f"'{name}' is a list of one or more")
    return value


def text_of(body: Body, name: str) -> str:
    """A text. Raises `UsageError` for anything else."""
    value = body.get(name, "")
    if not isinstance(value, str):
        raise UsageError(f"'{name}' is a text")
    return valid_text(value)


def texts_in(body: Body, name: str) -> list[str]:
    """A list of one text or more. Raises `UsageError` for anything else."""
    values = list_in(body, name)
    if not all(isinstance(v, str) for v in values):
        raise UsageError(f"'{name}' is a list of texts")
    return [valid_text(v) for v in values]


def ids_of(body: Body, name: str, *, empty: bool = False) -> list[int]:
    """Ids, each once. Raises `UsageError`."""
    value = body.get(name, [])
    if not isinstance(value, list) or not (value or empty):
        raise UsageError(f"'{name}' is a list of ids")
    if any(isinstance(i, bool) or not isinstance(i, int) or not 0 < i < 2**63 for i in value):
        raise UsageError(f"'{name}' holds something that is no id")
    return list(dict.fromkeys(value))
