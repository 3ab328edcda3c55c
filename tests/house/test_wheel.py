"""What a user gets: the wheel, installed into an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).with_name("uv"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    # Built from a copy: the build leaves folders behind.
    source = folder / "source"
    names = ["pyproject.toml", "README.md", "LICENSE", "functions", "shared"]
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in names), str(folder)], check=True)
    source.mkdir()
    for name in names:
        (folder / name).rename(source / name)
    subprocess.run([*command, "--out-dir", str(folder), str(source)], check=True)
    return next(folder.glob("*.whl"))


def test_no_generic_top_level_name_reaches_a_users_environment(wheel: Path) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"slipway"}


def test_the_wheel_is_whole(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {f"slipway/{path.relative_to(ROOT / 'shared' / 'slipway')}" for path in (ROOT / "shared").rglob("*.py")}
    sources |= {f"slipway/functions/{path.name}" for path in (ROOT / "functions").glob("*.py")}
    assert sources <= names
    assert "slipway/py.typed" in names


def test_an_installed_wheel_has_its_command_and_both_halves(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    install = [UV, "pip", "install", "--quiet", "--no-deps", "--python", str(python), str(wheel)]
    subprocess.run(install, check=True)
    code = "import slipway.functions.advance, slipway.wire, slipway; print(slipway.__file__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert str(tmp_path) in done.stdout
    assert (tmp_path / "env" / "bin" / "slipway").exists()
