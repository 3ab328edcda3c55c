"""The OCI registry adapter, against a real registry without and with a login, and against one that wants tokens."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests import services
from tests.contracts.registry_contract import LoginContract, RegistryContract
from tests.pushing import push

from slipway.adapters.oci.registry import OciRegistry
from slipway.errors import Invalid, Permanent, Temporary
from slipway.model import Presence
from slipway.ports import Registry

USER = ("slipway", "not-a-secret")
HTPASSWD = "slipway:$2b$05$l0kp3OUMAJry.m9HO04GlOTh9L6pac4MNNJGfnBCInKCJbth1oFNO\n"
"""bcrypt of the password above."""


@pytest.fixture(scope="module")
def open_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.oci_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="module")
def guarded_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.oci_registry(tmp_path_factory.mktemp("registry"), HTPASSWD) as host:
        yield host


@pytest.mark.registry
class TestOpenRegistry(RegistryContract):
    @pytest.fixture
    def registry(self) -> Iterator[Registry]:
        registry = OciRegistry()
        yield registry
        registry.close()

    @pytest.fixture
    def present(self, open_host: str) -> str:
        push(open_host, "team/job", "0123abc")
        return f"{open_host}/team/job:0123abc"

    def test_an_image_is_found_by_its_digest(self, registry: Registry, open_host: str) -> None:
        digest = push(open_host, "by/digest", "1")
        other = digest[:-4] + ("0000" if digest[-4:] != "0000" else "1111")
        assert registry.presence(f"{open_host}/by/digest@{digest}") is Presence.PRESENT
        assert registry.presence(f"{open_host}/by/digest@{other}") is Presence.ABSENT

    def test_no_tag_is_latest(self, registry: Registry, open_host: str) -> None:
        push(open_host, "has/latest", "latest")
        push(open_host, "has/none", "1")
        assert registry.presence(f"{open_host}/has/latest") is Presence.PRESENT
        assert registry.presence(f"{open_host}/has/none") is Presence.ABSENT


@pytest.mark.registry
class TestRegistryWithLogin(RegistryContract, LoginContract):
    @pytest.fixture
    def user(self) -> tuple[str, str]:
        return USER

    @pytest.fixture
    def registry(self, guarded_host: str) -> Registry:
        return OciRegistry({guarded_host: USER}.get)

    @pytest.fixture
    def anonymous(self) -> Registry:
        return OciRegistry()

    @pytest.fixture
    def impostor(self) -> Registry:
        return OciRegistry(lambda registry: ("slipway", "a guess"))

    @pytest.fixture
    def present(self, guarded_host: str) -> str:
        push(guarded_host, "team/job", "1", USER)
        return f"{guarded_host}/team/job:1"


class TokenRegistry:
    """A registry and its token server in one, as their specifications have them."""

    def __init__(self, secret: str = "") -> None:
        self.secret = secret
        self.issued: list[dict[str, list[str]]] = []
        self.asked = 0
        self.host = ""
        self.answers: dict[str, tuple[str, list[tuple[str, str]]]] = {}
        """What it answers to everything below a path, instead."""
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        path = environ["PATH_INFO"]
        for prefix, (status, headers) in self.answers.items():
            if path.startswith(prefix):
                start(status, headers)
                return [b""]
        with self._lock:
            if path == "/token":
                return self._token(environ, start)
            self.asked += 1
            query = f"repository:{path.removeprefix('/v2/').rpartition('/manifests/')[0]}:pull"
            if environ.get("HTTP_AUTHORIZATION") != f"Bearer {len(self.issued)}-{query}":
                challenge = f'Bearer realm="http://{self.host}/token",service="a, \\"quoted\\" one",scope="{query}"'
                start("401 Unauthorized", [("WWW-Authenticate", challenge)])
                return [b""]
            start("200 OK" if path.endswith("/team/job/manifests/1") else "404 Not Found", [])
            return [b""]

    def _token(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        expected = "Basic " + base64.b64encode(self.secret.encode()).decode()
        if self.secret and environ.get("HTTP_AUTHORIZATION") != expected:
            start("401 Unauthorized", [])
            return [b""]
        query = parse_qs(environ["QUERY_STRING"])
        self.issued.append(query)
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"token": f"{len(self.issued)}-{query['scope'][0]}", "expires_in": 300}).encode()]


@pytest.fixture
def server() -> Iterator[TokenRegistry]:
    application = TokenRegistry()
    with services.web(application) as host:
        application.host = host
        yield application


class TestRegistryWithTokens(RegistryContract, LoginContract):
    """https://distribution.github.io/distribution/spec/auth/token/"""

    @pytest.fixture
    def user(self) -> tuple[str, str]:
        return USER

    @pytest.fixture
    def guarded(self, server: TokenRegistry) -> TokenRegistry:
        server.secret = ":".join(USER)
        return server

    @pytest.fixture
    def registry(self, guarded: TokenRegistry) -> Registry:
        return OciRegistry({guarded.host: USER}.get)

    @pytest.fixture
    def anonymous(self, guarded: TokenRegistry) -> Registry:
        return OciRegistry()

    @pytest.fixture
    def impostor(self, guarded: TokenRegistry) -> Registry:
        return OciRegistry(lambda registry: ("slipway", "a guess"))

    @pytest.fixture
    def present(self, guarded: TokenRegistry) -> str:
        return f"{guarded.host}/team/job:1"


