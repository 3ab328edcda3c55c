"""How to get into a cluster of EKS: its address, and a token that says who we are.

The token is a request to STS, "who am I?", signed but not sent: the cluster sends it, and so learns our role.
https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from slipway.adapters.aws.failures import translated
from slipway.errors import Permanent, Refused

if TYPE_CHECKING:
    from slipway.adapters.aws.clients import Clients

PREFIX = "k8s-aws-v1."
CLUSTER = "x-k8s-aws-id"
"""The header that makes a token good for one cluster alone."""
GOOD_FOR = 60
"""Seconds within which the request must be sent. The cluster itself takes a token for 15 minutes from its making:
https://docs.aws.amazon.com/cli/latest/reference/eks/get-token.html"""


@dataclass(frozen=True, slots=True)
class Access:
    """What a client of Kubernetes needs."""

    endpoint: str
    """https://…"""
    certificate_authority: str
    """PEM in base64, as in a kubeconfig's `certificate-authority-data`."""
    token: str = field(repr=False)


def access(clients: Clients, cluster: str) -> Access:
    """Raises NotFound for a cluster that is not in this account and region, Refused while it is being made, and
    Forbidden without the right to `eks:DescribeCluster`."""
    with translated(f"look up the EKS cluster {cluster}"):
        known = clients.eks.describe_cluster(name=cluster)["cluster"]
    endpoint, authority = known.get("endpoint"), known.get("certificateAuthority", {}).get("data")
    if not endpoint or not authority:
        status = known.get("status", "")
        said = f"the EKS cluster {cluster} has no address, it is {status}"
        raise Refused(said, retry_after=60.0) if status in ("CREATING", "PENDING") else Permanent(said)
    return Access(endpoint, authority, token(clients, cluster))


def token(clients: Clients, cluster: str) -> str:
    """A bearer token for the cluster of this name. Nothing is sent for it. Raises Refused without credentials."""
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    with translated(f"sign in to the EKS cluster {cluster}"):
        query = urlencode({"Action": "GetCallerIdentity", "Version": "2011-06-15"})
        request = AWSRequest("GET", f"{clients.sts.meta.endpoint_url}/?{query}", headers={CLUSTER: cluster})
        SigV4QueryAuth(clients.credentials(), "sts", clients.region, expires=GOOD_FOR).add_auth(request)
    return PREFIX + urlsafe_b64encode(str(request.url).encode()).decode().rstrip("=")
