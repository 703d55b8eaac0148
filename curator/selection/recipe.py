"""What makes a selection again: the recipe, and the manifest that says what became of every image."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from curator.errors import UsageError
from curator.files import digest_of, read_regular, whole_for_user
from curator.index import Index
from curator.index.images import relative
from curator.records import Selection
from curator.records.selections import NAME
from curator.selectors import parse_objective
from curator.texts import to_json

SCHEMA = 1  # of the manifest
_MOST = 2**30  # bytes of a manifest
DEDUPE = ("known", "none", "exact", "verified", "semantic")
ORIGINS = ("real", "generated", "any")
_LIBRARIES = ("image-curator", "numpy", "faiss-cpu", "scikit-learn")


@dataclass(frozen=True)
class Recipe:
    """Filter → dedupe → score → select.

    `n` None takes all; `origin` "any" lets generated images in; `per` a column to balance over. `dedupe` "known" leaves
    out identical files and the duplicates of the last `curator dedupe`; `extend` and `reference` name selections,
    `reference` else a folder of the index or a condition.
    """

    n: int | None = None
    by: str = "random"
    where: str | None = None
    origin: str = "real"
    match: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    dedupe: str = "known"
    threshold: float | None = None
    per: str | None = None
    extend: str | None = None
    reference: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("match", "avoid"):  # one text alone is not a list of its letters
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        parse_objective(self.by)
        if self.dedupe not in DEDUPE:
            raise UsageError(f"no level '{self.dedupe}' to dedupe at; there are: {', '.join(DEDUPE)}")
        if self.origin not in ORIGINS:
            raise UsageError(f"no origin '{self.origin}'; there are: {', '.join(ORIGINS)}")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"a seed is a whole number from 0 on, not {self.seed}")
        if self.n is not None and self.n < 1:
            raise UsageError(f"-n takes a number of images from 1 on, not {self.n}")


@dataclass(frozen=True)
class Step:
    """One step of a selection: how many images went in and came out, and what decided."""

    step: str
    before: int
    after: int
    facts: Mapping[str, Any]


def describe_recipe(index: Index, recipe: Recipe, steps: Sequence[Step], command: str) -> dict[str, Any]:
    """The manifest without its images."""
    space = index.space
    return {
        "schema": SCHEMA,
        "command": command,
        "recipe": asdict(recipe),
        "versions": {name: version(name) for name in _LIBRARIES} | {"python": platform.python_version()},
        "index": {"folder": index.folder.name, "images": len(index)},
        "space": {"encoder": space.encoder, "fingerprint": space.fingerprint, "dim": space.dim},
        "steps": [asdict(s) for s in steps],
    }


def manifest_of(index: Index, selection: Selection) -> dict[str, Any]:
    """The whole manifest: recipe, and of every image its SHA-256, path below its root, rank, value, split."""
    roots = [r.path for r in index.reader.roots()]
    what = selection.recipe.get("value", "")
    rows = [
        {
            "rank": rank,
            "sha256": sha256.hex(),
            "path": relative(image, roots),
            "value": value if math.isfinite(value) else None,
            "split": split,
        }
        for rank, (image, sha256, value, split) in enumerate(
            zip(index.images(selection.ids), selection.sha256, selection.values.tolist(), selection.splits, strict=True)
        )
    ]
    head = {
        "name": selection.name,
        "digest": selection.digest,
        "created_at": selection.created_at,
        "count": len(selection),
    }
    return head | dict(selection.recipe) | {"reason": what, "images": rows}


def write_manifest(manifest: Mapping[str, Any], target: Path) -> None:
    """Write a manifest, whole or not at all. Raises `UsageError`."""
    with whole_for_user(target) as beside:
        beside.write_text(to_json(manifest, indent=1) + "\n")  # its escapes keep names that are not UTF-8


def read_manifest(file: Path) -> dict[str, Any]:
    """A manifest from a file. Raises `UsageError` for anything else, or one of a later schema."""
    try:
        manifest = json.loads(read_regular(file, _MOST).decode("utf-8"))
        schema, images = manifest["schema"], manifest["images"]
        digest_of([bytes.fromhex(i["sha256"]) for i in images])
        if int(schema) <= SCHEMA:
            _ = str(manifest["name"]), [i["path"] for i in images], [s["step"] for s in manifest["steps"]]
        bad = [i["split"] for i in images if i.get("split") is not None and not NAME.fullmatch(str(i["split"]))]
        if bad:
            raise ValueError(f"'{bad[0]}' is no name of a split")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{file} is no manifest of a selection ({error}); `curator selections manifest NAME` writes one"
        ) from error
    if int(schema) > SCHEMA:
        raise UsageError(
            f"{file} has the manifest schema {schema}, and this curator knows up to {SCHEMA}; upgrade image-curator"
        )
    return dict(manifest)


def recipe_in(manifest: Mapping[str, Any]) -> Recipe:
    """The recipe of a manifest. Raises `UsageError` where it has none, as one of a union or a split."""
    recipe = manifest.get("recipe")
    if not isinstance(recipe, dict) or set(recipe) - {f.name for f in fields(Recipe)}:
        made_by = manifest.get("made_by", "something else")
        raise UsageError(
            f"this selection was not made by `curator select` but by {made_by}; "
            "--as-listed takes its images as they are listed"
        )
    lists = {k: tuple(recipe[k]) for k in ("match", "avoid") if k in recipe}
    try:
        return Recipe(**(recipe | lists))
    except TypeError as error:
        raise UsageError(f"the recipe of this manifest cannot be read: {error}") from error
