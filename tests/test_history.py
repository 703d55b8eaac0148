"""What people did is recorded with what stood there before, and can be undone and redone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from conftest import draw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator.admin.history import history, redo_action, undo_action
from curator.admin.maintenance import verify
from curator.admin.manage import edit_images, remove_images, restore_images, tag_images
from curator.cleaning.decisions import decide, undo
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.encoders import PixelEncoder
from curator.errors import CuratorError, UnknownName, UsageError
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.labelling.concepts import drop_concept, fit_concept
from curator.records import IngestReport
from curator.selection.recipe import Recipe
from curator.selection.select import select
from curator.selection.sets import drop

TABLES = ("tags", "edits", "decisions", "concepts", "selections", "selected")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Six pictures, two of them twice, with groups."""
    folder = tmp_path_factory.mktemp("history")
    (folder / "set").mkdir()
    for n in range(4):
        draw(n).save(folder / "set" / f"{n}.png")
    for n in (0, 1):
        (folder / "set" / f"{n}-copy.png").write_bytes((folder / "set" / f"{n}.png").read_bytes())
    with Index.create(folder / "index") as index:
        ingest(index, [folder / "set"], PixelEncoder(), IngestOptions())
        dedupe(index, DedupeOptions())
        yield index


def contents(index: Index) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that people change, without keys and clocks that a row may get anew."""
    rows = {t: index.reader.rows(f"SELECT * FROM {t}") for t in TABLES if t not in ("selections", "selected")}
    names = index.reader.rows(
        "SELECT s.name, s.digest, s.manifest, x.rank, x.image_id, x.sha256 FROM selections s JOIN selected x "
        "ON x.selection_id = s.id"
    )
    removed = index.reader.rows("SELECT id, removed, label, caption FROM images")
    return {k: sorted(map(str, v)) for k, v in {**rows, "selections": names, "removed": removed}.items()}


DEEDS: dict[str, Callable[[Index], Any]] = {
    "tag": lambda index: tag_images(index, [1, 2, 3], ["good"]),
    "label": lambda index: edit_images(index, [1, 2], {"label": "hand"}),
    "other label": lambda index: edit_images(index, [2, 3], {"label": "foot"}),
    "label of the files": lambda index: edit_images(index, [1, 2], {"label": None}),
    "caption": lambda index: edit_images(index, [3], {"caption": "a picture of a hand"}),
    "tag more": lambda index: tag_images(index, [3, 4], ["good", "odd"]),
    "untag": lambda index: tag_images(index, [1, 3], ["good"], off=True),
    "remove": lambda index: remove_images(index, [5]),
    "restore": lambda index: restore_images(index, [5]),
    "keep": lambda index: decide(index, "keep", [2]),
    "reject": lambda index: decide(index, "reject", [2]),
    "forget": lambda index: undo(index, [1, 2]),
    "concept": lambda index: fit_concept(index, "nice", [1], [3]),
    "drop concept": lambda index: drop_concept(index, "nice"),
    "select": lambda index: select(index, "two", Recipe(n=2), overwrite=True),
    "drop": lambda index: drop(index, ["two"]),
}


@given(st.lists(st.sampled_from(sorted(DEEDS)), min_size=1, max_size=6), st.floats(0, 1))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_undo_is_what_was_before_and_redo_what_was_after(full: Index, deeds: list[str], share: float) -> None:
    states = [contents(full)]
    for name in deeds:
        before = history(full, 1)
        try:
            DEEDS[name](full)
        except CuratorError:  # nothing to drop, nothing to keep
            continue
        if history(full, 1) != before:
            states.append(contents(full))
    back = round(share * (len(states) - 1))
    for state in reversed(states[:-1][len(states) - 1 - back :]):
        undo_action(full)
        assert contents(full) == state
    for state in states[len(states) - back :]:
        redo_action(full)
        assert contents(full) == state
    assert list(verify(full.folder)) == []


def test_what_changes_nothing_is_no_action(full: Index) -> None:
    tag_images(full, [6], ["again"])
    newest = history(full, 1)[0]
    tag_images(full, [6], ["again"])
    assert history(full, 1)[0] == newest
    assert (newest.who, newest.text) == ("cli", "tag again: 1 image")


def test_an_action_that_something_depends_on_is_not_undone(full: Index) -> None:
    tag_images(full, [6], ["first"])
    first = history(full, 1)[0]
    tag_images(full, [6], ["second"])
    with pytest.raises(UsageError, match=r"have changed since; undo 'tag second: 1 image' first"):
        undo_action(full, first.id)
    undo_action(full)
    assert undo_action(full, first.id).is_undone
    with pytest.raises(UsageError, match="undone already"):
        undo_action(full, first.id)
    with pytest.raises(UnknownName, match="curator history"):
        undo_action(full, 10**9)
    assert redo_action(full).id == first.id, "what was undone last"
    tag_images(full, [6], ["third"])
    with pytest.raises(UsageError, match="nothing to redo"):
        redo_action(full)


def test_the_command_line_shows_and_undoes(curator: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    draw(1).save(tmp_path / "set" / "a.png")
    curator("index", tmp_path / "set", "--encoder", "pixels")
    assert curator("history").stdout == "Nothing was done yet.\n"
    curator("tag", "fine", "1")
    assert "cli  tag fine: 1 image" in curator("history").stdout
    assert curator("undo").stdout == "Undone: tag fine: 1 image.\n"
    assert json.loads(curator("history", "--json").stdout)[0]["is_undone"]
    assert "(undone)" in curator("history").stdout
    assert curator("undo").exit_code == 2
    assert curator("undo", "--redo").stdout == "Done again: tag fine: 1 image.\n"
    assert curator("search", "id:1", "--tag", "fine").exit_code == 0


def test_what_a_person_wrote_stands_whatever_scans_find(
    index: Index, folder: Path, fill: Callable[..., IngestReport]
) -> None:
    fill(label_from="folder")
    labels = {i.id: i.label for i in index.images(list(range(1, 11)))}
    edit_images(index, [1, 6], {"label": "bird"})
    edit_images(index, [1], {"caption": " a bird "})
    assert [i.label for i in index.images([1, 6])] == ["bird", "bird"]
    assert index.images([1])[0].caption == "a bird"
    assert fill(label_from="folder").noted == 0, "nothing differs from what the files say"
    (folder / "cats").rename(folder / "felines")
    table = folder / "notes.csv"
    table.write_text("".join(["file,kind\n", *(f"{n}.png,new\n" for n in range(10))]))
    fill(label_from="kind", table=str(table))
    assert {i.label for i in index.images([1, 6])} == {"bird"}
    assert {i.label for i in index.images([2, 7])} == {"new"}
    edit_images(index, [1, 6], {"label": None})
    edit_images(index, [1], {"caption": None})
    assert {i.label for i in index.images([1, 6])} == {"new"} != set(labels.values())
    assert index.images([1])[0].caption is None
    assert not index.reader.rows("SELECT * FROM edits")
    assert list(verify(index.folder)) == []


@pytest.mark.parametrize(
    ("what", "value", "problem"),
    [("origin", "real", "no 'origin'"), ("label", "  ", "a label is"), ("label", "x" * 201, "a label is"),
     ("caption", "a\0b", "a caption is")],
)  # fmt: skip
def test_what_is_no_label_is_refused(full: Index, what: str, value: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        edit_images(full, [1], {what: value})
    with pytest.raises(UnknownName):
        edit_images(full, [99], {"label": "x"})


def test_edit_on_the_command_line(full: Index, curator: Callable[..., Result]) -> None:
    where = ("-i", full.folder)
    assert curator("edit", 1, "--label", "hand", *where).output == "Written: label of 1 image.\n"
    assert full.images([1])[0].label == "hand"
    assert "As the files say: label and caption of 1 image" in curator("edit", 1, "--undo", *where).output
    assert full.images([1])[0].label is None
    assert "say --label or --caption" in curator("edit", 1, *where).output
