"""The page without a browser: who may ask, what is answered, what is refused, and that nothing is half done."""

from __future__ import annotations

import ast
import asyncio
import io
import json
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import draw, photo_pieces
from PIL import Image

from curator.admin.history import redo_action, undo_action
from curator.admin.manage import tag_images
from curator.cleaning.decisions import decide
from curator.cleaning.dedupe import DedupeOptions, dedupe
from curator.duplicates import Sketch, place_on, turned_onto
from curator.duplicates.laying import turn
from curator.encoders import Encoder, PixelEncoder
from curator.errors import PictureError, UsageError
from curator.index import Index
from curator.index.thumbnails import Thumbnails, refuse_outside
from curator.ingest import IngestOptions, ingest
from curator.records import DIHEDRAL
from curator.search.query import parse_query
from curator.web import PORT, WebOptions, listen, read_token
from curator.web.app import make_app
from curator.web.guard import Guard

STATIC = Path(__file__).parent.parent / "curator/web/static"
TOKEN = "t" * 40
HOST = f"127.0.0.1:{PORT}"
ENTER = {"authorization": f"Bearer {TOKEN}"}
CHANGE = ENTER | {"content-type": "application/json"}


class Client:
    """Requests on the app, guard and all, as a browser of this machine sends them."""

    def __init__(self, index: Index, *, read_only: bool = False, read: Callable[[str], bytes] | None = None) -> None:
        app = make_app(index, read_only=read_only, read=read)
        self.pool, self.close = app.state.pool, app.state.close
        self.guard = Guard(app, PORT, TOKEN)

    def __call__(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        return asyncio.run(self.ask(method, path, headers, **more))

    async def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.guard, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            return await client.request(method, path, headers=ENTER if headers is None else headers, **more)

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self("GET", path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        answer = self("POST", path, CHANGE, content=json.dumps(body))
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def shown(index: Index, tmp_path: Path) -> Iterator[Index]:
    """Pieces of photos in two folders, of which two stand twice, one mirrored, and one cropped; with groups."""
    pieces = photo_pieces()
    for n, piece in enumerate(pieces):
        (tmp_path / "set" / ("a" if n < 6 else "b")).mkdir(parents=True, exist_ok=True)
        piece.save(tmp_path / "set" / ("a" if n < 6 else "b") / f"{n:02d}.png")
    pieces[0].save(tmp_path / "set/b/copy.jpg", quality=85)
    pieces[1].transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "set/a/mirror.png")
    pieces[3].crop((20, 10, 170, 170)).save(tmp_path / "set/b/crop.png")
    ingest(index, [tmp_path / "set"], PixelEncoder(), IngestOptions(label_from="folder"))
    dedupe(index, DedupeOptions())
    return index


@pytest.fixture
def client(shown: Index) -> Iterator[Client]:
    client = Client(shown)
    yield client
    client.pool.close()


def ids_of(index: Index) -> dict[str, int]:
    return {i.path.name: i.id for i in index.images(index.reader.ids_where("1"))}


REFUSED: list[tuple[str, str, dict[str, str], str]] = [
    ("GET", "/", {"host": "evil.example"}, "not this machine's own"),
    ("GET", "/", {"host": "127.0.0.1"}, "not this machine's own"),
    ("GET", "/", {"host": f"127.0.0.1:{PORT + 1}"}, "not this machine's own"),
    ("GET", "/", {"host": f"localhost.evil.example:{PORT}"}, "not this machine's own"),
    ("GET", "/", {"host": f"192.168.1.2:{PORT}"}, "not this machine's own"),
    ("GET", "/api/status", {"authorization": "Bearer no"}, "curator web"),
    ("GET", "/api/status", {"authorization": "", "cookie": f"curator-{PORT}=no"}, "curator web"),
    ("GET", "/api/status", {"authorization": "", "cookie": f"curator-{PORT + 1}={TOKEN}"}, "curator web"),
    ("GET", "/static/app.js", {"authorization": ""}, "curator web"),
    ("GET", "/?token=wrong", {"authorization": ""}, "not the one of this index"),
    ("GET", "/api/status", {"sec-fetch-site": "cross-site"}, "another site"),
    ("GET", "/api/status", {"sec-fetch-site": "same-site"}, "another site"),
    ("GET", "/thumb/1", {"sec-fetch-site": "cross-site"}, "another site"),
    ("GET", f"/?token={TOKEN}", {"authorization": "", "sec-fetch-site": "cross-site"}, "another site"),
    ("GET", "/api/status", {"origin": "http://evil.example"}, "another origin"),
    ("POST", "/api/undo", {"origin": f"http://127.0.0.1:{PORT + 1}", "content-type": "application/json"}, "origin"),
    ("POST", "/api/undo", {"origin": "null", "content-type": "application/json"}, "another origin"),
    ("POST", "/api/undo", {"content-type": "text/plain"}, "application/json"),
    ("POST", "/api/undo", {"content-type": "application/x-www-form-urlencoded"}, "application/json"),
    (
        "POST", "/api/undo",
        {"authorization": "", "cookie": f"curator-{PORT}={TOKEN}", "content-type": "application/json"},
        "where it comes from",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "headers", "words"), REFUSED)
def test_strangers_are_refused(client: Client, method: str, path: str, headers: dict[str, str], words: str) -> None:
    answer = client(
        method, path, {k: v for k, v in (ENTER | headers).items() if v}, content=b"{}" if method != "GET" else None
    )
    assert answer.status_code == 403
    assert words in answer.text
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", [HOST, f"localhost:{PORT}", f"[::1]:{PORT}", f"LOCALHOST:{PORT}", f"127.0.0.5:{PORT}"])
def test_this_machines_own_browser_is_let_in(client: Client, host: str) -> None:
    cookie = {"cookie": f"a=b; curator-{PORT}={TOKEN}", "host": host}
    assert client("GET", "/api/status", cookie | {"sec-fetch-site": "same-origin"}).status_code == 200
    change = cookie | {"sec-fetch-site": "same-origin", "origin": f"http://{host}", "content-type": "application/json"}
    assert client("POST", "/api/undo", change, content=b"{}").json()["error"] == "nothing to undo"


def test_cookies_of_other_tools_do_no_harm(client: Client) -> None:
    odd = {"cookie": f'a={{"x":1}}; curator-{PORT}={TOKEN}; b="'}
    assert client("GET", "/api/status", odd).status_code == 200


def test_an_address_that_others_may_see_lets_in_once(client: Client) -> None:
    client.guard.once.add("o" * 40)
    assert client("GET", f"/?token={'o' * 40}", {}).status_code == 303
    assert client("GET", f"/?token={'o' * 40}", {}).status_code == 403


def test_the_token_becomes_a_cookie_and_leaves_the_address(client: Client) -> None:
    answer = client("GET", f"/image/1?with=2&token={TOKEN}", {})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/image/1?with=2"
    assert answer.headers["set-cookie"].startswith(f"curator-{PORT}={TOKEN}; HttpOnly; SameSite=Strict; Path=/")
    assert client("GET", f"http://{HOST}//evil.example/?token={TOKEN}", {}).headers["location"] == "/evil.example/"


def test_every_answer_says_what_browsers_may_do_with_it(client: Client) -> None:
    for path in ("/", "/api/status", "/thumb/1", "/picture/1", "/static/app.js", "/nothing"):
        headers = client("GET", path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"


def test_the_token_stays_and_is_its_owners_alone(index: Index) -> None:
    token = read_token(index.folder)
    assert len(token) >= 32
    assert read_token(index.folder) == token
    assert (index.folder / "web.token").stat().st_mode & 0o777 == 0o600
    (index.folder / "web.token").chmod(0o644)  # as of an index that was copied: others may know it
    assert read_token(index.folder) != token
    (index.folder / "web.token").write_text("short")
    assert len(read_token(index.folder)) >= 32
    with pytest.raises(UsageError, match="--allow-host"):
        WebOptions(host="0.0.0.0")


def test_query_text_never_opens_a_file(client: Client, shown: Index, tmp_path: Path) -> None:
    there, absent = tmp_path / "set/a/00.png", tmp_path / "set/a/none.png"
    answers = [client("GET", "/api/list", params={"q": str(p)}) for p in (there, absent)]
    assert [a.status_code for a in answers] == [400, 400]
    assert answers[0].text == answers[1].text
    assert "no file is opened" in answers[0].text
    assert parse_query(["cat.jpg"], files=False)[0].kind == "text"
    terms = parse_query([f"id:3 - concept:red + picture:{'ab' * 32}"], files=False)
    assert [t.kind for t in terms] == ["id", "concept", "picture"]
    assert parse_query(["picture: a cat"])[0].kind == "text"
    with pytest.raises(UsageError, match="a term must follow"):
        parse_query(["red", "-"], files=False)


def test_a_list_is_its_ids_in_order_as_json_and_as_arrays(client: Client, shown: Index) -> None:
    everything = shown.reader.ids_where("1").tolist()
    assert client.get("/api/list")["ids"] == everything
    assert client.get("/api/list", sort="-id")["ids"] == everything[::-1]
    assert client.get("/api/list", where="label = 'a'")["ids"] == shown.reader.ids_where("label = 'a'").tolist()
    by_path = [i.path for i in shown.images(client.get("/api/list", sort="path")["ids"])]
    assert by_path == sorted(by_path)
    shuffled = client.get("/api/list", sort="random", seed="3")["ids"]
    assert shuffled != everything
    assert sorted(shuffled) == everything
    assert client.get("/api/list", sort="random", seed="3")["ids"] == shuffled
    folded = client.get("/api/list", fold="1")["ids"]
    assert folded == shown.reader.ids_where("duplicate_of IS NULL").tolist() != everything
    assert client.get("/api/list", q="id:3", sort="-id")["ids"] == everything[::-1]
    plain = client.get("/api/list", q="id:1", where="label = 'a'")
    assert plain["ids"] == shown.search(like=1, where="label = 'a'", k=100).ids.tolist()
    asked = {"q": "id:1", "where": "label = 'a'"}
    data = client("GET", "/api/list", ENTER | {"accept": "application/octet-stream"}, params=asked).content
    (length,) = struct.unpack_from("<I", data)
    head = json.loads(data[4 : 4 + length])
    start, arrays = 4 + length, {}
    for array in head["arrays"]:
        kind = "<f4" if array["type"] == "f" else "<i4"
        arrays[array["name"]] = np.frombuffer(data, kind, array["length"], start)
        start += 4 * array["length"]
    assert start == len(data)
    assert arrays["ids"].tolist() == plain["ids"]
    np.testing.assert_allclose(arrays["scores"], plain["scores"], rtol=1e-6)


def test_marks_rank_at_once_and_become_a_concept(client: Client, shown: Index) -> None:
    assert client.get("/api/list", like="1")["ids"] == shown.reader.ids_where("1").tolist(), "one mark says too little"
    one = shown.search(like=1, k=100).ids.tolist()
    far = one[-1]
    two = client.get("/api/list", like=f"1,{one[1]}", unlike=str(far))
    assert max(two["ids"].index(1), two["ids"].index(one[1])) < two["ids"].index(far)
    client.post("/api/concept", name="nice", like=[1, one[1]], unlike=[far])
    assert client.get("/api/list", q="concept:nice")["ids"] == two["ids"]
    assert client.get("/api/status")["concepts"] == ["nice"]
    client.post("/api/undo", action=client.get("/api/activity")[0]["id"])
    assert client.get("/api/status")["concepts"] == []


def test_a_dropped_picture_is_encoded_and_never_kept(client: Client, shown: Index) -> None:
    data = shown.images([5])[0].path.read_bytes()
    headers = ENTER | {"content-type": "application/octet-stream"}
    term = client("POST", "/api/picture", headers, content=data).json()["term"]
    assert re.fullmatch(r"picture:[0-9a-f]{64}", term)
    assert client.get("/api/list", q=term)["ids"][0] == 5
    assert client("POST", "/api/picture", headers, content=b"no picture").status_code == 404
    assert client("GET", "/api/list", params={"q": f"picture:{'0' * 64}"}).status_code == 400
    assert "32 MiB" in client("POST", "/api/picture", headers, content=b"\0" * (33 << 20)).json()["error"]


def test_columns_are_counted_and_remembered_until_something_changes(client: Client, shown: Index) -> None:
    labels = client.get("/api/facet", column="label")
    assert dict(labels["values"]) == {"a": 7, "b": 8}
    assert labels["without"] == 0
    widths = client.get("/api/facet", column="sharpness")
    assert sum(widths["counts"]) == 15
    assert len(widths["edges"]) == len(widths["counts"]) + 1
    assert dict(client.get("/api/facet", column="label", where="width < 200")["values"]) == {"b": 1}
    assert client.get("/api/facet", column="tags")["values"] == []
    tag_images(shown, [1, 2], ["x", "y"])
    assert dict(client.get("/api/facet", column="tags")["values"]) == {"x": 2, "y": 2}
    assert client("GET", "/api/facet", params={"column": "nothing"}).status_code == 400


BOMBS = (
    "id IN (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n)",
    "length(randomblob(1000000000)) > 0",
    "hex(zeroblob(1000000000)) = ''",
    "1) OR (1",
    "id = (SELECT writefile('x', 'y'))",
    "id IN (SELECT 1); DROP TABLE images",
    "load_extension('x')",
    "length(trim(printf('%.*c', 30000, 'a'), printf('%.*c', 30000, 'b') || 'a')) > 0",
)


@pytest.mark.parametrize("where", BOMBS)
def test_a_condition_that_harms_is_refused_in_time(client: Client, shown: Index, where: str) -> None:
    shown.reader.deadline = 1.0
    began = time.monotonic()
    answer = client("GET", "/api/list", params={"where": where})
    assert answer.status_code == 400
    assert answer.json()["kind"] == "WhereError"
    assert time.monotonic() - began < 10
    assert len(client.get("/api/list")["ids"]) == 15


WRONG = (
    ("GET", "/api/facts", {"ids": "1,x"}), ("GET", "/api/facts", {"ids": "99999"}),
    ("GET", "/api/list", {"sort": "no"}),
    ("GET", "/api/facts", {"ids": ",".join(map(str, range(1, 300)))}), ("GET", "/api/list", {"min_score": "nan"}),
    ("GET", "/api/list", {"q": "id:99"}), ("GET", "/api/list", {"q": "red + "}), ("GET", "/thumb/999", {}),
    ("GET", "/api/list", {"like": "-3"}), ("GET", "/api/image/999", {}), ("GET", "/thumbs", {"ids": "0"}),
    ("GET", "/api/groups", {"kind": "no"}), ("GET", "/api/list", {"seed": "x"}),
    ("GET", "/api/aligned", {"first": "1"}),
)  # fmt: skip


@pytest.mark.parametrize(("method", "path", "parameters"), WRONG)
def test_what_makes_no_sense_is_said_in_words(
    client: Client, method: str, path: str, parameters: dict[str, str]
) -> None:
    answer = client(method, path, params=parameters)
    assert answer.status_code in (400, 404), answer.text
    assert len(answer.json()["error"]) > 10
    assert answer.json()["kind"] != "bug"


@pytest.mark.parametrize(
    "path", ["/api/tag", "/api/concept", "/api/selection", "/api/verdict", "/api/accept", "/api/undo"]
)
@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"ids": "1"}', b'{"ids": [true]}', b'{"ids": [1e400], "tags": ["x"]}',
     b'{"ids": [1], "tags": ["a b"]}',
     b'{"ids": [1], "name": "a", "like": [1], "least": NaN}',
     b'{"action": true}', b'{"kinds": ["no"]}', b'{"name": "../x", "ids": [1], "like": [1]}', b"[" * 100_000],
)  # fmt: skip
def test_junk_changes_nothing(client: Client, shown: Index, path: str, body: bytes) -> None:
    before = shown.reader.rows("SELECT count(*) FROM actions")
    answer = client("POST", path, CHANGE, content=body)
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["kind"] != "bug"
    assert shown.reader.rows("SELECT count(*) FROM actions") == before


