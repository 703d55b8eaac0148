"""What lies beside exported towers: everything a query needs to know of them, and their checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from curator.checksums import problem_in
from curator.encoders.preprocess import Preprocess

IMAGE, TEXT, SPEC = "image.onnx", "text.onnx", "spec.json"


@dataclass(frozen=True)
class TowerSpec:
    """What the exported towers need to know. `tokenizer` is "clip", or "hf" where words go through torch."""

    dim: int
    context_length: int
    tokenizer: str
    fingerprint: str
    preprocess: Preprocess
    files: Mapping[str, str] = field(default_factory=dict)  # exported tower → SHA-256

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> TowerSpec:
        stored = json.loads(text)
        shape = stored.pop("preprocess")
        shape["mean"], shape["std"] = tuple(shape["mean"]), tuple(shape["std"])
        return cls(**stored, preprocess=Preprocess(**shape))


def sound_spec(folder: Path) -> TowerSpec | None:
    """The spec of an export that is there, whole and unchanged; None for any other."""
    try:
        spec = TowerSpec.from_json((folder / SPEC).read_text())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    wanted = {IMAGE, TEXT} if spec.tokenizer == "clip" else {IMAGE}
    return spec if wanted <= spec.files.keys() and problem_in(folder, spec.files) is None else None
