"""Text, tables and file kinds as people have them: what comes in is read as meant, made storable, or said."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from conftest import draw
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from curator.errors import IndexDamaged, PictureError, UsageError
from curator.images import NoteSources, NotesRead, decode, read_bytes, read_notes, walk
from curator.images.decode import _Room
from curator.index import Index
from curator.records import IngestReport, Notes
from curator.selection.export.items import as_csv
from curator.texts import as_number, column_name, defused, escaped, finite_json, undefused, valid_text

Fill = Callable[..., IngestReport]


def read(root: Path, **sources: object) -> NotesRead:
    walked = walk(root)
    return read_notes(root, walked.images, walked.sidecars, NoteSources(**sources))  # type: ignore[arg-type]


def remark(got: NotesRead, word: str) -> str:
    (line,) = [line for line in got.remarks if word in line]
    return line


# 1.1 Not a number


@pytest.mark.parametrize("cell", ["-inf", "nan", "NaN", "Infinity", "1e999", "9" * 5000])
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_what_is_not_a_number_has_no_value_and_is_counted(
    folder: Path, index: Index, fill: Fill, cell: str, kind: str
) -> None:
    if kind == "csv":
        (folder / "metadata.csv").write_text(f"file_name,odd,price\ncats/0.png,{cell},3\ncats/1.png,1,4\n")
    else:
        number = {"-inf": "-Infinity", "nan": "NaN"}.get(cell, cell)
        (folder / "cats/0.json").write_text(f'{{"odd": {number}, "price": 3}}')
        (folder / "cats/1.json").write_text('{"odd": 1, "price": 4}')
    report = fill()
    assert any("no number" in r and r.endswith(": 1, such as in column odd") for r in report.remarks)
    assert index.reader.ids_where("price > 3").tolist() == [2]
    assert index.reader.ids_where("odd IS NULL AND price = 3").tolist() == [1]


@given(
    st.recursive(
        st.floats() | st.integers() | st.text() | st.none(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_json_that_is_printed_is_json(value: object) -> None:
    json.dumps(finite_json(value), allow_nan=False)


def test_numbers_are_read_as_written() -> None:
    assert [as_number(t) for t in ("3", "-2", "+4", "1.5", ".5", "1e3", "-0")] == [3, -2, 4, 1.5, 0.5, 1000.0, 0]
    for text in ("2024_01", "007", "1,5", "0x10", "٣", "1e", "--1", "", "12 kg"):
        assert as_number(text) == text


# 1.2 Text that SQLite cannot carry


@given(st.text())
def test_any_text_and_any_name_can_be_stored(text: str) -> None:
    valid_text(text).encode()
    assert "\0" not in valid_text(text)
    name = column_name(text)
    assert not set(name) & set('"\\\0\n')
    assert column_name(name) == name
    assert "\n" not in escaped(text)
    assert "\x1b" not in escaped(text)


def test_half_characters_and_odd_names_come_in_and_can_be_asked_for(folder: Path, index: Index, fill: Fill) -> None:
    (folder / "cats/0.json").write_text('{"caption": "nice \\ud83d", "a\\u0000b": 1, "\\ud83d": 2}')
    (folder / "cats/1.json").write_text(json.dumps({'say "hi"': 5, "back\\slash": 6, "true": 7, "line\nend": 8}))
    fill()
    assert index.images([1])[0].caption == "nice �"
    assert index.reader.ids_where('"a_b" = 1').tolist() == [1]
    assert index.reader.ids_where(
        '"say _hi_" = 5 AND "back_slash" = 6 AND meta_true = 7 AND line_end = 8'
    ).tolist() == [2]


def test_a_folder_and_a_query_in_latin_1(folder: Path, index: Index, fill: Fill) -> None:
    latin = folder / os.fsdecode(b"caf\xe9")
    latin.mkdir()
    draw(90).save(latin / "1.png")
    assert fill(label_from="folder").new == 11
    assert index.reader.breakdown("label")[-1] == ("caf�", 1)


def test_thousands_of_columns_can_be_asked_for_and_unused_ones_go(folder: Path, index: Index, fill: Fill) -> None:
    (folder / "cats/0.json").write_text(json.dumps({f"column{i}": i for i in range(2500)}))
    fill()
    assert index.reader.ids_where("column2499 = 2499 AND column7 = 7").tolist() == [1]
    assert index.reader.values_of("column3")[1] == 3
    (folder / "cats/0.json").write_text('{"only": 1}')
    fill()
    assert index.reader.extra_columns() == ["only"]


# 1.3 Encodings


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_how_a_text_is_read(folder: Path, encoding: str) -> None:
    (folder / "cats/0.txt").write_bytes("größer 猫".encode(encoding))
    (folder / "dogs/metadata.csv").write_bytes("file_name,text\n5.png,Hündin\n".encode(encoding))
    got = read(folder)
    assert (got.notes["cats/0.png"].caption, got.notes["dogs/5.png"].caption) == ("größer 猫", "Hündin")
    assert not any("UTF-8" in line for line in got.remarks)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("cp1252", "größer"), ("gbk", "这是一只可爱的猫咪"), ("shift_jis", "ネコ"), ("utf-16-le", "a cat")],
)
def test_other_encodings_are_named_or_said(folder: Path, encoding: str, text: str) -> None:
    (folder / "cats/0.txt").write_bytes(text.encode(encoding))
    got = read(folder)
    assert "cats/0.png" not in got.notes or got.notes["cats/0.png"].caption is None
    assert "0.txt; --encoding" in remark(got, "not UTF-8")
    if encoding != "utf-16-le":
        assert read(folder, encoding=encoding).notes["cats/0.png"].caption == text


def test_an_encoding_there_is_none_of_is_refused(fill: Fill) -> None:
    with pytest.raises(UsageError, match="no encoding 'klingon'"):
        fill(encoding="klingon")


# 1.4 Tables as they are meant


def test_labels_and_captions_stay_text(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file,label,caption\ncats/0.png,3.10,1e3\ncats/1.png,2024_01,-0\ncats/2.png,007,3.1\n")
    got = read(folder, table=table).notes
    assert [(got[f"cats/{i}.png"].label, got[f"cats/{i}.png"].caption) for i in range(3)] == [
        ("3.10", "1e3"), ("2024_01", "-0"), ("007", "3.1")
    ]  # fmt: skip
    assert read(folder, table=table, label_from="caption").notes["cats/0.png"].label == "1e3"


def test_a_table_that_nobody_named_is_spoken_of(folder: Path, fill: Fill) -> None:
    (folder / "prices.csv").write_text("file,price\ncats/0.png,3\n")
    (line,) = [line for line in fill().remarks if "table" in line]
    assert line.endswith(f"--csv names none: {folder / 'prices.csv'}")
    assert not any("not read" in line for line in fill(table=str(folder / "prices.csv")).remarks)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", ", "])
@pytest.mark.parametrize("header", ["File_Name", "filepath", "image_id", "Path", " file "])
def test_separators_and_header_names(folder: Path, tmp_path: Path, separator: str, header: str) -> None:
    table = tmp_path / "t.csv"
    rows = [[header, "Label", "price"], ["cats/0.png", "tom", "3"], ["dogs/5.png", "rex", "4"]]
    table.write_text("".join(separator.join(row) + "\n" for row in rows))
    got = read(folder, table=table)
    assert got.notes["cats/0.png"] == Notes("tom", None, {"price": 3})
    assert got.notes["dogs/5.png"] == Notes("rex", None, {"price": 4})
    assert "pictures without a row in the table: 8, such as cats/1.png" in got.remarks


def names_for(folder: Path) -> dict[str, str]:
    return {
        "as it is": "cats/0.png", "no extension": "cats/0", "other case": "CATS/0.PNG", "./": "./cats/0.png",
        "with the root": f"{folder.name}/cats/0.png", "absolute": str(folder / "cats/0.png"),
        "Windows": "D:\\data\\cats\\0.png", "URI": (folder / "cats/0.png").as_uri(), "elsewhere": "/mnt/x/cats/0.png",
        "backslashes": "cats\\0.png", "base name": "0.png",
    }  # fmt: skip


@pytest.mark.parametrize("way", list(names_for(Path("/x"))))
def test_pictures_are_found_as_other_machines_name_them(folder: Path, tmp_path: Path, way: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f'file,label\n"{names_for(folder)[way]}",tom\n')
    got = read(folder, table=table)
    assert {path: n.label for path, n in got.notes.items()} == {"cats/0.png": "tom"}


def test_accents_join_however_they_are_composed(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    draw(1).save(root / "cafe\u0301.png")
    (tmp_path / "t.csv").write_text("file,label\ncaf\u00e9.png,bar\n")
    assert [n.label for n in read(root, table=tmp_path / "t.csv").notes.values()] == ["bar"]


def test_a_key_column_can_be_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,Photo No,label\nnowhere,0.png,tom\n")
    with pytest.raises(UsageError, match="--key COLUMN"):
        read(folder, table=tmp_path / "t.csv")
    assert read(folder, table=tmp_path / "t.csv", key="photo no").notes["cats/0.png"].label == "tom"


def test_rows_and_pictures_that_do_not_meet_are_counted(folder: Path, tmp_path: Path) -> None:
    draw(50).save(folder / "dogs/0.png")
    (tmp_path / "t.csv").write_text("file,label\ncats/1.png,tom\nelsewhere.png,x\n0.png,both\n")
    got = read(folder, table=tmp_path / "t.csv")
    assert remark(got, "that name no picture").endswith("such as elsewhere.png")
    assert "0.png; write their folders" in remark(got, "several pictures")
    assert ": 10, such as" in remark(got, "without a row")


def test_tables_of_other_programs(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"file_name": ["0.png"], "text": ["from parquet"]}), folder / "cats/metadata.parquet")
    (folder / "dogs/dataset.json").write_text(json.dumps({"labels": [["5.png", 3], ["6.png", None]]}))
    (folder / "metadata.jsonl").write_text(
        json.dumps({"left_file_name": "cats/1.png", "right_file_name": "dogs/7.png", "scene": 9})
    )
    got = read(folder).notes
    assert got["cats/0.png"].caption == "from parquet"
    assert got["dogs/5.png"].label == "3"
    assert got["cats/1.png"].extra["scene"] == got["dogs/7.png"].extra["scene"] == 9


def test_side_cars_of_other_programs(folder: Path) -> None:
    (folder / "cats/0.caption").write_text("by .caption")
    (folder / "cats/1.png.txt").write_text("by .png.txt")
    (folder / "cats/2.png.json").write_text('{"caption": "by .png.json"}')
    (folder / "cats/3.xmp").write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
        '<rdf:Description xmp:Rating="4"><dc:description><rdf:Alt><rdf:li>by xmp</rdf:li></rdf:Alt></dc:description>'
        "<dc:subject><rdf:Bag><rdf:li>a</rdf:li><rdf:li>b</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    (folder / "cats/4.xmp").write_text('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')
    got = read(folder)
    assert [got.notes[f"cats/{i}.png"].caption for i in range(4)] == [
        "by .caption",
        "by .png.txt",
        "by .png.json",
        "by xmp",
    ]
    assert (
        got.notes["cats/3.png"].extra == {"subject": "a, b", "rating": 4}
        or got.notes["cats/3.png"].extra["rating"] == "4"
    )
    assert "4.xmp" in remark(got, "what they are called")


# 1.5 A row for another picture


def test_a_row_of_a_picture_that_is_not_here_says_nothing_of_one_that_is(tmp_path: Path) -> None:
    root = tmp_path / "train"
    (root / "dog").mkdir(parents=True)
    draw(1).save(root / "dog/2.png")
    rows = ["train/dog/2.png,dog", "val/cat/2.png,cat"]
    for order in (rows, rows[::-1]):
        (tmp_path / "all.csv").write_text("file,label\n" + "\n".join(order) + "\n")
        got = read(root, table=tmp_path / "all.csv")
        assert got.notes["dog/2.png"].label == "dog"
        assert remark(got, "that name no picture").endswith("val/cat/2.png")


def test_two_foreign_rows_for_one_picture_say_nothing(tmp_path: Path) -> None:
    root = tmp_path / "flat"
    root.mkdir()
    for number in (1, 2):
        draw(number).save(root / f"{number}.png")
    (tmp_path / "t.csv").write_text("file,label\nx/1.png,one\na/2.png,cat\nb/2.png,dog\n")
    got = read(root, table=tmp_path / "t.csv")
    assert {path: n.label for path, n in got.notes.items()} == {"1.png": "one"}
    assert remark(got, "that name no picture") == "rows that name no picture here: 2, such as a/2.png"


def test_one_side_car_speaks_of_every_picture_of_its_name(folder: Path) -> None:
    draw(60).save(folder / "cats/0.jpg")
    (folder / "cats/0.txt").write_text("the same")
    got = read(folder).notes
    assert got["cats/0.png"].caption == got["cats/0.jpg"].caption == "the same"


def test_a_dot_in_a_name_is_no_extension(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    for number, name in enumerate(("dr.smith.jpg", "dr.jones.jpg", "dr.jpg", "100.png", "v1.0.png", "v1.5.png")):
        draw(number).save(root / name)
    rows = {"dr.smith": "Smith", "dr.jones": "Jones", "100.0": "x", "v1.0": "A", "v1.5": "B"}
    (tmp_path / "t.csv").write_text("image_id,label\n" + "".join(f"{k},{v}\n" for k, v in rows.items()))
    got = read(root, table=tmp_path / "t.csv")
    labels = {path: n.label for path, n in got.notes.items()}
    assert labels == {"dr.smith.jpg": "Smith", "dr.jones.jpg": "Jones", "v1.0.png": "A", "v1.5.png": "B"}
    assert remark(got, "that name no picture").endswith("100.0")


def test_the_row_that_names_a_picture_best_counts(folder: Path, tmp_path: Path) -> None:
    rows = ["cats/0.png,exact", "CATS/0.PNG,case", "cats/0,short", "http://x.org/cats/0.png?v=2,address"]
    for order in (rows, rows[::-1]):
        (tmp_path / "t.csv").write_text("file,label\n" + "\n".join(order) + "\n")
        got = read(folder, table=tmp_path / "t.csv")
        assert got.notes["cats/0.png"].label == "exact"
        assert ": 3, such as" in remark(got, "that name no picture")
    (tmp_path / "t.csv").write_text("file,label\n" + rows[3] + "\n")
    assert read(folder, table=tmp_path / "t.csv").notes["cats/0.png"].label == "address"


def test_rows_and_columns_that_contradict_each_other_are_said(folder: Path) -> None:
    (folder / "cats/metadata.csv").write_text(
        "file_name,label,label,n\n0.png,x,y,1\n1.png,,q,1\n2.png,r,,1\n0.png,x,,2\n"
    )
    got = read(folder)
    assert [got.notes[f"cats/{i}.png"].label for i in range(3)] == ["x", "q", "r"]
    assert "names 'label' twice" in remark(got, "what they are called")
    assert (
        remark(got, "contradict one before") == "rows that contradict one before: 1, such as 0.png; the last one counts"
    )
    assert "pictures without a row in the table: 2" in remark(got, "without a row")


def test_a_quotation_mark_that_is_not_closed_is_said(folder: Path) -> None:
    (folder / "cats/metadata.csv").write_text('file_name,caption\n0.png,"unclosed\n1.png,ok\n2.png,fine\n')
    assert "quotation mark is not closed" in remark(read(folder), "what they are called")


@pytest.mark.parametrize("encoding", ["rot13", "hex", "undefined", "klingon"])
def test_only_encodings_of_text_are_taken(fill: Fill, encoding: str) -> None:
    with pytest.raises(UsageError, match=f"no encoding '{encoding}'"):
        fill(encoding=encoding)


def test_lists_and_truth_values_stay_json(folder: Path) -> None:
    (folder / "cats/metadata.jsonl").write_text(
        json.dumps(
            [
                {"file_name": "0.png", "label": ["cat", "dog"], "caption": {"en": "x"}},
                {"file_name": "1.png", "label": True},
            ]
        )
    )
    got = read(folder).notes
    assert (got["cats/0.png"].label, got["cats/0.png"].caption) == ('["cat", "dog"]', '{"en": "x"}')
    assert got["cats/1.png"].label == "true"


def test_what_holds_nothing_of_use_is_said(folder: Path) -> None:
    (folder / "cats/0.json").write_text("[1, 2]")
    os.mkfifo(folder / "cats/metadata.csv")
    assert ": 2, such as" in remark(read(folder), "what they are called")


def test_a_nul_in_one_cell_spoils_no_other(folder: Path) -> None:
    (folder / "cats/metadata.csv").write_text("file_name,caption\n0.png,x\0y\n1.png,ok\n")
    got = read(folder).notes
    assert (got["cats/0.png"].caption, got["cats/1.png"].caption) == ("x�y", "ok")


def test_a_table_in_another_encoding_is_refused_by_its_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("file,label\ncats/0.png,größer\n".encode("cp1252"))
    with pytest.raises(UsageError, match=r"t.csv is not UTF-8; --encoding"):
        read(folder, table=tmp_path / "t.csv")
    with pytest.raises(UsageError, match="is no file"):
        read(folder, table=tmp_path)
    assert read(folder, table=tmp_path / "t.csv", encoding="cp1252").notes["cats/0.png"].label == "größer"


def test_an_emptied_database_is_not_begun_anew_without_a_word(index: Index, fill: Fill, folder: Path) -> None:
    fill()
    place = index.folder
    index.close()
    (place / "index.db").write_bytes(b"")
    with pytest.raises(IndexDamaged, match="put a backup in its place"), Index.create(place):
        pass
    assert (place / "vectors").is_dir()


def test_an_empty_text_is_refused(index: Index, fill: Fill) -> None:
    fill()
    with pytest.raises(UsageError, match="an empty text"):
        index.search(text=" ")


# 1.6 Several captions


def test_several_captions_are_all_kept_in_order(folder: Path, index: Index, fill: Fill) -> None:
    (folder / "metadata.csv").write_text(
        "file_name,caption\ncats/0.png,a cat\ncats/0.png,it sleeps\ncats/0.png,a cat\n"
    )
    (folder / "cats/1.json").write_text(json.dumps({"captions": ["first", " second ", ""]}))
    fill()
    one, two = index.images([1, 2])
    assert (one.caption, two.caption) == ("a cat\nit sleeps", "first\nsecond")
    assert index.reader.ids_where("caption LIKE '%sleeps%'").tolist() == [1]


# 1.7 Dates


@pytest.mark.parametrize(
    ("tags", "taken"),
    [
        ({0x9003: "2024:05:01 12:30:00"}, "2024-05-01 12:30:00"),
        ({0x9003: "0000:00:00 00:00:00"}, None),
        ({0x9003: "2024:13:45 99:99:99"}, None),
        ({0x9003: "01-05-2024 12:00"}, None),
        ({0x9003: "1714558272"}, None),
        ({0x0132: "2023:01:02 03:04:05"}, "2023-01-02 03:04:05"),
        ({0x9003: "2024:05:01 12:30:00", 0x9011: "+02:00"}, "2024-05-01 12:30:00+02:00"),
        ({0x9003: "2024:05:01 12:30:00", 0x9011: "east"}, "2024-05-01 12:30:00"),
    ],
)
def test_a_date_is_iso_or_none(tags: dict[int, str], taken: str | None) -> None:
    picture = draw(1)
    exif = picture.getexif()
    for tag, value in tags.items():
        if tag == 0x0132:
            exif[tag] = value
        else:
            exif.get_ifd(0x8769)[tag] = value
    data = io.BytesIO()
    picture.save(data, "JPEG", exif=exif)
    assert decode(data.getvalue()).content.taken_at == taken


# 1.8, 1.9 What is passed over is said


def test_what_is_passed_over_is_counted_by_kind(folder: Path, fill: Fill) -> None:
    for name in ("a.mp4", "b.mp4", "c.svg", "README"):
        (folder / name).write_bytes(b"no picture")
    assert "not read as pictures: 4 (2 .mp4" in fill().remarks[0]


def test_pictures_are_found_by_content_where_the_name_says_nothing(folder: Path, fill: Fill) -> None:
    for number, name in enumerate(("bare", "photo.jpg?w=300", "tweet.jpg_large", "saved.png:orig", "x.bin")):
        data = io.BytesIO()
        draw(70 + number).save(data, "JPEG")
        (folder / name).write_bytes(data.getvalue())
    assert fill().new == 15


@pytest.mark.parametrize("kind", ["JPEG2000", "TGA", "ICO", "MPO"])
def test_further_formats_are_read(folder: Path, fill: Fill, kind: str) -> None:
    suffix = {"JPEG2000": "jp2"}.get(kind, kind.lower())
    draw(80, (32, 32)).save(folder / f"new.{suffix}", kind)
    report = fill()
    assert (report.new, report.skipped) == (11, 0)


def test_noise_is_no_targa() -> None:
    for seed in range(50):
        with pytest.raises(PictureError):
            decode(np.random.default_rng(seed).integers(32, 127, 400, np.uint8).tobytes())


def test_labels_from_a_name(folder: Path, index: Index, fill: Fill) -> None:
    draw(85).save(folder / "boat_01.png")
    fill(label_from_name=r"^([a-z]+)_\d+")
    assert index.reader.breakdown("label") == [("boat", 1)]
    for bad in ("[", "no group"):
        with pytest.raises(UsageError, match="--label-from-name"):
            fill(label_from_name=bad)
    with pytest.raises(UsageError, match="both say where labels come from"):
        fill(label_from_name=r"^([a-z]+)_", label_from="folder")
    assert fill(label_from="folder").noted
    assert not index.reader.ids_where("label = 'boat'").size
    fill(label_from_name=r"^([a-z]+)_\d+")
    assert len(index.reader.ids_where("label = 'boat'")) == 1, "the new choice takes the place of the stored one"
    for nothing in ("(zzz)", "(zzz)?"):
        with pytest.raises(UsageError, match="finds a label in none of"):
            fill(label_from_name=nothing)
    assert len(index.reader.ids_where("label = 'boat'")) == 1
    (folder / "boat_01.png").rename(folder / "1.png")
    assert any("finds a label in none" in line for line in fill().remarks), "a stored one stops no other folder"
    draw(86).save(folder / f"{'a' * 60}!.png")
    with pytest.raises(UsageError, match="repetition inside a repetition"):
        fill(label_from_name=r"^(a|aa)+$")


def test_new_labels_of_unchanged_pictures_are_counted(folder: Path, fill: Fill) -> None:
    fill()
    report = fill(label_from="folder")
    assert (report.unchanged, report.noted, report.new) == (10, 10, 0)
    assert fill().noted == 0


# 2.1 A TIFF is turned once


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "TIFF-lzw"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_format_is_turned_once(kind: str, mode: str, orientation: int) -> None:
    """Against transposing by hand, as EXIF defines the eight orientations."""
    ramp = np.add.outer(np.arange(48) * 3, np.arange(32) * 2).astype(np.uint8)
    upright = Image.fromarray(ramp).convert(mode)
    turns = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180], 4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }  # fmt: skip
    stored = upright
    for turn in turns.get(orientation, []):
        stored = stored.transpose(turn)
    exif = stored.getexif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    form, _, compression = kind.partition("-")
    further = {"compression": "tiff_lzw"} if compression else {"quality": 95} if form in ("JPEG", "WEBP") else {}
    stored.save(data, form, exif=exif, **further)
    decoded = decode(data.getvalue())
    assert decoded.picture.size == upright.size == (decoded.content.width, decoded.content.height)
    apart = np.abs(np.asarray(decoded.picture.convert("L"), float) - np.asarray(upright.convert("L"), float))
    assert apart.mean() < 3


# 2.2 Only regular files are read


def test_pipes_and_devices_are_passed_over_and_nothing_waits(folder: Path, fill: Fill) -> None:
    os.mkfifo(folder / "cats/pipe.png")
    os.mkfifo(folder / "cats/0.txt")
    os.mkfifo(folder / "metadata.csv")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "dogs/5.json").symlink_to("/dev/zero")
    done = threading.Event()
    reports: list[IngestReport] = []

    def run() -> None:
        reports.append(fill())
        done.set()

    fill(folder / "dogs" / "6.png")  # the space exists, and with it a thread of its own may write
    threading.Thread(target=run, daemon=True).start()
    assert done.wait(30), "it waits for a pipe"
    assert reports[0].skipped == 2


def test_a_pipe_named_as_a_picture_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(PictureError, match="no regular file"):
        read_bytes(tmp_path / "x.png")


# 2.3 Memory


def test_deep_grey_is_read_in_bands_as_whole() -> None:
    """Turned, the same values are fewer rows than a band has."""
    values = np.random.default_rng(0).integers(0, 65536, (700, 40)).astype(np.uint16)

    def decoded(grey: np.ndarray) -> np.ndarray:
        data = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(grey)).save(data, "PNG")
        return np.asarray(decode(data.getvalue()).picture)

    banded = decoded(values)
    assert (banded == decoded(values.T).transpose(1, 0, 2)).all()
    assert np.abs(banded[..., 0].astype(float) - values / 257).max() <= 0.5


def test_threads_share_the_room_for_pictures() -> None:
    room, most, now = _Room(100), [0], [0]

    def use(size: int) -> None:
        with room.of(size):
            now[0] += size
            most[0] = max(most[0], now[0])
            time.sleep(0.002)
            now[0] -= size

    threads = [threading.Thread(target=use, args=(size,)) for size in [40, 60, 30, 250, 10, 90] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 250, "one that is too large waits until it is alone"
    assert room.used == 0


# 2.4 Names that move the cursor, break a line or begin a formula


@given(st.text(alphabet=st.sampled_from("'=+-@\t\r\n12ab ,")))
def test_a_cell_is_no_formula_and_comes_back(text: str) -> None:
    cell = defused(text)
    assert isinstance(cell, str)
    assert undefused(cell) == text or cell == text
    assert not cell or (cell[0] not in "=@\t\r" and (cell[0] not in "+-" or float(cell) == float(cell)))
    (row,) = list(csv.DictReader(io.StringIO(as_csv([{"a": text, "b": 1}]), newline="")))
    assert undefused(row["a"]) == text or row["a"] == text


def test_hostile_names_and_labels_are_shown_escaped(
    folder: Path, index: Index, fill: Fill, curator: Callable[..., Result], tmp_path: Path
) -> None:
    evil = "a\x1b[2J\u202eb\x07"
    (folder / evil).mkdir()
    for number in (91, 92):
        draw(number, (64, 64)).save(folder / evil / f"{number}.png")
        draw(number, (64, 64)).save(folder / evil / f"copy {number}.png")
    (folder / evil / "91.json").write_text(json.dumps({"label": "two\nlines\r"}))
    fill(label_from=None)
    where = ("-i", str(index.folder))
    for command in (
        ["search", *where, f"id:{11}", "-n", "12"], ["show", *where, "11"], ["status", *where],
        ["dedupe", *where, "--sheet", str(tmp_path / "sheet.png")], ["roots", *where],
    ):  # fmt: skip
        result = curator(*command)
        assert not set(result.output) & set("\x1b\x07\u202e\r"), command
        assert result.exit_code in (0, 1), result.output
    assert (tmp_path / "sheet.png").is_file()