def test_thumbnails_are_made_once_and_come_in_packs(client: Client, shown: Index, tmp_path: Path) -> None:
    ids = shown.reader.ids_where("1").tolist()
    data = client("GET", "/thumbs", params={"ids": ",".join(map(str, ids))}).content
    count, *lengths = struct.unpack_from(f"<{len(ids) + 1}I", data)
    assert count == len(ids)
    start = 4 * (count + 1)
    for image, length in zip(shown.images(ids), lengths, strict=True):
        thumbnail = Image.open(io.BytesIO(data[start : start + length]))
        with Image.open(image.path) as whole:
            assert abs(thumbnail.width / thumbnail.height - whole.width / whole.height) < 0.02
        start += length
    assert start == len(data)
    shutil.move(tmp_path / "set", tmp_path / "away")
    assert client("GET", "/thumb/1").status_code == 200
    assert client("GET", "/picture/1").status_code == 404
    draw(1).save(tmp_path / "away/b/new.png")
    shutil.move(tmp_path / "away", tmp_path / "set")
    ingest(shown, [tmp_path / "set"], PixelEncoder(), IngestOptions())
    shutil.rmtree(shown.folder / "sketches")
    (new,) = (i for name, i in ids_of(shown).items() if name == "new.png")
    (tmp_path / "set/b/new.png").write_bytes(b"another now")
    with Thumbnails(shown.reader) as thumbnails:
        made = thumbnails.of(shown.images([1, new]))
    assert isinstance(made[1], bytes)
    assert isinstance(made[new], PictureError)


