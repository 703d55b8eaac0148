"""What lies beside exported towers: everything a query needs to know of them, and their checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from curator.encoders.preprocess import Preprocess
from curator.files import problem_in
from curator.texts import to_json

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
        """As text that carries its own checksum."""
        body = to_json(asdict(self), sort_keys=True)
        return to_json(
            {"spec": json.loads(body), "sha256": hashlib.sha256(body.encode()).hexdigest()}, sort_keys=True, indent=1
        )

    @classmethod
    def from_json(cls, text: str) -> TowerSpec:
        """The reverse. Raises `ValueError` where the text is not what was written."""
        whole = json.loads(text)
        stored = whole["spec"]
        if hashlib.sha256(to_json(stored, sort_keys=True).encode()).hexdigest() != whole["sha256"]:
            raise ValueError("the spec's checksum does not fit")
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
