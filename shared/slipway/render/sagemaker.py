"""What a run is as the request of CreateTrainingJob (S17). Pure.

A queue's config is the request itself, its top-level words in either spelling (`RoleArn`, `role_arn`).
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from slipway.documents import join
from slipway.errors import Invalid, Problem
from slipway.launch import LIMITS
from slipway.model import Json, Launch
from slipway.render import secrets
from slipway.render.names import of_attempt
from slipway.render.surroundings import Account

ITEM_TAG, ATTEMPT_TAG = "slipway.item", "slipway.attempt"
NOT_SENT = frozenset({"EcrRepoName", "region", "profile"})
"""Words that W&B takes in this place and does not send either."""
OUTPUT = "/opt/ml/output/data"
"""Where a run leaves what is kept: SageMaker puts it into output.tar.gz under `S3OutputPath`.
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-output.html"""
_REQUIRED = {
    "ResourceConfig": "Say which instances: {InstanceType: ml.m5.xlarge, InstanceCount: 1, VolumeSizeInGB: 30}.",
    "StoppingCondition": "Say how long a run may take: {MaxRuntimeInSeconds: 3600}.",
}
_WORDS, _WORD = 100, 256
"""Words of a command, and characters of one."""
_NEW_LINE = re.compile("[\n\r\x85\u2028\u2029]")
_VARIABLES = 100
_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,511}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@/-]+")
_PLACE = re.compile(r"(https|s3)://[^/]+/?.*")
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


def request(launch: Launch, account: Account) -> tuple[dict[str, Json], tuple[str, ...]]:
    """The request, and what whoever reads a plan should know of it.

    The queue's own `Environment` wins over the variables of W&B and Slipway, as in W&B Launch; what says which run it
    is does not give way. Raises Invalid with every problem.
    """
    problems: list[Problem] = []
    args = _camel(launch.resource_args, problems)
    known, warnings = _secrets(args, launch, account)
    wanted = {
        **args,
        "TrainingJobName": _name(args, launch, problems),
        "RoleArn": _role(args, account, problems),
        "AlgorithmSpecification": _algorithm(args, launch, problems),
        "OutputDataConfig": _output(args, account, problems),
        "Environment": _environment(args, {**launch.env, "SLIPWAY_OUTPUT_DIR": OUTPUT, **known}, problems),
        "Tags": _tags(args, launch, problems),
    }
    for field, fix in _REQUIRED.items():
        if args.get(field) is None:
            problems.append(Problem(f"resource_args.{field}", "is missing, and CreateTrainingJob requires it", fix=fix))
    if problems:
        raise Invalid(problems)
    return {field: value for field, value in wanted.items() if value is not None}, warnings


def _secrets(args: Mapping[str, Json], launch: Launch, account: Account) -> tuple[dict[str, str], tuple[str, ...]]:
    """A run without a network has no credentials either, and is not told of what it cannot fetch.
    https://docs.aws.amazon.com/sagemaker/latest/dg/mkt-algo-model-internet-free.html"""
    known, warnings = secrets.references(launch.secrets, account.secrets, LIMITS["sagemaker"])
    if known and args.get("EnableNetworkIsolation"):
        return {}, (*warnings, "the run has no network (EnableNetworkIsolation), so it cannot fetch its secrets")
    return known, warnings


def _camel(args: Mapping[str, Json], problems: list[Problem]) -> dict[str, Json]:
    """`role_arn` is `RoleArn`. The spelling of the vendor wins where both are given. Only the top level: below it the
    vendor's own spelling is the only one."""
    found: dict[str, Json] = {}
    for name, value in sorted(args.items(), key=lambda each: "_" not in each[0]):
        if name not in NOT_SENT:
            found["".join(word.title() for word in name.split("_")) if "_" in name else name] = value
    for field in ("AlgorithmSpecification", "OutputDataConfig", "Environment", "ResourceConfig", "StoppingCondition"):
        value = found.get(field)
        if value is not None and not isinstance(value, Mapping):
            problems.append(Problem(f"resource_args.{field}", "must be a mapping", value))
            del found[field]
    return found


def _name(args: Mapping[str, Json], launch: Launch, problems: list[Problem]) -> str:
    """SageMaker keeps a name for ever, so one attempt is one name."""
    given = args.get("TrainingJobName")
    if given is None:
        return launch.run.name
    # `${project_name}-${run_id}` is a usual one, and a project's name may hold what SageMaker does not take.
    name = of_attempt(re.sub(r"[^a-zA-Z0-9]+", "-", str(given))[:56].strip("-"), launch.run)
    if not _NAME.fullmatch(name):
        rule = "has no letter or digit that a training job's name may hold"
        problems.append(Problem("resource_args.TrainingJobName", rule, given, "Leave it out for a name of Slipway's."))
    return name


