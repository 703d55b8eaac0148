"""Laws of the trainers, on arrays: what is random is a function of the seed, what is resumed is the same, what is asked
for is done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curator.errors import CuratorError, UsageError
from curator.job import QUIET, Job
from curator.records import Progress
from curator.training.batches import Source, distorted, scaled, shifted
from curator.training.classifier import classifier_of, judged
from curator.training.classifier_nets import cnn
from curator.training.engine import train
from curator.training.folder import Run
from curator.training.gan import LOSSES, Gan, gamma_range
from curator.training.gan_nets import NETS
from curator.training.generator import interpolated, load_generator
from curator.training.kinds import ClassifierOptions, GanOptions, VaeOptions
from curator.training.numbered import find_run, start_run
from curator.training.options import Options
from curator.training.parts import Clock, optimiser_for
from curator.training.pictures import Bytes, Pictures, Shape, padded, pictures_of, to_bytes, to_unit
from curator.training.samplers import SAMPLERS, Drawn, draw, fit_mixture, fit_second_stage
from curator.training.trainers import TRAINERS, options_for, options_from
from curator.training.vae import Vae

SMALL = {
    "gan": {"preset": "tiny", "side": 8, "width": 4, "latent": 4, "batch": 8},
    "vae": {"side": 8, "width": 4, "latent": 3, "batch": 8},
    "classifier": {"side": 8, "width": 4, "net": "resnet", "batch": 8},
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> Pictures:
    """160 handwritten digits, 8 px, bytes."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return pictures_of((found.images[:160] * 15.9).astype(np.uint8), found.target[:160], [str(d) for d in range(10)])


def features(pixels: Bytes) -> np.ndarray:
    """Pixels themselves."""
    return pixels.reshape(len(pixels), -1).astype(np.float32) / 255


def run_of(home: Path, trainer: str, pictures: Pictures, **changes: object) -> Run:
    options = options_for(
        trainer, SMALL[trainer] | {"images": 160, "every": 80, "holdout": 0.2, "precision": "fp32"} | changes
    )
    return start_run(home, options, pictures)


def trained(run: Run, pictures: Pictures, *, resume: bool = False, job: Job = QUIET) -> Run:
    train(run, TRAINERS[run.options.trainer].make, pictures, features, resume=resume, job=job)
    return run


def weights(run: Run) -> dict[str, np.ndarray]:
    return run.load_checkpoint(run.checkpoint("latest"))[0]


@pytest.mark.parametrize(("trainer", "more"), [*((t, {}) for t in SMALL), ("gan", {"preset": "dcgan", "images": 240})])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, digits: Pictures, trainer: str, more: dict[str, object]
) -> None:
    """Stopped by Ctrl-C between two checkpoints, with dropout and augmentation where the trainer has them."""
    changes = {"augment": ("flip", "shift")} | ({} if trainer == "gan" else {"dropout": 0.2}) | more
    whole = trained(run_of(tmp_path / "a", trainer, digits, **changes), digits)
    cut = run_of(tmp_path / "b", trainer, digits, **changes)

    def interrupt(p: Progress) -> None:
        if p.done == 104:
            os.kill(os.getpid(), signal.SIGINT)

    trained(cut, digits, job=Job(show=interrupt))
    assert cut.state["status"] == "interrupted"
    assert cut.checkpoint("latest") == 104
    trained(cut, digits, resume=True)
    assert cut.state["status"] == "finished"
    ours, theirs = weights(cut), weights(whole)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[k], theirs[k]) for k in ours)

    def timeless(run: Run, name: str) -> list[dict[str, object]]:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in run.rows(name)]

    for name in ("stats.jsonl", "metrics.jsonl"):
        assert timeless(cut, name) == timeless(whole, name)


