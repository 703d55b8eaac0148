"""The only place that runs torch: load an open_clip model once, export its towers to ONNX, check that they agree.

Exports are cached by fingerprint, so a query never pays for torch (3 s to import) or open_clip (6 s).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from curator.embeddings import normalise
from curator.encoders import preprocess
from curator.encoders.catalogue import CONFIG, Weights
from curator.encoders.hub import find_weights, tag_config
from curator.encoders.preprocess import Preprocess
from curator.encoders.spec import IMAGE, SPEC, TEXT, TowerSpec
from curator.errors import EncoderError, EncoderUnavailable
from curator.files import sha256_of
from curator.job import cores
from curator.records import Vectors
from curator.texts import to_json

if TYPE_CHECKING:
    import torch

_PARITY = 0.9999  # least cosine between torch and the export, on fixed inputs
_OPSET = 18


class TorchTowers:
    """An open_clip model in memory. bf16 is 1.8× faster where the CPU has it.

    On a GPU images are always encoded in half precision, channels last; no machine with one was at hand, so that is
    untested.
    """

    def __init__(self, weights: Weights, *, bf16: bool = False, device: str = "cpu") -> None:
        self.weights, self.device = weights, device
        with _quietly():
            import open_clip  # noqa: F401 - here, where its remarks are kept quiet
        self._dtype = _image_dtype(device, bf16=bf16)
        self.file = find_weights(weights)
        self.model = _build(weights, self.file).to(device)
        self.spec = _spec(self.model, weights, self.file)

    def project_images(self, batch: NDArray[np.uint8]) -> Vectors:
        """(b, side, side, 3) uint8 → (b, d) float32 before normalising."""
        import torch

        tower = self._image_tower()
        with torch.inference_mode():
            x = torch.from_numpy(batch)
            if self.device == "cuda":
                x = x.pin_memory().to(self.device, non_blocking=True)  # decoding goes on while it is copied
            return np.asarray(tower(x).float().cpu().numpy(), np.float32)

    @property
    def precision(self) -> str:
        """The numbers that images are encoded in."""
        return str(self._dtype).removeprefix("torch.")

    def project_texts(self, texts: Sequence[str]) -> Vectors:
        """b texts → (b, d) float32 before normalising, with open_clip's own tokenizer."""
        import torch

        with torch.inference_mode():
            tokens = _tokenizer(self.weights)(list(texts)).to(self.device)
            return np.asarray(self.model.encode_text(tokens).float().cpu().numpy(), np.float32)

    def _image_tower(self) -> torch.nn.Module:
        import torch

        if not hasattr(self, "_tower"):
            self._tower = image_tower(self.model, self.spec.preprocess, self._dtype).to(self.device)
            if self.device == "cuda":
                self._tower.to(memory_format=torch.channels_last)
        return self._tower


def _image_dtype(device: str, *, bf16: bool) -> torch.dtype:
    import torch

    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if bf16 else torch.float32


