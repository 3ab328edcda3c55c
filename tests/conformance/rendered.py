"""What Slipway sends: payloads per resource, as the facts that a case asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.conformance.given import launched

from slipway.model import Launch
from slipway.render import docker as docker_words
from slipway.render import kaniko as kaniko_words
from slipway.render import kubernetes as manifests
from slipway.render import pods
from slipway.render import sagemaker as training_jobs
from slipway.render import vertex as custom_jobs
from slipway.render.surroundings import Account, Cluster, Project
from slipway.resources import unwrap
from slipway.spec import parse_submission

Facts = Mapping[str, Any]
NO_SUCH_FACT = "(no fact that is known here)"


def docker(given: Facts, expected: Facts) -> dict[str, Any]:
    if "base_image" in given:
        return {"docker_args": {"refused": "nothing mounts code in a container: its image is built"}}
    started = launched(
        {},
        uri=given["image"],
        resource="local-container",
        resource_args=given["docker_args"],
        overrides={"args": given["additional_args"]},
        entry_point=given["entry_cmd"],
    )
    started = replace(started, env=given["env"], secrets={})
    return {"argv": ["docker", *_without_ours(docker_words.run_arguments(started, output="/output"))]}


def _without_ours(words: list[str]) -> list[str]:
    """Without the options that Slipway gives every run: its name, labels, and the folder for its output."""
    kept, index = [], 0
    while index < len(words):
        word, value = words[index], words[index + 1] if index + 1 < len(words) else ""
        ours = word in ("--name", "--mount") or (word in ("--label", "-e") and value.lower().startswith("slipway"))
        kept += [] if ours else [word]
        index += 2 if ours else 1
    return kept


def kubernetes(given: Facts, expected: Facts) -> dict[str, Any]:
    project = given.get("project") or {}
    release = (given.get("env") or {}).get("WANDB_RELEASE_NAME")
    cluster = Cluster(agent=given.get("agent_name") or "slipway")
    if release:
        cluster = replace(cluster, secret=f"wandb-api-key-{release}", secret_key="password")
    started = launched(
        {**given, "project": None, "launch_spec": project.get("launch_spec") or {}},
        image=given.get("docker_image"),
        uri=given.get("image_uri"),
        resource_args=given["resource_args"]["kubernetes"],
        overrides=project.get("overrides") or {},
        entry_point=project.get("entry_point") or given.get("job_entrypoint"),
    )
    return _facts_of(manifests.manifest(started, cluster), started, cluster, expected)


def _facts_of(body: dict[str, Any], started: Launch, cluster: Cluster, expected: Facts) -> dict[str, Any]:
    running, metadata = pods.containers(body), body["metadata"]
    services = [manifests.service(each, started, cluster) for each in started.services]
    group, _, version = body["apiVersion"].rpartition("/")
    keys = [next((each for each in one["env"] if each["name"] == "WANDB_API_KEY"), {}) for one in running]
    known: dict[str, Any] = {
        "manifest": body,
        "body": body,
        "kind": body["kind"],
        "metadata": metadata,
        "labels": metadata["labels"],
        "generateName": metadata.get("generateName"),
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "create_namespace": metadata["namespace"],
        "group": group,
        "version": version,
        "plural": manifests.plural(body),
        "secrets": None,
        "secret_names": sorted({key["valueFrom"]["secretKeyRef"]["name"] for key in keys if "valueFrom" in key}),
        "env_entry": keys[:1],
        "api_key_is_plain_env_value": ["value" in key for key in keys],
        "run_id_env_counts": [sum(each["name"] == "WANDB_RUN_ID" for each in one["env"]) for one in running],
        "pod_labels": [pod["metadata"]["labels"] for pod in pods.pod_templates(body)],
        "order": [*(service["kind"] for service in services), body["kind"]],
        "service_manifest": services[0] if services else None,
        "job_has_wait_for_ready_key": "wait_for_ready" in body,
        "jobTemplate_securityContext": running[0]["securityContext"],
        "containers": running,
        "container": running[0],
        "images": [one.get("image") for one in running],
        "image": running[0].get("image"),
        "commands": [one.get("command") for one in running],
        "command": running[0].get("command"),
        "args": running[0].get("args"),
        "names": [one.get("name") for one in running],
        "env": running[0]["env"],
        "spec": body.get("spec"),
        "imagePullSecrets": next(pods.pod_specs(body)).get("imagePullSecrets"),
    }
    return {key: known.get(key, NO_SUCH_FACT) for key in expected}


def kubernetes_base_image(given: Facts, expected: Facts) -> dict[str, Any]:
    if given["job_source_type"] not in ("artifact", "repo"):
        job = {"source_type": given["job_source_type"], "source": {}}
        parse_submission({"entity": "e", "project": "p", "queue": "q", "job": job})
    working_dir = given.get("working_dir_override")
    started = launched(
        {},
        mounted=given["base_image"],
        resource_args={},
        overrides={"working_dir": working_dir} if working_dir else {},
        entry_point=given["job_entrypoint"],
    )
    assert started.code is not None
    code = replace(started.code, install=given["auto_default_base_image"])
    claim = (given.get("env") or {}).get("WANDB_LAUNCH_CODE_PVC_NAME")
    body = manifests.manifest(replace(started, code=code), Cluster(code_claim=claim))
    pod = body["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    told = ("image", "command", "args", "workingDir", "volumeMounts")
    known = {
        "container": {key: container.get(key) for key in told},
        "volumes": pod["volumes"],
        "initContainer": pod["initContainers"][0],
    }
    return {key: known.get(key, NO_SUCH_FACT) for key in expected}


def kaniko(given: Facts, _: Facts) -> dict[str, Any]:
    registry, _, region = str(given.get("registry", "")).partition(" ")
    env = given.get("env") or {}
    config = {
        "secret-name": given.get("secret_name") or ("s" if "without secret-key" in given["description"] else None),
        "secret-key": given.get("secret_key"),
        "kaniko-config": given.get("kaniko_config"),
    }
    kinds = {"ecr": "ecr", "acr": "acr", "gcr": "gar", "gar": "gar"}
    place = kaniko_words.Place(
        namespace=given.get("namespace", "wandb"),
        registry=kinds.get(registry, "other"),
        region=region or "us-east-1",
        azure_storage=given.get("environment") == "azure",
        claim=env.get("WANDB_LAUNCH_KANIKO_PVC_NAME"),
        docker_config=env.get("WANDB_LAUNCH_KANIKO_AUTH_SECRET"),
    )
    job = kaniko_words.job(
        name=given.get("job_name", "job-1"),
        context=given.get("context", "ctx"),
        image=given.get("image", "https://repo:12345678"),
        config={key: value for key, value in config.items() if value is not None},
        place=place,
    )
    return {"job": job}


def sagemaker(given: Facts, _: Facts) -> dict[str, Any]:
    runner = (given.get("agent_runner_config") or {}).get("runner") or {}
    account = Account(
        given.get("account_id"), given.get("partition") or "aws", runner.get("role_arn"), runner.get("s3_output_path")
    )
    args = (given["resource_args"] or {}).get("sagemaker") or {}
    started = launched(
        given,
        image="testimage",
        uri=given["image_uri"],
        resource="sagemaker",
        resource_args=_expanded(args, given),
        entry_point=given.get("job_entrypoint"),
    )
    request, _ = training_jobs.request(started, account)
    environment = {**request["Environment"], **dict.fromkeys(started.secrets, "(by reference)")}
    return {"create_training_job": {**request, "Environment": environment}}


def vertex(given: Facts, _: Facts) -> dict[str, Any]:
    _, args = unwrap(given["resource_args"], "resource_args", [])
    started = launched(
        given,
        image=given["image_uri"],
        uri=given["image_uri"],
        resource="gcp-vertex",
        resource_args=_expanded(args, given),
        entry_point=given.get("job_entrypoint"),
    )
    body, _ = custom_jobs.custom_job(started, Project("gp", "us-c1"))
    return _sdk_words(body, args, started)


def _expanded(args: Any, given: Facts) -> Any:
    """`launch` fills macros of an item's args; here the args come with the case."""
    started = launched(given, image=given.get("image_uri"), resource_args={"args": args})
    return started.resource_args["args"]