@pytest.mark.parametrize("trainer", list(SMALL))
def test_a_run_explains_itself_without_pickle(tmp_path: Path, digits: Pictures, trainer: str) -> None:
    run = trained(run_of(tmp_path, trainer, digits), digits)
    options = json.loads((run.folder / "options.json").read_text())
    assert options["options"]["trainer"] == trainer
    assert {"torch", "numpy", "python"} <= set(options["versions"])
    rows = run.rows("manifest.jsonl")
    assert [r["sha256"] for r in rows] == [h.hex() for h in digits.sha256]
    assert (run.folder / "card.md").read_text().startswith(f"# {run.name}")
    assert run.rows("metrics.jsonl")[-1]["images_seen"] == 160
    assert {p.suffix for p in run.folder.rglob("*") if p.is_file()} <= {
        ".json",
        ".jsonl",
        ".safetensors",
        ".png",
        ".md",
    }
    assert bool(list((run.folder / "samples").glob("*.png"))) == (trainer != "classifier")
    assert (run.folder / "curves.png").is_file()


def test_two_processes_equal_one_with_the_double_batch(tmp_path: Path, digits: Pictures) -> None:
    """Gradients of gradients included: the GAN's penalties are on. The VAE's variance is that of the whole batch."""
    one = [trained(run_of(tmp_path / "one", trainer, digits, images=48), digits) for trainer in ("gan", "vae")]
    two = [run_of(tmp_path / "two", trainer, digits, images=48) for trainer in ("gan", "vae")]
    np.savez(tmp_path / "digits.npz", pixels=digits.pixels, labels=digits.labels)
    code = f"""
import numpy as np, torch
from pathlib import Path
from curator.training.engine import train
from curator.training.folder import Run
from curator.training.parallel import Team
from curator.training.pictures import pictures_of
from curator.training.trainers import TRAINERS
data = np.load({str(tmp_path / "digits.npz")!r})
pictures = pictures_of(data["pixels"], data["labels"], [str(d) for d in range(10)])
flat = lambda p: p.reshape(len(p), -1).astype(np.float32) / 255
with Team.join() as team:
    for folder in {[str(r.folder) for r in two]!r}:
        run = Run(Path(folder))
        train(run, TRAINERS[run.options.trainer].make, pictures, flat, team=team)
"""
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=shared | {"RANK": str(r), "LOCAL_RANK": str(r)}, stderr=subprocess.PIPE
        )
        for r in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    for mine, other in zip(two, one, strict=True):
        ours, theirs = weights(mine), weights(other)
        apart = {k: float(np.abs(ours[k] - theirs[k]).max()) for k in theirs if k.startswith("networks/")}
        assert max(apart.values()) < 2e-4, apart


def free_port() -> int:
    """A port that nobody listens on now."""
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_losses_that_leave_the_finite_numbers_end_in_a_clear_stop(tmp_path: Path, digits: Pictures) -> None:
    run = run_of(tmp_path, "classifier", digits, optimiser="sgd", rate=1e30, schedule="constant")
    said: list[str] = []
    with pytest.raises(UsageError, match="smaller --rate"):
        train(run, TRAINERS["classifier"].make, digits, features, job=Job(say=said.append))
    assert sum("half the rate" in line for line in said) == 3
    assert run.state["status"] == "diverged"
    assert all(np.isfinite(v).all() for v in weights(run).values())


