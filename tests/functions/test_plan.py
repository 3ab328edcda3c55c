"""A plan does nothing, and shows what a submission would really become."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.functions.world import ALL, LAUNCH, REPOSITORY, World
from tests.unit.documents import problems_of

from slipway.adapters.memory.builder import MemoryBuilder, MemoryRegistry
from slipway.errors import Forbidden, NotFound, Temporary
from slipway.functions.control import pause
from slipway.functions.plan import plan
from slipway.functions.submit import submit
from slipway.model import GitSource, Json, Launch, Presence, Submission, TemplateVariable
from slipway.ports import Ports
from slipway.render import Surroundings, payload
from slipway.render.surroundings import Account, Project
from slipway.views import masked

IMAGE = {**LAUNCH, "docker": {"docker_image": "img"}}
CODE = {**LAUNCH, "uri": REPOSITORY, "overrides": {"entry_point": ["python", "train.py"]}}
AROUND = Surroundings(account=Account("123456789012", role="runs", output="bucket"), project=Project("p", "r"))


def state_of(world: World) -> str:
    """All that a world holds: records, messages, builds, runs."""
    store = world.store
    queues = store.queues()
    held = [
        [store.items(entity="team"), store.builds(), queues, [store.slots(queue.key) for queue in queues]],
        [world.bus.receive(ALL, limit=10)],
        [world.builder.started, world.builder.builds, sorted(world.registry.images), world.target.started],
    ]
    return repr(held)


def planned(world: World, document: Mapping[str, Json] = IMAGE, **options: Any) -> dict[str, Any]:
    """The plan, which leaves the world as it was."""
    before = state_of(world)
    shown = plan(document, world.ports, **options)
    assert state_of(world) == before
    assert json.loads(json.dumps(shown)) == shown
    return shown


class Broken(MemoryRegistry):
    def presence(self, image: str) -> Presence:
        raise Temporary("connection refused")


# --- it does nothing


@pytest.mark.parametrize("document", [IMAGE, CODE])
@pytest.mark.parametrize("fetch", [True, False])
def test_a_plan_stores_sends_builds_and_starts_nothing(document: dict[str, Json], fetch: bool) -> None:
    world = World()
    world.queue(builder={"type": "docker"})
    planned(world, document, fetch=fetch)
    assert not world.store.items()


def test_a_plan_that_is_refused_leaves_nothing_either() -> None:
    world = World()
    world.queue()
    before = state_of(world)
    assert problems_of(lambda: plan({**IMAGE, "queue": "none"}, world.ports)).keys() == {"queue"}
    with pytest.raises(NotFound):
        plan({**CODE, "uri": "https://git.example.com/none.git"}, world.ports)

    def nobody(submission: Submission) -> None:
        raise Forbidden("not yours")

    with pytest.raises(Forbidden):
        plan(IMAGE, world.ports, authorise=nobody)
    assert state_of(world) == before


def test_what_is_wrong_is_told_as_it_would_be_of_a_submission() -> None:
    world = World()
    world.queue(resource="kubernetes", config={"spec": {"template": 5}, "metadata": "x"})
    told = problems_of(lambda: plan(IMAGE, world.ports))
    assert told == problems_of(lambda: submit(IMAGE, world.ports))
    assert told.keys() == {"resource_args.spec.template", "resource_args.metadata"}


# --- the image


def test_a_source_is_hashed_and_its_image_looked_for() -> None:
    """S11."""
    world = World()
    world.queue(builder={"type": "docker"})
    image = planned(world, CODE)["image"]
    assert (image["build"], image["revision"]) == (True, world.sources.resolve(GitSource(REPOSITORY)))
    assert image["reference"].endswith(f":{image['source_hash']}")
    world.registry.images.add(image["reference"])
    again = planned(world, CODE)["image"]
    assert (again["reference"], again["build"], again["why"]) == (*(image["reference"], False, "it is there already"),)


def test_where_no_registry_answers_a_plan_says_so() -> None:
    world = World()
    world.queue(builder={"type": "docker"})
    world.builder = MemoryBuilder(MemoryRegistry(forbidden=("memory/",)))
    image = planned(world, CODE)["image"]
    assert (image["build"], "credentials are refused" in image["why"]) == (None, True)
    world.builder = MemoryBuilder(Broken())
    image = planned(world, CODE)["image"]
    assert (image["build"], image["why"]) == (None, "the registry does not answer: connection refused")
    assert planned(world, CODE, registry=False)["image"]["why"] == "no registry was asked"


def test_without_a_fetch_the_image_of_a_source_is_not_known() -> None:
    world = World()
    world.queue(builder={"type": "docker"})
    world.sources.trees.clear()
    image = planned(world, CODE, fetch=False)["image"]
    assert (image["reference"], image["build"]) == (None, None)
    assert "not fetched" in image["why"]


def test_an_image_that_is_named_is_not_looked_for() -> None:
    world = World()
    world.queue()
    world.builder = MemoryBuilder(Broken())
    assert planned(world)["image"] == {"reference": "img", "build": False, "why": "the submission names it"}


@pytest.mark.parametrize("fetch", [True, False])
def test_mounted_code_needs_no_build(fetch: bool) -> None:
    """S20."""
    world = World()
    world.queue(resource="kubernetes", builder={"type": "noop"})
    shown = planned(world, CODE, fetch=fetch)
    assert (shown["image"]["reference"], shown["image"]["build"]) == ("python:3.12-slim", False)
    script = json.dumps(shown["payload"]["body"]["spec"]["template"]["spec"]["initContainers"])
    assert (world.sources.resolve(GitSource(REPOSITORY)) in script) is fetch


# --- the line


def test_a_plan_says_where_the_submission_would_stand() -> None:
    world = World()
    queue = world.queue(max_jobs=1)
    world.submit()
    world.submit()
    world.deliver_all()
    line = planned(world)["line"]
    assert line == {"priority": 2, "ahead": 1, "slots": 1, "slots_in_use": 1, "paused": False}
    pause(queue.key, world.ports)
    assert planned(world)["line"]["paused"]
    world.queue("free", max_jobs=-1)
    assert planned(world, {**IMAGE, "queue": "free"})["line"]["slots"] is None


def test_a_queue_that_drains_takes_no_plan_for_a_submission() -> None:
    world = World()
    world.queue(draining=True)
    assert problems_of(lambda: plan(IMAGE, world.ports)).keys() == {"queue"}


# --- who set what


def test_what_no_submitter_could_set_is_told_as_the_queues_word() -> None:
    """S16, S19."""
    world = World()
    world.queue(
        config={"privileged": True, "memory": "{{gb}}g"},
        template_variables={},
        overridable_fields=("cpus",),
    )
    world.queue("pods", resource="kubernetes", config={"spec": {"template": {"spec": {"hostNetwork": True}}}})
    verdicts = {each["field"]: each for each in planned_with_variable(world)["guardrails"]}
    assert verdicts["resource_args.privileged"]["set_by"] == "queue"
    assert "privileged" in verdicts["resource_args.privileged"]["reason"]
    assert verdicts["resource_args.cpus"]["set_by"] == "submission"
    assert verdicts["template_variables.gb"]["set_by"] == "submission"
    (only,) = planned(world, {**IMAGE, "queue": "pods"})["guardrails"]
    assert (only["field"], only["set_by"]) == ("resource_args.spec.template.spec.hostNetwork", "queue")


def planned_with_variable(world: World) -> dict[str, Any]:
    queue = world.store.queues()[0]
    world.store.save_queue(replace(queue, template_variables={"gb": TemplateVariable("integer", 1)}))
    return planned(world, {**IMAGE, "resource_args": {"cpus": 2}, "template_variables": {"gb": 4}})


# --- secrets


@pytest.mark.parametrize(
    ("resource", "config"),
    [
        ("local-container", {"env": ["DB_PASSWORD=hunter2", "A=b"]}),
        ("local-process", {"env": {"DB_PASSWORD": "hunter2", "A": "b"}}),
        (
            "kubernetes",
            {"spec": {"template": {"spec": {"containers": [{"env": [{"name": "DB_PASSWORD", "value": "hunter2"}]}]}}}},
        ),
        (
            "sagemaker",
            {
                "Environment": {"DB_PASSWORD": "hunter2"},
                "ResourceConfig": {"InstanceType": "ml.m4.xlarge"},
                "StoppingCondition": {"MaxRuntimeInSeconds": 1},
            },
        ),
        (
            "gcp-vertex",
            {
                "spec": {
                    "staging_bucket": "b",
                    "worker_pool_specs": [{"container_spec": {"env": [{"name": "DB_PASSWORD", "value": "hunter2"}]}}],
                }
            },
        ),
    ],
)
def test_nothing_that_looks_like_a_secret_is_in_a_plan(resource: str, config: dict[str, Json]) -> None:
    """Wherever it was written: in the queue, in the run's config, in its arguments."""
    world = World()
    world.ports = replace(world.ports, around=AROUND)
    world.queue(resource=resource, config=config, builder={"type": "noop" if resource == "kubernetes" else "docker"})
    overrides = {
        "entry_point": ["python", "train.py", "--api-key", "hunter2"],
        "args": ["--token=hunter2", "--password", "hunter2"],
        "run_config": {"api_key": "hunter2", "lr": 1},
        "files": {"a.yaml": {"password": "hunter2"}},
    }
    source = {"uri": REPOSITORY} if resource != "local-container" else {"docker": {"docker_image": "img"}}
    text = json.dumps(planned(world, {**LAUNCH, **source, "overrides": overrides}))
    assert "hunter2" not in text
    assert "********" in text
    assert "DB_PASSWORD" in text


