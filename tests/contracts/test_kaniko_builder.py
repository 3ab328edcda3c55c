"""Images made in a cluster by Kaniko: the builder contract on a genuine cluster, up to the executor's own work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests import cluster
from tests.contracts.builder_contract import BuilderContract, MakeRequest
from tests.contracts.cluster_builder_fixtures import Kaniko, MakeBuilder
from tests.contracts.cluster_builder_suite import RunningBuilds
from tests.services import oci_registry
from tests.standins.aws.moto_server import ACCOUNT, HTPASSWD

from slipway.model import BuildPhase
from slipway.render.build_job import Place


@pytest.mark.docker
class TestKaniko(Kaniko, BuilderContract):
    """S11, S12."""


@pytest.mark.docker
class TestKanikoRunning(RunningBuilds, Kaniko):
    end = BuilderContract.end
    settle = BuilderContract.settle

    def test_an_argument_that_it_does_not_know_fails_the_build_in_its_own_words(
        self, make_builder: MakeBuilder, request_: MakeRequest
    ) -> None:
        plain = request_({"train.py": "print(1)"})
        ended = self.ended(make_builder(), self.changed(plain, args=["--snapshot-mode=redo", "--colour=red"]))
        assert ended.phase is BuildPhase.FAILED
        assert "unknown flag: --colour=red" in ended.log_tail


@pytest.mark.docker
class TestKeyOfAws(Kaniko):
    """S10, S12: W&B's way to ECR, `secret-name` with a key file, which a credential helper reads."""

    end = BuilderContract.end
    settle = BuilderContract.settle

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        with oci_registry(tmp_path_factory.mktemp("registry"), HTPASSWD) as host:
            yield host

    def test_the_key_file_of_a_secret_and_amazons_helper_push(
        self, make_builder: MakeBuilder, namespace: str, request_: MakeRequest
    ) -> None:
        key = f"[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = {ACCOUNT}-auth-token\n"
        body = {"metadata": {"name": "aws.key"}, "stringData": {"file": key}}
        cluster.core().create_namespaced_secret(namespace, body)
        plain = request_({"train.py": "print(1)"}, dockerfile="FROM scratch\nCOPY . /job\n")
        request = replace(plain, config={**plain.config, "secret-name": "aws.key", "secret-key": "file"})
        builder = make_builder(place=Place(namespace=namespace, registry="ecr", region="eu-west-1"))
        builder.start(request)
        ended = self.end(builder, request)
        assert ended.phase is BuildPhase.SUCCEEDED, ended.log_tail
