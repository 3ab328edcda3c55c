"""What is given to `docker run`, held against the options that the docker command itself documents (S19)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest
from tests import services
from tests.schemas.planned import EXAMPLES, IMAGE, example, planned, printed

from slipway.guardrails import DOCKER_OPTIONS
from slipway.render import docker

pytestmark = pytest.mark.docker

Options = dict[str, bool]
"""An option with its dashes, and whether a value follows it."""
_LINE = re.compile(r" {2,6}(?:(-\w), )?(--[a-z0-9-]+)(?: ([a-z0-9-]+))?(?:  .*)?")
MORE = {
    **{"label": ["team=vision", "x=y"], "init": True, "t": True, "tty": False, "shm-size": "8g", "cpus": 1.5},
    **{"ulimit": ["nofile=1024:2048"], "w": "/job", "p": ["8080:80"], "privileged": False, "memory": "4g"},
    **{"env": {"A": 1, "B": None}},
}
COMMAND = {"overrides": {"entry_point": ["python", "train.py"], "args": ["--epochs", "3"]}}


@pytest.fixture(scope="module")
def options() -> Options:
    """Of `docker run --help`, which needs no engine."""
    command = services.program("docker")
    told = subprocess.run([command, "run", "--help"], capture_output=True, text=True, check=True, timeout=30).stdout
    found: Options = {}
    for line in told.splitlines():
        if line.startswith(("  -", "      --")):
            match = _LINE.fullmatch(line)
            assert match, line
            short, long, kind = match.groups()
            found |= {name: kind is not None for name in (short, long) if name}
    assert len(found) > 80
    return found


def read(words: Sequence[str], options: Options) -> tuple[list[tuple[str, str | None]], list[str]]:
    """The options and their values, and from the image on the rest: as the command's own parser reads them. A word that
    it does not document is an error."""
    assert words[:2] == ["docker", "run"]
    rest, found = list(words[2:]), []
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).partition("=")
        assert name in options, f"{name} is no option of docker run"
        found.append((name, value if equals else rest.pop(0) if options[name] else None))
    return found, rest


def test_the_documented_example_is_options_that_docker_documents(
    options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    """S19: the example as it is, from the command line."""
    words = printed(EXAMPLES / "docker.json", "local-container", capsys)["body"]
    found, rest = read(words, options)
    assert rest == [IMAGE]
    theirs = [
        ("--env", "MY_ENV_VAR=value"),
        ("--env", "MY_EXISTING_ENV_VAR"),
        ("--volume", "/mnt/datasets:/mnt/datasets"),
        ("--gpus", "all"),
    ]
    assert [each for each in found if each in theirs] == theirs


@pytest.mark.parametrize(
    ("config", "spec", "rest"),
    [
        (example("docker.json"), COMMAND, [IMAGE, "train.py", "--epochs", "3"]),
        (MORE, {"overrides": {"args": ["--rm", "-x"]}}, [IMAGE, "--rm", "-x"]),
    ],
)
def test_nothing_but_documented_options_stands_before_the_image(
    config: dict[str, Any], spec: dict[str, Any], rest: list[str], options: Options
) -> None:
    """S19."""
    assert read(planned("local-container", config, spec)["body"], options)[1] == rest


def test_a_flag_is_what_docker_gives_no_value(options: Options) -> None:
    """S19: where the two lists differ, a value would be read as the image."""
    ours = {name if name.startswith("-") else docker._dashed(name) for name in docker._FLAGS}
    flags = {name for name, valued in options.items() if not valued}
    reserved = {docker._dashed(name) for name in docker._RESERVED}
    assert flags - ours - reserved == set()
    assert {name for name in ours if options.get(name)} == set()


def test_what_a_submitter_may_set_is_what_docker_documents(options: Options) -> None:
    """Without `command` and `cpu`, which W&B's agent lists and docker has not."""
    assert {docker._dashed(name) for name in DOCKER_OPTIONS} - options.keys() == {"--command", "--cpu"}


def test_an_option_that_docker_does_not_have_is_found(options: Options) -> None:
    words = planned("local-container", {"gpu": "all"})["body"]
    with pytest.raises(AssertionError, match="--gpu is no option"):
        read(words, options)
