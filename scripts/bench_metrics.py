"""Metrics beside other implementations: seconds of each, and memory beyond vectors and imports, in a process of its
own.

python scripts/bench_metrics.py --sizes 2000 10000

Unit rows of 512 dims, two sets of one size. prdc makes precision, recall, density and coverage at one k; `manifold`
makes the first two at k = 3 and the others at k = 5. torch-fidelity makes FID and KID from features here, without its
networks; KID with one subset of all rows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from machine import describe_machine, peak_mib

from curator.embeddings import lengths
from curator.evaluation.evaluate import with_intervals
from curator.metrics import metrics

D = 512
PAIRS = (("manifold", "prdc"), ("frechet-once", "fidelity-fid"), ("kid", "fidelity-kid"))
ALONE = (*(name for name in metrics if name != "manifold"), "all", "all, with intervals")


def sets(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of unit rows with a spectrum that falls, as embeddings have."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(2):
        x = rng.standard_normal((n, D), np.float32)  # in place: what is made on the way would count as there before
        x *= np.float32(1) / np.sqrt(1 + np.arange(D, dtype=np.float32))
        x += np.float32(0.1 + 0.02 * i)
        x /= lengths(x)[:, None]
        found.append(x)
    return found[0], found[1]


def work_of(name: str) -> Callable[[np.ndarray, np.ndarray], object]:
    """What is timed."""
    if name == "prdc":
        from prdc import compute_prdc

        return lambda x, y: compute_prdc(real_features=y, fake_features=x, nearest_k=5)
    if name == "fidelity-fid":
        from torch_fidelity.metric_fid import fid_statistics_to_metric

        def fid(x: np.ndarray, y: np.ndarray) -> object:
            stats = [
                {"mu": z.mean(0, dtype=np.float64), "sigma": np.cov(z.astype(np.float64), rowvar=False)} for z in (x, y)
            ]
            return fid_statistics_to_metric(*stats, verbose=False)

        return fid
    if name == "fidelity-kid":
        import torch
        from torch_fidelity.metric_kid import kid_features_to_metric

        return lambda x, y: kid_features_to_metric(
            torch.from_numpy(x).double(), torch.from_numpy(y).double(), kid_subsets=1, kid_subset_size=len(x),
            kid_kernel="poly",
            kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1, rng_seed=0, verbose=False,
        )  # fmt: skip
    if name == "frechet-once":
        from curator.metrics import frechet_distance

        return frechet_distance
    if name == "kid":
        from curator.metrics import kid

        return kid
    if name.startswith("all"):
        rounds = 10 if name != "all" else 0
        return lambda x, y: [with_intervals(part, x, y, rounds, 0) for part in metrics]
    return lambda x, y: metrics[name](x, y, np.random.default_rng(0))


def measure(name: str, n: int) -> None:
    """Print seconds of one, and the GiB it takes beyond what was there, in this process."""
    x, y = sets(n)
    work = work_of(name)
    work(x[:600], y[:600])  # imports, threads
    before, began = peak(), time.monotonic()
    work(x, y)
    print(f"{time.monotonic() - began} {peak() - before}")


def peak() -> float:
    """GiB of this process at most so far."""
    return peak_mib() / 1024


def main() -> None:
    """Measure each in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_000, 10_000])
    parser.add_argument("--one", nargs=2, metavar=("NAME", "N"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        measure(given.one[0], int(given.one[1]))
        return
    print(describe_machine() + "\n")
    print("| n | what | seconds | GiB | peer | seconds | GiB | times as fast |\n|--:|---|--:|--:|---|--:|--:|--:|")
    for n in given.sizes:
        for ours, peer in (*PAIRS, *((name, "") for name in ALONE)):
            a = run(ours, n)
            b = run(peer, n) if peer else None
            beside = f"{peer} | {b[0]:.1f} | {b[1]:.1f} | {b[0] / a[0]:.1f}" if b else "| | |"
            print(f"| {n:,} | {ours} | {a[0]:.1f} | {a[1]:.1f} | {beside} |", flush=True)


def run(name: str, n: int) -> tuple[float, float]:
    """One measurement in a fresh process."""
    done = subprocess.run([sys.executable, __file__, "--one", name, str(n)], capture_output=True, text=True, check=True)
    seconds, memory = map(float, done.stdout.split()[-2:])
    return seconds, memory


if __name__ == "__main__":
    main()
