"""What tests of sets share: pictures with three damaged ones among them, an executor without processes, a whole set."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from conftest import draw
from fsspec.implementations.local import LocalFileSystem

from curator.embeddings import best_first, exact_scores, normalise
from curator.job import Job
from curator.records import Ids
from curator.scale.drive import embed_set, whole_set
from curator.scale.embed import EmbedShard
from curator.scale.executor import Outcome, Stage
from curator.scale.plan import make_plan
from curator.scale.shards import ShardedSet
from curator.scale.storage import Storage

DAMAGED = {"nonsense.jpg": b"no picture", "empty.png": b"", "cut.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0"}


class InProcess:
    """An executor that is this very process: everything of a stage but the processes."""

    def threads(self) -> int:
        """One."""
        return 1

    def run(self, stage: Stage, items: Sequence[int], job: Job) -> Iterator[Outcome]:
        """One after the other."""
        for item in items:
            if job.stop:
                return
            yield replace(stage, patience=0.0)(item) if isinstance(stage, EmbedShard) else stage(item)


def put_pictures(home: Path, count: int, *, damaged: bool = True, labels: int = 4) -> Path:
    """`count` drawn pictures in labelled folders, every tenth one twice, and three that are none."""
    for number in range(count):
        file = home / f"label-{number % labels}" / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(number - 1 if number % 10 == 9 else number).save(file)
    for name, data in (DAMAGED if damaged else {}).items():
        (home / "label-0" / name).write_bytes(data)
    return home


def make_set(
    pictures: str | Path, place: str | Path, *, encoder: str = "pixels", size: int = 16, **options: str
) -> ShardedSet:
    """Plan and embed, in this process."""
    make_plan(str(pictures), str(place), shard_size=size, options=options)
    embed_set(str(place), encoder, InProcess())
    return whole_set(Storage(str(place)))


def rows_of(place: str | Path) -> dict[str, tuple[Any, ...]]:
    """uri → (id, sha256, label, vector), of all rows that count. Raises for a uri that stands twice."""
    whole = whole_set(Storage(str(place)))
    rows: dict[str, tuple[Any, ...]] = {}
    for receipt in whole.receipts:
        part = whole.part(receipt)
        for row in zip(
            part.column("uri"), part.ids.tolist(), part.column("sha256"), part.column("label"), part.x, strict=True
        ):
            assert row[0] not in rows
            rows[row[0]] = (*row[1:4], row[4].tobytes())
    return rows


def check_answers(service: Any, where: str | None, image_ids: Sequence[int], total: int) -> None:
    """Every answer is that of comparing everything: best first, ties by id, never fewer than min(k, matches)."""
    ids = service.ids_where(where or "true")
    x = service.vectors(ids.tolist()) if len(ids) else np.empty((0, service.space.dim), np.float32)
    for image_id in image_ids:
        q = normalise(service.vectors([image_id])).ravel()
        scores = exact_scores(x, q)
        order = best_first(scores, ids)
        for k in (1, 7, 500):
            answer = service.nearest(q, k, where=where)
            assert answer.ids.tolist() == ids[order][:k].tolist()
            assert np.allclose(answer.scores, scores[order][:k], atol=1e-6)
            assert (answer.exact, answer.total, answer.searched) == (True, total, len(ids))


def vectors_of(place: str | Path) -> tuple[Ids, np.ndarray[Any, Any]]:
    """Ids (n,) and unit rows (n, d) float16 of a set."""
    whole = whole_set(Storage(str(place)))
    parts = [whole.part(r) for r in whole.receipts]
    return np.concatenate([p.ids for p in parts]), np.concatenate([p.x for p in parts])


class FailingFiles(LocalFileSystem):  # type: ignore[misc]
    """Local files that can be out of order."""

    protocol = "failing"
    fails = False

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **how: Any) -> Any:
        """A file, or an outage."""
        if FailingFiles.fails:
            raise PermissionError("403, out of order")
        return super().cat_file(path, start, end, **how)


def register_failing() -> None:
    """Let `failing://` name them."""
    fsspec.register_implementation("failing", FailingFiles, clobber=True)


def start_driver(place: Path) -> subprocess.Popen[bytes]:
    """`curator scale embed` in a process group of its own."""
    command = [sys.executable, "-m", "curator", "scale", "embed", str(place), "-e", "pixels", "--workers", "2"]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def group_is_alive(group: int) -> bool:
    """Whether any process of a group lives."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def value_of(by: str, place: Path, digests: Sequence[bytes]) -> float:
    """What a selector makes large: the sum of best scores of facility location; minus the radius of k-center."""
    rows = rows_of(place)
    x = np.stack([np.frombuffer(row[3], np.float16) for row in rows.values()]).astype(np.float32)
    chosen = [n for n, row in enumerate(rows.values()) if row[1] in set(digests)]
    best = (x @ x[chosen].T).max(1)
    return float(best.mean()) if by == "facility-location" else 2.0 - float(np.sqrt(np.maximum(0, 2 - 2 * best.min())))
