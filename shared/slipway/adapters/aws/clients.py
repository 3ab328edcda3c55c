"""The clients of one AWS account and region: each is made when it is first asked for, once per process.

They are the same as boto3's, made by botocore's own session: what boto3 adds (resources, transfers) is used nowhere
here, and is 59 modules and some 20 ms of CPU of every cold start (docs/bench.md).

Region and credentials come from boto3's own chain (S9): environment (AWS_REGION too), profile, the role of the function
or machine.
`AWS_ENDPOINT_URL` and its per-service forms are botocore's too, and lead every call elsewhere:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any

from slipway.adapters.aws.failures import translated
from slipway.errors import Invalid, Problem

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials
    from mypy_boto3_codebuild import CodeBuildClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_eks import EKSClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

CONNECTIONS = 32
"""Kept open per client: as many threads as a busy process has."""


class Clients:
    """Safe for use by several threads. `region` None is boto3's own choice."""

    def __init__(self, region: str | None = None) -> None:
        self._region = region
        self._lock = Lock()
        self._session: Any = None
        self._made: dict[str, Any] = {}

    @property
    def region(self) -> str:
        """Raises Invalid where neither the settings nor boto3 know one."""
        with translated("tell the region"), self._lock:
            from botocore.exceptions import NoRegionError

            known = self._opened().get_config_variable("region")
            if not known:
                raise NoRegionError
            return str(known)

    def in_region(self, region: str) -> Clients:
        """The same account in another region; these themselves where it is theirs."""
        return self if region == self.region else Clients(region)

    def credentials(self) -> ReadOnlyCredentials:
        """As boto3's chain has them now, for what is signed but not sent. Raises Refused where there are none."""
        with translated("find AWS credentials"), self._lock:
            from botocore.exceptions import NoCredentialsError

            known = self._opened().get_credentials()
            if known is None:
                raise NoCredentialsError
            return known.get_frozen_credentials()  # type: ignore[no-any-return]

    @property
    def codebuild(self) -> CodeBuildClient:
        return self._client("codebuild")  # type: ignore[no-any-return]

    @property
    def dynamodb(self) -> DynamoDBClient:
        return self._client("dynamodb")  # type: ignore[no-any-return]

    @property
    def ecr(self) -> ECRClient:
        return self._client("ecr")  # type: ignore[no-any-return]

    @property
    def eks(self) -> EKSClient:
        return self._client("eks")  # type: ignore[no-any-return]

    @property
    def logs(self) -> CloudWatchLogsClient:
        return self._client("logs")  # type: ignore[no-any-return]

    @property
    def s3(self) -> S3Client:
        return self._client("s3")  # type: ignore[no-any-return]

    @property
    def sagemaker(self) -> SageMakerClient:
        return self._client("sagemaker")  # type: ignore[no-any-return]

    @property
    def secretsmanager(self) -> SecretsManagerClient:
        return self._client("secretsmanager")  # type: ignore[no-any-return]

    @property
    def sqs(self) -> SQSClient:
        return self._client("sqs")  # type: ignore[no-any-return]

    @property
    def ssm(self) -> SSMClient:
        return self._client("ssm")  # type: ignore[no-any-return]

    @property
    def sts(self) -> STSClient:
        return self._client("sts")  # type: ignore[no-any-return]

    def _client(self, service: str) -> Any:
        made = self._made.get(service)
        if made is None:
            with self._lock, translated(f"make a client of {service}"):
                if service not in self._made:
                    self._made[service] = self._make(service)
                made = self._made[service]
        return made

    def _make(self, service: str) -> Any:
        from botocore.config import Config

        # A step has a lease to keep: whoever does not answer in this time is looked at again by the next one.
        # 20 s of it are a long poll of SQS.
        config = Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=CONNECTIONS,
            user_agent_extra="slipway",
        )
        try:
            return self._opened().create_client(service, config=config)
        except ValueError as error:
            # Of botocore's check of an address, and of the region's as a part of one.
            if "endpoint" not in str(error).lower():
                raise
            fix = "Write it as https://host or http://host:port, or unset it"
            raise Invalid(Problem("AWS_ENDPOINT_URL", str(error), fix=fix)) from error

    def _opened(self) -> Any:
        """The session, made under the lock."""
        from botocore.session import Session

        if self._session is None:
            self._session = Session()
            # The AWS command line and every other SDK of AWS read AWS_REGION, boto3 only AWS_DEFAULT_REGION.
            if region := self._region or os.environ.get("AWS_REGION"):
                self._session.set_config_variable("region", region)
        return self._session
