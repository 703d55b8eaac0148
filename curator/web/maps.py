"""The map: where each image lies, what colours it, and the clusters that may be accepted or rejected whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.cleaning.clusters import Cluster, find_clusters, keep_clusters, reject_clusters, stored_clusters
from curator.database import Curation
from curator.database.actions import mark_of
from curator.drawing.scatter import COLOURS
from curator.embeddings import exact_scores
from curator.errors import UsageError
from curator.index import Index
from curator.index.images import unit_vectors_of
from curator.index.layout import load_layout
from curator.search.query import parse_query, query_vector
from curator.web.body import Body, ids_of
from curator.web.jobs import Task, Tasks
from curator.web.pack import Packed

_COLOURS = len(COLOURS)  # values of a column that have a colour of their own
_SHOWN = 6  # images of a cluster, from its medoid outwards


class Maps:
    """The map of an index: laid out in the background, and remembered until the index changes."""

    def __init__(self, index: Index, tasks: Tasks, *, remember: bool = True) -> None:
        self.index, self.tasks, self.remember = index, tasks, remember
        self._clusters: tuple[str, list[dict[str, Any]]] | None = None

    def places(self, parameters: Mapping[str, str]) -> Packed:
        """Ids (m,) and places `x`, `y` (m,) of all images; or how far laying out is.

        With the parameters `x` and `y`, words or any query, each axis is the score of one. Raises `UsageError`,
        `NoTextTower`.
        """
        work = self._laid_out()
        answer = work.answer
        if work.state != "done" or answer is None:
            return Packed(work.describe())
        layout = answer[1]
        places, digest = layout.places, layout.digest
        axes = [parameters.get(name, "").strip() for name in ("x", "y")]
        if any(axes):
            if not all(axes):
                raise UsageError("axes by words take two queries, one for each axis")
            places, digest = self._scores(layout.image_ids, axes), "axes"
        facts = {
            "state": "done", "digest": digest, "laid": layout.laid, "pictures": layout.pictures,
            "command": "curator map map.png",
        }  # fmt: skip
        return Packed(facts, {"ids": layout.image_ids, "x": places[:, 0], "y": places[:, 1]})

    def _laid_out(self) -> Task:
        """The work that lays it out: begun where there is none yet, or images came or went since."""
        work = self.tasks.latest("map")
        if work is None or (work.state == "done" and (work.answer is None or work.answer[0] != self._state())):
            work = self._begin()
        return work

    def _state(self) -> tuple[int, int]:
        return Curation(self.index.reader).vectors_seq(self.index.space), len(self.index)

    def _begin(self, *, anew: bool = False) -> Task:
        state, reader, space = self._state(), self.index.reader, self.index.space
        return self.tasks.start(
            "map", "laying out the map", lambda job: (state, load_layout(reader, space, anew=anew, job=job))
        )

    def lay_out(self, body: Body) -> Any:
        """Begin again, from the start with `anew`."""
        return self._begin(anew=bool(body.get("anew"))).describe()

    def _scores(self, ids: NDArray[np.int64], axes: list[str]) -> NDArray[np.float32]:
        q = [query_vector(self.index, parse_query([a], files=False), remember=self.remember) for a in axes]
        x = unit_vectors_of(self.index, ids)
        return np.stack([exact_scores(x, v) for v in q], 1)

    def colours(self, parameters: Mapping[str, str]) -> Packed:
        """For each image of the map its value of a column: `codes` (m,) into `values`, or a number each in `numbers`.

        Of categories the commonest have a code each, −1 stands for none and the number of them for any other.
        """
        column = parameters.get("column", "label")
        work = self.tasks.latest("map")
        answer = None if work is None or work.state != "done" else work.answer
        if answer is None:
            return Packed({"state": "waiting"})
        ids = answer[1].image_ids.tolist()
        value_of = self.index.reader.values_of(column)
        values = [value_of.get(i) for i in ids]
        there = [v for v in values if v is not None]
        numbers = [v for v in there if isinstance(v, int | float)]
        if there and len(numbers) == len(there) and len(set(numbers)) > _COLOURS:
            low, high = np.percentile(numbers, [2, 98]).tolist()
            array = np.array([np.nan if v is None else v for v in values], np.float32)
            return Packed({"column": column, "low": low, "high": high}, {"numbers": array})
        counted = Counter(map(str, there)).most_common()
        code_of = {value: code for code, (value, _) in enumerate(counted[:_COLOURS])}
        codes = np.array([-1 if v is None else code_of.get(str(v), _COLOURS) for v in values], np.int32)
        facts = {"column": column, "values": counted[:_COLOURS], "others": sum(n for _, n in counted[_COLOURS:])}
        return Packed(facts, {"codes": codes})

    def clusters(self, _: Mapping[str, str]) -> Any:
        """The clusters found last, largest first; none where nobody has looked for any. Remembered until a change."""
        mark = mark_of(self.index.reader)
        if self._clusters is None or self._clusters[0] != mark:
            self._clusters = mark, [_described(c) for c in stored_clusters(self.index)]
        return {"clusters": self._clusters[1], "command": "curator clusters"}

    def find(self, body: Body) -> Any:
        """Look for clusters, in the background."""
        count = body.get("count")
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise UsageError("'count' is a whole number")
        work = self.tasks.start(
            "clusters", "finding clusters", lambda job: len(find_clusters(self.index, count=count, job=job))
        )
        return work.describe()

    def judge(self, body: Body) -> Any:
        """Reject whole clusters, or with `keep` take that back."""
        numbers = ids_of(body, "numbers")
        ids = (keep_clusters if body.get("keep") else reject_clusters)(self.index, numbers)
        return {"images": len(ids)}


def _described(cluster: Cluster) -> dict[str, Any]:
    whole = asdict(cluster)
    ids = whole.pop("ids")
    return whole | {"images": len(ids), "medoid": ids[0], "shown": cluster.across(_SHOWN)}
