"""Conditions answered from columns in memory are what SQLite answers, whatever has changed since."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conditions import CONDITIONS
from conftest import draw
from hypothesis import HealthCheck, given, settings

from curator.encoders import PixelEncoder
from curator.errors import WhereError
from curator.index import Index
from curator.index.masks import Masks
from curator.ingest import IngestOptions, ingest

SIZES = [(1, 4), (2, 2), (5, 1), (4, 9), (1, 1), (6, 3)]
LABELS = ["a", "b'c", "z", "", None]


@pytest.fixture
def labelled(index: Index, tmp_path: Path) -> Index:
    """Thirty small drawings, six of them without a label and without measures."""
    files = []
    for number in range(30):
        file = tmp_path / "pictures" / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        draw(number, SIZES[number % 6]).save(file)
        files.append(file)
    ingest(index, [tmp_path / "pictures"], PixelEncoder())
    with index.write() as db, db.atomic():
        for number, image_id in enumerate(index.reader.ids_where("1").tolist()):
            label = LABELS[number % 5]
            db.connection.execute("UPDATE images SET label = ?, crc = NULL WHERE id = ?", [label, image_id])
        db.connection.execute("DELETE FROM measures WHERE content_id % 5 = 1")
    assert len(index.reader.ids_where("sharpness IS NULL")) == 6
    return index


def asked(masks: Masks, index: Index, where: str) -> np.ndarray:
    """The answer from memory: a column is read when it is asked for again."""
    with index.engine.moment():
        masks.ids_where(where, 1)
        before = masks.reader
        masks.reader = _NeverAsked(before)  # type: ignore[assignment]
        try:
            return masks.ids_where(where, 1)
        finally:
            masks.reader = before


class _NeverAsked:
    """A reader whose conditions must not be asked: columns it gives."""

    def __init__(self, reader: object) -> None:
        self.reader = reader

    def __getattr__(self, name: str) -> object:
        assert name != "ids_where", "the answer should come from memory"
        return getattr(self.reader, name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(CONDITIONS)
def test_they_mean_what_sql_means(labelled: Index, condition: str) -> None:
    masks = Masks(labelled.reader, least=0)
    if condition.replace("NOT ", "").strip("() ").lower() in ("true", "false"):
        return  # no column is named
    try:
        found = asked(masks, labelled, condition)
    except AssertionError:
        assert not any(name in condition for name in ("width", "label", "aspect"))
        return
    np.testing.assert_array_equal(found, labelled.reader.ids_where(condition))


CHANGES: dict[str, Callable[[Index, Path], object]] = {
    "a label": lambda index, _: change(index, "UPDATE images SET label = 'z', crc = NULL WHERE id = 3"),
    "a size": lambda index, _: change(index, "UPDATE contents SET width = 77, crc = NULL WHERE id = 2"),
    "an image gone": lambda index, home: ((home / "pictures" / "4.png").unlink(), again(index, home)),
    "an image more": lambda index, home: (draw(99, (9, 9)).save(home / "pictures" / "new.png"), again(index, home)),
    "a tag": lambda index, _: change(index, "INSERT INTO tags (image_id, tag) VALUES (1, 'x')"),
}


def change(index: Index, sql: str) -> None:
    with index.write() as db, db.atomic():
        db.connection.execute(sql)


def again(index: Index, home: Path) -> None:
    ingest(index, [home / "pictures"], PixelEncoder(), IngestOptions())


@pytest.mark.parametrize("what", list(CHANGES))
def test_no_answer_is_older_than_the_index(labelled: Index, tmp_path: Path, what: str) -> None:
    masks = Masks(labelled.reader, least=0)
    conditions = ["width > 1", "label = 'z'", "label IS NULL OR height < 4", "id > 2 AND NOT (origin = 'generated')"]
    for condition in conditions:
        asked(masks, labelled, condition)
    CHANGES[what](labelled, tmp_path)
    for condition in conditions:
        expected = labelled.reader.ids_where(condition)
        with labelled.engine.moment():
            np.testing.assert_array_equal(masks.ids_where(condition, 1), expected)
        np.testing.assert_array_equal(asked(masks, labelled, condition), expected)


@pytest.mark.parametrize(
    "condition",
    [
        "sharpness > 0.1", "NOT sharpness > 0.1", "sharpness IS NULL", "entropy IS NOT NULL AND contrast <= 0.25",
        "sharpness NOT BETWEEN 0 AND 0.2", "brightness IN (0.5, 1) OR sharpness IS NULL", "id IN (3, 4, 99)",
        "NOT (id IN (3, 4) OR label = 'a')", "size >= 100 AND size < 1e9", "origin <> 'generated'", "format = 'PNG'",
        "camera IS NULL AND mode = 'RGB'", "label = 'no such label'", "label <> 'no such label'",
    ],
)  # fmt: skip
def test_numbers_that_some_lack(labelled: Index, condition: str) -> None:
    masks = Masks(labelled.reader, least=0)
    np.testing.assert_array_equal(asked(masks, labelled, condition), labelled.reader.ids_where(condition))


@pytest.mark.parametrize("condition", ["width\xa0> 1", "width > \u0663", "id IN (" + "1, " * 999 + "2)"])
def test_an_answer_does_not_depend_on_how_often_it_is_asked(labelled: Index, condition: str) -> None:
    masks = Masks(labelled.reader, least=0)
    answers = []
    for _ in range(3):
        try:
            answers.append(masks.ids_where(condition, 1).tolist())
        except WhereError as error:
            answers.append([str(error)])
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("condition", ["lower(label) = 'z'", "path LIKE '%1%'", "tags IS NULL", "width + 1 = 2", "1"])
def test_what_only_sqlite_understands_it_is_asked(labelled: Index, condition: str) -> None:
    masks = Masks(labelled.reader, least=0)
    for _ in range(3):
        np.testing.assert_array_equal(masks.ids_where(condition, 1), labelled.reader.ids_where(condition))
    with pytest.raises(WhereError, match="widht"):
        masks.ids_where("widht > 3", 1)


def test_searches_and_counts_use_them(labelled: Index) -> None:
    labelled.engine._masks.least = 0
    expected = labelled.search(like=1, k=5, where="width > 1").ids
    for _ in range(3):
        np.testing.assert_array_equal(labelled.search(like=1, k=5, where="width > 1").ids, expected)
        assert labelled.engine.count("width > 1") == len(labelled.reader.ids_where("width > 1"))
