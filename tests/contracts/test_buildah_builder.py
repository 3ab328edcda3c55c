"""Images made in a cluster by buildah: the builder contract on a genuine cluster, where builds really run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests import cluster
from tests.contracts.builder_contract import BuilderContract, MakeRequest
from tests.contracts.cluster_builder_fixtures import Buildah, MakeBuilder, pods_of
from tests.contracts.cluster_builder_suite import RunningBuilds
from tests.contracts.test_oci_registry import USER

from slipway.adapters.kubernetes.build_jobs import docker_config
from slipway.adapters.kubernetes.builder import ClusterBuilder
from slipway.model import BuildPhase


@pytest.mark.docker
class TestBuildah(Buildah, BuilderContract):
    """S11."""


@pytest.mark.docker
class TestBuildahRunning(RunningBuilds, Buildah):
    end = BuilderContract.end
    settle = BuilderContract.settle

    def test_a_secret_of_the_queues_holds_the_login(
        self, make_builder: MakeBuilder, namespace: str, host: str, request_: MakeRequest
    ) -> None:
        body = {"metadata": {"name": "push"}, "stringData": {"login.json": docker_config(host, USER)}}
        cluster.core().create_namespaced_secret(namespace, body)
        plain = request_({"train.py": "print(1)"})
        config = {**plain.config, "secret-name": "push", "secret-key": "login.json"}
        ended = self.ended(make_builder(), replace(plain, config=config))
        assert ended.phase is BuildPhase.SUCCEEDED, ended.log_tail

    def test_it_builds_with_three_capabilities_and_no_privilege(
        self, builder: ClusterBuilder, request_: MakeRequest
    ) -> None:
        """As whoever the Dockerfile says, with what only root may do."""
        plain = request_({"train.py": "print(1)"})
        as_root, as_other = "busybox mkdir /owned && busybox chown 12:34 /owned", "busybox test $(busybox id -u) = 1000"
        more = f"RUN {as_root}\nUSER 1000\nRUN {as_other}\n"
        request = replace(plain, dockerfile=plain.dockerfile + more)
        ended = self.ended(builder, request)
        assert ended.phase is BuildPhase.SUCCEEDED, ended.log_tail
        (pod,) = pods_of(request)
        allowed = pod.spec.containers[0].security_context
        assert allowed.capabilities.drop == ["ALL"]
        assert allowed.capabilities.add == ["SETFCAP", "SETGID", "SETUID"]
        assert not allowed.privileged
        assert not allowed.allow_privilege_escalation

    @pytest.mark.parametrize("missing", ["SETFCAP", "SETGID", "SETUID"])
    def test_without_one_of_them_it_cannot(self, builder: ClusterBuilder, request_: MakeRequest, missing: str) -> None:
        kept = [each for each in ("SETFCAP", "SETGID", "SETUID") if each != missing]
        limits = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], "add": kept}}
        ended = self.ended(builder, self.changed(request_({"train.py": "print(1)"}), securityContext=limits))
        assert ended.phase is BuildPhase.FAILED
        assert "_map" in ended.log_tail
