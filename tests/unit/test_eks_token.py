"""How to get into a cluster of EKS: the token taken apart, sent as the cluster would send it, and its signature made
anew from AWS's description (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from tests.conditions import eventually
from tests.standins.aws.answers import Refusal, answering
from tests.standins.aws.moto_server import ACCOUNT, REGION, environment, unique

from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.eks import access, token
from slipway.errors import Forbidden, NotFound, Permanent, Refused

SECRET = environment("")["AWS_SECRET_ACCESS_KEY"]


def opened(text: str) -> str:
    """The URL in a token."""
    prefix, _, rest = text.partition(".")
    assert prefix == "k8s-aws-v1"
    assert "=" not in rest
    return base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4)).decode()


def signature(url: str, headers: dict[str, str]) -> str:
    """The signature that AWS computes of a GET of this URL with these headers."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    query.pop("X-Amz-Signature")
    signed = query["X-Amz-SignedHeaders"].split(";")
    sent = {**headers, "host": parts.netloc}
    canonical = "\n".join(
        [
            "GET",
            parts.path,
            "&".join(f"{quote(name, safe='~')}={quote(query[name], safe='~')}" for name in sorted(query)),
            *(f"{name}:{sent[name]}" for name in signed),
            "",
            ";".join(signed),
            hashlib.sha256(b"").hexdigest(),
        ]
    )
    scope = query["X-Amz-Credential"].partition("/")[2]
    text = "\n".join(["AWS4-HMAC-SHA256", query["X-Amz-Date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


class TestToken:
    def test_it_is_a_request_to_sts_of_who_we_are_good_for_a_minute(self, aws: Clients) -> None:
        query = parse_qs(urlsplit(opened(token(aws, "research"))).query)
        assert query["Action"] == ["GetCallerIdentity"]
        assert query["Version"] == ["2011-06-15"]
        assert query["X-Amz-Expires"] == ["60"]
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        assert query["X-Amz-Credential"][0].split("/")[2:] == [REGION, "sts", "aws4_request"]

    def test_its_address_is_that_of_the_regions_sts(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        """A cluster takes no other host."""
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        url = urlsplit(opened(token(Clients("eu-central-1"), "research")))
        assert (url.scheme, url.netloc, url.path) == ("https", "sts.eu-central-1.amazonaws.com", "/")

    def test_its_signature_is_right_and_covers_the_cluster(self, aws: Clients) -> None:
        url = opened(token(aws, "research"))
        query = parse_qs(urlsplit(url).query)
        assert query["X-Amz-SignedHeaders"] == ["host;x-k8s-aws-id"]
        assert query["X-Amz-Signature"] == [signature(url, {"x-k8s-aws-id": "research"})]
        assert query["X-Amz-Signature"] != [signature(url, {"x-k8s-aws-id": "production"})]

    def test_a_session_of_a_role_is_told_too(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", "a/session+token==")
        url = opened(token(Clients(), "research"))
        query = parse_qs(urlsplit(url).query)
        assert query["X-Amz-Security-Token"] == ["a/session+token=="]
        assert query["X-Amz-Signature"] == [signature(url, {"x-k8s-aws-id": "research"})]

    def test_whoever_sends_it_learns_who_we_are(self, aws: Clients) -> None:
        """moto finds the service of a call in a header alone, so what the URL says stands there once more."""
        url = opened(token(aws, "research"))
        (credential,) = parse_qs(urlsplit(url).query)["X-Amz-Credential"]
        routing = {"Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"}
        answer = httpx.get(url, headers={"x-k8s-aws-id": "research", **routing}).raise_for_status()
        assert "GetCallerIdentityResponse" in answer.text
        assert f"<Account>{ACCOUNT}</Account>" in answer.text

    def test_without_credentials_it_is_refused_with_the_cure(
        self, aws: Clients, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(Refused, match="aws sso login"):
            token(Clients(), "research")


class TestAccess:
    @pytest.fixture
    def cluster(self, aws: Clients) -> Iterator[str]:
        name = unique("research")
        role = f"arn:aws:iam::{ACCOUNT}:role/eks"
        aws.eks.create_cluster(name=name, roleArn=role, resourcesVpcConfig={"subnetIds": ["subnet-1", "subnet-2"]})
        yield name
        aws.eks.delete_cluster(name=name)

    def test_it_is_the_clusters_address_and_a_token(self, aws: Clients, cluster: str) -> None:
        known = aws.eks.describe_cluster(name=cluster)["cluster"]
        found = access(aws, cluster)
        assert found.server == known["endpoint"].rstrip("/")
        assert found.server.startswith("https://")
        assert "GetCallerIdentity" in opened(found.token() or "")

    def test_its_authority_is_the_certificate_itself(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        """EKS gives PEM in base64, as it stands in a kubeconfig; moto gives no certificate at all."""
        pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
        data = {"data": base64.b64encode(pem.encode()).decode()}
        with answering({"cluster": {"endpoint": "https://1.example", "certificateAuthority": data}}) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", url)
            assert access(Clients(), "research").authority == pem

    def test_the_token_is_not_shown(self, aws: Clients, cluster: str) -> None:
        found = access(aws, cluster)
        assert str(found.token()) not in repr(found)

    def test_a_token_is_made_anew_before_the_cluster_would_refuse_it(self, aws: Clients, cluster: str) -> None:
        """A token of another second is another token; so is one that is signed with another key."""
        now = [1000.0]
        found = access(aws, cluster, clock=lambda: now[0])
        first = found.token()
        eventually(lambda: token(aws, cluster) != first)
        now[0] += 599
        assert found.token() == first
        now[0] += 1
        assert found.token() != first

    def test_threads_that_ask_at_once_get_one_token(self, aws: Clients, cluster: str) -> None:
        found = access(aws, cluster)
        with ThreadPoolExecutor(8) as threads:
            assert len({each.result() for each in [threads.submit(found.token) for _ in range(64)]}) == 1

    def test_a_cluster_that_is_not_there_is_not_found(self, aws: Clients) -> None:
        with pytest.raises(NotFound, match="EKS cluster no-such-cluster"):
            access(aws, "no-such-cluster")

    @pytest.mark.parametrize(("status", "error"), [("CREATING", Refused), ("PENDING", Refused), ("FAILED", Permanent)])
    def test_one_without_an_address_says_in_which_state_it_is(
        self, aws: Clients, monkeypatch: pytest.MonkeyPatch, status: str, error: type[Exception]
    ) -> None:
        with answering({"cluster": {"name": "research", "status": status}}) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", url)
            with pytest.raises(error, match=f"no address, it is {status}"):
                access(Clients(), "research")

    def test_without_the_right_to_look_the_message_names_it(
        self, aws: Clients, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = (
            f"User: arn:aws:sts::{ACCOUNT}:assumed-role/slipway-advance/f is not authorized to perform:"
            f" eks:DescribeCluster on resource: arn:aws:eks:{REGION}:{ACCOUNT}:cluster/research"
        )
        with answering(Refusal(403, "AccessDeniedException", words)) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", url)
            with pytest.raises(Forbidden, match=r"role slipway-advance: .*cluster/research"):
                access(Clients(), "research")
