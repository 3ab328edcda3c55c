"""What a build is as a Kubernetes Job that runs Kaniko (S12). Pure.

`kaniko-config` of the queue's `builder` is a fragment of the Job, and what it says stands; its container's args are
`--name=value`, and go over ours by name. Names and defaults are W&B Launch's, so that a config moves over as it is.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from slipway.errors import Invalid, Problem
from slipway.model import Json
from slipway.render.build_job import (
    AUTH_KEY,
    DOCKERFILE,
    Flavour,
    Mount,
    Place,
    assemble,
    claimed,
    from_secret,
    options,
    own_container,
    shape_problems,
)

IMAGE = "ghcr.io/osscontainertools/kaniko:v1.28.3"
"""Of the fork that is maintained and publishes its images; Google's own repository was archived in June 2025.
https://github.com/osscontainertools/kaniko"""
CONFIG = "kaniko-config"
_AZURE_KEY = "azure-storage-access-key"
_LOGIN = "/kaniko/.docker"
_CREDENTIALS = {"ecr": ("/root/.aws", "credentials"), "gar": ("/kaniko/.config/gcloud", "config.json")}
"""Registry → where its tools look for a key file, and under which name."""
_HELPERS = {"ecr": "ecr-login", "acr": "acr-env"}
"""Registry → the credential helper of the executor's image. Google's credentials it finds without one."""


def job(
    *,
    name: str,
    context: str,
    image: str,
    config: Mapping[str, Json],
    place: Place,
    build_args: Mapping[str, str] = {},
    platform: str | None = None,
) -> dict[str, Any]:
    """The Job that builds `image` from the context (a URL that Kaniko reads). `config` is the queue's `builder`.

    Raises Invalid for settings that do not go together.
    """
    _refuse(config, place)
    given = copy.deepcopy(own_container(config, CONFIG))
    container = {
        **given,
        "args": _args(context, image, build_args, platform, given.get("args") or []),
        "name": given.get("name", "wandb-container-build"),
        "image": given.get("image", config.get("kaniko-image") or IMAGE),
        "env": [*(given.get("env") or []), *_env(config, place)],
    }
    workload = place.registry == "acr" and place.docker_config is None
    return assemble(
        config,
        CONFIG,
        name=name,
        place=place,
        container=container,
        mounts=_mounts(config, place, name),
        pod_labels={"azure.workload.identity/use": "true"} if workload else {},
    )


def beside(name: str, config: Mapping[str, Json], place: Place, host: str) -> Sequence[dict[str, Any]]:
    """The ConfigMap that the Job mounts where no login is handed to it: which helper logs in to the registry `host`."""
    if place.docker_config or not (config.get("secret-name") or place.registry == "acr"):
        return ()
    helper = _HELPERS.get(place.registry)
    docker = {"credHelpers": {host: helper}} if helper else {}
    return (
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": _config_map(name)},
            "data": {"config.json": json.dumps(docker)},
        },
    )


FLAVOUR = Flavour("kaniko", job, beside, by_right=False)


def _refuse(config: Mapping[str, Json], place: Place) -> None:
    problems = []
    if bool(config.get("secret-name")) != bool(config.get("secret-key")):
        rule = "secret-name and secret-key go together, and one of them is missing"
        problems.append(Problem("builder.secret-name", rule, fix="Give both, or neither."))
    problems += shape_problems(config, CONFIG)
    if config.get("secret-name") and place.registry == "other" and place.docker_config is None:
        rule = "is a cloud's credentials, and this registry is no cloud's"
        fix = "Give the registry's login as a Secret of type kubernetes.io/dockerconfigjson instead."
        problems.append(Problem("builder.secret-name", rule, config["secret-name"], fix))
    if problems:
        raise Invalid(problems)


def _args(
    context: str, image: str, build_args: Mapping[str, str], platform: str | None, given: Sequence[str]
) -> list[str]:
    destination = image.removeprefix("https://")
    repository, _, tag = destination.rpartition(":")
    ours = {
        "--context": context,
        "--dockerfile": DOCKERFILE,
        "--destination": destination,
        "--cache": "true",
        "--cache-repo": repository if "/" not in tag else destination,
        "--snapshot-mode": "redo",
        "--compressed-caching": "false",
        **({"--custom-platform": platform} if platform else {}),
    }
    repeated = [f"--build-arg={name}={value}" for name, value in sorted(build_args.items())]
    return [*options(ours, given), *repeated]


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


def _mounts(config: Mapping[str, Json], place: Place, name: str) -> list[Mount]:
    """The context's, and what it takes to push."""
    found = [claimed(place.claim)] if place.claim else []
    if place.docker_config:
        login = from_secret("kaniko-docker-config", place.docker_config, AUTH_KEY, _LOGIN, "config.json")
        return [*found, login]
    secret = config.get("secret-name")
    if secret or place.registry == "acr":
        path = _LOGIN if secret else f"{_LOGIN}/"
        volume = {"name": "docker-config", "configMap": {"name": _config_map(name)}}
        found.append(Mount(volume, {"name": "docker-config", "mountPath": path}))
    if secret and place.registry in _CREDENTIALS:
        path, file = _CREDENTIALS[place.registry]
        # A Secret's name may have dots, and a volume's may not.
        mount = from_secret(str(secret).replace(".", "-"), secret, config["secret-key"], path, file)
        found.append(Mount(mount.volume, {**mount.at, "readOnly": True}))
    return found


def _config_map(name: str) -> str:
    return f"docker-config-{name}"