def image_tower(model: Any, shape: Preprocess, dtype: torch.dtype) -> torch.nn.Module:
    """(b, H, W, 3) uint8 → (b, d): scaling, mean and std first, then the model's image tower in `dtype`."""
    import torch

    class ImageTower(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            model.visual.to(dtype)
            self.model = model
            self.register_buffer("mean", torch.tensor(shape.mean).view(1, 3, 1, 1) * 255)
            self.register_buffer("std", torch.tensor(shape.std).view(1, 3, 1, 1) * 255)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            pixels = (x.permute(0, 3, 1, 2).float() - self.mean) / self.std
            y: torch.Tensor = self.model.encode_image(pixels.to(dtype))
            return y

    return ImageTower().eval()


def export(towers: TorchTowers, folder: Path) -> None:
    """Write both towers and their spec into `folder`, whole or not at all.

    Raises `EncoderError` if an export disagrees with torch (least cosine below 0.9999 on fixed inputs).
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".export-", dir=folder.parent))
    try:
        _export_images(towers, beside / IMAGE)
        if towers.spec.tokenizer == "clip":
            _export_texts(towers, beside / TEXT)
        files = {f.name: sha256_of(f) for f in sorted(beside.glob("*.onnx"))}
        (beside / SPEC).write_text(replace(towers.spec, files=files).to_json())
        if folder.exists():  # damaged, or another process was faster
            shutil.rmtree(folder)
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """open_clip and timm warn and log on import and load about things that are no concern of the user's."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _build(weights: Weights, file: Path) -> Any:
    with _quietly():
        import open_clip
        import torch

        torch.set_num_threads(cores())
        torch.backends.mha.set_fastpath_enabled(False)  # its fused kernel cannot be exported
        try:
            if weights.folder is not None:
                model = open_clip.create_model(f"local-dir:{weights.folder}")
            else:
                # By file, not by tag, so that weights in the cache need no network; a tag's preprocessing comes along.
                tag = tag_config(weights) if weights.tag else {}
                model = open_clip.create_model(
                    weights.model,
                    pretrained=str(file),
                    weights_only=True,
                    require_pretrained=True,
                    force_preprocess_cfg=tag,
                    force_quick_gelu=bool(tag.get("quick_gelu")),
                )
        except (RuntimeError, ValueError, KeyError, OSError, TypeError, UnpicklingError, SafetensorError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise EncoderUnavailable(f"{file} cannot be loaded as {weights.model or weights.name}: {reason}") from error
    return model.eval()


def _spec(model: Any, weights: Weights, file: Path) -> TowerSpec:
    from open_clip import get_model_preprocess_cfg

    shape = Preprocess.from_open_clip(get_model_preprocess_cfg(model))
    config = _model_config(weights)
    text = config["text_cfg"]
    is_hf = (
        bool(text.get("hf_tokenizer_name")) or "siglip" in weights.model.lower() or bool(text.get("tokenizer_kwargs"))
    )
    digest = hashlib.sha256()
    for part in (to_json(config, sort_keys=True), sha256_of(file), str(asdict(shape)), str(preprocess.VERSION)):
        digest.update(part.encode() + b"\0")
    return TowerSpec(
        int(config["embed_dim"]),
        int(text.get("context_length", 77)),
        "hf" if is_hf else "clip",
        digest.hexdigest(),
        shape,
    )


def _model_config(weights: Weights) -> dict[str, Any]:
    if weights.folder is not None:
        return dict(json.loads((weights.folder / CONFIG).read_text())["model_cfg"])
    from open_clip import get_model_config

    return dict(get_model_config(weights.model))


def _tokenizer(weights: Weights) -> Any:
    with _quietly():
        import open_clip

        try:
            return open_clip.get_tokenizer(f"local-dir:{weights.folder}" if weights.folder else weights.model)
        except (ImportError, AttributeError, OSError) as error:
            raise EncoderUnavailable(
                f"the tokenizer of '{weights.name}' needs `pip install image-curator[multilingual]` and its files "
                f"from the hub: {error}"
            ) from error


def _export_images(towers: TorchTowers, file: Path) -> None:
    import torch

    tower = image_tower(towers.model, towers.spec.preprocess, torch.float32)
    side = towers.spec.preprocess.side
    fixed = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)
    fixed[2:] = np.linspace(0, 255, side, dtype=np.uint8)[None, :, None, None]
    fixed[3] = fixed[3].transpose(1, 0, 2)
    _export(tower, torch.from_numpy(fixed), file)


def _export_texts(towers: TorchTowers, file: Path) -> None:
    import torch

    class TextTower(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = towers.model

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.model.encode_text(tokens)
            return y

    from curator.encoders.tokenizer import Tokenizer

    fixed = Tokenizer(towers.spec.context_length)(["a red circle", "", "a photo of two dogs on a beach", "7"])
    _export(TextTower().eval(), torch.from_numpy(fixed), file)


def _export(tower: torch.nn.Module, fixed: torch.Tensor, file: Path) -> None:
    """Trace one tower on (b, …) with b free, then compare it with torch on the same inputs."""
    import onnxruntime
    import torch

    with _quietly(), torch.inference_mode():
        expected = tower(fixed).float().numpy()
        names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "b"}, "y": {0: "b"}}}
        torch.onnx.export(tower, (fixed,), str(file), opset_version=_OPSET, dynamo=False, **names)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    got = session.run(None, {"x": fixed.numpy()})[0]
    least = float(np.einsum("bd,bd->b", normalise(expected), normalise(got)).min())
    if not least > _PARITY:
        raise EncoderError(
            f"the exported {file.stem} tower disagrees with torch: least cosine {least:.6f}, {_PARITY} is required"
        )