# --- what is planned is what is sent


def without_ids(body: Any) -> Any:
    """The payload, the item's own id and its name replaced."""
    text = json.dumps(body)
    (item,) = set(re.findall(r"slipway-([0-9a-z]{16})-1", text)) or {"none"}
    return json.loads(text.replace(item, "ITEM"))


def sent(world: World, document: Mapping[str, Json], ports: Ports) -> Launch:
    submit(document, ports)
    world.deliver_all()
    (launch,) = world.target.started
    return launch


QUEUES: dict[str, dict[str, Any]] = {
    "local-container": {"config": {"memory": "1g", "init": True, "env": ["RUN=${run_id}"]}},
    "kubernetes": {"config": {"metadata": {"labels": {"p": "${project_name}"}}, "spec": {"parallelism": 2}}},
    "sagemaker": {
        "config": {
            "ResourceConfig": {"InstanceType": "ml.m4.xlarge", "InstanceCount": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        }
    },
    "gcp-vertex": {
        "config": {
            "spec": {"staging_bucket": "b", "worker_pool_specs": [{"container_spec": {"image_uri": "${image_uri}"}}]},
            "run": {"timeout": 60},
        }
    },
}
words = st.text(st.characters(categories=["L", "N"], max_codepoint=0x2FF), max_size=6)
names = words.filter(lambda name: masked({name: 1}) == {name: 1})
"""A plan hides what stands under a name such as `Secret`, which the target is given."""


@given(
    st.sampled_from(sorted(QUEUES)),
    st.sampled_from([{"type": "docker"}, {"type": "noop"}]),
    st.sampled_from(["image", "code"]),
    st.lists(words, max_size=3),
    st.dictionaries(names, st.integers(0, 9) | words, max_size=3),
)
def test_what_is_planned_is_what_the_target_is_given(
    resource: str, builder: dict[str, str], kind: str, args: list[str], config: dict[str, Any]
) -> None:
    """Apart from the ids, which no two submissions share."""
    if kind == "code" and builder["type"] == "noop" and resource != "kubernetes":
        return
    world = World()
    world.ports = replace(world.ports, around=AROUND)
    world.queue(resource=resource, builder=builder, **QUEUES[resource])
    overrides = {
        "args": args,
        "run_config": config,
        **({"entry_point": ["python", "train.py"]} if kind == "code" else {}),
    }
    source = {"uri": REPOSITORY} if kind == "code" else {"docker": {"docker_image": "img"}}
    document = {**LAUNCH, **source, "run_id": "run7", "name": "a run", "overrides": overrides}
    shown = planned(world, document)
    launch = sent(world, document, world.ports)
    given_to_it = payload(resource, launch, world.ports.around)
    assert without_ids(shown["payload"]["body"]) == without_ids(json.loads(json.dumps(given_to_it.body)))
    assert shown["payload"]["call"] == given_to_it.call
    assert shown["warnings"] == list(given_to_it.warnings)
    assert shown["image"]["reference"] == launch.image
