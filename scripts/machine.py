"""One line about the machine, for the benchmarks' tables."""

from __future__ import annotations

import inspect
import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path


def describe_machine() -> str:
    """Date, processor, cores and the versions that matter."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next(
        (line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")),
        platform.processor(),
    )
    libraries = ", ".join(f"{p} {version(p)}" for p in ("faiss-cpu", "numpy", "onnxruntime", "torch"))
    return f"{date.today()}: {name}, {os.cpu_count()} cores, Python {platform.python_version()}, {libraries}"


def home_of(checkout: Path | None) -> Path:
    """The folder to start a Python program in that is to import this code, or another checkout's: it comes first on
    the program's path.
    """
    return checkout or Path(__file__).parent.parent


def peak_mib() -> float:
    """The most memory of this process so far, mapped files included.

    Not `ru_maxrss`, which begins with what the process had that started it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


PEAK = "from pathlib import Path\n" + inspect.getsource(peak_mib)  # for code that another interpreter runs