@pytest.mark.parametrize(
    ("trainer", "changes", "reason"),
    [
        ("gan", {"optimiser": "gd"}, "two networks"),
        ("gan", {"dropout": 0.1}, "diffaug"),
        ("gan", {"patience": 2}, "no held-out loss"),
        ("gan", {"side": 24}, "power of two"),
        ("vae", {"augment": ("diffaug",)}, "discriminator"),
        ("vae", {"loss": "rae", "free_bits": 0.1}, "no KL term"),
        ("classifier", {"condition": "label"}, "generators"),
        ("classifier", {"side": 8}, "resnet"),
        ("classifier", {"patience": 3, "holdout": 0.0}, "holdout"),
        ("classifier", {"nesterov": True}, "sgd"),
        ("vae", {"loss": "sigmaa"}, "did you mean 'sigma'"),
        ("gan", {"preset": "tinny"}, "did you mean 'tiny'"),
        ("vae", {"gamma": 1.0}, "no option 'gamma'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(trainer: str, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(CuratorError, match=reason):
        options_for(trainer, changes)


@pytest.mark.parametrize("trainer", list(TRAINERS))
def test_every_preset_is_valid_and_survives_json(trainer: str) -> None:
    for preset in TRAINERS[trainer].options.presets():
        options = options_for(trainer, {"preset": preset})
        assert options_from(json.loads(json.dumps(options.as_json()))) == options


@pytest.mark.parametrize(("trainer", "preset"), [("gan", "gpu32"), ("gan", "gpu64"), ("vae", "gpu64")])
def test_a_preset_for_a_gpu_takes_a_step_without_one(tmp_path: Path, trainer: str, preset: str) -> None:
    """All that can be seen of it here: its networks fit its side, and what they make has that size."""
    options = options_for(trainer, {"preset": preset, "batch": 2, "images": 2, "every": 2, "holdout": 0.0})
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, options.side, options.side), np.uint8)
    run = start_run(tmp_path, options, pictures_of(pixels))
    train(run, TRAINERS[trainer].make, pictures_of(pixels), lambda x: features(x)[:, :4])
    assert run.state["status"] == "finished"
    generator = load_generator(run, "latest")
    z = generator.latent(0, sampler="normal")
    assert generator.make(z, np.zeros(0, np.float32)).shape == pixels.shape[1:]


@pytest.mark.parametrize("optimiser", ["gd", "sgd", "adam", "adamw"])
def test_every_optimiser_lowers_the_loss(tmp_path: Path, digits: Pictures, optimiser: str) -> None:
    rate = {"gd": 0.5, "sgd": 0.05}.get(optimiser, 3e-3)
    images = 160 * 12 if optimiser == "gd" else 960
    run = trained(
        run_of(tmp_path, "classifier", digits, optimiser=optimiser, rate=rate, images=images, holdout=0.0, l2=0.0),
        digits,
    )
    stats = run.rows("stats.jsonl")
    assert stats[-1]["loss"] < 0.8 * stats[0]["loss"]


def test_full_batch_descent_sees_every_picture_in_each_step(tmp_path: Path, digits: Pictures) -> None:
    run = trained(run_of(tmp_path, "classifier", digits, optimiser="gd", images=480, holdout=0.0), digits)
    assert [r["images_seen"] for r in run.rows("stats.jsonl")] == [160, 320, 480]


def test_penalties_shrink_weights(tmp_path: Path, digits: Pictures) -> None:
    def size(**changes: float) -> float:
        run = trained(
            run_of(tmp_path / str(changes), "classifier", digits, optimiser="sgd", images=400, **changes), digits
        )
        return sum(float(np.abs(v).sum()) for k, v in weights(run).items() if k.startswith("networks/") and v.ndim > 1)

    plain = size(l2=0.0)
    assert size(l2=0.0, l1=0.01) < plain
    assert size(l2=0.5) < plain


def test_early_stopping_ends_a_run_that_does_not_improve(tmp_path: Path, digits: Pictures) -> None:
    run = run_of(tmp_path, "classifier", digits, images=4_000, every=80, patience=2, rate=1e-12)
    outcome = train(run, TRAINERS["classifier"].make, digits, features)
    assert outcome.status == "stopped early"
    assert outcome.images_seen == outcome.best + 2 * 80


def test_a_time_limit_alone_plans_the_schedule(tmp_path: Path, digits: Pictures) -> None:
    options = options_for("classifier", SMALL["classifier"] | {"max_minutes": 0.05})
    assert options.images == 0
    run = start_run(tmp_path, options, digits)
    outcome = train(run, TRAINERS["classifier"].make, digits, features)
    assert outcome.status in ("finished", "out of time")
    assert outcome.images_seen > 20 * 8
    assert run.state["images"] > 0


def test_only_the_last_checkpoints_and_the_best_are_kept(tmp_path: Path, digits: Pictures) -> None:
    run = trained(run_of(tmp_path, "vae", digits, images=480, every=80, keep=2), digits)
    best = run.state["best"]
    assert run.checkpoints() == sorted({400, 480, best})


def test_a_damaged_checkpoint_is_named(tmp_path: Path, digits: Pictures) -> None:
    run = trained(run_of(tmp_path, "vae", digits), digits)
    (run.place_of(160) / "state.safetensors").write_bytes(b"not weights")
    with pytest.raises(UsageError, match=r"000000160 cannot be read"):
        load_generator(run, 160)
    (run.place_of(160) / "fitted.safetensors").unlink(missing_ok=True)
    said: list[str] = []
    train(run, TRAINERS["vae"].make, digits, features, resume=True, job=Job(say=said.append))
    assert any("at 80 images, is used" in line for line in said)


@given(seen=st.integers(0, 500), size=st.integers(1, 40))
def test_a_batch_is_a_function_of_seed_and_images_seen_and_ranks_divide_it(
    digits: Pictures, seen: int, size: int
) -> None:
    options = options_for("gan", SMALL["gan"] | {"augment": ("flip", "shift")})
    device = torch.device("cpu")
    whole = Source(digits, options, device).batch(seen, size)
    shares = [Source(digits, options, device, rank, 2).batch(seen, size) for rank in range(2)]
    z = whole.normal(3)
    drawn = [s.normal(3) for s in shares]
    for rank in range(2):
        assert torch.equal(shares[rank].x, whole.x[rank::2])
        assert torch.equal(drawn[rank], z[rank::2])


def test_an_epoch_sees_every_picture_once(digits: Pictures) -> None:
    source = Source(digits, options_for("vae", SMALL["vae"]), torch.device("cpu"))
    seen = np.concatenate([source._positions(160 + i * 32, 32) for i in range(5)])
    assert sorted(seen.tolist()) == list(range(160))


def test_nothing_is_mirrored_unless_asked(digits: Pictures) -> None:
    plain = Source(digits, options_for("gan", SMALL["gan"]), torch.device("cpu")).batch(0, 32)
    at = Source(digits, options_for("gan", SMALL["gan"]), torch.device("cpu"))._positions(0, 32)
    assert torch.equal(plain.x, to_unit(torch.from_numpy(digits.pixels[at])))
    flipped = Source(digits, options_for("gan", SMALL["gan"] | {"augment": ("flip",)}), torch.device("cpu")).batch(
        0, 32
    )
    same = (flipped.x == plain.x).flatten(1).all(1)
    mirrored = (flipped.x == plain.x.flip(3)).flatten(1).all(1)
    assert bool((same | mirrored).all())
    assert 4 < int(mirrored.sum()) < 28


def test_augmentations_are_differentiable_and_shifts_move_content(digits: Pictures) -> None:
    source = Source(digits, options_for("gan", SMALL["gan"]), torch.device("cpu"))
    for change in (distorted, shifted):
        batch = source.batch(0, 16)
        x = batch.x.clone().requires_grad_(True)
        y = change(batch, x)
        assert y.shape == x.shape
        y.sum().backward()
        assert x.grad is not None
        assert float(x.grad.abs().sum()) > 0


def test_bytes_survive_the_range_of_training() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    x = to_unit(torch.from_numpy(every))
    assert float(x.min()) == -1.0
    assert float(x.max()) == 1.0
    assert np.array_equal(to_bytes(x), every)


def test_padding_is_cut_off_what_is_generated() -> None:
    pictures = padded(pictures_of(np.arange(2 * 28 * 28).reshape(2, 28, 28).astype(np.uint8)), 32)
    assert pictures.pixels.shape == (2, 1, 32, 32)
    assert np.array_equal(to_bytes(to_unit(torch.from_numpy(pictures.pixels)), pictures.border), pictures.inner)


def test_copies_are_held_out_together_and_more_pictures_move_none(digits: Pictures) -> None:
    twice = pictures_of(np.concatenate([digits.pixels, digits.pixels]))
    _, held = twice.divide(0.3)
    first, second = held.ids[held.ids < 160], held.ids[held.ids >= 160] - 160
    assert 20 < len(first) < 80
    assert np.array_equal(first, second)
    _, fewer = digits.divide(0.3)
    assert np.array_equal(fewer.ids, first)


@pytest.mark.parametrize("net", list(NETS))
@pytest.mark.parametrize("condition", [0, 5])
@pytest.mark.parametrize("side", [8, 32])
def test_every_pair_of_networks_fits(net: str, condition: int, side: int) -> None:
    generator, discriminator = NETS[net](8, side, 3, 6, condition)
    c = torch.randn(4, condition)
    x = generator(torch.randn(4, 6), c)
    assert x.shape == (4, 3, side, side)
    assert discriminator(x, c).shape == (4,)
    if net != "dcgan":
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for n in (generator, discriminator) for m in n.modules())


