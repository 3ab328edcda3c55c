"""Code that is mounted in a base image, where no image is built of it (S20, with a builder that builds nothing).

An init container brings the code, at its recorded revision, to a volume that every container of the pod mounts. Where
nobody chose the base image for this job, its dependencies are installed as the container starts.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from slipway.model import Code, GitSource, Job, Json
from slipway.render import pods
from slipway.render.surroundings import Cluster

FOLDER = "/mnt/wandb"
"""Where the code lies: W&B Launch's own place, so that paths in a config stay right."""
VOLUME = "wandb-source-code-volume"
INIT_CONTAINER = "wandb-source-code-init"
DEFAULT_BASE_IMAGE = "python:3.12-slim"
"""Where neither job nor queue names one; W&B Launch's own."""


def base_image(job: Job, builder: Mapping[str, Json]) -> str:
    """The image in which a job's code is mounted: its own, else the queue's, else Python's."""
    return job.base_image or str(builder.get("base_image") or DEFAULT_BASE_IMAGE)


def mount(manifest: dict[str, Any], code: Code, cluster: Cluster) -> None:
    """Changes every pod of the manifest so. The init container gets none of the run's environment."""
    folder = f"{FOLDER}/{code.working_dir}" if code.working_dir else FOLDER
    place: dict[str, Any] = {"name": VOLUME, "mountPath": FOLDER}
    if cluster.code_claim is None:
        volume: dict[str, Any] = {"name": VOLUME, "emptyDir": {}}
    else:
        volume = {"name": VOLUME, "persistentVolumeClaim": {"claimName": cluster.code_claim}}
        place["subPath"] = code.revision
    for template in pods.pod_templates(manifest):
        spec = template["spec"]
        spec["volumes"] = [*(spec.get("volumes") or []), dict(volume)]
        spec["initContainers"] = [*(spec.get("initContainers") or []), _init_container(code, cluster, place)]
        for container in pods.containers(spec):
            container["volumeMounts"] = [*(container.get("volumeMounts") or []), dict(place)]
            container["workingDir"] = folder
            if code.install:
                _install_first(container, folder)


def _init_container(code: Code, cluster: Cluster, place: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": INIT_CONTAINER,
        "image": cluster.code_image,
        "command": ["/bin/sh", "-ec", _fetch(code)],
        "volumeMounts": [dict(place)],
    }


def _fetch(code: Code) -> str:
    """Shell that does nothing where the revision is there already: a volume may outlive a pod."""
    where, revision, uri = shlex.quote(FOLDER), shlex.quote(code.revision), shlex.quote(code.source.uri)
    if isinstance(code.source, GitSource):
        return (
            f"cd {where}; git init -q .; git config --global --add safe.directory {where}; "
            f"git fetch -q --depth 1 {uri} {revision}; git checkout -q {revision}; chmod -R a+rwX ."
        )
    unpack = "unzip -q -o" if urlsplit(code.source.uri).path.lower().endswith(".zip") else "tar -xf"
    return (
        f"cd {where}; wget -q -O /tmp/code {uri}; echo {revision}'  /tmp/code' | sha256sum -c -; "
        f"{unpack} /tmp/code; chmod -R a+rwX ."
    )


def _install_first(container: dict[str, Any], folder: str) -> None:
    """The container's command, after its dependencies; the files are looked for in the order of a build."""
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    if not words:
        return
    requirements, project, frozen = (
        shlex.quote(f"{folder}/{name}") for name in ("requirements.txt", "pyproject.toml", "requirements.frozen.txt")
    )
    script = (
        f"if [ -f {requirements} ]; then pip install -r {requirements}; "
        f"elif [ -f {project} ]; then pip install {shlex.quote(folder)}; "
        f"elif [ -f {frozen} ]; then pip install -r {frozen}; "
        f"else echo 'No requirements file found'; fi && exec {shlex.join(words)}"
    )
    container["command"], container["args"] = ["/bin/sh", "-c"], [script]
