"""The chart (S21) installed by Helm on a genuine Kubernetes, its image running on the node: Slipway in a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import uuid
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from tests import cluster
from tests.conditions import eventually
from tests.onprem.chart import EVERYTHING, helm
from tests.services import ROOT, base_image, docker, free_port

IMAGE = "slipway-test/slipway:1"
RELEASE = "ours"
NAME = f"{RELEASE}-slipway"
ENTITY = "research"
LOGINS = '{"auths": {"registry.example.com": {"auth": "bWU6c2VjcmV0"}}}'
GROUPS = {"jobs": "batch", "rolebindings": "rbac.authorization.k8s.io", "pytorchjobs": "kubeflow.org"}
"""Of resources; the others are of the core group."""

pytestmark = [pytest.mark.docker, pytest.mark.cluster, pytest.mark.timeout(600)]


@cache
def image() -> str:
    docker()
    done = subprocess.run([ROOT / "tools" / "slipway-image", IMAGE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return IMAGE


@dataclass(frozen=True)
class Installed:
    """A release, and what people do with it."""

    namespace: str
    values: Path
    volume: Path

    def helm(self, command: str, *arguments: str) -> None:
        options = ("-n", self.namespace, "--kubeconfig", cluster.kubeconfig(), "--timeout", "120")
        done = helm(command, RELEASE, *options, *arguments)
        assert done.returncode == 0, (done.stderr, self.pod_as_told())

    def apply(self, command: str, **changes: Any) -> None:
        values = yaml.safe_load(self.values.read_text()) | changes
        self.values.write_text(yaml.safe_dump(values))
        self.helm(command, "-f", str(self.values))

    def pod(self) -> Any:
        """The one that is ready."""
        return eventually(lambda: next(iter(self._ready()), None), within=120)

    def exec(self, *command: str, code: int = 0) -> str:
        """What a command in Slipway's container says."""
        done = subprocess.run(
            ["kubectl", "-n", self.namespace, "exec", f"deployment/{NAME}", "-c", "slipway", "--", *command],
            env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig())},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def api(self, key: str | None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=f"http://{self.pod().status.pod_ip}:8765", headers=headers, trust_env=False)

    def pod_as_told(self) -> str:
        """What each container is doing, and its last words where it is over."""
        told: list[Any] = []
        for pod in cluster.core().list_namespaced_pod(self.namespace).items:
            status = pod.status
            containers = (*(status.init_container_statuses or ()), *(status.container_statuses or ()))
            told += [(one.name, one.state.to_dict(), one.last_state.to_dict()) for one in containers]
            told += [(each.type, each.status, each.message) for each in status.conditions or ()]
        return json.dumps(told, default=str)

    def _ready(self) -> Iterator[Any]:
        for pod in cluster.core().list_namespaced_pod(self.namespace).items:
            ready = any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())
            if ready and pod.metadata.deletion_timestamp is None:
                yield pod


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    cluster.node()
    folder = tmp_path_factory.mktemp("chart")
    volume = folder / "volume"
    volume.mkdir()
    volume.chmod(0o770)
    with cluster.namespace("slipway-in") as namespace, _volume(namespace, volume), _swept(namespace):
        ours = Installed(namespace, folder / "values.yaml", volume)
        values = {
            "agent": {"image": image(), "imagePullPolicy": "Never"},
            "persistence": {"storageClass": namespace, "size": "1Gi"},
            "entity": ENTITY,
            # From a network of its own the pod does not reach this cluster's API server: nothing to do there, then.
            "queueResources": ["local-process"],
            "queues": [_queue(1)],
            "kanikoDockerConfigSecret": _logins(namespace),
        }
        ours.values.write_text(yaml.safe_dump(values))
        ours.helm("install", "-f", str(ours.values))
        yield ours


@pytest.fixture(scope="module")
def key(installed: Installed) -> str:
    """As the notes of the release say it."""
    return installed.exec("slipway", "key", "create", "me").strip()


