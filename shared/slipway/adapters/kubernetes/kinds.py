"""Which objects a cluster knows, and under which path: what its discovery says of an apiVersion and a kind."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from slipway.adapters.kubernetes.api import Api
from slipway.errors import Invalid, NotFound, Problem, nearest

INSTALL: Mapping[str, str] = {
    "kubeflow.org": "kubectl apply --server-side -k "
    "'github.com/kubeflow/training-operator.git/manifests/overlays/standalone?ref=v1.9.0'",
    "trainer.kubeflow.org": "kubectl apply --server-side -k "
    "'github.com/kubeflow/trainer.git/manifests/overlays/manager?ref=v2.0.0'",
    "batch.volcano.sh": "kubectl apply -f "
    "https://raw.githubusercontent.com/volcano-sh/volcano/master/installer/volcano-development.yaml",
    "jobset.x-k8s.io": "kubectl apply --server-side -f "
    "https://github.com/kubernetes-sigs/jobset/releases/latest/download/manifests.yaml",
    "ray.io": "kubectl create -k 'github.com/ray-project/kuberay/ray-operator/config/default?ref=v1.4.0'",
    "argoproj.io": "kubectl apply -n argo -f "
    "https://github.com/argoproj/argo-workflows/releases/latest/download/install.yaml",
}
"""API group → what its project's own page says to run."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object in one version of its group."""

    api_version: str
    """`batch/v1`; `v1` of the core group."""
    kind: str
    plural: str
    """`jobs`: its word in paths and in Roles."""

    def collection(self, namespace: str | None) -> str:
        """The path of its objects in a namespace; None for those of all namespaces."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        return f"{root}/namespaces/{quote(namespace, safe='')}/{self.plural}" if namespace else f"{root}/{self.plural}"

    def path(self, namespace: str, name: str) -> str:
        """Of one object."""
        return f"{self.collection(namespace)}/{quote(name, safe='')}"


JOB = Kind("batch/v1", "Job", "jobs")
POD = Kind("v1", "Pod", "pods")
SECRET = Kind("v1", "Secret", "secrets")
EVENT = Kind("v1", "Event", "events")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SERVICE = Kind("v1", "Service", "services")
_API_VERSION = re.compile(r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?v[0-9][a-z0-9]*")
"""It becomes part of a path, and a submitter may have written it."""
# What runs and builds are mostly made of: of these no cluster is asked.
_KNOWN = {(each.api_version, each.kind): each for each in (JOB, POD, SECRET, EVENT, CONFIG_MAP, SERVICE)}


class Kinds:
    """What a cluster's discovery says, asked once per version of a group. Safe for use by several threads.
    https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api"""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known = dict(_KNOWN)
        self._lock = threading.Lock()

    def find(self, api_version: str, kind: str) -> Kind:
        """Raises Invalid for a kind that the cluster does not have, and for one whose objects are in no namespace."""
        if not _API_VERSION.fullmatch(api_version):
            fix = "Write batch/v1, or kubeflow.org/v1."
            raise Invalid(Problem("resource_args.apiVersion", "is no version of an API group", api_version, fix))
        with self._lock:
            known = self._known.get((api_version, kind))
        return known or self._discovered(api_version, kind)

    def _discovered(self, api_version: str, kind: str) -> Kind:
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            listed = self._api.get(root, f"look up the kind {kind} of {api_version}").get("resources") or []
        except NotFound as error:
            raise Invalid(_unknown_version(api_version, kind)) from error
        names = {each["kind"]: each for each in listed if "/" not in each["name"]}
        if kind not in names:
            fix = nearest(kind, names)
            raise Invalid(Problem("resource_args.kind", f"is no kind of {api_version} in this cluster", kind, fix))
        if not names[kind].get("namespaced"):
            fix = "A run is an object of a namespace: a Job, a PyTorchJob, a JobSet."
            raise Invalid(Problem("resource_args.kind", "is of the whole cluster, and a run is not", kind, fix))
        found = Kind(api_version, kind, names[kind]["name"])
        with self._lock:
            self._known[api_version, kind] = found
        return found


def _unknown_version(api_version: str, kind: str) -> Problem:
    group = api_version.partition("/")[0]
    install = INSTALL.get(group)
    fix = f"Install it: {install}" if install else "Install the operator that brings it: `kubectl api-resources` lists"
    fix = fix if install else f"{fix} what there is."
    rule = f"is not served by this cluster, so it knows no {kind}: its CRD is missing"
    return Problem("resource_args.apiVersion", rule, api_version, fix)
