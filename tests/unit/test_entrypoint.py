"""The file that a command runs: found where it can be known, and looked for in the source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway import entrypoint
from slipway.context import entries, read_ignore
from slipway.errors import NotFound, Permanent

Require = Callable[..., None]


@pytest.fixture
def require(tmp_path: Path) -> Require:
    for path in ("train.py", "src/eval.py", "run.sh", "hidden.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "code").symlink_to("src")
    (tmp_path / ".dockerignore").write_text("hidden.py\n")
    found = entries(tmp_path, read_ignore(tmp_path))
    return lambda command: entrypoint.require(command.split(), tmp_path, found)


@pytest.mark.parametrize(
    "command",
    [
        "python train.py",
        "python3.11 -u -W ignore train.py --lr 0.1",
        "python -OO src/eval.py",
        "python code/eval.py",
        "bash -x run.sh",
        "sh ./run.sh",
        "./run.sh",
        "/usr/bin/python3 train.py",
    ],
)
def test_a_file_that_is_there_passes(require: Require, command: str) -> None:
    require(command)


@pytest.mark.parametrize(
    "command",
    [
        "python -m missing",
        "python -um missing",
        "python -c pass",
        "python -",
        "python",
        "bash -c missing.sh",
        "bash -ec missing.sh",
        "torchrun --nproc-per-node 4 missing.py",
        "python /opt/missing.py",
        "/opt/missing.sh",
        "python ${script}",
    ],
)
def test_a_file_that_cannot_be_known_is_left_alone(require: Require, command: str) -> None:
    require(command)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("python trian.py", "'trian.py' not found.*Did you mean 'train.py'"),
        ("python3 -u eval.py", "'eval.py' not found.*Did you mean 'src/eval.py'"),
        ("bash scripts/run.sh", "'scripts/run.sh' not found.*Did you mean 'run.sh'"),
        ("./go.sh", "'./go.sh' not found"),
        ("python src", "'src' is not a file"),
        ("python hidden.py", r"'hidden.py' is left out by \.dockerignore.*!hidden.py"),
        ("python zzzzzzzz.py", "'zzzzzzzz.py' not found.*relative to the build context"),
    ],
)
def test_a_file_that_is_missing_is_named_with_a_way_out(require: Require, command: str, words: str) -> None:
    with pytest.raises(NotFound, match=words):
        require(command)


def test_a_file_outside_the_source_is_refused(require: Require) -> None:
    with pytest.raises(Permanent, match="leaves the source tree"):
        require("python ../train.py")


def test_the_folder_and_the_command_from_there() -> None:
    command = ("python", "-u", "jobs/a/train.py", "--data", "jobs/a/x")
    assert entrypoint.folder(command) == PurePosixPath("jobs/a")
    assert entrypoint.relative_to(command, entrypoint.folder(command)) == (
        "python",
        "-u",
        "train.py",
        "--data",
        "jobs/a/x",
    )


def test_a_program_is_still_found_without_path() -> None:
    assert entrypoint.relative_to(("jobs/run.sh", "fast"), PurePosixPath("jobs")) == ("./run.sh", "fast")


@given(st.lists(st.sampled_from(["python", "bash", "-u", "-m", "-W", "train.py", "a/b.py", "", "-"]), max_size=5))
def test_a_command_is_never_lengthened_or_reordered(words: list[str]) -> None:
    moved = entrypoint.relative_to(words, entrypoint.folder(words))
    assert [PurePosixPath(word).name for word in moved] == [PurePosixPath(word).name for word in words]
