"""An item's image: whom it is built for and how, and what it was made of when somebody asks later."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.functions.world import REPOSITORY, TREE, World

from slipway.adapters.memory.builder import MemoryBuilder
from slipway.errors import Forbidden, Invalid, NotFound, Temporary
from slipway.functions.image import explain_image
from slipway.image import Choice
from slipway.model import Item, Json

DOCKER = {"type": "docker", "build-args": {"COLOUR": "red"}}


@pytest.fixture(autouse=True)
def leavings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever happens in a test, no temporary folder is left behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def world() -> World:
    world = World()
    world.queue(max_jobs=-1, builder=DOCKER)
    world.sources.trees[REPOSITORY]["main"] = {**TREE, "requirements.txt": "numpy\n"}
    return world


def built(world: World, **fields: Json) -> Item:
    item = world.submit_code(**fields)
    world.deliver_all()
    return world.item(item)


def change(world: World, item: Item, **fields: Json) -> None:
    world.store.save(world.item(item).but(**fields))


# --- what the builder is given


class WithMounts(MemoryBuilder):
    cache_mounts = True


def test_the_builder_gets_the_text_that_it_understands_under_one_tag(world: World) -> None:
    """S11."""
    plain = built(world)
    other = World()
    other.queue(builder=DOCKER)
    other.sources.trees = world.sources.trees
    other.builder = WithMounts(instant=True)
    mounted = built(other)
    assert "--mount" not in world.builder.started[0].dockerfile
    assert "RUN --mount=type=cache" in other.builder.started[0].dockerfile
    assert plain.image == mounted.image
    assert plain.source_hash == explain_image(mounted.id, other.ports).plan.tag


@pytest.mark.parametrize(
    ("resource", "user_id", "user"),
    [
        ("local-container", None, "1000:0"),
        ("kubernetes", 1234, "1234:0"),
        ("local-container", 0, "0:0"),
        ("sagemaker", None, "0:0"),
        ("sagemaker", 1234, "0:0"),
    ],
)
def test_a_generated_image_runs_as_the_jobs_user_and_as_root_on_sagemaker(
    world: World, resource: str, user_id: int | None, user: str
) -> None:
    """S11: W&B Launch's users."""
    item = world.submit_code()
    job = replace(item.submission.job, user_id=user_id)
    change(world, item, resource=resource, submission=replace(item.submission, job=job))
    world.deliver_all()
    (request,) = world.builder.started
    assert f"\nCOPY --chown={user} . .\nUSER {user}\n" in request.dockerfile
    assert explain_image(item.id, world.ports).plan.user == user


def test_the_user_decides_the_image(world: World) -> None:
    first, second = built(world), world.submit_code()
    job = replace(second.submission.job, user_id=1234)
    change(world, second, submission=replace(second.submission, job=job))
    world.deliver_all()
    assert first.image != world.item(second).image


THROUGH = ("python3", "-I", "-S", "/opt/slipway/with-secrets.py", "python", "train.py")


@pytest.mark.parametrize(
    ("resource", "entry_point"), [("sagemaker", THROUGH), ("kubernetes", None), ("gcp-vertex", None)]
)
def test_a_generated_image_is_started_through_what_fetches_its_secrets_on_sagemaker_alone(
    world: World, resource: str, entry_point: tuple[str, ...] | None
) -> None:
    """S17: the item knows, as whoever starts it knows nothing of how its image was made."""
    item = world.submit_code()
    change(world, item, resource=resource)
    world.deliver_all()
    (request,) = world.builder.started
    assert ("with-secrets.py" in request.dockerfile) is (entry_point is not None)
    assert world.item(item).entry_point == entry_point
    (launch,) = world.target.started
    assert launch.entry_point == (entry_point or ("python", "train.py"))
    assert explain_image(item.id, world.ports).reproduced


def test_where_the_image_is_there_already_it_is_started_through_it_too(world: World) -> None:
    items = []
    for _ in range(2):
        items.append(world.submit_code())
        change(world, items[-1], resource="sagemaker")
        world.deliver_all()
    first, second = items
    assert len(world.builder.started) == 1
    assert world.item(second).entry_point == world.item(first).entry_point == THROUGH


