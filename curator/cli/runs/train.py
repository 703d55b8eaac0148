"""`curator train`: a trainer each, the options that people use first, all others under "Advanced"."""

from __future__ import annotations

import shlex
import sys
from dataclasses import MISSING, asdict, fields
from typing import Any

import click

from curator.cli.face import echo, opened, print_json, say, table, working
from curator.cli.options import (
    ORIGINS,
    FiniteNumber,
    FiniteRange,
    Sectioned,
    advanced,
    index_option,
    json_option,
    selection_option,
    stack,
)

_MINUTES = FiniteRange(0, min_open=True)


class _Trainers(click.Group):
    """The bundled trainers, and those that other distributions registered."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the bundled trainers, then of the others."""
        from curator.training.trainers import TRAINERS

        return [*self.commands, *(name for name in TRAINERS if name not in self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A bundled trainer's command, or one made of the options of another."""
        bundled = super().get_command(ctx, cmd_name)
        if bundled is not None:
            return bundled
        from curator.training.trainers import TRAINERS

        return _foreign(cmd_name) if cmd_name in TRAINERS else None


@click.group("train", cls=_Trainers)
def train_group() -> None:
    """Train a GAN, VAE, pix2pix or classifier.

    On a selection, or all real images. Everything about a training lies in its run folder.
    """


_usual = stack(
    index_option,
    selection_option("What to train on. [default: all real images, no duplicates]"),
    click.option("--origin", type=click.Choice(ORIGINS), default="real", show_default=True, help="Of which origin."),
    click.option("--preset", help="A set of defaults; see above. [default: tiny; quick for a gan]"),
    click.option("--side", type=int, help="Pixels of the square that pictures become. [default: 32; pix2pix 64]"),
    click.option("--max-minutes", type=_MINUTES, help="Budget in time; alone, the schedule ends with it."),
    click.option(
        "--resume", is_flag=False, flag_value="latest", metavar="[RUN]", help="Go on with a run, by default the latest."
    ),
    click.option("--dry-run", is_flag=True, help="Say what would be done, and stop."),
    json_option,
)
_condition = click.option(
    "--condition", type=click.Choice(["none", "label", "embedding"]), help="What pictures are made to fit."
)
_label = click.option("--label", default="label", show_default=True, metavar="COLUMN", help="Where labels are.")
_advanced = stack(
    advanced("--name", "called", default="", help="Add to the run folder's name."),
    advanced("--images", type=int, help="Budget: real images seen, counted each time."),
    advanced("--fit", type=click.Choice(["crop", "squash"]), help="How pictures become square. [default: crop]"),
    advanced("--batch", type=int, help="Images per step."),
    advanced("--optimiser", help="gd (full batch), sgd, adam or adamw."),
    advanced("--rate", type=FiniteNumber(), help="Learning rate."),
    advanced("--momentum", type=FiniteNumber(), help="Of sgd."),
    advanced("--nesterov", is_flag=True, default=None, help="Nesterov's momentum, for sgd."),
    advanced("--schedule", type=click.Choice(["constant", "cosine", "linear"]), help="Of the rate."),
    advanced("--l1", type=FiniteNumber(), help="Weight of the sum of absolute weights."),
    advanced("--l2", type=FiniteNumber(), help="Weight of half the sum of squared weights."),
    advanced("--dropout", type=FiniteNumber(), help="Share of units that are dropped."),
    advanced("--width", type=int, help="Channels of the first convolution: smaller is a smaller net."),
    advanced("--augment", metavar="A,B", help="flip, shift, and for a GAN diffaug."),
    advanced("--holdout", type=FiniteNumber(), help="Share held out to measure on, by content. [default: 0.1]"),
    advanced("--patience", type=int, help="Stop after so many checkpoints without a better held-out score."),
    advanced("--every", type=int, help="Images between checkpoints. [default: a twentieth of the budget]"),
    advanced("--keep", type=int, help="Checkpoints to keep besides the best. [default: 2]"),
    advanced("--ema-images", type=int, help="Half-life of the averaged weights, in images."),
    advanced("--precision", type=click.Choice(["auto", "fp32", "bf16"]), help="bf16 where it is computed in."),
    advanced("--seed", type=int, help="Of everything random. [default: 0]"),
)


@train_group.command("gan", cls=Sectioned)
@_usual
@_condition
@_label
@_advanced
@advanced("--net", help="lite or dcgan (for a CPU), res (for a GPU).")
@advanced("--loss", help="relativistic, nonsaturating, hinge, lsgan or bce.")
@advanced("--latent", type=int, help="Numbers that a picture is made from.")
@advanced("--beta1", type=FiniteNumber(), help="Of adam.")
@advanced(
    "--gamma",
    type=FiniteNumber(),
    help="Weight of the penalties R1 and R2. [default: 0 for bce, hinge, lsgan]",
)
@advanced("--gamma-end", type=FiniteNumber(), help="The same at the end.")
@advanced("--neighbours", type=int, help="With --condition embedding: real samples come from so many neighbours.")
@advanced("--condition-noise", type=FiniteNumber(), help="With --condition embedding: length of noise on it.")
def gan_command(**given: Any) -> None:
    """Train a GAN, on a CPU in minutes.

    Presets: quick (the usual one: DCGAN's batch-normalised networks at twice its rate, with long averages, the best
    measured in ten minutes), dcgan (the paper's rate, short averages), tiny (relativistic pairing with
    gradient penalties on both sides, R3GAN), small (the same for an hour); for a GPU, and tried on none yet, gpu32,
    gpu64, gpu128. Another --net or --loss, or a --gamma, takes tiny.
    """
    _train("gan", **given)


@train_group.command("vae", cls=Sectioned)
@_usual
@_condition
@_label
@_advanced
@advanced("--loss", help="sigma (optimal variance), mse, bce, l1 or rae (deterministic).")
@advanced("--latent", type=int, help="Numbers that a picture is made from.")
@advanced("--beta", type=FiniteNumber(), help="Weight of the KL term.")
@advanced("--free-bits", type=FiniteNumber(), help="Nats of each latent number that cost nothing.")
@advanced("--warmup", type=FiniteNumber(), help="Share of the run until the KL term has its weight.")
def vae_command(**given: Any) -> None:
    """Train a VAE, with a mixture to sample from.

    Optimal variance; a Gaussian mixture is fitted to its latents. Presets: tiny (32 px, minutes on two cores), small;
    for a GPU, and tried on none yet, gpu64.
    """
    _train("vae", **given)


@train_group.command("pix2pix", cls=Sectioned)
@click.option(
    "--from",
    "source",
    type=click.Choice(["edges", "grey", "blur", "lowres", "mask"]),
    help="Make the inputs out of the pictures. [default: edges]",
)
@click.option("--pairs", nargs=2, metavar="INPUTS TARGETS", help="Two folders or selections, joined by file names.")
@click.option("--split-halves", is_flag=True, help="The left half of each picture is the input of the right.")
@_usual
@_advanced
@advanced("--reverse", is_flag=True, default=None, help="Turn pairs and halves about.")
@advanced("--l1-weight", type=FiniteNumber(), help="Of the Manhattan distance to the target. [default: 100]")
@advanced("--loss", help="bce, lsgan or hinge.")
@advanced("--beta1", type=FiniteNumber(), help="Of adam.")
def pix2pix_command(*, source: str | None, pairs: tuple[str, str] | None, split_halves: bool, **given: Any) -> None:
    """Train to draw pictures from pictures.

    A conditional GAN on pairs (Isola et al. 2017): from edges, grey, blurred, coarse or masked ones to the pictures
    themselves, or between pictures that you pair. `curator generate RUN --from IMAGES` draws. Presets: tiny (64 px,
    minutes on two cores), small, paper (256 px).
    """
    if sum((source is not None, pairs is not None, split_halves)) > 1:
        raise click.UsageError("--from, --pairs and --split-halves are three ways to have pairs; name one")
    if pairs is not None and given["selection"]:
        raise click.UsageError("--pairs names the images; leave --selection out")
    _train("pix2pix", label="label", **given, source="halves" if split_halves else source, pairs=pairs)


@train_group.command("classifier", cls=Sectioned)
@_usual
@_label
@_advanced
@advanced("--net", help="cnn (the tutorial's), resnet or xception.")
@advanced("--loss", help="ce (cross-entropy), mse or l1.")
@advanced("--smoothing", type=FiniteNumber(), help="Of labels, for ce.")
def classifier_command(**given: Any) -> None:
    """Train a classifier on labels.

    At most a million parameters; `curator label --run` uses it. Presets: tiny (minutes on two cores), small (resnet).
    """
    _train("classifier", **given)


def _foreign(trainer: str) -> click.Command:
    """A command for a trainer that a plug-in registered: the usual options, and one for each field of its own."""
    from curator.training.options import Options
    from curator.training.trainers import TRAINERS

    shared = {f.name for f in fields(Options)}

    def command(**given: Any) -> None:
        _train(trainer, **given)

    command.__doc__ = f"Train with the plug-in '{trainer}'."
    decorated: Any = stack(_usual, _condition, _label, _advanced)(command)
    for field in fields(TRAINERS[trainer].options):
        if field.name not in shared:
            kind = type(field.default) if field.default not in (MISSING, None) else str
            decorated = advanced(f"--{field.name.replace('_', '-')}", type=kind, help="Of this trainer.")(decorated)
    return click.command(trainer, cls=Sectioned)(decorated)


def _train(
    trainer: str, *, name: str | None, selection: str | None, origin: str, called: str, label: str,
    resume: str | None, dry_run: bool, as_json: bool, **given: Any,
) -> None:  # fmt: skip
    from curator.errors import UsageError
    from curator.runs.probe import probe_beside
    from curator.runs.train import plan_training, resume_training, train_on

    chosen = {k: v for k, v in given.items() if v is not None}
    if "augment" in chosen:
        chosen["augment"] = tuple(a for a in chosen["augment"].split(",") if a)
    with opened(name) as index, working() as job:
        if resume is not None:
            if selection or called or dry_run or label != "label" or origin != "real":
                left_out = "--selection, --origin, --name, --label and --dry-run"
                raise UsageError(f"--resume goes on with a run as it is: leave {left_out} out")
            run, outcome = resume_training(index, trainer, resume, chosen, job=job)
        else:
            plan = plan_training(index, trainer, selection, chosen, column=label, origin=origin)
            if dry_run:
                facts = {"images": len(plan.ids), "trained_on": plan.named, "classes": plan.classes}
                facts |= {"without_a_partner": plan.lonely} if any(plan.lonely) else {}
                print_json(facts | {"options": plan.options.as_json()})
                return
            command = shlex.join(["curator", *sys.argv[1:]])
            run, outcome = train_on(index, plan, column=label, name=called, command=command, job=job)
        probe = probe_beside(index, run) if outcome.status != "interrupted" else None
    _report(run, outcome, probe, as_json=as_json)
    sys.exit(130 if outcome.status == "interrupted" else 0)


def _report(run: Any, outcome: Any, probe: Any, *, as_json: bool) -> None:
    metrics = run.rows("metrics.jsonl")
    best: dict[str, Any] = next((m for m in metrics if m["images_seen"] == outcome.best), {})
    beside = {"probe": asdict(probe)} if probe else {}
    if as_json:
        print_json({"run": run.name, "folder": str(run.folder), "metrics": best} | vars(outcome) | beside)
        return
    rate = outcome.images_seen / max(outcome.seconds, 1e-9)
    pace = f"{outcome.images_seen} images in {outcome.seconds:.0f} s ({rate:.0f} images/s)"
    echo(f"{run.name}: {outcome.status} after {pace}.")
    numbers = {k: v for k, v in best.items() if isinstance(v, float) and k not in ("seconds", "n")}
    if numbers:
        rows = [(k.replace("_", " "), f"{v:.4f}") for k, v in numbers.items()]
        echo(table(rows, (f"best, at {outcome.best} images", "")))
    if probe:
        echo(str(probe))
    samples = " and samples there." if (run.folder / "samples").is_dir() else " there."
    echo(f"Look at {run.folder}/card.md, curves.png" + samples)
    if outcome.status == "interrupted":
        say(f"Interrupted; go on with `curator train {run.options.trainer} --resume {run.name}`.")
