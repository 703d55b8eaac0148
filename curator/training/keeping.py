"""Checkpoints of a training: all of its state, written and read again."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from curator.errors import IndexFull, UsageError
from curator.files import FULL, write_whole
from curator.job import QUIET, Job
from curator.training.folder import Run, packed
from curator.training.parts import Trainer
from curator.training.pictures import Pictures
from curator.training.rules import Diverged, Loop
from curator.training.state import pack, unpack

FITTED = "fitted.safetensors"


def save_loop(run: Run, trainer: Trainer, loop: Loop, keep: int) -> None:
    """Write a checkpoint, and drop those that are too many."""
    arrays, optimisers = pack(trainer)
    # JSON has no infinity, which is the best value before the first measurement.
    reached = vars(loop) | {"best_value": loop.best_value if math.isfinite(loop.best_value) else None}
    run.save_checkpoint(loop.images_seen, arrays, {"loop": reached, "optimisers": optimisers})
    run.write_state(
        images_seen=loop.images_seen, images=loop.images, seconds=round(loop.seconds, 3), best=max(loop.best, 0)
    )
    # The best one stays, however old.
    run.prune(keep, [loop.best])


def restore_loop(run: Run, trainer: Trainer, job: Job = QUIET) -> Loop:
    """Restore the latest checkpoint that can be read, and with it all that is random.

    Raises `UsageError` where none can.
    """
    problem: UsageError | None = None
    damaged: list[int] = []
    # Newest first: a crash can have cut only the last ones.
    for images_seen in reversed(run.checkpoints()):
        try:
            arrays, facts = run.load_checkpoint(images_seen)
        except UsageError as error:
            problem = problem or error
            damaged.append(images_seen)
            continue
        if problem:
            run.drop(damaged)  # in every process: what is gone already is no problem
            job.say(f"{problem}; the one before it, at {images_seen} images, is used.")
        unpack(trainer, arrays, facts["optimisers"])
        before: dict[str, Any] = facts["loop"]
        loop = Loop(**(before | {"best_value": math.inf if before["best_value"] is None else before["best_value"]}))
        # Written by the guard when a loss was not finite: from the checkpoint alone the same steps would diverge again.
        state = run.state
        loop.rate_factor, loop.retries = state.get("rate_factor", loop.rate_factor), state.get("retries", loop.retries)
        if loop.best >= 0 and loop.best not in run.checkpoints():
            job.say(f"The best checkpoint, at {loop.best} images, is gone; the best is sought from here on.")
            loop.best, loop.best_value, loop.stale = -1, math.inf, 0
        return loop
    raise problem or UsageError(f"{run.name} has no checkpoint to go on from; train anew")


@contextlib.contextmanager
def telling_full_disk(run: Run) -> Iterator[None]:
    """Raise `IndexFull` for a disk without room, with what is kept and the way on."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        # Newest last; a checkpoint that was cut off is none of them.
        there = run.checkpoints()
        way = (
            f"the checkpoint at {there[-1]} images is good: make room, then go on with `--resume {run.name}`"
            if there
            else "make room, then train anew"
        )
        raise IndexFull(f"the disk under {run.folder} is full ({error.strerror}); {way}") from error


def check_weights(trainer: Trainer) -> None:
    """Raise `Diverged` for a weight that is not finite."""
    for name, network in trainer.networks.items():
        # One NaN in a weight is in every picture from then on, and never goes away.
        if not all(bool(torch.isfinite(p).all()) for p in network.parameters()):
            raise Diverged(f"a weight of '{name}' is not finite")


def finish(run: Run, trainer: Trainer, best: int, pictures: Pictures) -> None:
    """Fit what is fitted last, on the best weights, and keep it beside them."""
    arrays, facts = run.load_checkpoint(best)
    unpack(trainer, arrays, facts["optimisers"])
    # Such as the mixture that a VAE draws its latents from.
    with torch.no_grad():
        fitted = trainer.finish(pictures)
    if fitted:
        save_arrays(fitted, run.place_of(best) / FITTED)


def save_arrays(arrays: dict[str, NDArray[Any]], target: Path) -> None:
    """Write a safetensors file, whole or not at all."""
    write_whole(target, packed(arrays))
