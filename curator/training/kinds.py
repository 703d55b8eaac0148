"""The options of each trainer: its networks and losses, its presets, and what makes no sense for it.

No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from curator.training.options import Options
from curator.training.pairs import GIVEN, SOURCES

_LARGEST_NATIVE = 64  # pixels: square pictures of one size up to this are classified as they are
_LEAST_CNN = 20  # pixels that three unpadded convolutions and two poolings leave something of

_MANY, _MANY_LATENT = 20_000, 64  # pictures from which on a VAE takes so many latent numbers; see scripts/README.md

# What `quick` was measured to be, by the side from which on: ten minutes of one core, in scripts/README.md.
_MEASURED: Mapping[int, str] = {
    0: "coverage of Fashion-MNIST 0.78 where --preset dcgan has 0.66; few and simple pictures, such as digits, may do "
    "better with --preset tiny",
    64: "coverage of clothing photos 0.60, of emoji 0.59 where --preset tiny has 0.15",
}

_MOST_LATENT = 4_096  # numbers of a latent: beyond, the first layer alone would fill the memory

_DCGAN: Mapping[str, Any] = {
    "net": "dcgan", "loss": "bce", "rate": 2e-4, "beta1": 0.5, "beta2": 0.999, "schedule": "constant", "batch": 64,
    "latent": 100,
    "images": 1_000_000,
}  # fmt: skip


def _refused_latent(latent: int) -> tuple[bool, str]:
    return not 1 <= latent <= _MOST_LATENT, f"--latent takes 1 to {_MOST_LATENT} numbers, not {latent}"


@dataclass(frozen=True, kw_only=True)
class GanOptions(Options):
    """Options of a GAN.

    `gamma` → `gamma_end` weigh the gradient penalties, None for what suits the loss and `side`; `neighbours` are those
    of an image's condition (with itself) that a real sample is drawn from, with --condition embedding;
    `condition_noise` the length of noise added to it, which unit rows have 1 of.
    """

    trainer: ClassVar[str] = "gan"
    has_held_out_loss: ClassVar[bool] = False
    warns_of_collapse: ClassVar[bool] = True
    nets: ClassVar[tuple[str, ...]] = ("lite", "res", "dcgan")
    losses: ClassVar[tuple[str, ...]] = ("relativistic", "nonsaturating", "hinge", "lsgan", "bce")
    net: str = "lite"
    loss: str = "relativistic"
    batch: int = 32
    latent: int = 64
    beta1: float = 0.0
    beta2: float = 0.99
    gamma: float | None = None
    gamma_end: float | None = None
    neighbours: int = 5
    condition_noise: float = 0.2
    images: int = 500_000

    def refusals(self) -> tuple[tuple[bool, str], ...]:
        """What a game of two networks cannot use."""
        return (
            (
                self.optimiser == "gd",
                "a GAN has no loss that full-batch gradient descent (gd) could go down: two networks move; use sgd or "
                "adam",
            ),
            (
                self.dropout > 0,
                "dropout would be differentiated twice by a GAN's gradient penalties; use --augment diffaug, or a "
                "larger --gamma",
            ),
            (
                self.patience > 0,
                "a GAN has no held-out loss to stop at; the checkpoint with the best Fréchet distance is kept as best",
            ),
            (
                self.side & (self.side - 1) != 0,
                f"a GAN's --side is a power of two, as 32 or 64, not {self.side}; pictures are padded to it",
            ),
            (min(self.gamma or 0, self.gamma_end or 0) < 0, "--gamma weighs a penalty, and cannot be negative"),
            (self.gamma is None and self.gamma_end is not None, "--gamma-end is where --gamma ends; name both"),
            (self.neighbours < 1, f"--neighbours takes 1 or more, not {self.neighbours}"),
            _refused_latent(self.latent),
            (self.condition_noise < 0, "--condition-noise is a length, and cannot be negative"),
            (not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1), "--beta1 takes a number from 0 to below 1"),
        )

    @classmethod
    def usual(cls, given: Mapping[str, Any]) -> str:
        """`quick`, the best measured on two cores; `tiny` for whoever asks for its nets, losses or penalties."""
        asks = {given.get("net"), given.get("loss")} - {None, "dcgan", "bce"}
        return "tiny" if asks or any(given.get(n) is not None for n in ("gamma", "gamma_end")) else "quick"

    def remark(self) -> str:
        """See `Options`."""
        # Said of what was measured alone: the preset as it is, up to 64 px.
        quick = self.presets()["quick"]
        is_changed = bool(self.augment) or any(getattr(self, n) != v for n, v in quick.items() if n != "images")
        if self.preset != "quick" or self.width != type(self).width or is_changed or self.side > max(_MEASURED):
            return ""
        measured = _MEASURED[max(side for side in _MEASURED if side <= self.side)]
        return (
            f"{self.side} px on a CPU: DCGAN's networks, at a rate of {self.rate:g} and with weights averaged over "
            f"{self.ema_images:,} images, in ten minutes of one core the best preset: {measured}."
        )

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """From minutes on two cores to hours on one GPU."""
        gpu = {"net": "res", "batch": 256, "rate": 2e-4, "ema_images": 500_000}
        return {
            "tiny": {},
            "small": {"width": 64, "images": 3_000_000, "ema_images": 50_000, "rate": 3e-4},
            "quick": {**_DCGAN, "rate": 4e-4, "ema_images": 50_000},
            "dcgan": _DCGAN,
            "gpu32": gpu | {"side": 32, "width": 96, "images": 10_000_000},
            "gpu64": gpu | {"side": 64, "width": 64, "images": 25_000_000},
            "gpu128": gpu | {"side": 128, "width": 48, "images": 25_000_000, "batch": 128},
        }


@dataclass(frozen=True, kw_only=True)
class VaeOptions(Options):
    """Options of a VAE.

    `beta` weighs the KL term, reached after the share `warmup` of the run; `free_bits` nats per latent dimension are
    free.
    """

    trainer: ClassVar[str] = "vae"
    card_note: ClassVar[str] = (
        "The Fréchet distance and its like are of samples from N(0, I); `generate` draws from the mixture fitted at "
        "the end."
    )
    nets: ClassVar[tuple[str, ...]] = ("conv",)
    losses: ClassVar[tuple[str, ...]] = ("sigma", "mse", "bce", "l1", "rae")
    net: str = "conv"
    loss: str = "sigma"
    latent: int = 32
    beta: float = 1.0
    free_bits: float = 0.0
    warmup: float = 0.05
    images: int = 600_000

    def refusals(self) -> tuple[tuple[bool, str], ...]:
        """What does not fit an autoencoder."""
        return (
            (
                "diffaug" in self.augment,
                "diffaug distorts what a discriminator sees; a VAE would learn to draw the distortions: use flip or "
                "shift",
            ),
            (self.side % 8 != 0, f"a VAE halves the picture three times: --side is a multiple of 8, not {self.side}"),
            (self.beta < 0 or self.free_bits < 0, "--beta and --free-bits cannot be negative"),
            _refused_latent(self.latent),
            (not 0 <= self.warmup <= 1, f"--warmup takes a share of the run, not {self.warmup}"),
            (
                self.loss == "rae" and self.free_bits > 0,
                "a regularised autoencoder (rae) has no KL term that bits could be free in",
            ),
        )

    @classmethod
    def suited(cls, chosen: Mapping[str, Any], sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """Twice as many latent numbers where there are pictures enough for a mixture of them."""
        is_asked = "latent" in chosen or chosen.get("preset", "tiny") != "tiny"
        return dict(chosen) if is_asked or len(sizes) < _MANY else {"latent": _MANY_LATENT} | dict(chosen)

    def remark(self) -> str:
        """See `Options`."""
        if self.preset != "tiny" or self.latent != _MANY_LATENT:
            return ""
        return (
            f"{self.latent} latent numbers: of 60,000 pictures their Fréchet distance was 2.07 where 32 had 2.33, of "
            "1,400 it was half as large again."
        )

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Minutes, or an hour, on two cores."""
        return {
            "tiny": {},
            "small": {"width": 64, "latent": 64, "images": 3_000_000},
            "gpu64": {"side": 64, "width": 96, "latent": 128, "batch": 256, "images": 10_000_000},
        }