class TestRunning:
    def test_it_is_ready_and_alive_by_its_own_probes(self, installed: Installed) -> None:
        with installed.api(None) as api:
            assert api.get("/healthz").json() == {"status": "ok"}
            assert api.get("/ready").json() == {"ready": True, "reasons": []}

    def test_it_runs_as_nobody_in_particular_and_can_write_to_its_volumes_only(self, installed: Installed) -> None:
        assert installed.exec("python3", "-c", "import os; print(os.getuid(), os.getgid())").split() == ["10001", "0"]
        installed.exec("sh", "-c", "echo a >/opt/slipway/file", code=2)
        installed.exec("sh", "-c", "echo a >/tmp/file && echo a >/home/slipway/file")

    def test_the_logins_of_builds_are_where_it_looks_for_them(self, installed: Installed) -> None:
        """S10."""
        assert installed.exec("cat", "/home/slipway/.docker/config.json") == LOGINS

    def test_without_a_key_nothing_is_answered(self, installed: Installed) -> None:
        with installed.api(None) as api:
            assert api.get("/v1/queues").status_code == 401

    def test_a_key_made_in_the_pod_opens_the_api_where_the_queues_of_the_values_are(
        self, installed: Installed, key: str
    ) -> None:
        with installed.api(key) as api:
            assert [each["name"] for each in api.get("/v1/queues").json()["queues"]] == ["train"]

    def test_a_pod_that_is_killed_comes_back_with_all_that_it_knew(self, installed: Installed, key: str) -> None:
        before = installed.pod().metadata.name
        cluster.core().delete_namespaced_pod(before, installed.namespace, grace_period_seconds=0)
        eventually(lambda: installed.pod().metadata.name != before, within=60)

        with installed.api(key) as api:
            assert [each["name"] for each in api.get("/v1/queues").json()["queues"]] == ["train"]


class TestRights:
    def test_its_account_may_do_in_its_namespace_what_it_needs_and_no_more(self, installed: Installed) -> None:
        needed = ["create jobs", "delete jobs", "watch pods", "get pods/log", "list events", "create secrets"]
        refused = ["list secrets", "create pods", "create pods/exec", "update jobs", "create rolebindings", "get nodes"]

        assert [each for each in (*needed, *refused) if may(installed.namespace, NAME, each)] == needed

    def test_elsewhere_it_may_do_nothing(self, installed: Installed) -> None:
        assert not may(installed.namespace, NAME, "create jobs", "default")

    def test_builds_may_do_nothing(self, installed: Installed) -> None:
        asked = ("get pods", "create jobs", "get secrets", "list events")

        assert not [each for each in asked if may(installed.namespace, f"{NAME}-build", each)]


def test_an_upgrade_and_a_rollback_apply_their_queues_and_a_removal_leaves_the_data(
    installed: Installed, key: str
) -> None:
    """The last of what is done to this release."""

    def max_jobs() -> int:
        with installed.api(key) as api:
            return int(api.get(f"/v1/queues/{ENTITY}/train").json()["max_jobs"])

    before = installed.pod().metadata.name
    installed.apply("upgrade", queues=[_queue(7)])
    assert installed.pod().metadata.name != before
    assert max_jobs() == 7

    installed.helm("rollback")
    eventually(lambda: max_jobs() == 1, within=60)

    core, namespace = cluster.core(), installed.namespace
    installed.helm("uninstall")
    claims = core.list_namespaced_persistent_volume_claim(namespace).items
    assert [each.metadata.name for each in claims] == [NAME]
    eventually(lambda: not core.list_namespaced_pod(namespace).items, within=60)
    assert not core.list_namespaced_service(namespace).items
    assert (installed.volume / "slipway.db").exists()


