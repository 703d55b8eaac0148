"""Bring an index into step with folders of pictures.

Walk → compare with what is known → hash → decode what no index row has seen → encode → commit, batch by batch. Threads
read, hash and decode (all of which release the interpreter lock) while the encoder runs in this one.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from curator.database import Curation, KnownImage, NewImage
from curator.encoders import Encoder
from curator.errors import PictureError, RootMissing, Stopped
from curator.images import decode, measure, read_bytes
from curator.index import Index
from curator.ingest.plan import IngestOptions, Plan, find_targets, make_plan
from curator.ingest.work import BATCH, Work, batched, fill_measures, fill_space
from curator.job import QUIET, Job
from curator.records import Content, ImageFile, IngestReport, Measures, Notes, Pixels, Skipped

_AHEAD = 4 * BATCH  # images that may wait, decoded, for the encoder
_CHECKPOINT = 20_000  # images after which new FAISS files are worth their writing even in the middle of a run


@dataclass(frozen=True)
class _Read:
    """One file after a worker had it: all but its hash is None where the content is known already."""

    file: ImageFile
    sha256: bytes
    content: Content | None
    prepared: Pixels | None
    measures: Measures | None


def ingest(
    index: Index,
    paths: Sequence[Path],
    encoder: Encoder,
    options: IngestOptions = IngestOptions(),  # noqa: B008 - frozen
    *,
    job: Job = QUIET,
) -> IngestReport:
    """Index folders or files, or all known roots when `paths` is empty; incremental, resumable, one writer.

    Raises `RootMissing` for a folder that is not there or looks unmounted (nothing is removed then; among several folders
    it becomes one of the report's `problems`), `UsageError`, `IndexLocked`, `IndexFull`. A stop by the job or Ctrl-C keeps every
    committed batch and comes back as `interrupted`.
    """
    started = time.monotonic()
    interrupted = False
    problems: list[str] = []
    with index.write() as db:
        with db.atomic():
            space = db.add_space(encoder.name, encoder.fingerprint, encoder.dim)
        work = Work(index, db, space, encoder, job)
        try:
            for target in find_targets(db, paths):
                try:
                    _Pass(work, make_plan(db, target, options)).go()
                except RootMissing as error:
                    if len(paths) == 1:
                        raise
                    problems.append(str(error))
            fill_space(work)
            fill_measures(work)
        except (KeyboardInterrupt, Stopped):
            interrupted = True
        if db.meta("active_space") == space.id:
            index.rebuild_if_worth(db, space)
    seconds = time.monotonic() - started
    return IngestReport(**work.tally, seconds=seconds, interrupted=interrupted, problems=tuple(problems))


class _Pass:
    """One root's pass: reads `plan`, writes through the database, counts into the tally."""

    def __init__(self, work: Work, plan: Plan) -> None:
        self.work, self.plan = work, plan
        self.db, self.count = work.db, work.count
        self.embedded = self.db.embedded_hashes(work.space)
        self.since_files = 0
        self.absent = {**plan.gone, **plan.hidden_gone}
        self.gone_by_content: dict[int, list[str]] = {}
        for path, known in self.absent.items():
            self.gone_by_content.setdefault(known.content_id, []).append(path)

    def go(self) -> None:
        """Fresh files, then metadata of unchanged ones, then tombstones: a kill in between loses nothing."""
        plan = self.plan
        self.count("unchanged", len(plan.unchanged))
        self._skip([*plan.walked.unreadable, *plan.walked.broken])
        self.count("skipped", plan.still_skipped)
        done, already = 0, len(plan.unchanged)
        for batch in batched(self._read_all(), BATCH):
            self._commit(batch)
            done += len(batch)
            self.work.job.progress(already + done, already + len(plan.fresh), str(plan.root.path), already=already)
            self.work.job.check()
        self._update_notes()
        self._remove_gone()

    def _read_all(self) -> Iterator[_Read | Skipped]:
        """Files in order, read and decoded a few batches ahead of their use."""
        threads = ThreadPoolExecutor(os.cpu_count() or 1, "decode")
        waiting: deque[Future[_Read | Skipped]] = deque()
        try:
            for file in self.plan.fresh:
                waiting.append(threads.submit(self._read, file))
                if len(waiting) >= _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)

    def _read(self, file: ImageFile) -> _Read | Skipped:
        try:
            data = read_bytes(self.plan.root.path / file.path)
            sha256 = hashlib.sha256(data).digest()
            if sha256 in self.embedded:
                return _Read(file, sha256, None, None, None)
            decoded = decode(data, side=self.work.encoder.side)
            return _Read(file, sha256, decoded.content, self.work.encoder.prepare(decoded.picture), measure(decoded.picture))
        except PictureError as error:
            return Skipped(file.path, str(error), file.size, file.mtime_ns)
        except (ValueError, MemoryError) as error:  # a shape that the encoder cannot take
            return Skipped(file.path, f"cannot be prepared for the encoder: {error}", file.size, file.mtime_ns)

    def _commit(self, batch: list[_Read | Skipped]) -> None:
        """Encode what is new and write everything of the batch in one transaction."""
        read = [r for r in batch if isinstance(r, _Read)]
        new = {r.sha256: r for r in read if r.prepared is not None and r.sha256 not in self.embedded}
        raw = self.work.project({h: r.prepared for h, r in new.items() if r.prepared is not None})
        self.work.index.step("batch encoded")
        with self.db.atomic():
            ids = self.db.put_contents(r.content for r in new.values() if r.content is not None)
            self.work.store(raw, ids)
            Curation(self.db).put_measures({ids[h]: r.measures for h, r in new.items() if r.measures is not None})
            ids |= self.db.content_ids([r.sha256 for r in read if r.sha256 not in ids])
            self._place(read, ids)
            self.db.clear_skipped(self.plan.root.id, [r.file.path for r in read])
            self._skip([r for r in batch if isinstance(r, Skipped)])
            self.work.index.step("batch written")
        self.work.index.step("batch committed")
        self.embedded |= new.keys()
        self.count("encoded", len(new))
        self.since_files += len(read)
        if self.since_files >= _CHECKPOINT:
            self.work.index.rebuild_if_worth(self.db, self.work.space)
            self.since_files = 0

    def _place(self, read: list[_Read], ids: Mapping[bytes, int]) -> None:
        """Decide for each file: touched, restored, moved, changed or new; and write its row."""
        rows: list[NewImage] = []
        for r in read:
            known, content = self.plan.known.get(r.file.path), ids[r.sha256]
            if known is not None and known.content_id == content and known.removed != "gone":
                self.db.put_stat(known.id, r.file)
                self.count("unchanged")
                continue
            if known is None or (known.removed == "gone" and known.content_id != content):
                old = self._moved_from(content, r.file.path)
                if old is not None:
                    self.db.move_image(old.id, self.plan.root.id, r.file)
                    self._note_moved(old, r.file)
                    self.count("moved")
                    continue
            self.count("new" if known is None else "restored" if known.removed == "gone" else "changed")
            rows.append(NewImage(self.plan.root.id, r.file, content, self._notes(r.file.path, known), self._origin(known)))
        if rows:
            self.db.put_images(rows)

    def _moved_from(self, content: int, path: str) -> KnownImage | None:
        """A vanished image of the same content, nearest by name; each is used once."""
        candidates = self.gone_by_content.get(content, [])
        if not candidates:
            return None
        best = max(candidates, key=lambda p: (p.rpartition("/")[2] == path.rpartition("/")[2], p))
        candidates.remove(best)
        self.plan.gone.pop(best, None)
        return self.absent[best]

    def _note_moved(self, old: KnownImage, file: ImageFile) -> None:
        notes = self.plan.notes.get(file.path)
        if notes is not None:
            self.db.put_notes({old.id: (self._origin(old), notes)})

    def _notes(self, path: str, known: KnownImage | None) -> Notes:
        notes = self.plan.notes.get(path)
        if notes is None and known is not None:
            return Notes(known.label, known.caption, json.loads(known.extra))
        return notes or Notes()

    def _origin(self, known: KnownImage | None) -> str:
        return self.plan.options.origin or (known.origin if known else "real")

    def _update_notes(self) -> None:
        """Metadata follows its sources whether or not the picture changed."""
        changed = {}
        for path in self.plan.unchanged:
            known = self.plan.known[path]
            notes, origin = self._notes(path, known), self._origin(known)
            stored = (known.origin, known.label, known.caption, known.extra)
            if stored != (origin, notes.label, notes.caption, json.dumps(notes.extra, sort_keys=True, ensure_ascii=False)):
                changed[known.id] = (origin, notes)
        for part in batched(iter(changed.items()), 1000):
            with self.db.atomic():
                self.db.put_notes(dict(part))

    def _remove_gone(self) -> None:
        gone = [k.id for k in self.plan.gone.values()]
        stale = self.plan.stale_skipped
        if gone or stale:
            with self.db.atomic():
                self.db.remove(gone, by_hand=False)
                self.db.clear_skipped(self.plan.root.id, stale)
            self.work.index.step("removals committed")
        self.count("removed", len(gone))

    def _skip(self, files: list[Skipped]) -> None:
        if files:
            with self.db.atomic():
                self.db.put_skipped(self.plan.root.id, files)
            self.count("skipped", len(files))
