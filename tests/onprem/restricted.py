"""What the `restricted` profile of Pod Security asks of a pod, by its own table.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted. Kubernetes enforces it
itself from 1.23 on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
CAPABILITIES = {"NET_BIND_SERVICE"}


def breaches(pod: dict[str, Any]) -> Iterator[str]:
    """Of a pod's spec, each in words."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield key
    for volume in pod.get("volumes", ()):
        if kinds := volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is {kinds}"
    whole = pod.get("securityContext", {})
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        context = {**whole, **container.get("securityContext", {})}
        yield from (f"{container['name']}: {each}" for each in _of_container(container, context))


def _of_container(container: dict[str, Any], context: dict[str, Any]) -> Iterator[str]:
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if context.get("privileged"):
        yield "is privileged"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()) or set(capabilities.get("add", ())) - CAPABILITIES:
        yield "keeps capabilities"
    if context.get("procMount", "Default") != "Default":
        yield "has an unmasked /proc"
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield "takes a port of the host"
