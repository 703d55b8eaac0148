"""The page's budgets, in Chromium, on indexes of any size: medians of several runs, a miss marked.

    python scripts/bench_web.py INDEX [INDEX ...] [--words "a red shoe"] [--runs 5]

Each index is a folder. Measured: from command to port; from page to the first pictures, cold and again; bytes and
requests until then; from words to the list and to the pictures; to the last page; frames while scrolling; elements
and memory of the page, memory of the server. Thumbnails are made before, as `curator index` makes them.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from machine import describe_machine
from playwright.sync_api import Page, sync_playwright

PORT = 18_917
PAINTED = """() => {
  const seen = [...document.querySelectorAll('.cell')].filter((c) => !c.hidden && !c.parentElement.hidden
    && c.getBoundingClientRect().top < innerHeight && c.getBoundingClientRect().bottom > 90);
  return seen.length > 0 && seen.every((c) => c.querySelector('img').src && c.querySelector('img').complete);
}"""
FRAMES = """(jump) => new Promise((done) => {
  const grid = document.querySelector('.grid');
  const times = [];
  let last = performance.now();
  const until = last + 5000;
  const frame = (now) => {
    times.push(now - last);
    last = now;
    grid.scrollTop = jump ? Math.random() * grid.scrollHeight : grid.scrollTop + 12;
    if (now < until) requestAnimationFrame(frame);
    else done(times.slice(2).sort((a, b) => a - b));
  };
  requestAnimationFrame(frame);
})"""


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, float, subprocess.Popen[str]]]:
    """(address, seconds from command to port, process) of a server."""
    started = time.monotonic()
    command = [sys.executable, "-m", "curator", "web", "-i", str(folder), "--no-open", "--port", str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip().removeprefix("Page: ")
        yield address, time.monotonic() - started, server
        server.terminate()


def until(page: Page, script: str, seconds: float = 60) -> float:
    """Seconds until a script of the page is true."""
    started = time.monotonic()
    while not page.evaluate(script):
        if time.monotonic() - started > seconds:
            raise SystemExit(f"not in {seconds} s: {script}")
        time.sleep(0.005)
    return time.monotonic() - started


def memory_of(pid: int) -> float:
    """MB that a process has in memory, as its proportional share."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return float("nan")
    return int(re.search(r"Pss:\s+(\d+)", text)[1]) / 1000  # type: ignore[index]


def one_run(folder: Path, words: str, browser: Any) -> dict[str, float]:
    """Everything, once."""
    facts: dict[str, float] = {}
    with served(folder) as (address, seconds, server):
        facts["command to port, s"] = seconds
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        sizes: list[int] = []
        page.on("response", lambda r: sizes.append(int(r.headers.get("content-length") or 0)))
        started = time.monotonic()
        page.goto(address)
        until(page, PAINTED)
        facts["page to first pictures, s"] = time.monotonic() - started
        facts["requests until then"] = len(sizes)
        facts["MB until then"] = sum(sizes) / 1e6
        started = time.monotonic()
        page.reload()
        until(page, PAINTED)
        facts["reload, s"] = time.monotonic() - started
        for name in ("new words", "the same words"):
            page.keyboard.press("/")
            page.keyboard.type(words)
            started = time.monotonic()
            page.keyboard.press("Enter")
            until(page, "() => document.querySelector('.badge').textContent.length > 3")
            facts[f"{name} to list, s"] = time.monotonic() - started
            until(page, PAINTED)
            facts[f"{name} to pictures, s"] = time.monotonic() - started
            page.goto(address.split("?")[0])
            until(page, PAINTED)
        page.locator(".grid").focus()
        started = time.monotonic()
        page.keyboard.press("End")
        until(page, PAINTED)
        facts["to the last pictures, s"] = time.monotonic() - started
        page.keyboard.press("Home")
        until(page, PAINTED)
        for name, jump in (("slow scrolling", False), ("wild jumps", True)):
            times = page.evaluate(FRAMES, jump)
            facts[f"{name}: frame p95, ms"] = times[int(0.95 * len(times))]
        until(page, PAINTED)
        facts["broken pictures after it"] = page.locator(".cell.broken:visible").count()
        facts["elements"] = page.evaluate("() => document.querySelectorAll('*').length")
        facts["heap, MB"] = page.evaluate("() => performance.memory.usedJSHeapSize") / 1e6
        facts["server, MB"] = memory_of(server.pid)
        context.close()
    return facts


LIMITS: dict[str, Callable[[float], bool]] = {
    "requests until then": lambda v: v <= 80,
    "slow scrolling: frame p95, ms": lambda v: v <= 25,
    "broken pictures after it": lambda v: v == 0,
    "elements": lambda v: v <= 2_000,
    "heap, MB": lambda v: v <= 40,
}


def missed(name: str, value: float) -> str:
    return " **missed**" if name in LIMITS and not LIMITS[name](value) else ""


def main() -> None:
    """Measure, print a table."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("indexes", type=Path, nargs="+")
    ask.add_argument("--words", default="a red shoe")
    ask.add_argument("--runs", type=int, default=5)
    options = ask.parse_args()
    print(describe_machine() + "\n")
    columns: list[dict[str, float]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--enable-precise-memory-info"]
        )
        for folder in options.indexes:
            runs = [one_run(folder, options.words, browser) for _ in range(options.runs)]
            columns.append({name: statistics.median(run[name] for run in runs) for name in runs[0]})
    print("| medians | " + " | ".join(f.parent.name if f.name == "index" else f.name for f in options.indexes) + " |")
    print("|---|" + "--:|" * len(columns))
    for name in columns[0]:
        cells = [
            f"{c[name]:.3g}{'' if LIMITS.get(name, bool)(c[name]) or name not in LIMITS else ' **missed**'}"
            for c in columns
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\n{resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime:.0f} CPU seconds of servers in all")


if __name__ == "__main__":
    main()
