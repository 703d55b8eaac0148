"""`curator train`: a trainer each, with the options that people use first."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import Any

import click

from curator.cli.face import SELECTION, F, index_option, json_option, opened, print_json, say, table, working


@click.group()
def train() -> None:
    """Train a GAN, a VAE or a classifier on a selection. Everything about a training lies in its run folder."""


def _stack(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_common = _stack(
    index_option,
    click.option(
        "--selection", "named", metavar=SELECTION, help="What to train on. [default: all real images but duplicates]"
    ),
    click.option("--name", "called", default="", help="Add to the run folder's name."),
    click.option("--preset", help="A set of defaults; see below. [default: tiny]"),
    click.option("--side", type=int, help="Train at this many pixels."),
    click.option(
        "--fit",
        type=click.Choice(["crop", "squash"]),
        help="How pictures that are not square become so. [default: crop]",
    ),
    click.option("--images", type=int, help="Budget: real images seen, counted each time."),
    click.option(
        "--max-minutes",
        type=click.FloatRange(0, min_open=True),
        help="Budget in time; alone, the schedule ends with it.",
    ),
    click.option("--batch", type=int, help="Images per step."),
    click.option("--optimiser", help="gd (full batch), sgd, adam or adamw."),
    click.option("--rate", type=float, help="Learning rate."),
    click.option("--momentum", type=float, help="Of sgd."),
    click.option("--nesterov", is_flag=True, default=None, help="Nesterov's momentum, for sgd."),
    click.option("--schedule", type=click.Choice(["constant", "cosine"]), help="Of the learning rate."),
    click.option("--l1", type=float, help="Weight of the sum of absolute weights."),
    click.option("--l2", type=float, help="Weight of half the sum of squared weights."),
    click.option("--dropout", type=float, help="Share of units that are dropped."),
    click.option("--width", type=int, help="Channels of the first convolution: smaller is a smaller net."),
    click.option("--augment", metavar="A,B", help="flip, shift, and for a GAN diffaug."),
    click.option("--holdout", type=float, help="Share held out to measure on, by a hash of content."),
    click.option("--patience", type=int, help="Stop after so many checkpoints without a better held-out score."),
    click.option("--every", type=int, help="Images between checkpoints. [default: a twentieth of the budget]"),
    click.option("--keep", type=int, help="Checkpoints to keep besides the best. [default: 2]"),
    click.option("--ema-images", type=int, help="Half-life of the averaged weights, in images."),
    click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16"]),
        help="bf16 where the machine computes in it. [default: auto]",
    ),
    click.option("--label", "column", default="label", show_default=True, metavar="COLUMN", help="Where labels are."),
    click.option("--seed", type=int, help="Of everything random. [default: 0]"),
    click.option(
        "--resume", is_flag=False, flag_value="latest", metavar="[RUN]", help="Go on with a run, by default the latest."
    ),
    click.option("--dry-run", is_flag=True, help="Say what would be done, and stop."),
    json_option,
)
_condition = click.option(
    "--condition", type=click.Choice(["none", "label", "embedding"]), help="What pictures are made to fit."
)


@train.command("gan")
@_common
@_condition
@click.option("--net", help="lite (for a CPU), res (for a GPU) or dcgan (the baseline).")
@click.option("--loss", help="relativistic, nonsaturating, hinge, lsgan or bce.")
@click.option("--latent", type=int, help="Numbers that a picture is made from.")
@click.option("--beta1", type=float, help="Of adam.")
@click.option("--gamma", type=float, help="Weight of the gradient penalties R1 and R2. [default: by side]")
@click.option("--gamma-end", type=float, help="The same at the end.")
@click.option("--neighbours", type=int, help="With --condition embedding: real samples come from so many neighbours.")
@click.option("--condition-noise", type=float, help="With --condition embedding: length of noise on it.")
def train_gan(**given: Any) -> None:
    """Train a GAN: relativistic pairing with gradient penalties on both sides (R3GAN), on a CPU in minutes.

    Presets: tiny (32 px, minutes on two cores), dcgan (the classic, as its paper has it), small (an hour), gpu32,
    gpu64, gpu128."""
    _train("gan", **given)


@train.command("vae")
@_common
@_condition
@click.option("--loss", help="sigma (optimal variance), mse, bce, l1 or rae (deterministic).")
@click.option("--latent", type=int, help="Numbers that a picture is made from.")
@click.option("--beta", type=float, help="Weight of the KL term.")
@click.option("--free-bits", type=float, help="Nats of each latent number that cost nothing.")
@click.option("--warmup", type=float, help="Share of the run until the KL term has its weight.")
def train_vae(**given: Any) -> None:
    """Train a VAE with optimal variance, and fit a Gaussian mixture to its latents to sample from.

    Presets: tiny (32 px, minutes on two cores), small, gpu64.
    """
    _train("vae", **given)


@train.command("classifier")
@_common
@click.option("--net", help="cnn (the tutorial's), resnet or xception.")
@click.option("--loss", help="ce (cross-entropy), mse or l1.")
@click.option("--smoothing", type=float, help="Of labels, for ce.")
def train_classifier(**given: Any) -> None:
    """Train a classifier on labels: at most a million parameters; `curator label --run` uses it.

    Presets: tiny (minutes on two cores), small (resnet).
    """
    _train("classifier", **given)


def _train(
    trainer: str,
    *,
    name: str | None,
    named: str | None,
    called: str,
    column: str,
    resume: str | None,
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> None:
    from curator.errors import UsageError
    from curator.runs.train import plan_training, resume_training, train_on

    chosen = {k: v for k, v in given.items() if v is not None}
    if "augment" in chosen:
        chosen["augment"] = tuple(a for a in chosen["augment"].split(",") if a)
    with opened(name) as index, working() as job:
        if resume is not None:
            if named or called or dry_run or column != "label":
                raise UsageError(
                    "--resume goes on with a run as it is: leave --selection, --name, --label and --dry-run out"
                )
            run, outcome = resume_training(index, trainer, resume, chosen, job=job)
        else:
            plan = plan_training(index, trainer, named, chosen, column=column)
            if dry_run:
                print_json(
                    {
                        "images": len(plan.ids),
                        "trained_on": plan.named,
                        "classes": plan.classes,
                        "options": plan.options.as_json(),
                    }
                )
                return
            command = shlex.join(["curator", *sys.argv[1:]])
            run, outcome = train_on(index, plan, column=column, name=called, command=command, job=job)
    _report(run, outcome, as_json=as_json)
    sys.exit(130 if outcome.status == "interrupted" else 0)


def _report(run: Any, outcome: Any, *, as_json: bool) -> None:
    metrics = run.rows("metrics.jsonl")
    best: dict[str, Any] = next((m for m in metrics if m["images_seen"] == outcome.best), {})
    if as_json:
        print_json({"run": run.name, "folder": str(run.folder), "metrics": best} | vars(outcome))
        return
    rate = outcome.images_seen / max(outcome.seconds, 1e-9)
    click.echo(
        f"{run.name}: {outcome.status} after {outcome.images_seen} images in {outcome.seconds:.0f} s ({rate:.0f} "
        "images/s)."
    )
    shown = [
        (k.replace("_", " "), f"{v:.4f}") for k, v in best.items() if isinstance(v, float) and k not in ("seconds", "n")
    ]
    if shown:
        click.echo(table(shown, (f"best, at {outcome.best} images", "")))
    click.echo(
        f"Look at {run.folder}/card.md, curves.png"
        + (" and samples there." if (run.folder / "samples").is_dir() else " there.")
    )
    if outcome.status == "interrupted":
        say(f"Interrupted; go on with `curator train {run.options.trainer} --resume {run.name}`.")
