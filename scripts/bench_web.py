"""The page's budgets, in Chromium, on indexes of any size: medians of several runs, a miss marked.

    python scripts/bench_web.py INDEX [INDEX ...] [--words "a red shoe"] [--runs 5]
    python scripts/bench_web.py --build 1000000 --pictures FOLDER INDEX
    python scripts/bench_web.py INDEX --peers --pictures FOLDER

Each index is a folder; `--build` makes one of so many synthetic vectors in the bundled encoder's space, with small
pictures of a folder as thumbnails, over and over. Measured: from command to port; from page to the first pictures,
cold and again; bytes and requests until then; from words to the list and to the pictures; to the last page; frames
while scrolling; elements and memory of the page, memory of the server; where the map is laid out already, how long it
takes to open, a frame of it and a lasso. `--peers` opens LightlyStudio on the same photos, installed into an
environment of its own; FiftyOne needs a database server that its package fetches at first use. Thumbnails are made
before, as `curator index` makes them.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from curator.database import NewImage, Sketches
from curator.embeddings import normalise
from curator.encoders import load_encoder
from curator.index import Index
from curator.records import Content, ImageFile, Notes

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

LIGHTLY = """
import sys
import lightly_studio as studio
studio.db_manager.connect(db_file=sys.argv[2])
if sys.argv[3] == "add":
    studio.ImageDataset.create().add_images_from_path(sys.argv[1], embed=False)
else:
    studio.start_gui(host="127.0.0.1", port=int(sys.argv[3]), open_browser=False)
