"""`curator.Index`: everything about an index from Python, one method for each thing that people do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image as Pillow

from curator import index as core
from curator.admin.manage import tag_images
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.cleaning.result import DedupeResult
from curator.database import Selections
from curator.database.listed import skipped_files
from curator.embeddings import normalise
from curator.encoders import load_encoder
from curator.errors import UsageError
from curator.face.checks import as_id, as_ids, as_list, as_words, options_of
from curator.face.hits import Hits
from curator.face.selection import Selection
from curator.files import whole_for_user, write_whole
from curator.index.many import search_many
from curator.ingest import IngestOptions, choose_encoder, ingest
from curator.job import QUIET, Job
from curator.records import Ids, Image, IngestReport, Vectors
from curator.runs.lookup import home_of, run_of
from curator.selection.recipe import Recipe
from curator.selection.select import select
from curator.training.folder import Run
from curator.training.numbered import runs_in

_ADDED = "pictures"  # folder of the index where pictures go that have no path of their own
_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # modes that PNG keeps as they are
T = TypeVar("T")
Picture = Pillow.Image | np.ndarray[Any, Any]


def open_index(name: str | Path | None = None, *, create: bool = False) -> Index:
    """Open an index by name or path; `create` makes an empty one where there is none. Use it with `with`.

    Without a name it is `CURATOR_INDEX`, else `default`, in `indexes/` here or in a folder around here. Raises
    `NoIndex`, `IndexLocked`, or another `CuratorError` for one that is damaged or of a later version.
    """
    if name is not None and not isinstance(name, Path):
        as_words("an index's name", name)
    return Index.create(name) if create else Index.open(name)


class Index(core.Index):
    """An index, open for questions and changes; `with` closes it. It may be used from any number of threads."""

    def search(
        self, query: str | int | Path | Pillow.Image | Vectors | None = None, /, *, k: int = 20, **more: Any
    ) -> Hits:
        """The `k` images nearest to a query: words, an image's id, a picture or its file, or a vector (d,).

        `where` is a SQL condition on columns; `min_score` an inner product in [−1, 1]; `unique` keeps one image for
        each content; `remember=False` does not keep the vector of words for the next time. Raises `UsageError`,
        `WhereError`, `NoTextTower`, `PictureError`.
        """
        if query is not None:
            more |= self._as_named(query)
        if more.get("where") is not None:
            as_words("where", more["where"])
        if more.get("image") is not None and not isinstance(more["image"], str | Path):
            raise UsageError(f"image is a picture's file, not {type(more['image']).__name__}")
        if more.get("min_score") is not None and not isinstance(
            more["min_score"], int | float | np.floating | np.integer
        ):
            raise UsageError(f"min_score is a number in [−1, 1], not {more['min_score']!r}")
        return Hits.of(super().search(k=k, **more), self)

    def search_many(
        self, vectors: Any, *, k: int = 20, where: str | None = None, min_score: float | None = None
    ) -> list[Hits]:
        """The hits of each of (m, d) vectors, computed together on every core.

        Raises `UsageError`, `WhereError`.
        """
        if where is not None:
            as_words("where", where)
        return [Hits.of(h, self) for h in search_many(self, vectors, k, where=where, min_score=min_score)]

    def _as_named(self, query: Any) -> dict[str, Any]:
        """A query under the name of its kind."""
        if isinstance(query, bool) or not isinstance(query, str | int | np.integer | Path | Pillow.Image | np.ndarray):
            raise UsageError(f"a query is words, an id, a picture, its file or a vector, not {type(query).__name__}")
        if isinstance(query, str):
            return {"text": query}
        if isinstance(query, int | np.integer):
            return {"like": int(query)}
        if isinstance(query, Path):
            return {"image": query}
        if isinstance(query, Pillow.Image):
            return {"vector": self.encoder.encode_images([query.convert("RGB")]).ravel()}
        return {"vector": query}

    def __getitem__(self, image_id: int) -> Image:
        """The record of one image. Raises `UnknownName`."""
        return self.images([as_id(image_id)])[0]

    def where(self, condition: str) -> Ids:
        """Ascending ids (n,) of the images for which a SQL condition holds. Raises `WhereError`."""
        return self.reader.ids_where(as_words("a condition", condition))

    def vectors(self, ids: Ids | Sequence[int]) -> Vectors:
        """(n, d) float32 unit rows of images, in the order of `ids`. Raises `UnknownName` for one without."""
        return normalise(self.engine.vectors(as_ids(ids).tolist()))

    def ingest(
        self, *folders: str | Path, encoder: str | None = None, job: Job = QUIET, **options: Any
    ) -> IngestReport:
        """Index folders or files, or bring all known ones up to date, as `curator index` does.

        `options`: label_from ("folder" or a column), table (a CSV), exclude (globs), origin ("real" or "generated"),
        allow_empty, retry.
        """
        choice = choose_encoder(encoder, self.reader.active_space(), ask=None)
        paths = [Path(f if isinstance(f, Path) else as_words("a folder", f)).expanduser() for f in folders]
        return ingest(self, paths, load_encoder(choice.encoder), options_of(IngestOptions, options), job=job)

    def add(
        self,
        pictures: Sequence[Picture],
        *,
        paths: Sequence[str | Path] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        encoder: str | None = None,
    ) -> Ids:
        """Write pictures to files and index them → their ids (n,), in order.

        A picture is a `PIL.Image`, or an array (H, W) or (H, W, 3) uint8. `paths` name PNG files, by default in a
        folder of the index; one that is there with other pixels is an error. `metadata` gives each picture columns,
        `label` and `caption` among them, which are kept beside it as JSON. Raises `UsageError`.
        """
        drawn = [_as_picture(p) for p in as_list("pictures", pictures)]
        if metadata is not None and not all(isinstance(row, Mapping) for row in as_list("metadata", metadata)):
            raise UsageError("metadata is a dictionary for each picture")
        files = self._places(drawn, paths)
        rows = list(metadata) if metadata is not None else [{} for _ in files]
        if len(rows) != len(files) or not files:
            raise UsageError(f"name as many paths and metadata as pictures: {len(files)}, {len(rows)}, {len(drawn)}")
        sidecars = [_as_sidecar(row, file) for file, row in zip(files, rows, strict=True)]
        for picture, file, sidecar in zip(drawn, files, sidecars, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            _save_once(picture, file)
            if sidecar is not None:
                write_whole(file.with_suffix(".json"), sidecar)
        self.ingest(*files, encoder=encoder)
        ids = [self.reader.find(file) for file in files]
        left_out = next((file for file, image_id in zip(files, ids, strict=True) if image_id is None), None)
        if left_out is not None:
            reasons = {s.path: s.reason for _, s in skipped_files(self.reader)}
            reason = next((r for path, r in reasons.items() if str(left_out).endswith(path)), "it was removed by hand")
            raise UsageError(f"{left_out} is written and not indexed: {reason}")
        return np.array(ids, np.int64)

    def _places(self, pictures: Sequence[Pillow.Image], paths: Sequence[str | Path] | None) -> list[Path]:
        if paths is None:
            import hashlib

            names = [hashlib.sha256(p.tobytes() + str(p.size).encode()).hexdigest()[:24] for p in pictures]
            return [self.folder / _ADDED / f"{name}.png" for name in names]
        files = [Path(path).expanduser().absolute() for path in as_list("paths", paths)]
        wrong = next((f for f in files if f.suffix.lower() != ".png"), None)
        if wrong is not None:
            raise UsageError(f"pictures are written as .png, not {wrong.name}")
        if len(files) != len(pictures):
            raise UsageError(f"{len(pictures)} pictures need as many paths, not {len(files)}")
        return files

    def dedupe(self, *, job: Job = QUIET, **options: Any) -> DedupeResult:
        """Find duplicates and propose keepers, as `curator dedupe` does. No file is touched.

        `options`: level ("exact", "verified" or "semantic"), keep, protect, across, ignore_same_dir, where, threshold.
        """
        return dedupe(self, options_of(DedupeOptions, options), job=job)

    def select(
        self, name: str, n: int | None = None, *, overwrite: bool = False, job: Job = QUIET, **recipe: Any
    ) -> Selection:
        """Choose images and keep the choice as `name`.

        `recipe` are the options of `curator select` by their names: by, where, match, avoid, per, extend, reference,
        origin, seed and so on. Raises `UsageError`, `UnknownName`, `WhereError`.
        """
        name, how = as_words("a selection's name", name), options_of(Recipe, {"n": n} | recipe)
        chosen = select(self, name, how, overwrite=overwrite, job=job)
        return Selection.of(chosen, self)

    def selection(self, name: str) -> Selection:
        """A selection by name. Raises `UnknownName` with near names."""
        return Selection.of(Selections(self.reader).get(as_words("a selection's name", name)), self)

    def selections(self) -> list[str]:
        """Names of the selections, oldest first."""
        return Selections(self.reader).names()

    def tag(self, ids: Ids | Sequence[int], *tags: str, undo: bool = False) -> None:
        """Put tags on images, or take them off. Raises `UsageError` for a tag with white space."""
        tag_images(self, as_ids(ids).tolist(), [as_words("a tag", t) for t in tags], off=undo)

    def runs(self) -> list[Run]:
        """Training runs, oldest first."""
        return runs_in(home_of(self))

    def run(self, name: str = "latest") -> Run:
        """A training run by name, number or `latest`. Raises `UnknownName`."""
        return run_of(self, as_words("a run's name", name))

    def __repr__(self) -> str:
        """Where it is, and what is in it."""
        space = self.reader.active_space()
        what = f"{len(self)} images, '{space.encoder}'" if space else "empty"
        return f"<index {self.folder}: {what}>"


def _as_sidecar(row: Mapping[str, Any], file: Path) -> str | None:
    """The text of a side-car, None for no columns. Raises `UsageError` for what is no JSON, or another one there."""
    if not row:
        return None
    try:
        text = json.dumps(dict(row), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the metadata of {file.name} cannot be kept as JSON: {error}") from error
    there = file.with_suffix(".json")
    if there.exists() and there.read_text() != text:
        raise UsageError(f"{there} is there already and says something else; name another path")
    return text


def _as_picture(given: object) -> Pillow.Image:
    if isinstance(given, Pillow.Image):
        if given.mode not in _PNG:
            raise UsageError(f"a picture of mode {given.mode} cannot be kept as PNG; give picture.convert('RGB')")
        return given
    if isinstance(given, str | Path):
        raise UsageError(f"{given} is a file; `ingest` indexes files and folders, and `add` pictures from memory")
    pixels = np.asarray(given)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise UsageError(f"a picture is (H, W) or (H, W, 3) uint8, not {pixels.shape} {pixels.dtype}")
    return Pillow.fromarray(pixels)


def _save_once(picture: Pillow.Image, file: Path) -> None:
    """Write a picture where there is none; the same one may be there. Raises `UsageError` for another one."""
    if not file.exists():
        with whole_for_user(file) as beside:
            picture.save(beside, "PNG")
        return
    with Pillow.open(file) as there:
        if there.size != picture.size or there.tobytes() != picture.tobytes():
            raise UsageError(f"{file} is there already with other pixels; name another path")
