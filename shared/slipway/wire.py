"""The one place where adapters are chosen and made: settings in, `Ports` out, once per process.

Names map to "module:Class", so that nothing is imported before it is used, and the core imports no adapter.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from slipway import wire_kubernetes
from slipway.errors import Invalid, Problem, nearest
from slipway.loading import known, load
from slipway.model import Queue, Topic
from slipway.ports import Builder, Bus, Ports, Registry, Target, Watcher
from slipway.render.surroundings import Account, Surroundings
from slipway.resources import RESOURCES as ALL_RESOURCES
from slipway.wire_aws import account_of
from slipway.wire_kubernetes import OneCluster

RESOURCES = ("local-container", "local-process")


@dataclass(frozen=True)
class Settings:
    """What one machine's Slipway is told at its start."""

    home: Path
    """The data folder: database, runs, builds, environments, secrets."""
    synchronous: str = "NORMAL"
    """SQLite's: NORMAL is safe against kill -9, FULL against power loss too."""
    local_paths: bool = False
    """Whether a submission may name a path on this machine as its source."""
    private_addresses: bool = False
    """Whether a submission may have Slipway connect to loopback, link-local and private addresses."""
    insecure_git: bool = False
    """Whether git:// and http:// are taken too, which prove nothing about who answers."""
    destination: str | None = None
    """Where built images are pushed, `registry.example.com/repository`; None keeps them in Docker's own store."""
    base_url: str | None = None
    """The W&B server that runs report to (WANDB_BASE_URL); None is W&B's own default."""
    resources: frozenset[str] | None = field(default_factory=lambda: resources_of(os.environ))
    """What queues may be for; None is all that this machine can run. In a pod of a cluster a local process would run
    beside Slipway, with its rights."""
    account: Account = field(default_factory=lambda: account_of(os.environ))
    """What training jobs of SageMaker are started with."""
    kubernetes: wire_kubernetes.Settings = field(default_factory=lambda: wire_kubernetes.settings_of(os.environ))
    """What is told of the cluster that Jobs go to."""
    visibility: float = 60.0
    """Seconds a received message is invisible to other workers."""

    @staticmethod
    def default_home(environ: Mapping[str, str] = os.environ) -> Path:
        """`$SLIPWAY_HOME`, else `~/.local/share/slipway`."""
        if environ.get("SLIPWAY_HOME"):
            return Path(environ["SLIPWAY_HOME"]).expanduser().resolve()
        return Path(environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "slipway"


def local(settings: Settings) -> Ports:
    """Everything on this machine: SQLite, processes, Docker."""
    home = settings.home
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    clock = load("slipway.adapters.local.clock:SystemClock")()
    database = load("slipway.adapters.local.database:Database")(home, synchronous=settings.synchronous)
    wakeup = load("slipway.adapters.local.wakeup:Wakeup")(home)
    secrets = load("slipway.adapters.local.secrets:LocalSecrets")(home, os.environ)
    cluster = OneCluster(settings.kubernetes, os.environ, _clients)

    @cache
    def target(resource: str) -> Target:
        makers: dict[str, Callable[[], Any]] = {
            "local-process": lambda: load("slipway.adapters.local.process:ProcessTarget")(home, secrets),
            "local-container": lambda: load("slipway.adapters.local.container:ContainerTarget")(home, secrets),
            "sagemaker": lambda: load("slipway.adapters.aws.sagemaker:SageMakerTarget")(_clients(), settings.account),
            "kubernetes": lambda: cluster.target(
                secrets, load("slipway.adapters.local.blobs:FolderBlobs")(home / "kept")
            ),
        }
        if settings.resources is not None:
            makers = {name: maker for name, maker in makers.items() if name in settings.resources}
        return cast(Target, makers[known("resource", resource, makers)]())

    @cache
    def builder(kind: str, destination: str | None = None) -> Builder:
        where = destination or settings.destination
        makers: dict[str, Callable[[], Any]] = {
            "environment": lambda: load("slipway.adapters.local.environment:EnvironmentBuilder")(home),
            "docker": lambda: load("slipway.adapters.local.docker_builder:DockerBuilder")(
                home, destination=where, registry=_registry(where)
            ),
            "kaniko": lambda: cluster.builder(kind, where, _registry),
            "buildah": lambda: cluster.builder(kind, where, _registry),
            "noop": lambda: load("slipway.adapters.local.noop:NoopBuilder")(),
        }
        return cast(Builder, makers[known("builder.type", kind, makers)]())

    def watchers() -> Sequence[Watcher]:
        found: list[Watcher] = [load("slipway.adapters.local.watch:ProcessWatcher")(home), *cluster.watchers()]
        if shutil.which("docker"):
            found.append(load("slipway.adapters.local.container:ContainerWatcher")())
        return found

    return Ports(
        store=load("slipway.adapters.local.store:SqliteStore")(database),
        bus=load("slipway.adapters.local.bus:SqliteBus")(database, clock, wakeup, visibility=settings.visibility),
        sources=load("slipway.adapters.local.sources:LocalSources")(
            local_paths=settings.local_paths,
            private_addresses=settings.private_addresses,
            insecure_git=settings.insecure_git,
        ),
        targets=target,
        builders=builder,
        secrets=secrets,
        clock=clock,
        entropy=os.urandom,
        default_builder=default_builder,
        resources=[
            each
            for each in RESOURCES
            if (settings.resources is None or each in settings.resources)
            and (each != "local-container" or shutil.which("docker"))
        ],
        base_url=settings.base_url,
        around=Surroundings(cluster=settings.kubernetes.cluster, account=settings.account),
        watchers=watchers,
    )


def resources_of(environ: Mapping[str, str]) -> frozenset[str] | None:
    """`SLIPWAY_RESOURCES`, names with commas between; None where it says nothing. Raises Invalid for others."""
    named = [each.strip() for each in environ.get("SLIPWAY_RESOURCES", "").split(",") if each.strip()]
    problems = [
        Problem("SLIPWAY_RESOURCES", "is not a resource", each, nearest(each, ALL_RESOURCES))
        for each in named
        if each not in ALL_RESOURCES
    ]
    if problems:
        raise Invalid(problems)
    return frozenset(named) or None


def planning(queue: Queue) -> Ports:
    """What a plan needs and nothing else: one queue, and sources of this user's own machine. Nothing is kept, and no
    account or server is asked."""
    clock = load("slipway.adapters.local.clock:SystemClock")()
    store = load("slipway.adapters.memory.store:MemoryStore")()
    store.save_queue(replace(queue, version=0))
    return Ports(
        store=store,
        bus=load("slipway.adapters.memory.bus:MemoryBus")(clock),
        sources=load("slipway.adapters.local.sources:LocalSources")(
            local_paths=True, private_addresses=True, insecure_git=True
        ),
        targets=lambda resource: cast(Target, load("slipway.adapters.memory.target:MemoryTarget")()),
        builders=lambda kind, destination: cast(
            Builder, load("slipway.adapters.memory.builder:MemoryBuilder")(destination=destination or "IMAGE")
        ),
        secrets=load("slipway.adapters.memory.secrets:MemorySecrets")(),
        clock=clock,
        entropy=os.urandom,
        default_builder=lambda resource: "environment" if resource == "local-process" else "docker",
        around=Surroundings(cluster=wire_kubernetes.settings_of(os.environ).cluster, account=account_of(os.environ)),
    )


def cluster(environ: Mapping[str, str] = os.environ) -> OneCluster:
    """The one that this environment names. Raises Invalid."""
    return OneCluster(wire_kubernetes.settings_of(environ), environ, _clients)


def sqs_sender(queue_url: str) -> Bus:
    """A bus that can send to one queue of AWS, the one of ADVANCE, and nothing else."""
    queues = {Topic.ADVANCE: queue_url}
    clock = load("slipway.adapters.local.clock:SystemClock")()
    return cast(Bus, load("slipway.adapters.aws.bus:SqsBus")(_clients(), queues, {}, clock=clock))


def default_builder(resource: str) -> str:
    """S8: `docker` when a docker CLI is found, else `noop`. A local process needs no image but an environment."""
    if resource == "local-process":
        return "environment"
    return "docker" if shutil.which("docker") else "noop"


def _registry(destination: str | None) -> Registry:
    if destination is None:
        return cast(Registry, load("slipway.adapters.local.docker_images:DockerImages")())
    credentials = load("slipway.adapters.local.docker_login:credentials")
    if _ECR.fullmatch(destination.partition("/")[0]):
        credentials = load("slipway.adapters.aws.ecr:EcrCredentials")(_clients())
    return cast(Registry, load("slipway.adapters.oci.registry:OciRegistry")(credentials))


@cache
def _clients() -> Any:
    """Of the AWS account that this machine's credentials are for. Raises Invalid where boto3 is not installed."""
    if find_spec("boto3") is None:
        fix = "Install it: pip install 'slipway[aws]'."
        raise Invalid(Problem("boto3", "is not installed, and what is asked for is on AWS", fix=fix))
    return load("slipway.adapters.aws.clients:Clients")()


_ECR = re.compile(r"\d{12}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|on\.aws)")
"""https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html"""
