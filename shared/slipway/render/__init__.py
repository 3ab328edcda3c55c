"""From a launch to what its backend is given: one pure function per resource, which calls nobody.

A target sends what these return, and `slipway plan` shows it. So what is planned is what is sent, and what a queue's
config becomes can be read, tested and held against the vendors' own schemas without an account.

Each is imported when it is first asked for: a deployment has one resource or two, and a function starts cold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from slipway.errors import Invalid, Problem, nearest
from slipway.model import Json, Launch
from slipway.render.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Payload:
    """What is sent, and to what. Nothing in it is secret: where a secret belongs there is a reference."""

    call: str
    """The call that takes it, in the vendor's words."""
    body: Json
    beside: tuple[Mapping[str, Json], ...] = ()
    """Kubernetes manifests that are created before it."""
    warnings: tuple[str, ...] = ()


def payload(resource: str, launch: Launch, around: Surroundings) -> Payload:
    """What the resource's backend is given for this launch.

    Raises Invalid with every problem of its resource args, and for a resource that there is none of.
    """
    render = _RENDERERS.get(resource)
    if render is None:
        raise Invalid(Problem("resource", "is not a resource", resource, nearest(resource, _RENDERERS)))
    return render(launch, around)


def _docker(launch: Launch, around: Surroundings) -> Payload:
    from slipway.render import docker

    words = docker.run_arguments(launch, output=around.output, secrets=frozenset(launch.secrets))
    return Payload("docker run", ["docker", *words], warnings=docker.left_out(launch.resource_args))


def _process(launch: Launch, around: Surroundings) -> Payload:
    from slipway.render import process

    return Payload("process", process.command(launch))


def _kubernetes(launch: Launch, around: Surroundings) -> Payload:
    from slipway.render import kubernetes

    manifest, *beside = _all(
        partial(kubernetes.manifest, launch, around.cluster),
        *(
            partial(kubernetes.service, service, launch, around.cluster, f"additional_services[{index}].config")
            for index, service in enumerate(launch.services)
        ),
    )
    return Payload(f"POST {kubernetes.collection(manifest)}", manifest, tuple(beside))


def _all(*renders: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
    """What each gives. Raises Invalid with the problems of all of them."""
    done, problems = list[dict[str, Any]](), list[Problem]()
    for render in renders:
        try:
            done.append(render())
        except Invalid as refusal:
            problems += refusal.problems
    if problems:
        raise Invalid(problems)
    return done


def _sagemaker(launch: Launch, around: Surroundings) -> Payload:
    from slipway.render import sagemaker

    request, warnings = sagemaker.request(launch, around.account)
    return Payload("sagemaker:CreateTrainingJob", request, warnings=warnings)


def _vertex(launch: Launch, around: Surroundings) -> Payload:
    from slipway.render import vertex

    body, warnings = vertex.custom_job(launch, around.project)
    return Payload(f"POST {vertex.collection(around.project)}", body, warnings=warnings)


_RENDERERS: Mapping[str, Callable[[Launch, Surroundings], Payload]] = {
    "local-container": _docker,
    "local-process": _process,
    "kubernetes": _kubernetes,
    "sagemaker": _sagemaker,
    "gcp-vertex": _vertex,
}
