"""The forms of an export, each as the library that reads it takes it."""

from __future__ import annotations

import io
import itertools
import os
import tarfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from curator.selection.export.items import (
    MTIME,
    ExportPlan,
    Form,
    Item,
    as_csv,
    as_jsonl,
    captions_of,
    content,
    forms,
    place,
    refuse_none,
    write_text,
)
from curator.texts import to_json


def _imagefolder(plan: ExportPlan) -> None:
    """`SPLIT/LABEL/picture` and `SPLIT/metadata.jsonl`.

    `datasets.load_dataset("imagefolder")` and torchvision's ImageFolder read it.
    """
    refuse_none(plan, "imagefolder")
    for done, item in enumerate(plan.items, 1):
        place(plan, item, plan.folder / item.file)
        plan.exported(done)
    rows = {split: [i.row() for i in plan.items if i.split == split] for split in sorted({i.split for i in plan.items})}
    columns = _typed_columns(list(rows.values()))
    for split, split_rows in rows.items():
        lines = [
            {"file_name": row["file"].removeprefix(f"{split}/")}
            | {name: empty if row[name] is None else row[name] for name, empty in columns.items()}
            for row in split_rows
        ]
        write_text(plan.folder / split / "metadata.jsonl", as_jsonl(lines))


def _typed_columns(splits: list[list[dict[str, Any]]]) -> dict[str, str | None]:
    """Column → what stands where a row has no value.

    `datasets` takes the type of a column from its first values, and refuses splits whose types differ. So where one
    split has no text in a column at all, its rows have an empty one; and a column of numbers that a split lacks is left
    to `images.csv`.
    """
    columns: dict[str, str | None] = {}
    for name in splits[0][0]:
        values = [[row[name] for row in rows if row[name] is not None] for rows in splits]
        is_text = any(isinstance(v, str) for v in itertools.chain(*values))
        is_partial = any(values) and not all(values)
        if name not in ("file", "split") and (is_text or not is_partial):
            columns[name] = "" if is_partial else None
    return columns


