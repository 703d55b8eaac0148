"""Filling a Qdrant with a set: two collections, parts whose receipt is put last, the graph, and what it finds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from curator.errors import EngineRefused, NoEngine
from curator.records import Space, Vectors
from curator.registry import extra
from curator.vectors.calibration import K, least_width, settled_width
from curator.vectors.conditions import NUMBERS, TEXTS, TIMES, filter_of
from curator.vectors.qdrant_connecting import connect, split_address, telling
from curator.vectors.qdrant_payload import payload_of
from curator.vectors.services import COLUMNS, LoadPart, all_there, check_same

_FACTS = 1 << 62  # the point, beside the receipts, that says whose vectors these are
_SAMPLE, _BATCH, _PAGE = 1_000, 512, 4_096
_SMALL_CODES = 10_000_000  # images from which eight bits a number stay in memory, and the rest on disk
_INDEXING = 10_000  # kB of vectors from which Qdrant builds a graph; 0 while loading
_WAIT = 24 * 3600.0  # seconds that a graph may take


class QdrantLoading:
    """A set's two collections, of its images and of receipts, and what fills them; for any number of threads."""

    def __init__(self, url: str, client: Any = None) -> None:
        """`client` is one of `qdrant_client`, by default for the server that the URL names."""
        self._models = extra("qdrant_client.models", "qdrant")
        host, port, self.name = split_address(url)
        self._images, self._parts = f"curator_{self.name}", f"curator_{self.name}-parts"
        self._client = connect(host, port) if client is None else client
        self._stored: dict[str, Any] | None = None
        self._sample: Vectors | None = None

    def _asking(self) -> contextlib.AbstractContextManager[Any]:
        """The client, whose own errors become ours."""
        return telling(self._client)

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    # Loading

    def create(self, space: Space, source: str, *, replace: bool = False) -> None:
        """See `Service`. What a set is of stands first; a collection that somebody else made is left alone."""
        m = self._models
        fresh = {
            "encoder": space.encoder, "fingerprint": space.fingerprint, "dim": space.dim, "source": source,
            "ef": None, "recall": 0.0, "total": 0, "sample": [], "changes": 0,
        }  # fmt: skip
        with self._asking() as client:
            facts = self._stored_facts()
            if facts is None and client.collection_exists(self._images):
                raise EngineRefused(f"Qdrant has a collection '{self._images}' that curator did not make; name another")
            if facts is None and not client.collection_exists(self._parts):
                client.create_collection(self._parts, vectors_config={})
            if facts is not None:
                known = (facts["fingerprint"], facts["encoder"], facts["source"])
                check_same(self.name, known, space, source, replace=replace)
                if facts["source"] != source:  # ids of the two may meet
                    self._clear()
            self._put_facts(facts | {"source": source} if facts and facts["source"] == source else fresh)
            if not client.collection_exists(self._images):
                vectors = m.VectorParams(
                    size=space.dim, distance=m.Distance.DOT, datatype=m.Datatype.FLOAT16, on_disk=True
                )
                client.create_collection(
                    self._images, vectors_config=vectors, hnsw_config=m.HnswConfigDiff(m=16, ef_construct=64),
                    optimizers_config=m.OptimizersConfigDiff(indexing_threshold=0), on_disk_payload=True,
                )  # fmt: skip
            # An index for every column that conditions name: without, the graph is walked far beyond what matches.
            kinds = m.PayloadSchemaType
            typed = ((NUMBERS, kinds.FLOAT), (TEXTS - {"path"}, kinds.KEYWORD), (TIMES, kinds.DATETIME))
            for column, kind in [*((c, k) for columns, k in typed for c in sorted(columns)), ("shard", kinds.INTEGER)]:
                client.create_payload_index(self._images, column, field_schema=kind)

    def _clear(self) -> None:
        """Let go of all images and receipts."""
        m = self._models
        with self._asking() as client:
            client.delete_collection(self._images)
            receipts = [shard for shard, _ in self._receipts()]
            if receipts:
                client.delete(self._parts, points_selector=m.PointIdsList(points=receipts))

    def load(self, part: LoadPart) -> None:
        """The receipt goes, then the old rows; the new ones come, then their receipt."""
        m = self._models
        self._unfinish(part.shard)
        with self._asking() as client:
            client.delete(self._images, points_selector=self._of_shard(part.shard))
            names = [name for name in COLUMNS if name != "norm"]
            for start in range(0, len(part.ids), _BATCH):
                points = [
                    m.PointStruct(
                        id=int(part.ids[row]), vector=part.x[row].astype(float).tolist(),
                        payload=payload_of({n: part.columns[n][row] for n in names})
                        | {"shard": part.shard, "id": int(part.ids[row])},
                    )
                    for row in range(start, min(start + _BATCH, len(part.ids)))
                ]  # fmt: skip
                client.upsert(self._images, points=points, wait=True)
            receipt = {"sha256": part.sha256, "rows": len(part.ids)}
            client.upsert(self._parts, points=[m.PointStruct(id=part.shard, vector={}, payload=receipt)], wait=True)

    def loaded(self) -> dict[int, str]:
        """shard → SHA-256 of the parts that are there whole."""
        damaged = {shard for shard, _, _ in self._damaged()}
        return {shard: receipt["sha256"] for shard, receipt in self._receipts() if shard not in damaged}

    def _damaged(self) -> Iterator[tuple[int, int, int]]:
        """(shard, rows that are there, rows of its receipt) where these differ."""
        for shard, receipt in self._receipts():
            rows = self._count(self._of_shard(shard).filter)
            if rows != receipt["rows"]:
                yield shard, rows, receipt["rows"]

    def _receipts(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for record in self._scrolled(self._parts, None, with_payload=True):
            if record.id != _FACTS:
                yield int(record.id), record.payload

    def remove(self, shard: int) -> None:
        """Take a part away."""
        self._unfinish(shard)
        with self._asking() as client:
            client.delete(self._images, points_selector=self._of_shard(shard))

    def _unfinish(self, shard: int) -> None:
        """Before anything of a part changes: searches compare everything, and its receipt is gone."""
        facts = self._facts()
        self._put_facts(facts | {"ef": None, "changes": facts["changes"] + 1})
        with self._asking() as client:
            client.delete(self._parts, points_selector=self._models.PointIdsList(points=[shard]))

    def _of_shard(self, shard: int) -> Any:
        is_of = {"must": [{"key": "shard", "match": {"value": shard}}]}
        return self._models.FilterSelector(filter=self._models.Filter.model_validate(is_of))

    @property
    def is_finished(self) -> bool:
        """Whether nothing was loaded or taken away since `finish`."""
        return self._facts()["ef"] is not None

    def finish(self, say: Callable[[str], None], words: Vectors | None = None) -> None:
        """Have the graph built, draw the sample, and measure how wide a walk must be."""
        m, total, changes = self._models, self.count(), self._facts()["changes"]
        say("Qdrant builds its graph; this takes minutes for 100,000 images.")
        codes = None
        if total >= _SMALL_CODES:
            scalar = m.ScalarQuantizationConfig(type=m.ScalarType.INT8, always_ram=True)
            codes = m.ScalarQuantization(scalar=scalar)
        with self._asking() as client:
            indexing = m.OptimizersConfigDiff(indexing_threshold=_INDEXING)
            client.update_collection(self._images, optimizers_config=indexing, quantization_config=codes)
            until = time.monotonic() + _WAIT
            while client.get_collection(self._images).status != m.CollectionStatus.GREEN:
                if time.monotonic() > until:
                    raise EngineRefused("Qdrant's graph is not done after a day; `curator push` looks again")
                time.sleep(0.2)
            random = m.SampleQuery(sample=m.Sample.RANDOM)
            drawn = client.query_points(self._images, query=random, limit=_SAMPLE, with_payload=False).points
        self._sample = None
        facts = self._facts() | {"total": total, "sample": sorted(int(p.id) for p in drawn)}
        self._put_facts(facts)
        ef, recall = least_width(self.sample(), self._nearest_ids, words)
        ef = settled_width(ef, recall, total, say)
        if self._facts()["changes"] != changes:
            say("Somebody has loaded meanwhile; push again when that has ended.")
            return
        self._put_facts(facts | {"ef": ef, "recall": recall})

    def _nearest_ids(self, q: Vectors, ef: int | None) -> set[int]:
        return {int(p.id) for p in self._points(q, K, None, ef)}

    def drop(self) -> None:
        """Remove the set's two collections, whatever is there of them. Raises `NoEngine` where nothing is."""
        with self._asking() as client:
            if not client.collection_exists(self._parts):
                raise NoEngine(f"there is no set '{self.name}' in this Qdrant; `curator push` makes one")
            for name in (self._images, self._parts):  # this order: whoever is cut off can drop again
                if client.collection_exists(name):
                    client.delete_collection(name)

    def _facts(self) -> dict[str, Any]:
        """What stands beside the receipts. Raises `NoEngine` where there is no such set."""
        facts = self._stored_facts()
        if facts is None:
            raise NoEngine(f"there is no set '{self.name}' in this Qdrant; `curator push` makes one")
        self._stored = facts
        return facts

    def _stored_facts(self) -> dict[str, Any] | None:
        with self._asking() as client:
            if not client.collection_exists(self._parts):
                return None
            records = client.retrieve(self._parts, ids=[_FACTS])
        return dict(records[0].payload) if records else None

    def _put_facts(self, facts: dict[str, Any]) -> None:
        with self._asking() as client:
            client.upsert(self._parts, points=[self._models.PointStruct(id=_FACTS, vector={}, payload=facts)])
        self._stored = facts

    # What both loading and answering ask

    @property
    def space(self) -> Space:
        """Whose vectors these are. Raises `NoEngine`."""
        facts = self._stored or self._facts()
        return Space(0, facts["encoder"], facts["fingerprint"], facts["dim"], 0, 0, "")

    def count(self, where: str | None = None) -> int:
        """How many images there are, or for how many a condition holds. Raises `WhereError`."""
        self._facts()
        return self._count(self._filter(where))

    def _count(self, chosen: Any) -> int:
        """How many images a filter chooses, of a set that is known to be there."""
        with self._asking() as client:
            return int(client.count(self._images, count_filter=chosen, exact=True).count)

    def _points(self, q: Vectors, k: int, where: str | None, ef: int | None) -> list[Any]:
        """The best `k` with their vectors, by a walk as wide as `ef`; for None every match is compared."""
        m = self._models
        how = m.SearchParams(exact=True) if ef is None else m.SearchParams(hnsw_ef=ef)
        with self._asking() as client:
            answer = client.query_points(
                self._images, query=q.astype(float).tolist(), limit=k, query_filter=self._filter(where),
                search_params=how, with_vectors=True, with_payload=False,
            )  # fmt: skip
        return list(answer.points)

    def _filter(self, where: str | None) -> Any:
        return None if where is None else self._models.Filter.model_validate(filter_of(where))

    def vectors(self, ids: Sequence[int]) -> Vectors:
        """(n, d) float32 in the order of `ids`. Raises `UnknownName`."""
        records = self._retrieved(ids, payload=False)
        return np.array([records[i].vector for i in all_there(ids, records, self.name)], np.float32).reshape(
            -1, self.space.dim
        )

    def _retrieved(self, ids: Sequence[int], *, payload: bool | list[str]) -> dict[int, Any]:
        """Records with their payload, or some columns of it, or else with their vectors."""
        wanted, records = [int(i) for i in ids], dict[int, Any]()
        with self._asking() as client:
            for start in range(0, len(wanted), _PAGE):
                page = wanted[start : start + _PAGE]
                rows = client.retrieve(self._images, ids=page, with_payload=payload, with_vectors=payload is False)
                records |= {int(r.id): r for r in rows}
        return records

    def _scrolled(self, collection: str, chosen: Any, *, with_payload: bool) -> Iterator[Any]:
        self._facts()
        offset = None
        while True:
            with self._asking() as client:
                page, offset = client.scroll(
                    collection, scroll_filter=chosen, limit=_PAGE, offset=offset, with_payload=with_payload
                )
            yield from page
            if offset is None:
                return

    def sample(self) -> Vectors:
        """(m, d) float32: 1,000 random vectors, drawn when loading ended."""
        if self._sample is None:
            self._sample = self.vectors(self._facts()["sample"])
        return self._sample
