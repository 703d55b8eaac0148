"""The command line as a person uses it: real folders, real output, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from conftest import draw
from PIL import Image

from curator.cli import SECTIONS, cli
from curator.cli.face import Face
from curator.drawing.scenes import draw_thing
from curator.encoders import Encoder
from curator.errors import UsageError
from curator.search.query import Term, parse_query

Run = Callable[..., Result]


@pytest.fixture
def photos(curator: Run, folder: Path) -> Run:
    """A filled default index."""
    assert curator("index", folder, "-e", "pixels", "--label-from", "folder").exit_code == 0
    return curator


def test_index_says_encoder_reason_and_summary(curator: Run, folder: Path) -> None:
    done = curator("index", folder, "-e", "pixels")
    assert done.exit_code == 0
    assert done.stderr.splitlines()[0].startswith("Encoder: pixels (as asked). Index:")
    assert "10 new in" in done.stdout
    again = curator("index")
    assert "pixels (the index was made with it)" in again.stderr
    assert "10 unchanged" in again.stdout


def test_without_a_terminal_a_new_index_takes_small_and_warns(curator: Run, folder: Path) -> None:
    done = curator("index", folder, "--json")
    assert "Encoder: small (bundled, and nothing better is on this machine)" in done.stderr
    assert "Warning: 'small' finds look-alikes" in done.stderr
    assert json.loads(done.stdout)["new"] == 10


def test_nothing_to_index_and_no_index_say_what_to_do(curator: Run) -> None:
    for words, says in (
        (("index",), "name a folder"),
        (("search", "x"), "curator index FOLDER"),
        (("index", "/no/such"), "is not there"),
    ):
        done = curator(*words, "-e", "pixels") if words[0] == "index" else curator(*words)
        assert done.exit_code == 2
        assert done.stderr.splitlines()[-1].startswith("Error: ")
        assert says in done.stderr


def test_search_by_picture_prints_a_table_and_what_was_searched(photos: Run, folder: Path) -> None:
    done = photos("search", folder / "cats/3.png", "-n", "3")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["score", "z", "sure", "id", "label", "path"]
    assert lines[1].startswith("1.000")
    assert lines[1].endswith("cats/3.png")
    assert "3 hits of 10 searched (exact)." in done.stderr


def test_every_output_form(photos: Run, folder: Path, tmp_path: Path) -> None:
    query = ("search", "id:1", "-n", "4")
    rows = json.loads(photos(*query, "--json").stdout)
    assert len(rows) == 4
    assert {"id", "path", "score", "z", "confidence", "label"} <= set(rows[0])
    assert rows[0]["id"] == 1
    assert [json.loads(line) for line in photos(*query, "--jsonl").stdout.splitlines()] == rows
    paths = [r["path"] for r in rows]
    assert photos(*query, "--paths").stdout.splitlines() == paths
    assert photos(*query, "-0").stdout == "".join(p + "\0" for p in paths)
    assert photos(*query, "--sheet", tmp_path / "s.png").exit_code == 0
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 1000


def test_limits_of_a_search(photos: Run, folder: Path) -> None:
    def ids(*words: str) -> int:
        done = photos("search", "id:1", "--json", *words)
        assert done.exit_code in (0, 1), done.stderr
        return len(json.loads(done.stdout))

    assert ids() == 10
    assert ids("--label", "cats") == ids("--where", "label = 'cats'") == 5
    assert ids("--origin", "generated") == 0
    assert ids("--min-score", "0.99") == 1
    refused = photos("search", "id:1", "--min-confidence", "0.9")
    assert refused.exit_code == 2
    assert "but for plain words; leave out --min-confidence" in refused.output
    photos("tag", "good,rare", "2", "3")
    assert ids("--tag", "good") == 2
    assert ids("--tag", "goo") == 0
    photos("tag", "good", "2", "--remove")
    assert ids("--tag", "good") == 1
    shutil.copy(folder / "cats/0.png", folder / "copy.png")
    photos("index")
    assert ids() == 11
    assert ids("--unique") == 10


def test_no_hit_is_a_finding(photos: Run) -> None:
    done = photos("search", "id:1", "--where", "label = 'none'")
    assert done.exit_code == 1
    assert "0 hits of 0 searched" in done.stderr
    assert "Nothing here clearly matches" in done.stderr


def test_a_picture_on_standard_input(photos: Run, folder: Path) -> None:
    done = photos("search", "-", "-n", "1", "--json", stdin=(folder / "dogs/7.png").read_bytes())
    assert json.loads(done.stdout)[0]["path"].endswith("dogs/7.png")
    assert "not a picture" in photos("search", "-", stdin=b"nothing").stderr


@pytest.mark.parametrize(
    ("words", "terms"),
    [
        (["red", "shoe"], [Term("text", "red shoe")]),
        (
            ["2:golden retriever", "+", "./pool.jpg", "-", "fruit"],
            [Term("text", "golden retriever", 2), Term("file", "./pool.jpg"), Term("text", "fruit", -1)],
        ),
        (["id:12", "-", "0.5:id:13"], [Term("id", "12"), Term("id", "13", -0.5)]),
        (["-"], [Term("stdin", "-")]),
        (["cat", "+", "-"], [Term("text", "cat"), Term("stdin", "-")]),
        (["-", "cat"], [Term("text", "cat", -1)]),
        (["ratio 16:9"], [Term("text", "ratio 16:9")]),
        (["cat - 2:dog + id:3"], [Term("text", "cat"), Term("text", "dog", -2), Term("id", "3")]),
    ],
)  # fmt: skip
def test_the_query_language(words: list[str], terms: list[Term]) -> None:
    assert parse_query(words) == terms


@pytest.mark.parametrize("words", [[], ["cat", "+"], ["+"]])
def test_a_query_that_is_none_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_query(words)


def test_a_file_whose_name_looks_like_a_mixture_is_a_file(photos: Run, folder: Path) -> None:
    odd = folder / "Artist - Title + 2.png"
    draw(55).save(odd)
    photos("index")
    assert json.loads(photos("search", odd, "-n", "1", "--json").stdout)[0]["path"] == str(odd)


def test_mixtures_add_and_subtract(curator: Run, tmp_path: Path, tiny: Encoder) -> None:
    folder = tmp_path / "things"
    folder.mkdir()
    for colour in ("red", "blue", "green"):
        for shape in ("circle", "star", "square"):
            draw_thing(colour, shape).save(folder / f"{colour}-{shape}.png")
    curator("index", folder, "-e", "tiny")

    def best(*words: str) -> str:
        return Path(json.loads(curator("search", *words, "-n", "1", "--json").stdout)[0]["path"]).stem

    assert best("a", "blue", "star") == "blue-star"
    assert best("green circle") == "green-circle"
    assert best("2:star", "+", "green", "-", "blue") == "green-star"
    assert "cancel" in curator("search", "star", "-", "star").stderr


def test_words_asked_again_are_not_encoded_again(curator: Run, folder: Path, tiny: Encoder) -> None:
    curator("index", folder, "-e", "tiny")
    one = curator("search", "a cat", "--json").stdout
    assert curator("search", "a cat", "--json").stdout == one
    assert curator("search", "a cat", "--json", "-i", "indexes/default").stdout == one


def test_words_to_an_encoder_without_words(photos: Run) -> None:
    assert "no text tower" in photos("search", "cat").stderr


def test_compare_measures_and_decides(curator: Run, folder: Path) -> None:
    a, b = folder / "cats/0.png", folder / "cats/1.png"
    same = curator("compare", a, a, "-e", "pixels", "--json")
    assert same.exit_code == 0
    result = json.loads(same.stdout)
    assert result["inner_product"] == pytest.approx(1)
    assert result["angle_degrees"] == pytest.approx(0, abs=1e-4)
    assert result["lengths"][0] == result["lengths"][1] > 100
    differ = curator("compare", a, b, "-e", "pixels")
    assert differ.exit_code == 1
    assert "different at 0.95" in differ.stdout
    assert curator("compare", a, b, "-e", "pixels", "--threshold", "-1").exit_code == 0
    assert "only be compared within an index" in curator("compare", a, "id:1", "-e", "pixels").stderr


def test_compare_in_an_index_uses_stored_vectors(photos: Run, folder: Path) -> None:
    assert photos("compare", "id:1", folder / "cats/0.png").exit_code == 0


def test_show_status_skipped(photos: Run, folder: Path) -> None:
    shown = json.loads(photos("show", "1", folder / "dogs/9.png", "--json").stdout)
    assert [s["label"] for s in shown] == ["cats", "dogs"]
    assert "sha256" in photos("show", "1").stdout
    facts = json.loads(photos("status", "--json").stdout)
    assert facts["counts"]["images"] == 10
    assert facts["spaces"][0]["missing"] == 0
    assert "Label    cats 5, dogs 5" in photos("status").stdout
    assert photos("skipped").exit_code == 0
    (folder / "bad.png").write_bytes(b"x")
    assert photos("index").exit_code == 1, "a skipped file is a finding"
    listed = photos("skipped")
    assert listed.exit_code == 1
    assert "not a picture in an allowed format" in listed.stdout
    assert json.loads(photos("skipped", "--json").stdout)[0]["path"].endswith("bad.png")


def test_remove_and_undo(photos: Run, folder: Path) -> None:
    assert "no file was touched" in photos("remove", "1", folder / "cats/1.png").stdout
    assert json.loads(photos("status", "--json").stdout)["counts"]["images"] == 8
    assert photos("remove", "--undo", "1", "2").exit_code == 0
    assert json.loads(photos("status", "--json").stdout)["counts"]["images"] == 10
    assert "no image" in photos("remove", "nonsense.png").stderr
    assert "name images" in photos("remove").stderr


def test_what_was_removed_is_listed_and_comes_back_the_way_it_went(photos: Run, folder: Path) -> None:
    def count() -> int:
        return int(json.loads(photos("status", "--json").stdout)["counts"]["images"])

    assert "Removed 5 images" in photos("remove", "--where", "label = 'cats'").stdout
    assert photos("remove", "--list").stdout.count("cats/") == 5
    assert "Restored 1 image;" in photos("remove", "--undo", folder / "cats/2.png").stdout
    assert count() == 6
    assert "Restored 4 images" in photos("remove", "--undo", "--where", "label = 'cats'").stdout
    assert count() == 10
    assert "no image removed by hand at" in photos("remove", "--undo", folder / "cats/2.png").stderr


def test_a_root_is_forgotten_and_comes_back(photos: Run, folder: Path) -> None:
    photos("tag", "dear", "3")
    assert "Forgot" in photos("roots", "forget", folder).stdout
    assert json.loads(photos("roots", "--json").stdout) == []
    assert json.loads(photos("status", "--json").stdout)["counts"]["images"] == 0
    assert "nothing to do" in photos("index").stdout
    assert "10 restored" in photos("index", folder).stdout
    assert json.loads(photos("show", "3", "--json").stdout)[0]["tags"] == ["dear"]


def test_a_moved_folder_is_not_taken_for_a_new_one(photos: Run, folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "new")
    done = photos("index", tmp_path / "new")
    assert done.exit_code == 2
    assert f"`curator roots move {folder} {tmp_path / 'new'}` keeps ids and tags" in done.stderr
    assert len(json.loads(photos("roots", "--json").stdout)) == 1, "a refused plan leaves no trace"
    photos("roots", "forget", folder)
    assert "10 new" in photos("index", tmp_path / "new").stdout


def test_a_table_inside_a_moved_root_moves_along(curator: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "t.csv").write_text("file,kind\ncats/0.png,tom\n")
    curator("index", folder, "-e", "pixels", "--csv", folder / "t.csv", "--label-from", "kind")
    folder.rename(tmp_path / "new")
    assert curator("roots", "move", folder, tmp_path / "new").exit_code == 0
    assert "10 unchanged" in curator("index").stdout


def test_a_first_run_that_fails_leaves_nothing(curator: Run, folder: Path, tmp_path: Path) -> None:
    assert curator("index", folder, "-e", "base").exit_code == 2
    assert curator("index", tmp_path / "no" / "such").exit_code == 2
    assert not (tmp_path / "indexes").exists()
    done = curator("index", folder, "-e", "pixels", "--label-from", "knd")
    assert "no side-car has a column 'knd'" in done.stderr
    assert curator("roots").stdout.splitlines()[1:] == []


@pytest.mark.parametrize(
    ("query", "says"),
    [("id:abc", "is no id"), ("nope.jpg", "no file nope.jpg"), ("", "empty term"), ("./nope.jpg", "cannot be read")],
)
def test_a_query_that_means_nothing_says_so(photos: Run, query: str, says: str) -> None:
    done = photos("search", query)
    assert done.exit_code == 2
    assert says in done.stderr


def test_a_label_that_is_not_there_is_pointed_at(photos: Run) -> None:
    done = photos("search", "id:1", "--label", "cat")
    assert "no image has the label 'cat'; did you mean 'cats'?" in done.stderr
    assert "no image has the tag 'x'; there are none" in photos("search", "id:1", "--tag", "x").stderr


def test_a_wrong_where_is_shown_as_it_was_typed(photos: Run) -> None:
    assert (
        "--where 'label = cats': no such column: cats; text takes single quotes"
        in photos("search", "id:1", "--where", "label = cats").stderr
    )
    assert "takes double quotes" in photos("search", "id:1", "--where", "group = 1").stderr


def test_roots_are_listed_and_moved(photos: Run, folder: Path, tmp_path: Path) -> None:
    assert str(folder) in photos("roots").stdout
    folder.rename(tmp_path / "new")
    assert "NO" in photos("roots").stdout
    assert photos("roots", "move", folder, tmp_path / "new").exit_code == 0
    assert json.loads(photos("roots", "--json").stdout) == [{"id": 1, "path": str(tmp_path / "new"), "reachable": True}]
    assert "10 unchanged" in photos("index").stdout
    assert "no root" in photos("roots", "move", "x", tmp_path).stderr


def test_verify_repair_and_backup(photos: Run, tmp_path: Path) -> None:
    assert photos("verify", "--deep").stdout == "All checks passed.\n"
    files = next((tmp_path / "indexes/default/vectors").glob("*/flat.faiss"))
    files.write_bytes(files.read_bytes()[:-7] + b"garbage")
    broken = photos("verify")
    assert broken.exit_code == 1
    assert "`curator repair` mends this" in broken.stdout
    assert "written again" in photos("repair").stdout
    assert photos("verify", "--json").stdout.strip() == "[]"
    assert photos("backup", tmp_path / "b.db").exit_code == 0
    assert photos("backup", tmp_path / "b.db").exit_code == 2


def test_deep_verify_notices_changed_and_missing_files(photos: Run, folder: Path) -> None:
    draw(99).save(folder / "cats/0.png")
    (folder / "cats/1.png").unlink()
    found = json.loads(photos("verify", "--deep", "--json").stdout)
    assert sorted(f["problem"].split(";")[0] for f in found) == [
        "cannot be read: No such file or directory",
        "has changed since it was indexed",
    ]


def test_encoders_are_listed_and_used(photos: Run, tiny: Encoder) -> None:
    rows = {r["name"]: r for r in json.loads(photos("encoders", "--json").stdout)}
    assert {"small", "tiny", "pixels", "base", "large", "multilingual"} <= rows.keys()
    assert rows["tiny"]["here"]
    assert "ViT-B-32/openai" in photos("encoders", "--all").stdout
    assert "the index has no space 'tiny'" in photos("encoders", "use", "tiny").stderr
    done = photos("index", "-e", "tiny")
    assert "Searches still use 'pixels'; switch with `curator encoders use tiny`" in done.stderr
    assert photos("encoders", "use", "tiny").exit_code == 0
    assert photos("search", "a cat").exit_code == 0
    assert "tiny is ready: 256 dims" in photos("encoders", "pull", "tiny").stdout
    assert "Offline there are" in photos("encoders", "pull", "base").stderr


def test_wrong_commands_and_options_suggest(curator: Run) -> None:
    done = curator("serach", "x")
    assert done.exit_code == 2
    assert "did you mean 'search'" in done.stderr
    assert "No such option" in curator("search", "x", "--lable", "y").stderr


def test_a_bug_keeps_its_traceback() -> None:
    def broken() -> None:
        raise ValueError("a bug")

    face = Face("curator", commands={"broken": click.Command("broken", callback=broken)})
    assert isinstance(CliRunner().invoke(face, ["broken"]).exception, ValueError)


def test_a_name_with_a_nul_is_refused_in_words(curator: Run) -> None:
    assert curator("status", "-i", "./a\0b").exit_code == 2


def test_paths_come_out_as_the_bytes_they_are(folder: Path, tmp_path: Path) -> None:
    name = b"n\xff\n.png"
    draw(1).save(folder / os.fsdecode(name))
    place = str(tmp_path / "i")

    def run(*words: str) -> bytes:
        return subprocess.run(
            [sys.executable, "-m", "curator", *words, "-i", place], capture_output=True, check=True
        ).stdout

    run("index", str(folder), "-e", "pixels")
    assert any(p.endswith(b"/" + name) for p in run("search", "id:1", "-0").split(b"\0"))
    assert any(r["path"].endswith(os.fsdecode(name)) for r in json.loads(run("search", "id:1", "--json")))


def commands_of(group: click.Group) -> list[click.Command]:
    """All below a group, groups too."""
    return [
        c
        for sub in group.commands.values()
        for c in ([sub, *commands_of(sub)] if isinstance(sub, click.Group) else [sub])
    ]


def test_every_command_has_help_with_a_sentence_and_every_option_too() -> None:
    for command in commands_of(cli):
        assert command.help, command.name
        assert all(p.help or p.hidden for p in command.params if isinstance(p, click.Option)), command.name


def test_the_demo_runs_offline_and_draws_its_sheet(curator: Run, tmp_path: Path, tiny: Encoder) -> None:
    done = curator("demo", "--minutes", 0)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("$ curator") == 5
    assert done.stdout.endswith("in the browser: curator web -i demo\n")
    assert "large red circle" in done.stdout.split("a red circle")[1][:200]
    assert (tmp_path / "demo-sheet.png").stat().st_size > 50_000
    assert "0 new" in curator("demo", "--minutes", 0).stdout


def test_the_help_shows_every_command_in_a_section_with_a_whole_short_sentence(curator: Callable[..., Result]) -> None:
    shown = curator("--help").stdout
    for title, commands in SECTIONS:
        assert f"{title}:" in shown
        for command in commands:
            sentence = command.get_short_help_str(200)
            assert len(sentence) <= 50, command.name
            assert f"{sentence}\n" in shown, command.name


@pytest.mark.parametrize(
    ("spelt", "now"),
    [
        (("preview", "some", "--against", "1"), "--reference"),
        (("evaluate", "id < 3", "--against", "1"), "--reference"),
        (("audit", "1", "--held-out", "1"), "--reference"),
        (("dedupe", "--html", "page.html"), "--output"),
        (("tag", "a", "1", "--remove"), "--undo"),
        (("backup", "copy.db"), "--output"),
        (("export", "some", "out"), "-o"),
        (("loop", "some", "--words"), "--selection"),
        (("concept", "--json"), "concepts"),
    ],
)
def test_former_spellings_work_and_say_what_they_are_called_now(
    curator: Callable[..., Result], folder: Path, spelt: tuple[str, ...], now: str
) -> None:
    curator("index", folder, "-e", "pixels")
    curator("select", "some", "-n", "4")
    done = curator(*spelt)
    assert any(line.startswith("Note:") and now in line for line in done.stderr.splitlines()), done.output
    assert "No such option" not in done.output
    assert "unexpected extra argument" not in done.output


def test_files_that_were_skipped_before_break_no_chain(curator: Callable[..., Result], folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"no picture")
    assert curator("index", folder, "-e", "pixels").exit_code == 1, "it is new, and a person should know"
    assert curator("index", folder).exit_code == 0
    assert curator("index", folder, "--strict").exit_code == 1
    (folder / "worse.png").write_bytes(b"no picture either")
    assert curator("index").exit_code == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(curator: Callable[..., Result], shell: str) -> None:
    assert "_CURATOR_COMPLETE" in curator("completion", shell).stdout


def test_names_of_an_index_are_completed(curator: Callable[..., Result], folder: Path) -> None:
    curator("index", folder, "-e", "pixels")
    curator("select", "shoes", "-n", "4")

    def offered(*words: str) -> list[str]:
        return [c.value for c in ShellComplete(cli, {}, "curator", "_X").get_completions(list(words[:-1]), words[-1])]

    assert offered("train", "vae", "--selection", "sh") == ["shoes"]
    assert "width" in offered("search", "red", "--where", "wid")
    assert offered("search", "red", "-i", "de") == ["default"]
    assert offered("selections", "show", "sh") == ["shoes"]


def test_no_option_takes_a_number_that_is_none() -> None:
    """NaN compares with nothing: as a limit it would let all through or none, in silence."""
    numbers = [
        (command, option)
        for command in commands_of(cli)
        for option in command.params
        if isinstance(option.type, click.types.FloatParamType | click.FloatRange)
    ]
    assert len(numbers) > 20
    for command, option in numbers:
        for text in ("nan", "inf", "1e400"):
            with pytest.raises(click.BadParameter):
                option.type.convert(text, option, click.Context(command))