def _webdataset(plan: ExportPlan) -> None:
    """Tar shards `SPLIT-000000.tar`.

    They hold `key.jpg`, `key.json`, and `key.txt` and `key.cls` where there are caption and label.
    """
    codes = _codes(plan.items)
    done = 0
    for split in sorted({i.split for i in plan.items}):
        items = [i for i in plan.items if i.split == split]
        for number, start in enumerate(range(0, len(items), plan.shard)):
            with tarfile.open(plan.folder / f"{split}-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
                for item in items[start : start + plan.shard]:
                    _add(tar, f"{item.key}{_suffix(item)}", content(item, plan))
                    _add(tar, f"{item.key}.json", to_json(item.row(), ensure_ascii=False, sort_keys=True).encode())
                    if item.image.caption is not None:
                        _add(tar, f"{item.key}.txt", item.image.caption.encode())
                    if item.image.label is not None:
                        _add(tar, f"{item.key}.cls", str(codes[item.image.label]).encode())
                    done += 1
                    plan.exported(done)
            os.utime(plan.folder / f"{split}-{number:06d}.tar", (MTIME, MTIME))
    write_text(plan.folder / "labels.json", to_json(list(codes), ensure_ascii=False) + "\n")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(data), MTIME, 0o644
    tar.addfile(info, io.BytesIO(data))


def _parquet(plan: ExportPlan) -> None:
    """`SPLIT-00000.parquet` with the pictures inside, as `datasets` stores them.

    The column `image` has bytes and path.
    """
    import pyarrow as pa

    codes = _codes(plan.items)
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
    types = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
    for name, values in ((n, [i.extra[n] for i in plan.items if i.extra[n] is not None]) for n in plan.items[0].extra):
        plain[name] = next((k for k, v in _KINDS.items() if values and isinstance(values[0], v)), "string")
    features |= {name: {"dtype": kind, "_type": "Value"} for name, kind in plain.items()}
    fields = [
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.field("label", pa.int64()),
    ]
    fields += [pa.field(name, types[kind]) for name, kind in plain.items()]
    schema = pa.schema(fields, metadata={"huggingface": to_json({"info": {"features": features}})})
    done = 0
    for split in sorted({i.split for i in plan.items}):
        items = [i for i in plan.items if i.split == split]
        for number, start in enumerate(range(0, len(items), plan.shard)):
            rows = []
            for item in items[start : start + plan.shard]:
                row = item.row()
                picture = {"bytes": content(item, plan), "path": f"{item.key}{_suffix(item)}"}
                label = codes.get(item.image.label) if item.image.label is not None else None
                rows.append({"image": picture, "label": label} | {name: row[name] for name in plain})
                done += 1
                plan.exported(done)
            _save_table(pa.Table.from_pylist(rows, schema=schema), plan, f"{split}-{number:05d}.parquet")


_KINDS = {"bool": bool, "int64": int, "float64": float}


def _save_table(table: Any, plan: ExportPlan, name: str) -> None:
    import pyarrow.parquet as pq

    (plan.folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, plan.folder / name)
    os.utime(plan.folder / name, (MTIME, MTIME))


def _coco(plan: ExportPlan) -> None:
    """`images/` and `annotations/`, for `instances` and `captions` of each split.

    Each label is a box around its picture; each caption is an annotation.
    """
    refuse_none(plan, "coco")
    codes = _codes(plan.items)
    for done, item in enumerate(plan.items, 1):
        place(plan, item, plan.folder / item.file)
        plan.exported(done)
    categories = [{"id": code + 1, "name": name, "supercategory": ""} for name, code in codes.items()]
    for split in sorted({i.split for i in plan.items}):
        items = [i for i in plan.items if i.split == split]
        images = [
            {
                "id": i.rank + 1,
                "file_name": i.file.removeprefix("images/"),
                "width": i.image.width,
                "height": i.image.height,
            }
            for i in items
        ]
        boxes = [
            {
                "id": i.rank + 1, "image_id": i.rank + 1, "category_id": codes[i.image.label] + 1, "iscrowd": 0,
                "bbox": [0, 0, i.image.width, i.image.height], "area": i.image.width * i.image.height,
            }
            for i in items
            if i.image.label is not None
        ]  # fmt: skip
        _dump(
            plan,
            f"annotations/instances_{split}.json",
            {"images": images, "annotations": boxes, "categories": categories},
        )
        captions = [
            {"id": number, "image_id": image_id, "caption": text}
            for number, (image_id, text) in enumerate(((i.rank + 1, t) for i in items for t in captions_of(i)), 1)
        ]
        if captions:
            _dump(plan, f"annotations/captions_{split}.json", {"images": images, "annotations": captions})


def _csv(plan: ExportPlan) -> None:
    """`images.csv`, which every form has, and the pictures themselves unless --link none."""
    _place_all(plan)


def _jsonl(plan: ExportPlan) -> None:
    """`images.jsonl`, and the pictures themselves unless --link none."""
    _place_all(plan)
    write_text(plan.folder / "images.jsonl", as_jsonl([i.row() for i in plan.items]))


def _npy(plan: ExportPlan) -> None:
    """`embeddings.npy` (n, d) float32 unit rows and `ids.npy` (n,) int64, in the order of `images.csv`.

    The pictures too, unless --link none.
    """
    _place_all(plan)
    _save_array(plan, "embeddings.npy", plan.vectors().astype(np.float32))
    _save_array(plan, "ids.npy", np.array([i.image.id for i in plan.items], np.int64))


def _clip_retrieval(plan: ExportPlan) -> None:
    """`img_emb/img_emb_0.npy` float16 and `metadata/metadata_0.parquet`.

    The layout of clip-retrieval and embedding-reader.
    """
    import pyarrow as pa

    _place_all(plan)
    _save_array(plan, "img_emb/img_emb_0.npy", plan.vectors())
    rows = [{"image_path": i.file} | {k: v for k, v in i.row().items() if k != "file"} for i in plan.items]
    _save_table(pa.Table.from_pylist(rows), plan, "metadata/metadata_0.parquet")


def _place_all(plan: ExportPlan) -> None:
    for done, item in enumerate(plan.items, 1):
        if plan.link != "none":
            place(plan, item, plan.folder / item.file)
        plan.exported(done)


def _save_array(plan: ExportPlan, name: str, values: Any) -> None:
    (plan.folder / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(plan.folder / name, values)
    os.utime(plan.folder / name, (MTIME, MTIME))


def _dump(plan: ExportPlan, name: str, value: Any) -> None:
    write_text(plan.folder / name, to_json(value, ensure_ascii=False, indent=1) + "\n")


def _codes(items: Sequence[Item]) -> dict[str, int]:
    return {name: code for code, name in enumerate(sorted({i.image.label for i in items if i.image.label is not None}))}


def _suffix(item: Item) -> str:
    return "." + item.file.rpartition(".")[2]


def write_table(plan: ExportPlan) -> None:
    """`images.csv`, the table that every form has and the Croissant description speaks of."""
    write_text(plan.folder / "images.csv", as_csv([i.row() for i in plan.items]))


def _within(split: str, label: str, name: str) -> str:
    """Within a shard a picture has its name alone."""
    return name


forms.register("imagefolder")(
    Form(
        _imagefolder,
        place=lambda split, label, name: f"{split}/{label}/{name}",
        data_files=lambda split: f"{split}/**",
        has_label_folders=True,
    )
)
forms.register("webdataset")(Form(_webdataset, place=_within, packed=True, has_shards=True))
forms.register("parquet")(
    Form(_parquet, place=_within, packed=True, has_shards=True, data_files=lambda split: f"{split}-*.parquet")
)
forms.register("coco")(Form(_coco, place=lambda split, label, name: f"images/{split}-{name}"))
forms.register("csv")(Form(_csv))
forms.register("jsonl")(Form(_jsonl))
forms.register("npy")(Form(_npy))
forms.register("clip-retrieval")(Form(_clip_retrieval))
