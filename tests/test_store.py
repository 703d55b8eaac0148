"""The database, the FAISS files, and the index that keeps them in step."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import draw
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.admin.history import undo_action
from curator.admin.maintenance import backup, repair, verify
from curator.admin.manage import remove_images, restore_images, tag_images
from curator.database import Curation, NewImage, Reader, Selections, Writer
from curator.database.connection import transaction
from curator.database.integrity import row_crc
from curator.database.listed import recipe_of
from curator.database.schema import FORMAT, SEALED
from curator.embeddings import exact_scores, is_among, normalise, top_k
from curator.errors import (
    CuratorError,
    IndexDamaged,
    IndexLocked,
    IndexTooNew,
    NoIndex,
    UnknownName,
    UsageError,
    WhereError,
)
from curator.files import locate
from curator.index import Index
from curator.index.images import vectors_of
from curator.records import Content, ImageFile, Notes, Space
from curator.search.query import Question, parse_query, query_vector
from curator.vectors import Generation, GenerationDamaged, write_generation


@given(st.sets(st.integers(0, 400)), st.sets(st.integers(0, 400)), st.integers(1, 50))
def test_ids_that_are_among_others_are_those_of_a_set(ordered: set[int], values: set[int], apart: int) -> None:
    """Dense arrays and sparse ones take different ways."""
    a, b = np.array(sorted(ordered), np.int64) * apart, np.array(sorted(values), np.int64) * apart
    assert is_among(a, b).tolist() == [i in set(b.tolist()) for i in a.tolist()]


def unit(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    return normalise(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))


def half(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


def put(index: Index, x: np.ndarray, *, start: int = 0, label: str | None = None) -> Space:
    """Store synthetic images with these vectors."""
    with index.write() as db, db.atomic():
        space = db.add_space("pixels", "fingerprint", x.shape[1])
        root = db.add_root(Path("/synthetic"))
        hashes = [b"%032d" % (start + i) for i in range(len(x))]
        ids = db.put_contents(Content(h, h[:16], 8 + i % 100, 8, "RGB", "PNG") for i, h in enumerate(hashes))
        db.put_vectors(space, [ids[h] for h in hashes], x, np.ones(len(x), np.float32))
        files = [ImageFile(f"{start + i:06d}.png", i, i) for i in range(len(x))]
        db.put_images(NewImage(root.id, f, ids[h], Notes(label), "real") for f, h in zip(files, hashes, strict=True))
    return space


@settings(max_examples=30)
@given(
    n=st.integers(1, 200), k=st.integers(1, 50), seed=st.integers(0, 99), share=st.floats(0, 1), parts=st.integers(0, 5)
)
def test_a_generation_finds_what_a_sort_finds(
    n: int, k: int, seed: int, share: float, parts: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any filter, many duplicates, ids with gaps, parts scanned at once, empty ones too: the same to the last bit."""
    rng = np.random.default_rng(seed)
    x = half(unit(n, seed=seed)[rng.integers(0, max(1, n // 3), n)])
    ids = np.cumsum(rng.integers(1, 5, n))
    home = tmp_path_factory.mktemp("g")
    checksum = write_generation(home, 1, 16, [(ids, x.astype(np.float16))], facts={})
    generation = Generation.open(home / "1", checksum)
    allowed = rng.random(n) < share
    q = unit(1, seed=seed + 1)[0]
    for mask in (None, allowed):
        chosen = np.arange(n) if mask is None else np.flatnonzero(mask)
        found, scores = (
            generation.search(q, k, mask, parts=parts)
            if len(chosen)
            else (np.empty(0, np.int64), np.empty(0, np.float32))
        )
        at, expected = top_k(x[chosen], q, k)
        assert found.tolist() == ids[chosen][at].tolist()
        assert np.array_equal(scores, expected)


@pytest.mark.parametrize("file", ["flat.faiss", "ids.npy", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "zero", "cut", "gone"])
def test_a_damaged_generation_is_never_searched(tmp_path: Path, file: str, damage: str) -> None:
    checksum = write_generation(tmp_path, 1, 16, [(np.arange(50), unit(50).astype(np.float16))], facts={})
    Generation.open(tmp_path / "1", checksum)
    spoil(tmp_path / "1" / file, damage, seed=3)
    with pytest.raises(GenerationDamaged):
        Generation.open(tmp_path / "1", checksum)


def spoil(path: Path, damage: str, seed: int) -> None:
    data = bytearray(path.read_bytes())
    at = int(np.random.default_rng(seed).integers(len(data)))
    if damage == "flip":
        data[at] ^= 1 << seed % 8
    elif damage == "zero":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
        data[at] = 0 if data[at] else 1
    elif damage == "cut":
        del data[at:]
    path.unlink() if damage == "gone" else path.write_bytes(data)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def stop(name: str) -> None:
        raise OSError(name)

    with pytest.raises(OSError, match="written"):
        write_generation(tmp_path, 1, 16, [(np.arange(5), unit(5).astype(np.float16))], facts={}, step=stop)
    assert list(tmp_path.iterdir()) == []


def test_tail_tombstones_and_generation_answer_as_one(index: Index) -> None:
    """Whatever part of the vectors the files hold, the answer is that of a sort over all."""
    x = unit(300)
    space = put(index, x[:200])
    with index.write() as db:
        index.rebuild(db, space)
    put(index, x[200:], start=200)
    with index.write() as db, db.atomic():
        db.remove([3, 77, 250], by_hand=True)
    alive = np.setdiff1d(np.arange(300), [2, 76, 249])
    before = [search_all(index, q, alive, x) for q in unit(20, seed=5)]
    with index.write() as db:
        index.rebuild(db, index.space)
    assert before == [search_all(index, q, alive, x) for q in unit(20, seed=5)]


def search_all(index: Index, q: np.ndarray, alive: np.ndarray, x: np.ndarray) -> list[int]:
    hits = index.nearest(q, 10)
    at, scores = top_k(half(x)[alive], q, 10)
    assert hits.ids.tolist() == (alive[at] + 1).tolist()
    assert np.array_equal(hits.scores, scores)
    assert hits.searched == len(alive)
    return hits.ids.tolist()


def test_a_replaced_vector_counts_at_once(index: Index) -> None:
    x = unit(20)
    space = put(index, x)
    with index.write() as db:
        index.rebuild(db, space)
    index.nearest(x[0], 1)
    with index.write() as db, db.atomic():
        db.put_vectors(space, [1], -x[:1], np.ones(1, np.float32))
    assert index.nearest(x[0], 1).ids[0] != 1
    assert index.nearest(-x[0], 1).ids[0] == 1


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5])
def test_every_filter_has_full_recall(index: Index, share: float) -> None:
    x = unit(2000, 32)
    space = put(index, x)
    with index.write() as db:
        index.rebuild(db, space)
    where = f"id % 1000 < {int(1000 * share)}"
    chosen = np.flatnonzero((np.arange(2000) + 1) % 1000 < int(1000 * share))
    for q in unit(5, 32, seed=9):
        at, _ = top_k(half(x)[chosen], q, 20)
        hits = index.nearest(q, 20, where=where)
        assert hits.ids.tolist() == (chosen[at] + 1).tolist()
        assert hits.searched == len(chosen)


def test_a_where_can_read_and_nothing_else(index: Index) -> None:
    put(index, unit(10), label="shoe")
    assert len(index.reader.ids_where("label = 'shoe' and width >= 10")) == 8
    with pytest.raises(WhereError, match="parentheses"):
        index.reader.ids_where("1) or (1")
    attempts = [
        "(delete from images)",
        "1; drop table images",
        "load_extension('x')",
        "(select 1 from pragma_journal_mode('off'))",
    ]
    attempts += ["(attach 'x' as y)", "writefile('x', 'y')", "1; delete from images"]
    before = (index.folder / "index.db").read_bytes()
    for attempt in attempts:
        with pytest.raises(WhereError):
            index.reader.ids_where(attempt)
    assert (index.folder / "index.db").read_bytes() == before


def test_a_wrong_where_lists_the_columns_and_suggests(index: Index) -> None:
    put(index, unit(3))
    with pytest.raises(WhereError, match=r"no such column: lable; did you mean 'label'.*\n.*on the columns: id, path"):
        index.reader.ids_where("lable = 'x'")


def test_one_writer_at_a_time_and_its_death_frees_the_lock(index: Index) -> None:
    code = f"""
import os, sys; from pathlib import Path; from curator.database import Writer
w = Writer.open(Path({str(index.folder)!r})); print('have it', flush=True); sys.stdin.read(1); os.kill(os.getpid(),
9)"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline()
    with pytest.raises(IndexLocked, match="another process is writing"), index.write():
        pass
    assert index.reader.counts()["images"] == 0, "reading goes on"
    other.communicate(b"x")
    with index.write():
        pass


def test_what_is_no_index_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(NoIndex, match="curator index FOLDER"):
        Index.open(tmp_path / "none")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    with contextlib.closing(sqlite3.connect(foreign / "index.db")) as db:
        db.execute("CREATE TABLE precious (a)")
    before = (foreign / "index.db").read_bytes()
    with pytest.raises(NoIndex):
        Index.open(foreign)
    with pytest.raises(IndexDamaged, match="not an index"):
        Index.create(foreign)
    for tool in (repair, lambda place: list(verify(place))):
        with pytest.raises(NoIndex):
            tool(foreign)
        with pytest.raises(NoIndex):
            tool(tmp_path)
    assert not (tmp_path / "writer.lock").exists()
    assert (foreign / "index.db").read_bytes() == before


def test_a_newer_format_is_refused_clearly(index: Index) -> None:
    with contextlib.closing(sqlite3.connect(index.folder / "index.db")) as db:
        db.execute("PRAGMA user_version = 99")
    before = (index.folder / "index.db").read_bytes()
    for use in (Index.open, Index.create, repair, lambda place: list(verify(place))):
        with pytest.raises(IndexTooNew, match=r"format 99.*upgrade"):
            use(index.folder)
    assert (index.folder / "index.db").read_bytes() == before, "least of all by repair"


def test_an_interrupted_creation_is_finished(tmp_path: Path) -> None:
    (tmp_path / "i").mkdir()
    (tmp_path / "i" / "index.db").touch()
    with Index.create(tmp_path / "i") as made:
        assert len(made) == 0


def test_names_and_paths_of_indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate() == tmp_path / "indexes" / "default"
    assert locate("photos") == tmp_path / "indexes" / "photos"
    assert locate("./x") == tmp_path / "x"
    monkeypatch.setenv("CURATOR_INDEX", "mine")
    assert locate() == tmp_path / "indexes" / "mine"
    assert locate("/a/b") == Path("/a/b")


def test_ids_are_never_used_twice_and_tags_stay(index: Index) -> None:
    put(index, unit(5))
    tag_images(index, [2, 5], ["good", "bright"])
    with index.write() as db, db.atomic():
        db.remove([5], by_hand=True)
    put(index, unit(2, seed=8), start=100)
    assert index.reader.ids_where("1").tolist() == [1, 2, 3, 4, 6, 7]
    restore_images(index, [5])
    assert index.images([5])[0].tags == ("bright", "good")
    assert index.reader.ids_where("tags LIKE '%good%'").tolist() == [2, 5]
    with pytest.raises(UnknownName, match="no image with id 99"):
        index.images([99])


def test_a_question_about_few_images_looks_up_those_alone(index: Index) -> None:
    """SQLite's planner, left to itself, reads every vector of the space for hundreds of ids."""
    put(index, unit(10))
    ids = np.array([*range(1, 11)] * 40)
    said: list[str] = []
    index.reader.connection.set_trace_callback(said.append)
    index.reader.vectors(index.space, ids.tolist())
    index.reader.norms(index.space, ids.tolist())
    index.images(ids)
    vectors_of(index, ids)
    Selections(index.reader).sha256_of(ids)
    index.reader.connection.set_trace_callback(None)
    asked = [s for s in dict.fromkeys(said) if " FROM images i" in s]
    assert len(asked) == 4
    for sql in asked:
        plan = [row[3] for row in index.reader.rows(f"EXPLAIN QUERY PLAN {sql}")]
        assert plan[0] == "SEARCH i USING INTEGER PRIMARY KEY (rowid=?)", plan


def test_vectors_and_digests_are_the_same_looked_up_or_read_through(index: Index) -> None:
    put(index, unit(30))
    ids = np.random.default_rng(0).permutation(np.arange(1, 31))[:20]

    def stored(few: int) -> list[object]:
        return [vectors_of(index, ids, few=few).tolist(), Selections(index.reader).sha256_of(ids, few=few)]

    looked_up = stored(few=100)
    remove_images(index, ["2", "3"])
    assert stored(few=100) == looked_up, "removed images too"
    assert stored(few=5) == looked_up
    with pytest.raises(UnknownName):
        vectors_of(index, np.arange(25, 45), few=5)


def test_a_failed_transaction_leaves_no_trace(index: Index) -> None:
    put(index, unit(4))
    index.step = lambda name: 1 / 0 if name == "removal written" else None
    with pytest.raises(ZeroDivisionError):
        remove_images(index, [1, 2])
    assert len(index) == 4
    assert list(verify(index.folder)) == []


def test_a_backup_is_whole_while_a_writer_writes(index: Index, tmp_path: Path) -> None:
    put(index, unit(50))
    with index.write() as db, db.atomic():
        db.remove([1], by_hand=True)
        copy = backup(index.folder, tmp_path / "copy" / "index.db")
    with Index(copy.parent) as restored:
        assert len(restored) == 50
        assert list(verify(restored.folder)) == []
    with pytest.raises(CuratorError, match="there already"):
        backup(index.folder, copy)


DAMAGES = [(d, s) for d in ("flip", "zero", "cut") for s in range(40)]


def build(folder: Path) -> Path:
    with Index.create(folder) as index:
        space = put(index, unit(300, 64), label="shoe")
        tag_images(index, [1, 2, 3], ["good"])
        with index.write() as db:
            index.rebuild(db, space)
    return folder


def answers(folder: Path) -> object:
    """What a person would see: hits, metadata, filters."""
    with Index(folder) as index:
        hits = index.nearest(unit(1, 64, seed=3)[0], 300)
        return (
            hits.ids.tolist(),
            hits.scores.tobytes(),
            index.images(hits.ids),
            index.reader.ids_where("tags = 'good'").tolist(),
        )


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, object]:
    folder = build(tmp_path_factory.mktemp("sound") / "i")
    return folder, answers(folder)


@pytest.mark.parametrize(("damage", "seed"), DAMAGES)
def test_a_damaged_database_is_detected_or_without_effect(
    sound: tuple[Path, object], tmp_path: Path, damage: str, seed: int
) -> None:
    """Never a different answer, and never a traceback. After `repair`, answers come from sound rows only."""
    folder = tmp_path / "i"
    shutil.copytree(sound[0], folder)
    spoil(folder / "index.db", damage, seed)
    try:
        assert answers(folder) == sound[1]
    except (IndexDamaged, NoIndex):
        repair_and_check(folder, sound[1])


def repair_and_check(folder: Path, expected: object) -> None:
    try:
        repair(folder)
    except NoIndex:
        assert not (folder / "index.db").stat().st_size
        return
    assert all("have no vector" in f.problem for f in verify(folder)), "what a lost row leaves to `curator index`"
    assert list(folder.glob("index.damaged-*.db")), "the damaged database is kept"
    with Index(folder) as index, contextlib.suppress(NoIndex):
        ids = index.nearest(unit(1, 64, seed=3)[0], 300).ids.tolist()
        assert ids == [i for i in expected[0] if i in set(ids)], "what is left is in its old order"  # type: ignore[index]


@pytest.mark.parametrize("name", ["flat.faiss", "ids.npy", "manifest.json", "verified.json", "clean.json"])
@pytest.mark.parametrize("damage", ["flip", "zero", "cut", "gone"])
def test_a_damaged_cache_never_changes_an_answer(
    sound: tuple[Path, object], tmp_path: Path, name: str, damage: str
) -> None:
    folder = tmp_path / "i"
    shutil.copytree(sound[0], folder)
    answers(folder)
    spoil(next(folder.rglob(name)), damage, seed=5)
    assert answers(folder) == sound[1]
    if name in ("flat.faiss", "ids.npy", "manifest.json"):
        assert [f.place for f in verify(folder)] == ["vectors/1"]
    repair(folder)
    assert list(verify(folder)) == []
    assert answers(folder) == sound[1]


READ_ONLY = """
import os, sys
from pathlib import Path
from curator.errors import IndexLocked
from curator.index import Index
def ask(folder):
    with Index(folder) as index:
        return len(index.search(like=1, k=300, where="tags = 'good' or id > 3"))
ask(Path(sys.argv[1]))  # everything is imported now, which another user might not be allowed to do
if os.geteuid() == 0:
    os.setgid(65534), os.setuid(65534)
print(ask(Path(sys.argv[2])))
try:
    with Index(Path(sys.argv[2])) as index, index.write(): pass
except IndexLocked as error:
    print(error)
"""


@pytest.mark.parametrize("what", ["all", "database"])
def test_what_is_read_only_is_searched_and_refuses_writers(sound: tuple[Path, object], what: str) -> None:
    """Also where the stamp of a clean end is missing, so that the rows are checked first."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "i"
        shutil.copytree(sound[0], folder)
        (folder / "clean.json").unlink()
        for path in [*folder.rglob("*"), folder, folder.parent]:
            is_open = what == "database" and path.name != "index.db"
            path.chmod((0o777 if is_open else 0o555) if path.is_dir() else 0o666 if is_open else 0o444)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, sound[0], folder], capture_output=True, text=True, check=False
        )
        assert done.stdout.splitlines()[0] == "300", done.stderr
        assert "cannot be written" in done.stdout
        for path in [folder.parent, folder, *folder.rglob("*")]:
            path.chmod(0o755)


def test_a_golden_index_of_every_format_opens_for_ever(tmp_path: Path) -> None:
    goldens = sorted((Path(__file__).parent / "golden").glob("format-*"))
    assert [g.name for g in goldens] == [f"format-{n}" for n in range(1, FORMAT + 1)]
    for golden in goldens:
        folder = tmp_path / golden.name
        shutil.copytree(golden, folder)
        with Index.create(folder) as index:
            hits = index.search(like=2, k=4)
            images = index.images(hits.ids)
        assert hits.ids.tolist() == [2, 1, 4, 3]
        assert [i.caption for i in images] == ["a blue square", "a blue circle", "a red square", "a red circle"]
        assert images[1].tags == ("first",)
        np.testing.assert_allclose(hits.scores, [0.9999008, 0.9583711, 0.8469216, 0.75267917], atol=1e-6)
        assert list(verify(folder)) == []
        if golden.name != "format-1":  # which had no duplicates yet
            with Index(folder) as index:
                curation = Curation(index.reader)
                assert [d.verdict for d in curation.decisions()] == ["not-duplicate", "reject"]
                assert [(g.image_id, g.keeper_id, g.kind) for g in curation.groups()] == [
                    (1, 1, "keeper"),
                    (2, 1, "semantic"),
                ]
                assert curation.calibrations(index.space)["semantic"][0] == 0.95
                assert index.reader.ids_where("rejected").tolist() == [2]
        if golden.name not in ("format-1", "format-2"):  # nor selections
            with Index(folder) as index:
                kept = Selections(index.reader)
                assert kept.get("two").ids.tolist() == [4, 3]
                assert kept.concept(index.space, "red").facts["like"] == 1
                assert index.reader.ids_where("predicted = 'circle'").tolist() == [1]
        if golden.name in ("format-4", "format-5"):  # the first that remembers by what groups were made
            with Index(folder) as index:
                assert recipe_of(index.reader, "dedupe")["keep"] == ["smallest"]
        if golden.name == "format-5":  # the first that tells a change in one place
            with Index(folder) as index:
                assert Curation(index.reader).edges()[1, 2].weakest == 0.25
        if golden.name == "format-7":  # the first in which people write labels
            with Index(folder) as index:
                assert index.images([4])[0].label == "warm"
                undo_action(index)
                assert index.images([4])[0].label is None


def test_what_is_not_a_number_is_taken_out_of_older_indexes(tmp_path: Path) -> None:
    """One `NaN` that older versions let in made every condition on a further column fail."""
    folder = tmp_path / "index"
    shutil.copytree(Path(__file__).parent / "golden" / "format-3", folder)
    with contextlib.closing(sqlite3.connect(folder / "index.db")) as db, db:
        db.create_function("row_crc", -1, row_crc)
        columns = ", ".join(SEALED["images"])
        db.execute("""UPDATE images SET extra = '{"a": NaN, "b": -Infinity, "c": 3, "x\\u0000y": 4}' WHERE id = 2""")
        db.execute(f"UPDATE images SET crc = row_crc({columns}) WHERE id = 2")
        db.execute("INSERT INTO columns (name, crc) VALUES (?, row_crc(?))", ["x\0y"] * 2)
    with Index.create(folder) as index:
        assert index.images([2])[0].extra == {"c": 3, "x_y": 4}
        assert index.reader.ids_where("x_y = 4").tolist() == [2]
    assert list(verify(folder)) == []


def test_scores_of_duplicates_are_equal_so_ids_decide(index: Index, folder: Path, fill: Callable[..., object]) -> None:
    for copy in ("a.png", "b.png", "c.png"):
        shutil.copy(folder / "cats/0.png", folder / copy)
    fill()
    hits = index.search(image=folder / "cats/0.png", k=4)
    assert len(set(hits.scores.tolist())) == 1
    assert hits.ids.tolist() == sorted(hits.ids.tolist())
    assert len(index.search(image=folder / "cats/0.png", k=4, unique=True)) == 4
    names = [i.path.name for i in index.images(index.search(image=folder / "cats/0.png", k=10, unique=True).ids)]
    assert len(names) == 10, "ten contents"
    assert len({"a.png", "b.png", "c.png", "0.png"} & set(names)) == 1


def test_a_picture_outside_the_index_is_encoded_and_one_inside_is_not(
    index: Index, folder: Path, fill: Callable[..., object], tmp_path: Path
) -> None:
    fill()
    draw(3).save(tmp_path / "same.png")
    outside = index.search(image=tmp_path / "same.png", k=1)
    inside = index.search(image=folder / "cats/3.png", k=1)
    assert outside.ids.tolist() == inside.ids.tolist()
    assert exact_scores(index.vector_of_file(folder / "cats/3.png")[None], index.vector_of_id(int(inside.ids[0])))[
        0
    ] == pytest.approx(1)
    draw(50).save(folder / "cats/3.png")
    assert index.search(image=folder / "cats/3.png", k=1).scores[0] < 0.9, (
        "changed since: its old vector does not count"
    )


def test_exactly_one_query(index: Index, fill: Callable[..., object]) -> None:
    fill()
    for wrong in ({}, {"text": "a", "like": 1}):
        with pytest.raises(UsageError, match="exactly one"):
            index.search(**wrong)  # type: ignore[arg-type]


def test_an_empty_index_says_what_to_do(index: Index) -> None:
    with pytest.raises(NoIndex, match="fill it with"):
        index.search(text="shoe")


def test_reader_and_writer_agree_on_row_checksums(index: Index, fill: Callable[..., object]) -> None:
    fill(label_from="folder")
    with Reader.open(index.folder) as reader:
        assert reader.breakdown("label") == [("cats", 5), ("dogs", 5)]
    with Writer.open(index.folder) as writer:
        assert writer.connection.execute("SELECT count(*) FROM images WHERE crc IS NULL").fetchone()[0] == 0


def test_columns_that_differ_only_in_case_can_all_be_reached(
    index: Index, fill: Callable[..., object], folder: Path
) -> None:
    (folder / "metadata.csv").write_text("file_name,Width,Price,price\ncats/0.png,999,1,2\n")
    fill()
    columns = index.reader.columns()
    assert len({c.lower() for c in columns}) == len(columns)
    assert index.reader.ids_where("meta_Width = 999 and width = 24").tolist() == [1]
    assert index.reader.ids_where("Price = 1 and meta_price = 2").tolist() == [1]


def test_a_tag_is_not_a_pattern(index: Index) -> None:
    put(index, unit(40))
    tag_images(index, [1], ["a_b"])
    tag_images(index, [2], ["axb", "A_B"])
    tag_images(index, [3], ["it's"])
    for tag, expected in (("a_b", [1]), ("A_B", [2]), ("%", []), ("it's", [3])):
        assert index.reader.ids_where(Question(tag=tag).condition() or "").tolist() == expected


def test_no_claim_is_made_from_too_few_images(index: Index) -> None:
    put(index, unit(20))
    hits = index.nearest(unit(1, seed=4)[0], 5)
    assert np.isnan(hits.z).all()
    assert hits.clear
    assert any("cannot be told" in n for n in hits.notes)


def test_removed_images_are_no_background(index: Index) -> None:
    """Certainty does not depend on whether the FAISS files have been written since a removal."""
    x = unit(200)
    space = put(index, x)
    with index.write() as db:
        index.rebuild(db, space)
        with db.atomic():
            db.remove(list(range(1, 151)), by_hand=True)
    before = index.nearest(x[180], 3).z
    with index.write() as db:
        index.rebuild(db, index.space)
    np.testing.assert_allclose(index.nearest(x[180], 3).z, before, rtol=1e-4)


def test_no_id_comes_back_after_a_repair(sound: tuple[Path, object], tmp_path: Path) -> None:
    folder = tmp_path / "i"
    shutil.copytree(sound[0], folder)
    with contextlib.closing(sqlite3.connect(folder / "index.db")) as db:
        db.execute("UPDATE images SET caption = 'damaged' WHERE id = 300")
        db.commit()
    assert "1 damaged rows" in repair(folder)[0]
    with Index(folder) as index:
        assert len(index) == 299
        put(index, unit(1, 64, seed=77), start=5000)
        assert index.reader.ids_where("1").tolist()[-1] == 301


def test_a_full_word_of_errors_for_ids_that_are_none(index: Index) -> None:
    put(index, unit(3))
    for query in ("id:99", "id:99999999999999999999"):
        with pytest.raises(UnknownName, match="no image with id"):
            query_vector(index, parse_query([query]))


def test_a_transaction_within_another_falls_alone_and_the_outer_one_takes_all(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    db.execute("CREATE TABLE t (x)")

    def values() -> list[int]:
        return [x for (x,) in db.execute("SELECT x FROM t ORDER BY x")]

    def put(value: int, error: type[BaseException] | None = None) -> None:
        with transaction(db):
            db.execute("INSERT INTO t VALUES (?)", [value])
            if error:
                raise error

    def put_within(value: int, error: type[BaseException]) -> None:
        with transaction(db):
            put(value)
            raise error

    with transaction(db):
        put(1)
        with pytest.raises(KeyError):
            put(2, KeyError)
        put(3)
    assert values() == [1, 3]
    with pytest.raises(KeyboardInterrupt):
        put_within(4, KeyboardInterrupt)
    assert values() == [1, 3]
    with pytest.raises(sqlite3.OperationalError, match="no transaction"), transaction(db):
        db.execute("ROLLBACK")
    assert not db.in_transaction
