"""Documents say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from curator.cleaning.issues import checks
from curator.cleaning.keepers import keep_rules
from curator.cli import cli
from curator.database.schema import FORMAT, SEALED
from curator.duplicates import KINDS
from curator.encoders import SHORT_NAMES, encoders
from curator.metrics import metrics
from curator.selection.export import forms
from curator.selectors import scorers, selectors
from curator.training.options import OPTIMISERS
from curator.training.samplers import SAMPLERS
from curator.training.trainers import TRAINERS

TRAINING = [
    *TRAINERS,
    *OPTIMISERS,
    *SAMPLERS,
    *(n for t in TRAINERS.values() for n in (*t.options.nets, *t.options.losses, *t.options.presets())),
]

HOME = Path(__file__).parent.parent
README = (HOME / "README.md").read_text()


def test_generated_parts_of_the_readme_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, HOME / "scripts/readme_help.py", "--check"], capture_output=True, text=True, check=False
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
    assert f"`{name}`" in README


def test_every_link_in_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (HOME / target).exists(), target


def test_the_readmes_python_runs(tmp_path: Path, folder: Path, tiny: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-m", "curator", "index", folder, "-e", "tiny"], capture_output=True, check=True)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code = code.replace(" and label = 'shoe'", "").replace("width >= 256", "width >= 2")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 10


def test_the_format_page_names_every_table_and_the_format() -> None:
    page = (HOME / "indexes/README.md").read_text()
    assert f"format {FORMAT}" in page
    assert all(f"| `{table}` |" in page for table in SEALED)


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
