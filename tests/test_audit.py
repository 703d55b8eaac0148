"""What was made, against what it was made from: numbers, and copies found among them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from curator.cli import cli
from curator.database import Selections
from curator.drawing.scenes import draw_scene
from curator.duplicates.likeness import greys, nearest_by_pixels
from curator.encoders import PixelEncoder
from curator.evaluation.audit import audit
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.runs.lookup import find_named, held_out_ids, home_of, run_of
from curator.training.folder import Run as RunFolder
from curator.training.numbered import start_run
from curator.training.pictures import Pictures
from curator.training.trainers import options_for

Run = Callable[..., Result]
PLANTED = ("exact", "shifted", "noisy", "mirrored")


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """(1797, 32, 32) digits, enlarged."""
    from sklearn.datasets import load_digits

    small = [Image.fromarray((d * 15.9).astype(np.uint8)) for d in load_digits().images]
    return np.stack([np.asarray(p.resize((32, 32), Image.Resampling.BICUBIC)) for p in small])


def planted(picture: np.ndarray, how: str, rng: np.random.Generator) -> np.ndarray:
    """A copy that was hidden a little."""
    if how == "shifted":
        return np.roll(picture, (1, -1), (0, 1))
    if how == "noisy":
        return np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
    return picture[:, ::-1] if how == "mirrored" else picture


def test_copies_are_nearest_to_what_they_are_copies_of(digits: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    y = greys([Image.fromarray(d) for d in digits[:400]])
    for how in PLANTED:
        x = greys([Image.fromarray(np.ascontiguousarray(planted(d, how, rng))) for d in digits[:40]])
        found = nearest_by_pixels(x, y)
        assert (found.position == np.arange(40)).mean() > 0.97, how
        assert np.median(found.difference) < 10
        if how == "mirrored":
            assert found.transform.count("mirror") > 30
    alone = nearest_by_pixels(y[:40], y, own=np.arange(40))
    assert (alone.position != np.arange(40)).all()
    assert np.median(alone.difference) > 20


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, digits: np.ndarray) -> Path:
    """A folder with what `audited` has."""
    home = tmp_path_factory.mktemp("audited")
    place = home / "indexes" / "default"

    def curator(*words: object) -> None:
        done = CliRunner().invoke(cli, [str(w) for w in words] + ["-i", str(place)], prog_name="curator")
        assert done.exit_code == 0, done.output

    for number in range(500):
        path = home / "digits" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(digits[number]).save(path)
    curator("index", home / "digits", "-e", "pixels")
    curator("train", "vae", "--side", 32, "--width", 4, "--images", 64, "--holdout", 0.3)
    with Index.open(str(place)) as index:
        run = find_named(index, "00001-vae")
        assert run is not None
        held = set(held_out_ids(run).tolist())
        trained = [int(i.path.stem) for i in index.images(index.reader.ids_where("1")) if i.id not in held]
    rng = np.random.default_rng(1)
    made = home / "made"
    made.mkdir()
    rows = []
    for k in range(80):
        how = PLANTED[k % 4]
        Image.fromarray(np.ascontiguousarray(planted(digits[trained[k]], how, rng))).save(made / f"{how}-{k}.png")
    for k in range(40):
        Image.fromarray(digits[1700 + k]).save(made / f"new-{k}.png")
    board = (np.indices((32, 32)) // 2).sum(0) % 2 * 120 + 60
    for k in range(20):
        Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)).save(made / f"noise-{k}.png")
        Image.fromarray(np.roll(board, k, 0).astype(np.uint8)).save(made / f"board-{k}.png")
    for file in made.glob("*.png"):
        rows.append(json.dumps({"file_name": file.name, "run": "00001-vae", "planted": file.name.partition("-")[0]}))
    (made / "manifest.jsonl").write_text("\n".join(rows) + "\n")
    curator("index", made, "--origin", "generated")
    return home


@pytest.fixture
def audited(made_once: Path, tmp_path: Path, curator: Run) -> str:
    """A run on 500 digits of which some were held out, with 160 "generated" pictures: planted copies, digits it
    never saw, noise and chequerboards."""
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    for name in ("digits", "made"):
        assert curator("roots", "move", made_once / name, name).exit_code == 0
    return "00001-vae"


def test_planted_copies_are_found_and_unseen_real_images_are_not(audited: str, curator: Run, tmp_path: Path) -> None:
    done = curator("audit", audited, "--json", "--sheet", "pairs.png", "-o", "pairs.html")
    assert done.exit_code == 1, done.output
    found = json.loads(done.stdout)
    assert found["false_alarms"] <= 0.02
    assert found["held_off"] <= 0.1
    with Index.open() as index:
        flagged = set(index.reader.ids_where("audit IN ('copy', 'near-copy')").tolist())
        for how in PLANTED:
            ids = index.reader.ids_where(f"planted = '{how}'").tolist()
            assert np.mean([i in flagged for i in ids]) >= 0.95, how
        unseen = index.reader.ids_where("planted = 'new'").tolist()
        assert np.mean([i in flagged for i in unseen]) <= 0.05
        exact = index.reader.ids_where("planted = 'exact' AND audit = 'copy'")
        assert len(exact) == 20
        for strange in ("noise", "board"):
            off = index.reader.ids_where(f"planted = '{strange}' AND audit = 'off-distribution'")
            assert len(off) == 20, strange
        assert len(index.reader.ids_where("audit_nearest > 0 AND audit_ratio >= 0 AND authentic IN (0, 1)")) == 160
    assert (tmp_path / "pairs.png").stat().st_size > 10_000
    assert "<img" in (tmp_path / "pairs.html").read_text()
    assert curator("audit", audited, "--max-copies", 1).exit_code == 0
    assert "too few" in curator("audit", audited, "--reference", "path LIKE '1%' AND id < 30").output


def test_what_was_made_is_measured_against_what_was_held_out(audited: str, curator: Run) -> None:
    done = curator("evaluate", audited, "--json", "--rounds", 3)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    values = {n["metric"]: n for n in found["numbers"]}
    assert {
        "frechet_distance",
        "precision",
        "recall",
        "clipped_coverage",
        "kid_unit",
        "cmmd",
        "vendi",
        "sliced_wasserstein",
    } <= set(values)
    assert all(n["low"] <= n["value"] <= n["high"] for n in found["numbers"])
    assert found["n"] == 141, "copies count once, and so do the boards"
    assert set(found["anchors"]) == {"as many", "blurred", "shuffled", "noise"}
    noise, judged = found["anchors"]["noise"], found["anchors"]["as many"]
    assert noise["precision"] < judged["precision"]
    assert noise["frechet_distance"] > judged["frechet_distance"]
    assert any("equal n" in note for note in found["notes"])
    again = json.loads(
        curator(
            "evaluate", "origin = 'generated'", "--reference", "origin = 'real'", "--json", "--metric", "manifold"
        ).stdout
    )
    assert len({n["metric"] for n in again["numbers"]}) == 4
    assert again["m"] == 480, "what is judged as well is left out"
    other = json.loads(
        curator(
            "evaluate", "origin = 'real'", "--reference", "origin = 'generated'", "--json", "--metric", "vendi"
        ).stdout
    )
    assert other["n"] == 500
    assert again["distinct"] == pytest.approx(141 / 160)
    assert "did you mean 'frechet'" in curator("evaluate", audited, "--metric", "freche").output
    two = json.loads(curator("evaluate", audited, "--metric", "manifold,vendi", "--rounds", 2, "--json").stdout)
    assert len(two["numbers"]) == 6
    for named in ("00009-gan", "77", "nowhere/"):
        assert f"no run, selection or folder '{named}';" in curator("evaluate", named).output
    assert "no selection or folder 'nope'" in curator("evaluate", audited, "--reference", "nope").output
    few = curator("evaluate", "id < 20", "--reference", "id > 100", "--metric", "vendi").output
    assert "–" in few
    assert "nan" not in few
    assert "nothing is known of the intervals" in few
    assert "cannot write" in curator("evaluate", audited, "--sheet", "nowhere/x.png").output
    assert "--reference" in curator("evaluate", "origin = 'real'").output


def test_numbers_of_each_image_become_columns_and_a_sheet(audited: str, curator: Run, tmp_path: Path) -> None:
    done = curator(
        "evaluate",
        "latest",
        "--metric",
        "manifold",
        "--rounds",
        2,
        "--columns",
        "--sheet",
        "extremes.png",
        "--raw",
        "--json",
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["what"] == audited
    assert [n["space"] for n in found["numbers"]][::4] == ["pixels", "pixels, not normalised"]
    with Index.open() as index:
        kept = len(
            index.reader.ids_where(f"realism > 0 AND nearest_ratio > 0 AND measured_against = 'held out by {audited}'")
        )
        assert kept == found["n"]
        exact = index.reader.ids_where("planted = 'exact'")
        assert len(np.intersect1d(index.reader.ids_where("rarity IS NULL"), exact)) < 20
    assert (tmp_path / "extremes.png").stat().st_size > 10_000
    assert curator("label", "--classes", "a,b", "--column", "audit").exit_code == 2
    assert curator("evaluate", "latest", "--metric", "freche", "--columns").exit_code == 2
    assert "learns from two values" in curator("label", "--probe", "planted").output, "only generated ones have it"
    (tmp_path / "indexes/default/runs" / audited).rename(tmp_path / audited)
    for command in ("audit", "report", "generate"):
        assert "another index" in curator(command, tmp_path / audited).output
    (tmp_path / audited).rename(tmp_path / "indexes/default/runs" / audited)
    assert "nothing of checkpoint 0" in curator("evaluate", "latest", "--checkpoint", "0").output


def test_a_report_of_images_that_are_not_there_is_refused_and_missing_training_images_are_said(
    audited: str, curator: Run, tmp_path: Path
) -> None:
    assert curator("report", audited, "--reference", "no-such").exit_code == 2
    assert not (tmp_path / "report.html").exists()
    with Index.open() as index:
        held = set(held_out_ids(run_of(index, audited)).tolist())
        gone = [i.path for i in index.images(index.reader.ids_where("origin = 'real'")) if i.id not in held][-7:]
    for path in gone:
        path.unlink()
    assert curator("index", "digits").exit_code == 0
    found = json.loads(curator("audit", audited, "--json").stdout)
    assert found["missing"] == 7
    assert found["alarms_high"] > found["false_alarms"]
    assert 0 <= found["held_off"] <= 0.2
    sample = sorted((tmp_path / "indexes/default/runs" / audited / "samples").glob("*.png"))[-1]
    sample.write_bytes(sample.read_bytes()[:60])  # as a kill leaves it
    assert curator("report", audited).exit_code == 0
    assert "7 training images are gone" in (tmp_path / "report.html").read_text()


def untrained(index: Index, pictures: list[Image.Image], made: list[Image.Image], home: Path) -> RunFolder:
    """A run on real pictures, of which a third is held out, that is said to have made others; no network was
    trained."""
    for name, some in (("real", pictures), ("made", made)):
        (home / name).mkdir()
        for number, picture in enumerate(some):
            picture.save(home / name / f"{number:03d}.png")
    ingest(index, [home / "real"], PixelEncoder(), IngestOptions())
    ids = index.reader.ids_where("1")
    small = np.stack([np.asarray(p.convert("L").resize((16, 16))) for p in pictures])[:, None]
    known = Pictures(small, np.full(len(ids), -1), (), ids, tuple(Selections(index.reader).sha256_of(ids)))
    run = start_run(home_of(index), options_for("vae", {"side": 16, "holdout": 1 / 3}), known)
    rows = [json.dumps({"file_name": f"{number:03d}.png", "run": run.name}) for number in range(len(made))]
    (home / "made" / "manifest.jsonl").write_text("\n".join(rows) + "\n")
    ingest(index, [home / "made"], PixelEncoder(), IngestOptions(origin="generated"))
    return run


def test_cropped_copies_are_found(index: Index, tmp_path: Path) -> None:
    """They are near neither by pixels nor by hash; what lies near by vector is looked at too."""
    rng = np.random.default_rng(0)
    scenes = [draw_scene(rng, 96).picture for _ in range(150)]
    crops = [s.crop((7, 7, 89, 89)).resize((96, 96), Image.Resampling.LANCZOS) for s in scenes[:60]]
    run = untrained(index, scenes, crops, tmp_path)
    held = set(held_out_ids(run).tolist())
    stems = {i.id: i.path.stem for i in index.images(index.reader.ids_where("1"))}
    found = audit(index, run)
    known = [f for f in found.findings if stems[f.image_id] not in {stems[i] for i in held}]
    assert np.mean([f.label == "copy" and stems[f.nearest_id] == stems[f.image_id] for f in known]) > 0.6
    assert found.held_copies < 0.1


def test_pictures_of_little_contrast_are_not_copies_of_each_other(index: Index, tmp_path: Path) -> None:
    """They are within two grey levels of one another, the unseen ones too."""
    rng = np.random.default_rng(1)

    def flat() -> Image.Image:
        levels = Image.fromarray(rng.integers(20, 29, (4, 4)).astype(np.uint8))
        return levels.resize((16, 16), Image.Resampling.BICUBIC)

    run = untrained(index, [flat() for _ in range(240)], [flat() for _ in range(40)], tmp_path)
    found = audit(index, run)
    assert found.copies < 0.1
    assert found.beyond < 0.1