def test_a_token_names_its_service_and_scope(server: TokenRegistry) -> None:
    assert OciRegistry().presence(f"{server.host}/team/job:1") is Presence.PRESENT
    assert server.issued == [{"service": ['a, "quoted" one'], "scope": ["repository:team/job:pull"]}]


def test_a_token_is_used_until_just_before_its_end(server: TokenRegistry) -> None:
    now = [1000.0]
    registry = OciRegistry(clock=lambda: now[0])
    for moment in (1000.0, 1200.0, 1289.0):
        now[0] = moment
        registry.presence(f"{server.host}/team/job:1")
    assert (len(server.issued), server.asked) == (1, 4)
    now[0] = 1291.0
    assert registry.presence(f"{server.host}/team/job:1") is Presence.PRESENT
    assert (len(server.issued), server.asked) == (2, 6)


def test_a_token_that_was_revoked_is_asked_for_again(server: TokenRegistry) -> None:
    registry = OciRegistry()
    registry.presence(f"{server.host}/team/job:1")
    OciRegistry().presence(f"{server.host}/team/job:1")  # the server honours only the last token it gave out
    assert registry.presence(f"{server.host}/team/job:1") is Presence.PRESENT


@pytest.mark.parametrize("status", ["429 Too Many Requests", "500 Oh", "502 Bad Gateway", "503 Later"])
@pytest.mark.parametrize("path", ["/v2/", "/token"])
def test_a_busy_server_is_temporary_and_says_for_how_long(server: TokenRegistry, path: str, status: str) -> None:
    server.answers[path] = (status, [("Retry-After", "7")])
    with pytest.raises(Temporary, match=status[:3]) as raised:
        OciRegistry().presence(f"{server.host}/team/job:1")
    assert raised.value.retry_after == 7.0


def test_an_answer_no_registry_gives_is_permanent(server: TokenRegistry) -> None:
    server.answers["/v2/"] = ("418 I'm a teapot", [])
    with pytest.raises(Permanent, match="418"):
        OciRegistry().presence(f"{server.host}/team/job:1")


def test_a_forbidden_image_is_unauthorised(server: TokenRegistry) -> None:
    server.answers["/v2/"] = ("403 Forbidden", [])
    assert OciRegistry().presence(f"{server.host}/team/job:1") is Presence.UNAUTHORISED


def test_a_token_server_without_a_token_is_permanent(server: TokenRegistry) -> None:
    server.answers["/token"] = ("200 OK", [])
    with pytest.raises(Permanent, match="no token"):
        OciRegistry().presence(f"{server.host}/team/job:1")


@pytest.mark.parametrize("realm", ["ftp://tokens.example", "", "file:///etc/passwd"])
def test_a_password_is_sent_to_no_odd_place(server: TokenRegistry, realm: str) -> None:
    server.answers["/v2/"] = ("401 Unauthorized", [("WWW-Authenticate", f'Bearer realm="{realm}"')])
    with pytest.raises(Permanent, match="not https"):
        OciRegistry(lambda registry: USER).presence(f"{server.host}/team/job:1")


def test_a_registry_that_is_not_there_is_temporary() -> None:
    with pytest.raises(Temporary, match="cannot be reached"):
        OciRegistry().presence(f"127.0.0.1:{services.free_port()}/team/job:1")


def test_what_is_no_reference_is_never_asked_for() -> None:
    with pytest.raises(Invalid, match="image: "):
        OciRegistry().presence("UPPER/case:1")


def test_a_password_is_in_no_error(server: TokenRegistry) -> None:
    server.answers["/token"] = ("500 Oh", [])
    with pytest.raises(Temporary) as raised:
        OciRegistry(lambda registry: USER).presence(f"{server.host}/team/job:1")
    assert USER[1] not in str(raised.value)


def test_no_registry_is_given_the_login_of_another() -> None:
    registry = OciRegistry({"registry.example.com": USER}.get)
    assert registry.login("registry.example.com/team/job:1") == USER
    assert registry.login("registry.example.com.evil.example/team/job:1") is None
    assert registry.login("team/job:1") is None
