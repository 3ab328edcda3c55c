"""What a user gets: the wheel, installed into an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


OTHER_CLOUDS = ("google", "gcloud", "grpc", "azure", "msal", "kubernetes", "functions-framework")
"""How the names of packages begin that have no business on AWS."""


def test_what_aws_needs_pulls_in_no_package_of_another_cloud(wheel: Path) -> None:
    """C10: each cloud deploys alone, with none of the others' dependencies."""
    names = brought_by(wheel, "aws")
    assert {"boto3", "aws-lambda-powertools", "fastapi"} <= names
    assert {name for name in names if name.startswith(OTHER_CLOUDS)} == set()


def test_a_machine_without_aws_gets_none_of_its_sdk(wheel: Path) -> None:
    assert {name for name in brought_by(wheel) if name.startswith(("boto", "aws"))} == set()


def brought_by(wheel: Path, extra: str = "") -> set[str]:
    """The packages that installing the wheel with an extra brings: its own requirements, and theirs, as they are
    installed here."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        wanted = Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist", [])
    found: set[str] = set()
    left = [(Requirement(text), extra) for text in wanted]
    while left:
        requirement, asked = left.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": asked}):
            continue
        if name in found and not requirement.extras:
            continue
        found.add(name)
        try:
            theirs = requires(name) or []
        except PackageNotFoundError:
            continue  # for another platform
        left += [(Requirement(text), each) for text in theirs for each in ("", *requirement.extras)]
    return found
