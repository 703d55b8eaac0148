"""Text at the border: what SQLite, JSON and terminals can carry, and numbers that are numbers."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNFIT = re.compile("[\0\ud800-\udfff]")  # NUL ends a text in SQLite, and half a surrogate pair is no character
# Quotes, backslashes and control characters end or escape a name in SQL or in a JSON path.
_UNNAMEABLE = re.compile(r'["\\\x00-\x1f\x7f-\x9f]+')
_WORDS_OF_SQL = {"true", "false", "null", "rowid", "oid", "_rowid_"}  # never a column's name, where SQLite reads them
_NUMBER = re.compile(r"[+-]?(\d+|\d+\.\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FORMULA = re.compile(r"'*[=@+\-\t\r]")
_LONGEST = 4_000  # digits of a number: Python refuses to read more than 4,300
_HIDDEN = {"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"}  # categories that move the cursor, turn the text or show nothing

Scalar = str | int | float | bool | None


def valid_text(text: str) -> str:
    """Text that can be stored: what is no character becomes `�`."""
    return _UNFIT.sub(REPLACEMENT, text)


# What parentheses mean nothing within: texts, quoted names, comments. As SQLite's own tokenizer has them.
_OPAQUE = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)""", re.DOTALL)


def leaves_its_parentheses(condition: str) -> bool:
    """Whether a condition closes a parenthesis it did not open, or leaves one open: it would change the statement."""
    depth = 0
    for sign in re.findall(r"[()]", _OPAQUE.sub(" ", condition)):
        depth += 1 if sign == "(" else -1
        if depth < 0:
            break
    return depth != 0


def column_name(name: str) -> str:
    """A name that a condition can use, or "" where nothing of it is left.

    `"`, `\\` and control characters become `_`; a word that SQLite reads as a value gets the prefix `meta_`.
    """
    plain = _UNNAMEABLE.sub("_", unicodedata.normalize("NFC", valid_text(name.replace("\0", "_")))).strip()
    return f"meta_{plain}" if plain.lower() in _WORDS_OF_SQL else plain


def as_number(text: str) -> Scalar:
    """A cell's text as the number it is, else as it was; NaN for a number that is none or too large.

    Leading zeros make an identifier, and so does `_`.
    """
    plain = text.strip()
    if plain.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return math.nan
    digits = plain.lstrip("+-")
    if not _NUMBER.fullmatch(plain) or (len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()):
        return text
    if len(plain) > _LONGEST:
        return math.nan
    try:
        return int(plain)
    except ValueError:
        return float(plain)


def is_finite(value: object) -> bool:
    """Whether SQLite's JSON can carry a value: NaN, infinities and numbers beyond a float it cannot."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def finite_json(value: Any) -> Any:
    """Nested lists and dicts with null for every number that JSON has no word for."""
    if isinstance(value, dict):
        return {key: finite_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(inner) for inner in value]
    return value if is_finite(value) else None


def defused(cell: object) -> object:
    """A cell of a CSV that no spreadsheet takes for a formula: `=1+1` becomes `'=1+1`. Numbers stay."""
    is_formula = isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell


def undefused(cell: str) -> str:
    """The reverse of `defused`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def to_json(value: Any, **how: Any) -> str:
    """A value as JSON, as `json.dumps` writes it; numbers that are none become null."""
    return json.dumps(finite_json(value), allow_nan=False, **how)


def plural(count: int, thing: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def escaped(text: str) -> str:
    """Text for one line of a terminal: control characters, line ends and turns of direction shown as `\\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in text)


def _escape(character: str) -> str:
    if character in ("\n", "\r", "\t"):
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    if character == "\N{ZERO WIDTH JOINER}":  # which emoji are joined by
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
