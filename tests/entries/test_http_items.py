"""Items over HTTP."""

from __future__ import annotations

import pytest
from tests.entries.http_api import IMAGE, Api, error_of
from tests.functions.world import LAUNCH, REPOSITORY

from slipway.model import RunPhase, State, Topic
from slipway.step import run_of
from slipway.web.schemas import Explained, ImageView, ItemPage, ItemView


@pytest.fixture
def api() -> Api:
    api = Api()
    api.put_queue()
    return api


def test_a_launch_spec_becomes_an_item_that_runs(api: Api) -> None:
    """S20: a pre-built image."""
    answer = api.ask("POST", "/v1/items", {"entity": "team", **IMAGE, "name": "première"})
    assert answer.status_code == 201
    item = answer.json()
    assert answer.headers["Location"] == f"/v1/items/{item['id']}"
    assert (item["state"], item["name"], item["image"]) == ("pending", "première", "img")
    api.world.deliver_all()
    shown = api.ask("GET", f"/v1/items/{item['id']}").json()
    assert [moment["state"] for moment in shown["timeline"]] == ["pending", "starting", "running"]
    ItemView.model_validate(shown)


def test_everything_wrong_with_a_launch_spec_is_told_at_once(api: Api) -> None:
    answer = api.ask("POST", "/v1/items", {"projet": "digits", "entity": "team", "priority": 9})
    assert answer.status_code == 422
    error = error_of(answer)
    assert error["kind"] == "invalid"
    assert {"projet", "project", "queue", "priority", "uri"} <= {problem["field"] for problem in error["problems"]}
    unknown = next(problem for problem in error["problems"] if problem["field"] == "projet")
    assert unknown["fix"] == "Did you mean 'project'?"


def test_a_template_variable_out_of_range_names_field_value_and_rule(api: Api) -> None:
    """S4: only inside the limits."""
    variables = {"n": {"schema": {"type": "integer", "default": 3, "maximum": 8}}}
    api.put_queue(name="limited", config={"env": ["N={{n}}"]}, template_variables=variables)
    spec = {"entity": "team", **IMAGE, "queue": "limited", "template_variables": {"n": 99}}
    problem = error_of(api.ask("POST", "/v1/items", spec))["problems"][0]
    assert (problem["field"], problem["value"]) == ("template_variables.n", 99)
    assert "8" in problem["rule"]


def test_the_same_idempotency_key_gives_the_same_item(api: Api) -> None:
    answers = [
        api.ask("POST", "/v1/items", {"entity": "team", **IMAGE}, headers={"Idempotency-Key": key})
        for key in ("one", "one", "two")
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 201]
    first, again, other = (answer.json()["id"] for answer in answers)
    assert first == again != other


def test_an_idempotency_key_that_the_spec_contradicts_is_refused(api: Api) -> None:
    spec = {"entity": "team", **IMAGE, "idempotency_key": "one"}
    answer = api.ask("POST", "/v1/items", spec, headers={"Idempotency-Key": "two"})
    assert (answer.status_code, error_of(answer)["problems"][0]["field"]) == (422, "idempotency_key")


def test_a_listing_gives_every_item_once_page_by_page_newest_first(api: Api) -> None:
    ids = [api.submit() for _ in range(5)]
    seen: list[str] = []
    before = None
    for _ in range(3):
        query = "limit=2" + (f"&before={before}" if before else "")
        page = api.ask("GET", f"/v1/items?{query}").json()
        ItemPage.model_validate(page)
        seen += [item["id"] for item in page["items"]]
        before = page["next"]
    assert before is None
    assert seen == ids[::-1]


def test_a_page_that_ends_with_the_last_item_has_no_next(api: Api) -> None:
    for _ in range(2):
        api.submit()
    assert api.ask("GET", "/v1/items?limit=2").json()["next"] is None


def test_a_listing_is_filtered_by_queue_and_states(api: Api) -> None:
    api.put_queue(name="cpu")
    running, elsewhere = api.submit(), api.submit(queue="cpu")
    api.world.deliver_all()
    waiting = api.submit()
    ended = api.submit()
    api.ask("POST", f"/v1/items/{ended}/cancel")

    def ids(query: str) -> list[str]:
        return [item["id"] for item in api.ask("GET", f"/v1/items?{query}").json()["items"]]

    assert ids("queue=cpu") == [elsewhere]
    assert ids("queue=gpu&state=running&state=pending") == [waiting, running]
    assert ids("state=stopped") == [ended]


