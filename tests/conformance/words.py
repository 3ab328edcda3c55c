"""What Slipway reads and judges: specs, configs, policies, names, states."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.conformance.given import launched

from slipway import guardrails, registries
from slipway import image as images
from slipway import macros as core_macros
from slipway import sweeps as core_sweeps
from slipway.adapters.local import git_address
from slipway.cli.launch_spec import assignments, typed
from slipway.dockerfile import base_image as dockerfile_base
from slipway.documents import split
from slipway.errors import Invalid, SlipwayError
from slipway.image import ImagePlan
from slipway.image import inputs as image_inputs
from slipway.launch import LIMITS, MAX_VARIABLE
from slipway.launch_config import parse_launch_config
from slipway.model import GitSource, ImageSource, Job, Queue, RunPhase, Submission, TemplateVariable
from slipway.render.mounted import base_image as mounted_base
from slipway.render.names import label_safe
from slipway.spec import is_scheduler, parse_submission
from slipway.status import kubernetes as kubernetes_words
from slipway.status import sagemaker as sagemaker_words
from slipway.status import vertex as vertex_words
from slipway.template import check_variables, merge, resolve

Facts = Mapping[str, Any]


def accelerator_image(given: Facts, _: Facts) -> dict[str, Any]:
    return _judged(lambda: dockerfile_base({"accelerator": {"base_image": given["base_image"]}}, "3.11"))


def agent_config(given: Facts, _: Facts) -> dict[str, Any]:
    if "launch_config" in given:
        # Which queues an agent works on may be told on its command line.
        return _judged(lambda: parse_launch_config(given["launch_config"], queues=("q",)))
    config = parse_launch_config({"entity": "e", "queues": ["q"], **given})
    (key,) = given
    value = getattr(config, key)
    return {"result": "inf" if value == -1 else value}


def base_image(given: Facts, _: Facts) -> dict[str, Any]:
    """W&B's agent resolves it before a builder is asked."""
    if given["builder"] != "noop" or given["job_source_type"] not in ("artifact", "repo"):
        return {"builder_called": True}
    job = Job(GitSource("https://git.example.com/a"), base_image=given.get("job_base_image"))
    chosen = mounted_base(job, given.get("resource_args.<resource>.builder") or {})
    return {"image": chosen, "auto_default_base_image": job.base_image is None}


def docker_policy(given: Facts, _: Facts) -> dict[str, Any]:
    return _policy("local-container", given["resource_args"]["local-container"])


def kubernetes_policy(given: Facts, _: Facts) -> dict[str, Any]:
    return _policy("kubernetes", given["resource_args"]["kubernetes"])


def dockerfile(given: Facts, _: Facts) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for file in given["files"]:
            name, _, content = file.partition(" ")
            (root / name).write_text(content.strip("()") + "\n" if content else "")
        accelerator = given["accelerator_base_image"]
        job = Job(
            GitSource("https://git.example.com/a"), tuple(given["entrypoint"]), python_version=given["python_version"]
        )
        config = {"accelerator": {"base_image": accelerator}} if accelerator else {}
        user = "0:0" if given["resource"] == "sagemaker" else "1000:0"
        plan = images.plan(root, job, builder=given["builder"], config=config, default_python="3.11", user=user)
    lines = plan.dockerfile.splitlines()

    def starting(*words: str) -> list[str]:
        return [line for line in lines if line.startswith(words)]

    return {
        "from_lines": starting("FROM"),
        "user_line": starting("USER")[-1:],
        "workdir": starting("WORKDIR"),
        "entrypoint": starting("ENTRYPOINT"),
        "copies": starting("COPY"),
        "install_run": [line for line in starting("RUN") if "pip" in line],
        "context_entries": sorted(entry.path for entry in plan.entries),
        "runtime_txt": f"python-{plan.python_version}",
    }


def env(given: Facts, expected: Facts) -> dict[str, Any]:
    if "max_env_length" in expected:
        return {"max_env_length": {"default": MAX_VARIABLE, "SageMakerRunner": LIMITS["sagemaker"]}}
    spec = given.get("launch_spec") or {}
    if "_wandb_api_key" in spec:
        whole = {"docker": {"docker_image": "i"}, "entity": "e", "project": "p", "queue": "q", **spec}
        return {"WANDB_API_KEY_is_spec_key": _refusal(lambda: parse_submission(whole)), "has_WANDB_USERNAME": False}
    started = launched(given, image=given.get("docker_image"))
    told = {**started.env, **dict.fromkeys(started.secrets, "<api key>")}
    if "env" in expected:
        return {"env": told}
    return {key: told.get(key, key.startswith("has_") and key[4:] in told) for key in expected}


def git_remote(given: Facts, _: Facts) -> dict[str, Any]:
    refused = _refusal(lambda: git_address.parse(given["remote"], local_paths=False, insecure=False))
    return {"allowed": not refused}


def image_tag(given: Facts, expected: Facts) -> dict[str, Any]:
    plan = ImagePlan("docker", Path(), (), (), dockerfile=given.get("dockerfile", ""))
    if "image_source_string" in expected:
        return {"image_source_string": None, "rule": f"a hash of {', '.join(sorted(image_inputs(plan)))}"}
    return {"tag": plan.tag, "algorithm": f"{images.TAG_DIGITS} hex digits of the SHA-256 of every input of the image"}


def inputs(given: Facts, _: Facts) -> dict[str, Any]:
    """Files are overlaid by the run itself, with W&B's SDK; the same law holds for resource args here."""
    if "path" in given:
        parts = split(given["path"])
        return {"error": f"{given['path']} is no path"} if parts is None else {"parts": list(parts)}
    merged, problems = merge(given["file"], given["override"], tuple(given["override"]))
    return {"result": merged} if not problems else {"error": str(problems)}


