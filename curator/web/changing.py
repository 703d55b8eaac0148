"""What the page changes in an index: tags, edits, marks, verdicts, selections, and undoing it. No file is touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from curator.admin.history import history, redo_action, undo_action
from curator.admin.manage import edit_images, tag_images
from curator.index import Index
from curator.labelling.concepts import drop_concept, fit_concept
from curator.selection.sets import listed
from curator.web import cleaning, selection
from curator.web.body import Body, ids_of, text_of, texts_in
from curator.web.choices import put_choice


class Changes:
    """Changes of one index, each told by the body of a request."""

    def __init__(self, index: Index) -> None:
        self.index = index

    def routes(self) -> Mapping[str, Callable[[Body], Any]]:
        """Path → what is done with a body."""
        return {
            "/api/choice": self.choice, "/api/tag": self.tag, "/api/edit": self.edit, "/api/concept": self.concept,
            "/api/concept/drop": self.drop_concept,
            "/api/selection": self.selection, "/api/verdict": self.verdict, "/api/accept": self.accept,
            "/api/undo": self.undo, "/api/redo": self.redo,
            "/api/selections": lambda body: selection.save_selection(self.index, body),
            "/api/split": lambda body: selection.split_selection(self.index, body),
            "/api/drop": lambda body: selection.drop_selections(self.index, body),
        }  # fmt: skip

    def choice(self, body: Body) -> Any:
        """Keep ids that are too many for an address."""
        return {"choice": put_choice(self.index.folder, np.array(ids_of(body, "ids"), np.int64))}

    def tag(self, body: Body) -> Any:
        """Put tags on images, or take them `off`."""
        tags = texts_in(body, "tags")
        tag_images(self.index, ids_of(body, "ids"), tags, off=bool(body.get("off")))
        return self._latest()

    def edit(self, body: Body) -> Any:
        """Write a label or caption; null gives back what the files say."""
        value = None if body.get("value") is None else text_of(body, "value")
        edit_images(self.index, ids_of(body, "ids"), {text_of(body, "what"): value})
        return self._latest()

    def concept(self, body: Body) -> Any:
        """Fit a concept to marks."""
        fit_concept(self.index, text_of(body, "name"), ids_of(body, "like"), ids_of(body, "unlike", empty=True))
        return self._latest()

    def drop_concept(self, body: Body) -> Any:
        """Forget a concept."""
        drop_concept(self.index, text_of(body, "name"))
        return self._latest()

    def selection(self, body: Body) -> Any:
        """Keep images as a selection."""
        listed(self.index, text_of(body, "name"), ids_of(body, "ids"), {"by": "hand, on the page"})
        return self._latest()

    def verdict(self, body: Body) -> Any:
        """A verdict on images of groups."""
        cleaning.give_verdict(self.index, text_of(body, "verdict"), ids_of(body, "ids"))
        return self._latest()

    def accept(self, body: Body) -> Any:
        """Reject all duplicates of kinds, or say how many with `dry_run`."""
        kinds = texts_in(body, "kinds")
        return cleaning.accept_kinds(self.index, kinds, dry_run=bool(body.get("dry_run")))

    def undo(self, body: Body) -> Any:
        """Take an action back, by default the page's latest."""
        action = body.get("action")
        if action is None:
            return asdict(undo_action(self.index, who=self.index.who))
        return asdict(undo_action(self.index, ids_of({"action": [action]}, "action")[0]))

    def redo(self, _: Body) -> Any:
        """Do again what was undone last."""
        return asdict(redo_action(self.index, who=self.index.who))

    def _latest(self) -> Any:
        return {"action": next((asdict(a) for a in history(self.index, 1)), None)}