def test_only_files_inside_their_root_are_shown(client: Client, shown: Index, tmp_path: Path) -> None:
    answer = client("GET", "/picture/1")
    assert answer.content == shown.images([1])[0].path.read_bytes()
    assert answer.headers["content-type"] == "image/png"
    secret = tmp_path / "secret.png"
    shutil.copy(shown.images([1])[0].path, secret)
    shown.images([1])[0].path.unlink()
    shown.images([1])[0].path.symlink_to(secret)
    assert client("GET", "/picture/1").status_code == 404
    with pytest.raises(PictureError):
        refuse_outside(tmp_path / "set/../secret.png", [tmp_path / "set"])


def test_an_image_comes_with_evidence_neighbours_and_state(client: Client, shown: Index) -> None:
    names = ids_of(shown)
    facts = client.get(f"/api/image/{names['copy.jpg']}")
    assert facts["group"]["keeper"] == names["00.png"]
    assert [(e["id"], e["kind"]) for e in facts["edges"]] == [(names["00.png"], "re-encoded")]
    assert "agreement" in facts["edges"][0]["evidence"]
    assert facts["neighbours"][0]["id"] == names["00.png"]
    assert facts["state"] == "present"
    client.post("/api/verdict", verdict="reject", ids=[names["copy.jpg"]])
    facts = client.get(f"/api/image/{names['copy.jpg']}")
    assert facts["state"] == "rejected"
    assert [v["verdict"] for v in facts["verdicts"]] == ["reject"]


