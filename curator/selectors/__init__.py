"""Selectors: which images to train on.

Pure algorithms on arrays; every prefix of an order is the choice for a smaller budget.
"""

from curator.selectors import greedy, sampling, scores
from curator.selectors.clusters import assign, hierarchy, spherical_kmeans
from curator.selectors.objective import Objective, choose, choose_per_label, parse_objective
from curator.selectors.pool import Chosen, Pool, scorers, selectors

__all__ = [
    "Chosen",
    "Objective",
    "Pool",
    "assign",
    "choose",
    "choose_per_label",
    "greedy",
    "hierarchy",
    "parse_objective",
    "sampling",
    "scorers",
    "scores",
    "selectors",
    "spherical_kmeans",
]
