"""Health, status, and what the API says about itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from tests.entries.http_api import Api, error_of

from slipway.errors import Temporary
from slipway.model import Topic
from slipway.web.schemas import LaunchSpec, QueueFile, Ready, Status


def test_liveness_needs_no_key_and_asks_nobody() -> None:
    api = Api()

    def crowded() -> Any:
        raise AssertionError("asked")

    api.world.store.crowded = crowded  # type: ignore[method-assign]
    assert api.ask("GET", "/healthz", key=None).json() == {"status": "ok"}


def test_readiness_needs_no_key_and_names_every_trouble() -> None:
    """S22: readiness and start-up probes."""
    api = Api(options={"workers": lambda: False, "ready": lambda: ["the disk is full"]})
    assert Api().ask("GET", "/ready", key=None).json() == {"ready": True, "reasons": []}

    def crowded() -> Any:
        raise Temporary("the database is locked")

    api.world.store.crowded = crowded  # type: ignore[method-assign]
    answer = api.ask("GET", "/ready", key=None)
    assert answer.status_code == 503
    Ready.model_validate(answer.json())
    reasons = answer.json()["reasons"]
    assert [word for word in ("locked", "no worker", "disk") if not any(word in reason for reason in reasons)] == []


def test_status_counts_items_slots_and_dead_letters() -> None:
    api = Api()
    api.put_queue()
    items = [api.submit() for _ in range(3)]
    api.world.deliver_all()
    api.world.bus.send(Topic.SUBMIT, '{"token": "hush"}')
    (message,) = api.world.bus.receive([Topic.SUBMIT])
    api.world.bus.bury(message, "not a launch spec")
    answer = api.ask("GET", "/v1/status")
    Status.model_validate(answer.json())
    status = answer.json()
    assert (status["items"]["running"], status["items"]["pending"]) == (2, 1)
    assert (status["queues"][0]["slots_in_use"], status["queues"][0]["waiting"]) == (2, 1)
    assert status["dead_letters"][0]["reason"] == "not a launch spec"
    assert "hush" not in answer.text
    assert len(items) == 3


def test_the_openapi_document_refers_to_nothing_that_it_lacks() -> None:
    spec = Api().app.openapi()
    known = set(spec["components"]["schemas"])
    assert set(re.findall(r"#/components/schemas/(\w+)", str(spec))) <= known


def test_every_operation_is_described_and_secured() -> None:
    spec = Api().app.openapi()
    operations = {
        f"{verb} {path}": operation for path, verbs in spec["paths"].items() for verb, operation in verbs.items()
    }
    assert len(operations) >= 19
    for name, operation in operations.items():
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        open_to_all = name in ("get /healthz", "get /ready")
        assert bool(operation.get("security")) is not open_to_all, name
        good = [answer for status, answer in operation["responses"].items() if status < "300"]
        assert good, name
        assert all("content" in answer or "gone" in answer["description"] for answer in good), name


def test_every_operation_refuses_whoever_has_no_key() -> None:
    api = Api()
    for path, verbs in api.app.openapi()["paths"].items():
        for verb in verbs:
            if path not in ("/healthz", "/ready"):
                assert api.ask(verb.upper(), re.sub(r"\{\w+\}", "x", path), key=None).status_code == 401, path


@pytest.mark.parametrize("shape", [LaunchSpec, QueueFile])
def test_an_example_is_taken_by_the_api(shape: Any) -> None:
    api = Api()
    example = shape.model_json_schema()["examples"][0]
    if shape is LaunchSpec:
        api.put_queue("team-a", template_variables={"memory": {"type": "integer"}}, config={"env": ["M={{memory}}"]})
        answer = api.ask("POST", "/v1/items", example)
    else:
        answer = api.ask("PUT", "/v1/queues/team-a/gpu", example)
    assert answer.status_code == 201, error_of(answer)


def test_the_schemas_know_exactly_the_fields_that_are_taken() -> None:
    """An unknown field is refused with the known ones: the description must name the same."""
    api = Api()
    api.put_queue()
    for shape, method, path in (
        (LaunchSpec, "POST", "/v1/items"),
        (QueueFile, "PUT", "/v1/queues/team/gpu"),
    ):
        given = dict.fromkeys(shape.model_fields)
        problems = error_of(api.ask(method, path, given))["problems"]
        assert [problem for problem in problems if "known" in problem["rule"]] == []


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.ids.add(given.get("id") or "")
        self.links += [given[name] or "" for name in ("href", "src") if name in given]


def test_the_docs_page_needs_no_key_no_script_and_nothing_from_elsewhere() -> None:
    answer = Api().ask("GET", "/docs", key=None)
    assert answer.headers["Content-Type"].startswith("text/html")
    page = Page()
    page.feed(answer.text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert [link for link in page.links if not link.startswith("#")] == ["openapi.json"]
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_the_docs_page_shows_every_operation() -> None:
    api = Api()
    page = api.ask("GET", "/docs", key=None).text
    for path, verbs in api.app.openapi()["paths"].items():
        for verb, operation in verbs.items():
            assert f'<span class="verb {verb}">{verb.upper()}</span>{path}</p>' in page
            assert operation["summary"].replace("'", "&#x27;") in page


def test_the_openapi_document_is_served() -> None:
    api = Api()
    assert api.ask("GET", "/openapi.json", key=None).json() == api.app.openapi()
