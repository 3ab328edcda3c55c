"""What a build is as a Kubernetes Job that runs Kaniko (S12). Pure.

`kaniko-config` of the queue's `builder` is a fragment of the Job, and what it says stands; its container's args are
`--name=value`, and go over ours by name. Names and defaults are W&B Launch's, so that a config moves over as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slipway.errors import Invalid, Problem
from slipway.model import Json

IMAGE = "gcr.io/kaniko-project/executor:v1.24.0"
"""The project's last release. W&B's default is v1.11.0, of 2023."""
DEADLINE = 1800
"""Seconds of a build's pod."""
DOCKERFILE = "Dockerfile.wandb"
_AZURE_KEY = "azure-storage-access-key"


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


def job(
    *, name: str, context: str, image: str, config: Mapping[str, Json], place: Place, build_args: Mapping[str, str] = {}
) -> dict[str, Any]:
    """The Job that builds `image` from the context (a URL that Kaniko reads). `config` is the queue's `builder`.

    Raises Invalid for settings that do not go together.
    """
    _refuse(config, place)
    body = copy.deepcopy(dict(config.get("kaniko-config") or {}))
    spec: dict[str, Any] = body.get("spec") or {}
    template: dict[str, Any] = spec.get("template") or {}
    pod: dict[str, Any] = template.get("spec") or {}
    given: dict[str, Any] = (pod.get("containers") or [{}])[0]
    secret = _secret(config, place, name)
    container = {
        **given,
        "args": _args(context, image, build_args, given.get("args") or []),
        "name": given.get("name", "wandb-container-build"),
        "image": given.get("image", config.get("kaniko-image") or IMAGE),
        "volumeMounts": [*(given.get("volumeMounts") or []), *(mount for _, mount in secret)],
        "env": [*(given.get("env") or []), *_env(config, place)],
    }
    labels = {"wandb": "launch"}
    workload = place.registry == "acr" and place.docker_config is None
    pod_labels = {**labels, **({"azure.workload.identity/use": "true"} if workload else {})}
    metadata, pod_metadata = body.get("metadata") or {}, template.get("metadata") or {}
    return {
        **body,
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            **metadata,
            "name": metadata.get("name", name),
            "namespace": metadata.get("namespace", place.namespace),
            "labels": {**(metadata.get("labels") or {}), **labels},
        },
        "spec": {
            **spec,
            "backoffLimit": spec.get("backoffLimit", 0),
            "template": {
                **template,
                "metadata": {**pod_metadata, "labels": {**(pod_metadata.get("labels") or {}), **pod_labels}},
                "spec": {
                    **pod,
                    "restartPolicy": pod.get("restartPolicy", "Never"),
                    "activeDeadlineSeconds": pod.get("activeDeadlineSeconds", DEADLINE),
                    "serviceAccountName": pod.get("serviceAccountName", place.service_account),
                    "containers": [container],
                    "volumes": [*(pod.get("volumes") or []), *(volume for volume, _ in secret)],
                },
            },
        },
    }


def _refuse(config: Mapping[str, Json], place: Place) -> None:
    problems = []
    if bool(config.get("secret-name")) != bool(config.get("secret-key")):
        rule = "secret-name and secret-key go together, and one of them is missing"
        problems.append(Problem("builder.secret-name", rule, fix="Give both, or neither."))
    containers = (((config.get("kaniko-config") or {}).get("spec") or {}).get("template") or {}).get("spec") or {}
    if len(containers.get("containers") or []) > 1:
        rule = "has more than one container, and a build runs in one"
        problems.append(Problem("builder.kaniko-config.spec.template.spec.containers", rule, fix="Keep one."))
    for each in (containers.get("containers") or [{}])[0].get("args") or []:
        name, equals, _ = each.partition("=")
        if not equals:
            problems.append(
                Problem("builder.kaniko-config", "an argument is --name=value", each, f"Write {name}=true.")
            )
    if config.get("secret-name") and place.registry == "other" and place.docker_config is None:
        rule = "is a cloud's credentials, and this registry is no cloud's"
        fix = "Give the registry's login as a Secret of type kubernetes.io/dockerconfigjson instead."
        problems.append(Problem("builder.secret-name", rule, config["secret-name"], fix))
    if problems:
        raise Invalid(problems)


def _args(context: str, image: str, build_args: Mapping[str, str], given: list[str]) -> list[str]:
    destination = image.removeprefix("https://")
    repository, _, tag = destination.rpartition(":")
    args = {
        "--context": context,
        "--dockerfile": DOCKERFILE,
        "--destination": destination,
        "--cache": "true",
        "--cache-repo": repository if "/" not in tag else destination,
        "--snapshot-mode": "redo",
        "--compressed-caching": "false",
    }
    owns: dict[str, list[str]] = {}
    for each in given:
        name, _, value = each.partition("=")
        owns.setdefault(name, []).append(value)
    # An option that the owner repeats (`--build-arg`, `--registry-mirror`) is repeated.
    words = {**{name: [value] for name, value in args.items()}, **owns}
    repeated = [f"--build-arg={name}={value}" for name, value in sorted(build_args.items())]
    return [*(f"{name}={value}" for name, values in words.items() for value in values), *repeated]


def _env(config: Mapping[str, Json], place: Place) -> list[dict[str, Any]]:
    env: list[dict[str, Any]] = []
    if place.registry == "ecr" and place.region:
        env.append({"name": "AWS_REGION", "value": place.region})
    if place.azure_storage:
        reference = {"name": _AZURE_KEY, "key": "password"}
        env.append({"name": "AZURE_STORAGE_ACCESS_KEY", "valueFrom": {"secretKeyRef": reference}})
    if place.registry == "gar" and config.get("secret-name") and place.docker_config is None:
        env.append({"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/kaniko/.config/gcloud/config.json"})
    return env


def _secret(config: Mapping[str, Json], place: Place, name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Volumes with their mounts: the context's, and what it takes to push."""
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if place.claim:
        volume = {"name": "kaniko-pvc", "persistentVolumeClaim": {"claimName": place.claim}}
        found.append((volume, {"name": "kaniko-pvc", "mountPath": "/context"}))
    if place.docker_config:
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        volume = {"name": "kaniko-docker-config", "secret": {"secretName": place.docker_config, "items": items}}
        found.append((volume, {"name": "kaniko-docker-config", "mountPath": "/kaniko/.docker"}))
        return found
    secret = config.get("secret-name")
    if secret or place.registry == "acr":
        volume = {"name": "docker-config", "configMap": {"name": f"docker-config-{name}"}}
        path = "/kaniko/.docker" if secret else "/kaniko/.docker/"
        found.append((volume, {"name": "docker-config", "mountPath": path}))
    if secret and place.registry in _CREDENTIALS:
        path, file = _CREDENTIALS[place.registry]
        items = [{"key": config["secret-key"], "path": file}]
        volume_name = secret.replace(".", "-")  # a Secret's name may have dots, and a volume's may not
        volume = {"name": volume_name, "secret": {"secretName": secret, "items": items}}
        found.append((volume, {"name": volume_name, "mountPath": path, "readOnly": True}))
    return found


_CREDENTIALS = {"ecr": ("/root/.aws", "credentials"), "gar": ("/kaniko/.config/gcloud", "config.json")}
"""Registry → where its tools look for a key file, and under which name."""
