"""The packages depend on each other in one direction, and what must start fast does not load torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: The folders and modules of `search`, each of which imports from earlier lines alone.
ORDER = (
    {"errors"},
    {"files", "logs", "templates"},
    {"spec"},
    {"ask"},
    {"query"},
    {"train", "answer"},
    {"serve"},
    {"client"},
    {"cli"},
)
FORBIDDEN = {"objectives": {"storage", "search", "optuna", "sqlalchemy"}, "storage": {"objectives", "search", "torch"}}


def imports(file: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_lower_packages_know_nothing_of_higher_ones(package: str) -> None:
    """`objectives` and `storage` import neither each other nor `search`."""
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        assert not {name.split(".")[0] for name in imports(file)} & FORBIDDEN[package], file


def test_search_is_imported_in_the_order_of_its_folders() -> None:
    """Data flow one way: no folder imports, even within a function, from one that comes later or stands beside it."""
    place = {name: number for number, names in enumerate(ORDER) for name in names}
    for file in (ROOT / "search").rglob("*.py"):
        room = file.relative_to(ROOT / "search").parts[0].removesuffix(".py")
        others = {name.split(".")[1] for name in imports(file) if name.startswith("search.")} - {room}
        assert all(place[other] < place[room] for other in others & place.keys()), (file, others)
        assert room in place or room == "__init__", f"{room} is in no line of ORDER"


def test_nothing_imports_the_command_line() -> None:
    """The composition root is at the top."""
    for package in ("objectives", "storage", "search"):
        for file in (ROOT / package).rglob("*.py"):
            assert "search.cli.main" not in imports(file), file


@pytest.mark.parametrize("module", ["search.cli.main", "search.query.runs", "search.spec.study_spec"])
def test_queries_and_help_start_without_what_is_heavy(module: str) -> None:
    """Importing what answers questions loads neither what trains, nor what draws, nor what serves."""
    heavy = [
        "torch",
        "optuna",
        "plotly",
        "pandas",
        "fastapi",
        "starlette",
        "uvicorn",
        "httpx",
        "prometheus_client",
        "ray",
    ]
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
