"""Builds that really run in a cluster, whatever builds: their logins, their contexts, their limits, their ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests import cluster
from tests.conditions import eventually
from tests.contracts.builder_contract import FAREWELL, MakeFailingRequest, MakeRequest
from tests.contracts.cluster_builder_fixtures import MakeBuilder, api_of_account, registry_with_base
from tests.contracts.test_oci_registry import HTPASSWD, USER

from slipway.adapters.kubernetes.builder import TAIL_BYTES, ClusterBuilder
from slipway.adapters.kubernetes.contexts import BucketContexts, ClaimContexts
from slipway.adapters.oci.registry import OciRegistry
from slipway.model import BuildPhase, BuildRequest, BuildStatus, Presence
from slipway.render.build_job import Flavour, Place


class Forgetful(BucketContexts):
    """A bucket from which contexts are gone before a pod has read them."""

    def put(self, key: str, path: Path) -> None:
        """Nothing is kept."""


class RunningBuilds:
    """What the two flavours have in common beyond the contract. The registry wants a login."""

    flavour: Flavour
    kind: str
    runs_out_of_memory_at: str

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        with registry_with_base(tmp_path_factory.mktemp("registry"), HTPASSWD) as host:
            yield host

    @pytest.fixture
    def registry(self) -> OciRegistry:
        return OciRegistry(lambda registry: USER)

    @pytest.fixture
    def builder(self, make_builder: MakeBuilder, registry: OciRegistry) -> ClusterBuilder:
        return make_builder(registry=registry)

    def ended(self, builder: ClusterBuilder, request: BuildRequest) -> BuildStatus:
        builder.start(request)
        return self.end(builder, request)  # type: ignore[attr-defined, no-any-return]

    def changed(self, request: BuildRequest, pod: Mapping[str, Any] = {}, **container: Any) -> BuildRequest:
        """With more in its fragment."""
        key = self.flavour.fragment
        spec = request.config[key]["spec"]["template"]["spec"]
        one = {**spec["containers"][0], **container}
        fragment = {"spec": {"template": {"spec": {**spec, "containers": [one], **pod}}}}
        return replace(request, config={**request.config, key: fragment})

    def test_the_registrys_login_reaches_the_pull_and_the_push(
        self, builder: ClusterBuilder, request_: MakeRequest
    ) -> None:
        """S10, S11."""
        request = request_({"train.py": "print(1)"}, build_args={"COLOUR": "red and blue"})
        ended = self.ended(builder, request)
        assert ended.phase is BuildPhase.SUCCEEDED, ended.log_tail
        assert builder.registry().presence(request.image) is Presence.PRESENT
        assert "COLOUR=red and blue" in image_config(request.image)["config"]["Env"]
        assert builder.status(self.build_of(request)) == ended  # type: ignore[attr-defined]

    def test_a_push_that_is_refused_says_what_to_check(self, make_builder: MakeBuilder, request_: MakeRequest) -> None:
        guesses = make_builder(registry=OciRegistry(lambda registry: ("slipway", "a guess")))
        request = request_({"train.py": "print(1)"}, dockerfile="FROM scratch\nCOPY . /job\n")
        ended = self.ended(guesses, request)
        assert ended.phase is BuildPhase.FAILED, ended
        assert f"does not let it push to {request.image.rpartition(':')[0]}: check the login" in ended.reason
        assert "a guess" not in str(ended)

    def test_of_a_log_of_endless_lines_so_much_is_kept_and_no_more(
        self, builder: ClusterBuilder, request_: MakeRequest
    ) -> None:
        plain = request_({"train.py": "print(1)"})
        endless = f"{plain.dockerfile}RUN busybox head -c 300000 /dev/zero | busybox tr '\\0' x; exit 1\n"
        ended = self.ended(builder, replace(plain, dockerfile=endless))
        assert ended.phase is BuildPhase.FAILED, ended
        assert "x" * 1000 in ended.log_tail
        assert len(ended.log_tail) <= TAIL_BYTES

    def test_a_context_that_is_gone_says_who_must_be_able_to_read_it(
        self, make_builder: MakeBuilder, aws: Any, bucket: str, request_: MakeRequest
    ) -> None:
        from slipway.adapters.aws.blobs import S3Blobs

        forgets = Forgetful(S3Blobs(aws, bucket), f"s3://{bucket}")
        ended = self.ended(make_builder(contexts=lambda _: forgets), request_({"train.py": "print(1)"}))
        assert ended.phase is BuildPhase.FAILED, ended
        assert "Its context cannot be read" in ended.reason
        assert "X-Amz-Signature" not in str(ended)

    def test_a_build_that_takes_too_long_ends_and_names_the_limit(
        self, builder: ClusterBuilder, request_: MakeRequest
    ) -> None:
        plain = request_({"train.py": "print(1)"})
        slow = replace(plain, dockerfile=f"{plain.dockerfile}RUN busybox sleep 60\n")
        request = self.changed(slow, {"activeDeadlineSeconds": 3})
        builder.start(request)
        eventually(lambda: builder.status(self.build_of(request)).phase is not BuildPhase.QUEUED)  # type: ignore[attr-defined]
        ended = self.end(builder, request)  # type: ignore[attr-defined]
        assert ended.phase is BuildPhase.FAILED, ended
        assert "not done within 3 s" in ended.reason
        assert f"spec.template.spec.activeDeadlineSeconds in builder.{self.flavour.fragment}" in ended.reason

    def test_a_build_that_needs_more_memory_than_it_may_have_says_so(
        self, builder: ClusterBuilder, request_: MakeRequest
    ) -> None:
        plain = request_({"train.py": "print(1)"})
        hungry = f"{plain.dockerfile}RUN busybox tail -c 300000000 /dev/zero >/dev/null\n"
        request = self.changed(replace(plain, dockerfile=hungry), resources={"limits": {"memory": "100Mi"}})
        ended = self.ended(builder, request)
        assert ended.phase is BuildPhase.FAILED, ended
        assert "raise resources.limits.memory" in ended.reason

    def test_a_claim_holds_contexts_in_place_of_a_bucket(
        self, make_builder: MakeBuilder, registry: OciRegistry, claim: Path, namespace: str, request_: MakeRequest
    ) -> None:
        """S12."""
        contexts = ClaimContexts(claim, claim.name)
        builder = make_builder(contexts=lambda _: contexts, place=Place(namespace=namespace), registry=registry)
        ended = self.ended(builder, request_({"train.py": "print(1)"}))
        assert ended.phase is BuildPhase.SUCCEEDED, ended.log_tail

    @pytest.fixture
    def claim(self, namespace: str, tmp_path: Path) -> Iterator[Path]:
        """A folder of this machine that is a volume of the cluster too; the claim has its name."""

        folder = tmp_path / f"contexts-{namespace}"
        folder.mkdir()
        room = {"storage": "1Gi"}
        spec: dict[str, Any] = {"accessModes": ["ReadWriteMany"], "storageClassName": folder.name}
        volume = {**spec, "capacity": room, "hostPath": {"path": str(folder)}}
        cluster.core().create_persistent_volume({"metadata": {"name": folder.name}, "spec": volume})
        wanted = {"metadata": {"name": folder.name}, "spec": {**spec, "resources": {"requests": room}}}
        cluster.core().create_namespaced_persistent_volume_claim(namespace, wanted)
        yield folder
        cluster.core().delete_namespaced_persistent_volume_claim(folder.name, namespace)
        cluster.core().delete_persistent_volume(folder.name)

    def test_its_log_is_read_line_by_line_and_without_the_right_to_it_the_right_is_named(
        self,
        make_builder: MakeBuilder,
        registry: OciRegistry,
        namespace: str,
        failing_request: MakeFailingRequest,
    ) -> None:
        request = failing_request()
        builder = make_builder(registry=registry)
        assert self.ended(builder, request).phase is BuildPhase.FAILED
        lines = list(builder.logs(self.build_of(request)))  # type: ignore[attr-defined]
        assert FAREWELL in lines
        assert len(lines) > 60
        blind = make_builder(api=api_of_account(namespace, ("", "pods/log", "get")))
        told = blind.status(self.build_of(request))  # type: ignore[attr-defined]
        assert told.phase is BuildPhase.FAILED
        assert '{apiGroups: [""], resources: ["pods/log"], verbs: ["get"]}' in told.log_tail


def image_config(image: str) -> dict[str, Any]:
    """Of an image in the registry that wants a login."""
    host, _, rest = image.partition("/")
    repository, _, tag = rest.rpartition(":")
    with httpx.Client(base_url=f"http://{host}/v2/{repository}/", auth=USER) as http:
        media = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = http.get(f"manifests/{tag}", headers={"Accept": media}).raise_for_status().json()
        return http.get(f"blobs/{manifest['config']['digest']}").raise_for_status().json()  # type: ignore[no-any-return]
