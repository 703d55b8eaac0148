"""A condition in a little SQL → the filter of a service that knows no SQL, as Qdrant's JSON has it.

    condition:  column = <> < <= > >= value, column [NOT] IN (…), column [NOT] BETWEEN a AND b, column IS [NOT] NULL,
                joined by AND, OR, NOT and parentheses

Whatever else SQL has is refused, never guessed. NOT is carried inwards first, so that, as in SQL, a comparison with an
image that has no value holds neither as it is nor denied.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from curator.errors import WhereError
from curator.registry import suggest

Filter = dict[str, Any]

NUMBERS = frozenset({"id", "size", "width", "height", "aspect", "sharpness", "brightness", "contrast", "entropy"})
TEXTS = frozenset({"path", "uri", "sha256", "mode", "format", "camera", "label", "caption", "origin"})
TIMES = frozenset({"taken_at"})
GRAMMAR = (
    "column = <> < <= > >= value, [NOT] IN (…), [NOT] BETWEEN a AND b, IS [NOT] NULL, joined by AND, OR, NOT and "
    f"parentheses; the columns: {', '.join(sorted(NUMBERS | TEXTS | TIMES))}, and extra.NAME"
)
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\b)|"""
    r"""(?P<word>[^\W\d]\w*(?:\.[^\W\d]\w*)*)|(?P<quoted>"(?:[^"]|"")+")|(?P<sign><>|!=|<=|>=|[=<>(),]))"""
)
_DEEPEST = 50  # parentheses within parentheses
_DENIED = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_BOUND = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?")


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


def filter_of(condition: str) -> Filter:
    """A condition → a filter as JSON. Raises `WhereError` for what is not in the grammar."""
    return _Parser(condition).whole()


