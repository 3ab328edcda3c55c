"""`slipway image explain` as a person or a program meets it, over a Slipway in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml
from tests.entries.http_api import Api
from tests.functions.world import REPOSITORY, TREE

from slipway.cli import failure
from slipway.cli.client import Client
from slipway.cli.inprocess import InProcess
from slipway.cli.main import main
from slipway.render import with_secrets

CODE = {"uri": REPOSITORY, "overrides": {"entry_point": ["python", "train.py"]}, "docker": None}
PINNED = "python@sha256:" + "c" * 64
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def api() -> Api:
    api = Api(keyless=True)
    api.put_queue(name="docker", builder={"type": "docker", "build-args": {"API_TOKEN": "hush", "COLOUR": "red"}})
    api.put_queue(name="pinned", builder={"type": "docker", "base_image": PINNED, "platform": "linux/arm64"})
    api.put_queue(name="process")
    trees = api.world.sources.trees[REPOSITORY]
    trees["main"] = {**TREE, "requirements.txt": "numpy\n"}
    trees["next"] = {"train.py": "print('other')\n", "new.py": ""}
    return api


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    http = httpx.Client(transport=InProcess(api.app), base_url="http://localhost")
    monkeypatch.setattr("slipway.cli.client.connect", lambda *_, **__: Client(http, direct=True))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def built(api: Api) -> Callable[..., str]:
    """Submits code and has it built; the item's id."""

    def built(queue: str, version: str = "main") -> str:
        spec = {name: value for name, value in CODE.items() if value is not None}
        answer = api.ask(
            "POST",
            "/v1/items",
            {"entity": "team", "project": "digits", "queue": queue, "git": {"version": version}, **spec},
        )
        api.world.deliver_all()
        return str(answer.json()["id"])

    return built


def test_the_program_that_fetches_secrets_is_printed_as_it_is(run: Run) -> None:
    code, out, err = run("image", "with-secrets")
    assert (code, err) == (0, "")
    assert out == Path(with_secrets.__file__).read_text()


def test_all_inputs_are_listed(run: Run, built: Callable[..., str]) -> None:
    """S11."""
    item = built("docker")
    code, out, _ = run("image", "explain", item)
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert f"item {item}" in lines
    assert f"source {REPOSITORY}" in lines
    assert "builder docker" in lines
    assert "Dockerfile generated" in lines
    assert "build argument COLOUR=red" in lines
    assert "build argument API_TOKEN=********" in lines
    assert "platform the builder's own" in lines
    assert "user 1000:0" in lines
    assert "files 2, 21 bytes" in lines
    assert any(line.startswith("base image python:3") and "hashed as text" in line for line in lines)
    assert 'ENTRYPOINT ["python", "train.py"]' in lines
    assert "hush" not in out
    assert "SHA-256" not in out


def test_files_are_listed_with_their_digests_where_asked_for(run: Run, built: Callable[..., str]) -> None:
    code, out, _ = run("image", "explain", built("pinned"), "--files")
    assert code == 0
    assert "pinned by its digest" in out
    listed = [line.split() for line in out.partition("SHA-256")[2].splitlines()[1:]]
    assert [(len(words[0]), *words[1:]) for words in listed] == [
        (64, "file", "6", "requirements.txt"),
        (64, "file", "15", "train.py"),
    ]


def test_an_environment_is_explained_without_a_dockerfile(run: Run, built: Callable[..., str]) -> None:
    _, out, _ = run("image", "explain", built("process"))
    assert "none: a virtual environment" in out
    assert "FROM" not in out
    assert "user" not in out


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_the_document(
    run: Run, built: Callable[..., str], api: Api, form: str, read: Callable[[str], object]
) -> None:
    item = built("docker")
    assert read(run("image", "explain", item, "-o", form)[1]) == api.ask("GET", f"/v1/items/{item}/image").json()


def test_of_two_items_only_the_differences_are_told(run: Run, built: Callable[..., str]) -> None:
    """S11."""
    one, other = built("docker"), built("pinned", "next")
    code, out, _ = run("image", "explain", one, other)
    assert code == 0
    assert out.startswith("Not the same: they differ in base images, platform, build arguments, the Dockerfile's text")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert any(line.startswith("base images python:3") and line.endswith(f"→ {PINNED}") for line in lines)
    assert "platform (none) → linux/arm64" in lines
    assert "build argument COLOUR red → (none)" in lines
    assert "file added new.py" in lines
    assert "file removed requirements.txt" in lines
    assert any(line.startswith("file changed train.py ") for line in lines)
    assert f"+FROM {PINNED}" in lines
    assert not any(line.startswith(("user", "builder", "Python")) for line in lines)
    told = json.loads(run("image", "explain", one, other, "-o", "json")[1])
    assert told["fields"]["platform"] == [None, "linux/arm64"]
    assert told["files"]["added"] == ["new.py"]


def test_of_two_that_are_the_same_it_is_said_in_one_line(run: Run, built: Callable[..., str]) -> None:
    code, out, _ = run("image", "explain", built("docker"), built("docker"))
    assert code == 0
    assert out.startswith("The same: both have the source hash ")
    assert len(out.splitlines()) == 1


def test_inputs_that_are_not_those_of_the_image_are_warned_of(run: Run, built: Callable[..., str], api: Api) -> None:
    item = built("docker")
    stored = api.world.store.item(item)
    assert stored is not None
    api.world.store.save(stored.but(source_hash="0" * 24))
    _, out, _ = run("image", "explain", item)
    assert "warning" in out
    assert "another version of Slipway" in out
    code, out, _ = run("image", "explain", item, built("docker"))
    assert code == 0
    assert "two source hashes" in out
    assert f"{item}: the source hash of what is listed here" in out


def test_an_item_without_an_image_of_slipways_making_is_refused_with_the_cure(run: Run, api: Api) -> None:
    api.put_queue()
    code, out, err = run("image", "explain", api.submit())
    assert (code, out) == (failure.REFUSED, "")
    assert "docker image inspect img" in err
