"""What a run is as the REST body of a Vertex AI CustomJob (S18). Pure.

A queue's config is the named arguments of the Python SDK's `CustomJob` (as `spec`) and of `CustomJob.run` (as `run`).
The SDK weighs 161 MB and is not used: what it would send is written down here, in the words of the REST API.
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.customJobs
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from slipway.documents import is_number
from slipway.errors import Invalid, Problem, nearest
from slipway.model import Json, Launch
from slipway.render import secrets
from slipway.render.names import label_safe
from slipway.render.surroundings import Project

ITEM_LABEL, ATTEMPT_LABEL = "slipway-item", "slipway-attempt"
_SPEC = (
    *("display_name", "worker_pool_specs", "base_output_dir", "project", "location", "credentials", "labels"),
    *("encryption_spec_key_name", "staging_bucket", "persistent_resource_id"),
)
"""https://cloud.google.com/python/docs/reference/aiplatform/latest/google.cloud.aiplatform.CustomJob"""
_RUN = (
    *("service_account", "network", "timeout", "restart_job_on_worker_restart", "enable_web_access", "experiment"),
    *("experiment_run", "tensorboard", "sync", "create_request_timeout", "disable_retries", "persistent_resource_id"),
    *("scheduling_strategy", "max_wait_duration", "reserved_ip_ranges"),
)
_LONGEST = 315_576_000_000
"""Seconds that a duration holds: ten thousand years."""
_TEXTS = (
    *("display_name", "encryption_spec_key_name", "base_output_dir", "service_account", "network", "experiment"),
    *("experiment_run", "tensorboard", "persistent_resource_id"),
)
_FLAGS = ("restart_job_on_worker_restart", "enable_web_access", "disable_retries")
_STRATEGIES = ("STRATEGY_UNSPECIFIED", "ON_DEMAND", "LOW_COST", "STANDARD", "SPOT", "FLEX_START")
_OF_THE_DEPLOYMENT = ("project", "location", "credentials", "sync", "create_request_timeout")


def collection(project: Project) -> str:
    """Where a CustomJob is created, with placeholders for what is not known here."""
    return f"/v1/projects/{project.id or 'PROJECT'}/locations/{project.region or 'REGION'}/customJobs"


def custom_job(launch: Launch, project: Project) -> tuple[dict[str, Json], tuple[str, ...]]:
    """The body, and what whoever reads a plan should know of it. Raises Invalid with every problem."""
    problems: list[Problem] = []
    args = launch.resource_args
    if not args:
        fix = "Give the arguments of CustomJob as spec, and those of CustomJob.run as run."
        problems.append(Problem("resource_args.gcp-vertex", "is empty", fix=fix))
    problems.extend(_unknown(args, ("spec", "run"), "resource_args"))
    spec, run = _mapping(args, "spec", problems), _mapping(args, "run", problems)
    problems.extend(_unknown(spec, _SPEC, "resource_args.spec"))
    problems.extend(_unknown(run, _RUN, "resource_args.run"))
    problems.extend((*_types(spec, "resource_args.spec"), *_types(run, "resource_args.run")))
    known, warnings = secrets.references(launch.secrets, project.secrets)
    body: dict[str, Json] = {
        "displayName": spec.get("display_name") or launch.run_name,
        "labels": _labels(spec, launch, problems),
        "jobSpec": _job_spec(spec, run, launch, {**launch.env, **known}, project, problems),
    }
    if spec.get("encryption_spec_key_name"):
        body["encryptionSpec"] = {"kmsKeyName": spec["encryption_spec_key_name"]}
    if problems:
        raise Invalid(problems)
    ignored = [field for field in _OF_THE_DEPLOYMENT if field in {*spec, *run}]
    return body, (*warnings, *(f"{field} is the deployment's own, and not taken from the queue" for field in ignored))


