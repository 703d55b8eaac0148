"""Training as a person does it: on an index, by commands, and back into the index."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from curator.database import Selections
from curator.evaluation.of_runs import unseen_by
from curator.index import Index
from curator.job import Job
from curator.records import Progress
from curator.runs.inputs import pictures_of_run
from curator.runs.lookup import home_of, run_of
from curator.runs.train import plan_training, train_on
from curator.training.kinds import VaeOptions
from curator.training.numbered import find_run
from curator.training.pictures import held_out
from curator.training.trainers import options_for

Run = Callable[..., Result]
SMALL = ("--side", 8, "--width", 4, "--batch", 8, "--images", 160, "--every", 80)


def ok(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output + (str(result.exception) if result.exception else "")
    return result.output


def made(result: Result) -> dict[str, object]:
    return dict(json.loads(ok(result)[ok(result).index("{\n") :]))


def test_a_generator_and_back_into_the_index(digits: Path, curator: Run, tmp_path: Path) -> None:
    said = ok(curator("train", "gan", *SMALL, "--latent", 4, "--condition", "label", "--name", "first"))
    assert "00001-gan-first: finished after 160 images" in said
    first = made(curator("generate", "-n", 6, "--seed", 3, "--json"))
    files = [Path(str(f)) for f in first["files"]]  # type: ignore[attr-defined]
    before = [f.read_bytes() for f in files]
    (files[0]).unlink()
    again = made(curator("generate", "1", "-n", 2, "--seed", 3, "--json"))
    assert again["files"] == [str(f) for f in files[:2]]
    assert [f.read_bytes() for f in files] == before, "the same seed gives the same file"
    rows = [json.loads(line) for line in (files[0].parent / "manifest.jsonl").read_text().splitlines()]
    assert [(r["seed"], r["label"]) for r in sorted(rows, key=lambda r: r["seed"])] == [
        (3 + i, str(i % 2)) for i in range(6)
    ]
    with Index.open() as index:
        images = index.images(index.reader.ids_where("origin = 'generated'"))
        assert len(images) == 6
        assert {i.label for i in images} == {"0", "1"}
        assert len(index.reader.ids_where("run = '00001-gan-first' AND checkpoint IN (80, 160) AND seed >= 5")) == 4
    assert "Grid" in ok(curator("generate", "-n", 3, "--label", 1, "--psi", 0.5))
    ok(curator("select", "everything"))
    with Index.open() as index:
        ids = Selections(index.reader).get("everything").ids
        assert {i.origin for i in index.images(ids)} == {"real"}
    assert "knows no label 'one'" in ok(curator("generate", "--label", "one"), 2)
    assert "--condition embedding" in ok(curator("generate", "--text", "a digit"), 2)
    ok(curator("generate", "-n", 2, "--mix", 0, 1, "--interpolate", "strip.png"))
    ok(curator("generate", "-n", 2, "--interpolate", "film.webp"))
    with Image.open(tmp_path / "film.webp") as film:
        assert film.n_frames == 16  # type: ignore[attr-defined]
    assert ".png" in ok(curator("generate", "--interpolate", "film.gif"), 2)


def test_a_run_is_listed_shown_resumed_and_exported(digits: Path, curator: Run, tmp_path: Path) -> None:
    assert "No runs yet" in ok(curator("runs"))
    plan = made(curator("train", "vae", *SMALL, "--dry-run"))
    assert plan["images"] == 96
    assert not (tmp_path / "indexes/default/runs").exists()
    ok(curator("select", "zeros", "--where", "label = '0'"))
    ok(curator("train", "vae", *SMALL, "--latent", 3, "--selection", "zeros"))
    listed = json.loads(ok(curator("runs", "--json")))
    assert [(r["run"], r["status"], r["trained_on"]) for r in listed] == [("00001-vae", "finished", "zeros")]
    assert "reconstruction" in ok(curator("show", "00001-vae"))
    shown = made(curator("show", "00001-vae", "--json"))
    assert shown["checkpoints"] == [80, 160]
    ok(curator("train", "vae", "--resume", "--images", 240))
    assert json.loads(ok(curator("runs", "--json")))[0]["images_seen"] == 240
    assert "--width" in ok(curator("train", "vae", "--resume", "--width", 8), 2)
    assert "no classifier run" in ok(curator("train", "classifier", "--resume"), 2)
    for form in ("onnx", "safetensors"):
        assert form in ok(curator("runs", "export", "00001-vae", "-o", f"net.{form}", "--as", form))
        assert (tmp_path / f"net.{form}").stat().st_size > 1_000
    assert "no form 'onx'" in ok(curator("runs", "export", "00001-vae", "-o", "net.onx", "--as", "onx"), 2)
    assert "in a folder that is there" in ok(
        curator("runs", "export", "latest", "-o", "nowhere/net.onnx", "--as", "onnx"), 2
    )
    said = made(curator("reconstruct", "--sheet", "again.png", "--latents", "z.npy", "--json"))
    assert said["images"] == 96
    assert np.load(tmp_path / "z.npy").shape == (96, 3)
    with Index.open() as index:
        middle = float(said["median"])  # type: ignore[arg-type]
        assert 30 < len(index.reader.ids_where(f"reconstruction_error > {middle}")) < 60
    near = made(curator("generate", "-n", 2, "--sampler", "near", "--json"))
    assert all("near" in Path(f).name for f in near["files"])  # type: ignore[attr-defined]
    changed = next((digits / "0").glob("*.png"))
    Image.new("L", (8, 8), 200).save(changed)
    ok(curator("index"))
    assert "1 have changed" in ok(curator("train", "vae", "--resume", "--images", 320), 2)


def test_runs_are_compared(digits: Path, curator: Run, tmp_path: Path) -> None:
    """Only what differs is listed; curves and pictures of the same latents stand in one picture."""
    ok(curator("train", "gan", *SMALL, "--latent", 4))
    ok(curator("train", "gan", *SMALL, "--latent", 4, "--rate", 0.01, "--seed", 3))
    compared = made(curator("runs", "compare", "1", "2", "--json"))
    assert compared["options"] == {"rate": [0.0004, 0.01], "seed": [0, 3]}
    assert "frechet_distance" in compared["metrics"]  # type: ignore[operator]
    shown = ok(curator("runs", "compare", "1", "2", "--sheet", tmp_path / "both.png"))
    assert "rate" in shown
    assert "latent" not in shown
    assert "held-out images" in shown  # of how many the numbers are
    with Image.open(tmp_path / "both.png") as sheet:
        assert sheet.height > 400
    assert "are held out of all these runs, and intervals take 40" in ok(
        curator("runs", "compare", "1", "2", "--measure", 40), 2
    )
    ok(curator("runs", "compare", "1", "1"), 2)
    ok(curator("runs", "compare", "1", "nothing"), 2)


def test_runs_are_measured_on_images_that_none_has_seen(digits: Path, curator: Run) -> None:
    ok(curator("train", "gan", *SMALL, "--latent", 4, "--holdout", 0.6, "--condition", "label"))
    ok(curator("train", "vae", *SMALL, "--latent", 4, "--holdout", 0.5))
    said = ok(curator("train", "classifier", *SMALL, "--net", "resnet", "--holdout", 0.7))
    assert "a linear probe on the vectors of 'pixels'" in said
    assert "`curator label --probe label`" in said
    with Index.open() as index:
        runs = [find_run(home_of(index), name) for name in ("1", "2", "3")]
        ids = unseen_by(index, runs)
        digests = {h.hex() for h in Selections(index.reader).sha256_of(ids)}
        for run in runs:
            held = held_out([bytes.fromhex(r["sha256"]) for r in run.rows("manifest.jsonl")], run.options.holdout)
            rows = zip(run.rows("manifest.jsonl"), held, strict=True)
            assert not digests & {r["sha256"] for r, is_held in rows if not is_held}
    compared = made(curator("runs", "compare", "1", "2", "3", "--measure", 60, "--json"))
    measured: dict[str, list[dict[str, float] | None]] = compared["measured"]  # type: ignore[assignment]
    for metric in ("frechet_distance", "precision", "coverage"):
        first, second, none = measured[metric]
        assert none is None
        assert first
        assert first["low"] <= first["value"] <= first["high"]
        assert second
        assert second["low"] <= second["value"] <= second["high"]
    gan, vae, classifier = measured["accuracy"]
    assert gan is vae is None
    assert classifier
    assert 0 <= classifier["low"] <= classifier["value"] <= classifier["high"] <= 1
    shown = ok(curator("runs", "compare", "1", "2", "--measure", 60))
    assert "on the same unseen images" in shown
    assert "↓ frechet distance" in shown
    with Index.open() as index:
        home = home_of(index)
    ok(curator("index", "digits", "-e", "pixels", "-i", "other"))
    foreign = [str(run.folder) for run in runs[:2]]
    assert "of another index" in ok(curator("runs", "compare", *foreign, "-i", "other", "--measure", 60), 2)
    ok(curator("train", "vae", *SMALL[2:], "--side", 16, "--latent", 4, "--holdout", 0.5))
    assert "unlike sizes" in ok(curator("runs", "compare", "2", "4", "--measure", 60), 2)
    ok(curator("select", "zeros", "--where", "label = '0'"))
    ok(curator("train", "gan", *SMALL, "--latent", 4, "--selection", "zeros", "--condition", "label", "--holdout", 0.5))
    half = made(curator("runs", "compare", "1", "5", "--measure", 60, "--json"))
    assert half["measured"]["frechet_distance"][1], "images of other labels are drawn with the label that it knows"  # type: ignore[index]
    assert home.is_dir()


def test_a_classifier_labels_images_and_lists_disagreements(digits: Path, curator: Run) -> None:
    said = ok(curator("train", "classifier", "--width", 8, "--batch", 16, "--images", 1600, "--every", 800))
    assert "accuracy" in said
    wrong = next((digits / "0").glob("*.png"))
    wrong.rename(digits / "1" / wrong.name)
    ok(curator("index"))
    labelled = json.loads(ok(curator("label", "--run", "latest", "--json")))
    assert labelled["labelled"] == 96
    assert labelled["classes"] == ["0", "1"]
    assert 0 < labelled["tested"] < 30, "only what was held out is tested"
    with Index.open() as index:
        assert wrong.name in {i.path.name for i in index.images(labelled["disagreements"])}
        assert len(index.reader.ids_where("predicted = '1' AND predicted_confidence > 0.5")) > 20
    assert "makes no pictures" in ok(curator("generate", "1"), 2)
    assert "no run here makes pictures" in ok(curator("generate"), 2)
    assert "one of --classes" in ok(curator("label", "--run", "latest", "--probe", "label"), 2)


def test_a_generator_conditioned_on_embeddings(digits: Path, curator: Run) -> None:
    ok(curator("train", "gan", *SMALL, "--latent", 4, "--condition", "embedding", "--neighbours", 3))
    like = made(curator("generate", "-n", 2, "--like", "id:1", "--json"))
    mixed = made(curator("generate", "-n", 2, "--mix", "id:1", "id:2", "--json"))
    free = made(curator("generate", "-n", 2, "--no-index", "--json"))
    assert len({*like["files"], *mixed["files"], *free["files"]}) == 6  # type: ignore[misc]
    assert "no text tower" in ok(curator("generate", "--text", "a zero"), 2)
    assert "name one" in ok(curator("generate", "--text", "a zero", "--label", "0"), 2)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("gan", "--batch", 90), "too few"),
        (("classifier", "--label", "nothing"), "no column"),
        (("vae", "--selection", "label = '7'"), "holds for no image"),
        (("gan", "--net", "lit"), "did you mean 'lite'"),
        (("gan", "--optimiser", "gd"), "two networks"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(
    digits: Path, curator: Run, tmp_path: Path, words: tuple[object, ...], reason: str
) -> None:
    assert reason in ok(curator("train", *words), 2)
    assert not (tmp_path / "indexes/default/runs").exists()


def test_sizes_around_an_image_do_not_change_what_a_run_says_of_it(digits: Path, curator: Run, tmp_path: Path) -> None:
    """A run's own geometry is used, not that of the images beside it."""
    ok(curator("train", "vae", *SMALL, "--latent", 3))
    ok(curator("reconstruct", "00001-vae"))
    with Index.open() as index:
        before = index.reader.values_of("reconstruction_error")
    (tmp_path / "more").mkdir()
    Image.new("RGB", (60, 40), (200, 30, 30)).save(tmp_path / "more" / "red.png")
    ok(curator("index", "more"))
    ok(curator("reconstruct", "00001-vae"))
    with Index.open() as index:
        after = index.reader.values_of("reconstruction_error")
        assert len(index.reader.ids_where("reconstruction_error_run = '00001-vae'")) == 97
    assert all(after[i] == v for i, v in before.items())


