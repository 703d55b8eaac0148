"""CLIP's byte-pair tokenizer (Radford et al. 2021), without importing open_clip or torch.

It reads open_clip's vocabulary file.
"""

from __future__ import annotations

import gzip
import html
import importlib.util
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.errors import EncoderError

_MERGES = 49152 - 256 - 2  # CLIP's vocabulary: 256 bytes, twice, these merges, and two marks
_CONTRACTIONS = r"'s|'t|'re|'ve|'m|'ll|'d"


class Tokenizer:
    """Texts → (b, context_length) int64: start mark, tokens, end mark, zeros.

    A long text is cut before its end mark.
    """

    start, end = 49406, 49407

    def __init__(self, context_length: int) -> None:
        self.context_length = context_length

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        tokens = np.zeros((len(texts), self.context_length), np.int64)
        for row, text in zip(tokens, texts, strict=True):
            ids = [self.start, *self.encode(text), self.end][: self.context_length]
            ids[-1] = self.end
            row[: len(ids)] = ids
        return tokens

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, without marks."""
        text = _clean(text)
        ids: list[int] = []
        for word in _words(text):
            if word in ("<start_of_text>", "<end_of_text>"):
                ids.append(self.start if "start" in word else self.end)
            else:
                ids.extend(self._vocabulary[part] for part in self._merge("".join(_BYTES[b] for b in word.encode())))
        return ids

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        text = gzip.decompress(_vocabulary_file().read_bytes()).decode("utf-8")
        lines = text.split("\n")[1 : _MERGES + 1]
        return {(a, b): rank for rank, (a, b) in enumerate(line.split() for line in lines)}

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        singles = [_BYTES[b] for b in _BYTE_ORDER]
        names = [*singles, *(s + "</w>" for s in singles), *(a + b for a, b in self._ranks)]
        return {name: number for number, name in enumerate(names)}

    def _merge(self, word: str) -> list[str]:
        """Join the best-ranked neighbours until none is ranked."""
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self._ranks.get(pair, _MERGES))
            if best not in self._ranks:
                break
            parts = _joined(parts, best)
        return parts


def _joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    i = 0
    while i < len(parts):
        if i + 1 < len(parts) and (parts[i], parts[i + 1]) == pair:
            out.append(parts[i] + parts[i + 1])
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


def _clean(text: str) -> str:
    """Mend encoding accidents, resolve HTML entities, fold white space and case."""
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy  # 0.1 s to import, and plain ASCII has nothing to mend

        text = ftfy.fix_text(text)
    return " ".join(html.unescape(html.unescape(text)).split()).lower()


@lru_cache(maxsize=2)
def _pattern(is_ascii: bool):  # type: ignore[no-untyped-def]  # re.Pattern or regex.Pattern
    marks = "<start_of_text>|<end_of_text>"
    if is_ascii:
        import re

        return re.compile(rf"{marks}|{_CONTRACTIONS}|[a-z]+|[0-9]|[^\sa-z0-9]+", re.IGNORECASE | re.ASCII)
    import regex

    return regex.compile(rf"{marks}|{_CONTRACTIONS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+", regex.IGNORECASE)


def _words(text: str) -> list[str]:
    return list(_pattern(text.isascii()).findall(text))


def _byte_names() -> tuple[list[int], dict[int, str]]:
    """GPT-2's printable stand-in for each byte: itself where printable in Latin-1, else a character from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [b for b in range(256) if b not in set(printable)]
    names = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}
    return printable + rest, names


_BYTE_ORDER, _BYTES = _byte_names()


def _vocabulary_file() -> Path:
    spec = importlib.util.find_spec("open_clip")  # finds, does not import
    if spec is None or spec.origin is None:
        raise EncoderError(
            "open_clip is not installed, and its vocabulary is needed for words; install open-clip-torch"
        )
    return Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz")
