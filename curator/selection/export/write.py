"""One export: items named, a form filled, a manifest and a description beside, and all of it put in place at once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from curator.database import Selections
from curator.errors import UsageError
from curator.files import whole_folder_for_user
from curator.images import may_be_transparent, seen_box, with_alpha
from curator.index import Index
from curator.index.images import refuse_changed, relative, vectors_of
from curator.job import QUIET, Job
from curator.records import Image, Selection
from curator.registry import suggest
from curator.selection.export.card import write_card
from curator.selection.export.croissant import write_croissant
from curator.selection.export.forms import write_table
from curator.selection.export.items import (
    ALPHAS,
    LINKS,
    ExportPlan,
    Item,
    forms,
    is_lossless,
    printable,
    scaled,
    selected_bytes,
    suffix_of,
    write_text,
)
from curator.selection.recipe import manifest_of
from curator.texts import plural, to_json

_SAFE = re.compile(r"[^\w.+-]+")
_UNLABELLED = "unlabelled"
_OF_FORMS = {"file_name", "image", "image_path", "text", "captions"}  # columns that forms have beside those of all


@dataclass(frozen=True)
class ExportOptions:
    """How to export: `form` by name, `link` "copy", "hardlink", "symlink" or "none".

    `size` is the long side in pixels, `shard` the images in a file of many; `splits` maps a selection to the name of
    the split that it becomes. `alpha`: transparency is kept, laid on white, or the picture is cut to what is seen and
    laid on white. `keep_folders` keeps the folders and names of the sources; `repeats` is kohya's.
    """

    form: str = "imagefolder"
    link: str = "copy"
    size: int | None = None
    alpha: str = "keep"
    keep_folders: bool = False
    repeats: int = 10
    shard: int = 1000
    splits: Mapping[str, str] = field(default_factory=dict)

    @property
    def reads(self) -> frozenset[str]:
        """The suffixes that the form's readers know, none for all: links stay what they are."""
        return forms[self.form].reads if self.link == "copy" else frozenset()

    def __post_init__(self) -> None:
        forms[self.form]
        if self.link not in LINKS:
            raise UsageError(f"no way to link '{self.link}'; {suggest(self.link, LINKS)}")
        if forms[self.form].packed and self.link != "copy":
            raise UsageError(
                f"--as {self.form} holds the pictures inside, so --link {self.link} means nothing; leave it out"
            )
        new = "--size" if self.size is not None else "--alpha" if self.alpha != "keep" else ""
        if new and self.link in ("hardlink", "symlink"):
            raise UsageError(f"{new} writes new pictures, so --link {self.link} cannot be; leave one of them out")
        if self.alpha not in ALPHAS:
            raise UsageError(f"no way '{self.alpha}' with transparency; {suggest(self.alpha, ALPHAS)}")
        if self.size is not None and not forms[self.form].takes_size(self.size):
            raise UsageError(f"--as {self.form} takes a --size of {forms[self.form].size_is}, not {self.size}")
        if self.keep_folders and (forms[self.form].packed or forms[self.form].has_repeats or self.link == "none"):
            raise UsageError(f"--keep-folders goes with pictures in folders, which --as {self.form} has not like this")
        if self.shard != type(self).shard and not forms[self.form].has_shards:
            raise UsageError(f"--shard goes with forms of several files, which --as {self.form} is not; leave it out")
        if self.repeats != type(self).repeats and not forms[self.form].has_repeats:
            raise UsageError("--repeats is kohya's, and means nothing to another form")


def export(
    index: Index,
    names: list[str],
    target: Path,
    options: ExportOptions = ExportOptions(),
    *,
    job: Job = QUIET,
) -> int:
    """Write selections into a new folder → number of images.

    Several are joined, each a split of its own name where it has none. Nothing is at `target` until all is. Raises
    `UsageError` for a folder that is there, a form that lacks something, or a file that is no longer what was selected;
    `UnknownName`.
    """
    target = target.expanduser().absolute()
    if len(set(names)) < len(names):
        raise UsageError("a selection is named twice; an export holds each once")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there already; an export takes a new or an empty folder")
    unknown = sorted(set(options.splits) - set(names))
    if unknown:
        raise UsageError(f"--split names '{unknown[0]}', which is not exported; {suggest(unknown[0], names)}")
    chosen = [Selections(index.reader).get(name) for name in names]
    labels = {i.label for s in chosen for i in index.images(s.ids) if i.label}
    items: list[Item] = []
    for s in chosen:
        refuse_changed(index, s)
        items += _items(index, s, options, labels, first=len(items), alone=len(chosen) == 1)
    _refuse_doubles(items)
    if options.keep_folders:
        roots = [r.path for r in index.reader.roots()]
        items = [replace(i, file=f) for i, f in zip(items, _kept_names(items, roots, options), strict=True)]
        _say_changed(items, roots, job)
    items = _with_columns(items)
    with whole_folder_for_user(target) as beside:
        plan = ExportPlan(
            beside, items, options.link, options.size, options.alpha, options.shard,
            lambda: vectors_of(index, np.array([i.image.id for i in items], np.int64)), job, options.reads,
        )  # fmt: skip
        plan = replace(plan, items=forms[options.form].write(plan) or plan.items)
        write_table(plan)
        write_card(plan, options.form)
        for s in chosen:
            manifest = manifest_of(index, s)
            file = "manifest.json" if len(chosen) == 1 else f"manifest-{s.name}.json"
            write_text(beside / file, to_json(manifest, indent=1) + "\n")
        write_croissant(beside, "+".join(names), {"count": len(items)}, list(plan.items[0].row()))
    return len(items)


