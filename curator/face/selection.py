"""A selection that knows its files: paths, labels, a table, a data set for torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator import records
from curator.index.images import refuse_changed
from curator.records import Image

if TYPE_CHECKING:
    from curator.face.index import Index


@dataclass(frozen=True, eq=False, repr=False)
class Selection(records.Selection):
    """Images in an order of which every prefix is the choice for a smaller budget. It never changes."""

    index: Index | None = field(default=None, repr=False)

    @classmethod
    def of(cls, selection: records.Selection, index: Index) -> Selection:
        """The same selection, which can now be looked into."""
        shared = {f.name: getattr(selection, f.name) for f in fields(selection) if f.name != "index"}
        return cls(**shared, index=index)

    @cached_property
    def images(self) -> list[Image]:
        """Records of the images, in order, asked for once."""
        assert self.index is not None
        return self.index.images(self.ids)

    @property
    def paths(self) -> list[Path]:
        """Files of the images, in order."""
        return [i.path for i in self.images]

    @property
    def labels(self) -> list[str | None]:
        """Labels of the images, in order; None for an image without one."""
        return [i.label for i in self.images]

    def to_torch(
        self, transform: Callable[[Any], Any] | None = None, *, side: int | None = None, fit: str = "crop"
    ) -> Any:
        """A `torch.utils.data.Dataset` of (picture, class): see `curator.runs.dataset.ImageDataset`.

        `transform` is given a `PIL.Image`, RGB, at `side` pixels if that is named, made square by `fit` ("crop" or
        "squash"). Without it a picture is a tensor (3, H, W) float32 in [−1, 1], as the bundled trainers see it. Raises
        `UsageError` where an image of the selection has changed or is gone.
        """
        from curator.runs.dataset import ImageDataset

        assert self.index is not None
        refuse_changed(self.index, self)
        return ImageDataset(self.paths, self.labels, transform=transform, side=side, fit=fit)

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with a row for each image: rank, value, split, and what `Image` holds."""
        import pandas as pd

        rows = zip(self.images, self.values.tolist(), self.splits, strict=True)
        return pd.DataFrame([vars(i) | {"rank": n, "value": v, "split": s} for n, (i, v, s) in enumerate(rows)])

    def __repr__(self) -> str:
        """Its name, size and how it was made."""
        origin = self.recipe.get("made_by") or f"by {self.recipe.get('recipe', {}).get('by', '?')}"
        return f"<selection '{self.name}': {len(self)} images, {origin}, {self.digest[:12]}>"
