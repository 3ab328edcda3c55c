"""Queues over HTTP."""

from __future__ import annotations

import pytest
from tests.entries.http_api import IMAGE, QUEUE, Api, error_of

from slipway.web.schemas import QueueFile, QueueList

YAML = """\
resource: local-process
max_jobs: 3
config:
  env: [MODE=größe]
"""


def test_a_queue_is_created_then_the_same_then_replaced() -> None:
    api = Api()
    answers = [api.ask("PUT", "/v1/queues/team/gpu", {**QUEUE, "max_jobs": most}) for most in (2, 2, 3)]
    assert [answer.status_code for answer in answers] == [201, 200, 200]
    assert [answer.headers["Slipway-Changed"] for answer in answers] == ["true", "false", "true"]
    assert api.ask("GET", "/v1/queues/team/gpu").json()["max_jobs"] == 3


def test_a_queue_file_may_be_yaml() -> None:
    """S1: a config in JSON or YAML."""
    api = Api()
    answer = api.ask("PUT", "/v1/queues/team/gpu", content=YAML.encode(), headers={"Content-Type": "application/yaml"})
    assert answer.status_code == 201
    assert answer.json()["resource_args"] == {"local-process": {"env": ["MODE=größe"]}}


def test_what_is_shown_can_be_applied_again_and_changes_nothing() -> None:
    api = Api()
    variables = {"n": {"schema": {"type": "integer", "default": 3, "minimum": 1}}}
    api.put_queue(config={"env": ["N={{n}}"]}, template_variables=variables)
    shown = api.ask("GET", "/v1/queues/team/gpu").json()
    again = api.ask("PUT", "/v1/queues/team/gpu", shown)
    assert (again.status_code, again.headers["Slipway-Changed"]) == (200, "false")
    QueueFile.model_validate(shown)


@pytest.mark.parametrize(("field", "given"), [("name", "other"), ("entity", "other")])
def test_a_file_that_names_another_queue_than_the_path_is_refused(field: str, given: str) -> None:
    answer = Api().ask("PUT", "/v1/queues/team/gpu", {**QUEUE, field: given})
    assert answer.status_code == 422
    assert error_of(answer)["problems"][0]["field"] == field


def test_queues_are_listed_per_entity() -> None:
    api = Api()
    for entity, name in (("team", "b"), ("team", "a"), ("other", "c")):
        api.put_queue(entity, name)
    names = {
        query: [queue["name"] for queue in api.ask("GET", f"/v1/queues{query}").json()["queues"]]
        for query in ("", "?entity=team")
    }
    assert names == {"": ["c", "a", "b"], "?entity=team": ["a", "b"]}
    QueueList.model_validate(api.ask("GET", "/v1/queues").json())


def test_a_draining_queue_takes_no_submission_until_it_is_resumed() -> None:
    api = Api()
    api.put_queue()
    assert api.ask("POST", "/v1/queues/team/gpu/drain").json()["draining"] is True
    refused = api.ask("POST", "/v1/items", {"entity": "team", **IMAGE})
    (problem,) = error_of(refused)["problems"]
    assert (problem["field"], problem["rule"]) == ("queue", "is being drained: it takes no more submissions")
    assert api.ask("POST", "/v1/queues/team/gpu/resume").json()["draining"] is False
    assert api.submit()


def test_a_paused_queue_starts_nothing_until_it_is_resumed() -> None:
    api = Api()
    api.put_queue()
    assert api.ask("POST", "/v1/queues/team/gpu/pause").json()["paused"] is True
    item = api.submit()
    api.world.deliver_all()
    assert api.ask("GET", f"/v1/items/{item}").json()["state"] == "pending"
    assert api.ask("POST", "/v1/queues/team/gpu/resume").json()["paused"] is False
    api.world.deliver_all()
    assert api.ask("GET", f"/v1/items/{item}").json()["state"] == "running"


def test_a_queue_with_live_items_is_not_deleted() -> None:
    api = Api()
    api.put_queue()
    item = api.submit()
    refused = api.ask("DELETE", "/v1/queues/team/gpu")
    assert refused.status_code == 422
    assert item in error_of(refused)["message"]
    api.ask("POST", f"/v1/items/{item}/cancel")
    assert api.ask("DELETE", "/v1/queues/team/gpu").status_code == 204
    assert api.ask("GET", "/v1/queues/team/gpu").status_code == 404


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume")])
def test_an_unknown_queue_is_not_found_and_the_nearest_is_named(method: str, path: str) -> None:
    api = Api()
    api.put_queue(name="gpu")
    answer = api.ask(method, f"/v1/queues/team/gpus{path}")
    assert answer.status_code == 404
    assert error_of(answer)["kind"] == "not_found"
    assert "Did you mean 'gpu'?" in error_of(answer)["message"]


def test_a_config_of_300_kb_is_taken() -> None:
    api = Api()
    api.put_queue(config={"env": [f"V{index}={'x' * 1000}" for index in range(300)]})
    assert len(api.ask("GET", "/v1/queues/team/gpu").content) > 300_000
