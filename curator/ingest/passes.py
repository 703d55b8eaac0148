"""Bring an index into step with folders of pictures.

Walk → compare with what is known → hash → decode what no index row has seen → encode → commit, batch by batch. Files
are read and encoded while others may write to the index; the lock is held for each commit alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from curator.database import Curation, NewImage, Sketches, Writer
from curator.database.listed import note_precision
from curator.encoders import Encoder
from curator.errors import RootMissing, Stopped
from curator.index import Index
from curator.index.size import size_remarks
from curator.ingest.batches import (
    EncodedBatch,
    ReadFile,
    batched,
    encode_batch,
    encoded_ahead,
    read_ahead,
    until_stopped,
)
from curator.ingest.options import IngestOptions
from curator.ingest.plan import Plan, find_targets, make_plan, notes_of, origin_of
from curator.ingest.work import Work, fill_measures, fill_space, fill_sureness, put_vectors
from curator.job import QUIET, Job
from curator.records import ImageFile, IngestReport, KnownImage, Skipped, Space

_NOTE_CHANGES = ("changed", "moved", "restored", "noted")  # after which a column may be of no image any more
_CHECKPOINT = 20_000  # images after which new FAISS files are worth their writing even in the middle of a run


def ingest(
    index: Index,
    paths: Sequence[Path],
    encoder: Encoder,
    options: IngestOptions = IngestOptions(),  # noqa: B008 - frozen
    *,
    job: Job = QUIET,
) -> IngestReport:
    """Index folders or files, or all known roots when `paths` is empty; incremental, resumable, one writer.

    Raises `RootMissing` for a folder that is not there or looks unmounted (nothing is removed then; among several
    folders it becomes one of the report's `problems`), `UsageError`, `IndexLocked`, `IndexFull`. A stop by the job or
    Ctrl-C keeps every committed batch and comes back as `interrupted`.
    """
    started, before = time.monotonic(), len(index)
    interrupted = False
    problems: list[str] = []
    with index.write(alone=True) as db:
        with db.atomic():
            space = db.add_space(encoder.name, encoder.fingerprint, encoder.dim)
        work = Work(index, db, space, encoder, job, Sketches(index.reader.folder))
        try:
            for target in find_targets(db, paths):
                try:
                    _pass(work, make_plan(db, target, options, job))
                except RootMissing as error:
                    if len(paths) == 1:
                        raise
                    problems.append(str(error))
            if any(work.tally[what] for what in _NOTE_CHANGES):
                with db.atomic():
                    db.drop_unused_columns()
            fill_space(work)
            fill_measures(work)
            fill_sureness(work)
        except (KeyboardInterrupt, Stopped):
            interrupted = True
        finally:
            work.sketches.close()
        if not db.lost and db.meta("active_space") == space.id:
            index.rebuild_if_worth(db, space, listed=not interrupted, job=job)
    seconds = time.monotonic() - started
    work.remarks += size_remarks(before, len(index), encoder.dim)
    return IngestReport(
        **work.tally, seconds=seconds, interrupted=interrupted, problems=tuple(problems), remarks=tuple(work.remarks)
    )


def _pass(work: Work, plan: Plan) -> None:
    """Fresh files, then metadata of unchanged ones, then tombstones: a kill in between loses nothing."""
    db = work.db
    work.count("unchanged", plan.unchanged)
    work.remarks += plan.remarks
    early = [*plan.walked.unreadable, *plan.walked.broken]
    if early:
        with db.atomic():
            db.put_skipped(plan.root.id, early)
    work.count("skipped", len(early) + plan.still_skipped)
    work.count("still_skipped", sum(s.path in plan.listed for s in early) + plan.still_skipped)
    contents, placing = _Contents(work.index, work.space), _Placing(plan)
    done, already, since_files = 0, plan.unchanged, 0
    with closing(_encoded(work, plan, contents)) as batches:
        while True:
            with db.aside(work.job):
                encoded = contents.settle(next(batches, EncodedBatch()), work.encoder)
            if not len(encoded):
                break
            work.index.step("batch encoded")
            with db.atomic():
                if encoded.vectors:
                    note_precision(db, work.space, work.encoder.precision)
                work.tally.update(commit(db, plan, encoded, work.space, placing))
                work.index.step("batch written")
            work.index.step("batch committed")
            work.sketches.put({r.sha256: r.sketch for r in encoded.files if r.sketch is not None})
            done, since_files = done + len(encoded), since_files + len(encoded)
            if since_files >= max(_CHECKPOINT, (already + done) // 10):  # else each writes all of many again
                work.index.rebuild_if_worth(db, work.space, listed=False)  # lists would be learnt ten times
                since_files = 0
            work.job.progress(already + done, already + len(plan.fresh), str(plan.root.path), already=already)
    work.job.check()
    work.count("noted", _update_notes(db, plan))
    _remove_gone(work, plan)


def commit(db: Writer, plan: Plan, encoded: EncodedBatch, space: Space, placing: _Placing) -> Counter[str]:
    """The second half of indexing: write everything of a batch, inside a transaction → how many of what."""
    known = db.with_vectors(space, encoded.vectors)  # others may have brought some meanwhile
    vectors = {h: v for h, v in encoded.vectors.items() if h not in known}
    new = {r.sha256: r for r in encoded.files if r.sha256 in vectors}
    ids = db.put_contents(r.content for r in new.values() if r.content is not None)
    put_vectors(db, space, vectors, ids)
    Curation(db).put_measures({ids[h]: r.measures for h, r in new.items() if r.measures is not None})
    ids |= db.content_ids([r.sha256 for r in encoded.files if r.sha256 not in ids])
    tally = placing.put(db, encoded.files, ids)
    db.clear_skipped(plan.root.id, [r.file.path for r in encoded.files])
    db.put_skipped(plan.root.id, encoded.skipped)
    again = sum(s.path in plan.listed for s in encoded.skipped)
    tally.update(encoded=len(new), skipped=len(encoded.skipped), still_skipped=again)
    return tally


def _encoded(work: Work, plan: Plan, contents: _Contents) -> Generator[EncodedBatch, None, None]:
    """Batches of the fresh files, in order; once the job is asked to stop, what is being encoded, and no more."""
    encoder = work.encoder
    read = batched(read_ahead(plan.root.path, plan.fresh, encoder, known=contents), encoder.batch)
    claimed = ((batch, contents.claim(batch)) for batch in until_stopped(read, work.job))

    def encode(item: tuple[Sequence[ReadFile | Skipped], set[bytes]]) -> EncodedBatch:
        return encode_batch(item[0], encoder, known=item[1], in_lane=True)

    return encoded_ahead(claimed, encode, encoder)


class _Contents:
    """Contents, by sha256, that need no encoding: they have a vector, or are of a batch that is being encoded.

    Those with a vector are asked for one by one, as all of them may be more than memory holds. Threads that read ahead
    ask with `in`, on connections of their own; batches are claimed and settled in their order, by one thread.
    """

    def __init__(self, index: Index, space: Space) -> None:
        self.index, self.space = index, space
        self._waiting: set[bytes] = set()
        self._failed: set[bytes] = set()

    def __contains__(self, sha256: object) -> bool:
        return isinstance(sha256, bytes) and bool(self.index.reader.with_vectors(self.space, [sha256]))

    def claim(self, batch: Sequence[ReadFile | Skipped]) -> set[bytes]:
        """Those of a batch that need no encoding; the others are this batch's until it is settled."""
        hashes = {r.sha256 for r in batch if isinstance(r, ReadFile) and r.prepared is not None}
        known = self.index.reader.with_vectors(self.space, hashes) | (hashes & (self._waiting | self._failed))
        self._waiting |= hashes - known
        return known

    def settle(self, encoded: EncodedBatch, encoder: Encoder) -> EncodedBatch:
        """A batch whose turn it is; files of contents that failed in one before it are skipped as well."""
        self._failed |= encoded.failed
        self._waiting -= encoded.vectors.keys() | encoded.failed
        return encoded.without(self._failed, encoder) if self._failed else encoded


class _Placing:
    """Decides for each file of a plan: touched, restored, moved, changed or new; and writes its row."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.absent = {**plan.gone, **plan.hidden_gone}
        self.gone_by_content: dict[int, list[str]] = {}
        for path, known in self.absent.items():
            self.gone_by_content.setdefault(known.content_id, []).append(path)

    def put(self, db: Writer, files: Sequence[ReadFile], ids: Mapping[bytes, int]) -> Counter[str]:
        """Write the rows of a batch; `ids` maps sha256 to content id."""
        tally: Counter[str] = Counter()
        rows: list[NewImage] = []
        for r in files:
            known, content = self.plan.known.get(r.file.path), ids[r.sha256]
            if known is not None and known.content_id == content and known.removed != "gone":
                db.put_stat(known.id, r.file)
                tally["unchanged"] += 1
                continue
            if known is None or (known.removed == "gone" and known.content_id != content):
                old = self._moved_from(content, r.file.path)
                if old is not None:
                    db.move_image(old.id, self.plan.root.id, r.file)
                    self._note_moved(db, old, r.file)
                    tally["moved"] += 1
                    continue
            tally["new" if known is None else "restored" if known.removed == "gone" else "changed"] += 1
            notes, origin = notes_of(self.plan, r.file.path, known), origin_of(self.plan, known)
            rows.append(NewImage(self.plan.root.id, r.file, content, notes, origin))
        if rows:
            db.put_images(rows)
        return tally

    def _moved_from(self, content: int, path: str) -> KnownImage | None:
        """A vanished image of the same content, nearest by name; each is used once.

        One that nobody removed comes first: a file that is there and was not removed is in the index.
        """
        candidates = self.gone_by_content.get(content, [])
        if not candidates:
            return None
        name = path.rpartition("/")[2]
        best = max(candidates, key=lambda p: (p in self.plan.gone, p.rpartition("/")[2] == name, p))
        candidates.remove(best)
        self.plan.gone.pop(best, None)
        return self.absent[best]

    def _note_moved(self, db: Writer, old: KnownImage, file: ImageFile) -> None:
        notes = self.plan.notes.get(file.path)
        if notes is not None:
            db.put_notes({old.id: (origin_of(self.plan, old), notes)})


def _update_notes(db: Writer, plan: Plan) -> int:
    """Write what is said anew of unchanged pictures → of how many."""
    for part in batched(iter(plan.renoted.items()), 1000):
        with db.atomic():
            db.put_notes(dict(part))
    return len(plan.renoted)


def _remove_gone(work: Work, plan: Plan) -> None:
    gone = [k.id for k in plan.gone.values()]
    if gone or plan.stale_skipped:
        with work.db.atomic():
            work.db.remove(gone, by_hand=False)
            work.db.clear_skipped(plan.root.id, plan.stale_skipped)
        work.index.step("removals committed")
    work.count("removed", len(gone))
