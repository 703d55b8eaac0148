"""Selections on the page: what there is, what a recipe would choose, several strategies side by side, saving."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from curator.database import Selections
from curator.errors import UsageError
from curator.index import Index
from curator.index.images import find_images
from curator.job import Job
from curator.records import Selection
from curator.selection.export.items import forms
from curator.selection.preview import preview_sets
from curator.selection.recipe import Recipe
from curator.selection.select import make, select
from curator.selection.sets import diff, drop, parse_shares, split
from curator.selectors import scorers, selectors
from curator.web.body import Body, text_of, texts_in

_SHOWN, _BESIDE = 60, 24  # pictures of one strategy, and of each of several
_STRATEGIES, _TABS = 4, 20
_LABELS = 20
_TEXTS = ("by", "origin", "dedupe")
_MAYBE = ("where", "per", "extend", "reference")
Parameters = Mapping[str, str]


def recipe_of(parameters: Parameters) -> Recipe:
    """The recipe that an address says. Raises `UsageError`."""
    values: dict[str, Any] = {name: parameters[name] for name in _TEXTS if parameters.get(name)}
    values |= {name: parameters[name] for name in _MAYBE if parameters.get(name)}
    values |= {name: _several(parameters.get(name, "")) for name in ("match", "avoid")}
    for name in ("n", "seed"):
        text = parameters.get(name, "")
        if text and not (text.isdecimal() and text.isascii() and len(text) < 10):
            raise UsageError(f"{name} is a whole number, not {text[:40]!r}")
        values |= {name: int(text)} if text else {}
    return Recipe(**values)


def images_said(index: Index, text: str | None) -> str | None:
    """A selection's name, or a condition: never a path, which would tell what is on the disk."""
    return text if text is None or text in Selections(index.reader).names() else f"({text})"


def command_of(name: str, recipe: Recipe) -> str:
    """The command line that makes it."""
    words = ["curator", "select", name]
    for option, value in asdict(recipe).items():
        if value == getattr(Recipe(), option):
            continue
        dashes = "-n" if option == "n" else f"--{option}"
        for one in value if isinstance(value, tuple) else (value,):
            words += [dashes, str(one)]
    return shlex.join(words)


class Choosing:
    """Recipes tried out: one that a page asks for stops the one that it asked for before."""

    def __init__(self, index: Index, *, read_only: bool = False) -> None:
        self.index, self.read_only = index, read_only
        self._lock, self._jobs = threading.Lock(), dict[str, Job]()

    def attempt(self, parameters: Parameters) -> dict[str, Any]:
        """What a recipe would choose, and the same recipe by other objectives in `also`, parted by semicolons.

        With `against`, a selection or a condition, each is judged by what of it is not in there. `tab` tells pages
        apart. Raises `Stopped` where the same page asks for another recipe meanwhile, and as `curator select`.
        """
        job, tab = Job(), parameters.get("tab", "")[:20]
        with self._lock:
            if tab in self._jobs:
                self._jobs.pop(tab).cancel()
            self._jobs[tab] = job
            while len(self._jobs) > _TABS:
                del self._jobs[next(iter(self._jobs))]
        recipe = recipe_of(parameters)
        if self.read_only and recipe.dedupe not in ("known", "none"):
            raise UsageError("duplicates are not looked for with --read-only; choose known or none")
        recipe = replace(recipe, reference=images_said(self.index, recipe.reference))
        others = _several(parameters.get("also", ""))
        if len(others) >= _STRATEGIES:
            raise UsageError(f"at most {_STRATEGIES} strategies side by side")
        recipes = [recipe, *(replace(recipe, by=by) for by in others)]
        tried = [make(self.index, "tried", r, remember=not self.read_only, job=job) for r in recipes]
        shown = _BESIDE if others else _SHOWN
        name = parameters.get("name") or "NAME"
        answer: dict[str, Any] = {
            "strategies": [
                {
                    "by": r.by, "images": len(s), "steps": s.recipe["steps"], "first": s.ids[:shown].tolist(),
                    "labels": _labels(self.index, s), "command": command_of(name, r),
                }
                for r, s in zip(recipes, tried, strict=True)
            ],
            "overlap": [[len(np.intersect1d(a.ids, b.ids)) for b in tried] for a in tried],
            "command": command_of(name, recipe),
        }  # fmt: skip
        if parameters.get("against"):
            answer["preview"] = self._preview(tried, recipes, parameters["against"], job)
        return answer

    def _preview(self, tried: Sequence[Selection], recipes: Sequence[Recipe], against: str, job: Job) -> list[Any]:
        # What is held out may not be in what is judged: it is left out of each, as training on it would not.
        held_out = find_images(self.index, str(images_said(self.index, against)))
        names = [f"{number}. {r.by}" for number, r in enumerate(recipes, 1)]
        sets = {name: np.setdiff1d(s.ids, held_out) for name, s in zip(names, tried, strict=True)}
        return [asdict(row) for row in preview_sets(self.index, sets, held_out, job=job)]


