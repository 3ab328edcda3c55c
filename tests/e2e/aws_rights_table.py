"""The rights of each function on AWS beside what it was seen to do with them; `docs/aws-permissions.md` is this table.

python -m tests.e2e.aws_rights_table > docs/aws-permissions.md
"""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests import services
from tests.e2e import test_aws_functions
from tests.house.sam_template import Deployed, words
from tests.standins.aws.deployment import ROLE
from tests.standins.aws.moto_server import ACCOUNT, HTPASSWD, REGION, environment, moto_server
from tests.standins.aws.recorder import Recorder, Use
from tests.standins.aws.stack import Stack, deployment

from slipway.adapters.aws.clients import Clients

Scenario = Callable[..., None]
PLAYED_WITH = {"stack", "repository"}
"""The fixtures that a scenario may ask for."""

LAMBDA = "Lambda's own: it reads the queue for the function"
LOGS = "Lambda's own: it writes what the function logs"
TRACES = "Lambda's own daemon: it sends the traces"
EXPLAINED: Mapping[tuple[str, str], str] = {
    ("OwnLogs", "logs:CreateLogStream"): LOGS,
    ("OwnLogs", "logs:PutLogEvents"): LOGS,
    ("Traces", "xray:PutTraceSegments"): TRACES,
    ("Traces", "xray:PutTelemetryRecords"): TRACES,
    ("Consume", "sqs:ReceiveMessage"): LAMBDA,
    ("Consume", "sqs:GetQueueAttributes"): LAMBDA,
    ("Failures", "sqs:SendMessage"): "Lambda's own: it leaves events there whose handling failed three times",
}
"""Why a function has a right that no call of its own makes use of: by statement and action."""

NOT_OURS: Mapping[tuple[str, str], str] = {
    ("ClockRole", ""): "EventBridge Scheduler calls the tick",
    ("BuildProjectRole", "OwnLogs"): "CodeBuild writes what the build says",
    ("BuildProjectRole", "Contexts"): "CodeBuild fetches the build context",
    ("BuildProjectRole", "PushAndPullTheCache"): "`docker buildx build --push`, with the cache in the same repository",
    ("BuildProjectRole", "RegistryLogin"): "`docker login` of the buildspec",
    ("TrainingRole", "Logs"): "SageMaker writes what the run says",
    ("TrainingRole", "Metrics"): "SageMaker tells the metrics of the instances, and those of the run",
    ("TrainingRole", "Output"): "the model, the output and the checkpoints of the run",
    ("TrainingRole", "WhatIsInTheOutput"): "the checkpoints of the attempt before",
    ("TrainingRole", "PullImages"): "SageMaker pulls the image",
    ("TrainingRole", "RegistryLogin"): "SageMaker pulls the image",
}
"""What the roles of others are for, by role and statement: nobody here can record those calls."""

WITH_KEYS: Mapping[tuple[str, str], str] = {
    ("StepPolicy", "VolumeKey"): "only with `VolumeKeyArn`: SageMaker encrypts the job's volume with it",
    ("StepPolicy", "Cluster"): "only with `EksCluster`: `DescribeCluster`, for its address",
    (
        "StepPolicy",
        "SecretsOfClusterRuns",
    ): "only with `EksCluster` and `SecretArns`: whoever starts a run gives it its secrets",
    ("StepPolicy", "DataKey"): "only with `DataKeyArn`: the table and the bucket are encrypted with it",
    ("BuildProjectRole", "DataKey"): "only with `DataKeyArn`: the build context is encrypted with it",
    ("TrainingRole", "DataKey"): "only with `DataKeyArn`: the output is encrypted with it",
    ("TrainingRole", "Secrets"): "only with `SecretArns`: the run reads its secrets itself",
}
"""What parameters of the template add, by role and statement."""


class Right(NamedTuple):
    """One action on one resource. `shared`: of the policy that every function has, because any may take a step."""

    sid: str
    action: str
    resource: str
    condition: Any
    shared: bool = False

    def covers(self, use: Use) -> bool:
        return (
            self.action == use.action
            and fnmatchcase(use.resource, self.resource)
            and holds(self.condition, dict(use.context))
        )


class Row(NamedTuple):
    """A right, and why it is there; None where nobody knows."""

    right: Right
    why: str | None


def rights(deployed: Deployed, function: str) -> list[Right]:
    """Of the function's role and of the policy of every step."""
    role = words(deployed.functions()[f"{function.capitalize()}Function"]["Role"]).removesuffix(".Arn")
    return of_role(deployed, role)


