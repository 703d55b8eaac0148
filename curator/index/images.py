"""Images of an index by what names them, with their vectors, contents and values of columns."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.database import FEW, Curation, Selections
from curator.embeddings import find_sorted, normalise
from curator.errors import UnknownName, UsageError, WhereError
from curator.images import absolute
from curator.index import Index
from curator.records import Ids, Image, Selection, Vectors
from curator.registry import suggest

_WORD = re.compile(r"[\w.+~/\\-]+")  # a name or a path: a condition compares


def vectors_of(index: Index, ids: Ids, *, few: int = FEW) -> NDArray[np.float16]:
    """(n, d) stored vectors of images, in their order: up to `few` are looked up, for more all are read through.

    Raises `UnknownName` for one without.
    """
    if len(ids) > few:
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        x = np.empty((len(ids), index.space.dim), np.float16)
        filled = 0
        for block_ids, block in index.reader.vector_blocks(index.space):
            positions, is_wanted = find_sorted(block_ids, ordered)
            x[order[is_wanted]] = block[positions[is_wanted]]
            filled += int(is_wanted.sum())
        if filled == len(ids):
            return x
    # Few, or not all are present any more; this says so for one that never had a vector.
    return index.reader.vectors(index.space, ids.tolist()).astype(np.float16)


def unit_vectors_of(index: Index, ids: Ids) -> Vectors:
    """(n, d) float32 unit rows of images, in their order. Raises `UnknownName` for one without a vector."""
    return normalise(vectors_of(index, ids).astype(np.float32))


def have_content(index: Index, ids: Ids, digests: Container[bytes]) -> NDArray[np.bool_]:
    """(n,) whether the content of each image is one of `digests`."""
    return np.array([h in digests for h in Selections(index.reader).sha256_of(ids)], bool)


def refuse_changed(index: Index, s: Selection) -> None:
    """Raise `UsageError` where an image of a selection is not in the index any more, or is another picture now."""
    gone = np.setdiff1d(s.ids, index.reader.ids_where("1"))
    now = Selections(index.reader).sha256_of(s.ids)
    changed = [int(i) for i, h, then in zip(s.ids, now, s.sha256, strict=True) if h != then]
    if len(gone) or changed:
        image = index.images([int(gone[0]) if len(gone) else changed[0]])[0]
        raise UsageError(
            f"{len(gone)} images of '{s.name}' are gone and {len(changed)} have changed since it was selected, such "
            f"as {image.path}; "
            "select again, or `select --replay MANIFEST --as-listed` takes those that are there"
        )


def codes_of(index: Index, ids: Ids, column: str) -> NDArray[np.int64]:
    """(n,) a code for each value of a column, in the order of the values as text; −1 where there is none.

    Raises `WhereError`.
    """
    values = index.reader.values_of(column)
    names = sorted({str(values[int(i)]) for i in ids if values[int(i)] is not None})
    code = {name: c for c, name in enumerate(names)}
    return np.array([-1 if values[int(i)] is None else code[str(values[int(i)])] for i in ids], np.int64)


def find_images(index: Index, named: str) -> Ids:
    """Ids of a selection, of a folder's images, or of those for which a condition holds.

    They are present and have a vector. Raises `UnknownName` for one word that names neither, `UsageError` for what is
    no condition.
    """
    selections = Selections(index.reader)
    present = Curation(index.reader).nodes(index.space).image_ids
    if named in selections.names():
        ids = selections.get(named).ids
        return ids[np.isin(ids, present)]
    folder = absolute(Path(named))
    if os.path.isdir(folder):  # noqa: PTH112 - a condition may be too long for a name, which Path.is_dir raises for
        within = np.intersect1d(index.reader.ids_below(folder), present)
        if not len(within):
            raise UsageError(f"no image of the index lies in {folder}; `curator index {named}` adds it")
        return within
    if _WORD.fullmatch(named):
        raise UnknownName(f"no selection or folder '{named}'; {suggest(named, selections.names())}")
    try:
        ids = index.reader.ids_where(named)
    except WhereError as error:
        raise UsageError(f"'{named}' names no selection and no folder, and is no condition either: {error}") from error
    if not len(ids):
        raise UsageError(f"'{named}' names no selection and no folder, and as a condition holds for no image")
    return ids[np.isin(ids, present)]


def relative(image: Image, roots: Sequence[Path]) -> str:
    """An image's path below its root, with `/`."""
    return image.path.relative_to(next(r for r in roots if image.path.is_relative_to(r))).as_posix()


def find_ids(index: Index, named: Sequence[str], *, where: str | None = None, removed: bool = False) -> list[int]:
    """Ids of images named by id (`12`, `id:12`) or path, and of all for which `where` holds.

    With `removed` they are those removed by hand. Raises `UnknownName`, `WhereError`, or `UsageError` where nothing is
    named.
    """
    ids = [_named(index, n, removed=removed) for n in named]
    ids += [int(i) for i in index.reader.ids_where(where, removed=removed)] if where else []
    if not named and not where:
        raise UsageError("name images by id or path, or give --where")
    return list(dict.fromkeys(ids))


def _named(index: Index, name: str, *, removed: bool) -> int:
    number = name.removeprefix("id:")
    if number.isdecimal():
        return index.images([int(number)])[0].id
    image_id = index.reader.find(absolute(Path(name)), removed=removed)
    if image_id is None:
        what = "no image removed by hand" if removed else "no image"
        raise UnknownName(
            f"{what} at {name} in this index; `curator index` adds files, `curator skipped` lists unreadable ones"
        )
    return image_id
