"""The Python face: what `import curator` promises."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw
from PIL import Image

import curator
from curator.admin.manage import remove_images
from curator.errors import UnknownName, UsageError
from curator.selection.recipe import Recipe


@pytest.fixture
def photos(tmp_path: Path, folder: Path, tiny: object) -> Iterator[curator.Index]:
    with curator.open(tmp_path / "index", create=True) as index:
        index.ingest(folder, encoder="tiny", label_from="folder")
        yield index


def test_every_public_name_is_there_and_documented() -> None:
    for name in curator.__all__:
        part = getattr(curator, name)
        assert part.__doc__, name
    assert set(dir(curator)) == set(curator.__all__)
    assert len(curator.__all__) <= 16
    with pytest.raises(AttributeError, match="nothing"):
        _ = curator.nothing


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, curator; curator.Job; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "faiss", "sqlite_utils", "onnxruntime", "PIL"} & set(loaded)


def test_hits_know_their_pictures(photos: curator.Index, tmp_path: Path) -> None:
    hits = photos.search("red circle", where="label = 'cats'", k=3)
    assert len(hits) == 3
    assert [hit.image.id for hit in hits] == hits.ids.tolist()
    assert all(hit.image.path.is_file() and hit.score <= 1 for hit in hits)
    assert isinstance(hits[0], curator.Hit)
    rest = hits[1:]
    assert rest.ids.tolist() == hits.ids[1:].tolist()
    assert (rest.notes, rest.searched, rest.clear) == (hits.notes, hits.searched, hits.clear)
    drawn = hits.sheet(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as written:
        assert drawn.size == written.size
    page = hits._repr_html_()
    assert page.count("data:image/jpeg;base64,") == 3
    assert "http" not in page
    assert str(hits.images[0].path) in repr(hits)
    assert list(hits.to_pandas()["score"]) == pytest.approx(hits.scores.tolist())


def test_a_query_may_be_of_any_kind(photos: curator.Index) -> None:
    image = photos[1]
    queries = [1, np.int64(1), image.path, Image.open(image.path).convert("RGB"), photos.vectors([1])[0]]
    for query in queries:
        assert photos.search(query, k=1)[0].image.id == 1


@pytest.mark.parametrize(
    "wrong", [True, 1.5, b"words", ["a", "b"], np.zeros(3), np.zeros((1, 256)), np.full(256, np.nan)]
)
def test_a_wrong_query_is_a_clear_error(photos: curator.Index, wrong: object) -> None:
    with pytest.raises(curator.UsageError):
        photos.search(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"like": 1.5}, {"text": ["a"]}, {}, {"text": "a", "like": 1}, {"vector": "abc"}])
def test_a_wrong_named_query_too(photos: curator.Index, wrong: dict[str, object]) -> None:
    with pytest.raises(curator.UsageError):
        photos.search(**wrong)


def test_what_an_index_answers(photos: curator.Index) -> None:
    assert len(photos) == 10
    assert "10 images, 'tiny'" in repr(photos)
    ids = photos.where("label = 'dogs'")
    assert [i.label for i in photos.images(ids)] == ["dogs"] * 5
    assert photos.vectors(ids).shape == (5, photos.space.dim)
    assert np.allclose(np.linalg.norm(photos.vectors(ids), axis=1), 1, atol=1e-6)
    photos.tag(ids[:2], "seen")
    assert photos.where("tags = 'seen'").tolist() == ids[:2].tolist()
    photos.tag(ids[:2], "seen", undo=True)
    assert photos.where("tags = 'seen'").tolist() == []
    with pytest.raises(UnknownName):
        photos[99]
    assert photos.runs() == []


def test_pictures_are_added_from_memory(photos: curator.Index, tmp_path: Path) -> None:
    pictures = [draw(100), np.asarray(draw(101)), np.zeros((9, 7), np.uint8)]
    facts = [{"label": "new", "weight": 3}, {"caption": "a thing"}, {}]
    ids = photos.add(pictures, metadata=facts)
    assert [photos[int(i)].label for i in ids] == ["new", None, None]
    assert photos[int(ids[0])].extra == {"weight": 3}
    assert photos.add(pictures, metadata=facts).tolist() == ids.tolist(), "the same again is no news"
    target = tmp_path / "mine" / "a.png"
    (own,) = photos.add([draw(102)], paths=[target])
    assert photos[int(own)].path == target
    with pytest.raises(curator.UsageError, match="other pixels"):
        photos.add([draw(103)], paths=[target])
    for wrong in ([np.zeros((4, 4), float)], [np.zeros((4, 4, 4), np.uint8)]):
        with pytest.raises(curator.UsageError, match="uint8"):
            photos.add(wrong)
    assert len(photos) == 14


def test_a_selection_is_a_data_set_for_torch(photos: curator.Index) -> None:
    chosen = photos.select("some", 6, by="random")
    assert chosen.paths == [i.path for i in photos.images(chosen.ids)]
    assert photos.selection("some").digest == chosen.digest
    assert photos.selections() == ["some"]
    assert len(chosen.to_pandas()) == 6
    assert "'some': 6 images" in repr(chosen)
    data = pickle.loads(pickle.dumps(chosen.to_torch(side=16)))
    picture, code = data[0]
    assert picture.shape == (3, 16, 16)
    assert picture.dtype == torch.float32
    assert -1 <= float(picture.min()) <= float(picture.max()) <= 1
    assert data.classes[code] == chosen.labels[0]
    loader = torch.utils.data.DataLoader(data, batch_size=3, num_workers=0)
    assert [len(y) for _, y in loader] == [3, 3]
    assert chosen.to_torch(transform=lambda p: p.size)[0][0] == (24, 24)
    assert chosen.to_torch(side=np.int64(16))[0][0].shape == (3, 16, 16)
    for side in (0, -1, 10**6, "a", 2.5):
        with pytest.raises(UsageError, match="a side is a whole number of pixels from 1 to 8192"):
            chosen.to_torch(side=side)


def test_duplicates_are_found(photos: curator.Index, folder: Path) -> None:
    (folder / "cats" / "copy.png").write_bytes((folder / "cats" / "0.png").read_bytes())
    photos.ingest()
    assert [len(g.members) for g in photos.dedupe(level="exact").groups] == [2]


def test_a_closed_index_says_so(tmp_path: Path) -> None:
    with curator.open(tmp_path / "i", create=True) as index:
        pass
    with pytest.raises(curator.CuratorError, match="is closed"):
        len(index)
    with pytest.raises(curator.NoIndex):
        curator.open(tmp_path / "nowhere")


def test_one_glob_or_folder_is_not_a_list_of_letters(photos: curator.Index, folder: Path) -> None:
    before = len(photos)
    assert photos.ingest(folder, encoder="tiny", exclude="*.nothing").removed == 0
    assert len(photos) == before
    (folder / "copy.png").write_bytes((folder / "cats" / "0.png").read_bytes())
    photos.ingest(folder, encoder="tiny")
    result = photos.dedupe(keep="newest", protect=str(folder))
    assert len(result.groups) == 1
    assert repr(result) == f"<groups: 1; duplicates: 0; images searched: {before + 1}>", "both are protected"
    assert Recipe(match="red circle") == Recipe(match=("red circle",))


def test_adding_writes_over_nothing_and_says_what_it_cannot_add(photos: curator.Index, tmp_path: Path) -> None:
    mine, picture = tmp_path / "a.png", draw(900)
    mine.with_suffix(".json").write_text('{"mine": 1}')
    with pytest.raises(UsageError, match="says something else"):
        photos.add([picture], paths=[mine], metadata=[{"label": "x"}])
    assert mine.with_suffix(".json").read_text() == '{"mine": 1}'
    assert not mine.exists(), "nothing is written before everything is known to be good"
    for wrong in ({"x": float("nan")}, {"x": object()}):
        with pytest.raises(UsageError, match="JSON"):
            photos.add([picture], paths=[tmp_path / "b.png"], metadata=[wrong])
    with pytest.raises(UsageError, match="CMYK"):
        photos.add([picture.convert("CMYK")], paths=[tmp_path / "b.png"])
    assert not (tmp_path / "b.png").exists()
    (image_id,) = photos.add([picture], paths=[tmp_path / "c.png"]).tolist()
    remove_images(photos, [image_id])
    with pytest.raises(UsageError, match="removed by hand"):
        photos.add([picture], paths=[tmp_path / "c.png"])


def test_a_wrong_number_or_id_is_a_clear_error(photos: curator.Index) -> None:
    for k in (0, 2.5, "3", True):
        with pytest.raises(UsageError, match="whole k"):
            photos.search("red", k=k)
    with pytest.raises(UsageError, match="did you mean 'level'"):
        photos.dedupe(levle="exact")
    with pytest.raises(UsageError, match="is a file; `ingest`"):
        photos.add(["a.png"])  # type: ignore[list-item]
    with pytest.raises(UnknownName):
        photos.tag([999_999], "a")


JUNK = [
    None, True, -1, 0, 10**30, 1.5, float("nan"), float("inf"), "", " ", "\0", "\ud83d", "nope", "1) OR (1",
    b"", b"x", [], ["red"],
    {}, {"a": 1}, (), object(), np.zeros(3), np.zeros((2, 2)), np.array(["a"]), np.full(256, np.nan, np.float32),
    Path("/nowhere"), lambda: 0,
]  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, tiny: object) -> Iterator[curator.Index]:
    place = tmp_path_factory.mktemp("small")
    (place / "pictures").mkdir()
    for number in range(4):
        draw(number).save(place / f"pictures/{number}.png")
    with curator.open(place / "index", create=True) as index:
        index.ingest(place / "pictures", encoder="tiny")
        index.select("some", n=2)
        yield index


@pytest.mark.parametrize("number", range(len(JUNK)))
def test_every_misuse_is_named_and_called_no_damage(small: curator.Index, number: int) -> None:
    """A wrong argument is the caller's: a `CuratorError`, `TypeError` or `ValueError`, and never "run verify"."""
    junk = JUNK[number]
    calls = {
        "query": lambda: small.search(junk), "text": lambda: small.search(text=junk),
        "like": lambda: small.search(like=junk),
        "image": lambda: small.search(image=junk), "vector": lambda: small.search(vector=junk),
        "k": lambda: small.search("red", k=junk), "condition": lambda: small.search("red", where=junk),
        "min_score": lambda: small.search("red", min_score=junk), "item": lambda: small[junk],
        "vectors": lambda: small.vectors(junk), "images": lambda: small.images(junk),
        "where": lambda: small.where(junk),
        "tag": lambda: small.tag(junk, "good"), "tags": lambda: small.tag([1], junk),
        "selection": lambda: small.selection(junk),
        "select": lambda: small.select(junk, n=2), "n": lambda: small.select("other", n=junk),
        "by": lambda: small.select("other", n=2, by=junk), "run": lambda: small.run(junk),
        "add": lambda: small.add(junk), "paths": lambda: small.add([draw(9)], paths=junk),
        "metadata": lambda: small.add([draw(9)], metadata=junk), "level": lambda: small.dedupe(level=junk),
        "keep": lambda: small.dedupe(keep=junk), "folder": lambda: small.ingest(junk),
        "open": lambda: curator.open(junk),
    }  # fmt: skip
    for name, call in calls.items():
        said = ""
        try:
            call()
        except (curator.CuratorError, TypeError, ValueError) as error:
            said = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not for the caller
            pytest.fail(f"{name}={junk!r}: {type(error).__name__}: {error}")
        assert "verify" not in said, (name, junk)
    assert len(small.search("red")) >= 4
