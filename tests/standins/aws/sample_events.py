"""What becomes of each event in events/aws/: what there was before, what its function answers, what there is then."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.standins.aws.private_registry import HOST
from tests.standins.aws.sample_world import BUILD_LOG, SampleWorld

from slipway.functions.advance import advance

SUBMIT, ADVANCE, BUILD, OBSERVE, TICK = (
    f"{name}Function" for name in ("Submit", "Advance", "Build", "Observe", "Tick")
)
IN_REGISTRY = "7a1f0c9d5e2b48637b6a5948"
"""The tag of the one image that is in the registry."""
BUILT = f"{HOST}/slipway:{IN_REGISTRY}"
NOT_BUILT = f"{HOST}/slipway:3f6c1d2e4b5a69788796a5b4"

Given = Callable[[SampleWorld], object]


@dataclass(frozen=True)
class Sample:
    function: str
    """Its name in the template."""
    answer: str
    """In the words of `brief`."""
    told: str
    """All that there is afterwards."""
    given: Given = lambda world: None
    changes: bool = True
    """Whether any item is another than before."""


def brief(answer: Any) -> str:
    """A function's answer in few words; a key is not among them."""
    match answer:
        case {"statusCode": int(status), "body": str(body)}:
            return f"{status} {_about(body)}".rstrip()
        case {"batchItemFailures": failures}:
            return f"back: {' '.join(each['itemIdentifier'][-4:] for each in failures) or 'none'}"
        case {"key": str(key), "entity": entity} if key.startswith("slip_"):
            return f"a key for {entity}"
    return json.dumps(answer)


def _about(body: str) -> str:
    match json.loads(body):
        case {"error": {"kind": str(kind), "problems": [*problems]}}:
            return " ".join([kind, *(problem["field"] for problem in problems)])
        case {"items": [*items]}:
            return f"{len(items)} items"
        case {"state": str(state)}:
            return state
    return ""


def ids(first: int, last: int) -> list[str]:
    return [f"0dh2sample{number:06}" for number in range(first, last + 1)]


def _ten(world: SampleWorld) -> None:
    for each in ids(1, 10):
        world.waiting(each)


def _nine(world: SampleWorld) -> None:
    for each in ids(1, 9):
        world.waiting(each)


def _three(world: SampleWorld) -> None:
    """One waits, one runs, one is over."""
    _over("0dh2sample000003")(world)
    world.running("0dh2sample000002")
    world.submitted_code("0dh2sample000001")


def _trained(item_id: str) -> Given:
    return lambda world: world.sagemaker.train(world.starting(item_id))


def _completed(item_id: str) -> Given:
    return lambda world: world.sagemaker.finish(world.running(item_id), {"accuracy": 0.97})


def _over(item_id: str) -> Given:
    def given(world: SampleWorld) -> None:
        _completed(item_id)(world)
        advance(item_id, world.ports)

    return given


def _failed(item_id: str) -> Given:
    return lambda world: world.sagemaker.fail(world.running(item_id), "AlgorithmError: , exit code: 1")


def _stopped(item_id: str) -> Given:
    return lambda world: world.sagemaker.move(world.cancelled(item_id), "Stopped", "Stopped")


def _unheard(world: SampleWorld) -> None:
    """One job ended and its event was lost; another is not due for a look."""
    _completed("0dh2sample000050")(world)
    world.overdue("0dh2sample000050")
    world.running("0dh2sample000051")


def _build(status: str = "", message: str = "", image: str = NOT_BUILT) -> Given:
    """Two items wait for one image."""

    def given(world: SampleWorld) -> None:
        build = world.building(image, *ids(41, 42))
        if status in ("FAILED", "TIMED_OUT"):
            world.build_says(build, BUILD_LOG)
        if status:
            world.codebuild.end(build, status, message)

    return given


