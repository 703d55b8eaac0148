"""Imports go strictly down, heavy ones wait, sizes stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "curator"
ROWS = {
    "errors": 0, "records": 1, "registry": 2, "checksums": 2, "embeddings": 2,
    "images": 3, "encoders": 3, "scenes": 3, "duplicates": 3, "selectors": 3, "metrics": 3, "database": 4, "vectors": 4,
    "index": 5, "training": 6, "ingest": 7, "query": 7, "curate": 7, "export": 7.5, "importing": 7.5,
    "manage": 7, "maintenance": 7, "train": 7.5, "generate": 7.6, "apply": 7.6, "sides": 7.63, "evaluate": 7.65, "audit": 7.67,
    "loop": 7.68, "report": 7.68, "demo": 7.7,
    "cli": 9, "__main__": 10, "__init__": 10,
    "sheets": 3.5, "pages": 3.6,  # draw files, so they read images
}  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    for module in imported(path):
        parts = module.split(".")
        if parts[0] == "curator" and len(parts) > 1 and parts[1] != here:
            assert ROWS[parts[1]] < ROWS[here], f"{here} imports {parts[1]}"


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("faiss", {"vectors"}),
        ("torch", {"encoders", "training", "apply"}),
        ("open_clip", {"encoders"}),
        ("cv2", {"duplicates", "curate"}),
    ],
)
def test_a_library_stays_in_its_room(library: str, rooms: set[str]) -> None:
    assert {room(p) for p in FILES if any(m.split(".")[0] == library for m in imported(p))} <= rooms


def test_sql_stays_in_its_room() -> None:
    users = {room(p) for p in FILES if any(m == "sqlite3" or m.startswith("sqlite_utils") for m in imported(p))}
    assert users == {"database"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def loaded_by(*command: str) -> set[str]:
    code = f"import sys; sys.argv[1:] = {list(command)!r}\ntry:\n    from curator.cli import main; main()\nexcept SystemExit: pass\n"
    code += "print('LOADED', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_loads_nothing_heavy() -> None:
    assert not {"torch", "open_clip", "faiss", "numpy", "PIL", "sqlite_utils", "onnxruntime"} & loaded_by("--help")


def test_a_cold_text_query_loads_neither_torch_nor_open_clip(tmp_path: Path, folder: Path, tiny: object) -> None:
    place = str(tmp_path / "i")
    subprocess.run([sys.executable, "-m", "curator", "index", str(folder), "-e", "tiny", "-i", place], capture_output=True, check=True)
    first = loaded_by("search", "red", "circle", "-i", place)
    assert "onnxruntime" in first
    assert not {"torch", "open_clip", "torchvision", "transformers"} & first
    again = loaded_by("search", "red", "circle", "-i", place)
    assert not {"torch", "open_clip", "onnxruntime"} & again, "asked again, the stored query vector answers"


def test_stored_vectors_are_measured_and_mistakes_are_said_without_torch(tmp_path: Path, folder: Path) -> None:
    place = str(tmp_path / "i")
    indexed = ("index", str(folder), "-e", "pixels", "--label-from", "folder", "-i", place)
    subprocess.run([sys.executable, "-m", "curator", *indexed], capture_output=True, check=True)
    measured = loaded_by("evaluate", "label = 'cats'", "--against", "label = 'dogs'", "--metric", "manifold", "-i", place)
    assert "curator.metrics.manifolds" in measured
    assert "torch" not in measured | loaded_by("loop", "nothing", "--words", "-i", place)


def test_a_sentence_of_documentation_for_every_public_part() -> None:
    for path in FILES:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"
