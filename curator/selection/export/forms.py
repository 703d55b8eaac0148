"""The forms of an export, each as the library that reads it takes it."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from curator.errors import UsageError
from curator.selection.export.items import MTIME, Item, Job, as_csv, as_jsonl, content, forms, place, write_text


@forms.register("imagefolder")
def _imagefolder(job: Job) -> None:
    """`SPLIT/LABEL/picture` and `SPLIT/metadata.jsonl`, as `datasets.load_dataset("imagefolder")` and torchvision's ImageFolder read it."""
    _refuse_none(job, "imagefolder")
    for done, item in enumerate(job.items, 1):
        place(job, item, job.folder / item.file)
        job.told(done)
    for split in sorted({i.split for i in job.items}):
        rows = []
        for item in job.items:
            if item.split == split:
                row = item.row()
                rows.append(
                    {"file_name": item.file.removeprefix(f"{split}/")} | {k: v for k, v in row.items() if k not in ("file", "split")}
                )
        write_text(job.folder / split / "metadata.jsonl", as_jsonl(rows))


@forms.register("webdataset")
def _webdataset(job: Job) -> None:
    """Shards `SPLIT-000000.tar` of `key.jpg`, `key.json`, and `key.txt` and `key.cls` where there are caption and label."""
    codes = _codes(job.items)
    done = 0
    for split in sorted({i.split for i in job.items}):
        items = [i for i in job.items if i.split == split]
        for number, start in enumerate(range(0, len(items), job.shard)):
            with tarfile.open(job.folder / f"{split}-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
                for item in items[start : start + job.shard]:
                    _add(tar, f"{item.key}{_suffix(item)}", content(item, job.size))
                    _add(tar, f"{item.key}.json", json.dumps(item.row(), ensure_ascii=False, sort_keys=True).encode())
                    if item.image.caption is not None:
                        _add(tar, f"{item.key}.txt", item.image.caption.encode())
                    if item.image.label is not None:
                        _add(tar, f"{item.key}.cls", str(codes[item.image.label]).encode())
                    done += 1
                    job.told(done)
            os.utime(job.folder / f"{split}-{number:06d}.tar", (MTIME, MTIME))
    write_text(job.folder / "labels.json", json.dumps(list(codes), ensure_ascii=False) + "\n")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(data), MTIME, 0o644
    tar.addfile(info, io.BytesIO(data))


@forms.register("parquet")
def _parquet(job: Job) -> None:
    """`SPLIT-00000.parquet` with the pictures inside, as `datasets` stores images: a column `image` of bytes and path."""
    import pyarrow as pa

    codes = _codes(job.items)
    plain = {
        "caption": "string",
        "sha256": "string",
        "split": "string",
        "rank": "int64",
        "value": "float64",
        "width": "int64",
        "height": "int64",
        "origin": "string",
    }
    features: dict[str, Any] = {"image": {"_type": "Image"}, "label": {"names": list(codes), "_type": "ClassLabel"}}
    features |= {name: {"dtype": kind, "_type": "Value"} for name, kind in plain.items()}
    types = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
    fields = [pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), pa.field("label", pa.int64())]
    fields += [pa.field(name, types[kind]) for name, kind in plain.items()]
    schema = pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})
    done = 0
    for split in sorted({i.split for i in job.items}):
        items = [i for i in job.items if i.split == split]
        for number, start in enumerate(range(0, len(items), job.shard)):
            rows = []
            for item in items[start : start + job.shard]:
                row = item.row()
                picture = {"bytes": content(item, job.size), "path": f"{item.key}{_suffix(item)}"}
                label = codes.get(item.image.label) if item.image.label is not None else None
                rows.append({"image": picture, "label": label} | {name: row[name] for name in plain})
                done += 1
                job.told(done)
            _save_table(pa.Table.from_pylist(rows, schema=schema), job, f"{split}-{number:05d}.parquet")


def _save_table(table: Any, job: Job, name: str) -> None:
    import pyarrow.parquet as pq

    (job.folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, job.folder / name)
    os.utime(job.folder / name, (MTIME, MTIME))


