"""What of a round's pictures is admitted.

Something other than their own discriminator vouches for it, and there is room for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curator.evaluation.audit import audit
from curator.evaluation.sides import distinct, keys_of
from curator.index import Index
from curator.job import QUIET, Job
from curator.labelling.label import label_by_words
from curator.loop.records import ADMIT
from curator.records import Ids, Selection
from curator.runs.apply import label_by_run
from curator.training.folder import Run

COLUMN = "loop_label"  # of what vouches


@dataclass(frozen=True)
class Judging:
    """What vouches in the loop of the selection `named`: a classifier, or words without one, by at least `sure`."""

    named: str
    classifier: Run | None
    sure: float


def admit(
    index: Index, current: Selection, run: Run, generated: Ids, judging: Judging, *, job: Job = QUIET
) -> tuple[list[int], dict[str, int]]:
    """Which of what a run made is added to the set that it was trained on, and how many are not, by why.

    Novel by an audit that is calibrated on the loop's own images for it, each content once, surely of the label that
    was asked for, and within that label's room.
    """
    looked = audit(index, run, generated, reference=f"{judging.named}-{ADMIT}", job=job)
    refused = Counter(f.label for f in looked.findings if f.label != "novel")
    novel = np.array(sorted(f.image_id for f in looked.findings if f.label == "novel"), np.int64)
    fresh = distinct(index, novel, set().union(*keys_of(index, current.ids)))
    refused["duplicate"] = len(novel) - len(fresh)
    vouched = vouched_for(index, run, judging, fresh, job=job)
    refused["not sure to be its label"] = len(fresh) - len(vouched)
    taken = within(room_of(index, current, generated_of(index, current)), vouched)
    refused["beyond the quota"] = len(vouched) - len(taken)
    refused["unreadable"] = len(generated) - len(looked.findings)
    return taken, dict(refused)


def generated_of(index: Index, current: Selection) -> list[int]:
    """Ids of a set's generated images."""
    return [i.id for i in index.images(current.ids) if i.origin != "real"]


def vouched_for(index: Index, run: Run, judging: Judging, ids: Ids, *, job: Job) -> dict[int, str]:
    """Image id → label, of those that are surely of the label that was asked for."""
    if not len(ids):
        return {}
    where = f"id IN ({', '.join(map(str, ids.tolist()))})"
    if judging.classifier is None:
        said = label_by_words(index, run.shape.classes, where=where, column=COLUMN, job=job)
    else:
        said = label_by_run(index, judging.classifier, named=where, column=COLUMN, job=job)
    asked = index.reader.values_of("label")
    return {
        i: name
        for i, (name, share) in sorted(said.predictions.items())
        if name == str(asked.get(i)) and share >= judging.sure
    }


def room_of(index: Index, current: Selection, admitted: list[int]) -> Counter[str]:
    """How many generated images of each label a set may still take: as many as it has real ones."""
    labels, taken = index.reader.values_of("label"), set(admitted)
    room: Counter[str] = Counter()
    for i in current.ids.tolist():
        room[str(labels.get(i))] += -1 if i in taken else 1
    return room


def within(room: Counter[str], vouched: Mapping[int, str]) -> list[int]:
    """Those for which there is room, which they take."""
    fresh = []
    for image_id, label in vouched.items():
        if room[label] > 0:
            room[label] -= 1
            fresh.append(image_id)
    return fresh
