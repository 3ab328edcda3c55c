"""Changes of runs by watches of a genuine API server: the watcher contract, broken streams, and forgotten versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests import cluster
from tests.conditions import eventually
from tests.contracts.kubernetes_fixtures import KubernetesFixtures
from tests.contracts.target_contract import MakeLaunch
from tests.contracts.watcher_contract import WatcherContract
from tests.relay import Relay
from tests.services import BASE_IMAGE

from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.build_jobs import IMAGE, labels_of
from slipway.adapters.kubernetes.target import KubernetesTarget
from slipway.adapters.kubernetes.watcher import KubernetesWatcher
from slipway.model import Changed, RunRef

pytestmark = [pytest.mark.docker, pytest.mark.cluster]


class WatcherFixtures(KubernetesFixtures):
    @pytest.fixture
    def watcher(self, api: Api, namespace: str) -> Iterator[KubernetesWatcher]:
        watcher = KubernetesWatcher([namespace], patience=0.05)
        watcher.begin(api)
        eventually(lambda: all(watch._stream is not None for watch in watcher._watches))
        yield watcher
        watcher.close()

    @pytest.fixture
    def run_to_its_end(self, target: KubernetesTarget, launch: MakeLaunch) -> Callable[[str], None]:
        def run(item: str) -> None:
            target.start(launch("exit 0", run=RunRef(item, 1)))

        return run


class TestKubernetesWatcher(WatcherFixtures, WatcherContract):
    """Jobs and their pods."""

    within = 60.0


class CountingApi(Api):
    """Counts the lists with which watches begin."""

    lists = 0

    def get(self, path: str, doing: str, **query: str) -> Any:
        self.lists += "labelSelector" in query
        return super().get(path, doing, **query)


class TestWhatIsParticularToWatching(WatcherFixtures):
    @pytest.fixture
    def relay(self, api: Api) -> Iterator[Relay]:
        relay = Relay(api.access.server)
        yield relay
        relay.down()

    @pytest.fixture
    def over_relay(self, api: Api, relay: Relay) -> CountingApi:
        """Its connections can be cut."""
        return CountingApi(replace(api.access, server=relay.server))

    @pytest.fixture
    def watcher(self, over_relay: CountingApi, namespace: str) -> Iterator[KubernetesWatcher]:
        watcher = KubernetesWatcher([namespace], patience=0.05)
        watcher.begin(over_relay)
        eventually(lambda: all(watch._stream is not None for watch in watcher._watches))
        yield watcher
        watcher.close()

    def hears(self, watcher: KubernetesWatcher, change: Changed) -> bool:
        return eventually(lambda: change in watcher.changes(1.0), within=60.0)

    def test_a_watch_that_breaks_in_mid_stream_goes_on_where_it_ended(
        self,
        watcher: KubernetesWatcher,
        run_to_its_end: Callable[[str], None],
        relay: Relay,
        over_relay: CountingApi,
    ) -> None:
        run_to_its_end("item1")
        assert self.hears(watcher, Changed(item_id="item1"))
        relay.cut()
        run_to_its_end("item2")
        assert self.hears(watcher, Changed(item_id="item2"))
        assert over_relay.lists == 2, "one for the Jobs and one for the pods, and none after the break"

    def test_what_changed_while_the_server_was_away_is_told(
        self, watcher: KubernetesWatcher, run_to_its_end: Callable[[str], None], relay: Relay, namespace: str
    ) -> None:
        relay.down()
        run_to_its_end("item1")
        eventually(lambda: cluster.batch().list_namespaced_job(namespace).items[0].status.succeeded, within=60.0)
        relay.up()
        assert self.hears(watcher, Changed(item_id="item1"))

    def refused(self, caplog: pytest.LogCaptureFixture) -> str:
        return "".join(record.getMessage() for record in caplog.records if "refused" in record.getMessage())

    def test_a_version_that_the_server_has_forgotten_is_listed_anew(
        self,
        caplog: pytest.LogCaptureFixture,
        watcher: KubernetesWatcher,
        run_to_its_end: Callable[[str], None],
        relay: Relay,
        over_relay: CountingApi,
    ) -> None:
        """410 Gone: what changed meanwhile is told by the difference."""
        run_to_its_end("item1")
        assert self.hears(watcher, Changed(item_id="item1"))
        relay.down()
        # Both have read what they had: they try to connect.
        eventually(lambda: all(f"watch {what} in" in self.refused(caplog) for what in ("jobs", "pods")), within=60.0)
        for watch in watcher._watches:
            watch._version = "1"
        relay.up()
        eventually(lambda: over_relay.lists == 4, within=60.0)
        run_to_its_end("item2")
        assert self.hears(watcher, Changed(item_id="item2"))
        assert over_relay.lists == 4, "each was listed once more, and then watched on"

    def test_whoever_owns_pods_of_runs_is_watched_too(
        self, watcher: KubernetesWatcher, api: Api, namespace: str
    ) -> None:
        """An operator's verdict comes after the end of its pods; nobody here has started a PyTorchJob."""
        labels = {"slipway.item": "item1", "slipway.attempt": "1"}
        job = {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": {"name": "train", "labels": labels},
            "spec": {"pytorchReplicaSpecs": {}},
        }
        path = f"/apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs"
        made = api.create(path, job, "play Slipway")
        owner = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "train", "uid": made["metadata"]["uid"]}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "train-master-0", "labels": labels, "ownerReferences": [owner]},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": BASE_IMAGE, "command": ["true"]}]},
        }
        api.create(f"/api/v1/namespaces/{namespace}/pods", pod, "play the operator")
        eventually(lambda: len(watcher._watches) == 3 and watcher._watches[2]._stream is not None, within=60.0)
        ended = eventually(
            lambda: cluster.core().read_namespaced_pod("train-master-0", namespace).status.phase == "Succeeded",
            within=60.0,
        )
        assert ended
        while watcher.changes(1.0):
            pass
        condition = {"type": "Succeeded", "status": "True"}
        cluster.say_status(f"{path}/train", {"conditions": [condition]})
        assert self.hears(watcher, Changed(item_id="item1"))

    def test_the_end_of_a_build_is_told_by_its_image(self, watcher: KubernetesWatcher, namespace: str) -> None:
        watcher.watch_builds(namespace)
        eventually(lambda: all(watch._stream is not None for watch in watcher._watches))
        metadata = {
            "name": "build",
            "labels": labels_of("registry.example.com/jobs:1", 1),
            "annotations": {IMAGE: "registry.example.com/jobs:1"},
        }
        pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": BASE_IMAGE, "command": ["true"]}]}
        cluster.batch().create_namespaced_job(namespace, {"metadata": metadata, "spec": {"template": {"spec": pod}}})
        assert self.hears(watcher, Changed(image="registry.example.com/jobs:1"))
