"""The trainers by name: what each can be asked for, and how it is made. No torch before one is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from curator.errors import UnknownName, UsageError
from curator.registry import Registry, suggest
from curator.training.kinds import ClassifierOptions, GanOptions, Pix2pixOptions, VaeOptions
from curator.training.options import Options

if TYPE_CHECKING:
    import torch

    from curator.training.batches import Source
    from curator.training.parts import Trainer
    from curator.training.pictures import Shape


@dataclass(frozen=True)
class Training:
    """A kind of training: the dataclass of its options, and a function from a source of batches to its parts.

    `generator` makes the network that turns latents into pictures, and names it among the trainer's averages;
    `translator` that which turns pictures into pictures; None where nothing is made. `recipe` says how the network is
    made without curator: the modules of `curator.training` that its source is in, and the line that makes it; without
    one it has no form "python". A distribution registers a training under the entry-point group `curator.trainers`.
    """

    options: type[Options]
    make: Callable[[Source], Trainer]
    generator: Callable[[Any, Shape], tuple[torch.nn.Module, str]] | None = None
    translator: Callable[[Any, Shape], tuple[torch.nn.Module, str]] | None = None
    recipe: Callable[[Any, Shape], tuple[tuple[str, ...], str]] | None = None


TRAINERS: Registry[Training] = Registry("trainer")


def _gan(source: Source) -> Trainer:
    from curator.training.gan import Gan

    return Gan(source)


def _gan_generator(options: GanOptions, shape: Shape) -> tuple[torch.nn.Module, str]:
    from curator.training.gan import both_networks

    return both_networks(options, shape)[0], "generator"


def _gan_recipe(options: GanOptions, shape: Shape) -> tuple[tuple[str, ...], str]:
    sizes = f"{options.width}, {shape.side}, {shape.channels}, {options.latent}"
    return ("gan_nets",), f'gan_nets.NETS["{options.net}"]({sizes}, {shape.condition_size(options.condition)})[0]'


def _vae(source: Source) -> Trainer:
    from curator.training.vae import Vae

    return Vae(source)


def _vae_generator(options: VaeOptions, shape: Shape) -> tuple[torch.nn.Module, str]:
    from curator.training.vae import autoencoder_of

    return autoencoder_of(options, shape), "autoencoder"


def _vae_recipe(options: VaeOptions, shape: Shape) -> tuple[tuple[str, ...], str]:
    output = "vae_nets.SIGMOID" if options.loss == "bce" else "vae_nets.LINEAR"
    mean = f"torch.zeros({shape.channels}, {shape.side}, {shape.side})"
    return ("gan_nets", "vae_nets"), (
        f"vae_nets.Autoencoder(width={options.width}, side={shape.side}, mean={mean}, latent={options.latent}, "
        f"condition={shape.condition_size(options.condition)}, dropout={options.dropout}, output={output})"
    )


def _classifier(source: Source) -> Trainer:
    from curator.training.classifier import Classification

    return Classification(source)


def _classifier_recipe(options: ClassifierOptions, shape: Shape) -> tuple[tuple[str, ...], str]:
    sizes = f"{options.width}, {shape.side}, {shape.channels}, {len(shape.classes)}, {options.dropout}"
    return ("classifier_nets",), f'classifier_nets.NETS["{options.net}"]({sizes})'


def _pix2pix(source: Source) -> Trainer:
    from curator.training.pix2pix import Pix2pix

    return Pix2pix(source)


def _pix2pix_translator(options: Pix2pixOptions, shape: Shape) -> tuple[torch.nn.Module, str]:
    from curator.training.pix2pix import unet_of

    return unet_of(options, shape), "generator"


def _pix2pix_recipe(options: Pix2pixOptions, shape: Shape) -> tuple[tuple[str, ...], str]:
    return ("pix2pix_nets",), f"pix2pix_nets.UNet({options.width}, {shape.side}, {options.dropout})"


TRAINERS.register("gan")(Training(GanOptions, _gan, _gan_generator, recipe=_gan_recipe))
TRAINERS.register("vae")(Training(VaeOptions, _vae, _vae_generator, recipe=_vae_recipe))
TRAINERS.register("classifier")(Training(ClassifierOptions, _classifier, recipe=_classifier_recipe))
TRAINERS.register("pix2pix")(Training(Pix2pixOptions, _pix2pix, translator=_pix2pix_translator, recipe=_pix2pix_recipe))

# Options that do something only beside a value of another.
_ONLY: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "momentum": ("optimiser", ("sgd",)),
    "nesterov": ("optimiser", ("sgd",)),
    "beta1": ("optimiser", ("adam", "adamw")),
    "smoothing": ("loss", ("ce",)),
    "neighbours": ("condition", ("embedding",)),
    "condition_noise": ("condition", ("embedding",)),
}


def options_for(trainer: str, given: Mapping[str, Any]) -> Options:
    """Options of a trainer: the dataclass, changed by the preset, changed by what was given.

    Raises `UnknownName` for a trainer or preset there is none of, `UsageError` for what makes no sense.
    """
    kind = TRAINERS[trainer].options
    preset = str(given.get("preset", kind.usual(given)))
    if preset not in kind.presets():
        raise UnknownName(f"no preset '{preset}' for a {trainer}; {suggest(preset, kind.presets())}")
    # Registered trainers have options of their own, so what exists is asked of the dataclass.
    unknown = set(given) - {f.name for f in fields(kind)}
    if unknown:
        raise UsageError(f"a {trainer} has no option '{min(unknown)}'")
    # Later ones win: what a person gave is never changed by a preset.
    chosen = dict(kind.presets()[preset]) | {"preset": preset} | dict(given)
    _refuse_idle(kind, given, chosen)
    if given.get("max_minutes") and "images" not in given:
        chosen["images"] = 0  # as many as the time allows
    return kind(**chosen)


def _refuse_idle(kind: type[Options], given: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """Raise `UsageError` for an option that would do nothing."""
    defaults = {f.name: f.default for f in fields(kind)}
    for name, (other, values) in _ONLY.items():
        if name in given and chosen.get(other, defaults[other]) not in values:
            raise UsageError(f"--{name.replace('_', '-')} does something only with --{other} {' or '.join(values)}")


def options_from(stored: Mapping[str, Any]) -> Options:
    """What `as_json` wrote. Raises `UsageError` for what another version wrote and this one does not know."""
    # JSON has lists alone, and frozen options hold tuples.
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items() if k != "trainer"}
    try:
        kind: Callable[..., Options] = TRAINERS[stored["trainer"]].options
        return kind(**options)
    except (KeyError, TypeError, UnknownName) as error:
        raise UsageError(f"these options were written by another version of curator: {error}") from error
