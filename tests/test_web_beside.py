"""A page answers the command line's queries, the same as the command line itself; whatever is wrong, that does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import draw, photo_pieces

from curator.encoders import load_encoder
from curator.index import Index
from curator.ingest import ingest
from curator.web.beside import ask_beside, close_beside, open_beside, socket_of

Page = tuple[Path, subprocess.Popen[str]]


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "curator", *words],
        capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """An index with a page that runs on it."""
    home = tmp_path_factory.mktemp("asked")
    for i, piece in enumerate([*photo_pieces(), *(draw(s) for s in range(20))]):
        (home / "pictures" / f"kind{i % 3}").mkdir(parents=True, exist_ok=True)
        piece.save(home / "pictures" / f"kind{i % 3}" / f"{i}.png")
    with Index.create(home / "index") as index:
        ingest(index, [home / "pictures"], load_encoder("tiny"))
    words = [sys.executable, "-m", "curator", "web", "--no-open", "-i", str(home / "index"), "--port", "18917"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("Page: ")
            (beside,) = (home / "index").glob("web-*.sock")
            assert beside.stat().st_mode & 0o777 == 0o600
            yield home / "index", process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "words",
    [
        ["flower"],
        ["a", "roof", "-n", "3", "--where", "width > 30"],
        ["id:3", "--unique", "--label", "kind0"],
        ["2:flower", "+", "id:5", "-", "sky", "--min-score", "0.1"],
        ["nothing like this", "--where", "id < 0"],
    ],
)
def test_a_page_answers_what_the_command_line_would(page: Page, words: list[str]) -> None:
    folder, _ = page
    for form in ("--json", "--paths"):
        own = command("search", *words, "-i", str(folder), form)
        asked = command("search", *words, "-i", str(folder), form, CURATOR_PAGE="1")
        assert (asked.returncode, asked.stdout) == (own.returncode, own.stdout)
        assert asked.stderr == "Answered by the page that runs on this index.\n" + own.stderr


def test_words_that_open_files_and_mistakes_are_answered_by_the_command_line(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = page
    draw(3).save(tmp_path / "mine.png")
    draw(4).save(tmp_path / "my picture.png")
    (tmp_path / "bare").write_bytes((tmp_path / "mine.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    for words in (
        ["./mine.png"], ["mine.png"], ["2:mine.png"], ["mine.png + red"], ["red", "+", "2:bare"], ["my", "picture.png"],
        ["missing.png"], ["~nobody/x.png"], ["flower", "--exact"], ["x", "--where", "no_column = 1"], ["id:9999"],
    ):  # fmt: skip
        own = command("search", *words, "-i", str(folder))
        asked = command("search", *words, "-i", str(folder), CURATOR_PAGE="1")
        assert (asked.returncode, asked.stdout, asked.stderr) == (own.returncode, own.stdout, own.stderr)


def test_a_page_opens_no_file_and_takes_no_other_limits(page: Page, tmp_path: Path) -> None:
    folder, _ = page
    draw(3).save(tmp_path / "mine.png")
    assert ask_beside(folder, {"words": ["flower"], "question": {"k": 2}}) is not None
    for words, question in (
        ([str(tmp_path / "mine.png")], {}),
        (["flower"], {"k": "2"}),
        (["flower"], {"k": 0}),
        (["flower"], {"exact": True}),
        (["flower"], []),
        ("flower", {}),
        ([1], {}),
    ):
        assert ask_beside(folder, {"words": words, "question": question}) is None


def test_a_token_goes_to_no_file_that_is_no_socket_and_nobody_who_does_not_listen(tmp_path: Path) -> None:
    (tmp_path / "web.token").write_text("t" * 40)
    socket_of(tmp_path, 1).write_text("no socket")
    dead = open_beside(tmp_path, 2)
    assert dead is not None
    dead.close()
    socket_of(tmp_path, 3).symlink_to(socket_of(tmp_path, 2))
    assert ask_beside(tmp_path, {"words": ["x"], "question": {}}) is None
    # A page on that port takes the place of one that was killed.
    again = open_beside(tmp_path, 2)
    assert again is not None
    # Of two on one port, as of two addresses, the first to end leaves the other's name alone.
    close_beside(tmp_path, 2, dead)
    assert socket_of(tmp_path, 2).exists()
    close_beside(tmp_path, 2, again)
    assert not socket_of(tmp_path, 2).exists()
    deep = tmp_path / ("long" * 30)
    deep.mkdir()
    assert open_beside(deep, 2) is None or hasattr(socket, "AF_UNIX")


def test_a_page_that_ends_takes_its_socket_away(page: Page) -> None:
    folder, process = page
    process.send_signal(signal.SIGINT)
    process.wait(20)
    assert not list(folder.glob("*.sock"))
    asked = command("search", "flower", "-i", str(folder), "--json", CURATOR_PAGE="1")
    assert asked.returncode == 0
    assert json.loads(asked.stdout)
    assert "Answered" not in asked.stderr