def _items(
    index: Index, s: Selection, options: ExportOptions, labels: set[str], *, first: int, alone: bool
) -> list[Item]:
    """Items with names that are safe, unlike each other, and the same every time."""
    items = []
    images = index.images(s.ids)
    folders = _unlike(labels, {_UNLABELLED}) | {"": _UNLABELLED}
    for rank, (image, sha256, value, split) in enumerate(
        zip(images, s.sha256, s.values.tolist(), s.splits, strict=True)
    ):
        part = _safe(options.splits.get(s.name) or split or ("train" if alone else s.name))
        key = f"{first + rank:06d}-{sha256.hex()[:8]}"
        file = _file(image, key, part, folders.get(image.label or "", _UNLABELLED), options)
        item = Item(first + rank, key, image, sha256.hex(), part, value if math.isfinite(value) else None, file, s.name)
        items.append(_shown(item, options))
    return items


def _shown(item: Item, options: ExportOptions) -> Item:
    """With the size that the picture is exported in; what is cut is decoded for that."""
    image, box = item.image, None
    if options.alpha == "crop" and may_be_transparent(image.mode, image.format):
        box = seen_box(with_alpha(selected_bytes(item)))
        image = replace(image, width=box[2] - box[0], height=box[3] - box[1])
    shown = image if options.size is None else scaled(image, options.size)
    return replace(item, image=shown, pixels=(image.width, image.height), box=box)


def _kept_names(items: Sequence[Item], roots: Sequence[Path], options: ExportOptions) -> Iterator[str]:
    """Where each picture lies below its split when folders are kept; of two that would meet the second has its key."""
    form, taken = forms[options.form], set[str]()
    paths = [tuple(relative(item.image, roots).split("/")) for item in items]
    beside: dict[tuple[str, ...], set[str]] = {}  # the parts of a folder's path → the folders in it
    for *folders, _ in paths:
        for n, folder in enumerate(folders):
            beside.setdefault(tuple(folders[:n]), set()).add(folder)
    safe = {(*home, name): plain for home, names in beside.items() for name, plain in _unlike(names, set()).items()}
    for item, (*folders, name) in zip(items, paths, strict=True):
        plain = [*(safe[tuple(folders[: n + 1])] for n in range(len(folders))), _safe(Path(name).stem)]
        home = item.split if form.has_label_folders else str(Path(item.file).parent)
        suffix = Path(item.file).suffix
        stem = f"{home}/{'/'.join(plain)}"
        if stem.lower() in taken:  # whatever the suffix: side-cars have none
            stem += f"-{item.key}"
        taken.add(stem.lower())
        yield stem + suffix


def _say_changed(items: Sequence[Item], roots: Sequence[Path], job: Job) -> None:
    changed = [
        i for i in items
        if not i.file.rpartition(".")[0].endswith(str(Path(relative(i.image, roots)).with_suffix("")))
    ]  # fmt: skip
    if changed:
        example = f"{relative(changed[0].image, roots)} as {changed[0].file}"
        why = "could not be kept, as it is taken or not every file system has such names"
        job.say(f"Note: {plural(len(changed), 'name')} {why}, so {example}.")


def _with_columns(items: Sequence[Item]) -> list[Item]:
    """With all further columns that any of them has, of one type each; `meta_` before what is a form's own name."""
    fixed = (set(items[0].row()) if items else set()) | _OF_FORMS
    names = sorted({name for i in items for name in i.image.extra})
    columns = {
        f"meta_{name}" if name in fixed else name: _one_type([i.image.extra.get(name) for i in items]) for name in names
    }
    names = list(columns)
    return [replace(i, extra={name: columns[name][n] for name in names}) for n, i in enumerate(items)]


def _one_type(values: Sequence[Any]) -> list[Any]:
    """Values as they are, if they are of one kind; whole numbers among others as those, and else all as text."""
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {bool} or kinds <= {int} or kinds <= {float} or kinds <= {str}:
        return list(values)
    if kinds <= {int, float}:
        return [None if v is None else float(v) for v in values]
    return [v if v is None or isinstance(v, str) else to_json(v, ensure_ascii=False) for v in values]


def _safe(name: str) -> str:
    """A name that every file system takes."""
    return _SAFE.sub("_", name).lstrip(".") or "_"


def _unlike(names: set[str], taken: set[str]) -> dict[str, str]:
    """A safe name for each, unlike those of the others and those in `taken`, in upper case and lower.

    Those that are safe as they are come first.
    """
    unlike_names: dict[str, str] = {}
    taken = {t.lower() for t in taken}
    for name in sorted(names, key=lambda n: (_safe(n) != n, n)):
        plain, number = _safe(name), 1
        unlike = plain
        while unlike.lower() in taken:
            number += 1
            unlike = f"{plain}-{number}"
        taken.add(unlike.lower())
        unlike_names[name] = unlike
    return unlike_names


def _file(image: Image, key: str, split: str, folder: str, options: ExportOptions) -> str:
    if options.link == "none":
        return printable(str(image.path))
    form = forms[options.form]
    is_cut = options.alpha != "keep" and may_be_transparent(image.mode, image.format)
    suffix = ".png" if is_cut and is_lossless(image) else suffix_of(image, options.size)
    name = f"{key}{'.png' if options.reads and suffix not in options.reads else suffix}"
    return form.place(split, f"{options.repeats}_{folder}" if form.has_repeats else folder, name)


def _refuse_doubles(items: list[Item]) -> None:
    seen: dict[str, Item] = {}
    for i in items:
        other = seen.setdefault(i.sha256, i)
        if other.origin != i.origin:
            raise UsageError(
                f"{i.image.path} is in '{other.origin}' and in '{i.origin}'; split one selection, or use `selections "
                "minus`"
            )
    if not items:
        raise UsageError("the selection is empty, so there is nothing to export")
