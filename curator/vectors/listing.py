"""The lists of a generation: learnt anew, or taken over from the generation before, where most of it is the same."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import find_sorted
from curator.errors import Stopped
from curator.files import sha256_of
from curator.job import QUIET, Job
from curator.records import Ids, Positions
from curator.vectors.lists import LEAST, LISTS, Lists, Rows, write_lists

PLACES = "list_places.npy"
_BESIDE = 0.05  # of the vectors may lie beside lists that are taken over, each to be compared, and of entries be void


@dataclass(frozen=True)
class PlacedLists:
    """Lists as a generation of `count` vectors has them; entry e is at position `places[e]`, −1 where it is void."""

    lists: Lists
    places: NDArray[np.int32] | None  # None where every entry is where it was
    count: int

    @classmethod
    def of(cls, folder: Path, facts: Mapping[str, Any] | None, count: int) -> PlacedLists | None:
        """Those of a generation's folder by its manifest, if it has any."""
        if facts is None:
            return None
        places = np.load(folder / PLACES, mmap_mode="r") if facts["moved"] else None
        return cls(Lists(folder, facts), places, count)

    @cached_property
    def beside(self) -> NDArray[np.bool_] | None:
        """(n,) bool: the positions that no entry is at, or None where there are none."""
        if self.places is None:
            return None
        beside = np.ones(self.count, bool)
        beside[self.places[self.places >= 0]] = False
        return beside if beside.any() else None

    def positions(self, entries: Positions) -> tuple[Positions, NDArray[np.bool_]]:
        """Positions of entries, and which of the entries are not void."""
        if self.places is None:
            return entries, np.ones(len(entries), bool)
        positions = self.places[entries].astype(np.int64)
        return positions[positions >= 0], positions >= 0


@dataclass(frozen=True)
class ListPlan:
    """How a new generation comes to its lists: from `least` vectors on, taken over from `earlier` if few `changed`.

    `earlier` are a generation's ids and its lists; `changed` ids are void in it, or new. Without `learn` there are no
    others than what can be taken over.
    """

    earlier: tuple[Ids, PlacedLists] | None = None
    changed: Ids | None = None
    least: int = LEAST
    learn: bool = True
    job: Job = QUIET

    def write(self, folder: Path, ids: Ids, dim: int, rows: Rows) -> dict[str, Any] | None:
        """Write the lists of vectors with these ids, read by `rows` → facts for the manifest; None below `least`.

        None too where the job was stopped meanwhile, or the disk is full: searches then compare every vector.
        """
        if len(ids) < self.least:
            return None
        try:
            taken_over = self._take_over(folder, ids)
            if taken_over is not None or not self.learn:
                return taken_over
            facts = write_lists(folder, len(ids), dim, rows, job=self.job)
            return facts | {"moved": False, "files": {LISTS: sha256_of(folder / LISTS)}}
        except (Stopped, OSError) as error:
            for name in (LISTS, PLACES):
                (folder / name).unlink(missing_ok=True)
            self.job.say(
                f"Lists were not written ({error}); searches compare every image until `curator index` is run."
            )
            return None

    def _take_over(self, folder: Path, ids: Ids) -> dict[str, Any] | None:
        if self.earlier is None or self.changed is None:
            return None
        old_ids, listed = self.earlier
        # Where the image of each earlier position is now, if nothing happened to it.
        now, stays = find_sorted(ids, old_ids)
        stays &= ~find_sorted(np.sort(self.changed), old_ids)[1]
        now = np.where(stays, now, -1).astype(np.int32)
        places = now if listed.places is None else np.where(listed.places >= 0, now[listed.places], -1)
        there = int((places >= 0).sum())
        if len(ids) - there > _BESIDE * len(ids) or len(places) - there > _BESIDE * len(places):
            return None
        home = listed.lists.folder
        # A second name for the same file would change its time, by which files are known to be right.
        shutil.copyfile(home / LISTS, folder / LISTS)
        np.save(folder / PLACES, places.astype(np.int32))
        facts = listed.lists.facts
        files = {LISTS: facts["files"][LISTS], PLACES: sha256_of(folder / PLACES)}
        return {**facts, "moved": True, "files": files}
