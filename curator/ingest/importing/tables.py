"""Labels and captions that a data set keeps in files of its own → one CSV that `curator index` joins by file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from curator.errors import UsageError
from curator.files import whole


def read_coco(annotations: list[Path]) -> dict[str, dict[str, Any]]:
    """COCO files → file name → label (of the largest box), caption (the first), and split (from the file's name)."""
    rows: dict[str, dict[str, Any]] = {}
    areas: dict[str, float] = {}
    for file in annotations:
        try:
            coco = json.loads(file.read_text(encoding="utf-8"))
            names = {i["id"]: str(i["file_name"]) for i in coco["images"]}
            categories = {c["id"]: str(c["name"]) for c in coco.get("categories", ())}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{file} is no COCO file: {error}") from error
        split = file.stem.partition("_")[2]
        for name in names.values():
            rows.setdefault(name, {"split": split} if split else {})
        for a in coco.get("annotations", ()):
            name = names.get(a.get("image_id"), "")
            if not name:
                continue
            if "caption" in a:
                rows[name].setdefault("caption", a["caption"])
            elif a.get("area", 0) > areas.get(name, -1) and a.get("category_id") in categories:
                areas[name] = a.get("area", 0)
                rows[name]["label"] = categories[a["category_id"]]
    return rows


def write_rows(rows: dict[str, dict[str, Any]], target: Path) -> None:
    """file → columns, as CSV."""
    columns = ["file", *sorted({c for row in rows.values() for c in row})]
    with whole(target) as beside, beside.open("w", newline="", encoding="utf-8") as out:
        lines = csv.DictWriter(out, columns)
        lines.writeheader()
        lines.writerows({"file": file} | row for file, row in sorted(rows.items()))
