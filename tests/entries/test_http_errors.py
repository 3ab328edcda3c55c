"""What the HTTP API answers when something is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.entries.http_api import IMAGE, QUEUE, Api, error_of

from slipway.errors import AlreadyExists, NoSlot, Permanent, SlipwayError, Stale, Temporary
from slipway.web.bodies import LIMIT
from slipway.web.schemas import ErrorView

YAML = {"Content-Type": "application/x-yaml"}


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b'{"a": 1,\n "b" 2}', {}, "line 2, column 6"),
        (b"", {}, "line 1, column 1"),
        (b'{"a": 1, "a": 2}', {}, "'a' twice"),
        (b'{"a": "\xff"}', {}, "not UTF-8: line 1, byte 8"),
        (b"[" * 100_000, {}, "cannot be read as JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", {}, "cannot be read as JSON"),
        (b"a: 1\n b: 2", YAML, "line 2, column 3"),
        (b"a: [1, 2", YAML, "line 2, column 1"),
        (b"a: \xff", YAML, "not UTF-8"),
        (b"a: !!python/object:os.system {}", YAML, "line 1, column 4"),
        (b"a: 1\n---\nb: 2\n", YAML, "line 2, column 1"),
        (b"a: 2024-13-45", YAML, "cannot be read as YAML"),
        (b"a: \x00", YAML, "YAML"),
    ],
)
def test_a_body_that_cannot_be_read_names_the_place(body: bytes, headers: dict[str, str], words: str) -> None:
    answer = Api().ask("PUT", "/v1/queues/team/gpu", content=body, headers=headers)
    assert answer.status_code == 400
    assert error_of(answer)["kind"] == "invalid"
    assert words in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"[]", {}),
        (b"null", {}),
        (b'"text"', {}),
        (b'{"a": NaN}', {}),
        (b'{"a": 1e999}', {}),
        (b'{"a": "\\ud800"}', {}),
        (b"- a", YAML),
        (b"", YAML),
        (b"a: 2024-01-01", YAML),
        (b"1: a", YAML),
        (b"a: &a [*a]", YAML),
        (
            b"a: &a [x,x,x,x,x,x,x,x]\n"
            + b"".join(b"%c: &%c [%s]\n" % (i + 1, i + 1, b",".join([b"*%c" % i] * 8)) for i in range(97, 110)),
            YAML,
        ),
    ],
)
def test_a_body_that_is_not_plain_json_is_refused(body: bytes, headers: dict[str, str]) -> None:
    """A bomb of YAML aliases among them: refused before it is unfolded."""
    answer = Api().ask("PUT", "/v1/queues/team/gpu", content=body, headers=headers)
    assert answer.status_code == 422
    ErrorView.model_validate(answer.json())


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_1_mib_is_refused(declared: bool) -> None:
    async def chunks() -> Any:
        for _ in range(LIMIT // 65536 + 1):
            yield b" " * 65536

    content = b" " * (LIMIT + 1) if declared else chunks()
    answer = Api().ask("POST", "/v1/items", content=content)
    assert answer.status_code == 413
    assert "1024 KiB" in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Temporary("the database is locked"), 503, "temporary"),
        (AlreadyExists("taken"), 409, "conflict"),
        (Stale(), 409, "conflict"),
        (NoSlot(), 409, "conflict"),
        (Permanent("gone"), 422, "invalid"),
    ],
)
def test_each_error_has_its_status_and_kind(error: SlipwayError, status: int, kind: str) -> None:
    answer = broken(error).ask("GET", "/v1/queues")
    assert (answer.status_code, error_of(answer)["kind"]) == (status, kind)
    ErrorView.model_validate(answer.json())
    assert ("Retry-After" in answer.headers) is (status == 503)


@pytest.mark.parametrize(("wait", "told"), [(None, "5"), (0.2, "1"), (12.5, "13"), (1e9, "3600")])
def test_a_temporary_error_says_when_to_try_again(wait: float | None, told: str) -> None:
    assert broken(Temporary("locked", wait)).ask("GET", "/v1/queues").headers["Retry-After"] == told


def test_a_bug_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    answer = broken(ZeroDivisionError("hush")).ask("GET", "/v1/queues")
    assert (answer.status_code, error_of(answer)["kind"]) == (500, "internal")
    assert "hush" not in answer.text
    assert "hush" in caplog.text
    reference = error_of(answer)["message"].split()[-1]
    assert reference in caplog.text


def test_an_unknown_path_and_a_wrong_method_are_told_in_the_same_shape() -> None:
    api = Api()
    unknown, wrong = api.ask("GET", "/v2/things"), api.ask("PUT", "/v1/items", {})
    assert (unknown.status_code, wrong.status_code) == (404, 405)
    assert "/v2/things" in error_of(unknown)["message"]
    assert "PUT" in error_of(wrong)["message"]
    assert wrong.headers["Allow"]


def test_a_long_value_is_not_echoed_whole() -> None:
    answer = Api().ask("PUT", "/v1/queues/team/gpu", {**QUEUE, "config": ["x" * 1000] * 500})
    assert answer.status_code == 422
    assert len(answer.content) < 2000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=20,
)
words = st.sampled_from(
    [
        "entity",
        "project",
        "queue",
        "queue_entity",
        "name",
        "uri",
        "git",
        "sha256",
        "docker",
        "docker_image",
        "image_uri",
        "job",
        "resource",
        "resource_args",
        "template_variables",
        "priority",
        "overrides",
        "args",
        "entry_point",
        "run_config",
        "files",
        "artifacts",
        "dockerfile",
        "build_context",
        "run_id",
        "idempotency_key",
        "config",
        "max_jobs",
        "builder",
        "type",
        "timeouts",
        "pending",
        "paused",
        "schema",
        "default",
        "enum",
        "minimum",
        "gpu",
        "img",
        "team",
        "env",
        "local-process",
        "{{x}}",
        "${run_id}",
        "${nothing}",
    ]
)
fuzzed = st.recursive(
    json_values | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=5), inner, max_size=6),
    max_leaves=30,
)
few = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

api = Api()
api.put_queue(config={"env": ["N={{n}}"]}, template_variables={"n": {"type": "integer", "default": 3}})


@few
@given(fuzzed | st.dictionaries(words, fuzzed).map(lambda given: {"entity": "team", **IMAGE, **given}))
def test_no_launch_spec_is_a_server_error(document: Any) -> None:
    answer = api.ask("POST", "/v1/items", content=json.dumps(document))
    assert answer.status_code in (201, 200, 422), answer.text
    if answer.status_code == 422:
        ErrorView.model_validate(answer.json())


@few
@given(fuzzed | st.dictionaries(words, fuzzed).map(lambda given: {**QUEUE, **given}))
def test_no_queue_file_is_a_server_error(document: Any) -> None:
    answer = Api().ask("PUT", "/v1/queues/other/q", content=json.dumps(document))
    assert answer.status_code in (201, 200, 422), answer.text
    if answer.status_code == 422:
        ErrorView.model_validate(answer.json())


@few
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.sampled_from(["json", "yaml"]))
def test_no_bytes_are_a_server_error(body: bytes, kind: str) -> None:
    answer = api.ask("POST", "/v1/items", content=body, headers={"Content-Type": f"application/{kind}"})
    assert answer.status_code in (400, 422), answer.text


@few
@given(json_values, st.sampled_from(["priority", "name", "x"]))
def test_no_change_of_priority_is_a_server_error(value: Any, field: str) -> None:
    item = api.world.store.items(limit=1)[0].id if api.world.store.items() else api.submit()
    answer = api.ask("PATCH", f"/v1/items/{item}", {field: value})
    assert answer.status_code in (200, 422), answer.text


def broken(error: Exception) -> Api:
    """An API whose store fails on one question."""
    found = Api()

    def queues(entity: str | None = None) -> Any:
        raise error

    found.world.store.queues = queues  # type: ignore[method-assign]
    return found


def test_a_text_with_half_a_surrogate_pair_can_still_be_shown() -> None:
    """Nothing that was stored may make a listing impossible."""
    found = Api()
    found.put_queue()
    item = found.world.store.item(found.submit())
    assert item is not None
    found.world.store.save(replace(item, reason="half \ud800 a pair"))
    answer = found.ask("GET", "/v1/items")
    assert json.loads(answer.content)["items"][0]["reason"] == "half \ud800 a pair"