@pytest.mark.parametrize("loss", list(LOSSES))
def test_a_discriminator_that_is_right_has_the_smaller_loss_and_the_generator_the_larger(loss: str) -> None:
    of_d, of_g = LOSSES[loss]
    high, low = torch.full((4,), 0.9), torch.full((4,), -0.9)
    assert float(of_d(high, low)) < float(of_d(low, high))
    assert float(of_g(high, low)) > float(of_g(low, high))


def test_penalties_are_the_squared_gradients(digits: Pictures) -> None:
    """Of a discriminator that is linear in the picture they are |w|², whatever the picture."""
    options = options_for("gan", SMALL["gan"] | {"gamma": 3.0, "precision": "fp32"})
    source = Source(digits, options, torch.device("cpu"))
    gan = Gan(source)

    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.randn(64))

        def forward(self, x: torch.Tensor, _c: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) @ self.w

    gan.discriminator = Linear()
    loss, numbers = gan.judge(source.batch(0, 8), Clock(0, 100))
    size = gan.discriminator.w.square().sum()
    assert torch.allclose(numbers["r1"], size)
    assert torch.allclose(numbers["r2"], size)
    batch = source.batch(0, 8)
    with torch.no_grad():
        fake = gan.generator(batch.normal(4), batch.c)
        plain = LOSSES["relativistic"][0](gan.discriminator(batch.x, batch.c), gan.discriminator(fake, batch.c))
    assert torch.allclose(loss, plain + 3.0 * size, rtol=1e-4)