@forms.register("coco")
def _coco(job: Job) -> None:
    """`images/`, `annotations/instances_SPLIT.json` with each label as a box around its picture, and `captions_SPLIT.json`."""
    _refuse_none(job, "coco")
    codes = _codes(job.items)
    for done, item in enumerate(job.items, 1):
        place(job, item, job.folder / item.file)
        job.told(done)
    categories = [{"id": code + 1, "name": name, "supercategory": ""} for name, code in codes.items()]
    for split in sorted({i.split for i in job.items}):
        items = [i for i in job.items if i.split == split]
        images = [
            {"id": i.rank + 1, "file_name": i.file.removeprefix("images/"), "width": i.image.width, "height": i.image.height} for i in items
        ]
        boxes = [
            {
                "id": i.rank + 1, "image_id": i.rank + 1, "category_id": codes[i.image.label] + 1, "iscrowd": 0,
                "bbox": [0, 0, i.image.width, i.image.height], "area": i.image.width * i.image.height,
            }
            for i in items
            if i.image.label is not None
        ]  # fmt: skip
        _dump(job, f"annotations/instances_{split}.json", {"images": images, "annotations": boxes, "categories": categories})
        captions = [{"id": i.rank + 1, "image_id": i.rank + 1, "caption": i.image.caption} for i in items if i.image.caption is not None]
        if captions:
            _dump(job, f"annotations/captions_{split}.json", {"images": images, "annotations": captions})


@forms.register("csv")
def _csv(job: Job) -> None:
    """`images.csv`, which every form has, and the pictures themselves unless --link none."""
    _place_all(job)


@forms.register("jsonl")
def _jsonl(job: Job) -> None:
    """`images.jsonl`, and the pictures themselves unless --link none."""
    _place_all(job)
    write_text(job.folder / "images.jsonl", as_jsonl([i.row() for i in job.items]))


@forms.register("npy")
def _npy(job: Job) -> None:
    """`embeddings.npy` (n, d) float32 unit rows in the order of `images.csv`, `ids.npy` (n,) int64; the pictures unless --link none."""
    _place_all(job)
    _save_array(job, "embeddings.npy", job.vectors().astype(np.float32))
    _save_array(job, "ids.npy", np.array([i.image.id for i in job.items], np.int64))


@forms.register("clip-retrieval")
def _clip_retrieval(job: Job) -> None:
    """`img_emb/img_emb_0.npy` float16 and `metadata/metadata_0.parquet`, the layout of clip-retrieval and embedding-reader."""
    import pyarrow as pa

    _place_all(job)
    _save_array(job, "img_emb/img_emb_0.npy", job.vectors())
    rows = [{"image_path": i.file} | {k: v for k, v in i.row().items() if k != "file"} for i in job.items]
    _save_table(pa.Table.from_pylist(rows), job, "metadata/metadata_0.parquet")


def _place_all(job: Job) -> None:
    for done, item in enumerate(job.items, 1):
        if job.link != "none":
            place(job, item, job.folder / item.file)
        job.told(done)


def _save_array(job: Job, name: str, values: Any) -> None:
    (job.folder / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(job.folder / name, values)
    os.utime(job.folder / name, (MTIME, MTIME))


def _dump(job: Job, name: str, value: Any) -> None:
    write_text(job.folder / name, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def _codes(items: Sequence[Item]) -> dict[str, int]:
    return {name: code for code, name in enumerate(sorted({i.image.label for i in items if i.image.label is not None}))}


def _suffix(item: Item) -> str:
    return "." + item.file.rpartition(".")[2]


def _refuse_none(job: Job, form: str) -> None:
    if job.link == "none":
        raise UsageError(f"--as {form} consists of pictures; --link none goes with csv, jsonl, npy and clip-retrieval")


def write_table(job: Job) -> None:
    """`images.csv`, the table that every form has and the Croissant description speaks of."""
    write_text(job.folder / "images.csv", as_csv([i.row() for i in job.items]))
