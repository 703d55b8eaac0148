"""`curator dedupe`: what is here twice, of what kind, in which groups, and which image of each to keep."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.cleaning.calibrated import find_thresholds, planted_of
from curator.cleaning.comparing import RANK, Comparer, Hashes, Shortcut, collect_evidence, find_candidates
from curator.cleaning.corners import find_by_corners
from curator.cleaning.edges import check_groups
from curator.cleaning.grouping import Grouping, Link, Listed
from curator.cleaning.joining import Rules
from curator.cleaning.keepers import KEEP, Policy
from curator.cleaning.looks import Looks
from curator.cleaning.result import DedupeResult, ListedPair, as_groups
from curator.cleaning.rounds import are_told_apart, labels_of
from curator.database import Curation, Reader
from curator.database.listed import put_recipe
from curator.duplicates import KINDS, LEVELS, LISTED, Thresholds, inner, judge
from curator.embeddings import find_sorted
from curator.errors import UsageError
from curator.images import absolute
from curator.index import NEIGHBOURS, Index, check_graph, load_graph
from curator.job import QUIET, Job
from curator.records import Decision, Evidence, Graph, Grouped, Ids, Nodes, Space

DEDUPE = "dedupe"  # the recipe that the groups were made by


@dataclass(frozen=True)
class DedupeOptions:
    """How to look: `level` "exact", "verified" or "semantic"; `threshold` overrides that of semantic edges.

    `across` takes only edges between roots, `ignore_same_dir` only those between folders, `within` only those inside
    one; `links` counts further names of one file as copies of it; `where` limits the images. `neighbours` of each
    picture are looked at, whatever their score. `every_pair` compares those too that others join already.
    """

    level: str = "verified"
    keep: tuple[str, ...] = KEEP
    protect: tuple[Path, ...] = ()
    across: bool = False
    ignore_same_dir: bool = False
    within: bool = False
    links: bool = False
    every_pair: bool = False
    where: str | None = None
    threshold: float | None = None
    neighbours: int = RANK

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise UsageError(f"no level '{self.level}'; there are: {', '.join(LEVELS)}")
        if self.within and (self.across or self.ignore_same_dir):
            raise UsageError("--within takes pairs inside one folder, and --across or --ignore-same-dir all others")
        if not 1 <= self.neighbours <= NEIGHBOURS:
            raise UsageError(f"--neighbours takes 1 to {NEIGHBOURS}, and got {self.neighbours}")
        for name, kind in (("keep", str), ("protect", Path)):  # one alone is not a list of its letters
            value = getattr(self, name)
            several = (value,) if isinstance(value, str | Path) else value
            object.__setattr__(self, name, tuple(kind(v) for v in several))
        for folder in self.protect:
            if not folder.is_dir():
                raise UsageError(f"--protect takes a folder, and {folder} is none")

    def recipe(self) -> dict[str, Any]:
        """What reasons are told by afterwards, as JSON."""
        return {"level": self.level, "keep": list(self.keep), "protect": [str(absolute(f)) for f in self.protect]}


@dataclass
class _Edges:
    """Verified and semantic edges between nodes, as far as the level asks for them."""

    links: list[Link] = field(default_factory=list)
    semantic: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))
    scores: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    graph: Graph | None = None
    evidence: dict[tuple[int, int], Evidence] = field(default_factory=dict)
    listed: list[Listed] = field(default_factory=list)
    compared: int = 0
    known: int = 0
    joined: int = 0
    unread: int = 0
    corners: str = ""
    shortcut: Shortcut = field(default_factory=lambda: Shortcut(0, 0, 0))


def dedupe(
    index: Index,
    options: DedupeOptions = DedupeOptions(),
    *,
    only: Collection[int] | None = None,
    keep_proposals: bool = True,
    job: Job = QUIET,
) -> DedupeResult:
    """Find groups, propose keepers, and remember both in the index. No file is touched.

    What was compared is not compared again. `only` limits it to images of these ids; without `keep_proposals` those of
    the last run stay remembered, and nothing waits for another process. Raises `UsageError`, `UnknownName` for a keep
    rule, `WhereError`, `NoIndex` for an empty index, `IndexLocked`.
    """
    started = time.monotonic()
    space, reader = index.space, index.reader
    curation = Curation(reader)
    every = curation.nodes(space)
    nodes = every
    if options.where is not None:
        nodes = _limit(nodes, reader.ids_where(options.where))
    if only is not None:
        nodes = _limit(nodes, np.array(sorted(only), np.int64))
    thresholds = find_thresholds(curation, space, options.threshold)
    edges = _Edges()
    if options.level != "exact":
        # Where some pairs do not count, others may have to stand in for them.
        all_count = not (options.across or options.ignore_same_dir or options.within or options.every_pair)
        all_count = all_count and not are_told_apart(curation.decisions())
        labels = labels_of(reader, nodes) if all_count else None
        check_graph("dedupe", len(nodes), space.dim, job)
        edges, thresholds = _look(index, nodes, thresholds, neighbours=options.neighbours, labels=labels, job=job)
    job.check()
    whole = len(nodes.image_ids) == len(every.image_ids)
    while True:
        decisions = curation.decisions()
        grouping, members = _group(reader, space, nodes, edges, decisions, thresholds=thresholds, options=options)
        if not keep_proposals or _keep(index, members, nodes, decisions, recipe=options.recipe(), whole=whole):
            break
    checks = check_groups(members, grouping.covering)
    notes = _notes(curation, nodes, thresholds, options)
    if edges.unread:
        notes += (f"{edges.unread} pairs could not be compared, because files cannot be read now; run again later",)
    groups = as_groups(members, grouping.policy.rejected)
    notes += grouping.notes(members)
    pairs = {kind: grouping.counts.get(kind, 0) for kind in LEVELS[options.level]}
    listed = _listed(edges, grouping)
    pairs |= {kind: sum(p.kind == kind for p in listed) for kind in LISTED if options.level != "exact"}
    images = {kind: sum(m.kind == kind for g in groups for m in g.duplicates) for kind in LEVELS[options.level]}
    return DedupeResult(
        groups, len(nodes.image_ids), len(nodes), edges.compared, edges.known, pairs, images,
        edges.graph.certificate if edges.graph else None, thresholds, edges.evidence,
        _contents_of(members, listed, nodes), checks, notes,
        time.monotonic() - started, tuple(listed), options.neighbours, edges.corners, edges.shortcut,
        planted_of(curation, space), edges.joined,
    )  # fmt: skip


def _group(
    reader: Reader,
    space: Space,
    nodes: Nodes,
    edges: _Edges,
    decisions: list[Decision],
    *,
    thresholds: Thresholds,
    options: DedupeOptions,
) -> tuple[Grouping, list[Grouped]]:
    """Members of groups, joined by verified edges and, at that level, by semantic ones."""
    curation = Curation(reader)
    policy = _policy(curation, decisions, options)
    rules = Rules(options.across, options.ignore_same_dir, options.within, options.links)
    grouping = Grouping(reader, nodes, policy, decisions, rules)
    members = grouping.verified(edges.links)
    if options.level == "semantic":
        x = curation.vectors(space, nodes.contents)
        members = grouping.semantic(members, edges.semantic, edges.scores, x, float(thresholds.semantic or 1.0))
    return grouping, members


def _keep(
    index: Index,
    members: list[Grouped],
    nodes: Nodes,
    decisions: list[Decision],
    *,
    recipe: Mapping[str, Any],
    whole: bool,
) -> bool:
    """Remember groups, but none with an image that another process has changed or removed meanwhile.

    Nothing is kept, and the answer is False, where decisions have come that the groups do not know of.
    """
    content_of = dict(zip(nodes.image_ids.tolist(), nodes.content_ids.tolist(), strict=True))
    with index.write() as db:
        curation = Curation(db)
        if curation.decisions() != decisions:
            return False
        now = curation.contents_of([m.image_id for m in members])
        stale = {m.keeper_id for m in members if now.get(m.image_id) != content_of[m.image_id]}
        with db.atomic():
            fresh = [m for m in members if m.keeper_id not in stale]
            curation.replace_groups(fresh, None if whole else nodes.image_ids.tolist())
            put_recipe(db, DEDUPE, recipe)
        index.step("groups committed")
        return True


def _contents_of(members: list[Grouped], listed: list[ListedPair], nodes: Nodes) -> dict[int, int]:
    """image id → the content that stands for it, for every image of a group and those at the ends of its edges."""
    involved = {i for m in members for i in (m.image_id, m.via_id)} | {i for p in listed for i in (p.first, p.second)}
    standing = zip(nodes.image_ids.tolist(), nodes.standing().tolist(), strict=True)
    return {image_id: content for image_id, content in standing if image_id in involved}


def _limit(nodes: Nodes, chosen: Ids) -> Nodes:
    """The nodes of the images of these ids, which ascend."""
    is_chosen = find_sorted(chosen, nodes.image_ids)[1]
    nodes_left, node_of = np.unique(nodes.node_of[is_chosen], return_inverse=True)
    return Nodes(
        nodes.image_ids[is_chosen], nodes.content_ids[is_chosen], node_of.astype(np.int64), nodes.contents[nodes_left]
    )


def _look(
    index: Index,
    nodes: Nodes,
    thresholds: Thresholds,
    *,
    neighbours: int,
    labels: Mapping[int, Set[str]] | None,
    job: Job,
) -> tuple[_Edges, Thresholds]:
    """Candidates, evidence on them, and what it makes of them; the thresholds with the one the graph settled on."""
    graph = load_graph(index.reader, index.space, nodes, threshold=thresholds.semantic, job=job)
    index.step("graph cached")
    thresholds = replace(thresholds, semantic=graph.certificate.threshold)
    hashes = Hashes.of(Curation(index.reader), nodes)
    with Looks(index.reader, nodes) as looks:
        corners = find_by_corners(index.reader, nodes, looks, job=job)
        pairs = find_candidates(hashes, graph, graph.certificate.threshold, corners.pairs, rank=neighbours)
        collected = collect_evidence(index, nodes, pairs, hashes, Comparer(looks, thresholds), labels=labels, job=job)
        looks.forget_gone()
    edges = _Edges(graph=graph, compared=collected.compared, known=collected.known, unread=collected.unread)
    edges.joined = collected.joined
    edges.corners, edges.shortcut = corners.method, collected.shortcut
    edges.semantic, edges.scores = graph.above(graph.certificate.threshold)
    contents = nodes.contents
    for (a, b), evidence in zip(pairs.tolist(), collected.evidence, strict=True):
        if evidence is None:
            continue
        kind = judge(evidence, thresholds)
        if kind in LISTED:
            edges.listed.append(Listed(a, b, kind))
        elif kind is not None:
            bits = evidence.distance if kind != "cropped/edited" else 0
            edges.links.append(
                Link(a, b, kind, (KINDS.index(kind), bits, -(evidence.agreement or 0.0)), inner(evidence, kind))
            )
        edges.evidence[int(contents[a]), int(contents[b])] = evidence
    edges.links.sort(key=lambda link: (link.strength, link.first, link.second))
    return edges, thresholds


def _listed(edges: _Edges, grouping: Grouping) -> list[ListedPair]:
    """Pairs that are listed and not proposed, each with two images that count, but those a person told apart."""
    ids = grouping.nodes.image_ids
    pairs = []
    for listed in [*edges.listed, *grouping.listed]:
        one, two = (grouping.images_of[node] for node in (listed.first, listed.second))
        count = (pair for pair in grouping.spread(one, two) if frozenset(pair) not in grouping.apart)
        first = next((pair for pair in count if grouping.keys_allow(*pair)), None)
        if first is not None:
            differ = grouping.labels_differ(listed.first, listed.second)
            pairs.append(ListedPair(int(ids[first[0]]), int(ids[first[1]]), listed.kind, differ))
    return pairs


def _policy(curation: Curation, decisions: list[Decision], options: DedupeOptions) -> Policy:
    """The keep rules with what a person decided: ids to keep, and ids that were rejected."""
    there = curation.with_content([d.subject for d in decisions if d.verdict != "not-duplicate"])
    chosen: dict[str, set[int]] = {"keep": set(), "reject": set()}
    for d in decisions:
        if d.verdict in chosen:
            ids = set(there.get(d.subject, ()))
            chosen[d.verdict] |= ids & {d.subject_id} if d.subject_id else ids
    return Policy(options.keep, options.protect, frozenset(chosen["keep"]), frozenset(chosen["reject"]))


def _notes(curation: Curation, nodes: Nodes, thresholds: Thresholds, options: DedupeOptions) -> tuple[str, ...]:
    notes = []
    if options.level != "exact":
        missing = int(np.isnan(curation.hashes(nodes.contents)[1]).sum())
        if missing:
            notes.append(
                f"{missing} pictures have no perceptual hash; `curator index` measures those whose files are there"
            )
        if "calibrated" not in thresholds.sources.values():
            notes.append("thresholds are not calibrated on your images; `curator calibrate` does that")
    if options.level == "semantic" and thresholds.sources.get("semantic") == "tail of the scores":
        notes.append(
            f"the semantic threshold {thresholds.semantic:.3f} is where one in a hundred nearest neighbours would lie "
            "by chance"
        )
    return tuple(notes)
