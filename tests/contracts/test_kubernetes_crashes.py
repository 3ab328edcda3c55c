"""A start that dies before or after any of its calls: one Job in the end, and no Secret that is nobody's."""

from __future__ import annotations

from typing import Any

import pytest
from tests import cluster
from tests.conditions import eventually
from tests.contracts.kubernetes_fixtures import JOB, KubernetesFixtures
from tests.contracts.kubernetes_fixtures import api as fresh_api
from tests.contracts.target_contract import MakeLaunch

from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.target import KubernetesTarget
from slipway.adapters.memory.secrets import MemorySecrets
from slipway.model import Launch, RunPhase, RunRef

pytestmark = [pytest.mark.docker, pytest.mark.cluster]
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "board-${run_id}"},
    "spec": {"selector": {"app": "board"}, "ports": [{"port": 6006}]},
}


class Crash(BaseException):
    """The process is gone: nothing of ours may catch it."""


class DyingApi(Api):
    """Dies at a call: before the server hears of it, or when it has answered."""

    def __init__(self, access: Any, *, at: int, after: bool) -> None:
        super().__init__(access)
        self.left = at
        self.after = after

    def _send(self, *arguments: Any, **more: Any) -> Any:
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Crash
        answer = super()._send(*arguments, **more)
        if self.left < 0:
            raise Crash
        return answer


class TestCrashes(KubernetesFixtures):
    calls = 3
    """Of a start with a service and a Secret: the Job, the service, the Secret."""

    def asked(self, launch: MakeLaunch) -> Launch:
        plain = launch('test "$TOKEN" && echo told', secrets={"TOKEN": "SECRET_OF_TEST"}, resource_args=JOB)
        service = {**SERVICE, "metadata": {"name": f"board-{plain.run.item_id}"}}
        return launch('test "$TOKEN" && echo told', run=plain.run, secrets=plain.secrets, services=(service,))

    def test_a_start_takes_these_calls(
        self, api: Api, namespace: str, secrets: MemorySecrets, launch: MakeLaunch
    ) -> None:
        counting = DyingApi(api.access, at=100, after=False)
        self.target_in(namespace, counting, secrets).start(self.asked(launch))
        assert 100 - counting.left == self.calls

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("at", range(calls))
    def test_a_start_that_died_is_begun_again_and_there_is_one_run(
        self, api: Api, namespace: str, secrets: MemorySecrets, launch: MakeLaunch, at: int, after: bool
    ) -> None:
        asked = self.asked(launch)
        dying = DyingApi(api.access, at=at, after=after)
        with pytest.raises(Crash):
            self.target_in(namespace, dying, secrets).start(asked)
        run = self.recovered(self.target_in(namespace, fresh_api(), secrets), asked)
        (job,) = cluster.batch().list_namespaced_job(namespace).items
        (pod,) = cluster.core().list_namespaced_pod(namespace).items
        assert pod.metadata.labels["job-name"] == job.metadata.name == run.name
        owners = {(each.kind, each.uid) for each in self.made(namespace, asked)}
        assert owners == {("Job", job.metadata.uid)}

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("at", range(calls))
    def test_a_start_that_died_and_is_not_wanted_any_more_leaves_nothing(
        self, api: Api, namespace: str, secrets: MemorySecrets, launch: MakeLaunch, at: int, after: bool
    ) -> None:
        """Whoever asks what lives finds it, and stops it."""
        asked = self.asked(launch)
        with pytest.raises(Crash):
            self.target_in(namespace, DyingApi(api.access, at=at, after=after), secrets).start(asked)
        target = self.target_in(namespace, fresh_api(), secrets)
        for run in target.live():
            target.stop(run)
        assert eventually(lambda: self.left(namespace, asked) == [], within=60.0)

    def test_a_secret_that_comes_after_its_job_is_gone_goes_too(
        self, api: Api, namespace: str, secrets: MemorySecrets, launch: MakeLaunch
    ) -> None:
        """Its starter stood still between two calls, and the run was cancelled meanwhile."""

        class Slow(Api):
            def create(slow, path: str, *arguments: Any, **more: Any) -> Any:
                if path.endswith("/secrets"):
                    target = self.target_in(namespace, fresh_api(), secrets)
                    for run in target.live():
                        target.stop(run)
                    eventually(lambda: not cluster.batch().list_namespaced_job(namespace).items, within=60.0)
                return super().create(path, *arguments, **more)

        asked = self.asked(launch)
        self.target_in(namespace, Slow(api.access), secrets).start(asked)
        assert eventually(lambda: self.left(namespace, asked) == [], within=60.0)

    def recovered(self, target: KubernetesTarget, asked: Launch) -> RunRef:
        """As the step does: look, and start what is not there."""

        def over() -> RunRef | None:
            status = target.status(asked.run)
            if status.phase is RunPhase.ABSENT:
                status = target.start(asked)
            assert status.phase is not RunPhase.FAILED, status
            return RunRef(asked.run.item_id, 1, status.backend_id) if status.phase is RunPhase.FINISHED else None

        run = eventually(over, within=60.0)
        assert run is not None
        return run

    def made(self, namespace: str, asked: Launch) -> list[Any]:
        secret = cluster.core().read_namespaced_secret(asked.run.name, namespace)
        service = cluster.core().read_namespaced_service(f"board-{asked.run.item_id}", namespace)
        return [*secret.metadata.owner_references, *service.metadata.owner_references]

    def left(self, namespace: str, asked: Launch) -> list[str]:
        core = cluster.core()
        labelled = f"slipway.item={asked.run.item_id}"
        found = [
            *cluster.batch().list_namespaced_job(namespace, label_selector=labelled).items,
            *core.list_namespaced_pod(namespace, label_selector=labelled).items,
            *core.list_namespaced_secret(namespace, label_selector=labelled).items,
            *core.list_namespaced_service(namespace, label_selector=labelled).items,
        ]
        return [each.metadata.name for each in found]
