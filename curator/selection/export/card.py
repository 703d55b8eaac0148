"""The `README.md` of an export: what Hugging Face's `datasets` reads its splits and class names from."""

from __future__ import annotations

import re
from pathlib import Path

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
        lines += [f"  - split: {_name(split)}", f"    path: {to_json(pattern(split))}"]
    said = ["`datasets.load_dataset(FOLDER)` loads it with these splits; `images.csv` lists every image.", ""]
    if forms[form].has_label_folders and _are_labels(plan):
        # Where `datasets` sees a table it does not look at the folders: this names pictures alone.
        lines += ["- config_name: classes", "  drop_labels: false", "  data_files:"]
        for split in splits:
            suffixes = sorted({Path(item.file).suffix for item in plan.items if item.split == split})
            lines += [
                f"  - split: {_name(split)}",
                f"    path: {to_json([pattern(split) + '/*' + s for s in suffixes])}",
            ]
        said += ['`datasets.load_dataset(FOLDER, "classes")` loads pictures and their labels as a `ClassLabel`.', ""]
    lines += ["---", "", f"{len(plan.items)} images, exported by curator as {form}.", "", *said]
    write_text(plan.folder / "README.md", "\n".join(lines))


def _are_labels(plan: ExportPlan) -> bool:
    """Whether the folders that pictures lie in, which become classes, are their labels."""
    pairs = {(Path(item.file).parent.name, item.image.label) for item in plan.items}
    folders, labels = ({pair[n] for pair in pairs} for n in (0, 1))
    return None not in labels and len(pairs) == len(folders) == len(labels)


def _name(split: str) -> str:
    """As `datasets` allows it. JSON's strings are YAML's too, whatever stands in them."""
    return to_json(_UNSAFE.sub("_", split).strip("_") or "train")
