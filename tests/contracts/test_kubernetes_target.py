"""Runs as Jobs of a genuine Kubernetes: the target contract on its node, and what a Job does beside it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from tests.conditions import eventually
from tests.contracts.kubernetes_fixtures import KubernetesFixtures
from tests.contracts.target_contract import LONG, MakeLaunch, TargetContract
from tests.relay import Relay

from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.target import KubernetesTarget
from slipway.adapters.memory.secrets import MemorySecrets
from slipway.model import RunPhase, RunRef

pytestmark = [pytest.mark.docker, pytest.mark.cluster]


class TestKubernetesTarget(KubernetesFixtures, TargetContract):
    """S15: the resource `kubernetes`. A Job that is stopped is deleted, and no file of a run can be read."""

    within = 60.0
    after_a_stop = RunPhase.ABSENT
    output_folder = False

    def test_whoever_stops_following_leaves_no_thread_behind(
        self, target: KubernetesTarget, launch: MakeLaunch, stopper: list[RunRef]
    ) -> None:
        asked = launch(LONG)
        stopper.append(asked.run)
        target.start(asked)
        lines = target.logs(asked.run, follow=True)
        assert next(lines) == "begun"
        assert [thread for thread in threading.enumerate() if thread.name == "pod log"]
        lines.close()  # type: ignore[attr-defined]
        assert eventually(lambda: not [each for each in threading.enumerate() if each.name == "pod log"])

    def test_a_followed_log_goes_on_after_its_connection_broke(
        self, namespace: str, api: Api, secrets: MemorySecrets, launch: MakeLaunch
    ) -> None:
        relay = Relay(api.access.server)
        over_it = Api(replace(api.access, server=relay.server))
        target = self.target_in(namespace, over_it, secrets)
        asked = launch("echo first; sleep 3; echo second")
        target.start(asked)
        lines = target.logs(asked.run, follow=True)
        assert next(lines) == "first"
        relay.cut()
        assert list(lines) == ["second"]
        relay.down()
