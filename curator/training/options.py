"""What a run was asked for: one frozen dataclass per trainer, defaults from a preset, and refusals that say why.

No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from curator.errors import UnknownName, UsageError
from curator.registry import suggest

OPTIMISERS = ("gd", "sgd", "adam", "adamw")
AUGMENTS = ("flip", "shift", "diffaug")
CONDITIONS = ("none", "label", "embedding")
FITS = ("crop", "squash")
PRECISIONS = ("auto", "fp32", "bf16")
SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What all trainers share.

    `side` in pixels; `images` is the budget in real images seen, 0 for as many as `max_minutes` allow; `rate` the
    learning rate; `every` how many images lie between two checkpoints, 0 for a twentieth of the budget; `ema_images`
    the half-life of the averaged weights; `patience` how many checkpoints without a better held-out score end the run,
    0 for none; `l1`, `l2` weigh the sum of absolute values and half the sum of squares of all weights.
    """

    trainer: ClassVar[str] = ""
    preset: str = "tiny"
    net: str = ""
    loss: str = ""
    side: int = 32
    fit: str = "crop"
    images: int = 0
    max_minutes: float = 0.0
    batch: int = 64
    optimiser: str = "adam"
    rate: float = 1e-3
    momentum: float = 0.9
    nesterov: bool = False
    schedule: str = "cosine"
    l1: float = 0.0
    l2: float = 0.0
    dropout: float = 0.0
    width: int = 32
    augment: tuple[str, ...] = ()
    condition: str = "none"
    holdout: float = 0.1
    patience: int = 0
    every: int = 0
    keep: int = 2
    ema_images: int = 10_000
    precision: str = "auto"
    seed: int = 0
    nets: ClassVar[tuple[str, ...]] = ()
    losses: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for what, name, known in self._choices():
            if name not in known:
                raise UnknownName(f"no {what} '{name}' for a {self.trainer}; {suggest(name, known)}")
        rules = (
            (8 <= self.side <= 512, f"--side takes 8 to 512 pixels, not {self.side}"),
            (self.images >= 0 and self.max_minutes >= 0, "a budget cannot be negative: --images and --max-minutes"),
            (self.images > 0 or self.max_minutes > 0, "a run needs a budget above 0: --images, or --max-minutes"),
            (self.patience >= 0 and self.every >= 0, "--patience and --every cannot be negative"),
            (0 <= self.momentum < 1, f"--momentum takes a number from 0 to below 1, not {self.momentum}"),
            (not self.nesterov or self.momentum > 0, "--nesterov needs a --momentum above 0"),
            (self.batch >= 2, f"--batch takes 2 images or more, not {self.batch}"),
            (self.rate > 0, f"--rate, the learning rate, must be above 0, not {self.rate}"),
            (self.l1 >= 0 and self.l2 >= 0, "--l1 and --l2 weigh penalties, and cannot be negative"),
            (0 <= self.dropout < 1, f"--dropout takes a share from 0 to below 1, not {self.dropout}"),
            (4 <= self.width <= 1024, f"--width takes 4 to 1024 channels, not {self.width}"),
            (0 <= self.holdout < 1, f"--holdout takes a share from 0 to below 1, not {self.holdout}"),
            (self.keep >= 1, f"--keep takes 1 checkpoint or more, not {self.keep}"),
            (0 <= self.seed < 2**31, f"a seed is a whole number from 0 to 2³¹ − 1, not {self.seed}"),
            (
                not self.patience or self.holdout > 0 or self.trainer == "gan",
                "early stopping (--patience) watches held-out images; leave --holdout above 0",
            ),
            (
                not self.nesterov or self.optimiser == "sgd",
                "--nesterov is a form of momentum, which only --optimiser sgd has here",
            ),
        )
        broken = [text for holds, text in rules if not holds] or [text for refused, text in self.refusals() if refused]
        if broken:
            raise UsageError(broken[0])

    def _choices(self) -> list[tuple[str, str, tuple[str, ...]]]:
        return [
            ("net", self.net, self.nets),
            ("loss", self.loss, self.losses),
            ("optimiser", self.optimiser, OPTIMISERS),
            ("condition", self.condition, CONDITIONS),
            ("fit", self.fit, FITS),
            ("precision", self.precision, PRECISIONS),
            ("schedule", self.schedule, SCHEDULES),
            *(("augmentation", a, AUGMENTS) for a in self.augment),
        ]

    def refusals(self) -> tuple[tuple[bool, str], ...]:
        """(whether it was asked for, why it makes no sense here), for each thing this trainer does not do."""
        return ()

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Preset → the options in which it differs from the dataclass."""
        return {"tiny": {}}

    def as_json(self) -> dict[str, Any]:
        """For `options.json`; `from_json` reads it."""
        return {"trainer": self.trainer} | asdict(self)


_DCGAN: Mapping[str, Any] = {
    "net": "dcgan", "loss": "bce", "rate": 2e-4, "beta1": 0.5, "beta2": 0.999, "schedule": "constant", "batch": 64,
    "latent": 100,
    "images": 1_000_000,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GanOptions(Options):
    """Options of a GAN.

    `gamma` → `gamma_end` weigh the gradient penalties, None for what suits the loss and `side`; `neighbours` are those
    of an image's condition (with itself) that a real sample is drawn from, with --condition embedding;
    `condition_noise` the length of noise added to it, which unit rows have 1 of.
    """

    trainer: ClassVar[str] = "gan"
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
            (self.latent < 1 or self.neighbours < 1, "--latent and --neighbours take 1 or more"),
            (self.condition_noise < 0, "--condition-noise is a length, and cannot be negative"),
            (not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1), "--beta1 takes a number from 0 to below 1"),
        )

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """From minutes on two cores to hours on one GPU."""
        gpu = {"net": "res", "batch": 256, "rate": 2e-4, "ema_images": 500_000}
        return {
            "tiny": {},
            "small": {"width": 64, "images": 3_000_000, "ema_images": 50_000, "rate": 3e-4},
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
            (self.latent < 1, f"--latent takes 1 or more, not {self.latent}"),
            (not 0 <= self.warmup <= 1, f"--warmup takes a share of the run, not {self.warmup}"),
            (
                self.loss == "rae" and self.free_bits > 0,
                "a regularised autoencoder (rae) has no KL term that bits could be free in",
            ),
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
class ClassifierOptions(Options):
    """Of a classifier: `smoothing` of the labels, for cross-entropy."""

    trainer: ClassVar[str] = "classifier"
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
                self.side < 20 and self.net == "cnn",
                f"the tutorial's network (cnn) shrinks {self.side} px to nothing; use --side 20 or more, or --net "
                "resnet",
            ),
        )

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Minutes on two cores."""
        return {"tiny": {}, "small": {"net": "resnet", "images": 3_000_000}}