@pytest.mark.parametrize(("side", "start"), [(32, 1.0), (64, 2.0), (128, 20.0)])
def test_penalties_weigh_as_in_the_paper_and_fall_tenfold(side: int, start: float) -> None:
    options = options_for("gan", {"side": side, "net": "res"})
    assert isinstance(options, GanOptions)
    assert gamma_range(options) == (start, start / 10)


def test_neighbours_stand_in_for_a_conditioning_picture(digits: Pictures) -> None:
    from dataclasses import replace

    x = features(digits.pixels)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    near = np.argsort(-(x @ x.T), 1)[:, :4]
    pictures = replace(digits, embeddings=x, neighbours=near)
    options = options_for("gan", SMALL["gan"] | {"condition": "embedding", "condition_noise": 0.0})
    source = Source(pictures, options, torch.device("cpu"))
    at = source._positions(0, 64)
    batch = source.batch(0, 64)
    lengths = batch.c.norm(dim=1).numpy()
    assert np.allclose(lengths, np.sqrt(x.shape[1]), rtol=1e-4)
    unit = batch.c.numpy() / lengths[:, None]
    assert np.allclose(unit, x[at], atol=1e-5)
    shown = to_bytes(batch.x)
    allowed = [{digits.pixels[j].tobytes() for j in near[i]} for i in at]
    assert all(p.tobytes() in a for p, a in zip(shown, allowed, strict=True))
    assert any(p.tobytes() != digits.pixels[i].tobytes() for p, i in zip(shown, at, strict=True))


