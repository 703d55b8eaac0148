"""The views that take a while or make something: map, selections, runs, looks for duplicates and leaks."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import draw
from test_web import CHANGE, Client

from curator.admin.history import undo_action
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.cli import cli
from curator.database import Curation, Selections
from curator.database.curation import kept_ids, rejected_ids
from curator.encoders import PixelEncoder
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.web.choices import read_choice
from curator.web.jobs import Tasks

COUNT = 140  # a trainer of the page takes two batches of 64


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawings in two folders, three of them twice, and a run of a few steps with what it made."""
    home = tmp_path_factory.mktemp("views")
    for n in range(COUNT):
        (home / "set" / ("a" if n < COUNT // 2 else "b")).mkdir(parents=True, exist_ok=True)
        draw(n).save(home / "set" / ("a" if n < COUNT // 2 else "b") / f"{n:02d}.png")
    for n in (0, 1, 2):
        draw(n).save(home / "set" / "b" / f"{n:02d}-again.png", compress_level=1)  # other bytes, the same pixels
    with Index.create(home / "index") as index:
        ingest(index, [home / "set"], PixelEncoder(), IngestOptions(label_from="folder"))
        dedupe(index, DedupeOptions())
    for words in (["train", "vae", "--side", "32", "--images", "128", "--width", "4"], ["generate", "1", "-n", "8"]):
        result = CliRunner().invoke(cli, [*words, "-i", str(home / "index")], prog_name="curator")
        assert result.exit_code == 0, result.output
    return home


@pytest.fixture
def index(trained: Path, tmp_path: Path) -> Iterator[Index]:
    shutil.copytree(trained / "index", tmp_path / "index")
    with Index.open(tmp_path / "index") as index:
        yield index


@pytest.fixture
def client(index: Index) -> Iterator[Client]:
    client = Client(index)
    yield client
    client.close()


def done(client: Client, path: str, **parameters: Any) -> Any:
    """What a path answers once its work has ended."""
    for _ in range(400):
        answer = client.get(path, **parameters)
        task = answer.get("task", answer)
        if task is None or task.get("state") not in ("waiting", "running"):
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{path} does not end")


def test_the_map_is_laid_out_in_the_background_and_colours_fit_it(client: Client, index: Index) -> None:
    shown = done(client, "/api/map")
    ids = shown["ids"]
    assert shown["state"] == "done"
    assert ids == sorted(ids)
    assert set(ids) == set(index.reader.ids_where("1").tolist())
    assert len(shown["x"]) == len(shown["y"]) == len(ids)
    colours = client.get("/api/colours", column="label")
    assert dict(map(tuple, colours["values"])) == {"a": COUNT // 2, "b": COUNT // 2 + 3}
    named = [colours["values"][code][0] if code >= 0 else None for code in colours["codes"]]
    assert named == [i.label for i in index.images(ids)]
    sizes = client.get("/api/colours", column="size")
    assert sizes["numbers"] == [float(np.float32(i.size)) for i in index.images(ids)]
    assert "no column" in client("GET", "/api/colours", params={"column": "colour"}).json()["error"].lower()


def test_axes_by_words_are_scores(client: Client, index: Index) -> None:
    done(client, "/api/map")
    shown = client.get("/api/map", x="id:1", y="id:2")
    place = dict(zip(shown["ids"], zip(shown["x"], shown["y"], strict=True), strict=True))
    assert place[1][0] == pytest.approx(1, abs=1e-3)
    assert place[2][1] == pytest.approx(1, abs=1e-3)
    assert place[1][1] == pytest.approx(place[2][0], abs=1e-3)
    assert client("GET", "/api/map", params={"x": "id:1"}).status_code == 400
    assert client("GET", "/api/map", params={"x": "/etc/passwd", "y": "id:1"}).status_code == 400


def test_a_choice_of_any_size_is_an_address(client: Client, index: Index) -> None:
    ids = index.reader.ids_where("1").tolist()[:40]
    name = client.post("/api/choice", ids=ids[::-1])["choice"]
    assert client.get("/api/list", chosen=name)["ids"] == ids
    assert client.get("/api/list", chosen=name, where="label = 'b'")["ids"] == [
        i.id for i in index.images(ids) if i.label == "b"
    ]
    assert client.get("/api/list", chosen="3,5")["ids"] == [3, 5]
    assert set(client.get("/api/list", chosen="3,5", q="id:1")["ids"]) == {3, 5}
    assert read_choice(index.folder, name) == tuple(ids)
    for bad in ("0123456789abcdef", "../../../../pass", "x" * 16):
        assert client("GET", "/api/list", params={"chosen": bad}).status_code in (400, 404)


def test_clusters_are_found_shown_and_judged_whole(client: Client, index: Index) -> None:
    assert client.get("/api/clusters")["clusters"] == []
    client.post("/api/clusters", count=4)
    for _ in range(200):
        if client.get("/api/tasks")[0]["state"] == "done":
            break
        time.sleep(0.05)
    clusters = client.get("/api/clusters")["clusters"]
    assert [c["number"] for c in clusters] == [1, 2, 3, 4]
    assert sum(c["images"] for c in clusters) == COUNT + 3
    first = clusters[0]
    assert client.post("/api/clusters/verdict", numbers=[1])["images"] == first["images"]
    assert client.get("/api/clusters")["clusters"][0]["rejected"] == first["images"]
    assert client.post("/api/clusters/verdict", numbers=[1], keep=True)["images"] == first["images"]
    undo_action(index)
    assert client.get("/api/clusters")["clusters"][0]["rejected"] == first["images"]


def test_what_a_recipe_would_choose_is_what_it_chooses(client: Client, index: Index) -> None:
    recipe = {"where": "label = 'a'", "n": "10", "by": "k-center", "seed": "3"}
    (tried,) = client.get("/api/attempt", **recipe)["strategies"]
    assert tried["images"] == 10
    assert tried["steps"][-1]["after"] == 10
    assert tried["labels"]["values"] == [["a", 10]]
    assert tried["command"] == "curator select NAME -n 10 --by k-center --where 'label = '\"'\"'a'\"'\"'' --seed 3"
    assert client.post("/api/selections", name="ten", recipe=recipe) == {"name": "ten", "images": 10}
    stored = Selections(index.reader).get("ten")
    assert stored.ids.tolist() == tried["first"]
    shown = client.get("/api/selections/ten")
    assert (shown["first"], shown["recipe"]["by"]) == (tried["first"], "k-center")
    assert client("POST", "/api/selections", CHANGE,
                  content='{"name": "ten", "recipe": {}}').status_code == 400  # fmt: skip


def test_strategies_stand_side_by_side_and_are_judged_by_what_is_held_out(client: Client) -> None:
    answer = client.get(
        "/api/attempt", n="15", also="k-center; typicality", where="label = 'a'", against="label = 'b'", origin="real"
    )
    assert [s["by"] for s in answer["strategies"]] == ["random", "k-center", "typicality"]
    overlap = np.array(answer["overlap"])
    assert (np.diag(overlap) == 15).all()
    assert (overlap == overlap.T).all()
    assert {row["name"] for row in answer["preview"]} >= {"1. random", "2. k-center", "3. typicality"}
    assert client("GET", "/api/attempt", params={"also": "a;b;c;d"}).status_code == 400
    assert client("GET", "/api/attempt", params={"n": "many"}).status_code == 400
    assert "no selector" in client("GET", "/api/attempt", params={"by": "nothing"}).json()["error"]


def test_selections_are_compared_split_and_dropped(client: Client, index: Index) -> None:
    client.post("/api/selections", name="one", recipe={"n": "20"})
    client.post("/api/selections", name="two", recipe={"n": "30"})
    parts = client.get("/api/difference", first="one", second="two")["parts"]
    assert {p: parts[p]["images"] for p in parts} == {"first": 0, "second": 10, "both": 20}
    client.post("/api/split", name="two", shares=["train=0.8", "test=0.2"])
    assert {"two-train", "two-test"} <= set(Selections(index.reader).names())
    client.post("/api/drop", names=["one"])
    assert client("GET", "/api/selections/one").status_code == 404
    undo_action(index)
    assert client.get("/api/selections/one")["images"] == 20
    listed = [s["name"] for s in client.get("/api/selections")["selections"]]
    assert sorted(listed) == sorted(Selections(index.reader).names())


def test_a_run_shows_its_curves_its_samples_and_what_it_made(client: Client, index: Index) -> None:
    (run,) = client.get("/api/runs")["runs"]
    assert (run["trainer"], run["run"]) == ("vae", "00001-vae")
    assert run["spark"]
    facts = client.get("/api/runs/00001-vae")
    assert facts["generated"] == 8
    assert facts["makes_pictures"]
    assert len(facts["stats"]["images_seen"]) == len(facts["stats"][run["curve"]])
    picture = client("GET", "/samples/00001-vae/0")
    assert picture.content.startswith(b"\x89PNG")
    assert client("GET", "/samples/00001-vae/99").status_code == 404
    assert client("GET", "/api/runs/nothing").status_code == 404
    made = client.get("/api/runs/00001-vae/lens")["images"]
    assert {r["id"] for r in made} == set(index.reader.ids_where("origin = 'generated'").tolist())
    first = made[0]["id"]
    assert client.get(f"/api/image/{first}")["provenance"] | {"audit": None, "nearest": None} == {
        "run": "00001-vae", "known": True, "audit": None, "nearest": None,
        "checkpoint": facts["best"], "seed": index.images([first])[0].extra["seed"],
    }  # fmt: skip


def test_what_was_made_is_kept_and_rejected(client: Client, index: Index) -> None:
    one, two = (r["id"] for r in client.get("/api/runs/00001-vae/lens")["images"][:2])
    client.post("/api/lens", verdict="reject", ids=[one, two])
    client.post("/api/lens", verdict="keep", ids=[two])
    assert set(rejected_ids(Curation(index.reader))) == {one}
    assert two in kept_ids(Curation(index.reader))
    client.post("/api/lens", verdict="undo", ids=[one, two])
    assert not {one, two} & (set(rejected_ids(Curation(index.reader))) | kept_ids(Curation(index.reader)))
    undo_action(index)
    assert set(rejected_ids(Curation(index.reader))) == {one}


def test_a_training_begins_and_stops_from_the_page(client: Client, index: Index) -> None:
    (begun,) = client.post("/api/train", trainer="vae", side=32, max_minutes=5, name="here")
    assert begun["command"] == "curator train vae --name here --side 32 --max-minutes 5.0"
    stats = index.folder / "runs" / "00002-vae-here" / "stats.jsonl"
    for _ in range(300):
        if stats.exists():
            break
        time.sleep(0.1)
    (begun,) = client.get("/api/trainings")
    assert begun["run"] == "00002-vae-here", begun["words"]
    client.post("/api/train/stop", pid=begun["pid"])
    for _ in range(300):
        (begun,) = client.get("/api/trainings")
        if begun["ended"] is not None:
            break
        time.sleep(0.1)
    assert begun["ended"] is not None
    assert client.get("/api/runs/00002-vae-here")["status"] in ("stopped", "interrupted")


@pytest.mark.parametrize(
    "body",
    [{"trainer": "rm"}, {"trainer": "gan", "selection": "nothing"}, {"trainer": "gan", "preset": "--x y"},
     {"trainer": "gan", "side": "-3"}, {"trainer": "gan", "max_minutes": "nan"}],
)  # fmt: skip
def test_nothing_else_is_run(client: Client, body: dict[str, Any]) -> None:
    assert client("POST", "/api/train", CHANGE, content=json.dumps(body)).status_code in (400, 404)
    assert client.get("/api/trainings") == []


def test_duplicates_are_looked_for_and_other_rules_tried(client: Client, index: Index) -> None:
    before = {g.image_id: g.keeper_id for g in Curation(index.reader).groups()}
    client.post("/api/dedupe", keep=["newest"], dry_run=True)
    tried = done(client, "/api/rules")
    assert tried["groups"] >= 3
    assert {g.image_id: g.keeper_id for g in Curation(index.reader).groups()} == before, "nothing is stored"
    client.post("/api/dedupe", keep=["newest"])
    done(client, "/api/listed")
    after = {g.image_id: g.keeper_id for g in Curation(index.reader).groups()}
    assert tried["changed"] == len(tried["examples"]) >= 3
    for example in tried["examples"]:
        assert before[example["after"]] == example["before"] != example["after"] == after[example["before"]]
    assert client.get("/api/listed")["kinds"] == []


def test_leaks_are_found_between_two_sides(client: Client) -> None:
    assert client.get("/api/leaks")["leaks"] == []
    client.post("/api/leaks", between=["a", "b"])
    found = done(client, "/api/leaks")
    assert found["groups"] >= 3
    assert all({image["side"] for image in group} == {"a", "b"} for group in found["leaks"])


def test_verify_says_what_is_wrong(client: Client) -> None:
    client.post("/api/verify")
    for _ in range(200):
        task = client.get("/api/tasks")[0]
        if task["state"] == "done":
            break
        time.sleep(0.05)
    assert (task["words"], task["answer"]) == ("verifying", [])
    assert client.get("/api/skipped") == []


def test_labels_are_edited_and_undone(client: Client, index: Index) -> None:
    client.post("/api/edit", what="label", ids=[1, 2], value="hand")
    assert [i.label for i in index.images([1, 2])] == ["hand", "hand"]
    client.post("/api/undo")
    assert [i.label for i in index.images([1, 2])] == ["a", "a"]


def test_read_only_has_no_route_that_changes(index: Index) -> None:
    client = Client(index, read_only=True)
    for path in (
        "edit",
        "choice",
        "selections",
        "split",
        "drop",
        "train",
        "dedupe",
        "clusters",
        "lens",
        "audit",
        "leaks",
    ):
        assert client("POST", f"/api/{path}", CHANGE, content="{}").status_code in (404, 405), path
    writable = Client(index)
    assert writable("POST", "/api/edit", CHANGE, content="{}").status_code == 400, "which is there otherwise"
    writable.close()
    assert done(client, "/api/map")["state"] == "done"
    client.close()


def test_work_of_one_name_runs_once_stops_and_says_what_failed() -> None:
    tasks = Tasks()
    begun: list[int] = []

    def slow(job: Any) -> None:
        begun.append(1)
        while True:
            job.check()
            time.sleep(0.01)

    first = tasks.start("slow", "slow", slow)
    assert tasks.start("slow", "slow", slow) is first
    tasks.stop(first.number)
    for _ in range(100):
        if first.state == "stopped":
            break
        time.sleep(0.02)
    assert (first.state, begun) == ("stopped", [1])
    tasks.close()


def test_dates_are_counted_by_days(index: Index, trained: Path, client: Client) -> None:
    table = index.folder.parent / "days.csv"
    rows = [f"{n:02d}.png,2024-{n % 12 + 1:02d}-{n % 28 + 1:02d},2024-02-{n % 31 + 1:02d}\n" for n in range(COUNT)]
    table.write_text("".join(["file,day,odd\n", *rows]))
    ingest(index, [trained / "set"], PixelEncoder(), IngestOptions(label_from="folder", table=str(table)))
    facet = client.get("/api/facet", column="day")
    assert (facet["days"][0], facet["days"][-1]) == ("2024-01-01", "2024-12-28")
    assert sum(facet["counts"]) == facet["images"] - facet["without"] == COUNT
    assert client.get("/api/facet", column="odd")["days"] == [], "no 31st of February"
    among = client.get("/api/list", where="day >= '2024-03-01' AND day < '2024-04-01'")["ids"]
    assert {i.extra["day"][:7] for i in index.images(among)} == {"2024-03"}


def test_a_concept_is_forgotten_and_taken_back(client: Client, index: Index) -> None:
    client.post("/api/concept", name="nice", like=[1], unlike=[2])
    client.post("/api/concept/drop", name="nice")
    assert client.get("/api/status")["concepts"] == []
    client.post("/api/undo")
    assert client.get("/api/status")["concepts"] == ["nice"]


HOSTILE: list[tuple[str, Any]] = [
    ("selections", {"name": "x", "recipe": 5}), ("selections", {"name": "x", "recipe": [[]]}),
    ("dedupe", {"keep": 5}), ("dedupe", {"keep": "largest"}), ("dedupe", {"keep": ["\ud800"]}),
    ("train", {"trainer": "vae", "side": float("inf")}), ("train", {"trainer": ["vae"]}),
    ("edit", {"what": "label", "ids": [1], "value": ["a"]}), ("edit", {"what": "label", "ids": [1], "value": True}),
    ("edit", {"what": "\ud800", "ids": [1], "value": "a"}), ("tag", {"ids": [1], "tags": [{}]}),
    ("drop", {"names": [None]}), ("split", {"name": {}, "shares": ["a=1"]}), ("leaks", {"between": "ab"}),
    ("audit", {"run": "../.."}), ("audit", {"run": "x" * 3000}), ("lens", {"verdict": "\ud800", "ids": [1]}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), HOSTILE)
def test_what_makes_no_sense_is_refused_in_words(client: Client, path: str, body: dict[str, Any]) -> None:
    answer = client("POST", f"/api/{path}", CHANGE, content=json.dumps(body))
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["kind"] != "bug"


@pytest.mark.parametrize(
    "address",
    ["/api/runs/%2e%2e", "/api/runs/..%2f..", "/samples/%2e%2e/0", f"/api/runs/{'x' * 300}", f"/thumb/{'9' * 900}",
     f"/api/image/{'9' * 5000}", "/api/attempt?n=" + "9" * 5000, "/api/list?chosen=0000000000000000"],
)  # fmt: skip
def test_no_address_reads_elsewhere_or_is_a_bug(client: Client, address: str) -> None:
    answer = client("GET", address)
    assert answer.status_code in (400, 404), answer.text
    assert '"bug"' not in answer.text


def test_a_reference_is_never_a_path(client: Client, trained: Path) -> None:
    """Whether a folder is there is not told: both are no condition."""
    for name in ("against", "reference"):
        texts = [str(trained), "/nowhere/at/all", "~root", "~nobodyatall"]
        said = []
        for text in texts:
            answer = client("GET", "/api/attempt", params={"n": "5", "by": "match", name: text})
            assert answer.status_code == 400, answer.text
            said.append(answer.json()["error"].replace(text, "TEXT"))
        assert said[0].split("near")[0] == said[1].split("near")[0], "there or not, the same is said"
        assert not any("lies in" in words for words in said)


def test_read_only_looks_for_no_duplicates(index: Index) -> None:
    client = Client(index, read_only=True)
    before = index.reader.rows("SELECT count(*) FROM edges")
    assert client("GET", "/api/attempt", params={"dedupe": "verified"}).status_code == 400
    assert index.reader.rows("SELECT count(*) FROM edges") == before
    client.close()


def test_a_bug_in_the_background_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()
    task = tasks.start("odd", "odd work", lambda job: 1 // 0)
    for _ in range(100):
        if task.state == "failed":
            break
        time.sleep(0.02)
    tasks.close()
    assert "ZeroDivisionError" in caplog.text
    assert task.error.split()[-1] in caplog.text


def test_what_is_no_duplicate_counts_at_once(client: Client, index: Index) -> None:
    duplicate = int(index.reader.ids_where("duplicate_of IS NOT NULL")[0])
    keeper = index.reader.values_of("duplicate_of")[duplicate]
    client.post("/api/verdict", verdict="not-duplicate", ids=[duplicate, keeper])
    assert duplicate not in index.reader.ids_where("duplicate_of IS NOT NULL")
    groups = client.get("/api/groups", keepers=str(keeper))["groups"]
    assert {m["id"]: m["apart"] for m in groups[0]["members"]}[duplicate]
    listed = client.get("/api/groups")
    assert dict(zip(listed["keepers"], listed["settled"], strict=True))[keeper]
    client.post("/api/undo")
    assert duplicate in index.reader.ids_where("duplicate_of IS NOT NULL")
