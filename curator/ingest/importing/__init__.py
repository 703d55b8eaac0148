"""`curator import`: data sets in the forms of `curator export` and of others, into an index."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from curator.encoders import Encoder
from curator.errors import UsageError
from curator.images import SIDECARS, SUFFIXES
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.ingest.importing.embedded import take_vectors
from curator.ingest.importing.packed import unpack_parquet, unpack_tars, unpack_zips
from curator.ingest.importing.tables import read_coco, write_rows
from curator.job import QUIET, Job
from curator.records import IngestReport

FORMS = ("webdataset", "parquet", "stylegan", "coco", "clip-retrieval", "imagefolder")


_PACKED = {
    "webdataset": ("tar", unpack_tars), "parquet": ("parquet", unpack_parquet), "stylegan": ("zip", unpack_zips),
}  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """What was found, where its pictures lie now, and what indexing them did."""

    form: str
    folder: Path
    report: IngestReport


def guess_form(source: Path) -> str:
    """What a folder holds, by the files in it; "imagefolder" for pictures with side-cars or tables.

    Raises `UsageError` for none.
    """
    if not source.is_dir():
        raise UsageError(f"{source} is no folder; `curator import` takes a folder that holds a data set")
    if any((source / "img_emb").glob("*.npy")):
        return "clip-retrieval"
    if any(source.glob("*.tar")):
        return "webdataset"
    if any((source / "annotations").glob("*.json")):
        return "coco"
    if any(source.glob("*.parquet")) and not any(
        p.suffix.lower() in SUFFIXES for p in source.glob("*/*")
    ):  # as img2dataset writes
        return "parquet"
    if any(source.glob("*.zip")) and not any(p.suffix.lower() in SUFFIXES for p in source.rglob("*")):
        return "stylegan"
    return "imagefolder"


def import_set(
    index: Index,
    source: Path,
    encoder: Encoder,
    *,
    form: str | None = None,
    to: Path | None = None,
    origin: str | None = None,
    job: Job = QUIET,
) -> Imported:
    """Index a data set.

    Packed pictures are unpacked into `to`, or SOURCE-pictures beside it; all others stay where they are. Runs again
    from where it was cut off. Raises `UsageError`, `SpaceMismatch`, and what `ingest` raises.
    """
    source = source.expanduser().absolute()
    form = form or guess_form(source)
    folder, paths = source, [source]
    options = IngestOptions(origin=origin)

    if form in _PACKED:
        folder = (to or source.with_name(f"{source.name}-pictures")).expanduser().absolute()
        paths = [folder]
        kind, unpack = _PACKED[form]
        count = unpack(sorted(source.glob(f"*.{kind}")), folder, job)
        if not count:
            raise UsageError(f"no picture was found in the {kind} files of {source}")
    elif form == "coco":
        folder = source / "images" if (source / "images").is_dir() else source
        mark = hashlib.sha256(os.fsencode(source)).hexdigest()[:8]  # data sets may share a name
        table = index.folder / f"imported-{source.name}-{mark}.csv"
        write_rows(read_coco(sorted((source / "annotations").glob("*.json"))), table)
        paths, options = [folder], IngestOptions(origin=origin, table=str(table))
    elif form == "clip-retrieval":
        paths = take_vectors(index, source, encoder, job)
        if (source / "images.csv").is_file():
            options = IngestOptions(origin=origin, table=str(source / "images.csv"))
    elif (source / "images.csv").is_file():
        options = IngestOptions(origin=origin, table=str(source / "images.csv"))
    elif not any(p.suffix.lower() in SIDECARS for p in source.rglob("*")):
        options = IngestOptions(origin=origin, label_from="folder")
    return Imported(form, folder, ingest(index, paths, encoder, options, job=job))
