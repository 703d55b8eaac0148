"""A trained network as one file for other programs: safetensors, or ONNX checked against torch."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator.errors import UsageError
from curator.files import whole_folder_for_user, whole_for_user
from curator.texts import to_json
from curator.training.classifier import classifier_of
from curator.training.folder import Arrays, Run, packed
from curator.training.generator import load_generator
from curator.training.kinds import ClassifierOptions
from curator.training.opening import opened_shape, readme_of, write_python
from curator.training.state import load_network
from curator.training.trainers import TRAINERS

_OPSET = 18
_NEAR = 1e-3  # the largest difference of an output to torch's


class _Inputs(torch.nn.Module):
    """(z, c) → pictures, or z alone where nothing conditions them."""

    def __init__(self, network: torch.nn.Module, fitted: Arrays) -> None:
        super().__init__()
        self.network, self.fitted = network, fitted

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        """Pictures around [−1, 1], with their border."""
        out: torch.Tensor = self.network(z, z.new_zeros((1, 0)) if c is None else c)
        return out


def export_run(run: Run, form: str, target: Path, checkpoint: str | int = "best") -> float:
    """Write a run's averaged network → the largest difference of its outputs to torch's, 0 for what torch reads.

    `python` is a folder with the network's source, `onnx` and `safetensors` a file, beside which a README in Markdown
    has the lines that load it. ONNX has a dynamic batch; inputs are `z` and, if conditioned, `c`, or `x` in
    [−1, 1] for a classifier, whose outputs are logits, and for pictures from pictures. Raises `UsageError` where the
    file cannot be written, or ONNX Runtime computes something else.
    """
    beside_it = target.with_name(target.name + ".md")
    is_folder = form == "python"
    is_new = not target.exists() or (is_folder and target.is_dir() and not any(target.iterdir()))
    if not target.absolute().parent.is_dir() or not is_new or (not is_folder and beside_it.exists()):
        what = "a new or empty folder" if is_folder else "a new file"
        raise UsageError(f"cannot write {target}: name {what}, in a folder that is there")
    network, inputs, names = _parts(run, checkpoint)
    if is_folder:
        _write_folder(run, network, target)
        return 0.0
    # Both beside, then both in place: one without the other would be in the way of the same command.
    with whole_for_user(beside_it) as text, whole_for_user(target) as beside:
        text.write_text(readme_of(run, form, target.name), encoding="utf-8")
        if form == "safetensors":
            facts = {
                "options": to_json(run.options.as_json()),
                "shape": to_json(run.facts["shape"]),
                "run": run.name,
            }
            beside.write_bytes(packed(_weights(network), facts))
            apart = 0.0
        else:
            apart = _write_onnx(network, inputs, names, beside)
    return apart


def _write_folder(run: Run, network: torch.nn.Module, target: Path) -> None:
    """Source, weights, what latents are drawn from and a README: all of them, or no folder."""
    fitted = network.fitted if isinstance(network, _Inputs) else {}
    # What a VAE's latents are drawn from, without the latents of every training image.
    mixture = {name: a for name, a in fitted.items() if name.startswith("mixture_")}
    with whole_folder_for_user(target) as beside:
        write_python(run, _weights(network), mixture, beside)


def _weights(network: torch.nn.Module) -> dict[str, NDArray[Any]]:
    """By the names that the network's own source has: the wrapper is there for ONNX alone, which takes two inputs."""
    inner = network.network if isinstance(network, _Inputs) else network
    return {name: tensor.detach().numpy() for name, tensor in inner.state_dict().items()}


def _parts(run: Run, checkpoint: str | int) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...], list[str]]:
    options, shape = run.options, opened_shape(run)
    rng = torch.Generator().manual_seed(0)
    if TRAINERS[run.trainer].generator is None:
        network = (load_classifier if options.learns_labels else load_translator)(run, checkpoint)
        return network, (torch.rand((2, shape.channels, shape.side, shape.side), generator=rng) * 2 - 1,), ["x"]
    generator = load_generator(run, checkpoint)
    # Two of each input: a batch of one could hide an axis that was traced as fixed.
    z = torch.randn((2, len(generator.latent(0, sampler="normal"))), generator=rng)
    k = shape.condition_size(options.condition)
    wrapped = _Inputs(generator.network, generator.fitted).eval()
    return (wrapped, (z, torch.randn((2, k), generator=rng)), ["z", "c"]) if k else (wrapped, (z,), ["z"])


def load_classifier(run: Run, checkpoint: str | int = "best") -> torch.nn.Module:
    """A run's averaged classifier. Raises `UsageError` for the run of another trainer."""
    options = run.options
    if not isinstance(options, ClassifierOptions):
        raise UsageError(
            f"{run.name} trained a {options.trainer}, which says nothing of labels; name the run of a classifier"
        )
    network = classifier_of(options, run.shape)
    # The averaged weights, which are those that were measured.
    arrays, _ = run.load_checkpoint(run.checkpoint(checkpoint))
    load_network(network, arrays, "averages/classifier/")
    return network.eval()


def load_translator(run: Run, checkpoint: str | int = "best") -> torch.nn.Module:
    """A run's averaged network from pictures to pictures. Raises `UsageError` for the run of another trainer."""
    # 1. The network of the run's own options.
    make = TRAINERS[run.trainer].translator
    if make is None:
        raise UsageError(f"{run.name} trained a {run.trainer}, which draws no pictures of pictures")
    network, name = make(run.options, run.shape)
    # 2. Its averaged weights, without dropout.
    arrays, _ = run.load_checkpoint(run.checkpoint(checkpoint))
    load_network(network, arrays, f"averages/{name}/")
    return network.eval()


def _write_onnx(network: torch.nn.Module, inputs: tuple[torch.Tensor, ...], names: list[str], target: Path) -> float:
    import onnxruntime

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter(
            "ignore"
        )  # the tracing exporter is deprecated, and works for a dynamic batch without further packages
        torch.onnx.export(
            network, inputs, str(target), input_names=names, output_names=["y"], opset_version=_OPSET, dynamo=False,
            dynamic_axes={n: {0: "batch"} for n in [*names, "y"]},
        )  # fmt: skip
        # What torch says of two inputs, and of three: the batch must be free.
        wanted = network(*inputs).numpy()
        three = network(*(torch.cat([i, i[:1]]) for i in inputs)).numpy()
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    computed = session.run(None, {n: i.numpy() for n, i in zip(names, inputs, strict=True)})[0]
    wider = session.run(
        None, {n: np.concatenate([i.numpy(), i[:1].numpy()]) for n, i in zip(names, inputs, strict=True)}
    )[0]
    # The largest difference of any output, in pixels of [−1, 1] or in logits.
    apart = float(max(np.abs(computed - wanted).max(), np.abs(wider - three).max()))
    if apart > _NEAR:
        raise UsageError(
            f"ONNX Runtime computes something else than torch: outputs differ by up to {apart:.2g}; nothing was written"
        )
    return apart
