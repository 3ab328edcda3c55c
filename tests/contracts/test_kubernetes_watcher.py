"""Changes of runs by watches of a genuine API server: the watcher contract, broken streams, and forgotten versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

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


class TestWhatIsParticularToWatching(WatcherFixtures):
    @pytest.fixture
    def relay(self, api: Api) -> Iterator[Relay]:
        host, _, port = api.access.server.removeprefix("https://").partition(":")
        relay = Relay(host, int(port))
        yield relay
        relay.down()

    @pytest.fixture
    def watcher(self, api: Api, namespace: str, relay: Relay) -> Iterator[KubernetesWatcher]:
        """Whose connections can be cut."""
        watcher = KubernetesWatcher([namespace], patience=0.05)
        watcher.begin(Api(replace(api.access, server=f"https://127.0.0.1:{relay.port}")))
        eventually(lambda: all(watch._stream is not None for watch in watcher._watches))
        yield watcher
        watcher.close()

    def hears(self, watcher: KubernetesWatcher, change: Changed) -> bool:
        return eventually(lambda: change in watcher.changes(1.0), within=60.0)

    def test_a_watch_that_breaks_in_mid_stream_goes_on_where_it_ended(
        self, watcher: KubernetesWatcher, run_to_its_end: Callable[[str], None], relay: Relay
    ) -> None:
        run_to_its_end("item1")
        assert self.hears(watcher, Changed(item_id="item1"))
        relay.cut()
        run_to_its_end("item2")
        assert self.hears(watcher, Changed(item_id="item2"))

    def test_what_changed_while_the_server_was_away_is_told(
        self, watcher: KubernetesWatcher, run_to_its_end: Callable[[str], None], relay: Relay, namespace: str
    ) -> None:
        relay.down()
        run_to_its_end("item1")
        eventually(lambda: cluster.batch().list_namespaced_job(namespace).items[0].status.succeeded, within=60.0)
        relay.up()
        assert self.hears(watcher, Changed(item_id="item1"))

    def test_a_version_that_the_server_has_forgotten_is_listed_anew(
        self, watcher: KubernetesWatcher, run_to_its_end: Callable[[str], None], relay: Relay
    ) -> None:
        """410 Gone: what changed meanwhile is told by the difference."""
        run_to_its_end("item1")
        assert self.hears(watcher, Changed(item_id="item1"))
        for watch in watcher._watches:
            watch._version = "1"
        relay.cut()
        run_to_its_end("item2")
        assert self.hears(watcher, Changed(item_id="item2"))
        assert eventually(lambda: all(watch._version not in (None, "1") for watch in watcher._watches), within=60.0)

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