def test_each_sampler_and_condition_has_files_of_its_own(digits: Path, curator: Run) -> None:
    ok(curator("train", "vae", *SMALL, "--latent", 3))
    first = made(curator("generate", "-n", 2, "--json"))
    second = made(curator("generate", "-n", 2, "--sampler", "normal", "--json"))
    assert not {*first["files"]} & {*second["files"]}  # type: ignore[misc]


def test_pictures_of_a_person_are_never_marked_as_generated(digits: Path, curator: Run) -> None:
    ok(curator("train", "vae", *SMALL, "--latent", 3))
    assert "did not make" in ok(curator("generate", "-n", 2, "-o", digits), 2)
    with Index.open() as index:
        assert not len(index.reader.ids_where("origin = 'generated'"))


def test_generated_images_are_not_trained_on_unless_asked(digits: Path, curator: Run) -> None:
    ok(curator("train", "vae", *SMALL, "--latent", 3))
    ok(curator("generate", "-n", 5))
    assert made(curator("train", "vae", *SMALL, "--selection", "id > 0", "--dry-run"))["images"] == 96
    told = "caption IS NULL OR caption != 'origin = generated'"  # a condition that only mentions it
    assert made(curator("train", "vae", *SMALL, "--selection", told, "--dry-run"))["images"] == 96
    assert made(curator("train", "vae", *SMALL, "--origin", "any", "--dry-run"))["images"] == 101
    assert "--origin" in ok(curator("train", "vae", *SMALL, "--selection", "origin = 'generated'", "--dry-run"), 2)