def list_selections(index: Index) -> dict[str, Any]:
    """All selections with what made them, and what a recipe may say."""
    stored = Selections(index.reader)
    return {
        "selections": [_head(stored.get(name)) for name in stored.names()],
        "selectors": sorted(selectors), "scorers": sorted(scorers), "forms": sorted(forms),
        "defaults": asdict(Recipe()),
    }  # fmt: skip


def describe_selection(index: Index, name: str) -> dict[str, Any]:
    """One selection: its recipe and steps, how labels are spread, its first images. Raises `UnknownName`."""
    s = Selections(index.reader).get(name)
    splits = dict.fromkeys(part for part in s.splits if part)
    return _head(s) | {
        "steps": s.recipe.get("steps", []), "recipe": s.recipe.get("recipe", {}), "labels": _labels(index, s),
        "first": s.ids[:_SHOWN].tolist(), "splits": list(splits), "digest": s.digest, "forms": sorted(forms),
        "command": s.recipe.get("command") or f"curator selections show {name}",
    }  # fmt: skip


def compare_selections(index: Index, first: str, second: str) -> dict[str, Any]:
    """What two selections share, with the first images of each part. Raises `UnknownName`."""
    parts = asdict(diff(index, first, second))
    return {
        "parts": {part: {"images": len(ids), "first": list(ids[:_SHOWN])} for part, ids in parts.items()},
        "command": shlex.join(["curator", "selections", "diff", first, second]),
    }


def save_selection(index: Index, body: Body) -> Any:
    """Make the recipe of a place and keep it. Raises `UsageError`."""
    said = body.get("recipe") or {}
    if not isinstance(said, dict):
        raise UsageError("'recipe' is an object of texts")
    name, recipe = text_of(body, "name"), recipe_of({str(k): str(v) for k, v in said.items()})
    recipe = replace(recipe, reference=images_said(index, recipe.reference))
    return {"name": name, "images": len(select(index, name, recipe, command=command_of(name, recipe)))}


def split_selection(index: Index, body: Body) -> Any:
    """Divide one into parts by shares such as train=0.8. Raises `UsageError`."""
    parts = split(index, text_of(body, "name"), parse_shares(texts_in(body, "shares")))
    return {"selections": [_head(s) for s in parts]}


def drop_selections(index: Index, body: Body) -> Any:
    """Forget selections. Raises `UnknownName`."""
    drop(index, texts_in(body, "names"))
    return {}


def _several(text: str) -> tuple[str, ...]:
    return tuple(part for part in map(str.strip, text.split(";")) if part)


def _head(s: Selection) -> dict[str, Any]:
    recipe = s.recipe.get("recipe") or {}
    by = recipe.get("by") or s.recipe.get("by")
    made_by = s.recipe.get("made_by") or (f"by {by}" if by else "")
    return {
        "name": s.name,
        "images": len(s),
        "made_by": made_by,
        "created_at": s.created_at,
        "first": s.ids[:6].tolist(),
    }


def _labels(index: Index, s: Selection) -> dict[str, Any]:
    counted = Selections(index.reader).labels_of(s.ids)
    return {"values": counted.most_common(_LABELS), "distinct": len(counted), "without": len(s) - counted.total()}
