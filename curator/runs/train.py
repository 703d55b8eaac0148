"""`curator train`: images of an index, by selection, folder or condition → a run in the index's folder."""

from __future__ import annotations

import contextlib
import importlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curator.database import Curation, Selections, is_locked, quoted, take_lock
from curator.database.curation import rejected_ids
from curator.errors import IndexLocked, UnknownName, UsageError
from curator.index import Index
from curator.index.images import find_images, refuse_changed
from curator.job import QUIET, Job
from curator.records import Ids
from curator.records.selections import NAME
from curator.registry import suggest
from curator.runs.inputs import RunPlan, features_of, pictures_for, trained_on
from curator.runs.lookup import LOCK, home_of, run_of
from curator.runs.pairs import paired_ids
from curator.texts import plural
from curator.training.folder import LATEST, Run
from curator.training.kinds import ClassifierOptions
from curator.training.numbered import start_run
from curator.training.options import Options
from curator.training.pictures import Pictures
from curator.training.trainers import TRAINERS, options_for, options_from

if TYPE_CHECKING:
    from curator.training.parallel import Team

RUN_FORMS = ("onnx", "safetensors", "python")  # that a network is exported in


def export_network(index: Index, named: str, form: str, target: Path) -> float:
    """Write a run's network to a file → the largest difference to torch.

    Raises `UnknownName`, and what `export_run` raises.
    """
    if form not in RUN_FORMS:
        raise UnknownName(f"a network has no form '{form}'; {suggest(form, RUN_FORMS)}")
    from curator.training.exporting import export_run

    return export_run(run_of(index, named), form, target)


def plan_training(
    index: Index, trainer: str, named: str | None, given: Mapping[str, Any], *, column: str = "label",
    origin: str = "real",
) -> RunPlan:  # fmt: skip
    """Settle images and options, without reading a picture.

    `named` and `origin` are as `images_for` takes them; `given["pairs"]` names inputs and targets instead. Raises
    `UsageError`, `UnknownName`, `WhereError`.
    """
    chosen, inputs, digest, lonely = dict(given), None, "", (0, 0)
    pairs = chosen.pop("pairs", None)
    if pairs is not None:
        first, second = reversed(pairs) if chosen.get("reverse") else pairs
        allowed, digest = images_for(index, second, origin=origin)
        paired = paired_ids(index, first, second, allowed)
        inputs, ids, lonely = paired.inputs, paired.targets, paired.lonely
        what, chosen["source"] = f"pairs of {first} and {second}", "pairs"
    else:
        ids, digest = images_for(index, named, origin=origin)
        what = named or f"all {origin} images".replace("all any", "all")
    kind = TRAINERS[trainer].options
    labels = index.reader.values_of(column) if kind.learns_labels or chosen.get("condition") == "label" else {}
    unlabelled = sum(labels.get(int(i)) is None for i in ids) if labels else 0
    if unlabelled:
        way_out = f'leave them out by a selection, made with --where "{column} IS NOT NULL"'
        if unlabelled == len(ids):
            way_out = (
                "`curator index --label-from folder` or --csv FILE gives them one, and --label names another column"
            )
        raise UsageError(f"{unlabelled} of {len(ids)} images have no '{column}' to learn; {way_out}")
    images = index.images(ids)
    sizes = tuple((i.width, i.height) for i in images)
    options = options_for(trainer, kind.suited(chosen, sizes))
    _refuse_few(options, len(ids))
    classes = tuple(sorted({str(labels[int(i)]) for i in ids})) if labels else ()
    if kind.learns_labels and len(classes) < 2:
        raise UsageError(f"a {trainer} learns two classes or more, and all {len(ids)} images have the same '{column}'")
    return RunPlan(options, ids, what, digest, classes, sizes, inputs, lonely)


def _refuse_few(options: Options, n: int) -> None:
    if n < 2 * options.batch and options.optimiser != "gd":
        smaller = f", or train with --batch {n // 2}" if n >= 4 else ""
        raise UsageError(
            f"{n} images are too few for batches of {options.batch}: it takes two batches; select more{smaller}"
        )


def images_for(index: Index, named: str | None, *, origin: str = "real") -> tuple[Ids, str]:
    """Ids of a selection as it is, with its digest; or of a folder, a condition, or all: each picture once.

    What is no selection is limited to an origin, "real", "generated" or "any", and to what is neither rejected nor a
    duplicate. Raises `UsageError` where nothing is left.
    """
    if named in Selections(index.reader).names():
        if origin != "real":
            raise UsageError(f"'{named}' is trained on as it was selected; --origin goes with a folder or a condition")
        selection = Selections(index.reader).get(str(named))
        refuse_changed(index, selection)
        return find_images(index, str(named)), selection.digest
    ids = find_images(index, named) if named else index.reader.ids_where("1")
    if origin != "any":
        ids = np.intersect1d(ids, index.reader.ids_where(f"origin = {quoted(origin)}"))
    curation = Curation(index.reader)
    ids = np.intersect1d(ids, curation.nodes(index.space).image_ids)
    ids = np.intersect1d(ids, index.reader.ids_where("duplicate_of IS NULL"))
    ids = np.setdiff1d(ids, np.array(sorted(rejected_ids(curation)), np.int64))
    if not len(ids):
        only = "" if origin == "any" else f", and only {origin} ones are taken (--origin generated or any takes others)"
        raise UsageError(
            f"no image of {named or 'the index'} is left to train on: rejected and duplicate ones are left out{only}"
        )
    return ids, ""


