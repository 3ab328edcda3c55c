"""The functions, and a genuine cluster whose API server goes away in mid-launch for longer than a start may take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests import cluster
from tests.conditions import eventually
from tests.contracts.kubernetes_fixtures import JOB
from tests.functions.world import World
from tests.relay import Relay
from tests.services import BASE_IMAGE, base_image

from slipway.adapters.kubernetes.access import from_kubeconfig
from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.target import KubernetesTarget
from slipway.adapters.memory.secrets import MemorySecrets
from slipway.functions.control import cancel
from slipway.functions.tick import tick
from slipway.model import Item, State
from slipway.render.surroundings import Cluster

pytestmark = [pytest.mark.docker, pytest.mark.cluster]


class Interrupted(Api):
    """Loses the server between the Job and its Secret."""

    relay: Relay
    interrupts = True

    def create(self, path: str, *arguments: Any, **more: Any) -> Any:
        if path.endswith("/secrets") and self.interrupts:
            self.relay.down()
        return super().create(path, *arguments, **more)


@pytest.fixture
def namespace() -> Iterator[str]:
    base_image()
    cluster.node()
    with cluster.namespace("outage") as name:
        yield name


@pytest.fixture
def api() -> Iterator[Interrupted]:
    access = from_kubeconfig(str(cluster.kubeconfig()))
    relay = Relay(access.server)
    api = Interrupted(replace(access, server=relay.server), timeout=5.0)
    api.relay = relay
    yield api
    relay.down()


@pytest.fixture
def world(api: Interrupted, namespace: str) -> World:
    target = KubernetesTarget(
        api, Cluster(namespace=namespace), MemorySecrets({"WANDB_API_KEY": "k"}), namespaces=[namespace]
    )
    world = World(wrap_target=lambda _: target)
    world.queue(resource="kubernetes", config=JOB)
    return world


def submitted(world: World) -> Item:
    overrides = {"entry_point": ["sh", "-c", 'test "$WANDB_API_KEY" = k']}
    return world.submit(docker={"docker_image": BASE_IMAGE}, overrides=overrides)


def passed(world: World, seconds: float) -> None:
    """Time goes by, in which the clock ticks as it does."""
    for _ in range(int(seconds / 10)):
        world.clock.advance(10)
        tick(world.ports)
        world.deliver_all()


def test_a_minute_without_the_server_in_mid_launch_costs_a_minute(
    world: World, api: Interrupted, namespace: str
) -> None:
    """Design 1. The outcome is unknown, so it is looked at before it is tried again: one Job, and it is whole."""
    item = submitted(world)
    world.deliver_all()
    assert world.item(item).state is State.STARTING
    assert "outcome of its start is unknown" in world.item(item).reason
    (job,) = cluster.batch().list_namespaced_job(namespace).items
    passed(world, 70)
    assert world.item(item).state is State.STARTING
    api.interrupts = False
    api.relay.up()

    def finished() -> bool:
        passed(world, 10)
        return world.item(item).state is State.FINISHED

    assert eventually(finished, within=60.0)
    (now,) = cluster.batch().list_namespaced_job(namespace).items
    assert now.metadata.uid == job.metadata.uid


def test_one_that_is_cancelled_meanwhile_leaves_nothing(world: World, api: Interrupted, namespace: str) -> None:
    item = submitted(world)
    world.deliver_all()
    cancel(item.id, world.ports)
    api.interrupts = False
    api.relay.up()

    def gone() -> bool:
        passed(world, 10)
        return world.item(item).state is State.STOPPED and not cluster.batch().list_namespaced_job(namespace).items

    assert eventually(gone, within=60.0)
    assert not [
        each.metadata.name
        for each in cluster.core().list_namespaced_secret(namespace).items
        if each.metadata.name.startswith("slipway-")
    ]
