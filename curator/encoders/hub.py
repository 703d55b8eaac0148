"""Weights on this machine and on the hub. The only room that may use the network, and only when asked for weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from curator.encoders.catalogue import CONFIG, SHORT_NAMES, Weights
from curator.errors import EncoderUnavailable

logger = logging.getLogger("curator")

_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
_PATIENCE = 10.0  # seconds to wait for the hub's first answer; its client alone would try for a minute


def is_cached(name: str) -> bool:
    """Whether the weights of a short name lie in the hub's cache already. Asks no network."""
    return _in_cache(SHORT_NAMES[name].hub) is not None


def local_weights(weights: Weights) -> Path | None:
    """The file that holds the weights, if it can be found without open_clip, which takes 6 s to import."""
    if weights.folder is not None:
        return next(iter(sorted(weights.folder.glob("*.safetensors"))), None)
    if weights.name in SHORT_NAMES:
        return _in_cache(SHORT_NAMES[weights.name].hub)
    return weights.checkpoint


def find_weights(weights: Weights) -> Path:
    """The file that holds the weights, fetched from the hub if it must be. Raises `EncoderUnavailable`."""
    local = local_weights(weights)
    if local is not None:
        return local
    if weights.folder is not None:
        raise EncoderUnavailable(f"no .safetensors beside {weights.folder / CONFIG}")
    config = tag_config(weights)
    hub = str(config.get("hf_hub", "")).rstrip("/")
    cached = _in_cache(hub) if hub else None
    return cached or _fetch(weights, config, hub)


def tag_config(weights: Weights) -> dict[str, Any]:
    """What open_clip knows of a tag: where its weights are, and its preprocessing. Raises `EncoderUnavailable`."""
    from open_clip import list_models, list_pretrained_tags_by_model
    from open_clip.pretrained import get_pretrained_cfg

    if weights.model not in list_models():
        raise EncoderUnavailable(f"open_clip has no model '{weights.model}'; `curator encoders --all` lists its models")
    config: dict[str, Any] = get_pretrained_cfg(weights.model, weights.tag)
    if not config:
        tags = ", ".join(list_pretrained_tags_by_model(weights.model)) or "none"
        raise EncoderUnavailable(f"open_clip has no weights '{weights.tag}' for {weights.model}; there are: {tags}")
    return config


def _in_cache(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    owner, name, *file = repository.split("/")
    for candidate in file or _FILES:
        cached = try_to_load_from_cache(f"{owner}/{name}", candidate)
        if isinstance(cached, str):
            return Path(cached)
    return None


def _fetch(weights: Weights, config: dict[str, Any], hub: str) -> Path:
    from huggingface_hub import HfApi
    from open_clip.pretrained import download_pretrained

    try:
        size = "of unknown size"
        if hub:
            info = HfApi().model_info("/".join(hub.split("/")[:2]), timeout=_PATIENCE, files_metadata=True)
            sizes = [f.size or 0 for f in info.siblings or () if f.rfilename in (*_FILES, *hub.split("/")[2:])]
            size = f"{sizes[0] / 1e6:.0f} MB" if sizes else size
        logger.warning(
            "Fetching the weights of '%s' (%s/%s) from the hub, %s, once.",
            weights.name,
            weights.model,
            weights.tag,
            size,
        )
        return Path(download_pretrained(config))
    except Exception as error:  # the hub's client raises many kinds, all of which mean that they could not be had
        raise EncoderUnavailable(
            f"the weights of '{weights.name}' are not on this machine and cannot be fetched "
            f"({type(error).__name__}). Offline there are: --encoder small or tiny (bundled), --encoder pixels, or "
            f"--encoder {weights.model}:/path/to/checkpoint.safetensors"
        ) from error
