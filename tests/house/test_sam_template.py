"""The deployment on AWS, held against the code that it runs and against AWS's own lists (S14)."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.house.sam_template import ROOT, Deployed, words
from tests.services import missing
from tools.stage import CLOUDS

from slipway.adapters.aws.events import QUIET
from slipway.adapters.aws.store_table import EXPIRES, table_definition
from slipway.model import WEEK
from slipway.wire_aws import VISIBILITY, settings_of

DAY = 86400
LONGEST_TRAINING = 28 * DAY
"""Seconds that SageMaker lets a job run for.
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StoppingCondition.html"""
ROLE = "arn:aws:iam::123456789012:role/trainer"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:wandb-AbCdEf"
BUILDS, PREBUILT = Deployed(), Deployed(BuildsImages="false")
EVERYTHING = Deployed(VolumeKeyArn=KEY, DataKeyArn=KEY, SecretArns=SECRET, AlarmEmail="ops@example.com")
WITH_CLUSTER = Deployed(EksCluster="gpus", SecretArns=SECRET)
VARIANTS = pytest.mark.parametrize("deployed", [BUILDS, PREBUILT], ids=["builds images", "pre-built only"])
UNNAMED = {"cloudwatch:PutMetricData": "its resource is a data set, which SageMaker's metrics are not in"}
"""Actions that AWS knows a resource for, and that are allowed on `*` all the same."""


@cache
def aws_actions() -> Any:
    """Every action of AWS and the kinds of resources that it knows, by service; cfn-lint keeps the list."""
    return json.loads(files("cfnlint").joinpath("data/AdditionalSpecs/Policies.json").read_text())


def sam(*arguments: str | Path) -> str:
    """What tools/sam printed."""
    if not (ROOT / ".venv-sam" / "made-from.lock").exists():
        missing("SAM CLI", "make its environment with: tools/sam --version")
    environ = {**os.environ, "AWS_DEFAULT_REGION": "eu-west-1"}
    command = [ROOT / "tools" / "sam", *arguments]
    done = subprocess.run(command, cwd=ROOT / "sam", env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class TestTheTools:
    def test_sam_finds_the_template_valid(self) -> None:
        assert "valid SAM Template" in sam("validate", "--lint")

    def test_cfn_lint_has_nothing_to_say(self) -> None:
        assert sam("--program", "cfn-lint", "--template", "template.yaml").strip() == ""

    def test_cfn_lint_would_notice_a_fault(self, tmp_path: Path) -> None:
        faulty = tmp_path / "template.yaml"
        faulty.write_text("Resources: {Topic: {Type: AWS::SNS::Topic, Properties: {Subscribers: []}}}")
        with pytest.raises(AssertionError, match="Subscribers"):
            sam("--program", "cfn-lint", "--template", faulty)

    def test_sam_builds_every_function(self, tmp_path: Path) -> None:
        assert "Build Succeeded" in sam("build", "--build-dir", tmp_path)
        for name in BUILDS.functions():
            assert (tmp_path / name / "app.py").read_bytes() == (ROOT / "sam" / "app.py").read_bytes()
            assert (tmp_path / name / "slipway" / "wire_aws.py").exists()
        built = yaml.safe_load(re.sub(r"!\w+", "", (tmp_path / "template.yaml").read_text()))
        assert {built["Resources"][name]["Properties"]["CodeUri"] for name in BUILDS.functions()} == set(
            BUILDS.functions()
        )


class TestFunctions:
    def test_each_handler_is_a_function_of_the_entry_and_is_staged(self) -> None:
        handlers = {name: each["Handler"] for name, each in BUILDS.functions().items()}
        assert handlers == {f"{name.capitalize()}Function": f"app.{name}" for name in CLOUDS["aws"].functions}
        entry = ast.parse((ROOT / "sam" / "app.py").read_text())
        defined = {node.name for node in entry.body if isinstance(node, ast.FunctionDef)}
        assert {handler.removeprefix("app.") for handler in handlers.values()} <= defined

    @VARIANTS
    def test_the_entry_finds_every_setting_in_its_environment(self, deployed: Deployed) -> None:
        variables = {name: words(value) for name, value in deployed.globals["Environment"]["Variables"].items()}
        settings = settings_of({**variables, "SLIPWAY_KEEP_DAYS": "30", "SLIPWAY_SECRETS": "{}"})
        assert (settings.project, bool(settings.destination)) == (
            ("BuildProject", True) if deployed is BUILDS else (None, False)
        )
        read = set(re.findall(r"\b(?:SLIPWAY|WANDB)_\w+", (ROOT / "shared/slipway/wire_aws.py").read_text()))
        topics = {f"SLIPWAY_{kind}_{topic}" for kind in ("QUEUE", "DEAD") for topic in ("SUBMIT", "ADVANCE", "BUILD")}
        told = {name for name in variables if not name.startswith("POWERTOOLS_")}
        assert told == {name for name in read if not name.endswith("_")} - {"WANDB_API_KEY"} | topics

    @VARIANTS
    def test_each_has_a_role_and_a_log_of_its_own(self, deployed: Deployed) -> None:
        functions = deployed.functions()
        for field in ("Role", "LoggingConfig"):
            assert len({json.dumps(each[field]) for each in functions.values()}) == len(functions)
        for name, each in functions.items():
            log = f"{name.removesuffix('Function')}Logs"
            assert each["LoggingConfig"] == {"LogGroup": {"Ref": log}}
            (own,) = [right for right in rights_of(deployed, name) if right.action == "logs:PutLogEvents"]
            assert own.resources == (f"{log}.Arn",)

    def test_each_is_traced_and_none_is_in_a_vpc(self) -> None:
        for each in BUILDS.functions().values():
            assert each["Tracing"] == "Active"
            assert "VpcConfig" not in each
            assert (each["Runtime"], each["Architectures"]) == ("python3.11", ["x86_64"])

    def test_one_tick_at_a_time_unless_the_account_cannot_spare_it(self) -> None:
        assert BUILDS.functions()["TickFunction"]["ReservedConcurrentExecutions"] == 1
        spared = Deployed(ReservesConcurrency="false").functions()["TickFunction"]
        assert "ReservedConcurrentExecutions" not in spared

    def test_the_api_is_throttled_logs_its_requests_and_no_header(self) -> None:
        api = BUILDS.resources["Api"]["Properties"]
        assert set(api["DefaultRouteSettings"]) == {"ThrottlingRateLimit", "ThrottlingBurstLimit"}
        log = json.loads(api["AccessLogSettings"]["Format"])
        assert "status" in log
        assert not {value for value in log.values() if "header" in value or "authorizer" in value}
        (route,) = BUILDS.functions()["SubmitFunction"]["Events"].values()
        assert route["Properties"]["PayloadFormatVersion"] == "2.0"
        assert "Path" not in route["Properties"], "without a path it is the route $default: every request"

    def test_the_clock_ticks_every_minute(self) -> None:
        (clock,) = BUILDS.functions()["TickFunction"]["Events"].values()
        assert (clock["Type"], clock["Properties"]["ScheduleExpression"]) == ("ScheduleV2", "rate(1 minute)")
        (right,) = BUILDS.rights("ClockRole")
        assert (right.action, right.resources) == ("lambda:InvokeFunction", ("TickFunction.Arn",))

    def test_two_stacks_in_one_account_do_not_meet(self) -> None:
        """AWS makes up the names, with the stack's in them. Only a schedule's would be SAM's."""
        (clock,) = BUILDS.functions()["TickFunction"]["Events"].values()
        assert words(clock["Properties"]["Name"]) == "${AWS::StackName}-tick"
        for name, each in BUILDS.resources.items():
            named = {field for field in each["Properties"] if field.endswith("Name")}
            assert named <= {"MetricName"} | ({"FunctionName"} if "Permission" in each["Type"] else set()), name


