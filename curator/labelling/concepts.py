"""`curator concepts`: what a person marked as wanted and unwanted, fitted into a direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curator.database import Curation, Selections
from curator.database.actions import recorded
from curator.embeddings import fit_logistic, normalise
from curator.errors import UnknownName, UsageError
from curator.index import Index
from curator.index.images import vectors_of
from curator.records import Concept, Ids, Vectors
from curator.records.selections import NAME

BACKGROUND = 300  # images drawn by seed that stand for everything unmarked
# inverse strength of the L2 penalty, on unit vectors; measured with BACKGROUND_WEIGHT by scripts/bench_select.py
_C = 1.0
BACKGROUND_WEIGHT = 2.0  # of all unmarked images together, over that of the wanted ones: each of them may be wanted


def fit_concept(
    index: Index, name: str, like: Sequence[int], unlike: Sequence[int] = (), *, afresh: bool = False
) -> Concept:
    """Add marks to a concept, or begin one, and fit it.

    Logistic regression on stored vectors tells wanted images from unwanted ones and from background. Marks are kept by
    content, so they survive moved files and hold in every space once fitted there; a later mark on an image replaces
    the earlier. Raises `UsageError` for a concept without a wanted image or one that is marked both ways, `UnknownName`
    for an image.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no name for a concept: letters, digits, and . _ + - within")
    both = set(like) & set(unlike)
    if both:
        raise UsageError(f"image {min(both)} is marked as wanted and as unwanted; choose one")
    old = {} if afresh else _marks(index, name)
    stored = Selections(index.reader)
    marks = old | {h.hex(): True for h in stored.sha256_of(like)} | {h.hex(): False for h in stored.sha256_of(unlike)}
    wanted, unwanted = (_ids(index, [h for h, w in marks.items() if w == side]) for side in (True, False))
    if not len(wanted):
        raise UsageError(f"the concept '{name}' has no wanted image; mark some with --like ID")
    vector, bias = _fit(index, wanted, unwanted)
    facts = {"marks": marks, "like": len(wanted), "unlike": len(unwanted)}
    concept = Concept(name, vector, bias, facts)
    text = f"concept {name}: {len(wanted)} like, {len(unwanted)} unlike"
    with index.write() as db, db.atomic(), recorded(db, index.who, text, concepts=[(index.space.id, name)]):
        Selections(db).put_concept(index.space, concept)
    return concept


def fit_marks(index: Index, like: Sequence[int], unlike: Sequence[int] = ()) -> Vectors:
    """The direction (d,) of a concept with these marks, as a unit row; nothing is kept.

    One wanted image alone is its own direction. Raises `UsageError` without a wanted image, `UnknownName`.
    """
    if not like:
        raise UsageError("nothing is marked as wanted; mark an image that is")
    index.images([*like, *unlike])
    if len(like) == 1 and not unlike:
        return index.vector_of_id(int(like[0]))
    vector, _ = _fit(index, *(np.array(sorted(set(ids)), np.int64) for ids in (like, unlike)))
    return normalise(vector[None]).ravel()


def drop_concept(index: Index, name: str) -> None:
    """Forget a concept. Raises `UnknownName`."""
    Selections(index.reader).concept(index.space, name)
    text, keys = f"drop the concept {name}", [(index.space.id, name)]
    with index.write() as db, db.atomic(), recorded(db, index.who, text, concepts=keys):
        Selections(db).drop_concept(index.space, name)


def _marks(index: Index, name: str) -> dict[str, bool]:
    try:
        return dict(Selections(index.reader).concept(index.space, name).facts["marks"])
    except UnknownName:
        return {}


def _ids(index: Index, hashes: Sequence[str]) -> Ids:
    """One present image of each content."""
    there = Curation(index.reader).with_content([bytes.fromhex(h) for h in hashes])
    return np.array(sorted(ids[0] for ids in there.values()), np.int64)


def _fit(index: Index, wanted: Ids, unwanted: Ids) -> tuple[Vectors, float]:
    nodes = Curation(index.reader).nodes(index.space)
    marked = np.isin(nodes.image_ids, np.concatenate([wanted, unwanted]))
    others = nodes.image_ids[~np.isin(nodes.node_of, nodes.node_of[marked])]  # nor copies of what is marked
    others = np.sort(np.random.default_rng(0).choice(others, min(len(others), BACKGROUND), replace=False))
    if not len(unwanted) and not len(others):
        raise UsageError("every image is marked as wanted, so nothing tells it from others")
    ids = np.concatenate([wanted, unwanted, others])
    y = np.repeat([1, 0, 0], [len(wanted), len(unwanted), len(others)])
    background = BACKGROUND_WEIGHT * len(wanted) / max(1, len(others))
    weights = np.repeat([1.0, 1.0, background], [len(wanted), len(unwanted), len(others)])
    fitted = fit_logistic(vectors_of(index, ids).astype(np.float64), y, c=_C, weights=weights)
    return fitted.coef_[0].astype(np.float32), float(fitted.intercept_[0])
