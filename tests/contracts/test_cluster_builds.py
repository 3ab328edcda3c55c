"""The objects of a build in a genuine cluster: whose they are, what becomes of them when a start dies, and what the
cluster says when it does not let a build begin. Nothing is built here."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import pytest
from tests import cluster
from tests.conditions import eventually
from tests.contracts.builder_contract import MakeRequest
from tests.contracts.cluster_builder_fixtures import (
    NOWHERE,
    RIGHTS,
    Buildah,
    Kaniko,
    MakeBuilder,
    api_of_account,
    jobs_of,
    pods_of,
    remove,
    secrets_of,
)
from tests.contracts.test_oci_registry import USER
from tests.functions.world import World

from slipway.adapters.kubernetes.access import from_kubeconfig
from slipway.adapters.kubernetes.api import Api
from slipway.adapters.kubernetes.build_jobs import CONTEXT, IMAGE, name_of
from slipway.adapters.kubernetes.builder import ClusterBuilder
from slipway.adapters.memory.builder import MemoryRegistry
from slipway.adapters.oci.registry import OciRegistry
from slipway.errors import AlreadyExists, Forbidden, Invalid, NotFound, Permanent, Refused
from slipway.functions.control import cancel
from slipway.functions.tick import tick
from slipway.machine import PREPARE_LEASE
from slipway.model import Build, BuildPhase, BuildRequest, Item, State
from slipway.render.build_job import Flavour, Place

CALLS = 3
"""A look, the Job, and its Secret."""


class Killed(Exception):
    """The process is gone."""


class Dying(Api):
    """An API that is spoken to by someone who dies at a call: before it is made, or before its answer is read."""

    def __init__(self, at: int = 0, *, made: bool = False) -> None:
        super().__init__(from_kubeconfig(str(cluster.kubeconfig())))
        self.calls = 0
        self._at, self._made = at, made

    def _send(self, *arguments: Any, **more: Any) -> Any:
        self.calls += 1
        if self.calls != self._at:
            return super()._send(*arguments, **more)
        if self._made:
            super()._send(*arguments, **more)
        raise Killed


class Account(Protocol):
    def __call__(self, without: tuple[str, str, str] | None = None) -> Api: ...


class WaitingBuilds:
    """What is the same for both flavours. No node takes these builds, and their registry wants a login."""

    flavour: Flavour
    kind: str
    config: Callable[..., dict[str, Any]]

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls) -> str:
        return "127.0.0.1:1"

    @pytest.fixture
    def builder(self, make_builder: MakeBuilder) -> ClusterBuilder:
        return self.with_login(make_builder)

    def with_login(self, make_builder: MakeBuilder, **changes: Any) -> ClusterBuilder:
        return make_builder(registry=OciRegistry(lambda registry: USER), **changes)

    @pytest.fixture
    def request_of(self, request_: MakeRequest, moto: str) -> Iterator[Callable[..., BuildRequest]]:
        """A build with changes to its pod."""
        made: list[BuildRequest] = []

        def make(pod: dict[str, Any] = NOWHERE, **changes: Any) -> BuildRequest:
            made.append(request_({"train.py": "print(1)"}, config=self.config(moto, pod), **changes))
            return made[-1]

        yield make
        for each in made:
            remove(each)

    @pytest.fixture
    def request_of_nowhere(self, request_of: Callable[..., BuildRequest]) -> BuildRequest:
        return request_of()

    # --- what is made

    def test_a_job_says_which_build_it_is_and_is_not_kept_for_ever(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest, namespace: str
    ) -> None:
        started = builder.start(request_of_nowhere)
        (job,) = jobs_of(request_of_nowhere)
        assert started.build_id == f"{namespace}/{job.metadata.name}"
        assert job.metadata.name == name_of({}, request_of_nowhere.image, 1)
        assert job.metadata.annotations[IMAGE] == request_of_nowhere.image
        assert job.metadata.annotations[CONTEXT].startswith("contexts/")
        assert (job.spec.ttl_seconds_after_finished, job.spec.active_deadline_seconds) == (3600, 86400)
        assert job.spec.template.spec.active_deadline_seconds == 1800

    def test_a_start_is_three_calls(
        self, make_builder: MakeBuilder, request_of_nowhere: BuildRequest, namespace: str
    ) -> None:
        api = Dying()
        self.with_login(make_builder, api=api).start(request_of_nowhere)
        assert api.calls == CALLS

    def test_its_login_is_in_a_secret_of_its_own_and_nowhere_else(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest, destination: str
    ) -> None:
        """S10."""
        builder.start(request_of_nowhere)
        (secret,) = secrets_of(request_of_nowhere)
        (job,) = jobs_of(request_of_nowhere)
        login = b64decode(secret.data[".dockerconfigjson"]).decode()
        assert destination.partition("/")[0] in login
        for word in (USER[1], login):
            assert word not in str(job)

    def test_what_is_beside_its_job_goes_with_it(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest
    ) -> None:
        builder.start(request_of_nowhere)
        assert secrets_of(request_of_nowhere)
        remove(request_of_nowhere)
        eventually(lambda: not secrets_of(request_of_nowhere), within=30)
        assert builder.status(self.build_of(request_of_nowhere)).phase is BuildPhase.ABSENT

    def test_the_queue_says_how_names_begin_and_no_queue_starts_it_twice(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest
    ) -> None:
        """S12."""
        named = {**request_of_nowhere.config, "build-job-name": "b" * 50}
        first = builder.start(replace(request_of_nowhere, config=named))
        assert first.build_id is not None
        name = first.build_id.partition("/")[2]
        assert name.startswith("b" * 50)
        assert len(name) == 63
        assert builder.start(request_of_nowhere).build_id == first.build_id
        assert builder.status(self.build_of(request_of_nowhere)).build_id == first.build_id

    def test_a_name_for_every_build_is_passed_over(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest, namespace: str
    ) -> None:
        """S12. W&B's builds may have one: the last is removed before the next begins."""
        config = dict(request_of_nowhere.config)
        config[self.flavour.fragment] = {**config[self.flavour.fragment], "metadata": {"name": "build"}}
        builder.start(replace(request_of_nowhere, config=config))
        assert [job.metadata.name for job in jobs_of(request_of_nowhere)] != ["build"]

    def test_a_build_in_the_queues_own_namespace_is_found_there(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest, fresh_builder: ClusterBuilder
    ) -> None:
        with cluster.namespace("other") as other:
            config = dict(request_of_nowhere.config)
            config[self.flavour.fragment] = {**config[self.flavour.fragment], "metadata": {"namespace": other}}
            started = builder.start(replace(request_of_nowhere, config=config))
            assert [job.metadata.namespace for job in jobs_of(request_of_nowhere)] == [other]
            assert [secret.metadata.namespace for secret in secrets_of(request_of_nowhere)] == [other]
            known = Build(request_of_nowhere.image, self.kind, build_id=started.build_id)
            assert fresh_builder.status(known).phase is BuildPhase.QUEUED

    # --- who else is there

    def test_a_foreign_job_of_its_name_is_refused_and_not_touched(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest, namespace: str
    ) -> None:
        foreign = foreign_job(request_of_nowhere, namespace)
        with pytest.raises(AlreadyExists, match=r"is not this build's.*build-job-name"):
            builder.start(request_of_nowhere)
        after = cluster.batch().read_namespaced_job(foreign.metadata.name, namespace)
        assert after.metadata.uid == foreign.metadata.uid
        assert after.metadata.resource_version == foreign.metadata.resource_version
        assert not secrets_of(request_of_nowhere)

    def test_a_foreign_secret_of_its_name_is_refused_and_not_touched(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest, namespace: str
    ) -> None:
        from kubernetes.client import V1ObjectMeta, V1Secret

        name = name_of({}, request_of_nowhere.image, 1)
        foreign = V1Secret(metadata=V1ObjectMeta(name=name), string_data={"key": "theirs"})
        cluster.core().create_namespaced_secret(namespace, foreign)
        with pytest.raises(AlreadyExists, match="is not this build's"):
            builder.start(request_of_nowhere)
        assert b64decode(cluster.core().read_namespaced_secret(name, namespace).data["key"]) == b"theirs"

    @pytest.mark.parametrize("at", range(1, CALLS + 1))
    @pytest.mark.parametrize("made", [False, True], ids=["before it", "before its answer"])
    def test_a_start_that_died_at_a_call_is_completed_by_the_next(
        self, make_builder: MakeBuilder, request_of_nowhere: BuildRequest, at: int, made: bool
    ) -> None:
        with pytest.raises(Killed):
            self.with_login(make_builder, api=Dying(at, made=made)).start(request_of_nowhere)
        again = self.with_login(make_builder)
        again.start(request_of_nowhere)
        again.start(request_of_nowhere)
        (job,) = jobs_of(request_of_nowhere)
        (secret,) = secrets_of(request_of_nowhere)
        assert [owner.uid for owner in secret.metadata.owner_references] == [job.metadata.uid]
        assert secret.metadata.name == job.metadata.name

    def test_a_build_whose_start_is_not_known_to_have_ended_is_absent_until_a_pod_begins(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest, namespace: str
    ) -> None:
        builder.start(request_of_nowhere)
        unknown = Build(request_of_nowhere.image, self.kind)
        assert builder.status(unknown).phase is BuildPhase.ABSENT
        assert builder.status(self.build_of(request_of_nowhere)).phase is BuildPhase.QUEUED
        (pod,) = eventually(lambda: pods_of(request_of_nowhere))
        one = {"name": pod.spec.containers[0].name, "ready": True, "restartCount": 0, "image": "it:1", "imageID": "it"}
        begun = {**one, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
        told = {"status": {"phase": "Running", "containerStatuses": [begun]}}
        cluster.core().patch_namespaced_pod_status(pod.metadata.name, namespace, told)
        assert builder.status(unknown).phase is BuildPhase.RUNNING

    @pytest.fixture
    def world(self, make_builder: MakeBuilder, moto: str, request_of_nowhere: BuildRequest) -> World:
        """A Slipway whose first start of a build dies between the build's Job and its Secret."""
        world, registry = World(), MemoryRegistry(user=USER)
        apis = iter([Dying(CALLS)])

        def builders(*_: object) -> ClusterBuilder:
            return make_builder(api=next(apis, None) or Dying(), registry=registry)

        world.ports = replace(world.ports, builders=builders)
        world.queue(resource="kubernetes", builder=self.config(moto, NOWHERE))
        return world

    def dies(self, world: World) -> Item:
        item = world.submit_code()
        with pytest.raises(Killed):
            world.deliver_all()
        assert len(self.built(world)) == 1
        assert not self.held(world)
        return item

    def built(self, world: World) -> Any:
        """The Jobs of the one build that there is."""
        (record,) = world.store.builds(10)
        return jobs_of(BuildRequest(record.image, record.attempt, "", ""))

    def held(self, world: World) -> Any:
        (record,) = world.store.builds(10)
        return secrets_of(BuildRequest(record.image, record.attempt, "", ""))

    def later(self, world: World) -> None:
        """All leases are over."""
        world.clock.advance(PREPARE_LEASE + 1)
        tick(world.ports)
        world.deliver_all()

    def test_a_build_that_lacks_its_secret_gets_it_when_its_item_goes_on(self, world: World) -> None:
        """S10."""
        item = self.dies(world)
        self.later(world)
        (job,), (secret,) = self.built(world), self.held(world)
        assert [owner.uid for owner in secret.metadata.owner_references] == [job.metadata.uid]
        assert world.item(item).state is State.BUILDING
        assert world.store.builds(10)[0].build_id == f"{job.metadata.namespace}/{job.metadata.name}"

    def test_a_build_that_lacks_its_secret_gets_it_from_an_item_that_joined_it(self, world: World) -> None:
        """S10."""
        died = self.dies(world)
        joined = world.submit_code()
        cancel(died.id, world.ports)
        world.deliver_all()
        assert world.item(joined).state is State.BUILDING
        assert not self.held(world)
        self.later(world)
        (job,), (secret,) = self.built(world), self.held(world)
        assert [owner.uid for owner in secret.metadata.owner_references] == [job.metadata.uid]

    # --- what keeps it from beginning

    def test_no_room_is_told_in_the_schedulers_words(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest
    ) -> None:
        builder.start(request_of_nowhere)
        found = self.eventually_said(builder, request_of_nowhere, "finds no node")
        assert "nodes are available" in found.reason
        assert found.phase is BuildPhase.QUEUED

    def test_an_executor_that_cannot_be_pulled_is_told_while_the_build_waits(
        self, builder: ClusterBuilder, request_of: Callable[..., BuildRequest]
    ) -> None:
        request = request_of({})
        config = {**request.config, f"{self.kind}-image": "127.0.0.1:1/no/such:1"}
        builder.start(replace(request, config=config))
        found = self.eventually_said(builder, request, "the image cannot be pulled")
        assert found.phase is BuildPhase.QUEUED

    def test_a_missing_service_account_fails_it_and_says_what_to_do(
        self, builder: ClusterBuilder, request_of: Callable[..., BuildRequest]
    ) -> None:
        request = request_of({**NOWHERE, "serviceAccountName": "nobody"})
        builder.start(request)
        found = self.eventually_said(builder, request, "Make the service account nobody in the namespace")
        assert found.phase is BuildPhase.FAILED
        assert f"builder.{self.flavour.fragment}" in found.reason

    def test_a_quota_on_jobs_is_not_now_and_leaves_nothing(
        self, make_builder: MakeBuilder, request_of_nowhere: BuildRequest
    ) -> None:
        with cluster.namespace("full") as full:
            quota(full, "count/jobs.batch")
            with pytest.raises(Refused, match="exceeded quota"):
                self.with_login(make_builder, place=Place(namespace=full)).start(request_of_nowhere)
        assert not jobs_of(request_of_nowhere)
        assert not secrets_of(request_of_nowhere)

    def test_a_quota_on_pods_keeps_it_in_line_with_the_reason(
        self, make_builder: MakeBuilder, request_of_nowhere: BuildRequest
    ) -> None:
        with cluster.namespace("full") as full:
            quota(full, "pods")
            builder = self.with_login(make_builder, place=Place(namespace=full))
            builder.start(request_of_nowhere)
            found = self.eventually_said(builder, request_of_nowhere, "exceeded quota")
            assert found.phase is BuildPhase.QUEUED

    def test_an_evicted_build_failed_through_no_fault_of_its_own(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest, namespace: str
    ) -> None:
        builder.start(request_of_nowhere)
        (pod,) = eventually(lambda: pods_of(request_of_nowhere))
        said = {"status": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}}
        cluster.core().patch_namespaced_pod_status(pod.metadata.name, namespace, said)
        found = self.eventually_said(builder, request_of_nowhere, "low on resource")
        assert found.phase is BuildPhase.FAILED
        assert found.reason.endswith("Submit again")

    def eventually_said(self, builder: ClusterBuilder, request: BuildRequest, words: str) -> Any:
        def said() -> Any:
            status = builder.status(self.build_of(request))
            return status if words in status.reason else None

        return eventually(said, within=30)

    # --- what the cluster refuses

    def test_a_namespace_that_is_not_there_is_named(
        self, make_builder: MakeBuilder, request_of_nowhere: BuildRequest
    ) -> None:
        builder = self.with_login(make_builder, place=Place(namespace="no-such-namespace"))
        with pytest.raises(NotFound, match='namespaces "no-such-namespace" not found'):
            builder.start(request_of_nowhere)

    def test_a_fragment_that_is_no_job_is_refused_with_every_field(
        self, builder: ClusterBuilder, request_of: Callable[..., BuildRequest]
    ) -> None:
        request = request_of({"restartPolicy": "Always", "activeDeadlineSeconds": -1, "dnsPolicy": "Odd"})
        with pytest.raises(Invalid) as raised:
            builder.start(request)
        where = f"builder.{self.flavour.fragment}.spec.template.spec."
        fields = {problem.field.removeprefix(where) for problem in raised.value.problems}
        assert {"restartPolicy", "activeDeadlineSeconds", "dnsPolicy"} <= fields

    # --- rights

    @pytest.fixture
    def account(self, namespace: str) -> Account:
        return lambda without=None: api_of_account(namespace, without)

    def all_calls(self, builder: ClusterBuilder, request: BuildRequest, namespace: str) -> None:
        """Every call that building takes: of a start, of a start again, of looks, and of one whose name is taken."""
        builder.start(request)
        builder.start(request)
        builder.status(self.build_of(request))
        other = replace(request, attempt=2)
        foreign_job(other, namespace)
        with pytest.raises(AlreadyExists):
            builder.start(other)

    def test_an_account_with_these_rights_alone_can_build(
        self, make_builder: MakeBuilder, request_of_nowhere: BuildRequest, account: Account, namespace: str
    ) -> None:
        self.all_calls(self.with_login(make_builder, api=account()), request_of_nowhere, namespace)

    @pytest.mark.parametrize("without", [each for each in RIGHTS if each[1] != "pods/log"], ids="-".join)
    def test_without_one_of_them_it_is_named(
        self,
        make_builder: MakeBuilder,
        request_of_nowhere: BuildRequest,
        account: Account,
        namespace: str,
        without: tuple[str, str, str],
    ) -> None:
        group, what, verb = without
        rule = f'{{apiGroups: ["{group}"], resources: ["{what}"], verbs: ["{verb}"]}}'
        with pytest.raises(Forbidden) as raised:
            self.all_calls(self.with_login(make_builder, api=account(without)), request_of_nowhere, namespace)
        assert rule in str(raised.value)


