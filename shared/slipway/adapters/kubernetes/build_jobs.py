"""A build's objects in a cluster: how its Job is named and known, and what is made beside it and goes with it.

A name is a function of image and attempt, so that of two starters one makes the Job and the other finds it. The Secret
and the ConfigMap of a build can only be made after its Job, for they are owned by it: the pod waits for them, and they
never outlive it. https://kubernetes.io/docs/concepts/architecture/garbage-collection/#owners-dependents
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from slipway.model import BuildRequest, Json
from slipway.render.build_job import AUTH_KEY, Flavour, Place

IMAGE_LABEL, ATTEMPT_LABEL = "slipway.image-hash", "slipway.attempt"
"""Which build a Job and its pods are of."""
BUILDER, IMAGE, CONTEXT = "slipway.builder", "slipway.image", "slipway.context"
"""Annotations of a Job: the builder's type, the image, and the key of its context."""
PREFIX = "slipway-build"
KEPT = 3600
"""Seconds for which a Job is kept after its end, with its log; the queue's fragment may say another number."""
LONGEST = 86400
"""Seconds after which a Job ends that never got a pod, or whose pods never got a node: nothing is left for ever."""
_DOCKER_HUB = "https://index.docker.io/v1/"
"""The name of Docker Hub in every config.json."""
_HASH = 40
"""Hexadecimal digits of a label, whose value has at most 63."""


def name_of(config: Mapping[str, Json], image: str, attempt: int) -> str:
    """At most 63 characters: the queue's `build-job-name`, of at most 50, and a hash."""
    digest = hashlib.sha256(f"{image} {attempt}".encode()).hexdigest()
    return f"{config.get('build-job-name') or PREFIX}-{digest[:12]}"


def labels_of(image: str, attempt: int) -> dict[str, str]:
    return {IMAGE_LABEL: hashlib.sha256(image.encode()).hexdigest()[:_HASH], ATTEMPT_LABEL: str(attempt)}


def selector(image: str, attempt: int) -> str:
    return ",".join(f"{name}={value}" for name, value in labels_of(image, attempt).items())


def is_of(job: Mapping[str, Json], image: str, attempt: int) -> bool:
    return labels_of(image, attempt).items() <= ((job.get("metadata") or {}).get("labels") or {}).items()


def place_of(place: Place, config: Mapping[str, Json], secret: str, *, login: bool) -> Place:
    """Where the login comes from: the deployment's Secret, the queue's `secret-name`, or the Secret that the build gets
    from its registry, in this order."""
    named = place.docker_config or config.get("secret-name")
    return replace(place, docker_config=secret) if login and not named else place


def config_of(config: Mapping[str, Json], flavour: Flavour) -> dict[str, Json]:
    """The queue's `builder`, without a name for its Job: it would be the same for every build, and W&B removes the last
    one before the next. `build-job-name` is what names begin with."""
    fragment = dict(config.get(flavour.fragment) or {})
    fragment["metadata"] = {key: value for key, value in (fragment.get("metadata") or {}).items() if key != "name"}
    return {**config, flavour.fragment: fragment}


def job_of(flavour: Flavour, request: BuildRequest, place: Place, *, address: str, key: str) -> dict[str, Any]:
    """The Job to create."""
    job = flavour.job(
        name=name_of(request.config, request.image, request.attempt),
        context=address,
        image=request.image,
        config=config_of(request.config, flavour),
        place=place,
        build_args=request.build_args,
        platform=request.platform,
    )
    spec, metadata, template = job["spec"], job["metadata"], job["spec"]["template"]
    spec.setdefault("ttlSecondsAfterFinished", KEPT)
    spec.setdefault("activeDeadlineSeconds", LONGEST)
    ours = labels_of(request.image, request.attempt)
    metadata["labels"] |= ours
    template["metadata"]["labels"] |= ours
    known = {BUILDER: flavour.name, IMAGE: request.image, CONTEXT: key}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **known}
    return job


def secret_keys(job: Mapping[str, Json]) -> Sequence[str]:
    """What the Job's own Secret must hold; nothing where it mounts none."""
    name = job["metadata"]["name"]
    return [
        item["key"]
        for volume in job["spec"]["template"]["spec"].get("volumes") or []
        if (volume.get("secret") or {}).get("secretName") == name
        for item in volume["secret"].get("items") or []
    ]


def secret_of(job: Mapping[str, Json], values: Mapping[str, str]) -> dict[str, Any]:
    kind = "kubernetes.io/dockerconfigjson" if AUTH_KEY in values else "Opaque"
    data = {name: b64encode(value.encode()).decode() for name, value in values.items()}
    body = {"apiVersion": "v1", "kind": "Secret", "type": kind, "data": data, "metadata": {"name": _name(job)}}
    return owned(body, job)


def owned(body: Mapping[str, Any], job: Mapping[str, Json]) -> dict[str, Any]:
    """The object as one that goes with the Job, in its namespace."""
    metadata, owner = body["metadata"], job["metadata"]
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": owner["name"], "uid": owner["uid"]}
    ours = {name: owner["labels"][name] for name in (IMAGE_LABEL, ATTEMPT_LABEL)}
    of_this = {"namespace": owner["namespace"], "labels": ours, "ownerReferences": [reference]}
    return {**body, "metadata": {**metadata, **of_this}}


def is_owned(body: Mapping[str, Any], job: Mapping[str, Json]) -> bool:
    owners = (body.get("metadata") or {}).get("ownerReferences") or []
    return any(each.get("uid") == job["metadata"]["uid"] for each in owners)


def docker_config(host: str, login: tuple[str, str] | None) -> str:
    """A config.json with this login alone."""
    if login is None:
        return json.dumps({"auths": {}})
    where = _DOCKER_HUB if host in ("docker.io", "index.docker.io") else host
    return json.dumps({"auths": {where: {"auth": b64encode(":".join(login).encode()).decode()}}})


def curl_config(url: str) -> str:
    """What curl reads a URL from, so that it is in no list of processes.
    https://curl.se/docs/manpage.html#-K"""
    escaped = url.replace("\\", "\\\\").replace('"', '\\"')
    return f'url = "{escaped}"\n'


def _name(job: Mapping[str, Json]) -> str:
    return str(job["metadata"]["name"])
