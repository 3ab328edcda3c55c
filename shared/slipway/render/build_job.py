"""What builds in a cluster have in common, whatever builds: one Kubernetes Job, to which the queue's owner adds. Pure.

The owner's fragment (`kaniko-config`, `buildah-config`) is laid under what a build is, and what it says stands; names
and defaults are W&B Launch's, so that a config moves over as it is (S12).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from slipway.errors import Problem
from slipway.model import Json
from slipway.registries import Destination, Kind

DEADLINE = 1800
"""Seconds of a build's pod."""
DOCKERFILE = "Dockerfile.wandb"
"""Where a context has its Dockerfile."""
CLAIMED = "/context"
"""Where the claim that holds contexts is mounted."""
AUTH_KEY, CONTEXT_KEY = ".dockerconfigjson", "context"
"""What the Secret of a build holds: the registry's login, and the right to read its context."""
LABELS: Mapping[str, str] = {"wandb": "launch"}
_WORDS = {Kind.ECR: "ecr", Kind.ACR: "acr", Kind.GAR: "gar", Kind.OTHER: "other"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how a build's Job runs."""

    namespace: str = "wandb"
    service_account: str = "default"
    registry: str = "other"
    """ecr, acr, gar or other."""
    region: str | None = None
    """Of an ECR registry."""
    azure_storage: bool = False
    """The context lies in Azure Blob Storage, read with a key."""
    claim: str | None = None
    """A PersistentVolumeClaim that holds contexts in place of a bucket."""
    docker_config: str | None = None
    """A Secret with the registry's login, as `.dockerconfigjson`."""

    def pushing_to(self, destination: Destination) -> Place:
        """The same, with what the address of the registry tells."""
        return replace(self, registry=_WORDS[destination.kind], region=destination.region)


class Render(Protocol):
    def __call__(
        self,
        *,
        name: str,
        context: str,
        image: str,
        config: Mapping[str, Json],
        place: Place,
        build_args: Mapping[str, str],
        platform: str | None,
    ) -> dict[str, Any]:
        """The Job that builds `image` from the context. `config` is the queue's `builder`. Raises Invalid."""
        ...


@dataclass(frozen=True, slots=True)
class Flavour:
    """One way to build in a cluster."""

    name: str
    """The builder's type."""
    job: Render
    beside: Callable[[str, Mapping[str, Json], Place, str], Sequence[dict[str, Any]]]
    """(the Job's name, the queue's `builder`, place, the registry's host) → ConfigMaps that the Job mounts."""
    by_right: bool
    """Whether its pod reads the context with a right that is handed to it, and not with an identity of its own."""

    @property
    def fragment(self) -> str:
        """The key of `builder` that holds the owner's part of the Job."""
        return f"{self.name}-config"


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume, and where the container has it."""

    volume: Mapping[str, Json]
    at: Mapping[str, Json]


def claimed(claim: str) -> Mount:
    """The volume with contexts."""
    volume = {"name": "kaniko-pvc", "persistentVolumeClaim": {"claimName": claim}}
    return Mount(volume, {"name": "kaniko-pvc", "mountPath": CLAIMED})


def from_secret(volume: str, secret: str, key: str, folder: str, file: str) -> Mount:
    """One key of a Secret as a file."""
    items = [{"key": key, "path": file}]
    return Mount(
        {"name": volume, "secret": {"secretName": secret, "items": items}}, {"name": volume, "mountPath": folder}
    )


def own_container(config: Mapping[str, Json], key: str) -> dict[str, Any]:
    """The container that the owner's fragment has, {} where it has none."""
    inside: Any = config.get(key)
    for field in ("spec", "template", "spec"):
        inside = (inside or {}).get(field)
    return dict(((inside or {}).get("containers") or [{}])[0])


def assemble(
    config: Mapping[str, Json],
    key: str,
    *,
    name: str,
    place: Place,
    container: Mapping[str, Json],
    mounts: Sequence[Mount],
    pod_labels: Mapping[str, str] = {},
) -> dict[str, Any]:
    """The Job: the owner's fragment with a build's own parts. `container` holds what the owner's does already."""
    body = copy.deepcopy(dict(config.get(key) or {}))
    spec: dict[str, Any] = body.get("spec") or {}
    template: dict[str, Any] = spec.get("template") or {}
    pod: dict[str, Any] = template.get("spec") or {}
    metadata, pod_metadata = body.get("metadata") or {}, template.get("metadata") or {}
    mounted = {**container, "volumeMounts": [*(container.get("volumeMounts") or []), *(each.at for each in mounts)]}
    return {
        **body,
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            **metadata,
            "name": metadata.get("name", name),
            "namespace": metadata.get("namespace", place.namespace),
            "labels": {**(metadata.get("labels") or {}), **LABELS},
        },
        "spec": {
            **spec,
            "backoffLimit": spec.get("backoffLimit", 0),
            "template": {
                **template,
                "metadata": {
                    **pod_metadata,
                    "labels": {**(pod_metadata.get("labels") or {}), **LABELS, **pod_labels},
                },
                "spec": {
                    **pod,
                    "restartPolicy": pod.get("restartPolicy", "Never"),
                    "activeDeadlineSeconds": pod.get("activeDeadlineSeconds", DEADLINE),
                    "serviceAccountName": pod.get("serviceAccountName", place.service_account),
                    "containers": [mounted],
                    "volumes": [*(pod.get("volumes") or []), *(each.volume for each in mounts)],
                },
            },
        },
    }


def options(ours: Mapping[str, str], owners: Sequence[str]) -> list[str]:
    """Arguments `--name=value`: ours, and the owner's over them by name. One that the owner repeats is repeated."""
    owns: dict[str, list[str]] = {}
    for each in owners:
        name, _, value = each.partition("=")
        owns.setdefault(name, []).append(value)
    words = {**{name: [value] for name, value in ours.items()}, **owns}
    return [f"{name}={value}" for name, values in words.items() for value in values]


def shape_problems(config: Mapping[str, Json], key: str) -> list[Problem]:
    """What would be lost of a fragment: a second container, an argument that is not `--name=value`."""
    problems = []
    inside: Any = config.get(key)
    for field in ("spec", "template", "spec"):
        inside = (inside or {}).get(field)
    if len((inside or {}).get("containers") or []) > 1:
        rule = "has more than one container, and a build runs in one"
        problems.append(Problem(f"builder.{key}.spec.template.spec.containers", rule, fix="Keep one."))
    for each in own_container(config, key).get("args") or []:
        name, equals, _ = each.partition("=")
        if not equals:
            problems.append(Problem(f"builder.{key}", "an argument is --name=value", each, f"Write {name}=true."))
    return problems
