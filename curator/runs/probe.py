"""A linear probe beside a classifier: what the stored vectors alone say of the same held-out images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curator.embeddings import fit_logistic
from curator.index import Index
from curator.index.images import unit_vectors_of
from curator.intervals import FEWEST, wilson
from curator.runs.lookup import held_out_ids
from curator.training.folder import Run
from curator.training.kinds import ClassifierOptions

_LEARNT = 20_000  # images that a probe learns from at most: more change it little


@dataclass(frozen=True)
class Probe:
    """Shares of `images` held-out ones that a probe on an encoder's vectors and a network are right about.

    `interval` and `network_interval` are at 95 % (Wilson 1927).
    """

    run: str
    column: str
    encoder: str
    images: int
    accuracy: float
    interval: tuple[float, float]
    network: float
    network_interval: tuple[float, float]

    @property
    def advice(self) -> str:
        """Which of the two to label with."""
        if self.interval[0] > self.network_interval[1]:
            return f"the probe is better: `curator label --probe {self.column}`"
        if self.network_interval[0] > self.interval[1]:
            return f"the network is better: `curator label --run {self.run}`"
        return f"neither is clearly better; the probe takes seconds: `curator label --probe {self.column}`"

    def __str__(self) -> str:
        """A line for a person."""
        shown = [
            f"{share:.1%} ({low:.1%} – {high:.1%})"
            for share, (low, high) in ((self.network, self.network_interval), (self.accuracy, self.interval))
        ]
        return (
            f"Right about held-out images: this network {shown[0]}, a linear probe on the vectors of "
            f"'{self.encoder}' {shown[1]}; {self.advice}."
        )


def probe_beside(index: Index, run: Run) -> Probe | None:
    """Learn the labels of a classifier's training images from their vectors, and test that on those it held out.

    None for another trainer's run, where fewer than 40 are held out, or while there is no accuracy. Of many held-out
    images the network's accuracy is that of the 5,000 it was measured on. Whether the encoder had seen the images in
    its own training, nobody knows.
    """
    if not isinstance(run.options, ClassifierOptions):
        return None
    best = run.checkpoint()
    numbers = next((m for m in run.rows("metrics.jsonl") if m["images_seen"] == best), {})
    labels = {r["id"]: r.get("label") for r in run.rows("manifest.jsonl")}
    present = index.reader.ids_where("1")
    held = np.intersect1d(held_out_ids(run), present)
    learnt = np.setdiff1d(np.intersect1d(np.array(list(labels), np.int64), present), held)
    learnt = np.sort(np.random.default_rng(0).permutation(learnt)[:_LEARNT])
    if len(held) < FEWEST or "accuracy" not in numbers:
        return None
    code = {name: c for c, name in enumerate(run.shape.classes)}
    y, true = (np.array([code[str(labels[i])] for i in ids.tolist()]) for ids in (learnt, held))
    if len(np.unique(y)) < 2:
        return None
    right = int((fit_logistic(unit_vectors_of(index, learnt), y).predict(unit_vectors_of(index, held)) == true).sum())
    n, accuracy = int(numbers["n"]), float(numbers["accuracy"])
    return Probe(
        run.name, run.facts["trained_on"]["column"], index.space.encoder, len(held), right / len(held),
        wilson(right, len(held)), accuracy, wilson(round(accuracy * n), n),
    )  # fmt: skip
