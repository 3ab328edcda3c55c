"""What a run is as a Kubernetes manifest (S15, S16). Pure.

A queue's config is the manifest: a Job, which gets defaults, or an object of any other kind. Every pod in it is told
which run it is, and gets a restricted security context where the queue's owner says nothing else.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from slipway.errors import Invalid, Problem
from slipway.model import Json, Launch
from slipway.render import mounted, pods, shapes
from slipway.render.names import label_safe, label_value, object_name
from slipway.render.surroundings import Cluster

HELPERS = ("namespace", "configFile", "context", "wait_for_ready", "wait_timeout", "group", "version", "plural")
"""Words for W&B's agent that stand in the manifest's place. None is a field of a manifest, and none is sent."""
JOB_DEFAULTS = {"backoffLimit": 0, "ttlSecondsAfterFinished": 60}
"""S16."""
LARGEST = 3 << 19
"""Bytes of one object: of a request, as etcd comes. https://etcd.io/docs/v3.5/dev-guide/limit/"""
ITEM_LABEL, ATTEMPT_LABEL = "slipway.item", "slipway.attempt"
RUN_LABEL, MONITOR_LABEL, AGENT_LABEL = "wandb.ai/run-id", "wandb.ai/monitor", "wandb.ai/agent"
AUXILIARY_LABEL, CREATED_BY_LABEL = "wandb.ai/auxiliary-resource", "wandb.ai/created-by"


def manifest(launch: Launch, cluster: Cluster) -> dict[str, Any]:
    """The object to create. Raises Invalid with every problem of its shape."""
    args = copy.deepcopy(dict(launch.resource_args))
    problems = [*shapes.of_run(args, "resource_args"), *shapes.of_any(args, "resource_args")]
    if problems:
        raise Invalid(problems)
    given = {key: value for key, value in args.items() if key not in HELPERS and value not in (None, "")}
    body = {"apiVersion": "batch/v1", "kind": "Job", **given}
    if _is_job(body):
        body["spec"] = _job_spec(body.get("spec") or {})
    elif (body["apiVersion"], body["kind"]) == ("v1", "Pod"):
        # The cluster's own default is Always, and such a run never ends.
        body["spec"] = {"restartPolicy": "Never", **(body.get("spec") or {})}
    body["metadata"] = _metadata(body, args, launch, cluster)
    pods.add_labels(body, _pod_labels(launch, cluster))
    running = pods.containers(body)
    _give_images(running, launch, is_job=_is_job(body))
    _give_commands(running, launch)
    _give_env(running, launch, cluster, once=() if _is_job(body) else ("WANDB_RUN_ID",))
    if launch.code is not None:
        if not any(pods.pod_templates(body)):
            fix = "Give it one: a mapping whose `spec` has `containers`."
            raise Invalid(Problem("resource_args", "has no pod in which the code could be mounted", fix=fix))
        mounted.mount(body, launch.code, cluster)
    pods.restrict(body)
    _check_size(body)
    return body


def service(
    config: Mapping[str, Json], launch: Launch, cluster: Cluster, path: str = "additional_services.config"
) -> dict[str, Any]:
    """A manifest that is created beside the run, in its namespace, of the config that the submission brings. Its names
    are made safe for Kubernetes, and nothing else that is called `name`: W&B renames the variables of its containers
    too. Raises Invalid with every problem, at `path`."""
    body = copy.deepcopy(dict(config))
    problems = list(shapes.of_any(body, path))
    if problems:
        raise Invalid(problems)
    namespace = _namespace(launch.resource_args, cluster)
    labels = {
        RUN_LABEL: label_value(launch.run_id),
        CREATED_BY_LABEL: "slipway",
        AUXILIARY_LABEL: label_safe(f"aux-{launch.entity}-{launch.project}-{launch.run_id}", "additional_services"),
        ITEM_LABEL: launch.run.item_id,
        ATTEMPT_LABEL: str(launch.run.attempt),
    }
    metadata = {**(body.get("metadata") or {})}
    if not metadata.get("name") or metadata.get("generateName"):
        rule = "must be there, and without a generateName"
        fix = "Give it one with ${run_id} in it: a start that is repeated would make another of what the cluster names."
        raise Invalid(Problem(f"{path}.metadata.name", rule, fix=fix))
    if metadata.get("namespace") not in (None, "", namespace):
        rule = "is not the namespace of the run, where its services are created"
        where = f"{path}.metadata.namespace"
        raise Invalid(Problem(where, rule, metadata["namespace"], f"Leave it out, or write {namespace}."))
    metadata["name"] = label_safe(metadata["name"], f"{path}.metadata.name")
    body["metadata"] = {**metadata, "namespace": namespace, "labels": {**(metadata.get("labels") or {}), **labels}}
    pods.add_labels(body, {key: labels[key] for key in (AUXILIARY_LABEL, ITEM_LABEL, ATTEMPT_LABEL)})
    told = [each for each in _env(launch, cluster) if each["name"].startswith(("WANDB_CONFIG", "WANDB_API_KEY"))]
    for container in pods.containers(body):
        if container.get("name"):
            container["name"] = label_safe(container["name"], f"{path}.containers.name")
        pods.add_env(container, told)
    pods.restrict(body)
    return body