@pytest.mark.parametrize("output", ["sigmoid", None])
def test_a_sigmoid_under_the_optimal_variance_collapses_and_ours_does_not(output: str | None) -> None:
    """Dark pictures with a bright square somewhere: after as many steps ours has learnt them, the sigmoid draws
    black."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((512, 16, 16), np.uint8)
    for picture, (x, y) in zip(pixels, rng.integers(0, 13, (512, 2)), strict=True):
        picture[y : y + 3, x : x + 3] = 255
    pictures = pictures_of(pixels)
    options = options_for(
        "vae", {"side": 16, "width": 8, "latent": 8, "batch": 64, "rate": 1e-2, "precision": "fp32", "warmup": 0.3}
    )
    source = Source(pictures, options, torch.device("cpu"))
    torch.manual_seed(0)
    vae = Vae(source, output=output)
    (phase,) = vae.phases
    for step in range(150):
        loss, numbers = vae.loss(source.batch(step * 64, 64), Clock(step * 64, 150 * 64))
        phase.optimiser.zero_grad()
        loss.backward()
        phase.optimiser.step()
    variance = float(to_unit(torch.from_numpy(pixels)).var())
    share = float(numbers["mean_squared_error"]) / variance
    assert share > 0.9 if output == "sigmoid" else share < 0.6


@pytest.mark.parametrize("loss", VaeOptions.losses)
def test_every_loss_of_the_vae_learns(tmp_path: Path, digits: Pictures, loss: str) -> None:
    run = trained(run_of(tmp_path, "vae", digits, loss=loss, images=1_600, every=1_600, width=8, rate=3e-3), digits)
    stats = run.rows("stats.jsonl")
    assert stats[-1]["mean_squared_error"] < 0.95 * stats[0]["mean_squared_error"]


@pytest.fixture(scope="module")
def fitted() -> dict[str, np.ndarray]:
    """Latents in two far clusters, labelled 0 and 1."""
    rng = np.random.default_rng(0)
    means = np.concatenate([rng.normal(-5, 0.3, (200, 2)), rng.normal(5, 0.3, (200, 2))]).astype(np.float32)
    labels = np.repeat([0, 1], 200)
    found = {"means": means, "log_variances": np.full((400, 2), -6, np.float32), "labels": labels}
    return found | fit_mixture(means, np.full(400, -1), rng) | fit_second_stage(found, 0, steps=1_000)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_draws_the_same_for_a_seed_and_something_else_for_another(
    fitted: dict[str, np.ndarray], sampler: str
) -> None:
    first, again, other = (draw(sampler, fitted, 2, Drawn(seed)) for seed in (3, 3, 4))
    assert first.shape == (2,)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("sampler", ["gmm", "two-stage", "near"])
def test_a_fitted_sampler_draws_where_latents_are(fitted: dict[str, np.ndarray], sampler: str) -> None:
    z = np.stack([draw(sampler, fitted, 2, Drawn(seed)) for seed in range(200)])
    close = np.minimum(np.abs(z - 5).max(1), np.abs(z + 5).max(1)) < 1.5
    assert close.mean() > (
        0.4 if sampler == "two-stage" else 0.95
    )  # one continuous decoder cannot jump between two islands
    assert 0.2 < (z[:, 0] > 0).mean() < 0.8


def test_a_label_narrows_what_is_drawn(fitted: dict[str, np.ndarray]) -> None:
    per_label = dict(fitted) | fit_mixture(fitted["means"], fitted["labels"], np.random.default_rng(0))
    for sampler in ("gmm", "near"):
        z = np.stack([draw(sampler, per_label, 2, Drawn(seed), 1) for seed in range(50)])
        assert (z > 0).all()


def test_the_middle_is_drawn_for_a_small_psi() -> None:
    assert np.abs(draw("normal", {}, 50, Drawn(0, 0.01))).max() < 0.1


@given(t=st.floats(0, 1))
def test_latents_between_two_keep_their_length(t: float) -> None:
    rng = np.random.default_rng(0)
    a, b = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 16)).astype(np.float32))
    assert abs(float(np.linalg.norm(interpolated(a, b, t))) - 1) < 1e-4


def test_the_tutorials_network_has_its_size() -> None:
    def count(side: int, channels: int) -> int:
        return sum(p.numel() for p in cnn(32, side, channels, 10, 0.0).parameters())

    assert count(32, 3) == 122_570
    assert count(28, 1) == 93_322


@pytest.mark.parametrize("net", ClassifierOptions.nets)
def test_a_classifier_stays_small_and_its_features_feed_its_head(net: str) -> None:
    options = options_for("classifier", {"net": net, "side": 32})
    assert isinstance(options, ClassifierOptions)
    network = classifier_of(options, Shape(3, 32, 0, tuple("abc"))).eval()
    assert sum(p.numel() for p in network.parameters()) <= 1_000_000
    x = torch.randn(2, 3, 32, 32)
    assert torch.allclose(network(x), network.head(network.features(x)))


def test_what_a_classifier_is_judged_by() -> None:
    options = options_for("classifier", {})
    assert isinstance(options, ClassifierOptions)
    p = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.7, 0.3]])
    found = judged(options, p, np.array([0, 1, 1, 0]))
    assert found["accuracy"] == 0.75
    assert found["manhattan_distance"] == pytest.approx(2 * np.mean([0.2, 0.6, 0.1, 0.3]))
    assert found["loss"] == pytest.approx(-np.mean(np.log([0.8, 0.4, 0.9, 0.7])))
    assert found["confusion"] == [[2, 0], [1, 1]]
    assert found["calibration_error"] == pytest.approx(np.mean([0.2, 0.6, 0.1, 0.3]))


def test_a_picture_depends_on_nothing_but_its_seed(tmp_path: Path, digits: Pictures) -> None:
    generator = load_generator(trained(run_of(tmp_path, "vae", digits), digits))
    alone = generator.make(generator.latent(5, sampler="gmm"), np.zeros(0, np.float32))
    again = [generator.make(generator.latent(seed, sampler="gmm"), np.zeros(0, np.float32)) for seed in range(8)][5]
    assert np.array_equal(alone, again)
    with pytest.raises(UsageError, match="not 'gaussian'"):
        load_generator(find_run(tmp_path, "latest"), sampler="gaussian")


def test_optimisers_leave_biases_undecayed() -> None:
    network = torch.nn.Linear(3, 2)
    options: Options = options_for("classifier", {"l2": 0.1})
    decays = {id(p): g["weight_decay"] for g in optimiser_for(network, options).param_groups for p in g["params"]}
    assert decays == {id(network.weight): 0.1, id(network.bias): 0.0}


def test_a_large_set_lies_in_a_file_without_a_name_and_its_parts_are_views(
    tmp_path: Path,
) -> None:
    from PIL import Image

    from curator.training.pictures import Reading, read_pictures

    paths = []
    for number in range(6):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (20, 30), (40 * number, 0, 0)).save(paths[-1])
    paths[2].write_bytes(b"not a picture")
    plain = read_pictures(paths, Reading(8))
    mapped = read_pictures(paths, Reading(8), home=tmp_path, most=0)
    assert isinstance(mapped.pixels.base, np.memmap) or isinstance(mapped.pixels, np.memmap)
    assert np.array_equal(plain.pixels, mapped.pixels)
    assert mapped.kept.tolist() == [0, 1, 3, 4, 5]
    assert "2.png" in mapped.problems[0]
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".png"] * 6
    whole = Pictures(mapped.pixels, np.zeros(5, np.int64), (), np.arange(5), tuple(bytes([i]) for i in range(5)))
    assert np.shares_memory(whole.taken(np.arange(1, 4)).pixels, mapped.pixels)


def test_pictures_are_reduced_without_aliasing(tmp_path: Path) -> None:
    """Stripes a pixel wide become grey, not a pattern of their own."""
    from PIL import Image

    from curator.training.pictures import Reading, read_pictures

    stripes = np.tile(np.array([[0, 255]], np.uint8), (97, 48))
    Image.fromarray(stripes[:, :95]).save(tmp_path / "stripes.png")
    found = read_pictures([tmp_path / "stripes.png"], Reading(16)).pixels
    assert found.shape == (1, 1, 16, 16)
    assert np.abs(found[:, :, 2:-2, 2:-2].astype(int) - 127).max() < 12


@pytest.mark.parametrize("net", list(NETS))
def test_a_condition_is_heard_from_the_first_step_on(net: str) -> None:
    """With DCGAN's own first weights, thirty times quieter, labels were not learnt at all."""
    torch.manual_seed(0)
    generator, discriminator = NETS[net](8, 32, 1, 16, 10)
    c = torch.from_numpy(scaled(np.eye(10, dtype=np.float32)))
    with torch.no_grad():
        for network in (generator, discriminator):
            assert 0.2 < float(network.condition(c).std()) < 3
