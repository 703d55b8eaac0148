"""Pictures of every view of the page, light and dark, full and empty, on one sheet, for a person to look at.

    python scripts/shots.py INDEX --out scripts/page-sheet.jpg

INDEX is a folder; nothing is changed in it.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import sync_playwright

from curator.encoders import PixelEncoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest

FULL = {
    "search": "/", "words": "/?q=shoes", "a condition": "/?where=format+%3D+%27PNG%27&fold=1", "an image": "/image/21",
    "two beside each other": "/image/13?with=672", "duplicates": "/duplicates", "review": "/duplicates?review=1&at=3",
    "issues": "/issues", "map": "/map", "axes by words": "/map?x=shoes&y=a+dress",
    "a new selection": "/selections/new?n=60&by=k-center",
    "strategies side by side": "/selections/new?n=60&also=k-center%3B+typicality", "selections": "/selections",
    "runs": "/runs", "a run": "/runs/{run}", "real beside generated": "/runs/{run}/lens", "activity": "/activity",
    "a wrong condition": "/?where=labl+%3D+1",
}  # fmt: skip
EMPTY = {
    "search, empty": "/", "duplicates, empty": "/duplicates", "selections, empty": "/selections",
    "runs, empty": "/runs", "activity, empty": "/activity",
}  # fmt: skip
WIDTH, HEIGHT, SHOWN = 1440, 900, 560


@contextmanager
def served(folder: Path, port: int) -> Iterator[str]:
    command = [
        sys.executable,
        "-m",
        "curator",
        "web",
        "-i",
        str(folder),
        "--no-open",
        "--read-only",
        "--port",
        str(port),
    ]
    # As the index that commands mean by themselves: no path of this machine stands in the commands below the views.
    environment = os.environ | {"CURATOR_INDEX": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip().removeprefix("Page: ")
        server.terminate()


def main() -> None:
    """Open every view, draw the sheet."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("index", type=Path)
    ask.add_argument("--out", type=Path, required=True)
    options = ask.parse_args()
    run = min((f.name for f in (options.index / "runs").glob("0*")), default="")
    shots: list[tuple[str, Image.Image]] = []
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        empty = Path(scratch) / "empty"
        (Path(scratch) / "set").mkdir()
        Image.new("RGB", (64, 64), "teal").save(Path(scratch) / "set" / "one.png")
        with Index.create(empty) as index:
            ingest(index, [Path(scratch) / "set"], PixelEncoder(), IngestOptions())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for folder, views, port in ((options.index, FULL, 19_017), (empty, EMPTY, 19_117)):
            with served(folder, port) as address:
                for scheme in ("light", "dark"):
                    page = browser.new_context(
                        viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme
                    ).new_page()
                    page.goto(address)
                    for name, view in views.items():
                        page.goto(address.split("/?")[0] + view.format(run=run))
                        page.wait_for_timeout(2_500)
                        shots.append((f"{name}, {scheme}", Image.open(io.BytesIO(page.screenshot())).convert("RGB")))
    scale = SHOWN / WIDTH
    cell = (SHOWN + 10, round(HEIGHT * scale) + 34)
    columns = 2
    sheet = Image.new("RGB", (columns * cell[0] + 10, -(-len(shots) // columns) * cell[1] + 10), "#8a8a86")
    pen = ImageDraw.Draw(sheet)
    halves = len(FULL)
    order = [i for k in range(halves) for i in (k, k + halves)]
    order += [2 * halves + i for k in range(len(EMPTY)) for i in (k, k + len(EMPTY))]
    for place, number in enumerate(order):
        name, shot = shots[number]
        left, top = 10 + place % columns * cell[0], 10 + place // columns * cell[1]
        sheet.paste(shot.resize((SHOWN, round(HEIGHT * scale)), Image.Resampling.LANCZOS), (left, top + 20))
        pen.text((left, top), name, fill="white", font=ImageFont.load_default(size=14))
    sheet.save(options.out, quality=62)


if __name__ == "__main__":
    main()
