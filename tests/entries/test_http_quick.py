"""The short way of a submission answers as the framework does, or leaves the request to it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.entries.http_api import Api
from tests.functions.world import LAUNCH

from slipway.model import Topic
from slipway.web import quick
from slipway.web.answers import Answer, encoded

SPEC = {"docker": {"docker_image": "img"}, **LAUNCH}
HEAVY = ("fastapi", "starlette", "pydantic")


def quickly(api: Api, body: str, **headers: str) -> Answer | None:
    api.world.clock.advance(0.001)
    sent = {"authorization": f"Bearer {api.key}", "content-type": "application/json", **headers}
    return quick.answer("POST", "/v1/items", sent, body, api.world.ports)


def an_api() -> Api:
    api = Api()
    api.put_queue()
    return api


def test_a_submission_is_stored_and_sent_on() -> None:
    api = an_api()
    answer = quickly(api, json.dumps(SPEC))
    assert answer is not None
    assert (answer.status, answer.document["state"]) == (201, "pending")
    assert answer.headers["Location"] == f"/v1/items/{answer.document['id']}"
    assert [message.body for message in api.world.bus.receive([Topic.ADVANCE])] == [answer.document["id"]]


def test_a_known_idempotency_key_gives_the_item_from_before() -> None:
    api = an_api()
    first, again = (quickly(api, json.dumps(SPEC), **{"idempotency-key": "k"}) for _ in range(2))
    assert first is not None
    assert again is not None
    assert (first.status, again.status) == (201, 200)
    assert first.document["id"] == again.document["id"]


ODD: list[tuple[str, dict[str, str]]] = [
    ("{", {}),
    ("[]", {}),
    ("null", {}),
    ('{"queue": "gpu", "queue": "cpu"}', {}),
    ("queue: gpu", {"content-type": "application/yaml"}),
    (" " * (1 << 20) + "{}", {}),
    (json.dumps(SPEC), {"authorization": "Bearer wrong"}),
    (json.dumps(SPEC), {"authorization": "Basic x"}),
    (json.dumps(SPEC), {"authorization": ""}),
    (json.dumps(SPEC), {"idempotency-key": "k" * 256}),
]


@pytest.mark.parametrize(("body", "headers"), ODD)
def test_what_is_not_plain_is_left_to_the_framework(body: str, headers: dict[str, str]) -> None:
    api = an_api()
    assert quickly(api, body, **headers) is None
    assert list(api.world.store.items()) == []


def test_other_paths_are_left_to_the_framework() -> None:
    api = an_api()
    for method, path in (("GET", "/v1/items"), ("POST", "/v1/items/x/cancel"), ("POST", "/v1/items/")):
        assert quick.answer(method, path, {}, "{}", api.world.ports) is None


WRONG = st.fixed_dictionaries(
    {},
    optional={
        "queue": st.sampled_from(["gpu", "gpus", 3]),
        "entity": st.sampled_from(["team", "other"]),
        "priority": st.sampled_from([0, 9, "x"]),
        "idempotency_key": st.sampled_from(["k", "l"]),
        "unheard_of": st.just(1),
        "name": st.sampled_from(["größe 🚢", "\ud83d", ""]),
    },
)


@given(changes=WRONG, key=st.sampled_from([None, "k"]), entity=st.sampled_from(["*", "team", "other"]))
def test_both_ways_answer_the_same(changes: dict[str, Any], key: str | None, entity: str) -> None:
    one, other = an_api(), an_api()
    one.key, other.key = one.new_key(entity), other.new_key(entity)
    body, headers = json.dumps({**SPEC, **changes}), {"idempotency-key": key} if key else {}
    answer = quickly(one, body, **headers)
    asked = other.ask("POST", "/v1/items", content=body, headers={**headers, "content-type": "application/json"})
    assert answer is None or (answer.status, encoded(answer.document)) == (asked.status_code, asked.content)


def test_the_short_way_loads_no_framework() -> None:
    code = f"import sys, slipway.web.quick; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
