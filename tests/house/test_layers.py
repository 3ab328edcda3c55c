"""The rules of the house that import-linter cannot say."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "shared" / "slipway").glob("*.py"))
CORE_PACKAGES = ("render", "status")
FUNCTIONS = sorted((ROOT / "functions").glob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


WITHIN = sorted(path for name in CORE_PACKAGES for path in (ROOT / "shared" / "slipway" / name).glob("*.py"))


@pytest.mark.parametrize("path", [*CORE, *WITHIN, *FUNCTIONS], ids=lambda path: path.stem)
def test_the_core_and_the_functions_import_the_standard_library_alone(path: Path) -> None:
    strangers = {name for name in imports(path) if name.split(".")[0] not in {*sys.stdlib_module_names, "slipway"}}
    assert strangers == set()


def test_every_core_module_is_in_the_contract_that_keeps_it_alone() -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    (alone,) = [contract for contract in contracts if contract["name"].startswith("The core knows nobody")]
    modules = {f"slipway.{path.stem}" for path in CORE if path.stem != "__init__"}
    modules |= {f"slipway.{name}" for name in CORE_PACKAGES}
    assert modules == set(alone["source_modules"])


def test_every_package_is_shipped() -> None:
    folders = {ROOT / "functions": "slipway.functions", ROOT / "shared" / "slipway": "slipway"}
    packages = {
        ".".join([name, *init.parent.relative_to(folder).parts])
        for folder, name in folders.items()
        for init in folder.rglob("__init__.py")
    }
    assert packages == set(PYPROJECT["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_tests_neither_patch_nor_sleep(path: Path) -> None:
    names = set(imports(path))
    tree = ast.parse(path.read_text())
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not {name for name in names if name.startswith("unittest.mock")}
    assert not {name for name in called if name.endswith((".sleep", "mock.patch"))}


def test_modules_have_one_topic_and_say_it_first() -> None:
    shipped = [*FUNCTIONS, *(ROOT / "shared" / "slipway").rglob("*.py")]
    for path in shipped:
        text = path.read_text()
        if text.strip():
            assert ast.get_docstring(ast.parse(text)), f"{path} does not say why it exists"
        # The model is a list of nouns, and reads as one.
        assert len(text.splitlines()) <= 450 or path.name == "model.py", f"{path} has more than one topic"
        assert path.stem not in {"utils", "util", "helpers", "common", "misc"}


def test_every_dependency_carries_its_weight() -> None:
    lines = (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("]")[0].splitlines()
    named = [line for line in lines if line.strip().startswith('"')]
    assert named
    assert [line for line in named if " MB" not in line] == []


def test_the_lock_file_pins_everything_with_hashes_and_names_no_host() -> None:
    lock = (ROOT / "requirements" / "dev.lock").read_text()
    requirements = [line for line in lock.splitlines() if line and line[0] not in " #-"]
    assert requirements
    assert [line for line in requirements if "==" not in line] == []
    assert lock.count("--hash=sha256:") >= len(requirements)
    assert "://" not in lock
