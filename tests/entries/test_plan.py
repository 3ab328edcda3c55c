"""`POST /v1/plan` and `slipway plan`: what a submission would become, for whoever may submit it, and offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.entries.command_line import Run, command_line
from tests.entries.http_api import IMAGE, Api, error_of
from tests.functions.world import REPOSITORY

from slipway.cli import failure
from slipway.web.schemas import PlanView

SPEC = {"entity": "team", **IMAGE}
CODE = {"entity": "team", "project": "digits", "queue": "gpu", "uri": REPOSITORY, "entry_point": ["python", "train.py"]}

# --- HTTP


@pytest.fixture
def api() -> Api:
    api = Api()
    api.put_queue(config={"memory": "1g", "env": ["DB_PASSWORD=hunter2"]}, builder={"type": "docker"})
    return api


def test_a_plan_is_shown_and_nothing_is_stored(api: Api) -> None:
    answer = api.ask("POST", "/v1/plan", SPEC)
    assert answer.status_code == 200
    shown = PlanView.model_validate(answer.json())
    assert shown.payload.call == "docker run"
    assert "DB_PASSWORD=********" in shown.payload.body
    assert "hunter2" not in answer.text
    assert not api.world.store.items()
    assert not api.world.target.started


def test_a_source_is_fetched_unless_that_is_not_wanted(api: Api) -> None:
    fetched = api.ask("POST", "/v1/plan", CODE).json()["image"]
    assert (fetched["build"], len(fetched["source_hash"])) == (True, 24)
    unknown = api.ask("POST", "/v1/plan?fetch=false", CODE).json()["image"]
    assert (unknown["build"], unknown["reference"]) == (None, None)
    missing = api.ask("POST", "/v1/plan", {**CODE, "uri": "https://git.example.com/none.git"})
    assert (missing.status_code, error_of(missing)["kind"]) == (404, "not_found")
    assert api.ask("POST", "/v1/plan?fetch=maybe", CODE).status_code == 422


def test_a_paused_queue_is_planned_for_and_a_drained_one_is_not(api: Api) -> None:
    api.ask("POST", "/v1/queues/team/gpu/pause")
    assert api.ask("POST", "/v1/plan", SPEC).json()["line"]["paused"] is True
    api.ask("POST", "/v1/queues/team/gpu/drain")
    refused = api.ask("POST", "/v1/plan", SPEC)
    assert (refused.status_code, error_of(refused)["problems"][0]["field"]) == (422, "queue")


@pytest.mark.parametrize("fields", [{"entity": "theirs"}, {"entity": "ours", "queue_entity": "theirs"}])
@pytest.mark.parametrize("queue", ["gpu", "nothing"])
def test_another_entitys_queue_is_forbidden_whether_it_exists_or_not(fields: dict[str, str], queue: str) -> None:
    """S1: a plan shows a queue's config."""
    api = Api()
    for entity in ("ours", "theirs"):
        api.put_queue(entity)
    key = api.new_key("ours")
    answer = api.ask("POST", "/v1/plan", {**IMAGE, **fields, "queue": queue}, key=key)
    assert (answer.status_code, error_of(answer)["kind"]) == (403, "forbidden")
    assert api.ask("POST", "/v1/plan", IMAGE, key=key).json()["queue"]["entity"] == "ours"
    assert api.ask("POST", "/v1/plan", IMAGE, key=None).status_code == 401


def test_a_bad_submission_is_told_as_when_it_is_submitted(api: Api) -> None:
    bad = {**SPEC, "priority": 9, "resource_args": {"privileged": True}}
    planned, submitted = api.ask("POST", "/v1/plan", bad), api.ask("POST", "/v1/items", bad)
    assert planned.status_code == submitted.status_code == 422
    assert planned.json() == submitted.json()


# --- the command line


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """No data folder is there, and no server."""
    return command_line(tmp_path, monkeypatch, capsys, SLIPWAY_ENDPOINT="http://127.0.0.1:1")


def written(name: str, document: Any) -> str:
    Path(name).write_text(yaml.safe_dump(document))
    return name


MANIFEST = {"kind": "Job", "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "${image_uri}"}]}}}}
OFFLINE = {"project": "digits", "docker": {"docker_image": "img:1"}}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (MANIFEST, ("--resource", "kubernetes")),
        ({"kubernetes": MANIFEST}, ()),
        ({"resource_args": {"kubernetes": MANIFEST}}, ()),
        ({"name": "gpu", "resource": "kubernetes", "resource_args": {"kubernetes": MANIFEST}}, ()),
        ({"name": "gpu", "resource": "kubernetes", "config": MANIFEST}, ()),
    ],
)
def test_a_queue_config_in_any_of_its_forms_is_planned_without_a_server(
    run: Run, tmp_path: Path, config: Any, words: tuple[str, ...]
) -> None:
    """S1, S15."""
    told = run(
        "plan",
        "--queue-config",
        written("q.yaml", config),
        "--spec",
        written("s.yaml", OFFLINE),
        "--entity",
        "t",
        *words,
    )
    assert told.code == 0, told.err
    body = told.json["payload"]["body"]
    assert (body["kind"], body["metadata"]["namespace"]) == ("Job", "default")
    assert body["spec"]["template"]["spec"]["containers"][0]["image"] == "img:1"
    assert told.json["image"] == {"reference": "img:1", "build": False, "why": "the submission names it"}
    assert not (tmp_path / "home").exists()


