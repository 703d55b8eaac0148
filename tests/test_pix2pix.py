"""Pictures from pictures: pairs of every kind, training that resumes to the bit, drawing into the index."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from conftest import draw
from PIL import Image

from curator.encoders import PixelEncoder
from curator.errors import UsageError
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.job import Job
from curator.records import Progress
from curator.runs.pairs import paired_ids
from curator.runs.train import plan_training, resume_training, train_on
from curator.runs.translate import Translation, translate
from curator.training.kinds import Pix2pixOptions
from curator.training.pairs import coloured, input_of, made_pairs, makers
from curator.training.pictures import halves_of
from curator.training.pix2pix_nets import Patches, UNet

SMALL = {"side": 32, "width": 8, "images": 64, "every": 32, "batch": 4, "holdout": 0.2}


@pytest.fixture
def drawings(index: Index, tmp_path: Path) -> Index:
    """Forty drawings, and beside each a copy in grey under the same name in another folder."""
    for number in range(40):
        picture = draw(number).resize((48, 48))
        for folder, one in (("photos", picture), ("sketches", picture.convert("L").point(lambda v: 255 - v))):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            one.save(tmp_path / "set" / folder / f"{number:02d}.png")
    ingest(index, [tmp_path / "set"], PixelEncoder(), IngestOptions(label_from="folder"))
    return index


# Pairs


@pytest.mark.parametrize("source", list(makers))
def test_an_input_is_a_function_of_the_picture(source: str) -> None:
    pixels = np.stack([np.asarray(draw(n).resize((32, 32)).convert("RGB")).transpose(2, 0, 1) for n in range(4)])
    pairs = made_pairs(pixels, source)
    assert (pairs.shape, pairs.dtype) == ((4, 6, 32, 32), np.uint8)
    assert np.array_equal(pairs[:, 3:], pixels)
    assert np.array_equal(pairs[:, :3], made_pairs(pixels, source)[:, :3])
    assert np.array_equal(pairs[2, :3], input_of(pixels[2], source))
    assert not np.array_equal(pairs[:, :3], pixels)


def test_edges_are_dark_lines_where_brightness_changes() -> None:
    picture = np.full((3, 32, 32), 30, np.uint8)
    picture[:, :, 16:] = 220
    lines = input_of(picture, "edges")[0]
    assert lines[:, 14:18].min() < 60
    assert (lines[:, :10] == 255).all()
    assert (input_of(np.full((3, 32, 32), 99, np.uint8), "edges") == 255).all(), "nothing is drawn of nothing"


def test_pictures_are_paired_by_name(drawings: Index, tmp_path: Path) -> None:
    names = (str(tmp_path / "set/sketches"), str(tmp_path / "set/photos"))
    paired = paired_ids(drawings, *names, drawings.reader.ids_where("1"))
    a, b = paired.inputs, paired.targets
    assert (len(a), paired.lonely) == (40, (0, 0))
    assert all(x.path.stem == y.path.stem for x, y in zip(drawings.images(a), drawings.images(b), strict=True))
    draw(99).save(tmp_path / "set/photos/lonely.png")
    (tmp_path / "set/photos/more").mkdir()
    ingest(drawings, [tmp_path / "set"], PixelEncoder(), IngestOptions(label_from="folder"))
    assert paired_ids(drawings, *names, drawings.reader.ids_where("1")).lonely == (0, 1)
    draw(98).save(tmp_path / "set/photos/more/01.png")
    ingest(drawings, [tmp_path / "set"], PixelEncoder(), IngestOptions(label_from="folder"))
    with pytest.raises(UsageError, match="several files of"):
        paired_ids(drawings, *names, drawings.reader.ids_where("1"))
    with pytest.raises(UsageError, match="twice"):
        paired_ids(drawings, "id > 1", "id > 1", a)
    with pytest.raises(UsageError, match="no file of"):
        paired_ids(drawings, str(tmp_path / "set/photos/more"), "id = 1", drawings.reader.ids_where("1"))


def test_halves_are_left_and_right() -> None:
    picture = Image.new("RGB", (41, 10), "red")
    picture.paste("blue", (21, 0, 41, 10))
    left, right = halves_of(picture)
    assert (left.size, right.size) == ((20, 10), (20, 10))
    assert (left.getpixel((5, 5)), right.getpixel((5, 5))) == ((255, 0, 0), (0, 0, 255))


# Networks


@pytest.mark.parametrize("side", [32, 64, 128, 256])
def test_a_unet_keeps_the_size_and_patches_judge_many_places(side: int) -> None:
    x = torch.randn(1, 3, side, side)
    assert UNet(8, side, 0.5)(x).shape == x.shape
    logits = Patches(8, side)(torch.cat([x, x], 1))
    assert logits.shape[:2] == (1, 1)
    assert logits.shape[2] > 2


def test_a_patch_sees_34_pixels_and_no_more() -> None:
    """Its receptive field: a change beyond does not reach the logit (instance normalisation aside)."""
    network = Patches(8, 64).eval()
    for module in list(network.body):
        if isinstance(module, torch.nn.InstanceNorm2d):
            network.body[list(network.body).index(module)] = torch.nn.Identity()
    x = torch.randn(1, 6, 64, 64, requires_grad=True)
    logits = network(x)
    middle = logits.shape[2] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], x)
    rows = gradient.abs().sum((0, 1, 3)).nonzero().ravel()
    assert int(rows.max() - rows.min()) + 1 == 34


@pytest.mark.parametrize(
    "options",
    [{"side": 48}, {"source": "nothing"}, {"source": "edges", "reverse": True}, {"l1_weight": -1.0},
     {"condition": "label"}, {"optimiser": "gd"}],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Pix2pixOptions(**options)  # type: ignore[arg-type]


# Training and drawing


class StopAt(Job):
    """A job that is asked to stop once so many images were seen."""

    def __init__(self, images: int) -> None:
        super().__init__(show=self.look)
        self.images = images

    def look(self, progress: Progress) -> None:
        if progress.done >= self.images:
            self.cancel()


def test_it_learns_and_resumes_to_the_bit(drawings: Index, tmp_path: Path) -> None:
    """On held-out pairs it is nearer to the targets than at its start; stopped and resumed, it is the same run."""
    names = (str(tmp_path / "set/photos"), str(tmp_path / "set/sketches"))
    chosen = SMALL | {"pairs": names, "images": 800, "every": 400, "dropout": 0.0, "rate": 2e-3}
    run, outcome = train_on(drawings, plan_training(drawings, "pix2pix", None, chosen))
    assert outcome.status == "finished"
    rows = run.rows("metrics.jsonl")
    assert rows[-1]["l1"] < 0.6 * rows[-1]["l1_of_input"]
    assert rows[-1]["l1_of_input"] == rows[0]["l1_of_input"]
    assert {r["n"] for r in rows} == {run.facts["images"]["held_out"]}
    # 400 of the same 800 images, and then the rest.
    half, _ = train_on(drawings, plan_training(drawings, "pix2pix", None, chosen), job=StopAt(400))
    assert half.state["status"] == "interrupted"
    resume_training(drawings, "pix2pix", half.name)
    first, second = (r.load_checkpoint(800)[0] for r in (run, half))
    assert first.keys() == second.keys()
    assert all(np.array_equal(a, second[k]) for k, a in first.items())


def test_pairs_of_folders_train_and_are_remembered(drawings: Index, tmp_path: Path) -> None:
    names = (str(tmp_path / "set/sketches"), str(tmp_path / "set/photos"))
    plan = plan_training(drawings, "pix2pix", None, SMALL | {"pairs": names})
    assert (len(plan.ids), plan.options.source) == (40, "pairs")  # type: ignore[attr-defined]
    run, _ = train_on(drawings, plan)
    rows = run.rows("manifest.jsonl")
    inputs = dict(zip(plan.ids.tolist(), plan.inputs.tolist(), strict=True))  # type: ignore[union-attr]
    assert all(r["input"] == inputs[r["id"]] for r in rows)
    _, outcome = resume_training(drawings, "pix2pix", run.name, {"images": 96})
    assert outcome.images_seen == 96
    with pytest.raises(UsageError, match="left to train on"):
        plan_training(drawings, "pix2pix", None, SMALL | {"pairs": names}, origin="generated")
    draw(77).save(tmp_path / "set/sketches/03.png")
    ingest(drawings, [tmp_path / "set"], PixelEncoder(), IngestOptions(label_from="folder"))
    with pytest.raises(UsageError, match="1 have changed"):
        resume_training(drawings, "pix2pix", run.name, {"images": 128})
    (tmp_path / "set/sketches/05.png").write_bytes(b"no picture")
    (tmp_path / "set/sketches/07.png").rename(tmp_path / "set/sketches/lonely.png")
    ingest(drawings, [tmp_path / "set"], PixelEncoder(), IngestOptions(label_from="folder"))
    (tmp_path / "set/sketches/06.png").write_bytes(b"no picture either")
    lines: list[str] = []
    fewer = plan_training(drawings, "pix2pix", None, SMALL | {"pairs": names})
    assert (len(fewer.ids), fewer.lonely) == (39, (1, 1))
    less, _ = train_on(drawings, fewer, job=Job(say=lines.append))
    assert any(line.startswith("Left out: 1 input and 1 target without a partner") for line in lines)
    assert any(line.startswith("2 files are left out") and "sketches/0" in line for line in lines)
    assert len(less.rows("manifest.jsonl")) == 37
    assert "- without a partner: 1 input and 1 target" in (less.folder / "card.md").read_text()
    turned = plan_training(drawings, "pix2pix", None, SMALL | {"pairs": names, "reverse": True})
    assert set(turned.ids.tolist()) <= set(plan.inputs.tolist())  # type: ignore[union-attr]


def test_halves_train(index: Index, tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    for number in range(12):
        both = Image.new("RGB", (64, 32))
        both.paste(draw(number).resize((32, 32)), (32, 0))
        both.save(tmp_path / "pairs" / f"{number}.png")
    ingest(index, [tmp_path / "pairs"], PixelEncoder())
    (tmp_path / "pairs" / "0.png").write_bytes(b"no picture")
    ids = index.reader.ids_where("1")
    for reverse in (False, True):
        lines: list[str] = []
        options = SMALL | {"source": "halves", "reverse": reverse}
        run, _ = train_on(index, plan_training(index, "pix2pix", None, options), job=Job(say=lines.append))
        assert run.shape.channels == 6
        assert any(line.startswith("1 file is left out") for line in lines)
        # Of a picture of two the half that is the input is drawn; a half alone is drawn as it is.
        both = index.images(ids[1:2])[0].path
        half = tmp_path / f"half-{reverse}.png"
        halves_of(Image.open(both))[reverse].save(half)
        drawn = translate(index, run, Translation(str(both)), add=False, target=tmp_path / f"a{reverse}")
        alone = translate(index, run, Translation(str(half), as_is=True), add=False, target=tmp_path / f"b{reverse}")
        assert drawn.files[0].read_bytes() == alone.files[0].read_bytes()


def test_what_is_drawn_goes_into_the_index(drawings: Index, tmp_path: Path) -> None:
    run, _ = train_on(drawings, plan_training(drawings, "pix2pix", "label = 'photos'", SMALL))
    done = translate(drawings, run, Translation("label = 'photos'", n=5))
    assert len(done.files) == 5
    assert done.grid.is_file()
    rows = drawings.images(drawings.reader.ids_where(f"origin = 'generated' AND run = '{run.name}'"))
    assert len(rows) == len({f.read_bytes() for f in done.files})
    originals = {str(i.id) for i in drawings.images(drawings.reader.ids_where("label = 'photos' and origin = 'real'"))}
    assert {str(r.extra["input"]) for r in rows} <= originals
    before = [f.read_bytes() for f in done.files]
    assert [f.read_bytes() for f in translate(drawings, run, Translation("label = 'photos'", n=5)).files] == before
    one = tmp_path / "one.png"
    draw(70).save(one)
    drawn = translate(drawings, run, Translation(str(one)), add=False, target=tmp_path / "out")
    known = drawings.images(drawings.reader.ids_where("label = 'photos'")[:1])[0]
    translate(drawings, run, Translation(str(known.path)), add=False, target=tmp_path / "known")
    assert json.loads((tmp_path / "known" / "manifest.jsonl").read_text())["input"] == str(known.id)
    as_is = translate(drawings, run, Translation(str(one), as_is=True), add=False, target=tmp_path / "out")
    assert drawn.files[0].read_bytes() != as_is.files[0].read_bytes()
    (tmp_path / "bad").mkdir()
    draw(71).save(tmp_path / "bad" / "fine.png")
    draw(72).save(tmp_path / "bad" / "soon.png")
    ingest(drawings, [tmp_path / "bad"], PixelEncoder())
    (tmp_path / "bad" / "soon.png").write_bytes(b"no picture")
    assert (
        len(translate(drawings, run, Translation(str(tmp_path / "bad")), add=False, target=tmp_path / "b").files) == 1
    )
    with pytest.raises(UsageError, match="-n takes"):
        Translation("x", n=0)
    with pytest.raises(UsageError):
        translate(drawings, run, Translation("label = '" + "x" * 5_000 + "'"), add=False, target=tmp_path / "c")
    with Image.open(drawn.files[0]) as shown:
        assert shown.size == (32, 32)


def test_by_commands(drawings: Index, curator: Callable[..., Result]) -> None:
    place = ["-i", str(drawings.folder)]
    small = ["--side", 32, "--width", 8, "--images", 64, "--batch", 4, "--every", 64]
    trained = curator("train", "pix2pix", "--from", "blur", *small, *place)
    assert (trained.exit_code, "l1 of input" in trained.stdout) == (0, True), trained.stderr
    drawn = curator("generate", "--from", "label = 'photos'", "-n", 3, "--json", *place)
    assert len(json.loads(drawn.stdout)["files"]) == 3
    assert "--from" in curator("generate", "1", *place).stderr, "a run of pix2pix says what it takes"
    assert curator("train", "pix2pix", "--from", "blur", "--split-halves", *place).exit_code == 2
    assert curator("generate", "--as-is", *place).exit_code == 2
    assert "--psi does nothing" in curator("generate", "--from", "id = 1", "--psi", 0.5, *place).stderr
    card = drawings.folder / "runs" / "00001-pix2pix" / "card.md"
    assert "l1" in card.read_text()


def test_grey_and_coloured_pictures_make_pairs_of_six_channels() -> None:
    assert coloured(np.zeros((2, 1, 8, 8), np.uint8)).shape == (2, 3, 8, 8)
    assert made_pairs(np.zeros((2, 1, 8, 8), np.uint8), "grey").shape == (2, 6, 8, 8)
