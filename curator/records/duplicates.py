"""Records about pictures compared with each other: nodes, the neighbour graph, evidence, decisions, groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.records.images import Ids, Positions, Scores


@dataclass(frozen=True)
class Nodes:
    """Images collapsed to one node per picture: byte- and pixel-identical ones share it.

    `image_ids` (m,) ascending, `content_ids` (m,) of the same images, `node_of` (m,) the position of each one's node;
    `contents` (n,) ascending, the content that stands for each node.
    """

    image_ids: Ids
    content_ids: Ids
    node_of: Positions
    contents: Ids

    def __len__(self) -> int:
        return len(self.contents)

    def standing(self) -> Ids:
        """(m,) the content that stands for each image."""
        return np.asarray(self.contents[self.node_of])


@dataclass(frozen=True)
class Certificate:
    """How much of the truth a neighbour graph holds.

    Of `edges` true edges of `sampled` random nodes, `found` are in it. An edge counts where its score reaches
    `threshold`; `low` and `high` are the 95 % Wilson interval of the recall.
    """

    method: str
    sampled: int
    edges: int
    found: int
    recall: float
    low: float
    high: float
    threshold: float
    threshold_source: str
    nprobe: int = 0


@dataclass(frozen=True)
class Graph:
    """The nearest neighbours of every node.

    `neighbours` (n, k) int32 are positions of nodes, −1 where there are fewer, and `scores` (n, k) float32, best first.
    `pairs` (m, 2) with `pair_scores` (m,) are the further ones above the threshold of nodes whose k neighbours all
    reach it.
    """

    neighbours: NDArray[np.int32]
    scores: NDArray[np.float32]
    pairs: NDArray[np.int32]
    pair_scores: NDArray[np.float32]
    certificate: Certificate

    def above(self, threshold: float, *, rank: int | None = None) -> tuple[NDArray[np.int64], Scores]:
        """Pairs (m, 2) of positions, first < second, each once, whose score reaches `threshold`.

        With `rank` only among the first so many neighbours.
        """
        k = self.neighbours.shape[1] if rank is None else min(rank, self.neighbours.shape[1])
        near, scores = self.neighbours[:, :k], self.scores[:, :k]
        rows, columns = np.nonzero((near >= 0) & (scores >= threshold))
        pairs = np.stack([rows, near[rows, columns]], axis=1).astype(np.int64)
        values = scores[rows, columns]
        if rank is None and len(self.pairs):
            enough = self.pair_scores >= threshold
            pairs = np.concatenate([pairs, self.pairs[enough].astype(np.int64)])
            values = np.concatenate([values, self.pair_scores[enough]])
        pairs.sort(axis=1)
        _, first = np.unique(pairs[:, 0] * len(self.neighbours) + pairs[:, 1], return_index=True)
        return pairs[first], values[first]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen when two contents were compared, whatever it is taken to mean.

    `distance` of their pHashes in bits, at the `transform` of the second that makes it least; `laid` is the agreement
    of the grey pictures when the second is so turned and laid upon the first. `inliers`, `scale`, `degrees`,
    `agreement` and `overlap` (share of the smaller picture) are of the best alignment of their corners. `difference` is
    how far the colours lie apart then, in levels of 0–255; `weakest` the agreement of the patch that agrees least, of
    those with strong texture. None: not looked at, because what came before said enough, or a file could not be read.
    """

    distance: int
    transform: str
    laid: float | None = None
    inliers: int | None = None
    scale: float | None = None
    degrees: float | None = None
    agreement: float | None = None
    overlap: float | None = None
    difference: float | None = None
    weakest: float | None = None


OF_NONE = b""  # in place of the other content, in a verdict on an image by itself


@dataclass(frozen=True)
class Decision:
    """A person's verdict on a pair of contents (sha256).

    "keep" or "reject" `subject` beside `other`, or "not-duplicate". `subject_id` tells copies of one content apart, and
    is 0 where the contents differ. `other` is `OF_NONE` where an image was rejected by itself, as no duplicate.
    """

    subject: bytes
    other: bytes
    subject_id: int
    verdict: str
    decided_at: str = ""


@dataclass(frozen=True)
class Grouped:
    """One image's place in a group.

    Its keeper (itself, for the keeper), the kind of edge, the image at its other end, their score.
    """

    image_id: int
    keeper_id: int
    kind: str
    via_id: int
    score: float | None