def test_groups_are_reviewed_accepted_and_taken_back(client: Client, shown: Index) -> None:
    names = ids_of(shown)
    overview = client.get("/api/duplicates")
    assert {k["kind"]: k["images"] for k in overview["kinds"]} == {"re-encoded": 1, "mirrored": 1, "cropped/edited": 1}
    keepers = client.get("/api/groups", kind="mirrored")["keepers"]
    (group,) = client.get("/api/groups", keepers=",".join(map(str, keepers)))["groups"]
    assert {m["id"] for m in group["members"]} == {names["01.png"], names["mirror.png"]}
    would = client.post("/api/accept", kinds=["mirrored", "re-encoded"], dry_run=True)
    assert would["images"] == 2
    assert not shown.reader.ids_where("rejected").size
    assert client.post("/api/accept", kinds=["mirrored", "re-encoded"])["ids"] == would["ids"]
    assert sorted(shown.reader.ids_where("rejected").tolist()) == sorted(would["ids"])
    assert client.get("/api/quarantine")["moves"] == 2
    actions = client.get("/api/activity")
    assert (actions[0]["who"], actions[0]["text"]) == ("cli", "reject: 2 images")
    shown.who = "web"
    refused = client("POST", "/api/undo", CHANGE, content=b"{}").json()
    assert refused["error"] == "nothing to undo", "the page undoes what the page did"
    client.post("/api/undo", action=actions[0]["id"])
    assert not shown.reader.ids_where("rejected").size
    first, second = names["00.png"], names["copy.jpg"]
    client.post("/api/verdict", verdict="reject", ids=[second])
    client.post("/api/verdict", verdict="keep-only", ids=[second])
    assert shown.reader.ids_where("rejected").tolist() == [first]
    client.post("/api/undo")
    assert shown.reader.ids_where("rejected").tolist() == [second]
    client.post("/api/redo")
    assert shown.reader.ids_where("rejected").tolist() == [first]