class TestQueues:
    @VARIANTS
    def test_visibility_is_six_times_what_a_consumer_may_take(self, deployed: Deployed) -> None:
        queues, seen = deployed.of_type("AWS::SQS::Queue"), set()
        for function in deployed.functions().values():
            for event in function["Events"].values() if "Events" in function else ():
                if event["Type"] == "SQS":
                    queue = words(event["Properties"]["Queue"]).removesuffix(".Arn")
                    seen.add(queue)
                    assert queues[queue]["VisibilityTimeout"] >= 6 * function["Timeout"]
                    assert event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
                    assert event["Properties"]["ScalingConfig"]["MaximumConcurrency"]
        assert seen == {"SubmitQueue", "AdvanceQueue", *({"BuildQueue"} if deployed is BUILDS else ())}

    def test_the_bus_knows_how_long_a_message_is_hidden(self) -> None:
        assert BUILDS.of_type("AWS::SQS::Queue")["AdvanceQueue"]["VisibilityTimeout"] == VISIBILITY

    def test_each_has_dead_letters_that_are_kept_for_two_weeks(self) -> None:
        queues = BUILDS.of_type("AWS::SQS::Queue")
        for name in ("Submit", "Advance", "Build"):
            policy = queues[f"{name}Queue"]["RedrivePolicy"]
            assert words(policy["deadLetterTargetArn"]) == f"{name}DeadLetters.Arn"
            assert policy["maxReceiveCount"] == 5
        for name in ("Submit", "Advance", "Build", "Observe"):
            assert queues[f"{name}DeadLetters"]["MessageRetentionPeriod"] == 14 * DAY

    def test_each_is_encrypted_and_takes_tls_only(self) -> None:
        queues = BUILDS.of_type("AWS::SQS::Queue")
        assert all(each["SqsManagedSseEnabled"] for each in queues.values())
        refusing = [
            words(queue)
            for policy in BUILDS.of_type("AWS::SQS::QueuePolicy").values()
            if any(refuses_plain_text(statement) for statement in policy["PolicyDocument"]["Statement"])
            for queue in policy["Queues"]
        ]
        assert sorted(refusing) == sorted(queues)

    @VARIANTS
    def test_each_rule_calls_observe_and_leaves_what_it_cannot_deliver(self, deployed: Deployed) -> None:
        rules = deployed.of_type("AWS::Events::Rule")
        kinds = {kind for rule in rules.values() for kind in rule["EventPattern"]["detail-type"]}
        builds = {"CodeBuild Build State Change"} if deployed is BUILDS else set()
        assert kinds == {"SageMaker Training Job State Change", *builds}
        callers = {words(each["SourceArn"]) for each in deployed.of_type("AWS::Lambda::Permission").values()}
        policy = deployed.resources["ObserveDeadLettersPolicy"]["Properties"]["PolicyDocument"]["Statement"][1]
        assert callers == {f"{name}.Arn" for name in rules}
        assert {words(each) for each in policy["Condition"]["ArnEquals"]["aws:SourceArn"]} == callers
        for rule in rules.values():
            (target,) = rule["Targets"]
            assert words(target["Arn"]) == "ObserveFunction.Arn"
            assert words(target["DeadLetterConfig"]["Arn"]) == "ObserveDeadLetters.Arn"

    def test_states_that_change_nothing_for_an_item_cost_no_invocation(self) -> None:
        pattern = BUILDS.of_type("AWS::Events::Rule")["TrainingJobRule"]["EventPattern"]
        assert pattern["detail"] == {"SecondaryStatus": [{"anything-but": list(QUIET)}]}


