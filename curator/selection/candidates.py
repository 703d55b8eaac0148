"""From an index and a recipe to the pool that selectors see, with a count for every step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.database import Curation, Selections
from curator.database.curation import rejected_ids
from curator.embeddings import find_sorted
from curator.errors import UsageError
from curator.index import Index, build_graph, load_graph
from curator.index.images import codes_of, find_images, vectors_of
from curator.index.size import check_graph
from curator.index.words import fit_words
from curator.job import Job
from curator.records import Ids
from curator.selection.recipe import Recipe, Step
from curator.selectors import Pool, parse_objective

AMONG = 4  # times as many images as wanted, those that fit the words best, are what k-center and its like choose among
NEED_GRAPH = frozenset({"typicality", "uniqueness", "density-knn", "facility-location"})


class Candidates:
    """The images a recipe may choose from, narrowed step by step; `pool()` is what selectors see of them."""

    def __init__(self, index: Index, recipe: Recipe, job: Job, *, remember: bool = True) -> None:
        self.index, self.recipe, self.job, self.remember = index, recipe, job, remember
        self.ids: Ids = index.reader.ids_where("1")
        self.steps = [Step("images of the index", len(self.ids), len(self.ids), {})]
        self.start: Ids = np.empty(0, np.int64)
        self.reference: Ids | None = None
        if recipe.extend:
            self.start = Selections(index.reader).get(recipe.extend).ids
        if recipe.reference:
            self.reference = find_images(index, recipe.reference)
        self._narrow()

    def _keep(self, step: str, kept: Ids, **facts: object) -> None:
        before = len(self.ids)
        self.ids = np.intersect1d(self.ids, kept, assume_unique=True)
        self.steps.append(Step(step, before, len(self.ids), facts))

    def _narrow(self) -> None:
        reader, recipe = self.index.reader, self.recipe
        if recipe.origin != "any":
            self._keep("origin", reader.ids_where(f"origin = '{recipe.origin}'"), origin=recipe.origin)
        if recipe.where:
            self._keep("where", reader.ids_where(recipe.where), where=recipe.where)
        rejected = np.array(sorted(rejected_ids(Curation(reader))), np.int64)
        self._keep("not rejected", np.setdiff1d(self.ids, rejected))
        self._keep("has a vector", Curation(reader).nodes(self.index.space).image_ids)
        if self.reference is not None:
            self._keep("not of the reference", np.setdiff1d(self.ids, self.reference), reference=recipe.reference)
        if len(self.start):
            usable = np.setdiff1d(Curation(reader).nodes(self.index.space).image_ids, rejected)
            self.start = self.start[np.isin(self.start, usable)]
            before = len(self.ids)
            self.ids = np.union1d(self.ids, self.start)
            self.steps.append(
                Step("to begin with", before, len(self.ids), {"extend": recipe.extend, "images": len(self.start)})
            )
        if recipe.dedupe != "none":
            self._dedupe()
        if not len(self.ids):
            raise UsageError(
                "no image is left to choose from: "
                + "; ".join(f"{s.step}: {s.after} of {s.before}" for s in self.steps[1:])
            )

    def _dedupe(self) -> None:
        recipe = self.recipe
        facts: dict[str, object] = {"level": recipe.dedupe}
        only, begun = self.ids, set(self.start.tolist())
        level = "exact" if recipe.dedupe == "known" else recipe.dedupe
        options = DedupeOptions(level, threshold=recipe.threshold, links=True)
        result = dedupe(self.index, options, only=only.tolist(), keep_proposals=False, job=self.job)
        groups = [[g.keeper, *(m.image_id for m in g.duplicates)] for g in result.groups]
        if recipe.dedupe == "known":
            groups += self._known_groups(groups)
        # One image of each stays: those to begin with, whatever else there is, else the keeper, else the next.
        out = set()
        for members in groups:
            ordered = sorted((i for i in members if i not in out), key=lambda i: i not in begun)
            out |= {i for i in ordered[1:] if i not in begun}
        if recipe.dedupe != "known":
            facts |= {"thresholds": result.thresholds.values(), "sources": dict(result.thresholds.sources)}
            facts["certificate"] = vars(result.certificate) if result.certificate else None
        self._keep("not a duplicate", np.array([i for i in self.ids.tolist() if i not in out], np.int64), **facts)

    def _known_groups(self, found: list[list[int]]) -> list[list[int]]:
        """What of the last dedupe's groups is here, the keeper first where it is.

        Identical files count as the one that stays of them.
        """
        candidates = set(self.ids.tolist())
        stands = {i: members[0] for members in found for i in members}
        groups: dict[int, list[int]] = {}
        for image_id, keeper in self.index.reader.values_of("duplicate_of").items():
            if keeper is not None and image_id in candidates:
                groups.setdefault(keeper, [keeper] if keeper in candidates else []).append(image_id)
        return [list(dict.fromkeys(stands.get(i, i) for i in members)) for members in groups.values()]

    def pool(self) -> tuple[Pool, Ids]:
        """The pool, in the order of the contents' digests, and the image id of each of its positions."""
        index, recipe = self.index, self.recipe
        hashes = Selections(index.reader).sha256_of(self.ids)
        order = sorted(range(len(hashes)), key=lambda i: (hashes[i], int(self.ids[i])))
        ids = self.ids[order]
        objective = parse_objective(recipe.by)
        parts = {name for name, _ in objective.powers} | {objective.selector}
        if parts & NEED_GRAPH:
            check_graph("select", len(ids), index.space.dim, self.job)
        x = vectors_of(index, ids)
        words = (
            fit_words(index, x, recipe.match, recipe.avoid, remember=self.remember)
            if recipe.match or recipe.avoid
            else None
        )
        if words is not None and objective.selector is not None and recipe.n is not None and recipe.by != Recipe().by:
            codes = codes_of(index, ids, recipe.per) if recipe.per else None
            best = self._fitting(ids, words, AMONG * recipe.n, codes)
            order, ids, x, words = [order[i] for i in best.tolist()], ids[best], x[best], words[best]
        neighbours, near = self._graph(ids, x) if parts & NEED_GRAPH else (None, None)
        position_of = {int(i): p for p, i in enumerate(ids)}
        pool = Pool(
            x,
            tuple(hashes[i] for i in order),
            recipe.seed,
            codes_of(index, ids, recipe.per) if recipe.per else None,
            neighbours,
            near,
            vectors_of(index, self.reference) if self.reference is not None else None,
            words,
            np.array([position_of[int(i)] for i in self.start], np.int64),
        )
        return pool, ids

    def _fitting(
        self, ids: Ids, words: NDArray[np.float64], most: int, codes: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        """Positions, ascending, of the images that fit the words best, and of those to begin with.

        Evenly for each value of --per.
        """
        begun = np.isin(ids, self.start)
        order = np.lexsort((np.arange(len(ids)), -words, ~begun))
        if codes is not None:
            turn = np.empty(len(ids), np.int64)
            for code in np.unique(codes):
                members = order[codes[order] == code]
                turn[members] = np.arange(len(members))
            order = order[np.argsort(turn[order], kind="stable")]
        best = np.union1d(order[:most], np.flatnonzero(begun))
        self.steps.append(
            Step("fits the words best", len(ids), len(best), {"match": self.recipe.match, "avoid": self.recipe.avoid})
        )
        return np.sort(best)

    def _graph(self, ids: Ids, x: NDArray[np.float16]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The cached graph where the pool is all of the index's pictures, once each; else one of the pool itself."""
        nodes = Curation(self.index.reader).nodes(self.index.space)
        where, is_there = find_sorted(nodes.image_ids, ids)
        node = nodes.node_of[where]

        if not is_there.all() or len(ids) != len(nodes) or len(np.unique(node)) != len(ids):
            graph = build_graph(x, job=self.job)
            return graph.neighbours, graph.scores
        graph = load_graph(self.index.reader, self.index.space, nodes, job=self.job)
        place = np.full(len(nodes) + 1, -1, np.int64)
        place[node] = np.arange(len(ids))
        return place[graph.neighbours[node]].astype(np.int32), graph.scores[node]
