"""What CodeBuild is told to do, with a `docker` and an `aws` that write down how they were called."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.adapters.aws.buildspec import ATTEMPT, BUILDSPEC, IMAGE, REGION, SCRIPT, SCRIPT_NAME
from slipway.adapters.aws.ecr import CACHE_TAG

CALLED = """#!/bin/sh
printf '%s\\0' "${0##*/}" "$@" END >>"$CALLS"
case "$1 $2" in
"manifest inspect") for last; do :; done; case " $THERE " in *" $last "*) exit 0;; *) exit 1;; esac ;;
esac
case " $FAILS " in *" $1 "*) echo "$1 does not work" >&2; exit 7;; esac
[ "$1" != login ] || cat >/dev/null
"""
PUSHED = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/jobs"


def called(folder: Path, step: str, *, image: str = f"{PUSHED}:1", there: str = "", fails: str = "") -> list[list[str]]:
    """The calls that one step made. Raises CalledProcessError where the step fails."""
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    for name in ("docker", "aws"):
        (commands / name).write_text(CALLED)
        (commands / name).chmod(0o755)
    (folder / SCRIPT_NAME).write_text(SCRIPT)
    calls = folder / "calls"
    calls.write_bytes(b"")
    environment = {
        "PATH": f"{commands}:{os.environ['PATH']}",
        **{"CALLS": str(calls), "THERE": there, "FAILS": fails},
        **{IMAGE: image, ATTEMPT: "1", REGION: "eu-west-1"},
    }
    subprocess.run(["bash", SCRIPT_NAME, step], cwd=folder, env=environment, check=True, capture_output=True)
    told = calls.read_bytes().decode().removesuffix("\0").split("\0END\0")
    return [call.removesuffix("\0END").split("\0") for call in told if call and not call.startswith("docker\0manifest")]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """As CodeBuild leaves it before the first command."""
    with tarfile.open(tmp_path / "context.tar", "w"):
        """Empty."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "arguments").write_bytes(b"")
    return tmp_path


def test_it_is_a_buildspec_whose_commands_are_steps_of_the_script() -> None:
    spec = yaml.safe_load(BUILDSPEC)
    assert spec["version"] == 0.2
    assert all(phase["on-failure"] == "ABORT" for phase in spec["phases"].values())
    commands = [command for phase in spec["phases"].values() for command in phase["commands"]]
    assert commands == [f"bash {SCRIPT_NAME} {step}" for step in ("login", "build", "push")]


def test_it_logs_in_where_the_registry_is(source: Path) -> None:
    aws, docker = sorted(called(source, "login"))
    assert aws == ["aws", "ecr", "get-login-password", "--region", "eu-west-1"]
    assert docker == ["docker", "login", "--username", "AWS", "--password-stdin", PUSHED.partition("/")[0]]


def test_a_password_that_is_not_to_be_had_fails_the_login(source: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        called(source, "login", fails="ecr")


@settings(max_examples=20)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_every_argument_reaches_docker_as_it_is(values: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        with tarfile.open(source / "context.tar", "w"):
            """Empty."""
        given = [word for value in values for word in ("--build-arg", f"A={value}")]
        (source / "arguments").write_bytes("".join(f"{word}\0" for word in given).encode())
        (call,) = called(source, "build")
    assert call[: call.index("--build-arg")] == ["docker", "build", "--tag", f"{PUSHED}:1", "--file", "Dockerfile"]
    assert call[call.index("--build-arg") + 2 :] == [*given, "context"]


def test_a_cache_is_used_where_there_is_one(source: Path) -> None:
    (call,) = called(source, "build", there=f"{PUSHED}:{CACHE_TAG}")
    assert call[-3:] == ["--cache-from", f"{PUSHED}:{CACHE_TAG}", "context"]


def test_an_image_that_is_there_is_neither_built_nor_pushed(source: Path) -> None:
    assert called(source, "build", there=f"{PUSHED}:1") == []
    assert called(source, "push", there=f"{PUSHED}:1") == []


def test_a_build_that_fails_fails_the_step(source: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        called(source, "build", fails="build")
    assert failed.value.returncode == 7


def test_a_push_that_fails_fails_the_step(source: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        called(source, "push", fails="push")


def test_a_cache_that_cannot_be_kept_fails_nothing(source: Path) -> None:
    calls = called(source, "push", fails="tag")
    assert calls == [["docker", "push", f"{PUSHED}:1"], ["docker", "tag", f"{PUSHED}:1", f"{PUSHED}:{CACHE_TAG}"]]


def test_the_cache_lies_beside_the_image(source: Path) -> None:
    assert called(source, "push")[-1] == ["docker", "push", f"{PUSHED}:{CACHE_TAG}"]
