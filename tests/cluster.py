"""The genuine Kubernetes of tests/k8s, as seen from outside of Slipway: by Kubernetes' own Python client."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.conditions import eventually
from tests.services import ROOT, missing

KIT = ROOT / "tests" / "k8s" / "cluster"
CURE = "start one with: make services (as root, for a node on which pods run)"


@cache
def kubeconfig() -> Path:
    """An administrator's. The cluster is the one that `SLIPWAY_TEST_KUBECONFIG` names, else the kit's."""
    if given := os.environ.get("SLIPWAY_TEST_KUBECONFIG"):
        return Path(given)
    done = subprocess.run([KIT, "kubeconfig"], capture_output=True, text=True, check=False)
    healthy = done.returncode == 0 and subprocess.run([KIT, "status"], capture_output=True, check=False).returncode == 0
    return Path(done.stdout.strip()) if healthy else missing("a Kubernetes cluster", CURE)


@cache
def kubeconfig_136() -> Path:
    """Of the server of custom resources of Kubernetes 1.36, which checks every field of one strictly."""
    path = kubeconfig().with_name("kubeconfig-1.36")
    return path if path.exists() else missing("the CRD server of Kubernetes 1.36", CURE)


@cache
def client() -> Any:
    """`kubernetes.client.ApiClient`, as administrator."""
    from kubernetes import config

    return config.new_client_from_config(str(kubeconfig()))


def core() -> Any:
    from kubernetes.client import CoreV1Api

    return CoreV1Api(client())


def batch() -> Any:
    from kubernetes.client import BatchV1Api

    return BatchV1Api(client())


def say_status(path: str, status: dict[str, Any]) -> None:
    """Writes the status of a custom resource (`/apis/<group>/<version>/namespaces/<namespace>/<plural>/<name>`), as its
    operator would."""
    from kubernetes.client import CustomObjectsApi

    _, _, group, version, _, namespace, plural, name = path.split("/")
    CustomObjectsApi(client()).patch_namespaced_custom_object_status(
        group,
        version,
        namespace,
        plural,
        name,
        {"status": status},
        _content_type="application/merge-patch+json",
    )


@cache
def node() -> str:
    """The name of a node on which pods really run."""
    nodes = core().list_node().items
    return str(nodes[0].metadata.name) if nodes else missing("a Kubernetes node", CURE)


@contextmanager
def namespace(prefix: str = "test") -> Iterator[str]:
    """A namespace of its own, in which pods can be made at once; asked to go away afterwards."""
    from kubernetes.client import V1Namespace, V1ObjectMeta

    name = f"{prefix}-{uuid.uuid4().hex[:10]}"
    core().create_namespace(V1Namespace(metadata=V1ObjectMeta(name=name)))
    try:
        # Pods are refused until their service account is there, and before Kubernetes 1.24 its token.
        eventually(lambda: any(each.secrets for each in core().list_namespaced_service_account(name).items))
        yield name
    finally:
        core().delete_namespace(name, grace_period_seconds=0)