def test_pictures_lie_on_each_other_as_the_evidence_says(client: Client, shown: Index) -> None:
    names = ids_of(shown)
    aligned = client.get("/api/aligned", first=names["03.png"], second=names["crop.png"])["aligned"]
    np.testing.assert_allclose(aligned, [160 / 200, 0, 20 / 200, 0, 160 / 200, 10 / 200], atol=0.02)
    mirrored = client.get("/api/aligned", first=names["01.png"], second=names["mirror.png"])["aligned"]
    np.testing.assert_allclose(mirrored, [-1, 0, 1, 0, 1, 0], atol=1e-6)
    assert client.get("/api/aligned", first=1, second=9)["aligned"] is None


@pytest.mark.parametrize("transform", DIHEDRAL)
def test_a_turn_is_an_affine_map(transform: str) -> None:
    b = np.arange(5 * 3).reshape(3, 5)
    a = turn(b, transform)
    fit = turned_onto(transform, a.shape[::-1], b.shape[::-1])
    for y in range(3):
        for x in range(5):
            at = fit[:, :2] @ np.array([x + 0.5, y + 0.5]) / max(b.shape) + fit[:, 2]
            column, row = np.floor(at * max(a.shape)).astype(int)
            assert a[row, column] == b[y, x]


def test_read_only_has_no_route_that_changes(shown: Index) -> None:
    client = Client(shown, read_only=True)
    assert client.get("/api/status")["read_only"]
    for path in (
        "/api/tag",
        "/api/verdict",
        "/api/undo",
        "/api/picture",
        "/api/accept",
        "/api/concept",
        "/api/selection",
    ):
        assert client("POST", path, CHANGE, content=b"{}").status_code in (404, 405)
    client.pool.close()


