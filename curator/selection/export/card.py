"""The `README.md` of an export: what Hugging Face's `datasets` reads its splits and class names from."""

from __future__ import annotations

import re

from curator.selection.export.items import ExportPlan, forms, write_text
from curator.texts import to_json

_UNSAFE = re.compile(r"\W+", re.ASCII)  # in the name of a split


def write_card(plan: ExportPlan, form: str) -> None:
    """Write it for a form that `datasets` reads; others have none.

    Without it the folders' names are guessed from, and a split that is not called train, test or validation is lost.
    """
    pattern = forms[form].data_files
    if pattern is None:
        return
    splits = sorted({item.split for item in plan.items})
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in splits:
        # JSON's strings are YAML's too, whatever stands in them.
        name, path = to_json(_UNSAFE.sub("_", split).strip("_") or "train"), to_json(pattern(split))
        lines += [f"  - split: {name}", f"    path: {path}"]
    lines += ["---", "", f"{len(plan.items)} images, exported by curator as {form}.", ""]
    lines += ["`datasets.load_dataset(FOLDER)` loads it with these splits; `images.csv` lists every image.", ""]
    write_text(plan.folder / "README.md", "\n".join(lines))
