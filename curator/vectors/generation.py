"""FAISS files: a cache of the embeddings, one generation at a time.

Facts of FAISS 1.15 this absorbs: it detects no corruption (so files are checksummed here); it fills short results with
id −1; it accepts float64 and duplicates silently; ids are kept outside, in `ids.npy`; `add()` to a mapped index aborts.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.embeddings import best_first, check_unit, exact_scores, find_sorted
from curator.files import forget, problem_in, remember, sha256_of
from curator.job import cores
from curator.records import Ids, Positions, Scores, Vectors
from curator.texts import to_json
from curator.vectors.listing import ListPlan, PlacedLists
from curator.vectors.threads import in_threads

FLAT, IDS, MANIFEST = "flat.faiss", "ids.npy", "manifest.json"
_PART = 25_000_000  # numbers that a thread scans at least: a core takes some 5 ms
_FEW = 0.1  # of the vectors: so few that a condition holds for are all compared
_SURELY = 0.9  # of the hits that a walk was measured for, which are before its last one if it holds too few
_WIDEST = 20_000  # candidates that are looked at before all vectors are
_MARGIN = 32  # candidates beyond k, so that equal scores at the cut are told apart by id


class GenerationDamaged(Exception):
    """The files are not those that were written; they are a cache, so the index rebuilds them."""


@dataclass(frozen=True)
class Generation:
    """One space's embeddings as mapped files: position p of the FAISS file holds image `ids[p]`; ids ascend."""

    folder: Path
    dim: int
    ids: Ids
    missing: int  # present images that had no vector when it was written
    listed: PlacedLists | None = None  # of a large one

    @classmethod
    def open(cls, folder: Path, files_sha256: str) -> Generation:
        """Map the files after making sure that they are the ones the database names. Raises `GenerationDamaged`."""
        try:
            manifest = _checked_manifest(folder, files_sha256)
            ids = np.load(folder / IDS, mmap_mode="r")
            listed = PlacedLists.of(folder, manifest.get("lists"), len(ids))
        except (OSError, ValueError) as error:
            raise GenerationDamaged(f"{folder} cannot be read: {error}") from error
        return cls(folder, int(manifest["dim"]), ids, int(manifest.get("missing", 0)), listed)

    @cached_property
    def _flat(self) -> Any:
        import faiss

        return faiss.read_index(str(self.folder / FLAT), faiss.IO_FLAG_MMAP_IFC)

    def positions(self, ids: Ids) -> tuple[Positions, NDArray[np.bool_]]:
        """Positions of `ids`, and which of them are here at all."""
        return find_sorted(self.ids, ids)

    def vectors(self, positions: Positions) -> Vectors:
        """(k, d) float32, exactly the stored fp16 values."""
        if not len(positions):
            return np.empty((0, self.dim), np.float32)
        return np.asarray(self._flat.reconstruct_batch(np.ascontiguousarray(positions, np.int64)), np.float32)

    def search(self, q: Vectors, k: int, allowed: NDArray[np.bool_] | None, *, parts: int = 0) -> tuple[Ids, Scores]:
        """Exact best `k` for one unit query (d,), best first, ties by id; `allowed` (n,) bool limits the positions.

        The files are scanned in so many parts at once; 0 stands for as many as cores and size make worth while.
        """
        query = check_unit(np.ascontiguousarray(q, np.float32)[None], self.dim)
        total = len(self.ids) if allowed is None else int(allowed.sum())
        parts = parts or self._parts(total)
        wanted = k + _MARGIN
        while True:
            rough, positions = self._scan(query, min(wanted, max(total, 1)), allowed, parts)
            # A tie that reaches past the last candidate might hide a smaller id, so look further.
            if len(positions) >= total or len(rough) <= k or rough[k - 1] > rough[-1] + 1e-5:
                break
            wanted *= 4
        scores = exact_scores(self.vectors(positions), q)
        ids = self.ids[positions]
        order = best_first(scores, ids)[:k]
        return ids[order], scores[order]

    def approximate(self, q: Vectors, k: int, allowed: NDArray[np.bool_] | None) -> tuple[Ids, Scores, float] | None:
        """Most of the best `k`, as `search` gives them, and the share that lists held of the true hits of such queries.

        None where there are no lists, where `allowed` is a tenth of all or less, and where fewer would be told than
        there are, or nobody knows how many: then `search` does it.
        """
        total = len(self.ids) if allowed is None else int(np.count_nonzero(allowed))
        if self.listed is None or total <= _FEW * len(self.ids) or total < k:
            return None
        query = check_unit(np.ascontiguousarray(q, np.float32)[None], self.dim)
        # What a condition excludes is walked past: so many would lie before the last hit if it held anywhere alike.
        deep = -(-k * len(self.ids) // total)
        wanted = 2 * deep + _MARGIN
        while deep <= self.listed.lists.most and wanted <= _WIDEST:
            walked = self.listed.lists.search(query, deep, wanted)
            if walked is None:
                return None
            positions, is_there = self.listed.positions(walked[0])
            scores, rough = exact_scores(self.vectors(positions), q), walked[1][is_there]
            counts = np.ones(len(positions), bool) if allowed is None else allowed[positions]
            last = float(np.sort(scores[counts])[-k]) if np.count_nonzero(counts) >= k else -1.0
            # Hits beyond the candidates are no better than the last of these, but for what 8 bits are off.
            off = 2 * float(np.abs(scores - rough).max(initial=0))
            # As many lie before the last hit. Were there more than were measured, nearly all of those would be here.
            before = int(np.count_nonzero(scores >= last))
            deepest = k if counts.all() else int(_SURELY * walked[2].k)
            if (len(walked[0]) < wanted or rough.min(initial=1) + off < last) and before <= deepest and last > -1:
                beside = self._beside(query, k, allowed)
                positions = np.concatenate([positions[counts], beside])
                scores = np.concatenate([scores[counts], exact_scores(self.vectors(beside), q)])
                order = best_first(scores, self.ids[positions])[:k]
                return self.ids[positions[order]], scores[order], walked[2].recall
            deep, wanted = max(deep, int(before / _SURELY) + 1 if last > -1 else 2 * deep), 4 * wanted
        return None

    def _beside(self, query: Vectors, k: int, allowed: NDArray[np.bool_] | None) -> Positions:
        """Of what came after the lists the positions of the best."""
        beside = self.listed.beside if self.listed else None
        if beside is None:
            return np.empty(0, np.int64)
        new = beside if allowed is None else beside & allowed
        return self._scan(query, k + _MARGIN, new, self._parts(int(np.count_nonzero(new))))[1]

    def _parts(self, compared: int) -> int:
        """Into how many parts a scan of so many vectors is divided."""
        return max(1, min(cores(), compared * self.dim // _PART))

    def _scan(
        self, query: Vectors, count: int, allowed: NDArray[np.bool_] | None, parts: int
    ) -> tuple[Scores, Positions]:
        """Scores and positions of the best `count`, best first, by what FAISS computes."""
        import faiss

        def scan(part: slice) -> tuple[Scores, Positions]:
            faiss.omp_set_num_threads(1)  # a setting of the thread
            bits, parameters = None, None
            if allowed is not None or parts > 1:
                inside = np.zeros(len(self.ids), bool)
                inside[part] = True if allowed is None else allowed[part]
                bits = np.packbits(inside, bitorder="little")  # alive as long as the selector
                selector = faiss.IDSelectorBitmap(len(inside), faiss.swig_ptr(bits))
                parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]  # SWIG adds it
            scores, positions = self._flat.search(query, count, params=parameters)
            is_there = positions[0] >= 0
            return scores[0][is_there], positions[0][is_there]

        if parts == 1:
            return scan(slice(None))
        # Cut where each part has as many to compare: a condition may hold for one end of the files alone.
        compared = None if allowed is None else np.flatnonzero(allowed)
        n = len(self.ids) if compared is None else len(compared)
        firsts = [i * n // parts for i in range(1, parts)]
        cuts = firsts if compared is None or not n else compared[firsts].tolist()
        slices = [slice(a, b) for a, b in itertools.pairwise([0, *cuts, len(self.ids)])]
        all_scores, all_positions = (np.concatenate(c) for c in zip(*in_threads(scan, slices), strict=True))
        order = np.argsort(-all_scores, kind="stable")[:count]
        return all_scores[order], all_positions[order]


def write_generation(
    home: Path,
    number: int,
    dim: int,
    blocks: Iterable[tuple[Ids, NDArray[np.float16]]],
    *,
    facts: dict[str, Any],
    step: Callable[[str], None] = lambda name: None,
    listing: ListPlan | None = None,
) -> str:
    """Write `home/<number>/` beside, then rename it into place → the checksum that the database must remember.

    `blocks` yields (ids (b,), x (b, d) float16) by ascending id; by a `listing` a large one gets lists.
    Raises `OSError` where it cannot be written, leaving nothing.
    """
    import faiss

    home.mkdir(parents=True, exist_ok=True)
    beside = home / f".new-{number}"
    beside.mkdir()
    try:
        flat = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        all_ids: list[Ids] = []
        for ids, x in blocks:
            flat.add(np.ascontiguousarray(x, np.float32))
            all_ids.append(ids)
        ids = np.concatenate(all_ids) if all_ids else np.empty(0, np.int64)
        try:
            faiss.write_index(flat, str(beside / FLAT))
        except RuntimeError as error:
            raise OSError(f"cannot write {beside / FLAT}: {str(error).splitlines()[-1]}") from error
        np.save(beside / IDS, ids)
        del flat  # of its memory the lists need half
        step("generation files written")
        files = {f: sha256_of(beside / f) for f in (FLAT, IDS)}
        lists = listing and listing.write(beside, ids, dim, Generation(beside, dim, ids, 0).vectors)
        manifest = {"count": len(ids), "dim": dim, "files": dict(files), **facts} | ({"lists": lists} if lists else {})
        files |= lists["files"] if lists else {}
        text = to_json(manifest, sort_keys=True, indent=1)
        (beside / MANIFEST).write_text(text)
        for name in (*files, MANIFEST):
            _fsync(beside / name)
        remember(beside, tuple(files))
        step("generation synced")
        shutil.rmtree(home / str(number), ignore_errors=True)
        os.replace(beside, home / str(number))
        _fsync(home)
        step("generation renamed")
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return hashlib.sha256(text.encode()).hexdigest()


def drop_generations(home: Path, keep: set[int]) -> None:
    """Delete the folders of generations that nobody needs; readers that still map one keep their pages."""
    for folder in home.glob("[0-9]*"):
        if folder.name.isdigit() and int(folder.name) not in keep:
            shutil.rmtree(folder, ignore_errors=True)


def clear_unfinished(home: Path) -> None:
    """Delete what a killed writer left half-written. Only for the holder of the lock."""
    for stale in home.glob(".new-*"):
        shutil.rmtree(stale, ignore_errors=True)


def check_generation(folder: Path, files_sha256: str) -> str | None:
    """Read every byte again, whatever is remembered → what is wrong, or None."""
    forget(folder)
    try:
        _checked_manifest(folder, files_sha256, lists=True)
    except (OSError, ValueError, GenerationDamaged) as error:
        return str(error)
    return None


def _checked_manifest(folder: Path, files_sha256: str, *, lists: bool = False) -> dict[str, Any]:
    """What a generation says of itself, if its files are right.

    Lists that are not are left out, for searches do without; where `lists` are asked for too, they are damage.
    """
    raw = (folder / MANIFEST).read_bytes()
    if hashlib.sha256(raw).hexdigest() != files_sha256:
        raise GenerationDamaged(f"{folder / MANIFEST} is not the one the database names")
    manifest: dict[str, Any] = json.loads(raw)
    listed = manifest.get("lists", {}).get("files", {})
    problem = problem_in(folder, manifest["files"] | listed)
    if problem and listed and not lists:
        manifest.pop("lists")
        problem = problem_in(folder, manifest["files"])
    if problem:
        raise GenerationDamaged(problem)
    return manifest


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
