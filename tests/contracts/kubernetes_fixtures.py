"""What the tests of Kubernetes share: a namespace of the genuine cluster, and a target that works in it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests import cluster
from tests.contracts.target_contract import SECRET, MakeLaunch
from tests.services import BASE_IMAGE, base_image

from slipway.adapters.kubernetes.access import from_kubeconfig
from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.target import KubernetesTarget
from slipway.adapters.memory.secrets import MemorySecrets
from slipway.model import Launch, RunRef
from slipway.render.surroundings import Cluster

POD: Mapping[str, Any] = {
    # Tests need not wait for a program that does not heed SIGTERM, as a shell at its sleep.
    "terminationGracePeriodSeconds": 0,
    "containers": [{}],
}
JOB: Mapping[str, Any] = {"spec": {"template": {"spec": POD}}}


def api() -> Api:
    return Api(from_kubeconfig(str(cluster.kubeconfig())))


class KubernetesFixtures:
    secret: str | None = None

    @pytest.fixture
    def namespace(self) -> Iterator[str]:
        base_image()
        cluster.node()
        with cluster.namespace() as name:
            yield name

    @pytest.fixture
    def api(self) -> Api:
        return api()

    @pytest.fixture
    def secrets(self) -> MemorySecrets:
        return MemorySecrets({"SECRET_OF_TEST": SECRET})

    @pytest.fixture
    def target(self, api: Api, namespace: str, secrets: MemorySecrets) -> KubernetesTarget:
        return self.target_in(namespace, api, secrets)

    @pytest.fixture
    def fresh_target(self, namespace: str, secrets: MemorySecrets) -> KubernetesTarget:
        return self.target_in(namespace, api(), secrets)

    def target_in(self, namespace: str, api: Api, secrets: MemorySecrets, **more: Any) -> KubernetesTarget:
        where = Cluster(namespace=namespace, secret=self.secret)
        return KubernetesTarget(api, where, secrets, namespaces=[namespace], **more)

    @pytest.fixture
    def launch(self) -> MakeLaunch:
        numbers = itertools.count(1)
        test = uuid.uuid4().hex[:12]

        def make(script: str, **changes: object) -> Launch:
            item = f"test{test}{next(numbers)}"
            plain = Launch(
                run=RunRef(item, 1),
                run_id=f"run-of-{item}",
                image=BASE_IMAGE,
                entry_point=("sh", "-c", script),
                args=(),
                env={"WANDB_RUN_ID": f"run-of-{item}", "SLIPWAY_ITEM": item},
                secrets={},
                resource_args=JOB,
                entity="team",
                project="digits",
                run_name="a run",
            )
            return replace(plain, **changes)  # type: ignore[arg-type]

        return make
