"""Which encoder a name means: the short names, and the three ways to name any other open_clip model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curator.errors import EncoderUnavailable, UnknownName
from curator.registry import suggest

CONFIG = "open_clip_config.json"
# Encoders that come with curator, the default first: name → folder in open_clip's own layout.
BUNDLED = {name: Path(__file__).parent / name for name in ("small", "tiny")}


@dataclass(frozen=True)
class Entry:
    """A short name's facts.

    `megabytes` to download; `accuracy` ImageNet-1k zero-shot top-1 in %, from open_clip's docs/openclip_results.csv;
    `images_per_second` measured by scripts/bench_ingest.py on two cores (README, "Encoders").
    """

    model: str
    tag: str
    hub: str
    dim: int
    side: int
    megabytes: int
    accuracy: float
    images_per_second: float
    good_for: str


BUNDLED_RATES = {"small": 820, "tiny": 2005}  # images/s, measured as the others; `small` by its ratio to `tiny`
BUNDLED_SIDES = {"small": 96, "tiny": 64}  # pixels that each takes
BUNDLED_USES = {
    "small": "photos of everyday things, the default offline; far below `base`",
    "tiny": "drawings, icons, digits, garments, visual likeness",
}

SHORT_NAMES: dict[str, Entry] = {
    "base": Entry(
        "ViT-B-32",
        "datacomp_xl_s13b_b90k",
        "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
        512,
        224,
        605,
        69.2,
        37,
        "photos, the default",
    ),
    "medium": Entry(
        "ViT-B-16",
        "datacomp_xl_s13b_b90k",
        "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
        512,
        224,
        599,
        73.5,
        8.5,
        "photos with detail",
    ),
    "large": Entry(
        "ViT-L-14",
        "datacomp_xl_s13b_b90k",
        "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
        768,
        224,
        1710,
        79.2,
        2.1,
        "best on photos",
    ),
    "multilingual": Entry(
        "xlm-roberta-base-ViT-B-32",
        "laion5b_s13b_b90k",
        "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
        512,
        224,
        1460,
        62.4,
        37,
        "queries in about 100 languages; needs the extra `multilingual`",
    ),
}


@dataclass(frozen=True)
class Weights:
    """Where an encoder's weights are: `model` as open_clip names it, with a `tag` to fetch or a `checkpoint` on disk.

    `folder` is one in open_clip's own layout (config and weights side by side), like those of the bundled encoders.
    """

    name: str
    model: str = ""
    tag: str = ""
    checkpoint: Path | None = None
    folder: Path | None = None


def parse_name(name: str) -> Weights:
    """Read an encoder's name: `small`, `tiny`, a short name, `MODEL/TAG`, `MODEL:/path/to/checkpoint`, or a folder.

    Raises `UnknownName` for one that is none of these, `EncoderUnavailable` for a path where nothing is.
    """
    if name in BUNDLED:
        return Weights(name, folder=BUNDLED[name])
    if name in SHORT_NAMES:
        return Weights(name, SHORT_NAMES[name].model, SHORT_NAMES[name].tag)
    model, colon, path = name.partition(":")
    if colon and model:
        checkpoint = Path(path).expanduser().absolute()
        if not checkpoint.is_file():
            raise EncoderUnavailable(
                f"no checkpoint at {checkpoint}; --encoder MODEL:/path takes a .safetensors or .pt file"
            )
        return Weights(f"{model}:{checkpoint}", model, checkpoint=checkpoint)
    folder = Path(name).expanduser()
    if (folder / CONFIG).is_file():
        return Weights(str(folder.absolute()), folder=folder.absolute())
    model, slash, tag = name.rpartition("/")
    if slash and model and tag and not name.startswith(("/", ".", "~")):
        return Weights(name, model, tag)
    known = ["pixels", *BUNDLED, *SHORT_NAMES]
    raise UnknownName(
        f"no encoder '{name}'; {suggest(name, known)} Or name any open_clip model as MODEL/PRETRAINED, "
        f"MODEL:/path/to/checkpoint.safetensors, or a folder with {CONFIG}"
    )
