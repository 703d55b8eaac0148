"""On a real cluster and a real Postgres: the same as on one machine, and whole again whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from clusters import Postgres, RayCluster
from scaling import InProcess, check_answers, make_set, put_pictures, rows_of

from curator.encoders import PixelEncoder
from curator.errors import NoEngine, SpaceMismatch, UnknownName, UsageError, WhereError
from curator.face import open_index
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.records import Vectors
from curator.scale.bring import bring
from curator.scale.checking import verify_set
from curator.scale.choosing import SetRecipe
from curator.scale.dedupe import SetDedupe, dedupe_set
from curator.scale.executor import Workers
from curator.scale.plan import make_plan, read_facts
from curator.scale.push import drop_service, push_index, push_set
from curator.scale.ray import RayExecutor
from curator.scale.select import select_from
from curator.scale.shards import read_receipts
from curator.scale.storage import Storage
from curator.vectors import open_service

pytestmark = pytest.mark.scale


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hundred pictures and three that are none."""
    return put_pictures(tmp_path_factory.mktemp("services") / "pictures", 300, labels=10)


@pytest.fixture(scope="session")
def ready(pictures: Path) -> Path:
    """A whole set of them."""
    make_set(pictures, pictures.parent / "set", size=8, label_from="folder")
    return pictures.parent / "set"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """Two nodes, for the whole session."""
    cluster = RayCluster(Path(tmp_path_factory.mktemp("r")))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server with pgvector, for the whole session."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
    server = Postgres(tmp_path_factory.mktemp("pg"))
    yield server
    server.stop()


def same_rows(one: Path, other: Path) -> bool:
    """Whether two sets have the same rows, whatever their ids."""
    a, b = ({uri: row[1:] for uri, row in rows_of(place).items()} for place in (one, other))
    return a == b


def test_a_cluster_makes_the_same_set(cluster: RayCluster, ready: Path, pictures: Path, tmp_path: Path) -> None:
    """To the byte; then duplicates and choices are the same too."""
    make_plan(str(pictures), str(tmp_path / "set"), shard_size=8, options={"label_from": "folder"})
    done = cluster.run("scale", "embed", tmp_path / "set", "-e", "pixels", "--on", cluster.address, "--json")
    assert done.returncode == 1, done.stderr  # three could not be read
    report = json.loads(done.stdout)
    assert (report["rows"], report["skipped"], report["complete"]) == (300, 3, True)
    files = [{f.name for f in (place / "shards").iterdir()} for place in (ready, tmp_path / "set")]
    assert files[0] == files[1]
    where = ("--on", cluster.address, "--json")
    level = ("--level", "semantic", "--threshold", "0.2", "--cells", "3")
    far = cluster.run("scale", "dedupe", tmp_path / "set", "d", *level, *where)
    assert far.returncode == 0, far.stderr
    assert cluster.crashes() == []
    how = SetDedupe("semantic", threshold=0.2, cells=3)
    assert json.loads(far.stdout)["kept"] == dedupe_set(str(ready), "d", how, InProcess(), overwrite=True).kept
    chosen = cluster.run("scale", "select", tmp_path / "set", "s", "-n", 20, "--dedupe", "d", *where)
    mine = select_from(str(ready), "s", SetRecipe(20, dedupe="d"), InProcess(), overwrite=True)
    assert json.loads(chosen.stdout)["digest"] == mine.digest


def test_the_loss_of_a_node_and_of_the_driver(cluster: RayCluster, ready: Path, pictures: Path, tmp_path: Path) -> None:
    """SIGKILL of a raylet with all its workers, then of the driver: run again, planned = rows + skipped, unchanged."""
    place = tmp_path / "set"
    make_plan(str(pictures), str(place), shard_size=2, options={"label_from": "folder"})
    driver = cluster.start_command("scale", "embed", place, "-e", "pixels", "--on", cluster.address)
    wait_for(lambda: len(receipts_in(place)) >= 5)
    cluster.kill_node()
    before = len(receipts_in(place))
    wait_for(lambda: len(receipts_in(place)) > before or driver.poll() is not None)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    cluster.add_node()
    done = cluster.run("scale", "embed", place, "--on", cluster.address, "--json")
    assert json.loads(done.stdout)["complete"], done.stderr
    receipts = read_receipts(Storage(str(place)), read_facts(Storage(str(place))))
    assert sum(r.rows + len(r.skipped) for r in receipts.values()) == 303
    assert same_rows(place, ready)


