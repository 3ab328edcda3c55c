"""Runs as training jobs of SageMaker: the target contract on the stand-in, and what SageMaker does beside it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.conditions import eventually
from tests.contracts.target_contract import MakeLaunch, TargetContract
from tests.standins.aws.json_service import BROKEN, THROTTLED, Drop, ServiceError
from tests.standins.aws.moto_server import unique
from tests.standins.aws.sagemaker import CAPACITY, SageMakerStandin

from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.sagemaker import SageMakerTarget
from slipway.errors import AlreadyExists, Forbidden, Invalid, Permanent, Refused, Temporary
from slipway.model import Failure, Launch, RunPhase, RunRef, RunStatus
from slipway.render.surroundings import Account

REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
ROLE = "arn:aws:iam::123456789012:role/runs"
ARGS: Mapping[str, Any] = {
    "RoleArn": ROLE,
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/prefix"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 2},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:wandb-AbCdEf"
ACCOUNT = Account("123456789012", secrets={"WANDB_API_KEY": SECRET})
CREATE, DESCRIBE, STOP = "CreateTrainingJob", "DescribeTrainingJob", "StopTrainingJob"
TRIES = 3
"""How often boto3 tries a call by itself."""


class SageMakerFixtures:
    """A stand-in, moto for the logs, and a target that speaks to both."""

    runs: bool = True

    @pytest.fixture
    def sagemaker(self, moto: str) -> Iterator[SageMakerStandin]:
        with SageMakerStandin(runs=self.runs, logs=moto, grace=5.0) as standin:
            yield standin

    @pytest.fixture
    def clients(self, aws: Clients, sagemaker: SageMakerStandin, monkeypatch: pytest.MonkeyPatch) -> Clients:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", sagemaker.url)
        return aws

    @pytest.fixture
    def target(self, clients: Clients) -> SageMakerTarget:
        return SageMakerTarget(clients, ACCOUNT, pause=0.05)

    @pytest.fixture
    def fresh_target(self, clients: Clients) -> SageMakerTarget:
        return SageMakerTarget(Clients(), ACCOUNT, pause=0.05)

    @pytest.fixture
    def launch(self) -> MakeLaunch:
        items, numbers = unique("item"), itertools.count(1)

        def make(script: str, **changes: object) -> Launch:
            item = f"{items}-{next(numbers)}"
            plain = Launch(
                run=RunRef(item, 1),
                run_id=f"run-of-{item}",
                image=f"{REGISTRY}/train:1",
                entry_point=("sh", "-c", script),
                args=(),
                env={"WANDB_RUN_ID": f"run-of-{item}", "SLIPWAY_ITEM": item},
                secrets={},
                resource_args=ARGS,
                entity="team",
                project="digits",
                run_name="a run",
            )
            return replace(plain, **changes)  # type: ignore[arg-type]

        return make


class TestSageMakerTarget(SageMakerFixtures, TargetContract):
    """S17: the resource `sagemaker`. No file of a run can be read, and no value of a secret is put into a job's
    variables, which many may see."""

    lines_kept = ("first", "third: größer, 大きい")
    """CloudWatch Logs has no empty message."""

    def test_metrics_are_those_that_sagemaker_reads_from_the_log(
        self, target: SageMakerTarget, launch: MakeLaunch
    ) -> None:
        algorithm = {
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "accuracy", "Regex": "accuracy=([0-9.]+)"}],
        }
        asked = launch(
            "echo accuracy=0.5; echo accuracy=0.97", resource_args={**ARGS, "AlgorithmSpecification": algorithm}
        )
        target.start(asked)
        assert self.end(target, asked.run).metrics == {"accuracy": pytest.approx(0.97)}

    def test_a_run_is_told_where_its_secrets_lie(self, target: SageMakerTarget, launch: MakeLaunch) -> None:
        asked = launch(
            'echo "$SLIPWAY_SECRETS"; echo "${WANDB_API_KEY-unset}"', secrets={"WANDB_API_KEY": "WANDB_API_KEY"}
        )
        target.start(asked)
        self.end(target, asked.run)
        told, value = target.logs(asked.run)
        assert json.loads(told) == {"WANDB_API_KEY": SECRET}
        assert value == "unset"

    def test_a_secret_that_lies_nowhere_is_a_warning(self, target: SageMakerTarget, launch: MakeLaunch) -> None:
        warnings = target.start(launch("exit 0", secrets={"TOKEN": "NOWHERE"})).warnings
        assert warnings == ("TOKEN has no reference in this deployment, so the run does not get it",)

    def test_the_words_that_a_run_leaves_in_its_failure_file_are_the_reason(
        self, target: SageMakerTarget, launch: MakeLaunch
    ) -> None:
        asked = launch("echo -n 'no such column' > /opt/ml/output/failure; exit 3")
        target.start(asked)
        status = self.end(target, asked.run)
        assert (status.reason, status.exit_code) == ("AlgorithmError: no such column, exit code: 3", 3)

    def test_lines_of_several_instances_say_whose_they_are(self, target: SageMakerTarget, launch: MakeLaunch) -> None:
        script = "cut -d'\"' -f4 /opt/ml/input/config/resourceconfig.json"
        resources = {**ARGS["ResourceConfig"], "InstanceCount": 2}
        asked = launch(script, resource_args={**ARGS, "ResourceConfig": resources})
        target.start(asked)
        followed = sorted(target.logs(asked.run, follow=True))
        assert followed == sorted(target.logs(asked.run)) == ["algo-1 algo-1", "algo-2 algo-2"]

    def test_a_run_that_does_not_heed_sigterm_is_killed(
        self, target: SageMakerTarget, launch: MakeLaunch, moto: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with SageMakerStandin(runs=True, logs=moto, grace=0.2) as impatient:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", impatient.url)
            asked = launch("trap '' TERM; echo deaf; while true; do sleep 0.1; done")
            hasty = SageMakerTarget(Clients(), ACCOUNT, pause=0.05)
            hasty.start(asked)
            eventually(lambda: list(hasty.logs(asked.run)))
            hasty.stop(asked.run)
            assert self.end(hasty, asked.run).phase is RunPhase.STOPPED


class Played(SageMakerFixtures):
    """Jobs that go as a test says."""

    runs = False

    @pytest.fixture
    def asked(self, launch: MakeLaunch) -> Launch:
        return launch("exit 0")


class TestNames(Played):
    def test_an_answer_that_was_lost_is_made_up_for_by_adopting_the_job(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch
    ) -> None:
        """C2. boto3 tries again by itself, and meets its own job."""
        sagemaker.inject(CREATE, Drop.AFTER)
        assert target.start(asked).phase is RunPhase.STARTING
        assert [*sagemaker.jobs] == [asked.run.name]

    def test_a_call_that_never_gets_an_answer_is_temporary_and_its_job_is_found(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch
    ) -> None:
        sagemaker.inject(CREATE, Drop.AFTER)
        sagemaker.inject(CREATE, Drop.BEFORE, TRIES - 1)
        with pytest.raises(Temporary) as raised:
            target.start(asked)
        assert not isinstance(raised.value, Refused)
        assert target.status(asked.run).backend_id == asked.run.name
        assert target.start(asked).phase is RunPhase.STARTING

    def test_a_name_that_somebody_else_has_is_not_adopted(
        self, target: SageMakerTarget, clients: Clients, sagemaker: SageMakerStandin, asked: Launch
    ) -> None:
        create(clients, asked.run.name)
        with pytest.raises(AlreadyExists, match=f"{asked.run.name} exists"):
            target.start(asked)
        assert target.status(asked.run).phase is RunPhase.ABSENT
        assert list(target.logs(asked.run)) == []
        target.stop(asked.run)
        assert not sagemaker.calls(STOP)

    def test_a_name_that_another_attempt_has_is_not_adopted(self, target: SageMakerTarget, launch: MakeLaunch) -> None:
        args = {**ARGS, "TrainingJobName": unique("nightly")}
        first = launch("exit 0", resource_args=args)
        assert target.start(first).backend_id == args["TrainingJobName"]
        with pytest.raises(AlreadyExists, match=r"\$\{run_id\}"):
            target.start(launch("exit 0", resource_args=args))

    def test_a_name_that_the_queue_chose_is_the_runs_from_then_on(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, launch: MakeLaunch
    ) -> None:
        asked = launch("exit 0", resource_args={**ARGS, "TrainingJobName": unique("nightly")})
        run = replace(asked.run, backend_id=target.start(asked).backend_id)
        assert run in target.live()
        target.stop(run)
        assert target.status(run).phase is RunPhase.STOPPED
        assert target.status(asked.run).phase is RunPhase.ABSENT

    def test_a_used_name_stays_used(self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch) -> None:
        target.start(asked)
        sagemaker.finish(asked.run.name)
        assert target.start(asked).phase is RunPhase.FINISHED
        assert len(sagemaker.jobs) == 1


class TestRefusals(Played):
    def test_a_used_up_quota_is_not_now_and_says_so_in_awss_words(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, launch: MakeLaunch
    ) -> None:
        """Rule 8: the item stays in line."""
        sagemaker.quotas["ml.m5.xlarge"] = 1
        first, second = launch("exit 0"), launch("exit 0")
        target.start(first)
        with pytest.raises(Refused, match=r"'ml\.m5\.xlarge for training job usage' is 1 Instances, with current util"):
            target.start(second)
        sagemaker.finish(first.run.name)
        assert target.start(second).phase is RunPhase.STARTING

    def test_throttling_is_not_now(self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch) -> None:
        sagemaker.inject(CREATE, THROTTLED, TRIES)
        with pytest.raises(Refused, match="Rate exceeded"):
            target.start(asked)
        assert not sagemaker.jobs
        assert target.start(asked).phase is RunPhase.STARTING

    def test_an_error_of_the_service_is_temporary(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch
    ) -> None:
        for operation, call in ((CREATE, lambda: target.start(asked)), (DESCRIBE, lambda: target.status(asked.run))):
            sagemaker.inject(operation, BROKEN, TRIES)
            with pytest.raises(Temporary, match="InternalFailure") as raised:
                call()
            assert not isinstance(raised.value, Refused)

    def test_nobody_there_is_not_now(self, clients: Clients, asked: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
        with SageMakerStandin() as gone:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", gone.url)
        with pytest.raises(Refused, match="Check AWS_REGION and the network"):
            SageMakerTarget(Clients(), ACCOUNT).start(asked)

    def test_a_role_that_sagemaker_cannot_assume_is_told_with_its_trust_policy(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch
    ) -> None:
        sagemaker.closed_roles.add(ROLE)
        problem = refused(target, asked)
        assert problem.field == "resource_args.RoleArn"
        assert f"Could not assume role {ROLE}" in problem.rule
        assert '"Service": "sagemaker.amazonaws.com"' in problem.fix

    def test_a_role_that_may_not_be_passed_on_is_told_with_the_line_to_add(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch
    ) -> None:
        """S14."""
        user = "arn:aws:sts::123456789012:assumed-role/slipway-advance/slipway-advance"
        words = f"User: {user} is not authorized to perform: iam:PassRole on resource: {ROLE} because no identity-based"
        sagemaker.inject(
            CREATE, ServiceError("AccessDeniedException", f"{words} policy allows the iam:PassRole action")
        )
        with pytest.raises(Forbidden) as raised:
            target.start(asked)
        line = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": ROLE}
        assert f"Add to the policy of role slipway-advance: {json.dumps(line)}" in raised.value.message

    @pytest.mark.parametrize(
        ("image", "words"),
        [
            ("python:3.11", "Invalid training image"),
            (f"{REGISTRY.replace('eu-west-1', 'us-east-1')}/train:1", "region 'us-east-1' in training image"),
            (f"{REGISTRY}/gone:1", "Cannot find repository: gone"),
        ],
        ids=["not in ECR", "in another region", "not there"],
    )
    def test_an_image_that_sagemaker_cannot_pull_is_told_with_where_it_belongs(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, launch: MakeLaunch, image: str, words: str
    ) -> None:
        sagemaker.missing_images.add(f"{REGISTRY}/gone:1")
        problem = refused(target, launch("exit 0", image=image))
        assert problem.field == "resource_args.AlgorithmSpecification.TrainingImage"
        assert words in problem.rule
        assert "ECR in its own region, eu-west-1" in problem.fix

    @pytest.mark.parametrize("kind", ["ml.p2.xlarge", "ml.nonsense"], ids=["not in this region", "nowhere"])
    def test_an_instance_type_that_is_not_offered_is_told(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, launch: MakeLaunch, kind: str
    ) -> None:
        """SageMaker calls the first a ResourceLimitExceeded too, and waiting would not help it."""
        sagemaker.not_offered.add("ml.p2.xlarge")
        resources = {**ARGS["ResourceConfig"], "InstanceType": kind}
        problem = refused(target, launch("exit 0", resource_args={**ARGS, "ResourceConfig": resources}))
        assert problem.field == "resource_args.ResourceConfig.InstanceType"
        assert kind in problem.rule
        assert "offers for training in eu-west-1" in problem.fix

    def test_a_misspelt_instance_type_is_told_with_the_nearest_and_not_with_all(
        self, target: SageMakerTarget, launch: MakeLaunch
    ) -> None:
        resources = {**ARGS["ResourceConfig"], "InstanceType": "ml.m5.xlrage"}
        problem = refused(target, launch("exit 0", resource_args={**ARGS, "ResourceConfig": resources}))
        assert "Member must satisfy enum value set: [...]" in problem.rule
        assert problem.fix.startswith("Did you mean 'ml.m5.xlarge'? Choose a type")

    def test_input_in_a_bucket_that_is_not_there_is_told(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, launch: MakeLaunch
    ) -> None:
        sagemaker.missing_buckets.add("nowhere")
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://nowhere/digits/"}}
        args = {**ARGS, "InputDataConfig": [{"ChannelName": "training", "DataSource": source}]}
        problem = refused(target, launch("exit 0", resource_args=args))
        assert problem.field == "resource_args.InputDataConfig"
        assert "s3://nowhere/digits/" in problem.rule
        assert "s3:ListBucket" in problem.fix

    def test_a_misspelt_field_is_told_without_its_value(self, target: SageMakerTarget, launch: MakeLaunch) -> None:
        args = {**ARGS, "HyperParameter": {"password": "hunter2"}}
        with pytest.raises(Invalid, match="HyperParameter") as raised:
            target.start(launch("exit 0", resource_args=args))
        assert "hunter2" not in raised.value.message

    def test_the_value_of_a_variable_is_not_repeated(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch
    ) -> None:
        words = "Value '{TOKEN=hunter2}' at 'environment' failed to satisfy constraint: Map value must have length less"
        sagemaker.inject(CREATE, ServiceError("ValidationException", f"1 validation error detected: {words}"))
        problem = refused(target, asked)
        assert "at 'environment'" in problem.rule
        assert "hunter2" not in str(problem)

    def test_expired_credentials_leave_the_item_in_line(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch
    ) -> None:
        words = "The security token included in the request is expired"
        sagemaker.inject(CREATE, ServiceError("ExpiredTokenException", words))
        with pytest.raises(Refused, match="Renew the AWS credentials"):
            target.start(asked)


class TestCourses(Played):
    """What becomes of a job, by SageMaker's words."""

    def status(self, target: SageMakerTarget, asked: Launch) -> RunStatus:
        return target.status(replace(asked.run, backend_id=asked.run.name))

    def test_a_job_starts_trains_and_completes(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch
    ) -> None:
        target.start(asked)
        seen = [self.status(target, asked)]
        for _ in range(2):
            sagemaker.advance(70)
            seen.append(self.status(target, asked))
        assert [(each.phase, each.reason) for each in seen] == [
            (RunPhase.STARTING, "Starting"),
            (RunPhase.STARTING, "Downloading"),
            (RunPhase.RUNNING, "Training"),
        ]
        sagemaker.finish(asked.run.name, {"loss": 0.25, "best": float("-inf"), "last": float("nan")})
        end = self.status(target, asked)
        assert (end.phase, end.exit_code) == (RunPhase.FINISHED, 0)
        assert end.metrics == {"loss": 0.25, "best": "-Infinity", "last": "NaN"}

    def test_a_job_that_runs_for_too_long_is_failed_and_says_so(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch
    ) -> None:
        """W&B Launch takes it for a success."""
        target.start(asked)
        sagemaker.train(asked.run.name)
        sagemaker.advance(3601)
        assert self.status(target, asked).phase is RunPhase.RUNNING
        sagemaker.advance(120)
        end = self.status(target, asked)
        assert (end.phase, end.reason) == (RunPhase.FAILED, "it ran for longer than its StoppingCondition allows")

    def test_a_spot_job_that_waited_for_too_long_is_preempted(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, launch: MakeLaunch
    ) -> None:
        condition = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}
        asked = launch(
            "exit 0", resource_args={**ARGS, "EnableManagedSpotTraining": True, "StoppingCondition": condition}
        )
        target.start(asked)
        sagemaker.train(asked.run.name)
        sagemaker.interrupt(asked.run.name)
        assert self.status(target, asked) == RunStatus(RunPhase.RUNNING, "Interrupted", asked.run.name)
        sagemaker.advance(7201)
        sagemaker.advance(120)
        assert self.status(target, asked).phase is RunPhase.PREEMPTED

    @pytest.mark.parametrize(
        ("reason", "fault"),
        [
            (CAPACITY, Failure.INFRASTRUCTURE),
            ("ClientError: Artifact upload failed: the bucket does not exist", Failure.CONFIGURATION),
            ("AlgorithmError: , exit code: 1", Failure.USER),
        ],
    )
    def test_the_reason_of_a_failure_is_sagemakers(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch, reason: str, fault: Failure
    ) -> None:
        target.start(asked)
        sagemaker.fail(asked.run.name, reason)
        end = self.status(target, asked)
        assert (end.phase, end.reason, end.failure) == (RunPhase.FAILED, reason, fault)

    def test_a_stop_that_cannot_be_carried_out_is_told(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch
    ) -> None:
        target.start(asked)
        sagemaker.inject(STOP, ServiceError("AccessDeniedException", "no", 403))
        with pytest.raises(Permanent, match="stop the training job"):
            target.stop(asked.run)


