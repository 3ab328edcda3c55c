"""The way of one submission, from launch spec to finished run, through every function."""

from __future__ import annotations

import json

import pytest
from tests.functions.world import REPOSITORY, TREE, World

from slipway.adapters.memory.target import MemoryTarget, finishes_at_once
from slipway.errors import Invalid, Temporary
from slipway.explain import explain
from slipway.functions.advance import advance
from slipway.functions.deliver import deliver
from slipway.functions.observe import observe
from slipway.functions.tick import tick
from slipway.model import Changed, RunPhase, Stage, State, Topic


def states(world: World, item) -> list[str]:
    return [moment.state.value for moment in world.item(item).timeline]


def test_an_image_job_runs_to_its_end() -> None:
    """S11, S20: an image that exists is never built."""
    world = World()
    world.queue()
    item = world.submit()
    world.deliver_all()
    assert world.item(item).state is State.RUNNING
    world.end(item, exit_code=0, metrics={"accuracy": 0.97})
    observe(Changed(item_id=item.id), world.ports)
    assert states(world, item) == ["pending", "starting", "running", "finished"]
    assert world.item(item).metrics == {"accuracy": 0.97}
    assert world.builder.started == []
    assert world.store.slots(item.queue) == frozenset()


def test_a_source_is_resolved_built_and_run() -> None:
    """S20, C4: a builder is needed for a git source; the image carries the source hash."""
    world = World(instant=False)
    world.queue()
    item = world.submit_code()
    world.deliver_all()
    building = world.item(item)
    assert building.state is State.BUILDING
    assert building.image is not None
    assert building.image.endswith(f":{building.source_hash}")
    assert len(building.revision or "") == 40
    world.builder.end(building.image)
    observe(Changed(image=building.image), world.ports)
    assert world.item(item).state is State.RUNNING
    assert world.target.started[0].command == ("python", "train.py")
    assert world.target.started[0].image == building.image


def test_an_image_that_is_there_already_is_not_built_again() -> None:
    """S11."""
    world = World()
    world.queue(max_jobs=5)
    first = world.submit_code()
    world.deliver_all()
    second = world.submit_code()
    world.deliver_all()
    assert world.item(second).state is State.RUNNING
    assert world.item(second).image == world.item(first).image
    assert states(world, second) == ["pending", "starting", "running"]
    assert len(world.builder.started) == 1


def test_many_items_that_want_one_image_share_one_build() -> None:
    world = World(instant=False)
    world.queue(max_jobs=-1)
    items = [world.submit_code() for _ in range(5)]
    world.deliver_all()
    assert {world.item(item).state for item in items} == {State.BUILDING}
    assert len(world.builder.started) == 1
    image = world.builder.started[0].image
    world.builder.end(image)
    observe(Changed(image=image), world.ports)
    assert {world.item(item).state for item in items} == {State.RUNNING}


def test_a_build_failure_fails_every_item_that_waits_and_shows_the_log() -> None:
    world = World(instant=False)
    world.queue(max_jobs=-1)
    items = [world.submit_code() for _ in range(2)]
    world.deliver_all()
    image = world.builder.started[0].image
    world.builder.end(image, failure="ERROR: No matching distribution found for scikit-lern")
    observe(Changed(image=image), world.ports)
    for item in items:
        assert (world.item(item).state, world.item(item).stage) == (State.FAILED, Stage.BUILD)
        assert "scikit-lern" in world.item(item).reason


def test_a_failed_build_is_tried_again_for_a_later_submission() -> None:
    world = World(instant=False)
    world.queue(max_jobs=-1)
    world.submit_code()
    world.deliver_all()
    image = world.builder.started[0].image
    world.builder.end(image, failure="mirror down")
    observe(Changed(image=image), world.ports)
    again = world.submit_code()
    world.deliver_all()
    assert [request.attempt for request in world.builder.started] == [1, 2]
    assert world.item(again).state is State.BUILDING


