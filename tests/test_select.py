"""Selections of a real index: recipes, manifests that replay, sets, previews; and exports read back by the libraries
they are for."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import draw, photo_pieces
from PIL import Image

from curator.admin.maintenance import repair
from curator.cleaning.clusters import find_clusters, keep_clusters, reject_clusters
from curator.cleaning.decisions import decide
from curator.cleaning.dedupe import dedupe
from curator.cleaning.leaks import find_leaks
from curator.cleaning.quarantine import quarantine
from curator.cli import cli
from curator.database import Selections
from curator.database.schema import SEALED
from curator.drawing.scenes import draw_thing
from curator.encoders import Encoder, PixelEncoder
from curator.errors import IndexDamaged, UnknownName, UsageError
from curator.files import digest_of, sha256_of
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.labelling.concepts import fit_concept
from curator.labelling.label import label_by_probe
from curator.selection.export import ExportOptions, export, forms
from curator.selection.preview import preview
from curator.selection.recipe import Recipe, manifest_of, read_manifest, write_manifest
from curator.selection.select import make, replay, select
from curator.selection.sets import absent_labels, combine, diff, drop, parse_shares, split

Run = Callable[..., Result]


def fill_folder(root: Path, count: int = 40, *, first: int = 0) -> None:
    """Pictures in three labels, a quarter each of two and half of the third."""
    for number in range(first, first + count):
        path = root / ("a", "b", "c", "c")[number % 4] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(number).save(path)


@pytest.fixture
def filled(index: Index, tmp_path: Path) -> Index:
    """Forty labelled pictures, two of them copied."""
    root = tmp_path / "pictures"
    fill_folder(root)
    (root / "c/copy.png").write_bytes((root / "a/000.png").read_bytes())
    draw(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "b/mirrored.png")
    ingest(index, [root], PixelEncoder(), IngestOptions(label_from="folder"))
    return index


def labels(index: Index, ids: np.ndarray) -> list[str | None]:
    return [i.label for i in index.images(ids)]


def test_a_selection_is_what_its_recipe_says_and_stays(filled: Index) -> None:
    made = select(filled, "few", Recipe(n=10, by="k-center", where="label != 'a'"))
    assert len(made) == 10
    assert set(labels(filled, made.ids)) == {"b", "c"}
    assert made.digest == digest_of([bytes.fromhex(i.sha256) for i in filled.images(made.ids)])
    steps = made.recipe["steps"]
    assert steps[0]["after"] == 42
    assert all(a["after"] == b["before"] for a, b in itertools.pairwise(steps)), "every image is accounted for"
    assert steps[-1]["after"] == 10
    with Index(filled.folder) as again:
        kept = Selections(again.reader).get("few")
    assert (kept.ids.tolist(), kept.sha256, kept.digest) == (made.ids.tolist(), made.sha256, made.digest)
    np.testing.assert_allclose(kept.values, made.values)
    with pytest.raises(UsageError, match="selections do not change"):
        select(filled, "few", Recipe(n=5))
    assert len(select(filled, "few", Recipe(n=5), overwrite=True)) == 5


def test_the_database_opens_in_other_programs(filled: Index) -> None:
    select(filled, "few", Recipe(n=3))
    with sqlite3.connect(filled.folder / "index.db") as db:
        rows = db.execute("SELECT selection, rank, path, label FROM selection_pictures ORDER BY rank").fetchall()
        assert [(r[0], r[1]) for r in rows] == [("few", 0), ("few", 1), ("few", 2)]
        assert all(Path(r[2]).is_file() for r in rows)
        assert db.execute("SELECT count(*) FROM pictures WHERE removed IS NULL").fetchone() == (42,)
    assert len(filled.reader.ids_where("selections LIKE '%few%'")) == 3


def test_duplicates_rejected_and_generated_images_stay_out_unless_asked(filled: Index, tmp_path: Path) -> None:
    assert len(make(filled, "x", Recipe())) == 41, "identical files count once"
    assert len(make(filled, "x", Recipe(dedupe="none"))) == 42
    assert len(make(filled, "x", Recipe(dedupe="exact"))) == 41
    with_groups = dedupe(filled)
    mirrored = sum(len(g.duplicates) for g in with_groups.groups)
    assert len(make(filled, "x", Recipe())) == 42 - mirrored, "and what the last dedupe found"
    group = next(g for g in with_groups.groups if len(g.members) > 1)
    decide(filled, "reject", [group.duplicates[0].image_id])
    assert group.duplicates[0].image_id not in make(filled, "x", Recipe(dedupe="none")).ids
    fill_folder(tmp_path / "made", 5, first=500)
    ingest(filled, [tmp_path / "made"], PixelEncoder(), IngestOptions(origin="generated"))
    assert len(make(filled, "x", Recipe())) == 42 - mirrored
    assert len(make(filled, "x", Recipe(origin="generated"))) == 5
    assert len(make(filled, "x", Recipe(origin="any"))) == 47 - mirrored


@pytest.mark.parametrize(
    "by", ["random", "balanced", "k-center", "facility-location * typicality", "herding", "density"]
)
def test_ids_and_history_change_nothing(by: str, tmp_path: Path) -> None:
    """The same pictures indexed in another order give the same list of contents."""
    fill_folder(tmp_path / "p")
    found = []
    for number, order in enumerate((1, -1)):
        with Index.create(tmp_path / f"i{number}") as index:
            for file in sorted((tmp_path / "p").rglob("*.png"))[::order]:
                ingest(index, [file], PixelEncoder(), IngestOptions(label_from="folder"))
            found.append(make(index, "x", Recipe(n=12, by=by, per="label")).sha256)
    assert found[0] == found[1]


def test_adding_images_never_reshuffles_a_random_choice(filled: Index, tmp_path: Path) -> None:
    before = make(filled, "x", Recipe()).sha256
    fill_folder(tmp_path / "pictures", 30, first=100)
    ingest(filled, [tmp_path / "pictures"], PixelEncoder())
    after = make(filled, "x", Recipe()).sha256
    assert [h for h in after if h in set(before)] == list(before)


def test_per_label_is_balanced_and_extend_begins_with_the_other(filled: Index) -> None:
    counts = [
        labels(filled, make(filled, "x", Recipe(n=9, by=by, per="label")).ids).count(c)
        for by in ("k-center", "balanced")
        for c in "abc"
    ]
    assert counts == [3] * 6
    first = select(filled, "first", Recipe(n=6, by="k-center"))
    more = make(filled, "x", Recipe(n=15, by="k-center", extend="first"))
    assert more.ids[:6].tolist() == first.ids.tolist()
    assert more.ids.tolist() == make(filled, "x", Recipe(n=15, by="k-center")).ids.tolist(), (
        "k-center goes on where it stopped"
    )


def test_a_reference_is_followed_and_never_chosen(filled: Index, tmp_path: Path) -> None:
    select(filled, "likes", Recipe(n=5, where="label = 'a'"))
    for named in ("likes", str(tmp_path / "pictures/a"), "label = 'a'"):
        made = make(filled, "x", Recipe(n=5, by="match", reference=named))
        assert not set(made.ids.tolist()) & set(Selections(filled.reader).get("likes").ids.tolist())
    with pytest.raises(UsageError, match="needs --reference"):
        make(filled, "x", Recipe(n=5, by="match"))
    with pytest.raises(UsageError, match="holds for no image"):
        make(filled, "x", Recipe(n=5, by="match", reference="label = 'none'"))


def test_words_choose_what_they_say(tmp_path: Path, tiny: Encoder) -> None:
    root = tmp_path / "p"
    root.mkdir()
    for number, (colour, shape) in enumerate(
        (c, s) for c in ("red", "blue") for s in ("circle", "square", "star", "heart") for _ in range(3)
    ):
        draw_thing(colour, shape, size=60 + number).save(root / f"{colour}-{shape}-{number}.png")
    with Index.create(tmp_path / "i") as index:
        ingest(index, [root], tiny)
        for recipe in (
            Recipe(n=3, match=("a red circle",)),
            Recipe(n=3, match=("a circle",), avoid=("a blue thing", "a square")),
        ):
            names = [i.path.name for i in index.images(make(index, "x", recipe).ids)]
            assert sum(n.startswith("red-circle") for n in names) >= 2, names
        spread = make(index, "x", Recipe(n=3, match=("a red thing",), by="k-center"))
        assert [(s["step"], s["before"], s["after"]) for s in spread.recipe["steps"][-2:]] == [
            ("fits the words best", 24, 12),
            ("chosen", 12, 3),
        ]
        assert sum(i.path.name.startswith("red") for i in index.images(spread.ids)) >= 2
        assert (
            "words * typicality"
            in make(index, "x", Recipe(n=3, match=("a red thing",), by="typicality")).recipe["steps"][-1]["facts"]["by"]
        )


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"n": 0}, "from 1 on"),
        ({"seed": -1}, "from 0 on"),
        ({"origin": "fake"}, "no origin 'fake'"),
        ({"by": "k-centre"}, "did you mean 'k-center'"),
        ({"dedupe": "all"}, "no level 'all'"),
        ({"where": "label = 'none'"}, "no image is left to choose from"),
        ({"per": "lable"}, "did you mean 'label'"),
        ({"extend": "nothing"}, "no selection 'nothing'"),
        ({"by": "words"}, "needs --match"),
    ],
)
def test_a_wrong_recipe_is_refused(filled: Index, recipe: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make(filled, "x", Recipe(**recipe))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is no name"):
        select(filled, "a/b")


def test_a_manifest_replays_or_says_what_changed(filled: Index, tmp_path: Path) -> None:
    made = select(filled, "few", Recipe(n=10, by="k-center", seed=3, per="label"))
    file = tmp_path / "few.json"
    write_manifest(manifest_of(filled, made), file)
    again = replay(filled, read_manifest(file), name="again")
    assert again.differences == ()
    assert Selections(filled.reader).get("again").digest == made.digest
    gone = filled.images(made.ids)[4].path
    gone.unlink()
    fill_folder(tmp_path / "pictures", 8, first=200)
    ingest(filled, [tmp_path / "pictures"], PixelEncoder(), IngestOptions(label_from="folder"))
    changed = replay(filled, read_manifest(file), name="changed")
    said = " ".join(changed.differences)
    assert f"1 listed images are not in the index: {gone.parent.name}/{gone.name}" in said
    assert "images of the index: 42 of 42 then, 49 of 49 now" in said
    assert "changed" not in Selections(filled.reader).names(), "only what is identical is kept"
    listed = replay(filled, read_manifest(file), name="listed", as_listed=True)
    assert list(listed.selection.sha256) == [h for h in made.sha256 if h != made.sha256[4]]
    assert "listed" in Selections(filled.reader).names()
    for bad in ("{}", "no json", '{"schema": 1, "images": [{"sha256": "zz"}]}'):
        file.write_text(bad)
        with pytest.raises(UsageError, match="is no manifest"):
            read_manifest(file)
    file.write_text('{"schema": 99, "images": []}')
    with pytest.raises(UsageError, match="schema 99"):
        read_manifest(file)


def test_sets_of_selections(filled: Index) -> None:
    a, b = select(filled, "a", Recipe(n=20)), select(filled, "b", Recipe(n=20, seed=5))
    d = diff(filled, "a", "b")
    assert len(d.first) + len(d.both) == 20 == len(d.second) + len(d.both)
    assert diff(filled, "a", "a").first == ()
    union, minus = combine(filled, "u", "union", ["a", "b"]), combine(filled, "m", "minus", ["a", "b"])
    assert union.sha256[:20] == a.sha256
    assert set(union.sha256) == set(a.sha256) | set(b.sha256)
    assert minus.ids.tolist() == list(d.first)
    with pytest.raises(UsageError, match="was not made by `curator select` but by union of a, b"):
        replay(filled, manifest_of(filled, union), name="z")
    drop(filled, ["u"])
    with pytest.raises(UnknownName, match="no selection 'u'"):
        drop(filled, ["u"])


def test_a_split_is_stable_and_duplicates_stay_together(filled: Index, tmp_path: Path) -> None:
    select(filled, "all", Recipe(dedupe="none"))
    parts = split(filled, "all", {"train": 0.7, "test": 0.3})
    part_of = {h: s.name for s in parts for h in s.sha256}
    assert sum(len(s) for s in parts) == 42
    assert 4 <= len(parts[1]) <= 22
    for g in dedupe(filled).groups:
        hashes = {i.sha256 for i in filled.images([m.image_id for m in g.members])}
        assert len({part_of[bytes.fromhex(h)] for h in hashes}) == 1
    fill_folder(tmp_path / "pictures", 20, first=300)
    ingest(filled, [tmp_path / "pictures"], PixelEncoder())
    select(filled, "all", Recipe(dedupe="none"), overwrite=True)
    later = split(filled, "all", {"train": 0.7, "test": 0.3}, overwrite=True)
    now = {h: s.name for s in later for h in s.sha256}
    assert all(now[h] == name for h, name in part_of.items()), "what was there stays where it was"
    for shares in (["train=0.5"], ["train=0.5", "test=0.6"], ["train=x", "test=1"]):
        with pytest.raises(UsageError, match="split"):
            split(filled, "all", parse_shares(shares), overwrite=True)


def test_a_part_of_a_split_is_split_by_another_hash(filled: Index) -> None:
    """By the same one, a part that lies below 0.5 of it would be cut into all and nothing."""
    select(filled, "all", Recipe(dedupe="none"))
    low, high = split(filled, "all", {"low": 0.5, "high": 0.5})
    for part in (low, high):
        one, two = split(filled, part.name, {"a": 0.5, "b": 0.5})
        assert min(len(one), len(two)) >= 3, part.name
        three, four = split(filled, one.name, {"a": 0.5, "b": 0.5})
        assert min(len(three), len(four)) >= 1


def test_leaks_between_selections(filled: Index) -> None:
    select(filled, "one", Recipe(where="label = 'a'", dedupe="none"))
    select(filled, "two", Recipe(where="label != 'a'", dedupe="none"))
    found = find_leaks(filled, ("one", "two"))
    assert found.by == "selection"
    names = {i.path.name for i in filled.images([i for leak in found.leaks for i in leak.sides])}
    assert names == {"000.png", "copy.png"}
    select(filled, "three", Recipe(where="id <= 2", dedupe="none"))
    shared = find_leaks(filled, ("one", "three"))
    assert [set(leak.sides.values()) for leak in shared.leaks].count({"one and three"}) >= 1, (
        "one image in both leaks by itself"
    )
    select(filled, "all", Recipe(dedupe="none"))
    split(filled, "all", {"train": 0.5, "test": 0.5})
    assert find_leaks(filled, ("all-train", "all-test")).leaks == ()


def test_a_preview_prefers_what_looks_like_the_reference(index: Index, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, colour in (("good", (200, 40, 40)), ("bad", (40, 40, 200)), ("held", (200, 40, 40))):
        (tmp_path / "p" / name).mkdir(parents=True)
        for number in range(40):
            pixels = np.clip(np.array(colour) + rng.normal(0, 30, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((24, 24), Image.Resampling.NEAREST).save(
                tmp_path / "p" / name / f"{number}.png"
            )
    ingest(index, [tmp_path / "p"], PixelEncoder(), IngestOptions(label_from="folder"))
    for name in ("good", "bad"):
        select(index, name, Recipe(where=f"label = '{name}'"))
    with pytest.raises(UsageError, match="name the selections"):
        preview(index, [], str(tmp_path / "p/held"))
    rows = preview(index, ["bad", "good"], str(tmp_path / "p/held"))
    assert [r.name for r in rows] == ["good", "random, 40 images", "bad"]
    assert rows[0].coverage > 0.5 > rows[2].coverage
    assert rows[0].high < rows[2].low
    assert rows[0].rank_high < rows[2].rank_low
    assert all(r.low <= r.frechet <= r.high for r in rows)
    with pytest.raises(UsageError, match="40 images of 'good' are in the reference too"):
        preview(index, ["good"], "good")


# Exports, each read by the library it is for.


@pytest.fixture
def exported(filled: Index, tmp_path: Path) -> Callable[..., Path]:
    """A split selection, exported in a form."""
    select(filled, "few", Recipe(n=20, by="balanced", per="label"))
    split(filled, "few", {"train": 0.7, "test": 0.3})

    def run(form: str, name: str = "out", **options: object) -> Path:
        export(filled, ["few-train", "few-test"], tmp_path / name, ExportOptions(form, **options))  # type: ignore[arg-type]
        return tmp_path / name

    return run


def parts(index: Index) -> dict[str, set[str]]:
    return {s: {h.hex() for h in Selections(index.reader).get(f"few-{s}").sha256} for s in ("train", "test")}


@pytest.mark.parametrize("form", forms)
def test_the_same_selection_gives_the_same_bytes(exported: Callable[..., Path], form: str) -> None:
    one, two = exported(form, "one"), exported(form, "two")
    names = [sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()) for root in (one, two)]
    assert names[0] == names[1]
    assert {"manifest-few-train.json", "croissant.json", "images.csv"} <= set(names[0])
    assert all((one / n).read_bytes() == (two / n).read_bytes() for n in names[0])
    with pytest.raises(UsageError, match="is there already"):
        exported(form, "one")


@pytest.mark.filterwarnings("ignore")
def test_datasets_reads_an_imagefolder_and_parquet(
    exported: Callable[..., Path], filled: Index, tmp_path: Path
) -> None:
    import datasets

    expected = parts(filled)
    for form, loader in (("imagefolder", {"path": "imagefolder"}), ("parquet", {"path": "parquet"})):
        root = exported(form, form)
        files = {s: str(root / f"{s}-*.parquet") if form == "parquet" else str(root / s / "**") for s in expected}
        loaded = datasets.load_dataset(**loader, data_files=files, cache_dir=str(tmp_path / "cache"))
        for side, hashes in expected.items():
            rows = list(loaded[side])
            assert {r["sha256"] for r in rows} == hashes
            assert all(r["image"].size == (24, 24) for r in rows)
            names = loaded[side].features["label"].names if form == "parquet" else None
            for r in rows:
                assert (names[r["label"]] if names else r["label"]) in "abc"


def test_labels_that_a_part_of_a_split_lacks_are_named(filled: Index) -> None:
    select(filled, "all-labels", Recipe(n=9, by="balanced", per="label"))
    select(filled, "only-a", Recipe(n=2, where="label = 'a'"))
    whole, part = (Selections(filled.reader).get(name) for name in ("all-labels", "only-a"))
    assert absent_labels(filled, [whole, part]) == {"only-a": ["b", "c"]}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["imagefolder", "parquet"])
def test_datasets_finds_the_splits_as_they_are_named(filled: Index, tmp_path: Path, form: str) -> None:
    import datasets

    select(filled, "shoes-a", Recipe(n=4))
    select(filled, "second", Recipe(n=3, by="random", seed=5))
    options = ExportOptions(form, splits={"second": "validation"})
    export(filled, ["shoes-a", "second"], tmp_path / "out", options)
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"shoes_a": 4, "validation": 3}
    if form == "imagefolder":
        classes = datasets.load_dataset(str(tmp_path / "out"), "classes", cache_dir=str(tmp_path / "cache"))
        names = classes["validation"].features["label"].names
        assert set(names) <= set("abc")
        ours = {r["image"].tobytes(): names[r["label"]] for r in classes["validation"]}
        assert ours == {r["image"].tobytes(): r["label"] for r in loaded["validation"]}
    with pytest.raises(UsageError, match="--split names 'third'"):
        export(filled, ["second"], tmp_path / "more", ExportOptions(splits={"third": "test"}))


def test_a_cluster_is_rejected_whole_and_taken_back(filled: Index, tmp_path: Path) -> None:
    other = tmp_path / "flat"
    other.mkdir()
    for grey in range(12):
        Image.new("RGB", (24, 24), (200 + grey, 30, 30)).save(other / f"{grey}.png")
    ingest(filled, [other], PixelEncoder(), IngestOptions(label_from="folder"))
    clusters = find_clusters(filled, count=8)
    assert sorted(i for c in clusters for i in c.ids) == filled.reader.ids_where("1").tolist()
    assert [len(c.ids) for c in clusters] == sorted((len(c.ids) for c in clusters), reverse=True)
    flat = next(c for c in clusters if dict(c.labels).get("flat"))
    assert dict(flat.labels)["flat"] == 12, "what is alike lies together"
    assert filled.reader.ids_where(f"cluster = {flat.number}").tolist() == sorted(flat.ids)

    def chosen() -> set[str | None]:
        return {i.label for i in filled.images(make(filled, "x", Recipe(by="random")).ids)}

    assert "flat" in chosen()
    assert sorted(reject_clusters(filled, [flat.number])) == sorted(flat.ids)
    assert "flat" not in chosen()
    assert find_clusters(filled, count=8)[flat.number - 1].rejected == len(flat.ids)
    assert not quarantine(filled, dry_run=True).moves, "what is no duplicate stays where it is"
    assert keep_clusters(filled, [flat.number]) == sorted(flat.ids)
    assert "flat" in chosen()
    # A verdict on a duplicate outlives one on its cluster, and what a person kept is not rejected with it.
    groups = dedupe(filled).groups
    keeper, double = groups[0].keeper, groups[0].duplicates[0].image_id
    decide(filled, "reject", [double])
    everyone = sorted({i for c in find_clusters(filled, count=8) for i in c.ids})
    assert reject_clusters(filled, range(1, 9)) == everyone
    assert double in {m.image_id for m in quarantine(filled, dry_run=True).moves}
    keep_clusters(filled, range(1, 9))
    decide(filled, "keep", [keeper])
    assert keeper not in reject_clusters(filled, range(1, 9))
    with pytest.raises(UsageError, match="no cluster 9"):
        reject_clusters(filled, [9])


def test_clusters_on_the_command_line(filled: Index, tmp_path: Path) -> None:
    def curator(*words: str) -> Result:
        return CliRunner().invoke(cli, [*words, "-i", str(filled.folder)], prog_name="curator")

    assert "no clusters yet" in curator("clusters", "reject", "1").output
    done = curator("clusters", "-k", "3", "--sheet", str(tmp_path / "c.png"))
    assert done.exit_code == 0
    assert "medoid" in done.output
    assert (tmp_path / "c.png").stat().st_size > 5_000
    rows = json.loads(curator("clusters", "-k", "3", "--json").stdout)
    assert [r["number"] for r in rows] == [1, 2, 3]
    assert f"reject: {len(rows[0]['ids'])} images" in curator("clusters", "reject", "1").output
    assert "keep: " in curator("clusters", "keep", "1").output
    before = CliRunner().invoke(cli, ["clusters", "-i", str(filled.folder), "keep", "1"], prog_name="curator")
    assert "keep: 0 images" in before.output, "-i may stand before the subcommand"


@pytest.mark.filterwarnings("ignore")
def test_splits_that_lack_a_column_load_together(filled: Index, tmp_path: Path) -> None:
    """`datasets` refuses splits whose columns have other types, and a column of nulls alone has one of its own."""
    import datasets

    (tmp_path / "pictures/a/000.txt").write_text("a thing")
    ingest(filled, [tmp_path / "pictures"], PixelEncoder(), IngestOptions(label_from="folder"))
    few = select(filled, "with", Recipe(n=10, where="label = 'a'"))
    assert any(i.caption for i in filled.images(few.ids))
    select(filled, "without", Recipe(n=3, where="label = 'c'"))
    export(filled, ["with", "without"], tmp_path / "out", ExportOptions())
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert "a thing" in {r["caption"] for r in loaded["with"]}
    assert {r["caption"] for r in loaded["without"]} == {""}


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_shards(exported: Callable[..., Path], filled: Index) -> None:
    import webdataset

    root = exported("webdataset", shard=5)
    names = json.loads((root / "labels.json").read_text())
    for side, hashes in parts(filled).items():
        shards = sorted(str(p) for p in root.glob(f"{side}-*.tar"))
        rows = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
        assert {r["json"]["sha256"] for r in rows} == hashes
        for r in rows:
            assert r["png"].size == (24, 24)
            assert names[r["cls"]] == r["json"]["label"]
        with tarfile.open(shards[0]) as tar:
            assert {m.mtime for m in tar.getmembers()} == {0}


def test_coco_and_tables_hold_together(exported: Callable[..., Path], filled: Index) -> None:
    root = exported("coco")
    for side, hashes in parts(filled).items():
        found = json.loads((root / f"annotations/instances_{side}.json").read_text())
        files = {i["id"]: root / "images" / i["file_name"] for i in found["images"]}
        assert {sha256_of(f) for f in files.values()} == hashes
        categories = {c["id"]: c["name"] for c in found["categories"]}
        assert {a["image_id"] for a in found["annotations"]} == set(files)
        assert all(categories[a["category_id"]] in "abc" and a["bbox"] == [0, 0, 24, 24] for a in found["annotations"])
    rows = [json.loads(line) for line in (exported("jsonl", "j") / "images.jsonl").read_text().splitlines()]
    assert all(
        sha256_of(exported_file) == r["sha256"] for r in rows for exported_file in [root.parent / "j" / r["file"]]
    )


def test_embeddings_come_in_the_order_of_the_table(exported: Callable[..., Path], filled: Index) -> None:
    import pyarrow.parquet as pq

    root = exported("npy", link="none")
    x, ids = np.load(root / "embeddings.npy"), np.load(root / "ids.npy")
    np.testing.assert_array_equal(x, filled.reader.vectors(filled.space, ids.tolist()))
    assert not list(root.rglob("*.png"))
    other = exported("clip-retrieval", "c", link="none")
    table = pq.read_table(other / "metadata/metadata_0.parquet").to_pylist()
    np.testing.assert_array_equal(np.load(other / "img_emb/img_emb_0.npy"), x.astype(np.float16))
    assert [r["image_path"] for r in table] == [str(i.path) for i in filled.images(ids)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["imagefolder", "webdataset"])
def test_croissant_is_valid_and_its_records_are_the_images(
    exported: Callable[..., Path], filled: Index, form: str
) -> None:
    import mlcroissant

    root = exported(form)
    dataset = mlcroissant.Dataset(str(root / "croissant.json"))
    assert not dataset.metadata.issues.errors
    rows = list(dataset.records("images"))
    expected = parts(filled)
    assert {r["images/sha256"].decode() for r in rows} == expected["train"] | expected["test"]
    for entry in json.loads((root / "croissant.json").read_text())["distribution"]:
        assert sha256_of(root / entry["contentUrl"]) == entry["sha256"]


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_links_point_at_the_pictures(exported: Callable[..., Path], filled: Index, link: str) -> None:
    root = exported("imagefolder", link=link)
    pictures = sorted(root.rglob("*.png"))
    assert len(pictures) == 20
    originals = {i.path.stat().st_ino for i in filled.images(filled.reader.ids_where("1"))}
    assert all(p.stat().st_ino in originals for p in pictures)
    assert all(p.is_symlink() == (link == "symlink") for p in pictures)


def test_pictures_are_reduced_and_never_enlarged(exported: Callable[..., Path], filled: Index) -> None:
    root = exported("imagefolder", size=12)
    sizes = {Image.open(io.BytesIO(p.read_bytes())).size for p in root.rglob("*.png")}
    assert sizes == {(12, 12)}
    assert '"width": 12' in (root / "train/metadata.jsonl").read_text()
    larger = exported("imagefolder", "larger", size=99)
    assert {Image.open(io.BytesIO(p.read_bytes())).size for p in larger.rglob("*.png")} == {(24, 24)}


def test_labels_that_look_alike_as_folders_stay_apart(index: Index, tmp_path: Path) -> None:
    labels = ["a/b", "a_b", "A_B", "..", ""]
    (tmp_path / "p").mkdir()
    for number, label in enumerate(labels):
        draw(number).save(tmp_path / "p" / f"{number}.png")
        (tmp_path / "p" / f"{number}.json").write_text(json.dumps({"label": label}))
    ingest(index, [tmp_path / "p"], PixelEncoder())
    select(index, "all", Recipe())
    export(index, ["all"], tmp_path / "out", ExportOptions("imagefolder"))
    folders = {p.parent for p in (tmp_path / "out").rglob("*.png")}
    assert len({str(f).lower() for f in folders}) == 5
    assert all(f.parent == tmp_path / "out" / "train" for f in folders), "nothing leaves the export"
    rows = [json.loads(line) for line in (tmp_path / "out/train/metadata.jsonl").read_text().splitlines()]
    assert {r["label"] for r in rows} == {"a/b", "a_b", "A_B", "..", None}


@pytest.mark.parametrize("form", forms)
def test_names_that_are_no_text_are_exported(index: Index, tmp_path: Path, form: str) -> None:
    (tmp_path / "p").mkdir()
    for number in range(3):
        with Path(os.fsdecode(os.fsencode(tmp_path / "p") + b"/\xff%d.png" % number)).open("wb") as file:
            draw(number).save(file, "PNG")
    ingest(index, [tmp_path / "p"], PixelEncoder())
    made = select(index, "odd", Recipe())
    write_manifest(manifest_of(index, made), tmp_path / "m.json")
    assert replay(index, read_manifest(tmp_path / "m.json"), name="again").differences == ()
    export(index, ["odd"], tmp_path / "out", ExportOptions(form))
    assert "xff" in (tmp_path / "out/images.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", ["npy", "csv", "imagefolder"])
def test_what_is_gone_or_another_picture_is_not_exported(filled: Index, tmp_path: Path, form: str) -> None:
    made = select(filled, "few", Recipe(n=5))
    link = "copy" if form == "imagefolder" else "none"
    path = filled.images(made.ids)[2].path
    draw(999).save(path)
    ingest(filled, [tmp_path / "pictures"], PixelEncoder())
    with pytest.raises(UsageError, match="0 images of 'few' are gone and 1 have changed"):
        export(filled, ["few"], tmp_path / "out", ExportOptions(form, link=link))
    path.unlink()
    ingest(filled, [tmp_path / "pictures"], PixelEncoder())
    with pytest.raises(UsageError, match="1 images of 'few' are gone"):
        export(filled, ["few"], tmp_path / "out", ExportOptions(form, link=link))


def test_a_hard_link_is_never_written_through(filled: Index, tmp_path: Path) -> None:
    """Two selections with the same image at the same rank of a split of the same name."""
    for name in ("one", "two"):
        select(filled, name, Recipe(n=10))
        split(filled, name, {"train": 0.5, "test": 0.5})
    times = {i.path: i.path.stat().st_mtime_ns for i in filled.images(filled.reader.ids_where("1"))}
    with pytest.raises(UsageError, match="is in 'one-train' and in 'two-train'"):
        export(filled, ["one-train", "two-train"], tmp_path / "out", ExportOptions("imagefolder", link="hardlink"))
    export(filled, ["one-train", "one-test"], tmp_path / "both", ExportOptions("imagefolder", link="hardlink"))
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_a_split_cannot_lead_outside(filled: Index, tmp_path: Path) -> None:
    made = select(filled, "few", Recipe(n=4))
    with pytest.raises(UsageError, match="is no name for a part"):
        split(filled, "few", {"..": 0.5, "b": 0.5})
    manifest = manifest_of(filled, made)
    for rows in (
        [{**i, "split": "../../evil"} for i in manifest["images"]],
        [{**i, "split": "/tmp/evil"} for i in manifest["images"]],
    ):
        (tmp_path / "m.json").write_text(json.dumps({**manifest, "images": rows}))
        with pytest.raises(UsageError, match="is no name of a split"):
            read_manifest(tmp_path / "m.json")
    for broken in ("steps", "name"):
        (tmp_path / "m.json").write_text(json.dumps({k: v for k, v in manifest.items() if k != broken}))
        with pytest.raises(UsageError, match="is no manifest"):
            read_manifest(tmp_path / "m.json")


def test_extending_brings_no_duplicate_in_and_every_image_is_counted(filled: Index) -> None:
    (copy,) = [i.id for i in filled.images(filled.reader.ids_where("1")) if i.path.name == "copy.png"]
    select(filled, "begin", Recipe(where=f"id = {copy}", dedupe="none"))
    made = make(filled, "x", Recipe(extend="begin"))
    assert made.ids[0] == copy
    assert len(set(made.sha256)) == len(made) == 41
    steps = made.recipe["steps"]
    assert all(a["after"] == b["before"] for a, b in itertools.pairwise(steps))
    dedupe(filled)
    decide(filled, "reject", [copy])
    assert copy not in make(filled, "x", Recipe(extend="begin")).ids, "rejected ones never"


def test_of_duplicates_whose_keeper_is_filtered_out_one_stays(index: Index, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    piece = photo_pieces()[3]
    for name, side in (("keeper", 200), ("small", 100), ("smaller", 90)):
        piece.resize((side, side), Image.Resampling.LANCZOS).save(tmp_path / "p" / f"{name}.png")
    ingest(index, [tmp_path / "p"], PixelEncoder())
    assert len(dedupe(index).groups[0].members) == 3
    assert len(make(index, "x", Recipe())) == 1
    assert len(make(index, "x", Recipe(where="width < 150"))) == 1


def test_a_listed_selection_says_how_it_was_made(filled: Index) -> None:
    made = select(filled, "few", Recipe(n=5))
    manifest = manifest_of(filled, Selections(filled.reader).get("few"))
    assert replay(filled, manifest).differences == (), "here already, and identical"
    with pytest.raises(UsageError, match="selections do not change"):
        replay(filled, {**manifest, "digest": "other"})
    listed = replay(filled, manifest, name="listed", as_listed=True).selection
    assert listed.recipe["made_by"] == "the list of 'few'"
    assert listed.recipe["steps"] == [{"step": "listed", "before": 5, "after": 5, "facts": {}}]
    assert listed.ids.tolist() == made.ids.tolist()


def test_a_repair_saves_everything_a_person_made(filled: Index) -> None:
    made = select(filled, "few", Recipe(n=5))
    fit_concept(filled, "nice", made.ids[:2].tolist())
    label_by_probe(filled, "label")
    dedupe(filled)
    decide(filled, "not-duplicate", made.ids[:2].tolist())
    before = {t: filled.reader.rows(f"SELECT count(*) FROM {t}")[0][0] for t in SEALED}
    with sqlite3.connect(filled.folder / "index.db") as db:
        db.execute("UPDATE tags SET crc = 1")
        db.execute("INSERT INTO tags (image_id, tag, crc) VALUES (1, 'damaged', 7)")
    assert repair(filled.folder)
    with Index(filled.folder) as again:
        after = {t: again.reader.rows(f"SELECT count(*) FROM {t}")[0][0] for t in SEALED}
        assert after == before
        assert Selections(again.reader).get("few").digest == made.digest
        with again.write() as db, db.atomic():
            db.connection.execute("DELETE FROM selected WHERE rank = 2")
        with pytest.raises(IndexDamaged, match="has lost rows"):
            Selections(again.reader).get("few")


def test_an_export_that_cannot_be_leaves_nothing(exported: Callable[..., Path], filled: Index, tmp_path: Path) -> None:
    for options, says in (
        ({"form": "imagefolders"}, "did you mean 'imagefolder'"),
        ({"form": "imagefolder", "link": "none"}, "consists of pictures"),
        ({"form": "csv", "link": "symlink", "size": 9}, "--size writes new pictures"),
    ):
        with pytest.raises(UsageError, match=says):
            exported(**options)
    filled.images(Selections(filled.reader).get("few-test").ids)[0].path.write_bytes(b"changed")
    with pytest.raises(UsageError, match="has changed since it was selected"):
        exported("imagefolder")
    assert not [p.name for p in tmp_path.iterdir() if "out" in p.name], "nothing half-written"
    select(filled, "other", Recipe(n=42))
    with pytest.raises(UsageError, match="split one selection"):
        export(filled, ["few-train", "other"], tmp_path / "double")


def test_the_commands_from_end_to_end(curator: Run, tmp_path: Path) -> None:
    fill_folder(tmp_path / "pictures", 60)
    assert curator("index", "pictures", "-e", "pixels", "--label-from", "folder").exit_code == 0
    done = curator(
        "select", "few", "-n", "12", "--by", "typicality^0.5 * k-center", "--per", "label", "--sheet", "s.png"
    )
    assert done.exit_code == 0, done.stderr
    assert "few: 12 images" in done.stdout
    assert (tmp_path / "s.png").stat().st_size > 1000
    assert curator("select", "few", "-n", "9").exit_code == 2
    assert curator("selections", "manifest", "few", "-o", "few.json").exit_code == 0
    again = curator("select", "again", "--replay", "few.json")
    assert again.exit_code == 0, again.stderr
    assert curator("selections", "diff", "few", "again").exit_code == 0
    assert "12 only in few" not in curator("selections", "diff", "few", "again").stdout
    assert curator("selections", "split", "few", "train=0.5", "test=0.5").stdout.count("few-") == 2
    assert curator("selections", "union", "u", "few-train", "few-test").exit_code == 0
    assert curator("selections", "minus", "m", "few", "few-train").exit_code == 0
    listed = json.loads(curator("selections", "--json").stdout)
    assert [r["name"] for r in listed] == ["few", "again", "few-train", "few-test", "u", "m"]
    assert len(curator("selections", "show", "few", "--paths").stdout.splitlines()) == 12
    rest = curator("select", "rest", "--reference", "few", "--by", "match", "-n", "20")
    assert rest.exit_code == 0, rest.stderr
    shown = curator("preview", "rest", "--reference", "few")
    assert "random, 20 images" in shown.stdout
    assert json.loads(curator("preview", "rest", "--reference", "few", "--json").stdout)[0]["rank"] == 1
    assert curator("export", "few", "-o", "out").stdout == "out: 12 images as imagefolder.\n"
    digests = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / "out").rglob("*.png")}
    assert digests == {i["sha256"] for i in json.loads((tmp_path / "few.json").read_text())["images"]}
    assert "name a new folder" in curator("export", "few").stderr
    assert curator("selections", "drop", "u", "m").exit_code == 0
