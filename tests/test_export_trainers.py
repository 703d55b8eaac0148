"""Exports for trainers elsewhere, further columns, kept folders, transparency, aspect buckets."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from conftest import draw
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from curator.encoders import PixelEncoder
from curator.errors import UsageError
from curator.images import MAX_BYTES
from curator.index import Index
from curator.ingest import ingest
from curator.ingest.importing import guess_form, import_set
from curator.job import Job
from curator.selection.buckets import bucket_report, shapes_for
from curator.selection.export import ExportOptions, export
from curator.selection.recipe import Recipe
from curator.selection.select import select
from curator.selection.sets import split

CAPTIONS = {0: "a first one\na second one", 1: "only one"}


@pytest.fixture
def chosen(index: Index, tmp_path: Path) -> Index:
    """Twelve drawings in two labelled folders, captions on two, further columns on all, one transparent."""
    for number in range(12):
        file = tmp_path / "pictures" / "ab"[number % 2] / f"n {number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = draw(number).resize((40, 24 + number))
        if number == 2:
            picture = picture.convert("RGBA")
            alpha = Image.new("L", picture.size, 0)
            alpha.paste(255, (10, 5, 30, 20))
            picture.putalpha(alpha)
        picture.save(file)
        notes = {"label": "ab"[number % 2], "price": number, "tint": "red" if number % 3 else 7}
        notes |= {"captions": CAPTIONS[number].split("\n")} if number in CAPTIONS else {}
        file.with_suffix(".json").write_text(json.dumps(notes | ({"rare": 0.5} if number == 3 else {})))
    ingest(index, [tmp_path / "pictures"], PixelEncoder())
    select(index, "all", Recipe())
    return index


def test_kohya_reads_folders_with_repeats_and_captions(chosen: Index, tmp_path: Path) -> None:
    export(chosen, ["all"], tmp_path / "out", ExportOptions("kohya", repeats=3))
    folders = sorted(p.name for p in (tmp_path / "out" / "train").iterdir())
    assert folders == ["3_a", "3_b"]
    pictures = sorted((tmp_path / "out").rglob("*.png"))
    said = sorted(p.with_suffix(".txt").read_text() for p in pictures)
    assert said == sorted(["a first one\na second one\n", "only one\n", *["a\n"] * 5, *["b\n"] * 5])
    with pytest.raises(UsageError, match="kohya"):
        ExportOptions("csv", repeats=3)


def test_kohya_is_given_formats_that_it_reads(index: Index, tmp_path: Path) -> None:
    for number, form in enumerate(("gif", "tiff", "ppm", "bmp", "webp", "jpg")):
        file = tmp_path / "pictures" / f"{number}.{form}"
        file.parent.mkdir(exist_ok=True)
        draw(number).save(file)
    draw(9).convert("CMYK").save(tmp_path / "pictures" / "cmyk.tiff")
    ingest(index, [tmp_path / "pictures"], PixelEncoder())
    select(index, "all", Recipe())
    export(index, ["all"], tmp_path / "out", ExportOptions("kohya"))
    written = sorted(p for p in (tmp_path / "out" / "train").rglob("*") if p.is_file())
    assert sorted(p.suffix for p in written) == [".bmp", ".jpg", ".png", ".png", ".png", ".png", ".webp"]
    kinds = {".bmp": "BMP", ".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
    for file in written:
        with Image.open(file) as picture:
            assert picture.format == kinds[file.suffix]
    export(index, ["all"], tmp_path / "linked", ExportOptions("kohya", link="symlink"))
    linked = {p.suffix for p in (tmp_path / "linked" / "train").rglob("*") if p.is_symlink()}
    assert ".gif" in linked, "a link is to the file as it is"


@pytest.mark.parametrize("form", ["kohya", "imagefolder"])
@pytest.mark.parametrize("alpha", ["keep", "white", "crop"])
@pytest.mark.parametrize("size", [None, 12])
def test_a_suffix_says_what_the_bytes_are(
    index: Index, tmp_path: Path, form: str, alpha: str, size: int | None
) -> None:
    """Also of pictures that could be transparent and are not."""
    (tmp_path / "pictures").mkdir()
    for number, suffix in enumerate(("gif", "tiff", "png", "webp", "jpg", "jp2", "avif", "bmp")):
        picture = draw(number)
        opaque = picture.convert("RGBA") if suffix in ("tiff", "png", "webp") else picture
        opaque.save(tmp_path / "pictures" / f"{number}.{suffix}")
    ingest(index, [tmp_path / "pictures"], PixelEncoder())
    select(index, "all", Recipe())
    export(index, ["all"], tmp_path / "out", ExportOptions(form, alpha=alpha, size=size))
    kinds = {".jpg": "JPEG", ".tiff": "TIFF", ".jp2": "JPEG2000"}
    written = [p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.suffix not in (".csv", ".json", ".txt")]
    pictures = [p for p in written if p.suffix not in (".jsonl", ".md")]
    assert len(pictures) == 8
    for file in pictures:
        with Image.open(file) as opened:
            assert opened.format == kinds.get(file.suffix, file.suffix[1:].upper()), file.name


def test_diffusers_reads_a_column_of_text(chosen: Index, tmp_path: Path) -> None:
    import datasets

    split(chosen, "all", {"train": 0.5, "test": 0.5})
    export(chosen, ["all-train", "all-test"], tmp_path / "out", ExportOptions("diffusers"))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    rows = [row for part in loaded.values() for row in part]
    assert sorted(loaded) == ["test", "train"]
    assert sorted(r["text"] for r in rows) == sorted(["a first one", "only one", *["a"] * 5, *["b"] * 5])
    assert ["a first one", "a second one"] in [r["captions"] for r in rows]
    assert all(r["image"].size[0] == 40 for r in rows)


def test_stylegan_reads_squares_and_classes_and_they_come_in_again(chosen: Index, tmp_path: Path) -> None:
    export(chosen, ["all"], tmp_path / "out", ExportOptions("stylegan"))
    with zipfile.ZipFile(tmp_path / "out" / "train.zip") as archive:
        labels = dict(json.loads(archive.read("dataset.json"))["labels"])
        pictures = {n: Image.open(io.BytesIO(archive.read(n))) for n in archive.namelist() if n.endswith(".png")}
        assert {p.size for p in pictures.values()} == {(16, 16)}, "the largest power of two that all have"
        assert {p.mode for p in pictures.values()} == {"RGB"}
        assert sorted(labels.values()) == [0] * 6 + [1] * 6
        assert labels.keys() == pictures.keys()
    with Index.create(tmp_path / "again") as again:
        done = import_set(again, tmp_path / "out", PixelEncoder())
        assert (done.form, len(again), done.report.skipped) == ("stylegan", 12, 0)
        assert sorted(i.label or "" for i in again.images(again.reader.ids_where("1"))) == ["a"] * 6 + ["b"] * 6
    with pytest.raises(UsageError, match="power of two"):
        ExportOptions("stylegan", size=100)


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_archive_is_refused(index: Index, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.zip").write_bytes(data)
    with pytest.raises(UsageError, match=r"cannot be unpacked|no picture"):
        import_set(index, tmp_path / "in", PixelEncoder())


@pytest.mark.parametrize("form", ["csv", "jsonl", "imagefolder", "webdataset", "parquet", "coco", "clip-retrieval"])
def test_further_columns_go_with_every_form_and_come_in_again(chosen: Index, tmp_path: Path, form: str) -> None:
    export(chosen, ["all"], tmp_path / form, ExportOptions(form))
    with (tmp_path / form / "images.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert sorted(int(r["price"]) for r in rows) == list(range(12))
    assert {r["tint"] for r in rows} == {"red", "7"}
    assert sorted(r["rare"] for r in rows)[-1] == "0.5"
    if form == "coco":
        return  # it comes in by its own annotations
    with Index.create(tmp_path / "again") as again:
        import_set(again, tmp_path / form, PixelEncoder())
        assert len(again.reader.ids_where("price >= 6 and label = 'b'")) == 3


def test_parquet_has_a_type_for_each_column(chosen: Index, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    export(chosen, ["all"], tmp_path / "out", ExportOptions("parquet"))
    schema = pq.read_table(tmp_path / "out" / "train-00000.parquet").schema
    assert [str(schema.field(n).type) for n in ("price", "tint", "rare")] == ["int64", "string", "double"]


@pytest.mark.parametrize("form", ["csv", "imagefolder", "coco", "diffusers"])
def test_folders_and_names_are_kept_where_asked(chosen: Index, tmp_path: Path, form: str) -> None:
    export(chosen, ["all"], tmp_path / "out", ExportOptions(form, keep_folders=True))
    ends = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png")}
    assert len(ends) == 12
    assert all(any(e.endswith(f"/{'ab'[n % 2]}/n_{n:02d}.png") for e in ends) for n in range(12))
    for options in ({"form": "parquet"}, {"form": "kohya"}, {"form": "csv", "link": "none"}):
        with pytest.raises(UsageError, match="keep-folders"):
            ExportOptions(keep_folders=True, **options)  # type: ignore[arg-type]


def test_a_column_called_as_a_forms_own_is_renamed(index: Index, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for number in range(3):
        draw(number).save(tmp_path / "p" / f"{number}.png")
        notes = {"label": "x", "file_name": "theirs.png", "image": "theirs", "image_path": "theirs"}
        (tmp_path / "p" / f"{number}.json").write_text(json.dumps(notes))
    ingest(index, [tmp_path / "p"], PixelEncoder())
    select(index, "all", Recipe())
    known = {name for i in index.images(index.reader.ids_where("1")) for name in i.extra}
    for form in ("imagefolder", "parquet", "clip-retrieval", "diffusers"):
        export(index, ["all"], tmp_path / form, ExportOptions(form))
    rows = [json.loads(line) for line in (tmp_path / "imagefolder/train/metadata.jsonl").read_text().splitlines()]
    assert all((tmp_path / "imagefolder/train" / r["file_name"]).is_file() for r in rows)
    assert not known or any(name.startswith("meta_") for name in rows[0])


def test_stylegan_is_cut_and_told_as_it_is(chosen: Index, tmp_path: Path) -> None:
    """The table names what is in the archive, at its size; a stray archive beside pictures is none of StyleGAN's."""
    export(chosen, ["all"], tmp_path / "out", ExportOptions("stylegan", alpha="crop", size=8))
    with (tmp_path / "out" / "images.csv").open() as table:
        rows = list(csv.DictReader(table))
    with zipfile.ZipFile(tmp_path / "out" / "train.zip") as archive:
        assert {r["file"].removeprefix("train.zip/") for r in rows} == set(archive.namelist()) - {"dataset.json"}
        cut = next(r for r in rows if r["price"] == "2")
        with Image.open(io.BytesIO(archive.read(cut["file"].removeprefix("train.zip/")))) as picture:
            assert picture.getpixel((0, 4)) != (255, 255, 255), "cut to what is seen"
    assert {(r["width"], r["height"]) for r in rows} == {("8", "8")}
    (tmp_path / "loose").mkdir()
    draw(3).save(tmp_path / "loose" / "a.png")
    (tmp_path / "loose" / "extra.zip").write_bytes((tmp_path / "out" / "train.zip").read_bytes())
    assert guess_form(tmp_path / "loose") == "imagefolder"


