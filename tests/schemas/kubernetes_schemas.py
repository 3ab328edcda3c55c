"""Kubernetes' own schemas, strict (a field that it does not know is an error), and what a schema cannot say.

The API validates more than its schema does: what a label, a name or a variable may look like, and that the parts of a
pod fit together. The rules here are those of its documentation:
https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and …/labels/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate

VERSIONS = tuple(f"1.{minor}" for minor in range(25, 38))
"""Without the ones before 1.25, which no cloud runs any more."""
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")

Manifest = dict[str, Any]


class NoSchema(Exception):
    """A manifest was held against nothing: that is a failure."""


def check(manifest: Manifest, version: str) -> None:
    """Raises unless this version of Kubernetes has a schema for the manifest and the manifest keeps it."""
    used = kubernetes_validate.validate(manifest, version, strict=True)
    # The package takes an older version's schema where it has none of the version that is asked for.
    if used != version:
        raise NoSchema(f"there are no schemas of {version}; {used} was taken")


def check_all(manifest: Manifest) -> None:
    """Every version, and what no schema says."""
    assert not list(refusals(manifest))
    for version in VERSIONS:
        check(manifest, version)


def pods_of(value: Any) -> Iterator[Manifest]:
    """Every pod template in a manifest of any kind, as a Pod of its own: a custom resource has no schema here, and the
    pods in it have."""
    if isinstance(value, dict):
        spec = value.get("spec")
        if isinstance(spec, dict) and "containers" in spec:
            metadata = {"name": "pod", **(value.get("metadata") or {})}
            strangers = {key: value[key] for key in value if key not in ("metadata", "spec")}
            yield {**strangers, "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        for inner in value.values():
            yield from pods_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from pods_of(inner)


def refusals(manifest: Manifest) -> Iterator[str]:
    """What the API would refuse, and no schema says."""
    yield from _metadata(manifest["metadata"], manifest["kind"])
    for pod in pods_of(manifest.get("spec")):
        yield from _metadata(pod["metadata"], "Pod")
        yield from _pod(pod["spec"])


def _metadata(metadata: Manifest, kind: str) -> Iterator[str]:
    name = metadata.get("name", "")
    if not _DNS_SUBDOMAIN.fullmatch(name) or len(name) > (63 if kind == "Job" else 253):
        yield f"{kind} name {name!r}"
    for key, value in (metadata.get("labels") or {}).items():
        if not _LABEL_VALUE.fullmatch(value) or len(value) > 63:
            yield f"label {key} {value!r}"


def _pod(spec: Manifest) -> Iterator[str]:
    containers = [*spec["containers"], *spec.get("initContainers", ())]
    names, volumes = ([each["name"] for each in some] for some in (containers, spec.get("volumes") or ()))
    for name in (*names, *volumes):
        if not _DNS_LABEL.fullmatch(name):
            yield f"name {name!r}"
    for some in (names, volumes):
        if len(set(some)) < len(some):
            yield f"a name twice in {some}"
    for container in containers:
        yield from _container(container, volumes)


def _container(container: Manifest, volumes: list[str]) -> Iterator[str]:
    if not container.get("image"):
        yield f"container {container['name']} has no image"
    variables = [each["name"] for each in container.get("env") or ()]
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            yield f"variable {name!r}"
    for each in container.get("env") or ():
        if each.get("value") and each.get("valueFrom"):
            yield f"variable {each['name']} has two values"
    paths = [each["mountPath"] for each in container.get("volumeMounts") or ()]
    if len(set(paths)) < len(paths):
        yield f"a mount path twice in {paths}"
    for mount in container.get("volumeMounts") or ():
        if mount["name"] not in volumes:
            yield f"a mount of no volume {mount['name']!r}"
