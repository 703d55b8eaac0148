"""Concepts and labels from a person's marks; data sets taken in again in every form."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from conftest import draw
from PIL import Image

from curator.drawing.scenes import draw_thing
from curator.encoders import Encoder, PixelEncoder
from curator.errors import SpaceMismatch, UnknownName, UsageError
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.ingest.importing import guess_form, import_set
from curator.labelling.concepts import fit_concept
from curator.labelling.label import label_by_probe, label_by_words
from curator.search.query import parse_query, query_vector
from curator.selection.export import ExportOptions, export, forms
from curator.selection.recipe import Recipe
from curator.selection.select import make, select
from curator.selection.sets import split

Run = Callable[..., Result]


@pytest.fixture
def colours(index: Index, tmp_path: Path) -> Index:
    """Three noisy colours, twenty pictures each, the folder as label; and four without one."""
    rng = np.random.default_rng(0)
    for name, colour in (("red", (200, 40, 40)), ("green", (40, 200, 40)), ("blue", (40, 40, 200))):
        (tmp_path / "p" / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(np.array(colour) + rng.normal(0, 60, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((24, 24), Image.Resampling.NEAREST).save(
                tmp_path / "p" / name / f"{name}-{number}.png"
            )
    ingest(index, [tmp_path / "p"], PixelEncoder(), IngestOptions(label_from="folder"))
    (tmp_path / "new").mkdir()
    for number in range(4):
        pixels = np.clip(np.array((200, 40, 40)) + rng.normal(0, 60, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).resize((24, 24), Image.Resampling.NEAREST).save(tmp_path / "new" / f"new-{number}.png")
    ingest(index, [tmp_path / "new"], PixelEncoder())
    return index


def ids_of(index: Index, label: str) -> list[int]:
    return index.reader.ids_where(f"label = '{label}'").tolist()


def precision(index: Index, name: str, label: str) -> float:
    hits = index.nearest(query_vector(index, parse_query([f"concept:{name}"])), 20)
    return float(np.mean([i.label == label or i.path.name.startswith("new") for i in index.images(hits.ids)]))


def test_a_concept_finds_what_was_marked_and_each_mark_counts(colours: Index) -> None:
    red, blue = ids_of(colours, "red"), ids_of(colours, "blue")
    first = fit_concept(colours, "warm", red[:2])
    assert first.facts["like"] == 2
    more = fit_concept(colours, "warm", red[2:5], blue[:3])
    assert (more.facts["like"], more.facts["unlike"]) == (5, 3)
    assert precision(colours, "warm", "red") >= 0.95
    turned = fit_concept(colours, "warm", blue[:1])
    assert (turned.facts["like"], turned.facts["unlike"]) == (6, 2), "a later mark replaces the earlier"
    assert fit_concept(colours, "warm", blue[:2], afresh=True).facts["like"] == 2
    chosen = make(colours, "x", Recipe(n=10, match=("concept:warm",)))
    assert {i.label for i in colours.images(chosen.ids)} == {"blue"}
    others = make(colours, "x", Recipe(n=10, avoid=("concept:warm",)))
    assert "blue" not in {i.label for i in colours.images(others.ids)}


def test_wrong_marks_are_refused(colours: Index) -> None:
    red = ids_of(colours, "red")
    for like, unlike, says in (((), red[:1], "has no wanted image"), (red[:1], red[:1], "as wanted and as unwanted")):
        with pytest.raises(UsageError, match=says):
            fit_concept(colours, "warm", like, unlike)
    with pytest.raises(UsageError, match="is no name"):
        fit_concept(colours, "a b", red[:1])
    with pytest.raises(UnknownName, match="no concept 'worm'"):
        query_vector(colours, parse_query(["concept:worm"]))


def test_a_probe_learns_a_column_and_writes_over_nobody(colours: Index) -> None:
    before = {i.id: i.label for i in colours.images(colours.reader.ids_where("1"))}
    done = label_by_probe(colours, "label")
    assert done.tested == 12
    assert done.accuracy >= 0.9
    assert {i.id: i.label for i in colours.images(list(before))} == before
    new = colours.reader.ids_where("label IS NULL").tolist()
    assert (
        colours.reader.ids_where("label IS NULL AND predicted = 'red' AND predicted_confidence > 0.5").tolist() == new
    )
    assert set(make(colours, "x", Recipe(n=9, per="predicted", by="k-center")).ids.tolist()) <= set(before)
    with pytest.raises(UsageError, match="two values or more"):
        label_by_probe(colours, "caption")
    with pytest.raises(UsageError, match="'label' is a column of the index already"):
        label_by_probe(colours, "label", column="label")
    part = label_by_probe(colours, "label", where="label = 'red'")
    assert len(part.predictions) == 20
    assert len(colours.reader.ids_where("predicted IS NOT NULL")) == 64, "other images keep theirs"


def test_disagreements_are_listed_surest_first(colours: Index) -> None:
    wrong = ids_of(colours, "green")[3]
    with colours.write() as db, db.atomic():
        db.connection.execute("UPDATE images SET label = 'blue', crc = NULL WHERE id = ?", [wrong])
    done = label_by_probe(colours, "label")
    assert wrong in done.disagreements[:2]
    sure = [done.predictions[i][1] for i in done.disagreements]
    assert sure == sorted(sure, reverse=True)


def test_zero_shot_labels_by_words(tmp_path: Path, tiny: Encoder) -> None:
    (tmp_path / "p").mkdir()
    for number, shape in enumerate(("circle", "square", "star") * 4):
        draw_thing("red", shape, size=60 + number).save(tmp_path / "p" / f"{shape}-{number}.png")
        (tmp_path / "p" / f"{shape}-{number}.json").write_text(json.dumps({"label": shape.capitalize()}))
    with Index.create(tmp_path / "i") as index:
        ingest(index, [tmp_path / "p"], tiny)
        done = label_by_words(index, ["circle", "square", "star"])
        assert done.tested == 12, "the case of letters does not matter"
        assert done.accuracy >= 0.75
        assert len(label_by_words(index, ["circle", "nothing of it"]).predictions) == 12
        with pytest.raises(UsageError, match="two classes or more"):
            label_by_words(index, ["circle"])


@pytest.fixture
def exported(index: Index, tmp_path: Path) -> Callable[..., Path]:
    """A labelled, split selection, exported in a form."""
    for number in range(24):
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(number).save(path)
        path.with_suffix(".txt").write_text(f"picture number {number}")
    ingest(index, [tmp_path / "pictures"], PixelEncoder(), IngestOptions(label_from="folder"))
    select(index, "all", Recipe())
    split(index, "all", {"train": 0.5, "test": 0.5})

    def run(form: str) -> Path:
        options = ExportOptions(form, shard=7 if forms[form].has_shards else 1000)
        export(index, ["all-train", "all-test"], tmp_path / form, options)
        return tmp_path / form

    return run


def contents(index: Index) -> set[tuple[str, str | None, str | None]]:
    return {(i.sha256, i.label, i.caption) for i in index.images(index.reader.ids_where("1"))}


@pytest.mark.parametrize("form", [f for f in forms if f not in ("npy", "stylegan")])
def test_what_was_exported_comes_in_again(
    exported: Callable[..., Path], index: Index, tmp_path: Path, form: str
) -> None:
    source = exported(form)
    with Index.create(tmp_path / "again") as again:
        done = import_set(again, source, PixelEncoder())
        assert done.report.skipped == 0
        expected = contents(index)
        found = contents(again)
        assert found == expected
        once_more = import_set(again, source, PixelEncoder())
        assert once_more.report.encoded == 0
        assert len(again) == 24


def test_coco_labels_and_splits_come_in(exported: Callable[..., Path], tmp_path: Path) -> None:
    source = exported("coco")
    assert guess_form(source) == "coco"
    with Index.create(tmp_path / "again") as again:
        import_set(again, source, PixelEncoder())
        assert (
            len(
                again.reader.ids_where("label IN ('a', 'b') AND split IN ('train', 'test') AND caption LIKE 'picture%'")
            )
            == 24
        )


class Never(PixelEncoder):
    """Encodes samples only."""

    seen = 0

    def project_images(self, batch: np.ndarray) -> np.ndarray:
        type(self).seen += len(batch)
        return super().project_images(batch)


def test_vectors_are_taken_over_after_a_look_at_some(
    exported: Callable[..., Path], index: Index, tmp_path: Path
) -> None:
    source = exported("clip-retrieval")
    with Index.create(tmp_path / "again") as again:
        import_set(again, source, Never())
        assert Never.seen == 16, "a sample, and no more"
        a, b = (np.sort(i.reader.vectors(i.space, i.reader.ids_where("1").tolist()), axis=0) for i in (index, again))
        np.testing.assert_allclose(a, b, atol=1e-3)
    vectors = np.load(source / "img_emb/img_emb_0.npy")
    np.save(source / "img_emb/img_emb_1.npy", vectors[::-1])  # only the second part is wrong
    (source / "metadata/metadata_1.parquet").write_bytes((source / "metadata/metadata_0.parquet").read_bytes())
    with Index.create(tmp_path / "second") as second, pytest.raises(SpaceMismatch, match="are not those of 'pixels'"):
        import_set(second, source, PixelEncoder())
    np.save(source / "img_emb/img_emb_0.npy", np.zeros_like(vectors))
    with Index.create(tmp_path / "zero") as zero, pytest.raises(UsageError, match="is zero or not finite"):
        import_set(zero, source, PixelEncoder())
    np.save(source / "img_emb/img_emb_0.npy", vectors[::-1])
    with Index.create(tmp_path / "third") as third:
        with pytest.raises(SpaceMismatch, match="are not those of 'pixels'"):
            import_set(third, source, PixelEncoder())
        assert len(third) == 0


def test_rows_of_a_parquet_file_may_share_a_path(index: Index, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for number in range(3):
        data = io.BytesIO()
        draw(number).save(data, "PNG")
        rows.append({"image": {"bytes": data.getvalue(), "path": "image.png"}, "text": f"number {number}"})
    (tmp_path / "set").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set/train.parquet")
    import_set(index, tmp_path / "set", PixelEncoder())
    assert {i.caption for i in index.images(index.reader.ids_where("1"))} == {"number 0", "number 1", "number 2"}


def test_folders_are_labels_where_nothing_else_is(index: Index, tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / "set" / "train" / "xy"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(number).save(path)
    assert import_set(index, tmp_path / "set", PixelEncoder()).form == "imagefolder"
    assert {i.label for i in index.images(index.reader.ids_where("1"))} == {"x", "y"}


def test_keys_that_look_alike_made_safe_stay_apart(index: Index, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    names = ("a b.png", "a?b.png", "x/1.png", "x_1.png", "deep/2.input.png")
    with tarfile.open(tmp_path / "set/0.tar", "w") as tar:
        for number, name in enumerate(names):
            data = io.BytesIO()
            draw(number).save(data, "PNG")
            info = tarfile.TarInfo(name)
            info.size = len(data.getvalue())
            tar.addfile(info, io.BytesIO(data.getvalue()))
    import_set(index, tmp_path / "set", PixelEncoder())
    assert len(index) == len(names)


def test_a_concept_needs_no_vector_of_what_was_not_named(colours: Index) -> None:
    with colours.write() as db, db.atomic():
        db.connection.execute("DELETE FROM embeddings WHERE content_id = (SELECT content_id FROM images WHERE id = 30)")
    assert fit_concept(colours, "warm", ids_of(colours, "red")[:3]).facts["like"] == 3


def test_words_narrow_evenly_for_each_label(colours: Index) -> None:
    fit_concept(colours, "warm", ids_of(colours, "red")[:5])
    chosen = make(
        colours, "x", Recipe(n=9, match=("concept:warm",), per="label", by="k-center", where="label IS NOT NULL")
    )
    assert sorted(str(i.label) for i in colours.images(chosen.ids)) == ["blue"] * 3 + ["green"] * 3 + ["red"] * 3


def test_an_archive_cannot_write_outside(index: Index, tmp_path: Path) -> None:
    """Names with .. or / at the start stay below the folder."""
    source = tmp_path / "set"
    source.mkdir()
    picture = io.BytesIO()
    draw(1).save(picture, "PNG")
    with tarfile.open(source / "0.tar", "w") as tar:
        for name in ("../../evil.png", "/abs/olute.png"):
            info = tarfile.TarInfo(name)
            info.size = len(picture.getvalue())
            tar.addfile(info, io.BytesIO(picture.getvalue()))
    done = import_set(index, source, PixelEncoder())
    assert done.folder == tmp_path / "set-pictures"
    assert len(list(done.folder.rglob("*.png"))) == len(index) == 2
    assert {p.name for p in tmp_path.iterdir()} == {"set", "set-pictures", "index"}
    assert not (tmp_path.parent / "evil.png").exists()


def test_what_is_no_set_is_refused(index: Index, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        guess_form(tmp_path / "none")
    (tmp_path / "s").mkdir()
    (tmp_path / "s/0.tar").write_bytes(b"no tar")
    with pytest.raises(UsageError, match="cannot be unpacked"):
        import_set(index, tmp_path / "s", PixelEncoder())


def test_the_commands_from_end_to_end(curator: Run, tmp_path: Path, colours: Index) -> None:
    place = ("-i", colours.folder)
    red, blue = ids_of(colours, "red"), ids_of(colours, "blue")
    done = curator("concepts", "fit", "warm", "--like", f"{red[0]},{red[1]}", "--unlike", blue[0], *place)
    assert "2 wanted, 1 unwanted" in done.stdout, done.stderr
    assert json.loads(curator("search", "concept:warm", "-n", "5", "--json", *place).stdout)[0]["label"] == "red"
    assert json.loads(curator("concepts", "--json", *place).stdout) == [{"name": "warm", "like": 2, "unlike": 1}]
    labelled = curator("label", "--probe", "label", "--sheet", "l.png", *place)
    assert "64 images labelled in 'predicted'; accuracy" in labelled.stdout, labelled.stderr
    assert json.loads(curator("label", "--probe", "label", "--json", *place).stdout)["tested"] == 12
    assert "takes one of" in curator("label", *place).stderr
    assert curator("concepts", "drop", "warm", *place).stdout == "Dropped warm.\n"
    assert curator("select", "few", "-n", "8", "--per", "label", *place).exit_code == 0
    assert curator("export", "few", "-o", "out", "--as", "webdataset", *place).exit_code == 0
    taken = curator("import", "out", "-i", tmp_path / "again", "-e", "pixels")
    assert taken.exit_code == 0, taken.stderr
    assert "webdataset: pictures in" in taken.stdout
    assert "8 new" in taken.stdout