def _job_spec(
    spec: Mapping[str, Json],
    run: Mapping[str, Json],
    launch: Launch,
    env: Mapping[str, str],
    project: Project,
    problems: list[Problem],
) -> dict[str, Json]:
    job: dict[str, Json] = {
        "workerPoolSpecs": _pools(spec, launch, env, problems),
        "scheduling": _scheduling(run, problems),
        "baseOutputDirectory": {"outputUriPrefix": _output(spec, launch, problems)},
        "serviceAccount": run.get("service_account"),
        "network": run.get("network"),
        "reservedIpRanges": run.get("reserved_ip_ranges"),
        "enableWebAccess": run.get("enable_web_access", False),
        "persistentResourceId": run.get("persistent_resource_id") or spec.get("persistent_resource_id"),
        "tensorboard": run.get("tensorboard"),
        **_experiment(run, project, problems),
    }
    if run.get("tensorboard") and not run.get("service_account"):
        fix = "Name one that may write to the bucket and to the Tensorboard."
        problems.append(Problem("resource_args.run.service_account", "is missing, and tensorboard needs one", fix=fix))
    return {field: value for field, value in job.items() if value is not None}


def _pools(spec: Mapping[str, Json], launch: Launch, env: Mapping[str, str], problems: list[Problem]) -> list[Json]:
    path = "resource_args.spec.worker_pool_specs"
    pools = spec.get("worker_pool_specs")
    if not isinstance(pools, list) or not pools:
        fix = "List at least one: {machine_spec: {machine_type: n1-standard-4}, replica_count: 1, container_spec: {…}}."
        problems.append(Problem(path, "is missing or empty, and a CustomJob needs a worker pool", pools, fix))
        return []
    return [_pool(pool, f"{path}[{index}]", launch, env, problems) for index, pool in enumerate(pools)]


def _pool(pool: Json, path: str, launch: Launch, env: Mapping[str, str], problems: list[Problem]) -> Json:
    container = pool.get("container_spec") or pool.get("containerSpec") if isinstance(pool, Mapping) else None
    if not isinstance(container, Mapping) or not container:
        fix = "Give it one: {image_uri: '${image_uri}'}."
        problems.append(Problem(f"{path}.container_spec", "is missing, and says what to run", container, fix))
        return {}
    given = container.get("env") or []
    if not isinstance(given, list) or not all(
        isinstance(each, Mapping) and isinstance(each.get("name"), str) for each in given
    ):
        problems.append(
            Problem(f"{path}.container_spec.env", "must be a list of {name, value}", fix="List each variable.")
        )
        given = []
    kept = [dict(each) for each in given if each["name"] not in env]
    for field in ("command", "args"):
        words = container.get(field)
        if words is not None and not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
            fix = "Write ['python', 'train.py']."
            problems.append(Problem(f"{path}.container_spec.{field}", "must be a list of texts", words, fix))
            return {}
    rest = {key: value for key, value in container.items() if _camel(key) not in ("env", "command", "args")}
    # Arguments without an entry point are the image's own entry point's: as a command they would stand in its place.
    command = list(launch.command) if launch.entry_point else list(container.get("command") or ())
    arguments = list(launch.args) if launch.args else list(container.get("args") or ())
    filled = {
        **_camels(rest),
        "command": command,
        "args": [] if launch.entry_point else arguments,
        "env": [*kept, *({"name": name, "value": value} for name, value in env.items())],
    }
    filled.setdefault("imageUri", launch.image)
    others = {key: value for key, value in pool.items() if _camel(key) != "containerSpec"}
    return {**_machine(_camels(others)), "containerSpec": {key: value for key, value in filled.items() if value != []}}


def _machine(pool: dict[str, Json]) -> dict[str, Json]:
    """The default body of W&B's app says ACCELERATOR_TYPE_UNSPECIFIED with a count of 0, which means none: the API
    refuses a count without a type, and takes neither."""
    machine = pool.get("machineSpec")
    if isinstance(machine, dict) and machine.get("acceleratorType") in (None, "ACCELERATOR_TYPE_UNSPECIFIED"):
        rest = {key: value for key, value in machine.items() if key not in ("acceleratorType", "acceleratorCount")}
        return {**pool, "machineSpec": rest}
    return pool


def _scheduling(run: Mapping[str, Json], problems: list[Problem]) -> dict[str, Json]:
    """Durations are `3.5s` in JSON. https://protobuf.dev/reference/protobuf/google.protobuf/#duration"""
    scheduling: dict[str, Json] = {"restartJobOnWorkerRestart": run.get("restart_job_on_worker_restart", False)}
    for field, word in (("timeout", "timeout"), ("max_wait_duration", "maxWaitDuration")):
        seconds = run.get(field)
        if seconds is None:
            continue
        if not is_number(seconds) or not 0 <= seconds <= _LONGEST:
            rule = f"must be a number of seconds, from 0 to {_LONGEST}"
            problems.append(Problem(f"resource_args.run.{field}", rule, seconds))
        else:
            scheduling[word] = f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
    for field, word in (("disable_retries", "disableRetries"), ("scheduling_strategy", "strategy")):
        if run.get(field) is not None:
            scheduling[word] = run[field]
    return scheduling


