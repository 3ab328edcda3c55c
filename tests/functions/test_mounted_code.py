"""Code that is mounted, not built (S20): on a kubernetes queue whose builder builds nothing, or for a job that names a
base image. The target in memory stands for Kubernetes."""

from __future__ import annotations

import pytest
from tests.functions.world import REPOSITORY, World
from tests.unit.documents import problems_of

from slipway.functions.tick import tick
from slipway.model import GitSource, Item, Json, Launch, RunPhase, State
from slipway.render import payload

NOOP = {"type": "noop"}


def mounted(builder: dict[str, Json] = NOOP, **fields: Json) -> tuple[World, Item]:
    world = World()
    world.queue(resource="kubernetes", builder=builder)
    item = world.submit_code(**fields)
    world.deliver_all()
    return world, world.item(item)


def started(world: World) -> Launch:
    (launch,) = world.target.started
    return launch


def test_the_code_is_resolved_and_mounted_in_the_base_image_and_nothing_is_built() -> None:
    """S8, S20."""
    world, item = mounted()
    assert item.state is State.RUNNING
    assert (item.image, item.built) == ("python:3.12-slim", False)
    assert item.revision == world.sources.resolve(GitSource(REPOSITORY))
    assert (world.builder.started, world.store.builds(), world.registry.images) == ([], [], set())
    code = started(world).code
    assert code is not None
    assert (code.source, code.revision, code.install) == (GitSource(REPOSITORY), item.revision, True)


def test_what_the_target_is_given_brings_that_revision_into_every_pod() -> None:
    world, item = mounted(overrides={"entry_point": ["python", "train.py"], "working_dir": "src"})
    body = payload("kubernetes", started(world), world.ports.around).body
    spec = body["spec"]["template"]["spec"]
    (init,), (one,) = spec["initContainers"], spec["containers"]
    assert item.revision in init["command"][-1]
    assert REPOSITORY in init["command"][-1]
    assert (one["image"], one["workingDir"]) == ("python:3.12-slim", "/mnt/wandb/src")
    assert "pip install" in one["args"][0]


@pytest.mark.parametrize(
    ("builder", "fields", "image", "install"),
    [
        ({**NOOP, "base_image": "queue:1"}, {}, "queue:1", True),
        ({**NOOP, "base_image": "queue:1"}, {"base_image": "own:1"}, "own:1", False),
        ({"type": "docker"}, {"base_image": "own:1"}, "own:1", False),
    ],
)
def test_the_base_image_is_the_jobs_else_the_queues(
    builder: dict[str, Json], fields: dict[str, Json], image: str, install: bool
) -> None:
    """An image that was made for the job has its dependencies in it."""
    world, item = mounted(builder, **fields)
    launch = started(world)
    assert (item.image, launch.image) == (image, image)
    assert launch.code is not None
    assert launch.code.install is install
    assert world.builder.started == []


def test_a_job_without_a_base_image_is_built_where_something_builds() -> None:
    world, item = mounted({"type": "docker"})
    assert item.built
    assert len(world.builder.started) == 1
    assert started(world).code is None


def test_an_image_that_was_submitted_mounts_nothing() -> None:
    world = World()
    world.queue(resource="kubernetes", builder=NOOP)
    world.submit()
    world.deliver_all()
    assert started(world).code is None


def test_a_branch_that_moves_meanwhile_does_not_move_the_run() -> None:
    """The revision is resolved once: a run that is resumed runs the same code."""
    world, item = mounted()
    world.sources.trees[REPOSITORY]["main"] = {"train.py": "other"}
    world.end(item, RunPhase.PREEMPTED)
    world.clock.advance(3600)
    for _ in range(5):
        tick(world.ports)
        world.deliver_all()
        world.clock.advance(60)
    first, *more = world.target.started
    assert more
    assert first.code is not None
    assert {launch.code.revision for launch in world.target.started if launch.code} == {first.code.revision}


def test_a_source_that_is_not_there_fails_the_item_as_a_build_would() -> None:
    world = World()
    world.queue(resource="kubernetes", builder=NOOP)
    item = world.submit_code(uri="https://git.example.com/team/none.git")
    world.deliver_all()
    assert (world.item(item).state, world.target.started) == (State.FAILED, [])
    assert "nothing at" in world.item(item).reason


def test_where_nothing_can_be_mounted_the_submission_is_refused() -> None:
    world = World()
    world.queue("containers", builder=NOOP)
    world.queue("training", resource="sagemaker", builder={"type": "docker"})
    assert "noop" in problems_of(lambda: world.submit_code(queue="containers"))["uri"].rule
    refused = problems_of(lambda: world.submit_code(queue="training", base_image="own:1"))
    assert "pods of Kubernetes" in refused["base_image"].rule
    assert world.store.items() == []