class TestHowMuchIsAsked(Played):
    def test_a_launch_is_one_call_and_a_look_at_a_known_run_is_another(
        self, target: SageMakerTarget, sagemaker: SageMakerStandin, asked: Launch
    ) -> None:
        known = replace(asked.run, backend_id=target.start(asked).backend_id)
        target.status(known)
        target.stop(known)
        assert [each.operation for each in sagemaker.requests] == [CREATE, DESCRIBE, STOP]
        assert all("slipway" in each.user_agent for each in sagemaker.requests)

    def test_all_that_lives_is_asked_for_at_once_and_only_ours_is_told(
        self, target: SageMakerTarget, clients: Clients, sagemaker: SageMakerStandin, launch: MakeLaunch
    ) -> None:
        create(clients, unique("theirs"), [{"Key": "WandbRunId", "Value": "r"}])
        asked = [launch("exit 0") for _ in range(120)]
        for each in asked:
            target.start(each)
        sagemaker.finish(asked[0].run.name)
        sagemaker.move(asked[1].run.name, "Stopping", "Stopping")
        before = len(sagemaker.requests)
        assert {run.name for run in target.live()} == {each.run.name for each in asked[1:]}
        assert [each.operation for each in sagemaker.requests[before:]] == ["Search"] * 2


def create(clients: Clients, name: str, tags: Any = ()) -> None:
    """A job that is not Slipway's."""
    clients.sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingInputMode": "File", "TrainingImage": f"{REGISTRY}/theirs:1"},
        Tags=list(tags),
        **ARGS,
    )


def refused(target: SageMakerTarget, asked: Launch) -> Any:
    """The one problem for which it is."""
    with pytest.raises(Invalid) as raised:
        target.start(asked)
    (problem,) = raised.value.problems
    return problem
