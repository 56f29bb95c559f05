"""Imports point down, and the light parts stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import radfoundry
from radfoundry.cli.main import COMMANDS

PACKAGE = Path(radfoundry.__file__).parent
# A module may import from its own level or from those below it.
LEVELS = [
    {"types", "errors", "registry", "optional", "engines", "table_files", "yaml_files"},
    {"io", "preprocess", "evaluate", "cohort", "cohort_columns", "cohort_files"}
    | {"splits", "predictions", "table_one"},
    {"encoders", "datasets", "radiomics", "text"},
    {"adapt", "series"},
    {"audit", "report", "plan", "monitor"},
    {"studies"},
    {"cli", "__main__"},
]


def _level(part: str) -> int:
    return next(index for index, parts in enumerate(LEVELS) if part in parts)


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "radfoundry":
                names = [f"radfoundry.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("radfoundry.")}
    return found - {"__version__"}


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_point_down(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    if relative.name == "__init__.py" and len(relative.parts) == 1:
        return
    own = relative.parts[0].removesuffix(".py")
    upward = {part for part in _imports(path) if _level(part) > _level(own)}
    assert not upward, f"{relative} reaches up to {sorted(upward)}"


LIGHT = [
    "radfoundry",
    "radfoundry.encoders",
    *(f"radfoundry.cli.{module}" for module, _, _ in COMMANDS.values()),
]


HEAVY = {"torch", "pandas", "sklearn", "matplotlib", "scipy", "transformers"}


def _runs_without(needless: set[str], code: str) -> str:
    """What the code prints in a process of its own, where it may load none of these modules."""
    checked = (
        f"import sys\n{code}\n"
        f"loaded = {needless!r} & set(sys.modules)\n"
        "sys.exit(f'needless imports: {sorted(loaded)}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", checked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    _runs_without(HEAVY, f"import {module}")


@pytest.mark.parametrize("words", [["--help"], ["encoders"]], ids=" ".join)
def test_first_words_load_neither_models_nor_arrays_nor_a_network(words: list[str]) -> None:
    """Each costs a tenth of the half second or more, and none is needed to print a table."""
    needless = HEAVY | {"urllib.request", "ssl", "numpy", "yaml", "multiprocessing"}
    code = f"from radfoundry.cli.main import main\nassert main({words!r}) == 0"
    assert _runs_without(needless, code).strip()