def test_a_branch_is_pinned_when_the_source_is_resolved() -> None:
    """What ran is what was there at submission, whatever is pushed while it waits for its slot."""
    world = World()
    world.queue(max_jobs=0 + 1)
    blocker = world.submit()
    item = world.submit_code()
    world.deliver_all()
    pinned = world.item(item)
    assert pinned.state is State.PENDING
    world.sources.trees[REPOSITORY]["main"] = {**TREE, "train.py": "print('changed')\n"}
    world.end(blocker)
    advance(blocker.id, world.ports)
    assert world.item(item).state is State.RUNNING
    assert world.item(item).revision == pinned.revision
    assert world.target.started[-1].image == pinned.image


def test_another_commit_makes_another_image() -> None:
    world = World()
    world.queue(max_jobs=-1)
    one = world.submit_code()
    world.deliver_all()
    world.sources.trees[REPOSITORY]["main"] = {**TREE, "train.py": "print('changed')\n"}
    two = world.submit_code()
    world.deliver_all()
    assert world.item(one).image != world.item(two).image
    assert len(world.builder.started) == 2


def test_a_ref_that_does_not_exist_fails_the_item_with_the_near_ones() -> None:
    world = World()
    world.queue()
    item = world.submit_code(git={"version": "mian"})
    world.deliver_all()
    failed = world.item(item)
    assert (failed.state, failed.stage) == (State.FAILED, Stage.BUILD)
    assert "mian" in failed.reason
    assert "'main'" in failed.reason


def test_an_entry_point_that_does_not_exist_fails_the_item() -> None:
    world = World()
    world.queue()
    item = world.submit_code(overrides={"entry_point": ["python", "trian.py"]})
    world.deliver_all()
    assert world.item(item).state is State.FAILED
    assert "trian.py" in world.item(item).reason


def test_no_second_delivery_starts_a_second_run() -> None:
    world = World()
    world.queue()
    item = world.submit()
    for _ in range(5):
        world.bus.send(Topic.ADVANCE, item.id)
    world.deliver_all()
    assert len(world.target.started) == 1


def test_a_launch_costs_at_most_four_writes_and_two_messages() -> None:
    """Design §8, counted, for an image that exists."""
    world = World(target=MemoryTarget(finishes_at_once))
    world.queue(max_jobs=-1)
    item = world.submit()
    assert world.deliver_all() <= 2
    assert world.item(item).state is State.FINISHED
    assert world.item(item).version <= 4


def test_a_launch_from_source_whose_image_exists_costs_no_more() -> None:
    world = World()
    world.queue(max_jobs=-1)
    world.submit_code()
    world.deliver_all()
    item = world.submit_code()
    assert world.deliver_all() <= 2
    world.end(item)
    advance(item.id, world.ports)
    assert world.item(item).state is State.FINISHED
    assert world.item(item).version <= 4


def test_a_direct_message_is_validated_as_the_api_is() -> None:
    """C2: a launch spec put straight on the queue."""
    world = World()
    world.queue()
    spec = {"entity": "team", "project": "p", "queue": "gpu", "docker": {"docker_image": "img"}}
    world.bus.send(Topic.SUBMIT, json.dumps(spec))
    world.deliver_all()
    assert [item.state for item in world.store.items()] == [State.RUNNING]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "JSON object"),
        ('{"entity": "team", "project": "p", "queue": "gqu", "docker": {"docker_image": "i"}}', "gpu"),
        ('{"entity": "team", "project": "p", "queue": "gpu"}', "image"),
        ('{"entity": "team", "project": "p", "queue": "gpu", "docker": {"docker_image": "i"}, "naem": 1}', "'name'"),
    ],
)
def test_what_cannot_be_understood_is_kept_where_it_can_be_seen(body: str, words: str) -> None:
    """Design §1.5: recorded, acknowledged, visible; it does not circle."""
    world = World()
    world.queue()
    world.bus.send(Topic.SUBMIT, body)
    assert world.deliver_all() == 1
    (letter,) = world.bus.dead_letters()
    assert letter.body == body
    assert words in letter.reason


