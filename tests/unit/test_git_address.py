"""Which repository addresses are taken, and that refusing one gives nothing away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.adapters.local.git_address import Address, parse
from slipway.errors import Invalid


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("https://github.com/a/b.git", Address("https", "/a/b.git", "github.com")),
        ("https://user@host.example:8443/a", Address("https", "/a", "host.example", 8443, "user")),
        ("ssh://git@github.com/a/b.git", Address("ssh", "/a/b.git", "github.com", None, "git")),
        ("ssh://[::1]:2222/a", Address("ssh", "/a", "::1", 2222)),
        ("git@github.com:a/b.git", Address("ssh", "a/b.git", "github.com", None, "git")),
    ],
)
def test_https_and_ssh_are_taken(uri: str, address: Address) -> None:
    assert parse(uri, local_paths=False, insecure=False) == address


REFUSED = [
    *("", "-oProxyCommand=x", "ext::sh -c id", "ext::sh", "file:///x", "/local/path", "relative", "~/x", "C:/x"),
    *("http://host/x", "git://host/x", "ftp://host/x", "fd::17", "host:path", "https://", "https:///x", "https://host"),
    *("https://host/", "ssh://-oProxyCommand=x/y", "ssh://host/", "-x@host:y", "u@-host:y", "u@host:-y", "u@host:"),
    *("https://host:port/x", "https://host:99999/x", "https://host/x?y", "https://host/x#y", "https://h st/x"),
    *("https://host/x\n", "https://hôst/x", "u@[::1]:x", "u@host::x", "HTTPS//host/x", "javascript:alert(1)"),
]


@pytest.mark.parametrize("uri", REFUSED)
def test_everything_else_is_refused(uri: str) -> None:
    """W&B's own list (reference, section 2): https://, ssh:// and user@host:path."""
    with pytest.raises(Invalid, match="uri: "):
        parse(uri, local_paths=False, insecure=False)


@pytest.mark.parametrize("uri", ["http://host/x", "git://host:9999/x"])
def test_an_operator_may_allow_what_proves_nothing(uri: str) -> None:
    assert str(parse(uri, local_paths=False, insecure=True)) == uri


@pytest.mark.parametrize(("uri", "path"), [("/a/b", "/a/b"), ("file:///a%20b", "/a b"), ("file://localhost/a", "/a")])
def test_an_operator_may_allow_paths(uri: str, path: str) -> None:
    assert parse(uri, local_paths=True, insecure=False) == Address("file", path)


@pytest.mark.parametrize("uri", ["relative/path", "~/x", "./x", "file://host/x", "file:x", "file:///a%00b", "ext::sh"])
def test_a_path_must_be_absolute_and_of_this_machine(uri: str) -> None:
    with pytest.raises(Invalid, match="uri: "):
        parse(uri, local_paths=True, insecure=True)


@pytest.mark.parametrize(
    "uri",
    [
        "https://user:s3cret@host/x",
        "https://:s3cret@host/x",
        "ssh://user:s3cret@host/x",
        "https://user:s3cret@host:port/x",
        "https://user:s3cret@host/x y",
        "https://host/x?token=s3cret",
        "http://user:s3cret@host/x",
        "ftp://user:s3cret@host/x",
    ],
)
def test_a_password_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(Invalid) as raised:
        parse(uri, local_paths=False, insecure=False)
    assert "s3cret" not in str(raised.value)


def test_a_user_name_is_in_no_message() -> None:
    """It may be a token: `https://ghp_…@github.com/a/b`."""
    assert str(parse("https://ghp_token@github.com/a/b", local_paths=False, insecure=False)) == "https://github.com/a/b"


@given(st.text(max_size=60) | st.from_regex(r"[a-z]{2,5}://[^ ]{0,30}", fullmatch=True))
def test_parsing_is_total_and_gives_a_host_or_a_refusal(uri: str) -> None:
    try:
        address = parse(uri, local_paths=False, insecure=False)
    except Invalid:
        return
    assert address.scheme in ("https", "ssh")
    assert address.host
    assert not address.host.startswith("-")
    assert not address.path.startswith("-")
