"""Addresses of image repositories: taken apart, and held against the rules (S10, S11)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.registries import Destination, Kind, broken_rule, destination, remark, without_login

ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
GAR = "us-central1-docker.pkg.dev"


def told(uri: str) -> str:
    """The rule that an address breaks, and the cure."""
    problem = broken_rule(uri, "destination")
    assert problem is not None
    return str(problem)


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        (
            f"https://{ECR}/my-repo.withdash-dot/andslash",
            Destination(
                Kind.ECR,
                f"{ECR}/my-repo.withdash-dot/andslash",
                ECR,
                "my-repo.withdash-dot/andslash",
                account="123456789012",
                region="us-west-2",
            ),
        ),
        (
            "https://myregistry.azurecr.io/my-repo",
            Destination(
                Kind.ACR, "myregistry.azurecr.io/my-repo", "myregistry.azurecr.io", "my-repo", account="myregistry"
            ),
        ),
        (
            f"https://{GAR}/my-project/my-repo/my-image",
            Destination(
                Kind.GAR,
                f"{GAR}/my-project/my-repo/my-image",
                GAR,
                "my-repo",
                region="us-central1",
                project="my-project",
                image="my-image",
            ),
        ),
        (
            "registry.example.com:5000/team/jobs/",
            Destination(Kind.OTHER, "registry.example.com:5000/team/jobs", "registry.example.com:5000", "team/jobs"),
        ),
    ],
)
def test_an_address_is_taken_apart(uri: str, parts: Destination) -> None:
    """S10."""
    assert destination(uri) == parts
    assert broken_rule(uri, "destination") is None


@pytest.mark.parametrize(
    "uri",
    [
        "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/a",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a",
        f"{GAR.upper()}/p/r/i",
        "team/jobs",
        "localhost:5000/jobs",
        "ghcr.io/team/jobs",
    ],
)
def test_any_registry_is_taken(uri: str) -> None:
    """S10."""
    assert broken_rule(uri, "destination") is None


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (f"{ECR}/my-repo:tag", "has a tag or digest, 'tag'"),
        (f"https://{GAR}/my-project/my-repo/my-image:tag", "has a tag or digest, 'tag'"),
        ("myregistry.azurecr.io/my-repo:tag", "has a tag or digest, 'tag'"),
        ("registry.example.com:5000/jobs:1", "has a tag or digest, '1'"),
        (f"registry.example.com/jobs@sha256:{'0' * 64}", "has a tag or digest"),
        (ECR, "names no repository"),
        ("myregistry.azurecr.io/", "names no repository"),
        (f"{GAR}/my-project/my-repo", "names no image"),
        (f"{GAR}/my-project", "names no image"),
        ("http://registry.example.com/jobs", "begins with http://"),
        ("docker://registry.example.com/jobs", "begins with docker://"),
        ("registry.example.com/Jobs", "is not a valid Docker image reference"),
        ("registry.example.com/a b", "whitespace"),
        ("", "is not a valid Docker image reference"),
        ("arn:aws:ecr:us-east-1:12:repository/a/b", "Write 12.dkr.ecr.us-east-1.amazonaws.com/a/b."),
    ],
)
def test_an_address_that_cannot_be_pushed_to_is_told_what_is_wrong(uri: str, words: str) -> None:
    """S11: the tag is the source's hash."""
    assert words in told(uri)


def test_a_login_in_an_address_is_refused_and_not_shown() -> None:
    for uri in ("https://me:hunter2@registry.example.com/jobs", "me:hunter2@registry.example.com/jobs"):
        assert "has a user name or password in it" in told(uri)
        assert "hunter2" not in told(uri)
    assert without_login("registry.example.com/jobs@sha256:0") == "registry.example.com/jobs@sha256:0"


def test_an_unknown_registry_is_remarked_upon() -> None:
    assert remark(destination(f"{ECR}/a")) == ""
    assert "whoever builds may push there" in remark(destination("ghcr.io/team/jobs"))
    assert "did you mean 12.dkr.ecr.eu-west-1.amazonaws.com?" in remark(
        destination("12.ecr.eu-west-1.amazonaws.com/jobs")
    )


@given(st.text(max_size=80) | st.from_regex(r"(https://)?[a-z.]+(:[0-9]+)?(/[a-z]+)*(:[a-z]+)?(@x)?", fullmatch=True))
def test_any_text_is_taken_apart(uri: str) -> None:
    assert destination(uri).kind in Kind
    problem = broken_rule(uri, "destination")
    assert problem is None or problem.rule
