"""What a build is as a Kubernetes Job that runs buildah, in place of Kaniko. Pure.

buildah makes the image in a user namespace within its own container, with chroot isolation and plain folders for
layers: no privilege, no device, no daemon. `buildah-config` of the queue's `builder` is a fragment of the Job, as
`kaniko-config` is of Kaniko's; its container's args are further options of `buildah build`, as `--name=value`.
https://github.com/containers/buildah/blob/main/docs/buildah-build.1.md
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from slipway.errors import Invalid, Problem
from slipway.model import Json
from slipway.reference import on_loopback
from slipway.render.build_job import (
    AUTH_KEY,
    CONTEXT_KEY,
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

IMAGE = "quay.io/buildah/stable:v1.43.0"
"""Any other will do that has buildah (1.28 or newer), curl, tar and a shell."""
CONFIG = "buildah-config"
CAPABILITIES = ("SETFCAP", "SETGID", "SETUID")
"""What it takes to map a container's own user ids into a user namespace; all others are dropped.
https://man7.org/linux/man-pages/man7/user_namespaces.7.html"""
NO_CONTEXT, NOT_BUILT, NOT_PUSHED = 70, 71, 72
"""Exit codes of the script: which of its three steps failed."""
_LOGIN, _RIGHT = "/slipway/login", "/slipway/right"
_SCRIPT = f"""\
context=$1 image=$2 insecure=$3
shift 3
failed() {{ echo "slipway: $2" >&2; exit "$1"; }}
mkdir -p /workspace/context
case $context in
  tar://*) archive=${{context#tar://}} ;;
  *)
    archive=/workspace/context.tar.gz
    curl --fail --silent --show-error --location --retry 3 --config {_RIGHT}/{CONTEXT_KEY} --output "$archive" ||
      failed {NO_CONTEXT} "the context $context cannot be read" ;;
esac
tar -xzf "$archive" -C /workspace/context || failed {NO_CONTEXT} "the context $context cannot be unpacked"
cd /workspace/context
buildah --storage-driver=vfs build "$@" $insecure --file {DOCKERFILE} --tag "$image" . ||
  failed {NOT_BUILT} "the image cannot be built"
buildah --storage-driver=vfs push $insecure "$image" || failed {NOT_PUSHED} "the image cannot be pushed"
"""


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
    """The Job that builds `image`. `config` is the queue's `builder`. The context is tar://<path> on the place's claim,
    or else anything that says where it lies: its pod reads it by the right in the Secret of the Job's name.

    Raises Invalid for settings that do not go together.
    """
    _refuse(config)
    given = copy.deepcopy(own_container(config, CONFIG))
    insecure = "--tls-verify=false" if on_loopback(image) else "--tls-verify=true"
    login = _login(config, place)
    container = {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": list(CAPABILITIES)},
            "runAsUser": 0,
        },
        **given,
        "command": ["/bin/sh", "-euc", _SCRIPT, "slipway-build"],
        "args": [context, image, insecure, *_options(build_args, platform, given.get("args") or [])],
        "name": given.get("name", "wandb-container-build"),
        "image": given.get("image", config.get("buildah-image") or IMAGE),
        "env": [*(given.get("env") or []), *_env(login)],
    }
    mounts = [_empty("layers", "/var/lib/containers"), _empty("workspace", "/workspace")]
    if place.claim:
        mounts.append(claimed(place.claim))
    if not context.startswith("tar://"):
        mounts.append(from_secret("right", name, CONTEXT_KEY, _RIGHT, CONTEXT_KEY))
    return assemble(
        config, CONFIG, name=name, place=place, container=container, mounts=[*mounts, *([login] if login else [])]
    )


def beside(name: str, config: Mapping[str, Json], place: Place, host: str) -> Sequence[dict[str, Any]]:
    """Nothing: buildah's login is a Secret's."""
    return ()


FLAVOUR = Flavour("buildah", job, beside, by_right=True)


def _refuse(config: Mapping[str, Json]) -> None:
    problems = shape_problems(config, CONFIG)
    if bool(config.get("secret-name")) != bool(config.get("secret-key")):
        rule = "secret-name and secret-key go together, and one of them is missing"
        problems.append(Problem("builder.secret-name", rule, fix="Give both, or neither."))
    if problems:
        raise Invalid(problems)


def _login(config: Mapping[str, Json], place: Place) -> Mount | None:
    """buildah has no cloud's helpers: what it logs in with is a docker config.json, wherever that lies."""
    if place.docker_config:
        return from_secret("login", place.docker_config, AUTH_KEY, _LOGIN, "config.json")
    if config.get("secret-name"):
        return from_secret("login", config["secret-name"], config["secret-key"], _LOGIN, "config.json")
    return None


def _options(build_args: Mapping[str, str], platform: str | None, given: Sequence[str]) -> list[str]:
    # Docker's format, for OCI's has no SHELL and no HEALTHCHECK.
    ours = {"--format": "docker", **({"--platform": platform} if platform else {})}
    repeated = [f"--build-arg={name}={value}" for name, value in sorted(build_args.items())]
    return [*options(ours, given), *repeated]


def _env(login: Mount | None) -> list[dict[str, Any]]:
    env = [{"name": "BUILDAH_ISOLATION", "value": "chroot"}]
    return [*env, {"name": "REGISTRY_AUTH_FILE", "value": f"{_LOGIN}/config.json"}] if login else env


def _empty(name: str, at: str) -> Mount:
    return Mount({"name": name, "emptyDir": {}}, {"name": name, "mountPath": at})
