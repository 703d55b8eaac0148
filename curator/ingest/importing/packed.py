"""Pictures that lie packed in tar shards or parquet files → files in a folder with side-cars."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.errors import UsageError
from curator.files import write_whole
from curator.images import MAX_BYTES, SUFFIXES
from curator.images.tables import Remarks, read_table
from curator.job import Job
from curator.texts import to_json

_UNSAFE = re.compile(r"[^\w.+-]+")
_BY_MAGIC = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"RIFF", ".webp"),
    (b"II*\0", ".tiff"),
    (b"MM\0*", ".tiff"),
    (b"\0\0\0\x0cjP  ", ".jp2"),
    (b"8BPS", ".psd"),
    (b"\xff\x0a", ".jxl"),
    *((b"P%d" % kind, ".ppm") for kind in range(1, 8)),
)
_BY_BRAND = {b"avif": ".avif", b"avis": ".avifs", b"heic": ".heic", b"heix": ".heic", b"mif1": ".heif"}  # after "ftyp"


def unpack_tars(shards: list[Path], target: Path, job: Job) -> int:
    """Unpack WebDataset or img2dataset shards → the number of pictures.

    Each gets its `.json` and `.txt` beside it; a number in `.cls` is named by `labels.json`. What is there already
    stays. Raises `UsageError` for a file that is no tar.
    """
    done = 0
    for shard in shards:
        names = _labels(shard.parent)
        folder, number = target / shard.stem, 0
        try:
            with tarfile.open(shard) as tar:
                for sample in samples_in(tar, job):
                    key, parts = sample.key, sample.parts
                    picture = sample.picture
                    if picture is None:
                        continue
                    place = folder / f"{number:06d}-{_safe(key)[:100]}"  # names unlike each other whatever is made safe
                    number += 1
                    _write(place.with_name(f"{place.name}.{picture.rpartition('.')[2]}"), parts[picture])
                    notes = notes_of_sample(parts, names, f"{shard.name}/{key}", job)
                    if notes:
                        _write(place.with_name(f"{place.name}.json"), to_json(notes, ensure_ascii=False).encode())
                    if ".txt" in parts:
                        _write(place.with_name(f"{place.name}.txt"), parts[".txt"])
                    done += 1
                    job.progress(done, done, "unpacking")
                    job.check()
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise UsageError(f"{shard} cannot be unpacked: {error}") from error
    return done


def notes_of_sample(parts: Mapping[str, bytes], names: list[str], key: str, job: Job) -> dict[str, Any]:
    """What a sample's `.json` and `.cls` say; what cannot be read says nothing, and is said."""
    stored: Any = {}
    try:
        stored = json.loads(parts[".json"]) if ".json" in parts else {}
    except (ValueError, RecursionError) as error:
        job.say(f"Skipped: the .json of {key}: {error}")
    notes: dict[str, Any] = stored if isinstance(stored, dict) else {}
    if ".cls" in parts and "label" not in notes:
        code = parts[".cls"].decode("utf-8", "replace").strip()
        is_number = code.isascii() and code.isdecimal() and len(code) < 10
        notes["label"] = names[int(code)] if is_number and int(code) < len(names) else code
    return notes


@dataclass
class Sample:
    """Files of one key in a tar: `parts` extension → bytes, `members` extension → name in the tar."""

    key: str
    parts: dict[str, bytes]
    members: dict[str, str]

    @property
    def picture(self) -> str | None:
        """The extension of the picture in it."""
        return next((p for p in self.parts if "." + p.rpartition(".")[2] in SUFFIXES), None)


def samples_in(tar: tarfile.TarFile, job: Job) -> Iterator[Sample]:
    """Files of one key follow each other; a key is the name up to the first dot of its last part."""
    sample = Sample("", {}, {})
    for member in tar:
        if not member.isfile():
            continue
        folder, _, name = member.name.rpartition("/")
        stem, dot, suffix = name.partition(".")
        sample_key = f"{folder}/{stem}"
        if sample_key != sample.key:
            if sample.parts:
                yield sample
            sample = Sample(sample_key, {}, {})
        if member.size > MAX_BYTES:
            job.say(f"Skipped: {member.name} of {member.size // 2**20} MiB; {MAX_BYTES // 2**20} is the most")
            continue
        data = tar.extractfile(member)
        extension = f"{dot}{suffix.lower()}"
        sample.parts[extension] = data.read() if data is not None else b""
        sample.members[extension] = member.name
    if sample.parts:
        yield sample