def test_an_archive_cannot_claim_to_be_small(index: Index, tmp_path: Path) -> None:
    """What it unpacks to counts; the other pictures come in."""
    (tmp_path / "in").mkdir()
    out = io.BytesIO()
    draw(1).save(out, "PNG")
    with zipfile.ZipFile(tmp_path / "in" / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("bomb.png", "w") as bomb:
            for _ in range(MAX_BYTES // 2**20 + 1):
                bomb.write(bytes(2**20))
        archive.writestr("good.png", out.getvalue())
    import_set(index, tmp_path / "in", PixelEncoder())
    assert len(index) == 1


def test_names_that_meet_stay_apart(index: Index, tmp_path: Path) -> None:
    """Of two roots, and those that are alike once they are made safe."""
    names = ["one/a b.png", "one/a_b.png", "two/a b.png", "two/A b.PNG", "two/a b.bmp"]
    for root, name in (name.split("/") for name in names):
        (tmp_path / root).mkdir(exist_ok=True)
        draw(names.index(f"{root}/{name}")).save(tmp_path / root / name)
    ingest(index, [tmp_path / "one", tmp_path / "two"], PixelEncoder())
    select(index, "all", Recipe(dedupe="none"))
    export(index, ["all"], tmp_path / "out", ExportOptions("csv", keep_folders=True))
    files = [p for p in (tmp_path / "out" / "images").rglob("*") if p.is_file()]
    assert len({str(f.with_suffix("")).lower() for f in files}) == 5, "also for side-cars"


@pytest.mark.parametrize(
    ("alpha", "size", "mode", "shape"),
    [("keep", None, "RGBA", (40, 26)), ("white", None, "RGB", (40, 26)), ("crop", None, "RGB", (20, 15)),
     ("keep", 20, "RGBA", (20, 13)), ("crop", 10, "RGB", (10, 8))],
)  # fmt: skip
def test_transparency_is_kept_laid_on_white_or_cut(
    chosen: Index, tmp_path: Path, alpha: str, size: int | None, mode: str, shape: tuple[int, int]
) -> None:
    export(chosen, ["all"], tmp_path / "out", ExportOptions("csv", alpha=alpha, size=size))
    with (tmp_path / "out" / "images.csv").open() as table:
        (row,) = (r for r in csv.DictReader(table) if r["price"] == "2")
    with Image.open(tmp_path / "out" / row["file"]) as picture:
        assert (picture.mode, picture.size, (int(row["width"]), int(row["height"]))) == (mode, shape, shape)
        if mode == "RGB" and alpha == "white":
            assert picture.getpixel((0, 0)) == (255, 255, 255)
    with (tmp_path / "out" / "images.csv").open() as table:
        others = [tmp_path / "out" / r["file"] for r in csv.DictReader(table) if r["price"] != "2"]
    if size is None:
        originals = {i.path.read_bytes() for i in chosen.images(chosen.reader.ids_where("1"))}
        assert all(o.read_bytes() in originals for o in others), "what is not transparent stays as it is"
    with pytest.raises(UsageError, match="--alpha writes new pictures"):
        ExportOptions("csv", alpha="white", link="symlink")


# Aspect buckets


@given(
    st.lists(st.tuples(st.integers(1, 9_000), st.integers(1, 9_000)), min_size=1, max_size=30), st.integers(64, 2_048)
)
def test_every_image_goes_into_the_bucket_nearest_in_shape(sizes: list[tuple[int, int]], resolution: int) -> None:
    report = bucket_report(sizes, resolution)
    assert sum(b.images for b in report.buckets) == report.images == len(sizes)
    assert sum(b.enlarged for b in report.buckets) == report.enlarged
    shapes = shapes_for(resolution)
    assert {(b.width, b.height) for b in report.buckets} <= set(shapes)
    assert all(w * h <= resolution * resolution and w % 64 == h % 64 == 0 for w, h in shapes)
    assert all(0 <= b.cut < 1 for b in report.buckets)
    for w, h in sizes:
        off = [abs(w / h - a / b) for a, b in shapes]
        (one,) = bucket_report([(w, h)], resolution).buckets
        assert abs(w / h - one.width / one.height) <= min(off) + 1e-9


def test_buckets_by_command(chosen: Index, curator: Callable[..., Result]) -> None:
    shown = curator("preview", "all", "--buckets", "64,128", "-i", chosen.folder)
    assert (shown.exit_code, "12 images, 12 enlarged" in shown.stdout) == (0, True)
    reports = json.loads(curator("preview", "--buckets", "64", "--json", "-i", chosen.folder).stdout)
    assert reports[""][0]["buckets"][0]["width"] == 64
    assert curator("preview", "all", "--buckets", "x", "-i", chosen.folder).exit_code == 2
    assert curator("preview", "all", "--buckets", "9", "-i", chosen.folder).exit_code == 2
    assert "--reference" in curator("preview", "all", "-i", chosen.folder).stderr


def lines_of(index: Index, folder: Path, options: ExportOptions) -> list[str]:
    lines: list[str] = []
    export(index, ["all"], folder, options, job=Job(say=lines.append))
    return lines


@pytest.mark.parametrize("form", ["imagefolder", "diffusers", "kohya", "stylegan", "webdataset", "coco", "csv"])
def test_captions_come_in_again_as_they_were(index: Index, tmp_path: Path, form: str) -> None:
    """One, several as one text or as a list, none: no line more and none less."""
    (tmp_path / "p").mkdir()
    for number, text in enumerate(("one line", "first\nsecond", "", "three")):
        draw(number, (16, 16)).save(tmp_path / "p" / f"{number}.png")
        (tmp_path / "p" / f"{number}.txt").write_text(text)
    draw(9, (16, 16)).save(tmp_path / "p" / "9.png")
    (tmp_path / "p" / "9.json").write_text(json.dumps({"captions": ["of a list", "another"]}))
    ingest(index, [tmp_path / "p"], PixelEncoder())
    select(index, "all", Recipe())
    before = sorted(str(i.caption) for i in index.images(index.reader.ids_where("1")))
    lines = lines_of(index, tmp_path / "out", ExportOptions(form))
    assert any("1 of 5 pictures have neither" in line for line in lines) == (form in ("kohya", "diffusers"))
    with Index.create(tmp_path / "again") as again:
        import_set(again, tmp_path / "out", PixelEncoder())
        assert sorted(str(i.caption) for i in again.images(again.reader.ids_where("1"))) == before


def test_coco_has_an_annotation_for_each_caption(chosen: Index, tmp_path: Path) -> None:
    export(chosen, ["all"], tmp_path / "out", ExportOptions("coco"))
    said = json.loads((tmp_path / "out/annotations/captions_train.json").read_text())["annotations"]
    assert sorted(a["caption"] for a in said) == ["a first one", "a second one", "only one"]
    assert len({a["id"] for a in said}) == 3
    assert len({a["image_id"] for a in said}) == 2


@pytest.mark.parametrize("options", [{"size": 16}, {"size": 16, "alpha": "crop"}, {"size": 64}])
def test_stylegan_says_how_many_are_enlarged(chosen: Index, tmp_path: Path, options: dict[str, object]) -> None:
    """By the pictures' own sides, which are 24 to 35; the transparent one is 15 once it is cut."""
    said = lines_of(chosen, tmp_path / "out", ExportOptions("stylegan", **options))[0]  # type: ignore[arg-type]
    enlarged = 12 if options["size"] == 64 else 1 if "alpha" in options else 0
    assert said == f"Pictures of {options['size']} px." + (f" {enlarged} of 12 are enlarged." if enlarged else "")


def test_an_opaque_channel_of_alpha_is_taken_away_where_white_is_asked_for(index: Index, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    draw(1).convert("RGBA").save(tmp_path / "p" / "opaque.png")
    ingest(index, [tmp_path / "p"], PixelEncoder())
    select(index, "all", Recipe())
    for alpha, mode in (("keep", "RGBA"), ("white", "RGB"), ("crop", "RGB")):
        export(index, ["all"], tmp_path / alpha, ExportOptions("csv", alpha=alpha))
        (file,) = (tmp_path / alpha).rglob("*.png")
        with Image.open(file) as picture:
            assert picture.mode == mode


def test_folders_that_are_alike_once_safe_stay_apart(index: Index, tmp_path: Path) -> None:
    """And what is not a label is not promised as one."""
    for number, name in enumerate(("a b", "a_b", "a,b", "plain")):
        (tmp_path / "p" / name).mkdir(parents=True)
        draw(number).save(tmp_path / "p" / name / "x.png")
        (tmp_path / "p" / name / "x.json").write_text(json.dumps({"label": "even" if number % 2 else "odd"}))
    ingest(index, [tmp_path / "p"], PixelEncoder())
    select(index, "all", Recipe())
    said = lines_of(index, tmp_path / "out", ExportOptions("imagefolder", keep_folders=True))
    folders = {p.name for p in (tmp_path / "out" / "train").iterdir() if p.is_dir()}
    assert len(folders) == 4
    assert {"a_b", "plain"} < folders, "safe names stay as they are"
    assert any(line.startswith("Note: 2 names could not be kept") for line in said)
    assert "classes" not in (tmp_path / "out" / "README.md").read_text()
    for number, name in enumerate(("one/Raw", "two/raw", "Raw/raw")):
        (tmp_path / "q" / name).mkdir(parents=True)
        draw(10 + number).save(tmp_path / "q" / name / "y.png")
    ingest(index, [tmp_path / "q"], PixelEncoder())
    select(index, "other", Recipe(where="label IS NULL"))
    export(index, ["other"], tmp_path / "kept", ExportOptions("imagefolder", keep_folders=True))
    kept = {p.relative_to(tmp_path / "kept/train").as_posix() for p in (tmp_path / "kept").rglob("*.png")}
    assert kept == {"one/Raw/y.png", "two/raw/y.png", "Raw/raw/y.png"}, "only those beside each other can meet"
    export(index, ["all"], tmp_path / "labelled", ExportOptions("imagefolder"))
    assert "config_name: classes" in (tmp_path / "labelled" / "README.md").read_text()


def test_shards_are_of_forms_that_have_some() -> None:
    ExportOptions("webdataset", shard=5)
    for form in ("csv", "kohya", "stylegan"):
        with pytest.raises(UsageError, match="--shard goes with forms of several files"):
            ExportOptions(form, shard=5)
