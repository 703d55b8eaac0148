"""The map beside other layouts, on vectors of an index: neighbours kept, labels, seconds of CPU.

    python scripts/bench_layout.py INDEX [INDEX ...] [--tsne] [--column label]

Each index is a folder. `kept` is the share of each picture's 15 nearest by vector that are among its 15 nearest on the
map; `label` how often most of those 15 have its label, `of vectors` the same by vector; `rho` the rank correlation of
distances between 20,000 pairs. `--tsne` runs scikit-learn's Barnes-Hut t-SNE too, which takes minutes.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
from machine import describe_machine
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from curator.database import Curation
from curator.drawing.layout import lay_out, place_near
from curator.index import Index, build_graph
from curator.vectors import Neighbours

K = 15


def measure(x: np.ndarray, y: np.ndarray, near: np.ndarray, labels: np.ndarray) -> str:
    on_map = cKDTree(y).query(y, K + 1)[1][:, 1:]
    kept = np.mean([len(set(a) & set(b)) / K for a, b in zip(near.tolist(), on_map.tolist(), strict=True)])
    pairs = np.random.default_rng(0).integers(0, len(x), (2, 20_000))
    apart = [np.linalg.norm(v[pairs[0]] - v[pairs[1]], axis=1) for v in (x, y)]
    return f"{kept:.3f} | {agreeing(on_map, labels):.3f} | {float(spearmanr(*apart)[0]):.3f}"


def agreeing(near: np.ndarray, labels: np.ndarray, rows: np.ndarray | slice = slice(None)) -> float:
    """How often the commonest label of the nearest is the picture's own; `near` is of the pictures in `rows`."""
    votes = [Counter(row).most_common(1)[0][0] for row in labels[near].tolist()]
    return float(np.mean([vote == own for vote, own in zip(votes, labels[rows], strict=True)]))


def main() -> None:
    """Lay out, measure, print a table."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("indexes", type=Path, nargs="+")
    ask.add_argument("--column", default="label")
    ask.add_argument("--tsne", action="store_true")
    options = ask.parse_args()
    print(describe_machine() + "\n")
    print("| index | layout | CPU s | kept | label | rho |\n|---|---|--:|--:|--:|--:|")
    for folder in options.indexes:
        with Index.open(folder) as index:
            nodes = Curation(index.reader).nodes(index.space)
            half = Curation(index.reader).vectors(index.space, nodes.contents)
            value_of = index.reader.values_of(options.column)
        x = half.astype(np.float32)
        first = dict(zip(nodes.node_of[::-1].tolist(), nodes.image_ids[::-1].tolist(), strict=True))
        labels = np.array([str(value_of.get(first[n])) for n in range(len(nodes))])
        near = build_graph(half).neighbours[:, :K]
        apart = x - x.mean(0)
        layouts = {
            "ours": lambda near=near, x=x: lay_out(near, x),
            "PCA": lambda apart=apart: apart @ np.linalg.eigh(apart.T @ apart)[1][:, -2:],
        }
        if options.tsne:
            from sklearn.manifold import TSNE

            layouts["t-SNE (scikit-learn)"] = lambda x=x: TSNE(random_state=0).fit_transform(x)
        print(f"| {folder.name}, {len(x):,} | vectors themselves | | 1 | {agreeing(near, labels):.3f} | 1 |")
        for name, lay in layouts.items():
            started = time.process_time()
            y = lay()
            seconds = time.process_time() - started
            print(f"| {folder.name} | {name} | {seconds:.1f} | {measure(x, y, near, labels)} |", flush=True)
        is_new = np.random.default_rng(0).random(len(x)) < 0.1
        laid = lay_out(build_graph(half[~is_new]).neighbours, half[~is_new])
        y = np.zeros((len(x), 2), np.float32)
        y[~is_new] = laid
        started = time.process_time()
        y[is_new] = place_near(laid, Neighbours(half[~is_new]).nearest_to(half[is_new], 5))
        seconds = time.process_time() - started
        rows = np.flatnonzero(is_new)
        on_map = cKDTree(y).query(y[rows], K + 1)[1][:, 1:]
        kept = np.mean([len(set(a) & set(b)) / K for a, b in zip(near[rows].tolist(), on_map.tolist(), strict=True)])
        label = agreeing(on_map, labels, rows)
        print(f"| {folder.name} | ours, a tenth placed later: those | {seconds:.2f} | {kept:.3f} | {label:.3f} | |")


if __name__ == "__main__":
    main()
