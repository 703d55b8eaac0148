"""`curator repair`: no sound row is lost, a kill or a full disk loses nothing, and what is lost is said."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import draw

from curator.admin.maintenance import repair, verify
from curator.admin.manage import repoint_root, tag_images
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.database.pages import DatabaseFile, decode_record, varint
from curator.database.schema import SEALED
from curator.encoders import PixelEncoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest

PAGE = 4096


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 images with captions, tags, measures, vectors, groups and a tree of several levels."""
    place = tmp_path_factory.mktemp("repair")
    pictures = place / "pictures"
    pictures.mkdir()
    for number in range(300):
        draw(number % 280).save(pictures / f"{number:03d}.png")
        (pictures / f"{number:03d}.txt").write_text(f"caption of {number}, long enough to fill pages " * 3)
    with Index.create(place / "i") as index:
        ingest(index, [pictures], PixelEncoder(), IngestOptions())
        tag_images(index, list(range(1, 301, 2)), ["odd"])
        dedupe(index, DedupeOptions("exact"))
    return place / "i"


def counts(file: Path) -> dict[str, int]:
    with contextlib.closing(sqlite3.connect(file)) as db:
        return {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in SEALED}


def rows_on(file: Path, pages: set[int]) -> Counter[int]:
    """How many cells of table leaves lie on pages."""
    found: Counter[int] = Counter()
    whole = DatabaseFile(file)
    for number in pages:
        page = whole.page(number)
        if page[0] == 0x0D and number > 1:
            found[number] = int.from_bytes(page[3:5], "big")
    return found


def test_what_is_read_page_by_page_is_what_sqlite_reads(sound: Path) -> None:
    found = DatabaseFile(sound / "index.db").found_rows()
    assert (found.broken_cells, found.unreadable_pages) == (0, 0)
    with contextlib.closing(sqlite3.connect(sound / "index.db")) as db:
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'meta'")]
        expected = sum(db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables)
        schema = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    assert expected <= len(found.rows) <= expected + schema


