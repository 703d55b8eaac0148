"""`curator search`: read a query, turn it into one vector, and ask the index.

The query language is rclip's: terms joined by `+` and `-`, each with an optional weight, each being words, a picture
file, or an image's id.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from curator.database import Selections, all_of, quoted
from curator.embeddings import Comparison, compare, normalise
from curator.encoders import Encoder
from curator.errors import UsageError
from curator.images import SUFFIXES, absolute, decode, read_picture
from curator.index import Index
from curator.index.sureness import why_unsure
from curator.records import Hits, Vectors
from curator.registry import suggest

_WEIGHT = re.compile(r"^(\d+(?:\.\d+)?|\.\d+):(?=\S)")
_ID = re.compile(r"^id:(\d{1,30})$")
_PICTURE = re.compile(r"^picture:[0-9a-f]{64}$")


@dataclass(frozen=True)
class Term:
    """One part of a query; `weight` is negative for a minus sign.

    `kind` is "text", "id", "concept", "picture" (one that was encoded before, by its SHA-256), "file" or "stdin".
    """

    kind: str
    value: str
    weight: float = 1.0


def parse_query(words: Sequence[str], *, files: bool = True) -> list[Term]:
    """Arguments of the command line → terms; words that follow each other belong together.

    `-` alone, or last, is a picture on standard input; before another term it is a minus. Without `files` no file is
    opened, nor looked for, whatever the words say. Raises `UsageError`.
    """
    if len(words) == 1 and not (files and _is_file(words[0])):  # the whole query in one pair of quotes
        words = re.split(r"\s+([+-])\s+", words[0])
    terms: list[Term] = []
    sign, pending = 1.0, list[str]()

    def finish() -> None:
        if pending:
            terms.append(_term(" ".join(pending), sign, files=files))
            pending.clear()

    for position, word in enumerate(words):
        is_last = position == len(words) - 1
        if word in ("+", "-") and not is_last:
            finish()
            sign = -1.0 if word == "-" else 1.0
        elif word == "-":
            finish()
            if not files:
                raise UsageError("the query ends with '-'; a term must follow it")
            terms.append(Term("stdin", "-", sign))
        elif word == "+":
            raise UsageError("the query ends with '+'; a term must follow it")
        else:
            pending.append(word)
    finish()
    if not terms:
        raise UsageError(
            'no query; say what to look for: words, ./picture.jpg, id:123, or "2:red shoe" + ./shoe.jpg - sandal'
        )
    return terms


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # too long for a name, ~ of nobody, or a NUL in it
        return False


def _term(text: str, sign: float, *, files: bool) -> Term:
    weight = _WEIGHT.match(text)
    if weight:
        text = text[weight.end() :]
    scale = sign * (float(weight[1]) if weight else 1.0)
    if not math.isfinite(scale):
        raise UsageError("the weight of a term is too large; only what it is beside the others matters")
    if not text.strip():
        raise UsageError("an empty term in the query; say what to look for")
    number = _ID.match(text)
    if number:
        return Term("id", number[1], scale)
    if text.startswith("concept:"):
        return Term("concept", text.removeprefix("concept:"), scale)
    if _PICTURE.match(text):
        return Term("picture", text.removeprefix("picture:"), scale)
    if text.startswith("id:"):
        raise UsageError(f"'{text}' is no id; `id:` takes a number, as `curator search` shows it")
    if not files:
        if text.startswith(("./", "../", "/", "~/")):
            raise UsageError("no file is opened by its name here; paste or drop the picture, or take an image by id:")
        return Term("text", text, scale)
    if text.startswith(("./", "../", "/", "~/")) or (Path(text).suffix.lower() in SUFFIXES and _is_file(text)):
        return Term("file", text, scale)
    if Path(text).suffix.lower() in SUFFIXES and not _is_file(text) and " " not in text:
        raise UsageError(f"no file {text}; to search for these words all the same, write them with a space")
    return Term("text", text, scale)


def query_vector(
    index: Index,
    terms: Sequence[Term],
    *,
    stdin: bytes = b"",
    remember: bool = True,
    known: Mapping[str, Vectors] = MappingProxyType({}),
) -> Vectors:
    """Weighted sum of the terms' unit vectors, as unit row (d,); `known` has those of words that were encoded before.

    Raises `UsageError` where they cancel out.
    """
    vectors = [
        t.weight
        * (known[t.value] if t.kind == "text" and t.value in known else _vector(index, t, stdin, remember=remember))
        for t in terms
    ]
    total = np.stack(vectors).sum(0, np.float32, keepdims=True)
    try:
        return normalise(total).ravel()
    except ValueError as error:
        raise UsageError("the terms of the query cancel each other out; change a weight") from error


def _vector(index: Index, term: Term, stdin: bytes, *, remember: bool) -> Vectors:
    if term.kind == "text":
        return index.vector_of_text(term.value, remember=remember)
    if term.kind == "id":
        return index.vector_of_id(int(term.value))
    if term.kind == "concept":
        return normalise(Selections(index.reader).concept(index.space, term.value).vector[None]).ravel()
    if term.kind == "file":
        return index.vector_of_file(Path(term.value))
    if term.kind == "picture":
        return _remembered(index, term.value)
    return index.encoder.encode_images([decode(stdin).picture]).ravel()


def picture_key(sha256: str) -> str:
    """Under which the vector of a picture that is not in the index is remembered."""
    return f"picture:{sha256}"


def _remembered(index: Index, sha256: str) -> Vectors:
    q = index.reader.cached_query(index.space, picture_key(sha256))
    if q is None:
        raise UsageError("this picture is not remembered here any more; paste or drop it again")
    return q


@dataclass(frozen=True)
class Question:
    """Everything of a search but the query: `label`, `origin` and `tag` are shorthands for a `where`."""

    k: int = 20
    where: str | None = None
    label: str | None = None
    origin: str | None = None
    tag: str | None = None
    min_score: float | None = None
    min_confidence: float | None = None
    unique: bool = False
    exact: bool = False  # compare every match

    def condition(self) -> str | None:
        """All limits on metadata as one SQL condition. Raises `WhereError` for unbalanced parentheses."""
        parts = [self.where] if self.where else []
        for column in ("label", "origin"):
            value = getattr(self, column)
            if value is not None:
                parts.append(f"{column} = {quoted(value)}")
        if self.tag is not None:
            parts.append(f"instr(' ' || tags || ' ', {quoted(f' {self.tag} ')}) > 0")
        return all_of(*parts) if parts else None


def search(index: Index, terms: Sequence[Term], question: Question, *, stdin: bytes = b"") -> Hits:
    """The hits for a parsed query. Raises what `Index.search` raises."""
    return answer(index, query_vector(index, terms, stdin=stdin), question, is_words=is_plain(terms))


def is_plain(terms: Sequence[Term]) -> bool:
    """Whether a query is words and nothing else, of which alone it is known how sure a hit is."""
    return len(terms) == 1 and terms[0].kind == "text" and terms[0].weight > 0


def answer(index: Index, q: Vectors, question: Question, *, is_words: bool) -> Hits:
    """The hits for a unit vector (d,); `is_words` as of `Index.nearest`."""
    hits = index.nearest(
        q,
        question.k,
        where=question.condition(),
        min_score=question.min_score,
        unique=question.unique,
        is_words=is_words,
        exact=question.exact,
    )
    hits = replace(hits, notes=hits.notes + _unknown_values(index, question)) if not hits.searched else hits
    if question.min_confidence is None:
        return hits
    if len(hits) and np.isnan(hits.confidence[0]):
        why = "" if index.is_served or not is_words else f": {why_unsure(index.reader, index.space)}"
        raise UsageError(
            "how sure a hit is has not been learnt "
            + (f"in this space{why} (see `curator guide search`)" if is_words else "but for plain words")
            + "; leave out --min-confidence, or take --min-score"
        )
    sure = hits.confidence >= question.min_confidence
    arrays = (hits.ids[sure], hits.scores[sure], hits.z[sure], hits.confidence[sure])
    return Hits(*arrays, hits.searched, hits.exact, bool(sure.any()), hits.notes)


def _unknown_values(index: Index, question: Question) -> tuple[str, ...]:
    """Why a search compared nothing, where a label or tag is simply not there."""
    if index.is_served:
        return ()
    known = {"label": [v for v, _ in index.reader.breakdown("label")], "tag": index.reader.tags()}
    asked = ((kind, getattr(question, kind)) for kind in known)
    return tuple(
        f"no image has the {kind} '{v}'; {suggest(v, known[kind])}" for kind, v in asked if v and v not in known[kind]
    )


def compare_two(index: Index, a: Term, b: Term) -> Comparison:
    """Inner product, angle and lengths of two terms' vectors in the index's space; an id's vector is the stored one."""
    return compare(*(_stored(index, t) if t.kind == "id" else _encoded(index.encoder, t) for t in (a, b)))


def indexed(index: Index, term: Term) -> int | None:
    """The id of a term that names an image of the index, by id or path."""
    if term.kind == "id":
        return int(term.value)
    return index.reader.find(absolute(Path(term.value).expanduser())) if term.kind == "file" else None


def compare_in(encoder: Encoder, a: Term, b: Term) -> Comparison:
    """The same without an index. Raises `UsageError` for an id."""
    return compare(*(_encoded(encoder, t) for t in (a, b)))


def _stored(index: Index, term: Term) -> Vectors:
    return index.vector_of_id(int(term.value)) * np.float32(index.reader.norms(index.space, [int(term.value)])[0])


def _encoded(encoder: Encoder, term: Term) -> Vectors:
    """A term's vector (d,) with the length its encoder gave it."""
    if term.kind == "text":
        return encoder.project_texts([term.value]).ravel()
    if term.kind != "file":
        raise UsageError(
            f"'{term.kind}:{term.value}' can only be compared within an index; name a picture file or words"
        )
    return encoder.project_images(encoder.prepare(read_picture(Path(term.value).expanduser()))[None]).ravel()