@dataclass(frozen=True, kw_only=True)
class Pix2pixOptions(Options):
    """Options of a network that turns pictures into pictures.

    `source` says what of: made out of each picture, `pairs` of two folders, or `halves` of each picture; `reverse`
    turns pairs and halves about; `l1_weight` weighs the Manhattan distance to the target beside the game.
    """

    trainer: ClassVar[str] = "pix2pix"
    is_channels_last: ClassVar[bool] = False  # instance normalisation turns the memory round: a step takes a fifth more
    card_note: ClassVar[str] = (
        "l1 and mse are of held-out pairs, in steps of 255; l1_of_input is what copying the input would have."
    )
    nets: ClassVar[tuple[str, ...]] = ("unet",)
    losses: ClassVar[tuple[str, ...]] = ("bce", "lsgan", "hinge")
    net: str = "unet"
    loss: str = "bce"
    source: str = "edges"
    reverse: bool = False
    l1_weight: float = 100.0
    side: int = 64
    batch: int = 8
    rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    dropout: float = 0.5
    images: int = 60_000
    ema_images: int = 5_000

    def refusals(self) -> tuple[tuple[bool, str], ...]:
        """What a pair of pictures cannot use."""
        return (
            (
                self.side not in (32, 64, 128, 256),
                f"pix2pix halves pictures down to 4 px: --side is 32, 64, 128 or 256, not {self.side}",
            ),
            (self.source not in SOURCES, f"no source of pairs '{self.source}'; there are {', '.join(SOURCES)}"),
            (self.reverse and self.source not in GIVEN, "--reverse turns --pairs and --split-halves about"),
            (self.l1_weight < 0, "--l1-weight cannot be negative"),
            (self.condition != "none", "pix2pix is conditioned on pictures; --condition is for gan and vae"),
            (self.optimiser == "gd", "two networks move, so full-batch gradient descent (gd) has nothing to go down"),
        )

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Minutes on two cores, or hours."""
        return {
            "tiny": {},
            "small": {"width": 48, "images": 300_000, "ema_images": 20_000},
            "paper": {"side": 256, "width": 64, "batch": 2, "images": 80_000},
        }


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(Options):
    """Of a classifier: `smoothing` of the labels, for cross-entropy."""

    trainer: ClassVar[str] = "classifier"
    learns_labels: ClassVar[bool] = True
    nets: ClassVar[tuple[str, ...]] = ("cnn", "resnet", "xception")
    losses: ClassVar[tuple[str, ...]] = ("ce", "mse", "l1")
    net: str = "cnn"
    loss: str = "ce"
    optimiser: str = "adamw"
    rate: float = 2e-3
    l2: float = 0.02
    images: int = 1_500_000
    ema_images: int = 20_000
    smoothing: float = 0.0

    def refusals(self) -> tuple[tuple[bool, str], ...]:
        """What a classifier cannot use."""
        return (
            (not 0 <= self.smoothing < 1, f"--smoothing takes a share from 0 to below 1, not {self.smoothing}"),
            (self.condition != "none", "a classifier learns labels; --condition is for generators"),
            (
                "diffaug" in self.augment,
                "diffaug distorts what a discriminator sees; for a classifier use --augment flip,shift",
            ),
            (
                self.side < _LEAST_CNN and self.net == "cnn",
                f"the tutorial's network (cnn) shrinks {self.side} px to nothing; use --side {_LEAST_CNN} or more, or "
                "--net resnet",
            ),
        )

    @classmethod
    def suited(cls, chosen: Mapping[str, Any], sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """Small square pictures of one size are classified as they are; the tutorial's network needs 20 px."""
        width, height = sizes[0]
        native = width == height and 8 <= width <= _LARGEST_NATIVE and len(set(sizes)) == 1
        suited = {"side": width if native else 32} | dict(chosen)
        return suited if suited["side"] >= _LEAST_CNN else {"net": "resnet"} | suited

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Minutes on two cores."""
        return {"tiny": {}, "small": {"net": "resnet", "images": 3_000_000}}