def of_role(deployed: Deployed, role: str) -> list[Right]:
    """Those of the policy of every step included, where the role has it."""
    steps = {each["Sid"] for each in deployed.resources["StepPolicy"]["Properties"]["PolicyDocument"]["Statement"]}
    of_functions = "ManagedPolicyArns" in deployed.resources[role]["Properties"]
    return [
        Right(each.sid, each.action, _pattern(resource), each.condition, of_functions and each.sid in steps)
        for each in deployed.rights(role)
        for resource in each.resources
    ]


def not_allowed(deployed: Deployed, uses: Iterable[Use]) -> list[Use]:
    allowed = {name.removesuffix("Function").lower() for name in deployed.functions()}
    known = {function: rights(deployed, function) for function in allowed}
    return sorted(use for use in uses if not any(right.covers(use) for right in known.get(use.function, ())))


def rows(deployed: Deployed, uses: Iterable[Use], function: str) -> list[Row]:
    found = []
    for right in rights(deployed, function):
        covered = [use for use in uses if right.covers(use)]
        seen = sorted({use.operation for use in covered if use.function == function})
        others = sorted({use.function for use in covered} - {function})
        why = ", ".join(f"`{each}`" for each in seen) or EXPLAINED.get((right.sid, right.action))
        if why is None and right.shared and others:
            why = f"a step, which any function may take; seen of {', '.join(others)}"
        found.append(Row(right, why))
    return found


def holds(condition: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html"""
    for operator, tests in condition.items():
        for key, wanted in tests.items():
            match operator:
                case "Null":
                    fulfilled = (key not in context) == (wanted == "true")
                case "StringEquals":
                    fulfilled = context.get(key) in (wanted if isinstance(wanted, list) else [wanted])
                case _:
                    raise AssertionError(f"no use was ever held against {operator}")
            if not fulfilled:
                return False
    return True


def played(moto: str, folder: Path, chosen: Iterable[Scenario], **changes: str) -> set[Use]:
    """What the functions made use of in these scenarios, each in a deployment of its own, in the template's words."""
    uses: set[Use] = set()
    with services.oci_registry(folder, HTPASSWD) as registry:
        for scenario in chosen:
            uses |= _played(moto, registry, folder / scenario.__name__, scenario, changes)
    return uses


def all_scenarios() -> list[Scenario]:
    """Those of `test_aws_functions` that one deployment is enough for; one is long, and made of the same calls."""
    tests = [each for name, each in inspect.getmembers(test_aws_functions, inspect.isfunction) if name[:5] == "test_"]
    long = test_aws_functions.test_of_200_submissions_at_most_five_run_at_once_and_all_finish
    return [each for each in tests if each is not long and set(inspect.signature(each).parameters) <= PLAYED_WITH]


def page(uses: set[Use]) -> str:
    deployed = Deployed()
    parts = [_INTRODUCTION]
    for name in deployed.functions():
        function = name.removesuffix("Function").lower()
        lines = [(row.right.action, row.right.resource, str(row.why)) for row in rows(deployed, uses, function)]
        parts.append(f"## {function}\n\n{_table('Used by', lines)}")
    for role, title in _ROLES.items():
        lines = [(right.action, right.resource, NOT_OURS[role, right.sid]) for right in of_role(deployed, role)]
        parts.append(f"## {title}\n\n{_table('For', lines)}")
    lines = [(right.action, f"`{role}`: {right.resource}", why) for role, right, why in added()]
    parts.append(f"## What parameters add\n\n{_table('For', lines)}")
    return "\n".join(parts)


def added() -> Iterator[tuple[str, Right, str]]:
    """Role or policy, right and reason of what a deployment with keys, secrets and a cluster allows besides."""
    key = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:wandb-AbCdEf"
    more, plain = Deployed(VolumeKeyArn=key, DataKeyArn=key, SecretArns=secret, EksCluster="gpus"), Deployed()
    known = set(_of_all(plain))
    for role, right in _of_all(more):
        if (role, right) not in known:
            yield role, right, WITH_KEYS[role, right.sid]


def _played(moto: str, registry: str, folder: Path, scenario: Scenario, changes: Mapping[str, str]) -> set[Use]:
    wanted = inspect.signature(scenario).parameters
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in environment(moto).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        recorder = Recorder(monkeypatch)
        with deployment(Clients(), registry, monkeypatch, **{**test_aws_functions.OPEN, **changes}) as stack:
            jobs = stack.sagemaker.jobs
            recorder.tags = lambda name: jobs[name].tags if name in jobs else {}
            test_aws_functions.put_queue(stack)
            if "repository" in wanted:
                with test_aws_functions.job_over_http(folder) as repository:
                    scenario(stack=stack, repository=repository)
            else:
                scenario(stack=stack)
            return {use._replace(resource=in_words(use.resource, stack)) for use in recorder.uses}


def in_words(arn: str, stack: Stack) -> str:
    """The ARN of a deployment as the template writes it."""
    name = stack.environment["SLIPWAY_TABLE"]
    own = {
        f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}": "${Table.Arn}",
        f"arn:aws:s3:::{name}": "${Bucket.Arn}",
        f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/{name}": "${BuildProject.Arn}",
        f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/slipway": "${Repository.Arn}",
        f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/codebuild/{name}": "${ImageBuildLogs}",
        ROLE: "${TrainingRole.Arn}",
    }
    for topic in ("submit", "advance", "build"):
        queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}-{topic}"
        own |= {f"{queue}-dead": f"${{{topic.capitalize()}DeadLetters.Arn}}"}
        own |= {queue: f"${{{topic.capitalize()}Queue.Arn}}"}
    for known, word in own.items():
        if arn == known or arn.startswith((f"{known}/", f"{known}:")):
            return word + arn.removeprefix(known)
    return arn.replace(f":{REGION}:{ACCOUNT}:", ":${AWS::Region}:${AWS::AccountId}:").replace(
        "arn:aws:", "arn:${AWS::Partition}:"
    )