"""
SHOWN = """() => [...document.querySelectorAll('img')].filter((i) => i.complete && i.naturalWidth > 16
  && i.getBoundingClientRect().top < innerHeight && i.getBoundingClientRect().width > 40).length >= 12"""
TIMED = """(() => {
  window.frames_taken = [];
  const usual = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (f) => usual((now) => {
    const before = performance.now();
    f(now);
    window.frames_taken.push(performance.now() - before);
  });
})()"""


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
        if any((folder / "layout").glob("*.npz")):
            facts |= measure_map(page, address)
        context.close()
    return facts


def measure_map(page: Page, address: str) -> dict[str, float]:
    """The map of an index that is laid out: opening it, a frame while it is moved, a lasso around half of it."""
    page.add_init_script(TIMED)
    started = time.monotonic()
    page.goto(address.split("?", maxsplit=1)[0].rstrip("/") + "/map")
    until(page, "() => (document.querySelector('.map .count')?.textContent ?? '').endsWith('images')")
    until(page, "() => window.frames_taken?.some((f) => f > 0.5)")
    facts = {"page to map, s": time.monotonic() - started}
    page.wait_for_timeout(1000)
    page.evaluate("() => { window.frames_taken = []; }")
    for number in range(20):
        page.keyboard.press("ArrowRight" if number % 2 else "ArrowLeft")
        page.wait_for_timeout(30)
    # Twenty moves, and whatever else asked for a frame meanwhile, which is short.
    facts["map: a frame, ms"] = statistics.median(sorted(page.evaluate("() => window.frames_taken"))[-20:])
    page.keyboard.press("0")
    page.keyboard.press("l")
    box = page.locator(".plot").bounding_box()
    assert box is not None
    corners = [(0.1, 0.1), (0.5, 0.1), (0.5, 0.9), (0.1, 0.9)]
    for number, (x, y) in enumerate(corners):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        if not number:
            page.mouse.down()
    started = time.monotonic()
    page.mouse.up()
    until(page, "() => document.querySelector('.chosen:not(.cell) strong')?.textContent.endsWith('chosen')")
    return facts | {"map: lasso to its count, s": time.monotonic() - started}


def measure_lightly(pictures: Path, browser: Any) -> dict[str, float]:
    """LightlyStudio on a folder of pictures: what of ours can be asked of it."""
    place = Path(tempfile.gettempdir()) / "curator-bench-lightly"
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "lightly-studio"], check=True)
    data = place / f"{pictures.name}.db"
    environment = os.environ | {"LIGHTLY_STUDIO_ANALYTICS_ENABLED": "false"}
    base = [str(python), "-c", LIGHTLY, str(pictures), str(data)]
    if not data.exists():
        subprocess.run([*base, "add"], check=True, capture_output=True, env=environment)
    facts: dict[str, float] = {}
    started = time.monotonic()
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    with subprocess.Popen([*base, str(PORT)], **silent) as server:
        try:
            while not _answers(PORT):
                if time.monotonic() - started > 120:
                    raise SystemExit("LightlyStudio does not answer in two minutes")
                time.sleep(0.05)
            facts["command to port, s"] = time.monotonic() - started
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            sizes: list[int] = []
            page.on("response", lambda r: sizes.append(int(r.headers.get("content-length") or 0)))
            started = time.monotonic()
            page.goto(f"http://127.0.0.1:{PORT}/")
            until(page, SHOWN, 90)
            facts["page to first pictures, s"] = time.monotonic() - started
            facts["requests until then"] = len(sizes)
            facts["MB until then"] = sum(sizes) / 1e6
            started = time.monotonic()
            page.reload()
            until(page, SHOWN, 90)
            facts["reload, s"] = time.monotonic() - started
            page.mouse.move(720, 500)
            for _ in range(60):
                page.mouse.wheel(0, 1500)
                page.wait_for_timeout(50)
            facts["elements"] = page.evaluate("() => document.querySelectorAll('*').length")
            facts["heap, MB"] = page.evaluate("() => performance.memory.usedJSHeapSize") / 1e6
            facts["server, MB"] = memory_of(server.pid)
        finally:
            server.kill()
    return facts


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def build(place: Path, n: int, pictures: Path) -> None:
    """An index of n synthetic vectors around a thousand centres, labelled by them, with thumbnails."""
    thumbnails = []
    for file in sorted(p for p in pictures.rglob("*") if p.suffix.lower() in (".jpg", ".png"))[:500]:
        with Image.open(file) as opened:
            small, out = opened.convert("RGB"), io.BytesIO()
        small.thumbnail((96, 96))
        small.save(out, "JPEG", quality=80)
        thumbnails.append(out.getvalue())
    encoder, rng = load_encoder("small"), np.random.default_rng(0)
    centres = rng.normal(size=(1000, encoder.dim)).astype(np.float32)
    cache = Sketches(place)
    with Index.create(place) as index, index.write() as db:
        with db.atomic():
            space, root = db.add_space("small", encoder.fingerprint, encoder.dim), db.add_root(Path("/synthetic"))
        for start in range(0, n, 20_000):
            numbers = range(start, min(n, start + 20_000))
            code = rng.integers(0, len(centres), len(numbers))
            x = normalise(centres[code] + rng.normal(size=(len(numbers), encoder.dim)).astype(np.float32))
            hashes = [hashlib.sha256(f"{i}".encode()).digest() for i in numbers]
            with db.atomic():
                ids = db.put_contents(Content(h, h[:16], 640, 480, "RGB", "JPEG") for h in hashes)
                db.put_vectors(space, [ids[h] for h in hashes], x, np.ones(len(x), np.float32))
                files = [ImageFile(f"{i:08d}.jpg", 1000 + i % 977, 1) for i in numbers]
                db.put_images(
                    NewImage(root.id, f, ids[h], Notes(label=f"thing {c % 40}"), "real")
                    for f, h, c in zip(files, hashes, code.tolist(), strict=True)
                )
            cache.put({h: thumbnails[i % len(thumbnails)] for i, h in zip(numbers, hashes, strict=True)})
        index.rebuild(db, space)
    cache.close()


LIMITS: dict[str, Callable[[float], bool]] = {
    "requests until then": lambda v: v <= 80,
    "slow scrolling: frame p95, ms": lambda v: v <= 25,
    "broken pictures after it": lambda v: v == 0,
    "elements": lambda v: v <= 2_000,
    "heap, MB": lambda v: v <= 40,
    "map: a frame, ms": lambda v: v <= 8,
}


def missed(name: str, value: float) -> str:
    return " **missed**" if name in LIMITS and not LIMITS[name](value) else ""


def main() -> None:
    """Measure, print a table."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("indexes", type=Path, nargs="+")
    ask.add_argument("--words", default="a red shoe")
    ask.add_argument("--runs", type=int, default=5)
    ask.add_argument("--build", type=int, metavar="N", help="Make the index instead.")
    ask.add_argument("--pictures", type=Path, help="Whose thumbnails it has.")
    ask.add_argument("--peers", action="store_true", help="Also LightlyStudio, on --pictures.")
    options = ask.parse_args()
    if options.build:
        build(options.indexes[0], options.build, options.pictures)
        return
    print(describe_machine() + "\n")
    columns: list[dict[str, float]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--enable-precise-memory-info"]
        )
        for folder in options.indexes:
            runs = [one_run(folder, options.words, browser) for _ in range(options.runs)]
            columns.append({name: statistics.median(run[name] for run in runs) for name in runs[0]})
        if options.peers:
            runs = [measure_lightly(options.pictures, browser) for _ in range(options.runs)]
            columns.append({name: statistics.median(run[name] for run in runs) for name in runs[0]})
    names = [f.parent.name if f.name == "index" else f.name for f in options.indexes]
    print("| medians | " + " | ".join([*names, *(["LightlyStudio"] if options.peers else [])]) + " |")
    print("|---|" + "--:|" * len(columns))
    for name in max(columns, key=len):
        cells = [f"{c[name]:.3g}{missed(name, c[name])}" if name in c else "" for c in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\n{resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime:.0f} CPU seconds of servers in all")


if __name__ == "__main__":
    main()
