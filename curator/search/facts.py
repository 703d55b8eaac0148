"""What an index holds, as records that any face can show: counts, roots, spaces, images, skipped files, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.database import Curation, Selections
from curator.database.curation import rejected_ids
from curator.database.listed import precisions_of, skipped_page
from curator.index import Index
from curator.records import FORGOTTEN, Decision, Ids, Image


@dataclass(frozen=True)
class RootFacts:
    """A folder of pictures: whether it is there now, and the options of its last `curator index`."""

    id: int
    path: Path
    reachable: bool
    options: Mapping[str, Any]


@dataclass(frozen=True)
class SpaceFacts:
    """A space: `active` is the one that searches use; `missing` images have no vector in it.

    `precisions` are the numbers that images were encoded in.
    """

    encoder: str
    dim: int
    fingerprint: str
    active: bool
    missing: int
    precisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Status:
    """An index in numbers; `values` maps origin, label and format to (value, images), the most first.

    `damaged` are databases that `curator repair` kept.
    """

    folder: Path
    counts: Mapping[str, int]
    roots: tuple[RootFacts, ...]
    spaces: tuple[SpaceFacts, ...]
    values: Mapping[str, Sequence[tuple[str, int]]]
    columns: tuple[str, ...]
    damaged: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ImageFacts:
    """An image with the columns that programs computed for it, and the selections that it is in.

    `state` is "present", "removed" (by hand, or its file is gone, as into quarantine) or "rejected" as a duplicate.
    """

    image: Image
    computed: Mapping[str, Any]
    selections: tuple[str, ...]
    state: str


@dataclass(frozen=True)
class Verdict:
    """A person's verdict on duplicates, with the present images that it speaks of and those it was given beside."""

    decision: Decision
    images: tuple[Image, ...]
    beside: tuple[Image, ...]


@dataclass(frozen=True)
class SkippedFile:
    """A file that could not be read, with the reason in words; `root` is the id of its folder."""

    path: Path
    reason: str
    root: int


def status(index: Index) -> Status:
    """Everything about an index that fits a screen, of one moment."""
    reader = index.reader
    with reader.snapshot():
        active = reader.active_space()
        spaces = (
            SpaceFacts(s.encoder, s.dim, s.fingerprint, s == active, len(reader.missing(s)), precisions_of(reader, s))
            for s in reader.spaces()
        )
        values = {column: reader.breakdown(column) for column in ("origin", "label", "format")}
        return Status(
            index.folder, reader.counts(), tuple(roots(index)), tuple(spaces), values, tuple(reader.columns()),
            tuple(sorted(index.folder.glob("index.damaged-*.db"))),
        )  # fmt: skip


def roots(index: Index, *, forgotten: bool = True) -> list[RootFacts]:
    """Registered folders, in the order they were added; without those left out from now on unless `forgotten`."""
    registered = (r for r in index.reader.roots() if forgotten or FORGOTTEN not in r.options)
    return [RootFacts(r.id, r.path, r.path.is_dir(), dict(r.options)) for r in registered]


def image_facts(index: Index, ids: Ids | Sequence[int]) -> list[ImageFacts]:
    """All that is known of images, in the order of `ids`. Raises `UnknownName`."""
    images = index.images(ids)
    stored = Selections(index.reader)
    computed, selected = stored.computed_of(ids), stored.selections_of(ids)
    curation = Curation(index.reader)
    present = curation.contents_of([i.id for i in images])
    rejected = rejected_ids(curation, [bytes.fromhex(i.sha256) for i in images])

    def state(image: Image) -> str:
        if image.id not in present:
            return "removed"
        return "rejected" if image.id in rejected else "present"

    return [ImageFacts(i, computed[i.id], tuple(selected[i.id]), state(i)) for i in images]


def skipped(index: Index, *, after: SkippedFile | None = None, limit: int = -1) -> list[SkippedFile]:
    """Files that could not be read, by root and path: all, or the next `limit` after one."""
    paths = {r.id: r.path for r in index.reader.roots()}
    last = (after.root, after.path.relative_to(paths[after.root]).as_posix()) if after else (-1, "")
    return [SkippedFile(paths[root] / s.path, s.reason, root) for root, s in skipped_page(index.reader, last, limit)]


def verdicts(index: Index, *, after: Decision | None = None, limit: int = -1) -> list[Verdict]:
    """Verdicts on duplicates, oldest first: all, or the next `limit` after one."""
    curation = Curation(index.reader)
    decisions = curation.decisions_page(after, limit)
    there = curation.with_content(list({h for d in decisions for h in (d.subject, d.other)}))
    images = {i.id: i for i in index.images(sorted({i for ids in there.values() for i in ids}))}

    def told(d: Decision) -> Verdict:
        speaks_of = [i for i in there.get(d.subject, ()) if d.subject_id in (0, i)]
        beside = [i for i in there.get(d.other, ()) if i not in speaks_of]
        return Verdict(d, tuple(images[i] for i in speaks_of), tuple(images[i] for i in beside))

    return [told(d) for d in decisions]


def run_names(index: Index) -> list[str]:
    """Names of the training runs, oldest first, told from their folders alone."""
    return sorted(p.parent.name for p in (index.folder / "runs").glob("*/options.json"))
