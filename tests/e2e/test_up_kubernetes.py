"""A `slipway up` and a genuine Kubernetes: from a git repository to a finished Job, and what goes wrong on the way."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dulwich import porcelain
from tests import cluster
from tests.conditions import eventually
from tests.contracts.cluster_builder_fixtures import buildah_image
from tests.docker_engine import docker
from tests.e2e.one_machine import Machine
from tests.relay import Relay
from tests.services import BASE_IMAGE, base_image, oci_registry
from tests.standins.aws.moto_server import REGION, environment, unique

from slipway.adapters.aws.clients import Clients

pytestmark = [pytest.mark.docker, pytest.mark.registry, pytest.mark.cluster]
WITHIN = 90.0
JOB = """
import os, sys
assert os.environ["WANDB_API_KEY"] == "k3y-of-nobody"
print("trained", *sys.argv[1:], "as", os.environ["WANDB_RUN_ID"])
"""
POD = {"terminationGracePeriodSeconds": 0, "containers": [{}]}


@pytest.fixture
def namespace() -> Iterator[str]:
    base_image()
    cluster.node()
    with cluster.namespace("up") as name:
        yield name


@pytest.fixture
def relay() -> Iterator[Relay]:
    """Between Slipway and the API server."""
    server = yaml.safe_load(cluster.kubeconfig().read_text())["clusters"][0]["cluster"]["server"]
    relay = Relay(server)
    yield relay
    relay.down()


@pytest.fixture
def machine(tmp_path: Path, namespace: str, relay: Relay) -> Iterator[Machine]:
    document = yaml.safe_load(cluster.kubeconfig().read_text())
    document["clusters"][0]["cluster"]["server"] = relay.server
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    settings = {
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "SLIPWAY_KUBERNETES_NAMESPACE": namespace,
        "SLIPWAY_KUBERNETES_NAMESPACES": namespace,
        "WANDB_API_KEY": "k3y-of-nobody",
    }
    machine = Machine(tmp_path, settings=settings)
    try:
        yield machine
    finally:
        machine.stop()


def with_queue(machine: Machine, **fields: Any) -> None:
    queue = {"name": "cluster", "resource": "kubernetes", "config": {"spec": {"template": {"spec": POD}}}, **fields}
    (machine.root / "queue.json").write_text(json.dumps(queue))
    machine.run("queue", "apply", str(machine.root / "queue.json"))


def submitted(machine: Machine, script: str) -> str:
    command = f"sh -c '{script}'"
    return machine.run("submit", "-q", "cluster", "--docker-image", BASE_IMAGE, "-E", command).stdout.strip()


def ended(machine: Machine, item: str) -> str:
    """The state in which it ends."""
    over = ("finished", "failed", "stopped")
    return eventually(lambda: (state := machine.state(item)) in over and state, within=WITHIN) or ""


def jobs(namespace: str) -> list[str]:
    return [each.metadata.name for each in cluster.batch().list_namespaced_job(namespace).items]


class TestFromGit:
    @pytest.fixture
    def registry(self, tmp_path: Path) -> Iterator[str]:
        """With the base image in it: nodes and builds pull from there."""
        folder = tmp_path / "registry"
        folder.mkdir()
        with oci_registry(folder) as host:
            docker("tag", base_image(), f"{host}/python:3")
            docker("push", "--quiet", f"{host}/python:3")
            docker("image", "rm", f"{host}/python:3")
            yield host

    @pytest.fixture
    def repository(self, tmp_path: Path) -> str:
        folder = tmp_path / "train"
        folder.mkdir()
        (folder / "train.py").write_text(JOB)
        porcelain.init(str(folder))
        porcelain.add(str(folder), [str(folder / "train.py")])
        porcelain.commit(str(folder), message=b"A job", author=b"A <a@example.com>", committer=b"A <a@example.com>")
        return str(folder)

    @pytest.mark.timeout(300)
    def test_a_repository_is_built_in_the_cluster_once_and_run_there(
        self, machine: Machine, namespace: str, registry: str, repository: str, aws: Clients, moto: str
    ) -> None:
        """S11, S12, S15, S20: git → buildah in a pod → push → the Job pulls, runs, logs, finishes."""
        bucket = unique("contexts")
        aws.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        machine.settings.update({**environment(moto), "SLIPWAY_BUILD_CONTEXTS": f"s3://{bucket}/slipway"})
        # The registry and the bucket are on the node's loopback.
        on_loopback = {"spec": {"template": {"spec": {"hostNetwork": True}}}}
        builder = {
            "type": "buildah",
            "destination": f"{registry}/team/jobs",
            "base_image": f"{registry}/python:3",
            "buildah-image": buildah_image(),
            "buildah-config": on_loopback,
        }
        with_queue(machine, builder=builder)
        machine.up()
        job = ("-q", "cluster", "-u", repository, "-E", "python train.py", "-a", "--epochs")
        first, second = (machine.run("submit", *job, "-a", str(epochs)).stdout.strip() for epochs in (1, 2))
        for item in (first, second):
            state = eventually(lambda item=item: (s := machine.state(item)) in ("finished", "failed") and s, within=200)
            assert state == "finished", machine.json("show", item)["reason"]
        assert machine.json("show", first)["image"].startswith(f"{registry}/team/jobs:")
        assert machine.json("show", first)["image"] == machine.json("show", second)["image"]
        assert "trained --epochs 2 as" in machine.run("logs", second).stdout
        assert sorted(name for name in jobs(namespace) if not name.startswith("slipway-build")) == sorted(
            f"slipway-{item}-1" for item in (first, second)
        )
        assert len([name for name in jobs(namespace) if name.startswith("slipway-build")]) == 1
        tags = subprocess.run(
            ["curl", "-sf", f"http://{registry}/v2/team/jobs/tags/list"], capture_output=True, check=True
        )
        assert len(json.loads(tags.stdout)["tags"]) == 1


class TestOneMachine:
    def test_a_run_outlives_the_process_that_started_it(self, machine: Machine, namespace: str) -> None:
        """kill -9 while it runs; it ends, and is removed, while nobody looks."""
        with_queue(machine, config={"spec": {"ttlSecondsAfterFinished": 0, "template": {"spec": POD}}})
        first = machine.up()
        item = submitted(machine, "sleep 10; echo done")
        eventually(lambda: machine.state(item) == "running", within=WITHIN)
        first.send_signal(signal.SIGKILL)
        first.wait(30)
        eventually(lambda: jobs(namespace) == [], within=WITHIN)
        machine.up()
        assert ended(machine, item) == "finished"

    def test_a_server_that_is_away_in_mid_launch_is_waited_for(
        self, machine: Machine, namespace: str, relay: Relay
    ) -> None:
        with_queue(machine)
        machine.up()
        relay.down()
        item = submitted(machine, "echo late")
        eventually(lambda: "does not answer" in machine.run("explain", item).stdout, within=WITHIN)
        assert jobs(namespace) == []
        relay.up()
        assert ended(machine, item) == "finished"
        assert jobs(namespace) == [f"slipway-{item}-1"]

    def test_why_it_waits_is_explained_and_a_cancel_leaves_nothing(self, machine: Machine, namespace: str) -> None:
        gpus = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": 8}}}]}
        with_queue(machine, config={"spec": {"template": {"spec": gpus}}})
        machine.up()
        item = submitted(machine, "echo never")
        reason = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu"
        eventually(lambda: reason in machine.run("explain", item).stdout, within=WITHIN)
        assert reason in machine.json("show", item)["trouble"]
        machine.run("cancel", item)
        assert ended(machine, item) == "stopped"
        assert jobs(namespace) == []
        assert eventually(lambda: not own_secrets(namespace), within=WITHIN)

    def test_a_run_that_fails_says_which_container_of_which_pod(self, machine: Machine) -> None:
        with_queue(machine)
        machine.up()
        item = submitted(machine, "echo so it is; exit 3")
        assert ended(machine, item) == "failed"
        shown = machine.json("show", item)
        assert shown["exit_code"] == 3
        assert shown["reason"].startswith(f"container launch0 of pod slipway-{item}-1-")
        assert machine.run("logs", item).stdout == "so it is\n"


def own_secrets(namespace: str) -> list[str]:
    found = cluster.core().list_namespaced_secret(namespace).items
    return [each.metadata.name for each in found if each.metadata.name.startswith("slipway-")]
