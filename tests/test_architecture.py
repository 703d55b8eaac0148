"""Imports go strictly down, heavy ones wait, sizes stay small."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "curator"
ROWS = (
    {"errors", "records"},
    {"files", "registry", "embeddings", "intervals", "job", "texts"},
    {"images", "encoders", "duplicates", "selectors", "metrics", "drawing"},
    {"database", "vectors"},
    {"index", "training"},
    {"ingest", "search", "cleaning", "labelling", "admin"},
    {"selection", "runs"},
    {"evaluation"},
    {"loop", "demo", "face", "guide", "scale", "web"},
    {"cli"},
    {"__init__", "__main__"},
)
FIRST_WING = 4  # below it are parts, which may lean on a part of their own row as long as no circle closes
ROW_OF = {name: row for row, rooms in enumerate(ROWS) for name in rooms}
VAGUE = {"found", "made", "kept", "told", "here", "some", "own", "at", "given", "named"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "curator":
            modules |= {f"curator.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "extra":
            modules |= {str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)}
    return modules


def leans_on(path: Path) -> set[str]:
    """Other rooms that a file imports from."""
    rooms = {module.split(".")[1] for module in imported(path) if module.startswith("curator.")}
    return rooms - {room(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    row = ROW_OF[room(path)]
    for other in leans_on(path):
        beside = ROW_OF[other] == row < FIRST_WING
        assert ROW_OF[other] < row or beside, f"{room(path)} imports {other}, which is not below it"


def test_no_circle_of_rooms() -> None:
    below = {name: set().union(*(leans_on(p) for p in FILES if room(p) == name)) for name in ROW_OF}
    while below:
        free = {name for name, others in below.items() if not others & below.keys()}
        assert free, f"a circle among {sorted(below)}"
        below = {name: others for name, others in below.items() if name not in free}


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("faiss", {"vectors"}),
        ("torch", {"encoders", "training", "runs"}),
        ("open_clip", {"encoders"}),
        ("cv2", {"duplicates", "cleaning"}),
        ("starlette", {"web"}),
        ("uvicorn", {"web"}),
        ("ray", {"scale"}),
        ("fsspec", {"scale"}),
        ("duckdb", {"scale"}),
        ("psycopg", {"vectors"}),
        ("qdrant_client", {"vectors"}),
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


def test_rooms_of_numbers_read_as_essays() -> None:
    """STYLE 19, over each room of formulas: shapes, reasons, equations."""
    for name in ("metrics", "selectors", "training"):
        texts = [path.read_text() for path in FILES if room(path) == name]
        # In the trainers' room plumbing has few: what computes is what has tensors.
        numeric = [text for text in texts if name != "training" or re.search(r"^\s*(import|from) torch\b", text, re.M)]
        lines = [line for text in numeric for line in text.splitlines()]
        comments = sum(1 for line in lines if re.search(r"(^|\s)# ", line))
        assert comments >= 0.1 * len(lines), name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_functions_ask_for_few_things(path: Path) -> None:
    """Five in order; seven with those by name, but for commands, where each option is one, and for `Index.search`.

    A search is asked in one of four ways, and people write them out.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            by_place = [a for a in (*node.args.posonlyargs, *node.args.args) if a.arg not in ("self", "cls")]
            assert len(by_place) <= 5, node.name
            several = room(path) == "cli" or node.name == "search"
            assert several or len(by_place) + len(node.args.kwonlyargs) <= 7, node.name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_names_say_what_they_hold(path: Path) -> None:
    """STYLE 16: not what happened to it, nor where one stands."""
    for function in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)):
        assigned = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        assert not assigned & VAGUE, function.name


def test_one_name_one_thing() -> None:
    """Classes of one name are one thing, of which a face shows more: `curator.Hits` is the library's `Hits`."""
    where: dict[str, list[Path]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and room(path) != "face":
                where.setdefault(node.name, []).append(path)
    assert {name: paths for name, paths in where.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_alias_is_needed_to_call_a_function(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("curator"):
            for alias in node.names:
                is_module = (PACKAGE.parent / (node.module or "").replace(".", "/") / f"{alias.name}.py").is_file()
                is_room = (PACKAGE.parent / (node.module or "").replace(".", "/") / alias.name).is_dir()
                is_public_face = path == PACKAGE / "__init__.py"
                assert alias.asname in (None, alias.name) or is_module or is_room or is_public_face, alias.asname


def loaded_by(*command: str) -> set[str]:
    code = (
        f"import sys; sys.argv[1:] = {list(command)!r}\ntry:\n    from curator.cli import main; main()\nexcept "
        "SystemExit: pass\n"
    )
    code += "print('LOADED', *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_loads_nothing_heavy() -> None:
    assert not {"torch", "open_clip", "faiss", "numpy", "PIL", "sqlite_utils", "onnxruntime"} & loaded_by("--help")


def test_a_cold_text_query_loads_neither_torch_nor_open_clip(tmp_path: Path, folder: Path, tiny: object) -> None:
    place = str(tmp_path / "i")
    subprocess.run(
        [sys.executable, "-m", "curator", "index", str(folder), "-e", "tiny", "-i", place],
        capture_output=True,
        check=True,
    )
    first = loaded_by("search", "red", "circle", "-i", place)
    assert "onnxruntime" in first
    assert not {"torch", "open_clip", "torchvision", "transformers", "sqlite_utils", "pandas"} & first
    again = loaded_by("search", "red", "circle", "-i", place)
    assert not {"torch", "open_clip", "onnxruntime"} & again, "asked again, the stored query vector answers"


def test_stored_vectors_are_measured_and_mistakes_are_said_without_torch(tmp_path: Path, folder: Path) -> None:
    place = str(tmp_path / "i")
    indexed = ("index", str(folder), "-e", "pixels", "--label-from", "folder", "-i", place)
    subprocess.run([sys.executable, "-m", "curator", *indexed], capture_output=True, check=True)
    measured = loaded_by(
        "evaluate", "label = 'cats'", "--reference", "label = 'dogs'", "--metric", "manifold", "-i", place
    )
    assert "curator.metrics.manifolds" in measured
    assert "torch" not in measured | loaded_by("loop", "nothing", "--words", "-i", place)


def test_a_sentence_of_documentation_for_every_public_part() -> None:
    for path in FILES:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"
