"""A Kubernetes cluster, wherever Slipway itself runs: the environment in; target, watcher and builders out.

Apart from `wire`, as `wire_aws` is: a deployment without a cluster loads nothing of this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from slipway.errors import Invalid, Problem
from slipway.loading import load
from slipway.ports import Blobs, Builder, Registry, Secrets, Target, Watcher
from slipway.registries import destination as taken_apart
from slipway.render.build_job import Place
from slipway.render.surroundings import Cluster

CLOUDS: Mapping[str, str] = {
    "eks": "<name>",
    "gke": "<project>/<location>/<name>",
    "aks": "<subscription>/<resource group>/<name>",
}
"""How a cluster is named that its cloud lets us into, with the cloud's default credentials and no kubeconfig."""
CLAIM = "claim:"
CLAIMED = Path("/kaniko")
"""Where the claim that holds build contexts is mounted in Slipway's own pod, as W&B's agent has it."""
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Settings:
    """What is told of the cluster. How to get into it, a kubeconfig says, or the pod's own account, or its cloud."""

    cluster: Cluster = field(default_factory=Cluster)
    namespaces: tuple[str, ...] = ()
    """Where runs are looked for; none: wherever they may be listed."""
    place: tuple[str, ...] | None = None
    """A cluster of a cloud: ("eks", name), ("gke", project, location, name), ("aks", subscription, group, name)."""
    context: str | None = None
    """Of the kubeconfig; None is its current one."""
    builds: Place = field(default_factory=Place)
    """Where builds run, and as whom."""
    contexts: str | None = None
    """Where build contexts lie whose queue does not say: an address of a bucket, or `claim:<PersistentVolumeClaim>`."""
    azure_key: str | None = field(default=None, repr=False)
    """Of the storage account, where contexts lie in Azure and no identity may write them."""


def settings_of(environ: Mapping[str, str]) -> Settings:
    """Raises Invalid with every variable that cannot be read."""
    problems: list[Problem] = []

    def names(variable: str) -> tuple[str, ...]:
        found = tuple(each.strip() for each in environ.get(variable, "").split(",") if each.strip())
        problems.extend(
            Problem(variable, "is no name of a namespace", each) for each in found if not _NAMESPACE.fullmatch(each)
        )
        return found

    own, builds = names("SLIPWAY_KUBERNETES_NAMESPACE"), names("SLIPWAY_BUILD_NAMESPACE")
    namespaces = names("SLIPWAY_KUBERNETES_NAMESPACES")
    for variable, given in (("SLIPWAY_KUBERNETES_NAMESPACE", own), ("SLIPWAY_BUILD_NAMESPACE", builds)):
        if len(given) > 1:
            fix = "Those where runs may be go into SLIPWAY_KUBERNETES_NAMESPACES."
            problems.append(Problem(variable, "is more than one", ",".join(given), fix))
    contexts = environ.get("SLIPWAY_BUILD_CONTEXTS")
    if contexts and not contexts.startswith(("s3://", "gs://", "https://", CLAIM)):
        fix = f"Write s3://…, gs://…, https://<account>.blob.core.windows.net/<container> or {CLAIM}<name>."
        problems.append(Problem("SLIPWAY_BUILD_CONTEXTS", "is no place for build contexts", contexts, fix))
    place = _place(environ.get("SLIPWAY_KUBERNETES_CLUSTER"), problems)
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
    azure_key = environ.get("AZURE_STORAGE_ACCESS_KEY") or None
    return Settings(
        cluster,
        # The one where runs go by default is always among them.
        tuple(dict.fromkeys((*own, *namespaces))) if namespaces else (),
        place,
        environ.get("SLIPWAY_KUBERNETES_CONTEXT") or None,
        Place(
            namespace=builds[0] if builds else cluster.namespace,
            service_account=environ.get("SLIPWAY_BUILD_SERVICE_ACCOUNT") or Place().service_account,
            azure_storage=azure_key is not None,
            docker_config=environ.get("SLIPWAY_BUILD_DOCKER_CONFIG") or None,
        ),
        environ.get("SLIPWAY_BUILD_CONTEXTS") or None,
        azure_key,
    )


def _place(text: str | None, problems: list[Problem]) -> tuple[str, ...] | None:
    if not text:
        return None
    kind, _, rest = text.partition(":")
    parts = (kind, *rest.split("/"))
    if kind not in CLOUDS or len(parts) != CLOUDS[kind].count("/") + 2 or "" in parts:
        forms = ", ".join(f"{kind}:{form}" for kind, form in CLOUDS.items())
        problems.append(Problem("SLIPWAY_KUBERNETES_CLUSTER", "names no cluster", text, f"Write one of {forms}."))
        return None
    return parts