def test_a_resumed_run_keeps_the_labels_it_had(digits: Path, curator: Run) -> None:
    ok(curator("train", "gan", *SMALL, "--latent", 4, "--condition", "label"))
    (digits / "0").rename(digits / "zero")
    ok(curator("index"))
    ok(curator("train", "gan", "--resume", "--images", 240))
    with Index.open() as index:
        run = find_run(home_of(index), "latest")
        assert {r["label"] for r in run.rows("manifest.jsonl")} == {"0", "1"}
        assert run.shape.classes == ("0", "1")


def test_a_resumed_run_refuses_what_it_would_ignore(digits: Path, curator: Run) -> None:
    ok(curator("train", "vae", *SMALL, "--latent", 3))
    assert "--dry-run" in ok(curator("train", "vae", "--resume", "--images", 240, "--dry-run"), 2)
    assert "cannot be negative" in ok(curator("train", "vae", "--resume", "--images", -5), 2)
    ok(curator("runs"))
    ok(curator("train", "vae", "--resume", "--images", 240))
    assert "is no name" in ok(curator("train", "vae", *SMALL, "--name", "a/b"), 2)


def test_one_bad_file_does_not_stop_a_training(digits: Path, curator: Run) -> None:
    next((digits / "0").glob("*.png")).unlink()
    said = ok(curator("train", "vae", *SMALL, "--latent", 3))
    assert "1 file is left out" in said