def _sdk_words(body: Mapping[str, Any], args: Mapping[str, Any], started: Launch) -> dict[str, Any]:
    """The REST body in the words of the Python SDK, which the cases speak."""
    job = body["jobSpec"]
    pools = [_snake(pool) for pool in job["workerPoolSpecs"]]
    for pool in pools:
        container = pool["container_spec"]
        container.setdefault("command", [])
        container["env"] = [*container["env"], *({"name": name, "value": "(by reference)"} for name in started.secrets)]
    output = job["baseOutputDirectory"]["outputUriPrefix"]
    scheduling, given = job["scheduling"], args["spec"]
    prefix = "projects/gp/locations/us-c1/metadataStores/default/contexts/"
    experiment = job.get("experiment", "").removeprefix(prefix) or None
    return {
        "init": {
            "project": "gp",
            "location": "us-c1",
            "staging_bucket": given["staging_bucket"],
            "credentials": "creds",
        },
        "custom_job": {
            "display_name": body["displayName"],
            "worker_pool_specs": pools,
            "base_output_dir": output if "base_output_dir" in given else None,
            "encryption_spec_key_name": body.get("encryptionSpec", {}).get("kmsKeyName"),
            "labels": {key: value for key, value in body["labels"].items() if not key.startswith("slipway")},
        },
        "submit": {
            "timeout": int(scheduling["timeout"].rstrip("s")) if "timeout" in scheduling else None,
            "service_account": job.get("serviceAccount"),
            "network": job.get("network"),
            "enable_web_access": job.get("enableWebAccess", False),
            "experiment": experiment,
            "experiment_run": job.get("experimentRun", "").removeprefix(f"{prefix}{experiment}-") or None,
            "tensorboard": job.get("tensorboard"),
            "restart_job_on_worker_restart": scheduling["restartJobOnWorkerRestart"],
        },
    }


def _snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            "".join(f"_{c.lower()}" if c.isupper() else c for c in key): _snake(inner) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_snake(inner) for inner in value]
    return value
