"""Which addresses Slipway connects to for a submitter, and for how long.

A submitter names hosts: of repositories, of archives. Without a check, `https://169.254.169.254/` would have Slipway
read its own cloud credentials for them, and `https://10.0.0.7/` would have it look around in the operator's network. So
each host is looked up first, every address it has must be public, and the connection goes to an address that was
checked, not to a second look-up of the name, which could answer otherwise. Redirects pass the same check.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

import httpx

from slipway.errors import Forbidden, Invalid, Permanent, Problem, Temporary

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
MAX_REDIRECTS = 5

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052: its last 32 bits are the IPv4 address that is reached."""


class Deadline:
    """An end for one whole transfer, which time-outs of single reads do not give."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds, more than 0. Raises Temporary when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Temporary(f"the transfer took longer than {self._seconds:.0f} s and was given up")
        return left


def addresses(host: str, *, private: bool) -> tuple[str, ...]:
    """The IP addresses of `host`, in the order in which they are to be tried.

    Any spelling that the system understands is looked up (`127.1`, `0x7f000001`), and what it means is what is checked.
    With `private` every address is allowed. Raises Temporary when the name cannot be resolved, and Forbidden when any
    of its addresses is not public.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Temporary(f"host '{host}' cannot be resolved: {error}") from error
    unique = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in unique:
        if not private and not public(address):
            raise Forbidden(
                f"host '{host}' is at {address}, which is not a public address: Slipway does not connect to loopback, "
                "link-local or private addresses for a submission, unless started with --allow-private-addresses"
            )
    return unique


def public(address: str) -> bool:
    """Whether an IP address is one of the internet at large, also where an IPv6 address stands for an IPv4 one."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return public(str(inner))
    return ip.is_global and not ip.is_multicast


def client(*, private: bool, schemes: frozenset[str], deadline: Deadline) -> httpx.Client:
    """An HTTP client that reaches public addresses only, unless `private`. Follows redirects. Close it.

    Each request, a redirected one too, must be of one of `schemes` (Forbidden otherwise). A proxy named in the
    environment is used only with `private`: a proxy resolves names itself, and what it finds cannot be checked here.
    """

    def check_scheme(request: httpx.Request) -> None:
        if request.url.scheme not in schemes:
            raise Forbidden(
                f"'{request.url.host}' is asked for over {request.url.scheme}; allowed: {', '.join(sorted(schemes))}"
            )

    left = deadline.left()
    return httpx.Client(
        transport=None if private else PublicOnly(httpx.HTTPTransport()),
        timeout=httpx.Timeout(min(READ_SECONDS, left), connect=min(CONNECT_SECONDS, left)),
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        event_hooks={"request": [check_scheme]},
    )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """httpx's exceptions become Slipway's; `what` (no credentials in it) says what was asked for."""
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Invalid(Problem("uri", f"is not an address that can be asked: {error}", what)) from error
    except httpx.TooManyRedirects as error:
        raise Permanent(f"{what}: more than {MAX_REDIRECTS} redirects") from error
    except httpx.TimeoutException as error:
        raise Temporary(f"{what}: no answer in time ({type(error).__name__})") from error
    except httpx.HTTPError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise Forbidden(f"{what}: its certificate is not trusted here: {error}") from error
        raise Temporary(f"{what}: cannot be reached: {str(error) or type(error).__name__}") from error


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date (RFC 9110, 10.2.3). None where there is none."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


class PublicOnly(httpx.BaseTransport):
    """Connects to addresses that were checked; TLS still proves the host's name.

    https://www.python-httpx.org/advanced/extensions/#sni_hostname
    """

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.raw_host.decode("ascii")
        failure: httpx.ConnectError | httpx.ConnectTimeout | None = None
        for address in addresses(host, private=False):
            try:
                return self._inner.handle_request(
                    httpx.Request(
                        request.method,
                        request.url.copy_with(host=address),
                        headers=request.headers,
                        stream=request.stream,
                        extensions={**request.extensions, "sni_hostname": host},
                    )
                )
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure or httpx.ConnectError(f"host '{host}' has no address")

    def close(self) -> None:
        self._inner.close()