def _output(spec: Mapping[str, Json], launch: Launch, problems: list[Problem]) -> str:
    """Where the SDK makes up a folder of the staging bucket from the time, the run's own name stands here."""
    bucket = spec.get("staging_bucket")
    if not isinstance(bucket, str) or not bucket:
        fix = "Name a bucket: gs://bucket."
        problems.append(
            Problem("resource_args.spec.staging_bucket", "is missing, and Vertex AI needs one", bucket, fix)
        )
        return ""
    if spec.get("base_output_dir"):
        return str(spec["base_output_dir"])
    bucket = bucket if bucket.startswith("gs://") else f"gs://{bucket}"
    return f"{bucket.rstrip('/')}/{launch.run.name}"


def _experiment(run: Mapping[str, Json], project: Project, problems: list[Problem]) -> dict[str, Json]:
    """The SDK takes names; the API takes the full names of contexts in the default metadata store."""
    experiment, experiment_run = run.get("experiment"), run.get("experiment_run")
    if experiment is None:
        if experiment_run is not None:
            fix = "Name the experiment too."
            problems.append(Problem("resource_args.run.experiment_run", "is given without an experiment", fix=fix))
        return {}
    store = f"projects/{project.id or 'PROJECT'}/locations/{project.region or 'REGION'}/metadataStores/default/contexts"
    named = {"experiment": f"{store}/{experiment}"}
    if experiment_run is not None:
        named["experimentRun"] = f"{store}/{experiment}-{experiment_run}"
    return named


_LABEL = re.compile(r"[a-z0-9_-]{0,63}")


def _labels(spec: Mapping[str, Json], launch: Launch, problems: list[Problem]) -> dict[str, str]:
    """https://cloud.google.com/vertex-ai/docs/general/labels: lower case, digits, hyphens, underscores."""
    given = _mapping(spec, "labels", problems)
    ours = {
        "wandb-run-id": label_safe(launch.run_id, "run_id"),
        ITEM_LABEL: launch.run.item_id,
        ATTEMPT_LABEL: str(launch.run.attempt),
    }
    for name, value in given.items():
        if not (isinstance(value, str) and _LABEL.fullmatch(value) and _LABEL.fullmatch(name)):
            rule = "a label is at most 63 lower-case letters, digits, hyphens and underscores"
            problems.append(Problem(f"resource_args.spec.labels.{name}", rule, value))
    return {**{name: str(value) for name, value in given.items()}, **ours}


def _mapping(args: Mapping[str, Json], field: str, problems: list[Problem]) -> Mapping[str, Json]:
    value = args.get(field)
    if value is None or isinstance(value, Mapping):
        return value or {}
    problems.append(Problem(f"resource_args.{field}", "must be a mapping", value))
    return {}


def _unknown(args: Mapping[str, Json], known: tuple[str, ...], path: str) -> Iterator[Problem]:
    for field in args:
        if field not in known:
            yield Problem(f"{path}.{field}", "is not an argument of the SDK's CustomJob", fix=nearest(field, known))


def _types(args: Mapping[str, Json], path: str) -> Iterator[Problem]:
    """The API reads a JSON text for nothing but a text, and so on."""
    for field, value in args.items():
        if value is None:
            continue
        if field in _TEXTS and not isinstance(value, str):
            yield Problem(f"{path}.{field}", "must be text", value, "Put it in quotes.")
        elif field in _FLAGS and not isinstance(value, bool):
            yield Problem(f"{path}.{field}", "must be true or false", value)
        elif field == "scheduling_strategy" and value not in _STRATEGIES:
            yield Problem(f"{path}.{field}", "is no strategy", value, f"It is one of {', '.join(_STRATEGIES)}.")
        elif field == "reserved_ip_ranges" and not (
            isinstance(value, list) and all(isinstance(each, str) for each in value)
        ):
            yield Problem(f"{path}.{field}", "must be a list of texts", value)


def _camels(value: Json) -> Json:
    """The keys in the words of the REST API, at any depth."""
    if isinstance(value, Mapping):
        return {_camel(key): _camels(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_camels(inner) for inner in value]
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
