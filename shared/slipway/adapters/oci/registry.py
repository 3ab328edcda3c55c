"""One registry adapter for every registry: ECR, Artifact Registry, ACR, Docker Hub, or one of your own.

They all answer the same question in the same way, so a cloud only has to bring its `credentials`. The question is a
HEAD on a manifest, as the OCI distribution specification has it:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#checking-if-content-exists-in-the-registry
A registry that wants a login says so, and where its tokens are to be had:
https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import ipaddress
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

import httpx

from slipway.adapters.oci.challenge import challenges
from slipway.adapters.oci.reference import Reference, parse
from slipway.errors import Permanent, Temporary
from slipway.model import Presence

Credentials = Callable[[str], tuple[str, str] | None]
"""Registry (`docker.io`, `host:port`) → user and password; None for no login."""

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_TOKEN_SECONDS = 60.0
"""How long a token is good when its server does not say, by the token specification."""
_MARGIN = 10.0
"""Seconds before its end at which a token is not used any more."""


class OciRegistry:
    """Asks registries over HTTPS; over HTTP only those on loopback and those in `plain_http` (`host:port`).

    Safe for use by several threads. `credentials` is asked anew each time a registry demands a login, so it may hand
    out passwords that change, as ECR's do. They go to the registry, and to the token server that the registry names.
    `clock` gives seconds, of which only differences count.
    """

    def __init__(
        self,
        credentials: Credentials | None = None,
        *,
        plain_http: frozenset[str] = frozenset(),
        timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials or (lambda registry: None)
        self._plain_http = plain_http
        self._http = httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=5)
        self._clock = clock
        self._tokens: dict[tuple[str, str], tuple[str, float]] = {}

    def presence(self, image: str) -> Presence:
        """See ports.Registry. Raises Invalid for what is no image reference, Temporary when the registry is busy, down
        or cannot be reached (with its Retry-After), and Permanent for an answer that no registry should give.

        Some registries (Docker Hub) say "unauthorised" of a repository that does not exist, to whoever may not know.
        """
        reference = parse(image)
        answer = self._ask(reference, self._remembered(reference))
        if answer.status_code == 401:
            login = self._login(reference, challenges(", ".join(answer.headers.get_list("WWW-Authenticate"))))
            if login is None:
                return Presence.UNAUTHORISED
            answer = self._ask(reference, login)
        match answer.status_code:
            case 200:
                return Presence.PRESENT
            case 404:
                return Presence.ABSENT
            case 401 | 403:
                self._tokens.pop(_scope(reference), None)
                return Presence.UNAUTHORISED
        raise _failure(reference, "the registry", answer)

    def login(self, image: str) -> tuple[str, str] | None:
        """See ports.Registry. Raises Invalid for what is no image reference."""
        return self._credentials(parse(image).registry)

    def close(self) -> None:
        self._http.close()

    def _ask(self, reference: Reference, login: str | None) -> httpx.Response:
        scheme = "http" if self._is_plain(reference.registry) else "https"
        url = f"{scheme}://{reference.api_host}/v2/{reference.repository}/manifests/{reference.manifest}"
        headers = {"Accept": _MANIFESTS} | ({"Authorization": login} if login else {})
        with _translated(reference):
            return self._http.head(url, headers=headers)

    def _remembered(self, reference: Reference) -> str | None:
        token, end = self._tokens.get(_scope(reference), ("", 0.0))
        return f"Bearer {token}" if token and self._clock() < end - _MARGIN else None

    def _login(self, reference: Reference, offered: Mapping[str, Mapping[str, str]]) -> str | None:
        """The Authorization header that the registry asked for; None when there is nothing to log in with."""
        user = self._credentials(reference.registry)
        if "bearer" in offered:
            return self._token(reference, offered["bearer"], user)
        if "basic" in offered and user is not None:
            return _basic(user)
        return None

    def _token(self, reference: Reference, challenge: Mapping[str, str], user: tuple[str, str] | None) -> str | None:
        """A token to pull with, anonymous without `user`. None when the token server refuses."""
        realm = challenge.get("realm", "")
        if not realm.startswith("https://") and not (
            realm.startswith("http://") and self._is_plain(reference.registry)
        ):
            raise Permanent(f"{reference}: the registry sends for a token to '{realm}', which is not https")
        query = {"scope": f"repository:{reference.repository}:pull"}
        if "service" in challenge:
            query["service"] = challenge["service"]
        with _translated(reference):
            url = httpx.URL(realm).copy_merge_params(query)
            answer = self._http.get(url, headers={"Authorization": _basic(user)} if user else {})
        if answer.status_code in (401, 403):
            return None
        if answer.status_code != 200:
            raise _failure(reference, f"the token server {url.host}", answer)
        try:
            body = answer.json()
            token = body.get("token") or body["access_token"]
            seconds = float(body.get("expires_in") or _TOKEN_SECONDS)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Permanent(f"{reference}: the token server {url.host} sends no token") from error
        self._tokens[_scope(reference)] = (token, self._clock() + seconds)
        return f"Bearer {token}"

    def _is_plain(self, registry: str) -> bool:
        if registry in self._plain_http:
            return True
        host = registry.rpartition(":")[0] if registry.rpartition(":")[2].isdigit() else registry
        try:
            return ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return host == "localhost"


def _scope(reference: Reference) -> tuple[str, str]:
    return reference.registry, reference.repository


def _basic(user: tuple[str, str]) -> str:
    return "Basic " + b64encode(":".join(user).encode()).decode("ascii")


def _failure(reference: Reference, who: str, answer: httpx.Response) -> Permanent | Temporary:
    words = f"{reference}: {who} answers {answer.status_code} {answer.reason_phrase}".rstrip()
    if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
        return Temporary(words, _retry_after(answer.headers.get("Retry-After", "")))
    return Permanent(words)


def _retry_after(value: str) -> float | None:
    """Seconds; the header is a number or a date (RFC 9110, 10.2.3)."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


@contextmanager
def _translated(reference: Reference) -> Iterator[None]:
    try:
        yield
    except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise Permanent(f"{reference}: the registry leads nowhere: {error}") from error
    except httpx.TimeoutException as error:
        raise Temporary(f"{reference}: the registry does not answer in time ({type(error).__name__})") from error
    except httpx.HTTPError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise Permanent(f"{reference}: the registry's certificate is not trusted here: {error}") from error
        raise Temporary(f"{reference}: the registry cannot be reached: {error}") from error
