"""Why an item is where it is, in one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.functions.world import World

from slipway.errors import Refused
from slipway.explain import explain
from slipway.functions.control import cancel
from slipway.model import Act, Desired, GitSource, Item, Lease, QueueKey, RunPhase, Stage, State
from slipway.step import step


@pytest.fixture
def world() -> World:
    return World()


def sentence(world: World, item: Item, **options: Any) -> str:
    return explain(world.item(item), world.ports, **options).sentence


def test_in_line_behind_others(world: World) -> None:
    world.queue(max_jobs=2)
    for name in ("run-a", "run-b"):
        world.submit(name=name)
        world.deliver_all()
    for _ in range(2):
        world.submit()
    item = world.submit()
    explained = explain(world.item(item), world.ports)
    assert explained.sentence == (
        "3rd in line for queue 'gpu': both slots are in use by run-a, run-b (max_jobs: 2), so it starts when one of "
        "them ends and the 2 items ahead of it have started, or when max_jobs is raised."
    )
    assert explained.facts["ahead"] == 2
    assert len(explained.facts["slots"]) == 2


def test_next_in_line_for_the_only_slot(world: World) -> None:
    world.queue(max_jobs=1)
    world.submit(name="run-a")
    world.deliver_all()
    item = world.submit()
    assert sentence(world, item) == (
        "Next in line for queue 'gpu': its only slot is in use by run-a (max_jobs: 1), so it starts when run-a ends, "
        "or when max_jobs is raised."
    )


def test_many_holders_are_counted(world: World) -> None:
    world.queue(max_jobs=5)
    for number in range(5):
        world.submit(name=f"run-{number}")
        world.deliver_all()
    assert "all 5 slots are in use by run-0, run-1, run-2 and 2 more" in sentence(world, world.submit())


def test_a_free_slot(world: World) -> None:
    world.queue(max_jobs=1)
    assert "with a free slot: it starts at its next step" in sentence(world, world.submit())


def test_a_queue_without_a_limit(world: World) -> None:
    world.queue(max_jobs=-1)
    assert sentence(world, world.submit()).startswith("Nothing stands in its way")


def test_a_paused_queue(world: World) -> None:
    world.queue(paused=True)
    assert "`slipway queue resume gpu`" in sentence(world, world.submit())


def test_a_deleted_queue(world: World) -> None:
    world.queue()
    item = world.submit()
    world.store.delete_queue(QueueKey("team", "gpu"))
    assert "was deleted" in sentence(world, item)


def test_a_source_being_resolved(world: World) -> None:
    world.queue()
    item = world.submit_code()
    assert item.submission.job.source.uri in sentence(world, item)  # type: ignore[union-attr]
    assert "being resolved" in sentence(world, item)


def test_a_password_in_a_source_or_a_reason_is_not_told(world: World) -> None:
    world.queue()
    item = world.submit_code()
    source = GitSource("https://user:hush@git.example.com/a.git")
    secretive = replace(item, submission=replace(item.submission, job=replace(item.submission.job, source=source)))
    failed = replace(item, state=State.FAILED, stage=Stage.BUILD, reason=f"cannot clone {source.uri}")
    for each in (secretive, failed):
        explained = explain(each, world.ports)
        assert "git.example.com/a.git" in explained.sentence
        assert "hush" not in str(explained)


def test_an_image_being_built_for_several() -> None:
    world = World(instant=False)
    world.queue(max_jobs=3)
    items = [world.submit_code() for _ in range(3)]
    world.deliver_all()
    world.clock.advance(150)
    explained = explain(world.item(items[0]), world.ports)
    assert explained.facts["others"] == 2
    assert "has been building for 2 min; 2 other items wait for the same image" in explained.sentence


def test_refused_by_the_backend(world: World) -> None:
    world.queue()
    item = world.submit()

    def refuse(launch: object) -> Any:
        raise Refused("ResourceLimitExceeded: 0 instances of ml.p5", retry_after=90)

    world.target.start = refuse  # type: ignore[method-assign]
    world.deliver_all()
    assert world.item(item).state is State.PENDING
    told = sentence(world, item)
    assert "ResourceLimitExceeded" in told
    assert "tried again at 22:14:50 UTC" in told


def test_failed_and_waiting_for_its_next_attempt(world: World) -> None:
    world.queue(retries={"user": 2})
    item = world.submit()
    world.deliver_all()
    world.end(item, RunPhase.FAILED, reason="exit code 1")
    step(item.id, world.ports)
    told = sentence(world, item)
    assert "waits for its next attempt (tried again, 1 of 2: exit code 1): that begins at " in told


def test_running_and_its_time_limit(world: World) -> None:
    world.queue()
    item = world.submit()
    world.deliver_all()
    world.clock.advance(3600 + 1200)
    told = sentence(world, item)
    assert "running on local-container for 1 h 20 min" in told
    assert f"`slipway cancel {item.id}`" in told
    assert "its time limit" in told


def test_starting(world: World) -> None:
    world.queue()
    item = replace(world.submit(), state=State.STARTING, reason="pulling the image")
    world.store.save(item)
    assert "(pulling the image)" in sentence(world, item)


@pytest.mark.parametrize("state", [State.PENDING, State.BUILDING, State.STARTING, State.RUNNING])
def test_cancelled_and_not_yet_stopped(world: World, state: State) -> None:
    world.queue()
    item = replace(world.submit(), state=state, desired=Desired.STOP, lease=Lease(Act.STOP, world.clock.now() + 70))
    world.store.save(item)
    assert "cancelled" in sentence(world, item)


def test_past_its_time_limit_and_being_stopped(world: World) -> None:
    world.queue()
    item = world.submit()
    world.store.save(replace(item, state=State.RUNNING, desired=Desired.EXPIRE))
    assert "past its time limit" in sentence(world, item)


def test_past_its_deadline(world: World) -> None:
    world.queue()
    item = world.submit()
    world.clock.advance(8 * 86400)
    explained = explain(item, world.ports)
    assert "past its deadline" in explained.sentence
    assert "tick" in explained.sentence
    assert explained.facts["overdue"] is True


def test_in_line_again_after_a_preemption(world: World) -> None:
    world.queue(max_jobs=1)
    item = world.submit()
    world.deliver_all()
    world.end(item, RunPhase.PREEMPTED)
    step(item.id, world.ports)
    assert sentence(world, item).startswith("After preemption, resume 1 of 5: next in line")


def test_finished(world: World) -> None:
    world.queue()
    item = replace(world.submit(), state=State.FINISHED, reason="", started_at=10.0, ended_at=22.0)
    assert explain(item, world.ports).sentence == "It finished after 12 s: nothing is left to do."


def test_stopped(world: World) -> None:
    world.queue()
    item = world.submit()
    cancel(item.id, world.ports)
    told = sentence(world, item)
    assert "(cancelled before it started)" in told
    assert f"`slipway retry {item.id}`" in told


@pytest.mark.parametrize("stage", list(Stage))
def test_failed_names_stage_reason_and_cure(world: World, stage: Stage) -> None:
    world.queue()
    item = replace(world.submit(), state=State.FAILED, stage=stage, reason="the build failed: exit code 1\nlog\nlog")
    told = explain(item, world.ports).sentence
    assert f"in stage {stage}" in told
    assert "(the build failed: exit code 1)" in told
    assert "log\n" not in told
    assert ("retry" in told) is (stage is not Stage.VALIDATE)


def test_no_worker_is_said_while_something_could_move(world: World) -> None:
    world.queue()
    item = world.submit()
    assert "no worker is up" in sentence(world, item, workers=False)
    assert "no worker" not in sentence(world, item)
    over = replace(item, state=State.FINISHED)
    assert "no worker" not in explain(over, world.ports, workers=False).sentence


times = st.none() | st.floats(0, 1e12)


@settings(max_examples=200)
@given(
    state=st.sampled_from(State),
    desired=st.sampled_from(Desired),
    image=st.none() | st.just("img"),
    reason=st.text(max_size=20),
    stage=st.none() | st.sampled_from(Stage),
    lease=st.none() | st.builds(Lease, st.sampled_from(Act), st.floats(0, 1e12)),
    not_before=st.floats(0, 1e12),
    deadline=times,
    started_at=times,
    ended_at=times,
    max_jobs=st.sampled_from([-1, 1, 2]),
    paused=st.booleans(),
    workers=st.booleans(),
)
def test_whatever_an_item_is_like_it_is_explained_in_one_sentence(
    max_jobs: int, paused: bool, workers: bool, **fields: Any
) -> None:
    world = World()
    world.queue(max_jobs=max_jobs, paused=paused)
    item = replace(world.submit(), **fields)
    explained = explain(item, world.ports, workers=workers)
    assert explained.sentence.endswith(".")
    assert not explained.sentence.endswith("..")
    assert len(explained.sentence.splitlines()) == 1
    assert explained.sentence[0].isupper() or explained.sentence[0].isdigit()
    json.dumps(dict(explained.facts), allow_nan=False)
