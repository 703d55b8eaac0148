"""Walking, decoding and side-cars, on real files."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import draw
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from curator.errors import PictureError, RootMissing, UsageError
from curator.files import as_path, as_stored
from curator.images import ImageFiles, NoteSources, decode, read_bytes, read_notes, walk
from curator.records import ImageFile


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def paths(root: Path, **options: object) -> list[str]:
    return [f.path for f in walk(root, **options).images]  # type: ignore[arg-type]


def test_a_walk_is_sorted_recursive_and_passes_over_what_is_hidden_or_not_a_picture(folder: Path) -> None:
    for name in (".hidden/a.png", "@eaDir/b.jpg", "__MACOSX/c.png", "notes.pdf", "cats/.d.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        draw(0).save(folder / name, "png")
    assert paths(folder) == [*(f"cats/{i}.png" for i in range(5)), *(f"dogs/{i}.png" for i in range(5, 10))]


@pytest.mark.parametrize(
    ("glob", "left"), [("cats", 5), ("cats/*", 5), ("*.png", 0), ("7.png", 9), ("dogs/", 5), ("nothing", 10)]
)
def test_globs_exclude_folders_paths_and_names(folder: Path, glob: str, left: int) -> None:
    assert len(paths(folder, exclude=[glob])) == left


def test_linked_folders_are_followed_once_and_loops_end(folder: Path, tmp_path: Path) -> None:
    (folder / "cats" / "loop").symlink_to(folder)
    outside = tmp_path / "outside"
    outside.mkdir()
    draw(99).save(outside / "x.png")
    (folder / "a-link").symlink_to(outside)
    (folder / "z-link").symlink_to(outside)
    (folder / "broken.png").symlink_to(tmp_path / "nowhere.png")
    walked = walk(folder)
    assert len(walked.images) == 11
    assert [s.path for s in walked.broken] == ["broken.png"]


NAMES = st.lists(
    st.lists(
        st.binary(min_size=1, max_size=4).map(lambda b: "_" + os.fsdecode(b.replace(b"/", b"-").replace(b"\0", b"."))),
        min_size=1, max_size=3,
    ).map("/".join),
    unique=True, max_size=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(NAMES, st.lists(st.booleans(), min_size=12, max_size=12), st.integers(1, 3))
def test_packed_files_are_those_that_were_given_in_the_order_of_a_database(
    names: list[str], wanted: list[bool], parts: int
) -> None:
    with sqlite3.connect(":memory:") as db:
        db.execute("CREATE TABLE t (path UNIQUE)")
        db.executemany("INSERT INTO t VALUES (?)", [(as_stored(n),) for n in names])
        stored = [as_path(row[0]) for row in db.execute("SELECT path FROM t ORDER BY path")]
    files = [ImageFile(path, i, -i) for i, path in enumerate(stored)]
    packed = ImageFiles.merged([ImageFiles(files[i::parts]) for i in range(parts)])
    assert list(packed) == files
    assert len(packed) == len(files)
    chosen = packed.only(bytearray(wanted[: len(files)]))
    assert list(chosen) == [f for f, keep in zip(files, wanted, strict=False) if keep]
    assert len(chosen) == len(list(chosen))


def test_files_come_in_the_order_of_their_paths_whatever_folders_are_called(tmp_path: Path) -> None:
    names = ["a.png", "a/b.png", "a/z/c.png", "a-b/c.png", "a0.png", "a/b/d.png", "a b/e.png", "b.png"]
    for name in names:
        (tmp_path / "real" / name).parent.mkdir(parents=True, exist_ok=True)
        draw(0).save(tmp_path / "real" / name)
    (tmp_path / "linked").mkdir()
    draw(1).save(tmp_path / "linked" / "x.png")
    (tmp_path / "real" / "a1").symlink_to(tmp_path / "linked")
    assert paths(tmp_path / "real") == sorted([*names, "a1/x.png"])


def test_of_several_links_to_one_folder_the_same_gives_the_path_as_ever(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    draw(1).save(outside / "x.png")
    for name in ("a", "b/inner", "b", "c"):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "link").symlink_to(outside)
    assert paths(root) == ["c/link/x.png"]
    (root / "c" / "link").unlink()
    assert paths(root) == ["b/link/x.png"]
    (root / "link").symlink_to(outside)
    assert paths(root) == ["link/x.png"]


def test_a_time_that_no_database_holds_stays_the_same(tmp_path: Path) -> None:
    draw(1).save(tmp_path / "a.png")
    os.utime(tmp_path / "a.png", ns=(10**19, 10**19))
    if (tmp_path / "a.png").stat().st_mtime_ns < 2**63:
        pytest.skip("this file system has no such times")
    assert [f.mtime_ns for f in walk(tmp_path).images] == [2**63 - 1]


def test_names_in_any_script_or_none(folder: Path) -> None:
    names = [b"caf\xc3\xa9.png", "日本語 🐈.png".encode(), b"not-utf8-\xff\xfe.png", b"new\nline.png", b"quote'\".png"]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(encoded(draw(1), "png"))
    assert {os.fsencode(p) for p in paths(folder)} >= set(names)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_folder_is_named(folder: Path) -> None:
    (folder / "cats").chmod(0)
    walked = walk(folder)
    (folder / "cats").chmod(0o755)
    assert [s.path for s in walked.unreadable] == ["cats"]


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RootMissing, match="nothing was changed"):
        walk(tmp_path / "none")


MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(mode: str) -> None:
    kind = {"CMYK": "TIFF", "YCbCr": "TIFF", "F": "TIFF", "PA": "TIFF", "I": "TIFF"}.get(mode, "PNG")
    value = 255 if mode == "1" else 200
    gray = Image.new("L", (9, 7), value)
    picture = (
        Image.fromarray(np.full((7, 9), 200 * 257, np.uint16))
        if mode == "I;16"
        else gray.convert(mode if mode != "PA" else "P")
    )
    got = decode(encoded(picture, kind)).picture
    assert (got.mode, got.size) == ("RGB", (9, 7))
    assert abs(int(np.asarray(got).mean()) - value) <= 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_every_format_is_read(kind: str) -> None:
    decoded = decode(encoded(Image.new("RGB", (40, 30), (200, 40, 40)), kind))
    assert (decoded.content.width, decoded.content.height, decoded.content.format) == (40, 30, kind)
    np.testing.assert_allclose(np.asarray(decoded.picture)[15, 20], (200, 40, 40), atol=12)


def test_alpha_lies_on_white_and_animations_show_their_first_frame() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert np.asarray(decode(encoded(clear, "PNG")).picture).min() == 255
    frames = [Image.new("RGB", (5, 5), c) for c in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        animated = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        assert tuple(np.asarray(decode(animated).picture)[2, 2]) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation: int) -> None:
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :15] = (250, 0, 0)  # red in the upper left corner
    back = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM}
    back |= {
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    picture = Image.fromarray(upright)
    stored = picture.transpose(back[orientation]) if orientation in back else picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encoded(stored, "PNG", exif=exif))
    assert (decoded.content.width, decoded.content.height) == (30, 20)
    assert np.array_equal(np.asarray(decoded.picture), upright)


def test_exif_date_and_camera_are_kept() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Generator", "One\0"
    exif.get_ifd(0x8769)[0x9003] = "2021:02:03 04:05:06"
    content = decode(encoded(draw(1), "JPEG", exif=exif)).content
    assert (content.taken_at, content.camera) == ("2021-02-03 04:05:06", "Generator One")


def test_an_embedded_profile_is_converted_to_srgb_and_a_broken_one_ignored() -> None:
    picture = Image.new("RGB", (8, 8), (120, 60, 200))
    xyz = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    assert decode(encoded(picture, "PNG", icc_profile=b"nonsense")).picture.getpixel((1, 1)) == (120, 60, 200)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode(encoded(picture, "PNG", icc_profile=srgb)).picture.getpixel((1, 1)) == (120, 60, 200)
    assert decode(encoded(picture, "PNG", icc_profile=xyz)).picture.size == (8, 8)


def test_a_large_jpeg_is_decoded_small_and_reported_whole() -> None:
    decoded = decode(encoded(draw(3, (2000, 1600)), "JPEG"), side=224)
    assert (decoded.content.width, decoded.content.height) == (2000, 1600)
    assert 448 <= min(decoded.picture.size) < 900


def test_equal_pixels_have_equal_hashes_and_only_they() -> None:
    png, bmp = decode(encoded(draw(1), "PNG")).content, decode(encoded(draw(1), "BMP")).content
    assert png.pixel_hash == bmp.pixel_hash
    assert png.sha256 != bmp.sha256
    assert decode(encoded(draw(2), "PNG")).content.pixel_hash != png.pixel_hash


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    whole = encoded(draw(1, (300, 300)), "JPEG")
    bad = {"(?i)truncated": whole[:600], "allowed format": b"GIF89", "empty": b"", "megapixels": bomb()}
    for reason, data in bad.items():
        path = tmp_path / "x.jpg"
        path.write_bytes(data)
        with pytest.raises(PictureError, match=reason):
            decode(read_bytes(path))
    with pytest.raises(PictureError, match="cannot be read"):
        read_bytes(tmp_path / "none.jpg")


def test_heic_without_its_extra_names_it() -> None:
    if "HEIF" in Image.OPEN:
        pytest.skip("the extra is installed")
    with pytest.raises(PictureError, match=r"image-curator\[heif\]"):
        decode(b"\0\0\0\x18ftypheic" + bytes(100))


@pytest.mark.parametrize(("orientation", "corners"), [(1, "rrgb"), (6, "grbr"), (3, "bgrr")])
def test_a_camera_raw_file_is_developed_upright(orientation: int, corners: str) -> None:
    rgb = np.zeros((64, 96, 3))
    rgb[:32, :, 0] = rgb[32:, :48, 1] = rgb[32:, 48:, 2] = 0.8
    decoded = decode(camera_raw(rgb, orientation))
    w, h = decoded.picture.size
    assert (w, h) == ((96, 64) if orientation != 6 else (64, 96)) == (decoded.content.width, decoded.content.height)
    at = [(10, 10), (w - 10, 10), (10, h - 10), (w - 10, h - 10)]
    assert "".join("rgb"[int(np.argmax(decoded.picture.getpixel(p)))] for p in at) == corners
    assert (decoded.content.format, decoded.content.camera) == ("RAW", "Test Camera")
    assert decoded.content.taken_at == "2024-05-06 07:08:09"


def test_a_large_camera_raw_file_is_developed_at_half_its_size() -> None:
    decoded = decode(camera_raw(np.random.default_rng(0).random((960, 1024, 3))))
    assert decoded.picture.size == (512, 480)
    assert (decoded.content.width, decoded.content.height) == (1024, 960)


def test_a_damaged_camera_raw_file_is_refused() -> None:
    whole = camera_raw(np.full((64, 64, 3), 0.5))
    for data in (whole[:300], b"FUJIFILMCCD-RAW" + bytes(100), b"\0\0\0\x18ftypcrx " + bytes(100)):
        with pytest.raises(PictureError, match=r"LibRaw cannot read|damaged"):
            decode(data)


def test_of_a_camera_raw_file_beside_a_jpeg_the_jpeg_is_read(tmp_path: Path) -> None:
    raw = camera_raw(np.full((64, 64, 3), 0.5))
    for name in ("a.dng", "b.DNG", "c.nef"):
        (tmp_path / name).write_bytes(raw)
    draw(1).save(tmp_path / "A.JPG", "jpeg")
    draw(1).save(tmp_path / "c.txt", "jpeg")
    walked = walk(tmp_path)
    assert [f.path for f in walked.images] == ["A.JPG", "b.DNG", "c.nef"]
    assert "beside a JPEG of that name, which is read instead: 1" in walked.remarks()[0]
    assert [f.path for f in walk(tmp_path, exclude=["*.JPG"]).images] == ["a.dng", "b.DNG", "c.nef"], "it is not read"
    (tmp_path / "c.jpg").touch()
    assert "c.nef" in [f.path for f in walk(tmp_path).images], "an empty file is no picture"


def camera_raw(rgb: np.ndarray, orientation: int = 1) -> bytes:
    """(h, w, 3) of 0 to 1 → an uncompressed DNG of 16 bits, one colour a pixel: red, green / green, blue."""
    h, w = rgb.shape[:2]
    deep = (rgb * 60_000).astype("<u2")
    mosaic = np.empty((h, w), "<u2")
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = deep[0::2, 0::2, 0], deep[1::2, 1::2, 2]
    mosaic[0::2, 1::2], mosaic[1::2, 0::2] = deep[0::2, 1::2, 1], deep[1::2, 0::2, 1]
    matrix = (3.2405, -1.5371, -0.4985, -0.9693, 1.8760, 0.0416, 0.0556, -0.2040, 1.0573)  # XYZ → linear sRGB
    short, long = "<H", "<I"
    tags = [
        (254, 4, 1, struct.pack(long, 0)), (256, 4, 1, struct.pack(long, w)), (257, 4, 1, struct.pack(long, h)),
        (258, 3, 1, struct.pack(short, 16)), (259, 3, 1, struct.pack(short, 1)), (262, 3, 1, struct.pack(short, 32803)),
        (271, 2, 5, b"Test\0"), (272, 2, 7, b"Camera\0"), (273, 4, 1, b""),
        (274, 3, 1, struct.pack(short, orientation)),
        (277, 3, 1, struct.pack(short, 1)), (278, 4, 1, struct.pack(long, h)),
        (279, 4, 1, struct.pack(long, mosaic.nbytes)), (306, 2, 20, b"2024:05:06 07:08:09\0"),
        (33421, 3, 2, struct.pack("<HH", 2, 2)), (33422, 1, 4, bytes([0, 1, 1, 2])),
        (50706, 1, 4, bytes([1, 4, 0, 0])), (50708, 2, 12, b"Test Camera\0"), (50714, 3, 1, struct.pack(short, 0)),
        (50717, 3, 1, struct.pack(short, 60_000)),
        (50721, 10, 9, b"".join(struct.pack("<ii", int(x * 10_000), 10_000) for x in matrix)),
        (50728, 5, 3, struct.pack("<6I", 1, 1, 1, 1, 1, 1)), (50778, 3, 1, struct.pack(short, 21)),
    ]  # fmt: skip
    after = 8 + 2 + 12 * len(tags) + 4
    further = b"".join(data + b"\0" * (len(data) % 2) for *_, data in tags if len(data) > 4)
    entries, used = b"", 0
    for tag, kind, count, data in tags:
        value = data
        if tag == 273:
            value = struct.pack(long, after + len(further))
        elif len(data) > 4:
            value = struct.pack(long, after + used)
            used += len(data) + len(data) % 2
        entries += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + further + mosaic.tobytes()


def bomb() -> bytes:
    """A small PNG that says it is 60,000 pixels wide and high."""
    data = bytearray(encoded(Image.new("1", (8, 8)), "PNG"))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def test_formats_outside_the_list_are_refused() -> None:
    for kind in ("EPS", "PCX", "SGI", "PDF"):
        with pytest.raises(PictureError, match="allowed format"):
            decode(encoded(draw(1, (32, 32)), kind))


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]), st.integers(0, 10**9), st.integers(1, 12))
def test_no_corruption_raises_anything_but_a_picture_error(kind: str, seed: int, count: int) -> None:
    data = bytearray(encoded(draw(seed % 50, (33, 17)), kind))
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, len(data), count):
        data[at] = rng.integers(256)
    try:
        decoded = decode(bytes(data[: rng.integers(1, len(data) + 1)]))
    except PictureError:
        return
    assert decoded.picture.mode == "RGB"


def notes(root: Path, **sources: object) -> dict[str, tuple[str | None, str | None, dict[str, object]]]:
    walked = walk(root)
    found = read_notes(root, walked.images, walked.sidecars, NoteSources(**sources))  # type: ignore[arg-type]
    return {path: (n.label, n.caption, dict(n.extra)) for path, n in found.notes.items()}


def test_labels_come_from_folders(folder: Path) -> None:
    draw(1).save(folder / "top.png")
    got = notes(folder, label_from="folder")
    assert got["cats/0.png"][0] == "cats"
    assert got["top.png"][0] == "pictures"


def test_text_and_json_beside_a_picture_as_img2dataset_writes_them(folder: Path) -> None:
    (folder / "cats/0.txt").write_text("a cat on a mat\n")
    (folder / "cats/1.json").write_text(json.dumps({"caption": "another", "url": "u", "width": 3, "nested": {"a": 1}}))
    (folder / "cats/2.json").write_text("{broken")
    got = notes(folder)
    assert got["cats/0.png"] == (None, "a cat on a mat", {})
    assert got["cats/1.png"] == (None, "another", {"url": "u", "width": 3})
    assert got.get("cats/2.png", (None, None, {})) == (None, None, {})


def test_side_cars_from_hell_say_nothing_and_stop_nothing(folder: Path) -> None:
    (folder / "cats/0.json").write_text("[" * 100_000)
    (folder / "cats/metadata.csv").write_text("file_name,text\n1.png," + "x" * 200_000 + "\n")
    (folder / "dogs/metadata.jsonl").write_text(
        json.dumps({"file_name": "5.png", "text": "a\u2028b"}, ensure_ascii=False)
    )
    assert notes(folder)["dogs/5.png"] == (None, "a\u2028b", {})


def test_a_quoted_line_break_stays_in_its_cell(folder: Path) -> None:
    (folder / "cats/metadata.csv").write_text('file_name,text\n0.png,"one\ntwo"\n')
    assert notes(folder)["cats/0.png"][1] == "one\ntwo"


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_hugging_faces_imagefolder_metadata(folder: Path, kind: str) -> None:
    rows = [{"file_name": "0.png", "text": "hello", "label": "x", "price": 3}, {"file_name": "none.png", "text": "y"}]
    if kind == "csv":
        (folder / "cats/metadata.csv").write_text("file_name,text,label,price\n0.png,hello,x,3\nnone.png,y,,\n")
    else:
        (folder / "cats/metadata.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    assert notes(folder) == {"cats/0.png": ("x", "hello", {"price": 3})}


def test_a_csv_joins_by_path_or_by_a_name_that_stands_once(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file,label,code,score\ncats/0.png,tom,007,0.5\n9.png,rex,12,-3\nnothing.png,z,1,1\n")
    got = notes(folder, table=table)
    assert got == {
        "cats/0.png": ("tom", None, {"code": "007", "score": 0.5}),
        "dogs/9.png": ("rex", None, {"code": 12, "score": -3}),
    }
    assert notes(folder, table=table, label_from="code")["dogs/9.png"][0] == "12"
    table.write_text("file,label\nnothing.png,z\n")
    with pytest.raises(UsageError, match="no row names a picture"):
        notes(folder, table=table)
    with pytest.raises(UsageError, match="no file"):
        notes(folder, table=tmp_path / "none.csv")