def test_a_picture_that_disappears_between_two_epochs_is_not_missed_until_the_run_is_resumed(
    digits: Path, curator: Run
) -> None:
    given = dict(zip((str(o)[2:] for o in SMALL[::2]), SMALL[1::2], strict=True)) | {"latent": 4, "images": 400}
    file = next(digits.rglob("*.png"))
    content = file.read_bytes()

    def lose(p: Progress) -> None:
        if p.doing == "training" and p.done == 240:  # the third epoch
            file.unlink()

    with Index.open() as index:
        plan = plan_training(index, "vae", None, given)
        run, outcome = train_on(index, plan, job=Job(show=lose))
    assert outcome.status == "finished"
    assert not file.exists()
    assert file.name in ok(curator("train", "vae", "--resume", run.name, "--images", 480), 2)
    file.write_bytes(content)
    for most in (480, 560):
        assert f"finished after {most} images" in ok(curator("train", "vae", "--resume", run.name, "--images", most))
    used = ok(curator("train", "vae", "--resume", run.name, "--images", 0, "--max-minutes", 0.0001), 2)
    assert "--max-minutes counts them all; ask for more" in used
    assert "has seen 560 images" in ok(curator("train", "vae", "--resume", run.name, "--images", 480), 2)
    for _ in range(2):
        minutes = run.state["seconds"] / 60 + 1 / 15  # whatever a busy machine used so far
        limited = ok(curator("train", "vae", "--resume", run.name, "--images", 0, "--max-minutes", minutes))
        assert "out of time" in limited or "finished" in limited