def test_a_table_says_what_is_drawn_and_that_nothing_was_done(run: Run) -> None:
    config = {"name": "gpu", "resource": "local-container", "resource_args": {"privileged": True}}
    told = run(
        "plan",
        "--queue-config",
        written("q.yaml", config),
        "--spec",
        json.dumps({"entity": "t", **OFFLINE}),
        "-o",
        "table",
    )
    assert told.code == 0
    for words in ("t/gpu (local-container)", "docker run", "img:1", "resource_args.privileged"):
        assert words in told.out
    assert "Nothing was stored, built or started." in told.err


def test_variables_and_overrides_of_the_command_line_are_planned(run: Run) -> None:
    """S3, S4."""
    config = {
        "resource": "local-container",
        "resource_args": {"cpus": "{{cpus}}", "memory": "1g", "ulimit": "{{limits}}"},
        "template_variables": {
            "cpus": {"type": "integer", "default": 1, "maximum": 8},
            "limits": {"type": "array", "items": {"type": "string"}, "default": []},
        },
        "overridable_fields": ["memory"],
    }
    words = ("plan", "--queue-config", written("q.yaml", config), "--spec", json.dumps({"entity": "t", **OFFLINE}))
    told = run(
        *words, "-R", '{"local-container": {"memory": "4g"}}', "--set-var", "cpus=4", "--set-var", "limits=a=1,b=2"
    )
    body = told.json["payload"]["body"]
    for option, value in (("--cpus", "4"), ("--memory", "4g"), ("--ulimit", "a=1")):
        assert value == body[body.index(option) + 1]
    assert body.count("--ulimit") == 2
    refused = run(*words, "--set-var", "cpus=9")
    assert (refused.code, refused.out) == (failure.REFUSED, "")
    (problem,) = json.loads(refused.err)["error"]["problems"]
    assert (problem["field"], problem["value"], problem["rule"]) == (
        *("template_variables.cpus", 9, "must be at most 8"),
    )


def test_a_source_is_not_fetched_when_that_is_not_wanted(run: Run) -> None:
    config = written("q.yaml", {"resource": "local-container", "resource_args": {}})
    spec = json.dumps({"entity": "t", "project": "p", "uri": "https://127.0.0.1:1/none.git", "entry_point": ["a"]})
    told = run("plan", "--queue-config", config, "--spec", spec, "--no-fetch")
    assert told.code == 0, told.err
    assert told.json["image"]["build"] is None
    assert run("plan", "--queue-config", config, "--spec", spec).code != 0


@pytest.mark.parametrize(
    ("config", "spec", "field"),
    [
        (MANIFEST, OFFLINE, "resource"),
        ({"kubernetes": {"metadata": "x"}}, OFFLINE, "resource_args.metadata"),
        ({"kubernetes": {"spec": "{{x}}"}}, OFFLINE, "resource_args.kubernetes.spec"),
        ({"kubernetes": MANIFEST}, {"project": "p"}, "uri"),
        ({"kubernetes": MANIFEST}, {**OFFLINE, "resource_args": {"hostPath": 1}}, "resource_args.hostPath"),
    ],
)
def test_what_is_wrong_with_either_ends_with_3_and_its_field(run: Run, config: Any, spec: Any, field: str) -> None:
    words = ("--queue-config", written("q.yaml", config), "--spec", json.dumps({"entity": "t", **spec}))
    told = run("plan", *words)
    assert (told.code, told.out) == (failure.REFUSED, "")
    assert field in [problem["field"] for problem in json.loads(told.err)["error"]["problems"]]
    table = run("plan", *words, "-o", "table")
    assert table.code == failure.REFUSED
    assert f"error: {field}: " in table.err


def test_a_file_that_is_not_there_is_refused(run: Run) -> None:
    told = run("plan", "--queue-config", "none.yaml", "--spec", json.dumps(OFFLINE))
    assert (told.code, "--queue-config" in told.err) == (failure.REFUSED, True)


def test_no_secret_of_a_queue_config_is_printed_nor_told_of_in_an_error(run: Run) -> None:
    env = [{"name": "DB_PASSWORD", "value": "hunter2"}]
    good = pod(env=env)
    told = run("plan", "--queue-config", written("q.yaml", good), "--spec", json.dumps({"entity": "t", **OFFLINE}))
    assert told.code == 0
    assert "DB_PASSWORD" in told.out
    assert "hunter2" not in told.out
    for bad in ({"DB_PASSWORD": "hunter2"}, ["DB_PASSWORD=hunter2"], [{"name": "DB_PASSWORD", "value": 4242}]):
        for output in ("json", "table"):
            refused = run(
                *("plan", "--queue-config", written("q.yaml", pod(env=bad)), "-o", output),
                *("--spec", json.dumps({"entity": "t", **OFFLINE})),
            )
            assert refused.code == failure.REFUSED
            assert "hunter2" not in refused.err
            assert "4242" not in refused.err


def pod(**container: Any) -> dict[str, Any]:
    return {"kubernetes": {"spec": {"template": {"spec": {"containers": [{"name": "main", **container}]}}}}}
