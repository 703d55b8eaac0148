"""One function a kind of trial: it makes something hostile from a seed, works on it, and says what was wrong.

Each raises `AssertionError`, or anything that is no `CuratorError`, where a promise is broken.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from campaign.mutate import as_bytes, mutate_bytes, mutate_json
from PIL import Image

from curator.admin.maintenance import repair, verify
from curator.admin.manage import remove_images, tag_images
from curator.cleaning.decisions import accept
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.cleaning.quarantine import quarantine, restore
from curator.database import Selections
from curator.encoders import PixelEncoder
from curator.errors import CuratorError, PictureError
from curator.images import decode
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.ingest.importing import import_set
from curator.runs.facts import list_runs, run_details
from curator.runs.lookup import run_of
from curator.search.facts import image_facts, status
from curator.selection.recipe import Recipe, manifest_of, read_manifest
from curator.selection.select import select
from curator.texts import escaped, to_json

Trial = Callable[[Path, np.random.Generator], None]
TRIALS: dict[str, Trial] = {}


def trial(function: Trial) -> Trial:
    TRIALS[function.__name__.replace("_", " ")] = function
    return function


def picture(seed: int, side: int = 16) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)


def pictures(place: Path, count: int = 6) -> Path:
    folder = place / "pictures"
    for number in range(count):
        path = folder / ("cats" if number % 2 else "dogs") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
    return folder


def is_sound(index: Index, count: int | None = None) -> None:
    """Every promise that can be asked of an index: rows whole, every column can be asked for, all can be shown."""
    assert [f for f in verify(index.folder) if "have no vector" not in f.problem] == []
    ids = index.reader.ids_where("1")
    assert count is None or len(ids) == count, f"{len(ids)} images, and {count} were expected"
    for column in index.reader.columns():
        index.reader.ids_where('"' + column.replace('"', '""') + '" IS NOT NULL')
    for facts in image_facts(index, ids):
        assert "\x1b" not in escaped(str(facts.image.label) + str(facts.image.caption))
        json.loads(to_json([facts.image.label, facts.image.caption, dict(facts.image.extra)]))
    assert status(index).counts["images"] == len(ids)


SIDECARS = {
    ".txt": b"a cat on a mat\n", ".caption": "größer".encode("utf-16"), ".xmp": b"<x xmlns='adobe:ns:meta/'>a</x>",
    ".json": as_bytes({"caption": ["a", "b"], "label": "cat", "price": 3.5, "nested": {"a": [1]}, "ok": True}),
}  # fmt: skip


@trial
def side_cars(place: Path, rng: np.random.Generator) -> None:
    folder = pictures(place)
    for number in range(6):
        suffix = str(rng.choice(list(SIDECARS)))
        name = f"{number}.png{suffix}" if rng.random() < 0.3 else f"{number}{suffix}"
        data = SIDECARS[suffix]
        if suffix == ".json" and rng.random() < 0.6:
            data = as_bytes(mutate_json(json.loads(data), rng))
        target = folder / ("cats" if number % 2 else "dogs") / name
        target.write_bytes(data if rng.random() < 0.2 else mutate_bytes(data, rng))
    with Index.create(place / "index") as index:
        ingest(index, [folder], PixelEncoder(), IngestOptions(label_from="folder" if rng.random() < 0.3 else None))
        is_sound(index, 6)


TABLES = [
    b"file_name,label,price\ncats/1.png,tom,3\ndogs/0.png,rex,4\n",
    b'Path;Label;Text\r\ncats\\1.png;a;"two\r\nlines"\r\n',
    b'{"file_name": "cats/1.png", "label": "x", "n": 3}\n{"image": "0", "text": "y"}\n',
    b"\xef\xbb\xbffilepath\tclass\n/mnt/data/cats/1.png\tb\n",
]


@trial
def tables(place: Path, rng: np.random.Generator) -> None:
    folder = pictures(place)
    seed = TABLES[int(rng.integers(len(TABLES)))]
    table = place / ("t.jsonl" if seed.startswith(b"{") else "t.csv")
    table.write_bytes(mutate_bytes(seed, rng))
    shutil.copy(table, folder / ("metadata.jsonl" if seed.startswith(b"{") else "metadata.csv"))
    with Index.create(place / "index") as index:
        for options in (IngestOptions(), IngestOptions(table=str(table))):
            with contextlib.suppress(CuratorError):
                ingest(index, [folder], PixelEncoder(), options)
        is_sound(index)


@trial
def manifests(place: Path, rng: np.random.Generator) -> None:
    with Index.create(place / "index") as index:
        ingest(index, [pictures(place)], PixelEncoder())
        select(index, "first", Recipe(n=4))
        stored = json.loads(to_json(manifest_of(index, Selections(index.reader).get("first"))))
        data = as_bytes(mutate_json(stored, rng)) if rng.random() < 0.7 else mutate_bytes(as_bytes(stored), rng)
        (place / "m.json").write_bytes(data)
        with contextlib.suppress(CuratorError):
            read_manifest(place / "m.json")


@trial
def journals(place: Path, rng: np.random.Generator) -> None:
    folder = pictures(place)
    for path in sorted(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    victim = place / "victim"
    victim.write_text("precious")
    with Index.create(place / "index") as index:
        ingest(index, [folder], PixelEncoder())
        dedupe(index, DedupeOptions("exact"))
        accept(index)
        moved = quarantine(index).moves
        journal = index.folder / "journal.jsonl"
        lines = journal.read_text().splitlines()
        chosen = json.loads(lines[int(rng.integers(len(lines)))])
        evil = mutate_json(chosen | {"moved_to": str(victim)}, rng) if rng.random() < 0.5 else mutate_json(chosen, rng)
        data = "\n".join(lines).encode() + b"\n" + as_bytes(evil) + b"\n"
        journal.write_bytes(data if rng.random() < 0.6 else mutate_bytes(data, rng))
        before = sorted(hash(p.read_bytes()) for p in folder.rglob("*.png"))
        with contextlib.suppress(CuratorError):
            restore(index)
        assert victim.read_text() == "precious"
        assert sorted(hash(p.read_bytes()) for p in folder.rglob("*.png")) == before, "a file is lost"
        assert all(Path(m.path).exists() or Path(m.moved_to).exists() for m in moved)


OPTIONS = {"options": {"trainer": "vae", "side": 16, "images": 100}, "images": {"trained": 5, "held_out": 1},
           "shape": {"channels": 3, "side": 16, "border": 0, "classes": [], "dims": 0}, "versions": {}}  # fmt: skip
FILES = {
    "options.json": OPTIONS, "state.json": {"status": "finished", "images_seen": 100, "best": 100},
    "metrics.jsonl": {"images_seen": 100, "recall": 0.5}, "manifest.jsonl": {"id": 1, "sha256": "00" * 32},
}  # fmt: skip


@trial
def run_folders(place: Path, rng: np.random.Generator) -> None:
    with Index.create(place / "index") as index:
        ingest(index, [pictures(place, 2)], PixelEncoder())
        for number in range(1, 4):
            run = index.folder / "runs" / f"{number:05d}-vae"
            run.mkdir(parents=True)
            for name, seed in FILES.items():
                data = as_bytes(mutate_json(seed, rng)) if rng.random() < 0.6 else mutate_bytes(as_bytes(seed), rng)
                (run / name).write_bytes(data if number < 3 else as_bytes(seed))
        names = [r.run for r in list_runs(index)]
        assert "00003-vae" in names, "a broken run hides a sound one"
        for name in names:
            with contextlib.suppress(CuratorError):
                run_details(run_of(index, name))


@lru_cache
def archives() -> dict[str, bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored: dict[str, bytes] = {}
    png = io.BytesIO()
    picture(1).save(png, "PNG")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as out:
        members = {"a.png": png.getvalue(), "a.json": b'{"caption": "x"}', "a.cls": b"3", "b.png": png.getvalue()}
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    stored["shards/0.tar"] = tar.getvalue()
    parquet = io.BytesIO()
    pq.write_table(pa.table({"image": [{"bytes": png.getvalue(), "path": "x.png"}] * 3, "label": [0, 1, 2]}), parquet)
    stored["parquet/train.parquet"] = parquet.getvalue()
    stored["coco/annotations/instances_train.json"] = as_bytes(
        {"images": [{"id": 1, "file_name": "cats/1.png"}], "categories": [{"id": 3, "name": "cat"}],
         "annotations": [{"image_id": 1, "category_id": 3, "area": 5.0}, {"image_id": 1, "caption": "x"}]}
    )  # fmt: skip
    vectors = io.BytesIO()
    np.save(vectors, np.ones((2, PixelEncoder().dim), np.float32))
    stored["clip/img_emb/img_emb_0.npy"] = vectors.getvalue()
    names = io.BytesIO()
    pq.write_table(pa.table({"image_path": ["cats/1.png", "dogs/0.png"]}), names)
    stored["clip/metadata/metadata_0.parquet"] = names.getvalue()
    return stored


@trial
def imports(place: Path, rng: np.random.Generator) -> None:
    kind = str(rng.choice(["shards", "parquet", "coco", "clip"]))
    source = place / kind
    shutil.copytree(pictures(place), source) if kind in ("coco", "clip") else source.mkdir()
    for name, data in archives().items():
        if name.startswith(f"{kind}/"):
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            value = (
                as_bytes(mutate_json(json.loads(data), rng)) if name.endswith(".json") and rng.random() < 0.7 else None
            )
            file.write_bytes(value if value is not None else mutate_bytes(data, rng))
    with Index.create(place / "index") as index:
        with contextlib.suppress(CuratorError):
            import_set(index, source, PixelEncoder())
        is_sound(index)


@lru_cache
def sound_index() -> Path:
    place = Path(mkdtemp(prefix="campaign-"))
    folder = pictures(place, 40)
    (folder / "cats/1.json").write_text('{"label": "cat", "price": 3}')
    with Index.create(place / "index") as index:
        ingest(index, [folder], PixelEncoder(), IngestOptions(label_from="folder"))
        tag_images(index, [1, 2, 3], ["good"])
        dedupe(index, DedupeOptions("exact"))
        select(index, "some", Recipe(n=10))
    return place / "index"


@trial
def databases(place: Path, rng: np.random.Generator) -> None:
    folder = place / "index"
    shutil.copytree(sound_index(), folder)
    files = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size]
    file = folder / "index.db" if rng.random() < 0.7 else files[int(rng.integers(len(files)))]
    data = bytearray(file.read_bytes())
    for _ in range(int(rng.integers(1, 6))):
        start = int(rng.integers(len(data)))
        size = int(rng.choice([1, 16, 4096]))
        data[start : start + size] = bytes(size) if rng.random() < 0.5 else rng.bytes(size)
    file.write_bytes(data[: int(rng.integers(len(data)))] if rng.random() < 0.1 else data)
    expected = {40}
    try:
        with Index(folder) as index:
            assert len(index) in expected
            hits = index.search(like=1, k=5)
            assert (np.diff(hits.scores) <= 0).all()
    except CuratorError:
        with contextlib.suppress(CuratorError):
            repair(folder)
            with Index(folder) as index:
                is_sound(index)


@trial
def histories(place: Path, rng: np.random.Generator) -> None:
    """Random changes to a folder and an index beside a plain dictionary that says what should be there."""
    folder = pictures(place, 4)
    present = {str(p.relative_to(folder)): int(p.stem) for p in folder.rglob("*.png")}
    removed: set[str] = set()
    fresh = 100
    with Index.create(place / "index") as index:
        ingest(index, [folder], PixelEncoder())
        for _ in range(int(rng.integers(5, 14))):
            names = sorted(present)
            name = names[int(rng.integers(len(names)))] if names else ""
            change = int(rng.integers(5))
            if change == 0 or not names:
                fresh += 1
                new = f"dogs/{fresh}.png"
                (folder / "dogs").mkdir(exist_ok=True)
                picture(fresh).save(folder / new)
                present[new] = fresh
            elif change == 1 and len(names) > 1:
                (folder / name).unlink()
                present.pop(name)
                removed.discard(name)
            elif change == 2 and name not in removed:
                new = f"cats/{len(present)}-{fresh}-{int(rng.integers(1000))}.png"
                (folder / "cats").mkdir(exist_ok=True)
                (folder / name).rename(folder / new)
                present[new] = present.pop(name)
            elif change == 3:
                image_id = index.reader.find(folder / name)
                if image_id is not None:
                    remove_images(index, [image_id])
                    removed.add(name)
            ingest(index, [folder], PixelEncoder())
            there = {str(i.path.relative_to(folder)) for i in index.images(index.reader.ids_where("1"))}
            assert there == present.keys() - removed
        is_sound(index)


_WORK = (
    "import sys; from pathlib import Path; from curator.encoders import PixelEncoder; from curator.index import Index;"
    "from curator.ingest import ingest\n"
    "with Index.create(Path(sys.argv[1])) as index:\n    ingest(index, [Path(sys.argv[2])], PixelEncoder())\n"
)


@trial
def kills(place: Path, rng: np.random.Generator) -> None:
    folder = pictures(place, 60)
    command = [sys.executable, "-c", _WORK, str(place / "index"), str(folder)]
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as work:
            with contextlib.suppress(subprocess.TimeoutExpired):
                work.wait(float(rng.uniform(0.3, 2.5)))
            work.send_signal(signal.SIGKILL)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with Index(place / "index") as index:
        is_sound(index, 60)


_LIMITED = (
    "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from curator.cli import main;"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2); sys.argv = ['curator', *sys.argv[2:]]; main()"
)


@trial
def full_disks(place: Path, rng: np.random.Generator) -> None:
    """The disk is full after so many bytes of a file: an error in words, and afterwards the same command succeeds."""
    folder = pictures(place, 12)
    place_of_index = place / "index"
    what = str(rng.choice(["index", "backup", "export"]))
    if what != "index":
        with Index.create(place_of_index) as index:
            ingest(index, [folder], PixelEncoder())
            select(index, "some", Recipe(n=6))
    words = {
        "index": ["index", str(folder), "-e", "pixels", "-i", str(place_of_index)],
        "backup": ["backup", "-i", str(place_of_index)],
        "export": ["export", "some", str(place / "out"), "-i", str(place_of_index)],
    }[what]
    limit = int(2 ** rng.uniform(6, 19))
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(limit), *words], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, f"{what} within {limit} bytes: {done.stderr[-1500:]}"
    again = subprocess.run([sys.executable, "-m", "curator", *words], capture_output=True, text=True, check=False)
    assert again.returncode == 0 or "is there already" in again.stderr, f"{what} after {limit} bytes: {again.stderr}"
    with Index(place_of_index) as index:
        is_sound(index, 12)


@trial
def hostile_files(place: Path, rng: np.random.Generator) -> None:
    folder = pictures(place)
    names = ["x.png", "x.txt", "metadata.csv", "0.json", "y.jpg", "dataset.json", "z"]
    for number in range(int(rng.integers(1, 6))):
        path = folder / f"d{number}" / str(rng.choice(names))
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = int(rng.integers(7))
        if kind == 0:
            os.mkfifo(path)
        elif kind == 1:
            path.symlink_to("/dev/zero")
        elif kind == 2:
            path.symlink_to(folder)
        elif kind == 3:
            path.mkdir()
        elif kind == 4 and len(str(path)) < 100:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        elif kind == 5:
            path.symlink_to(path.parent / "nowhere")
        else:
            path.write_bytes(b"")
    with Index.create(place / "index") as index:
        ingest(index, [folder], PixelEncoder())
        is_sound(index, 6)


FORMS = ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "PPM", "JPEG2000", "TGA", "ICO"]


@trial
def picture_files(place: Path, rng: np.random.Generator) -> None:
    data = io.BytesIO()
    picture(int(rng.integers(100)), 24).save(data, str(rng.choice(FORMS)))
    for _ in range(20):
        with contextlib.suppress(PictureError):
            decoded = decode(mutate_bytes(data.getvalue(), rng))
            assert decoded.picture.mode == "RGB"
            assert decoded.content.taken_at is None or decoded.content.taken_at[4] == "-"
