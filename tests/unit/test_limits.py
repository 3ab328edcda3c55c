"""The limit of a run that its resource args carry, in each vendor's own word for it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.functions.world import World

from slipway.limits import GRACE, run_limit
from slipway.model import WEEK, Timeouts


@pytest.mark.parametrize(
    ("resource", "args", "seconds"),
    [
        ("sagemaker", {"StoppingCondition": {"MaxRuntimeInSeconds": 3600}}, 3600),
        ("sagemaker", {"stopping_condition": {"MaxRuntimeInSeconds": 3600}}, 3600),
        ("sagemaker", {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 600}}, 600),
        ("gcp-vertex", {"spec": {}, "run": {"timeout": 60}}, 60),
        ("kubernetes", {"kind": "Job", "spec": {"activeDeadlineSeconds": 60}}, 60),
        ("kubernetes", {"spec": {"template": {"spec": {"activeDeadlineSeconds": 60}}}}, 60),
        ("kubernetes", {"kind": "PyTorchJob", "spec": {"runPolicy": {"activeDeadlineSeconds": 60}}}, 60),
    ],
)
def test_a_limit_of_the_resource_is_the_runs_deadline_a_little_later(resource: str, args: Any, seconds: float) -> None:
    assert run_limit(resource, args) == seconds + GRACE


@pytest.mark.parametrize(
    ("resource", "args"),
    [
        ("local-container", {"memory": "4g"}),
        ("sagemaker", {"StoppingCondition": {"MaxRuntimeInSeconds": "3600"}}),
        ("sagemaker", {"StoppingCondition": 3}),
        ("gcp-vertex", {"run": {"timeout": True}}),
        ("kubernetes", {"spec": {"backoffLimit": 3, "template": {"spec": {"activeDeadlineSeconds": 60}}}}),
        ("kubernetes", {"spec": [{"activeDeadlineSeconds": 60}]}),
    ],
)
def test_what_limits_no_run_is_no_limit(resource: str, args: Any) -> None:
    """A pod's own limit begins anew with each pod, so it limits a Job only where a failed pod is not replaced."""
    assert run_limit(resource, args) is None


def test_an_item_takes_its_limit_from_its_rendered_config_unless_the_queue_sets_one() -> None:
    world = World()
    config = {
        "RoleArn": "arn:aws:iam::123456789012:role/training",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 2},
        "StoppingCondition": {"MaxRuntimeInSeconds": 28 * 86400},
    }
    world.queue(resource="sagemaker", config=config)
    assert world.submit().timeouts.longest_run == 28 * 86400 + GRACE
    world.queue("short", resource="sagemaker", config=config, timeouts=Timeouts(run=60.0))
    assert world.submit(queue="short").timeouts.longest_run == 60.0
    world.queue("open")
    assert world.submit(queue="open").timeouts.longest_run == WEEK
