"""Stages what a function of a cloud ships: its entry, the modules of Slipway that it can reach, and its libraries.

usage: python -m tools.stage CLOUD OUT [FUNCTION]      (make stage CLOUD=aws OUT=dir [FUNCTION=name])

With FUNCTION its files are put into OUT, as `sam build` wants them; without, OUT gets a folder and a zip for each. The
same source gives the same files and the same zip, whenever and wherever it is staged by Python 3.11.

Bytecode is shipped: Lambda cannot write any where the code is, and would compile all of it anew at every cold start,
which is half of the CPU of a start of `submit`. Its files carry no time and are not checked against their source; a
Python of another version passes them by.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.closure import closure

ROOT = Path(__file__).parents[1]
PACKAGE = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
BYTECODE_OF = (3, 11)
"""The runtime's Python."""
_NEVER = (1980, 1, 1, 0, 0, 0)
"""The time of every file in a zip: the first that a zip can tell."""
_JUNK = ("__pycache__", "test", "tests")
_JUNK_SUFFIXES = (".c", ".h", ".pxd", ".pyi", ".pyx")
"""Of files for compilers and type checkers."""
_OF_DISTRIBUTION = ("METADATA", "entry_points.txt", "licenses", "LICENSE", "LICENSE.txt", "NOTICE", "top_level.txt")
"""What stays of a library's `.dist-info`; the rest tells how it came here."""


@dataclass(frozen=True)
class Function:
    lock: str
    """The lock file of its libraries, in requirements/, without its ending."""
    without: frozenset[str] = frozenset()
    """Modules that it imports in a case that it never meets."""


@dataclass(frozen=True)
class Cloud:
    entry: Path
    platform: str
    """As uv names it: for which libraries are chosen."""
    functions: Mapping[str, Function]


# Only `build` fetches a source, and `submit` where a plan wants it; the others send the item's id there.
_FETCHING = frozenset({"slipway.adapters.local.git", "slipway.adapters.local.archive"})
CLOUDS = {
    "aws": Cloud(
        ROOT / "sam" / "app.py",
        "x86_64-manylinux2014",
        {
            "submit": Function("aws-submit"),
            "advance": Function("aws-step", without=_FETCHING),
            "build": Function("aws-build"),
            "observe": Function("aws-step", without=_FETCHING),
            "tick": Function("aws-step", without=_FETCHING),
        },
    ),
}


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 3):
        print("usage: make stage CLOUD=aws OUT=dir [FUNCTION=name]", file=sys.stderr)
        return 2
    cloud, out, *functions = arguments
    if cloud not in CLOUDS:
        print(f"there is no cloud {cloud!r} to stage for; there is: {', '.join(CLOUDS)}", file=sys.stderr)
        return 2
    known = CLOUDS[cloud].functions
    if strange := [name for name in functions if name not in known]:
        print(f"{cloud} has no function {strange[0]!r}; it has: {', '.join(known)}", file=sys.stderr)
        return 2
    for name in functions or known:
        folder = Path(out) if functions else Path(out, name)
        try:
            files = stage(cloud, name, folder)
        except FileExistsError as error:
            print(error, file=sys.stderr)
            return 1
        with tempfile.TemporaryDirectory() as scratch:
            packed = Path(scratch, "code.zip") if functions else Path(out, f"{name}.zip")
            digest = pack(folder, packed)
            print(f"{name:10}{files:6} files {packed.stat().st_size / 1e6:6.1f} MB zipped  sha256 {digest[:16]}")
    return 0


def stage(cloud: str, name: str, folder: Path) -> int:
    """Puts the function's files into the folder, instead of what was staged there before. How many there are.

    Raises FileExistsError for a folder that holds anything else."""
    where, function = CLOUDS[cloud], CLOUDS[cloud].functions[name]
    if folder.exists() and any(folder.iterdir()) and not (folder / where.entry.name).exists():
        raise FileExistsError(f"{folder} holds something else than a staged function, and is left as it is")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _add_libraries(ROOT / "requirements" / f"{function.lock}.lock", where.platform, folder)
    shutil.copyfile(where.entry, folder / where.entry.name)
    _add_modules(closure(where.entry, name, source_of, function.without), folder)
    _compile(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
    return len(files)


def pack(folder: Path, into: Path) -> str:
    """Zips a folder, and returns the SHA-256 (hex) of the zip: the same for the same files."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _NEVER)
            member.external_attr = path.stat().st_mode << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, path.read_bytes())
    return hashlib.sha256(into.read_bytes()).hexdigest()


def source_of(module: str) -> Path | None:
    """The file of a module of Slipway. functions/ is one of its packages, so the project file says where each lies."""
    folders = PACKAGE["package-dir"]
    package = max((each for each in folders if f"{module}.".startswith(f"{each}.")), key=len, default=None)
    if package is None:
        return None
    path = ROOT.joinpath(folders[package], *module.removeprefix(package).split("."))
    return next((each for each in (path / "__init__.py", path.with_suffix(".py")) if each.is_file()), None)


def _add_modules(modules: Mapping[str, Path], folder: Path) -> None:
    """The files that are no code go with the modules of their folder."""
    for name, path in modules.items():
        target = folder.joinpath(*name.split("."))
        target = target / path.name if path.name == "__init__.py" else target.with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for package, patterns in PACKAGE["package-data"].items():
        root = ROOT / PACKAGE["package-dir"][package]
        for path in sorted(path for pattern in patterns for path in root.glob(pattern)):
            target = folder.joinpath(package, path.relative_to(root))
            if target.parent.is_dir() and path.name != "py.typed":
                shutil.copyfile(path, target)


def _add_libraries(lock: Path, platform: str, folder: Path) -> None:
    """What the lock file names and nothing else, as wheels: nothing of it is run here."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [
            *(uv, "pip", "install", "--quiet", "--target", folder, "--link-mode", "copy", "--no-deps"),
            *("--require-hashes", "--only-binary", ":all:", "--python-platform", platform),
            *("--python-version", ".".join(map(str, BYTECODE_OF)), "--requirements", lock),
        ],
        check=True,
    )
    for path in list(_junk(folder)):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _junk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        of_distribution = path.parent.suffix == ".dist-info" and path.name not in _OF_DISTRIBUTION
        for_tools = path.name.endswith("-stubs") or path.suffix in _JUNK_SUFFIXES
        if path.exists() and (path.name in _JUNK or for_tools or of_distribution):
            yield path
    # Programs, and the installer's own notes.
    yield from (path for path in (folder / "bin", *folder.glob(".*")) if path.exists())


def _compile(folder: Path) -> None:
    """In a process of its own, one file after the other: what else was compiled before must not show."""
    if sys.version_info[:2] != BYTECODE_OF:
        wanted = ".".join(map(str, BYTECODE_OF))
        print(f"no bytecode is shipped, as this is not Python {wanted}: cold starts will be slower", file=sys.stderr)
        return
    subprocess.run(
        [
            *(sys.executable, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"),
            *("-s", str(folder), "-p", "/var/task", str(folder)),
        ],
        check=True,
        env={"PYTHONHASHSEED": "0"},
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
