"""Selections made of selections: union, minus, and splits that duplicates never straddle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.database import Selections
from curator.database.actions import recorded
from curator.errors import UsageError
from curator.files import digest_of
from curator.index import Index
from curator.job import QUIET, Job
from curator.records import Selection
from curator.records.selections import NAME
from curator.selection.select import check_name, keep

_Row = tuple[int, bytes, float, str | None]  # image id, digest, value, split


@dataclass(frozen=True)
class Difference:
    """Images, by content, of one selection only, of the other only, and of both."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    both: tuple[int, ...]


def diff(index: Index, first: str, second: str) -> Difference:
    """Compare two selections by content, in their orders. Raises `UnknownName`."""
    a, b = (Selections(index.reader).get(name) for name in (first, second))
    in_a, in_b = set(a.sha256), set(b.sha256)
    only_a = tuple(i for i, h in zip(a.ids.tolist(), a.sha256, strict=True) if h not in in_b)
    only_b = tuple(i for i, h in zip(b.ids.tolist(), b.sha256, strict=True) if h not in in_a)
    both = tuple(i for i, h in zip(a.ids.tolist(), a.sha256, strict=True) if h in in_b)
    return Difference(only_a, only_b, both)


def combine(index: Index, name: str, how: str, parts: Sequence[str], *, overwrite: bool = False) -> Selection:
    """Keep a selection made of others.

    "union" takes the parts one after the other, each content once; "minus" the first without the others.
    """
    if len(parts) < 2:
        raise UsageError(f"{how} takes two selections or more")
    check_name(index, name, overwrite=overwrite)
    first, *others = (Selections(index.reader).get(part) for part in parts)
    if how == "union":
        rows = [row for s in (first, *others) for row in _rows(s)]
    else:
        gone = {h for s in others for h in s.sha256}
        rows = [row for row in _rows(first) if row[1] not in gone]
    first_of: dict[bytes, _Row] = {}
    for row in rows:
        first_of.setdefault(row[1], row)
    once = list(first_of.values())
    facts = {"made_by": f"{how} of {', '.join(parts)}", "of": {s.name: s.digest for s in (first, *others)}}
    selection = _of(name, once, facts, [row[3] for row in once])
    keep(index, selection, overwrite=overwrite)
    return selection


def absent_labels(index: Index, parts: Sequence[Selection]) -> dict[str, list[str]]:
    """Name of a part → labels that others of the parts have and it has not, for parts that lack any."""
    labels = {s.name: set(Selections(index.reader).labels_of(s.ids)) for s in parts}
    every = set().union(*labels.values())
    return {name: sorted(every - of_part) for name, of_part in labels.items() if every - of_part}


def split(
    index: Index,
    name: str,
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    level: str = "verified",
    overwrite: bool = False,
    job: Job = QUIET,
) -> list[Selection]:
    """Divide a selection into `NAME-PART`s by a hash of content and seed.

    So adding other pictures never moves one. A part of a split is divided by another hash than it came from. Images of
    one group at the level of `dedupe` go to one part, by the smallest digest among them, which a new duplicate may
    change. Raises `UsageError` for shares that do not add up to 1.
    """
    if len(shares) < 2 or not all(s > 0 for s in shares.values()) or not abs(sum(shares.values()) - 1) <= 1e-6:
        raise UsageError("a split takes two parts or more with shares that add up to 1, such as train=0.8 test=0.2")
    for part in shares:
        if not NAME.fullmatch(part):
            raise UsageError(f"'{part}' is no name for a part of a split: letters, digits, and . _ + - within")
        check_name(index, f"{name}-{part}", overwrite=overwrite)
    whole = Selections(index.reader).get(name)
    options = DedupeOptions(level, links=True)
    result = dedupe(index, options, only=whole.ids.tolist(), keep_proposals=False, job=job)
    hash_of = dict(zip(whole.ids.tolist(), whole.sha256, strict=True))
    leader = {m.image_id: min(hash_of[o.image_id] for o in g.members) for g in result.groups for m in g.members}
    bounds = np.cumsum(list(shares.values()))
    names = list(shares)
    rows: dict[str, list[_Row]] = {part: [] for part in names}
    depth = int(whole.recipe.get("depth", "part" in whole.recipe))  # how often it was split
    key = (f"{seed}/{depth}" if depth else f"{seed}").encode()
    for image_id, sha256, value, _ in _rows(whole):
        unit = hashlib.blake2b(leader.get(image_id, sha256), key=key, digest_size=8).digest()
        number = int(np.searchsorted(bounds, int.from_bytes(unit, "big") / 2**64, side="right"))
        part = names[min(number, len(names) - 1)]
        rows[part].append((image_id, sha256, value, part))
    facts = {
        "made_by": f"split of {name}",
        "of": {name: whole.digest},
        "shares": dict(shares),
        "seed": seed,
        "level": level,
        "depth": depth + 1,
    }
    selections = [
        _of(f"{name}-{part}", chosen, facts | {"part": part}, [part] * len(chosen)) for part, chosen in rows.items()
    ]
    keep(index, *selections, overwrite=overwrite)
    return selections


def parse_shares(parts: Sequence[str]) -> dict[str, float]:
    """`train=0.8` → name and share. Raises `UsageError`."""
    shares = {}
    for part in parts:
        name, _, share = part.partition("=")
        try:
            shares[name] = float(share)
        except ValueError as error:
            raise UsageError(f"a part of a split is NAME=SHARE, such as train=0.8, not '{part}'") from error
    return shares


def drop(index: Index, names: Sequence[str]) -> None:
    """Forget selections; no image or file is touched. Raises `UnknownName`."""
    for name in names:
        Selections(index.reader).get(name)
    text = f"drop the selection{'' if len(names) == 1 else 's'} {', '.join(names)}"
    with index.write() as db, db.atomic(), recorded(db, index.who, text, selections=names):
        for name in names:
            Selections(db).drop(name)


def _rows(s: Selection) -> list[_Row]:
    return list(zip(s.ids.tolist(), s.sha256, s.values.tolist(), s.splits, strict=True))


def _of(name: str, rows: Sequence[_Row], facts: Mapping[str, object], splits: Sequence[str | None]) -> Selection:
    hashes = tuple(row[1] for row in rows)
    ids, values = np.array([row[0] for row in rows], np.int64), np.array([row[2] for row in rows], np.float64)
    return Selection(name, ids, hashes, values, tuple(splits), digest_of(hashes), {"schema": 1, **facts, "steps": []})


def listed(
    index: Index, name: str, ids: Sequence[int], facts: Mapping[str, object], *, overwrite: bool = False
) -> Selection:
    """Keep a selection of images as they are listed; `facts` say who made the list. Raises `UsageError`."""
    check_name(index, name, overwrite=overwrite)
    hashes = Selections(index.reader).sha256_of(ids)
    selection = _of(
        name, [(int(i), h, float("nan"), None) for i, h in zip(ids, hashes, strict=True)], facts, [None] * len(hashes)
    )
    keep(index, selection, overwrite=overwrite)
    return selection
