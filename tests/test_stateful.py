"""`Index` against a dictionary and a sort: whatever happens to the folder, in whatever order, with crashes in
between."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from conftest import draw
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from curator.admin.maintenance import verify
from curator.admin.manage import remove_images, restore_images, tag_images
from curator.embeddings import normalise, top_k
from curator.encoders import PixelEncoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest

NAMES = [f"{folder}{stem}.png" for folder in ("", "a/", "a/b/", "ü/") for stem in "xyz"]
STEPS = (
    "batch encoded",
    "batch written",
    "batch committed",
    "removals committed",
    "generation files written",
    "generation renamed",
)


class Crash(Exception):
    """Stands for a process that ends at a step."""


class IndexMachine(RuleBasedStateMachine):
    """`files`: what lies in the folder (name → seed of its picture); `seen`: what the index was last told, with its
    tags."""

    @initialize()
    def begin(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.folder = self.place / "pictures"
        self.folder.mkdir()
        draw(999).save(self.folder / "always.png")
        self.files: dict[str, int] = {"always.png": 999}
        self.seen: dict[str, int] = {}
        self.tags: dict[str, set[str]] = {}
        self.clock = 10**9
        self.index = Index.create(self.place / "index")
        self.sync()

    def teardown(self) -> None:
        if hasattr(self, "place"):
            self.index.close()
            shutil.rmtree(self.place)

    def _put(self, name: str, seed: int) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(seed).save(path)
        self.clock += (
            10**9
        )  # two pictures of one size within one tick of the clock would look unchanged, as to any such tool
        os.utime(path, ns=(self.clock, self.clock))
        self.files[name] = seed

    @rule(name=st.sampled_from(NAMES), seed=st.integers(0, 5))
    def add_or_change(self, name: str, seed: int) -> None:
        self._put(name, seed)

    @precondition(lambda self: len(self.files) > 1)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(set(self.files) - {"always.png"})))
        (self.folder / name).unlink()
        del self.files[name]

    @precondition(lambda self: len(self.files) > 1)
    @rule(data=st.data(), new_name=st.sampled_from(NAMES))
    def rename(self, data: st.DataObject, new_name: str) -> None:
        name = data.draw(st.sampled_from(sorted(set(self.files) - {"always.png"})))
        (self.folder / new_name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).rename(self.folder / new_name)
        self.files[new_name] = self.files.pop(name)

    @rule()
    def sync(self) -> None:
        before = self.seen
        ingest(self.index, [self.folder], PixelEncoder(), IngestOptions())
        moved = self._moves(before)
        self.seen = dict(self.files)
        self.tags = {n: t for n, t in self.tags.items() if n in self.seen and n not in moved}

    def _moves(self, before: dict[str, int]) -> set[str]:
        """Names whose row may have gone to another name, or come from one: only the index knows which copy it took."""
        return {n for n in before.keys() | self.files.keys() if before.get(n) != self.files.get(n)}

    @rule(step=st.sampled_from(STEPS))
    def crash_while_syncing(self, step: str) -> None:
        def stop(name: str) -> None:
            if name == step:
                raise Crash

        self.index.step = stop
        with contextlib.suppress(Crash):
            ingest(self.index, [self.folder], PixelEncoder(), IngestOptions())
        self.index.close()
        self.index = Index.open(self.place / "index")
        assert list(verify(self.index.folder)) == []
        self.sync()

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = Index.open(self.place / "index")

    @rule()
    def rebuild(self) -> None:
        with self.index.write() as db:
            self.index.rebuild(db, self.index.space)

    @rule(data=st.data(), tag=st.sampled_from(["good", "bad"]))
    def tag(self, data: st.DataObject, tag: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.seen)))
        found = self.index.reader.find(self.folder / name)
        assert found is not None
        tag_images(self.index, [found], [tag])
        self.tags.setdefault(name, set()).add(tag)

    @rule(data=st.data())
    def hide_and_bring_back(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.seen)))
        found = self.index.reader.find(self.folder / name)
        assert found is not None
        remove_images(self.index, [found])
        assert self.index.reader.find(self.folder / name) is None
        restore_images(self.index, [found])

    @invariant()
    def answers_are_those_of_a_sort(self) -> None:
        if not hasattr(self, "index"):
            return
        names = sorted(self.seen)
        ids = np.array([self.index.reader.find(self.folder / n) for n in names])
        order = np.argsort(ids)
        raw = np.stack(
            [np.asarray(draw(self.seen[names[i]]).resize((8, 8), 4), np.float32).ravel() - 127.5 for i in order]
        )
        x = normalise(raw).astype(np.float16).astype(np.float32)
        q = normalise(raw[:1])[0]
        hits = self.index.nearest(q, len(names) + 3)
        at, scores = top_k(x, q, len(names))
        assert hits.ids.tolist() == ids[order][at].tolist()
        assert np.array_equal(hits.scores, scores)

    @invariant()
    def tags_are_where_they_were_put(self) -> None:
        for name, tags in getattr(self, "tags", {}).items():
            found = self.index.reader.find(self.folder / name)
            assert found is not None
            assert tags <= set(self.index.images([found])[0].tags)


IndexMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=20)
TestIndex = IndexMachine.TestCase
