"""`curator clusters`: what an index is made of, and verdicts on whole parts of it.

Where strangers are many and alike they form clusters of their own, in which each is as typical as anything: no score of
single images finds them, and a person who sees a dozen of each cluster does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.cleaning.decisions import judge_alone
from curator.database import Curation, Selections
from curator.database.curation import kept_ids, rejected_ids
from curator.embeddings import exact_scores
from curator.errors import UsageError
from curator.index import Index
from curator.index.columns import COLUMNS, put_columns, refuse_columns
from curator.index.images import vectors_of
from curator.job import QUIET, Job
from curator.records import OF_NONE, Ids, Scores
from curator.selectors.clusters import assign, spherical_kmeans
from curator.texts import plural

_FEWEST, _MOST = 4, 60  # clusters, unless a person says how many
_LABELS = 3  # of a cluster, the commonest


@dataclass(frozen=True)
class Cluster:
    """Images that lie together, nearest to the centre first: the first one is the medoid.

    `tightness` is their mean score with the centre; `labels` the commonest with their counts; `rejected` how many are.
    """

    number: int
    ids: tuple[int, ...]
    tightness: float
    labels: tuple[tuple[str, int], ...]
    rejected: int

    def across(self, count: int) -> list[int]:
        """Some ids, evenly from the medoid to the farthest, so that a mixed cluster shows it."""
        places = dict.fromkeys(round(i * (len(self.ids) - 1) / (count - 1)) for i in range(count))
        return [self.ids[p] for p in places]


def find_clusters(
    index: Index, *, count: int | None = None, where: str | None = None, seed: int = 0, job: Job = QUIET
) -> list[Cluster]:
    """Cluster the vectors of real images by spherical k-means, and keep each image's number in the column `cluster`.

    The largest is number 1. `count` is by default half the root of the number of images, 4 to 60. Raises `UsageError`
    for too few images.
    """
    refuse_columns(index, "clusters")
    ids = np.intersect1d(Curation(index.reader).nodes(index.space).image_ids, index.reader.ids_where("origin = 'real'"))
    ids = ids if where is None else np.intersect1d(ids, index.reader.ids_where(where))
    if not len(ids):
        raise UsageError("no real image with a vector is left to cluster")
    wanted = count or min(_MOST, max(_FEWEST, round(math.sqrt(len(ids)) / 2)))
    if not 2 <= wanted <= len(ids):
        raise UsageError(
            f"{len(ids)} images cannot be divided into {wanted} clusters; it takes 2, and an image for each"
        )
    x = vectors_of(index, ids)
    job.progress(0, len(ids), "clustering")
    code, score = assign(x, spherical_kmeans(x, wanted, np.random.default_rng(seed)))
    job.progress(len(ids), len(ids), "clustering")
    clusters = _described(index, ids, code, score)
    number_of = {i: c.number for c in clusters for i in c.ids}
    # Those that are not among these any more have no number.
    before = dict.fromkeys(_numbers(index)) if _has_numbers(index) else {}
    put_columns(index, "clusters", [before | number_of])
    return clusters


def stored_clusters(index: Index) -> list[Cluster]:
    """The clusters found last, by their number, of images that are still there; none where there are none."""
    number_of = _numbers(index) if _has_numbers(index) else {}
    present = Curation(index.reader).nodes(index.space).image_ids
    ids = np.array([i for i in present.tolist() if i in number_of], np.int64)
    if not len(ids):
        return []
    x = vectors_of(index, ids)
    code = np.array([number_of[i] for i in ids.tolist()])
    score = np.zeros(len(ids), np.float32)
    for number in np.unique(code):
        members = code == number
        score[members] = exact_scores(x[members], x[members].mean(0, dtype=np.float32))
    return _described(index, ids, code, score, numbered=True)


def reject_clusters(index: Index, numbers: Sequence[int]) -> list[int]:
    """Reject every image of clusters → their ids: no selection or training takes them from now on.

    Those that a person has said to keep stay, and are not among the ids.

    The verdict is on contents, and stays when clusters are found anew. Files stay where they are: `curator quarantine`
    moves duplicates alone. Raises `UsageError`.
    """
    staying = kept_ids(Curation(index.reader))
    ids = [i for i in _members(index, numbers) if i not in staying]
    judge_alone(index, "reject", ids, what=plural(len(numbers), "cluster"))
    return ids


def keep_clusters(index: Index, numbers: Sequence[int]) -> list[int]:
    """Take such verdicts on every image of clusters back → ids of those that were rejected."""
    decided = {d.subject for d in Curation(index.reader).decisions() if d.other == OF_NONE and d.verdict == "reject"}
    members = _members(index, numbers)
    hashes = Selections(index.reader).sha256_of(members)
    ids = [i for i, h in zip(members, hashes, strict=True) if h in decided]
    judge_alone(index, "undo", ids, what=plural(len(numbers), "cluster"))
    return ids


def _described(
    index: Index, ids: Ids, code: NDArray[np.int64], score: Scores, *, numbered: bool = False
) -> list[Cluster]:
    """Clusters of images (n,) by the `code` of each, largest first, or with their codes as numbers."""
    codes = np.unique(code).tolist()
    order = codes if numbered else sorted(codes, key=lambda c: (-int((code == c).sum()), c))
    label_of, rejected = index.reader.values_of("label"), rejected_ids(Curation(index.reader))
    clusters: list[Cluster] = []
    for c in order:
        members = np.flatnonzero(code == c)
        members = members[np.lexsort((ids[members], -score[members]))]
        nearest = tuple(ids[members].tolist())
        labels = Counter(str(label_of[i]) for i in nearest if label_of.get(i) is not None).most_common(_LABELS)
        turned_down = sum(i in rejected for i in nearest)
        clusters.append(
            Cluster(
                c if numbered else len(clusters) + 1, nearest, float(score[members].mean()), tuple(labels), turned_down
            )
        )
    return clusters


def _has_numbers(index: Index) -> bool:
    return COLUMNS["clusters"][0] in index.reader.further_columns().computed


def _numbers(index: Index) -> dict[int, int]:
    """Image id → number of its cluster, of those that have one."""
    return {i: int(v) for i, v in index.reader.values_of(COLUMNS["clusters"][0]).items() if v is not None}


def _members(index: Index, numbers: Sequence[int]) -> list[int]:
    if not _has_numbers(index):
        raise UsageError("no clusters yet; `curator clusters` finds and shows them")
    number_of = _numbers(index)
    there = set(number_of.values())
    unknown = [n for n in numbers if n not in there]
    if unknown:
        raise UsageError(
            f"no cluster {unknown[0]}; they are 1 to {max(there, default=0)}: `curator clusters` shows them"
        )
    return sorted(i for i, n in number_of.items() if n in numbers)