def test_threads_answer_as_one_does(client: Client, shown: Index) -> None:
    asked = (
        [f"/api/list?q=id:{i}&where=label+%3D+%27{side}%27" for i in range(1, 13) for side in "ab"]
        + [f"/thumb/{i}" for i in range(1, 13)]
        + ["/api/status", "/api/facet?column=label", "/api/duplicates", "/api/image/3"]
    )
    alone = {path: client("GET", path).content for path in asked}

    async def crowd() -> list[tuple[str, bytes]]:
        async def visitor(seed: int) -> list[tuple[str, bytes]]:
            order = np.random.default_rng(seed).choice(len(asked), 200)
            return [(asked[i], (await client.ask("GET", asked[i])).content) for i in order]

        return [pair for pairs in await asyncio.gather(*(visitor(s) for s in range(8))) for pair in pairs]

    answers = asyncio.run(crowd())
    assert len(answers) == 1_600
    assert all(alone[path] == content for path, content in answers)


SERVER = """
import sys
from pathlib import Path
from curator.index import Index
from curator.web import WebOptions, serve
with Index.open(Path(sys.argv[1])) as index:
    serve(index, WebOptions(port=int(sys.argv[2])), ready=lambda address, once: print(address, flush=True))
"""


@pytest.fixture
def served(shown: Index) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A server in a process of its own: (process, address, token)."""
    command = [sys.executable, "-c", SERVER, str(shown.folder), "18717"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address, _, token = process.stdout.readline().strip().partition("/?token=")
        yield process, address, token
        process.kill()


def test_a_verdict_survives_a_kill_and_others_see_it(
    served: tuple[subprocess.Popen[str], str, str], shown: Index
) -> None:
    process, address, token = served
    copy = ids_of(shown)["copy.jpg"]
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    with httpx.Client(base_url=address, headers=headers, timeout=30) as page:
        before = page.get("/api/changes").json()
        assert page.post("/api/verdict", json={"verdict": "reject", "ids": [copy]}).status_code == 200
        process.kill()
    assert shown.reader.ids_where("rejected").tolist() == [copy]
    assert shown.reader.rows("SELECT who, text FROM actions") == [("web", "reject: 1 image")]
    assert before


def test_the_server_starts_without_torch_and_sees_what_the_command_line_did(
    served: tuple[subprocess.Popen[str], str, str], shown: Index
) -> None:
    _, address, token = served
    headers = {"authorization": f"Bearer {token}"}
    assert httpx.get(address, timeout=30).status_code == 403
    with httpx.Client(base_url=address, headers=headers, timeout=30) as page:
        before = page.get("/api/changes").json()
        decide(shown, "reject", [ids_of(shown)["mirror.png"]])
        assert page.get("/api/changes").json() != before
        assert page.get("/api/list", params={"where": "rejected"}).json()["ids"] == [ids_of(shown)["mirror.png"]]
    code = "import sys, curator.web.app, curator.web, curator.web.guard; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_scripts_keep_the_pages_rules() -> None:
    """Text is text, nothing is built of strings or comes from elsewhere, and what the first grid needs is small."""
    files = [f for f in STATIC.rglob("*") if f.is_file()]
    first, ahead = set[Path](), [STATIC / "app.js"]
    while ahead:
        file = ahead.pop().resolve()
        if file not in first:
            first.add(file)
            ahead += [file.parent / to for to in re.findall(r'^import [^;]*?"(\.[^"]+)";', file.read_text(), re.M)]
    shell = [STATIC / name for name in ("index.html", "style.css", "icon.svg")]
    assert STATIC / "views/search.js" in first
    assert sum(f.stat().st_size for f in [*first, *shell]) <= 120_000
    for file in files:
        text = file.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            file
        )
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), file
        if file.suffix == ".js":
            for module in re.findall(r'^import .* from "(.+)";', text, re.MULTILINE):
                assert (file.parent / module).resolve().is_file(), f"{file}: {module}"


def test_views_of_the_page_write_no_sql() -> None:
    for file in (STATIC.parent).glob("*.py"):
        names = {
            n.value
            for n in ast.walk(ast.parse(file.read_text()))
            if isinstance(n, ast.Constant) and isinstance(n.value, str)
        }
        assert not any(re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE)\b", name) for name in names), file


def test_a_part_is_placed_without_corners_too() -> None:
    whole = photo_pieces()[4]
    crop = whole.crop((40, 60, 140, 160))
    place = place_on(Sketch.of(whole), Sketch.of(crop))
    assert place is not None
    np.testing.assert_allclose(place, [[0.5, 0, 0.2], [0, 0.5, 0.3]], atol=0.03)


def test_words_of_a_hostile_name_stay_words(index: Index, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    draw(1).save(tmp_path / "set" / "<img src=x onerror=alert(1)>.png")
    ingest(index, [tmp_path / "set"], PixelEncoder(), IngestOptions())
    client = Client(index)
    (facts,) = client.get("/api/facts", ids="1")
    assert facts["path"] == "<img src=x onerror=alert(1)>.png"
    assert client("GET", "/api/facts", params={"ids": "1"}).headers["content-type"] == "application/json"
    client.pool.close()


def test_every_change_that_can_be_seen_changes_the_mark(client: Client, shown: Index, tmp_path: Path) -> None:
    marks = [client.get("/api/changes")["changes"]]
    shown.vector_of_id(1)
    client.get("/api/list", q="id:1")
    assert client.get("/api/changes")["changes"] == marks[0]
    deeds: list[Callable[[], object]] = [
        lambda: tag_images(shown, [1], ["x"]),
        lambda: decide(shown, "reject", [ids_of(shown)["copy.jpg"]]),
        lambda: undo_action(shown),
        lambda: undo_action(shown),
        lambda: redo_action(shown),
        lambda: dedupe(shown, DedupeOptions("exact")),
        lambda: ingest(shown, [tmp_path / "set"], PixelEncoder(), IngestOptions(label_from_name="(.)")),
    ]
    for deed in deeds:
        deed()
        marks.append(client.get("/api/changes")["changes"])
    assert len(set(marks)) == len(marks)


def test_what_is_only_looked_at_is_not_written(index: Index, tmp_path: Path, tiny: Encoder) -> None:
    (tmp_path / "set").mkdir()
    draw(1).save(tmp_path / "set" / "a.png")
    ingest(index, [tmp_path / "set"], tiny, IngestOptions())
    client = Client(index, read_only=True)
    assert client.get("/api/list", q="a red shoe")["ids"] == [1]
    assert index.reader.rows("SELECT count(*) FROM queries") == [(0,)]
    client.pool.close()


def test_small_answers_are_sent_at_once() -> None:
    """Without TCP_NODELAY, which asyncio sets on sockets that say that they are TCP, each took 40 ms."""
    with listen(WebOptions(port=18_617)) as first, listen(WebOptions(port=18_617)) as second:
        assert first.proto == socket.IPPROTO_TCP
        assert second.getsockname()[1] > first.getsockname()[1], "the next free one"


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_palette_can_be_read_in_both_themes() -> None:
    """Text stands out from the paper and the panel by 4.5 : 1, and what marks something by 3 : 1."""
    themes = re.findall(r":root \{([^}]*--paper[^}]*)\}", (STATIC / "style.css").read_text())
    assert len(themes) == 2
    for theme in themes:
        palette = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", theme.replace("#fff;", "#ffffff;")))

        def contrast(a: str, b: str, palette: dict[str, str] = palette) -> float:
            high, low = sorted((luminance(palette[a]), luminance(palette[b])), reverse=True)
            return (high + 0.05) / (low + 0.05)

        for ground in ("paper", "panel"):
            for text in ("ink", "soft", "accent", "good", "bad"):
                assert contrast(text, ground) >= 4.5, (text, ground, contrast(text, ground))
        assert contrast("on-accent", "accent") >= 4.5
