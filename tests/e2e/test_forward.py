"""`slipway forward`: what changes in a genuine cluster comes out of an SQS queue, as ids and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tests import cluster
from tests.conditions import eventually
from tests.contracts.kubernetes_fixtures import KubernetesFixtures
from tests.contracts.target_contract import MakeLaunch
from tests.standins.aws.moto_server import unique

from slipway.adapters.aws.clients import Clients
from slipway.adapters.kubernetes.target import KubernetesTarget
from slipway.errors import Temporary
from slipway.functions.forward import forward
from slipway.model import Changed, Topic

pytestmark = [pytest.mark.docker, pytest.mark.cluster]


class TestForwarding(KubernetesFixtures):
    def test_the_end_of_a_run_comes_to_the_queue_and_ctrl_c_leaves_nothing(
        self, target: KubernetesTarget, launch: MakeLaunch, namespace: str, aws: Clients
    ) -> None:
        url = aws.sqs.create_queue(QueueName=unique("advance"))["QueueUrl"]
        environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig())}
        command = ["forward", "--queue-url", url, "--namespaces", namespace]
        process = subprocess.Popen(
            [sys.executable, "-c", "from slipway.cli.main import run; run()", *command],
            env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            assert "Forwarding" in process.stderr.readline()
            asked = launch("exit 0")
            target.start(asked)

            def told() -> bool:
                answer = aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
                return asked.run.item_id in [each["Body"] for each in answer.get("Messages", [])]

            assert eventually(told, within=60.0)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0


class Stuttering:
    """A bus that fails as often as it is told to, and then takes what it is given."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.sent: list[tuple[Topic, str]] = []

    def send(self, topic: Topic, body: str, delay: float = 0.0) -> None:
        if self.failures:
            self.failures -= 1
            raise Temporary("the queue does not answer")
        self.sent.append((topic, body))


def test_what_cannot_be_sent_is_kept_for_the_next_time() -> None:
    bus = Stuttering(failures=1)
    left = forward([Changed(item_id="a"), Changed(item_id="b"), Changed(item_id="b")], bus)  # type: ignore[arg-type]
    assert (left, bus.sent) == ([Changed(item_id="a")], [(Topic.ADVANCE, "b")])
    assert forward(left, bus) == []  # type: ignore[arg-type]
    assert bus.sent[1:] == [(Topic.ADVANCE, "a")]
