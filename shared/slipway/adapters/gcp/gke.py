"""How to get into a cluster of GKE: its address, and the access token of whatever credentials there are.

https://cloud.google.com/kubernetes-engine/docs/how-to/api-server-authentication#authenticating_users
"""

from __future__ import annotations

import threading
from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from slipway.adapters.gcp.failures import of_answer, translated
from slipway.adapters.kubernetes.access import Access
from slipway.errors import Permanent, Refused

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

SCOPES = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email")
"""With the second a cluster knows a service account by its address, as RoleBindings do, and not by its number alone:
https://cloud.google.com/kubernetes-engine/docs/how-to/role-based-access-control"""
CONTAINER = "https://container.googleapis.com"
TIMEOUT = 30.0
"""Seconds for one call."""


def access(
    project: str, location: str, cluster: str, credentials: Credentials | None = None, *, container: str = CONTAINER
) -> Access:
    """`location` is a region or a zone; `credentials` None are Google's default ones. Its token is renewed
    before its end.

    The address is that of the control plane, and its DNS name where the cluster has no address.
    https://cloud.google.com/kubernetes-engine/docs/reference/rest/v1/projects.locations.clusters/get

    Raises Invalid without credentials, NotFound for a cluster that is not there, Refused while it is being made and for
    credentials that are no longer good, and Forbidden without the right to `container.clusters.get`.
    """
    doing = f"look up the GKE cluster {project}/{location}/{cluster}"
    with translated(doing):
        known = credentials or _default()
        path = f"v1/projects/{quote(project)}/locations/{quote(location)}/clusters/{quote(cluster)}"
        found = _get(f"{container}/{path}", known, doing)
    address, authority = _address(found)
    if not address:
        status = str(found.get("status", ""))
        said = f"the GKE cluster {cluster} has no address, it is {status}"
        raise Refused(said, retry_after=60.0) if status == "PROVISIONING" else Permanent(said)
    return Access(server=f"https://{address}", authority=authority, token=_Token(known, cluster))


def _default() -> Credentials:
    import google.auth

    credentials, _ = google.auth.default(scopes=SCOPES)
    return credentials


def _get(url: str, credentials: Credentials, doing: str) -> Mapping[str, Any]:
    from google.auth.transport.requests import AuthorizedSession

    with AuthorizedSession(credentials) as session:  # type: ignore[no-untyped-call]
        answer = session.get(url, timeout=TIMEOUT)
    if answer.status_code != 200:
        raise of_answer(doing, answer.status_code, answer.text, answer.headers.get("Retry-After"))
    found: Mapping[str, Any] = answer.json()
    return found


def _address(found: Mapping[str, Any]) -> tuple[str, str | None]:
    """And who vouches for it: the cluster's own authority for its address, one that everybody knows for its DNS name.
    https://cloud.google.com/kubernetes-engine/docs/concepts/network-isolation#dns-based_endpoint"""
    ways = found.get("controlPlaneEndpointsConfig") or {}
    by_address = (ways.get("ipEndpointsConfig") or {}).get("enabled", True)
    authority = (found.get("masterAuth") or {}).get("clusterCaCertificate")
    if by_address and found.get("endpoint") and authority:
        return str(found["endpoint"]), b64decode(authority).decode("ascii", "replace")
    return str((ways.get("dnsEndpointConfig") or {}).get("endpoint") or ""), None


class _Token:
    """The credentials' own token, as long as they call it valid: until minutes before its end."""

    def __init__(self, credentials: Credentials, cluster: str) -> None:
        self._credentials = credentials
        self._cluster = cluster
        self._lock = threading.Lock()

    def __call__(self) -> str:
        from google.auth.transport.requests import Request

        with self._lock, translated(f"sign in to the GKE cluster {self._cluster}"):
            if not self._credentials.valid:
                self._credentials.refresh(Request())  # type: ignore[no-untyped-call]
            return str(self._credentials.token)