SAMPLES: Mapping[str, Sample] = {
    # --- HTTP
    "api-submit": Sample(SUBMIT, "201 pending", "1 item pending, 1 message to advance"),
    "api-list": Sample(
        SUBMIT,
        "200 3 items",
        "1 item finished, 1 item pending, 1 item running, 1 job Completed, 1 job InProgress",
        _three,
        changes=False,
    ),
    "api-cancel": Sample(
        SUBMIT,
        "200 running",
        "1 item running, to be stopped, 1 job Stopping",
        lambda world: world.running("0dh2sample000001"),
    ),
    "api-no-key": Sample(SUBMIT, "401 unauthorised", "nothing", changes=False),
    "api-wrong-key": Sample(SUBMIT, "401 unauthorised", "nothing", changes=False),
    "api-bad-body": Sample(SUBMIT, "400 invalid", "nothing", changes=False),
    "api-invalid": Sample(SUBMIT, "422 invalid overides", "nothing", changes=False),
    "order-create-key": Sample(SUBMIT, "a key for *", "1 key more", changes=False),
    # --- SQS
    "sqs-one": Sample(
        ADVANCE, "back: none", "1 item starting, 1 job InProgress", lambda world: world.waiting("0dh2sample000001")
    ),
    "sqs-ten": Sample(ADVANCE, "back: none", "10 items starting, 10 jobs InProgress", _ten),
    "sqs-poison": Sample(ADVANCE, "back: 0010", "9 items starting, 9 jobs InProgress, 1 dead letter of submit", _nine),
    "sqs-direct": Sample(ADVANCE, "back: none", "1 item pending, 1 message to advance"),
    "sqs-eventbridge": Sample(ADVANCE, "back: none", "1 item pending, 1 message to advance"),
    "sqs-build": Sample(
        BUILD,
        "back: none",
        "1 item building, 1 build IN_PROGRESS, 1 context for a build",
        lambda world: world.submitted_code("0dh2sample000020"),
    ),
    # --- EventBridge: training jobs
    "sagemaker-starting": Sample(
        OBSERVE,
        "null",
        "1 item starting, 1 job InProgress",
        lambda world: world.starting("0dh2sample000030"),
        changes=False,
    ),
    "sagemaker-in-progress": Sample(OBSERVE, "null", "1 item running, 1 job InProgress", _trained("0dh2sample000030")),
    "sagemaker-completed": Sample(OBSERVE, "null", "1 item finished, 1 job Completed", _completed("0dh2sample000031")),
    "sagemaker-completed-again": Sample(
        OBSERVE, "null", "1 item finished, 1 job Completed", _over("0dh2sample000031"), changes=False
    ),
    "sagemaker-in-progress-late": Sample(
        OBSERVE, "null", "1 item finished, 1 job Completed", _over("0dh2sample000031"), changes=False
    ),
    "sagemaker-failed": Sample(
        OBSERVE,
        "null",
        "1 item failed in run: AlgorithmError: , exit code: 1, 1 job Failed",
        _failed("0dh2sample000032"),
    ),
    "sagemaker-stopping": Sample(
        OBSERVE,
        "null",
        "1 item running, to be stopped, 1 job Stopping",
        lambda world: world.cancelled("0dh2sample000033"),
        changes=False,
    ),
    "sagemaker-stopped": Sample(OBSERVE, "null", "1 item stopped, 1 job Stopped", _stopped("0dh2sample000034")),
    "sagemaker-not-ours": Sample(
        OBSERVE,
        "null",
        "1 item running, 1 job InProgress",
        lambda world: world.running("0dh2sample000030"),
        changes=False,
    ),
    # --- EventBridge: builds
    "codebuild-in-progress": Sample(OBSERVE, "null", "2 items building, 1 build IN_PROGRESS", _build(), changes=False),
    "codebuild-succeeded": Sample(
        OBSERVE,
        "null",
        "2 items starting, 2 jobs InProgress, 1 build SUCCEEDED",
        _build("SUCCEEDED", image=BUILT),
    ),
    "codebuild-failed": Sample(
        OBSERVE,
        "null",
        f"2 items failed in build: {BUILD_LOG}, 1 build FAILED",
        _build("FAILED", "Error while executing command. Reason: exit status 1"),
    ),
    "codebuild-fault": Sample(
        OBSERVE,
        "null",
        "2 items failed in build: the build failed: a fault of CodeBuild's own: BUILD: Internal error, 1 build FAULT",
        _build("FAULT", "Internal error"),
    ),
    "codebuild-timed-out": Sample(
        OBSERVE,
        "null",
        f"2 items failed in build: {BUILD_LOG}, 1 build TIMED_OUT",
        _build("TIMED_OUT", "Build timed out."),
    ),
    "codebuild-stopped": Sample(
        OBSERVE,
        "null",
        "2 items failed in build: the build failed: somebody stopped it at CodeBuild, 1 build STOPPED",
        _build("STOPPED"),
    ),
    # --- the clock
    "tick": Sample(TICK, "null", "1 item finished, 1 item running, 1 job Completed, 1 job InProgress", _unheard),
}
"""By the name of the event's file. What an event does to an item is no business of its payload: the world is asked."""