class TestKanikoWaiting(WaitingBuilds, Kaniko):
    def test_a_cloud_without_a_login_has_the_config_map_that_its_pod_mounts(
        self, make_builder: MakeBuilder, request_of_nowhere: BuildRequest, namespace: str, host: str
    ) -> None:
        """S10, S12: W&B's way for ACR, with the identity of the pod."""
        builder = make_builder(place=Place(namespace=namespace, registry="acr"))
        builder.start(request_of_nowhere)
        (job,) = jobs_of(request_of_nowhere)
        (volume,) = job.spec.template.spec.volumes
        made = cluster.core().read_namespaced_config_map(volume.config_map.name, namespace)
        assert made.data["config.json"] == f'{{"credHelpers": {{"{host}": "acr-env"}}}}'
        assert [owner.uid for owner in made.metadata.owner_references] == [job.metadata.uid]
        assert not secrets_of(request_of_nowhere)

    def test_settings_that_do_not_go_together_are_told_before_anything_is_made(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest
    ) -> None:
        config = {**request_of_nowhere.config, "secret-name": "push", "secret-key": "credentials"}
        with pytest.raises(Invalid, match=r"builder\.secret-name"):
            builder.start(replace(request_of_nowhere, config=config))
        assert not jobs_of(request_of_nowhere)