def train_on(
    index: Index, plan: RunPlan, *, column: str = "label", name: str = "", command: str = "", job: Job = QUIET,
) -> tuple[Run, Any]:  # fmt: skip
    """Train as planned → the run and its `Outcome`. Raises what `plan_training` and the trainers raise."""
    from curator.training.parallel import Team

    if name and not NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no name for a run: letters, digits, and . _ + - within")
    importlib.import_module("curator.training.engine")  # seconds, in which Ctrl-C should find no folder of a run yet
    with Team.join() as team:
        pictures = pictures_for(index, plan, column=column, job=job)
        _refuse_large(plan.options, pictures)
        folder = ""
        if team.rank == 0:
            trained_on_facts: dict[str, Any] = {
                "what": plan.named,
                "digest": plan.digest,
                "column": column,
                "space": index.space.encoder,
            }
            if any(plan.lonely):
                trained_on_facts["without_a_partner"] = _lonely(plan)
                job.say(f"Left out: {_lonely(plan)} without a partner of the same name.")
            facts = {"trained_on": trained_on_facts, "command": command}
            run_started = start_run(home_of(index), plan.options, pictures, facts, name=name)
            folder = str(run_started.folder)
            job.say(f"Run {run_started.name}: {len(pictures)} images, {plan.options.trainer}, in {run_started.folder}")
            if remark := plan.options.remark():
                job.say(remark)
        run = Run(Path(team.share(folder)))
        try:
            with _alone(team, run):
                return run, _go(index, run, pictures, team, resume=False, job=job)
        except BaseException:
            # Before its first checkpoint there is nothing of worth in it, and nothing to go on from.
            if team.rank == 0 and not run.checkpoints():
                shutil.rmtree(run.folder, ignore_errors=True)
            raise


@contextlib.contextmanager
def _alone(team: Team, run: Run) -> Iterator[None]:
    """Be the one process, or team, that trains a run. Raises `UsageError` where another does."""
    try:  # for a moment also whoever asks how a run stands has the lock
        lock = take_lock(run.folder, name=LOCK, wait=1.0) if team.rank == 0 else None
    except IndexLocked as error:
        if not is_locked(run.folder, name=LOCK):
            raise
        way_out = "wait for it, or stop it with Ctrl-C where it runs"
        raise UsageError(f"{run.name} is being trained now; {way_out}") from error
    with lock or contextlib.nullcontext():
        yield


def _lonely(plan: RunPlan) -> str:
    return f"{plural(plan.lonely[0], 'input')} and {plural(plan.lonely[1], 'target')}"


def _refuse_large(options: Options, pictures: Pictures) -> None:
    if isinstance(options, ClassifierOptions):
        from curator.training.classifier import classifier_of, refuse_large

        refuse_large(options, classifier_of(options, pictures.shape))


def resume_training(
    index: Index, trainer: str, named: str = LATEST, changes: Mapping[str, Any] | None = None, *, job: Job = QUIET,
) -> tuple[Run, Any]:  # fmt: skip
    """Go on with a run from its latest checkpoint, on the images of its manifest; killed before one, it begins anew.

    `changes` may extend `images` and `max_minutes`, which count from the run's start. Raises `UsageError` where they
    are used, one of those images has changed or is gone, another option is changed, or the run is being trained.
    """
    from curator.training.parallel import Team

    run = run_of(index, named, trainer=trainer)
    changes = dict(changes or {})
    others = set(changes) - {"images", "max_minutes"}
    if others:
        raise UsageError(
            "a resumed run keeps its options; only --images and --max-minutes may change, not "
            f"--{min(others).replace('_', '-')}"
        )
    if "images" in changes:  # of a run that time limited
        changes = {"max_minutes": 0.0} | changes
    with Team.join() as team, _alone(team, run):
        facts = _resumed_facts(index, run, changes)
        pictures = trained_on(index, run, job=job)
        is_begun = bool(run.checkpoints())
        if team.rank == 0:
            run.write_json("options.json", facts)
            if is_begun:
                job.say(f"Run {run.name} goes on from {run.checkpoint(LATEST)} images.")
            else:
                run.begin_anew()
                job.say(f"Run {run.name} had no checkpoint; it begins.")
        team.wait()
        return run, _go(index, run, pictures, team, resume=is_begun, job=job)


def _resumed_facts(index: Index, run: Run, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What `options.json` is to say of a run that goes on. Raises `UsageError` where it cannot."""
    if not run.checkpoints() and run.state["images_seen"]:
        raise UsageError(f"{run.name} has no checkpoint to go on from; train anew")
    facts = run.facts
    facts["options"] |= changes
    options = options_from(facts["options"])
    used, seen = run.state.get("seconds", 0.0) / 60, run.state["images_seen"]
    if changes.get("max_minutes") and used >= options.max_minutes:
        raise UsageError(f"{run.name} has used {used:.1f} minutes, and --max-minutes counts them all; ask for more")
    if changes.get("images") and seen >= options.images:
        raise UsageError(f"{run.name} has seen {seen} images, and --images counts them all; ask for more")
    if facts["trained_on"]["space"] != index.space.encoder:
        raise UsageError(
            f"{run.name} was begun with vectors of '{facts['trained_on']['space']}'; `curator encoders use` switches "
            "to it"
        )
    return facts


def _go(index: Index, run: Run, pictures: Pictures, team: Any, *, resume: bool, job: Job) -> Any:
    from curator.training.engine import train

    return train(
        run, TRAINERS[run.options.trainer].make, pictures, features_of(lambda: index.encoder), team=team, resume=resume,
        job=job.quiet() if team.rank else job,
    )  # fmt: skip