def label(given: Facts, _: Facts) -> dict[str, Any]:
    return {"label": label_safe(given["value"], "name")}


def kubernetes_status(given: Facts, _: Facts) -> dict[str, Any]:
    if "ReplicatedJobsStatus" in given:
        found = kubernetes_words.of_replicated_jobs({"replicatedJobsStatus": [given["ReplicatedJobsStatus"]]})
        return {"state": None if found is None else _state(*found)}
    status = given.get("crd_status") or given
    told = kubernetes_words.custom_status({"status": status})
    return {"state": _state(told.phase, told.reason)}


def launch_spec(given: Facts, _: Facts) -> dict[str, Any]:
    whole = {"entity": "e", "project": "p", "queue": "q", **given["launch_spec"]}
    return _judged(lambda: parse_submission(whole))


def macros(given: Facts, _: Facts) -> dict[str, Any]:
    """Each text on its own: one that is refused does not hide what becomes of the others."""
    table = {
        "project_name": given["project"].lower(),
        "entity_name": given["entity"],
        **{name: given.get(name) for name in ("author", "run_id", "run_name", "image_uri")},
    }

    def expanded(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: expanded(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [expanded(inner) for inner in value]
        try:
            return core_macros.expand(value, table)
        except Invalid as refusal:
            return f"refused: {refusal.message}"

    return {"resource_args": expanded(given["resource_args"])}


def registry_uri(given: Facts, _: Facts) -> dict[str, Any]:
    problem = registries.broken_rule(given["uri"], "uri")
    return {"valid": problem is None, "message": None if problem is None else str(problem)}


def sagemaker_logs(given: Facts, _: Facts) -> dict[str, Any]:
    return {"logs": "\n".join(sagemaker_words.log_lines(given["events"]))}


def sagemaker_status(given: Facts, _: Facts) -> dict[str, Any]:
    # A job in progress is somewhere in it; the cases mean one that trains.
    answers = [{"TrainingJobStatus": word, "SecondaryStatus": "Training"} for word in given["TrainingJobStatus"]]
    found = [sagemaker_words.run_status(answer) for answer in answers]
    return {"states": [_state(status.phase, status.reason) for status in found]}


def vertex_status(given: Facts, _: Facts) -> dict[str, Any]:
    found = [vertex_words.run_status({"state": state}) for state in given["JobState"]]
    return {"states": [_state(status.phase, status.reason) for status in found]}


def scheduler(given: Facts, _: Facts) -> dict[str, Any]:
    return {"is_scheduler": is_scheduler(given["run_spec"])}


def secure_mode(given: Facts, _: Facts) -> dict[str, Any]:
    """A queue in secure mode that opens everything, and a submission that sets what the case sets."""
    spec = given["launch_spec"]
    resource, overrides = next(iter((spec.get("resource_args") or {"kubernetes": {}}).items()))
    overridden = spec.get("overrides") or {}
    queue = Queue("e", "q", resource, overridable_fields=tuple(overrides), secure_mode=given["secure_mode"], max_jobs=1)
    job = Job(ImageSource("image"), tuple(overridden.get("entry_point") or ()))
    resolve(queue, Submission(job, "q", "e", "p", resource_args=overrides))
    return {"error": None}


def sweeps(given: Facts, expected: Facts) -> dict[str, Any]:
    if "sweep_config" in given:
        return _scheduler_arguments(given)
    words = core_sweeps.arguments(given["args"])
    if "command" not in given:
        return {**words, "args_dict": dict(given["args"])}
    if not given["command"]:
        return {"entry_point": None, "override_args": None}
    entry_point, chosen = core_sweeps.command(given["command"], given["args"])
    return {"entry_point": list(entry_point) or None, "override_args": list(chosen) or {}}


def template_variables(given: Facts, expected: Facts) -> dict[str, Any]:
    """What `slipway submit --set-var` makes of the flags, and what the queue then says of them."""
    variables = {name: _variable(schema) for name, schema in given["queue_schemas"].items()}
    queue = Queue("e", "q", "local-process", template_variables=variables)
    values = typed(assignments(given["set_var_flags"]), queue)
    _, problems = check_variables({name: variables[name] for name in variables if name in values}, values)
    if problems:
        raise Invalid(problems)
    return {"template_variables": values}


def _scheduler_arguments(given: Facts) -> dict[str, Any]:
    """There is no scheduler's process to give arguments to. A sweep of two things is refused as in W&B."""
    config = given["sweep_config"]
    if bool(config.get("job")) == bool(config.get("image_uri")):
        return {"cli_args": None, "job_args": None}
    return {"cli_args": "no scheduler runs", "job_args": "no scheduler runs"}


def _variable(schema: Facts) -> TemplateVariable:
    enum = schema.get("enum")
    allowed = None if enum is None else tuple(enum)
    return TemplateVariable(
        schema["type"], schema.get("default"), allowed, schema.get("minimum"), schema.get("maximum")
    )


def _policy(resource: str, args: Facts) -> dict[str, Any]:
    problems = guardrails.check(resource, args)
    return {"error": "; ".join(str(problem) for problem in problems) or None}


def _judged(read: Callable[[], object]) -> dict[str, Any]:
    refused = _refusal(read)
    return {"valid": not refused, "message": refused or None}


def _refusal(read: Callable[[], object]) -> str:
    try:
        read()
    except SlipwayError as error:
        return error.message
    return ""


def _state(phase: RunPhase, reason: str) -> str:
    """In W&B's words: a run that stops is running here, and says so as its reason."""
    return "stopping" if reason == "stopping" else phase.value
