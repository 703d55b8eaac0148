"""Vectors that another tool computed, taken over without encoding again.

The layout is clip-retrieval's and embedding-reader's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.database import Curation
from curator.database.listed import UNKNOWN, note_precision
from curator.embeddings import lengths, normalise
from curator.encoders import Encoder
from curator.errors import PictureError, SpaceMismatch, UsageError
from curator.images import decode, measure, read_bytes
from curator.index import Index
from curator.job import Job

# Files of pictures and their vectors (n, d); with lengths (n,) if these are unit rows already, to be kept as they are.
Part = tuple[list[Path], NDArray[np.floating], NDArray[np.float32] | None]

_BATCH = 64
_CHECKED = 16  # pictures of a batch that are encoded anew to see that the vectors are this encoder's
_EVERY = 16  # batches, of which one is looked at so; the first of every part is
_TINY = 1e-12  # a vector shorter than this has no direction
_SAME = 0.98  # least cosine; other runtimes and float16 differ in the last digits only


def take_vectors(index: Index, source: Path, encoder: Encoder, job: Job) -> list[Path]:
    """Keep the vectors of every picture in the layout's `metadata` → the pictures' files, to be indexed.

    They go under the encoder's space. Raises `SpaceMismatch` where a sample encodes to other vectors, `UsageError` for
    a layout that lacks something.
    """
    files = keep_vectors(index, str(source), _parts(source), encoder, job)
    if not files:
        raise UsageError(
            f"no picture that {source}/metadata names can be read; its column image_path must lead to files"
        )
    return files


def keep_vectors(index: Index, source: str, parts: Iterable[Part], encoder: Encoder, job: Job) -> list[Path]:
    """Keep vectors under the encoder's space, those of pictures that can be read → the pictures' files.

    Of one batch in sixteen some are encoded anew. Raises `SpaceMismatch` where they come out otherwise, `UsageError`.
    """
    files: list[Path] = []
    with index.write(alone=True) as db:
        with db.atomic():
            space = db.add_space(encoder.name, encoder.fingerprint, encoder.dim)
        for paths, x, norms in parts:
            long = lengths(np.asarray(x, np.float32))
            bad = np.flatnonzero(~np.isfinite(long) | (long < _TINY))
            if len(bad):
                raise UsageError(
                    f"row {bad[0]} of the vectors for {paths[bad[0]]} is zero or not finite, so it has no direction"
                )
            if x.shape[1] != encoder.dim:
                raise SpaceMismatch(
                    f"{source} holds vectors of {x.shape[1]} dimensions, and '{encoder.name}' has {encoder.dim}"
                )
            for start in range(0, len(paths), _BATCH):
                batch = slice(start, start + _BATCH)
                read = [
                    (place, d)
                    for place, p in enumerate(paths[batch], start)
                    if (d := _decoded(p, encoder.side)) is not None
                ]
                if not read:
                    continue
                places = [place for place, _ in read]
                vectors = np.asarray(x[places], np.float32)
                if start % (_EVERY * _BATCH) == 0:
                    some_of = np.linspace(0, len(read) - 1, min(_CHECKED, len(read))).astype(int).tolist()
                    _check(encoder, [read[i][1].picture for i in some_of], vectors[some_of], source)
                with db.atomic():
                    ids = db.put_contents(d.content for _, d in read)
                    contents = [ids[d.content.sha256] for _, d in read]
                    note_precision(db, space, UNKNOWN)
                    if norms is None:
                        db.put_vectors(space, contents, normalise(vectors), lengths(vectors))
                    else:
                        db.put_vectors(space, contents, vectors, norms[places])
                    Curation(db).put_measures({c: measure(d.picture) for c, (_, d) in zip(contents, read, strict=True)})
                files += [paths[place] for place in places]
                job.progress(len(files), len(files), "reading vectors")
                job.check()
    return files


def _decoded(path: Path, side: int) -> Any:
    try:
        return decode(read_bytes(path), side=side)
    except PictureError:
        return None


def _check(encoder: Encoder, pictures: list[Any], x: NDArray[np.float32], source: str) -> None:
    cosine = (encoder.encode_images(pictures) * normalise(x)).sum(1)
    if cosine.min() < _SAME:
        raise SpaceMismatch(
            f"the vectors in {source} are not those of '{encoder.name}' (a picture encodes with cosine "
            f"{cosine.min():.3f}); "
            "name the encoder they come from with --encoder"
        )


def _parts(source: Path) -> Iterator[Part]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in sorted((source / "img_emb").glob("*.npy")):
        table = source / "metadata" / f"{file.stem.replace('img_emb', 'metadata')}.parquet"
        if not table.is_file():
            raise UsageError(f"{table} is missing, which must name the pictures of {file.name}")
        try:
            rows = pq.read_table(table).to_pylist()
            x = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, pa.ArrowException) as error:
            raise UsageError(f"{file.name} or {table.name} cannot be read: {error}") from error
        if x.ndim != 2 or x.dtype.kind != "f" or len(rows) != len(x) or any("image_path" not in r for r in rows):
            raise UsageError(
                f"{table} must have a column image_path and as many rows as {file.name}, which is {x.shape}"
            )
        yield [source / str(r["image_path"]) for r in rows], x, None
