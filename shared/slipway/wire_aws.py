"""The deployment on AWS: the environment of a Lambda function in, `Ports` out, once per process.

Apart from `wire`, so that what a function ships can be read off the names here: no adapter of another place is named.
The template in `sam/` sets every variable; docs/aws.md has their table.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

from slipway.errors import Invalid, Problem
from slipway.loading import known, load
from slipway.model import Topic
from slipway.ports import Builder, Clock, Ports, Target
from slipway.render.surroundings import Account, Cluster, Surroundings

VISIBILITY = 360.0
"""Seconds for which a message is with its function: six times the longest that `advance` may take.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
LOOK_AGAIN = 300.0
"""Seconds after which a running item is looked at although EventBridge told nothing."""
CLUSTER_TIMEOUT = 10.0
"""Seconds for one call of a cluster's API server. A step makes a handful of them, and must end within its lease."""
DAY = 86400.0


@dataclass(frozen=True)
class Settings:
    """What a deployment on AWS is told by its template."""

    table: str
    bucket: str
    """For payloads that are too large for a record, and for build contexts."""
    queues: Mapping[Topic, str]
    """Topic → URL of its queue."""
    dead: Mapping[Topic, str]
    """Topic → URL of its dead-letter queue."""
    account: Account
    project: str | None = None
    """The CodeBuild project; None in a deployment that takes pre-built images only."""
    destination: str | None = None
    """Where built images go: the URI of an ECR repository."""
    cluster: str | None = None
    """The EKS cluster, in this account and region, that runs of the resource `kubernetes`; None where there is none."""
    namespace: str = "default"
    """Where runs go on it whose queue names no namespace."""
    namespaces: tuple[str, ...] = ()
    """All of them where runs are looked for; none: wherever they may be listed."""
    base_url: str | None = None
    """The W&B server that runs report to; None is W&B's own default."""
    private_addresses: bool = False
    """Whether sources may lie on private addresses: a git server within the VPC."""
    insecure_git: bool = False
    """Whether git:// and http:// are good enough for sources."""
    keep: float = 30 * DAY
    """Seconds for which an item is kept after its end."""

    def topic_of(self, arn: str) -> Topic:
        """Whose queue has this ARN. Raises Invalid for a queue of others."""
        name = arn.rpartition(":")[2]
        for topic, url in self.queues.items():
            if url.rpartition("/")[2] == name:
                return topic
        rule, fix = "is no queue of this deployment", "Let the event source mappings be those of sam/template.yaml."
        raise Invalid(Problem("eventSourceARN", rule, arn, fix))


def settings_of(environ: Mapping[str, str]) -> Settings:
    """Raises Invalid with every variable that is missing or cannot be read."""
    problems: list[Problem] = []

    def needed(name: str) -> str:
        if not environ.get(name):
            fix = "sam/template.yaml sets it: deploy with it, or set the variable."
            problems.append(Problem(name, "is not set in the function's environment", fix=fix))
        return environ.get(name, "")

    settings = Settings(
        table=needed("SLIPWAY_TABLE"),
        bucket=needed("SLIPWAY_BUCKET"),
        queues={topic: needed(f"SLIPWAY_QUEUE_{topic.upper()}") for topic in Topic},
        dead={topic: needed(f"SLIPWAY_DEAD_{topic.upper()}") for topic in Topic},
        account=_account(environ, problems),
        project=environ.get("SLIPWAY_CODEBUILD_PROJECT") or None,
        destination=environ.get("SLIPWAY_DESTINATION") or None,
        cluster=environ.get("SLIPWAY_EKS_CLUSTER") or None,
        namespace=environ.get("SLIPWAY_KUBERNETES_NAMESPACE") or "default",
        namespaces=_namespaces(environ),
        base_url=environ.get("WANDB_BASE_URL") or None,
        private_addresses=environ.get("SLIPWAY_PRIVATE_ADDRESSES") == "true",
        insecure_git=environ.get("SLIPWAY_INSECURE_GIT") == "true",
        keep=_days(environ, problems) * DAY,
    )
    if settings.project and not settings.destination:
        problems.append(Problem("SLIPWAY_DESTINATION", "is not set, and SLIPWAY_CODEBUILD_PROJECT is"))
    if problems:
        raise Invalid(problems)
    return settings


def account_of(environ: Mapping[str, str]) -> Account:
    """What training jobs are started with, wherever Slipway itself runs: `slipway up` reads the same variables.

    Raises Invalid."""
    problems: list[Problem] = []
    account = _account(environ, problems)
    if problems:
        raise Invalid(problems)
    return account