def test_an_unknown_queue_is_refused_with_the_nearest() -> None:
    world = World()
    world.queue("training")
    with pytest.raises(Invalid, match="Did you mean 'training'"):
        world.submit(queue="trainning")


def test_a_known_idempotency_key_gives_the_first_item_and_no_second_run() -> None:
    world = World()
    world.queue(max_jobs=-1)
    first = world.submit(idempotency_key="k")
    second = world.submit(idempotency_key="k")
    world.deliver_all()
    assert first.id == second.id
    assert len(world.target.started) == 1


def test_the_run_gets_the_variables_of_wandb_launch_and_ours() -> None:
    world = World()
    world.queue()
    item = world.submit(name="first", overrides={"run_config": {"lr": 0.5}})
    world.deliver_all()
    env = world.target.started[0].env
    assert env["WANDB_RUN_ID"] == item.run_id
    assert env["WANDB_NAME"] == "first"
    assert env["WANDB_LAUNCH_TRACE_ID"] == env["SLIPWAY_ITEM"] == item.id
    assert json.loads(env["WANDB_CONFIG"]) == {"lr": 0.5}
    assert "WANDB_API_KEY" not in env


def test_a_run_that_ends_while_it_is_being_started_is_seen_to_its_end() -> None:
    """The event comes before the starter has written down that it runs."""
    world = World()
    world.queue()
    item = world.submit()

    class EndsInside(MemoryTarget):
        def start(self, launch):
            status = super().start(launch)
            world.end(item, RunPhase.FAILED, exit_code=3)
            observe(Changed(item_id=item.id), world.ports)
            return status

    world.target = EndsInside()
    world.deliver_all()
    assert world.item(item).state is State.FAILED
    assert states(world, item) == ["pending", "starting", "failed"]


def test_a_repository_that_cannot_be_reached_is_tried_again_and_says_so() -> None:
    world = World()
    world.queue()
    item = world.submit_code()
    reachable, world.sources.resolve = world.sources.resolve, _unreachable  # type: ignore[method-assign]
    world.deliver_all()
    waiting = world.item(item)
    assert waiting.state is State.PENDING
    assert "git.example.com: no route to host" in waiting.reason
    assert "no route to host" in explain(waiting, world.ports).sentence
    assert world.bus.dead_letters() == []
    world.clock.advance(6)
    tick(world.ports)
    world.deliver_all()
    assert world.item(item).refusals == 2
    world.sources.resolve = reachable  # type: ignore[method-assign]
    world.clock.advance(11)
    tick(world.ports)
    world.deliver_all()
    assert world.item(item).state is State.RUNNING


def test_a_start_whose_outcome_is_unknown_says_so_while_it_is_looked_for() -> None:
    world = World()
    world.queue()
    item = world.submit()

    class TimesOut(MemoryTarget):
        def start(self, launch):
            super().start(launch)
            raise Temporary("the backend did not answer within 60 s")

    world.target = TimesOut()
    (message,) = world.bus.receive([Topic.ADVANCE])
    assert not deliver(message, world.ports)
    assert "did not answer within 60 s" in world.item(item).reason
    world.clock.advance(2)
    world.deliver_all()
    assert world.item(item).state is State.RUNNING
    assert len(world.target.started) == 1


def _unreachable(source: object) -> str:
    raise Temporary("git.example.com: no route to host")


def test_an_image_is_refused_where_processes_run() -> None:
    world = World()
    world.queue("here", resource="local-process")
    with pytest.raises(Invalid, match=r"docker\.docker_image: queue 'team/here' runs processes"):
        world.submit(queue="here")


def test_code_is_refused_where_nothing_is_built() -> None:
    """S8: the builder noop."""
    world = World()
    world.queue(builder={"type": "noop"})
    with pytest.raises(Invalid, match="takes images only"):
        world.submit_code()
    world.submit()
