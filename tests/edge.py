"""Qdrant's own engine, `qdrant-edge-py`, behind the calls of `qdrant_client` that curator makes of a server."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import qdrant_edge as edge

_KINDS = {
    "keyword": edge.PayloadSchemaType.Keyword, "float": edge.PayloadSchemaType.Float,
    "integer": edge.PayloadSchemaType.Integer, "datetime": edge.PayloadSchemaType.Datetime,
}  # fmt: skip


class EdgeClient:
    """Collections as folders with a shard each; written ahead, so that a killed process loses nothing acknowledged."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.shards = {f.name: edge.EdgeShard.load(str(f)) for f in home.iterdir() if f.is_dir()}

    def close(self) -> None:
        for shard in self.shards.values():
            shard.close()
        self.shards.clear()

    def collection_exists(self, name: str) -> bool:
        return name in self.shards

    def create_collection(self, name: str, *, vectors_config: Any, **_: Any) -> None:
        if vectors_config:
            params = edge.EdgeVectorParams(
                vectors_config.size, edge.Distance.Dot, datatype=edge.VectorStorageDatatype.Float16
            )
        else:  # an edge shard has vectors
            params = edge.EdgeVectorParams(1, edge.Distance.Dot)
        graph = edge.HnswIndexConfig(m=16, ef_construct=64, full_scan_threshold=100)
        optimizers = edge.EdgeOptimizersConfig(indexing_threshold=50, default_segment_number=1)
        config = edge.EdgeConfig(vectors=params, hnsw_config=graph, optimizers=optimizers)
        self.shards[name] = edge.EdgeShard.create(str(self.home / name), config)

    def delete_collection(self, name: str) -> None:
        if name in self.shards:
            self.shards.pop(name).close()
            shutil.rmtree(self.home / name)

    def update_collection(self, name: str, **_: Any) -> None:
        self.shards[name].optimize()

    def get_collection(self, _: str) -> Any:
        return SimpleNamespace(status="green")

    def create_payload_index(self, name: str, column: str, *, field_schema: Any) -> None:
        self.shards[name].update(edge.UpdateOperation.create_field_index(column, _KINDS[field_schema.value]))

    def upsert(self, name: str, *, points: list[Any], **_: Any) -> None:
        rows = [edge.Point(p.id, p.vector or [0.0], p.payload or {}) for p in points]
        self.shards[name].update(edge.UpdateOperation.upsert_points(rows))

    def delete(self, name: str, *, points_selector: Any) -> None:
        if hasattr(points_selector, "points"):
            operation = edge.UpdateOperation.delete_points(list(points_selector.points))
        else:
            operation = edge.UpdateOperation.delete_points_by_filter(filter_of_edge(points_selector.filter))
        self.shards[name].update(operation)

    def retrieve(self, name: str, *, ids: list[int], with_payload: bool = True, with_vectors: bool = False) -> Any:
        return self.shards[name].retrieve(list(ids), with_payload, with_vectors)

    def count(self, name: str, *, count_filter: Any = None, exact: bool = True) -> Any:
        request = edge.CountRequest(exact=exact, filter=filter_of_edge(count_filter))
        return SimpleNamespace(count=self.shards[name].count(request))

    def scroll(self, name: str, *, scroll_filter: Any, limit: int, offset: Any, with_payload: bool) -> Any:
        request = edge.ScrollRequest(
            offset=offset, limit=limit, filter=filter_of_edge(scroll_filter), with_payload=with_payload
        )
        return self.shards[name].scroll(request)

    def query_points(
        self, name: str, *, query: Any, limit: int, query_filter: Any = None, search_params: Any = None,
        with_vectors: bool = False, with_payload: bool = False,
    ) -> Any:  # fmt: skip
        asked = edge.Sample.Random if hasattr(query, "sample") else edge.Query.Nearest(query)
        how = search_params and edge.SearchParams(hnsw_ef=search_params.hnsw_ef, exact=bool(search_params.exact))
        request = edge.QueryRequest(
            limit, query=asked, filter=filter_of_edge(query_filter), params=how, with_vector=with_vectors,
            with_payload=with_payload,
        )  # fmt: skip
        return SimpleNamespace(points=self.shards[name].query(request))


def filter_of_edge(chosen: Any) -> Any:
    """A filter of the client's models → the engine's."""
    if chosen is None:
        return None
    parts = {k: [_condition(c) for c in getattr(chosen, k) or []] or None for k in ("must", "should", "must_not")}
    return edge.Filter(**parts)


def _condition(condition: Any) -> Any:
    if hasattr(condition, "must"):
        return filter_of_edge(condition)
    if hasattr(condition, "is_empty") and not hasattr(condition, "key"):
        return edge.IsEmptyCondition(condition.is_empty.key)
    if hasattr(condition, "has_id"):
        return edge.HasIdCondition(set(condition.has_id))
    if condition.match is not None:
        return edge.FieldCondition(condition.key, match=edge.MatchValue(condition.match.value))
    bounds = {k: getattr(condition.range, k) for k in ("gte", "gt", "lte", "lt")}
    is_time = any(hasattr(v, "isoformat") for v in bounds.values())
    if is_time:
        bounds = {k: v and v.isoformat() for k, v in bounds.items()}
    return edge.FieldCondition(condition.key, range=(edge.RangeDateTime if is_time else edge.RangeFloat)(**bounds))
