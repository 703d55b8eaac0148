"""How a folder is read: what a person may say of it, and what is remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from curator.errors import UsageError


@dataclass(frozen=True)
class IngestOptions:
    """How to read a root. None means: as last time, else the default.

    `exclude` globs; `label_from` "folder" or a column's name; `label_from_name` a regular expression; `table` a CSV,
    JSON-lines or parquet file joined by `key` or the usual columns; `encoding` of texts that are not UTF-8; `origin`
    "real" or "generated". `allow_empty` believes a root that has lost every picture; `retry` reads skipped files again.
    """

    exclude: tuple[str, ...] | None = None
    label_from: str | None = None
    label_from_name: str | None = None
    table: str | None = None
    key: str | None = None
    encoding: str | None = None
    origin: str | None = None
    allow_empty: bool = False
    retry: bool = False

    def __post_init__(self) -> None:
        globs: Any = self.exclude
        if globs is not None:  # one glob alone is not a list of its letters
            object.__setattr__(self, "exclude", (globs,) if isinstance(globs, str) else tuple(globs))
        if self.label_from and self.label_from_name:
            raise UsageError("--label-from and --label-from-name both say where labels come from; name one")
        if self.encoding:
            try:
                b"a".decode(self.encoding)
            except (LookupError, UnicodeError) as error:
                raise UsageError(f"no encoding '{self.encoding}'; cp1252, gbk and shift_jis are some") from error

    def over(self, stored: Mapping[str, object]) -> IngestOptions:
        """These options, with what they leave open taken from a root's stored ones."""
        filled: dict[str, Any] = {k: v if v is not None else stored.get(k) for k, v in asdict(self).items()}
        filled["exclude"] = tuple(filled["exclude"] or ())
        # Where labels come from is one choice: a new one takes the place of the other.
        if self.label_from:
            filled["label_from_name"] = None
        elif self.label_from_name:
            filled["label_from"] = None
        return IngestOptions(**filled)

    def to_store(self) -> dict[str, object]:
        names = ("label_from", "label_from_name", "table", "key", "encoding", "origin")
        stored = {"exclude": list(self.exclude or ())} | {name: getattr(self, name) for name in names}
        return {k: v for k, v in stored.items() if v}
