"""Submissions that become SageMaker jobs, through every function: the events of the stand-in say when to look again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.functions.world import World
from tests.standins.aws.json_service import THROTTLED, Drop
from tests.standins.aws.sagemaker import CAPACITY, SageMakerStandin

from slipway.adapters.aws.clients import Clients
from slipway.adapters.aws.sagemaker import SageMakerTarget
from slipway.errors import Temporary
from slipway.functions.advance import advance
from slipway.functions.control import cancel
from slipway.functions.observe import observe
from slipway.functions.tick import tick
from slipway.model import Changed, Item, Stage, State
from slipway.render.surroundings import Account

CONFIG: dict[str, Any] = {
    "RoleArn": "arn:aws:iam::123456789012:role/runs",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/prefix"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 2},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
}
JOB = {"docker": {"docker_image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/train:1"}}


@pytest.fixture
def events() -> list[dict[str, Any]]:
    """Those that were sent and not delivered yet."""
    return []


@pytest.fixture
def sagemaker(events: list[dict[str, Any]]) -> Iterator[SageMakerStandin]:
    with SageMakerStandin(on_event=events.append) as standin:
        yield standin


@pytest.fixture
def world(aws: Clients, sagemaker: SageMakerStandin, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", sagemaker.url)
    target = SageMakerTarget(aws, Account("123456789012"))
    return World(wrap_target=lambda _: target)


def submitted(world: World, **queue: Any) -> Item:
    world.queue(**{"resource": "sagemaker", "config": CONFIG, **queue})
    return submitted_too(world)


def submitted_too(world: World) -> Item:
    item = world.submit(**JOB)
    world.deliver_all()
    return item


def deliver(events: list[dict[str, Any]], world: World) -> None:
    while events:
        observe(Changed(item_id=events.pop(0)["detail"]["Tags"]["slipway.item"]), world.ports)
    world.deliver_all()


def name(item: Item, attempt: int = 1) -> str:
    return f"slipway-{item.id}-{attempt}"


def states(world: World, item: Item) -> list[str]:
    return [moment.state.value for moment in world.item(item).timeline]


def test_a_submission_runs_to_its_end(world: World, sagemaker: SageMakerStandin, events: list[dict[str, Any]]) -> None:
    """S17, C1."""
    item = submitted(world)
    assert world.item(item).state is State.STARTING
    assert world.item(item).backend_id == name(item)
    sagemaker.train(name(item))
    deliver(events, world)
    assert world.item(item).state is State.RUNNING
    sagemaker.finish(name(item), {"accuracy": 0.5})
    deliver(events, world)
    end = world.item(item)
    assert states(world, item) == ["pending", "starting", "running", "finished"]
    assert (end.exit_code, end.metrics) == (0, {"accuracy": 0.5})
    assert world.store.slots(item.queue) == frozenset()


def test_events_that_come_twice_and_the_wrong_way_round_change_nothing(
    world: World, sagemaker: SageMakerStandin, events: list[dict[str, Any]]
) -> None:
    item = submitted(world)
    sagemaker.finish(name(item))
    events[:] = [*reversed(events), *events]
    deliver(events, world)
    assert world.item(item).state is State.FINISHED
    assert len(sagemaker.jobs) == 1


def test_lost_events_are_made_up_for_by_the_clock(
    world: World, sagemaker: SageMakerStandin, events: list[dict[str, Any]]
) -> None:
    item = submitted(world)
    sagemaker.finish(name(item))
    world.clock.advance(SageMakerTarget.start_lease + 60.0)
    tick(world.ports)
    assert world.item(item).state is State.FINISHED


def test_a_quota_keeps_an_item_in_line_until_there_is_room(world: World, sagemaker: SageMakerStandin) -> None:
    """Rule 8."""
    sagemaker.quotas["ml.m5.xlarge"] = 0
    item = submitted(world)
    waiting = world.item(item)
    assert waiting.state is State.PENDING
    assert "'ml.m5.xlarge for training job usage' is 0 Instances" in waiting.reason
    assert world.store.slots(item.queue) == frozenset()
    sagemaker.quotas.clear()
    assert waiting.due is not None
    world.clock.advance(waiting.due - world.clock.now())
    tick(world.ports)
    world.deliver_all()
    assert world.item(item).state is State.STARTING


def test_throttling_keeps_an_item_in_line(world: World, sagemaker: SageMakerStandin) -> None:
    sagemaker.inject("CreateTrainingJob", THROTTLED, 3)
    item = submitted(world)
    assert world.item(item).state is State.PENDING
    assert "Rate exceeded" in world.item(item).reason


def test_a_start_whose_answer_is_lost_makes_one_job(
    world: World, sagemaker: SageMakerStandin, events: list[dict[str, Any]]
) -> None:
    """C2."""
    world.queue(resource="sagemaker", config=CONFIG)
    item = world.submit(**JOB)
    sagemaker.inject("CreateTrainingJob", Drop.AFTER, 1)
    sagemaker.inject("CreateTrainingJob", Drop.BEFORE, 2)
    with pytest.raises(Temporary):
        advance(item.id, world.ports)
    assert "unknown" in world.item(item).reason
    deliver(events, world)
    world.clock.advance(SageMakerTarget.start_lease)
    tick(world.ports)
    world.deliver_all()
    assert world.item(item).backend_id == name(item)
    assert len(sagemaker.jobs) == 1


def test_a_role_that_cannot_be_assumed_fails_the_launch_with_its_cure(
    world: World, sagemaker: SageMakerStandin
) -> None:
    sagemaker.closed_roles.add(CONFIG["RoleArn"])
    item = world.item(submitted(world))
    assert (item.state, item.stage) == (State.FAILED, Stage.LAUNCH)
    assert "sagemaker.amazonaws.com" in item.reason


def test_a_failed_run_keeps_sagemakers_reason(
    world: World, sagemaker: SageMakerStandin, events: list[dict[str, Any]]
) -> None:
    item = submitted(world)
    sagemaker.train(name(item))
    sagemaker.fail(name(item), "AlgorithmError: no such column, exit code: 3")
    deliver(events, world)
    end = world.item(item)
    assert (end.state, end.stage, end.exit_code) == (State.FAILED, Stage.RUN, 3)
    assert end.reason == "AlgorithmError: no such column, exit code: 3"


def test_want_of_capacity_is_covered_by_the_retries_of_the_queue(
    world: World, sagemaker: SageMakerStandin, events: list[dict[str, Any]]
) -> None:
    item = submitted(world, retries={"infrastructure": 1})
    sagemaker.fail(name(item), CAPACITY)
    deliver(events, world)
    again = world.item(item)
    assert (again.state, again.attempt) == (State.PENDING, 2)
    world.clock.advance(again.not_before - world.clock.now())
    tick(world.ports)
    world.deliver_all()
    assert [*sagemaker.jobs] == [name(item), name(item, 2)]


def test_a_preempted_spot_run_is_resumed_as_the_same_run_under_another_name(
    world: World, sagemaker: SageMakerStandin, events: list[dict[str, Any]]
) -> None:
    item = submitted(world)
    sagemaker.train(name(item))
    deliver(events, world)
    sagemaker.interrupt(name(item))
    sagemaker.move(name(item), "Stopped", "MaxWaitTimeExceeded")
    deliver(events, world)
    again = world.item(item)
    assert (again.state, again.attempt) == (State.STARTING, 2)
    first, second = sagemaker.jobs.values()
    assert (first.name, second.name) == (name(item), name(item, 2))
    assert first.request["Environment"]["WANDB_RUN_ID"] == second.request["Environment"]["WANDB_RUN_ID"]


def test_a_cancelled_run_is_stopped_and_its_slot_goes_to_the_next(
    world: World, sagemaker: SageMakerStandin, events: list[dict[str, Any]]
) -> None:
    item = submitted(world)
    second = submitted_too(world)
    sagemaker.train(name(item))
    deliver(events, world)
    cancel(item.id, world.ports)
    assert sagemaker.jobs[name(item)].status == "Stopping"
    sagemaker.advance(120)
    deliver(events, world)
    assert world.item(item).state is State.STOPPED
    assert world.item(second).state is State.STARTING


def test_a_job_that_nobody_wants_any_more_is_found_by_its_tags_and_stopped(
    world: World, sagemaker: SageMakerStandin
) -> None:
    item = submitted(world, config={**CONFIG, "TrainingJobName": "nightly"})
    world.store.save(world.item(item).moved(State.STOPPED, world.clock.now(), "given up", due=None, lease=None))
    tick(world.ports)
    assert sagemaker.jobs["nightly"].status == "Stopped"
