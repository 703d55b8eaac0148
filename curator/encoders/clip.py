"""Any open_clip model, run by ONNX Runtime from exported towers, or by torch where that is faster."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.encoders import preprocess
from curator.encoders.base import Encoder
from curator.encoders.catalogue import CONFIG, Weights, parse_name
from curator.encoders.hub import local_weights
from curator.encoders.spec import IMAGE, TEXT, TowerSpec, sound_spec
from curator.encoders.tokenizer import Tokenizer
from curator.errors import EncoderError, SpaceMismatch
from curator.files import write_whole
from curator.job import cores
from curator.records import Pixels, Vectors
from curator.texts import to_json

if TYPE_CHECKING:
    import onnxruntime

    from curator.encoders.towers import TorchTowers


_LANES = 4  # at most: each holds the activations of a batch
_GPU_BATCH = 256


class ClipEncoder(Encoder):
    """Two exported towers in `folder` and the model they came from, which is loaded only when torch must run it.

    `runtime` is "onnx", "torch" or "bf16": what images are encoded with.
    """

    has_text = True

    def __init__(
        self,
        weights: Weights,
        folder: Path,
        spec: TowerSpec,
        *,
        runtime: str = "onnx",
        threads: int = 0,
        gpu: bool = False,
    ) -> None:
        self.weights, self.folder, self.spec, self.runtime = weights, folder, spec, runtime
        self._opening = threading.Lock()
        self._threads, self._gpu = threads or cores(), gpu  # of ONNX Runtime
        if gpu or (runtime != "onnx" and _device() == "cuda"):
            self.batch = _GPU_BATCH
        elif runtime == "onnx":
            self.lanes = min(self._threads, _LANES)
        self.name = weights.name
        self.dim, self.side, self.fingerprint = self.spec.dim, self.spec.preprocess.side, self.spec.fingerprint

    @property
    def precision(self) -> str:
        """Half precision where torch runs on a GPU or in bf16; "float32" else."""
        return "float32" if self.runtime == "onnx" else self.torch_towers.precision

    def prepare(self, picture: Image.Image) -> Pixels:
        """open_clip's own resize and crop."""
        return self.spec.preprocess(picture)

    def project_images(self, batch: NDArray[np.uint8]) -> Vectors:
        """(b, side, side, 3) uint8 → (b, d) float32 before normalising."""
        if self.runtime == "onnx":
            return np.asarray(self._image_session.run(None, {"x": batch})[0], np.float32)
        return self.torch_towers.project_images(batch)

    def project_in_lane(self, batch: NDArray[np.uint8]) -> Vectors:
        """The same by one of `lanes` threads: one that used every core would wait for cores that decode."""
        if self.lanes == 1:
            return self.project_images(batch)
        with self._opening:  # of lanes that begin together one loads the model
            session = self._lane_session
        return np.asarray(session.run(None, {"x": batch})[0], np.float32)

    def project_texts(self, texts: Sequence[str]) -> Vectors:
        """b texts → (b, d) float32 before normalising."""
        if self.spec.tokenizer != "clip":
            return self.torch_towers.project_texts(texts)
        return np.asarray(self._text_session.run(None, {"x": self._tokenizer(texts)})[0], np.float32)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer(self.spec.context_length)

    @cached_property
    def _image_session(self) -> onnxruntime.InferenceSession:
        return _session(self.folder / IMAGE, self._threads, gpu=self._gpu)

    @cached_property
    def _lane_session(self) -> onnxruntime.InferenceSession:
        return _session(self.folder / IMAGE, -(-self._threads // self.lanes))

    @cached_property
    def _text_session(self) -> onnxruntime.InferenceSession:
        return _session(self.folder / TEXT, self._threads)

    @cached_property
    def torch_towers(self) -> TorchTowers:
        """The model in torch, loaded on first use."""
        from curator.encoders.towers import TorchTowers

        return TorchTowers(self.weights, bf16=self.runtime == "bf16", device=_device())


def load_clip(name: str, *, runtime: str = "onnx") -> ClipEncoder:
    """Load an encoder from its weights, exporting its towers if that has not been done on this machine.

    Raises `EncoderUnavailable` where the weights are not to be had.
    """
    weights = parse_name(name)
    fingerprint = _known_export(weights)
    spec = sound_spec(cache_folder() / fingerprint) if fingerprint else None
    if spec is None:
        spec = _export(weights)
    return ClipEncoder(weights, cache_folder() / spec.fingerprint, spec, runtime=runtime)


def _export(weights: Weights) -> TowerSpec:
    """Load the weights with torch and export them, unless that has been done."""
    from curator.encoders.towers import TorchTowers, export

    towers = TorchTowers(weights)
    folder = cache_folder() / towers.spec.fingerprint
    spec = sound_spec(folder)
    if spec is None:
        export(towers, folder)
        spec = sound_spec(folder)
    if spec is None:
        raise EncoderError(
            f"the export in {folder} cannot be read back; delete the folder, or set CURATOR_CACHE to another"
        )
    _remember_export(weights, folder)
    return spec


def open_clip_space(name: str, fingerprint: str) -> ClipEncoder:
    """The encoder of a space an index already holds, from the cached export if it is there: torch stays out.

    Raises `SpaceMismatch` when the weights behind the name have changed since.
    """
    spec = sound_spec(cache_folder() / fingerprint)
    if spec is not None:
        return ClipEncoder(parse_name(name), cache_folder() / fingerprint, spec)
    encoder = load_clip(name)
    if encoder.fingerprint != fingerprint:
        raise SpaceMismatch(
            f"the weights of encoder '{name}' are not those the index was made with; bring the old ones back, "
            f"or index again with --encoder {name} to make a new space"
        )
    return encoder


def cache_folder() -> Path:
    """Where exported towers lie: `CURATOR_CACHE`, else the user's cache folder."""
    home = os.environ.get("CURATOR_CACHE")
    if home:
        return Path(home) / "encoders"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "curator" / "encoders"


def best_runtime(images: int) -> str:
    """What encodes that many images soonest: torch costs seconds to start, and then wins on a GPU or with bf16."""
    if images < 1_000:
        return "onnx"
    if Path("/dev/nvidia0").exists():
        return "torch"
    return "bf16" if _cpu_has_bf16() else "onnx"


def _cpu_has_bf16() -> bool:
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _memo(weights: Weights) -> Path | None:
    """Where the export of exactly these weights is remembered.

    Any change of file, code or library makes another name.
    """
    file = local_weights(weights)
    if file is None:
        return None
    config = (weights.folder / CONFIG).read_text() if weights.folder else ""
    stat = file.stat()
    facts = (
        str(weights),
        config,
        str(file),
        stat.st_size,
        stat.st_mtime_ns,
        preprocess.VERSION,
        version("open-clip-torch"),
    )
    return cache_folder() / "known" / f"{hashlib.sha256(repr(facts).encode()).hexdigest()}.json"


def _known_export(weights: Weights) -> str | None:
    """The fingerprint of these weights if they were exported before, found without torch."""
    memo = _memo(weights)
    try:
        return str(json.loads(memo.read_text())["fingerprint"]) if memo else None
    except (OSError, ValueError, KeyError):
        return None


def _remember_export(weights: Weights, folder: Path) -> None:
    memo = _memo(weights)
    if memo is not None:
        memo.parent.mkdir(parents=True, exist_ok=True)
        write_whole(memo, to_json({"fingerprint": folder.name}))


def _session(file: Path, threads: int, *, gpu: bool = False) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a core that waits is another's
    # Untested: no machine with a GPU was at hand. TF32 would round what the space calls float32.
    providers = [("CUDAExecutionProvider", {"use_tf32": "0"})] if gpu else []
    return onnxruntime.InferenceSession(str(file), options, providers=[*providers, "CPUExecutionProvider"])
