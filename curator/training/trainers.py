"""The trainers by name."""

from __future__ import annotations

from collections.abc import Callable

from curator.registry import Registry
from curator.training.batches import Source
from curator.training.classifier import Classification
from curator.training.gan import Gan
from curator.training.parts import Trainer
from curator.training.vae import Vae

TRAINERS: Registry[Callable[[Source], Trainer]] = Registry("trainer")


@TRAINERS.register("gan")
def gan(source: Source) -> Trainer:
    """Two networks that play against each other."""
    return Gan(source)


@TRAINERS.register("vae")
def vae(source: Source) -> Trainer:
    """An autoencoder whose latents can be drawn."""
    return Vae(source)


@TRAINERS.register("classifier")
def classifier(source: Source) -> Trainer:
    """A network that learns labels."""
    return Classification(source)
