"""How to get into a cluster: its address, whom to believe there, and who we are.

A kubeconfig and a pod's own account are read by Kubernetes' own client, which knows contexts, certificates, token files
and exec plug-ins. Its import costs 0.9 s of CPU, most of it for what is not used here, so it is loaded for these two
alone; a cloud's adapter that knows its cluster (EKS, GKE, AKS) makes an Access without it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.errors import Invalid, Problem

if TYPE_CHECKING:
    from kubernetes.client import Configuration

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its own account.
https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api"""


@dataclass(frozen=True, slots=True)
class Access:
    """What it takes to call a cluster's API server."""

    server: str
    """https://…, without a slash at its end."""
    authority: str | None = None
    """Certificates (PEM) that may vouch for the server; None for those that this machine trusts anyway."""
    authority_file: str | None = None
    """The same, in a file."""
    token: Callable[[], str | None] = field(default=lambda: None, repr=False)
    """Gives a bearer token, asked before every call: whoever makes it renews it. None where another proof is used."""
    certificate_file: str | None = None
    """The client's certificate, and its key: another proof of who we are."""
    key_file: str | None = None
    basic: str | None = field(default=None, repr=False)
    """A whole Authorization header, for what is neither."""
    verify: bool = True
    server_name: str | None = None
    """The name in the server's certificate, where it is not the address's."""
    proxy: str | None = None
    namespace: str | None = None
    """Where its objects go that name no namespace; None where this access says nothing of it."""


def ambient(environ: Mapping[str, str] = os.environ, context: str | None = None) -> Access:
    """As kubectl finds its cluster: `KUBECONFIG`, else `~/.kube/config`, else the account of the pod that this runs in.

    Raises Invalid where there is none of the three, or no such context.
    """
    given = environ.get("KUBECONFIG")
    if given or Path("~/.kube/config").expanduser().exists():
        return from_kubeconfig(given or str(Path("~/.kube/config").expanduser()), context)
    if "KUBERNETES_SERVICE_HOST" in environ:
        return of_this_pod()
    fix = "Set KUBECONFIG, or run `aws eks update-kubeconfig`, `gcloud container clusters get-credentials` or the like."
    raise Invalid(Problem("KUBECONFIG", "is not set, there is no ~/.kube/config, and this is no pod", fix=fix))


def from_kubeconfig(paths: str, context: str | None = None) -> Access:
    """Of a context (None: the current one) of one file, or of several with `:` between them, as kubectl merges them.

    Raises Invalid for a file that cannot be read, and for a context that is not there, naming those that are.
    """
    _check_installed()
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, list_kube_config_contexts, load_kube_config
    from yaml import YAMLError

    known = Configuration()
    try:
        contexts, current = list_kube_config_contexts(paths)
        names = [each["name"] for each in contexts]
        if context is not None and context not in names:
            fix = f"It has: {', '.join(names)}."
            raise Invalid(Problem("context", "is not in the kubeconfig", context, fix))
        load_kube_config(paths, context=context, client_configuration=known, persist_config=False)
    except (ConfigException, YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        # It looks into what it has read before it knows that it is a mapping.
        fix = "`kubectl config view` reads it too; `kubectl config use-context NAME` chooses a context."
        raise Invalid(Problem("KUBECONFIG", f"cannot be used: {error}", paths, fix)) from error
    chosen = current if context is None else next(each for each in contexts if each["name"] == context)
    return _access(known, (chosen.get("context") or {}).get("namespace"))


def of_this_pod(folder: Path = ACCOUNT) -> Access:
    """Of the service account of the pod that this runs in; its token is read anew as the kubelet renews it.

    Raises Invalid where no account is mounted.
    """
    _check_installed()
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException
    from kubernetes.config.incluster_config import InClusterConfigLoader

    known = Configuration()
    loader = InClusterConfigLoader(str(folder / "token"), str(folder / "ca.crt"))
    try:
        loader.load_and_set(known)
    except ConfigException as error:
        fix = "Give the pod a service account, and leave automountServiceAccountToken true."
        raise Invalid(Problem("serviceAccountName", f"gives this pod no access: {error}", fix=fix)) from error
    try:
        namespace = (folder / "namespace").read_text().strip()
    except OSError:
        namespace = None
    return _access(known, namespace or None)


def _check_installed() -> None:
    if find_spec("kubernetes") is None:
        fix = "Install it: pip install 'slipway[kubernetes]'."
        raise Invalid(Problem("kubernetes", "is not installed, and reads the way into a cluster", fix=fix))


def _access(known: Configuration, namespace: str | None) -> Access:
    return Access(
        server=str(known.host).rstrip("/"),
        authority_file=known.ssl_ca_cert,
        token=_Token(known),
        certificate_file=known.cert_file,
        key_file=known.key_file,
        basic=_basic(known),
        verify=bool(known.verify_ssl),
        server_name=known.tls_server_name or None,
        proxy=_proxy(known),
        namespace=namespace,
    )


def _proxy(known: Configuration) -> str | None:
    """None also where `no_proxy` has the server."""
    from kubernetes.client.rest import should_bypass_proxies

    if not known.proxy or should_bypass_proxies(str(known.host), known.no_proxy or ""):
        return None
    return str(known.proxy)


def _basic(known: Configuration) -> str | None:
    return known.get_basic_auth_token() if known.username or known.password else None


class _Token:
    """The token that Kubernetes' client knows, which it renews (an exec plug-in, a mounted token) when it is asked."""

    def __init__(self, known: Any) -> None:
        self._known = known
        self._lock = threading.Lock()

    def __call__(self) -> str | None:
        with self._lock:
            header = self._known.get_api_key_with_prefix("BearerToken", alias="authorization")
        return str(header).split(" ", 1)[-1] if header else None
