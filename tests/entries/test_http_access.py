"""Who may ask for what over HTTP."""

from __future__ import annotations

import pytest
from tests.entries.http_api import IMAGE, QUEUE, Api, error_of

from slipway.web.schemas import KeyList, NewKey


@pytest.mark.parametrize(
    "path", ["/v1/queues", "/v1/items", "/v1/items/x", "/v1/items/x/logs", "/v1/status", "/v1/keys"]
)
@pytest.mark.parametrize("key", [None, "", "slip_wrong", "slip_\udce9".encode("utf-8", "replace").decode()])
def test_without_a_known_key_nothing_is_answered(path: str, key: str | None) -> None:
    answer = Api().ask("GET", path, key=key)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert error_of(answer)["kind"] == "unauthorised"


def test_an_unauthorised_body_is_not_read() -> None:
    answer = Api().ask("POST", "/v1/items", key=None, content=b"x" * 3_000_000)
    assert answer.status_code == 401


@pytest.fixture
def shared() -> Api:
    """Two teams with a queue and an item each; the key is of team `ours`."""
    api = Api()
    for entity in ("ours", "theirs"):
        api.put_queue(entity)
        api.submit(entity)
    api.key = api.new_key("ours")
    return api


def theirs(api: Api) -> str:
    return next(item.id for item in api.world.store.items(entity="theirs"))


@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("GET", "", None),
        ("PUT", "", QUEUE),
        ("DELETE", "", None),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
    ],
)
@pytest.mark.parametrize("name", ["gpu", "nothing"])
def test_another_entitys_queue_is_forbidden_whether_it_exists_or_not(
    shared: Api, method: str, path: str, document: object, name: str
) -> None:
    """S1: only its owners."""
    answer = shared.ask(method, f"/v1/queues/theirs/{name}{path}", document)
    assert (answer.status_code, error_of(answer)["kind"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/explain"), ("GET", "/logs"), ("POST", "/cancel"), ("POST", "/retry"), ("PATCH", "")],
)
def test_another_entitys_item_looks_as_if_it_did_not_exist(shared: Api, method: str, path: str) -> None:
    item = theirs(shared)
    document = {"priority": 1} if method == "PATCH" else None
    foreign = shared.ask(method, f"/v1/items/{item}{path}", document)
    missing = shared.ask(method, f"/v1/items/nothing{path}", document)
    assert foreign.status_code == missing.status_code == 404
    assert foreign.text.replace(item, "nothing") == missing.text
    untouched = shared.world.store.item(item)
    assert untouched is not None
    assert untouched.version == 1


def test_a_listing_shows_only_ones_own(shared: Api) -> None:
    assert {item["entity"] for item in shared.ask("GET", "/v1/items").json()["items"]} == {"ours"}
    assert {queue["entity"] for queue in shared.ask("GET", "/v1/queues").json()["queues"]} == {"ours"}
    status = shared.ask("GET", "/v1/status").json()
    assert status["items"]["pending"] == 1
    assert {queue["entity"] for queue in status["queues"]} == {"ours"}
    assert status["dead_letters"] is None


@pytest.mark.parametrize("path", ["/v1/items", "/v1/queues"])
def test_listing_another_entity_is_forbidden(shared: Api, path: str) -> None:
    assert shared.ask("GET", f"{path}?entity=theirs").status_code == 403


@pytest.mark.parametrize("fields", [{"entity": "theirs"}, {"entity": "ours", "queue_entity": "theirs"}])
def test_nothing_is_submitted_for_or_to_another_entity(shared: Api, fields: dict[str, str]) -> None:
    answer = shared.ask("POST", "/v1/items", {**IMAGE, **fields})
    assert (answer.status_code, error_of(answer)["kind"]) == (403, "forbidden")
    assert len(shared.world.store.items(entity="theirs")) == 1
    assert len(shared.world.store.items(entity="ours")) == 1


def test_a_spec_without_an_entity_is_the_keys_own(shared: Api) -> None:
    answer = shared.ask("POST", "/v1/items", IMAGE)
    assert (answer.status_code, answer.json()["entity"]) == (201, "ours")


def test_an_item_on_anothers_queue_is_not_retried_with_the_items_key_alone() -> None:
    api = Api()
    api.put_queue("theirs")
    item = api.submit("ours", queue_entity="theirs")
    api.ask("POST", f"/v1/items/{item}/cancel")
    key = api.new_key("ours")
    assert api.ask("GET", f"/v1/items/{item}", key=key).status_code == 200
    assert api.ask("POST", f"/v1/items/{item}/retry", key=key).status_code == 403
    assert api.ask("POST", f"/v1/items/{item}/retry").status_code == 201


def test_keys_are_made_shown_without_themselves_and_revoked() -> None:
    api = Api()
    made = api.ask("POST", "/v1/keys", {"entity": "team", "name": "ci"})
    assert made.status_code == 201
    NewKey.model_validate(made.json())
    text, key_id = made.json()["key"], made.json()["id"]
    assert made.headers["Cache-Control"] == "no-store"
    assert api.ask("GET", "/v1/queues", key=text).status_code == 200
    listed = api.ask("GET", "/v1/keys")
    KeyList.model_validate(listed.json())
    assert text not in listed.text
    assert key_id in [key["id"] for key in listed.json()["keys"]]
    assert api.ask("DELETE", f"/v1/keys/{key_id}").status_code == 204
    assert api.ask("GET", "/v1/queues", key=text).status_code == 401
    assert api.ask("DELETE", f"/v1/keys/{key_id}").status_code == 404


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", ""), ("DELETE", "/x")])
def test_a_key_of_one_entity_manages_no_keys(shared: Api, method: str, path: str) -> None:
    answer = shared.ask(method, f"/v1/keys{path}", {"entity": "*", "name": "more"} if method == "POST" else None)
    assert answer.status_code == 403
    assert len(shared.world.store.keys()) == 2


def test_a_key_is_never_stored() -> None:
    api = Api()
    text = api.ask("POST", "/v1/keys", {"entity": "team", "name": "ci"}).json()["key"]
    assert text not in repr(api.world.store.keys())


def test_a_keyless_server_asks_for_no_key() -> None:
    api = Api(keyless=True)
    api.put_queue()
    api.submit()
    assert api.ask("GET", "/v1/keys").status_code == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1", "127.8.8.8:80", "[::1]:8765"])
def test_a_keyless_server_answers_to_loopback_names(host: str) -> None:
    assert Api(keyless=True).ask("GET", "/v1/items", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0", "", "[::2]", "["],
)
@pytest.mark.parametrize("path", ["/v1/items", "/healthz", "/docs"])
def test_a_keyless_server_refuses_a_rebound_name(host: str, path: str) -> None:
    answer = Api(keyless=True).ask("GET", path, headers={"Host": host})
    assert (answer.status_code, error_of(answer)["kind"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "https://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_keyless_server_refuses_other_sites_pages(headers: dict[str, str]) -> None:
    api = Api(keyless=True)
    api.put_queue()
    answer = api.ask("POST", "/v1/items", {"entity": "team", **IMAGE}, headers=headers)
    assert answer.status_code == 403
    assert not api.world.store.items()


def test_a_keyless_server_answers_its_own_pages() -> None:
    headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert Api(keyless=True).ask("GET", "/v1/items", headers=headers).status_code == 200


def test_with_keys_any_name_is_answered() -> None:
    assert Api(host="slipway.example.com").ask("GET", "/v1/items").status_code == 200