def test_a_dockerfile_of_the_jobs_own_keeps_its_command_on_sagemaker(world: World) -> None:
    world.sources.trees[REPOSITORY]["main"] = {**TREE, "Dockerfile.wandb": "FROM own\n"}
    item = world.submit_code()
    change(world, item, resource="sagemaker")
    world.deliver_all()
    (request,) = world.builder.started
    assert (request.dockerfile, world.item(item).entry_point) == ("FROM own\n", None)


# --- what it was made of


def test_an_image_is_explained_from_its_recorded_revision(world: World) -> None:
    """S11: whatever the branch is now."""
    item = built(world)
    world.sources.trees[REPOSITORY]["old"] = world.sources.trees[REPOSITORY]["main"]
    world.sources.trees[REPOSITORY]["main"] = {"train.py": "print('changed')\n"}
    told = explain_image(item.id, world.ports)
    assert told.reproduced
    assert told.plan.tag == item.source_hash
    assert told.plan.choice is Choice.GENERATED
    assert dict(told.plan.build_args) == {"COLOUR": "red"}
    assert told.sizes == {"requirements.txt": len("numpy\n"), "train.py": len(TREE["train.py"])}


def test_an_item_keeps_the_builder_that_its_queue_had(world: World) -> None:
    item = built(world)
    queue = world.store.queue(item.queue)
    assert queue is not None
    world.store.save_queue(replace(queue, builder={"type": "docker", "base_image": "another"}))
    assert explain_image(item.id, world.ports).reproduced


def test_inputs_that_give_another_hash_are_said_to(world: World) -> None:
    item = built(world)
    change(world, item, source_hash="0" * 24)
    told = explain_image(item.id, world.ports)
    assert not told.reproduced
    assert told.plan.tag == item.source_hash


def test_an_environment_has_no_dockerfile() -> None:
    world = World()
    world.queue()
    told = explain_image(built(world).id, world.ports)
    assert told.reproduced
    assert (told.plan.builder, told.plan.choice, told.plan.dockerfile) == ("environment", Choice.NONE, "")


def test_explaining_asks_for_no_build_and_changes_nothing(world: World) -> None:
    item = built(world)
    started = list(world.builder.started)
    explain_image(item.id, world.ports)
    assert world.builder.started == started
    assert world.item(item) == item


# --- errors that name the cure


def test_a_submitted_image_has_no_inputs_of_slipways_making(world: World) -> None:
    item = world.submit()
    with pytest.raises(Invalid, match=r"image img, which was submitted.*docker image inspect img"):
        explain_image(item.id, world.ports)


def test_mounted_code_has_no_image_of_its_own(world: World) -> None:
    item = world.submit_code()
    change(world, item, mounts_code=True, image="python:3.11-slim")
    with pytest.raises(Invalid, match=r"mounted in python:3\.11-slim.*slipway show"):
        explain_image(item.id, world.ports)


def test_a_source_that_is_not_resolved_yet_is_to_be_waited_for(world: World) -> None:
    item = world.submit_code()
    with pytest.raises(Invalid, match=rf"not resolved yet.*slipway explain {item.id}"):
        explain_image(item.id, world.ports)


def test_an_item_that_failed_before_it_had_an_image_says_why(world: World) -> None:
    item = built(world, git={"version": "mian"})
    with pytest.raises(Invalid, match=rf"it is failed.*no 'mian'.*slipway retry {item.id}"):
        explain_image(item.id, world.ports)


@pytest.mark.parametrize("gone", ["repository", "revision"])
def test_a_source_that_is_gone_is_named(world: World, gone: str) -> None:
    item = built(world)
    if gone == "repository":
        world.sources.trees.clear()
    else:
        world.sources.trees[REPOSITORY]["main"] = {"other.py": ""}
    with pytest.raises(NotFound, match=r"cannot be had again: .*git\.example\.com.*Bring it back"):
        explain_image(item.id, world.ports)


@pytest.mark.parametrize("error", [Temporary("no route to host"), Forbidden("a login is needed")])
def test_a_source_that_cannot_be_reached_is_said_in_its_own_words(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = built(world)

    def fetch(source: object, revision: str, into: Path) -> None:
        (into / "half").write_text("of it")
        raise error

    monkeypatch.setattr(world.sources, "fetch", fetch)
    with pytest.raises(type(error), match=str(error)):
        explain_image(item.id, world.ports)


def test_an_unknown_item_is_not_found(world: World) -> None:
    with pytest.raises(NotFound, match="there is no item 'nothing'"):
        explain_image("nothing", world.ports)
