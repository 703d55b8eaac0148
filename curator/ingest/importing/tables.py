"""Labels and captions that a data set keeps in files of its own → one CSV that `curator index` joins by file."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curator.errors import UsageError
from curator.files import read_regular, whole
from curator.images.tables import MAX_BYTES
from curator.texts import valid_text


def read_coco(files: list[Path]) -> dict[str, dict[str, Any]]:
    """COCO files → file name → label (of the largest box), captions, and split (from the file's name)."""
    rows: dict[str, dict[str, Any]] = {}
    areas: dict[str, float] = {}
    for file in files:
        try:
            coco = json.loads(read_regular(file, MAX_BYTES).decode("utf-8-sig"))
            names = {i["id"]: str(i["file_name"]) for i in coco["images"]}
            categories = {c["id"]: str(c["name"]) for c in coco.get("categories") or ()}
            annotations = [a for a in coco.get("annotations") or () if isinstance(a, dict)]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"{file} is no COCO file: {error}") from error
        split = file.stem.partition("_")[2]
        for file_name in names.values():
            rows.setdefault(file_name, {"split": split} if split else {})
        for a in annotations:
            name = _looked_up(names, a.get("image_id"))
            category = _looked_up(categories, a.get("category_id"))
            if not name:
                continue
            area = a.get("area")
            area = float(area) if isinstance(area, int | float) else 0.0
            if isinstance(a.get("caption"), str):
                # Five captions of one image stand on a line each.
                said = rows[name].get("caption")
                rows[name]["caption"] = f"{said}\n{a['caption'].strip()}" if said else a["caption"].strip()
            elif category is not None and area > areas.get(name, -1):
                areas[name] = area
                rows[name]["label"] = category
    return rows


def _looked_up(names: Mapping[Any, str], key: object) -> str | None:
    return names.get(key) if isinstance(key, int | str) else None


def write_rows(rows: dict[str, dict[str, Any]], target: Path) -> None:
    """file → columns, as CSV."""
    columns = ["file", *sorted({c for row in rows.values() for c in row})]
    with whole(target) as beside, beside.open("w", newline="", encoding="utf-8") as out:
        lines = csv.DictWriter(out, columns)
        lines.writeheader()
        for file, row in sorted(rows.items()):
            lines.writerow({k: valid_text(str(v)) for k, v in ({"file": file} | row).items()})
