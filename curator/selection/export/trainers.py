"""Forms that trainers elsewhere take as they are: kohya's scripts, diffusers' examples, StyleGAN's archives."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from curator.images import on_white, with_alpha
from curator.selection.export.items import (
    MTIME,
    ExportPlan,
    Form,
    Item,
    as_jsonl,
    captions_of,
    forms,
    place,
    refuse_none,
    selected_bytes,
    write_text,
)
from curator.texts import to_json

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest there is
_LARGEST = 1024  # pixels of a StyleGAN picture, unless --size says another


def _kohya(plan: ExportPlan) -> None:
    """`SPLIT/10_LABEL/picture`, where 10 are the repeats in an epoch, with a `.txt` of captions, a line each, beside.

    Without a caption the label is one. kohya's `sd-scripts` takes SPLIT as --train_data_dir, and reads the first line,
    or with `enable_wildcard` any. Formats that it does not read, as GIF and TIFF, are written as PNG,
    unless pictures are linked.
    """
    refuse_none(plan, "kohya")
    for done, item in enumerate(plan.items, 1):
        place(plan, item, plan.folder / item.file)
        said = item.image.caption or item.image.label
        if said:
            write_text((plan.folder / item.file).with_suffix(".txt"), said + "\n")
        plan.exported(done)
    _say_wordless(plan)


def _diffusers(plan: ExportPlan) -> None:
    """`SPLIT/picture` and `SPLIT/metadata.jsonl` with the column `text`, for diffusers' text-to-image examples.

    Of several captions the first is `text`, and all of them `captions`; without any the label is.
    """
    refuse_none(plan, "diffusers")
    for done, item in enumerate(plan.items, 1):
        place(plan, item, plan.folder / item.file)
        plan.exported(done)
    for split in sorted({i.split for i in plan.items}):
        lines = []
        for item in (i for i in plan.items if i.split == split):
            captions = captions_of(item) or [item.image.label or ""]
            rest = {k: "" if v is None else v for k, v in item.row().items() if k in ("label", "sha256")}
            name = item.file.removeprefix(f"{split}/")
            lines.append({"file_name": name, "text": captions[0], "captions": captions} | rest)
        write_text(plan.folder / split / "metadata.jsonl", as_jsonl(lines))
    _say_wordless(plan)


def _say_wordless(plan: ExportPlan) -> None:
    """How many pictures a text-to-image trainer is told nothing of."""
    count = sum(not (i.image.caption or i.image.label) for i in plan.items)
    if count:
        said = f"{count} of {len(plan.items)} pictures have neither caption nor label"
        plan.job.say(f"Note: {said}; `curator label` and tables give them some.")


def _stylegan(plan: ExportPlan) -> list[Item]:
    """`SPLIT.zip` of square RGB pictures whose side is a power of two, and `dataset.json` with labels.

    As the `dataset_tool.py` of StyleGAN2-ADA and StyleGAN3 writes them: cropped to the middle, on white where they were
    transparent. The side is that of --size, or the largest power of two that the smallest picture has.
    """
    refuse_none(plan, "stylegan")
    written: list[Item] = []
    side = plan.size or _side_of(plan.items)
    _say_side(plan, side)
    codes = {name: code for code, name in enumerate(sorted({i.image.label for i in plan.items if i.image.label}))}
    for split in sorted({i.split for i in plan.items}):
        items = [i for i in plan.items if i.split == split]
        labels: list[list[Any]] = []
        with zipfile.ZipFile(plan.folder / f"{split}.zip", "w", zipfile.ZIP_STORED) as archive:
            for number, item in enumerate(items):
                name = f"{number // 1000:05d}/img{number:08d}.png"
                out = io.BytesIO()
                _square(item, side).save(out, "PNG", compress_level=1)
                archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), out.getvalue())
                labels.append([name, codes.get(item.image.label or "", -1)])
                shown = replace(item.image, width=side, height=side)
                written.append(replace(item, image=shown, file=f"{split}.zip/{name}"))
                plan.exported(len(written))
            known = labels if all(code >= 0 for _, code in labels) else None
            if known is None and codes:
                plan.job.say(f"Note: not every image of {split} has a label, so {split}.zip has none.")
            archive.writestr(zipfile.ZipInfo("dataset.json", _ZIP_TIME), to_json({"labels": known}))
        os.utime(plan.folder / f"{split}.zip", (MTIME, MTIME))
    write_text(plan.folder / "labels.json", to_json(list(codes), ensure_ascii=False) + "\n")
    return sorted(written, key=lambda i: i.rank)


def _say_side(plan: ExportPlan, side: int) -> None:
    """How large pictures get, and what that costs."""
    short = [min(i.pixels) for i in plan.items]
    why = "" if plan.size else f", as the smallest has {min(short)}; --size takes another side"
    enlarged = sum(s < side for s in short)
    plan.job.say(f"Pictures of {side} px{why}." + (f" {enlarged} of {len(short)} are enlarged." if enlarged else ""))


def _side_of(items: Sequence[Item]) -> int:
    """The largest power of two that every picture has on its short side, up to 1024."""
    smallest = min(min(i.pixels) for i in items)
    return int(min(_LARGEST, 2 ** max(3, smallest.bit_length() - 1)))


def _square(item: Item, side: int) -> Pillow.Image:
    picture = with_alpha(selected_bytes(item))
    picture = on_white(picture if item.box is None else picture.crop(item.box))
    width, height = picture.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    box = (left, top, left + short, top + short)
    return picture.resize((side, side), Pillow.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def _is_power_of_two(size: int) -> bool:
    return size >= 8 and size & (size - 1) == 0


def _kohya_place(split: str, label: str, name: str) -> str:
    return f"{split}/{label}/{name}"


def _diffusers_place(split: str, label: str, name: str) -> str:
    return f"{split}/{name}"


def _in_archive(split: str, label: str, name: str) -> str:
    return f"{split}.zip/{Path(name).stem}.png"


# IMAGE_EXTENSIONS of sd-scripts' library/train_util.py, without those that need further packages.
_KOHYA_READS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})

forms.register("kohya")(Form(_kohya, place=_kohya_place, has_repeats=True, reads=_KOHYA_READS))
forms.register("diffusers")(Form(_diffusers, place=_diffusers_place, data_files=lambda split: f"{split}/**"))
forms.register("stylegan")(
    Form(_stylegan, place=_in_archive, packed=True, takes_size=_is_power_of_two, size_is="a power of two from 8 on")
)