def unpack_parquet(files: list[Path], target: Path, job: Job) -> int:
    """Rows with pictures inside, as `datasets` stores them → files and `.json` side-cars.

    Raises `UsageError` for a file without any.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    done = 0
    for file in files:
        try:
            table = pq.ParquetFile(file)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UsageError(f"{file} is no parquet file: {error}") from error
        names = _class_names(table.schema_arrow)
        column = _image_column(table.schema_arrow)
        if column is None:
            raise UsageError(f"{file} has no column of pictures (a struct of bytes and path)")
        for rows in _batches(table, file, job):
            for row in rows:
                picture = row.pop(column) or {}
                data = picture.get("bytes")
                if not isinstance(data, bytes) or not data:
                    continue
                # paths need not differ between rows
                stem = f"{done:08d}-{_safe(Path(picture.get('path') or 'picture').stem)}"
                _write(target / file.stem / f"{stem}{_suffix(data)}", data)
                notes = {k: _named(v, names.get(k)) for k, v in row.items() if v is not None}
                _write(target / file.stem / f"{stem}.json", to_json(notes, ensure_ascii=False, default=str).encode())
                done += 1
                job.progress(done, done, "unpacking")
                job.check()
    return done


def unpack_zips(files: list[Path], target: Path, job: Job) -> int:
    """Archives of one folder, as StyleGAN's `dataset_tool.py` writes them → files and `.json` side-cars with labels.

    A number of `dataset.json` is named by `labels.json` beside the archive; captions and further columns come from the
    `images.csv` that an export has. Raises `UsageError` for no such archive.
    """
    done = 0
    names, said = (_labels(files[0].parent), _said_beside(files[0].parent, job)) if files else ([], {})
    for file in files:
        try:
            with zipfile.ZipFile(file) as archive:
                codes = _codes_in(archive)
                for member in sorted(archive.infolist(), key=lambda m: m.filename):
                    if Path(member.filename).suffix.lower() not in SUFFIXES or member.is_dir():
                        continue
                    try:
                        data = _inflated(archive, member)
                    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
                        job.say(f"Skipped: {member.filename} of {file.name}: {error}")
                        continue
                    place = target / file.stem / f"{done:08d}-{_safe(Path(member.filename).name)[-100:]}"
                    _write(place, data)
                    label = codes.get(member.filename)
                    notes = dict(said.get(f"{file.name}/{member.filename}", {}))
                    if label is not None and label != -1:
                        notes["label"] = _named(label, names or None)
                    if notes:
                        _write(place.with_suffix(".json"), to_json(notes, ensure_ascii=False).encode())
                    done += 1
                    job.progress(done, done, "unpacking")
                    job.check()
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise UsageError(f"{file} cannot be unpacked: {error}") from error
    return done


def _said_beside(folder: Path, job: Job) -> dict[str, Mapping[str, Any]]:
    """Picture, as `train.zip/00000/img00000000.png` → the columns of its row in `images.csv`."""
    table, remarks = folder / "images.csv", Remarks()
    rows = list(read_table(table, None, remarks)) if table.is_file() else []
    for line in remarks.lines():
        job.say(line)
    return {str(r["file"]): {k: v for k, v in r.items() if v and k != "file"} for r in rows if r.get("file")}


def _codes_in(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Picture → its class; none for conditions that are vectors."""
    try:
        labels = json.loads(_inflated(archive, archive.getinfo("dataset.json")))["labels"]
        return {str(name): code for name, code in labels or () if isinstance(code, int | str)}
    except (KeyError, ValueError, TypeError, RecursionError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
        return {}


def _inflated(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member, whatever size its header claims. Raises `BadZipFile` for one that is too large."""
    with archive.open(member) as opened:
        data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise zipfile.BadZipFile(f"larger than {MAX_BYTES // 2**20} MiB")
    return data


def _batches(table: Any, file: Path, job: Job) -> Iterator[list[dict[str, Any]]]:
    """Rows of a table, batch by batch, up to the first that cannot be read."""
    import pyarrow as pa

    try:
        for batch in table.iter_batches(64):
            yield batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        job.say(f"Skipped: the rest of {file.name}: {str(error).splitlines()[0]}")


def _image_column(schema: Any) -> str | None:
    import pyarrow as pa

    for field in schema:
        if pa.types.is_struct(field.type) and {"bytes", "path"} <= {f.name for f in field.type}:
            return str(field.name)
    return None


def _class_names(schema: Any) -> Mapping[str, list[str]]:
    stored = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(stored)["info"]["features"] if stored else {}
        features = features if isinstance(features, dict) else {}
    except (ValueError, KeyError, TypeError):
        features = {}
    return {name: f["names"] for name, f in features.items() if isinstance(f, dict) and f.get("_type") == "ClassLabel"}


def _named(value: Any, names: list[str] | None) -> Any:
    return names[value] if names is not None and isinstance(value, int) and 0 <= value < len(names) else value


def _labels(folder: Path) -> list[str]:
    try:
        labels = json.loads((folder / "labels.json").read_text())
    except (OSError, ValueError):
        return []
    return [str(name) for name in labels] if isinstance(labels, list) else []


def _suffix(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return _BY_BRAND.get(data[8:12], ".img")
    return next((suffix for magic, suffix in _BY_MAGIC if data.startswith(magic)), ".img")


def _safe(name: str) -> str:
    """A name that stays within its folder, whatever the archive says."""
    return _UNSAFE.sub("_", name.strip("/").replace("/", "_")).lstrip(".") or "_"


def _write(path: Path, data: bytes) -> None:
    if path.exists() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