def test_a_run_is_launched_and_followed_with_the_rights_of_the_chart_alone(tmp_path: Path) -> None:
    """In another namespace, with a Secret. The pod is given the node's network: from one of its own it does not reach
    this cluster's API server, which listens on loopback."""
    server, port = urlsplit(str(cluster.client().configuration.host)), free_port()
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o770)
    volume.chmod(0o770)
    with ExitStack() as stack:
        namespace, runs = (stack.enter_context(cluster.namespace(each)) for each in ("slipway-in", "runs"))
        stack.enter_context(_volume(namespace, volume))
        stack.enter_context(_swept(namespace))
        ours = Installed(namespace, tmp_path / "values.yaml", volume)
        values = {
            "agent": {
                "image": image(),
                "imagePullPolicy": "Never",
                "apiKey": "0123456789abcdef0123456789abcdef01234567",
            },
            "persistence": {"storageClass": namespace, "size": "1Gi"},
            "entity": ENTITY,
            "additionalTargetNamespaces": [runs],
            # Of the namespace of builds, and not of this one.
            "kanikoDockerConfigSecret": "logins-of-builds",
            "additionalEnvVars": [
                {"name": "KUBERNETES_SERVICE_HOST", "value": server.hostname},
                {"name": "KUBERNETES_SERVICE_PORT", "value": str(server.port)},
            ],
            "launchConfig": f"entity: {ENTITY}\nqueues: [train]\n",
            "queueConfigs": {"train": _job_config(runs)},
        }
        ours.values.write_text(yaml.safe_dump(values))
        ours.helm("install", "-f", str(ours.values), "--no-wait")
        _to_the_nodes_network(namespace, port)
        ours.pod()
        key = ours.exec("slipway", "key", "create", "me").strip()

        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, trust_env=False
        ) as api:
            job = {
                "image_uri": base_image(),
                "entry_point": ["python3", "-c", "import os; print(len(os.environ['WANDB_API_KEY']))"],
            }
            submitted = api.post("/v1/items", json={"entity": ENTITY, "project": "digits", "queue": "train", **job})
            assert submitted.is_success, submitted.text
            path = f"/v1/items/{submitted.json()['id']}"
            eventually(lambda: api.get(path).json()["state"] in ("finished", "failed"), within=90)

            assert api.get(path).json()["state"] == "finished", api.get(path).text
            assert api.get(f"{path}/logs").text == "40\n"
        ours.helm("uninstall")


def test_the_api_server_takes_every_object_of_a_release_with_everything_in_it(tmp_path: Path) -> None:
    with ExitStack() as stack:
        main, research, vision, builds = (stack.enter_context(cluster.namespace("everything")) for _ in range(4))
        values = tmp_path / "values.yaml"
        changes = {
            "namespace": main,
            "additionalTargetNamespaces": [research, vision],
            "runs": {"namespace": research},
            "build": {"namespace": builds},
        }
        values.write_text(yaml.safe_dump(changes))
        options = ("-n", main, "--kubeconfig", cluster.kubeconfig())
        theirs = {"metadata": {"name": "azure-storage-access-key"}, "stringData": {"password": "of another release"}}
        cluster.core().create_namespaced_secret(builds, theirs)

        done = helm("install", "whole", *options, "-f", EVERYTHING, "-f", values, "--no-wait")
        assert done.returncode == 0, done.stderr
        taken = [each for each in yaml.safe_load_all(done.stdout) if each]
        assert may(main, "whole-slipway", "create pytorchjobs", vision)
        assert may(main, "whole-slipway-forwarder", "watch jobs", research)
        assert not may(main, "whole-slipway-forwarder", "create jobs", research)

        assert len(taken) >= 25
        assert f"azure-storage-access-key in {builds} is not of this release" in done.stderr
        kept = cluster.core().read_namespaced_secret("azure-storage-access-key", builds)
        assert b64decode(kept.data["password"]) == b"of another release"
        done = helm("uninstall", "whole", *options)
        assert done.returncode == 0, done.stderr


