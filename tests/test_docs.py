"""Documents say what the code does: every command and Python block in them is run, the rest is generated."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from curator.cleaning.issues import checks
from curator.cleaning.keepers import keep_rules
from curator.cli import cli
from curator.database.schema import FORMAT, SEALED
from curator.demo import make_pictures
from curator.duplicates import KINDS
from curator.encoders import SHORT_NAMES, encoders
from curator.guide import PAGES, page
from curator.index import Index
from curator.ingest import IngestOptions, ingest
from curator.metrics import metrics
from curator.selection.export import forms
from curator.selectors import scorers, selectors
from curator.training.options import OPTIMISERS
from curator.training.samplers import SAMPLERS
from curator.training.trainers import TRAINERS

HOME = Path(__file__).parent.parent
README = (HOME / "README.md").read_text()
DOCUMENTS = {"README": README} | {name: page(name) for name in PAGES}
WRITTEN = {name: text for name, text in DOCUMENTS.items() if name != "reference"}
TRAINING = [
    *TRAINERS,
    *OPTIMISERS,
    *SAMPLERS,
    *(n for t in TRAINERS.values() for n in (*t.options.nets, *t.options.losses, *t.options.presets())),
]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, tiny: object) -> Path:
    """A folder with `photos/` and an index of them, made once."""
    home = tmp_path_factory.mktemp("docs")
    make_pictures(home / "photos")
    scenes = sorted((home / "photos" / "scenes").glob("*.png"))
    shutil.copy(scenes[0], home / "photos" / "scenes" / "copy.png")
    with Index.create(home / "indexes" / "default") as index:
        ingest(index, [home / "photos"], tiny, IngestOptions(label_from="folder"))  # type: ignore[arg-type]
    return home


@pytest.fixture
def place(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to work in."""
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    with Index.open(tmp_path / "indexes" / "default") as index, index.write() as db, db.atomic():
        db.repoint_root(1, tmp_path / "photos")
    return tmp_path


@pytest.mark.parametrize("name", [n for n, text in WRITTEN.items() if blocks(text, "console")])
def test_every_command_of_a_document_runs(name: str, curator: Callable[..., Result], place: Path) -> None:
    """Trainings are cut to seconds; nothing else is changed. Exit code 2 would be a command that could not run."""
    if name in ("labelling", "search"):  # pages that speak of what another page makes
        curator("concepts", "fit", "warm", "--like", "1,2,3", "--unlike", "400")
    if name == "evaluating":
        curator("train", "vae", "--max-minutes", "0.03", "--width", "4")
    for line in "".join(blocks(WRITTEN[name], "console")).splitlines():
        assert line.startswith("$ curator "), f"{name}: {line!r} is no command"
        words = shlex.split(line.removeprefix("$ curator "), comments=True)
        if "--max-minutes" in words:
            words[words.index("--max-minutes") + 1] = "0.03"
            words += ["--width", "4"]
        if "-n" in words and words[0] == "generate":
            words[words.index("-n") + 1] = "64" if name == "evaluating" else "4"
        done = curator(*words)
        assert done.exit_code in (0, 1), f"{line}\n{done.output}\n{done.exception!r}"
        assert done.exception is None or isinstance(done.exception, SystemExit), line
        assert "Note: " not in done.stderr or "is now" not in done.stderr, f"{line}: a former spelling"


@pytest.mark.parametrize("name", [n for n, text in WRITTEN.items() if blocks(text, "python")])
def test_every_python_block_of_a_document_runs(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for code in blocks(WRITTEN[name], "python"):
        exec(compile(code, name, "exec"), {})
    assert ".png" in capsys.readouterr().out


def test_generated_documents_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, HOME / "scripts/write_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            *cli.commands,
            *encoders,
            *SHORT_NAMES,
            *KINDS,
            *keep_rules,
            *checks,
            *selectors,
            *scorers,
            *forms,
            *metrics,
            *TRAINING,
        }
    ),
)
def test_every_command_and_part_is_documented(name: str) -> None:
    if name in cli.commands:
        assert name == "concept" or f"### `curator {name}`" in DOCUMENTS["reference"]
        return
    assert any(f"`{name}`" in text for text in WRITTEN.values()), name


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("file", ["README.md", "curator/README.md", "scripts/README.md", "indexes/README.md"])
def test_every_link_leads_somewhere(file: str) -> None:
    home = (HOME / file).parent
    for target in re.findall(r"\]\(([^)#]+)\)", (HOME / file).read_text()):
        assert target.startswith("http") or (home / target).exists(), target


def test_the_guide_is_shown(curator: Callable[..., Result]) -> None:
    assert curator("guide", "--list").stdout.splitlines()[0].startswith("tour")
    assert curator("guide").stdout.startswith("# Tour")
    assert "# Cleaning" in curator("guide", "cleaning").stdout
    assert "did you mean 'cleaning'" in curator("guide", "cleanin").stderr


def test_the_format_page_names_every_table_and_the_format() -> None:
    text = (HOME / "indexes/README.md").read_text()
    assert f"format {FORMAT}" in text
    assert all(f"| `{table}` |" in text for table in SEALED)


def test_no_file_of_the_project_names_a_machine() -> None:
    """No registry's host, no path of somebody's home."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=HOME, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    places = "|".join(("pythonho" + r"sted\.org", "/ro" + "ot/", "/ho" + "me/[a-z]", "/wo" + "rk/"))
    for name in tracked:
        path = HOME / name
        if name and path.is_file() and path.suffix in (".py", ".md", ".toml", ".json", ""):
            assert not re.search(places, path.read_text(errors="replace")), name