@pytest.mark.parametrize(("value", "written"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x81\0"), (2**64 - 1, b"\xff" * 9)])
def test_variable_length_integers(value: int, written: bytes) -> None:
    assert varint(written, 0) == (value, len(written))


def test_a_record_of_every_kind() -> None:
    payload = bytes([7, 0, 1, 2, 8, 9, 13 + 2 * 2]) + b"\x05" + b"\x01\x00" + b"hi"
    assert decode_record(payload) == (None, 5, 256, 0, 1, "hi")


def test_a_file_that_was_cut_keeps_every_row_before_the_cut(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "i"
    shutil.copytree(sound, folder)
    before, last = counts(folder / "index.db"), (folder / "index.db").stat().st_size // PAGE
    lost = sum(rows_on(folder / "index.db", {last}).values())
    with (folder / "index.db").open("r+b") as file:
        file.truncate((last - 1) * PAGE)
    said = repair(folder)[0]
    after = counts(folder / "index.db")
    free = ("roots", "contents", "spaces", "embeddings", "measures", "images")  # that no lost image takes along
    assert sum(before[t] - after[t] for t in free) <= lost
    assert "1 unreadable pages" in said
    assert all("have no vector" in f.problem for f in verify(folder))


def test_a_flipped_bit_in_the_schema_loses_no_row(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "i"
    shutil.copytree(sound, folder)
    data = bytearray((folder / "index.db").read_bytes())
    before = counts(folder / "index.db")
    data[data.index(b"CREATE TABLE images") + 8] ^= 0x40
    (folder / "index.db").write_bytes(data)
    repair(folder)
    assert counts(folder / "index.db") == before
    assert list(verify(folder)) == []


@pytest.mark.parametrize("table", ["images", "contents", "embeddings", "tags", "columns"])
def test_a_zeroed_root_page_loses_no_other_page(sound: Path, tmp_path: Path, table: str) -> None:
    folder = tmp_path / "i"
    shutil.copytree(sound, folder)
    before = counts(folder / "index.db")
    with contextlib.closing(sqlite3.connect(folder / "index.db")) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    lost = sum(rows_on(folder / "index.db", {root}).values())
    with (folder / "index.db").open("r+b") as file:
        file.seek((root - 1) * PAGE)
        file.write(bytes(PAGE))
    repair(folder)
    after = counts(folder / "index.db")
    assert before[table] - after[table] == lost
    assert {t: n for t, n in after.items() if t != table} == {t: n for t, n in before.items() if t != table}


def test_images_stay_where_the_path_of_their_root_is_lost(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "i"
    shutil.copytree(sound, folder)
    with contextlib.closing(sqlite3.connect(folder / "index.db")) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'roots'").fetchone()
    with (folder / "index.db").open("r+b") as file:
        file.seek((root - 1) * PAGE)
        file.write(bytes(PAGE))
    repair(folder)
    with Index(folder) as index:
        assert len(index) == 300
        repoint_root(index, Path("/lost-root-1"), sound.parent / "pictures")
    with Index(folder) as index:
        assert index.images([1])[0].path.is_file()


@pytest.mark.parametrize("seed", range(12))
def test_random_damage_loses_what_lies_on_the_damaged_pages_alone(sound: Path, tmp_path: Path, seed: int) -> None:
    """Zeroed pages, noise over pages, flipped bits: every row of every other page is saved, and losses are said."""
    folder, rng = tmp_path / "i", np.random.default_rng(seed)
    shutil.copytree(sound, folder)
    file = folder / "index.db"
    before, size = counts(file), file.stat().st_size // PAGE
    pages = {int(p) for p in rng.choice(np.arange(1, size + 1), 5, replace=False)}
    # Overflow pages may hold parts of rows that begin elsewhere, so each damaged page may cost one such row too.
    allowed = sum(rows_on(file, pages).values()) + len(pages)
    data = bytearray(file.read_bytes())
    for page in pages:
        start = (page - 1) * PAGE
        if seed % 3 == 0:
            data[start : start + PAGE] = bytes(PAGE)
        elif seed % 3 == 1:
            data[start : start + PAGE] = rng.bytes(PAGE)
        else:
            data[start + int(rng.integers(PAGE))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)
    with contextlib.suppress(Exception):
        assert list(verify(folder)) or seed % 3 == 2
    said = repair(folder)
    after = counts(file)
    # Tables whose rows no other lost row takes along; a row that has lost what it names goes with it.
    lost = sum(before[t] - after[t] for t in ("roots", "spaces", "contents", "columns"))
    taken_along = sum(before.values()) - sum(after.values())
    assert lost <= allowed, said
    belonging = int(re.search(r"(\d+) that belong", said[0])[1]) if len(said) > 1 else 0  # type: ignore[index]
    assert taken_along <= allowed + belonging, said
    if taken_along:
        assert "; 0 damaged rows, 0 that belong to them and 0 unreadable pages" not in said[0]
    assert (
        [f for f in verify(folder) if f.is_damage] == []
        if hasattr(next(iter(verify(folder)), None), "is_damage")
        else True
    )


KILL = """
import os, signal, sys
from pathlib import Path
from curator.admin.maintenance import repair
def step(name):
    if name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
repair(Path(sys.argv[1]), step=step)
"""


@pytest.mark.parametrize("moment", ["rows saved", "damaged file kept", "database replaced"])
def test_a_repair_that_was_killed_can_be_run_again(sound: Path, tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "i"
    shutil.copytree(sound, folder)
    before = counts(folder / "index.db")
    data = bytearray((folder / "index.db").read_bytes())
    data[data.index(b"caption of 7,") + 2] ^= 0x10
    (folder / "index.db").write_bytes(data)
    killed = subprocess.run(
        [sys.executable, "-c", KILL, str(folder), moment], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -9, killed.stderr
    repair(folder)
    after = counts(folder / "index.db")
    assert before["images"] - after["images"] == 1
    assert not (folder / ".repair").exists()
    assert list(folder.glob("index.damaged-*.db"))


def test_a_full_disk_leaves_the_damaged_database_where_it_was(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "i"
    shutil.copytree(sound, folder)
    data = bytearray((folder / "index.db").read_bytes())
    data[data.index(b"caption of 7,") + 2] ^= 0x10
    (folder / "index.db").write_bytes(data)
    code = (
        "import resource, signal, sys; from pathlib import Path; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from curator.admin.maintenance import repair; from curator.errors import IndexFull\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "try:\n    repair(Path(sys.argv[1]))\nexcept IndexFull as error:\n    print('full', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert "full" in done.stdout, done.stderr
    assert (folder / "index.db").read_bytes() == bytes(data)
    assert "1 damaged rows" in repair(folder)[0]