def test_the_image_runs_as_any_user_of_group_0_as_openshift_has_it() -> None:
    volume = f"slipway-test-{uuid.uuid4().hex[:8]}"
    run = [
        *(docker(), "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),
        *("-v", f"{volume}:/var/lib/slipway", "--user", "1000650000:0", image()),
    ]
    try:
        made = [*run, "key", "create", "me", "--entity", "team"]
        subprocess.run(made, check=True, capture_output=True, timeout=60)
        listed = subprocess.run([*run, "key", "list", "-o", "json"], check=True, capture_output=True, timeout=60)
    finally:
        subprocess.run([docker(), "volume", "rm", "-f", volume], check=True, capture_output=True, timeout=60)

    assert [each["name"] for each in json.loads(listed.stdout)] == ["me"]


def _logins(namespace: str) -> str:
    """A Secret with logins for pushing, as `kubectl create secret docker-registry` makes it. Its name."""
    kind = "kubernetes.io/dockerconfigjson"
    body = {"metadata": {"name": "logins"}, "type": kind, "stringData": {".dockerconfigjson": LOGINS}}
    cluster.core().create_namespaced_secret(namespace, body)
    return "logins"


def _queue(max_jobs: int) -> dict[str, Any]:
    return {"name": "train", "entity": ENTITY, "resource": "local-process", "max_jobs": max_jobs}


def _job_config(namespace: str) -> dict[str, Any]:
    """As a queue's Config tab in the W&B app has it."""
    container = {"imagePullPolicy": "Never"}
    return {"metadata": {"namespace": namespace}, "spec": {"template": {"spec": {"containers": [container]}}}}


def _to_the_nodes_network(namespace: str, port: int) -> None:
    from kubernetes.client import AppsV1Api

    container = "/spec/template/spec/containers/0"
    AppsV1Api(cluster.client()).patch_namespaced_deployment(
        NAME,
        namespace,
        [
            {"op": "add", "path": "/spec/template/spec/hostNetwork", "value": True},
            {"op": "replace", "path": f"{container}/ports/0/containerPort", "value": port},
            {"op": "add", "path": f"{container}/args/-", "value": f"--port={port}"},
        ],
    )


def may(namespace: str, account: str, what: str, where: str | None = None) -> bool:
    """Whether the API server lets a service account of `namespace` do that (`create jobs`), there or in `where`."""
    from kubernetes.client import AuthorizationV1Api

    verb, _, resource = what.partition(" ")
    kind, _, part = resource.partition("/")
    attributes = {"verb": verb, "group": GROUPS.get(kind, ""), "resource": kind, "subresource": part}
    spec = {
        "user": f"system:serviceaccount:{namespace}:{account}",
        "resourceAttributes": {**attributes, "namespace": where or namespace},
    }
    review = AuthorizationV1Api(cluster.client()).create_subject_access_review({"spec": spec})
    return bool(review.status.allowed)


@contextmanager
def _swept(namespace: str) -> Iterator[None]:
    """The kubelet of 1.20 may forget a pod that has ended when it next clears up, once a minute, and until then the
    next one does not begin. Here such pods are forgotten at once."""
    from kubernetes.client import ApiException

    over, core = threading.Event(), cluster.core()

    def sweep() -> None:
        while not over.wait(0.5):
            for pod in core.list_namespaced_pod(namespace).items:
                if pod.metadata.deletion_timestamp and not _containers(namespace, pod.metadata.name):
                    with suppress(ApiException):
                        core.delete_namespaced_pod(pod.metadata.name, namespace, grace_period_seconds=0)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        yield
    finally:
        over.set()
        sweeper.join()


def _containers(namespace: str, pod: str) -> str:
    """The ids of those that run, as the node's engine knows them: what a pod's status says of them may be older."""
    of = {"namespace": namespace, "name": pod}
    labels = ["io.kubernetes.docker.type=container", *(f"io.kubernetes.pod.{key}={value}" for key, value in of.items())]
    filters = [word for label in labels for word in ("--filter", f"label={label}")]
    return subprocess.run([docker(), "ps", "-q", *filters], check=True, capture_output=True, text=True).stdout


@contextmanager
def _volume(namespace: str, folder: Path) -> Iterator[None]:
    """A folder of the node as the volume for the claim of a namespace, whose name is the volume's class."""
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": namespace,
        "hostPath": {"path": str(folder), "type": "Directory"},
    }
    cluster.core().create_persistent_volume({"metadata": {"name": namespace}, "spec": spec})
    try:
        yield
    finally:
        cluster.core().delete_persistent_volume(namespace)
