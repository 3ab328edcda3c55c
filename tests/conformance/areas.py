"""Per area of the cases: what Slipway makes of a case's input, as the facts that the case asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.conformance import rendered, words

Facts = Mapping[str, Any]


def facts(area: str, given: Facts, expected: Facts) -> dict[str, Any]:
    """Raises SlipwayError where Slipway refuses the input, and KeyError for an area that there is none of."""
    return AREAS[area](given, expected)


AREAS: Mapping[str, Callable[[Facts, Facts], dict[str, Any]]] = {
    "accelerator-image": words.accelerator_image,
    "agent-config": words.agent_config,
    "base-image-resolution": words.base_image,
    "docker": rendered.docker,
    "docker-policy": words.docker_policy,
    "dockerfile": words.dockerfile,
    "env": words.env,
    "git-remote": words.git_remote,
    "image-tag": words.image_tag,
    "inputs": words.inputs,
    "k8s-names": words.label,
    "kaniko": rendered.kaniko,
    "kubernetes": rendered.kubernetes,
    "kubernetes-base-image": rendered.kubernetes_base_image,
    "kubernetes-policy": words.kubernetes_policy,
    "kubernetes-status": words.kubernetes_status,
    "launch-spec": words.launch_spec,
    "macros": words.macros,
    "registry-uri": words.registry_uri,
    "sagemaker": rendered.sagemaker,
    "sagemaker-logs": words.sagemaker_logs,
    "sagemaker-status": words.sagemaker_status,
    "scheduler-detect": words.scheduler,
    "secure-mode": words.secure_mode,
    "sweeps": words.sweeps,
    "template-variables": words.template_variables,
    "vertex": rendered.vertex,
    "vertex-status": words.vertex_status,
}
