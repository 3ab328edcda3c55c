"""A submission with five mistakes reports five: each with its path, its value, the rule and the way out, over HTTP and
on the command line, and no secret among the values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.entries.http_api import Api, error_of

from slipway.cli import failure
from slipway.cli.main import main
from slipway.web.schemas import ErrorView

GOOD: dict[str, Any] = {"entity": "team", "project": "digits", "queue": "gpu", "docker": {"docker_image": "img"}}
BAD_SPEC = {
    **{"entity": "team", "project": "digits", "queue": "gpu", "uri": "https://git.example.com/digits.git"},
    "priority": "urgent",
    "resource": "local-contaner",
    "base_image": "Python 3",
    "overrides": {"args": ["--lr", 0.1], "dockerfile": "../Dockerfile"},
}
"""Five mistakes in the launch spec itself."""
SPEC_PROBLEMS = {
    "priority": "urgent",
    "resource": "local-contaner",
    "base_image": "Python 3",
    "overrides.args[1]": 0.1,
    "overrides.dockerfile": "../Dockerfile",
}
QUEUE = {
    "resource": "local-container",
    "resource_args": {"cpus": "{{cpus}}", "memory": "{{memory}}g"},
    "template_variables": {
        "cpus": {"type": "integer", "default": 1, "maximum": 8},
        "memory": {"type": "number", "default": 1},
        "db_password": {"type": "integer", "default": 1},
    },
    "overridable_fields": ["shm-size", "env"],
}
BAD_VALUES = {
    **GOOD,
    "template_variables": {"cpus": 9, "memory": "much", "cpu": 1},
    "resource_args": {"shm-size": "${shm}", "memory": "9g"},
}
"""Five mistakes that only the queue shows."""
VALUES_PROBLEMS = {
    "template_variables.cpus": 9,
    "template_variables.memory": "much",
    "template_variables.cpu": None,
    "resource_args.shm-size": "${shm}",
    "resource_args.memory": None,
}
CASES = [(BAD_SPEC, SPEC_PROBLEMS), (BAD_VALUES, VALUES_PROBLEMS)]
SECRETS = {
    **GOOD,
    "docker": None,
    "uri": "https://user:hunter2@git.example.com/x.git",
    "_wandb_api_key": "hunter2",
    "resource_args": {"env": ["WANDB_API_KEY=hunter2"], "volume": "hunter2:/x"},
    "template_variables": {"db_password": "hunter2"},
    "passwords": {"a": "hunter2"},
    "overrides": {"run_config": 5, "api_key": "hunter2"},
}
LATE_SECRETS = {
    **GOOD,
    "resource_args": {"env": ["WANDB_API_KEY=hunter2"], "volume": "hunter2:/x"},
    "template_variables": {"db_password": "hunter2"},
}
"""The same, in places that are looked at once the queue is known."""


def five(problems: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert {problem["field"]: problem["value"] for problem in problems} == expected
    assert len(problems) == 5
    assert all(problem["rule"] for problem in problems)
    # What a variable may be is its rule, and needs no more words.
    assert all(problem["fix"] or problem["rule"].startswith("must be") for problem in problems)


@pytest.fixture
def api() -> Api:
    api = Api()
    answer = api.ask("PUT", "/v1/queues/team/gpu", QUEUE)
    assert answer.status_code == 201, answer.text
    return api


@pytest.mark.parametrize(("spec", "expected"), CASES)
@pytest.mark.parametrize("path", ["/v1/items", "/v1/plan"])
def test_five_mistakes_are_five_problems_over_http(api: Api, path: str, spec: Any, expected: Any) -> None:
    answer = api.ask("POST", path, spec)
    assert answer.status_code == 422
    ErrorView.model_validate(answer.json())
    five(error_of(answer)["problems"], expected)
    for field, value in expected.items():
        assert field in error_of(answer)["message"]
        assert value is None or str(value) in error_of(answer)["message"]


@pytest.mark.parametrize("path", ["/v1/items", "/v1/plan"])
def test_no_problem_over_http_echoes_a_secret(api: Api, path: str) -> None:
    answer = api.ask("POST", path, SECRETS)
    assert answer.status_code == 422
    assert len(error_of(answer)["problems"]) >= 4
    assert "hunter2" not in answer.text
    answer = api.ask("POST", path, LATE_SECRETS)
    assert {problem["field"] for problem in error_of(answer)["problems"]} >= {
        "resource_args.volume",
        "resource_args.env[0]",
        "template_variables.db_password",
    }
    assert "hunter2" not in answer.text


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_ENTITY", "team")
    for name in ("SLIPWAY_ENDPOINT", "SLIPWAY_API_KEY", "SLIPWAY_PROJECT", "SLIPWAY_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    Path("queue.yaml").write_text(yaml.safe_dump({"name": "gpu", **QUEUE}))
    assert run("queue", "apply", "queue.yaml")[0] == 0
    return run


COMMANDS = [
    ("submit", "-c"),
    ("plan", "--spec"),
    ("plan", "--queue-config", "queue.yaml", "--spec"),
]


@pytest.mark.parametrize(("spec", "expected"), CASES)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_five_mistakes_are_five_lines_on_the_command_line(
    run: Run, command: tuple[str, ...], spec: Any, expected: dict[str, Any]
) -> None:
    code, out, err = run(*command, json.dumps(spec), "-o", "json")
    assert (code, out) == (failure.REFUSED, "")
    five(json.loads(err)["error"]["problems"], expected)
    code, out, err = run(*command, json.dumps(spec), "-o", "table")
    assert (code, out) == (failure.REFUSED, "")
    lines = err.splitlines()
    assert len(lines) == 5
    for field, value in expected.items():
        (line,) = [line for line in lines if line.startswith(f"error: {field}: ")]
        assert value is None or f"(got {value!r})" in line


@pytest.mark.parametrize(
    ("spec", "field"), [(SECRETS, "_wandb_api_key"), (LATE_SECRETS, "template_variables.db_password")]
)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("output", ["json", "table"])
def test_no_problem_on_the_command_line_echoes_a_secret(
    run: Run, command: tuple[str, ...], output: str, spec: Any, field: str
) -> None:
    code, out, err = run(*command, json.dumps(spec), "-o", output)
    assert (code, out) == (failure.REFUSED, "")
    assert "hunter2" not in err
    assert field in err
