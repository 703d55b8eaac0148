"""How a trained network is opened without curator: its own source beside the weights, and the lines that load it."""

from __future__ import annotations

import inspect
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from curator.errors import UsageError
from curator.texts import to_json
from curator.training.folder import Arrays, Run, packed
from curator.training.kinds import VaeOptions
from curator.training.pictures import Shape
from curator.training.trainers import TRAINERS

README, WEIGHTS, MIXTURE = "README.md", "weights.safetensors", "mixture.safetensors"


def write_python(run: Run, weights: Arrays, mixture: Arrays, folder: Path) -> None:
    """A folder that opens anywhere with torch and safetensors: sources of the network, weights, a README.

    `mixture` is what latents are drawn from, empty for N(0, I).
    """
    recipe = TRAINERS[run.trainer].recipe
    if recipe is None:
        raise UsageError(f"a {run.trainer} has no form 'python'; take onnx or safetensors")
    modules, line = recipe(run.options, run.shape)
    for module in modules:
        source = inspect.getsource(import_module(f"curator.training.{module}"))
        (folder / f"{module}.py").write_text(source.replace("from curator.training.", "from "), encoding="utf-8")
    (folder / WEIGHTS).write_bytes(packed(weights))
    if mixture:
        (folder / MIXTURE).write_bytes(packed(mixture))
    code = [
        "import torch", "from safetensors.torch import load_file", f"import {modules[-1]}", "",
        f"network = {line}.eval()", f'network.load_state_dict(load_file("{WEIGHTS}"))',
        *_use(run, has_mixture=bool(mixture)),
    ]  # fmt: skip
    (folder / README).write_text(_text(run, code, "torch and safetensors"), encoding="utf-8")


def readme_of(run: Run, form: str, file: str) -> str:
    """What stands beside a single file: the lines that load it."""
    if form == "onnx":
        session = f"session = onnxruntime.InferenceSession({file!r})"
        code = ["import numpy as np", "import onnxruntime", "", session, *_onnx_use(run)]
        return _text(run, code, "onnxruntime")
    code = ["from safetensors.numpy import load_file", "", f"weights = load_file({file!r})  # name → array"]
    return _text(run, code, "safetensors") + (
        f"\nThe names are those of the network's layers; `curator runs export {run.name} --as python "
        "-o FOLDER` writes\nthe network's source beside its weights.\n"
    )


def _text(run: Run, code: list[str], needs: str) -> str:
    shape = opened_shape(run)
    cut = f" A border of {shape.border} pixels on each side is to be cut off." if shape.border else ""
    classes = f"\nClasses, in order: {to_json(shape.classes, ensure_ascii=False)}\n" if shape.classes else ""
    return (
        f"# {run.name}\n\nA {run.trainer} of curator, with averaged weights; pictures are {shape.channels} × "
        f"{shape.side} × {shape.side}, in [−1, 1].{cut}\nIt needs {needs}, and nothing of curator:\n\n```python\n"
        + "\n".join(code)
        + f"\n```\n{classes}"
    )


def opened_shape(run: Run) -> Shape:
    """The shape of what goes in and comes out: pairs are stored as one picture of six channels."""
    return replace(run.shape, channels=3) if TRAINERS[run.trainer].translator is not None else run.shape


def _use(run: Run, *, has_mixture: bool) -> list[str]:
    options, shape = run.options, opened_shape(run)
    x = f"torch.zeros(16, {shape.channels}, {shape.side}, {shape.side})  # pictures in [−1, 1]"
    if options.learns_labels:
        shares = f"shares = network(x).softmax(1)  # (16, {len(shape.classes)})"
        return [f"x = {x}", f"with torch.no_grad():\n    {shares}"]
    if TRAINERS[run.trainer].generator is None:
        return [f"x = {x}", "with torch.no_grad():\n    pictures = network(x)"]
    k = shape.condition_size(options.condition)
    draw = [f"z = torch.randn(16, {getattr(options, 'latent')})"]  # noqa: B009 - of every trainer with a generator
    if has_mixture:
        noise = 'torch.randn(16, m["mixture_means"].shape[1], 1)'
        draw = [
            f'm = load_file("{MIXTURE}")  # of the latents of training images',
            'j = torch.multinomial(m["mixture_weights"].float(), 16, replacement=True)',
            f'z = m["mixture_means"][j] + (m["mixture_roots"][j] @ {noise})[..., 0]',
        ]
    c = f"c = torch.zeros(16, {k})" + (f"; c[:, 0] = {k} ** 0.5  # {_condition(run)}" if k else "")
    return [*draw, c, "with torch.no_grad():\n    pictures = network(z, c)  # clip to [−1, 1]"]


def _condition(run: Run) -> str:
    return "one class, times √k" if run.options.condition == "label" else "a unit vector of the encoder, times √k"


def _onnx_use(run: Run) -> list[str]:
    options, shape = run.options, opened_shape(run)
    if TRAINERS[run.trainer].generator is None:
        x = f"x = np.zeros((16, {shape.channels}, {shape.side}, {shape.side}), np.float32)  # pictures in [−1, 1]"
        what = "logits" if options.learns_labels else "pictures"
        return [x, f'{what} = session.run(None, {{"x": x}})[0]']
    k = shape.condition_size(options.condition)
    z = f"z = np.random.default_rng(0).normal(size=(16, {getattr(options, 'latent')})).astype(np.float32)"  # noqa: B009
    if isinstance(options, VaeOptions):
        z += "  # the form `python` has the mixture that `curator generate` draws from, which is better"
    if not k:
        return [z, 'pictures = session.run(None, {"z": z})[0]  # clip to [−1, 1]']
    c = f"c = np.zeros((16, {k}), np.float32); c[:, 0] = {k} ** 0.5  # {_condition(run)}"
    return [z, c, 'pictures = session.run(None, {"z": z, "c": c})[0]  # clip to [−1, 1]']