class TestBuildahWaiting(WaitingBuilds, Buildah):
    def test_the_right_to_its_context_is_in_no_job(
        self, builder: ClusterBuilder, request_of_nowhere: BuildRequest
    ) -> None:
        builder.start(request_of_nowhere)
        (job,) = jobs_of(request_of_nowhere)
        (secret,) = secrets_of(request_of_nowhere)
        right = b64decode(secret.data["context"]).decode()
        assert "X-Amz-Signature=" in right
        assert "X-Amz-" not in str(job)


class TestBadInput(Buildah):
    @pytest.fixture(scope="class")
    @classmethod
    def host(cls) -> str:
        return "127.0.0.1:1"

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"image": "two words:1"}, "image"),
            ({"dockerfile": " \n"}, "dockerfile"),
            ({"build_args": {"A=B": "c"}}, "build_args"),
        ],
    )
    def test_what_no_builder_takes_never_reaches_the_cluster(
        self, make_builder: MakeBuilder, request_: MakeRequest, changes: dict[str, Any], field: str
    ) -> None:
        api = Dying()
        with pytest.raises(Invalid, match=field):
            make_builder(api=api).start(request_({"a": "b"}, **changes))
        assert api.calls == 0

    def test_a_context_that_is_not_there_is_permanent(self, builder: ClusterBuilder, request_: MakeRequest) -> None:
        with pytest.raises(Permanent, match="there is no folder"):
            builder.start(request_({"a": "b"}, context="/no/such/folder"))


def foreign_job(request: BuildRequest, namespace: str) -> Any:
    """Somebody else's, of the name that this build has."""
    name = name_of({}, request.image, request.attempt)
    container = {"name": "theirs", "image": "theirs:1"}
    pod = {"restartPolicy": "Never", "containers": [container], **NOWHERE}
    cluster.batch().create_namespaced_job(namespace, {"metadata": {"name": name}, "spec": {"template": {"spec": pod}}})
    # Once it has its pod nothing happens to it any more.
    return eventually(lambda: (job := cluster.batch().read_namespaced_job(name, namespace)).status.active and job)


def quota(namespace: str, what: str) -> None:
    """None of this any more, as soon as the quota's controller has counted what there is."""
    body = {"metadata": {"name": "none"}, "spec": {"hard": {what: "0"}}}
    cluster.core().create_namespaced_resource_quota(namespace, body)
    eventually(lambda: cluster.core().read_namespaced_resource_quota("none", namespace).status.used)
