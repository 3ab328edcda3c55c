"""ECR, where the OCI registry adapter leaves off: logins, repositories, and which images a region can use."""

from __future__ import annotations

import re
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from slipway.adapters.aws.failures import code_of, translated
from slipway.adapters.oci.reference import Reference, parse
from slipway.errors import NotFound, Permanent

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecr.type_defs import CreateRepositoryRequestTypeDef, DescribeRepositoriesRequestTypeDef

    from slipway.adapters.aws.clients import Clients

MARGIN = 60.0
"""Seconds before its end at which a login is not handed out any more."""
CACHE_TAG = "cache"
"""The tag under which a builder keeps its layers, pushed anew by every build."""

_HOST = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z]{2}[a-z0-9-]+-\d+)"
    r"\.(?:amazonaws\.(?:com|com\.cn|eu)|on\.aws|on\.amazonwebservices\.com\.cn)"
)
"""https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html, and with IPv6:
https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-requests.html"""


@dataclass(frozen=True, slots=True)
class EcrRegistry:
    """What the host of a private registry of ECR says."""

    account: str
    region: str


def ecr_registry(host: str) -> EcrRegistry | None:
    """None for a host that is no private registry of ECR."""
    found = _HOST.fullmatch(host)
    return None if found is None else EcrRegistry(found["account"], found["region"])


class EcrCredentials:
    """Registry → user and password, for `OciRegistry`. Safe for use by several threads.

    Only registries of ECR, and the hosts in `also` (of private endpoints), get one: a login must not go elsewhere. It
    is good for every registry of its region that the caller may use, for 12 hours, and used until a minute before.
    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
    """

    def __init__(
        self, clients: Clients, *, also: frozenset[str] = frozenset(), clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` gives seconds since the Unix epoch."""
        self._clients = clients
        self._also = also
        self._clock = clock
        self._lock = Lock()
        self._known: dict[str, tuple[tuple[str, str], float]] = {}

    def __call__(self, registry: str) -> tuple[str, str] | None:
        """Raises Forbidden without the right to `ecr:GetAuthorizationToken`."""
        known = ecr_registry(registry)
        if known is None and registry not in self._also:
            return None
        region = self._clients.region if known is None else known.region
        with self._lock:
            login, end = self._known.get(region, (("", ""), 0.0))
            if self._clock() >= end - MARGIN:
                login, end = self._fresh(region)
                self._known[region] = login, end
            return login

    def _fresh(self, region: str) -> tuple[tuple[str, str], float]:
        with translated("log in to ECR"):
            answer = self._clients.in_region(region).ecr.get_authorization_token()
        for data in answer["authorizationData"]:
            user, colon, password = b64decode(data["authorizationToken"]).decode().partition(":")
            if colon:
                return (user, password), data["expiresAt"].timestamp()
        raise Permanent(f"ECR in {region} gives no login")


def ensure_repository(clients: Clients, image: str) -> None:
    """The repository of this image is there, made now where it was missing.

    Tags cannot be moved: an image's tag says what it was built from, and what was looked for and found must be what
    runs. Images are scanned as they are pushed. Raises Forbidden without the right to look (`ecr:DescribeRepositories`)
    or, where it is missing, to make it (`ecr:CreateRepository` and `ecr:TagResource`), and Invalid for no reference.
    """
    reference = parse(image)
    registry = ecr_registry(reference.registry)
    ecr = (clients if registry is None else clients.in_region(registry.region)).ecr
    if not _is_there(ecr, reference, registry):
        _create(ecr, reference, registry)


def _is_there(ecr: ECRClient, reference: Reference, registry: EcrRegistry | None) -> bool:
    request: DescribeRepositoriesRequestTypeDef = {"repositoryNames": [reference.repository]}
    if registry is not None:
        request["registryId"] = registry.account
    try:
        with translated(f"look for the ECR repository {reference.repository}"):
            ecr.describe_repositories(**request)
    except NotFound:
        return False
    return True


def _create(ecr: ECRClient, reference: Reference, registry: EcrRegistry | None) -> None:
    request: CreateRepositoryRequestTypeDef = {
        "repositoryName": reference.repository,
        "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": CACHE_TAG}],
        "imageScanningConfiguration": {"scanOnPush": True},
        "tags": [{"Key": "slipway", "Value": "images"}],
    }
    if registry is not None:
        request["registryId"] = registry.account
    try:
        with translated(f"make the ECR repository {reference.repository}"):
            ecr.create_repository(**request)
    except Permanent as error:
        # Someone else made it in the meantime.
        if not isinstance(error.__cause__, Exception) or code_of(error.__cause__) != "RepositoryAlreadyExistsException":
            raise
