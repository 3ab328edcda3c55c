"""How to get into a cluster of EKS: its address, and a token that says who we are.

The token is a request to STS, "who am I?", signed but not sent: the cluster sends it, and so learns our role.
https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster
"""

from __future__ import annotations

import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from slipway.adapters.aws.failures import translated
from slipway.adapters.kubernetes.access import Access
from slipway.errors import Permanent, Refused

if TYPE_CHECKING:
    from slipway.adapters.aws.clients import Clients

PREFIX = "k8s-aws-v1."
CLUSTER = "x-k8s-aws-id"
"""The header that makes a token good for one cluster alone."""
GOOD_FOR = 60
"""Seconds, as every client of EKS writes them into the request. STS and the cluster count 15 minutes from its making
all the same: https://github.com/kubernetes-sigs/aws-iam-authenticator/blob/master/pkg/token/token.go"""
RENEWED_AFTER = 600.0
"""Seconds after which a new token is made: well within those 15 minutes, and within the ten for which botocore makes
sure that a role's credentials are still good when it hands them out."""


def access(clients: Clients, cluster: str, *, clock: Callable[[], float] = time.monotonic) -> Access:
    """Its token is renewed as it is asked for; nothing is sent for that. `clock` gives seconds, of which only
    differences count.

    Raises NotFound for a cluster that is not in this account and region, Refused while it is being made, and
    Forbidden without the right to `eks:DescribeCluster`. Its token raises Refused without credentials.
    """
    with translated(f"look up the EKS cluster {cluster}"):
        known = clients.eks.describe_cluster(name=cluster)["cluster"]
    endpoint, authority = known.get("endpoint"), known.get("certificateAuthority", {}).get("data")
    if not endpoint or not authority:
        status = known.get("status", "")
        said = f"the EKS cluster {cluster} has no address, it is {status}"
        raise Refused(said, retry_after=60.0) if status in ("CREATING", "PENDING") else Permanent(said)
    return Access(
        server=endpoint.rstrip("/"),
        authority=b64decode(authority).decode("ascii", "replace"),
        token=_Token(clients, cluster, clock),
    )


def token(clients: Clients, cluster: str) -> str:
    """A bearer token for the cluster of this name. Nothing is sent for it. Raises Refused without credentials."""
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    with translated(f"sign in to the EKS cluster {cluster}"):
        query = urlencode({"Action": "GetCallerIdentity", "Version": "2011-06-15"})
        request = AWSRequest("GET", f"{clients.sts.meta.endpoint_url}/?{query}", headers={CLUSTER: cluster})
        SigV4QueryAuth(clients.credentials(), "sts", clients.region, expires=GOOD_FOR).add_auth(request)
    return PREFIX + urlsafe_b64encode(str(request.url).encode()).decode().rstrip("=")


class _Token:
    """The last token made, as long as it is young enough."""

    def __init__(self, clients: Clients, cluster: str, clock: Callable[[], float]) -> None:
        self._clients = clients
        self._cluster = cluster
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[str, float] | None = None

    def __call__(self) -> str:
        with self._lock:
            if self._last is None or self._clock() - self._last[1] >= RENEWED_AFTER:
                self._last = token(self._clients, self._cluster), self._clock()
            return self._last[0]
