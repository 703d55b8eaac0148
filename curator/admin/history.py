"""`curator history` and `undo`: what was done to an index, from here or from the page, and taking it back."""

from __future__ import annotations

from curator.database.actions import Actions
from curator.index import Index
from curator.records import Action


def history(index: Index, limit: int = 50, *, before: int | None = None) -> list[Action]:
    """Tags, verdicts, concepts, selections and removals, the newest first; with `before` those older than an action."""
    return Actions(index.reader).latest(limit, before=before)


def undo_action(index: Index, action_id: int | None = None, *, who: str | None = None) -> Action:
    """Take an action back, by default the latest that is not, of anybody or of `who`.

    Raises `UsageError` where there is none, or something else has changed the same since; `UnknownName`.
    """
    with index.write() as db, db.atomic():
        return Actions(db).undo(action_id, who=who)


def redo_action(index: Index, *, who: str | None = None) -> Action:
    """Do again what was undone last, as long as nothing else was done since. Raises `UsageError`."""
    with index.write() as db, db.atomic():
        return Actions(db).redo(who=who)
