"""Nobody has Slipway connect to what is not on the internet at large."""

from __future__ import annotations

import ipaddress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.adapters.local import reach
from slipway.errors import Forbidden, Permanent, Temporary

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
]
PRIVATE += ["255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    """Design 7: no request to link-local or private addresses on behalf of a submitter."""
    with pytest.raises(Forbidden, match="not a public address"):
        reach.addresses(address, private=False)
    assert reach.addresses(address, private=True) == (address,)


@pytest.mark.parametrize("spelling", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "localhost"])
def test_another_spelling_of_loopback_is_loopback(spelling: str) -> None:
    with pytest.raises(Forbidden, match="not a public address"):
        reach.addresses(spelling, private=False)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_dress_is_judged_as_itself(inner: ipaddress.IPv4Address) -> None:
    number = int(inner)
    dressed = (
        ipaddress.IPv6Address((0xFFFF << 32) | number),  # mapped
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),  # 6to4
        ipaddress.IPv6Address((0x64FF9B << 96) | number),  # NAT64
    )
    assert {reach.public(str(address)) for address in dressed} == {reach.public(str(inner))}


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111"])
def test_a_public_address_is_taken(address: str) -> None:
    assert reach.addresses(address, private=False) == (address,)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 300])
def test_a_host_that_does_not_resolve_is_temporary(host: str) -> None:
    with pytest.raises(Temporary, match="cannot be resolved"):
        reach.addresses(host, private=False)


def test_every_hop_of_a_redirect_is_checked() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.url.host} for {request.headers['Host']}")
        return httpx.Response(302, headers={"Location": "https://169.254.169.254/latest"})

    transport = reach.PublicOnly(httpx.MockTransport(answer))
    with httpx.Client(transport=transport, follow_redirects=True) as client, pytest.raises(Forbidden):
        client.get("https://1.1.1.1/start")
    assert asked == ["1.1.1.1 for 1.1.1.1"]


def test_tls_proves_the_name_that_was_asked_for() -> None:
    seen: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.extend([request.url.host, request.headers["Host"], request.extensions["sni_hostname"]])
        return httpx.Response(200)

    with httpx.Client(transport=reach.PublicOnly(httpx.MockTransport(answer))) as client:
        client.get("https://0x01010101/")
    assert seen == ["1.1.1.1", "0x01010101", "0x01010101"]


def test_a_redirect_may_not_leave_encryption() -> None:
    with (
        reach.client(private=True, schemes=frozenset({"https"}), deadline=reach.Deadline(1)) as client,
        pytest.raises(Forbidden, match="over http; allowed: https"),
    ):
        client.get("http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectTimeout("slow"), Temporary),
        (httpx.ReadTimeout("slow"), Temporary),
        (httpx.ConnectError("refused"), Temporary),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), Forbidden),
        (httpx.RemoteProtocolError("nonsense"), Temporary),
        (httpx.TooManyRedirects("round and round"), Permanent),
        (httpx.UnsupportedProtocol("gopher"), Permanent),
    ],
)
def test_what_httpx_raises_is_translated_and_chained(error: httpx.HTTPError, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised, reach.translated("https://host/x"):
        raise error
    assert raised.value.__cause__ is error
    assert "https://host/x" in str(raised.value)


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("", None), ("soon", None), ("-3", None), ("²", None)])
def test_retry_after_is_a_number_of_seconds(value: str, seconds: float | None) -> None:
    assert reach.retry_after(httpx.Headers([(b"Retry-After", value.encode())])) == seconds


def test_retry_after_may_be_a_date() -> None:
    assert reach.retry_after(httpx.Headers({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})) == 0.0


def test_a_deadline_that_passed_is_temporary() -> None:
    with pytest.raises(Temporary, match="longer than 0 s"):
        reach.Deadline(0).left()
