"""`curator index` from its first line: which encoder an index gets, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from curator.encoders import SHORT_NAMES, Encoder, best_runtime, encoders, is_cached, load_encoder
from curator.errors import NoIndex, RootMissing, UnknownName, UsageError
from curator.files import locate
from curator.images import absolute, walk
from curator.index import Index
from curator.ingest.options import IngestOptions
from curator.ingest.passes import ingest
from curator.job import QUIET, Job
from curator.records import IngestReport, Space
from curator.registry import suggest


@dataclass(frozen=True)
class Choice:
    """An encoder's name and the reason for it, in words."""

    encoder: str
    why: str
    warning: str = ""


def choose_encoder(asked: str | None, space: Space | None, *, ask: Callable[[str], bool] | None) -> Choice:
    """Which encoder an index is filled with: the one asked for, the one it has, else `base` if cached, else a question.

    `ask` puts a yes/no question to the person, or is None where nobody can answer.
    """
    if asked is not None:
        return Choice(asked, "as asked")
    if space is not None:
        return Choice(space.encoder, "the index was made with it")
    base = SHORT_NAMES["base"]
    if is_cached("base"):
        return Choice("base", "its weights are on this machine")
    question = (
        f"This index needs an encoder. 'base' ({base.model}) is right for photos and words, and must be fetched once "
        f"({base.megabytes} MB); 'small' is here now and works offline, and knows everyday things roughly. Fetch "
        "'base'?"
    )
    if ask is not None:
        return Choice("base", "chosen just now") if ask(question) else Choice("small", "chosen just now")
    return Choice(
        "small",
        "bundled, and nothing better is on this machine",
        "'small' finds look-alikes and knows everyday things roughly; for photos and words at large: --encoder base "
        f"({base.megabytes} MB to fetch); for icons, drawings and digits: --encoder tiny",
    )


def index_folders(
    name: str | Path | None,
    paths: Sequence[Path],
    encoder: str | None,
    options: IngestOptions,
    *,
    ask: Callable[[str], bool] | None = None,
    job: Job = QUIET,
) -> IngestReport:
    """Open or make the index, settle its encoder, and `ingest`. Raises what they raise."""
    missing = next((p for p in map(absolute, paths) if not p.exists() and not p.parent.is_dir()), None)
    if missing is not None:
        raise RootMissing(f"{missing} is not there; nothing was changed")
    space, roots, indexed = _what_is_there(name)
    if not paths and not roots:
        raise UsageError("nothing to index yet; name a folder: `curator index ~/pictures`")
    choice = choose_encoder(encoder, space, ask=ask)
    job.say(f"Encoder: {choice.encoder} ({choice.why}). Index: {locate(name)}")
    if choice.warning:
        job.say(f"Warning: {choice.warning}")
    loaded = _load(choice.encoder, [absolute(p) for p in paths if p.is_dir()] or roots, indexed)
    with Index.create(name) as index:
        report = ingest(index, paths, loaded, options, job=job)
        now = index.reader.active_space()
    if now is not None and now.fingerprint != loaded.fingerprint and not report.interrupted:
        job.say(f"Searches still use '{now.encoder}'; switch with `curator encoders use {choice.encoder}`.")
    return report


def _what_is_there(name: str | Path | None) -> tuple[Space | None, list[Path], int]:
    """Active space, reachable roots and number of images of an index, if there is one.

    Nothing is made before all is well.
    """
    try:
        with Index.open(name) as index:
            return index.reader.active_space(), [r.path for r in index.reader.roots() if r.path.is_dir()], len(index)
    except NoIndex:
        return None, [], 0


def _load(name: str, folders: Sequence[Path], indexed: int) -> Encoder:
    """Load the encoder with the runtime that suits the amount of work: what is indexed already need not be encoded."""
    if name in encoders:
        return load_encoder(name)
    return load_encoder(name, runtime=best_runtime(sum(len(walk(p).images) for p in folders) - indexed))


def use_space(index: Index, encoder: str, *, anyway: bool = False, job: Job = QUIET) -> None:
    """Switch searches to another space of the index. Raises `UsageError` while an image lacks its vector in it.

    `anyway` switches all the same: images whose files can no longer be read would keep a space waiting for ever.
    """
    spaces = {s.encoder: s for s in index.reader.spaces()}
    if encoder not in spaces:
        raise UnknownName(
            f"the index has no space '{encoder}'; {suggest(encoder, spaces)}; `curator index --encoder {encoder}` "
            "fills one"
        )
    space = spaces[encoder]
    missing = len(index.reader.missing(space))
    if missing and not anyway:
        raise UsageError(
            f"{missing} images have no vector in '{encoder}' yet; finish it with `curator index --encoder {encoder}`, "
            "or leave them out of searches with --anyway"
        )
    with index.write() as db:
        with db.atomic():
            db.use_space(space)
        index.rebuild_if_worth(db, space, job=job)
