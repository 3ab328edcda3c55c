"""A Kubernetes cluster, wherever Slipway itself runs: the environment in, the target and its watcher out.

Apart from `wire`, as `wire_aws` is: a deployment without a cluster loads nothing of this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from slipway.errors import Invalid, Problem
from slipway.loading import load
from slipway.ports import Blobs, Secrets, Target, Watcher
from slipway.render.surroundings import Cluster

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Settings:
    """What is told of the cluster. How to get into it, a kubeconfig says, or the pod's own account."""

    cluster: Cluster = field(default_factory=Cluster)
    namespaces: tuple[str, ...] = ()
    """Where runs are looked for; none: wherever they may be listed."""
    context: str | None = None
    """Of the kubeconfig; None is its current one."""


def settings_of(environ: Mapping[str, str]) -> Settings:
    """Raises Invalid with every variable that cannot be read."""
    problems: list[Problem] = []

    def names(variable: str) -> tuple[str, ...]:
        found = tuple(each.strip() for each in environ.get(variable, "").split(",") if each.strip())
        problems.extend(
            Problem(variable, "is no name of a namespace", each) for each in found if not _NAMESPACE.fullmatch(each)
        )
        return found

    own, namespaces = names("SLIPWAY_KUBERNETES_NAMESPACE"), names("SLIPWAY_KUBERNETES_NAMESPACES")
    if len(own) > 1:
        fix = "Those where runs may be go into SLIPWAY_KUBERNETES_NAMESPACES."
        problems.append(Problem("SLIPWAY_KUBERNETES_NAMESPACE", "is more than one", ",".join(own), fix))
    if problems:
        raise Invalid(problems)
    known = Cluster()
    cluster = Cluster(
        namespace=own[0] if own else known.namespace,
        agent=environ.get("SLIPWAY_KUBERNETES_AGENT") or known.agent,
        secret=environ.get("SLIPWAY_KUBERNETES_SECRET") or None,
        secret_key=environ.get("SLIPWAY_KUBERNETES_SECRET_KEY") or None,
        code_image=environ.get("SLIPWAY_KUBERNETES_CODE_IMAGE") or known.code_image,
        code_claim=environ.get("SLIPWAY_KUBERNETES_CODE_CLAIM") or None,
    )
    # The one where runs go by default is always among them.
    looked_in = tuple(dict.fromkeys((*own, *namespaces))) if namespaces else ()
    return Settings(cluster, looked_in, environ.get("SLIPWAY_KUBERNETES_CONTEXT") or None)


class OneCluster:
    """The cluster of this process. It is called on when something of it is first asked for, and not before."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ

    @cached_property
    def api(self) -> Any:
        """Raises Invalid where the package `kubernetes` is missing, or there is no way into a cluster."""
        access = load("slipway.adapters.kubernetes.access:ambient")(self._environ, self._settings.context)
        return load("slipway.adapters.kubernetes.api:Api")(access)

    @cached_property
    def watcher(self) -> Any:
        where = self._settings.cluster.namespace
        return load("slipway.adapters.kubernetes.watcher:KubernetesWatcher")(self._settings.namespaces, default=where)

    @property
    def server(self) -> str:
        return str(self.api.access.server)

    def begun_watcher(self) -> Any:
        self.watcher.begin(self.api)
        return self.watcher

    def target(self, secrets: Secrets, archive: Blobs) -> Target:
        """From now on its runs are watched too."""
        settings = self._settings
        made = load("slipway.adapters.kubernetes.target:KubernetesTarget")(
            self.api,
            settings.cluster,
            secrets,
            namespaces=settings.namespaces,
            archive=archive,
            told=self.watcher.watch,
        )
        self.begun_watcher()
        return cast(Target, made)

    def watchers(self) -> list[Watcher]:
        return [self.watcher]
