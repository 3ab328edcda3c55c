"""Image references and WWW-Authenticate headers are read as their grammars have them, whatever they hold."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slipway.adapters.oci.challenge import challenges
from slipway.adapters.oci.reference import Reference, parse
from slipway.errors import Invalid

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("python", Reference("docker.io", "library/python")),
        ("python:3", Reference("docker.io", "library/python", "3")),
        ("team/job:1", Reference("docker.io", "team/job", "1")),
        ("docker.io/python", Reference("docker.io", "library/python")),
        ("index.docker.io/team/job", Reference("docker.io", "team/job")),
        ("localhost/job", Reference("localhost", "job")),
        ("127.0.0.1:5000/job:1", Reference("127.0.0.1:5000", "job", "1")),
        ("[::1]:5000/a/b:1", Reference("[::1]:5000", "a/b", "1")),
        ("ghcr.io/a/b__c/d-e.f:v1.2", Reference("ghcr.io", "a/b__c/d-e.f", "v1.2")),
        (f"ghcr.io/a/b@{DIGEST}", Reference("ghcr.io", "a/b", None, DIGEST)),
        (f"ghcr.io/a/b:1@{DIGEST}", Reference("ghcr.io", "a/b", "1", DIGEST)),
        (
            "123456789012.dkr.ecr.us-west-2.amazonaws.com/my-repo:f00",
            Reference("123456789012.dkr.ecr.us-west-2.amazonaws.com", "my-repo", "f00"),
        ),
    ],
)
def test_a_reference_is_taken_apart(image: str, reference: Reference) -> None:
    """S10, S11."""
    assert parse(image) == reference


@pytest.mark.parametrize(
    "image",
    [
        *("", "/", "UPPER", "a b", "a:", "a:b:c", "a@", "a@sha256:12", "-a", "a//b", "a/", "ghcr.io/", "ghcr.io/a:-b"),
        *("-x.y/a", "a.b:99999999/c", "https://ghcr.io/a", "../a", "a/../b", "a\n", "a:1\n", "é"),
        *("a:" + "t" * 129, "a/" * 130 + "a"),
    ],
)
def test_what_is_no_reference_is_refused(image: str) -> None:
    with pytest.raises(Invalid, match="image: "):
        parse(image)


def test_a_digest_says_more_than_a_tag() -> None:
    assert parse(f"a/b:1@{DIGEST}").manifest == DIGEST
    assert parse("a/b:1").manifest == "1"
    assert parse("a/b").manifest == "latest"


def test_the_api_of_docker_hub_is_on_a_host_of_its_own() -> None:
    assert parse("python").api_host == "registry-1.docker.io"
    assert parse("ghcr.io/a").api_host == "ghcr.io"


@given(st.text(alphabet=string.ascii_letters + string.digits + "/:@.-_[]é \n", max_size=40) | st.text(max_size=40))
@example("localhost/")
def test_parsing_is_total_and_what_it_writes_it_reads_again(image: str) -> None:
    try:
        reference = parse(image)
    except Invalid:
        return
    assert parse(str(reference)) == reference


names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True)
values = st.text(alphabet=string.printable.replace("\n", "").replace("\r", ""), max_size=20)


@given(
    st.dictionaries(
        names.map(str.lower),
        st.dictionaries(names.map(str.lower), values, min_size=1, max_size=4),
        min_size=1,
        max_size=3,
    )
)
def test_challenges_are_read_as_they_were_written(offered: dict[str, dict[str, str]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in offered.items()
    )
    assert challenges(header) == offered


@pytest.mark.parametrize(
    ("header", "offered"),
    [
        ("", {}),
        ("Basic", {"basic": {}}),
        ("Negotiate, Basic realm=here", {"negotiate": {}, "basic": {"realm": "here"}}),
        ("Negotiate YWJj==, BASIC Realm = here", {"negotiate": {}, "basic": {"realm": "here"}}),
        ('Bearer realm="https://a/b",service="x,y"', {"bearer": {"realm": "https://a/b", "service": "x,y"}}),
    ],
)
def test_challenges_of_the_rfc(header: str, offered: dict[str, dict[str, str]]) -> None:
    assert challenges(header) == offered


@given(st.text(max_size=60))
def test_reading_a_header_is_total(header: str) -> None:
    challenges(header)
