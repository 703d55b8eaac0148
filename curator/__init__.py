"""Index folders of images with CLIP, search them by words or pictures, and curate training data.

>>> from curator import Index
>>> with Index.open("photos") as index:
...     hits = index.search(text="red shoe", where="width >= 256", k=20)
...     for image, score in zip(index.images(hits.ids), hits.scores):
...         print(f"{score:.3f} {image.path}")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curator.index import Index

__all__ = ["Index"]


def __getattr__(name: str) -> Any:
    if name == "Index":
        from curator.index import Index

        return Index
    raise AttributeError(f"module 'curator' has no attribute '{name}'")
