"""Index folders of images with CLIP, search them by words or pictures, and curate training data.

    import curator

    with curator.open() as index:  # or the name of an index, or its path
        hits = index.search("red shoe", where="width >= 256", k=20)
        for hit in hits:
            print(f"{hit.score:.3f} {hit.image.path}")

The names in `__all__` keep their meaning from one minor version to the next; what else can be imported may change at
any time. `curator guide python` shows them at work.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curator.errors import CuratorError, IndexLocked, NoIndex, UnknownName, UsageError, WhereError
    from curator.face import Hit, Hits, Index, Selection
    from curator.face import open_index as open  # noqa: A004 - `curator.open`, as `gzip.open`
    from curator.job import Job
    from curator.records import Image, Progress
    from curator.training.folder import Run

    __version__: str

__all__ = [
    "CuratorError", "Hit", "Hits", "Image", "Index", "IndexLocked", "Job", "NoIndex", "Progress", "Run", "Selection",
    "UnknownName", "UsageError", "WhereError", "__version__", "open",
]  # fmt: skip

_HOMES = {
    "CuratorError": "curator.errors",
    "Hit": "curator.face",
    "Hits": "curator.face",
    "Image": "curator.records",
    "Index": "curator.face",
    "IndexLocked": "curator.errors",
    "Job": "curator.job",
    "NoIndex": "curator.errors",
    "Progress": "curator.records",
    "Run": "curator.training.folder",
    "Selection": "curator.face",
    "UnknownName": "curator.errors",
    "UsageError": "curator.errors",
    "WhereError": "curator.errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import curator` costs nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("image-curator")
    if name == "open":
        return import_module("curator.face").open_index
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'curator' has no attribute '{name}'")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