class TestWhatIsKept:
    def test_the_table_is_the_one_that_the_store_defines(self) -> None:
        table = BUILDS.resources["Table"]["Properties"]
        defined = dict(table_definition("slipway"))
        del defined["TableName"]
        assert {name: table[name] for name in defined} == defined

    def test_the_table_expires_recovers_is_encrypted_and_outlives_the_stack(self) -> None:
        resource = BUILDS.resources["Table"]
        table = resource["Properties"]
        assert table["TimeToLiveSpecification"] == {"AttributeName": EXPIRES, "Enabled": True}
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")
        assert table["DeletionProtectionEnabled"] is True
        assert (
            Deployed(DeletionProtection="false").resources["Table"]["Properties"]["DeletionProtectionEnabled"] is False
        )
        assert EVERYTHING.resources["Table"]["Properties"]["SSESpecification"]["KMSMasterKeyId"] == {
            "Ref": "DataKeyArn"
        }

    def test_the_bucket_is_private_and_encrypted_and_takes_tls_only(self) -> None:
        resource = BUILDS.resources["Bucket"]
        bucket = resource["Properties"]
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")
        assert list(bucket["PublicAccessBlockConfiguration"].values()) == [True] * 4
        for deployed, algorithm in ((BUILDS, "AES256"), (EVERYTHING, "aws:kms")):
            (rule,) = deployed.resources["Bucket"]["Properties"]["BucketEncryption"][
                "ServerSideEncryptionConfiguration"
            ]
            assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == algorithm
        (statement,) = BUILDS.resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        assert refuses_plain_text(statement)

    def test_contexts_and_payloads_expire_and_unfinished_uploads_too(self) -> None:
        rules = {
            rule["Id"]: rule for rule in BUILDS.resources["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
        }
        assert rules["contexts"]["Prefix"] == "contexts/"
        assert rules["items"]["Prefix"] == "items/"
        assert "Prefix" not in rules["unfinished"]
        assert rules["unfinished"]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] > 0

    def test_a_payload_outlives_its_item(self) -> None:
        """It is written at the submission, and the item's days are counted from its end."""
        days = BUILDS.source["Mappings"]["PayloadDays"]
        assert set(days) == set(BUILDS.source["Parameters"]["KeepDays"]["AllowedValues"])
        for kept, payload in days.items():
            assert payload["Days"] * DAY >= int(kept) * DAY + WEEK + LONGEST_TRAINING

    def test_tags_never_move_but_the_cache_and_the_newest_images_are_kept(self) -> None:
        repository = BUILDS.resources["Repository"]["Properties"]
        assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
        assert repository["ImageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
        (exclusion,) = repository["ImageTagMutabilityExclusionFilters"]
        assert exclusion["ImageTagMutabilityExclusionFilterValue"] == "cache"
        text = words(repository["LifecyclePolicy"]["LifecyclePolicyText"]).replace("${KeepImages}", "500")
        (rule,) = json.loads(text)["rules"]
        assert rule["selection"] == {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 500}

    def test_a_build_may_wait_for_others(self) -> None:
        project = BUILDS.resources["BuildProject"]["Properties"]
        assert project["QueuedTimeoutInMinutes"] == 480
        assert project["Environment"]["PrivilegedMode"] is True
        assert yaml.safe_load(project["Source"]["BuildSpec"])["version"] == 0.2

    def test_no_log_is_kept_for_ever(self) -> None:
        groups = BUILDS.of_type("AWS::Logs::LogGroup")
        assert len(groups) == 7
        assert all(group["RetentionInDays"] == {"Ref": "LogDays"} for group in groups.values())


class TestRights:
    """S14."""

    @pytest.mark.parametrize(
        "deployed",
        [BUILDS, PREBUILT, EVERYTHING, WITH_CLUSTER],
        ids=["builds", "pre-built", "with keys", "with a cluster"],
    )
    def test_every_action_is_one_of_awss_and_names_its_resource_where_it_has_one(self, deployed: Deployed) -> None:
        actions = aws_actions()
        for role in deployed.of_type("AWS::IAM::Role"):
            for right in deployed.rights(role):
                service, _, name = right.action.partition(":")
                assert "*" not in right.action
                known = actions[service]["Actions"]
                assert name.lower() in known, f"AWS has no {right.action}"
                if "Resources" in known[name.lower()] and right.action not in UNNAMED:
                    assert "*" not in right.resources, f"{role}: {right.action} on everything"

    def test_without_builds_nothing_is_left_of_them(self) -> None:
        kinds = {resource["Type"].split("::")[1] for resource in PREBUILT.resources.values()}
        assert not kinds & {"ECR", "CodeBuild"}
        assert "BuildFunction" not in PREBUILT.resources
        for name in PREBUILT.functions():
            services = {right.action.partition(":")[0] for right in rights_of(PREBUILT, name)}
            assert not services & {"ecr", "codebuild"}
        assert "EcrRepositoryUri" not in PREBUILT.outputs

    def test_a_key_is_only_spoken_of_where_there_is_one(self) -> None:
        for deployed in (BUILDS, PREBUILT):
            for role in deployed.of_type("AWS::IAM::Role"):
                assert not [right for right in deployed.rights(role) if right.action.startswith("kms:")]
        grants = [right for right in rights_of(EVERYTHING, "AdvanceFunction") if right.action == "kms:CreateGrant"]
        assert [right.resources for right in grants] == [("VolumeKeyArn",)]
        assert grants[0].condition["Bool"] == {"kms:GrantIsForAWSResource": "true"}

    @pytest.mark.parametrize(("given", "role"), [("", "TrainingRole.Arn"), (ROLE, "TrainingRoleArn")])
    def test_one_role_may_be_handed_over_and_to_sagemaker_alone(self, given: str, role: str) -> None:
        deployed = Deployed(TrainingRoleArn=given)
        assert ("TrainingRole" in deployed.resources) is (given == "")
        for name in deployed.functions():
            passed = [right for right in rights_of(deployed, name) if right.action == "iam:PassRole"]
            assert [right.resources for right in passed] == [(role,)]
            assert passed[0].condition == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}

    def test_a_training_job_reads_the_named_secrets_and_no_others(self) -> None:
        assert not [right for right in BUILDS.rights("TrainingRole") if right.action.startswith("secretsmanager:")]
        (right,) = [each for each in EVERYTHING.rights("TrainingRole") if each.action.startswith("secretsmanager:")]
        assert right.resources == ("SecretArns",)

    @pytest.mark.parametrize("place", ["", "s3://models/team"])
    def test_a_training_job_writes_its_output_and_nothing_else(self, place: str) -> None:
        deployed = Deployed(OutputPath=place)
        (put,) = [right for right in deployed.rights("TrainingRole") if right.action == "s3:PutObject"]
        assert [fnmatchcase("${Bucket.Arn}/output/model", each) for each in put.resources] == [place == ""]
        variable = deployed.globals["Environment"]["Variables"]["SLIPWAY_OUTPUT"]
        assert words(variable) == ("OutputPath" if place else "s3://${Bucket}/output")

    def test_only_ours_are_started_and_stopped(self) -> None:
        for name in BUILDS.functions():
            rights = {right.action: right for right in rights_of(BUILDS, name)}
            tagged = {"aws:RequestTag/slipway.item": "false"}
            assert rights["sagemaker:CreateTrainingJob"].condition == {"Null": tagged}
            assert rights["sagemaker:StopTrainingJob"].condition == {"Null": {"aws:ResourceTag/slipway.item": "false"}}

    def test_only_the_builder_starts_builds_and_only_the_consumers_take_messages(self) -> None:
        having = {
            action: {name for name in BUILDS.functions() if action in {r.action for r in rights_of(BUILDS, name)}}
            for action in (
                "codebuild:StartBuild",
                "sqs:GetQueueAttributes",
                "sagemaker:Search",
                "logs:DescribeLogStreams",
            )
        }
        assert having == {
            "codebuild:StartBuild": {"BuildFunction"},
            "sqs:GetQueueAttributes": {"AdvanceFunction", "BuildFunction"},
            "sagemaker:Search": {"TickFunction"},
            "logs:DescribeLogStreams": {"SubmitFunction"},
        }

    @VARIANTS
    def test_no_function_may_read_a_secret(self, deployed: Deployed) -> None:
        """Runs do, with their own role."""
        for name in deployed.functions():
            services = {right.action.partition(":")[0] for right in rights_of(deployed, name)}
            assert not services & {"secretsmanager", "ssm"}

    def test_a_cluster_is_looked_up_by_whoever_takes_a_step_and_its_runs_secrets_are_read(self) -> None:
        """A pod has no role of ours to read them with."""
        for name in WITH_CLUSTER.functions():
            rights = {right.action: right.resources for right in rights_of(WITH_CLUSTER, name)}
            (cluster,) = rights["eks:DescribeCluster"]
            assert cluster.endswith(":cluster/${EksCluster}")
            assert rights["secretsmanager:GetSecretValue"] == ("SecretArns",)

    @pytest.mark.parametrize("deployed", [BUILDS, EVERYTHING], ids=["plain", "with keys and secrets"])
    def test_without_a_cluster_nothing_is_left_of_it(self, deployed: Deployed) -> None:
        for name in deployed.functions():
            services = {right.action.partition(":")[0] for right in rights_of(deployed, name)}
            assert not services & {"eks", "secretsmanager", "ssm"}

    @VARIANTS
    def test_each_role_is_for_one_service(self, deployed: Deployed) -> None:
        for name, role in deployed.of_type("AWS::IAM::Role").items():
            (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
            assert list(statement["Principal"]) == ["Service"], name


class TestAlarms:
    @VARIANTS
    def test_everything_that_can_go_wrong_has_one(self, deployed: Deployed) -> None:
        watched = [each for alarm in deployed.of_type("AWS::CloudWatch::Alarm").values() for each in metrics(alarm)]
        for name in ("Submit", "Advance", "Build", "Observe"):
            assert ("ApproximateNumberOfMessagesVisible", f"{name}DeadLetters.QueueName") in watched
        for queue in ("SubmitQueue", "AdvanceQueue", *(["BuildQueue"] if deployed is BUILDS else [])):
            assert ("ApproximateAgeOfOldestMessage", f"{queue}.QueueName") in watched
        for function in deployed.functions():
            assert {("Errors", function), ("Throttles", function)} <= set(watched)
        assert ("StuckItems", "AWS::StackName") in watched

    def test_the_metrics_of_our_own_are_those_that_the_tick_tells(self) -> None:
        told = re.findall(r'add_metric\("(\w+)"', (ROOT / "sam" / "app.py").read_text())
        variables = BUILDS.globals["Environment"]["Variables"]
        ours = [
            alarm
            for alarm in BUILDS.of_type("AWS::CloudWatch::Alarm").values()
            if alarm.get("Namespace") == variables["POWERTOOLS_METRICS_NAMESPACE"]
        ]
        assert [alarm["MetricName"] in told for alarm in ours] == [True]
        assert ours[0]["Dimensions"] == [{"Name": "service", "Value": variables["POWERTOOLS_SERVICE_NAME"]}]

    def test_they_go_where_they_are_sent_and_may_be_left_out(self) -> None:
        topic = "arn:aws:sns:eu-west-1:123456789012:ops"
        for deployed, action in (
            (BUILDS, None),
            (EVERYTHING, [{"Ref": "AlarmTopic"}]),
            (Deployed(AlarmTopicArn=topic), [{"Ref": "AlarmTopicArn"}]),
        ):
            alarms = deployed.of_type("AWS::CloudWatch::Alarm").values()
            assert [alarm.get("AlarmActions") for alarm in alarms] == [action] * len(alarms)
        assert Deployed(Alarms="false", AlarmEmail="ops@example.com").of_type("AWS::CloudWatch::Alarm") == {}

    def test_the_dashboard_shows_every_function_and_every_queue(self) -> None:
        text, names = BUILDS.resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
        assert len(json.loads(text)["widgets"]) == 9
        shown = set(re.findall(r"\$\{([\w.]+)\}", text)) - set(names) | {words(each) for each in names.values()}
        assert shown >= {*BUILDS.functions(), *(f"{name}.QueueName" for name in BUILDS.of_type("AWS::SQS::Queue"))}


class TestOutputs:
    def test_they_tell_what_a_user_needs(self) -> None:
        assert {"ApiUrl", "FirstKey", "SubmissionQueueUrl", "TableName", "EcrRepositoryUri"} <= set(BUILDS.outputs)

    def test_the_first_key_is_made_by_the_order_that_the_function_takes(self) -> None:
        command = shlex.split(words(BUILDS.outputs["FirstKey"]["Value"]))
        assert command[:3] == ["aws", "lambda", "invoke"]
        assert command[command.index("--function-name") + 1] == "${SubmitFunction}"
        order = json.loads(command[command.index("--payload") + 1])
        assert order == json.loads((ROOT / "events" / "aws" / "order-create-key.json").read_text())


def rights_of(deployed: Deployed, function: str) -> Any:
    return deployed.rights(words(deployed.functions()[function]["Role"]).removesuffix(".Arn"))


def refuses_plain_text(statement: Any) -> bool:
    plain = {"Bool": {"aws:SecureTransport": "false"}}
    return bool(statement["Effect"] == "Deny" and statement["Principal"] == "*" and statement["Condition"] == plain)


def metrics(alarm: Any) -> list[tuple[str, str]]:
    """Name and the value of the one dimension, of each metric that an alarm looks at."""
    several = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
    return [(each["MetricName"], words(each["Dimensions"][0]["Value"])) for each in several or [alarm]]
