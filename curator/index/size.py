"""Where one machine stops: what a search of so many vectors costs, and whether work on all pairs fits into memory."""

from __future__ import annotations

import os
from pathlib import Path

from curator.errors import UsageError
from curator.job import Job

MANY, TOO_MANY = 1_000_000, 5_000_000
_MS = 40.0  # a search of a million vectors of 512 dimensions (README); it reads every one
_TELL = 2**30  # bytes of memory from which on a person is told before the work begins


def memory_of_machine() -> int:
    """Bytes of memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def memory_available() -> int:
    """Bytes that can be had without swapping; all of them where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return memory_of_machine()


def size_remarks(before: int, images: int, dim: int, *, memory: int | None = None) -> tuple[str, ...]:
    """What a person should know once an index has grown from `before` to so many images of `dim` dimensions."""
    memory = memory_of_machine() if memory is None else memory
    held = 2 * images * dim  # float16
    if images >= TOO_MANY or held > memory / 2:
        return (
            f"{held / 1e9:.1f} GB of vectors and {memory / 1e9:.0f} GB of memory: searches will read the disk. "
            "`curator push` serves this from Postgres, `curator scale` spreads the work",
        )
    if before < MANY <= images:
        cost = _MS * images / MANY * dim / 512
        return (
            f"{images:,} images: searches read all of them, {cost:.0f} ms each; past about {TOO_MANY // 10**6} million "
            "use `curator push --to postgres://…`",
        )
    return ()


def check_memory(what: str, needed: int, job: Job, way_out: str, *, available: int | None = None) -> None:
    """Say how much memory work is going to need, if that is much. Raises `UsageError` where there is less."""
    available = memory_available() if available is None else available
    if needed > available:
        raise UsageError(
            f"{what} needs about {needed / 2**30:.1f} GiB of memory, and {available / 2**30:.1f} GiB are free; "
            f"{way_out}"
        )
    if needed > _TELL:
        job.say(f"{what} needs about {needed / 2**30:.1f} GiB of memory; {available / 2**30:.1f} GiB are free.")


def graph_memory(n: int, dim: int) -> int:
    """Bytes that the neighbour graph of n vectors takes: measured 3.7 GiB for a million of 512 (README)."""
    return n * (6 * dim + 900)


def check_graph(command: str, n: int, dim: int, job: Job) -> None:
    """The same for a command that builds the neighbour graph."""
    check_memory(command, graph_memory(n, dim), job, f"narrow it with --where, or use `curator scale {command}`")