def collection(body: Mapping[str, Any]) -> str:
    """Where such an object is created: `/apis/batch/v1/namespaces/ml/jobs`."""
    group_version, namespace = body["apiVersion"], body["metadata"]["namespace"]
    root = "/apis" if "/" in group_version else "/api"
    return f"{root}/{group_version}/namespaces/{namespace}/{plural(body)}"


def plural(body: Mapping[str, Any]) -> str:
    """`jobs`, `pytorchjobs`: by the rule of Kubernetes' own code generators; W&B appends an `s` to every kind."""
    kind = str(body["kind"]).lower()
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}es" if kind.endswith("s") else f"{kind}s"


def _is_job(body: Mapping[str, Any]) -> bool:
    return body["kind"] == "Job" and str(body["apiVersion"]).partition("/")[0] == "batch"


def _check_size(body: Mapping[str, Any]) -> None:
    """A cluster's own words for what is too large are many, and some of them misleading."""
    size = len(json.dumps(body))
    if size > LARGEST:
        fix = (
            "What is large belongs in a file, an image or a volume; the run's config and its variables are part of it."
        )
        rule = f"make a manifest that is too large for a cluster: {size} bytes of at most {LARGEST}"
        raise Invalid(Problem("resource_args", rule, fix=fix))


def _job_spec(given: Mapping[str, Any]) -> dict[str, Any]:
    template = {**(given.get("template") or {})}
    spec = {"restartPolicy": "Never", **(template.get("spec") or {})}
    spec["containers"] = [{**each} for each in spec.get("containers") or [{}]]
    for index, container in enumerate(spec["containers"]):
        container.setdefault("name", f"launch{index}")
    return {**JOB_DEFAULTS, **given, "template": {**template, "spec": spec}}


def _metadata(body: Mapping[str, Any], args: Mapping[str, Any], launch: Launch, cluster: Cluster) -> dict[str, Any]:
    """The name is a function of item and attempt, so that a second start finds the first; a name that the queue's
    config gives is kept, with the attempt behind it from the second on."""
    given = {key: value for key, value in (body.get("metadata") or {}).items() if key != "generateName"}
    ours = {RUN_LABEL: label_value(launch.run_id), **_pod_labels(launch, cluster)}
    return {
        **given,
        "name": _name(str(given["name"]), body, launch) if given.get("name") else launch.run.name,
        "namespace": _namespace(args, cluster),
        "labels": {**(given.get("labels") or {}), **ours},
    }


def _name(given: str, body: Mapping[str, Any], launch: Launch) -> str:
    """A Job's name is a label of its pods too."""
    return object_name(given, launch.run, "resource_args.metadata.name", most=63 if _is_job(body) else 253)


def _namespace(args: Mapping[str, Any], cluster: Cluster) -> str:
    metadata = args.get("metadata")
    own = metadata.get("namespace") if isinstance(metadata, Mapping) else None
    return str(own or args.get("namespace") or cluster.namespace)


def _pod_labels(launch: Launch, cluster: Cluster) -> dict[str, str]:
    return {
        MONITOR_LABEL: "true",
        AGENT_LABEL: cluster.agent,
        ITEM_LABEL: launch.run.item_id,
        ATTEMPT_LABEL: str(launch.run.attempt),
    }


def _give_images(running: Sequence[dict[str, Any]], launch: Launch, *, is_job: bool) -> None:
    """In a Job an image that was submitted is the first container's, whatever its config says. Every container that has
    no image gets the run's: the API takes none without. W&B gives an image that it built to the first container only,
    and to none where another has one."""
    if is_job and launch.provided and running:
        running[0]["image"] = launch.image
    for container in running:
        if not container.get("image"):
            container["image"] = launch.image


def _give_commands(running: Sequence[dict[str, Any]], launch: Launch) -> None:
    for container in running:
        if "source" in container:
            # A script of Argo's: what it runs is its source.
            continue
        if launch.entry_point and (launch.overriding or not container.get("command")):
            container["command"] = list(launch.entry_point)
        if launch.args:
            container["args"] = list(launch.args)


def _give_env(running: Sequence[dict[str, Any]], launch: Launch, cluster: Cluster, *, once: Sequence[str]) -> None:
    """`once`: variables for the first container alone. Replicas that shared a run id would write over each other."""
    env = _env(launch, cluster)
    for index, container in enumerate(running):
        pods.add_env(container, [each for each in env if index == 0 or each["name"] not in once])


def _env(launch: Launch, cluster: Cluster) -> list[dict[str, Any]]:
    """Secrets by reference. A Secret of the run's own is waited for: it is made after the run, to be owned by it. One
    that was there before is optional, as a job need not talk to W&B: without it, it just has no key."""
    plain: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in launch.env.items()]
    for variable, reference in sorted(launch.secrets.items()):
        source: dict[str, Any] = {"name": launch.run.name, "key": variable}
        if cluster.secret is not None:
            key = cluster.secret_key if variable == "WANDB_API_KEY" and cluster.secret_key else reference
            source = {"name": cluster.secret, "key": key, "optional": True}
        plain.append({"name": variable, "valueFrom": {"secretKeyRef": source}})
    return plain
