"""Exported networks, opened by the lines that their READMEs give, where there is no curator."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

from curator.errors import UsageError
from curator.training.engine import train
from curator.training.exporting import export_run, load_classifier, load_translator
from curator.training.folder import Run
from curator.training.generator import load_generator
from curator.training.numbered import start_run
from curator.training.pairs import made_pairs
from curator.training.pictures import Bytes, Pictures, padded, pictures_of
from curator.training.trainers import TRAINERS, options_for

_SMALL = {"width": 8, "batch": 16, "images": 64}
_RUNS = {
    "dcgan": ("gan", {"side": 8, "net": "dcgan", "latent": 6}),
    "lite": ("gan", {"side": 8, "latent": 6, "condition": "label"}),
    "res": ("gan", {"side": 8, "net": "res", "latent": 6}),
    "vae": ("vae", {"side": 16, "latent": 4}),
    "bce": ("vae", {"side": 16, "latent": 4, "loss": "bce", "condition": "label"}),
    "cnn": ("classifier", {"side": 20}),
    "resnet": ("classifier", {"side": 8, "net": "resnet"}),
    "pix2pix": ("pix2pix", {"side": 32, "source": "edges"}),
}


def features(pixels: Bytes) -> np.ndarray:
    return pixels.reshape(len(pixels), -1)[:, ::8].astype("float32")


@pytest.fixture(scope="module")
def digits() -> Pictures:
    raw = load_digits()
    return pictures_of((raw.images[:256] * 15).astype("uint8"), raw.target[:256], [str(n) for n in range(10)])


@pytest.fixture(scope="module", params=list(_RUNS))
def run(request: pytest.FixtureRequest, digits: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Run:
    trainer, changes = _RUNS[request.param]
    pictures = padded(digits, int(changes["side"]))
    if trainer == "pix2pix":
        pictures = replace(pictures, pixels=made_pairs(pictures.pixels, "edges"))
    begun = start_run(tmp_path_factory.mktemp("runs"), options_for(trainer, _SMALL | changes), pictures)
    train(begun, TRAINERS[trainer].make, pictures, features)
    return begun


def opened(folder: Path, readme: Path, ending: str) -> np.ndarray:
    """What the README's lines compute, in a process that cannot import curator."""
    code = re.search(r"```python\n(.*?)```", readme.read_text(), re.S)
    assert code
    assert len(code[1].splitlines()) <= 14
    block = "import sys\nsys.modules['curator'] = None\n"
    script = f"{block}{code[1]}\nimport numpy\nnumpy.savez('out.npz', **{ending})\n"
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, timeout=120)
    with np.load(folder / "out.npz") as stored:
        return {name: stored[name] for name in stored}  # type: ignore[return-value]


def outputs(run: Run, given: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        if run.trainer == "classifier":
            return load_classifier(run)(torch.from_numpy(given["x"])).softmax(1).numpy()
        if run.trainer == "pix2pix":
            return load_translator(run)(torch.from_numpy(given["x"])).numpy()
        c = torch.from_numpy(given["c"]) if "c" in given else torch.zeros(16, 0)
        return load_generator(run).network(torch.from_numpy(given["z"]), c).numpy()


def names_of(run: Run, *, has_c: bool) -> str:
    if run.trainer == "classifier":
        return "dict(x=x, y=shares)"
    if run.trainer == "pix2pix":
        return "dict(x=x, y=pictures)"
    return "dict(z=z, c=c, y=pictures)" if has_c else "dict(z=z, y=pictures)"


def test_a_folder_of_source_and_weights_needs_no_curator(run: Run, tmp_path: Path) -> None:
    assert export_run(run, "python", tmp_path / "net") == 0
    assert not [f for f in (tmp_path / "net").glob("*.py") if "curator.training" in f.read_text()]
    given = opened(tmp_path / "net", tmp_path / "net" / "README.md", names_of(run, has_c=True))
    np.testing.assert_allclose(given["y"], outputs(run, given), atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["net"], "nothing half-written is left"


def test_onnx_is_opened_by_its_lines(run: Run, tmp_path: Path) -> None:
    assert export_run(run, "onnx", tmp_path / "net.onnx") < 1e-3
    if run.trainer == "classifier":
        names, conditioned = "dict(x=x, y=logits)", False
    else:
        conditioned = run.options.condition != "none"
        names = names_of(run, has_c=conditioned)
    given = opened(tmp_path, tmp_path / "net.onnx.md", names)
    if run.trainer == "classifier":
        given["y"] = torch.from_numpy(given["y"]).softmax(1).numpy()
    np.testing.assert_allclose(given["y"], outputs(run, given), atol=1e-3)


def test_safetensors_are_opened_by_their_lines_and_nothing_is_written_over(run: Run, tmp_path: Path) -> None:
    export_run(run, "safetensors", tmp_path / "net.safetensors")
    weights = opened(tmp_path, tmp_path / "net.safetensors.md", "weights")
    export_run(run, "python", tmp_path / "source")
    names = set(load_file(tmp_path / "net.safetensors"))
    assert names == set(load_file(tmp_path / "source" / "weights.safetensors")), "the source loads them"
    assert all(np.isfinite(array).all() for array in weights.values())
    with pytest.raises(UsageError, match="name a new file"):
        export_run(run, "safetensors", tmp_path / "net.safetensors")
    (tmp_path / "net.safetensors").unlink()
    with pytest.raises(UsageError, match="name a new file"):
        export_run(run, "safetensors", tmp_path / "net.safetensors")


def test_a_folder_that_is_there_is_taken_while_it_is_empty(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_run(run, "python", tmp_path / "out")
    assert (tmp_path / "out" / "README.md").is_file()
    with pytest.raises(UsageError, match="name a new or empty folder"):
        export_run(run, "python", tmp_path / "out")


def test_classes_with_commas_are_told_apart(digits: Pictures, tmp_path: Path) -> None:
    named = replace(digits, classes=tuple(f"n, {n}" for n in digits.classes))
    begun = start_run(tmp_path, options_for("classifier", _SMALL | {"side": 8, "net": "resnet"}), named)
    train(begun, TRAINERS["classifier"].make, named, features)
    export_run(begun, "onnx", tmp_path / "net.onnx")
    assert '["n, 0", "n, 1",' in (tmp_path / "net.onnx.md").read_text()
