"""Pods within a manifest of any kind: where they are, and what every pod of a run is given.

A Job, a CronJob and a custom resource (PyTorchJob, Volcano's Job, JobSet …) hold their pods in different places. What
makes a pod is the same everywhere: a mapping with a list of containers. Functions here change the manifest that they
are given, which is a copy of the renderer's own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
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


def containers(value: Any) -> list[Manifest]:
    """The containers that run the job: those under `containers`, in their order."""
    return [each for _, spec in _found(value, ("containers",)) for each in spec["containers"] if isinstance(each, dict)]


def add_labels(value: Any, labels: Mapping[str, str]) -> None:
    for pod in pod_templates(value):
        pod["metadata"] = {**(pod.get("metadata") or {})}
        pod["metadata"]["labels"] = {**(pod["metadata"].get("labels") or {}), **labels}


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
        for kind in CONTAINERS:
            for container in spec.get(kind) or []:
                if isinstance(container, dict):
                    container["securityContext"] = _context(
                        container.get("securityContext") or {}, spec.get("securityContext") or {}
                    )


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