@pytest.mark.parametrize(
    ("query", "field"), [("state=runing", "state"), ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit")]
)
def test_a_bad_query_names_the_parameter(api: Api, query: str, field: str) -> None:
    answer = api.ask("GET", f"/v1/items?{query}")
    assert (answer.status_code, error_of(answer)["problems"][0]["field"]) == (422, field)


def test_an_item_is_explained_in_one_sentence(api: Api) -> None:
    for _ in range(2):
        api.submit(name="busy")
    api.world.deliver_all()
    item = api.submit()
    answer = api.ask("GET", f"/v1/items/{item}/explain").json()
    Explained.model_validate(answer)
    assert "busy" in answer["sentence"]
    assert answer["facts"]["max_jobs"] == 2


def test_an_explanation_says_when_no_worker_is_up() -> None:
    api = Api(options={"workers": lambda: False})
    api.put_queue()
    assert "no worker is up" in api.ask("GET", f"/v1/items/{api.submit()}/explain").json()["sentence"]


def test_an_image_is_explained_with_and_without_its_files(api: Api) -> None:
    """S11."""
    api.put_queue(name="docker", builder={"type": "docker", "build-args": {"API_TOKEN": "hush", "COLOUR": "red"}})
    spec = {**LAUNCH, "queue": "docker", "uri": REPOSITORY, "overrides": {"entry_point": ["python", "train.py"]}}
    item = api.ask("POST", "/v1/items", spec).json()["id"]
    early = api.ask("GET", f"/v1/items/{item}/image")
    assert (early.status_code, "not resolved yet" in error_of(early)["message"]) == (422, True)
    api.world.deliver_all()
    told = api.ask("GET", f"/v1/items/{item}/image").json()
    ImageView.model_validate(told)
    assert told["source_hash"] == api.ask("GET", f"/v1/items/{item}").json()["source_hash"]
    assert (told["reproduced"], told["files"], told["file_count"]) == (True, None, 2)
    assert told["build_args"] == {"API_TOKEN": "********", "COLOUR": "red"}
    whole = api.ask("GET", f"/v1/items/{item}/image?files=true").json()
    ImageView.model_validate(whole)
    assert [file["path"] for file in whole["files"]] == ["requirements.txt", "train.py"]


def test_the_image_of_an_item_is_its_entitys_own(api: Api) -> None:
    item = api.submit()
    assert api.ask("GET", f"/v1/items/{item}/image", key=api.new_key("other")).status_code == 404
    answer = api.ask("GET", f"/v1/items/{item}/image", key=api.new_key("team"))
    assert (answer.status_code, "not made by Slipway" in error_of(answer)["message"]) == (422, True)


def test_a_running_item_is_cancelled(api: Api) -> None:
    item = api.submit()
    api.world.deliver_all()
    assert api.ask("POST", f"/v1/items/{item}/cancel").json()["desired"] == "stop"
    stored = api.world.store.item(item)
    assert stored is not None
    assert api.world.target.status(run_of(stored)).phase is RunPhase.STOPPED


def test_an_item_that_is_over_can_be_tried_again(api: Api) -> None:
    item = api.submit()
    early = api.ask("POST", f"/v1/items/{item}/retry")
    assert (early.status_code, error_of(early)["kind"]) == (422, "invalid")
    api.ask("POST", f"/v1/items/{item}/cancel")
    again = api.ask("POST", f"/v1/items/{item}/retry")
    assert again.status_code == 201
    assert again.json()["retry_of"] == item
    assert again.json()["id"] != item


def test_a_waiting_item_is_moved_up(api: Api) -> None:
    """S2: priority first, then age."""
    api.put_queue(name="ranked", prioritization=True, max_jobs=1)
    api.submit(queue="ranked")
    api.world.deliver_all()
    first, second = (api.submit(queue="ranked", priority=2) for _ in range(2))
    assert api.ask("PATCH", f"/v1/items/{second}", {"priority": 0}).json()["priority"] == 0
    assert "next in line" in api.ask("GET", f"/v1/items/{second}/explain").json()["sentence"].lower()
    assert "2nd in line" in api.ask("GET", f"/v1/items/{first}/explain").json()["sentence"]


@pytest.mark.parametrize("document", [{}, {"priority": 4}, {"priority": True}, {"priority": "high"}, {"prio": 1}])
def test_a_bad_priority_is_refused(api: Api, document: dict[str, object]) -> None:
    api.put_queue(name="ranked", prioritization=True)
    item = api.submit(queue="ranked")
    assert api.ask("PATCH", f"/v1/items/{item}", document).status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/explain"),
        ("GET", "/image"),
        ("GET", "/logs"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("PATCH", ""),
    ],
)
def test_an_unknown_item_is_not_found(api: Api, method: str, path: str) -> None:
    answer = api.ask(method, f"/v1/items/nothing{path}", {"priority": 1} if method == "PATCH" else None)
    assert (answer.status_code, error_of(answer)["kind"]) == (404, "not_found")


def test_secrets_in_a_submission_are_masked(api: Api) -> None:
    spec = {"entity": "team", **IMAGE, "overrides": {"args": ["--api-key", "hush"], "run_config": {"password": "hush"}}}
    item = api.ask("POST", "/v1/items", spec).json()
    assert "hush" not in str(item)
    assert item["submission"]["overrides"]["args"] == ["--api-key", "********"]


def test_metrics_that_json_lacks_are_shown_as_text(api: Api) -> None:
    item = api.submit()
    api.world.deliver_all()
    stored = api.world.store.item(item)
    assert stored is not None
    api.world.end(stored, metrics={"loss": float("nan"), "accuracy": 0.5})
    api.world.ports.bus.send(Topic.ADVANCE, item)
    api.world.deliver_all()
    shown = api.ask("GET", f"/v1/items/{item}").json()
    assert shown["state"] == State.FINISHED
    assert shown["metrics"] == {"loss": "NaN", "accuracy": 0.5}