def aws(settings: Settings, clock: Clock | None = None) -> Ports:
    """Everything on AWS: DynamoDB, SQS, S3, ECR, CodeBuild, SageMaker, EKS. `clock` None is the machine's."""
    clients = load("slipway.adapters.aws.clients:Clients")()
    clock = clock or load("slipway.adapters.local.clock:SystemClock")()
    blobs = load("slipway.adapters.aws.blobs:S3Blobs")(clients, settings.bucket)
    secrets = load("slipway.adapters.aws.secrets:AwsSecrets")(clients, settings.account.secrets)
    # Runs have Secrets of their own, whose values are read when they start.
    cluster = Cluster(namespace=settings.namespace, secret=None)
    targets: dict[str, Callable[[], Any]] = {
        "sagemaker": lambda: load("slipway.adapters.aws.sagemaker:SageMakerTarget")(
            clients, settings.account, look_again=LOOK_AGAIN
        )
    }
    if settings.cluster:
        targets["kubernetes"] = lambda: _kubernetes(settings, clients, cluster, secrets)

    @cache
    def target(resource: str) -> Target:
        return cast(Target, targets[known("resource", resource, targets)]())

    @cache
    def builder(kind: str, destination: str | None = None) -> Builder:
        makers: dict[str, Callable[[], Any]] = {"noop": lambda: load("slipway.adapters.local.noop:NoopBuilder")()}
        if settings.project:
            makers["codebuild"] = lambda: _codebuild(settings, clients, blobs, destination)
        return cast(Builder, makers[known("builder.type", kind, makers)]())

    return Ports(
        store=load("slipway.adapters.aws.store:DynamoStore")(clients, settings.table, blobs, keep=settings.keep),
        bus=load("slipway.adapters.aws.bus:SqsBus")(
            clients, settings.queues, settings.dead, clock=clock, visibility=VISIBILITY
        ),
        sources=load("slipway.adapters.local.sources:LocalSources")(
            private_addresses=settings.private_addresses, insecure_git=settings.insecure_git
        ),
        targets=target,
        builders=builder,
        secrets=secrets,
        clock=clock,
        entropy=os.urandom,
        default_builder=lambda resource: "codebuild" if settings.project else "noop",
        resources=tuple(targets),
        base_url=settings.base_url,
        around=Surroundings(account=settings.account, cluster=cluster),
    )


def _kubernetes(settings: Settings, clients: Any, cluster: Cluster, secrets: Any) -> Any:
    access = load("slipway.adapters.aws.eks:access")(clients, settings.cluster)
    api = load("slipway.adapters.kubernetes.api:Api")(access, timeout=CLUSTER_TIMEOUT)
    # A pod's log goes with it. Beside the payloads of items it is kept as long as they are.
    archive = load("slipway.adapters.aws.blobs:S3Blobs")(clients, settings.bucket, "items/")
    return load("slipway.adapters.kubernetes.target:KubernetesTarget")(
        api, cluster, secrets, namespaces=settings.namespaces, archive=archive
    )


def _codebuild(settings: Settings, clients: Any, blobs: Any, destination: str | None) -> Any:
    own = frozenset({(settings.destination or "").partition("/")[0]})
    credentials = load("slipway.adapters.aws.ecr:EcrCredentials")(clients, also=own)
    return load("slipway.adapters.aws.codebuild:CodeBuildBuilder")(
        clients,
        settings.project,
        blobs=blobs,
        bucket_prefix=settings.bucket,
        destination=destination or settings.destination,
        registry=load("slipway.adapters.oci.registry:OciRegistry")(credentials),
        create_repository=partial(load("slipway.adapters.aws.ecr:ensure_repository"), clients),
        also=own,
    )


def _namespaces(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The one where runs go by default is always among them."""
    named = [each.strip() for each in environ.get("SLIPWAY_KUBERNETES_NAMESPACES", "").split(",") if each.strip()]
    own = environ.get("SLIPWAY_KUBERNETES_NAMESPACE") or "default"
    return tuple(dict.fromkeys((own, *named))) if named else ()


def _account(environ: Mapping[str, str], problems: list[Problem]) -> Account:
    secrets = _object(environ.get("SLIPWAY_SECRETS") or "{}")
    if secrets is None:
        # What was given is not shown: someone may put a secret itself there.
        rule, fix = "is no JSON object of names to places", 'Write {"WANDB_API_KEY": "arn:aws:secretsmanager:…"}.'
        problems.append(Problem("SLIPWAY_SECRETS", rule, fix=fix))
    return Account(
        id=environ.get("SLIPWAY_AWS_ACCOUNT") or None,
        partition=environ.get("SLIPWAY_AWS_PARTITION") or "aws",
        role=environ.get("SLIPWAY_TRAINING_ROLE") or None,
        output=environ.get("SLIPWAY_OUTPUT") or None,
        secrets=secrets or {},
    )


def _object(text: str) -> dict[str, str] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    texts = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if texts else None


def _days(environ: Mapping[str, str], problems: list[Problem]) -> float:
    text = environ.get("SLIPWAY_KEEP_DAYS") or "30"
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        problems.append(Problem("SLIPWAY_KEEP_DAYS", "is no whole number of days above 0", text))
        return 30.0
    return float(text)
