"""Qdrant as engine, on its own engine and on its client's: answers, conditions, loads, kills."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from conditions import CONDITIONS
from edge import EdgeClient
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models
from scaling import check_answers, make_set, put_pictures, rows_of
from test_web import CHANGE, Client

from curator.embeddings import exact_scores, normalise
from curator.errors import EngineRefused, NoEngine, SpaceMismatch, UnknownName, UsageError, WhereError
from curator.face import open_index
from curator.index import Index
from curator.scale.push import drop_service, push_set
from curator.scale.storage import read_shown
from curator.vectors import COLUMNS, LoadPart, open_service
from curator.vectors.conditions import filter_of
from curator.vectors.qdrant_connecting import split_address

# The client's own engine has no graph and no indexes, and says so.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]
URL = "qdrant://localhost/photos"


class Unclosed:
    """A client that several services share: what one of them closes stays open for the others."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        return (lambda: None) if name == "close" else getattr(self.client, name)


@pytest.fixture(params=["edge", "client"])
def qdrant(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Qdrant's engine, or the client's own."""
    client: Any = EdgeClient(tmp_path / "qdrant") if request.param == "edge" else QdrantClient(":memory:")
    monkeypatch.setattr("curator.vectors.qdrant_loading.connect", lambda *_: Unclosed(client))
    yield client
    client.close()


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("qdrant")
    make_set(put_pictures(home / "pictures", 90), home / "set", label_from="folder")
    return home / "set"


WHERES = [
    None,
    "true",
    "false",
    "label = 'label-3'",
    "NOT (label = 'label-3' OR label IN ('label-1', 'Ä''\"'))",
    "width >= 10 AND width <= 1e6 AND NOT height > 40",
    "caption IS NULL",
    "NOT caption IS NULL",
    "caption <> 'x' OR id BETWEEN 3 AND 70",
    "aspect NOT BETWEEN 0.9 AND 1.1",
    "taken_at >= '2020-01-01'",
]


@pytest.mark.parametrize("where", WHERES)
def test_answers_are_those_of_comparing_everything(qdrant: Any, ready: Path, where: str | None) -> None:
    """Best first, ties by id, never fewer than min(k, matches)."""
    assert push_set(str(ready), URL).images == 90
    service = open_service(URL)
    ids = service.ids_where(where or "true")
    assert ids.tolist() == [i for i in service.ids_where("true").tolist() if where is None or i in set(ids.tolist())]
    check_answers(service, where, (2, 3 << 20 | 3), 90)


def test_it_has_what_the_set_has(qdrant: Any, ready: Path, curator: Callable[..., Result]) -> None:
    """From the service, from Python and by commands."""
    assert (push_set(str(ready), URL).loaded, push_set(str(ready), URL).loaded) == (6, 0)
    service = open_service(URL)
    ids, rows = service.ids_where("true"), rows_of(ready)
    for image, v in zip(service.images(ids.tolist()), service.vectors(ids.tolist()), strict=True):
        image_id, sha256, label, vector = rows[image.place]
        assert (image.id, bytes.fromhex(image.sha256), image.label) == (image_id, sha256, label)
        assert v.astype(np.float16).tobytes() == vector
    assert (service.sample().shape, list(service.verify())) == ((90, service.space.dim), [])
    with pytest.raises(UnknownName):
        service.vectors([2**40])
    with open_index(URL) as index:
        assert [h.image.label for h in index.search(2, k=3, where="label = 'label-2'")] == ["label-2"] * 3
    shown = curator("search", "id:2", "--on", URL, "-n", 4, "--where", "width >= 4")
    assert (shown.exit_code, "4 hits of 90 searched (exact)" in shown.stderr) == (0, True)
    refused = curator("search", "id:2", "--on", URL, "--where", "lower(label) = 'a'")
    assert (refused.exit_code, "no functions" in refused.stderr, "BETWEEN" in refused.stderr) == (2, True, True)
    drop_service(URL)
    with pytest.raises(NoEngine, match="there is no set 'photos'"):
        service.count()


def test_sets_of_like_names_are_not_each_other(qdrant: Any) -> None:
    """Nor is a collection that somebody else made, nor one that was begun and not more."""
    one: Any = open_service(URL)
    filled(one, 1_000)
    filled(open_service(f"{URL}_parts"), 1_000)
    assert (one.count(), one.is_finished) == (1_000, True)
    theirs: Any = open_service("qdrant://localhost/theirs")
    qdrant.create_collection("curator_theirs", vectors_config=models.VectorParams(size=4, distance="Dot"))
    with pytest.raises(EngineRefused, match="did not make"):
        filled(theirs, 1_000)
    begun: Any = open_service("qdrant://localhost/begun")
    qdrant.create_collection("curator_begun-parts", vectors_config={})
    with pytest.raises(NoEngine):
        begun.count()
    filled(begun, 1_000)
    assert begun.count() == 1_000
    qdrant.create_collection("curator_half-parts", vectors_config={})
    drop_service("qdrant://localhost/half")
    assert not qdrant.collection_exists("curator_half-parts")


def test_what_was_not_loaded_whole_says_so(qdrant: Any) -> None:
    """In answers and to `verify`; and whoever finishes does not finish for another who loads meanwhile."""
    service: Any = open_service(URL)
    x = filled(service, 2_000)
    q = normalise(x[:1].astype(np.float32)).ravel()
    service.remove(1)
    assert "cut off" in service.nearest(q, 3).notes[-1]
    assert [f.problem for f in service.verify()] == [service.nearest(q, 3).notes[-1]]
    said: list[str] = []

    def meanwhile(words: str) -> None:
        said.append(words)
        if len(said) == 1:
            open_service(URL).remove(0)  # type: ignore[attr-defined]

    service.finish(meanwhile)
    assert (service.is_finished, "meanwhile" in said[-1]) == (False, True)


def test_a_graph_never_comes_back_short(qdrant: Any, tmp_path: Path) -> None:
    """As above 20,000 matches: few that match, far from the query; many that are alike; the answer says how it came."""
    service: Any = open_service(URL)
    x = filled(service, 3_000)
    service.few = 5
    facts = service._facts()
    service._put_facts(facts | {"ef": 100})
    q = normalise(x[:1].astype(np.float32)).ravel()
    for where, matches in ((None, 3_000), ("label = 'far'", 30), ("width < 0", 0), ("width < 1500", 1_500)):
        answer = service.nearest(q, 20, where=where)
        assert len(answer.ids) == min(20, matches)
        assert answer.exact or "recall" in answer.notes[0]
        true = np.flatnonzero(CHOSEN[where or "all"](np.arange(3_000)))
        least = np.sort(exact_scores(x[true].astype(np.float32), q))[::-1][:20][-1:]
        assert (answer.scores >= least - 1e-6).sum() >= 0.95 * min(20, matches)
    assert service.nearest(q, 20, exact=True).exact
    alike = service.nearest(q, 5, exact=True)
    assert alike.ids.tolist() == [0, 100, 101, 102, 103], "of a hundred that are the same the least ids"


CHOSEN: dict[str, Callable[[Any], Any]] = {
    "all": lambda n: n >= 0, "label = 'far'": lambda n: n % 100 == 1, "width < 0": lambda n: n < 0,
    "width < 1500": lambda n: n < 1_500,
}  # fmt: skip


def filled(service: Any, n: int) -> Any:
    """Load n vectors, the second hundred like the first one → (n, d) float16."""
    from curator.records import Space

    x = normalise(np.random.default_rng(0).normal(size=(n, 32)).astype(np.float32)).astype(np.float16)
    x[100:200] = x[0]
    service.create(Space(0, "made", "0" * 64, 32, 0, 0, ""), "a test")
    columns: dict[str, list[Any]] = {name: [None] * n for name in COLUMNS}
    columns |= {"uri": [str(i) for i in range(n)], "width": list(range(n))}
    columns["label"] = ["far" if i % 100 == 1 else "near" for i in range(n)]
    for start in range(0, n, 1_000):
        part = {name: values[start : start + 1_000] for name, values in columns.items()}
        ids = np.arange(start, start + 1_000)
        service.load(LoadPart(start // 1_000, "x", ids, x[ids], part))
    service.finish(lambda _: None)
    return x


def test_a_load_is_finished_by_the_next_and_its_owner_is_asked(qdrant: Any, ready: Path, tmp_path: Path) -> None:
    push_set(str(ready), URL)
    service: Any = open_service(URL)
    service.remove(0)
    assert (service.is_finished, service.count()) == (False, 74)
    qdrant.delete("curator_photos", points_selector=service._of_shard(2))
    assert [f.problem for f in service.verify()][1:] == ["holds 0 of 16 rows; `curator push` mends it"]
    assert (push_set(str(ready), URL).loaded, service.count(), list(service.verify())) == (2, 90, [])
    other = put_pictures(tmp_path / "p", 12, damaged=False)
    make_set(other, tmp_path / "tiny", encoder="tiny")
    with pytest.raises(SpaceMismatch, match="another name"):
        push_set(str(tmp_path / "tiny"), URL)
    make_set(other, tmp_path / "set")
    with pytest.raises(UsageError, match="--replace"):
        push_set(str(tmp_path / "set"), URL)
    assert push_set(str(tmp_path / "set"), URL, replace=True).images == 12
    assert service.count() == 12, "what was there is gone"
    assert push_set(str(tmp_path / "set"), URL, where="label IS NULL AND width > 0").images == 12


def test_killed_while_it_is_loaded(ready: Path, tmp_path: Path) -> None:
    """SIGKILL of the process that loads Qdrant's engine, at three moments; the next push has all of it, once."""
    run = (
        "import sys; sys.path.insert(0, sys.argv[3]); from edge import EdgeClient; from pathlib import Path\n"
        "import curator.vectors.qdrant_loading as q; client = EdgeClient(Path(sys.argv[2]))\n"
        "q.connect = lambda *_: client; q._BATCH = 1\n"
        "from curator.scale.push import push_set; print('begun', flush=True)\n"
        f"push_set(sys.argv[1], '{URL}')"
    )
    command = [sys.executable, "-c", run, str(ready), str(tmp_path / "qdrant"), str(Path(__file__).parent)]
    deaths = 0
    for seconds in (0.02, 0.1, 0.25):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        deaths += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert deaths
    subprocess.run(command, check=True, capture_output=True)
    client = EdgeClient(tmp_path / "qdrant")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curator.vectors.qdrant_loading.connect", lambda *_: client)
        service: Any = open_service(URL)
        ids = service.ids_where("true").tolist()
        assert sorted(row[0] for row in rows_of(ready).values()) == ids
        assert (service.is_finished, list(service.verify())) == (True, [])
        service.close()


def test_threads_may_share_it(qdrant: Any, ready: Path) -> None:
    push_set(str(ready), URL)
    with open_index(URL) as index:
        answers: list[int] = []
        threads = [threading.Thread(target=lambda n=n: answers.append(len(index.search(2, k=n)))) for n in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == list(range(1, 9))


# Conditions

ROWS = [
    {"id": n, "width": w, "label": label, "aspect": aspect}
    for n, (w, label, aspect) in enumerate(
        (w, label, aspect) for w in (None, 1, 5) for label in (None, "a", "b'c") for aspect in (None, 0.5, 2.0)
    )
]


@given(CONDITIONS)
def test_conditions_mean_what_sql_means(condition: str) -> None:
    """As SQLite answers, on rows with and without values: a comparison with nothing is neither true nor false."""
    memory = sqlite3.connect(":memory:")
    memory.execute("CREATE TABLE t (id, width, label, aspect)")
    memory.executemany("INSERT INTO t VALUES (:id, :width, :label, :aspect)", ROWS)
    expected = [r[0] for r in memory.execute(f"SELECT id FROM t WHERE {condition} ORDER BY id")]
    tree = filter_of(condition)
    assert [int(str(r["id"])) for r in ROWS if holds(tree, r)] == expected


def holds(tree: dict[str, Any], row: dict[str, Any]) -> bool:
    """Qdrant's reading of a filter, as its documentation gives it."""
    if "has_id" in tree:
        return row["id"] in tree["has_id"]
    if "is_empty" in tree:
        return row[tree["is_empty"]["key"]] is None
    if "key" in tree:
        value = row[tree["key"]]
        if value is None:
            return False
        if "match" in tree:
            return bool(value == tree["match"]["value"])
        signs = {"lt": value.__lt__, "lte": value.__le__, "gt": value.__gt__, "gte": value.__ge__}
        return all(signs[k](type(value)(v) if isinstance(value, float) else v) is True or compare(k, value, v)
                   for k, v in tree["range"].items())  # fmt: skip
    return (
        all(holds(t, row) for t in tree.get("must", []))
        and not any(holds(t, row) for t in tree.get("must_not", []))
        and ("should" not in tree or any(holds(t, row) for t in tree["should"]))
    )


def compare(sign: str, a: float, b: float) -> bool:
    return {"lt": a < b, "lte": a <= b, "gt": a > b, "gte": a >= b}[sign]


@pytest.mark.parametrize(
    "condition",
    [
        "", "label", "label =", "label = label", "lower(label) = 'a'", "label = 3", "width = 'a'", "label > 'a'",
        "labl = 'a'", "width = 1 OR", "(width = 1", "width = 1)", "width = 1; DROP", "label LIKE 'a%'", "width = 1e999",
        "taken_at > '2020'", "taken_at > '2024-02-31'", "taken_at > '2024-01-01T25:00'", '"extra.a[" = 1',
        "extra.a..b = 1",
        "label IN ()", "width NOT 3", "SELECT 1", "label = 'a", "1 = 1", "width + 1 = 2",
        "(" * 60 + "true" + ")" * 60, "NOT " * 60 + "true", "width = NULL", "label = 'a' -- x", "\0", "extra. = 3",
    ],
)  # fmt: skip
def test_what_is_no_such_condition_is_refused_with_the_grammar(condition: str) -> None:
    with pytest.raises(WhereError, match="IS \\[NOT\\] NULL"):
        filter_of(condition)


@given(st.text(max_size=40))
def test_no_text_breaks_the_reader_of_conditions(text: str) -> None:
    with contextlib.suppress(WhereError):
        filter_of(text)


def test_extra_columns_and_times(qdrant: Any) -> None:
    service: Any = open_service(URL)
    filled(service, 1_000)
    columns = {name: [None, None] for name in COLUMNS} | {"uri": ["a", "b"], "taken_at": ["2024-05-31T10:00:00", None]}
    columns["extra"] = ['{"price": 3, "city": "Ulm"}', '{"price": 9.5, "a b": 1}']
    service.load(LoadPart(9, "y", np.array([5_000, 5_001]), np.zeros((2, 32), np.float16), columns))
    expected = {
        "extra.price = 3": [5_000], "extra.price > 3": [5_001], "extra.city = 'Ulm'": [5_000],
        '"extra.a b" = 1': [5_001], "taken_at >= '2024-05-31'": [5_000], "taken_at < '2024-05-31 09:00'": [],
        "extra.city IS NULL AND id > 4000": [5_001],
    }  # fmt: skip
    for condition, ids in expected.items():
        assert service.ids_where(condition).tolist() == ids, condition
    assert service.values_of("extra", [5_000]) == {5_000: '{"price": 3, "city": "Ulm"}'}
    assert service.images([5_000])[0].extra == {"price": 3, "city": "Ulm"}


@pytest.mark.parametrize(
    "url",
    ["qdrant://u:key@host/a", "qdrant://host", "qdrant://host/A-b", "qdrant://host:99999/a", "qdrant://h/a?api_key=x",
     "qdrant://h/a?set=b", "qdrant://h/a?https=false"],
)  # fmt: skip
def test_an_address_names_a_set_and_no_key(url: str) -> None:
    with pytest.raises(UsageError):
        split_address(url)


def test_an_address_is_read() -> None:
    assert split_address("qdrant://host:6334/photos") == ("host", 6334, "photos")
    assert split_address("qdrant://localhost?set=photos") == ("localhost", 6333, "photos")


@pytest.mark.parametrize("port", [9, 6334])
def test_nobody_answers(port: int) -> None:
    """By HTTP, and by gRPC."""
    service = open_service(f"qdrant://127.0.0.1:{port}/photos")
    with pytest.raises(NoEngine, match="does not answer"):
        service.count()


def test_the_page_of_a_service_shows_and_changes_nothing(qdrant: Any, ready: Path) -> None:
    """Lists, facets, thumbnails and pictures; an image of id 0; no route that writes."""
    push_set(str(ready), URL)
    ids = {row[0]: uri for uri, row in rows_of(ready).items()}
    with Index.open(URL) as index:
        page = Client(index)
        status = page.get("/api/status")
        assert (status["is_served"], status["read_only"], status["counts"]["images"]) == (True, True, 90)
        assert page.get("/api/list")["ids"] == sorted(ids)
        down = page.get("/api/list", sort="-path", where="label = 'label-1'")["ids"]
        assert [ids[i] for i in down] == sorted((u for u in ids.values() if "label-1" in u), reverse=True)
        found = page.get("/api/list", q="id:0")
        assert (found["ids"][0], found["command"]) == (0, "curator search id:0")
        assert page.get("/api/facet", column="extra")["images"] == 90
        assert [f["id"] for f in page.get("/api/facts", ids="0,999999,1")] == [0, 1]
        facet = page.get("/api/facet", column="label", where="id < 2000000")
        assert sum(count for _, count in facet["values"]) == facet["images"] - facet["without"] > 0
        assert page.get("/api/facts", ids="0,1")[0]["path"] == ids[0]
        shown = page.get("/api/image/0")
        assert (shown["path"], shown["neighbours"][0]["id"] != 0) == (ids[0], True)
        assert page("GET", "/thumb/0").headers["content-type"] in ("image/jpeg", "image/png")
        assert page("GET", "/picture/0").content == Path(ids[0]).read_bytes()
        assert page("GET", "/api/list", params={"where": "lower(label)"}).status_code == 400
        for path in ("/api/duplicates", "/api/selections", "/api/runs", "/api/activity"):
            assert page("GET", path).status_code == 404, path
        assert page("POST", "/api/tag", CHANGE, content='{"ids": [1], "tags": ["a"]}').status_code == 404
        page.close()


@pytest.mark.parametrize(
    "uri", ["/etc/passwd", "/dev/zero", "http://127.0.0.1/x.png", "file:///etc/passwd", "tar://a::http://x/b.tar"]
)
def test_a_service_cannot_have_a_page_show_other_things(qdrant: Any, uri: str) -> None:
    service: Any = open_service(URL)
    filled(service, 1_000)
    columns = {name: [None] for name in COLUMNS} | {"uri": [uri], "sha256": ["0" * 64], "format": ["PNG"]}
    columns |= {"width": [1], "height": [1], "mode": ["RGB"], "size": [1], "origin": ["real"]}
    service.load(LoadPart(9, "y", np.array([5_000]), np.zeros((1, 32), np.float16), columns))
    with Index.open(URL) as index:
        page = Client(index, read=read_shown)
        for path in ("/thumb/5000", "/picture/5000"):
            assert page("GET", path).status_code == 404
        page.close()
