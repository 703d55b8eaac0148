"""The FAISS files of an index: written anew from the database, when so much has changed that searches feel it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from curator.database import Writer
from curator.job import QUIET, Job
from curator.records import Space
from curator.vectors import Generation, GenerationDamaged, ListPlan, drop_generations, write_generation
from curator.vectors.lists import LEAST

_TAIL = 2_000  # changes that a search scans from the database before new FAISS files are worth their writing


def write_files(
    folder: Path,
    db: Writer,
    space: Space,
    *,
    step: Callable[[str], None] = lambda name: None,
    listed_from: int = LEAST,
    learn: bool = True,
    job: Job = QUIET,
) -> None:
    """Write new FAISS files of a space from the database and switch to them; the old ones go one step later.

    From `listed_from` images on they have lists; without `learn` only those that can be taken over. Raises `OSError`.
    """
    home = folder / "vectors"
    with db.atomic():
        number = db.next_generation()
    built_seq = db.meta("seq")
    facts = {"missing": len(db.missing(space)), "space": space.fingerprint, "encoder": space.encoder}
    facts |= {"seq": built_seq, "generation": number}
    listing = _listing(home, db, space, listed_from, learn=learn, job=job)
    blocks = db.vector_blocks(space)
    checksum = write_generation(home, number, space.dim, blocks, facts=facts, step=step, listing=listing)
    with db.atomic():
        db.set_generation(space, number, built_seq, checksum)
    step("generation switched")
    drop_generations(home, {s.generation for s in db.spaces()} | {space.generation, number})


def is_worth_writing(folder: Path, db: Writer, space: Space, *, listed: bool) -> bool:
    """Whether so much has changed that searches would feel it, or lists are missing that should be there."""
    changes = len(db.changed_since(space))
    return changes > _TAIL or (changes > 0 and not space.generation) or (listed and _lacks_lists(folder, space))


def _lacks_lists(folder: Path, space: Space) -> bool:
    generation = _present(folder / "vectors", space)
    return generation is not None and generation.listed is None and len(generation.ids) >= LEAST


def _present(home: Path, space: Space) -> Generation | None:
    """The generation that searches use now, if it is whole."""
    try:
        return Generation.open(home / str(space.generation), space.files_sha256) if space.generation else None
    except GenerationDamaged:
        return None


def _listing(home: Path, db: Writer, space: Space, least: int, *, learn: bool, job: Job) -> ListPlan:
    """How the next generation comes to its lists, with the present one's at hand."""
    earlier = _present(home, space)
    if earlier is None or earlier.listed is None:
        return ListPlan(least=least, learn=learn, job=job)
    return ListPlan((earlier.ids, earlier.listed), db.changed_since(space), least, learn, job)
