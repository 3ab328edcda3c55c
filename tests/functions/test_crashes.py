"""A process dies, or an answer is lost, at any call on the world: nothing is lost, nothing done twice, nothing stuck.

Every story is told once undisturbed, which counts its calls, and then once for each call and each mishap. Every event
after it is lost: the messages and the clock alone must bring the story to its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.functions.faults import (
    BusyOnce,
    Calls,
    Crash,
    bring_to_an_end,
    built_twice,
    deliver_all,
    end_builds,
    end_runs,
    overfull,
    slow_to_start,
    survive,
)
from tests.functions.world import World

from slipway.adapters.memory.target import MemoryTarget
from slipway.errors import Temporary
from slipway.functions import control
from slipway.functions.observe import observe
from slipway.model import Changed, RunPhase, RunStatus, Topic


# --- what happens in a story: each step is an invocation that may die, or the world going its own way
def submit(world: World, number: int = 0, code: bool = False) -> None:
    """A client that tries again, with its idempotency key, what it got no answer for."""
    send = world.submit_code if code else world.submit
    for _ in range(10):
        if survive(lambda: send(idempotency_key=f"key-{number}")):
            return


def cancel(world: World) -> None:
    """Someone cancels every item, once: what got no answer may or may not have been taken in."""
    for item in reversed(world.store.items()):
        survive(lambda item_id=item.id: control.cancel(item_id, world.ports))


def tell(world: World) -> None:
    """An event for each run and each build."""
    for request in world.builder.started:
        survive(lambda image=request.image: observe(Changed(image=image), world.ports))
    for launch in world.target.started:
        survive(lambda item_id=launch.run.item_id: observe(Changed(item_id=item_id), world.ports))


# --- stories
def an_image_job(world: World) -> None:
    world.queue()
    submit(world)
    deliver_all(world)
    end_runs(world)
    tell(world)


def a_submission_straight_from_the_bus(world: World) -> None:
    world.queue()
    spec = {"entity": "team", "project": "p", "queue": "gpu", "docker": {"docker_image": "img"}}
    world.bus.send(Topic.SUBMIT, json.dumps(spec))
    deliver_all(world)


def a_source_job(world: World) -> None:
    world.queue()
    submit(world, code=True)
    deliver_all(world)
    end_builds(world)
    tell(world)
    end_runs(world)
    tell(world)


def two_that_want_one_image(world: World) -> None:
    world.queue(max_jobs=1)
    for number in range(2):
        submit(world, number, code=True)
    deliver_all(world)
    end_builds(world)
    tell(world)


def three_in_a_line_for_one_slot(world: World) -> None:
    world.queue(max_jobs=1)
    for number in range(3):
        submit(world, number)
    deliver_all(world)
    end_runs(world)
    tell(world)


def three_without_a_cap(world: World) -> None:
    world.queue(max_jobs=-1)
    for number in range(3):
        submit(world, number)
    deliver_all(world)


def a_preemption(world: World) -> None:
    world.queue()
    submit(world)
    deliver_all(world)
    for launch in list(world.target.started):
        world.target.end(launch.run, RunStatus(RunPhase.PREEMPTED, "node drained"))
    tell(world)


def a_refusal(world: World) -> None:
    world.target = BusyOnce()
    world.queue()
    submit(world)
    deliver_all(world)


def cancelled_before_anything(world: World) -> None:
    world.queue()
    submit(world)
    cancel(world)
    deliver_all(world)


def cancelled_while_its_source_is_unresolved(world: World) -> None:
    world.queue()
    submit(world, code=True)
    cancel(world)
    deliver_all(world)


def cancelled_while_it_builds(world: World) -> None:
    world.queue()
    submit(world, code=True)
    deliver_all(world)
    cancel(world)
    end_builds(world)
    tell(world)


def cancelled_in_a_paused_line(world: World) -> None:
    world.queue(paused=True)
    for number in range(2):
        submit(world, number)
    deliver_all(world)
    cancel(world)


def cancelled_while_it_starts(world: World) -> None:
    world.target = MemoryTarget(slow_to_start)
    world.queue()
    submit(world)
    deliver_all(world)
    cancel(world)


def cancelled_while_it_runs(world: World) -> None:
    world.queue(max_jobs=1)
    for number in range(2):
        submit(world, number)
    deliver_all(world)
    cancel(world)


def cancelled_after_a_refusal(world: World) -> None:
    world.target = BusyOnce()
    world.queue()
    submit(world)
    deliver_all(world)
    cancel(world)


@dataclass(frozen=True)
class Story:
    tell: Callable[[World], None]
    items: int = 1
    builds: int = 0


STORIES = [
    Story(an_image_job),
    Story(a_submission_straight_from_the_bus),
    Story(a_source_job, builds=1),
    Story(two_that_want_one_image, items=2, builds=1),
    Story(three_in_a_line_for_one_slot, items=3),
    Story(three_without_a_cap, items=3),
    Story(a_preemption),
    Story(a_refusal),
    Story(cancelled_before_anything),
    Story(cancelled_while_its_source_is_unresolved, builds=1),
    Story(cancelled_while_it_builds, builds=1),
    Story(cancelled_in_a_paused_line, items=2),
    Story(cancelled_while_it_starts),
    Story(cancelled_while_it_runs, items=2),
    Story(cancelled_after_a_refusal),
]
MISHAPS = {"dies": Crash, "hears nothing": Temporary}


def outcome(story: Story, *mishaps: tuple[int, str, str]) -> tuple[list[str], list[str]]:
    """What was called, and which promises were broken, when these mishaps (call, before or after, which) happen."""

    def fault(kind: str) -> Callable[[], None]:
        def happen() -> None:
            raise MISHAPS[kind]("mishap")

        return happen

    world = World(instant=False)
    broken: list[str] = []
    calls = Calls(
        {(call, when): fault(kind) for call, when, kind in mishaps}, saved=lambda: broken.extend(overfull(world))
    )
    world.ports = calls.watch(world.ports)
    story.tell(world)
    told = len(calls.made)
    broken += [*bring_to_an_end(world, calls), *built_twice(world)]
    if len(world.store.items()) != story.items:
        broken.append(f"{len(world.store.items())} items of {story.items} submissions")
    if len(world.builder.started) > story.builds:
        broken.append(f"{len(world.builder.started)} builds where {story.builds} would do")
    return calls.made[:told], broken


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.tell.__name__)
def test_a_story_without_mishap_keeps_every_promise(story: Story) -> None:
    made, broken = outcome(story)
    assert broken == []
    assert len(made) >= 5


@pytest.mark.parametrize("kind", MISHAPS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.tell.__name__)
def test_no_call_is_one_at_which_a_mishap_breaks_a_promise(story: Story, when: str, kind: str) -> None:
    """What launchers are blamed for: a job stuck after a crash, or started twice after a retry."""
    made, _ = outcome(story)
    broken = {}
    for number, name in enumerate(made):
        _, found = outcome(story, (number, when, kind))
        if found:
            broken[number, name] = found
    assert broken == {}


@settings(max_examples=100, deadline=None)
@given(
    story=st.sampled_from(STORIES),
    mishaps=st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from(["before", "after"]), st.sampled_from(sorted(MISHAPS))),
        min_size=2,
        max_size=4,
    ),
)
def test_several_mishaps_in_one_story_break_no_promise(story: Story, mishaps: list[tuple[int, str, str]]) -> None:
    _, broken = outcome(story, *mishaps)
    assert broken == []
