"""What a run was asked for: one frozen dataclass per trainer, defaults from a preset, and refusals that say why.

No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from curator.errors import UnknownName, UsageError
from curator.registry import suggest

OPTIMISERS = ("gd", "sgd", "adam", "adamw")
AUGMENTS = ("flip", "shift", "diffaug")
CONDITIONS = ("none", "label", "embedding")
FITS = ("crop", "squash")
PRECISIONS = ("auto", "fp32", "bf16")
SCHEDULES = ("constant", "cosine", "linear")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What all trainers share.

    `side` in pixels; `images` is the budget in real images seen, 0 for as many as `max_minutes` allow; `rate` the
    learning rate; `every` how many images lie between two checkpoints, 0 for a twentieth of the budget; `ema_images`
    the half-life of the averaged weights; `patience` how many checkpoints without a better held-out score end the run,
    0 for none; `l1`, `l2` weigh the sum of absolute values and half the sum of squares of all weights.
    """

    trainer: ClassVar[str] = ""
    learns_labels: ClassVar[bool] = False  # so that every image needs one, and no condition is asked for
    is_channels_last: ClassVar[bool] = True  # on a CPU too: most networks are faster so
    has_held_out_loss: ClassVar[bool] = True  # which early stopping can watch
    warns_of_collapse: ClassVar[bool] = False  # at a checkpoint whose samples have next to no recall or coverage
    card_note: ClassVar[str] = ""  # what a reader of the run's numbers should know
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
                not self.patience or self.holdout > 0 or not self.has_held_out_loss,
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

    @classmethod
    def usual(cls, given: Mapping[str, Any]) -> str:
        """The preset that is taken where none is named, by what else was."""
        del given
        return "tiny"

    def remark(self) -> str:
        """What to say of the choice as a run begins; "" for nothing."""
        return ""

    @classmethod
    def suited(cls, chosen: Mapping[str, Any], sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """Options that suit pictures of these (width, height) where nobody chose others."""
        del sizes
        return dict(chosen)

    def as_json(self) -> dict[str, Any]:
        """For `options.json`; `from_json` reads it."""
        return {"trainer": self.trainer} | asdict(self)