def receipts_in(place: Path) -> list[Path]:
    return list((place / "shards").glob("*.json"))


def wait_for(what: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_cluster_lets_in_who_has_the_token(cluster: RayCluster, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = cluster.run("scale", "dedupe", ready, "t", "--on", cluster.address, RAY_AUTH_TOKEN="0" * 64)
    assert refused.returncode == 2
    assert "no Ray cluster could be reached" in refused.stderr
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with pytest.raises(UsageError, match="must ask for a token"):
        RayExecutor(cluster.address, Workers())


def test_a_cluster_is_begun_where_none_runs(ready: Path) -> None:
    """`--on auto`, with a token that nobody had to think of, on this machine alone."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    command = [sys.executable, "-m", "curator", "scale", "select", str(ready), "begun", "-n", "5", "--overwrite"]
    with tempfile.TemporaryDirectory(prefix="r") as home:  # the path of a socket is short
        done = subprocess.run(
            [*command, "--on", "auto", "--workers", "1"],
            env=environment | {"RAY_TMPDIR": home}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "5 images chosen" in done.stdout


@pytest.fixture(scope="session")
def served(postgres: Postgres, ready: Path) -> str:
    """The set in Postgres."""
    url = postgres.url("photos")
    report = push_set(str(ready), url)
    assert (report.images, report.already) == (300, 0)
    return url


WHERES = [
    None,
    "true",
    "label = 'label-7'",
    "id % 2 = 0",
    "label = 'nothing'",
    "caption IS NULL AND width >= 10",
    "label = 'Ä''\"'",
]


@pytest.mark.parametrize("where", WHERES)
def test_postgres_answers_as_comparing_everything_does(served: str, ready: Path, where: str | None) -> None:
    """Best first, ties by id, never fewer than min(k, matches)."""
    service = open_service(served)
    check_answers(service, where, (2, 8 << 20 | 3), 300)
    service.close()


def unit(x: Vectors) -> Vectors:
    return np.asarray((x / np.linalg.norm(x, axis=1, keepdims=True))[0], np.float32)


def test_postgres_has_what_the_set_has(served: str, ready: Path) -> None:
    service = open_service(served)
    rows = rows_of(ready)
    ids = service.ids_where("true")
    assert sorted(row[0] for row in rows.values()) == ids.tolist()
    for image, v in zip(service.images(ids.tolist()), service.vectors(ids.tolist()), strict=True):
        image_id, sha256, label, vector = rows[str(image.path)]
        assert (image.id, bytes.fromhex(image.sha256), image.label) == (image_id, sha256, label)
        assert v.astype(np.float16).tobytes() == vector
    assert service.sample().shape == (300, service.space.dim)
    assert list(service.verify()) == []
    with pytest.raises(UnknownName):
        service.vectors([2**40])
    service.close()


@pytest.mark.parametrize(
    "where",
    [
        "nonsense =", "1 = 1) OR (1 = 1", "true; DROP TABLE images", "(SELECT count(*) FROM curator_photos.images) > 0",
        "pg_read_file('/etc/passwd') IS NULL", "lo_import('/etc/passwd') > 0", "$$a$$ = 'a'",
        "set_config('role', 'postgres', true) = '' OR id IN (SELECT id FROM curator_photos.images)",
    ],
)  # fmt: skip
def test_postgres_refuses_a_hostile_condition(served: str, where: str) -> None:
    service = open_service(served)
    with pytest.raises(WhereError, match="Postgres's SQL"):
        service.ids_where(where)
    assert service.count() == 300
    service.close()


def test_a_uri_stays_as_it_is(postgres: Postgres, tmp_path: Path, curator: Callable[..., Result]) -> None:
    """What `search --on` prints opens: a path would make one slash of two."""
    import fsspec

    fs = fsspec.filesystem("memory")
    for file in sorted(put_pictures(tmp_path / "p", 3, damaged=False).rglob("*.png")):
        fs.pipe_file(f"/bucket/{file.name}", file.read_bytes())
    make_set("memory://bucket", tmp_path / "set")
    url = postgres.url("uris")
    push_set(str(tmp_path / "set"), url)
    lines = curator("search", "id:0", "--on", url, "--paths").stdout.splitlines()
    assert lines[0] == "memory:///bucket/0000.png"
    assert json.loads(curator("search", "id:0", "--on", url, "--json").stdout)[0]["path"] == lines[0]
    assert lines[0] in curator("search", "id:0", "--on", url).stdout
    drop_service(url)


def test_many_matches_walk_the_graph_and_never_come_back_short(served: str) -> None:
    """As above 20,000 matches: the answer says that it is approximate, and with which recall; --exact is exact."""
    service: Any = open_service(served)
    service.few = 5
    q = unit(service.vectors([2]))
    for where in (None, "label <> 'label-3'", "label = 'label-7'"):
        answer = service.nearest(q, 20, where=where)
        assert len(answer.ids) == min(20, service.count(where))
        assert answer.exact or "recall" in answer.notes[0]
    assert not service.nearest(q, 20).exact
    assert service.nearest(q, 20, exact=True).exact
    service.close()


def test_an_index_that_postgres_answers_for(served: str, ready: Path) -> None:
    """From Python: it searches, shows and filters; what it cannot do it refuses in words."""
    with open_index(served) as index:
        assert len(index) == 300
        hits = index.search(2, k=3, where="label = 'label-2'")
        assert [h.image.label for h in hits] == ["label-2"] * 3
        assert len(index.where("label = 'label-2'")) == 30
        assert index.vectors(hits.ids).shape == (3, index.space.dim)
        with pytest.raises(UsageError, match="scale bring"):
            index.selections()
        with pytest.raises(UsageError, match="not pushed on"):
            push_index(index, served)
        answers: list[int] = []
        threads = [threading.Thread(target=lambda n=n: answers.append(len(index.search(2, k=n)))) for n in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == list(range(1, 9))


def test_by_commands(postgres: Postgres, served: str, ready: Path, curator: Callable[..., Result]) -> None:
    found = curator("search", "id:2", "--on", served, "-n", 4, "--where", "width >= 4", "--json")
    assert (found.exit_code, len(json.loads(found.stdout))) == (0, 4)
    assert "(exact)" in found.stderr
    assert curator("push", ready, "--to", postgres.url("second"), "--where", "label = 'label-1'").exit_code == 0
    assert curator("search", "id:2", "--on", postgres.url("second"), "--exact").exit_code == 2, "no such id there"
    assert curator("scale", "drop-service", postgres.url("second")).exit_code == 2
    assert curator("scale", "drop-service", postgres.url("second"), "--yes").exit_code == 0
    gone = curator("search", "id:2", "--on", postgres.url("second"))
    assert "no set 'second'" in gone.stderr
    assert "password" in curator("search", "x", "--on", "postgres://u:p@localhost/db?set=a").stderr
    assert "names no set" in curator("search", "x", "--on", "postgres://localhost/db").stderr
    assert curator("search", "x", "--on", "postgres://127.0.0.1:9/db?set=a").exit_code == 2


def test_what_is_pushed_again_is_brought_into_step(postgres: Postgres, tmp_path: Path) -> None:
    """An index and a set: what changed is loaded, what has gone is taken away, another space is refused."""
    home, url = put_pictures(tmp_path / "p", 20, damaged=False), postgres.url("step")
    with Index.create(tmp_path / "index") as index:
        ingest(index, [home], PixelEncoder(), IngestOptions(label_from="folder"))
        assert push_index(index, url).images == 20
        assert push_index(index, url).loaded == 0
        with index.write() as db, db.atomic():
            db.remove([1, 2, 3], by_hand=True)
        assert push_index(index, url).images == 17
        assert push_index(index, url, where="label = 'label-1'").images < 10
    make_set(home, tmp_path / "set", encoder="tiny")
    with pytest.raises(SpaceMismatch, match="another name"):
        push_set(str(tmp_path / "set"), url)
    make_set(home, tmp_path / "same-space")
    with pytest.raises(UsageError, match="--replace"):
        push_set(str(tmp_path / "same-space"), url)
    assert count_of(url) < 10, "nothing was taken away"
    assert push_set(str(tmp_path / "same-space"), url, replace=True).images == 20
    drop_service(url)
    service = open_service(url)
    with pytest.raises(NoEngine, match="there is no set 'step'"):
        service.count()
    service.close()


def count_of(url: str) -> int:
    service = open_service(url)
    try:
        return service.count()
    finally:
        service.close()


def test_a_load_that_was_not_finished_is_finished_by_the_next(postgres: Postgres, tmp_path: Path) -> None:
    """Whoever dies between the last part and the graph leaves exact searches; the next push does the rest."""
    home, url = put_pictures(tmp_path / "p", 12, damaged=False), postgres.url("unfinished")
    make_set(home, tmp_path / "set")
    push_set(str(tmp_path / "set"), url)
    service = open_service(url)
    service.remove(0)
    assert not service.is_finished
    assert service.nearest(unit(np.ones((1, service.space.dim), np.float32)), 5).exact
    assert push_set(str(tmp_path / "set"), url).images == 12
    assert service.is_finished
    assert len(service.sample()) == 12
    service.close()


def test_a_bucket_is_a_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures and set in object storage, as a server that speaks S3 has them: plan, embed, verify, choose, bring."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{server._server.server_port}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": address, "skip_instance_cache": True})
    try:
        fs = fsspec.filesystem("s3")
        fs.mkdir("photos")
        fs.put(str(put_pictures(tmp_path / "p", 20)) + "/", "photos/all/", recursive=True)
        fs.mkdir("sets")
        whole = make_set("s3://photos/all", "s3://sets/one", label_from="folder")
        assert (whole.rows, len({r[2] for r in rows_of("s3://sets/one").values()})) == (20, 4)
        assert list(verify_set("s3://sets/one", deep=0.5)) == []
        fs.pipe_file("sets/one/shards/nobodys.parquet", b"x")
        assert "removed" not in next(verify_set("s3://sets/one", clean=True)).problem, "it is of today"
        assert "removed" in next(verify_set("s3://sets/one", clean=True, age=-10.0)).problem
        assert list(verify_set("s3://sets/one")) == []
        select_from("s3://sets/one", "few", SetRecipe(6, "balanced"), InProcess())
        with Index.create(tmp_path / "index") as index:
            assert bring("s3://sets/one", "few", index, tmp_path / "brought").fetched == 6
        fs.rm("photos/all/label-0/0000.png")
        assert make_plan("s3://photos/all", "s3://sets/one").gone in (0, 1)  # a listing may be remembered for a while
    finally:
        server.stop()


def test_postgres_killed_while_it_is_loaded(postgres: Postgres, cluster: RayCluster, ready: Path) -> None:
    """kill -9 of every process of it in the middle of a push; push again, and all is there once."""
    url = postgres.url("killed")
    for wait in (1.5, 1.9):
        push = cluster.start_command("push", ready, "--to", url)
        time.sleep(wait)
        postgres.kill()
        push.wait()
        postgres.start()
    assert push_set(str(ready), url).images == 300
    service = open_service(url)
    rows = rows_of(ready)
    ids = service.ids_where("true")
    assert ids.tolist() == sorted(row[0] for row in rows.values())
    vector_of = {row[0]: row[3] for row in rows.values()}
    assert all(
        v.astype(np.float16).tobytes() == vector_of[i]
        for i, v in zip(ids.tolist(), service.vectors(ids.tolist()), strict=True)
    )
    assert list(service.verify()) == []
    service.close()
