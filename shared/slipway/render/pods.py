"""Pods within a manifest of any kind: where they are, and what every pod of a run is given.

A Job, a CronJob and a custom resource (PyTorchJob, Volcano's Job, JobSet …) hold their pods in different places. What
makes a pod is the same everywhere: a mapping with a list of containers; but for Argo's Workflow, whose templates have
one `container` or `script`. Functions here change the manifest that they are given, which is a copy of the renderer's
own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
SINGLE = ("container", "script")
"""Where a template of a Workflow has its one container, as a mapping.
https://argo-workflows.readthedocs.io/en/latest/fields/#template"""
RESTRICTED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""S16. https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""

Manifest = dict[str, Any]


def pod_specs(value: Any) -> Iterator[Manifest]:
    """Every mapping that has a list of containers of some kind."""
    for _, spec in _found(value, CONTAINERS):
        yield spec


def pod_templates(value: Any) -> Iterator[Manifest]:
    """Every mapping whose `spec` has `containers`: what can carry labels."""
    if isinstance(value, dict):
        if is_template(value):
            yield value
        for key, inner in value.items():
            if key not in CONTAINERS:
                yield from pod_templates(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from pod_templates(inner)


def is_template(value: Mapping[str, Any]) -> bool:
    spec = value.get("spec")
    return isinstance(spec, dict) and isinstance(spec.get("containers"), list)


def workflow(value: Any) -> Manifest | None:
    """The spec of the Workflow that an object of Argo's is; None for any other object."""
    if not isinstance(value, dict) or str(value.get("apiVersion")).partition("/")[0] != "argoproj.io":
        return None
    spec = value.get("spec")
    if value.get("kind") == "CronWorkflow" and isinstance(spec, dict):
        spec = spec.get("workflowSpec")
    elif value.get("kind") != "Workflow":
        return None
    return spec if isinstance(spec, dict) else None


def workflow_templates(value: Any) -> Iterator[Manifest]:
    """Every template of a Workflow's spec that makes a pod of its own, also those that stand within a step."""
    if isinstance(value, dict):
        if is_workflow_template(value):
            yield value
        for inner in value.values():
            yield from workflow_templates(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from workflow_templates(inner)


def is_workflow_template(value: Mapping[str, Any]) -> bool:
    return any(isinstance(value.get(kind), dict) for kind in SINGLE)


def containers(value: Any) -> list[Manifest]:
    """The containers that run the job: those under `containers`, in their order."""
    single = [template.get(kind) for template in workflow_templates(workflow(value)) for kind in SINGLE]
    found = [*single, *(each for _, spec in _found(value, ("containers",)) for each in spec["containers"])]
    return [each for each in found if isinstance(each, dict)]


def add_labels(value: Any, labels: Mapping[str, str]) -> None:
    for pod in pod_templates(value):
        _label(pod, "metadata", labels)
    if (spec := workflow(value)) is not None:
        _label(spec, "podMetadata", labels)
        for template in workflow_templates(spec):
            # A template's own labels go over those of all pods.
            if template.get("metadata"):
                _label(template, "metadata", labels)


def _label(holder: Manifest, field: str, labels: Mapping[str, str]) -> None:
    metadata = holder.get(field) or {}
    holder[field] = {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}


def add_env(container: Manifest, env: Sequence[Mapping[str, Any]]) -> None:
    """Ours come after the container's own, of which those with the same name go: who a run is, no config changes."""
    names = {entry["name"] for entry in env}
    own = [
        entry for entry in container.get("env") or [] if not (isinstance(entry, dict) and entry.get("name") in names)
    ]
    container["env"] = [*own, *copy.deepcopy(list(env))]


def restrict(value: Any) -> None:
    """What the queue's owner says of a container's security context stands; what is not said is restricted (S16)."""
    for spec in pod_specs(value):
        _restrict((each for kind in CONTAINERS for each in spec.get(kind) or []), spec.get("securityContext") or {})
    whole = workflow(value) or {}
    for template in workflow_templates(whole):
        own = template.get("securityContext") or whole.get("securityContext") or {}
        _restrict([*map(template.get, SINGLE), *(template.get("sidecars") or [])], own)


def _restrict(found: Iterable[Any], pods: Mapping[str, Any]) -> None:
    for container in found:
        if isinstance(container, dict):
            container["securityContext"] = _context(container.get("securityContext") or {}, pods)


def _context(own: Mapping[str, Any], pods: Mapping[str, Any]) -> Manifest:
    """`pods` is the pod's own: a seccomp profile there is the owner's word for each of its containers."""
    added = (own.get("capabilities") or {}).get("add") or []
    ours = copy.deepcopy(dict(RESTRICTED))
    # The API refuses a container that may not escalate, and is privileged or has this capability.
    if own.get("privileged"):
        ours = {}
    elif "CAP_SYS_ADMIN" in added:
        del ours["allowPrivilegeEscalation"]
    if pods.get("seccompProfile"):
        ours.pop("seccompProfile", None)
    context = {**ours, **own}
    if ours and isinstance(own.get("capabilities"), Mapping):
        context["capabilities"] = {**ours["capabilities"], **own["capabilities"]}
    return context


def _found(value: Any, kinds: Sequence[str]) -> Iterator[tuple[str, Manifest]]:
    if isinstance(value, dict):
        kind = next((kind for kind in kinds if isinstance(value.get(kind), list)), None)
        if kind is not None:
            yield kind, value
        for key, inner in value.items():
            if key not in CONTAINERS:
                yield from _found(inner, kinds)
    elif isinstance(value, list):
        for inner in value:
            yield from _found(inner, kinds)