class OneCluster:
    """The cluster of this process. It is called on when something of it is first asked for, and not before."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], aws: Callable[[], Any]) -> None:
        """`aws` gives clients of AWS, asked for where the cluster or contexts are there."""
        self._settings = settings
        self._environ = environ
        self._aws = aws
        self._watching = False

    @cached_property
    def api(self) -> Any:
        """Raises Invalid where the package `kubernetes` is missing, or there is no way into a cluster, and what looking
        up the cluster of a cloud raises."""
        return load("slipway.adapters.kubernetes.api:Api")(self._access())

    def _access(self) -> Any:
        kind, *where = self._settings.place or ("ambient",)
        match kind:
            case "eks":
                return load("slipway.adapters.aws.eks:access")(self._aws(), *where)
            case "gke":
                return load("slipway.adapters.gcp.gke:access")(*where)
            case "aks":
                return load("slipway.adapters.azure.aks:access")(*where)
        return load("slipway.adapters.kubernetes.access:ambient")(self._environ, self._settings.context)

    def version(self) -> str:
        """`v1.34.1 at https://…`."""
        return f"{load('slipway.adapters.kubernetes.rights:version')(self.api)} at {self.server}"

    def missing_rights(self, namespace: str, kinds: Iterable[tuple[str, str]]) -> Sequence[str]:
        """The rules that we lack in a namespace of runs, which are Jobs and of these kinds: (apiVersion, kind). Raises
        Invalid for a kind that the cluster does not have."""
        known = load("slipway.adapters.kubernetes.kinds:Kinds")(self.api)
        found = [known.find(*each) for each in kinds if each != ("batch/v1", "Job")]
        own = self._settings.cluster.secret is None
        return cast(
            Sequence[str],
            load("slipway.adapters.kubernetes.rights:missing")(self.api, namespace, found, secrets=own),
        )

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
        """Where somebody listens to the watcher, runs are watched from now on too."""
        settings = self._settings
        made = load("slipway.adapters.kubernetes.target:KubernetesTarget")(
            self.api,
            settings.cluster,
            secrets,
            namespaces=settings.namespaces,
            archive=archive,
        )
        if self._watching:
            self.begun_watcher()
        return cast(Target, made)

    def watchers(self) -> list[Watcher]:
        """It begins when the cluster is first used: a deployment whose queues name none needs none."""
        self._watching = True
        return [self.watcher]

    def builder(self, kind: str, destination: str | None, registry: Callable[[str], Registry]) -> Builder:
        """Of the type `kaniko` or `buildah`. `registry` gives the one that answers for a destination. Raises Invalid
        without a destination: nodes pull from a registry, and from nowhere else."""
        if destination is None:
            fix = "Give the queue one, or `slipway up --destination` (SLIPWAY_DESTINATION)."
            raise Invalid(Problem("builder.destination", f"is not given, and {kind} builds for a registry", fix=fix))
        made = load("slipway.adapters.kubernetes.builder:ClusterBuilder")(
            self.api,
            load(f"slipway.render.{kind}:FLAVOUR"),
            contexts=self._contexts,
            place=self._settings.builds.pushing_to(taken_apart(destination)),
            destination=destination,
            registry=registry(destination),
        )
        if self._watching:
            self.begun_watcher().watch_builds(self._settings.builds.namespace)
        return cast(Builder, made)

    def _contexts(self, store: str | None) -> Any:
        where = store or self._settings.contexts
        if where is None:
            fix = "Give the queue a build-context-store, or set SLIPWAY_BUILD_CONTEXTS."
            raise Invalid(Problem("builder.build-context-store", "is not given, and pods read contexts there", fix=fix))
        if where.startswith(CLAIM):
            return load("slipway.adapters.kubernetes.contexts:ClaimContexts")(CLAIMED, where.removeprefix(CLAIM))
        scheme, _, rest = where.rstrip("/").partition("://")
        first, _, path = rest.partition("/")
        prefix = f"{path}/" if path else ""
        match scheme:
            case "s3":
                blobs = load("slipway.adapters.aws.blobs:S3Blobs")(self._aws(), first, prefix)
            case "gs":
                blobs = load("slipway.adapters.gcp.blobs:GcsBlobs")(first, prefix)
            case _:
                container, _, path = path.partition("/")
                prefix, key = f"{path}/" if path else "", self._settings.azure_key
                blobs = load("slipway.adapters.azure.blobs:AzureBlobs")(f"https://{first}/{container}", prefix, key=key)
        return load("slipway.adapters.kubernetes.contexts:BucketContexts")(blobs, where)
