"""How to get into a cluster of AKS: its address out of the kubeconfig that Azure gives, and a token of Microsoft Entra.

https://learn.microsoft.com/en-us/rest/api/aks/managed-clusters/list-cluster-user-credentials
"""

from __future__ import annotations

import threading
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from slipway.adapters.azure.failures import of_answer, translated
from slipway.adapters.kubernetes.access import Access
from slipway.errors import Invalid, Permanent, Refused

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

SERVER = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
"""The application that every cluster of AKS is in Microsoft Entra: a token is for it.
https://azure.github.io/kubelogin/concepts/aks.html#azure-kubernetes-service-aad-server"""
MANAGEMENT = "https://management.azure.com"
API_VERSION = "2025-10-01"
RIGHT = "Microsoft.ContainerService/managedClusters/listClusterUserCredential/action"
"""Of the role Azure Kubernetes Service Cluster User Role.
https://learn.microsoft.com/en-us/azure/role-based-access-control/built-in-roles/containers"""
MARGIN = 300.0
"""Seconds before its end at which a token is not used any more."""
TIMEOUT = 30.0
"""Seconds for one call."""


def access(
    subscription: str,
    group: str,
    cluster: str,
    credential: TokenCredential | None = None,
    *,
    management: str = MANAGEMENT,
    clock: Callable[[], float] = time.time,
) -> Access:
    """`group` is the resource group; `credential` None is Azure's default one. The token is renewed before its end. A
    cluster without Microsoft Entra has a token of its own in its kubeconfig, and keeps it. `clock` gives Unix seconds.

    Raises Invalid without credentials, NotFound for a cluster that is not there, Refused while it is being made, and
    Forbidden without the right to `listClusterUserCredential`.
    """
    doing = f"look up the AKS cluster {group}/{cluster}"
    with translated(doing):
        known = credential or _default()
        path = f"subscriptions/{quote(subscription)}/resourceGroups/{quote(group)}/providers/Microsoft.ContainerService"
        found = _post(f"{management}/{path}/managedClusters/{quote(cluster)}", known, doing)
    place, user = _current(found, cluster)
    own = user.get("token")
    return Access(
        server=str(place["server"]).rstrip("/"),
        authority=b64decode(place["certificate-authority-data"]).decode("ascii", "replace"),
        token=(lambda: str(own)) if own else _Token(known, cluster, clock),
    )


def _default() -> TokenCredential:
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


def _post(cluster: str, credential: TokenCredential, doing: str) -> Mapping[str, Any]:
    import httpx

    # Whichever management it is, Azure's own audience is the one that every one of them takes.
    token = credential.get_token(f"{MANAGEMENT}/.default").token
    answer = httpx.post(
        f"{cluster}/listClusterUserCredential",
        params={"api-version": API_VERSION},
        headers={"Authorization": f"Bearer {token}"},
        timeout=TIMEOUT,
    )
    if answer.status_code == 403:
        raise of_answer(f"{doing} (it takes the right to {RIGHT})", 403, answer.text)
    if answer.status_code != 200:
        raise of_answer(doing, answer.status_code, answer.text, answer.headers.get("Retry-After"))
    found: Mapping[str, Any] = answer.json()
    return found


def _current(found: Mapping[str, Any], cluster: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The cluster and the user of the kubeconfig's one context."""
    import yaml

    given = found.get("kubeconfigs") or []
    if not given:
        raise Refused(f"the AKS cluster {cluster} has no kubeconfig yet: it is being made", retry_after=60.0)
    try:
        config = yaml.safe_load(b64decode(given[0]["value"]))
        place: Mapping[str, Any] = config["clusters"][0]["cluster"]
        user: Mapping[str, Any] = config["users"][0]["user"]
        missing = {"server", "certificate-authority-data"} - place.keys()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, yaml.YAMLError):
        # Not chained: what cannot be read may hold a key.
        raise Permanent(f"the kubeconfig that Azure gives of the AKS cluster {cluster} cannot be read") from None
    if missing:
        raise Permanent(f"the kubeconfig that Azure gives of the AKS cluster {cluster} has no {min(missing)}")
    return place, user


class _Token:
    """The last token, as long as it is good for more than MARGIN. Not every credential keeps its own: that of the Azure
    command line starts a program each time."""

    def __init__(self, credential: TokenCredential, cluster: str, clock: Callable[[], float]) -> None:
        self._credential = credential
        self._cluster = cluster
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[str, float] | None = None

    def __call__(self) -> str:
        with self._lock:
            if self._last is None or self._clock() >= self._last[1] - MARGIN:
                self._last = self._renewed()
            return self._last[0]

    def _renewed(self) -> tuple[str, float]:
        try:
            with translated(f"sign in to the AKS cluster {self._cluster}"):
                made = self._credential.get_token(SERVER)
        except Invalid as error:
            # They were there when the cluster was looked up: nothing is lost by waiting for them.
            raise Refused(error.message, retry_after=60.0) from error
        return made.token, float(made.expires_on)