def _pattern(resource: str) -> str:
    """`Table.Arn` as `${Table.Arn}`; of a log group it ends in `:*`.
    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-logs-loggroup.html"""
    if resource.endswith("Logs.Arn"):
        return f"${{{resource.removesuffix('.Arn')}}}:*"
    return f"${{{resource}}}" if resource.isidentifier() or resource.removesuffix(".Arn").isidentifier() else resource


def _of_all(deployed: Deployed) -> list[tuple[str, Right]]:
    """Role and right; the policy of every step once, and under its own name."""
    found = {
        ("StepPolicy" if right.shared else role, right._replace(condition=repr(right.condition)))
        for role in deployed.of_type("AWS::IAM::Role")
        for right in of_role(deployed, role)
    }
    return sorted(found, key=str)


def _table(heading: str, lines: Iterable[tuple[str, str, str]]) -> str:
    body = "\n".join(f"| {action} | {_code(resource)} | {why} |" for action, resource, why in lines)
    return f"| Action | On | {heading} |\n|---|---|---|\n{body}\n"


def _code(resource: str) -> str:
    return resource if resource.startswith("`") else f"`{resource}`"


_ROLES = {
    "BuildProjectRole": "Image builds (the role of the CodeBuild project)",
    "TrainingRole": "Training jobs (the role that is made where `TrainingRoleArn` is empty)",
    "ClockRole": "The clock",
}
_INTRODUCTION = """\
# Permissions on AWS

What each role of `sam/template.yaml` may do, and what for. This page is not written by hand: the end-to-end tests
record every call of every function with its IAM action and its resource, and hold them against the template. Nothing is
used that is not allowed, and nothing is allowed that is neither used nor explained here. After a change of either:

```sh
python -m tests.e2e.aws_rights_table > docs/aws-permissions.md
```

`${Table.Arn}` and the like are what the template makes; `Used by` names the operations of AWS's API, or says whose use
it is. The rights of a step are one policy for all functions, as any of them may find that it is this item's turn to
start or to stop. A deployment of pre-built images only (`BuildsImages: false`) has no `build`, no role for image
builds, and of ECR and CodeBuild nothing.

Of W&B Launch's list for SageMaker (logs, `AddTags`, `CreateTrainingJob`, `DescribeTrainingJob`, `iam:PassRole`, and
`kms:CreateGrant` where a volume key is set) all are here; of its ten actions on ECR, the builds have eight and `build`
a ninth: nobody creates a repository or deletes an image. `dynamodb:ConditionCheckItem` is used by no transaction.
`s3:ListBucket` is what makes S3 say 404 of a payload that is gone: without it the answer is 403.
"""


def main() -> None:
    with moto_server() as moto, tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        uses = played(moto, Path(folder), all_scenarios())
    sys.stdout.write(page(uses))


if __name__ == "__main__":
    main()
