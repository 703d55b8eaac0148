"""Hits that can be walked, turned into a table, drawn, and looked at in a notebook."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from PIL import Image as Pillow

from curator import records
from curator.drawing.sheets import Section, Tile, draw_sheet, save_sheet
from curator.errors import PictureError
from curator.images import read_picture
from curator.records import Image

if TYPE_CHECKING:
    from curator.face.index import Index

_THUMBNAIL = 128  # pixels in a notebook
_SHOWN = 24  # hits in a notebook


@dataclass(frozen=True)
class Hit:
    """One answer to a search.

    `score` is the inner product of unit vectors, at most 1; `z` is how many spreads it lies above what the query scores
    on unrelated images; `confidence` in [0, 1], NaN where nothing is known of it.
    """

    image: Image
    score: float
    z: float
    confidence: float


@dataclass(frozen=True, eq=False, repr=False)
class Hits(records.Hits):
    """The answer to a search, best first: a sequence of `Hit`, with the arrays `ids`, `scores`, `z`, `confidence`."""

    index: Index | None = field(default=None, repr=False)

    @classmethod
    def of(cls, hits: records.Hits, index: Index) -> Hits:
        """The same hits, which can now be looked at."""
        return cls(**{f.name: getattr(hits, f.name) for f in fields(hits) if f.name != "index"}, index=index)

    @cached_property
    def images(self) -> list[Image]:
        """Records of the hits' images, asked for once."""
        assert self.index is not None
        return self.index.images(self.ids)

    def __iter__(self) -> Iterator[Hit]:
        """Hits, best first."""
        return (self[position] for position in range(len(self)))

    @overload
    def __getitem__(self, at: int) -> Hit: ...
    @overload
    def __getitem__(self, at: slice) -> Hits: ...
    def __getitem__(self, at: int | slice) -> Hit | Hits:
        """One hit, or the hits of a slice."""
        if isinstance(at, slice):
            arrays = {name: getattr(self, name)[at] for name in ("ids", "scores", "z", "confidence")}
            return replace(self, **arrays)
        return Hit(self.images[at], float(self.scores[at]), float(self.z[at]), float(self.confidence[at]))

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with a row for each hit: id, path, score, z, confidence, label, caption, and so on."""
        import pandas as pd

        rows = [vars(hit.image) | {"score": hit.score, "z": hit.z, "confidence": hit.confidence} for hit in self]
        return pd.DataFrame(rows)

    def sheet(self, target: str | Path | None = None, *, columns: int = 6) -> Pillow.Image:
        """A contact sheet of the hits, written to `target` (.png or .jpg) if it is named. Raises `UsageError`."""
        tiles = [Tile(h.image.path, f"{h.score:.3f}  {_said(h.image)}", f"id:{h.image.id}") for h in self]
        sections = [Section(f"{len(self)} of {self.searched}", tiles)]
        if target is not None:
            save_sheet(sections, Path(target).expanduser(), columns=columns)
        return draw_sheet(sections, columns=columns)

    def __repr__(self) -> str:
        """The best hits in a few lines."""
        lines = [f"  {h.score:.3f}  id {h.image.id:<6} {_said(h.image)}  {h.image.path}" for h in self[:5]]
        more = [f"  … {len(self) - 5} more"] if len(self) > 5 else []
        unclear = [] if self.clear else ["  Nothing here clearly matches."]
        return "\n".join([f"<{len(self)} hits of {self.searched} searched>", *lines, *more, *unclear])

    def _repr_html_(self) -> str:
        """Pictures with their scores, for a notebook; nothing is loaded from anywhere."""
        figures = "".join(
            f'<figure style="display:inline-block;margin:4px;width:{_THUMBNAIL}px">{_thumbnail(h.image.path)}'
            f"<figcaption>{h.score:.3f} {html.escape(_said(h.image))}<br>id {h.image.id}</figcaption></figure>"
            for h in self[:_SHOWN]
        )
        unclear = "" if self.clear else "<p>Nothing here clearly matches; these are only the nearest.</p>"
        return f"<div>{figures}</div><p>{len(self)} of {self.searched} searched.</p>{unclear}"


def _said(image: Image) -> str:
    return image.label or image.caption or ""


def _thumbnail(path: Path) -> str:
    """An `<img>` that holds its own pixels, or the reason why there is none."""
    try:
        picture = read_picture(path, side=_THUMBNAIL)
    except PictureError as error:
        return f"<small>{html.escape(str(error))}</small>"
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}">'