def _role(args: Mapping[str, Json], account: Account, problems: list[Problem]) -> str:
    """An ARN as it is; a bare name is a role of this account."""
    role = args.get("RoleArn") or account.role
    path = "resource_args.RoleArn"
    if not isinstance(role, str):
        fix = "Name the role that training jobs run under: its ARN, or its name."
        problems.append(Problem(path, "is missing, and CreateTrainingJob requires it", role, fix))
        return ""
    arn = role if role.startswith("arn:") else f"arn:{account.partition}:iam::{account.id}:role/{role}"
    if arn == role or account.id is not None:
        if not _ROLE.fullmatch(arn):
            fix = "It is arn:aws:iam::<12 digits>:role/<name>, or the name of a role."
            problems.append(Problem(path, "is no IAM role", role, fix))
    else:
        problems.append(Problem(path, "is a role's name, and the account is not known here", role, "Give the ARN."))
    return arn


def _algorithm(args: Mapping[str, Json], launch: Launch, problems: list[Problem]) -> dict[str, Json]:
    """Where the queue's config has an image of its own, that runs, with the submission's command and no job's."""
    given = dict(args.get("AlgorithmSpecification") or {"TrainingInputMode": "File"})
    own = given.get("TrainingImage") or given.get("AlgorithmName")
    if own is None:
        given["TrainingImage"] = launch.image
    given.setdefault("TrainingInputMode", "File")
    if launch.entry_point and (own is None or launch.overriding):
        given["ContainerEntrypoint"] = list(launch.entry_point if own is None else secrets.bare(launch.entry_point))
    if launch.args:
        given["ContainerArguments"] = list(launch.args)
    for field in ("ContainerEntrypoint", "ContainerArguments"):
        problems.extend(_words(given.get(field), f"resource_args.AlgorithmSpecification.{field}"))
    return given


def _words(words: Json, path: str) -> Iterator[Problem]:
    if words is None:
        return
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        yield Problem(path, "must be a list of texts", words, "Write ['python', 'train.py'].")
        return
    if len(words) > _WORDS:
        yield Problem(path, f"has {len(words)} words, and SageMaker takes {_WORDS}", fix="Give them in a file.")
    for word in words:
        if len(word) > _WORD or _NEW_LINE.search(word):
            rule = f"has a word that SageMaker does not take: at most {_WORD} characters, without a new line"
            yield Problem(path, rule, word, "Give it in a file.")


def _output(args: Mapping[str, Json], account: Account, problems: list[Problem]) -> Json:
    given = args.get("OutputDataConfig")
    if given is None and account.output is not None:
        return {"S3OutputPath": account.output if account.output.startswith("s3://") else f"s3://{account.output}"}
    if given is None:
        fix = "Say where output goes: {S3OutputPath: s3://bucket/prefix}."
        problems.append(
            Problem("resource_args.OutputDataConfig", "is missing, and CreateTrainingJob requires it", fix=fix)
        )
    elif not _PLACE.fullmatch(str(given.get("S3OutputPath"))):
        rule = "is no place that SageMaker takes"
        fix = "Write s3://bucket/prefix."
        problems.append(Problem("resource_args.OutputDataConfig.S3OutputPath", rule, given.get("S3OutputPath"), fix))
    return given


def _environment(args: Mapping[str, Json], ours: Mapping[str, str], problems: list[Problem]) -> dict[str, str]:
    given = args.get("Environment") or {}
    identity = {
        name: value for name, value in ours.items() if name in ("WANDB_RUN_ID", "SLIPWAY_ITEM", "SLIPWAY_ATTEMPT")
    }
    problems.extend(_variables(given))
    environment = {**ours, **{str(name): str(value) for name, value in given.items()}, **identity}
    for name, value in environment.items():
        if len(value) > LIMITS["sagemaker"]:
            rule = f"is {len(value)} characters long, and SageMaker takes {LIMITS['sagemaker']}"
            where = "overrides.artifacts" if name == "WANDB_ARTIFACTS" else join("resource_args.Environment", name)
            problems.append(Problem(where, rule, fix="Give it in a file, or make it shorter."))
    if len(environment) > _VARIABLES:
        rule = f"has {len(environment)} variables, and SageMaker takes {_VARIABLES}"
        fix = "A long overrides.run_config or overrides.files takes one for every 512 characters: make it shorter."
        problems.append(Problem("resource_args.Environment", rule, fix=fix))
    return environment


def _variables(given: Mapping[str, Json]) -> Iterator[Problem]:
    for name, value in given.items():
        if not _VARIABLE.fullmatch(str(name)):
            rule = "is no name of a variable that SageMaker takes: letters, digits and _, the first no digit"
            yield Problem(join("resource_args.Environment", name), rule)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            yield Problem(join("resource_args.Environment", name), "must be text", fix="Put it in quotes.")


def _tags(args: Mapping[str, Json], launch: Launch, problems: list[Problem]) -> list[Json]:
    given = args.get("Tags") or []
    if not isinstance(given, list):
        problems.append(Problem("resource_args.Tags", "must be a list of {Key, Value}", given))
        given = []
    ours = {"WandbRunId": launch.run_id, ITEM_TAG: launch.run.item_id, ATTEMPT_TAG: str(launch.run.attempt)}
    kept = [each for each in given if not (isinstance(each, Mapping) and each.get("Key") in [*ours])]
    return [*kept, *({"Key": key, "Value": value} for key, value in ours.items())]
