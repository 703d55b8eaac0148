"""`curator tag`, `remove` and `roots`: a person's own changes to what the index says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from curator.database.actions import recorded
from curator.database.listed import each_known
from curator.errors import UnknownName, UsageError
from curator.images import absolute
from curator.index import Index
from curator.records import FORGOTTEN, Root
from curator.registry import suggest
from curator.texts import escaped, plural, valid_text

_LONGEST = {"label": 200, "caption": 10_000}  # characters
EDITED = tuple(_LONGEST)


def tag_images(index: Index, ids: Sequence[int], tags: Sequence[str], *, off: bool = False) -> None:
    """Put tags on images, or take them off.

    Raises `UsageError` for an empty tag or one with white space, `UnknownName` for an id that is not in the index.
    """
    for tag in tags:
        if not tag or any(c.isspace() for c in tag):
            raise UsageError(f"a tag is one word without spaces, not {tag!r}; separate several by commas")
    text = f"{'take off' if off else 'tag'} {', '.join(tags)}: {plural(len(ids), 'image')}"
    with index.write() as db, db.atomic():
        db.images(ids)
        with recorded(db, index.who, text, tags=ids):
            (db.untag if off else db.tag)(ids, tags)


def edit_images(index: Index, ids: Sequence[int], texts: Mapping[str, str | None]) -> None:
    """Write the "label" or "caption" of images into the index, or both; None gives back what their files say.

    It stands whatever later scans find; no file is changed. Raises `UsageError`, `UnknownName`.
    """
    for what, value in texts.items():
        if what not in EDITED:
            raise UsageError(f"no '{what}' that a person may write; there are: {', '.join(EDITED)}")
        if value is not None and (not value.strip() or "\0" in value or len(value) > _LONGEST[what]):
            raise UsageError(f"a {what} is a text of 1 to {_LONGEST[what]:,} characters, not {value[:40]!r}")
    fit = {what: None if value is None else valid_text(value.strip()) for what, value in texts.items()}
    said = [f"{w} as the files say" if v is None else f"{w} '{escaped(v[:60])}'" for w, v in fit.items()]
    with index.write() as db, db.atomic():
        db.images(ids)
        text = f"{' and '.join(said)}: {plural(len(ids), 'image')}"
        with recorded(db, index.who, text, edits=[f"{i}/{what}" for i in ids for what in fit]):
            for what, value in fit.items():
                db.edit(what, dict.fromkeys(ids, value))


def remove_images(index: Index, ids: Sequence[int]) -> int:
    """Take images out of the index → how many were in it.

    Their files stay where they are, and later scans leave them out.
    """
    with index.write() as db, db.atomic(), recorded(db, index.who, f"remove {plural(len(ids), 'image')}", removals=ids):
        count = db.remove(ids, by_hand=True)
        index.step("removal written")
    return count


def restore_images(index: Index, ids: Sequence[int]) -> int:
    """Undo `remove_images` → how many had been removed. One that is gone from disk comes back when its file does."""
    text = f"take {plural(len(ids), 'image')} back into the index"
    with index.write() as db, db.atomic(), recorded(db, index.who, text, removals=ids):
        return db.restore(ids)


def repoint_root(index: Index, old: str, new: Path) -> None:
    """The root `old` (path or id) is now at `new`. Raises `UnknownName`, or `UsageError` where `new` is in use."""
    root, roots = _root(index, old), index.reader.roots()
    new = absolute(new)
    forgotten = [r for r in roots if r.path == new and FORGOTTEN in r.options]
    others = [r.path for r in roots if r.id != root.id and r not in forgotten]
    inside = next((o for o in others if new.is_relative_to(o) or o.is_relative_to(new)), None)
    if inside is not None:
        raise UsageError(f"{new} and the root {inside} lie in each other; roots must lie apart")
    options = dict(root.options)
    if options.get("table") and Path(options["table"]).is_relative_to(root.path):  # its CSV has moved along
        options["table"] = str(new / Path(options["table"]).relative_to(root.path))
    with index.write(alone=True) as db, db.atomic():
        for other in forgotten:  # its tombstones stay, under a name that no folder has
            db.repoint_root(other.id, Path(f"{other.path}#forgotten-{other.id}"))
        db.repoint_root(root.id, new)
        db.set_root_options(root.id, options)


def forget_root(index: Index, named: str) -> int:
    """Leave a root out from now on; its images become tombstones → their number.

    Indexing the folder brings them back.
    """
    root = _root(index, named)
    ids = [k.id for _, k in each_known(index.reader, root.id) if k.removed is None]
    with index.write(alone=True) as db, db.atomic():
        db.remove(ids, by_hand=False)
        db.set_root_options(root.id, {FORGOTTEN: True})
    return len(ids)


def _root(index: Index, named: str) -> Root:
    roots = index.reader.roots()
    for root in roots:
        if named in (str(root.id), str(root.path)) or absolute(Path(named)) == root.path:
            return root
    raise UnknownName(f"no root '{named}'; {suggest(named, [str(r.path) for r in roots])}")