class _Parser:
    """By recursive descent; every method takes what it reads, denied or not."""

    def __init__(self, condition: str) -> None:
        self.condition, self.tokens, self.next, self.depth = condition, _tokens(condition), 0, 0

    def whole(self) -> Filter:
        """The condition to its end."""
        tree = self._any(denied=False)
        if self.next < len(self.tokens):
            raise self._refusal(f"'{self.tokens[self.next].text}' is not understood")
        return tree

    def _any(self, *, denied: bool) -> Filter:
        parts = [self._all(denied=denied)]
        while self._took("OR"):
            parts.append(self._all(denied=denied))
        return _joined(parts, "must" if denied else "should")

    def _all(self, *, denied: bool) -> Filter:
        parts = [self._one(denied=denied)]
        while self._took("AND"):
            parts.append(self._one(denied=denied))
        return _joined(parts, "should" if denied else "must")

    def _one(self, *, denied: bool) -> Filter:
        if self._took("NOT"):
            return self._deeper(lambda: self._one(denied=not denied))
        if self._took("("):

            def inside() -> Filter:
                tree = self._any(denied=denied)
                self._require(")")
                return tree

            return self._deeper(inside)
        if self._peek().upper() in ("TRUE", "FALSE"):
            return _constant(self._take().upper() == "TRUE", denied=denied)
        return self._comparison(denied=denied)

    def _deeper(self, inner: Any) -> Filter:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._refusal(f"more than {_DEEPEST} parentheses within each other")
        tree: Filter = inner()
        self.depth -= 1
        return tree

    def _comparison(self, *, denied: bool) -> Filter:
        column = self._column()
        if self._took("IS"):
            is_null = not self._took("NOT")
            self._require("NULL")
            return _is_null(column) if is_null != denied else _has(column)
        if self._took("NOT"):
            denied = not denied
            if self._peek().upper() not in ("IN", "BETWEEN"):
                raise self._refusal("NOT stands before IN or BETWEEN here")
        if self._took("IN"):
            self._require("(")
            values = [self._value(column)]
            while self._took(","):
                values.append(self._value(column))
            self._require(")")
            parts = [_compared(column, "<>" if denied else "=", v) for v in values]
            return _joined(parts, "must" if denied else "should")
        if self._took("BETWEEN"):
            low = self._value(column)
            self._require("AND")
            ends = [(">=", low), ("<=", self._value(column))]
            parts = [self._ordered(column, _DENIED[sign] if denied else sign, v) for sign, v in ends]
            return _joined(parts, "should" if denied else "must")
        sign = self._take().replace("!=", "<>")
        if sign not in _DENIED:
            raise self._refusal(f"after '{column}' comes no '{sign}'")
        return self._ordered(column, _DENIED[sign] if denied else sign, self._value(column))

    def _ordered(self, column: str, sign: str, value: str | float) -> Filter:
        if sign in _BOUND and column not in TIMES and isinstance(value, str):
            raise self._refusal(f"'{column}' is text, which is compared by =, <> and IN alone")
        return _compared(column, sign, value)

    def _column(self) -> str:
        token = self._token()
        name = token.text if token.kind == "word" else token.text[1:-1].replace('""', '"')
        known = sorted(NUMBERS | TEXTS | TIMES)
        if token.kind not in ("word", "quoted"):
            raise self._refusal(f"'{token.text}' stands where a column should")
        if self._peek() == "(":
            raise self._refusal(f"there are no functions such as {token.text}()")
        if name.startswith("extra."):
            return self._extra(name)
        if name.lower() not in known:
            raise self._refusal(f"no column '{name}'; {suggest(name, known)}")
        return "uri" if name.lower() == "path" else name.lower()

    def _extra(self, name: str) -> str:
        """A further column as Qdrant's JSON path; what is no plain word stands in quotes there."""
        first, *rest = name.split(".")
        if not rest or not all(part.strip() and not set(part) & set('"\\[]') and part.isprintable() for part in rest):
            raise self._refusal(f"'{name}' is no further column; it is extra.NAME, or \"extra.A NAME\"")
        return ".".join([first, *(part if part.isidentifier() else f'"{part}"' for part in rest)])

    def _value(self, column: str) -> str | float:
        token = self._token()
        if token.kind not in ("text", "number"):
            raise self._refusal(f"'{token.text}' stands where a value should, a number or 'text'")
        is_text = token.kind == "text"
        if is_text and column in NUMBERS:
            raise self._refusal(f"'{column}' holds numbers, and {token.text} is text")
        if not is_text and column in TEXTS | TIMES:
            raise self._refusal(f"'{column}' holds text: write '{token.text}' in quotes")
        value = token.text[1:-1].replace("''", "'") if is_text else token.text
        if column in TIMES and not _is_time(value):
            raise self._refusal(f"'{column}' is compared with a time, such as '2024-05-31' or '2024-05-31T18:00:00'")
        if is_text:
            return value.replace(" ", "T") if column in TIMES else value
        if not math.isfinite(float(value)):
            raise self._refusal(f"{value} is too large a number")
        return float(value)

    def _peek(self) -> str:
        return self.tokens[self.next].text if self.next < len(self.tokens) else ""

    def _token(self) -> _Token:
        if self.next >= len(self.tokens):
            raise self._refusal("it breaks off")
        self.next += 1
        return self.tokens[self.next - 1]

    def _take(self) -> str:
        return self._token().text

    def _took(self, word: str) -> bool:
        if self._peek().upper() != word:
            return False
        self.next += 1
        return True

    def _require(self, word: str) -> None:
        if not self._took(word):
            raise self._refusal(f"{word} is missing" + (f" before '{self._peek()}'" if self._peek() else " at its end"))

    def _refusal(self, problem: str) -> WhereError:
        return refusal(self.condition, problem)


def refusal(condition: str, problem: str) -> WhereError:
    """What is wrong with a condition, and what it could be."""
    return WhereError(f"--where {condition!r}: {problem}\nThis service takes {GRAMMAR}")


def _is_time(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(_TIME.fullmatch(text) and datetime.fromisoformat(text))
    return False


def _tokens(condition: str) -> list[_Token]:
    tokens, place = [], 0
    while condition[place:].strip():
        match = _TOKEN.match(condition, place)
        if match is None:
            raise refusal(condition, f"'{condition[place:].strip()[:20]}' is not understood")
        tokens.append(_Token(str(match.lastgroup), match[str(match.lastgroup)]))
        place = match.end()
    return tokens


def _joined(parts: Sequence[Filter], how: str) -> Filter:
    return parts[0] if len(parts) == 1 else {how: list(parts)}


def _constant(value: bool, *, denied: bool) -> Filter:
    nowhere: Filter = {"has_id": []}
    return {"must_not": [nowhere]} if value != denied else {"must": [nowhere]}


def _is_null(column: str) -> Filter:
    return {"must": [{"is_empty": {"key": column}}]}


def _has(column: str) -> Filter:
    return {"must_not": [{"is_empty": {"key": column}}]}


def _compared(column: str, sign: str, value: str | float) -> Filter:
    if sign in _BOUND:
        return {"must": [{"key": column, "range": {_BOUND[sign]: value}}]}
    same: Filter = {"key": column, "match": {"value": value}}
    if isinstance(value, float) or column in TIMES:
        same = {"key": column, "range": {"gte": value, "lte": value}}
    return {"must": [same]} if sign == "=" else {"must_not": [same, {"is_empty": {"key": column}}]}
