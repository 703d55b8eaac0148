"""One line about the machine, for the benchmarks' tables."""

from __future__ import annotations

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
