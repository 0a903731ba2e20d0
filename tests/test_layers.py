"""The packages and folders depend on each other in one direction, and what must start fast does not load torch."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = "search", "objectives", "storage"
#: The folders and modules of `search`, the lowest first; each imports from lower ones alone, the lowest also beside it.
LEVELS = (
    {"errors", "files", "logs", "templates"},
    {"spec"},
    {"ask"},
    {"query"},
    {"train", "answer"},
    {"serve"},
    {"client"},
    {"cli"},
)
MOST_MODULES = 12  # of a folder
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for package in PACKAGES
    for file in (ROOT / package).rglob("*.py")
}


def imports(module: str) -> set[str]:
    """Every module that one imports, anywhere in it; of ours the modules, of others what is written."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, f"{module} imports by a relative name"
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= named & MODULES.keys() or {node.module}
    return found - {module}


def level(module: str) -> int:
    """That of a module of `search`."""
    part = module.split(".")[1]
    return next(i for i, parts in enumerate(LEVELS) if part in parts)


def test_every_part_of_search_has_a_level() -> None:
    """A new folder has to say where it belongs."""
    assert {name.split(".")[1] for name in MODULES if name.startswith("search.")} == set().union(*LEVELS)


@pytest.mark.parametrize("part", sorted(set().union(*LEVELS)))
def test_no_import_leads_up_or_to_the_side(part: str) -> None:
    """What a part of `search` imports from another, lazily too, is below it; of the lowest, beside it."""
    own = [name for name in MODULES if name.split(".")[:2] == ["search", part]]
    assert own
    arrows = [(name, other) for name in own for other in imports(name) if other.startswith("search.")]
    others = [(name, other) for name, other in arrows if other.split(".")[1] != part]
    assert [(name, other) for name, other in others if level(other) >= max(level(name), 1)] == []


@pytest.mark.parametrize(
    ("package", "strange"),
    [("objectives", {"storage", "search", "optuna", "sqlalchemy"}), ("storage", {"objectives", "search", "torch"})],
)
def test_lower_packages_know_nothing_of_higher_ones(package: str, strange: set[str]) -> None:
    """`objectives` and `storage` import neither each other nor `search`."""
    own = [name for name in MODULES if name.split(".")[0] == package]
    assert own
    assert [(name, other) for name in own for other in imports(name) if other.split(".")[0] in strange] == []


def test_no_imports_go_in_a_circle() -> None:
    """Among all modules, with what is imported lazily."""
    graphlib.TopologicalSorter({name: imports(name) & MODULES.keys() for name in MODULES}).prepare()


def test_nothing_imports_the_command_line() -> None:
    """The composition root is at the top."""
    assert [name for name in MODULES if "search.cli.main" in imports(name)] == []


@pytest.mark.parametrize("folder", sorted({str(file.parent.relative_to(ROOT)) for file in MODULES.values()}))
def test_a_folder_can_be_overlooked(folder: str) -> None:
    """It holds no more than MOST_MODULES."""
    assert sum(file.name != "__init__.py" for file in (ROOT / folder).glob("*.py")) <= MOST_MODULES


@pytest.mark.parametrize("module", ["search.cli.main", "search.query.runs", "search.spec.study_spec"])
def test_queries_and_help_start_without_what_is_heavy(module: str) -> None:
    """Importing what answers questions loads neither what trains, nor what draws, nor what serves."""
    heavy = {"torch", "optuna", "plotly", "pandas", "fastapi", "starlette", "uvicorn", "httpx", "prometheus_client"}
    code = f"import sys, {module}; print(sorted({heavy | {'ray'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