def test_what_a_run_says_of_files_that_cannot_be_read(digits: Path, curator: Run) -> None:
    """They are left out, a whole block of them too; an error says so where that is all of them."""
    ok(curator("train", "vae", *SMALL, "--latent", 3))
    files = sorted(digits.rglob("*.png"))
    with Index.open() as index:
        first = {i.path: i.id for i in index.images(index.reader.ids_where("id <= 16"))}
    for path in first:
        path.write_bytes(b"not a picture")
    ok(curator("reconstruct", "00001-vae", "--selection", "id = 20"))
    ok(curator("reconstruct", "00001-vae"))
    with Index.open() as index:
        assert len(index.reader.ids_where("reconstruction_error IS NOT NULL")) == 80
        blocks = pictures_of_run(index, run_of(index, "1"), index.reader.ids_where("1"), Job(), block=16)
        assert [len(b) for b in blocks] == [16] * 5
    for path in files:
        path.write_bytes(b"not a picture")
    assert "none of 96 files can be read" in ok(curator("reconstruct", "00001-vae"), 2)
    assert "none of 96 files can be read" in ok(curator("train", "vae", *SMALL, "--latent", 3), 2)


def test_a_report_tells_a_run_from_query_to_picture(digits: Path, curator: Run, tmp_path: Path) -> None:
    ok(curator("select", "ones", "--where", "label = '1'", "--by", "k-center"))
    ok(curator("selections", "split", "ones", "train=0.9", "rest=0.1"))
    ok(curator("train", "vae", *SMALL, "--latent", 3, "--selection", "ones-train", "--holdout", 0.2))
    ok(curator("report", "00001-vae", "-o", "before.html"))
    assert "Not measured" in (tmp_path / "before.html").read_text()
    ok(curator("generate", "-n", 12))
    ok(curator("report", "00001-vae", "-o", "page.html", "--reference", "label = '0'"))
    page = (tmp_path / "page.html").read_text()
    for said in ("k-center", "frechet_distance", "closest pairs", "seed 3", "curves.png", "Trained on"):
        assert said in page, said
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize(("side", "said"), [(16, "Fashion-MNIST"), (64, "clothing photos")])
def test_the_usual_preset_says_what_it_was_measured_to_be_at_this_side(side: int, said: str) -> None:
    remark = options_for("gan", {"side": side}).remark()
    assert remark.startswith(f"{side} px on a CPU: ")
    assert said in remark
    for changes in ({"preset": "dcgan"}, {"side": 128}, {"rate": 0.01}, {"width": 8}, {"augment": ("diffaug",)}):
        assert options_for("gan", {"side": side} | changes).remark() == "", changes


def test_a_vae_of_many_pictures_has_more_latent_numbers_unless_somebody_says_how_many() -> None:
    few, many = [(28, 28)] * 1_400, [(28, 28)] * 20_000

    def latent(sizes: list[tuple[int, int]], **given: object) -> int:
        options = options_for("vae", VaeOptions.suited(given, sizes))
        assert isinstance(options, VaeOptions)
        assert bool(options.remark()) == (options.latent == 64 and options.preset == "tiny")
        return options.latent

    assert (latent(few), latent(many)) == (32, 64)
    assert latent(many, latent=16) == 16
    assert latent(many, preset="gpu64") == 128
