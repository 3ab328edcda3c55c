"""ECR: the registry contract with ECR's logins, repositories made where they are missing, and images of a region.

moto gives the logins and keeps the repositories, but has no `/v2/`: a real registry that takes moto's login plays it.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests import services
from tests.contracts.registry_contract import LoginContract, RegistryContract
from tests.pushing import push
from tests.standins.aws.answers import Refusal, answering
from tests.standins.aws.moto_server import ACCOUNT, REGION, unique

from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.ecr import EcrCredentials, ecr_registry, ensure_repository
from slipway.adapters.oci.registry import OciRegistry
from slipway.errors import Forbidden, Invalid
from slipway.ports import Registry

LOGIN = ("AWS", f"{ACCOUNT}-auth-token")
"""What moto gives for one."""
HTPASSWD = "AWS:$2b$05$T7/Dm7J/j/QXxJrOb36A8.qjl3PzR6NrOejewKuy8wChIMIZptKHu\n"
"""bcrypt of it."""
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.oci_registry(tmp_path_factory.mktemp("registry"), HTPASSWD) as host:
        yield host


@pytest.mark.registry
class TestEcrRegistry(RegistryContract, LoginContract):
    @pytest.fixture
    def user(self) -> tuple[str, str]:
        return LOGIN

    @pytest.fixture
    def registry(self, aws: Clients, host: str) -> Registry:
        return OciRegistry(EcrCredentials(aws, also=frozenset({host})))

    @pytest.fixture
    def anonymous(self, aws: Clients) -> Registry:
        """To whose credentials this is no registry of ECR."""
        return OciRegistry(EcrCredentials(aws))

    @pytest.fixture
    def impostor(self) -> Registry:
        return OciRegistry(lambda registry: ("AWS", "a guess"))

    @pytest.fixture
    def present(self, host: str) -> str:
        push(host, "team/job", "1", LOGIN)
        return f"{host}/team/job:1"


class CountingEcr:
    """ECR's logins: a new one each time, for an hour."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.given = 0

    def __call__(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self.given += 1
        token = base64.b64encode(f"AWS:login-{self.given}".encode()).decode()
        data = {"authorizationToken": token, "expiresAt": self.now + 3600, "proxyEndpoint": f"https://{HOST}"}
        start("200 OK", [("Content-Type", "application/x-amz-json-1.1")])
        return [json.dumps({"authorizationData": [data]}).encode()]


class TestLogins:
    @pytest.fixture
    def ecr(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingEcr]:
        application = CountingEcr()
        with services.web(application) as host:
            monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"http://{host}")
            yield application

    @pytest.fixture
    def credentials(self, ecr: CountingEcr) -> EcrCredentials:
        return EcrCredentials(Clients(), clock=lambda: ecr.now)

    def test_a_login_is_used_until_a_minute_before_its_end(self, ecr: CountingEcr, credentials: EcrCredentials) -> None:
        for _ in range(3):
            assert credentials(HOST) == ("AWS", "login-1")
        ecr.now += 3539.0
        assert credentials(HOST) == ("AWS", "login-1")
        ecr.now += 1.0
        assert credentials(HOST) == ("AWS", "login-2")
        assert ecr.given == 2

    def test_threads_that_want_a_login_at_once_share_one(self, ecr: CountingEcr, credentials: EcrCredentials) -> None:
        with ThreadPoolExecutor(8) as pool:
            logins = Counter(pool.map(credentials, [HOST] * 40))
        assert logins == {("AWS", "login-1"): 40}
        assert ecr.given == 1

    def test_each_region_has_logins_of_its_own(self, ecr: CountingEcr, credentials: EcrCredentials) -> None:
        other = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
        assert [credentials(host) for host in (HOST, other, HOST, other)] == [
            ("AWS", f"login-{n}") for n in (1, 2, 1, 2)
        ]

    @pytest.mark.parametrize(
        "registry",
        [
            "docker.io",
            "public.ecr.aws",
            f"{HOST}.evil.example",
            f"evil.{HOST}",
            f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com:8443",
            f"1234.dkr.ecr.{REGION}.amazonaws.com",
            f"{ACCOUNT}.dkr.ecr.evil/.amazonaws.com",
        ],
    )
    def test_no_other_registry_gets_a_login(self, ecr: CountingEcr, credentials: EcrCredentials, registry: str) -> None:
        assert credentials(registry) is None
        assert ecr.given == 0

    def test_a_login_that_is_denied_says_what_to_allow(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        words = (
            f"User: arn:aws:sts::{ACCOUNT}:assumed-role/slipway-build/f is not authorized to perform:"
            " ecr:GetAuthorizationToken on resource: * because no identity-based policy allows it"
        )
        with answering(Refusal(400, "AccessDeniedException", words)) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", url)
            with pytest.raises(Forbidden, match=r'role slipway-build: .*"ecr:GetAuthorizationToken", "Resource": "\*"'):
                EcrCredentials(Clients())(HOST)


class TestHosts:
    @pytest.mark.parametrize(
        ("host", "region"),
        [
            (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1"),
            (f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            (f"{ACCOUNT}.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            (f"{ACCOUNT}.dkr-ecr.ap-southeast-2.on.aws", "ap-southeast-2"),
        ],
    )
    def test_each_form_of_a_host_is_known(self, host: str, region: str) -> None:
        found = ecr_registry(host)
        assert found is not None
        assert (found.account, found.region) == (ACCOUNT, region)


class TestRepositories:
    def test_a_missing_repository_is_made(self, aws: Clients) -> None:
        name = unique("team/jobs")
        ensure_repository(aws, f"{HOST}/{name}:3f2a")
        (made,) = aws.ecr.describe_repositories(repositoryNames=[name])["repositories"]
        assert made["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
        assert made["imageTagMutabilityExclusionFilters"] == [{"filterType": "WILDCARD", "filter": "cache"}]
        assert made["imageScanningConfiguration"] == {"scanOnPush": True}
        tags = aws.ecr.list_tags_for_resource(resourceArn=made["repositoryArn"])["tags"]
        assert tags == [{"Key": "slipway", "Value": "images"}]

    def test_one_that_is_there_is_left_as_it_is(self, aws: Clients) -> None:
        name = unique("team/jobs")
        aws.ecr.create_repository(repositoryName=name)
        ensure_repository(aws, f"{HOST}/{name}:3f2a")
        (there,) = aws.ecr.describe_repositories(repositoryNames=[name])["repositories"]
        assert there["imageTagMutability"] == "MUTABLE"

    def test_for_one_that_is_there_no_right_to_make_it_is_needed(
        self, aws: Clients, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with services.web(_Ecr("AccessDeniedException", there=True)) as host:
            monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"http://{host}")
            ensure_repository(Clients(), f"{HOST}/team/jobs:1")

    def test_it_is_made_in_the_region_of_the_image(self, aws: Clients) -> None:
        name = unique("team/jobs")
        ensure_repository(aws, f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/{name}:3f2a")
        there = aws.in_region("us-east-1").ecr.describe_repositories(repositoryNames=[name])["repositories"]
        assert [each["repositoryName"] for each in there] == [name]
        with pytest.raises(aws.ecr.exceptions.RepositoryNotFoundException):
            aws.ecr.describe_repositories(repositoryNames=[name])

    def test_those_who_make_it_at_once_all_succeed(self, aws: Clients) -> None:
        image = f"{HOST}/{unique('team/jobs')}:3f2a"
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda _: ensure_repository(aws, image), range(8))) == [None] * 8

    def test_one_that_was_made_in_the_meantime_is_as_good(self, aws: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
        with services.web(_Ecr("RepositoryAlreadyExistsException")) as host:
            monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"http://{host}")
            ensure_repository(Clients(), f"{HOST}/team/jobs:1")

    def test_without_the_right_to_make_it_the_message_names_the_right(
        self, aws: Clients, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with services.web(_Ecr("AccessDeniedException")) as host:
            monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"http://{host}")
            with pytest.raises(Forbidden, match=r"make the ECR repository team/jobs.*ecr:CreateRepository"):
                ensure_repository(Clients(), f"{HOST}/team/jobs:1")

    def test_what_is_no_reference_is_refused(self, aws: Clients) -> None:
        with pytest.raises(Invalid, match="image"):
            ensure_repository(aws, "UPPER/case")


class _Ecr:
    """A repository is there or not, and making one fails with a code."""

    def __init__(self, code: str, there: bool = False) -> None:
        self._code = code
        self._there = there

    def __call__(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        looks = environ["HTTP_X_AMZ_TARGET"].endswith(".DescribeRepositories")
        if looks and self._there:
            start("200 OK", [("Content-Type", "application/x-amz-json-1.1")])
            return [json.dumps({"repositories": [{"repositoryName": "team/jobs"}]}).encode()]
        words = (
            f"User: arn:aws:sts::{ACCOUNT}:assumed-role/slipway-build/f is not authorized to perform:"
            f" ecr:CreateRepository on resource: arn:aws:ecr:{REGION}:{ACCOUNT}:repository/team/jobs"
        )
        code = "RepositoryNotFoundException" if looks else self._code
        start("400 Bad Request", [("Content-Type", "application/x-amz-json-1.1")])
        return [json.dumps({"__type": code, "message": words}).encode()]
